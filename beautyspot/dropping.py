"""Dropping what is kept: rows first, then their blobs, a page at a time, so that it may be stopped anywhere.

A blob is garbage only if no row refers to it, it is old enough, and nobody runs its call just now: whoever keeps a
result holds the lock of its key from before the blob is written until its row is committed.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from beautyspot.catalog import is_selected
from beautyspot.errors import StorageError
from beautyspot.flight import Flights
from beautyspot.protocols import BlobInfo, Entry, Selection, Summary, TaskDB
from beautyspot.readable import counted
from beautyspot.results import Results, unreferenced

__all__ = ["Dropped", "Evicted", "Garbage"]

_PAGE = 500  # results that are dropped together
_KEY = re.compile(r"[0-9a-f]{32}")

Progress = Callable[[int], object]


class Dropped(NamedTuple):
    """What was dropped.

    Attributes:
        results: How many results.
        size: Bytes of them.
        failures: How many failures that were noted.
    """

    results: int
    size: int
    failures: int = 0

    def __str__(self) -> str:
        failures = [counted(self.failures, "failure")] if self.failures else []
        results = [counted(self.results, "result")] if self.results or not failures else []
        return " and ".join(results + failures)


class Evicted(NamedTuple):
    """What a `Retention` has dropped.

    Attributes:
        expired: Results whose time was over.
        over: Results over ``max_bytes``, the longest unused ones.
        oversized: How many were left that alone are larger than ``max_bytes``.
    """

    expired: Dropped = Dropped(0, 0)
    over: Dropped = Dropped(0, 0)
    oversized: int = 0

    @property
    def results(self) -> int:
        """How many results were dropped."""
        return self.expired.results + self.over.results

    @property
    def size(self) -> int:
        """Bytes of them."""
        return self.expired.size + self.over.size

    def __str__(self) -> str:
        parts = [f"{self.expired} whose time is over"] if self.expired.results or not self.over.results else []
        return " and ".join(parts + [f"{self.over} over max_bytes"] * bool(self.over.results))


class Garbage(NamedTuple):
    """Blobs that no row refers to.

    Attributes:
        blobs: That are garbage.
        size: Bytes of them; of unfinished ones in S3 nobody knows.
        young: That were left since they may be in the making.
        evicted: Results that were dropped before, where there is a `Retention`.
    """

    blobs: int
    size: int
    young: int
    evicted: Evicted = Evicted()

    def __str__(self) -> str:
        blobs, results = counted(self.blobs, "blob"), self.evicted.results
        return f"{counted(results, 'result')}, and {blobs} without a result" if results else blobs


def drop(results: Results, selection: Selection, progress: Progress | None = None) -> Dropped:
    """Drop the results of a selection.

    Args:
        results: From which.
        selection: Which; its status is not ``"failed"``.
        progress: Told how many were looked at since it was told last.
    """
    dropped, size = 0, 0
    rows = results.db.summaries(selection.function)
    while page := list(islice(rows, _PAGE)):
        chosen = [row for row in page if is_selected(row, selection)]
        dropped += drop_keys(results, [row.key for row in chosen])
        size += sum(row.size for row in chosen)
        if progress is not None:
            progress(len(page))
    return Dropped(dropped, size)


def drop_keys(results: Results, keys: list[bytes]) -> int:
    """Drop the results of *keys*, whoever signed them; how many there were."""
    return drop_entries(results, results.db.lookup(keys)) if keys else 0


def drop_entries(results: Results, entries: Mapping[bytes, Entry]) -> int:
    """Drop the results of these entries, each with its key; how many there were."""
    dropped = results.db.delete(list(entries)) if entries else 0
    for entry in entries.values():
        if entry.location is not None:
            try:
                results.storage.delete(entry.location)
            except StorageError as error:  # it is garbage then, which harms nobody and is found again
                logging.getLogger("beautyspot").warning("cannot remove the blob %s: %s", entry.location, error)
    return dropped


def selected(results: Results, selection: Selection) -> Iterator[Summary]:
    """The results of a selection, newest first, in bounded memory."""
    return (row for row in results.db.summaries(selection.function) if is_selected(row, selection))


def collect(
    results: Results,
    flights: Flights,
    grace: float,
    dry_run: bool = False,
    progress: Progress | None = None,
    sharers: Sequence[TaskDB] = (),
) -> Garbage:
    """Remove blobs that no row refers to.

    Args:
        results: Whose storage.
        flights: Of the same index: what runs just now.
        grace: Seconds that a blob must be old.
        dry_run: Only count.
        progress: Told how many unused blobs were looked at.
        sharers: Other indexes whose blobs lie there as well.
    """
    blobs, size, young = 0, 0, 0
    for blob in unused(results, sharers):
        if blob.modified > time.time() - grace or not _removed(results, flights, blob, dry_run):
            young += 1
        else:
            blobs, size = blobs + 1, size + blob.size
        if progress is not None:
            progress(1)
    return Garbage(blobs, size, young)


def unused(results: Results, sharers: Sequence[TaskDB]) -> Iterator[BlobInfo]:
    """Blobs that no row of an index refers to, nor one of those that share its storage."""
    blobs = results.garbage()
    for other in sharers:
        blobs = unreferenced(blobs, other)
    return blobs


def _removed(results: Results, flights: Flights, blob: BlobInfo, dry_run: bool) -> bool:
    """Remove a blob with the lock of its key in hand; ``False`` where its call runs, or has ended meanwhile."""
    found = _KEY.search(blob.location)
    if found is None:
        if not dry_run:
            results.storage.delete(blob.location)
        return True
    key = bytes.fromhex(found[0])
    if dry_run:  # nothing is written, not even a lock
        return not _is_in_use(results, key, blob)
    if not flights.try_acquire(key, surely=True):
        return False
    try:
        if _is_in_use(results, key, blob):
            return False
        results.storage.delete(blob.location)
        return True
    finally:
        flights.land(key)


def _is_in_use(results: Results, key: bytes, blob: BlobInfo) -> bool:
    entry = results.db.lookup([key]).get(key)
    return entry is not None and entry.location == blob.location
