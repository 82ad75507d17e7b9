"""PostgresTaskDB: the index in a PostgreSQL database, shared by any number of machines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from beautyspot.db.postgres_locks import PostgresLocks
from beautyspot.db.postgres_schema import migrate
from beautyspot.db.postgres_sessions import Sessions, check_url
from beautyspot.errors import ConfigurationError
from beautyspot.protocols import Entry, Failure, MapProgress, Record, Summary

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["PostgresTaskDB"]

T = TypeVar("T")

_MANY = 2000  # keys to a statement
_PAGE = 1000  # rows of a list at a time
_WHOLE = 200  # of a list with their values
_ENTRY = ", ".join(Entry._fields)
_SUMMARY = ", ".join(("uuid_send(key)", *Summary._fields[1:]))
_FAILURE = ", ".join(("uuid_send(key)", *Failure._fields[1:]))
_MAP = ", ".join(MapProgress._fields)
_LAST = (1 << 63) - 1  # no id is greater
# Rows of one function, newest first. Asked for as `function = %s ORDER BY id`, the planner would walk through all ids
# past those of every other function.
_OF_FUNCTION = "(function, id) < (%s, %s) AND (function, id) >= (%s, 0) ORDER BY function DESC, id DESC"

# The columns of a kept result, with their types.
_COLUMNS = {
    "key": "uuid",
    **dict.fromkeys(("value", "checksum", "code", "arguments"), "bytea"),
    **dict.fromkeys(("location", "function", "version", "input", "content_type", "worker"), "text"),
    **dict.fromkeys(("expires", "created", "seconds"), "float8"),
    "size": "bigint",
}


class PostgresTaskDB:
    """An index in a PostgreSQL database.

    Connections are opened late, by a pool, and anew after a fork. A statement that lost its connection runs again
    on another one.

    Args:
        url: ``postgresql://user@host:port/database``, as libpq takes it; ``?schema=name`` is ours.
        schema: In which the tables are; made, with them, when they are first needed.
        lock_url: Of the server itself, where *url* is that of a pooler in transaction mode: locks need a session.
        pool_size: Connections of this process at the most; one more holds its locks.
        timeout: Seconds for which a call asks a server again that does not answer, before it does without.
        partitions: Into how many tables results are dealt by their keys, where they are made now; 0: one.

    Raises:
        ConfigurationError: If psycopg is not installed, or an option cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str | None = None,
        lock_url: str | None = None,
        pool_size: int = 4,
        timeout: float = 30.0,
        partitions: int = 0,
    ) -> None:
        self._recipe: dict[str, Any] = {
            "schema": schema,
            "lock_url": lock_url,
            "pool_size": pool_size,
            "timeout": timeout,
            "partitions": partitions,
        }
        self._url = url
        bare, named = _without_schema(url)
        name = schema or named or "beautyspot"
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise ConfigurationError(f"schema is a name of small letters, digits and underscores, not {name!r}")
        if pool_size < 1 or partitions < 0 or timeout <= 0:
            raise ConfigurationError("pool_size must be at least 1, partitions at least 0, and timeout above 0")
        for each in (bare, lock_url or bare):
            check_url(each)
        self._schema = name
        self._sessions = Sessions(bare, pool_size, timeout, self._prepare)
        at_server = Sessions(lock_url, 1, timeout, lambda _: None) if lock_url else self._sessions
        self._locks = PostgresLocks(at_server)
        self._statements = _Statements.of(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._recipe), (self._url,)

    def __repr__(self) -> str:
        return f"PostgresTaskDB({self._sessions.place!r}, schema={self._schema!r})"

    def _prepare(self, connection: Connection[Any]) -> None:
        migrate(connection, self._schema, self._sessions.place, self._recipe["partitions"])

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that are kept, 2,000 to a statement."""
        if len(keys) == 1:
            rows = self._read(self._statements.get, (keys[0].hex(),))
        else:
            rows = [row for some in _slices(keys) for row in self._read(self._statements.lookup, (_array(some),))]
        return {row[0]: Entry._make(row[1:]) for row in rows}

    def upsert(self, records: Sequence[Record]) -> None:
        """Keep *records*, all or none, in one statement.

        Raises:
            IndexUnavailableError: If they cannot be written; nothing of them is kept then.
        """
        if len(records) == 1:
            self._write(self._statements.keep, _row(records[0]))
            return
        rows = {record.summary.key: _row(record) for record in records}  # a statement may touch a row once
        if rows:
            self._write(self._statements.keep_many, tuple(map(list, zip(*rows.values(), strict=True))))

    def delete(self, keys: Sequence[bytes]) -> int:
        """Drop what is kept under *keys*; returns how many there were."""
        return sum(self._write(self._statements.delete, (_array(some),)) for some in _slices(keys))

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Kept results, newest first, read page by page."""
        for page in self._pages(_SUMMARY, "results", function):
            yield from map(Summary._make, page)

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Kept results, oldest first, each with its place: its id."""
        while rows := self._read(self._statements.records, (after,)):
            for number, *fields in rows:
                entry, summary = fields[: len(Entry._fields)], fields[len(Entry._fields) :]
                yield number, Record(Entry._make(entry), Summary._make(summary))
            after = rows[-1][0]

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        self._locks.close()
        self._sessions.close()

    def try_lock(self, key: bytes) -> bool:
        """Take the lock of *key* if no process has it, on any machine."""
        return bool(self._locks.take((key,)))

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        """Take the locks of those *keys* that no process has, in one statement; those that were taken."""
        return self._locks.take(keys)

    def lock(self, key: bytes) -> None:
        """Take the lock of *key*, waiting for the process that has it."""
        self._locks.wait(key)

    def unlock(self, key: bytes) -> None:
        """Give the lock of *key* back."""
        self._locks.give_back((key,))

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        """Give the locks of *keys* back, in one statement."""
        self._locks.give_back(keys)

    def note_failure(self, failure: Failure) -> None:
        """Note *failure* in place of an earlier one of the same key."""
        self._write(self._statements.note_failure, (failure.key.hex(), *map(_plain, failure[1:])))

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no kept result, newest first."""
        for page in self._pages(_FAILURE, "failures", function):
            kept = {key for (key,) in self._read(self._statements.kept, (_array([row[0] for row in page]),))}
            yield from (Failure._make(row) for row in page if row[0] not in kept)

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* that failed last time."""
        rows = [row for some in _slices(keys) for row in self._read(self._statements.failed, (_array(some),))]
        return {row[0]: Failure._make(row) for row in rows}

    def note_map(self, progress: MapProgress) -> None:
        """Note *progress* in place of what was noted under its ``id``."""
        self._write(self._statements.note_map, tuple(map(_plain, progress)))

    def maps(self) -> Iterator[MapProgress]:
        """Noted maps, the latest started first."""
        yield from map(MapProgress._make, self._read(self._statements.maps, ()))

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest 200 calls of *function*."""
        mean: float | None = self._read(self._statements.mean_seconds, (function, _LAST, function))[0][0]
        return mean

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        def read(connection: Connection[Any]) -> list[Any]:
            return connection.cursor(binary=True).execute(sql.encode(), values).fetchall()

        return self._sessions.run(read)

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        """Run a statement, which is a transaction of its own; how many rows it touched."""
        return self._sessions.run(lambda connection: connection.execute(sql.encode(), values).rowcount)

    def _pages(self, columns: str, table: str, function: str | None) -> Iterator[list[Any]]:
        """Rows of a table, a page at a time from the newest on; no connection is held between two pages."""
        of_function = f"WHERE {_OF_FUNCTION}" if function is not None else "WHERE id < %s ORDER BY id DESC"
        sql = f"SELECT id, {columns} FROM {self._schema}.{table} {of_function} LIMIT {_PAGE}"
        before = _LAST
        while rows := self._read(sql, (before,) if function is None else (function, before, function)):
            yield [row[1:] for row in rows]
            before = rows[-1][0]


