"""The common base of an index and a storage in a cache of diskcache: opened late, with retries, listed directly.

Writes and reads go through diskcache. Its table is read directly only for lists, which diskcache cannot make without
recording each row as used.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import itemgetter
from time import monotonic, time
from typing import Any, NamedTuple, TypeVar

from diskcache import Cache, FanoutCache, Timeout
from diskcache.core import DBNAME, EVICTION_POLICY

from beautyspot.adapters.diskcache_disk import PlainDisk, check_settings
from beautyspot.db import SurvivesFork
from beautyspot.errors import BeautyspotError, ConfigurationError

T = TypeVar("T")

_PATIENCE = 60  # seconds that a write waits for other writers
_LEAST = 1 << 20  # bytes: an empty cache takes up some 60 kB of them
_PAGE = 500


class Recipe(NamedTuple):
    """How a cache is opened.

    Attributes:
        directory: The directory of the cache.
        shards: The number of shards of a ``FanoutCache``; ``None``: a ``Cache``.
        disk: The class that stores keys and values.
        settings: The settings of the cache.
    """

    directory: str
    shards: int | None
    disk: type[PlainDisk]
    settings: dict[str, Any]

    def open(self) -> Any:
        """The cache."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)  # results may be confidential
        if self.shards is None:
            check_settings(self.directory)
            cache: Any = Cache(self.directory, timeout=_PATIENCE, disk=self.disk, **self.settings)
            cache.cull_limit = 0  # ten rows at once may be all; `keep_to_size` evicts as few as needed
            return cache
        for number in range(self.shards):
            check_settings(os.path.join(self.directory, f"{number:03d}"))
        return FanoutCache(self.directory, shards=self.shards, disk=self.disk, **self.settings)


class InCache(SurvivesFork):
    """An index or a storage in a cache of diskcache.

    Args:
        cache: A directory, or an open ``diskcache.Cache`` or ``FanoutCache`` with `PlainDisk`, which stays open.
        size_limit: The bytes above which the cache evicts rows; by default those with which the directory was made, and
            for a new one diskcache's own, 1 GiB.
        eviction_policy: The rows that it evicts first, as diskcache names it: ``"least-recently-stored"``,
            ``"least-recently-used"``, ``"least-frequently-used"`` or ``"none"``.

    Raises:
        ConfigurationError: If the cache would unpickle what it reads, or an option is not of its form.
    """

    def __init__(
        self,
        cache: str | os.PathLike[str] | Cache | FanoutCache,
        size_limit: int | None = None,
        eviction_policy: str | None = None,
    ) -> None:
        given = {"size_limit": size_limit, "eviction_policy": eviction_policy}
        settings = {name: value for name, value in given.items() if value is not None}
        if isinstance(cache, str | os.PathLike):
            self._setup(_of_directory(os.path.abspath(os.fspath(cache)), settings))
        else:
            self._setup(_of_open(cache, settings), cache)

    def _setup(self, recipe: Recipe, cache: Any = None) -> None:
        self._recipe = recipe
        self._cache = cache
        self._owns = cache is None
        self._opening = threading.Lock()
        self.survive_forks()

    def __getstate__(self) -> Recipe:
        return self._recipe

    def __setstate__(self, recipe: Recipe) -> None:
        self._setup(recipe)  # opened when it is needed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._recipe.directory!r})"

    @property
    def directory(self) -> str:
        """The directory of the cache."""
        return self._recipe.directory

    def close(self) -> None:
        """Close the cache, unless it was handed in open. A later call opens it again."""
        with self._opening:
            cache = self._cache
            if cache is not None and self._owns:
                self._cache = None  # connections of other threads go with it
                cache.close()

    def after_fork_in_child(self) -> None:
        """Replace the lock: one that was held would stay so. Diskcache opens new connections in a child by itself."""
        self._opening = threading.Lock()

    def _shards(self) -> tuple[Any, ...]:
        cache = self._cache
        if cache is None:
            with self._opening:
                if self._cache is None:
                    self._cache = self._recipe.open()
                cache = self._cache
        return tuple(cache._shards) if isinstance(cache, FanoutCache) else (cache,)

    def _shard(self, key: bytes) -> Any:
        shards = self._shards()
        return shards[shards[0].disk.hash(key) % len(shards)]

    def _by_shard(self, keys: list[bytes]) -> list[tuple[Any, list[bytes]]]:
        """Keys by shard, in the order of the shards, so that there is no deadlock."""
        shards = self._shards()
        placed = sorted(((shards[0].disk.hash(key) % len(shards), key) for key in keys), key=itemgetter(0))
        return [(shards[n], [key for _, key in some]) for n, some in groupby(placed, itemgetter(0))]

    @contextmanager
    def _asking(self, what: str, error: type[BeautyspotError]) -> Iterator[None]:
        """Translate errors, naming the cache."""
        try:
            yield
        except BeautyspotError:
            raise
        except (sqlite3.Error, OSError) as cause:
            raise error(f"cannot {what} the cache in {self.directory}: {cause}") from cause

    def _rows(self, columns: str, prefix: bytes) -> Iterator[tuple[Any, ...]]:
        """The *columns* of all rows whose key begins with *prefix*, the latest stored first."""
        shards = self._shards()
        sql = "SELECT store_time, ?, rowid FROM Cache WHERE raw = 1 AND key >= ? AND key < ?"
        bounds = (prefix, prefix[:-1] + bytes([prefix[-1] + 1]))
        places = [place for n, shard in enumerate(shards) for place in shard._sql(sql, (n, *bounds)).fetchall()]
        places.sort(reverse=True)
        for start in range(0, len(places), _PAGE):
            some = [(n, rowid) for _, n, rowid in places[start : start + _PAGE]]
            found = {}
            for n, shard in enumerate(shards):
                rowids = [rowid for m, rowid in some if m == n]
                marks = ", ".join("?" * len(rowids))
                for row in shard._sql(f"SELECT rowid, {columns} FROM Cache WHERE rowid IN ({marks})", rowids):
                    found[n, row[0]] = row[1:]
            yield from (found[place] for place in some if place in found)


