"""The catalog of a PostgreSQL index: the server itself selects, orders and counts rows."""

from __future__ import annotations

from typing import Any

from beautyspot.db.postgres.connections import Connections
from beautyspot.db.postgres.statements import FAILURE, SUMMARY, plain
from beautyspot.db.selection_sql import DEEPEST, by_function, condition_of, filled, keys_from, order_of
from beautyspot.protocols.index import Failure, FunctionSummary, Order, Selection, Summary

_FAR = 20_000  # rows; from here on it pays to count all rows and start from the nearer end
_PER_FUNCTION = "SELECT function, version, count(*), sum(size)::bigint, coalesce(sum(seconds), 0)::float8, max(created)"


class PostgresCatalog:
    """The `Catalog` of a PostgreSQL index.

    Args:
        connections: Connections to the server.
        schema: Name of the schema that holds the tables.
    """

    def __init__(self, connections: Connections, schema: str) -> None:
        self._connections = connections
        self._schema = schema

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Summary] | list[Failure]:
        """The rows *start* to *start + count* of a selection."""
        failed = selection.status == "failed"
        ordered = order_of(order, descending, failed)
        count = max(0, count if order == "created" else min(count, DEEPEST - start))
        if order == "created" and start > _FAR and start > (total := self.count(selection)) // 2:
            count = max(0, min(count, total - start))
            start, ordered = total - start - count, order_of(order, not descending, failed)
            return self._page(selection, ordered, start, count)[::-1]
        return self._page(selection, ordered, start, count)

    def _page(self, selection: Selection, ordered: str, start: int, count: int) -> list[Any]:
        failed = selection.status == "failed"
        columns, table, make = (FAILURE, "failures", Failure) if failed else (SUMMARY, "results", Summary)
        where, values = self._where(selection)
        # The ids first, so that the rows that OFFSET skips are not read.
        ids = f"SELECT id FROM {self._schema}.{table} WHERE {where} ORDER BY {ordered} LIMIT %s OFFSET %s"
        sql = f"SELECT {columns} FROM {self._schema}.{table} WHERE id = ANY (ARRAY({ids})) ORDER BY {ordered}"
        return [make(*row) for row in self._connections.read(sql, [*values, count, start])]

    def _where(self, selection: Selection) -> tuple[str, list[Any]]:
        where = condition_of(selection, "%s", "ILIKE")
        sql = f"{where.sql} AND {self._unresolved}" if selection.status == "failed" else where.sql
        return sql, [plain(value) for value in where.values]

    @property
    def _unresolved(self) -> str:
        return f"NOT EXISTS (SELECT 1 FROM {self._schema}.results WHERE results.key = failures.key)"

    def count(self, selection: Selection) -> int:
        """Number of rows in a selection."""
        where, values = self._where(selection)
        table = "failures" if selection.status == "failed" else "results"
        return int(self._connections.read(f"SELECT count(*) FROM {self._schema}.{table} WHERE {where}", values)[0][0])

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """Results and failures whose key begins with *prefix*."""
        ends = [key.hex() for key in keys_from(prefix)]
        between = "WHERE key BETWEEN %s::uuid AND %s::uuid"
        kept = f"SELECT {SUMMARY} FROM {self._schema}.results {between} ORDER BY key LIMIT %s"
        failed = f"SELECT {FAILURE} FROM {self._schema}.failures {between} AND {self._unresolved} ORDER BY key LIMIT %s"
        found: list[Summary | Failure] = [Summary._make(row) for row in self._connections.read(kept, [*ends, count])]
        found += [Failure._make(row) for row in self._connections.read(failed, [*ends, count])]
        return found[:count]

    def functions(self) -> list[FunctionSummary]:
        """One summary for each version of each function."""
        failed = (
            f"SELECT function, version, count(*), max(created) FROM {self._schema}.failures WHERE {self._unresolved}"
        )
        kept = f"{_PER_FUNCTION} FROM {self._schema}.results GROUP BY 1, 2"
        return by_function(self._connections.read(kept, ()), self._connections.read(f"{failed} GROUP BY 1, 2", ()))

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results and failures were recorded in each part of a period."""
        width = (before - since) / bins
        counts = []
        for table, condition in (("results", "true"), ("failures", self._unresolved)):
            sql = (
                f"SELECT floor((created - %s) / %s)::int, count(*) FROM {self._schema}.{table} "
                f"WHERE created >= %s AND created < %s AND {condition} GROUP BY 1"
            )
            counts.append(filled(self._connections.read(sql, [since, width, since, before]), bins))
        return counts[0], counts[1]

    def latest(self) -> tuple[int, int]:
        """A number that grows with every result, and one that grows with every failure."""
        tables = [f"(SELECT coalesce(max(id), 0) FROM {self._schema}.{table})" for table in ("results", "failures")]
        results, failures = self._connections.read(f"SELECT {', '.join(tables)}", ())[0]
        return results, failures