class _Statements(NamedTuple):
    """What is asked of the tables of one schema."""

    get: str
    lookup: str
    kept: str
    records: str
    keep: str
    keep_many: str
    delete: str
    failed: str
    note_failure: str
    note_map: str
    maps: str
    mean_seconds: str

    @classmethod
    def of(cls, schema: str) -> _Statements:
        columns = _row_columns()
        unresolved = f"NOT EXISTS (SELECT 1 FROM {schema}.results WHERE results.key = failures.key)"
        values = ", ".join(f"%s::{_COLUMNS[name]}" for name in columns)
        arrays = ", ".join(f"%s::{_COLUMNS[name]}[]" for name in columns)
        # Numbered as they came, and written in the order of their keys: two writers of the same ones, each with a
        # row that the other wants, would wait for each other.
        numbered = f"SELECT *, nextval('{schema}.results_id_seq') FROM unnest({arrays}) OFFSET 0"
        return cls(
            # A plan for one key is made once; that for many depends on how many, and is made each time.
            get=f"SELECT uuid_send(key), {_ENTRY} FROM {schema}.results WHERE key = %s::uuid",
            # Key by key: where results are partitioned, each is looked for where it belongs, and not everywhere.
            lookup=f"SELECT found.* FROM unnest(%s::uuid[]) AS wanted, LATERAL (SELECT uuid_send(key), {_ENTRY} "
            f"FROM {schema}.results WHERE key = wanted OFFSET 0) AS found",
            kept=f"SELECT uuid_send(key) FROM {schema}.results WHERE key = ANY (%s::uuid[])",
            records=f"SELECT id, {_ENTRY}, {_SUMMARY} FROM {schema}.results WHERE id > %s ORDER BY id LIMIT {_WHOLE}",
            keep=_upsert(f"{schema}.results", columns, f"VALUES ({values})"),
            keep_many=_upsert(f"{schema}.results", (*columns, "id"), f"SELECT * FROM ({numbered}) AS given ORDER BY 1"),
            delete=f"DELETE FROM {schema}.results WHERE key = ANY (%s::uuid[])",
            failed=f"SELECT {_FAILURE} FROM {schema}.failures WHERE key = ANY (%s::uuid[]) AND {unresolved}",
            note_failure=_upsert(f"{schema}.failures", Failure._fields, f"VALUES ({_marks(Failure._fields)})"),
            note_map=_upsert(f"{schema}.maps", MapProgress._fields, f"VALUES ({_marks(MapProgress._fields)})", False),
            maps=f"SELECT {_MAP} FROM {schema}.maps ORDER BY started DESC",
            mean_seconds="SELECT avg(seconds) FROM (SELECT seconds FROM "
            f"{schema}.results WHERE {_OF_FUNCTION} LIMIT 200) AS latest",
        )


