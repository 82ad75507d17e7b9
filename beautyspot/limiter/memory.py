"""MemoryStorage: budgets of this process, shared by all of its threads and event loops."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from limits.storage import Storage

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.warn import warn_once
from beautyspot.errors import RateLimitWarning
from beautyspot.limiter.gcra import Request, State, admit, aged, deferred, paid_off, shifted
from beautyspot.limiter.support import GCRASupport, NoWindows

__all__ = ["MemoryStorage"]

_SWEEP = 1024  # new budgets after which those that are paid off are deleted
_COPY = (
    "a budget in memory is not shared, and this worker process has its own copy: together the processes exceed "
    "the limit. Leave limiter_uri out to share it through a file beside the index, or give "
    '"sqlite:///budgets.db" or "redis://host:6379/0"'
)


class MemoryStorage(NoWindows, Storage, GCRASupport, SurvivesFork):
    """Budgets in the memory of this process. Starts no thread.

    Args:
        uri: ``beautyspot+memory://``.
        wrap_exceptions: Accepted since ``limits`` passes it; no method raises an error that could be wrapped.
        clock: Returns seconds that never go back.

    Attributes:
        is_copy: Whether another process has the same budgets, so that both together exceed the limit; warned of once.
    """

    STORAGE_SCHEME = ["beautyspot+memory"]

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        clock: Callable[[], float] = time.monotonic,
        **_: object,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._sweep_at = _SWEEP
        self.is_copy = False
        self.survive_forks()

    def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        if self.is_copy:
            warn_once(("budget", str(os.getpid())), _COPY, RateLimitWarning)
        with self._lock:
            now = self._clock()
            answer = admit(requests, self._states, now, max_wait)
            if len(self._states) > self._sweep_at:
                self._sweep(now)
        return answer

    def _sweep(self, now: float) -> None:
        for key in paid_off(self._states, now):
            del self._states[key]
        self._sweep_at = len(self._states) + _SWEEP

    def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        with self._lock:
            now = self._clock()
            self._states.update({key: shifted(self._states.get(key), now, seconds) for key, seconds in shifts})

    def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""
        with self._lock:
            now = self._clock()
            self._states.update({key: deferred(self._states.get(key), now, seconds) for key in keys})

    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        with self._lock:
            now = self._clock()
            return [aged(self._states.get(key), now) for key in keys]

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """No method fails."""
        return ()

    def check(self) -> bool:
        """Whether the storage works: always."""
        return True

    def reset(self) -> int:
        """Delete all budgets; returns how many there were."""
        with self._lock:
            count = len(self._states)
            self._states.clear()
        return count

    def clear(self, key: str) -> None:
        """Delete the budget of *key*."""
        with self._lock:
            self._states.pop(key, None)

    def close(self) -> None:
        """Do nothing: there is no resource to release."""

    def after_fork_in_child(self) -> None:
        """Go on with the debts of the parent; its threads, one of which may have held the lock, do not exist here."""
        self._lock = threading.Lock()
        self.is_copy = True
