"""The catalog of any index: its own, or one that reads its lists from end to end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from time import time
from typing import Any

from beautyspot.db.selection_sql import DEEPEST, by_function, filled, keys_from, order_of
from beautyspot.protocols.index import (
    Catalog,
    Entry,
    Failure,
    FailureLog,
    FunctionSummary,
    Order,
    OrderedRecords,
    Record,
    Selection,
    Summary,
    TaskDB,
)

__all__ = ["ScanningCatalog", "catalog_of", "is_selected"]

_RECORDS = 200  # records read at a time from an index that does not list them in the order they were stored


def catalog_of(db: TaskDB) -> Catalog:
    """The catalog of *db*: *db* itself if it has these methods, else a `ScanningCatalog`."""
    return db if isinstance(db, Catalog) else ScanningCatalog(db)


def is_selected(row: Summary | Failure, selection: Selection) -> bool:
    """Whether a row meets the conditions of a selection; its status is taken as given."""
    if isinstance(row, Summary) and not _is_selected_result(row, selection):
        return False
    return (
        selection.function in (None, row.function)
        and selection.version in (None, row.version)
        and selection.text.lower() in row.input.lower()
        and (selection.since is None or row.created >= selection.since)
        and (selection.before is None or row.created < selection.before)
    )


def _is_selected_result(row: Summary, selection: Selection) -> bool:
    return (
        (selection.smallest is None or row.size >= selection.smallest)
        and (selection.largest is None or row.size <= selection.largest)
        and (selection.status != "expired" or (row.expires is not None and row.expires <= time()))
    )


class ScanningCatalog:
    """A catalog for an index without one: each query reads its lists from end to end.

    Args:
        db: The index.
    """

    def __init__(self, db: TaskDB) -> None:
        self._db = db

    def rows(self, selection: Selection) -> Iterator[Any]:
        """The rows of a selection, newest first."""
        if selection.status == "failed":
            found: Iterable[Any] = self._failures(selection.function)
        else:
            found = self._db.summaries(selection.function)
        return (row for row in found if is_selected(row, selection))

    def _failures(self, function: str | None = None) -> Iterable[Failure]:
        return self._db.failures(function) if isinstance(self._db, FailureLog) else ()

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Any]:
        """The rows *start* to *start + count* of a selection."""
        order_of(order, descending, selection.status == "failed")  # only to reject an unknown order
        rows = self.rows(selection)
        if order == "created":
            if descending:
                return list(itertools.islice(rows, start, start + count))
            return list(rows)[::-1][start : start + count]
        best = heapq.nlargest if descending else heapq.nsmallest
        end = min(start + count, DEEPEST)
        return best(end, rows, key=lambda row: getattr(row, order) or 0)[start:end]

    def count(self, selection: Selection) -> int:
        """Number of rows in a selection."""
        return sum(1 for _ in self.rows(selection))

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """Results and failures whose key begins with *prefix*."""
        first, last = keys_from(prefix)
        rows: Iterator[Summary | Failure] = itertools.chain(self._db.summaries(), self._failures())
        return list(itertools.islice((row for row in rows if first <= row.key <= last), count))

    def functions(self) -> list[FunctionSummary]:
        """One summary for each version of each function."""
        kept: dict[tuple[str, str], tuple[int, int, float, float]] = {}
        failed: dict[tuple[str, str], tuple[int, float]] = {}
        for row in self._db.summaries():
            results, size, seconds, latest = kept.get((row.function, row.version), (0, 0, 0.0, 0.0))
            sums = (results + 1, size + row.size, seconds + (row.seconds or 0), max(latest, row.created))
            kept[row.function, row.version] = sums
        for failure in self._failures():
            failures, latest = failed.get((failure.function, failure.version), (0, 0.0))
            failed[failure.function, failure.version] = failures + 1, max(latest, failure.created)
        return by_function(((*name, *sums) for name, sums in kept.items()), ((*n, *sums) for n, sums in failed.items()))

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results and failures were recorded in each part of a period."""
        width = (before - since) / bins
        times = Selection(since=since, before=before)
        kept, failed = (
            filled([(int((row.created - since) / width), 1) for row in self.rows(times._replace(status=status))], bins)
            for status in ("kept", "failed")
        )
        return kept, failed

    def latest(self) -> tuple[int, int]:
        """The times of the newest result and of the newest failure, in microseconds."""
        result, failure = next(self._db.summaries(), None), next(iter(self._failures()), None)
        return _micros(result), _micros(failure)


def _micros(row: Summary | Failure | None) -> int:
    return 0 if row is None else int(row.created * 1e6)


def iterate_records(db: TaskDB, after: int) -> Iterator[tuple[int, Record]]:
    """Records of any index, oldest first, each with its position. An index without that order is listed completely."""
    if isinstance(db, OrderedRecords):
        yield from db.records(after)
        return
    oldest_first = list(db.summaries())[::-1]
    for start in range(after, len(oldest_first), _RECORDS):
        some = oldest_first[start : start + _RECORDS]
        entries: dict[bytes, Entry] = db.lookup([summary.key for summary in some])
        for place, summary in enumerate(some, start + 1):
            if summary.key in entries:
                yield place, Record(entries[summary.key], summary)
