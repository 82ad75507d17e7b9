"""Indexes: one backend a file, found by the scheme of a URL."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from beautyspot.plugins import Registry
from beautyspot.protocols import TaskDB

if TYPE_CHECKING:
    from beautyspot.db.memory import MemoryTaskDB
    from beautyspot.db.postgres import PostgresTaskDB
    from beautyspot.db.sqlite import SQLiteTaskDB

__all__ = ["MemoryTaskDB", "PostgresTaskDB", "SQLiteTaskDB", "open_db"]

DATABASES = Registry(
    "index",
    "beautyspot.databases",
    {
        "sqlite": "beautyspot.db.sqlite:open_url",
        "memory": "beautyspot.db.memory:open_url",
        "postgresql": "beautyspot.db.postgres:open_url",
        "postgres": "beautyspot.db.postgres:open_url",
        "diskcache": "beautyspot.adapters.diskcache:open_url",
    },
)


def open_db(place: str | os.PathLike[str]) -> TaskDB:
    """The index at a path, or at a URL such as ``postgresql://user@host/name``, ``sqlite:///data.db`` or ``memory://``.

    Raises:
        ConfigurationError: If no backend is known for the URL's scheme.
    """
    opener = DATABASES.for_url(place)
    if opener is None:
        from beautyspot.db.sqlite import SQLiteTaskDB

        return SQLiteTaskDB(place)
    db: TaskDB = opener(str(place))
    return db


_HOMES = {"MemoryTaskDB": "memory", "PostgresTaskDB": "postgres", "SQLiteTaskDB": "sqlite"}


def __getattr__(name: str) -> Any:
    # The backends load when they are first named: importing beautyspot opens no database library.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
