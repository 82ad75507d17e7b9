"""LocalStorage: blobs as files below one directory.

A blob is written under a temporary name and renamed when it is complete, so that no reader finds part of a blob.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beautyspot.errors import ConfigurationError, DamagedBlobError, MissingBlobError, StorageError
from beautyspot.protocols.index import BlobInfo
from beautyspot.protocols.serializer import Buffer
from beautyspot.storage.locations import UNFINISHED, check_location, check_size, is_location, new_location

__all__ = ["LocalStorage"]


class LocalStorage:
    """Blobs below a directory.

    Args:
        root: The directory. It is created, accessible to its owner alone, when the first blob is written.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def __repr__(self) -> str:
        return f"LocalStorage({self.root!r})"

    @property
    def directory(self) -> str:
        """The absolute path of the directory."""
        return self.root

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* as one file; returns its location below the root.

        Raises:
            StorageError: If it cannot be written; then no part of it is left.
        """
        location = new_location(name)
        path = self._path(location)
        temporary = path + UNFINISHED
        try:
            self._make_directory(os.path.dirname(path))
            with open(temporary, "xb", buffering=0) as file:
                for part in parts:
                    _write_all(file, part)
            os.rename(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):  # it may not have been created
                os.unlink(temporary)
            if isinstance(error, OSError):
                raise StorageError(f"cannot write the blob {path}: {error}") from error
            raise
        return location

    def _make_directory(self, directory: str) -> None:
        if not os.path.isdir(directory):
            # Results may be confidential: the directories are accessible to their owner alone.
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            os.makedirs(directory, mode=0o700, exist_ok=True)

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*.

        Raises:
            StorageError: If it does not exist, cannot be read, or is not *size* bytes long.
        """
        path = self._path(location)
        try:
            with open(path, "rb", buffering=0) as file:
                check_size(path, os.fstat(file.fileno()).st_size, size)
                content = bytearray(size)
                view, filled = memoryview(content), 0
                while filled < size and (count := file.readinto(view[filled:])):
                    filled += count
        except OSError as error:
            raise _unreadable(path, error) from error
        check_size(path, filled, size)
        return content

    def map(self, location: str, size: int) -> memoryview:
        """The blob at *location* as a read-only mapping of its file; raises as `load` does."""
        path = self._path(location)
        try:
            with open(path, "rb", buffering=0) as file:
                check_size(path, os.fstat(file.fileno()).st_size, size)
                return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        except OSError as error:
            raise _unreadable(path, error) from error

    def delete(self, location: str) -> None:
        """Delete the blob at *location*, if it exists."""
        path = self._path(location)
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot delete the blob {path}: {error}") from error

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs below the root, including those that a killed writer left unfinished."""
        if not os.path.isdir(self.root):
            return
        with os.scandir(self.root) as found:
            folders = sorted(
                entry.name for entry in found if len(entry.name) == 2 and entry.is_dir(follow_symlinks=False)
            )
        for folder in folders:
            with os.scandir(os.path.join(self.root, folder)) as files:
                for file in files:
                    location = f"{folder}/{file.name}"
                    if is_location(location):
                        stat = file.stat(follow_symlinks=False)
                        yield BlobInfo(location, stat.st_size, stat.st_mtime)

    def close(self) -> None:
        """Do nothing: no file stays open between calls."""

    def _path(self, location: str) -> str:
        check_location(location, self.root)
        path = os.path.join(self.root, location)
        if os.path.islink(path) or os.path.islink(os.path.dirname(path)):
            raise DamagedBlobError(f"{path} is a symbolic link and may lead out of {self.root}; it was not touched")
        return path


def _unreadable(path: str, error: OSError) -> StorageError:
    if isinstance(error, StorageError):
        return error
    kind = MissingBlobError if isinstance(error, FileNotFoundError) else StorageError
    return kind(f"cannot read the blob {path}: {error.strerror or error}")


def _write_all(file: Any, part: Buffer) -> None:
    view = memoryview(part)
    while view.nbytes:
        # A write may accept only part of the data (above 2 GB it does).
        view = view[file.write(view) :]


def open_url(url: str) -> LocalStorage:
    """The storage of ``file:///directory``, or of ``file://directory`` below the working directory."""
    path = url.partition("://")[2]
    if not path:
        raise ConfigurationError(f"{url!r} names no directory: write 'file:///path', or the path alone")
    return LocalStorage(path)
