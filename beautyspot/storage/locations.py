"""Locations: the one form in which every storage of ours names a blob.

The form is the same in a directory, a bucket and anywhere else, so blobs can be copied from one storage to another by
any tool, and their rows stay right. A directory for each of 256 beginnings keeps a folder of millions quick.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from beautyspot.errors import DamagedBlobError
from beautyspot.protocols.serializer import Buffer

UNFINISHED = ".part"

# Whatever an index says, nothing of another form is ever read or removed.
_FORM = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}-[0-9a-f]{8}")


def new_location(name: str) -> str:
    """A location that nothing has yet, for a blob whose *name* is 32 hexadecimal digits."""
    return f"{name[:2]}/{name}-{os.urandom(4).hex()}"


def is_location(text: str) -> bool:
    """Whether *text* is a location: of a whole blob, or of one that a killed writer left unfinished."""
    return _FORM.fullmatch(text.removesuffix(UNFINISHED)) is not None


def check_location(location: str, place: str) -> None:
    """Refuse what is no location in the storage at *place*.

    Raises:
        DamagedBlobError: If it is none.
    """
    if not is_location(location):
        raise DamagedBlobError(f"{location!r} is no location of a blob below {place}; it was not touched")


def check_size(blob: str, found: int, size: int) -> None:
    """Refuse a blob that has not the size it was written with.

    Raises:
        DamagedBlobError: If *found* is not *size*.
    """
    if found != size:
        raise DamagedBlobError(f"the blob {blob} has {found} bytes and should have {size}")


class PartsFile:
    """A read-only file over buffers that lie one after the other."""

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
        """Where the next byte is read."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
