"""Eviction: results are deleted by a `Retention`, first the expired ones, then what exceeds its bytes.

A page is deleted while the locks of its keys are held, so that no result goes whose call is running, and only those
rows that are still as they were when they were selected. One process at a time evicts: two that both see too many
bytes would delete twice as many. Rows go before their blobs: if the process is killed, a blob may be left as garbage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from time import time
from typing import NamedTuple

from beautyspot._internal.digests import digest_of
from beautyspot._internal.pages import pages
from beautyspot._internal.text import size_text
from beautyspot.maintenance.pruning import Progress, PruneReport, delete_entries
from beautyspot.maintenance.retention import Retention
from beautyspot.protocols.index import Summary
from beautyspot.results.last_used import access_log
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results

_PAGE = 500  # results that are deleted together
_TURN = digest_of(b"evicting")  # the key whose lock the evicting process holds


def evict(
    results: Results,
    single_flight: SingleFlight,
    retention: Retention,
    *,
    dry_run: bool = False,
    wait: bool = True,
    progress: Progress | None = None,
) -> EvictionReport:
    """Delete results by a retention policy.

    Args:
        results: The index and its blobs.
        single_flight: The locks of the same index: no result whose key is locked is deleted.
        retention: The policy.
        dry_run: Whether to count only.
        wait: Whether to wait for another process that is evicting; otherwise nothing is done then.
        progress: Called with the number of results that were checked since its last call; an exception it raises ends
            the eviction.

    Raises:
        ConfigurationError: If there is a ``max_bytes`` and the index does not record last-access times.
        IndexUnavailableError: If the index cannot be read, locked or written to.
    """
    eviction = _Eviction(results, single_flight, retention, dry_run, progress)
    if dry_run:
        return eviction.run()
    if wait:
        single_flight.acquire(_TURN)
    elif not single_flight.try_acquire(_TURN, require_index=True):
        return EvictionReport()
    try:
        return eviction.run()
    finally:
        single_flight.release_current(_TURN)
        eviction.log()


class _Eviction:
    """One eviction; the arguments are those of `evict`."""

    def __init__(
        self,
        results: Results,
        single_flight: SingleFlight,
        retention: Retention,
        dry_run: bool,
        progress: Progress | None,
    ) -> None:
        self._results = results
        self._single_flight = single_flight
        self._limit = retention.limit
        self._access_log = None if retention.limit is None else access_log(results.db)
        self._ttl_of = cache(retention.ttl_of)
        self._dry_run = dry_run
        self._progress = progress
        self._now = time()
        self._done = EvictionReport()

    def run(self) -> EvictionReport:
        left = self._delete_expired()
        if self._limit is not None:
            self._delete_excess(left - self._limit)
        return self._done

    def log(self) -> None:
        """Log what was deleted, even if the eviction was interrupted."""
        if self._done.results:
            logging.getLogger("beautyspot").info(
                "evicted from %r: %s, %s", self._results.db, self._done, size_text(self._done.size)
            )

    def _is_expired(self, row: Summary) -> bool:
        """Whether a result has expired, by its own time or else by the rule for its function."""
        if row.expires is not None:
            return row.expires <= self._now
        ttl = self._ttl_of(row.function)
        return ttl is not None and row.created + ttl <= self._now

    def _is_oversized(self, row: Summary) -> bool:
        return self._limit is not None and row.size > self._limit

    def _delete_expired(self) -> int:
        """Delete the expired results; returns the bytes of all others that count."""
        left = oversized = 0
        for page in pages(self._results.db.summaries(), _PAGE, self._progress):
            gone = self._delete([row for row in page if self._is_expired(row)])
            self._done = self._done._replace(expired=_sum(self._done.expired, gone))
            deleted = {row.key for row in gone}
            for row in page:
                if row.key not in deleted and self._is_oversized(row):
                    oversized += 1
                elif row.key not in deleted:
                    left += row.size
        self._done = self._done._replace(oversized=oversized)
        return left

    def _delete_excess(self, excess: int) -> None:
        """Delete *excess* bytes of results, the least recently used first."""
        if self._access_log is None or excess <= 0:
            return
        # An expired result that is still here is locked, or this is a dry run.
        used = self._access_log.least_used()
        rows = (row for row in used if not self._is_oversized(row) and not self._is_expired(row))
        while excess > 0 and (page := _enough(rows, excess)):
            gone = self._delete(page)
            excess -= sum(row.size for row in gone)
            self._done = self._done._replace(over=_sum(self._done.over, gone))
            if self._progress is not None:
                self._progress(len(page))

    def _delete(self, rows: list[Summary]) -> list[Summary]:
        """Delete those results whose keys are not locked; returns them."""
        if self._dry_run or not rows:
            return rows
        locked = self._single_flight.try_acquire_many([row.key for row in rows], require_index=True)
        try:
            entries = self._results.db.lookup(list(locked))
            selected = {(row.key, row.size, row.expires) for row in rows}
            same = {key: entry for key, entry in entries.items() if (key, entry.size, entry.expires) in selected}
            delete_entries(self._results, same)
        finally:
            self._single_flight.release_many(list(locked))
        return [row for row in rows if row.key in same]


def _sum(before: PruneReport, rows: list[Summary]) -> PruneReport:
    return PruneReport(before.results + len(rows), before.size + sum(row.size for row in rows))


def _enough(rows: Iterator[Summary], excess: int) -> list[Summary]:
    """The next rows that together have *excess* bytes, a page at most."""
    page: list[Summary] = []
    while excess > 0 and len(page) < _PAGE and (row := next(rows, None)) is not None:
        page.append(row)
        excess -= row.size
    return page


class EvictionReport(NamedTuple):
    """What a `Retention` has evicted.

    Attributes:
        expired: The expired results.
        over: The results above ``max_bytes``, which were the least recently used.
        oversized: The number of results left that are each larger than ``max_bytes``.
    """

    expired: PruneReport = PruneReport(0, 0)
    over: PruneReport = PruneReport(0, 0)
    oversized: int = 0

    @property
    def results(self) -> int:
        """The number of results that were evicted."""
        return self.expired.results + self.over.results

    @property
    def size(self) -> int:
        """Their size in bytes."""
        return self.expired.size + self.over.size

    def __str__(self) -> str:
        parts = [f"{self.expired} that expired"] if self.expired.results or not self.over.results else []
        return " and ".join(parts + [f"{self.over} over max_bytes"] * bool(self.over.results))
