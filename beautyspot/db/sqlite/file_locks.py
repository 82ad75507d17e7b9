"""Locks on byte ranges of a file: they end with their owner, cost microseconds, and waiting needs no polling.

Open-file-description locks belong to our one open file, not to the process, so that closing another
descriptor of the same file cannot drop them. Threads of one process share that file: they are kept apart
before they come here (`beautyspot.results.singleflight`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beautyspot.errors import IndexUnavailableError

# Linux names the commands for open-file-description locks; elsewhere those of the process serve.
_SET = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_SET_AND_WAIT = getattr(fcntl, "F_OFD_SETLKW", fcntl.F_SETLKW)
_FLOCK = struct.Struct("@hhqqi4x" if hasattr(fcntl, "F_OFD_SETLK") else "@qqihh")
_OFD = hasattr(fcntl, "F_OFD_SETLK")

SETUP, OPEN, _KEYS = 0, 1, 1024  # offsets: setting up the index, having it open, and the keys' from there


class FileLocks:
    """Locks at offsets of one file, which is made when the first is taken and is never removed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None
        self._opening = threading.Lock()

    def try_lock(self, key: bytes) -> bool:
        """Take the lock of a 16-byte key if nobody has it."""
        return self._set(_SET, fcntl.F_WRLCK, _offset(key))

    def lock(self, key: bytes) -> None:
        """Take the lock of a 16-byte key, waiting in the kernel for whoever has it."""
        self._set(_SET_AND_WAIT, fcntl.F_WRLCK, _offset(key))

    def unlock(self, key: bytes) -> None:
        """Give the lock of a 16-byte key back."""
        self._set(_SET, fcntl.F_UNLCK, _offset(key))

    def share(self) -> None:
        """Say that this process has the index open."""
        self._set(_SET_AND_WAIT, fcntl.F_RDLCK, OPEN)

    def try_own(self) -> bool:
        """Be the only process that has the index open, if it is so."""
        return self._set(_SET, fcntl.F_WRLCK, OPEN)

    def release(self) -> None:
        """Say that this process has closed the index."""
        if self._fd is not None:
            self._set(_SET, fcntl.F_UNLCK, OPEN)

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Be the only process that sets the index up."""
        self._set(_SET_AND_WAIT, fcntl.F_WRLCK, SETUP)
        try:
            yield
        finally:
            self._set(_SET, fcntl.F_UNLCK, SETUP)

    def close(self) -> None:
        """Drop every lock and close the file; also in a child, where it is the parent's."""
        fd, self._fd = self._fd, None
        self._opening = threading.Lock()
        if fd is not None:
            os.close(fd)

    def _set(self, command: int, kind: int, offset: int) -> bool:
        fd = self._fd if self._fd is not None else self._open()
        lock = _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0) if _OFD else _FLOCK.pack(offset, 1, 0, kind, os.SEEK_SET)
        try:
            fcntl.fcntl(fd, command, lock)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise IndexUnavailableError(f"cannot lock {self.path}: {error}") from error
        return True

    def _open(self) -> int:
        with self._opening:
            if self._fd is None:
                try:
                    os.makedirs(os.path.dirname(self.path), exist_ok=True)
                    self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                except OSError as error:
                    raise IndexUnavailableError(f"cannot open the lock file {self.path}: {error}") from error
            return self._fd


def _offset(key: bytes) -> int:
    """Where the lock of a key lies; a shared offset, one in 2**61, would only make one wait for the other."""
    return _KEYS + (int.from_bytes(key[8:], "big") >> 3)