def _upsert(table: str, columns: Sequence[str], rows: str, newest: bool = True) -> str:
    """A statement that writes rows in place of those of the same first column, as the newest ones."""
    changed = dict.fromkeys((*columns[1:], *["id"] * newest))
    changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return f"INSERT INTO {table} ({', '.join(columns)}) {rows} ON CONFLICT ({columns[0]}) DO UPDATE SET {changes}"


def _marks(columns: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(columns))


def _row_columns() -> tuple[str, ...]:
    return ("key", *Entry._fields, *(name for name in Summary._fields[1:] if name not in Entry._fields))


def _row(record: Record) -> tuple[Any, ...]:
    """The columns of a kept result."""
    entry, (key, function, version, text, arguments, content_type, _, created, _, seconds, worker) = record
    rest = map(_plain, (function, version, text, arguments, content_type, created, seconds, worker))
    return (key.hex(), *entry, *rest)


def _plain(value: Any) -> Any:
    """*value* as PostgreSQL has it, which knows neither the character NUL nor halves of surrogate pairs in texts."""
    if type(value) is str and not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if type(value) is str else value


def _array(keys: Sequence[bytes]) -> str:
    """Keys as PostgreSQL writes an array of them: one text is made faster than thousands of values."""
    return "{" + ",".join([key.hex() for key in keys]) + "}"


def _slices(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _MANY):
        yield keys[start : start + _MANY]


def _without_schema(url: str) -> tuple[str, str | None]:
    """A URL without our own part of its query, and that part."""
    bare, _, query = os.fspath(url).partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in options if name != "schema"])
    return bare + (f"?{rest}" if rest else ""), dict(options).get("schema")


def open_url(url: str) -> PostgresTaskDB:
    """The index of ``postgresql://user@host:port/database``."""
    return PostgresTaskDB(url)
