"""What a project does for its `Retention` beside calls: it notes uses, and drops results in the background.

Both are the work of one thread a process, which begins when there is first something to do. A hit puts its key into a
set, once a minute; nothing is written before the thread does it, for all keys together. `Results` call it when they are
read and written; without a retention, none of this exists.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Collection, Sequence

from beautyspot.errors import ConfigurationError, RetentionWarning
from beautyspot.forks import SurvivesFork
from beautyspot.notices import warn_once
from beautyspot.protocols import Record, TaskDB, UseLog
from beautyspot.readable import size_text
from beautyspot.retention import Retention

_EVERY = 5.0  # seconds between two writes of uses, and between two looks at what is to be done
_AGAIN = 60.0  # seconds after which a use of the same result is noted again
_MANY = 50_000  # uses that are written without waiting any longer
_MOST = 1_000_000  # uses that are remembered where they cannot be written so fast
_FIRST = 60.0  # seconds after which results are first dropped, where that is not to happen sooner
_SHARE = 10  # what part of max_bytes a process may keep before the next time comes sooner
_BREATH = 0.001  # seconds between two pages, for the threads that work

Progress = Callable[[int], None]


class _Ended(Exception):
    """Ends the dropping of results between two pages."""


class Uses(SurvivesFork):
    """Which results this process used, until that is written.

    Args:
        db: Where it is written.
        noted: Called when there is something to write, and told whether that is much.

    """

    def __init__(self, db: UseLog, noted: Callable[[bool], None]) -> None:
        self._db = db
        self._noted = noted
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lately: set[bytes] = set()  # noted within the last minute
        self._since = time.monotonic()
        self._new: dict[bytes, float] = {}

    def after_fork_in_child(self) -> None:
        """Begin anew: what the parent used it writes itself."""
        self._reset()

    def note(self, keys: Collection[bytes]) -> None:
        """Note that the results of *keys* are used just now."""
        if self._lately.issuperset(keys):
            return
        now = time.time()
        with self._lock:
            new = [key for key in keys if key not in self._lately]
            if not new or len(self._new) > _MOST:
                return
            self._lately.update(new)
            self._new.update(dict.fromkeys(new, now))
            many = len(self._new) > _MANY
        self._noted(many)

    def write(self, last: bool = False) -> None:
        """Write what is new; where that fails it is lost, and these results count as unused for longer.

        Args:
            last: Whether the next use of any result is to be noted, however soon: it begins a new thread.
        """
        with self._lock:
            new, self._new = self._new, {}
            if last or time.monotonic() - self._since > _AGAIN:
                self._lately, self._since = set(), time.monotonic()
        if new:
            self._db.note_uses(new)


class Tender(SurvivesFork):
    """The thread that notes uses, and drops results in the background.

    Args:
        retention: Of the project.
        db: The index.
        evict: Gives what drops results, or ``None`` once the project is gone. It is told how to report progress, and
            ends with what that raises.

    Raises:
        ConfigurationError: If the index cannot do what *retention* needs.
    """

    def __init__(
        self, retention: Retention, db: TaskDB, evict: Callable[[], Callable[[Progress], object] | None]
    ) -> None:
        self._limit, self._period = retention.limit, retention.period
        self._place = repr(db)
        self._evict = evict
        self._kept = 0  # bytes since results were dropped last; threads may miss each other's, and it need not be exact
        self._says_unwritten = True
        self.uses = None if self._limit is None else Uses(use_log(db), self._noted)
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def after_fork_in_child(self) -> None:
        """Begin anew: the thread is the parent's."""
        self._reset()

    def _noted(self, many: bool) -> None:
        self.start()
        if many:
            self._woken.set()

    def wrote(self, records: Sequence[Record]) -> None:
        """Be told of what was written."""
        if self._limit is not None:
            for _, summary in records:
                self._kept += summary.size
                if summary.size > self._limit:
                    self._say_too_large(summary.function, summary.size, self._limit)
        if self._period is not None:
            self.start()

    def _is_urgent(self) -> bool:
        return self._limit is not None and self._kept > self._limit // _SHARE

    def _say_too_large(self, function: str, size: int, limit: int) -> None:
        warn_once(
            ("too large", self._place, function),
            f"a result of {function} has {size_text(size)}, more than max_bytes={limit:,} allows for all results: it "
            "is kept, does not count, and no other is dropped for it. Give a larger max_bytes (further ones are not "
            "reported)",
            RetentionWarning,
        )

    def start(self) -> None:
        """Begin, if that has not happened yet."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = self._thread = threading.Thread(target=self._run, name="beautyspot-tending", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is ending; uses are written when the project closes
                    self._thread = None
                    _log("INFO", "no thread for the retention of %s: %s", self._place, error)
                else:
                    atexit.register(self.close)

    def close(self) -> None:
        """End the thread, and write what it has not written; what is used later begins a new one."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._woken.set()
        if thread is not None:
            thread.join()
            atexit.unregister(self.close)
        self.write_uses(last=True)

    def write_uses(self, last: bool = False) -> None:
        """Write which results were used, as `Uses.write`. Where that fails the job goes on, and it is said once."""
        if self.uses is None:
            return
        try:
            self.uses.write(last)
        except Exception as error:
            if self._says_unwritten:
                self._says_unwritten = False
                _log("WARNING", "it cannot be noted in %s which results were used: %s", self._place, error)

    def _run(self) -> None:
        due = time.monotonic() + min(_FIRST, self._period) if self._period is not None else float("inf")
        while self._goes_on() and self._evict() is not None:
            self._woken.wait(min(_EVERY, max(0.0, due - time.monotonic())))
            self._woken.clear()
            self.write_uses()
            if self._period is not None and (time.monotonic() >= due or self._is_urgent()):
                self._drop()
                due = time.monotonic() + self._period
        if self._goes_on():  # the project is gone, and nobody has closed it
            atexit.unregister(self.close)

    def _goes_on(self) -> bool:
        return self._thread is threading.current_thread()

    def _drop(self) -> None:
        evict, self._kept = self._evict(), 0
        try:
            if evict is not None:
                evict(self._breathe)
        except _Ended:
            _log("DEBUG", "the dropping of results in %s ended with its project", self._place)
        except Exception as error:
            _log("WARNING", "results in %s cannot be dropped: %s", self._place, error)

    def _breathe(self, _: int) -> None:
        if not self._goes_on():
            raise _Ended
        time.sleep(_BREATH)


def tender_of(
    retention: Retention | None, db: TaskDB, evict: Callable[[], Callable[[Progress], object] | None]
) -> Tender | None:
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
    return Tender(retention, db, evict)


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
