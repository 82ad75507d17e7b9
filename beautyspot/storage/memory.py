"""MemoryStorage: the blobs of one process, for tests and for results that need not outlive it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from beautyspot.errors import ConfigurationError, DamagedBlobError, MissingBlobError
from beautyspot.protocols.index import BlobInfo
from beautyspot.protocols.serializer import Buffer

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """Blobs in a dict. They end with their process and cannot be sent to another process."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, float]] = {}
        self._numbers = itertools.count()

    def __reduce__(self) -> tuple[Any, ...]:
        raise ConfigurationError(
            'blobs in memory cannot be sent to another process; use engine="threads", or a directory as storage_path='
        )

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Store *parts* as one blob; returns its location."""
        location = f"{name}-{next(self._numbers)}"
        self._blobs[location] = (b"".join(parts), time.time())
        return location

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*, which must be *size* bytes long."""
        return bytearray(self.map(location, size))

    def map(self, location: str, size: int) -> memoryview:
        """The blob at *location* as a read-only view, without a copy."""
        content, _ = self._blobs.get(location, (None, 0))
        if content is None:
            raise MissingBlobError(f"no blob {location!r} in memory")
        if len(content) != size:
            raise DamagedBlobError(f"the blob {location!r} has {len(content)} bytes and should have {size}")
        return memoryview(content)

    def delete(self, location: str) -> None:
        """Delete the blob at *location*, if it exists."""
        self._blobs.pop(location, None)

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs."""
        return iter([BlobInfo(location, len(c), written) for location, (c, written) in list(self._blobs.items())])

    def close(self) -> None:
        """Do nothing: nothing was opened, and the blobs stay until the process ends."""


def open_url(url: str) -> MemoryStorage:
    """The storage of ``memory://``."""
    if url != "memory://":
        raise ConfigurationError(f"a storage in memory has no name: write 'memory://' instead of {url!r}")
    return MemoryStorage()
