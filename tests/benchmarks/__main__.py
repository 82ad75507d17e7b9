"""Prints all tables, or the named ones: ``python -m tests.benchmarks calls maps``."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import measures
from tests.benchmarks.tables import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join(measures.ALL)}; all but the slow ones if none is named"
    )
    names = parser.parse_args().names or [name for name in measures.ALL if name not in measures.SLOW]
    print(machine(), f"Command: `python -m tests.benchmarks {' '.join(sys.argv[1:])}`".rstrip("` ") + "`\n", sep="\n")
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            print(measures.ALL[name](Path(directory)), flush=True)


main()
