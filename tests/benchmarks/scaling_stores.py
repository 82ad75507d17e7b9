"""Indexes of ten thousand to ten million results: how they are filled, and how much disk space they take.

A row is that of a small result: one of ten functions, a preview of some 60 characters, two arguments (8 bytes of
fingerprints), a value of 150 bytes. Keys are random, as digests are. Filling is not measured, so it is done in the
fastest way: on SQLite by the library's statement without a journal, on PostgreSQL by rows that the server generates.
Both insert into all indexes, with keys in random order, so that pages are as full as in real use.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import msgpack
import psycopg

from beautyspot.db import PostgresTaskDB, SQLiteTaskDB
from beautyspot.db.sqlite.index import _KEEP, _row
from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry, Record, Summary, TaskDB
from tests.support.servers import PostgresServer

FUNCTIONS = 10
LOTS = 50  # portions in which an index is filled; each includes calls of the task, which are thus spread over it
SETTINGS = {
    "fsync": "on",
    "shared_buffers": "512MB",
    "effective_cache_size": "8GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}
TEXT = "x" * 147
VALUE: bytes = msgpack.packb(TEXT)  # 149 bytes, as the measured task returns
_CHECKSUM = crc32(VALUE).to_bytes(4, "big")
_CREATED = 1_760_000_000.0


def key_of(number: int) -> bytes:
    """Return the key of a row: 16 bytes in random order, which PostgreSQL can compute too."""
    return hashlib.md5(str(number).encode()).digest()


def row_of(number: int) -> Record:
    """Return the row of a number, as a call of ``model.score_0`` would store it."""
    function = f"pipeline.model.score_{number % FUNCTIONS}"
    text = f"text='the quick brown fox jumps over it', number={number:011}"
    entry = Entry(VALUE, None, _CHECKSUM, len(VALUE), None, b"codecode")
    created = _CREATED + number
    return Record(
        entry,
        Summary(
            key_of(number), function, "", text, b"abcdefgh", None, len(VALUE), created, None, 0.25, "worker-17:4242"
        ),
    )


Calls = Callable[[int], Sequence[Record]]  # the calls in the portion of that number


class Store(Protocol):
    """A database with indexes of several sizes."""

    name: str

    def index(self, size: int) -> TaskDB: ...

    def fill(self, size: int, calls: Calls) -> None: ...

    def settle(self, size: int) -> None:
        """Bring an index into its state after hours of use: statistics collected, no write pending."""

    def parts(self, size: int) -> dict[str, int]:
        """Return the bytes on disk of each table and index."""

    def count(self, size: int) -> int: ...

    def forget(self) -> None:
        """Evict all of it from memory, as a restart of the machine does."""

    def pages_read(self, size: int, keys: Sequence[bytes]) -> float:
        """Return how many pages that are not in memory a hit of *keys* reads on average."""

    def close(self, sizes: Sequence[int]) -> None:
        """Close and delete the indexes."""


class SQLiteStore:
    """SQLite, with a file for each size."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, size: int) -> Path:
        return self._directory / f"n{size}.db"

    @cache  # noqa: B019 - lives as long as a measurement
    def index(self, size: int) -> SQLiteTaskDB:
        return SQLiteTaskDB(self._path(size))

    def fill(self, size: int, calls: Calls) -> None:
        self.index(size).lookup([b"0" * 16])  # which makes the tables
        self.index(size).close()
        plain = sqlite3.connect(self._path(size), isolation_level=None)
        for pragma in ("journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -6000000"):
            plain.execute(f"PRAGMA {pragma}")
        plain.execute("BEGIN")
        for turn, numbers in enumerate(lots(size)):
            plain.executemany(_KEEP, (_row(row_of(number)) for number in numbers))
            plain.executemany(_KEEP, map(_row, calls(turn)))
        plain.execute("COMMIT")
        plain.close()

    def settle(self, size: int) -> None:
        self.index(size).lookup([b"0" * 16])

    def parts(self, size: int) -> dict[str, int]:
        sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"
        with sqlite3.connect(self._path(size)) as plain:
            return {name: taken for name, taken in plain.execute(sql) if name in ("results", "records", "functions")}

    def count(self, size: int) -> int:
        with sqlite3.connect(self._path(size)) as plain:
            return int(plain.execute("SELECT count(*) FROM results").fetchone()[0])

    def forget(self) -> None:
        for path in self._directory.glob("*.db"):
            with sqlite3.connect(path) as plain:
                plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.index(int(path.stem[1:])).close()
            _evict(path)

    def pages_read(self, size: int, keys: Sequence[bytes]) -> float:
        before = _bytes_read()
        for key in keys:
            self.index(size).get(key)
        return (_bytes_read() - before) / 4096 / len(keys)

    def close(self, sizes: Sequence[int]) -> None:
        for size in sizes:
            self.index(size).close()
            for path in self._directory.glob(f"n{size}.db*"):
                path.unlink()


