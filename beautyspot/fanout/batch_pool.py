"""BatchPool: calls of a map of a batch task, gathered into lists that run in threads or as tasks of an event loop.

The pool below sees one call for each list: its arguments are the gathered calls, its result their outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from beautyspot._internal.context import CallCancelled
from beautyspot.fanout.calls import AsyncPool, Call, Outcome, Pool
from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchCore, BatchCore
from beautyspot.tasks.batch_run import BatchRun
from beautyspot.tasks.core import ComputedResult

CoreT = TypeVar("CoreT", BatchCore, AsyncBatchCore)
PoolT = TypeVar("PoolT", bound=Pool)


class _Lists(Generic[CoreT]):
    """Runs lists of calls where a pool runs the calls of a task.

    Args:
        core: The core of the batch task.
        stop: Whether no list starts after the first failure.
    """

    def __init__(self, core: CoreT, stop: bool) -> None:
        self._core: CoreT = core
        self._stop = stop
        self._failed = False

    @property
    def limiters(self) -> tuple[Callable[..., Any], ...]:
        limiters: tuple[Callable[..., Any], ...] = self._core.limiters
        return limiters

    @contextmanager
    def _running(self, calls: Sequence[Call], outcomes: list[Outcome]) -> Iterator[BatchRun | None]:
        """Context: a run of *calls*; at its end, *outcomes* has theirs. ``None`` if no further list may start."""
        if self._failed:
            yield None
            return
        run = self._core.map_run([(call.args, call.key, call.parts) for call in calls])
        error: BaseException | None = None
        try:
            yield run
        except CallCancelled:
            return
        except BaseException as caught:
            self._failed = self._stop or not isinstance(caught, Exception)
            error = caught
        for call, value in zip(calls, run.results, strict=True):
            if value is not MISSING:
                outcomes.append(Outcome(call, value))
            elif error is not None:
                outcomes.append(Outcome(call, error=error))
            elif not self._failed:
                outcomes.append(Outcome(call, key_busy=True))


class ListRunner(_Lists[BatchCore]):
    """Runs lists in the calling thread."""

    def run(self, call: KeyedCall, wait: bool = True) -> ComputedResult:
        """Run the list of calls that are the arguments of *call*; the value is the list of their outcomes."""
        outcomes: list[Outcome] = []
        with self._running(call.args, outcomes) as run:
            if run is not None:
                self._core.finish(run, wait)
        return ComputedResult(outcomes)


class AsyncListRunner(_Lists[AsyncBatchCore]):
    """Runs lists on an event loop."""

    async def run(self, call: KeyedCall, wait: bool = True) -> ComputedResult:
        """As `ListRunner.run`."""
        outcomes: list[Outcome] = []
        with self._running(call.args, outcomes) as run:
            if run is not None:
                await self._core.finish(run, wait)
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, Exception):
                raise outcome.error  # the event loop must see that its task was cancelled
        return ComputedResult(outcomes)


class BatchPool(Generic[PoolT]):
    """Runs calls in lists.

    Args:
        pool: Runs the lists.
        size: How many calls make a list.
    """

    def __init__(self, pool: PoolT, size: int) -> None:
        self._pool = pool
        self._size = size
        self._gathered: list[Call] = []

    def has_capacity(self) -> bool:
        """Whether another list may start."""
        return self._pool.has_capacity()

    def has_pending(self) -> bool:
        """Whether a call has not come back."""
        return bool(self._gathered) or self._pool.has_pending()

    def submit(self, call: Call) -> None:
        """Put *call* into a list, and submit the list when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= self._size:
            self._submit_list()

    def _submit_list(self) -> None:
        calls, self._gathered = self._gathered, []
        if calls:
            waits = all(call.waits for call in calls)
            self._pool.submit(Call(calls[0].number, tuple(calls), b"", [], waits))

    def wait(self) -> list[Outcome]:
        """The outcomes of the calls of finished lists; a list that is not full starts, since no more calls come."""
        self._submit_list()
        outcomes: list[Outcome] = []
        for each in self._pool.wait():
            outcomes += [Outcome(call, error=each.error) for call in each.call.args] if each.error else each.value
        return outcomes

    def stop(self) -> None:
        """Cancel calls that have not started."""
        self._gathered.clear()
        self._pool.stop()

    def close(self, now: bool = False) -> None:
        """End the pool below."""
        self._gathered.clear()
        self._pool.close(now)


class AsyncBatchPool(BatchPool[AsyncPool]):
    """Runs calls in lists on an event loop."""

    async def ready(self) -> None:
        """Wait until a list has finished."""
        self._submit_list()
        await self._pool.ready()

    async def cancel(self) -> None:
        """Cancel the running lists."""
        await self._pool.cancel()
