"""Batch: quick calls of one thread, whose results are looked up and kept together.

A commit costs more than a quick call. A batch takes the keys of a few calls at once, runs those that are not
kept, and commits what they returned in one transaction: when two milliseconds have passed, when all have run,
when the caller looks (some fifty milliseconds at most), or when a call of the batch waits for another task, so
that nobody waits for a key that the batch holds. A result is told of when it is committed, and not before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from beautyspot._internal.context import CallCancelled, current_group
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.protocols.index import Record, Summary
from beautyspot.results.codec import EncodedResult

_AGE = 0.002  # seconds


class _Returned(NamedTuple):
    """What a call returned, not kept yet."""

    call: Call
    value: Any
    summary: Summary
    encoded: EncodedResult
    seconds: float


class CommitGroup:
    """Runs calls of a task from the thread that makes it.

    Args:
        task: What is called.
        outcomes: Where to put what became of a call.
        halted: Whether nothing new is to begin any more.

    Attributes:
        failed: Whether a call failed; the batch ends there.
        seconds: That a call took on average.
    """

    def __init__(self, task: Any, outcomes: deque[Outcome], halted: Callable[[], bool]) -> None:
        self._task = task
        self._outcomes = outcomes
        self._halted = halted
        self._held: deque[Call] = deque()  # keys taken, calls not begun
        self._returned: list[_Returned] = []
        self._lock = threading.RLock()
        self.failed = False
        self.seconds = 0.0

    def run(self, calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
        """Run *calls*; those whose keys someone else has, and those that were not begun, come back."""
        single_flight = self._task._single_flight
        try:
            free = single_flight.try_acquire_many([call.key for call in calls])
        except Exception:  # to be raised, and told of, where the call runs by itself
            free = set()
        taken = [call for call in calls if call.key not in free]
        self._held.extend(call for call in calls if call.key in free)
        taken += self._kept_already()
        token = current_group.set(self)
        began = monotonic()
        kept_at, ran = began, 0
        try:
            while not self.failed and not self._halted() and (call := self._next()) is not None:
                before = monotonic()
                self._run(call)
                now, ran = monotonic(), ran + 1
                if now - kept_at > _AGE:
                    self.keep()
                    kept_at = monotonic()
                if now - before > _AGE:  # not quick any more: others may take the rest
                    break
        finally:
            current_group.reset(token)
            self.keep()
            not_begun = self._give_back()
        self.seconds = (monotonic() - began) / max(1, ran)
        return taken, not_begun

    def _kept_already(self) -> list[Call]:
        """Calls that have a row by now, given back: someone was faster, or what is there has expired."""
        with self._lock:
            keys = [held.key for held in self._held]
            try:
                kept: Collection[bytes] = self._task._cache.results.find_raw(keys) if keys else ()
            except Exception:  # as above: each call looks by itself, and tells
                kept = set(keys)
            calls = [held for held in self._held if held.key in kept]
            self._held = deque(held for held in self._held if held.key not in kept)
        self._task._single_flight.release_many([call.key for call in calls])
        return calls

    def _give_back(self) -> list[Call]:
        """Calls that were not begun; their keys are free again."""
        with self._lock:
            not_begun, self._held = list(self._held), deque()
        self._task._single_flight.release_many([call.key for call in not_begun])
        return not_begun

    def _next(self) -> Call | None:
        with self._lock:
            return self._held.popleft() if self._held else None

    def _run(self, call: Call) -> None:
        task = self._task
        cache, single_flight = task._cache, task._single_flight
        single_flight.mark_held(call.key)
        summary = cache.describe(call.keyed())
        started = cache.begin(summary)
        try:
            value = task._run(*call.args)
            seconds = perf_counter() - started
            encoded = cache.encode(value)
        except CallCancelled:
            self._tell(Outcome(call, again=True))
            return
        except BaseException as error:
            if isinstance(error, Exception):
                cache.failed(summary, error, perf_counter() - started)
            self._tell(Outcome(call, error=error))
            return
        finally:
            single_flight.unmark_held(call.key)
        with self._lock:
            self._returned.append(_Returned(call, value, summary, encoded, seconds))

    def flush(self) -> None:
        """Keep what was returned, and give back the keys of calls that have not begun; from any thread."""
        self.keep()
        self._outcomes.extend(Outcome(call, again=True) for call in self._give_back())

    def keep(self) -> None:
        """Commit what was returned, in one transaction, and tell of it; from any thread."""
        with self._lock:
            returned, self._returned = self._returned, []
            if returned and not self._kept_together(returned):
                for one in returned:
                    self._keep_one(one)

    def _kept_together(self, returned: list[_Returned]) -> bool:
        if any(one.encoded.value is None for one in returned):
            return False  # a blob is written for itself
        cache = self._task._cache
        records: list[Record] = [cache.record(one.summary, one.encoded, one.seconds) for one in returned]
        try:
            cache.write_together(records)
        except Exception:  # one of them may be the reason, and is told of when each is kept for itself
            return False
        self._tell(*[Outcome(one.call, one.value) for one in returned])
        return True

    def _keep_one(self, one: _Returned) -> None:
        try:
            self._task._cache.write(one.summary, one.encoded, one.seconds, None)
        except Exception as error:
            self._tell(Outcome(one.call, error=error))
        else:
            self._tell(Outcome(one.call, one.value))

    def _tell(self, *outcomes: Outcome) -> None:
        self.failed = self.failed or any(outcome.error is not None for outcome in outcomes)
        self._task._single_flight.release_many([outcome.call.key for outcome in outcomes])
        self._outcomes.extend(outcomes)
