"""When results were last used, as far as this process knows, until that is written."""

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

_EVERY = 60.0  # seconds between two writes of uses; of each result, one use is noted meanwhile
_MANY = 10_000  # uses that are written without waiting any longer

RunIO = Callable[..., Any]


class AccessRecorder(SurvivesFork):
    """Which results this process used, until that is written.

    Args:
        db: Where it is written.
        run_io: Runs a function in a thread: an event loop is not held up by an index that is locked just now.
    """

    def __init__(self, db: AccessLog, run_io: RunIO) -> None:
        self._db = db
        self._run_io = run_io
        self._has_warned = False
        self._reset()
        self.survive_forks()
        _live.add(self)

    def _reset(self) -> None:
        self._lock = (
            threading.RLock()
        )  # a stream that is collected as garbage may use results in a thread that is in here
        self._new: dict[bytes, float] = {}
        self._due = monotonic() + _EVERY

    def after_fork_in_child(self) -> None:
        """Begin anew: what the parent used it writes itself."""
        self._reset()

    def note(self, keys: Collection[bytes]) -> None:
        """Note that the results of *keys* are used just now; when it is time, write what was noted."""
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
            except RuntimeError:  # its executor is shut down, or the interpreter ends
                pass
        self._write(new)

    def write(self) -> None:
        """Write what was noted."""
        self._write(self._take_new())

    def _take_new(self) -> dict[bytes, float]:
        with self._lock:
            new, self._new, self._due = self._new, {}, monotonic() + _EVERY
            return new

    def _write(self, new: dict[bytes, float]) -> None:
        """Write *new*; where that fails, these results count as unused for longer, and it is said once."""
        try:
            if new:
                self._db.record_access(new)
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                log("WARNING", "it cannot be noted in %r which results were used: %s", self._db, error)


_live: weakref.WeakSet[AccessRecorder] = weakref.WeakSet()


@atexit.register  # a program that closes no project would lose what the last minute used
def _write_at_exit() -> None:
    """Write what projects noted that nobody has closed."""
    for accesses in list(_live):
        accesses.write()


def _runs_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # without it there is none, and it is slow to import
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def access_log(db: TaskDB) -> AccessLog:
    """What remembers which results were used.

    Raises:
        ConfigurationError: If *db* does not.
    """
    if not isinstance(db, AccessLog):
        raise ConfigurationError(
            f"max_bytes drops what was longest unused, and {db!r} does not remember uses: give rules of ttl instead, "
            "or an index that is a AccessLog"
        )
    return db
