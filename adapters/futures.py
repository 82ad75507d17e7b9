"""The engine of process pools, and of any other ``concurrent.futures.Executor``."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from queue import SimpleQueue
from threading import TIMEOUT_MAX
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

from beautyspot.errors import ConfigurationError, EngineLost, SerializationError, UnkeyableError
from beautyspot.fanout import UNGUARDED, become_worker, check_guarded, run_for
from beautyspot.project import Project
from beautyspot.tasks import BoundTask, Task, warn_uncached

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["CachedExecutor", "ExecutorEngine", "ProcessEngine"]


class CachedExecutor(Executor):
    """An executor with a cache, for code that takes an executor and knows nothing of beautyspot.

    Each submitted function becomes a task of *project*, or is one already. Cached results come back at once; other
    calls run on *executor*, which stores their results. Calls that cannot be cached (arguments that cannot be part of a
    key, results that cannot be serialized) run uncached, with one warning for each function.

    Args:
        project: The project that stores the results.
        executor: The executor that runs calls; it is shut down with this one.
    """

    def __init__(self, project: Project, executor: Executor) -> None:
        self._project = project
        self._executor = executor
        self._tasks: dict[FunctionType, Task[..., Any]] = {}
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future of the cached result, or of the call.

        Raises:
            RuntimeError: After `shutdown`.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        try:
            task = self._task(fn)
            if "default" not in kwargs:  # else the worker looks
                cached: Any = task.peek(*args, default=self, **kwargs)
                if cached is not self:
                    done: Future[T] = Future()
                    done.set_result(cached)
                    return done
        except UnkeyableError as error:
            warn_uncached(self._project, fn, error)
            return self._executor.submit(fn, *args, **kwargs)
        except TypeError:  # arguments that do not fit: the function itself says so, in its future
            return self._executor.submit(fn, *args, **kwargs)
        return self._executor.submit(keep_or_run, task, args, kwargs)

    def _task(self, fn: Callable[..., Any]) -> Task[..., Any] | BoundTask[..., Any]:
        if isinstance(fn, Task | BoundTask):
            return fn
        if not isinstance(fn, FunctionType):
            return cast("Task[..., Any]", self._project.task(fn))
        if fn not in self._tasks:
            self._tasks[fn] = cast("Task[..., Any]", self._project.task(fn))
        return self._tasks[fn]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut *executor* down."""
        self._shut = True
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def keep_or_run(task: Task[..., Any] | BoundTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a task in a worker; a result that cannot be serialized for the cache is returned all the same."""
    try:
        return task(*args, **kwargs)
    except SerializationError as error:
        if error.function != task.function_name:  # of another task that it called
            raise
        warn_uncached(task.project, task, error)
        return error.value


class ExecutorEngine:
    """Chunks run on an executor of the user.

    Args:
        executor: The executor.
        width: The number of chunks that run at a time; ``None``: that of the executor, if it has one.
    """

    def __init__(self, executor: Executor, width: int | None = None) -> None:
        self.width = self.ahead = width or _width_of(executor)
        self._executor = executor
        self._in_flight: dict[int, Future[bytes]] = {}
        self._done: SimpleQueue[int] = SimpleQueue()

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the executor.

        Raises:
            EngineLost: If the executor is broken.
            ConfigurationError: If it was shut down.
        """
        try:
            future = self._executor.submit(run_for, os.getpid(), payload, chunk)
        except BrokenExecutor as error:
            raise EngineLost(f"the executor is broken: {error}") from error
        except RuntimeError as error:
            raise ConfigurationError(f"the executor is shut down: hand in an open one ({error})") from error
        self._in_flight[number] = future
        future.add_done_callback(lambda _: self._done.put(number))

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Wait for a chunk, and return all that have come back."""
        # A wait that has an end is broken off by Ctrl-C, even where a library has the system restart all others.
        numbers = [self._done.get(timeout=TIMEOUT_MAX)]
        while not self._done.empty():
            numbers.append(self._done.get())
        return [(number, _result(self._in_flight.pop(number))) for number in numbers if number in self._in_flight]

    def cancel(self) -> list[int]:
        """Cancel chunks that have not begun."""
        cancelled = [number for number, future in self._in_flight.items() if future.cancel()]
        for number in cancelled:
            del self._in_flight[number]
        return cancelled

    def close(self, now: bool = False) -> None:
        """Cancel pending chunks; do not shut down the user's executor."""
        self.cancel()


class ProcessEngine(ExecutorEngine):
    """Chunks run in a process pool of our own, which is replaced when it breaks.

    Args:
        width: The number of processes; ``None``: one for each core.
    """

    def __init__(self, width: int | None = None) -> None:
        check_guarded()
        self._context = multiprocessing.get_context()
        self._stop, self._stopping = self._context.Pipe(duplex=False)
        self._hello, self._greeting = self._context.Pipe(duplex=False)
        self._size = width or os.cpu_count() or 1
        super().__init__(self._pool(), self._size)

    def _pool(self) -> ProcessPoolExecutor:
        start = (self._stop, self._greeting, os.getpid())
        return ProcessPoolExecutor(self._size, self._context, initializer=become_worker, initargs=start)

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the pool, or to a new one if the last was lost with a worker.

        Raises:
            ConfigurationError: If no worker process could be started.
        """
        try:
            super().submit(number, payload, chunk)
        except EngineLost:
            if not self._hello.poll():
                raise ConfigurationError(f"no worker process could be started. {UNGUARDED}") from None
            self._executor.shutdown(wait=False)
            self._executor = self._pool()
            super().submit(number, payload, chunk)

    def close(self, now: bool = False) -> None:
        """End the workers when their chunks have finished; *now*: after a second at most."""
        if now:
            self._stopping.send_bytes(b"stop")
        self._executor.shutdown(wait=True, cancel_futures=True)
        for end in (self._stop, self._stopping, self._hello, self._greeting):
            end.close()


def processes(workers: int | None) -> ProcessEngine:
    """The engine ``"processes"``, with the start method of `multiprocessing`."""
    return ProcessEngine(workers)


def of_executor(workers: int | None, executor: Executor) -> ExecutorEngine:
    """The engine that an executor stands for."""
    return ExecutorEngine(executor, workers)


def _width_of(executor: Any) -> int:
    for name in ("_max_workers", "num_workers"):  # of the standard library and loky; of mpi4py
        width = getattr(executor, name, None)
        if isinstance(width, int) and width > 0:
            return width
    return os.cpu_count() or 1


def _result(future: Future[Any]) -> bytes | EngineLost:
    try:
        data: bytes = future.result()
    except (Exception, CancelledError) as error:
        return EngineLost(f"{type(error).__name__}: {error}")
    return data
