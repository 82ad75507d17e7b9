"""What a project does for its `Retention` beside calls: it notes which results are used, and evicts when it is time.

No thread of its own does it: the one that writes a result evicts, and the one that uses a result writes down which ones
were used, once a minute for all of them. `Results` call it when they are read and written; without a retention, none of
this exists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from time import monotonic

from beautyspot._internal.context import held_keys
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.text import size_text
from beautyspot._internal.warn import warn_once
from beautyspot.errors import ConfigurationError, RetentionWarning
from beautyspot.maintenance.retention import Retention
from beautyspot.protocols.index import Record, TaskDB
from beautyspot.results.last_used import AccessRecorder, RunIO, access_log

_FIRST = 60.0  # seconds after its first write after which a process evicts, where that is not to happen sooner
_SHARE = 10  # what part of max_bytes a process may write before the next time comes sooner


class RetentionWorker(SurvivesFork):
    """Evicts when it is time, in the thread that has just written a result.

    Args:
        retention: Of the project.
        db: The index.
        evict: Drops results as the retention says, unless another process is at it.
        run_io: As for `AccessRecorder`.

    Attributes:
        uses: Where it is noted which results are used; ``None`` where nobody asks for it.

    Raises:
        ConfigurationError: If the index cannot do what *retention* needs.
    """

    def __init__(self, retention: Retention, db: TaskDB, evict: Callable[[], object], run_io: RunIO) -> None:
        self._limit, self._period = retention.limit, retention.period
        self._place = repr(db)
        self._evict = evict
        self.accesses = None if self._limit is None else AccessRecorder(access_log(db), run_io)
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
        context.run(held_keys.set, ())
        try:
            context.run(self._evict)
        except Exception as error:
            import logging  # seldom needed, and slow to import

            logging.getLogger("beautyspot").warning("results in %s cannot be dropped: %s", self._place, error)
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

    def write_accesses(self) -> None:
        """Write which results were used, as far as it is noted."""
        if self.accesses is not None:
            self.accesses.write()


def retention_worker(
    retention: Retention | None, db: TaskDB, evict: Callable[[], object], run_io: RunIO
) -> RetentionWorker | None:
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
    return RetentionWorker(retention, db, evict, run_io)
