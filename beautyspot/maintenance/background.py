"""Background work for a retention policy: records last-access times and evicts.

There is no thread for it: the thread that writes a result evicts, and the thread that reads a result writes the
last-access times, once a minute for all results. `Results` call this module when they read and write; without a
retention, none of this exists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from time import monotonic

from beautyspot._internal.context import held_keys
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.text import size_text
from beautyspot._internal.warn import log, warn_once
from beautyspot.errors import ConfigurationError, RetentionWarning
from beautyspot.maintenance.retention import Retention
from beautyspot.protocols.index import Record, TaskDB
from beautyspot.results.last_used import AccessRecorder, RunIO, access_log

_FIRST = 60.0  # seconds from the first write of a process to its first eviction, at most
_SHARE = 10  # after a tenth of max_bytes was written, the next eviction comes early


class RetentionWorker(SurvivesFork):
    """Evicts when it is time, in the thread that has just written a result.

    Args:
        retention: The policy of the project.
        db: The index.
        evict: Evicts by the policy, unless another process is evicting.
        run_io: As for `AccessRecorder`.

    Attributes:
        accesses: Records which results are read; ``None`` if the policy has no ``max_bytes``.

    Raises:
        ConfigurationError: If the index cannot do what *retention* needs.
    """

    def __init__(self, retention: Retention, db: TaskDB, evict: Callable[[], object], run_io: RunIO) -> None:
        self._limit, self._period = retention.limit, retention.period
        self._index = repr(db)
        self._evict = evict
        self.accesses = None if self._limit is None else AccessRecorder(access_log(db), run_io)
        self._reset()
        self.survive_forks()

    def _reset(self) -> None:
        self._evicting = threading.Lock()  # held by the thread that evicts; other threads do not wait for it
        self._written = 0  # bytes since the last eviction; threads may lose each other's: it need not be exact
        self._due: float | None = None

    def after_fork_in_child(self) -> None:
        """Start from zero: the parent counts its own bytes, and its thread that may be evicting does not exist here."""
        self._reset()

    def wrote(self, records: Sequence[Record]) -> None:
        """Count what was written, and evict when it is time. A failed eviction is logged and fails no call.

        The locks of the keys of *records* are still held. Eviction waits for no key's lock, so there is no deadlock,
        and a result that was just written is not evicted before its caller has it.
        """
        if self._limit is not None:
            for _, summary in records:
                self._written += summary.size
                if summary.size > self._limit:
                    self._warn_too_large(summary.function, summary.size, self._limit)
        if self._period is not None and self._evicting.acquire(blocking=False):
            try:
                self._evict_if_due(self._period)
            finally:
                self._evicting.release()

    def _evict_if_due(self, period: float) -> None:
        now = monotonic()
        if self._due is None:
            self._due = now + min(_FIRST, period)
        if now < self._due and (self._limit is None or self._written <= self._limit // _SHARE):
            return
        self._written = 0
        context = copy_context()
        # To acquire a key that the running call holds would be an error; here it only counts as locked, as any other.
        context.run(held_keys.set, ())
        try:
            context.run(self._evict)
        except Exception as error:
            log("WARNING", "results in %s cannot be evicted: %s", self._index, error)
        finally:
            self._due = monotonic() + period

    def _warn_too_large(self, function: str, size: int, limit: int) -> None:
        warn_once(
            ("too large", self._index, function),
            f"a result of {function} has {size_text(size)}, more than max_bytes={limit:,} allows for all results: it "
            "is stored, does not count, and no other is evicted for it. Give a larger max_bytes (further ones are not "
            "reported)",
            RetentionWarning,
        )

    def write_accesses(self) -> None:
        """Write the last-access times that were recorded."""
        if self.accesses is not None:
            self.accesses.write()


def retention_worker(
    retention: Retention | None, db: TaskDB, evict: Callable[[], object], run_io: RunIO
) -> RetentionWorker | None:
    """The `RetentionWorker` of a project, if its retention needs one.

    Raises:
        ConfigurationError: If *retention* is not a `Retention`, or the index cannot do what it needs.
    """
    if retention is None:
        return None
    if not isinstance(retention, Retention):
        raise ConfigurationError(f'retention is a Retention, as in bs.Retention(ttl="30d"), not {retention!r}')
    if retention.limit is None and retention.period is None:
        return None
    return RetentionWorker(retention, db, evict, run_io)
