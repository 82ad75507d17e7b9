"""Where the blobs of an index lie, and who else may keep some there: two projects in one place have one ``./blobs``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from beautyspot.db import SQLiteTaskDB
from beautyspot.errors import ForeignIndexError
from beautyspot.protocols import BlobStorage, InDirectory, TaskDB


def blobs_beside(db: TaskDB) -> str:
    """Where blobs lie if nobody says otherwise: in ``blobs`` beside an index in a file, else in ``./blobs``."""
    return os.path.join(db.directory, "blobs") if isinstance(db, SQLiteTaskDB) else "./blobs"


@contextmanager
def sharers(db: TaskDB, storage: BlobStorage) -> Iterator[list[TaskDB]]:
    """Other SQLite indexes beside a directory of blobs, or beside the index *db*: their blobs are no garbage.

    Raises:
        IndexUnavailableError: If one of them cannot be read, so that nobody can tell which blobs are its own.
    """
    with ExitStack() as stack:
        others = [stack.enter_context(closing(SQLiteTaskDB(path, read_only=True))) for path in _paths(db, storage)]
        yield [other for other in others if _is_ours(other)]


def _paths(db: TaskDB, storage: BlobStorage) -> list[str]:
    if not isinstance(storage, InDirectory):
        return []
    places = {os.path.dirname(os.path.abspath(storage.directory))}
    if isinstance(db, InDirectory):
        places.add(os.path.abspath(db.directory))
    own = {os.path.realpath(db.path)} if isinstance(db, SQLiteTaskDB) else set()
    return sorted({os.path.realpath(path) for place in places for path in _indexes_in(place)} - own)


def _indexes_in(directory: str) -> list[str]:
    """Files that may be indexes: those called so, and those beside which our locks are."""
    if not os.path.isdir(directory):
        return []
    names = {name.removesuffix("-lock") for name in os.listdir(directory) if name.endswith((".db", "-lock"))}
    return [path for name in names if os.path.isfile(path := os.path.join(directory, name))]


def _is_ours(other: TaskDB) -> bool:
    try:
        other.lookup([bytes(16)])
    except ForeignIndexError:
        return False
    return True
