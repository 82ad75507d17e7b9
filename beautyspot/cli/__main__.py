"""``python -m beautyspot.cli``."""

from beautyspot.cli import main

if __name__ == "__main__":
    main(prog_name="beautyspot")
