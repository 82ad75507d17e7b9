"""Changes rows and blobs without the project, as an attacker or a hardware fault would."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

import beautyspot as bs
from beautyspot.db import PostgresTaskDB, SQLiteTaskDB
from beautyspot.storage import LocalStorage, S3Storage


def change_rows(project: bs.Project, where: str = "true", **columns: Any) -> None:
    """Set *columns* of the cached results of a project for which the SQL condition *where* holds."""
    db, names = project.db, list(columns)
    changes = ", ".join(f"{name} = ?" for name in names)
    project.close()
    if isinstance(db, SQLiteTaskDB):
        connection: Any = sqlite3.connect(db.path)
        connection.execute(f"UPDATE results SET {changes} WHERE {where}", list(columns.values()))
        connection.commit()
    else:
        assert isinstance(db, PostgresTaskDB)
        connection = psycopg.connect(db._connections.url, autocommit=True)
        sql = f"UPDATE {db._schema}.results SET {changes.replace('?', '%s')} WHERE {where}"
        connection.execute(sql.encode(), list(columns.values()))
    connection.close()


def rows(project: bs.Project, columns: str) -> list[tuple[Any, ...]]:
    """Return *columns* of all cached results of a project, in the order in which they were stored."""
    db = project.db
    if isinstance(db, SQLiteTaskDB):
        connection: Any = sqlite3.connect(db.path)
        found = connection.execute(f"SELECT {columns} FROM results ORDER BY record").fetchall()
    else:
        assert isinstance(db, PostgresTaskDB)
        connection = psycopg.connect(db._connections.url, autocommit=True)
        found = connection.execute(f"SELECT {columns} FROM {db._schema}.results ORDER BY id".encode()).fetchall()
    connection.close()
    return found


def change_blob(project: bs.Project, change: Callable[[bytes], bytes | None]) -> None:
    """Replace the content of the only blob of a project; if *change* returns ``None``, delete it."""
    storage = project.storage
    (blob,) = storage.blobs()
    content = change(bytes(storage.load(blob.location, blob.size)))
    if isinstance(storage, LocalStorage):
        path = Path(storage.root, blob.location)
        path.unlink() if content is None else path.write_bytes(content)
    else:
        assert isinstance(storage, S3Storage)
        where = {"Bucket": storage.bucket, "Key": f"{storage.prefix}/{blob.location}"}
        client = storage._client.get()
        client.delete_object(**where) if content is None else client.put_object(**where, Body=content)
