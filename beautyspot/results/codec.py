"""How the results of one task are kept and read, and what a result is once it is serialized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from beautyspot.protocols.serializer import Buffer, BufferSerializer, ItemSerializer, Serializer


@dataclass(frozen=True, slots=True)
class Codec:
    """How one task's results are kept and read.

    Attributes:
        serializer: Of this task, or of its project.
        save_blob: Always in blob storage, never, or (``None``) by size.
        mmap: Whether blobs are mapped into memory instead of read.
    """

    serializer: Serializer
    save_blob: bool | None = None
    mmap: bool = False
    buffers: BufferSerializer | None = None  # the serializer, if it keeps buffers apart
    items: ItemSerializer | None = None  # the serializer, if it reads the items of a list one by one


def codec_for(serializer: Serializer, save_blob: bool | None = None, mmap: bool = False) -> Codec:
    """A form; what the serializer is able to is looked up here, once."""
    buffers = serializer if isinstance(serializer, BufferSerializer) else None
    return Codec(serializer, save_blob, mmap, buffers, serializer if isinstance(serializer, ItemSerializer) else None)


class EncodedResult(NamedTuple):
    """A serialized result: inline, or the parts of its blob."""

    value: bytes | None
    parts: Sequence[Buffer]
    checksum: bytes
    size: int
