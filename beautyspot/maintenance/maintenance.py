"""Maintenance: inspect, verify, delete, evict and export cached results.

Everything here works on any index and storage, beside running jobs, in memory that does not grow with the results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from time import time
from typing import IO, Any

from beautyspot._internal.pages import pages
from beautyspot.db.scanning import catalog_of
from beautyspot.errors import ConfigurationError, DeserializationError
from beautyspot.maintenance.background import RetentionWorker
from beautyspot.maintenance.eviction import EvictionReport, evict
from beautyspot.maintenance.export import Format, write_table
from beautyspot.maintenance.garbage import GarbageReport, collect, sharers, unused
from beautyspot.maintenance.pruning import PruneReport, delete_selected, selected
from beautyspot.maintenance.renaming import rename
from beautyspot.maintenance.retention import Retention
from beautyspot.maintenance.verification import UNSEALED, Health, Problem, check_row, repair, verified
from beautyspot.protocols.index import (
    Compacts,
    Entry,
    Failure,
    MapLog,
    MapProgress,
    PrunesHistory,
    Selection,
    Summary,
    TaskDB,
)
from beautyspot.protocols.locks import KeyLocks
from beautyspot.protocols.serializer import Buffer, Serializer
from beautyspot.protocols.storage import BlobStorage, MapsBlobs
from beautyspot.results.signing import is_signed, signer_for
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results, is_expired
from beautyspot.serialization.inspector import CheckingDecoder, ClasslessDecoder
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer

__all__ = ["EvictionReport", "GarbageReport", "Health", "Maintenance", "Problem", "PruneReport"]

_PAGE = 200  # results that are read together
GRACE = 3600.0  # age in seconds from which a blob may be garbage


class Maintenance:
    """Work on the results in an index and a storage.

    Args:
        db: The index.
        storage: The storage of its blobs.
        serializer: The project's serializer; ``None``: the usual one, without registered types.
        secret: The project's secret, if it has one.
        single_flight: The locks of the project's running calls; ``None``: nothing runs in this process.
        retention: The project's retention policy, if it has one.
        retention_worker: The project's recorder of last-access times, which are written before an eviction.
    """

    def __init__(
        self,
        db: TaskDB,
        storage: BlobStorage,
        serializer: Serializer | None = None,
        secret: str | bytes | None = None,
        single_flight: SingleFlight | None = None,
        retention: Retention | None = None,
        retention_worker: RetentionWorker | None = None,
    ) -> None:
        self.db = db
        self.storage = storage
        self.catalog = catalog_of(db)
        self.results = Results(db, storage, 0, signer_for(secret))
        usual = serializer is None or isinstance(serializer, MsgpackSerializer)
        # Values are decoded without classes: those of the program that stored them are seldom installed here.
        own: Serializer = ClasslessDecoder(serializer) if usual else serializer  # type: ignore[arg-type,assignment]
        mmap = isinstance(storage, MapsBlobs)
        self.codec = self.results.codec_for(own, mmap=mmap)
        # Checked with the classes that are here: a hit would make objects of them.
        checking: Serializer = CheckingDecoder(serializer) if usual else own  # type: ignore[arg-type]
        self._checking = self.results.codec_for(checking, mmap=mmap)
        self._single_flight = single_flight or SingleFlight(db if isinstance(db, KeyLocks) else None)
        self._retention = retention
        self._retention_worker = retention_worker

    def one(self, prefix: str) -> Summary | Failure:
        """The result, or the failure, whose key begins with *prefix*.

        Args:
            prefix: The first hexadecimal digits of the key, enough to tell it from all others.

        Raises:
            ConfigurationError: If there is none, or more than one.
        """
        found = self.catalog.find(prefix, 4)
        if not found:
            raise ConfigurationError(f"no result and no failure has a key that begins with {prefix!r}")
        if len(found) > 1:
            keys = ", ".join(row.key.hex() for row in found[:3])
            raise ConfigurationError(f"more than one key begins with {prefix!r}: {keys}{', …' * (len(found) > 3)}")
        return found[0]

    def entry(self, key: bytes) -> Entry:
        """The entry of a result, without its signature.

        Raises:
            DeserializationError: If the result is gone, or not signed with the secret.
        """
        return self._trusted(key, self.db.lookup([key]).get(key))

    def _trusted(self, key: bytes, entry: Entry | None) -> Entry:
        if entry is None:
            raise DeserializationError("it was deleted meanwhile")
        if self.results.signer is not None:
            entry = self.results.signer.verified(key, entry)
            if entry is None:
                raise DeserializationError("it is not signed with this secret")
        elif is_signed(entry) and entry.location is not None:
            raise DeserializationError(UNSEALED)
        return entry

    def value(self, key: bytes) -> Any:
        """The value of a result, expired or not, as a `ClasslessDecoder` decodes it; an array may map its file.

        Raises:
            DeserializationError: If the result is gone, not signed with the secret, or cannot be decoded.
            StorageError: If its row is damaged, or its blob is missing, damaged, or cannot be read.
        """
        return self._decoded(self.entry(key))

    def _decoded(self, entry: Entry) -> Any:
        if entry.value is not None:
            check_row(entry)
            return self.codec.decode(entry.value)
        return self.codec.decode_blob(self.results.blob(entry, self.codec.mmap))

    def stored(self, key: bytes) -> Buffer:
        """The bytes of a result as they are stored; raises as `value` does."""
        entry = self.entry(key)
        return entry.value if entry.value is not None else self.results.blob(entry, self.codec.mmap)

    def selected(self, selection: Selection) -> Iterator[Summary]:
        """The results of a selection, newest first."""
        return selected(self.results, selection)

    def maps(self) -> list[MapProgress]:
        """The progress of maps, the latest started first."""
        return list(self.db.maps()) if isinstance(self.db, MapLog) else []

    def verify(
        self, *, fix: bool = False, after: int = 0, progress: Callable[[Health], object] | None = None
    ) -> Health:
        """Check the index, every result and its blob, and find blobs that no result refers to.

        Args:
            fix: Whether to delete unusable results (their calls would run again in any case) and orphaned blobs that
                are old enough. A damaged index is left as it is.
            after: The place after which to begin: ``place`` of an earlier `Health`.
            progress: Called after each page; an exception it raises ends the check.

        Raises:
            StorageError, IndexUnavailableError: If the storage or the index does not answer, which is not damage.
        """
        health = Health()
        for health, problems in verified(self.results, self._checking, after, progress):
            if fix:
                health.repaired += repair(self.results, self._checking, self._single_flight, problems)
        self._add_orphans(health)
        if fix and health.counts["orphaned"]:
            health.repaired += self._collect(GRACE).blobs
        return health

    def repair(self, health: Health) -> int:
        """Repair the problems listed in *health*, as ``verify(fix=True)`` does; returns how much was deleted."""
        deleted = repair(self.results, self._checking, self._single_flight, health.problems)
        return deleted + (self._collect(GRACE).blobs if health.counts["orphaned"] else 0)

    def _add_orphans(self, health: Health) -> None:
        with sharers(self.db, self.storage) as others:
            for blob in unused(self.results, others):
                if blob.modified <= time() - GRACE:
                    text = f"no result refers to the blob {blob.location}"
                    health.add(Problem("orphaned", text, location=blob.location, size=blob.size))

    def prune(
        self, selection: Selection, *, dry_run: bool = False, progress: Callable[[int], object] | None = None
    ) -> PruneReport:
        """Delete the results of a selection; if it is by time and function alone, failures and ended maps too.

        Args:
            selection: The conditions; with the status ``"failed"``, only failures are deleted.
            dry_run: Whether to count only.
            progress: Called with the number of results that were checked since its last call.

        Raises:
            ConfigurationError: If failures are selected by anything but their time and function.
        """
        alone = selection.status == "failed"
        by_time = selection._replace(status="kept", function=None, before=None) == Selection()
        if alone and not by_time:
            raise ConfigurationError("failures are deleted by their time and their function, and by nothing else")
        prunes_history = isinstance(self.db, PrunesHistory) and by_time and selection.status != "expired"
        failures = self.catalog.count(selection._replace(status="failed")) if prunes_history else 0
        if dry_run:
            sizes = (0, 0) if alone else self._sizes(selection)
            return PruneReport(*sizes, failures)
        deleted = PruneReport(0, 0) if alone else delete_selected(self.results, selection, progress)
        if prunes_history and isinstance(self.db, PrunesHistory):
            self.db.prune_history(selection.before, selection.function)
        return deleted._replace(failures=failures)

    def _sizes(self, selection: Selection) -> tuple[int, int]:
        count = size = 0
        for row in self.selected(selection):
            count, size = count + 1, size + row.size
        return count, size

    def clear(self, *, progress: Callable[[int], object] | None = None) -> PruneReport:
        """Delete every result, failure and ended map."""
        return self.prune(Selection(), progress=progress)

    def evict(
        self,
        retention: Retention | None = None,
        *,
        dry_run: bool = False,
        wait: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> EvictionReport:
        """Delete results by a retention: the expired ones, then the least recently used above its bytes.

        A result whose call is running is left. What was evicted is logged too, at the level INFO.

        Args:
            retention: The policy; ``None``: that of the project. Without any, nothing is evicted.
            dry_run: Whether to count only.
            wait: Whether to wait for another process that is evicting; otherwise nothing is done then.
            progress: Called with the number of results that were checked since its last call; an exception it raises
                ends the eviction.

        Raises:
            ConfigurationError: If there is a ``max_bytes`` and the index does not record last-access times.
        """
        retention = self._retention if retention is None else retention
        if not retention:
            return EvictionReport()
        if self._retention_worker is not None and not dry_run:
            self._retention_worker.write_accesses()
        return evict(self.results, self._single_flight, retention, dry_run=dry_run, wait=wait, progress=progress)

    def gc(
        self,
        *,
        grace: float = GRACE,
        dry_run: bool = False,
        compact: bool = False,
        retention: Retention | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> GarbageReport:
        """Evict results by the retention, if there is one, and delete blobs that no result refers to.

        Other SQLite indexes beside the index, or beside the directory of blobs, are read too: the blobs of their
        results stay. No other index may have its blobs in the same storage.

        Args:
            grace: The age in seconds from which a blob may be garbage. The blob of a running call stays in any case;
                where other indexes share the storage, whose calls cannot be seen, the grace is an hour at least.
            dry_run: Whether to count only.
            compact: Whether to return the space of deleted rows to the disk, if the index can; writers wait meanwhile.
            retention: A policy in place of the project's, as for `evict`.
            progress: Called with the number of results and unused blobs that were checked since its last call.

        Raises:
            IndexUnavailableError: If the index, or one that shares the storage, cannot be read; no blob is deleted.
        """
        evicted = self.evict(retention, dry_run=dry_run, progress=progress)
        garbage = self._collect(grace, dry_run, progress)._replace(evicted=evicted)
        if compact and not dry_run and isinstance(self.db, Compacts):
            self.db.compact()
        return garbage

    def _collect(
        self, grace: float, dry_run: bool = False, progress: Callable[[int], object] | None = None
    ) -> GarbageReport:
        with sharers(self.db, self.storage) as others:
            grace = max(grace, GRACE) if others else grace
            return collect(self.results, self._single_flight, grace, dry_run, progress, others)

    def rename(
        self, old: str, new: str, *, merge: bool = False, progress: Callable[[int], object] | None = None
    ) -> int:
        """Give the results of the function *old* to the function *new*; returns how many there were.

        Args:
            old: The name of the function: ``module.qualname``, or its ``name=``.
            new: The other name.
            merge: Whether results of *new* may be there already; where both have a call, that of *new* stays.
            progress: Called with the number of results that were renamed since its last call.

        Raises:
            ConfigurationError: If *old* has no results, *new* has some, or the results are signed with a secret.
        """
        return rename(self.results, old, new, merge, progress)

    def export(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        selection: Selection | None = None,
        *,
        form: Format | None = None,
        values: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Write results as a table: JSON lines, CSV or Parquet.

        Args:
            path: The path of the file, or a file that is open for writing.
            selection: The conditions; ``None``: all results.
            form: ``"jsonl"``, ``"csv"`` or ``"parquet"``; ``None``: by the suffix of the file.
            values: Whether the table has the values too.
            progress: Called with the number of rows that were written since its last call.

        Returns:
            The number of rows.
        """
        rows = self.selected(selection or Selection())
        if not values:
            return write_table(path, rows, None, form, progress)
        entries: dict[bytes, Entry] = {}

        def looked_up() -> Iterator[Summary]:
            for page in pages(rows, _PAGE):
                entries.clear()
                entries.update(self.db.lookup([row.key for row in page]))
                yield from page

        def value_of(row: Summary) -> Any:
            return self._decoded(self._trusted(row.key, entries.get(row.key)))

        return write_table(path, looked_up(), value_of, form, progress)

    def explain(self, row: Summary | Failure) -> str:
        """The state of a result or a failure, and the nearest other cached call, in a few lines."""
        from beautyspot.results.explain import nearest_to

        if isinstance(row, Failure):
            return f"not kept: it failed with {row.error}: {row.message}; the next call runs again"
        entry = self.entry(row.key)
        place = "in the index" if entry.location is None else f"in the blob {entry.location}"
        state = "expired, so that the next call runs again" if is_expired(entry) else "kept"
        return f"{state}: {entry.size:,} bytes {place}\n{nearest_to(row, self.db.summaries(row.function))}"

    def close(self) -> None:
        """Close the index and the storage; a later use opens them again."""
        self.db.close()
        self.storage.close()
