"""SQLiteFile: a small SQLite file that many processes share, in transactions of microseconds."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from beautyspot._internal.fork_safety import SurvivesFork

T = TypeVar("T")

_PAUSE = 0.003  # seconds; a transaction of another process takes some microseconds


class Busy(sqlite3.OperationalError):
    """Another process is using the file."""


class SQLiteFile(SurvivesFork):
    """One connection for all threads of a process: a transaction is over before a second one would pay.

    While another process uses the file, an attempt is repeated a moment later, and no lock is held meanwhile: so this
    may be used on an event loop.

    Args:
        path: The file, created with its directories when it is first needed.
        schema: Statements that create its tables if they are missing.
        timeout: Seconds to wait for other processes.
    """

    def __init__(self, path: str, schema: str, timeout: float) -> None:
        self.path = os.path.abspath(path)
        self._schema = schema
        self._timeout = timeout
        self._using = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.survive_forks()

    def run(self, action: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE") -> T:
        """Run *action* in a transaction, waiting while other processes use the file."""
        for pause in self.pauses():
            try:
                return self.attempt(action, begin)
            except Busy:
                time.sleep(pause)
        return self.attempt(action, begin)

    def pauses(self) -> Iterator[float]:
        """Seconds between attempts, until the timeout. Random, so that two processes do not collide again."""
        end = time.monotonic() + self._timeout
        while time.monotonic() < end:
            yield _PAUSE * random.uniform(0.2, 1)  # noqa: S311 - spreads attempts, protects nothing

    def attempt(self, action: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE") -> T:
        """As `run`, once.

        Raises:
            Busy: If another process is using the file.
        """
        with self._using:  # for microseconds
            try:
                connection = self._connection or self._open()
                connection.execute(begin)
                try:
                    result = action(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    connection.rollback()
                    raise
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise Busy(str(error)) from error
                raise
            return result

    def _open(self) -> sqlite3.Connection:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        opened = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")
            opened.executescript(self._schema)
        except BaseException:
            opened.close()
            raise
        self._connection = opened
        return opened

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._using:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def before_fork(self) -> None:
        """Wait for a running transaction, and let none begin until the fork is over."""
        self._using.acquire()

    def after_fork_in_parent(self) -> None:
        """Allow transactions again."""
        self._using.release()

    def after_fork_in_child(self) -> None:
        """Close the copy of the parent's connection, which holds none of its locks."""
        self._using = threading.Lock()
        self.close()
