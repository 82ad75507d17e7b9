"""BatchPool: calls of a map of a batch task, gathered into lists that run in threads or as tasks of an event loop.

The pool below sees one call for each list: its arguments are the gathered calls, its result their outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from beautyspot._internal.context import CallCancelled
from beautyspot._internal.signatures import Arguments
from beautyspot.fanout.calls import AsyncPool, Call, Outcome, Pool, ends_map
from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchCore, BatchCore
from beautyspot.tasks.batch_run import BatchRun
from beautyspot.tasks.core import ComputedResult

CoreT = TypeVar("CoreT", BatchCore, AsyncBatchCore)
PoolT = TypeVar("PoolT", bound=Pool)

_NOTHING: Arguments = ((), {})
_MAX_WAITING = 8  # full lists: as many calls wait for others with which they can share a list


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
        run = self._core.map_run([call.keyed() for call in calls])
        error: BaseException | None = None
        try:
            yield run
        except CallCancelled:
            return
        except BaseException as caught:
            self._failed = self._stop or ends_map(caught)
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
    """Runs calls in lists. The calls of one list differ in their item only.

    Args:
        pool: Runs the lists.
        core: The core of the batch task.
    """

    def __init__(self, pool: PoolT, core: BatchCore | AsyncBatchCore) -> None:
        self._pool = pool
        self._core = core
        self._gathered: dict[Hashable, list[Call]] = {}  # by the arguments beside the item
        self._waiting = 0

    def has_capacity(self) -> bool:
        """Whether another list may start."""
        return self._pool.has_capacity()

    def has_pending(self) -> bool:
        """Whether a call has not come back."""
        return bool(self._gathered) or self._pool.has_pending()

    def submit(self, call: Call) -> None:
        """Put *call* into a list, and submit the list when it is full."""
        group = self._core.others(*call.keyed()[2:])
        calls = self._gathered.setdefault(group, [])
        calls.append(call)
        self._waiting += 1
        if len(calls) >= self._core.size:
            self._submit_list(group)
        elif self._waiting >= _MAX_WAITING * self._core.size:  # many lists of which none fills
            self._submit_list(next(iter(self._gathered)))

    def _submit_list(self, group: Hashable) -> None:
        calls = self._gathered.pop(group)
        self._waiting -= len(calls)
        waits = all(call.waits for call in calls)
        self._pool.submit(Call(calls[0].number, _NOTHING, (tuple(calls), {}), b"", [], waits))

    def _submit_all(self) -> None:
        """Submit lists that are not full, since no more calls come now."""
        while self._gathered:
            self._submit_list(next(iter(self._gathered)))

    def wait(self) -> list[Outcome]:
        """The outcomes of the calls of finished lists."""
        self._submit_all()
        outcomes: list[Outcome] = []
        for each in self._pool.wait():
            calls = each.call.own[0]
            outcomes += [Outcome(call, error=each.error) for call in calls] if each.error else each.value
        return outcomes

    def stop(self) -> None:
        """Cancel calls that have not started."""
        self._discard()
        self._pool.stop()

    def _discard(self) -> None:
        self._gathered.clear()
        self._waiting = 0

    def close(self, now: bool = False) -> None:
        """End the pool below."""
        self._discard()
        self._pool.close(now)


class AsyncBatchPool(BatchPool[AsyncPool]):
    """Runs calls in lists on an event loop."""

    async def ready(self) -> None:
        """Wait until a list has finished."""
        self._submit_all()
        await self._pool.ready()

    async def cancel(self) -> None:
        """Cancel the running lists."""
        await self._pool.cancel()
