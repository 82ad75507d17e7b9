"""BatchLane: calls of a map of a batch task, gathered into lists that run in threads of this process.

To the lanes below, a list is one call: its arguments are the calls that were gathered, its result is what became of
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from beautyspot.base_task import Flown
from beautyspot.batch_run import BatchRun, Item
from beautyspot.batch_task import AsyncBatchTask, BatchTask
from beautyspot.calls import Call, Outcome
from beautyspot.keys import KeyedCall
from beautyspot.results import MISSING
from beautyspot.thread_lane import ThreadLane
from beautyspot.under_way import NotBegun


class Lists:
    """Runs lists of calls, where a lane runs the calls of a task.

    Args:
        task: The batch task.
        stop: Whether no list begins after the first failure.
    """

    def __init__(self, task: BatchTask[Any, ..., Any] | AsyncBatchTask[Any, ..., Any], stop: bool) -> None:
        self._task: Any = task
        self._stop = stop
        self._failed = False
        self.__wrapped__ = task.__wrapped__

    def _fly(self, call: KeyedCall, wait: bool) -> Flown:
        outcomes: list[Outcome] = []
        with self._running(call.args, outcomes) as run:
            self._task._finish(run, wait)
        return Flown(outcomes, None, None, None)

    async def _compute(self, call: KeyedCall, wait: bool) -> list[Outcome]:
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
        except NotBegun:
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
                outcomes.append(Outcome(call, under_way=True))


def gathered(calls: Sequence[Call]) -> Call:
    """A list of calls, as one call."""
    return Call(calls[0].number, tuple(calls), b"", [], all(call.waits for call in calls))


def landed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What became of each call, where lists of them came back."""
    found: list[Outcome] = []
    for outcome in outcomes:
        lost = [Outcome(call, error=outcome.error) for call in outcome.call.args] if outcome.error else outcome.value
        found += lost
    return found


class BatchLane:
    """Calls run in lists of as many as a batch has, each list in a thread.

    Args:
        task: What is called.
        width: How many lists run at a time.
        stop: Whether no list begins after the first failure.
    """

    def __init__(self, task: BatchTask[Any, ..., Any], width: int, stop: bool) -> None:
        self._lists = ThreadLane(Lists(task, stop), width, stop=False)
        self._size = task.options.size
        self._gathered: list[Call] = []

    def room(self) -> bool:
        """Whether a thread is free, or will be in a moment."""
        return self._lists.room()

    def busy(self) -> bool:
        """Whether any call has not come back."""
        return bool(self._gathered) or self._lists.busy()

    def submit(self, call: Call) -> None:
        """Put *call* into a list, and hand that to a thread when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= self._size:
            self._send()

    def _send(self) -> None:
        calls, self._gathered = self._gathered, []
        self._lists.submit(gathered(calls))

    def finished(self) -> list[Outcome]:
        """Wait for a list to come back, and take all that did; nothing more is coming for one that is not full."""
        if self._gathered:
            self._send()
        return landed(self._lists.finished())

    def stop(self) -> None:
        """Take back what no thread has begun."""
        self._gathered.clear()
        self._lists.stop()

    def close(self, now: bool = False) -> None:
        """End the threads, after what they run, or a second later."""
        self._gathered.clear()
        self._lists.close(now)
