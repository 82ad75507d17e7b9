"""Places: whether a directory is the same one here that it was for another process.

An SQLite index in WAL mode, and its locks, work among the processes of one kernel. So a directory is known by
the machine and by what its path leads to there, and one that two machines share over a network is two places.
"""

from __future__ import annotations

import os
import uuid
from functools import cache
from typing import NamedTuple


class Place(NamedTuple):
    """A directory as one process sees it.

    Attributes:
        machine: Which kernel, since when.
        path: The directory, or the nearest one above it that exists.
        device: Of that one.
        inode: Of that one.
    """

    machine: str
    path: str
    device: int
    inode: int


def place_of(directory: str) -> Place:
    """The place of *directory*, which need not exist yet."""
    path = os.path.abspath(directory)
    while True:
        try:
            found = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
        else:
            return Place(_machine(), path, found.st_dev, found.st_ino)


def is_here(place: Place) -> bool:
    """Whether this process sees *place* as the one who sent it does."""
    return place_of(place.path) == place


@cache
def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:  # no Linux
        return f"{os.uname().nodename}:{uuid.getnode()}"
