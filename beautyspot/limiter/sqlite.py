"""SQLiteStorage: budgets in a small SQLite file, shared by all processes of this machine that name it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

import limits.storage
from limits.errors import StorageError
from limits.storage import Storage

from beautyspot.limiter.gcra import Request
from beautyspot.limiter.sqlite_budgets import SCHEMA, Transactions
from beautyspot.limiter.sqlite_file import SQLiteFile
from beautyspot.limiter.support import GCRASupport, NoWindows, wraps_errors

__all__ = ["SQLiteStorage"]

# A future `limits` may bring a storage of this name; its users must get that one.
FREE_SCHEMES = [] if "sqlite" in limits.storage.SCHEMES else ["sqlite"]  # type: ignore[attr-defined]


class SQLiteStorage(NoWindows, Storage, GCRASupport):
    """Budgets in an SQLite file.

    Args:
        uri: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.
        wrap_exceptions: Whether errors of SQLite are raised as ``limits.errors.StorageError``.
        timeout: Seconds for which other processes are waited for.
        clock: Gives seconds since the epoch.
    """

    STORAGE_SCHEME = ["beautyspot+sqlite", *FREE_SCHEMES]

    def __init__(
        self,
        uri: str,
        wrap_exceptions: bool = False,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.time,
        **_: object,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.file = SQLiteFile(uri.partition("://")[2].removeprefix("/"), SCHEMA, timeout)
        self.transactions = Transactions(clock)

    @wraps_errors
    def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        return self.file.run(self.transactions.acquire(requests, max_wait))

    @wraps_errors
    def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        self.file.run(self.transactions.shift(shifts))

    @wraps_errors
    def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let nobody who asks one of the budgets begin before *seconds* have passed."""
        self.file.run(self.transactions.defer(keys, seconds))

    @wraps_errors
    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """What budgets owe and are deferred by, in seconds."""
        return self.file.run(self.transactions.get(keys), "BEGIN")

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What can go wrong here."""
        return (sqlite3.Error, OSError)

    def check(self) -> bool:
        """Whether the file can be used."""
        try:
            self.get_gcra([""])
        except (sqlite3.Error, OSError, StorageError):
            return False
        return True

    def reset(self) -> int:
        """Forget everything; returns how many keys there were."""
        return self.file.run(self.transactions.reset)

    def clear(self, key: str) -> None:
        """Forget *key*."""
        self.file.run(self.transactions.clear(key))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self.file.close()
