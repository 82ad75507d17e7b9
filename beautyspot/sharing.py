"""Who else may keep blobs in a directory: two projects in one place have two indexes, and one ``./blobs``."""

from __future__ import annotations

import os

from beautyspot.db import SQLiteTaskDB
from beautyspot.errors import ForeignIndexError
from beautyspot.protocols import BlobStorage, InDirectory, TaskDB


def sharers(db: TaskDB, storage: BlobStorage) -> list[TaskDB]:
    """Other SQLite indexes beside a directory of blobs, or beside the index *db*: their blobs are no garbage.

    Raises:
        IndexUnavailableError: If one of them cannot be read, so that nobody can tell which blobs are its own.
    """
    if not isinstance(storage, InDirectory):
        return []
    places = {os.path.dirname(os.path.abspath(storage.directory))}
    if isinstance(db, InDirectory):
        places.add(os.path.abspath(db.directory))
    own = os.path.realpath(db.path) if isinstance(db, SQLiteTaskDB) else None
    paths = {os.path.realpath(path) for place in places for path in _indexes_in(place)}
    return [other for path in sorted(paths - {own}) if (other := _opened(path)) is not None]


def _indexes_in(directory: str) -> list[str]:
    """Files that may be indexes: those called so, and those beside which our locks are."""
    if not os.path.isdir(directory):
        return []
    names = {name.removesuffix("-lock") for name in os.listdir(directory) if name.endswith((".db", "-lock"))}
    return [path for name in names if os.path.isfile(path := os.path.join(directory, name))]


def _opened(path: str) -> TaskDB | None:
    """The index in a file; ``None`` where it is another program's."""
    other = SQLiteTaskDB(path, read_only=True)
    try:
        other.lookup([bytes(16)])
    except ForeignIndexError:
        return None
    finally:
        other.close()
    return other
