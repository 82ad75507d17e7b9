"""What a project does for its `Retention` beside calls: it notes which results are used, and evicts when it is time.

No thread of its own does it: the one that writes a result evicts, and the one that uses a result writes down which ones
were used, once a minute for all of them. `Results` call it when they are read and written; without a retention, none of
this exists.
"""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from contextvars import copy_context
from time import monotonic, time
from typing import Any

from beautyspot.errors import ConfigurationError, RetentionWarning
from beautyspot.forks import SurvivesFork
from beautyspot.notices import warn_once
from beautyspot.protocols import Record, TaskDB, UseLog
from beautyspot.readable import size_text
from beautyspot.retention import Retention
from beautyspot.under_way import keys_under_way

_EVERY = 60.0  # seconds between two writes of uses; of each result, one use is noted meanwhile
_MANY = 10_000  # uses that are written without waiting any longer
_FIRST = 60.0  # seconds after its first write after which a process evicts, where that is not to happen sooner
_SHARE = 10  # what part of max_bytes a process may write before the next time comes sooner

RunIO = Callable[..., Any]


class Uses(SurvivesFork):
    """Which results this process used, until that is written.

    Args:
        db: Where it is written.
        run_io: Runs a function in a thread: an event loop is not held up by an index that is locked just now.
    """

    def __init__(self, db: UseLog, run_io: RunIO) -> None:
        self._db = db
        self._run_io = run_io
        self._says_unwritten = True
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
            new = self._taken()
        if _is_event_loop_here():
            try:
                self._run_io(self._write, new)
                return
            except RuntimeError:  # its executor is shut down, or the interpreter ends
                pass
        self._write(new)

    def write(self) -> None:
        """Write what was noted."""
        self._write(self._taken())

    def _taken(self) -> dict[bytes, float]:
        with self._lock:
            new, self._new, self._due = self._new, {}, monotonic() + _EVERY
            return new

    def _write(self, new: dict[bytes, float]) -> None:
        """Write *new*; where that fails, these results count as unused for longer, and it is said once."""
        try:
            if new:
                self._db.note_uses(new)
        except Exception as error:
            if self._says_unwritten:
                self._says_unwritten = False
                _log("WARNING", "it cannot be noted in %r which results were used: %s", self._db, error)


_live: weakref.WeakSet[Uses] = weakref.WeakSet()


@atexit.register
def _write_at_exit() -> None:
    """Write what projects noted that nobody has closed."""
    for uses in list(_live):
        uses.write()


def _is_event_loop_here() -> bool:
    asyncio = sys.modules.get("asyncio")  # without it there is none, and it is slow to import
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Tender(SurvivesFork):
    """Evicts when it is time, in the thread that has just written a result.

    Args:
        retention: Of the project.
        db: The index.
        evict: Drops results as the retention says, unless another process is at it.
        run_io: As for `Uses`.

    Attributes:
        uses: Where it is noted which results are used; ``None`` where nobody asks for it.

    Raises:
        ConfigurationError: If the index cannot do what *retention* needs.
    """

    def __init__(self, retention: Retention, db: TaskDB, evict: Callable[[], object], run_io: RunIO) -> None:
        self._limit, self._period = retention.limit, retention.period
        self._place = repr(db)
        self._evict = evict
        self.uses = None if self._limit is None else Uses(use_log(db), run_io)
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        self._turn = threading.Lock()  # of the thread that evicts; the others do not wait for it
        self._written = 0  # bytes since the last time; threads may miss each other's, and it need not be exact
        self._due: float | None = None

    def after_fork_in_child(self) -> None:
        """Begin anew: what the parent wrote it counts itself, and a thread of it that evicts is not here."""
        self._reset()

    def wrote(self, records: Sequence[Record]) -> None:
        """Be told of what was written, and evict when it is time; that this fails is logged, and no call fails for it.

        The locks of the keys of *records* are still held. Evicting waits for no lock of a key, so nobody waits for
        anybody in a circle, and what was written just now is not dropped before its caller has it.
        """
        if self._limit is not None:
            for _, summary in records:
                self._written += summary.size
                if summary.size > self._limit:
                    self._say_too_large(summary.function, summary.size, self._limit)
        if self._period is not None and self._turn.acquire(blocking=False):
            try:
                self._evict_if_due(self._period)
            finally:
                self._turn.release()

    def _evict_if_due(self, period: float) -> None:
        now = monotonic()
        if self._due is None:
            self._due = now + min(_FIRST, period)
        if now < self._due and (self._limit is None or self._written <= self._limit // _SHARE):
            return
        self._written = 0
        context = copy_context()
        # Asking for a key that the running call has itself would be an error; here it is taken, as those of others are.
        context.run(keys_under_way.set, ())
        try:
            context.run(self._evict)
        except Exception as error:
            _log("WARNING", "results in %s cannot be dropped: %s", self._place, error)
        finally:
            self._due = monotonic() + period

    def _say_too_large(self, function: str, size: int, limit: int) -> None:
        warn_once(
            ("too large", self._place, function),
            f"a result of {function} has {size_text(size)}, more than max_bytes={limit:,} allows for all results: it "
            "is kept, does not count, and no other is dropped for it. Give a larger max_bytes (further ones are not "
            "reported)",
            RetentionWarning,
        )

    def write_uses(self) -> None:
        """Write which results were used, as far as it is noted."""
        if self.uses is not None:
            self.uses.write()


def tender_of(retention: Retention | None, db: TaskDB, evict: Callable[[], object], run_io: RunIO) -> Tender | None:
    """The tender of a project, if its retention needs one.

    Raises:
        ConfigurationError: If *retention* is none, or the index cannot do what it needs.
    """
    if retention is None:
        return None
    if not isinstance(retention, Retention):
        raise ConfigurationError(f'retention is a Retention, as in bs.Retention(ttl="30d"), not {retention!r}')
    if retention.limit is None and retention.period is None:
        return None
    return Tender(retention, db, evict, run_io)


def use_log(db: TaskDB) -> UseLog:
    """What remembers which results were used.

    Raises:
        ConfigurationError: If *db* does not.
    """
    if not isinstance(db, UseLog):
        raise ConfigurationError(
            f"max_bytes drops what was longest unused, and {db!r} does not remember uses: give rules of ttl instead, "
            "or an index that is a UseLog"
        )
    return db


def _log(level: str, text: str, *values: object) -> None:
    import logging  # as in `results`: seldom needed, and slow to import

    logging.getLogger("beautyspot").log(getattr(logging, level), text, *values)
