"""amap: many calls of one async task on the running event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot._internal.pricing import pacing_layers
from beautyspot.fanout.batch_pool import BatchPool, Lists
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.map_sync import check_workers, in_step
from beautyspot.fanout.scheduler import InputOutcome, Instruction, MapScheduler, OnError, ReadBlob
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, check_mapped
from beautyspot.tasks.bound import BoundAsyncTask
from beautyspot.tasks.task import AsyncTask

__all__ = ["amap"]

T = TypeVar("T")


async def amap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int = 8,
    progress: bool | None = None,
    on_error: OnError = "raise",
) -> list[T]:
    """The results of an async task for all inputs, in their order.

    Args:
        task: What to call and await.
        iterables: The inputs; several are taken in step.
        workers: How many calls run at a time.
        progress: A bar: always, never, or (``None``) on a terminal.
        on_error: As for `beautyspot.map`.

    Raises:
        TypeError: If *task* is not an async task.
        MapError: With ``on_error="continue"``, if anything failed.
        Exception: With ``on_error="raise"``, what the first failing call raised.
    """
    if not isinstance(getattr(task, "task", task), AsyncTask | AsyncBatchTask):
        name = getattr(task, "__name__", repr(task))
        raise TypeError(f"bs.amap needs an async task and got {name}: use bs.map for a task that is not async")
    check_workers(workers)
    check_mapped(task, iterables)
    inputs = list(in_step(iterables))
    scheduler = MapScheduler(
        task, inputs, len(inputs), lambda task, stop: _pool(task, workers, stop), progress, on_error
    )
    results: list[Any] = [MISSING] * len(inputs)
    async for number, value, error in _outcomes(scheduler):
        results[number] = value if error is None else error
    scheduler.finish(results)
    return results


async def _outcomes(scheduler: MapScheduler) -> AsyncIterator[InputOutcome]:
    """As `MapScheduler.outcomes`; what blocks runs in threads of the project."""
    run_io, read = scheduler.task.project.run_io, scheduler.task._cache.read
    try:
        for step in scheduler.steps(None):
            if step is Instruction.READ:
                await run_io(scheduler.read_block, None)
            elif step is Instruction.POLL_BUSY:
                await run_io(scheduler.poll_busy)
            elif step is Instruction.WAIT:
                await scheduler.pool.ready()
                scheduler.on_finished(scheduler.pool.wait())
            elif isinstance(step, ReadBlob):
                reading = (
                    scheduler.ahead(step, run_io) if scheduler.reads_ahead else run_io(read, step.entry, step.call.key)
                )
                scheduler.recalled(step.call, await reading)
            else:
                yield step
    finally:
        if scheduler.pool is not None:
            await scheduler.pool.cancel()
        scheduler.close()


class _AsyncPool:
    """Calls run as tasks of the event loop."""

    def __init__(self, task: Any, width: int) -> None:
        self._task = task
        self._width = width
        self._running: dict[asyncio.Task[Any], Call] = {}
        self._stopped = False
        self._context = contextvars.copy_context()
        ends = CurrentMap(pacing_layers(task.__wrapped__), lambda: self._stopped)
        self._context.run(current_map.set, ends)

    def has_capacity(self) -> bool:
        return len(self._running) < self._width

    def has_pending(self) -> bool:
        return bool(self._running)

    def submit(self, call: Call) -> None:
        compute = self._task._compute_locked_async(call.keyed(), wait=call.waits)
        context = self._context.copy()
        self._running[asyncio.get_running_loop().create_task(compute, context=context)] = call

    async def ready(self) -> None:
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def wait(self) -> list[Outcome]:
        done = [task for task in self._running if task.done()]
        outcomes = [_outcome(self._running.pop(task), task) for task in done]
        return [outcome for outcome in outcomes if not isinstance(outcome.error, CallCancelled)]

    def stop(self) -> None:
        """Let no call begin that waits for a budget; nothing else waits."""
        self._stopped = True

    async def cancel(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def close(self, now: bool = False) -> None:
        """Nothing is held."""


def _pool(task: Any, width: int, stop: bool) -> _AsyncPool | BatchPool:
    if isinstance(task, AsyncBatchTask):
        return BatchPool(_AsyncPool(Lists(task, stop), width), task.options.size)
    return _AsyncPool(task, width)


def _outcome(call: Call, task: asyncio.Task[Any]) -> Outcome:
    if task.cancelled():
        return Outcome(call, error=asyncio.CancelledError())
    error = task.exception()
    if isinstance(error, KeyBusy):
        return Outcome(call, key_busy=True)
    return Outcome(call, error=error) if error is not None else Outcome(call, task.result())
