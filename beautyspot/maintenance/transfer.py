"""Transfer: copy results, with their blobs, from one index and storage to another.

Each result is checked, and keeps its key, so that it answers the same calls. A page of results is transferred at a
time, blobs before rows. If the process is killed, the same transfer continues where it left off.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from beautyspot._internal.digests import hasher
from beautyspot._internal.pages import pages
from beautyspot.db.scanning import iterate_records
from beautyspot.errors import StorageError
from beautyspot.protocols.index import Entry, Record, TaskDB
from beautyspot.protocols.serializer import Buffer
from beautyspot.protocols.storage import BlobStorage
from beautyspot.results.signing import Signer, is_signed, signer_for, without_signature
from beautyspot.results.store import is_expired

__all__ = ["TransferEndpoint", "TransferReport", "move"]

_PAGE = 200  # results whose rows are written together
_AT_ONCE = 8  # blobs that are copied at a time
_LISTED = 10  # problems that are listed


@dataclass(frozen=True, slots=True)
class TransferReport:
    """The outcome of a transfer, as numbers of results.

    Attributes:
        moved: Copied to the target.
        already: In the target before.
        expired: Left out because they have expired.
        left_out: Left out because they are damaged, their blob is gone, or their signature is not that of the secret.
        problems: Sentences about the first ten of those left out.
    """

    moved: int = 0
    already: int = 0
    expired: int = 0
    left_out: int = 0
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [(self.moved, "moved"), (self.already, "there already"), (self.expired, "expired")]
        texts = [f"{count:,} {what}" for count, what in parts if count or what == "moved"]
        if self.left_out:
            texts.append(f"{self.left_out:,} left out, which would run again in any case")
        return ", ".join(texts)


class TransferEndpoint:
    """One end of a transfer: an index with its storage.

    Args:
        db: The index.
        storage: The storage of its blobs.
    """

    def __init__(self, db: TaskDB, storage: BlobStorage) -> None:
        self.db = db
        self.storage = storage

    def records(self) -> Iterator[Record]:
        """All results, oldest first."""
        return (record for _, record in iterate_records(self.db, 0))

    def blob(self, entry: Entry) -> Buffer | None:
        """The blob of a result; ``None`` if it has none."""
        return None if entry.location is None else self.storage.load(entry.location, entry.size)

    def has(self, keys: list[bytes]) -> set[bytes]:
        """Those *keys* whose results are here and have not expired."""
        return {key for key, entry in self.db.lookup(keys).items() if not is_expired(entry)}

    def with_blob(self, record: Record, blob: Buffer | None) -> Record:
        """Write the blob of a result, and return its record with the new location."""
        if blob is None:
            return record
        location = self.storage.save(record.summary.key.hex(), [blob])
        return record._replace(entry=record.entry._replace(location=location))

    def put(self, page: Iterable[Record]) -> None:
        """Write the rows; if that fails, delete the blobs that were written for them."""
        records: list[Record] = []
        try:
            records.extend(page)
            if records:
                self.db.upsert(records)
        except BaseException:
            for record in records:
                if record.entry.location is not None:
                    with contextlib.suppress(StorageError):  # then it is garbage, which does no harm
                        self.storage.delete(record.entry.location)
            raise


def move(
    source: TransferEndpoint,
    target: TransferEndpoint,
    secret: str | bytes | None = None,
    progress: Callable[[int], object] | None = None,
) -> TransferReport:
    """Copy all results of *source* to *target*; those that are there already stay as they are.

    Args:
        source: The index and storage to read.
        target: The index and storage to write.
        secret: The secret with which results must be signed, as in ``Project(secret=...)``; ``None``: signatures are
            not checked.
        progress: Called with the number of results that were read since its last call.

    Returns:
        The numbers of results that were copied and left out.

    Raises:
        IndexUnavailableError, StorageError: If the source cannot be listed, or the target cannot be written. What was
            copied stays; the same transfer again continues.
    """
    arrivals = _Arrivals(source, target, signer_for(secret))
    moved = already = expired = 0
    with ThreadPoolExecutor(_AT_ONCE, "beautyspot-move") as pool:
        for page in pages(source.records(), _PAGE, progress):
            lasting = [record for record in page if not is_expired(record.entry)]
            known = target.has([record.summary.key for record in lasting])
            new = [record for record in lasting if record.summary.key not in known]
            target.put(arrivals.of(new, pool))
            moved, already = moved + len(new), already + len(lasting) - len(new)
            expired += len(page) - len(lasting)
    left_out = len(arrivals.refused)
    return TransferReport(moved - left_out, already, expired, left_out, tuple(arrivals.refused[:_LISTED]))


class _Arrivals:
    """Checks results and copies their blobs.

    Args:
        source: The end to read.
        target: The end to write.
        signer: Verifies the signatures of results; ``None``: they are not checked.

    Attributes:
        refused: A sentence about each result that was left out.
    """

    def __init__(self, source: TransferEndpoint, target: TransferEndpoint, signer: Signer | None) -> None:
        self._source = source
        self._target = target
        self._signer = signer
        self.refused: list[str] = []

    def of(self, records: Iterable[Record], pool: ThreadPoolExecutor) -> Iterator[Record]:
        """The records for the target, in the same order; several blobs are read and written at a time."""
        waiting: deque[Future[Record | None]] = deque()
        for record in records:
            has_blob = record.entry.location is not None
            waiting.append(pool.submit(self._copied, record) if has_blob else _done(self._copied(record)))
            if len(waiting) >= _AT_ONCE:
                yield from _unless_refused(waiting.popleft())
        while waiting:
            yield from _unless_refused(waiting.popleft())

    def _copied(self, record: Record) -> Record | None:
        try:
            blob = self._source.blob(record.entry)
            problem = self._problem(record, blob)
        except StorageError as error:
            blob, problem = None, str(error)
        if problem is None:
            return self._target.with_blob(record, blob)
        self.refused.append(f"{record.summary.function}({record.summary.input}): {problem}")
        return None

    def _problem(self, record: Record, blob: Buffer | None) -> str | None:
        """A sentence about the problem of a result; ``None`` if it has none."""
        entry, key = record.entry, record.summary.key
        if self._signer is not None:
            bare = self._signer.verified(key, entry)
            if bare is None:
                return "it is not signed with this secret"
            entry = bare
        if entry.value is not None:
            whole = len(entry.value) == entry.size and without_signature(entry).is_intact()
            return None if whole else "its row is damaged: its checksum does not fit"
        if blob is None:
            return "its row has neither a value nor a location"
        if self._signer is None and is_signed(entry):
            return None  # it cannot be checked without the secret
        digest = (hasher if self._signer is None else self._signer.hasher)(entry.size).update(blob).digest(16)
        return None if digest == entry.checksum else "its blob is damaged: its checksum does not fit"


def _done(value: Record | None) -> Future[Record | None]:
    future: Future[Record | None] = Future()
    future.set_result(value)
    return future


def _unless_refused(future: Future[Record | None]) -> Iterator[Record]:
    record = future.result()
    if record is not None:
        yield record
