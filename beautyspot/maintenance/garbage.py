"""Garbage collection of blobs, also where indexes share a directory: two projects in one have one ``./blobs``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

from beautyspot._internal.text import counted
from beautyspot.db import SQLiteTaskDB
from beautyspot.errors import ForeignIndexError
from beautyspot.maintenance.eviction import EvictionReport
from beautyspot.maintenance.pruning import Progress
from beautyspot.protocols.index import BlobInfo, InDirectory, TaskDB
from beautyspot.protocols.storage import BlobStorage
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results, unreferenced

_KEY = re.compile(r"[0-9a-f]{32}")  # in the location of a blob


def blobs_beside(db: TaskDB) -> str:
    """The default place of blobs: in ``blobs`` beside an index in a file, else in ``./blobs``."""
    return os.path.join(db.directory, "blobs") if isinstance(db, SQLiteTaskDB) else "./blobs"


@contextmanager
def sharers(db: TaskDB, storage: BlobStorage) -> Iterator[list[TaskDB]]:
    """Other SQLite indexes beside the directory of blobs, or beside the index *db*: their blobs are not garbage.

    Raises:
        IndexUnavailableError: If one of them cannot be read, so that its blobs cannot be told from garbage.
    """
    with ExitStack() as stack:
        others = [stack.enter_context(closing(SQLiteTaskDB(path, read_only=True))) for path in _paths(db, storage)]
        yield [other for other in others if _is_ours(other)]


def _paths(db: TaskDB, storage: BlobStorage) -> list[str]:
    if not isinstance(storage, InDirectory):
        return []
    places = {os.path.dirname(os.path.abspath(storage.directory))}
    if isinstance(db, InDirectory):
        places.add(os.path.abspath(db.directory))
    own = {os.path.realpath(db.path)} if isinstance(db, SQLiteTaskDB) else set()
    return sorted({os.path.realpath(path) for place in places for path in _indexes_in(place)} - own)


def _indexes_in(directory: str) -> list[str]:
    """Files that may be indexes: by their suffix, or by a lock file of ours beside them."""
    if not os.path.isdir(directory):
        return []
    names = {name.removesuffix("-lock") for name in os.listdir(directory) if name.endswith((".db", "-lock"))}
    return [path for name in names if os.path.isfile(path := os.path.join(directory, name))]


def _is_ours(other: TaskDB) -> bool:
    try:
        other.lookup([bytes(16)])
    except ForeignIndexError:
        return False
    return True


class GarbageReport(NamedTuple):
    """Blobs that no row refers to.

    Attributes:
        blobs: The number of blobs that are garbage.
        size: Their size in bytes, without unfinished uploads to S3, whose size is unknown.
        young: The number of blobs that were left, since they may belong to a running call.
        evicted: The results that were evicted before, if there is a `Retention`.
    """

    blobs: int
    size: int
    young: int
    evicted: EvictionReport = EvictionReport()

    def __str__(self) -> str:
        blobs, results = counted(self.blobs, "blob"), self.evicted.results
        return f"{counted(results, 'result')}, and {blobs} without a result" if results else blobs


def collect(
    results: Results,
    single_flight: SingleFlight,
    grace: float,
    dry_run: bool = False,
    progress: Progress | None = None,
    sharers: Sequence[TaskDB] = (),
) -> GarbageReport:
    """Delete blobs that no row refers to.

    Args:
        results: The index and its blobs.
        single_flight: The locks of the same index: no blob whose key is locked is deleted.
        grace: The age in seconds from which a blob may be garbage.
        dry_run: Whether to count only.
        progress: Called with the number of unused blobs that were checked since its last call.
        sharers: Other indexes with blobs in the same storage.
    """
    blobs, size, young = 0, 0, 0
    for blob in unused(results, sharers):
        if blob.modified > time.time() - grace or not _deleted(results, single_flight, blob, dry_run):
            young += 1
        else:
            blobs, size = blobs + 1, size + blob.size
        if progress is not None:
            progress(1)
    return GarbageReport(blobs, size, young)


def unused(results: Results, sharers: Sequence[TaskDB]) -> Iterator[BlobInfo]:
    """Blobs to which no row refers, of this index or of those that share its storage."""
    blobs = results.garbage()
    for other in sharers:
        blobs = unreferenced(blobs, other)
    return blobs


def _deleted(results: Results, single_flight: SingleFlight, blob: BlobInfo, dry_run: bool) -> bool:
    """Delete a blob under the lock of its key; ``False`` if its call is running, or has ended meanwhile."""
    found = _KEY.search(blob.location)
    if found is None:
        if not dry_run:
            results.storage.delete(blob.location)
        return True
    key = bytes.fromhex(found[0])
    if dry_run:  # nothing is written, not even a lock file
        return not _is_in_use(results, key, blob)
    if not single_flight.try_acquire(key, require_index=True):
        return False
    try:
        if _is_in_use(results, key, blob):
            return False
        results.storage.delete(blob.location)
        return True
    finally:
        single_flight.release(key)


def _is_in_use(results: Results, key: bytes, blob: BlobInfo) -> bool:
    entry = results.db.lookup([key]).get(key)
    return entry is not None and entry.location == blob.location
