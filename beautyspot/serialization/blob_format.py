"""The layout of a blob: a head and large buffers, one after the other, so that buffers can be memory-mapped.

"BSB1"   4 bytes
count    number of buffers, 4 bytes, little-endian
sizes    sizes of the head and of each buffer, 8 bytes each
head, and then each buffer, each starting at a multiple of 64 bytes (an alignment for every dtype)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from beautyspot.errors import DeserializationError
from beautyspot.protocols.serializer import Buffer

_MAGIC = b"BSB1"
_ALIGNMENT = 64


def join(head: bytes, buffers: Sequence[memoryview]) -> list[Buffer]:
    """The parts of a blob, in the order in which they are written; the buffers are not copied."""
    whole: list[bytes | memoryview] = [head, *buffers]
    sizes = [memoryview(part).nbytes for part in whole]
    parts: list[Buffer] = [_MAGIC + struct.pack(f"<I{len(sizes)}Q", len(buffers), *sizes)]
    for part, size in zip(whole, sizes, strict=True):
        parts.append(bytes(-len(parts[-1]) % _ALIGNMENT) if len(parts) == 1 else b"")
        parts += [part, bytes(-size % _ALIGNMENT)]
    return [part for part in parts if len(part)]


def split(blob: Buffer) -> tuple[memoryview, list[memoryview]]:
    """The head and the buffers of a blob, as views of it.

    Raises:
        DeserializationError: If the blob does not have this layout.
    """
    view = memoryview(blob)
    try:
        if view[:4] != _MAGIC:
            raise DeserializationError("not a blob of beautyspot")
        (count,) = struct.unpack_from("<I", view, 4)
        sizes = struct.unpack_from(f"<{count + 1}Q", view, 8)
    except struct.error as error:
        raise DeserializationError(f"a blob without its table of sizes: {error}") from error
    head, *buffers = _cut(view, 8 + 8 * len(sizes), sizes)
    return head, buffers


def _cut(view: memoryview, start: int, sizes: Sequence[int]) -> Iterator[memoryview]:
    for size in sizes:
        start += -start % _ALIGNMENT
        if start + size > view.nbytes:
            raise DeserializationError("a blob that is shorter than its table of sizes says")
        yield view[start : start + size]
        start += size
