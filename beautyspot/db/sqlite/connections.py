"""Connections to one SQLite file: each thread opens one when it needs it; one thread writes at a time.

They survive a fork (the child closes its copies and opens its own), a damaged file (it is renamed and a new one is
created) and a directory that cannot be written to (cached results are read, and none is stored).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.warn import warn
from beautyspot.db.sqlite.file_locks import FileLocks
from beautyspot.db.sqlite.schema import check_owner, check_readable, foreign, migrate
from beautyspot.errors import ForeignIndexError, IndexUnavailableError, UnreadableWarning

T = TypeVar("T")

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Connection:
    """An SQLite connection, and the lock that is held while a statement runs on it."""

    __slots__ = ("execute", "executemany", "lock", "sqlite")

    def __init__(self, sqlite: sqlite3.Connection) -> None:
        self.sqlite = sqlite
        self.execute = sqlite.execute
        self.executemany = sqlite.executemany
        # Contended only by a fork, which must not happen in the middle of a statement.
        self.lock = threading.Lock()


class Connections(SurvivesFork):
    """The connections of this process to the index at *path*.

    Args:
        path: Path of the file; it and its directories are created when it is first needed.
        timeout: Time, in seconds, that a write waits for the writers of other processes.
        looks_only: Whether the file is never written to, even if it could be.
    """

    def __init__(self, path: str, timeout: float, looks_only: bool = False) -> None:
        self.path = path
        self.timeout = timeout
        self._looks_only = looks_only
        self.locks = FileLocks(path + "-lock")
        self.writing = threading.RLock()
        self._opening = threading.RLock()
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        self.local = threading.local()
        self._all: list[Connection] = []
        self._ready = False  # whether the file was created, checked and migrated
        self.read_only = False

    @property
    def reader(self) -> Connection:
        """The connection with which this thread reads."""
        try:
            found: Connection = self.local.reader
        except AttributeError:
            found = self.local.reader = self._open()
        return found

    @property
    def writer(self) -> Connection:
        """The same connection, for use while ``writing`` is held: so a thread finds in its page cache what it wrote."""
        connection = self.reader
        if self.read_only:
            raise IndexUnavailableError(f"the index {self.path} cannot be written to (read-only)")
        return connection

    def ensure_open(self) -> None:
        """Open the index before a file is created beside it: the file at its path may belong to another program."""
        if not self._ready:
            _ = self.reader

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        with self.writing, self._opening:
            self._close_all()
            self.locks.close()

    def read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of a query."""

        def read() -> list[Any]:
            reader = self.reader
            with reader.lock:
                return reader.execute(sql, values).fetchall()

        return self.guarded(read)

    def pages(self, sql: str, after: tuple[Any, ...]) -> Iterator[list[Any]]:
        """The rows of a query, a page at a time; no read stays open between two pages.

        Args:
            sql: One page of rows that come after a place. Its first columns are the place of a row.
            after: The place before the first row.
        """
        while rows := self.read(sql, after):
            yield rows
            after = rows[-1][: len(after)]

    def write(self, action: Callable[[Connection], T]) -> T:
        """Run *action* in a transaction of its own."""

        def write() -> T:
            writer = self.writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                result = action(writer)
                writer.execute("COMMIT")
            except BaseException:
                if writer.sqlite.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            return result

        with self.writing:
            return self.guarded(write)

    def guarded(self, action: Callable[[], T]) -> T:
        """Run *action*; if it fails, do as `retried` does."""
        try:
            return action()
        except sqlite3.Error as error:
            return self.retried(error, action)

    def retried(self, error: sqlite3.Error, action: Callable[[], T]) -> T:
        """Run *action* again after *error*: on a new file if the old one is damaged, which is renamed.

        Raises:
            IndexUnavailableError: If SQLite fails in any other way.
        """
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            self.local = threading.local()  # another thread closed it: with the project, or to rename a damaged file
        else:
            self._recover(error)
        try:
            return action()
        except sqlite3.Error as again:
            raise IndexUnavailableError(f"the index {self.path} failed: {again}") from again

    def _recover(self, error: sqlite3.Error) -> None:
        if self._looks_only or getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise IndexUnavailableError(f"the index {self.path} failed: {error}") from error
        with self.writing, self._opening:
            self._close_all()
            with self.locks.setting_up():
                self._set_aside(str(error))

    def _set_aside(self, cause: str) -> None:
        """Rename a damaged file, unless a process has it open: closing the old file would harm the new one."""
        for _ in range(40):
            if self.locks.try_own():
                break
            time.sleep(0.05)
        else:
            raise IndexUnavailableError(
                f"the index {self.path} is damaged ({cause}) and open in other processes; end them, and it is "
                "renamed and a new one is created"
            )
        try:
            if _is_sound(self.path):
                return  # another process was faster
            aside = f"{self.path}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{os.urandom(3).hex()}"
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(self.path + suffix):
                    os.rename(self.path + suffix, aside + suffix)
        finally:
            self.locks.release()
        warn(
            f"the index {self.path} was damaged ({cause}); it was renamed to {aside} and a new one was "
            "created, so calls whose results it held run again",
            UnreadableWarning,
        )

    def _open(self) -> Connection:
        with self._opening:
            try:
                opened = self._connect() if self._ready else self._open_first()
            except (sqlite3.Error, OSError) as error:
                raise IndexUnavailableError(f"cannot open the index {self.path}: {error}") from error
            connection = Connection(opened)
            self._all.append(connection)
            return connection

    def _open_first(self) -> sqlite3.Connection:
        """Open the first connection of this process: create, check and migrate the file."""
        if self._looks_only:
            return self._open_read_only()
        directory = Path(self.path).absolute().parent
        directory.mkdir(parents=True, exist_ok=True)
        # In this order, since another process may create the file between the two tests.
        file_writable = not os.path.exists(self.path) or os.access(self.path, os.W_OK)
        if not (os.access(directory, os.W_OK) and file_writable):
            return self._open_read_only()
        if not os.path.exists(self.locks.path) and os.path.exists(self.path):
            self._refuse_foreign()
        with self.locks.setting_up():
            self.locks.share()
            try:
                opened = self._prepared()
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF not in _DAMAGED:
                    raise
                self._set_aside(str(error))
                self.locks.share()
                opened = self._prepared()
        self._ready = True
        return opened

    def _prepared(self) -> sqlite3.Connection:
        opened = self._connect()
        try:
            migrate(opened, self.path)
            # After the tables: the application id must not be in a log that a crash could lose.
            opened.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            opened.close()
            raise
        return opened

    def _refuse_foreign(self) -> None:
        """Reject a file of another program, which has no lock file beside it, and leave it as it is.

        SQLite reads it, and this module does not open the file: closing it would release the locks that connections
        of this process hold on it, as POSIX requires.
        """
        try:
            probe = sqlite3.connect(self.path)
            try:
                check_owner(probe, self.path)
            finally:
                probe.close()
        except sqlite3.DatabaseError as error:
            raise ForeignIndexError(foreign(self.path)) from error

    def _open_read_only(self) -> sqlite3.Connection:
        self.read_only = True
        if not os.path.exists(self.path):
            why = "it is opened read-only" if self._looks_only else "its directory cannot be written to"
            raise IndexUnavailableError(f"the index {self.path} cannot be created: {why}")
        opened = sqlite3.connect(
            f"file:{quote(os.path.abspath(self.path))}?{self._mode()}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            opened.execute("PRAGMA query_only = ON")
            check_readable(opened, self.path)
        except BaseException:
            opened.close()
            raise
        self._ready = True
        return opened

    def _mode(self) -> str:
        """The URI options that open the file read-only and leave no new file beside it.

        In a directory that cannot be written to, immutable needs only the file; with a log, mode=ro needs the -shm
        file of its writer. Otherwise SQLite creates both for as long as the file is open, and only a connection that
        could write deletes them. A reader does not write a leftover log or journal back into the file.
        """
        left = [self.path + suffix for suffix in ("-wal", "-journal")]
        is_left = any(os.path.exists(path) and os.path.getsize(path) for path in left)
        if not os.access(os.path.dirname(self.path), os.W_OK):
            return "mode=ro" if is_left else "mode=ro&immutable=1"
        return "mode=ro" if is_left or not os.access(self.path, os.W_OK) else "mode=rw"

    def _connect(self) -> sqlite3.Connection:
        if self.read_only:
            return self._open_read_only()
        opened = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False)
        try:
            # NORMAL loses nothing when a process is killed; a power cut may take the last commits.
            opened.execute("PRAGMA synchronous = NORMAL")
            opened.execute("PRAGMA cache_size = -8000")
        except BaseException:  # of a damaged file, which is renamed and must not be open then
            opened.close()
            raise
        return opened

    def _close_all(self) -> None:
        for connection in self._all:
            connection.sqlite.close()
        self.locks.release()
        self._reset()

    def before_fork(self) -> None:
        """Wait until every statement has finished, and let none start until the fork is over."""
        self.writing.acquire()
        self._opening.acquire()
        for connection in self._all:
            connection.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Let statements run again."""
        for connection in self._all:
            connection.lock.release()
        self._opening.release()
        self.writing.release()

    def after_fork_in_child(self) -> None:
        """Close the copies of the parent's connections, which hold none of its locks, and start without any."""
        for connection in self._all:
            connection.sqlite.close()
        self.locks.close()
        self.writing = threading.RLock()
        self._opening = threading.RLock()
        self._reset()


def _is_sound(path: str) -> bool:
    """Whether the whole file can be read as a database, or does not exist."""
    if not os.path.exists(path):
        return True
    try:
        connection = sqlite3.connect(path)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return False
