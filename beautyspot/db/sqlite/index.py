"""SQLiteTaskDB: the index in one SQLite file, shared by any number of threads and processes."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from time import time
from typing import Any, TypeVar

from beautyspot.db.sqlite.catalog import UNRESOLVED, SQLiteCatalog
from beautyspot.db.sqlite.connections import Connection, Connections
from beautyspot.db.sqlite.last_used import SQLiteAccessLog
from beautyspot.db.sqlite.schema import row_id
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

__all__ = ["SQLiteTaskDB"]

T = TypeVar("T")

_make: Any = tuple.__new__  # what Entry._make does, without its check

_MANY = 500  # keys to a statement
_ENTRY = ", ".join(Entry._fields)
_GET = f"SELECT {_ENTRY} FROM results WHERE id = ? AND key = ?"
_KEEP = f"INSERT INTO kept VALUES ({', '.join('?' * 16)})"


class SQLiteTaskDB:
    """An index in an SQLite file in WAL mode.

    Writes that arrive while another is running share a transaction: the first thread that gets its turn writes all
    that are waiting. No write is delayed so that others can join it.

    Args:
        path: Path of the file. It is created, with its directories, when it is first needed. Beside it are the
            ``-wal`` and ``-shm`` files of SQLite, and ``-lock``, whose locks ensure one execution per key.
        timeout: Time, in seconds, that a write waits for the writers of other processes before it fails.
        read_only: Whether nothing is ever written, created or repaired, as for viewers.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float = 60.0, *, read_only: bool = False) -> None:
        self.path = os.fspath(path)
        self.read_only = read_only
        self._timeout = timeout
        self._connections = Connections(os.path.abspath(self.path), timeout, read_only)
        self.catalog = SQLiteCatalog(self._connections)
        self.last_used = SQLiteAccessLog(self._connections)
        self._waiting: deque[_Batch] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), read_only=self.read_only), (self._connections.path, self._timeout)

    def __repr__(self) -> str:
        return f"SQLiteTaskDB({self.path!r})"

    @property
    def directory(self) -> str:
        """The absolute path of the directory of the file."""
        return os.path.dirname(self._connections.path)

    def beside(self, suffix: str) -> str:
        """The absolute path of another file beside the index, named like ``-wal`` and ``-lock``."""
        return f"{self._connections.path}-{suffix}"

    def get(self, key: bytes) -> Entry | None:
        """The entry of *key*, or ``None``, by one indexed read."""
        values = (int.from_bytes(key[:8], "big", signed=True), key)
        try:
            reader = self._connections.local.reader
            with reader.lock:
                row = reader.execute(_GET, values).fetchone()
        except Exception:  # no connection yet, or a damaged file: the slower way handles both
            row = next(iter(self._connections.read(_GET, values)), None)
        return None if row is None else _make(Entry, row)

    def try_lock(self, key: bytes) -> bool:
        """Acquire the lock of *key* unless a process holds it; returns whether it was acquired."""
        self._connections.ensure_open()
        return self._connections.locks.try_lock(key)

    def lock(self, key: bytes) -> None:
        """Acquire the lock of *key*, waiting while another process holds it."""
        self._connections.ensure_open()
        self._connections.locks.lock(key)

    def unlock(self, key: bytes) -> None:
        """Release the lock of *key*."""
        self._connections.locks.unlock(key)

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that have a cached result, 500 keys to a statement."""
        found: dict[bytes, Entry] = {}
        wanted = set(keys)
        for some in _slices(keys):
            sql = f"SELECT key, {_ENTRY} FROM results WHERE id IN ({', '.join('?' * len(some))})"
            for row in self._connections.read(sql, [row_id(key) for key in some]):
                if row[0] in wanted:
                    found[row[0]] = Entry._make(row[1:])
        return found

    def upsert(self, records: Sequence[Record]) -> None:
        """Store *records*, all or none.

        Raises:
            IndexUnavailableError: If they cannot be written; then none of them is stored.
        """
        writing = self._connections.writing
        if len(records) == 1 and not self._waiting and writing.acquire(blocking=False):
            try:  # no other thread is writing: the shortest way
                self._add_one(records[0])
            finally:
                writing.release()
            return
        batch = _Batch(records)
        self._waiting.append(batch)
        with writing:
            if not batch.done:
                self._write_waiting()
        if batch.error is not None:
            raise batch.error

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete the records of *keys*; returns how many there were."""
        rows = [(row_id(key), key) for key in keys]

        def delete(writer: Connection) -> int:
            return writer.executemany("DELETE FROM results WHERE id = ? AND key = ?", rows).rowcount

        return self._connections.write(delete)

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Summaries of the cached results, newest first, read page by page."""
        columns = ", ".join(Summary._fields)
        if function is None:
            return self._pages(f"SELECT id, {columns} FROM records WHERE id < ?", (), Summary._make)
        listed = f"SELECT record FROM functions WHERE function = ? AND record < ? ORDER BY record DESC LIMIT {_MANY}"
        latest = "SELECT id FROM records WHERE id > (SELECT coalesce(max(id), 0) & ~255 FROM records) AND function = ?"
        ids = f"SELECT * FROM ({listed}) UNION {latest}"
        sql = f"SELECT id, {columns} FROM records WHERE id IN ({ids}) AND id < ?"
        return self._pages(sql, (function, None, function), Summary._make)

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Records, oldest first, each with its position: the record's id."""
        sql = f"SELECT id, {', '.join(Summary._fields)} FROM records WHERE id > ? ORDER BY id LIMIT {_MANY}"
        for rows in self._connections.pages(sql, (after,)):
            entries = self.lookup([row[1] for row in rows])
            for number, *fields in rows:
                summary = Summary._make(fields)
                if summary.key in entries:  # it may have been deleted meanwhile
                    yield number, Record(entries[summary.key], summary)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._connections.close()

    def note_failure(self, failure: Failure) -> None:
        """Record *failure*, replacing an earlier one of the same key."""
        columns = ", ".join(("result", *Failure._fields))
        sql = f"INSERT OR REPLACE INTO failures ({columns}) VALUES ({', '.join('?' * 11)})"
        self._connections.write(lambda writer: writer.execute(sql, (row_id(failure.key), *failure)))

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no cached result, newest first."""
        columns = ", ".join(Failure._fields)
        of_function, values = ("", ()) if function is None else ("function = ? AND ", (function,))
        sql = f"SELECT id, {columns} FROM failures WHERE {of_function}{UNRESOLVED} AND id < ?"
        return self._pages(sql, values, Failure._make)

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* whose latest call failed."""
        found: dict[bytes, Failure] = {}
        for some in _slices(keys):
            marks = ", ".join("?" * len(some))
            sql = f"SELECT {', '.join(Failure._fields)} FROM failures WHERE key IN ({marks}) AND {UNRESOLVED}"
            found.update((row[0], Failure._make(row)) for row in self._connections.read(sql, list(some)))
        return found

    def note_map(self, progress: MapProgress) -> None:
        """Record *progress*, replacing an earlier record with the same ``id``."""
        sql = f"INSERT OR REPLACE INTO maps ({', '.join(MapProgress._fields)}) VALUES ({', '.join('?' * 10)})"
        self._connections.write(lambda writer: writer.execute(sql, progress))

    def maps(self) -> Iterator[MapProgress]:
        """Recorded maps, the one that started last first."""
        sql = f"SELECT {', '.join(MapProgress._fields)} FROM maps ORDER BY started DESC"
        yield from (MapProgress._make(row) for row in self._connections.read(sql, ()))

    def prune_history(self, before: float | None = None, function: str | None = None) -> int:
        """Delete failures, and maps that are over, recorded *before* a time and of one *function*; returns how many."""
        given = (before, before, function, function)

        def delete(writer: Connection) -> int:
            noted = "(? IS NULL OR {} < ?) AND (? IS NULL OR function = ?)"
            failures = writer.execute(f"DELETE FROM failures WHERE {noted.format('created')}", given)
            over = f"(ended IS NOT NULL OR updated < ?) AND {noted.format('updated')}"
            return (
                failures.rowcount + writer.execute(f"DELETE FROM maps WHERE {over}", (time() - SILENT, *given)).rowcount
            )

        return self._connections.write(delete)

    def compact(self) -> None:
        """Rewrite the file without the space of deleted rows. This needs as much disk space again while it runs."""
        with self._connections.writing:
            self._connections.guarded(lambda: self._connections.writer.execute("VACUUM"))
            self._connections.guarded(lambda: self._connections.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)"))

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest 200 calls of *function*."""
        ran = [s.seconds for s in islice(self.summaries(function), 200) if s.seconds is not None]
        return sum(ran) / len(ran) if ran else None

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

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file, and whether both of its main tables have as many rows."""
        return self.catalog.problems()

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when results were last used."""
        self.last_used.record_access(accesses)

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first."""
        return self.last_used.least_used()

    def _pages(self, sql: str, values: tuple[Any, ...], make: Callable[[Iterable[Any]], T]) -> Iterator[T]:
        """Rows from the newest on, without their id, read page by page.

        *sql* ends with ``id < ?``; a ``None`` among *values* takes the same number.
        """
        before = 1 << 62
        while True:
            given = [before if value is None else value for value in (*values, None)]
            rows = self._connections.read(f"{sql} ORDER BY id DESC LIMIT {_MANY}", given)
            yield from (make(row[1:]) for row in rows)
            if len(rows) < _MANY:
                return
            before = rows[-1][0]

    def _write_waiting(self) -> None:
        """Write all waiting batches in one transaction, or each in its own if one of them makes that fail."""
        batches = []
        while self._waiting:
            batches.append(self._waiting.popleft())
        try:
            try:
                self._add([record for batch in batches for record in batch.records])
            except Exception as error:
                if len(batches) == 1:
                    batches[0].error = error
                else:
                    for batch in batches:
                        batch.write(self._add)
        except BaseException:  # interrupted: the batches of other threads have yet to be written
            self._waiting.extend(batch for batch in batches if not batch.done)
            raise
        for batch in batches:
            batch.done = True

    def _add(self, records: Sequence[Record]) -> None:
        if len(records) == 1:
            self._add_one(records[0])
        else:
            self._connections.write(lambda writer: writer.executemany(_KEEP, [_row(record) for record in records]))

    def _add_one(self, record: Record) -> None:
        row = _row(record)
        try:
            self._connections.writer.execute(_KEEP, row)
        except sqlite3.Error as error:
            self._connections.retried(error, lambda: self._connections.writer.execute(_KEEP, row))


class _Batch:
    """Records that one caller wants to write, and the outcome."""

    __slots__ = ("done", "error", "records")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.done = False
        self.error: Exception | None = None

    def write(self, add: Callable[[Sequence[Record]], None]) -> None:
        try:
            add(self.records)
        except Exception as error:
            self.error = error
        self.done = True


def _row(record: Record) -> tuple[Any, ...]:
    """The columns of the view ``kept``."""
    entry, (key, function, version, text, arguments, content_type, _, created, _, seconds, worker) = record
    rest = (function, version, text, arguments, content_type, created, seconds, worker)
    return (int.from_bytes(key[:8], "big", signed=True), key, *entry, *rest)


def _slices(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _MANY):
        yield keys[start : start + _MANY]


def open_url(url: str) -> SQLiteTaskDB:
    """The index of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    return SQLiteTaskDB(url.partition("://")[2].removeprefix("/"))
