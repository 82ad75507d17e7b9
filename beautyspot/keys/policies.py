"""KeyGen: ready-made policies of what identifies an argument."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beautyspot._internal.digests import hasher


@dataclass(frozen=True, slots=True)
class Policy:
    """What identifies some arguments of a call: made by `KeyGen`, passed as ``key=``.

    Attributes:
        names: The names of the arguments.
        reading: A function of an argument that returns what identifies it; ``None``: the arguments are ignored.
    """

    names: tuple[str, ...]
    reading: Callable[[Any], Any] | None


class KeyGen:
    """Policies of what identifies a call."""

    @staticmethod
    def from_path_stat(path: str | os.PathLike[str]) -> tuple[str, int, int]:
        """A file's path, size and modification time: quick, but blind to a change that preserves the latter two.

        Raises:
            OSError: If there is no such file.
        """
        stat = os.stat(path)
        return (Path(path).as_posix(), stat.st_size, stat.st_mtime_ns)

    @staticmethod
    def from_file_content(path: str | os.PathLike[str]) -> bytes:
        """The BLAKE3 digest of a file's content, whatever its path.

        Raises:
            OSError: If the file cannot be read.
        """
        digest: bytes = hasher(os.path.getsize(path)).update_mmap(path).digest(16)
        return digest

    @staticmethod
    def ignore(*names: str) -> Policy:
        """Leave arguments out of the key."""
        return Policy(names, None)

    @staticmethod
    def file_content(*names: str) -> Policy:
        """Identify arguments that are paths by the content of their files."""
        return Policy(names, KeyGen.from_file_content)

    @staticmethod
    def path_stat(*names: str) -> Policy:
        """Identify arguments that are paths by path, size and modification time of their files."""
        return Policy(names, KeyGen.from_path_stat)
