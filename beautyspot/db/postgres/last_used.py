"""When results of a PostgreSQL index were last used: the `AccessLog`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge

from beautyspot.db.postgres.connections import Connections
from beautyspot.db.postgres.statements import PAGE, SUMMARY, array_of
from beautyspot.protocols.index import Summary

_NO_KEY = "00000000-0000-0000-0000-000000000000"


class PostgresAccessLog:
    """The `AccessLog` of a PostgreSQL index.

    Args:
        connections: Connections to the server.
        schema: Name of the schema that holds the tables.
    """

    def __init__(self, connections: Connections, schema: str) -> None:
        self._connections = connections
        self._schema = schema

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when results were last used, in one statement."""
        name = self._schema
        # In the order of their keys, as results are written, so that two writers of the same keys cannot deadlock.
        given = "SELECT * FROM unnest(%s::uuid[], %s::float8[]) AS given (key, used)"
        kept = f"SELECT 1 FROM {name}.results WHERE results.key = given.key"
        self._connections.write(
            f"INSERT INTO {name}.uses ({given} WHERE EXISTS ({kept}) ORDER BY key) "
            "ON CONFLICT (key) DO UPDATE SET used = greatest(uses.used, excluded.used)",
            (array_of(list(accesses)), list(accesses.values())),
        )

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first; no connection is held between two pages."""
        for _, summary in merge(self._never_used(), self._used(), key=lambda row: row[0]):
            yield summary

    def _never_used(self) -> Iterator[tuple[float, Summary]]:
        """Results that were not used after they were stored, ordered by that time."""
        used = f"SELECT 1 FROM {self._schema}.uses WHERE uses.key = results.key AND uses.used > results.created"
        sql = (
            f"SELECT id, {SUMMARY} FROM {self._schema}.results WHERE id > %s AND NOT EXISTS ({used}) "
            f"ORDER BY id LIMIT {PAGE}"
        )
        for rows in self._connections.pages(sql, (-1,)):
            for _, *fields in rows:
                summary = Summary._make(fields)
                yield summary.created, summary

    def _used(self) -> Iterator[tuple[float, Summary]]:
        """Results that were used after they were stored, ordered by their last use."""
        sql = (
            f"SELECT used, uses.key::text, {SUMMARY.replace('(key)', '(uses.key)')} FROM {self._schema}.uses "
            f"JOIN {self._schema}.results ON results.key = uses.key AND uses.used > results.created "
            f"WHERE (used, uses.key) > (%s, %s::uuid) ORDER BY used, uses.key LIMIT {PAGE}"
        )
        for rows in self._connections.pages(sql, (-1.0, _NO_KEY)):
            for used, _, *fields in rows:
                yield used, Summary._make(fields)
