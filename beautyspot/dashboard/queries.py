"""Source: the queries of the app to an index and a storage, in its own threads, so that none blocks a page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from beautyspot.db import SQLiteTaskDB, open_db
from beautyspot.maintenance.garbage import blobs_beside
from beautyspot.maintenance.maintenance import Maintenance
from beautyspot.protocols.index import Catalog, Failure, FunctionSummary, Selection, Summary, TaskDB
from beautyspot.protocols.storage import MapsBlobs
from beautyspot.serialization import blob_format
from beautyspot.storage import open_storage

if TYPE_CHECKING:
    from beautyspot.project.project import Project

P = ParamSpec("P")
T = TypeVar("T")

LARGEST = 10_000_000  # bytes of a value that is decoded to be shown; arrays may have any size, since they are mapped
CUT = 100_000  # characters or bytes of a larger one that are shown
_AGE = 20.0  # seconds for which sums over all rows are reused

_ARRAY, _TEXT = -21, (0xD9, 0xDA, 0xDB)  # of MessagePack: the code of an array, and how long texts begin
_HEADS = {0xD4: 1, 0xD5: 1, 0xD6: 1, 0xD7: 1, 0xD8: 1, 0xC7: 2, 0xC8: 3, 0xC9: 5}  # where an extension has its code


@dataclass(frozen=True, slots=True)
class Large:
    """Stands for a value that is too large to be shown: its first bytes, and whether they are text."""

    size: int
    beginning: bytes
    is_text: bool


class Source:
    """An index with its storage, as the app reads it; all sessions share one.

    Args:
        maintenance: The maintenance of the index.
        name: The name to show, such as the project's.
        allow_delete: Whether the app may delete results.
        serves_values: Whether the server that runs the app has the route `value/KEY`.
    """

    def __init__(
        self, maintenance: Maintenance, name: str, allow_delete: bool = False, serves_values: bool = False
    ) -> None:
        self.maintenance = maintenance
        self.name = name
        self.allow_delete = allow_delete
        self.serves_values = serves_values
        self._summed: dict[str, tuple[float, tuple[int, int], Any]] = {}
        self._counts: dict[Selection, tuple[tuple[int, int], int]] = {}

    @property
    def catalog(self) -> Catalog:
        """The catalog of the index."""
        return self.maintenance.catalog

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* in a thread, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(_threads(), lambda: function(*args, **kwargs))

    async def count(self, selection: Selection) -> int:
        """The number of rows of a selection; counted again when there are new rows."""
        latest = await self.run(self.catalog.latest)
        known = self._counts.get(selection)
        if known is not None and known[0] == latest:
            return known[1]
        number = await self.run(self.catalog.count, selection)
        if len(self._counts) > 200:
            self._counts.clear()
        self._counts[selection] = latest, number
        return number

    async def functions(self) -> list[FunctionSummary]:
        """The sums for each version of each function, at most some seconds old."""
        return await self._recent("functions", self.catalog.functions)

    async def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """The numbers of results and failures in each part of a period, at most some seconds old."""
        asked = f"activity {before - since:g} {bins}"
        return await self._recent(asked, lambda: self.catalog.activity(since, before, bins))

    async def _recent(self, name: str, ask: Callable[[], T]) -> T:
        latest = await self.run(self.catalog.latest)
        known = self._summed.get(name)
        if known is None or (known[1] != latest and monotonic() - known[0] > _AGE):
            known = self._summed[name] = monotonic(), latest, await self.run(ask)
        found: T = known[2]
        return found

    def find(self, key: str) -> Summary | Failure | None:
        """The record of a whole key; ``None`` if there is none any more."""
        found = self.catalog.find(key, 1)
        return found[0] if found else None

    def value(self, key: bytes) -> Any:
        """The value of a result to be shown, or a `Large`; raises as `Maintenance.value` does."""
        entry = self.maintenance.entry(key)
        if entry.size <= LARGEST:
            return self.maintenance.value(key)
        if entry.value is None and not isinstance(self.maintenance.storage, MapsBlobs):
            return Large(entry.size, b"", False)
        stored = self.maintenance.stored(key)
        head, buffers = (memoryview(stored), []) if entry.value is not None else blob_format.split(stored)
        if _code(head) == _ARRAY and buffers:
            return self.maintenance.value(key)
        is_text = head[0] in _TEXT
        start = 1 + (1 << (head[0] - _TEXT[0])) if is_text else 0
        rest = buffers[0] if buffers and len(buffers) == 1 else head[start:]
        return Large(entry.size, bytes(rest[:CUT]), is_text)

    def large_content(self, key: bytes) -> memoryview | None:
        """The bytes or the UTF-8 of a large result that is one text or one bytes object, without a copy."""
        stored = self.maintenance.stored(key)
        entry = self.maintenance.entry(key)
        if entry.value is not None:
            return None
        head, buffers = blob_format.split(stored)
        if head[0] in _TEXT and not buffers:
            return head[1 + (1 << (head[0] - _TEXT[0])) :]
        return buffers[0] if len(buffers) == 1 and len(head) < 16 else None

    def forget(self, key: bytes) -> bool:
        """Delete a result."""
        return self.maintenance.results.delete(key)

    def close(self) -> None:
        """Close the index and the storage."""
        self.maintenance.close()


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads of all sessions: few, since each has connections of its own."""
    return ThreadPoolExecutor(4, "ui")


