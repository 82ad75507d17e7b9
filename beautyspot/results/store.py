"""Results: the index and the blobs of a project, kept consistent. A result exists once its row is committed.

A result that cannot be read counts as a miss: one warning says so, and the call runs again. If a result cannot be
written, that raises: the caller decides what to do with the value.
"""

from __future__ import annotations

import enum
import mmap
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from time import time
from typing import Any, Final

from beautyspot._internal.digests import hasher
from beautyspot._internal.warn import log, warn_once
from beautyspot.errors import (
    BeautyspotError,
    ChangedClassError,
    DamagedBlobError,
    DeserializationError,
    MissingBlobError,
    RejectedIndexError,
    UnloadedClassError,
    UnreadableWarning,
)
from beautyspot.protocols.index import BlobInfo, Entry, InDirectory, QuickLookup, Record, Summary, TaskDB
from beautyspot.protocols.serializer import Buffer, BufferSerializer, ItemSerializer, Serializer
from beautyspot.protocols.storage import BlobStorage, Evicts, MapsBlobs
from beautyspot.results.codec import Codec, EncodedResult
from beautyspot.results.signing import Signer, is_signed

_CHUNK = 1 << 24  # bytes that are hashed at a time
_KEY = re.compile(r"[0-9a-f]{32}")
_MANY = 1000  # blobs that are looked up together


