"""Unpacks Debian packages below a directory: programs that no PyPI package contains, without the need to be root.

Nothing is installed on the machine. Standard library only, since this runs before anything else is installed::

    python3 tests/support/debian.py DIRECTORY PACKAGE ...
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def unpack(directory: Path, *packages: str) -> None:
    """Download *packages* and all their dependencies, and unpack them below *directory*.

    Packages that the machine already has are unpacked too, so that tests run with the same libraries on every machine.
    """
    state, cache, debs = (directory / name for name in ("apt/lists-state", "apt/cache", "apt/debs"))
    for folder in (state / "lists/partial", cache / "archives/partial", debs):
        folder.mkdir(parents=True, exist_ok=True)
    nothing_installed = directory / "apt/status"
    nothing_installed.touch()
    places = {"Dir::State": state, "Dir::State::status": nothing_installed, "Dir::Cache": cache}
    settings = [f"{name}={place}" for name, place in places.items()] + ["APT::Sandbox::User=", "Debug::NoLocking=1"]
    apt = ["apt-get", "-q", *(word for setting in settings for word in ("-o", setting))]
    run([*apt, "update"])
    planned = run([*apt, "install", "--simulate", "--no-install-recommends", *packages])
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    # A second C library would conflict with the machine's own.
    run([*apt, "download", *(name for name in names if name not in ("libc6", "libc-bin"))], cwd=debs)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda package: run(["dpkg", "-x", str(package), str(directory)]), debs.glob("*.deb")))
    shutil.rmtree(debs)


def library_path(directory: Path) -> str:
    """Return the ``LD_LIBRARY_PATH`` for a program below *directory*."""
    found = (path for place in ("lib", "usr/lib") for path in directory.glob(f"{place}/**/lib*.so*"))
    return ":".join(sorted({str(path.parent) for path in found}))


def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a command and return its output; exit with its error message if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    unpack(Path(sys.argv[1]).absolute(), *sys.argv[2:])
