"""Session advisory locks: they end with their session, and so with the process that holds them, on any machine.

One session holds all locks of this process. While a statement runs, the requests of other threads collect and then
share the next statement.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.db.postgres.connections import Connections, has_pooler
from beautyspot.errors import IndexUnavailableError, RejectedIndexError

if TYPE_CHECKING:
    from psycopg import Connection

_LONGEST = 0.1  # seconds between two attempts to acquire a lock that another process holds

# A session that holds locks must not time out, and the server must notice when the machine of its client dies.
_SETTINGS = {
    "idle_session_timeout": "0",
    "statement_timeout": "0",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SET = "SELECT set_config(name, %s::jsonb ->> name, false) FROM pg_settings WHERE %s::jsonb ? name"
_STATEMENT = """
    SELECT CASE WHEN acquires THEN pg_try_advisory_lock(number) ELSE pg_advisory_unlock(number) END, pg_backend_pid()
    FROM unnest(%s::bigint[], %s::bool[]) AS wanted (number, acquires)
"""


class _Request:
    """Keys whose locks one thread wants to acquire or to release, and those that it acquired."""

    __slots__ = ("acquires", "error", "granted", "keys")

    def __init__(self, keys: Iterable[bytes], acquires: bool) -> None:
        self.keys = list(keys)
        self.acquires = acquires
        self.granted: set[bytes] = set()
        self.error: Exception | None = None


class PostgresLocks(SurvivesFork):
    """The locks of this process.

    Args:
        connections: Connections to the server.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        # A stream that is collected as garbage releases its key in whatever thread runs then, in here as well.
        self._sending = threading.RLock()
        self._is_sending = False
        self._session: Connection[Any] | None = None
        self._process = 0  # the id of the server process that runs the session
        self._held: set[bytes] = set()
        self._waiting: deque[_Request] = deque()

    def after_fork_in_child(self) -> None:
        """Hold no locks; the parent's session is abandoned with its other connections."""
        self._reset()

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        """Acquire the locks of those *keys* that are not held; returns the acquired ones."""
        return self._send(_Request(keys, True)).granted

    def lock(self, key: bytes) -> None:
        """Acquire the lock of *key*, waiting while another process holds it."""
        pause = 0.001
        while not self.try_lock_many([key]):
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST)

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        """Release the locks of those *keys* that this process holds."""
        held = [key for key in keys if key in self._held]
        if held:
            self._send(_Request(held, False))

    def close(self) -> None:
        """End the session, and with it every lock."""
        with self._sending:
            self._end_session()
            self._held.clear()

    def _send(self, request: _Request) -> _Request:
        self._waiting.append(request)
        try:
            with self._sending:
                if self._is_sending:  # in the middle of a statement of this thread, after which a release is sent
                    if request.acquires:
                        self._waiting.remove(request)
                        raise IndexUnavailableError("no lock can be acquired while this thread acquires another one")
                    return request
                while self._waiting:
                    self._send_all()
        except BaseException:  # interrupted: no one else would release what is acquired for this request
            request.keys = []
            with self._sending:
                acquired = list(request.granted)
            self.unlock_many(acquired)
            raise
        if request.error is not None:
            raise request.error
        return request

    def _send_all(self) -> None:
        """Send the requests of all threads in one statement."""
        requests: list[_Request] = []
        before = set(self._held)
        self._is_sending = True
        while self._waiting:
            requests.append(self._waiting.popleft())
        try:
            self._grant(requests)
        except IndexUnavailableError as error:
            if not all(request.acquires for request in requests):
                self._end_session()  # this releases what was to be released; the other locks are acquired again
            for request in requests:
                if request.acquires:
                    request.error = error
                else:
                    self._held.difference_update(request.keys)
        except BaseException:  # interrupted: the requests of other threads are sent again, and none is granted yet
            self._end_session()
            self._held &= before
            for request in requests:
                request.granted.clear()
            self._waiting.extend(requests)
            raise
        finally:
            self._is_sending = False

    def _grant(self, requests: list[_Request]) -> None:
        # Releases come first, since another thread may want to acquire the same lock.
        wanted = [
            (request, key) for request in sorted(requests, key=lambda request: request.acquires) for key in request.keys
        ]
        sent: list[tuple[_Request, bytes]] = []
        acquired = set(self._held)
        for request, key in wanted:
            if not request.acquires:
                acquired.discard(key)
            elif key in acquired:  # held by another project of this process; the session itself could acquire it again
                continue
            else:
                acquired.add(key)
            sent.append((request, key))
        if not sent:
            return
        numbers, acquires = [_number(key) for _, key in sent], [request.acquires for request, _ in sent]
        granted = self._connections.patiently(lambda _: self._answers(numbers, acquires))
        for (request, key), is_granted in zip(sent, granted, strict=True):
            if not request.acquires:
                self._held.discard(key)
            elif is_granted:
                self._held.add(key)
                request.granted.add(key)

    def _answers(self, numbers: list[int], acquires: list[bool]) -> list[bool]:
        from psycopg import Error

        session = self._session or self._open_session()
        try:
            rows = session.execute(_STATEMENT, (numbers, acquires)).fetchall()
        except Error:
            self._undo(session, [number for number, takes in zip(numbers, acquires, strict=True) if takes])
            raise
        except BaseException:
            self._end_session()
            raise
        if any(process != self._process for _, process in rows):
            self._end_session()
            raise self._no_session()
        return [yes for yes, _ in rows]

    def _open_session(self) -> Connection[Any]:
        """Open a new session, which acquires again the locks of the previous one."""
        import json

        session = self._connections.connect()
        try:
            if has_pooler(session):
                self._check_is_session(session)
            settings = json.dumps(_SETTINGS)
            session.execute(_SET, (settings, settings))
            row = session.execute("SELECT pg_backend_pid()").fetchone()
            self._process = row[0] if row else 0
            held = list(self._held)
            acquired = session.execute(_STATEMENT, ([_number(key) for key in held], [True] * len(held))).fetchall()
            self._held = {key for key, (yes, _) in zip(held, acquired, strict=True) if yes}
        except BaseException:
            session.close()
            raise
        self._session = session
        return session

    def _check_is_session(self, session: Connection[Any]) -> None:
        """Reject a pooler that assigns a server process for one transaction: locks would stay with that process."""
        for _ in range(3):
            process = session.execute("SELECT pg_backend_pid()").fetchone()
            with self._connections.connect() as other:
                if other.execute("SELECT pg_backend_pid()").fetchone() == process:
                    raise self._no_session()

    def _no_session(self) -> RejectedIndexError:
        return RejectedIndexError(
            f"a pooler in transaction mode is in front of {self._connections.place}: locks, which ensure one execution "
            "per key, need a session. Name the server itself for them, PostgresTaskDB(url, lock_url=...), or use a "
            "pool in session mode"
        )

    def _undo(self, session: Connection[Any], numbers: list[int]) -> None:
        """Release what a failed statement had acquired, since a session keeps it; the other locks stay held."""
        from psycopg import Error

        try:
            session.execute(_STATEMENT, (numbers, [False] * len(numbers)))
        except Error:
            self._end_session()

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _number(key: bytes) -> int:
    """The number of a key's lock. Two keys share one with probability 2**-64; then one waits for the other."""
    return int.from_bytes(key[8:], "big", signed=True)
