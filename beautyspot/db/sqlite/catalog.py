"""The catalog of an SQLite index: SQLite itself selects, orders and counts rows.

No payload is read: everything is in ``records`` and ``functions``. The order by time is that of the ids, and the rows
of one function are found through ``functions``, so a page costs the same among a million rows as among a thousand; a
page near the end is reached from the end. No database index supports an order by size or by run time, since it would
cost every write a page: such an order lists the first `DEEPEST` rows and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beautyspot.db.selection_sql import DEEPEST, by_function, condition_of, filled, keys_from, order_of
from beautyspot.db.sqlite.connections import Connections
from beautyspot.db.sqlite.schema import row_id
from beautyspot.protocols.index import Failure, FunctionSummary, Order, Selection, Summary

UNRESOLVED = "NOT EXISTS (SELECT 1 FROM results WHERE results.id = failures.result)"

_FAR = 20_000  # rows; from here on it pays to count all rows and start from the nearer end
_SUMMARY = ", ".join(Summary._fields)
_FAILURE = ", ".join(Failure._fields)
_LISTED = "SELECT coalesce(max(id), 0) & ~255 FROM records"  # records up to here are in `functions`
_OF_FUNCTION = (
    f"SELECT record AS id FROM functions WHERE function = ? AND record <= ({_LISTED}) "
    f"UNION ALL SELECT id FROM records WHERE id > ({_LISTED}) AND function = ?"
)
_PER_FUNCTION = "SELECT function, version, count(*), sum(size), sum(coalesce(seconds, 0)), max(created)"


class SQLiteCatalog:
    """The `Catalog` and the `IntegrityCheck` of an SQLite index.

    Args:
        connections: Connections to the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Summary] | list[Failure]:
        """The rows *start* to *start + count* of a selection."""
        ordered = order_of(order, descending, selection.status == "failed")
        count = max(0, count if order == "created" else min(count, DEEPEST - start))
        if selection.status == "failed":
            where = condition_of(selection, "?", "LIKE")
            failures = f"SELECT {_FAILURE} FROM failures WHERE {where.sql} AND {UNRESOLVED}"
            values = [*where.values, count, start]
            rows = self._connections.read(f"{failures} ORDER BY {ordered} LIMIT ? OFFSET ?", values)
            return [Failure._make(row) for row in rows]
        if order == "created" and start > _FAR:
            total = self.count(selection)
            if start > total // 2:
                count = max(0, min(count, total - start))
                ordered, start = order_of(order, not descending, False), total - start - count
                return self._page(selection, ordered, start, count)[::-1]
        return self._page(selection, ordered, start, count)

    def _page(self, selection: Selection, ordered: str, start: int, count: int) -> list[Summary]:
        ids, values = self._ids(selection)
        # The ids first, so that the rows that OFFSET skips are not read.
        sql = (
            f"SELECT {_SUMMARY} FROM records WHERE id IN ({ids} ORDER BY {ordered} LIMIT ? OFFSET ?) ORDER BY {ordered}"
        )
        return [Summary._make(row) for row in self._connections.read(sql, [*values, count, start])]

    def _ids(self, selection: Selection) -> tuple[str, list[Any]]:
        """A query for the ids of a selection of results, with its values."""
        if selection.function is None:
            where = condition_of(selection, "?", "LIKE")
            return f"SELECT id FROM records WHERE {where.sql}", where.values
        where = condition_of(selection._replace(function=None), "?", "LIKE")
        twice = [selection.function, selection.function]
        if where.sql == "true":
            return f"SELECT id FROM ({_OF_FUNCTION})", twice
        return f"SELECT id FROM records WHERE id IN ({_OF_FUNCTION}) AND {where.sql}", [*twice, *where.values]

    def count(self, selection: Selection) -> int:
        """Number of rows in a selection."""
        if selection.status == "failed":
            where = condition_of(selection, "?", "LIKE")
            sql = f"SELECT count(*) FROM failures WHERE {where.sql} AND {UNRESOLVED}"
            return self._number(sql, where.values)
        if selection == Selection():  # `functions` is a tenth of the size of `records`, and lacks only the latest
            latest = f"SELECT count(*) FROM records WHERE id > ({_LISTED}) AND NOT EXISTS (SELECT 1 FROM functions "
            latest += "WHERE functions.function = records.function AND functions.record = records.id)"
            return self._number("SELECT count(*) FROM functions", ()) + self._number(latest, ())
        ids, values = self._ids(selection)
        return self._number(f"SELECT count(*) FROM ({ids})", values)

    def _number(self, sql: str, values: Sequence[Any]) -> int:
        return int(self._connections.read(sql, values)[0][0])

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """Results and failures whose key begins with *prefix*."""
        first, last = keys_from(prefix)
        ends = [row_id(key) for key in (first, last)]
        found = (
            f"SELECT {', '.join(f'records.{name}' for name in Summary._fields)} FROM results "
            "JOIN records ON records.id = results.record "
            "WHERE results.id BETWEEN ? AND ? AND results.key BETWEEN ? AND ? ORDER BY results.key LIMIT ?"
        )
        kept = self._connections.read(found, [*ends, first, last, count])
        rows: list[Summary | Failure] = [Summary._make(row) for row in kept]
        failed = f"SELECT {_FAILURE} FROM failures WHERE key BETWEEN ? AND ? AND {UNRESOLVED} ORDER BY key LIMIT ?"
        rows += [Failure._make(row) for row in self._connections.read(failed, [first, last, count])]
        return rows[:count]

    def functions(self) -> list[FunctionSummary]:
        """One summary for each version of each function."""
        failed = f"SELECT function, version, count(*), max(created) FROM failures WHERE {UNRESOLVED} GROUP BY 1, 2"
        kept = f"{_PER_FUNCTION} FROM records GROUP BY function, version"
        return by_function(self._connections.read(kept, ()), self._connections.read(failed, ()))

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results and failures were recorded in each part of a period."""
        width = (before - since) / bins
        counts = []
        for table, condition in (("records", "true"), ("failures", UNRESOLVED)):
            sql = (
                f"SELECT CAST((created - ?) / ? AS INTEGER), count(*) FROM {table} "
                f"WHERE created >= ? AND created < ? AND {condition} GROUP BY 1"
            )
            counts.append(filled(self._connections.read(sql, [since, width, since, before]), bins))
        return counts[0], counts[1]

    def latest(self) -> tuple[int, int]:
        """A number that grows with every result, and one that grows with every failure."""
        sql = "SELECT (SELECT coalesce(max(id), 0) FROM records), (SELECT coalesce(max(id), 0) FROM failures)"
        results, failures = self._connections.read(sql, ())[0]
        return results, failures

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file, and whether both of its main tables have as many rows."""
        problems = [str(row[0]) for row in self._connections.read("PRAGMA quick_check(10)", ()) if row[0] != "ok"]
        both = "SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM records)"
        results, records = self._connections.read(both, ())[0]
        if results != records:
            problems.append(f"{results:,} results are kept, and {records:,} are listed")
        return problems
