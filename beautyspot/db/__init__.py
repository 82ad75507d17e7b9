"""Indexes: each backend is a module or a package, found by the scheme of a URL.

`sqlite`, `postgres` and `memory` are the backends. `scanning` is the catalog of any index that has none of its own,
`selection_sql` translates a selection to SQL for the others. For indexes of other packages there are `FileLocks`,
`SurvivesFork` and `warn_once` too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.lazy import lazy_names
from beautyspot._internal.registry import Registry
from beautyspot._internal.warn import warn_once
from beautyspot.protocols.index import TaskDB

if TYPE_CHECKING:
    from beautyspot.db.memory import MemoryTaskDB
    from beautyspot.db.postgres.index import PostgresTaskDB
    from beautyspot.db.scanning import catalog_of
    from beautyspot.db.sqlite.file_locks import FileLocks
    from beautyspot.db.sqlite.index import SQLiteTaskDB

__all__ = [
    "FileLocks",
    "MemoryTaskDB",
    "PostgresTaskDB",
    "SQLiteTaskDB",
    "SurvivesFork",
    "catalog_of",
    "open_db",
    "warn_once",
]

DATABASES = Registry(
    "index",
    "beautyspot.databases",
    {
        "sqlite": "beautyspot.db.sqlite.index:open_url",
        "memory": "beautyspot.db.memory:open_url",
        "postgresql": "beautyspot.db.postgres.index:open_url",
        "postgres": "beautyspot.db.postgres.index:open_url",
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
        from beautyspot.db.sqlite.index import SQLiteTaskDB

        return SQLiteTaskDB(place)
    db: TaskDB = opener(str(place))
    return db


# The backends load when they are first used: importing beautyspot imports no database library.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "memory": ("MemoryTaskDB",),
        "postgres.index": ("PostgresTaskDB",),
        "scanning": ("catalog_of",),
        "sqlite.file_locks": ("FileLocks",),
        "sqlite.index": ("SQLiteTaskDB",),
    },
)
