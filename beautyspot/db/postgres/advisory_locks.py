"""Session advisory locks: they end with their session, and so with their owner, wherever he ran.

One session of this process has all of its locks. What threads want of it meanwhile goes there in one statement.
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

_LONGEST = 0.1  # seconds between two looks at a lock that someone else has

# What a session that holds locks must not be ended for, and how a server notices that its owner's machine is gone.
_SETTINGS = {
    "idle_session_timeout": "0",
    "statement_timeout": "0",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SET = "SELECT set_config(name, %s::jsonb ->> name, false) FROM pg_settings WHERE %s::jsonb ? name"
_ASK = """
    SELECT CASE WHEN taking THEN pg_try_advisory_lock(number) ELSE pg_advisory_unlock(number) END, pg_backend_pid()
    FROM unnest(%s::bigint[], %s::bool[]) AS wanted (number, taking)
"""


class _Wish:
    """Keys that one thread wants to take or to give back, and those that it was given."""

    __slots__ = ("done", "error", "granted", "keys", "taking")

    def __init__(self, keys: Iterable[bytes], taking: bool) -> None:
        self.keys = list(keys)
        self.taking = taking
        self.granted: set[bytes] = set()
        self.done = False
        self.error: Exception | None = None


class PostgresLocks(SurvivesFork):
    """The locks of this process.

    Args:
        connections: How to connect to the server, and how patiently.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._fresh()
        self.survive_forks()

    def _fresh(self) -> None:
        self._asking = threading.Lock()
        self._session: Connection[Any] | None = None
        self._process = 0  # of the server, for this session
        self._held: set[bytes] = set()
        self._waiting: deque[_Wish] = deque()

    def after_fork_in_child(self) -> None:
        """Have no locks; the parent's session is closed with the others."""
        self._fresh()

    def take(self, keys: Sequence[bytes]) -> set[bytes]:
        """Take the locks of *keys* that nobody has; those that were taken."""
        return self._ask(_Wish(keys, True)).granted

    def wait(self, key: bytes) -> None:
        """Take the lock of *key*, waiting for whoever has it."""
        pause = 0.001
        while not self.take([key]):
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST)

    def give_back(self, keys: Sequence[bytes]) -> None:
        """Give the locks of *keys* back, as far as we have them."""
        held = [key for key in keys if key in self._held]
        if held:
            self._ask(_Wish(held, False))

    def close(self) -> None:
        """End the session, and with it every lock."""
        with self._asking:
            self._end_session()
            self._held.clear()

    def _ask(self, wish: _Wish) -> _Wish:
        self._waiting.append(wish)
        try:
            with self._asking:
                if not wish.done:
                    self._ask_for_all()
        except BaseException:  # interrupted: nobody would give back what is taken for us from now on
            wish.keys = []
            with self._asking:
                taken = list(wish.granted)
            self.give_back(taken)
            raise
        if wish.error is not None:
            raise wish.error
        return wish

    def _ask_for_all(self) -> None:
        """Ask for what everyone wants, in one statement."""
        wishes: list[_Wish] = []
        before = set(self._held)
        while self._waiting:
            wishes.append(self._waiting.popleft())
        try:
            self._grant(wishes)
        except IndexUnavailableError as error:
            if not all(wish.taking for wish in wishes):
                self._end_session()  # what was to be given back goes with it; the rest is taken again
            for wish in wishes:
                if wish.taking:
                    wish.error = error
                else:
                    self._held.difference_update(wish.keys)
        except BaseException:  # interrupted: what the others want is asked for again, and nothing of it is theirs yet
            self._end_session()
            self._held &= before
            for wish in wishes:
                wish.granted.clear()
            self._waiting.extend(wishes)
            raise
        for wish in wishes:
            wish.done = True

    def _grant(self, wishes: list[_Wish]) -> None:
        # What is given back comes first: someone may want it again.
        wanted = [(wish, key) for wish in sorted(wishes, key=lambda wish: wish.taking) for key in wish.keys]
        asked: list[tuple[_Wish, bytes]] = []
        taken = set(self._held)
        for wish, key in wanted:
            if not wish.taking:
                taken.discard(key)
            elif key in taken:  # a session may take its own lock once more, and another project of ours has it
                continue
            else:
                taken.add(key)
            asked.append((wish, key))
        if not asked:
            return
        numbers, taking = [_number(key) for _, key in asked], [wish.taking for wish, _ in asked]
        granted = self._connections.patiently(lambda _: self._answers(numbers, taking))
        for (wish, key), yes in zip(asked, granted, strict=True):
            if not wish.taking:
                self._held.discard(key)
            elif yes:
                self._held.add(key)
                wish.granted.add(key)

    def _answers(self, numbers: list[int], taking: list[bool]) -> list[bool]:
        from psycopg import Error

        session = self._session or self._open_session()
        try:
            rows = session.execute(_ASK, (numbers, taking)).fetchall()
        except Error:
            self._undo(session, [number for number, takes in zip(numbers, taking, strict=True) if takes])
            raise
        except BaseException:
            self._end_session()
            raise
        if any(process != self._process for _, process in rows):
            self._end_session()
            raise self._no_session()
        return [yes for yes, _ in rows]

    def _open_session(self) -> Connection[Any]:
        """A new session, which takes again what the one before it had."""
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
            taken = session.execute(_ASK, ([_number(key) for key in held], [True] * len(held))).fetchall()
            self._held = {key for key, (yes, _) in zip(held, taken, strict=True) if yes}
        except BaseException:
            session.close()
            raise
        self._session = session
        return session

    def _check_is_session(self, session: Connection[Any]) -> None:
        """Refuse a pooler that lends a server's process for one transaction: it would keep our locks, and lose us."""
        for _ in range(3):
            mine = session.execute("SELECT pg_backend_pid()").fetchone()
            with self._connections.connect() as other:
                if other.execute("SELECT pg_backend_pid()").fetchone() == mine:
                    raise self._no_session()

    def _no_session(self) -> RejectedIndexError:
        return RejectedIndexError(
            f"a pooler in transaction mode stands before {self._connections.place}: locks, on which one execution per "
            "key rests, need a session. Name the server itself for them, PostgresTaskDB(url, lock_url=...), or use a "
            "pool in session mode"
        )

    def _undo(self, session: Connection[Any], numbers: list[int]) -> None:
        """Give back what a statement that failed had taken: locks of a session outlive it. Others stay ours."""
        from psycopg import Error

        try:
            session.execute(_ASK, (numbers, [False] * len(numbers)))
        except Error:
            self._end_session()

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _number(key: bytes) -> int:
    """The lock of a key; one of two keys that share a number, a pair in 2**64, would wait for the other."""
    return int.from_bytes(key[8:], "big", signed=True)