def patiently(shard: Any, action: Callable[[], T]) -> T:
    """Run *action*, waiting for other writers; raise the error of SQLite if waiting cannot help."""
    deadline = monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except Timeout:  # diskcache raises it for every reason for which a transaction cannot begin
            _refuse_what_lasts(shard)
            if monotonic() > deadline:
                raise sqlite3.OperationalError(f"other writers have held it for {_PATIENCE} s") from None


def begin(stack: ExitStack, shard: Any) -> None:
    """Begin a transaction that ends with *stack*."""
    patiently(shard, lambda: stack.enter_context(shard.transact()))


def keep_to_size(shard: Any) -> None:
    """Evict one row after the other, in the order of the shard's policy, until it is within its size."""

    def evict_one() -> None:
        with shard._transact() as (sql, cleanup):
            shard._cull(time(), sql, cleanup, limit=1)

    while shard.eviction_policy != "none" and shard.volume() >= shard.size_limit and len(shard):
        patiently(shard, evict_one)


def _refuse_what_lasts(shard: Any) -> None:
    try:
        shard._sql("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    else:
        shard._sql("ROLLBACK")


def records_access(shard: Any) -> bool:
    """Whether the shard writes at each read, to know later which row to evict."""
    return bool(shard.statistics or EVICTION_POLICY[shard.eviction_policy]["get"])


def _of_directory(directory: str, settings: dict[str, Any]) -> Recipe:
    size_limit, policy = settings.get("size_limit", _LEAST), settings.get("eviction_policy", "none")
    if not isinstance(size_limit, int) or size_limit < _LEAST:
        raise ConfigurationError(f"size_limit is a number of bytes, {_LEAST:,} at the least, not {size_limit!r}")
    if policy not in EVICTION_POLICY:
        raise ConfigurationError(f"eviction_policy is one of {', '.join(EVICTION_POLICY)}, not {policy!r}")
    if os.path.exists(os.path.join(directory, "000", DBNAME)) and not os.path.exists(os.path.join(directory, DBNAME)):
        raise ConfigurationError(
            f"in {directory} is a FanoutCache: hand it in open, as diskcache.FanoutCache({directory!r}, shards=..., "
            "disk=PlainDisk)"
        )
    return Recipe(directory, None, PlainDisk, settings)


def _of_open(cache: Any, settings: dict[str, Any]) -> Recipe:
    if not isinstance(cache, Cache | FanoutCache):
        raise ConfigurationError(f"a cache is a directory, a diskcache.Cache or a FanoutCache, not {cache!r}")
    if settings:
        raise ConfigurationError(
            f"{' and '.join(settings)} of a cache that is open already: give it where it is opened"
        )
    disk = type(cache.disk)
    if not issubclass(disk, PlainDisk):
        raise ConfigurationError(
            f"the cache in {cache.directory} would unpickle what it reads, and so run what anyone wrote there: open it "
            "with disk=PlainDisk, of beautyspot.adapters.diskcache"
        )
    directory = os.path.abspath(cache.directory)
    if isinstance(cache, Cache):
        return Recipe(directory, None, disk, {})
    # Opened without its limit, a FanoutCache would take the default for it from then on.
    return Recipe(directory, cache._count, disk, {"size_limit": cache.size_limit * cache._count})
