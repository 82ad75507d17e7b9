"""Connections to a PostgreSQL server: a pool, opened when first needed, that survives lost connections and forks.

A statement that lost its connection runs again on another one until the timeout of the index is over; every statement
of the library may run twice. After that, an attempt to reach the server is made only every few seconds, so that calls
do not wait for it.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import ConfigurationError, IndexUnavailableError, RejectedIndexError

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

T = TypeVar("T")

_RETRY_AFTER = 5.0  # seconds between two attempts to reach a server that could not be reached
_BRIEFLY = 2  # seconds that such an attempt may take
# Temporary errors: connections, restarts, too many locks, too many clients, and conflicting transactions.
_PASSING = re.compile(r"08|57P0|53200|53300|40001|40P01")
_BUSY = re.compile(r"starting up|shutting down|in recovery mode|too many|remaining connection slots|reserved for")
# Messages of a server that answers and refuses the client.
_REFUSED = re.compile(r"FATAL|fe_sendauth|failed to resolve host|does not support SSL|certificate")


class Connections(SurvivesFork):
    """The connections of this process to one server.

    Args:
        url: URL of the server and the database.
        size: Greatest number of connections.
        timeout: Time, in seconds, for which a server that does not answer is retried.
        prepare: Function that is called with the first connection, before any other statement.
    """

    def __init__(self, url: str, size: int, timeout: float, prepare: Callable[[Connection[Any]], None]) -> None:
        self.url = url
        self.place = without_secrets(url)
        self.size = size
        self.timeout = timeout
        self.is_pooled = False  # whether a pooler is in front of the server
        self._prepare = prepare
        self._reset()
        self.survive_forks()
        _live.add(self)

    def _reset(self) -> None:
        self._opening = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._lost_because: str | None = None  # why the server could not be reached within the timeout
        self._retry_at = 0.0
        self.open: weakref.WeakSet[Connection[Any]] = weakref.WeakSet()
        self._at_fork: list[Connection[Any]] = []

    def run(self, action: Callable[[Connection[Any]], T]) -> T:
        """Return what *action* returns for a connection; run it again on another one if it lost its connection.

        Raises:
            RejectedIndexError: If the server refuses the first connection.
            IndexUnavailableError: If the server cannot be reached within the timeout, or the statement fails.
        """

        def attempt(seconds: float) -> T:
            with self._opened().connection(timeout=seconds) as connection:
                return action(connection)

        return self.patiently(attempt)

    def read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of a query."""

        def read(connection: Connection[Any]) -> list[Any]:
            return connection.cursor(binary=True).execute(sql.encode(), values).fetchall()

        return self.run(read)

    def pages(self, sql: str, after: tuple[Any, ...]) -> Iterator[list[Any]]:
        """The rows of a query, a page at a time; no connection is held between two pages.

        Args:
            sql: One page of rows that come after a place. Its first columns are the place of a row.
            after: The place before the first row.
        """
        while rows := self.read(sql, after):
            yield rows
            after = rows[-1][: len(after)]

    def write(self, sql: str, values: Sequence[Any]) -> int:
        """Run a statement in a transaction of its own; returns the number of rows it changed."""
        return self.run(lambda connection: connection.execute(sql.encode(), values).rowcount)

    def patiently(self, attempt: Callable[[float], T]) -> T:
        """Return what *attempt* returns; run it again if it lost the server. It is given the seconds that are left.

        Raises:
            As `run` does.
        """
        import psycopg

        if self._lost_because is not None:
            self._probe(self._lost_because)
        end, pause = time.monotonic() + self.timeout, 0.02
        while True:
            try:
                return attempt(max(0.1, end - time.monotonic()))
            except psycopg.Error as error:
                self._check_passing(error)
                if time.monotonic() + pause > end:
                    raise self._given_up(error) from error
            time.sleep(pause)
            pause = min(1.0, 2 * pause)

    def _probe(self, reason: str) -> None:
        """Try to reach a server that could not be reached, unless that was tried a moment ago."""
        import psycopg

        with self._opening:
            is_due = time.monotonic() >= self._retry_at
            if is_due:
                self._retry_at = time.monotonic() + _RETRY_AFTER
        try:
            if is_due:
                self.connect(connect_timeout=_BRIEFLY).close()
                self.close()  # its pool may be in the middle of a long pause between attempts
                return
        except psycopg.Error as error:
            reason = _line(error)
        raise self._unreachable(reason)

    def _check_passing(self, error: psycopg.Error) -> None:
        """Raise an `IndexUnavailableError`, unless another attempt may succeed."""
        import psycopg

        state = error.sqlstate or ""
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        if not lost and not _PASSING.match(state):
            raise self._failed(error) from error
        pool = self._pool
        if lost and pool is not None:
            pool.check()  # its other connections may be lost too

    def _given_up(self, error: psycopg.Error) -> IndexUnavailableError:
        """The error to raise; if the server does not answer, calls raise it until the server answers again."""
        import psycopg

        if error.sqlstate:
            return self._failed(error)
        reason = _line(error)
        try:
            self.connect(connect_timeout=_BRIEFLY).close()
        except psycopg.Error as cause:  # a pool only logs why it has no connection
            reason = _line(cause)
        self._retry_at, self._lost_because = time.monotonic() + _RETRY_AFTER, reason
        return self._unreachable(reason)

    def _failed(self, error: psycopg.Error) -> IndexUnavailableError:
        hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        return IndexUnavailableError(f"the index {self.place} failed: {_line(error)}{hint}")

    def _unreachable(self, reason: str) -> IndexUnavailableError:
        return IndexUnavailableError(f"the index {self.place} cannot be reached: {reason}")

    def connect(self, **options: Any) -> Connection[Any]:
        """Open a connection outside of the pool."""
        psycopg = _psycopg()
        connection: Connection[Any] = psycopg.connect(self.url, **{**self._options(), **options})
        self.open.add(connection)
        return connection

    def _options(self) -> dict[str, Any]:
        """Options of a connection that the URL does not set. With them, a dead network is noticed in half a minute."""
        alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
        given = _psycopg().conninfo.conninfo_to_dict(self.url)
        defaults = {"connect_timeout": 10, "application_name": "beautyspot", **alive}
        return {"autocommit": True, **{name: value for name, value in defaults.items() if name not in given}}

    def _opened(self) -> ConnectionPool:
        """The pool, created after a first connection to the server."""
        with self._opening:
            if self._pool is None:
                self._connect_once()
                from psycopg_pool import ConnectionPool

                kwargs = self._options()
                if self.is_pooled:
                    kwargs["prepare_threshold"] = None  # the next statement may meet another server process
                self._pool = ConnectionPool(
                    self.url,
                    kwargs=kwargs,
                    min_size=0,
                    max_size=self.size,
                    max_idle=60,
                    reconnect_timeout=self.timeout,
                    num_workers=min(3, self.size),
                    configure=self.open.add,
                    name="beautyspot-postgres",
                    open=True,
                )
            return self._pool

    def _connect_once(self) -> None:
        """Connect once: detect a pooler and create the tables.

        Raises:
            RejectedIndexError: If the server refuses the connection: no call runs before that is corrected.
        """
        import psycopg

        try:
            with self.connect() as connection:
                self.is_pooled = has_pooler(connection)
                self._prepare(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise RejectedIndexError(
                f"{self.place} does not permit creating the tables: {_line(error)}. Grant CREATE on the database, or "
                "let its owner create them by using the index once"
            ) from error
        except psycopg.OperationalError as error:
            if not _REFUSED.search(str(error)) or _BUSY.search(str(error)):
                raise
            raise RejectedIndexError(
                f"{self.place} refuses the connection: {_line(error)}. Correct the URL given as db="
            ) from error

    def close(self) -> None:
        """Close the connections of the pool; the next use opens new ones."""
        with self._opening:
            pool, self._pool = self._pool, None
            self._lost_because = None
        if pool is not None:
            pool.close()

    def before_fork(self) -> None:
        """Hold a reference to every connection: a child could not close the socket of one that is garbage-collected."""
        self._at_fork = list(self.open)

    def after_fork_in_parent(self) -> None:
        """Drop these references."""
        self._at_fork = []

    def after_fork_in_child(self) -> None:
        """Abandon the parent's connections without a message to the server, and close their sockets in this process.

        If they stayed open here, the server would not notice that the parent died, and would not release its locks.
        """
        for connection in self._at_fork:
            if not connection.closed:
                os.close(connection.fileno())
        _abandoned.append((self._pool, self._at_fork))
        self._reset()


_abandoned: list[Any] = []  # referenced for ever: their finalizers would send messages on the parent's connections
_live: weakref.WeakSet[Connections] = weakref.WeakSet()


@atexit.register  # else the pool's threads hold up the end of the program for seconds
def _close_all() -> None:
    """Close all connections at the end of a program that closed none."""
    for each in list(_live):
        each.close()
        for connection in list(each.open):  # the connection of the locks is not part of the pool
            connection.close()


def has_pooler(connection: Connection[Any]) -> bool:
    """Whether a pooler answered: the announced server process is not the one that runs the statements."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def without_secrets(url: str) -> str:
    """A URL without the password and the options in it."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1@", url.partition("?")[0])


def check_url(url: str) -> None:
    """Reject what is not a URL of a PostgreSQL server.

    Raises:
        ConfigurationError: If it is not; the text says what is wrong.
    """
    psycopg = _psycopg()
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(f"{without_secrets(url)} is no URL of a PostgreSQL server: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """The text of an error in one line, without the client's own introduction."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^connection failed: (connection to server at .* failed: )", r"\1", text).rstrip(".")


def _psycopg() -> Any:
    try:
        import psycopg
        import psycopg_pool  # noqa: F401 - asked for here, so that the message is one
    except ImportError as error:
        raise ConfigurationError(
            f'an index in PostgreSQL needs psycopg ({error}): pip install "beautyspot[postgres]"'
        ) from error
    return psycopg
