"""AccessRecorder: when this process last used results, noted in memory and written to the index now and then."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from time import monotonic, time
from typing import Any

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.warn import log
from beautyspot.errors import ConfigurationError
from beautyspot.protocols.index import AccessLog, TaskDB

_EVERY = 60.0  # seconds between two writes; meanwhile one use of each result is noted
_MANY = 10_000  # noted results that are written without waiting any longer

RunIO = Callable[..., Any]


class AccessRecorder(SurvivesFork):
    """Notes which results this process uses, and writes that to the index.

    Args:
        db: The index, which stores when results were last used.
        run_io: Runs a function in a thread, so that an index that is locked does not block an event loop.
    """

    def __init__(self, db: AccessLog, run_io: RunIO) -> None:
        self._db = db
        self._run_io = run_io
        self._has_warned = False
        self._reset()
        self.survive_forks()
        _live.add(self)

    def _reset(self) -> None:
        # Reentrant: a stream that is collected as garbage may use results in a thread that holds the lock.
        self._lock = threading.RLock()
        self._new: dict[bytes, float] = {}
        self._due = monotonic() + _EVERY

    def after_fork_in_child(self) -> None:
        """Start empty: the parent writes the uses that it noted."""
        self._reset()

    def note(self, keys: Collection[bytes]) -> None:
        """Note that the results of *keys* are being used; if a write is due, write all noted uses."""
        if monotonic() < self._due and all(map(self._new.__contains__, keys)):
            return
        now = time()
        with self._lock:
            for key in keys:
                self._new.setdefault(key, now)
            if monotonic() < self._due and len(self._new) < _MANY:
                return
            new = self._take_new()
        if _runs_event_loop():
            try:
                self._run_io(self._write, new)
                return
            except RuntimeError:  # its executor is shut down, or the interpreter exits
                pass
        self._write(new)

    def write(self) -> None:
        """Write the noted uses."""
        self._write(self._take_new())

    def _take_new(self) -> dict[bytes, float]:
        with self._lock:
            new, self._new, self._due = self._new, {}, monotonic() + _EVERY
            return new

    def _write(self, new: dict[bytes, float]) -> None:
        """Write *new*; if that fails, these results count as unused for longer, and one warning says so."""
        try:
            if new:
                self._db.record_access(new)
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                log("WARNING", "cannot record in %r which results were used: %s", self._db, error)


_live: weakref.WeakSet[AccessRecorder] = weakref.WeakSet()


@atexit.register  # else a program that closes no project would lose the uses of its last minute
def _write_at_exit() -> None:
    """Write the uses that were noted in projects which were not closed."""
    for accesses in list(_live):
        accesses.write()


def _runs_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # if it is not imported no event loop runs, and importing it is slow
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def access_log(db: TaskDB) -> AccessLog:
    """*db*, checked to store when results were last used.

    Raises:
        ConfigurationError: If it does not.
    """
    if not isinstance(db, AccessLog):
        raise ConfigurationError(
            f"max_bytes evicts the results unused for longest, and {db!r} does not remember uses: give rules of ttl "
            "instead, or an index that is an AccessLog"
        )
    return db
