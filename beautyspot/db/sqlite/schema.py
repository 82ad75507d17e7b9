"""The tables of an SQLite index, and their migrations.

What a hit reads (``results``) and what viewers list (``records``) are two tables, so that a list of a
million rows reads no payload and a hit reads no preview. A record's id grows with time, so that lists by time
need no database index. A result's id is the beginning of its key, so that one descent in one tree finds
it; the whole key is stored beside it and compared. Each page that a write touches costs about as much
as the rest of the write, so a result touches two.
"""

from __future__ import annotations

import sqlite3
import time

from beautyspot.errors import ForeignIndexError, IndexUnavailableError, NewerIndexError

APPLICATION_ID = 0x62737074  # "bspt"

MIGRATIONS: list[str] = [
    """
    CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied REAL NOT NULL);
    CREATE TABLE results (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        value BLOB,
        location TEXT,
        checksum BLOB NOT NULL,
        size INTEGER NOT NULL,
        expires REAL,
        code BLOB NOT NULL,
        record INTEGER NOT NULL
    );
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        function TEXT NOT NULL,
        version TEXT NOT NULL,
        input TEXT NOT NULL,
        arguments BLOB NOT NULL,
        content_type TEXT,
        size INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL,
        seconds REAL,
        worker TEXT NOT NULL
    );
    -- Filled for 256 records at a time: an index kept up to date would cost every write a page of its own.
    -- Records after the last full 256 are found by their id.
    CREATE TABLE functions (function TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (function, record))
        WITHOUT ROWID;
    CREATE TRIGGER listed AFTER INSERT ON records WHEN new.id % 256 = 0
        BEGIN
            INSERT OR IGNORE INTO functions
                SELECT function, id FROM records WHERE id > new.id - 256 AND id <= new.id;
        END;
    CREATE TRIGGER dropped AFTER DELETE ON records
        BEGIN DELETE FROM functions WHERE function = old.function AND record = old.id; END;
    CREATE TRIGGER replaced AFTER UPDATE OF record ON results
        BEGIN DELETE FROM records WHERE id = old.record; END;
    CREATE TRIGGER deleted AFTER DELETE ON results
        BEGIN DELETE FROM records WHERE id = old.record; END;
    -- Both halves of a kept result are written by one statement, which is its own transaction.
    CREATE VIEW kept AS
        SELECT results.id, records.key, value, location, checksum, results.size, results.expires, code,
               function, version, input, arguments, content_type, created, seconds, worker
        FROM results JOIN records ON records.id = results.record;
    CREATE TRIGGER keep INSTEAD OF INSERT ON kept
        BEGIN
            INSERT INTO records VALUES (
                NULL, new.key, new.function, new.version, new.input, new.arguments, new.content_type, new.size,
                new.created, new.expires, new.seconds, new.worker
            );
            INSERT INTO results VALUES (
                new.id, new.key, new.value, new.location, new.checksum, new.size, new.expires, new.code,
                last_insert_rowid()
            ) ON CONFLICT (id) DO UPDATE SET
                key = excluded.key, value = excluded.value, location = excluded.location,
                checksum = excluded.checksum, size = excluded.size, expires = excluded.expires,
                code = excluded.code, record = excluded.record;
        END;
    CREATE TABLE failures (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        result INTEGER NOT NULL,
        function TEXT NOT NULL,
        version TEXT NOT NULL,
        input TEXT NOT NULL,
        error TEXT NOT NULL,
        message TEXT NOT NULL,
        traceback TEXT NOT NULL,
        created REAL NOT NULL,
        seconds REAL NOT NULL,
        worker TEXT NOT NULL
    );
    CREATE INDEX failures_by_function ON failures (function);
    CREATE TABLE maps (
        id TEXT PRIMARY KEY,
        function TEXT NOT NULL,
        total INTEGER,
        kept INTEGER NOT NULL,
        run INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        started REAL NOT NULL,
        updated REAL NOT NULL,
        ended REAL,
        worker TEXT NOT NULL
    );
    CREATE INDEX maps_by_time ON maps (started);
    """,
    # When results were last used, if a project with max_bytes recorded it. Not in results or records: a write to
    # either would touch a page of payloads or of lists for every hit.
    """
    CREATE TABLE uses (id INTEGER PRIMARY KEY, used REAL NOT NULL);
    CREATE INDEX uses_by_time ON uses (used);
    DROP TRIGGER deleted;
    CREATE TRIGGER deleted AFTER DELETE ON results
        BEGIN
            DELETE FROM records WHERE id = old.record;
            DELETE FROM uses WHERE id = old.id;
        END;
    """,
]

READABLE = 1  # the oldest schema that can be read without a migration


def row_id(key: bytes) -> int:
    """The row id of a key: its first 8 bytes, so that keys with one beginning are side by side.

    Two keys with the same id, one pair in 2**64, would replace each other's results, and never return them.
    """
    return int.from_bytes(key[:8], "big", signed=True)


def foreign(path: str) -> str:
    """The message for a file of another program."""
    return (
        f"{path} belongs to another program or to an older beautyspot; it was left as it is. Give another path as db="
    )


def check_owner(connection: sqlite3.Connection, path: str) -> None:
    """Raise a `ForeignIndexError` if the file of *connection* has tables of another program."""
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise ForeignIndexError(foreign(path))


def check_readable(connection: sqlite3.Connection, path: str) -> None:
    """Raise an error unless this version can read the file of *connection* without a migration.

    Raises:
        ForeignIndexError: If another program made it.
        NewerIndexError: If a newer beautyspot made it.
        IndexUnavailableError: If it is empty, or its schema is so old that it must be migrated first.
    """
    try:
        check_owner(connection, path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
            raise ForeignIndexError(foreign(path)) from error
        raise
    version = _version(connection, path)
    if version < READABLE:
        raise IndexUnavailableError(
            f"{path} has schema {version} and is opened read-only; a project that opens it migrates it to schema "
            f"{len(MIGRATIONS)}"
        )


def _version(connection: sqlite3.Connection, path: str) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise NewerIndexError(
            f"{path} has schema {version}, and this beautyspot knows up to {len(MIGRATIONS)}; it was left as it "
            "is. Install the newer beautyspot, or give another path as db="
        )
    return version


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Migrate the file of *connection* to the newest schema, each step with its record in one transaction.

    Raises:
        NewerIndexError: If a newer beautyspot made it.
        ForeignIndexError: If it has tables of another program.
    """
    check_owner(connection, path)
    version = _version(connection, path)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {script} "
            f"INSERT INTO migrations VALUES ({number}, {time.time()!r}); PRAGMA user_version = {number}; COMMIT;"
        )
