"""SQLiteStorage: budgets in a small SQLite file, shared by all processes of this machine that name it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

import limits.storage
from limits.errors import StorageError
from limits.storage import Storage

from beautyspot.limiter.gcra import Request, State, admit, aged, deferred, shifted
from beautyspot.limiter.sqlite_file import SQLiteFile
from beautyspot.limiter.support import GCRASupport, NoWindows, wraps_errors

__all__ = ["SQLiteStorage"]

# A future version of `limits` may bring a storage of this name; its users must get that one.
FREE_SCHEMES = [] if "sqlite" in limits.storage.SCHEMES else ["sqlite"]  # type: ignore[attr-defined]


class SQLiteStorage(NoWindows, Storage, GCRASupport):
    """Budgets in an SQLite file.

    Args:
        uri: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.
        wrap_exceptions: Whether errors of SQLite are raised as ``limits.errors.StorageError``.
        timeout: Seconds to wait for other processes.
        clock: Returns seconds since the epoch.
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
        """Let no call of these budgets begin before *seconds* have passed."""
        self.file.run(self.transactions.defer(keys, seconds))

    @wraps_errors
    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        return self.file.run(self.transactions.get(keys), "BEGIN")

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """The errors of SQLite and of files."""
        return (sqlite3.Error, OSError)

    def check(self) -> bool:
        """Whether the file can be used."""
        try:
            self.get_gcra([""])
        except (sqlite3.Error, OSError, StorageError):
            return False
        return True

    def reset(self) -> int:
        """Delete all budgets; returns how many there were."""
        return self.file.run(self.transactions.reset)

    def clear(self, key: str) -> None:
        """Delete the budget of *key*."""
        self.file.run(self.transactions.clear(key))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self.file.close()


SCHEMA = """
CREATE TABLE IF NOT EXISTS gcra (
    key TEXT PRIMARY KEY, debt REAL NOT NULL, last REAL NOT NULL, held REAL NOT NULL, tolerance REAL NOT NULL
) WITHOUT ROWID;
"""


_GET = "SELECT debt, last, held, tolerance FROM gcra WHERE key = ?"


_PUT = "INSERT OR REPLACE INTO gcra VALUES (?, ?, ?, ?, ?)"


_SPENT = "DELETE FROM gcra WHERE debt - (? - last) <= -tolerance"


_SWEEP = 1024  # admissions after which budgets that are paid off are deleted


class Transactions:
    """The operations on budgets as transactions, which the sync storage runs and the async one awaits.

    Args:
        clock: Returns seconds since the epoch: the file outlives a restart of the machine.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._admitted = 0

    def acquire(
        self, requests: Sequence[Request], max_wait: float
    ) -> Callable[[sqlite3.Connection], tuple[bool, float]]:
        """Charge a call to all of its budgets, or to none."""

        def act(connection: sqlite3.Connection) -> tuple[bool, float]:
            now = self._clock()  # once the file is locked: no other process can have written a later time
            states: dict[str, State] = {key: row for key, *_ in requests for row in connection.execute(_GET, (key,))}
            charged, wait = admit(requests, states, now, max_wait)
            for key, *_ in requests if charged else ():
                connection.execute(_PUT, (key, *states[key]))
            self._admitted += charged
            if self._admitted >= _SWEEP:
                connection.execute(_SPENT, (now,))
                self._admitted = 0
            return charged, wait

        return act

    def shift(self, shifts: Sequence[tuple[str, float]]) -> Callable[[sqlite3.Connection], None]:
        """Charge further seconds to budgets, or give some back."""
        return lambda connection: self._change(connection, shifted, shifts)

    def defer(self, keys: Sequence[str], seconds: float) -> Callable[[sqlite3.Connection], None]:
        """Let no call of these budgets begin before *seconds* have passed."""
        return lambda connection: self._change(connection, deferred, [(key, seconds) for key in keys])

    def get(self, keys: Sequence[str]) -> Callable[[sqlite3.Connection], list[tuple[float, float]]]:
        """The seconds that each budget owes and is deferred by."""
        return lambda connection: [aged(_state(connection, key), self._clock()) for key in keys]

    def _change(
        self,
        connection: sqlite3.Connection,
        change: Callable[[State | None, float, float], State],
        each: Sequence[tuple[str, float]],
    ) -> None:
        now = self._clock()
        for key, seconds in each:
            connection.execute(_PUT, (key, *change(_state(connection, key), now, seconds)))

    @staticmethod
    def reset(connection: sqlite3.Connection) -> int:
        """Delete all budgets; returns how many there were."""
        return connection.execute("DELETE FROM gcra").rowcount

    @staticmethod
    def clear(key: str) -> Callable[[sqlite3.Connection], None]:
        """Delete the budget of *key*."""
        return lambda connection: _delete(connection, key)


def _state(connection: sqlite3.Connection, key: str) -> State | None:
    row: State | None = connection.execute(_GET, (key,)).fetchone()
    return row


def _delete(connection: sqlite3.Connection, key: str) -> None:
    connection.execute("DELETE FROM gcra WHERE key = ?", (key,))
