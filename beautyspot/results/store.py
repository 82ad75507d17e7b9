"""Results: index, blobs and serializer as one. A result exists from its row's commit.

What cannot be read is no result: it is said once, and the call runs again. What cannot be written is an
error of this module's callers, who decide what to do with the value.
"""

from __future__ import annotations

import enum
import mmap
import re
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice
from time import time
from typing import Any, Final

from beautyspot._internal.digests import hasher
from beautyspot._internal.warn import log, warn_once
from beautyspot.errors import (
    BeautyspotError,
    DamagedBlobError,
    DeserializationError,
    MissingBlobError,
    RejectedIndexError,
    UnreadableWarning,
)
from beautyspot.protocols.index import BlobInfo, Entry, InDirectory, QuickLookup, Record, Summary, TaskDB
from beautyspot.protocols.serializer import Buffer
from beautyspot.protocols.storage import BlobStorage, Evicts, MapsBlobs
from beautyspot.results.codec import Codec, EncodedResult
from beautyspot.results.signing import Signer, is_signed
from beautyspot.serialization import blob_format

_CHUNK = 1 << 24  # bytes that are checked at a time
_KEY = re.compile(r"[0-9a-f]{32}")
_MANY = 1000  # blobs that are looked up together


class Missing(enum.Enum):
    """Stands where no result is, since ``None`` is one."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


class Results:
    """The kept results of a project.

    Args:
        db: The index.
        storage: Where large results lie.
        blob_threshold: Bytes above which a result goes to blob storage by itself.
        seal: Signs what is kept, and without its signature nothing is a result; ``None``: nothing is signed.
        on_read: Called with the keys of entries that were looked up and found.
        on_write: Called with records when they are committed.
    """

    def __init__(
        self,
        db: TaskDB,
        storage: BlobStorage,
        blob_threshold: int,
        signer: Signer | None = None,
        on_read: Callable[[Collection[bytes]], None] | None = None,
        on_write: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        self.db = db
        self.storage = storage
        self.blob_threshold = blob_threshold
        self.signer = signer
        self._on_read = on_read
        self._on_write = on_write
        self.is_quick = isinstance(db, QuickLookup)
        self._get: Callable[[bytes], Entry | None] = db.get if isinstance(db, QuickLookup) else self._look_up
        self._hasher: Callable[[int], Any] = hasher if signer is None else signer.hasher
        self._evicts = isinstance(storage, Evicts)
        self._checked: set[str] = set()  # locations whose mapped blobs this process has checked
        self._checking = threading.Lock()

    def _look_up(self, key: bytes) -> Entry | None:
        return self.db.lookup([key]).get(key)

    def _verified(self, signer: Signer, key: bytes, entry: Entry) -> Entry | None:
        bare = signer.verified(key, entry)
        if bare is None:
            warn_once(
                ("unsigned", repr(self.db)),
                f"a result in {self.db!r} is not signed with this project's secret and its call runs again (more of "
                "them are not reported)",
                UnreadableWarning,
            )
        return bare

    def entry(self, key: bytes) -> Entry | None:
        """The entry of *key*, expired or not; ``None`` also where the index cannot be read (said once)."""
        try:
            entry = self._get(key)
        except RejectedIndexError:
            raise
        except Exception as error:
            self._unreadable(error)
            return None
        if self.signer is not None and entry is not None:
            entry = self._verified(self.signer, key, entry)
        if self._on_read is not None and entry is not None:
            self._on_read((key,))
        return entry

    def find(self, key: bytes) -> Entry | None:
        """The entry of *key*, unless it is expired."""
        entry = self.entry(key)
        return None if entry is None or is_expired(entry) else entry

    def find_many(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """As `find`, for many keys in few statements."""
        return {key: entry for key, entry in self.find_raw(keys).items() if not is_expired(entry)}

    def find_raw(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """As `find_many`, expired ones included."""
        try:
            found = self.db.lookup(keys)
        except RejectedIndexError:
            raise
        except Exception as error:
            self._unreadable(error)
            return {}
        if self.signer is not None:
            seen = {key: self._verified(self.signer, key, entry) for key, entry in found.items()}
            found = {key: bare for key, bare in seen.items() if bare is not None}
        if self._on_read is not None:
            self._on_read(found)
        return found

    def read(self, entry: Entry, codec: Codec) -> Any:
        """The value of *entry*, a fresh object; ``MISSING`` where it cannot be read (said once), or was evicted."""
        try:
            if entry.value is None:
                return self.from_blob(self.checked_blob(entry, codec), codec)
            return codec.serializer.loads(_checked(entry))
        except Exception as error:
            return self._no_result(error)

    def items(self, entry: Entry, codec: Codec) -> Iterator[Any] | Missing:
        """The items of a kept list, decoded when they are asked for; ``MISSING`` as `read` gives it."""
        if codec.items is None:
            whole = self.read(entry, codec)
            return MISSING if whole is MISSING else iter(list(whole))
        try:
            if entry.value is not None:
                data: Buffer = _checked(entry)
            else:
                blob = self.checked_blob(entry, codec)
                data, buffers = blob_format.split(blob)
                if buffers:  # it was not made item by item, but put
                    return iter(list(self.from_blob(blob, codec)))
            items = codec.items.load_items(data)
            return chain(list(islice(items, 1)), items)  # what cannot be read at all is told now
        except Exception as error:
            return self._no_result(error)

    def _no_result(self, error: Exception) -> Missing:
        """Say why there is no result, unless its storage drops what it can do without."""
        if not (self._evicts and isinstance(error, MissingBlobError)):
            self._unreadable(error)
        return MISSING

    def checked_blob(self, entry: Entry, codec: Codec) -> Buffer:
        """The bytes of the blob of *entry*, mapped into memory where its form says so; an error unless it is whole."""
        location = entry.location
        if location is None:
            raise DeserializationError("a row of the index has neither a value nor a location")
        if codec.mmap and codec.buffers is not None and isinstance(self.storage, MapsBlobs):
            blob: Buffer = self.storage.map(location, entry.size)
            self._check(blob, location, entry.checksum, once=True)
        else:
            blob = self.storage.load(location, entry.size)
            self._check(blob, location, entry.checksum, once=False)
        return blob

    def from_blob(self, blob: Buffer, codec: Codec) -> Any:
        """The value of a blob's bytes; arrays in it are views of them."""
        head, buffers = blob_format.split(blob)
        if codec.buffers is not None:
            return codec.buffers.load_parts(head, buffers)
        return codec.serializer.loads(bytes(head))

    def _check(self, blob: Buffer, location: str, checksum: bytes, once: bool) -> None:
        """Compare the checksum of a blob; of a mapped one once a process, and its pages are given back."""
        if once and location in self._checked:
            return
        view, digest = memoryview(blob), self._hasher(len(blob))
        for start in range(0, view.nbytes, _CHUNK):
            digest.update(view[start : start + _CHUNK])
            if isinstance(view.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                view.obj.madvise(mmap.MADV_DONTNEED, start, min(_CHUNK, view.nbytes - start))
        if digest.digest(16) != checksum:
            raise DamagedBlobError(f"the blob {location} in {self.storage!r} is damaged: its checksum does not fit")
        if once:
            with self._checking:
                self._checked.add(location)

    def encode(self, value: Any, codec: Codec) -> EncodedResult:
        """*value* serialized, for the index or for blob storage.

        Raises:
            SerializationError: Carrying *value*, if it cannot be.
        """
        serializer = codec.serializer
        buffers: list[memoryview] = []
        if codec.save_blob is False or codec.buffers is None:
            data = serializer.dumps(value)
        else:
            data, buffers = codec.buffers.dump_parts(value)
        size = len(data) + sum([buffer.nbytes for buffer in buffers])
        if codec.save_blob or (codec.save_blob is None and size > self.blob_threshold):
            return self._as_blob(blob_format.join(data, buffers))
        if buffers:
            data = serializer.dumps(value)
        return EncodedResult(data, (), zlib.crc32(data).to_bytes(4, "big"), len(data))

    def encode_items(self, items: Sequence[bytes], codec: Codec) -> EncodedResult:
        """A list, serialized, whose *items* were serialized one by one."""
        if codec.items is None:
            return self.encode([codec.serializer.loads(item) for item in items], codec)
        data = codec.items.join_items(items)
        if codec.save_blob or (codec.save_blob is None and len(data) > self.blob_threshold):
            return self._as_blob(blob_format.join(data, []))
        return EncodedResult(data, (), zlib.crc32(data).to_bytes(4, "big"), len(data))

    def _as_blob(self, parts: Sequence[Buffer]) -> EncodedResult:
        size = sum(memoryview(part).nbytes for part in parts)
        digest = self._hasher(size)
        for part in parts:
            digest.update(part)
        return EncodedResult(None, parts, digest.digest(16), size)

    def keep(self, encoded: EncodedResult, summary: Summary, code: bytes, replaced: str | None = None) -> Entry:
        """Make *encoded* the result of ``summary.key``: the blob first, then the row, and it exists.

        Args:
            encoded: The result.
            summary: What viewers list of it.
            code: The fingerprint of the function's code.
            replaced: The location of the blob that the row referred to until now; removed after the commit.

        Raises:
            Exception: Whatever the storage or the index raises; nothing is left behind then.
        """
        location = self.storage.save(summary.key.hex(), encoded.parts) if encoded.value is None else None
        entry = Entry(encoded.value, location, encoded.checksum, encoded.size, summary.expires, code)
        records = (Record(entry, summary),)
        try:
            self._commit(records)
        except Exception:
            if location is not None:
                self.storage.delete(location)
            raise
        if replaced is not None and replaced != location:
            self._remove(replaced)
        if self._on_write is not None:  # a failure in there must not remove the blob of what is committed
            self._on_write(records)
        return entry

    def keep_rows(self, records: Sequence[Record]) -> None:
        """Make *records* results, all or none; their blobs, if they have any, are there already."""
        self._commit(records)
        if self._on_write is not None:
            self._on_write(records)

    def _commit(self, records: Sequence[Record]) -> None:
        if self.signer is not None:
            records = [Record(self.signer.signed(row.summary.key, row.entry), row.summary) for row in records]
        self.db.upsert(records)

    def location(self, key: bytes) -> str | None:
        """Where the blob of *key* lies just now, if it has one, expired or not, whoever signed it."""
        entry = self._get(key)
        return None if entry is None else entry.location

    def forget(self, key: bytes) -> bool:
        """Drop what is kept under *key*: the row first, then the blob. Says whether there was anything."""
        location = self.location(key)
        dropped = self.db.delete([key]) > 0
        if location is not None:
            self._remove(location)
        return dropped

    def garbage(self) -> Iterator[BlobInfo]:
        """Blobs that no row refers to: what a killed writer left, or what is being written just now."""
        return unreferenced(self.storage.blobs(), self.db)

    def _remove(self, location: str) -> None:
        """Remove a blob that no row refers to any more; where that fails it is garbage, and harms nobody."""
        try:
            self.storage.delete(location)
        except Exception as error:
            log("INFO", "cannot remove the unused blob %s: %s", location, error)

    def _unreadable(self, error: Exception) -> None:
        log("INFO", "kept result not usable: %s", error)
        kind = type(error).__name__
        cause = str(error) if isinstance(error, BeautyspotError) else f"{kind}: {error}"
        on_a_server = not (self.is_quick or isinstance(self.db, InDirectory))
        if on_a_server and isinstance(error, MissingBlobError) and isinstance(self.storage, InDirectory):
            cause += ". Its index is on a server and its blobs are in a directory: give a storage_path that all reach"
        warn_once(
            ("unreadable", repr(self.db), repr(self.storage), kind),
            f"a kept result cannot be used and its call runs again: {cause} (more of this kind are not reported)",
            UnreadableWarning,
        )


def _checked(entry: Entry) -> bytes:
    """The bytes of a result that lies in the index."""
    if is_signed(entry):
        raise DeserializationError("a result is signed with a secret, and this project has none: give it secret=")
    if entry.value is None or zlib.crc32(entry.value).to_bytes(4, "big") != entry.checksum:
        raise DeserializationError("a row of the index is damaged: its checksum does not fit")
    return entry.value


def unreferenced(blobs: Iterator[BlobInfo], db: TaskDB) -> Iterator[BlobInfo]:
    """Those *blobs* that no row of an index refers to."""
    while some := list(islice(blobs, _MANY)):
        names = [_KEY.search(blob.location) for blob in some]
        keys = [None if name is None else bytes.fromhex(name[0]) for name in names]
        entries = db.lookup([key for key in keys if key is not None])
        for blob, key in zip(some, keys, strict=True):
            if key is None or key not in entries or entries[key].location != blob.location:
                yield blob


def is_expired(entry: Entry) -> bool:
    """Whether the time to live of *entry* is over."""
    return entry.expires is not None and entry.expires <= time()
