"""Evicting: results are dropped as a `Retention` says, first those whose time is over, then what is over its bytes.

Each page is dropped with the locks of its keys in hand, so that nothing goes whose call runs just now, and only where a
row is still the one that was seen. One process at a time does this: two that both see too many bytes would drop twice
as many. Rows go before their blobs: killed anywhere, a blob may be left, and is garbage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from itertools import islice
from time import time
from typing import NamedTuple

from beautyspot._internal.digests import digest_of
from beautyspot._internal.text import size_text
from beautyspot.maintenance.pruning import Dropped, Progress, drop_entries
from beautyspot.maintenance.retention import Retention
from beautyspot.protocols.index import Summary
from beautyspot.results.last_used import access_log
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results

_PAGE = 500  # results that are dropped together
_TURN = digest_of(b"evicting")  # the key of whose lock he who evicts has


def evict(
    results: Results,
    single_flight: SingleFlight,
    retention: Retention,
    *,
    dry_run: bool = False,
    wait: bool = True,
    progress: Progress | None = None,
) -> Evicted:
    """Drop results as a retention says.

    Args:
        results: Which.
        flights: Of the same index: what runs just now.
        retention: What is to be kept.
        dry_run: Only count.
        wait: For another process that is at it; else nothing is done then.
        progress: Told how many results were looked at since it was told last; what it raises ends the dropping.

    Raises:
        ConfigurationError: If there is a ``max_bytes`` and the index does not remember uses.
        IndexUnavailableError: If the index cannot be read, locked or written to.
    """
    eviction = _Eviction(results, single_flight, retention, dry_run, progress)
    if dry_run:
        return eviction.run()
    if wait:
        single_flight.acquire(_TURN)
    elif not single_flight.try_acquire(_TURN, require_index=True):
        return Evicted()
    try:
        return eviction.run()
    finally:
        single_flight.release_current(_TURN)
        eviction.tell()


class _Eviction:
    """One walk through an index; the arguments are those of `evict`."""

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
        self._log = None if retention.limit is None else access_log(results.db)
        self._ttl_of = cache(retention.ttl_of)
        self._dry_run = dry_run
        self._progress = progress
        self._now = time()
        self._done = Evicted()

    def run(self) -> Evicted:
        left = self._drop_expired()
        if self._limit is not None:
            self._drop_over(left - self._limit)
        return self._done

    def tell(self) -> None:
        """Say what was dropped, also where it ended in the middle."""
        if self._done.results:
            logging.getLogger("beautyspot").info(
                "dropped from %r: %s, %s", self._results.db, self._done, size_text(self._done.size)
            )

    def _is_over(self, row: Summary) -> bool:
        """Whether the time of a result is over: its own, or else that of the rule for its function."""
        if row.expires is not None:
            return row.expires <= self._now
        ttl = self._ttl_of(row.function)
        return ttl is not None and row.created + ttl <= self._now

    def _is_oversized(self, row: Summary) -> bool:
        return self._limit is not None and row.size > self._limit

    def _drop_expired(self) -> int:
        """Drop the results whose time is over; the bytes of all others that count."""
        left = oversized = 0
        rows = self._results.db.summaries()
        while page := list(islice(rows, _PAGE)):
            gone = self._drop([row for row in page if self._is_over(row)])
            self._done = self._done._replace(expired=_sum(self._done.expired, gone))
            dropped = {row.key for row in gone}
            for row in page:
                if row.key not in dropped and self._is_oversized(row):
                    oversized += 1
                elif row.key not in dropped:
                    left += row.size
            self._tell(len(page))
        self._done = self._done._replace(oversized=oversized)
        return left

    def _drop_over(self, excess: int) -> None:
        """Drop *excess* bytes of results, the longest unused first."""
        if self._log is None or excess <= 0:
            return
        # What is over and still here is in use, or is only counted.
        rows = (row for row in self._log.least_used() if not self._is_oversized(row) and not self._is_over(row))
        while excess > 0 and (page := _enough(rows, excess)):
            gone = self._drop(page)
            excess -= sum(row.size for row in gone)
            self._done = self._done._replace(over=_sum(self._done.over, gone))
            self._tell(len(page))

    def _drop(self, rows: list[Summary]) -> list[Summary]:
        """Drop those results that nobody makes just now; which ones these were."""
        if self._dry_run or not rows:
            return rows
        taken = self._single_flight.try_acquire_many([row.key for row in rows], require_index=True)
        try:
            entries = self._results.db.lookup(list(taken))
            seen = {(row.key, row.size, row.expires): row for row in rows}
            same = {key: entry for key, entry in entries.items() if (key, entry.size, entry.expires) in seen}
            drop_entries(self._results, same)
        finally:
            self._single_flight.release_many(list(taken))
        return [row for row in rows if row.key in same]

    def _tell(self, count: int) -> None:
        if self._progress is not None:
            self._progress(count)


def _sum(before: Dropped, rows: list[Summary]) -> Dropped:
    return Dropped(before.results + len(rows), before.size + sum(row.size for row in rows))


def _enough(rows: Iterator[Summary], excess: int) -> list[Summary]:
    """The next rows that together have *excess* bytes, or a page of them."""
    page: list[Summary] = []
    while excess > 0 and len(page) < _PAGE and (row := next(rows, None)) is not None:
        page.append(row)
        excess -= row.size
    return page


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
