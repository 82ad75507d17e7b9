"""Locks on byte ranges of a file: they end with their process, cost microseconds, and waiting needs no polling.

Open-file-description locks belong to one open file, not to the process, so that closing another descriptor of the
same file does not release them. The threads of a process share that open file and therefore its locks: threads
exclude each other before they call this module (`beautyspot.results.singleflight`).
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

# Linux has commands for open-file-description locks; on other systems the locks belong to the process.
_SET = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_SET_AND_WAIT = getattr(fcntl, "F_OFD_SETLKW", fcntl.F_SETLKW)
_FLOCK = struct.Struct("@hhqqi4x" if hasattr(fcntl, "F_OFD_SETLK") else "@qqihh")
_OFD = hasattr(fcntl, "F_OFD_SETLK")

SETUP, OPEN, _KEYS = 0, 1, 1024  # offsets: while the index is set up, while it is open, and of the first key


class FileLocks:
    """Locks at offsets of one file, which is created when the first lock is acquired and is never deleted."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None
        self._opening = threading.Lock()

    def try_lock(self, key: bytes) -> bool:
        """Acquire the lock of a 16-byte key unless it is held; returns whether it was acquired."""
        return self._set(_SET, fcntl.F_WRLCK, _offset(key))

    def lock(self, key: bytes) -> None:
        """Acquire the lock of a 16-byte key, waiting in the kernel while another process holds it."""
        self._set(_SET_AND_WAIT, fcntl.F_WRLCK, _offset(key))

    def unlock(self, key: bytes) -> None:
        """Release the lock of a 16-byte key."""
        self._set(_SET, fcntl.F_UNLCK, _offset(key))

    def share(self) -> None:
        """Mark the index as open in this process."""
        self._set(_SET_AND_WAIT, fcntl.F_RDLCK, OPEN)

    def try_own(self) -> bool:
        """Lock the index for this process alone, unless it is open in another; returns whether it is locked."""
        return self._set(_SET, fcntl.F_WRLCK, OPEN)

    def release(self) -> None:
        """Mark the index as closed in this process."""
        if self._fd is not None:
            self._set(_SET, fcntl.F_UNLCK, OPEN)

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Hold the lock under which one process at a time sets the index up."""
        self._set(_SET_AND_WAIT, fcntl.F_WRLCK, SETUP)
        try:
            yield
        finally:
            self._set(_SET, fcntl.F_UNLCK, SETUP)

    def close(self) -> None:
        """Release every lock and close the file. In a forked child, this closes its copy of the parent's file."""
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
    """The offset of a key's lock. Two keys share one with probability 2**-61; then one waits for the other."""
    return _KEYS + (int.from_bytes(key[8:], "big") >> 3)