class Missing(enum.Enum):
    """Stands for a result that does not exist, since ``None`` can be one."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


class Results:
    """The cached results of a project.

    Args:
        db: The index.
        storage: The blobs.
        blob_threshold: Bytes above which a result becomes a blob by itself.
        signer: Signs results; a result without its signature counts as a miss. ``None``: nothing is signed.
        on_read: Called with the keys whose entries were looked up and found.
        on_write: Called with the records that were committed.
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
        self._checked: set[str] = set()  # locations of mapped blobs whose checksums this process has compared
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
        """The entry of *key*, expired or not; ``None`` also if the index cannot be read (one warning says so)."""
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
            verified = {key: self._verified(self.signer, key, entry) for key, entry in found.items()}
            found = {key: bare for key, bare in verified.items() if bare is not None}
        if self._on_read is not None:
            self._on_read(found)
        return found

    def codec_for(
        self,
        serializer: Serializer,
        save_blob: bool | None = None,
        mmap: bool = False,
        load_module: Callable[[str], bool] | None = None,
    ) -> Codec:
        """The codec of a task.

        Args:
            serializer: The serializer of the task, or of the project.
            save_blob: ``True``: each result is a blob; ``False``: none is; ``None``: by size.
            mmap: Whether blobs are mapped into memory instead of read.
            load_module: Imports what the task's function imports; see `Codec`.
        """
        buffers = serializer if isinstance(serializer, BufferSerializer) else None
        items = serializer if isinstance(serializer, ItemSerializer) else None
        mmap = mmap and buffers is not None
        return Codec(serializer, save_blob, mmap, self.blob_threshold, self._hasher, buffers, items, load_module)

    def read(self, entry: Entry, codec: Codec) -> Any:
        """The value of *entry*, a fresh object; ``MISSING`` if evicted or unreadable (one warning says so)."""
        try:
            if entry.value is None:
                return codec.decode_blob(self.blob(entry, codec.mmap))
            return codec.decode(_intact_value(entry))
        except Exception as error:
            return self._no_result(error)

    def read_back(self, entry: Entry, codec: Codec) -> Any:
        """As `read`, for a blob that was just written: it is checked when it is read for the first time."""
        location = entry.location or ""
        with self._checking:
            self._checked.add(location)
        try:
            return self.read(entry, codec)
        finally:
            with self._checking:
                self._checked.discard(location)

    def read_items(self, entry: Entry, codec: Codec) -> Iterator[Any] | Missing:
        """The items of a cached list, decoded as they are asked for; ``MISSING`` as from `read`."""
        try:
            if entry.value is None:
                return codec.decode_items(self.blob(entry, codec.mmap), is_blob=True)
            return codec.decode_items(_intact_value(entry), is_blob=False)
        except Exception as error:
            return self._no_result(error)

    def _no_result(self, error: Exception) -> Missing:
        """Warn that a result cannot be read, unless its storage evicts blobs by itself."""
        if not (self._evicts and isinstance(error, MissingBlobError)):
            self._unreadable(error)
        return MISSING

    def blob(self, entry: Entry, mmap: bool = False) -> Buffer:
        """The bytes of the blob of *entry*.

        Args:
            entry: The entry of a result that is stored as a blob.
            mmap: Whether to map the blob into memory, if the storage can.

        Raises:
            DeserializationError: If the entry has neither a value nor a blob.
            MissingBlobError, DamagedBlobError: If the blob is gone, or its checksum does not fit.
        """
        location = entry.location
        if location is None:
            raise DeserializationError("a row of the index has neither a value nor a location")
        if mmap and isinstance(self.storage, MapsBlobs):
            blob: Buffer = self.storage.map(location, entry.size)
            self._check(blob, location, entry.checksum, once=True)
        else:
            blob = self.storage.load(location, entry.size)
            self._check(blob, location, entry.checksum, once=False)
        return blob

    def _check(self, blob: Buffer, location: str, checksum: bytes, once: bool) -> None:
        """Compare the checksum of a blob; of a mapped one *once* a process, returning its pages to the system."""
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

    def write(self, encoded: EncodedResult, summary: Summary, code: bytes, replaced: str | None = None) -> Entry:
        """Store *encoded* as the result of ``summary.key``: first the blob, then the row.

        Args:
            encoded: The result.
            summary: What viewers list about it.
            code: The fingerprint of the function's code.
            replaced: The location of the blob that the row refers to so far; deleted after the commit.

        Raises:
            Exception: What the storage or the index raised; nothing is left behind.
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
            self._delete_blob(replaced)
        if self._on_write is not None:  # if this fails, the blob of a committed row must stay
            self._on_write(records)
        return entry

    def write_records(self, records: Sequence[Record]) -> None:
        """Commit *records* in one transaction; their blobs, if they have any, are stored already."""
        self._commit(records)
        if self._on_write is not None:
            self._on_write(records)

    def _commit(self, records: Sequence[Record]) -> None:
        if self.signer is not None:
            records = [Record(self.signer.signed(row.summary.key, row.entry), row.summary) for row in records]
        self.db.upsert(records)

    def location(self, key: bytes) -> str | None:
        """The current location of the blob of *key*, expired or not, signed or not; ``None`` if it has no blob."""
        entry = self._get(key)
        return None if entry is None else entry.location

    def delete(self, key: bytes) -> bool:
        """Delete the result of *key*, first the row, then the blob; returns whether there was one."""
        location = self.location(key)
        deleted = self.db.delete([key]) > 0
        if location is not None:
            self._delete_blob(location)
        return deleted

    def garbage(self) -> Iterator[BlobInfo]:
        """Blobs that no row refers to: left by a killed writer, or being written at this moment."""
        return unreferenced(self.storage.blobs(), self.db)

    def _delete_blob(self, location: str) -> None:
        """Delete a blob that no row refers to any more; a blob that cannot be deleted is garbage for `gc`."""
        try:
            self.storage.delete(location)
        except Exception as error:
            log("INFO", "cannot remove the unused blob %s: %s", location, error)

    def _unreadable(self, error: Exception) -> None:
        log("INFO", "kept result not usable: %s", error)
        kind = type(error).__name__
        about = _class_in(error)
        cause = str(error) if isinstance(error, BeautyspotError) else f"{kind}: {error}"
        on_a_server = not (self.is_quick or isinstance(self.db, InDirectory))
        if on_a_server and isinstance(error, MissingBlobError) and isinstance(self.storage, InDirectory):
            cause += ". Its index is on a server and its blobs are in a directory: give a storage_path that all reach"
        warn_once(
            ("unreadable", repr(self.db), repr(self.storage), kind, about),
            f"a kept result cannot be used and its call runs again: {cause} (more of this kind are not reported)",
            UnreadableWarning,
        )


def _class_in(error: Exception) -> str:
    """The class that makes a result unreadable: each is reported once."""
    if isinstance(error, ChangedClassError):
        return error.kind
    return f"{error.module}.{error.qualname}" if isinstance(error, UnloadedClassError) else ""


def _intact_value(entry: Entry) -> bytes:
    """The bytes of a result that is stored in the index."""
    if is_signed(entry):
        raise DeserializationError("a result is signed with a secret, and this project has none: give it secret=")
    if entry.value is None or not entry.is_intact():
        raise DeserializationError("a row of the index is damaged: its checksum does not fit")
    return entry.value


def unreferenced(blobs: Iterator[BlobInfo], db: TaskDB) -> Iterator[BlobInfo]:
    """The *blobs* that no row of an index refers to."""
    while block := list(islice(blobs, _MANY)):
        names = [_KEY.search(blob.location) for blob in block]
        keys = [None if name is None else bytes.fromhex(name[0]) for name in names]
        entries = db.lookup([key for key in keys if key is not None])
        for blob, key in zip(block, keys, strict=True):
            if key is None or key not in entries or entries[key].location != blob.location:
                yield blob


def is_expired(entry: Entry) -> bool:
    """Whether the time to live of *entry* is over."""
    return entry.expires is not None and entry.expires <= time()