def _code(head: memoryview) -> int | None:
    """The extension code of a head; ``None`` if it is not an extension."""
    place = _HEADS.get(head[0])
    return None if place is None else int.from_bytes(bytes(head[place : place + 1]), "big", signed=True)


def source_of(
    place: Project | Maintenance | TaskDB | str | os.PathLike[str],
    *,
    storage_path: str | os.PathLike[str] | None = None,
    s3_opts: dict[str, Any] | None = None,
    secret: str | None = None,
    allow_delete: bool = False,
) -> Source:
    """The source of a project, of an index, or of the path or URL of one.

    Args:
        place: A project, its maintenance, an index, or the path or URL of an index.
        storage_path: The place of the blobs; ``None``: ``blobs`` beside an index in a file, else ``./blobs``. A project
            has its own.
        s3_opts: The options of a storage in S3.
        secret: The secret of the project, if it has one.
        allow_delete: Whether the app may delete results; otherwise an SQLite file is opened read-only.
    """
    from beautyspot.project.project import Project

    if isinstance(place, Project):
        return Source(place.maintenance, place.name, allow_delete)
    if isinstance(place, Maintenance):
        return Source(place, str(place.db), allow_delete)
    if isinstance(place, str | os.PathLike):
        options = tuple(sorted((s3_opts or {}).items()))
        where = None if storage_path is None else str(storage_path)
        return _opened(os.getcwd(), str(place), where, options, secret, allow_delete)
    storage = open_storage(storage_path or blobs_beside(place), s3_opts)
    return Source(Maintenance(place, storage, secret=secret), str(place), allow_delete)


@cache
def _opened(
    directory: str,
    place: str,
    storage_path: str | None,
    s3_opts: tuple[tuple[str, Any], ...],
    secret: str | None,
    allow_delete: bool,
) -> Source:
    """The source of a path or a URL; all sessions share one.

    *directory* is the current one, to which a path is relative.
    """
    db = open_db(place)
    if isinstance(db, SQLiteTaskDB) and not allow_delete:
        db = SQLiteTaskDB(db.path, read_only=True)
    storage = open_storage(storage_path or blobs_beside(db), dict(s3_opts) or None)
    name = os.path.basename(db.path) if isinstance(db, SQLiteTaskDB) else str(db)
    return Source(Maintenance(db, storage, secret=secret), name, allow_delete)
