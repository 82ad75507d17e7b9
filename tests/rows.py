"""Changes the rows of an index behind its back, as an attacker or a fault would."""

import sqlite3
from typing import Any

import psycopg

import beautyspot as bs
from beautyspot.db import PostgresTaskDB, SQLiteTaskDB


def change_rows(project: bs.Project, where: str = "true", **columns: Any) -> None:
    """Set *columns* of the kept results of a project."""
    db, names = project.db, list(columns)
    changes = ", ".join(f"{name} = ?" for name in names)
    project.close()
    if isinstance(db, SQLiteTaskDB):
        connection: Any = sqlite3.connect(db.path)
        connection.execute(f"UPDATE results SET {changes} WHERE {where}", list(columns.values()))
        connection.commit()
    else:
        assert isinstance(db, PostgresTaskDB)
        connection = psycopg.connect(db._sessions.url, autocommit=True)
        sql = f"UPDATE {db._schema}.results SET {changes.replace('?', '%s')} WHERE {where}"
        connection.execute(sql.encode(), list(columns.values()))
    connection.close()


def rows(project: bs.Project, columns: str) -> list[tuple[Any, ...]]:
    """Those *columns* of all kept results of a project, in the order in which they were kept."""
    db = project.db
    if isinstance(db, SQLiteTaskDB):
        connection: Any = sqlite3.connect(db.path)
        found = connection.execute(f"SELECT {columns} FROM results ORDER BY record").fetchall()
    else:
        assert isinstance(db, PostgresTaskDB)
        connection = psycopg.connect(db._sessions.url, autocommit=True)
        found = connection.execute(f"SELECT {columns} FROM {db._schema}.results ORDER BY id".encode()).fetchall()
    connection.close()
    return found
