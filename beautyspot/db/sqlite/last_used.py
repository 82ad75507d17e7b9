"""When results of an SQLite index were last used: the `AccessLog`.

Only a project with ``max_bytes`` stores uses, many at a time, in a table of their own that neither a hit nor a list
reads. A result that was not used since it was stored has no row there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge

from beautyspot.db.sqlite.connections import Connections
from beautyspot.db.sqlite.schema import row_id
from beautyspot.protocols.index import Summary

_MANY = 500  # rows to a statement
_SUMMARY = ", ".join(f"records.{name}" for name in Summary._fields)
_NOTE = (
    "INSERT INTO uses SELECT id, ? FROM results WHERE id = ? AND key = ? "
    "ON CONFLICT (id) DO UPDATE SET used = max(used, excluded.used)"
)
_OLDEST = f"SELECT id, {_SUMMARY} FROM records WHERE id > ? ORDER BY id LIMIT {_MANY}"
_USED = (
    f"SELECT used, uses.id, {_SUMMARY} FROM uses JOIN results ON results.id = uses.id "
    "JOIN records ON records.id = results.record "
    f"WHERE (used, uses.id) > (?, ?) ORDER BY used, uses.id LIMIT {_MANY}"
)


class SQLiteAccessLog:
    """The `AccessLog` of an SQLite index.

    Args:
        connections: Connections to the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when results were last used, in one transaction."""
        # In the order of their ids, so that each page of the table is written once.
        rows = sorted([(used, row_id(key), key) for key, used in accesses.items()], key=lambda row: row[1])
        self._connections.write(lambda writer: writer.executemany(_NOTE, rows))

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first, read page by page."""
        for _, summary in merge(self._never_used(), self._used(), key=lambda row: row[0]):
            yield summary

    def _never_used(self) -> Iterator[tuple[float, Summary]]:
        """Results that were not used after they were stored, ordered by that time."""
        for rows in self._connections.pages(_OLDEST, (0,)):
            summaries = [Summary._make(row[1:]) for row in rows]
            used = self._times([row_id(summary.key) for summary in summaries])
            for summary in summaries:
                if used.get(row_id(summary.key), 0.0) <= summary.created:
                    yield summary.created, summary

    def _times(self, ids: Sequence[int]) -> dict[int, float]:
        if not self._has_table():
            return {}
        return dict(self._connections.read(f"SELECT id, used FROM uses WHERE id IN ({', '.join('?' * len(ids))})", ids))

    def _used(self) -> Iterator[tuple[float, Summary]]:
        """Results that were used after they were stored, ordered by their last use."""
        if not self._has_table():
            return
        for rows in self._connections.pages(_USED, (-1.0, 0)):
            for used, _, *fields in rows:
                summary = Summary._make(fields)
                if used > summary.created:
                    yield used, summary

    def _has_table(self) -> bool:
        """Whether the table ``uses`` exists: an index with an older schema that is opened read-only has none."""
        return bool(self._connections.read("SELECT 1 FROM sqlite_schema WHERE name = 'uses'", ()))
