"""Codec: how one task's results become bytes, in the index or as a blob, and come back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

from beautyspot.errors import UnloadedClassError
from beautyspot.protocols.serializer import Buffer, BufferSerializer, ItemSerializer, Serializer
from beautyspot.serialization import blob_format


class EncodedResult(NamedTuple):
    """A serialized result.

    Attributes:
        value: Its bytes, if it is stored in the index; ``None`` for a blob.
        parts: The parts of its blob.
        checksum: CRC-32 of *value* (4 bytes), or the digest of the blob (16 bytes).
        size: Its size in bytes.
    """

    value: bytes | None
    parts: Sequence[Buffer]
    checksum: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Codec:
    """How one task's results become bytes and come back; made by `Results.codec_for`.

    Attributes:
        serializer: The serializer of the task, or of its project.
        save_blob: ``True``: each result is a blob; ``False``: none is; ``None``: those above *blob_threshold*.
        mmap: Whether blobs are mapped into memory instead of read.
        blob_threshold: The size in bytes above which a result becomes a blob by itself.
        hasher: Makes a hash object for a blob, given the blob's size in bytes.
        buffers: The serializer, if it stores buffers separately.
        item_serializer: The serializer, if it decodes the items of a list one by one.
        load_module: Imports what the task's function imports, to find a class in a module; returns whether it imports
            anything.
    """

    serializer: Serializer
    save_blob: bool | None
    mmap: bool
    blob_threshold: int
    hasher: Callable[[int], Any]
    buffers: BufferSerializer | None
    item_serializer: ItemSerializer | None
    load_module: Callable[[str], bool] | None = None

    def encode(self, value: Any) -> EncodedResult:
        """Serialize a result, for the index or for blob storage.

        Raises:
            SerializationError: If *value* cannot be serialized; the error carries it.
        """
        buffers: list[memoryview] = []
        if self.save_blob is False or self.buffers is None:
            data = self.serializer.dumps(value)
        else:
            data, buffers = self.buffers.dump_parts(value)
        size = len(data) + sum([buffer.nbytes for buffer in buffers])
        if self._is_blob(size):
            return self._as_blob(blob_format.join(data, buffers))
        return _inline(self.serializer.dumps(value) if buffers else data)

    def encode_items(self, items: Sequence[bytes]) -> EncodedResult:
        """Serialize a list whose *items* were serialized one by one."""
        if self.item_serializer is None:
            return self.encode([self.serializer.loads(item) for item in items])
        data = self.item_serializer.join_items(items)
        return self._as_blob(blob_format.join(data, [])) if self._is_blob(len(data)) else _inline(data)

    def decode(self, data: bytes) -> Any:
        """The result that was stored in the index as *data*."""
        return self._with_classes(self.serializer.loads, data)

    def _with_classes(self, decode: Callable[..., Any], *args: Any) -> Any:
        """What *decode* returns; a class that is not loaded is looked for where the task's function imports it."""
        missing: set[tuple[str, str]] = set()
        while True:
            try:
                return decode(*args)
            except UnloadedClassError as error:
                self._load(error, missing)

    def decode_blob(self, blob: Buffer) -> Any:
        """The result that was stored as *blob*; arrays in it are views of the blob's bytes."""
        head, buffers = blob_format.split(blob)
        if self.buffers is not None:
            return self._with_classes(self.buffers.load_parts, head, buffers)
        return self._with_classes(self.serializer.loads, bytes(head))

    def decode_items(self, data: Buffer, is_blob: bool) -> Iterator[Any]:
        """The items of a list, decoded as they are asked for; a list that cannot be decoded at all raises here."""
        if self.item_serializer is None:
            return iter(list(self.decode_blob(data) if is_blob else self.decode(bytes(data))))
        if is_blob:
            head, buffers = blob_format.split(data)
            if buffers:  # the list was stored as a whole, by `put`
                return iter(list(self.decode_blob(data)))
            data = head
        items = self._items(self.item_serializer, data)
        return chain(list(islice(items, 1)), items)

    def _items(self, serializer: ItemSerializer, data: Buffer) -> Iterator[Any]:
        items, count = serializer.load_items(data), 0
        missing: set[tuple[str, str]] = set()
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except UnloadedClassError as error:
                self._load(error, missing)
                items = islice(serializer.load_items(data), count, None)
                continue
            count += 1
            yield item

    def _load(self, error: UnloadedClassError, missing: set[tuple[str, str]]) -> None:
        """Import what the task's function imports; raise *error* if that was done already, or there is nothing."""
        name = (error.module, error.qualname)
        if name in missing or self.load_module is None or not self.load_module(error.module):
            raise error
        missing.add(name)

    def _is_blob(self, size: int) -> bool:
        return bool(self.save_blob) or (self.save_blob is None and size > self.blob_threshold)

    def _as_blob(self, parts: Sequence[Buffer]) -> EncodedResult:
        size = sum(memoryview(part).nbytes for part in parts)
        digest = self.hasher(size)
        for part in parts:
            digest.update(part)
        return EncodedResult(None, parts, digest.digest(16), size)


def _inline(data: bytes) -> EncodedResult:
    return EncodedResult(data, (), zlib.crc32(data).to_bytes(4, "big"), len(data))