class PostgresStore:
    """PostgreSQL, with a schema for each size.

    Args:
        server: The server of the schemas.
    """

    name = "PostgreSQL"

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    def schema(self, size: int) -> str:
        return f"n{size}"

    @cache  # noqa: B019 - as above
    def index(self, size: int) -> PostgresTaskDB:
        return PostgresTaskDB(self.server.url, schema=self.schema(size))

    def fill(self, size: int, calls: Calls) -> None:
        index, row = self.index(size), row_of(0)
        index.lookup([key_of(0)])  # which makes the tables
        sql = f"""
            INSERT INTO {self.schema(size)}.results
                (key, value, checksum, size, code, function, version, input, arguments, created, seconds, worker)
            SELECT md5(n::text)::uuid, %s, %s, %s, %s, 'pipeline.model.score_' || n %% {FUNCTIONS}, '',
                'text=''the quick brown fox jumps over it'', number=' || lpad(n::text, 11, '0'),
                %s, {_CREATED} + n, 0.25, %s
            FROM generate_series(%s::bigint, %s::bigint) AS n
        """
        entry = (VALUE, _CHECKSUM, len(VALUE), row.entry.code, row.summary.arguments)
        with psycopg.connect(self.server.url, autocommit=True) as plain:
            plain.execute("SET synchronous_commit = off")
            for turn, numbers in enumerate(lots(size)):
                plain.execute(sql.encode(), (*entry, row.summary.worker, numbers.start, numbers.stop - 1))
                index.upsert(calls(turn))

    def settle(self, size: int) -> None:
        self.server.execute(f"VACUUM ANALYZE {self.schema(size)}.results", "CHECKPOINT")

    def parts(self, size: int) -> dict[str, int]:
        sql = f"""
            SELECT CASE WHEN relkind = 'r' THEN 'table' WHEN relname LIKE '%pkey' THEN 'by key'
                WHEN relname LIKE '%function%' THEN 'by function' ELSE 'by id' END, sum(pg_table_size(pg_class.oid))::bigint
            FROM pg_class WHERE relnamespace = '{self.schema(size)}'::regnamespace AND relkind IN ('r', 'i')
                AND relname LIKE 'results%' GROUP BY 1 ORDER BY 2 DESC
        """
        return dict(self.server.execute(sql))

    def count(self, size: int) -> int:
        return int(self.server.execute(f"SELECT count(*) FROM {self.schema(size)}.results")[0][0])

    def forget(self) -> None:
        self.server.stop_process()
        for path in self.server.data.rglob("base/**/*"):
            if path.is_file():
                _evict(path)
        self.server.start()

    def pages_read(self, size: int, keys: Sequence[bytes]) -> float:
        sql = f"SELECT value FROM {self.schema(size)}.results WHERE key = ANY (%s::uuid[])"
        total = 0
        with psycopg.connect(self.server.url, autocommit=True) as plain:
            for key in keys:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
                row = plain.execute(explain.encode(), ("{" + key.hex() + "}",)).fetchone()
                total += row[0][0]["Plan"]["Shared Read Blocks"] if row else 0
        return total / len(keys)

    def close(self, sizes: Sequence[int]) -> None:
        for size in sizes:
            self.index(size).close()
            self.server.execute(f"DROP SCHEMA {self.schema(size)} CASCADE", "CHECKPOINT")


def _bytes_read() -> int:
    """Return the bytes that this process has read from disks."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["read_bytes"])


def _evict(path: Path) -> None:
    """Evict a file from the system's page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def lots(size: int) -> Iterator[range]:
    """Return the row numbers of an index of that size, in `LOTS` portions."""
    step = size // LOTS
    return (range(start, start + step) for start in range(0, size, step))


def calls_of(task: Any, numbers: Sequence[int]) -> list[Record]:
    """Return rows of calls of *task*, as the task stores them."""
    cache, keyer = task.core.cache, task.core.keyer
    encoded = cache.encode(TEXT)
    call = cache.describe(KeyedCall(b"", [], ("some text", 0), {}))
    records = []
    for number in numbers:
        key, parts = keyer(("some text", number), {})
        summary = call._replace(key=key, input=row_of(number).summary.input, arguments=keyer.fingerprints(parts))
        records.append(cache.record(summary, encoded, 0.25))
    return records
