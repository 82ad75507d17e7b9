"""Unpacks Debian's packages below a directory: programs that no package of PyPI carries, for root and for others.

Nothing is installed on the machine. Standard library only, since it runs before anything else is there::

    python3 tests/support/debian.py DIRECTORY PACKAGE ...
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def unpack(directory: Path, *packages: str) -> None:
    """Fetch *packages* and all that they need, and unpack them below *directory*.

    It does not matter what the machine has: so every machine's tests run with the same libraries.
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
    # A second C library beside the machine's would not go together with it.
    run([*apt, "download", *(name for name in names if name not in ("libc6", "libc-bin"))], cwd=debs)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda package: run(["dpkg", "-x", str(package), str(directory)]), debs.glob("*.deb")))
    shutil.rmtree(debs)


def library_path(directory: Path) -> str:
    """What ``LD_LIBRARY_PATH`` is for a program below *directory*."""
    found = (path for place in ("lib", "usr/lib") for path in directory.glob(f"{place}/**/lib*.so*"))
    return ":".join(sorted({str(path.parent) for path in found}))


def run(command: list[str], cwd: Path | None = None) -> str:
    """What a command prints; what it says of an error where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    unpack(Path(sys.argv[1]).absolute(), *sys.argv[2:])
