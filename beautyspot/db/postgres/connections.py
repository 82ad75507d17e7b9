"""Connections to a PostgreSQL server: a pool, opened late; what a lost connection, a restart and a fork do to it.

A statement that lost its connection runs again on another one, for as long as the index is given; all of ours may run
twice. A server that stayed away for so long is asked again only every few seconds, so that it does not cost the job.
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

_ASK_AGAIN = 5.0  # seconds between two attempts to reach a server that is gone
_BRIEFLY = 2  # seconds that such an attempt may take
# What goes away by itself: connections, restarts, too many locks, too many clients, and transactions that met.
_PASSING = re.compile(r"08|57P0|53200|53300|40001|40P01")
_BUSY = re.compile(r"starting up|shutting down|in recovery mode|too many|remaining connection slots|reserved for")
# What a server that answers says of a client that it will not have.
_REFUSED = re.compile(r"FATAL|fe_sendauth|failed to resolve host|does not support SSL|certificate")


class Connections(SurvivesFork):
    """The connections of this process to one server.

    Args:
        url: Of the server and the database.
        size: How many connections at the most.
        timeout: Seconds for which a server that does not answer is asked again.
        prepare: Called with the first connection, before any other statement.
    """

    def __init__(self, url: str, size: int, timeout: float, prepare: Callable[[Connection[Any]], None]) -> None:
        self.url = url
        self.place = without_secrets(url)
        self.size = size
        self.timeout = timeout
        self.is_pooled = False  # whether a pooler stands before the server
        self._prepare = prepare
        self._fresh()
        self.survive_forks()
        _live.add(self)

    def _fresh(self) -> None:
        self._opening = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._gone: str | None = None  # why the server could not be reached for as long as it is given
        self._ask_at = 0.0
        self.open: weakref.WeakSet[Connection[Any]] = weakref.WeakSet()
        self._at_fork: list[Connection[Any]] = []

    def run(self, action: Callable[[Connection[Any]], T]) -> T:
        """What *action* gives on a connection; again on another one where it lost its own.

        Raises:
            RejectedIndexError: If the server will not have us, and never did.
            IndexUnavailableError: If it cannot be reached for long enough, or fails otherwise.
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
        """Run a statement, which is a transaction of its own; how many rows it touched."""
        return self.run(lambda connection: connection.execute(sql.encode(), values).rowcount)

    def patiently(self, attempt: Callable[[float], T]) -> T:
        """What *attempt* gives, which is told how many seconds are left; again where the server was lost in it.

        Raises:
            As `run` does.
        """
        import psycopg

        if self._gone is not None:
            self._probe(self._gone)
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
        """Ask a server that was gone whether it is back, if it was not asked just now."""
        import psycopg

        with self._opening:
            turn = time.monotonic() >= self._ask_at
            if turn:
                self._ask_at = time.monotonic() + _ASK_AGAIN
        try:
            if turn:
                self.connect(connect_timeout=_BRIEFLY).close()
                self.close()  # its pool may be in the middle of a long pause
                return
        except psycopg.Error as error:
            reason = _line(error)
        raise self._unreachable(reason)

    def _check_passing(self, error: psycopg.Error) -> None:
        """Return where another attempt may go better, else raise an error of ours."""
        import psycopg

        state = error.sqlstate or ""
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        if not lost and not _PASSING.match(state):
            raise self._failed(error) from error
        pool = self._pool
        if lost and pool is not None:
            pool.check()  # others of its connections may be as dead

    def _given_up(self, error: psycopg.Error) -> IndexUnavailableError:
        """What to raise now; where the server does not answer, also until it does again."""
        import psycopg

        if error.sqlstate:
            return self._failed(error)
        reason = _line(error)
        try:
            self.connect(connect_timeout=_BRIEFLY).close()
        except psycopg.Error as cause:  # a pool only logs why it has no connection
            reason = _line(cause)
        self._ask_at, self._gone = time.monotonic() + _ASK_AGAIN, reason
        return self._unreachable(reason)

    def _failed(self, error: psycopg.Error) -> IndexUnavailableError:
        hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        return IndexUnavailableError(f"the index {self.place} failed: {_line(error)}{hint}")

    def _unreachable(self, reason: str) -> IndexUnavailableError:
        return IndexUnavailableError(f"the index {self.place} cannot be reached: {reason}")

    def connect(self, **options: Any) -> Connection[Any]:
        """A connection outside of the pool."""
        psycopg = _psycopg()
        connection: Connection[Any] = psycopg.connect(self.url, **{**self._options(), **options})
        self.open.add(connection)
        return connection

    def _options(self) -> dict[str, Any]:
        """How to connect, as far as the URL does not say it: a dead network is noticed in half a minute."""
        alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
        given = _psycopg().conninfo.conninfo_to_dict(self.url)
        ours = {"connect_timeout": 10, "application_name": "beautyspot", **alive}
        return {"autocommit": True, **{name: value for name, value in ours.items() if name not in given}}

    def _opened(self) -> ConnectionPool:
        """The pool, made after a first look at the server."""
        with self._opening:
            if self._pool is None:
                self._look()
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

    def _look(self) -> None:
        """Look whether the server has us, and what stands before it; make the tables.

        Raises:
            RejectedIndexError: If it refuses us: nothing runs before that is set right.
        """
        import psycopg

        try:
            with self.connect() as connection:
                self.is_pooled = has_pooler(connection)
                self._prepare(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise RejectedIndexError(
                f"{self.place} does not let us make our tables: {_line(error)}. Grant CREATE on the database, or have "
                "its owner make them by using the index once"
            ) from error
        except psycopg.OperationalError as error:
            if not _REFUSED.search(str(error)) or _BUSY.search(str(error)):
                raise
            raise RejectedIndexError(
                f"{self.place} refuses us: {_line(error)}. Set the URL given as db= right"
            ) from error

    def close(self) -> None:
        """Close the connections of the pool; the next use opens others."""
        with self._opening:
            pool, self._pool = self._pool, None
            self._gone = None
        if pool is not None:
            pool.close()

    def before_fork(self) -> None:
        """Hold on to every connection: a child that let go of one before it was told could not close its socket."""
        self._at_fork = list(self.open)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._at_fork = []

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections without a word to the server; their sockets are closed here.

        Were they open, the server would not notice the parent's death, nor give its locks to others.
        """
        for connection in self._at_fork:
            if not connection.closed:
                os.close(connection.fileno())
        _abandoned.append((self._pool, self._at_fork))
        self._fresh()


_abandoned: list[Any] = []  # a finalizer of theirs would speak to the parent's server
_live: weakref.WeakSet[Connections] = weakref.WeakSet()


@atexit.register  # else the pool's threads hold up the end of the program for seconds
def _close_all() -> None:
    """Say goodbye to servers at the end of a program that closed nothing."""
    for each in list(_live):
        each.close()
        for connection in list(each.open):  # that of the locks is no part of the pool
            connection.close()


def has_pooler(connection: Connection[Any]) -> bool:
    """Whether a pooler answered: the process that we were told of is not the one that runs our statements."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def without_secrets(url: str) -> str:
    """A URL without the password and the options in it."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1@", url.partition("?")[0])


def check_url(url: str) -> None:
    """Refuse what is no URL of a PostgreSQL server.

    Raises:
        ConfigurationError: Saying what is wrong with it.
    """
    psycopg = _psycopg()
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(f"{without_secrets(url)} is no URL of a PostgreSQL server: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """The text of an error on one line, from the server's own words on."""
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
