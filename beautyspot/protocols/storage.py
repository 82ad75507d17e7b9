"""What a blob storage must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from beautyspot.protocols.records import (
    BlobInfo,
)
from beautyspot.protocols.serializer import Buffer


class BlobStorage(Protocol):
    """Where large results lie."""

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* one after the other as one blob, whole or not at all.

        Args:
            name: A hint of 32 hexadecimal digits; two saves of one name are two blobs.
            parts: What to write; large ones are memory views and are not copied.

        Returns:
            The blob's location, relative to the storage.
        """
        ...

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*; a `StorageError` where it is not *size* bytes long."""
        ...

    def delete(self, location: str) -> None:
        """Remove the blob at *location*; one that is gone already is no error."""
        ...

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs of this storage, in any order."""
        ...

    def close(self) -> None:
        """Release what was opened. A later call opens it again."""
        ...


@runtime_checkable
class MapsBlobs(Protocol):
    """A storage whose blobs can be memory-mapped. Without it, ``mmap=True`` is a `ConfigurationError`."""

    def map(self, location: str, size: int) -> memoryview:
        """The blob at *location* as a read-only view of its file, *size* bytes long."""
        ...


@runtime_checkable
class Evicts(Protocol):
    """A storage that drops blobs by itself. Without it, a blob that is gone is a fault, which is said.

    With it, the call of a blob that is gone runs again as if it had never run.
    """

    def size_limit(self) -> int:
        """Bytes above which it drops blobs."""
        ...
