"""Locations: the one form in which every storage of ours names a blob.

The form is the same in a directory, a bucket and anywhere else, so blobs can be copied from one storage to another by
any tool, and their rows stay right. A directory for each of 256 beginnings keeps a folder of millions quick.
"""

from __future__ import annotations

import os
import re

from beautyspot.errors import DamagedBlobError

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
