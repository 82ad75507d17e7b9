"""Connections to one SQLite file: opened late, one for each thread; one thread writes at a time.

They survive a fork (the child closes its copies and opens its own), a damaged file (it is set aside and a
new one begun) and a directory that cannot be written to (hits are served, nothing is kept).
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
        # Never contended but by a fork, which must not happen in the middle of a statement.
        self.lock = threading.Lock()


class Connections(SurvivesFork):
    """The connections of this process to the index at *path*.

    Args:
        path: The file; it and its directories are made when it is first needed.
        timeout: Seconds that a write waits for the writers of other processes.
        looks_only: Whether the file is never written to, even where it could be.
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
        self._ready = False  # whether the file was made, checked and migrated
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
        """The same connection, to be used while ``writing`` is held: what a thread wrote it finds in its cache."""
        connection = self.reader
        if self.read_only:
            raise IndexUnavailableError(f"the index {self.path} cannot be written to (read-only)")
        return connection

    def ensure_open(self) -> None:
        """Open the index before anything is written beside it: the file there may not be ours."""
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
        """Run *action*; where it fails, as `retried` says."""
        try:
            return action()
        except sqlite3.Error as error:
            return self.retried(error, action)

    def retried(self, error: sqlite3.Error, action: Callable[[], T]) -> T:
        """What to do where *action* failed: a damaged file is set aside, and it runs on a new one.

        Raises:
            IndexUnavailableError: If SQLite fails in any other way.
        """
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            self.local = threading.local()  # another thread closed it: with the project, or to set the file aside
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
        """Rename a damaged file, if no process has it open: closing the old one would harm the new one."""
        for _ in range(40):
            if self.locks.try_own():
                break
            time.sleep(0.05)
        else:
            raise IndexUnavailableError(
                f"the index {self.path} is damaged ({cause}) and open in other processes; end them, and it is set "
                "aside and begun anew"
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
            f"the index {self.path} was damaged ({cause}); it was set aside as {aside} and a new one begun, so "
            "what it held runs again",
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
        """The first connection of this process: the file is made, checked and migrated."""
        if self._looks_only:
            return self._open_read_only()
        directory = Path(self.path).absolute().parent
        directory.mkdir(parents=True, exist_ok=True)
        # In this order: another process may make the file between the two.
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
            # After the tables: the mark of our file must not be left in a log that a crash could lose.
            opened.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            opened.close()
            raise
        return opened

    def _refuse_foreign(self) -> None:
        """Refuse a file without our lock file beside it that is not ours, and leave it as it is.

        SQLite is asked and the file is not opened by us: closing it would drop the locks that connections of
        this process hold on it, as POSIX has it.
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
            why = "it is opened to be read" if self._looks_only else "its directory cannot be written to"
            raise IndexUnavailableError(f"the index {self.path} cannot be made: {why}")
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
        """How the file is opened to be read, so that nothing is left beside it that was not there before.

        Where nobody can write to it, immutable needs nothing but the file; with a log, mode=ro needs the -shm file of
        its writer. Else SQLite makes both for as long as the file is open, and only a connection that could write
        removes them. A log that was left, or a journal, is not brought into the file by one who only looks.
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
        except BaseException:  # of a damaged file: it is set aside, and must not be open then
            opened.close()
            raise
        return opened

    def _close_all(self) -> None:
        for connection in self._all:
            connection.sqlite.close()
        self.locks.release()
        self._reset()

    def before_fork(self) -> None:
        """Let every statement finish, and none begin, until the fork is over."""
        self.writing.acquire()
        self._opening.acquire()
        for connection in self._all:
            connection.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        for connection in self._all:
            connection.lock.release()
        self._opening.release()
        self.writing.release()

    def after_fork_in_child(self) -> None:
        """Close the copies of the parent's connections, which hold none of its locks, and begin anew."""
        for connection in self._all:
            connection.sqlite.close()
        self.locks.close()
        self.writing = threading.RLock()
        self._opening = threading.RLock()
        self._reset()


def _is_sound(path: str) -> bool:
    """Whether a file can be read as a database from end to end."""
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
