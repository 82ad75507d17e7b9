"""PostgresTaskDB: the index in a PostgreSQL database, shared by any number of machines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from beautyspot.db.postgres.advisory_locks import PostgresLocks
from beautyspot.db.postgres.catalog import PostgresCatalog
from beautyspot.db.postgres.connections import Connections, check_url, without_secrets
from beautyspot.db.postgres.last_used import PostgresAccessLog
from beautyspot.db.postgres.schema import migrate
from beautyspot.db.postgres.statements import FAILURE, LAST, SUMMARY, Statements, array_of, page_of, plain, row_of
from beautyspot.errors import ConfigurationError
from beautyspot.protocols.index import (
    Entry,
    Failure,
    FunctionSummary,
    MapProgress,
    Order,
    Record,
    Selection,
    Summary,
)
from beautyspot.protocols.records import SILENT

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["PostgresTaskDB"]

_MANY = 2000  # keys to a statement
_DEFAULTS = {"schema": "beautyspot", "lock_url": None, "pool_size": 4, "timeout": 30.0}
_KINDS: dict[str, Callable[[str], Any]] = {"pool_size": int, "timeout": float}


class PostgresTaskDB:
    """An index in a PostgreSQL database.

    A pool opens connections when they are needed, and opens new ones after a fork. A statement that lost its
    connection runs again on another one.

    Args:
        url: URL of the database, ``postgresql://user@host:port/database``, as libpq reads it. The options below may
            be part of it, as in ``postgresql://host/database?schema=name&timeout=10``; arguments override them.
        schema: Name of the schema for the tables, by default ``"beautyspot"``. Both are created when first needed.
        lock_url: URL of the server itself, if *url* is that of a pooler in transaction mode: locks need a session.
        pool_size: Greatest number of connections of this process, by default 4; one more holds its locks.
        timeout: Time, in seconds, for which a call retries a server that does not answer before it goes on without
            the index; by default 30.

    Raises:
        ConfigurationError: If psycopg is not installed, or an option cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str | None = None,
        lock_url: str | None = None,
        pool_size: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self._bare, in_url = _split(url)
        given = {
            "schema": schema,
            "lock_url": lock_url,
            "pool_size": pool_size,
            "timeout": timeout,
        }
        self._options = {**_DEFAULTS, **in_url, **{name: value for name, value in given.items() if value is not None}}
        self._check_options()
        url, lock_url = self._bare, self._options["lock_url"]
        self._schema: str = self._options["schema"]
        size, patience = self._options["pool_size"], self._options["timeout"]
        self._connections = Connections(url, size, patience, self._prepare)
        at_server = Connections(lock_url, 1, patience, lambda _: None) if lock_url else self._connections
        self._locks = PostgresLocks(at_server)
        self._statements = Statements.of(self._schema)
        self.catalog = PostgresCatalog(self._connections, self._schema)
        self.last_used = PostgresAccessLog(self._connections, self._schema)

    def _check_options(self) -> None:
        options, name = self._options, self._options["schema"]
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise ConfigurationError(f"schema is a name of small letters, digits and underscores, not {name!r}")
        if options["pool_size"] < 1 or options["timeout"] <= 0:
            raise ConfigurationError("pool_size must be at least 1, and timeout above 0")
        for each in (self._bare, options["lock_url"] or self._bare):
            check_url(each)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._options), (self._bare,)

    def __repr__(self) -> str:
        return f"PostgresTaskDB({self._connections.place!r}, schema={self._schema!r})"

    def _prepare(self, connection: Connection[Any]) -> None:
        migrate(connection, self._schema, self._connections.place)

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that have a cached result, 2,000 keys to a statement."""
        if len(keys) == 1:
            rows = self._connections.read(self._statements.get, (keys[0].hex(),))
        else:
            rows = self._read_for(self._statements.lookup, keys)
        return {row[0]: Entry._make(row[1:]) for row in rows}

    def upsert(self, records: Sequence[Record]) -> None:
        """Store *records*, all or none, in one statement.

        Raises:
            IndexUnavailableError: If they cannot be written; then none of them is stored.
        """
        if len(records) == 1:
            self._connections.write(self._statements.keep, row_of(records[0]))
            return
        rows = {record.summary.key: row_of(record) for record in records}  # a statement may touch a row once
        if rows:
            self._connections.write(self._statements.keep_many, tuple(map(list, zip(*rows.values(), strict=True))))

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete the records of *keys*; returns how many there were."""
        return sum(self._connections.write(self._statements.delete, (array_of(some),) * 2) for some in _slices(keys))

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Summaries of the cached results, newest first, read page by page."""
        for page in self._pages(SUMMARY, "results", function):
            yield from map(Summary._make, page)

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Records, oldest first, each with its position: its id."""
        for rows in self._connections.pages(self._statements.records, (after,)):
            for number, *fields in rows:
                entry, summary = fields[: len(Entry._fields)], fields[len(Entry._fields) :]
                yield number, Record(Entry._make(entry), Summary._make(summary))

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        self._locks.close()
        self._connections.close()

    def try_lock(self, key: bytes) -> bool:
        """Acquire the lock of *key* unless a process on any machine holds it; returns whether it was acquired."""
        return bool(self._locks.try_lock_many((key,)))

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        """Acquire the locks of those *keys* that are not held, in one statement; returns the acquired ones."""
        return self._locks.try_lock_many(keys)

    def lock(self, key: bytes) -> None:
        """Acquire the lock of *key*, waiting while another process holds it."""
        self._locks.lock(key)

    def unlock(self, key: bytes) -> None:
        """Release the lock of *key*."""
        self._locks.unlock_many((key,))

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        """Release the locks of *keys*, in one statement."""
        self._locks.unlock_many(keys)

    def note_failure(self, failure: Failure) -> None:
        """Record *failure*, replacing an earlier one of the same key."""
        self._connections.write(self._statements.note_failure, (failure.key.hex(), *map(plain, failure[1:])))

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no cached result, newest first."""
        for page in self._pages(FAILURE, "failures", function):
            kept = {key for (key,) in self._read_for(self._statements.kept, [row[0] for row in page])}
            yield from (Failure._make(row) for row in page if row[0] not in kept)

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* whose latest call failed."""
        rows = self._read_for(self._statements.failed, keys)
        return {row[0]: Failure._make(row) for row in rows}

    def note_map(self, progress: MapProgress) -> None:
        """Record *progress*, replacing an earlier record with the same ``id``."""
        self._connections.write(self._statements.note_map, tuple(map(plain, progress)))

    def maps(self) -> Iterator[MapProgress]:
        """Recorded maps, the one that started last first."""
        yield from map(MapProgress._make, self._connections.read(self._statements.maps, ()))

    def prune_history(self, before: float | None = None, function: str | None = None) -> int:
        """Delete failures, and maps that are over, recorded *before* a time and of one *function*; returns how many."""
        before = before if before is not None else float("inf")
        failures = self._connections.write(self._statements.forget_failures, (before, function, function))
        return failures + self._connections.write(
            self._statements.forget_maps, (time() - SILENT, before, function, function)
        )

    def compact(self) -> None:
        """Make the space of deleted rows free for new rows, and release to the system what can be released."""
        self._connections.write(
            f"VACUUM {self._schema}.results, {self._schema}.uses, {self._schema}.failures, {self._schema}.maps", ()
        )

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest 200 calls of *function*."""
        mean: float | None = self._connections.read(self._statements.mean_seconds, (function, LAST, function))[0][0]
        return mean

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Summary] | list[Failure]:
        """The rows *start* to *start + count* of a selection."""
        return self.catalog.select(selection, order, descending, start, count)

    def count(self, selection: Selection) -> int:
        """Number of rows in a selection."""
        return self.catalog.count(selection)

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """Results and failures whose key begins with *prefix*."""
        return self.catalog.find(prefix, count)

    def functions(self) -> list[FunctionSummary]:
        """One summary for each version of each function."""
        return self.catalog.functions()

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results and failures were recorded in each part of a period."""
        return self.catalog.activity(since, before, bins)

    def latest(self) -> tuple[int, int]:
        """A number that grows with every result, and one that grows with every failure."""
        return self.catalog.latest()

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when results were last used."""
        self.last_used.record_access(accesses)

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first."""
        return self.last_used.least_used()

    def _read_for(self, sql: str, keys: Sequence[bytes]) -> list[Any]:
        """The rows of a query for *keys*, 2,000 to a statement."""
        return [row for some in _slices(keys) for row in self._connections.read(sql, (array_of(some),))]

    def _pages(self, columns: str, table: str, function: str | None) -> Iterator[list[Any]]:
        """Rows of a table, newest first, a page at a time; no connection is held between two pages."""
        sql, before = page_of(self._schema, table, columns, function), LAST
        while rows := self._connections.read(sql, (before,) if function is None else (function, before, function)):
            yield [row[1:] for row in rows]
            before = rows[-1][0]


def _slices(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _MANY):
        yield keys[start : start + _MANY]


def _split(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without the options of the index, and these options."""
    bare, _, query = os.fspath(url).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in pairs if name not in _DEFAULTS])
    try:
        ours = {name: _KINDS.get(name, str)(value) for name, value in pairs if name in _DEFAULTS}
    except ValueError as error:
        raise ConfigurationError(f"an option in the URL of {without_secrets(url)} is no number: {error}") from error
    return bare + (f"?{rest}" if rest else ""), ours


def open_url(url: str) -> PostgresTaskDB:
    """The index of ``postgresql://user@host:port/database``."""
    return PostgresTaskDB(url)
