"""amap and aimap: many calls of one async task on the running event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar, Unpack, overload

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot.fanout.batch_pool import AsyncBatchPool, AsyncListRunner
from beautyspot.fanout.calls import AsyncPool, AsyncRunner, Call, Outcome
from beautyspot.fanout.inputs import Inputs, name_of, unbound
from beautyspot.fanout.map_sync import check_workers
from beautyspot.fanout.scheduler import InputOutcome, Instruction, MapScheduler, ReadBlob
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask
from beautyspot.tasks.bound import BoundAsyncTask
from beautyspot.tasks.core import ComputedResult
from beautyspot.tasks.options import CommonMapOptions, OnError
from beautyspot.tasks.task import AsyncTask

__all__ = ["aimap", "amap"]

T = TypeVar("T")


@overload
async def amap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    workers: int = 8,
    **options: Unpack[CommonMapOptions],
) -> list[T | Exception]: ...
@overload
async def amap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "continue"] = "raise",
    workers: int = 8,
    **options: Unpack[CommonMapOptions],
) -> list[T]: ...
async def amap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int = 8,
    progress: bool | None = None,
    on_error: OnError = "raise",
    fixed: Mapping[str, Any] | None = None,
    unpack: bool = False,
) -> list[Any]:
    """The results of an async task for all inputs, in their order.

    Args:
        task: The task to call and await.
        iterables: As for `beautyspot.map`.
        workers: How many calls run at a time.
        progress: As for `beautyspot.map`.
        on_error: As for `beautyspot.map`.
        fixed: As for `beautyspot.map`.
        unpack: As for `beautyspot.map`.

    Raises:
        TypeError: If *task* is not an async task, or the inputs do not fit it; nothing ran.
        ValueError: If one of several iterables ends before the others; nothing ran.
        MapError: With ``on_error="continue"``, if anything failed.
        Exception: With ``on_error="raise"``, what the first failing call raised.
    """
    check_workers(workers)
    inputs = _async_inputs(task, iterables, fixed, unpack)
    count = inputs.read_all()
    scheduler = MapScheduler(inputs, lambda stop: _make_pool(inputs, workers, stop), progress, on_error)
    results: list[Any] = [MISSING] * count
    async for number, value, error in _outcomes(scheduler):
        results[number] = value if error is None else error
    scheduler.finish(results)
    return results


@overload
def aimap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    workers: int = 8,
    ordered: bool = True,
    **options: Unpack[CommonMapOptions],
) -> AsyncGenerator[T | Exception, None]: ...
@overload
def aimap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "continue"] = "raise",
    workers: int = 8,
    ordered: bool = True,
    **options: Unpack[CommonMapOptions],
) -> AsyncGenerator[T, None]: ...
def aimap(
    task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int = 8,
    progress: bool | None = None,
    on_error: OnError = "raise",
    ordered: bool = True,
    fixed: Mapping[str, Any] | None = None,
    unpack: bool = False,
) -> AsyncGenerator[Any, None]:
    """The results of an async task one by one, with bounded memory; inputs may be endless.

    Once it is closed, no call starts, and running ones finish and are stored: ``contextlib.aclosing`` waits for that.

    Args:
        task: The task to call and await.
        iterables: As for `beautyspot.map`; they are read in a thread of the project, so that they may take their time.
        workers: How many calls run at a time.
        progress: As for `beautyspot.map`.
        on_error: As for `beautyspot.imap`.
        ordered: In the order of the inputs, or as they come.
        fixed: As for `beautyspot.map`.
        unpack: As for `beautyspot.map`.

    Yields:
        Results.

    Raises:
        As `beautyspot.imap` does.
    """
    check_workers(workers)
    inputs = _async_inputs(task, iterables, fixed, unpack)
    return _results(MapScheduler(inputs, lambda stop: _make_pool(inputs, workers, stop), progress, on_error, ordered))


async def _results(scheduler: MapScheduler[AsyncPool]) -> AsyncGenerator[Any, None]:
    async with aclosing(_outcomes(scheduler)) as outcomes:
        async for outcome in outcomes:
            for result in scheduler.results_of(outcome):
                yield result
    scheduler.finish([])


def _async_inputs(
    task: object, iterables: Sequence[Iterable[Any]], fixed: Mapping[str, Any] | None, unpack: bool
) -> Inputs:
    """The inputs of a map of an async task.

    Raises:
        TypeError: If it is not async; the error says what to write.
    """
    mapped, _ = unbound(task)
    if not isinstance(mapped, AsyncTask | AsyncBatchTask):
        name = name_of(mapped.core)
        raise TypeError(f"{name} is not async: write `await asyncio.to_thread(bs.map, {name}, ...)`")
    return Inputs(task, iterables, fixed, unpack)


async def _outcomes(scheduler: MapScheduler[AsyncPool]) -> AsyncGenerator[InputOutcome, None]:
    """The outcomes of inputs as they come: carries out the scheduler's instructions on the event loop.

    Blocking work runs in threads of the project.
    """
    run_io, read = scheduler.core.project.run_io, scheduler.core.cache.read
    try:
        for instruction in scheduler.instructions(None):
            if instruction is Instruction.READ:
                await run_io(scheduler.read_block, None)
            elif instruction is Instruction.POLL_BUSY:
                await run_io(scheduler.poll_busy)
            elif instruction is Instruction.WAIT and scheduler.pool is not None:
                await scheduler.pool.ready()
                scheduler.on_finished(scheduler.pool.wait())
            elif isinstance(instruction, ReadBlob):
                call, entry = instruction.call, instruction.entry
                ahead = scheduler.reads_ahead
                reading = scheduler.read_ahead(instruction, run_io) if ahead else run_io(read, entry, call.key)
                scheduler.on_read(call, await reading)
            elif not isinstance(instruction, Instruction):
                yield instruction
    except GeneratorExit:  # the consumer stops before the end
        if scheduler.pool is not None:
            scheduler.pool.stop()
            while scheduler.pool.has_pending():
                await scheduler.pool.ready()
                scheduler.pool.wait()
        raise
    finally:
        if scheduler.pool is not None:
            await scheduler.pool.cancel()
        scheduler.close()


class _TaskPool:
    """Runs calls as tasks of the event loop.

    Args:
        runner: Runs one call.
        width: How many calls run at a time.
    """

    def __init__(self, runner: AsyncRunner, width: int) -> None:
        self._runner = runner
        self._width = width
        self._running: dict[asyncio.Task[ComputedResult], Call] = {}
        self._stopped = False
        self._context = contextvars.copy_context()
        this_map = CurrentMap(runner.limiters, lambda: self._stopped)
        self._context.run(current_map.set, this_map)

    def has_capacity(self) -> bool:
        return len(self._running) < self._width

    def has_pending(self) -> bool:
        return bool(self._running)

    def submit(self, call: Call) -> None:
        run = self._runner.run(call.keyed(), wait=call.waits)
        self._running[asyncio.get_running_loop().create_task(run, context=self._context.copy())] = call

    async def ready(self) -> None:
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def wait(self) -> list[Outcome]:
        done = [task for task in self._running if task.done()]
        outcomes = [_outcome(self._running.pop(task), task) for task in done]
        return [outcome for outcome in outcomes if not isinstance(outcome.error, CallCancelled)]

    def stop(self) -> None:
        """Stop calls that wait for a budget from starting; no other calls are queued."""
        self._stopped = True

    async def cancel(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def close(self, now: bool = False) -> None:
        """Nothing to close."""


def _make_pool(inputs: Inputs, width: int, stop: bool) -> AsyncPool:
    task = inputs.task
    if isinstance(task, AsyncBatchTask):
        return AsyncBatchPool(_TaskPool(AsyncListRunner(task.core, stop), width), task.core)
    assert isinstance(task, AsyncTask)  # noqa: S101 - others were refused
    return _TaskPool(task.core, width)


def _outcome(call: Call, task: asyncio.Task[ComputedResult]) -> Outcome:
    try:
        error = task.exception()
    except asyncio.CancelledError as cancelled:  # as the call raised it
        return Outcome(call, error=cancelled)
    if isinstance(error, KeyBusy):
        return Outcome(call, key_busy=True)
    return Outcome(call, error=error) if error is not None else Outcome(call, task.result().value)
