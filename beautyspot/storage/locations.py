"""Locations: the one scheme by which every storage of the library names a blob.

The scheme is the same in a directory, a bucket and anywhere else, so any tool can copy blobs from one storage to
another, and the index stays right. A directory for each of 256 beginnings keeps storages of millions of blobs quick.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from beautyspot.errors import DamagedBlobError
from beautyspot.protocols.serializer import Buffer

UNFINISHED = ".part"

# Nothing with another name is ever read or deleted, whatever the index contains.
_FORM = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}-[0-9a-f]{8}")


def new_location(name: str) -> str:
    """A new, unique location for a blob whose *name* is 32 hexadecimal digits."""
    return f"{name[:2]}/{name}-{os.urandom(4).hex()}"


def is_location(text: str) -> bool:
    """Whether *text* is the location of a blob, or of one that a killed writer left unfinished."""
    return _FORM.fullmatch(text.removesuffix(UNFINISHED)) is not None


def check_location(location: str, place: str) -> None:
    """Reject a text that is not a location in the storage at *place*.

    Raises:
        DamagedBlobError: If it is not.
    """
    if not is_location(location):
        raise DamagedBlobError(f"{location!r} is not the location of a blob below {place}; it was not touched")


def check_size(blob: str, found: int, size: int) -> None:
    """Reject a blob whose size is not the size it was written with.

    Raises:
        DamagedBlobError: If *found* is not *size*.
    """
    if found != size:
        raise DamagedBlobError(f"the blob {blob} has {found} bytes and should have {size}")


class PartsFile:
    """A read-only file of buffers, one after the other."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        views = [memoryview(part) for part in parts]
        self._parts = [view.cast("B") for view in views if view.nbytes]
        self.size = sum(part.nbytes for part in self._parts)
        self._at = 0

    def read(self, amount: int | None = None) -> bytes:
        """The next *amount* bytes, or all that are left."""
        stop = self.size if amount is None or amount < 0 else min(self._at + amount, self.size)
        pieces, begin = [], 0
        for part in self._parts:
            end = begin + part.nbytes
            if begin < stop and end > self._at:
                pieces.append(part[max(self._at - begin, 0) : stop - begin])
            begin = end
        self._at = max(self._at, stop)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to *offset*, counted from the beginning, from here or from the end."""
        self._at = (0, self._at, self.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """The position of the next byte."""
        return self._at

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True
