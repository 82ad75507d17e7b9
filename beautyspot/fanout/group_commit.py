"""CommitGroup: quick calls of one thread, whose results are looked up and committed together.

A commit costs more than a quick call. A group locks the keys of a few calls at once, runs those without a result, and
commits their results in one transaction: after two milliseconds, when all have run, when the caller of the map checks
(after some fifty milliseconds at most), or when one of the calls is about to wait for another task, so that no caller
waits for a key that the group holds. A result is reported once it is committed, and not before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from beautyspot._internal.context import CallCancelled, current_group
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.protocols.index import Summary
from beautyspot.results.codec import EncodedResult
from beautyspot.tasks.core import TaskCore

_AGE = 0.002  # seconds after which results are committed


class _Returned(NamedTuple):
    """The result of a call, not committed yet."""

    call: Call
    value: Any
    summary: Summary
    encoded: EncodedResult
    seconds: float


class CommitGroup:
    """Runs calls of a task in the calling thread.

    Args:
        core: The core of the task.
        outcomes: The queue to which outcomes are appended.
        stopped: Returns whether no further call may start.

    Attributes:
        failed: Whether a call failed, which ends the group.
        seconds: Mean duration of a call.
    """

    def __init__(self, core: TaskCore, outcomes: deque[Outcome], stopped: Callable[[], bool]) -> None:
        self._core = core
        self._outcomes = outcomes
        self._stopped = stopped
        self._locked: deque[Call] = deque()  # calls that have not started, whose keys are locked
        self._returned: list[_Returned] = []
        self._lock = threading.RLock()
        self.failed = False
        self.seconds = 0.0

    def run(self, calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
        """Run *calls*.

        Returns:
            Calls that must run alone, since their keys are locked elsewhere or may have a result by now, and calls that
            were not started.
        """
        try:
            free = self._core.locks.try_acquire_many([call.key for call in calls])
        except Exception:  # raised again, and reported, where the call runs alone
            free = set()
        alone = [call for call in calls if call.key not in free]
        self._locked.extend(call for call in calls if call.key in free)
        alone += self._release_cached()
        token = current_group.set(self)
        began = monotonic()
        committed, ran = began, 0
        try:
            # What the function holds is looked at once for the group.
            with self._core.keyer.run(*calls[0].keyed()[2:]):
                while not self.failed and not self._stopped() and (call := self._next()) is not None:
                    before = monotonic()
                    self._run(call)
                    now, ran = monotonic(), ran + 1
                    if now - committed > _AGE:
                        self.commit()
                        committed = monotonic()
                    if now - before > _AGE:  # calls are not quick any more: other threads may take the rest
                        break
        finally:
            current_group.reset(token)
            self.commit()
            not_started = self._release_locked()
        self.seconds = (monotonic() - began) / max(1, ran)
        return alone, not_started

    def _release_cached(self) -> list[Call]:
        """Release and return calls that have a row by now: another caller was faster, or the row has expired."""
        with self._lock:
            keys = [call.key for call in self._locked]
            try:
                cached: Collection[bytes] = self._core.cache.results.find_raw(keys) if keys else ()
            except Exception:  # raised again, and reported, where each call runs alone
                cached = set(keys)
            calls = [call for call in self._locked if call.key in cached]
            self._locked = deque(call for call in self._locked if call.key not in cached)
        self._core.locks.release_many([call.key for call in calls])
        return calls

    def _release_locked(self) -> list[Call]:
        """Release and return calls that have not started."""
        with self._lock:
            calls, self._locked = list(self._locked), deque()
        self._core.locks.release_many([call.key for call in calls])
        return calls

    def _next(self) -> Call | None:
        with self._lock:
            return self._locked.popleft() if self._locked else None

    def _run(self, call: Call) -> None:
        cache, locks = self._core.cache, self._core.locks
        locks.mark_held(call.key)
        whole = call.keyed()
        summary = cache.describe(whole)
        started = cache.on_miss(summary)
        try:
            value = self._core.function(*whole.args, **whole.kwargs)
            seconds = perf_counter() - started
            encoded = cache.encode(value)
        except CallCancelled:
            self._report(Outcome(call, again=True))
            return
        except BaseException as error:
            if isinstance(error, Exception):
                cache.on_failure(summary, error, perf_counter() - started)
            self._report(Outcome(call, error=error))
            return
        finally:
            locks.unmark_held(call.key)
        with self._lock:
            self._returned.append(_Returned(call, value, summary, encoded, seconds))

    def flush(self) -> None:
        """Commit the results so far, and release the keys of calls that have not started; from any thread."""
        self.commit()
        self._outcomes.extend(Outcome(call, again=True) for call in self._release_locked())

    def commit(self) -> None:
        """Commit the results so far in one transaction, and report them; from any thread."""
        with self._lock:
            returned, self._returned = self._returned, []
            if not returned:
                return
            cache = self._core.cache
            # A blob is written by itself.
            if all(one.encoded.value is not None for one in returned) and cache.try_write_group(
                [cache.record(one.summary, one.encoded, one.seconds) for one in returned]
            ):
                self._report(*[Outcome(one.call, one.value) for one in returned])
                return
            for one in returned:
                self._write(one)

    def _write(self, one: _Returned) -> None:
        try:
            entry = self._core.cache.write(one.summary, one.encoded, one.seconds, None)
        except Exception as error:
            self._report(Outcome(one.call, error=error))
        else:
            self._report(Outcome(one.call, self._core.cache.returned(one.value, entry)))

    def _report(self, *outcomes: Outcome) -> None:
        self.failed = self.failed or any(outcome.error is not None for outcome in outcomes)
        self._core.locks.release_many([outcome.call.key for outcome in outcomes])
        self._outcomes.extend(outcomes)
