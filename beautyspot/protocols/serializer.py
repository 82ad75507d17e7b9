"""What a serializer must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


class Serializer(Protocol):
    """Turns results into bytes and back. ``loads`` must not execute what it reads."""

    def dumps(self, value: Any) -> bytes:
        """The bytes of *value*; a `SerializationError` where that cannot be."""
        ...

    def loads(self, data: Buffer) -> Any:
        """The value of *data*, a fresh object; any exception means that the bytes are of no use."""
        ...


@runtime_checkable
class BufferSerializer(Protocol):
    """Keeps large buffers apart, so that they are written and memory-mapped without a copy."""

    def dump_parts(self, value: Any) -> tuple[bytes, list[memoryview]]:
        """A head, and the large buffers that it refers to by position."""
        ...

    def load_parts(self, head: Buffer, buffers: Sequence[memoryview]) -> Any:
        """The value of a head and its buffers."""
        ...


@runtime_checkable
class ItemSerializer(Protocol):
    """Reads the items of a list one by one. Without it, a stream that is replayed is decoded as a whole."""

    def join_items(self, items: Sequence[bytes]) -> bytes:
        """The bytes of the list whose *items* ``dumps`` gave one by one: those that ``dumps`` gives of the list."""
        ...

    def load_items(self, data: Buffer) -> Iterator[Any]:
        """The items of a list, each decoded when it is asked for."""
        ...
