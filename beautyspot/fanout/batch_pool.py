"""BatchPool: calls of a map of a batch task, gathered into lists that run in threads or as tasks of an event loop.

To the pool below, a list is one call: its arguments are the calls that were gathered, its result is what became of
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from beautyspot._internal.context import CallCancelled
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING
from beautyspot.tasks.base import ComputedResult
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
from beautyspot.tasks.batch_run import BatchRun, Item


class Lists:
    """Runs lists of calls, where a pool runs the calls of a task.

    Args:
        task: The batch task.
        stop: Whether no list begins after the first failure.
    """

    def __init__(self, task: BatchTask[Any, ..., Any] | AsyncBatchTask[Any, ..., Any], stop: bool) -> None:
        self._task: Any = task
        self._stop = stop
        self._failed = False
        self.__wrapped__ = task.__wrapped__

    def _compute_locked(self, call: KeyedCall, wait: bool) -> ComputedResult:
        outcomes: list[Outcome] = []
        with self._running(call.args, outcomes) as run:
            self._task._finish(run, wait)
        return ComputedResult(outcomes, None, None, None)

    async def _compute_locked_async(self, call: KeyedCall, wait: bool) -> list[Outcome]:
        outcomes: list[Outcome] = []
        with self._running(call.args, outcomes) as run:
            await self._task._finish(run, wait)
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, Exception):
                raise outcome.error  # an event loop must see that its task was cancelled
        return outcomes

    @contextmanager
    def _running(self, calls: Sequence[Call], outcomes: list[Outcome]) -> Iterator[BatchRun]:
        """A run of these calls, and then what became of them; nothing, where the map has ended meanwhile."""
        *before, _ = calls[0].args
        run = BatchRun(self._task, lambda value: ((*before, value), {}), len(calls))
        if not self._failed:
            run.enlist([Item(call.args[-1], call.key, call.parts, [i]) for i, call in enumerate(calls)])
        try:
            yield run
        except CallCancelled:
            return
        except BaseException as caught:
            self._failed = self._stop or not isinstance(caught, Exception)
            error: BaseException | None = caught
        else:
            error = None
        for call, value in zip(calls, run.results, strict=True):
            if value is not MISSING:
                outcomes.append(Outcome(call, value))
            elif error is not None:
                outcomes.append(Outcome(call, error=error))
            elif not self._failed:
                outcomes.append(Outcome(call, key_busy=True))


class BatchPool:
    """Calls run in lists of as many as a batch has.

    Args:
        pool: Runs `Lists`: in threads, or on an event loop.
        size: How many calls make a list.
    """

    def __init__(self, pool: Any, size: int) -> None:
        self._lists = pool
        self._size = size
        self._gathered: list[Call] = []

    def has_capacity(self) -> bool:
        """Whether another list may be begun."""
        return bool(self._lists.has_capacity())

    def has_pending(self) -> bool:
        """Whether any call has not come back."""
        return bool(self._gathered) or bool(self._lists.has_pending())

    def submit(self, call: Call) -> None:
        """Put *call* into a list, and have that run when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= self._size:
            self._send()

    def _send(self) -> None:
        """Have the list that is being gathered run, which is one call to the pool below."""
        calls, self._gathered = self._gathered, []
        if calls:
            waits = all(call.waits for call in calls)
            self._lists.submit(Call(calls[0].number, tuple(calls), b"", [], waits))

    def wait(self) -> list[Outcome]:
        """What became of each call of the lists that came back; nothing more is coming for one that is not full."""
        self._send()
        found: list[Outcome] = []
        for each in self._lists.wait():
            found += [Outcome(call, error=each.error) for call in each.call.args] if each.error else each.value
        return found

    async def ready(self) -> None:
        """On an event loop: wait for a list to come back."""
        self._send()
        await self._lists.ready()

    async def cancel(self) -> None:
        """On an event loop: end what runs."""
        await self._lists.cancel()

    def stop(self) -> None:
        """Take back what has not begun."""
        self._gathered.clear()
        self._lists.stop()

    def close(self, now: bool = False) -> None:
        """End the pool below, after what it runs, or a second later."""
        self._gathered.clear()
        self._lists.close(now)
