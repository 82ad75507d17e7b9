"""SQLiteStorage for event loops: each attempt runs on the loop, which takes microseconds, and waits are awaited."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from limits.aio.storage import Storage

from beautyspot.limiter.aio.support import GCRASupport, NoWindows
from beautyspot.limiter.gcra import Request
from beautyspot.limiter.sqlite import FREE_SCHEMES
from beautyspot.limiter.sqlite import SQLiteStorage as SyncSQLiteStorage
from beautyspot.limiter.sqlite_file import Busy
from beautyspot.limiter.support import wraps_errors

T = TypeVar("T")

__all__ = ["SQLiteStorage"]


class SQLiteStorage(NoWindows, Storage, GCRASupport):
    """Budgets in an SQLite file.

    Args:
        uri: ``async+sqlite:///relative.db`` or ``async+sqlite:////absolute.db``.
        wrap_exceptions: Whether errors of SQLite are raised as ``limits.errors.StorageError``.
        shared: The storage of the same file that threads use; a new one if there is none.
        options: Options of `beautyspot.limiter.SQLiteStorage`.
    """

    STORAGE_SCHEME = [f"async+{scheme}" for scheme in ("beautyspot+sqlite", *FREE_SCHEMES)]

    def __init__(
        self,
        uri: str,
        wrap_exceptions: bool = False,
        shared: SyncSQLiteStorage | None = None,
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._sync = shared or SyncSQLiteStorage(uri, **options)
        self._file, self._transactions = self._sync.file, self._sync.transactions

    async def _run(self, action: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE") -> T:
        for pause in self._file.pauses():
            try:
                return self._file.attempt(action, begin)
            except Busy:
                await asyncio.sleep(pause)
        return self._file.attempt(action, begin)

    @wraps_errors
    async def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        return await self._run(self._transactions.acquire(requests, max_wait))

    @wraps_errors
    async def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        await self._run(self._transactions.shift(shifts))

    @wraps_errors
    async def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""
        await self._run(self._transactions.defer(keys, seconds))

    @wraps_errors
    async def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        return await self._run(self._transactions.get(keys), "BEGIN")

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """The errors of SQLite and of files."""
        return self._sync.base_exceptions

    async def check(self) -> bool:
        """Whether the file can be used."""
        return self._sync.check()

    async def reset(self) -> int:
        """Delete all budgets; returns how many there were."""
        return await self._run(self._transactions.reset)

    async def clear(self, key: str) -> None:
        """Delete the budget of *key*."""
        await self._run(self._transactions.clear(key))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._sync.close()
