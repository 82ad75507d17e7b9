"""SQLiteTaskDB: the index in one SQLite file, shared by any number of threads and processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from beautyspot.db.connections import Connection, Connections
from beautyspot.protocols import Entry, Failure, MapProgress, Record, Summary

__all__ = ["SQLiteTaskDB"]

T = TypeVar("T")

_MANY = 500  # keys to a statement
_ENTRY = "key, value, location, checksum, size, expires, code"
_GET = f"SELECT {_ENTRY} FROM results WHERE id = ?"
_ADD_RECORD = f"INSERT INTO records VALUES (?, {', '.join('?' * 11)})"
_ADD_RESULT = (
    "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, {record}) ON CONFLICT (id) DO UPDATE SET "
    "key = excluded.key, value = excluded.value, location = excluded.location, checksum = excluded.checksum, "
    "size = excluded.size, expires = excluded.expires, code = excluded.code, record = excluded.record"
)
_ADD_ONE = _ADD_RESULT.format(record="last_insert_rowid()")
_ADD_MANY = _ADD_RESULT.format(record="?")
_UNRESOLVED = "NOT EXISTS (SELECT 1 FROM results WHERE results.id = failures.result)"


class SQLiteTaskDB:
    """An index in an SQLite file in WAL mode.

    Writes that arrive together share a transaction: whoever comes first writes what is waiting, and nobody
    waits for company.

    Args:
        path: The file. It is made, with its directories, when it is first needed; beside it stand
            ``-wal`` and ``-shm`` of SQLite, and ``-lock``, on which one execution per key rests.
        timeout: Seconds that a write waits for the writers of other processes before it fails.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float = 60.0) -> None:
        self.path = os.fspath(path)
        self._timeout = timeout
        self._connections = Connections(os.path.abspath(self.path), timeout)
        self._waiting: deque[_Batch] = deque()
        locks = self._connections.locks
        self.try_lock, self.lock, self.unlock = locks.try_lock, locks.lock, locks.unlock

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._connections.path, self._timeout)

    def __repr__(self) -> str:
        return f"SQLiteTaskDB({self.path!r})"

    def get(self, key: bytes) -> Entry | None:
        """The entry of *key*, or ``None``; one indexed read."""
        try:
            reader = self._connections.reader
            with reader.lock:
                row = reader.execute(_GET, (int.from_bytes(key[:8], "big", signed=True),)).fetchone()
        except Exception:  # no connection yet, or a damaged file: the careful way
            row = next(iter(self._read(_GET, (_id(key),))), None)
        if row is None or row[0] != key:
            return None
        return Entry._make(row[1:])

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that are kept, 500 to a statement."""
        found: dict[bytes, Entry] = {}
        wanted = set(keys)
        for some in _slices(keys):
            sql = f"SELECT {_ENTRY} FROM results WHERE id IN ({', '.join('?' * len(some))})"
            for row in self._read(sql, [_id(key) for key in some]):
                if row[0] in wanted:
                    found[row[0]] = Entry._make(row[1:])
        return found

    def upsert(self, records: Sequence[Record]) -> None:
        """Keep *records*, all or none.

        Raises:
            IndexUnavailableError: If they cannot be written; nothing of them is kept then.
        """
        batch = _Batch(records)
        self._waiting.append(batch)
        with self._connections.writing:
            if not batch.done:
                self._write_waiting()
        if batch.error is not None:
            raise batch.error

    def delete(self, keys: Sequence[bytes]) -> int:
        """Drop what is kept under *keys*; returns how many there were."""
        rows = [(_id(key), key) for key in keys]

        def drop(writer: Connection) -> int:
            return writer.executemany("DELETE FROM results WHERE id = ? AND key = ?", rows).rowcount

        return self._write(drop)

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Kept results, newest first, read page by page."""
        columns = ", ".join(Summary._fields)
        for row in self._pages(f"SELECT id, {columns} FROM records WHERE {{}}", function):
            yield Summary._make(row)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._connections.close()

    def note_failure(self, failure: Failure) -> None:
        """Note *failure* in place of an earlier one of the same key."""
        columns = ", ".join(("result", *Failure._fields))
        sql = f"INSERT OR REPLACE INTO failures ({columns}) VALUES ({', '.join('?' * 11)})"
        self._write(lambda writer: writer.execute(sql, (_id(failure.key), *failure)))

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no kept result, newest first."""
        columns = ", ".join(Failure._fields)
        for row in self._pages(f"SELECT id, {columns} FROM failures WHERE {_UNRESOLVED} AND {{}}", function):
            yield Failure._make(row)

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* that failed last time."""
        found: dict[bytes, Failure] = {}
        for some in _slices(keys):
            marks = ", ".join("?" * len(some))
            sql = f"SELECT {', '.join(Failure._fields)} FROM failures WHERE key IN ({marks}) AND {_UNRESOLVED}"
            found.update((row[0], Failure._make(row)) for row in self._read(sql, list(some)))
        return found

    def note_map(self, progress: MapProgress) -> None:
        """Note *progress* in place of what was noted under its ``id``."""
        sql = f"INSERT OR REPLACE INTO maps ({', '.join(MapProgress._fields)}) VALUES ({', '.join('?' * 10)})"
        self._write(lambda writer: writer.execute(sql, progress))

    def maps(self) -> Iterator[MapProgress]:
        """Noted maps, the latest started first."""
        sql = f"SELECT {', '.join(MapProgress._fields)} FROM maps ORDER BY started DESC"
        yield from (MapProgress._make(row) for row in self._read(sql, ()))

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest 200 calls of *function*."""
        latest = "SELECT seconds FROM records WHERE function = ? AND seconds IS NOT NULL ORDER BY id DESC LIMIT 200"
        mean: float | None = self._read(f"SELECT avg(seconds) FROM ({latest})", (function,))[0][0]
        return mean

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        def read() -> list[Any]:
            reader = self._connections.reader
            with reader.lock:
                return reader.execute(sql, values).fetchall()

        return self._connections.guarded(read)

    def _pages(self, sql: str, function: str | None) -> Iterator[tuple[Any, ...]]:
        """Rows from the newest on, without their id; no read stays open between two pages."""
        before = 1 << 62
        where = "id < ?" if function is None else "id < ? AND function = ?"
        while True:
            values = [before] if function is None else [before, function]
            rows = self._read(f"{sql.format(where)} ORDER BY id DESC LIMIT {_MANY}", values)
            yield from (row[1:] for row in rows)
            if len(rows) < _MANY:
                return
            before = rows[-1][0]

    def _write(self, action: Callable[[Connection], T]) -> T:
        """Run *action* in a transaction of its own."""

        def write() -> T:
            writer = self._connections.writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                result = action(writer)
                writer.execute("COMMIT")
            except BaseException:
                if writer.sqlite.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            return result

        with self._connections.writing:
            return self._connections.guarded(write)

    def _write_waiting(self) -> None:
        """Write what is waiting in one transaction, or each for itself where one of them spoils it."""
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
        except BaseException:  # interrupted: the others' records are still theirs to write
            self._waiting.extend(batch for batch in batches if not batch.done)
            raise
        for batch in batches:
            batch.done = True

    def _add(self, records: Sequence[Record]) -> None:
        self._write(lambda writer: _add_one(writer, records[0]) if len(records) == 1 else _add_many(writer, records))


class _Batch:
    """Records that one caller wants written, and how it went."""

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


def _add_one(writer: Connection, record: Record) -> None:
    entry, summary = record
    writer.execute(_ADD_RECORD, (None, *summary))
    writer.execute(_ADD_ONE, (_id(summary.key), summary.key, *entry))


def _add_many(writer: Connection, records: Sequence[Record]) -> None:
    last = writer.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()[0]
    writer.executemany(_ADD_RECORD, ((i, *record.summary) for i, record in enumerate(records, last + 1)))
    rows = ((_id(s.key), s.key, *e, i) for i, (e, s) in enumerate(records, last + 1))
    writer.executemany(_ADD_MANY, rows)


def _id(key: bytes) -> int:
    """The row of a key: its first 8 bytes, so that keys of one beginning lie side by side.

    Two keys of one row, one pair in 2**64, would drop each other's results and never give them.
    """
    return int.from_bytes(key[:8], "big", signed=True)


def _slices(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _MANY):
        yield keys[start : start + _MANY]


def open_url(url: str) -> SQLiteTaskDB:
    """The index of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    return SQLiteTaskDB(url.partition("://")[2].removeprefix("/"))
