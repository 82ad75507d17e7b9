"""The protocols of a blob storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from beautyspot.protocols.records import BlobInfo
from beautyspot.protocols.serializer import Buffer


class BlobStorage(Protocol):
    """A storage for blobs: serialized results that are too large for the index."""

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* one after the other as one blob, completely or not at all.

        Args:
            name: 32 hexadecimal digits to name the blob after; two saves with one name are two blobs.
            parts: The bytes of the blob; large parts are memory views and are not copied.

        Returns:
            The blob's location, relative to the storage.
        """
        ...

    def load(self, location: str, size: int) -> bytearray:
        """The bytes of the blob at *location*. Raises a `StorageError` if it is not *size* bytes long."""
        ...

    def delete(self, location: str) -> None:
        """Delete the blob at *location*. It is no error if there is none."""
        ...

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs of this storage, in any order."""
        ...

    def close(self) -> None:
        """Close files and connections. The next call opens them again."""
        ...


@runtime_checkable
class MapsBlobs(Protocol):
    """A storage whose blobs can be memory-mapped. Without it, ``mmap=True`` is a `ConfigurationError`."""

    def map(self, location: str, size: int) -> memoryview:
        """The blob at *location*, mapped read-only into memory; *size* is its length in bytes."""
        ...


@runtime_checkable
class Evicts(Protocol):
    """A storage that evicts blobs by itself. Without it, a missing blob is a problem and causes a warning.

    With it, a call whose blob is missing runs again as if it had never run.
    """

    def size_limit(self) -> int:
        """Total size, in bytes, above which it evicts blobs."""
        ...
