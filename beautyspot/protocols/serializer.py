"""The protocols of a serializer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


class Serializer(Protocol):
    """Turns results into bytes and back. ``loads`` must not execute what it reads."""

    def dumps(self, value: Any) -> bytes:
        """The bytes of *value*. Raises a `SerializationError` if it cannot be serialized."""
        ...

    def loads(self, data: Buffer) -> Any:
        """The value of *data*, as a new object. Any exception means that the bytes cannot be used."""
        ...


@runtime_checkable
class BufferSerializer(Protocol):
    """A serializer that keeps large buffers separate, so that they are written and memory-mapped without a copy."""

    def dump_parts(self, value: Any) -> tuple[bytes, list[memoryview]]:
        """A head, and the large buffers that it refers to by position."""
        ...

    def load_parts(self, head: Buffer, buffers: Sequence[memoryview]) -> Any:
        """The value of a head and its buffers."""
        ...


@runtime_checkable
class ItemSerializer(Protocol):
    """A serializer that reads the items of a list one by one. Without it, a replayed stream is decoded as a whole."""

    def join_items(self, items: Sequence[bytes]) -> bytes:
        """The bytes that ``dumps`` returns for a list, made from the bytes that it returned for each of its *items*."""
        ...

    def load_items(self, data: Buffer) -> Iterator[Any]:
        """The items of a list, each decoded when the iterator reaches it."""
        ...
