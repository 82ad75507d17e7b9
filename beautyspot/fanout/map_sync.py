"""map, imap and plan: many calls of one task, of which only those without a cached result run.

Keys are computed and looked up in blocks before any worker is asked, and inputs with one key run once. `workers` bounds
how many calls run at a time, the window of the scheduler how many wait.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from beautyspot._internal.text import of_value
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.batch_pool import BatchPool, ListRunner
from beautyspot.fanout.calls import MappedTask, Pool
from beautyspot.fanout.engine_pool import EnginePool
from beautyspot.fanout.engines import ENGINES, ENGINES_OF, Engine, Threads
from beautyspot.fanout.scheduler import AHEAD, InputOutcome, Instruction, MapScheduler, OnError, ReadBlob, unbound
from beautyspot.fanout.thread_pool import ThreadPool
from beautyspot.protocols.index import FailureLog, Statistics
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask, calls_of, check_mapped
from beautyspot.tasks.bound import Bound, BoundAsyncTask, BoundTask
from beautyspot.tasks.task import AsyncTask, Task

__all__ = ["Plan", "imap", "map", "plan"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a map would do.

    Attributes:
        total: Number of inputs.
        kept: Inputs whose results are cached. Those in the index are checked to be usable; blobs are not opened.
        to_run: Calls that would run; inputs with one key count once.
        failed: Arguments of the calls that failed last time.
        seconds: Estimated duration by past runs and rate limits; ``None`` if neither is known.
    """

    total: int
    kept: int
    to_run: int
    failed: tuple[tuple[Any, ...], ...]
    seconds: float | None

    def __str__(self) -> str:
        took = "" if self.seconds is None else f", about {self.seconds:.0f} s"
        again = f", {len(self.failed)} failed last time" if self.failed else ""
        return f"{self.total} inputs: {self.kept} kept, {self.to_run} to run{again}{took}"


def map(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
) -> list[T]:
    """The task's results for all inputs, in their order.

    Args:
        task: The task to call.
        iterables: The inputs; several are zipped, as by the built-in ``map``.
        workers: How many calls run at a time; 8 threads, or as many as the engine has workers.
        engine: ``"threads"``, ``"processes"``, the name of an installed engine, an executor, or an `Engine`.
        progress: A bar: always, never, or (``None``) on a terminal.
        on_error: ``"raise"``: no call starts after the first failure, running ones are stored, then that exception is
            raised; ``"continue"``: all other calls run, then one `MapError` is raised; ``"return"``: exceptions stand
            in the places of their results.

    Raises:
        TypeError: If *task* is a plain function.
        MapError: With ``on_error="continue"``, if anything failed.
        Exception: With ``on_error="raise"``, what the first failing call raised.
    """
    inputs = list(in_step(iterables))
    scheduler = MapScheduler(
        _sync(task, iterables), inputs, len(inputs), _pool_maker(engine, workers), progress, on_error
    )
    results: list[Any] = [MISSING] * len(inputs)
    for number, value, error in _outcomes(scheduler, block=len(inputs)):
        results[number] = value if error is None else error
    scheduler.finish(results)
    return results


def imap(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
    ordered: bool = True,
) -> Iterator[T]:
    """The task's results one by one, with bounded memory; inputs may be endless.

    Args:
        task: The task to call.
        iterables: The inputs; several are zipped.
        workers: How many calls run at a time.
        engine: As for `map`.
        progress: As for `map`.
        on_error: As for `map`; with ``"continue"`` failed inputs are left out and the `MapError`, which
            then has no results, is raised at the end.
        ordered: In the order of the inputs, or as they come.

    Yields:
        Results.

    Raises:
        As `map` does.
    """
    total = operator.length_hint(iterables[0], -1) if len(iterables) == 1 else -1
    known = total if total >= 0 else None
    scheduler = MapScheduler(
        _sync(task, iterables), in_step(iterables), known, _pool_maker(engine, workers), progress, on_error
    )
    return _in_order(scheduler) if ordered else _unordered(scheduler)


def plan(task: MappedTask | Bound[..., Any], *iterables: Iterable[Any], workers: int = 8) -> Plan:
    """What ``map(task, *iterables)`` would do; nothing runs.

    Args:
        task: The task.
        iterables: The inputs, of known length.
        workers: How many calls would run at a time, for the estimate of the duration.
    """
    bare, prefix = unbound(task)
    core = bare.core
    check_mapped(task, iterables)
    calls: dict[bytes, list[tuple[Any, ...]]] = {}
    total = kept = 0
    for inputs in in_step(iterables):
        args = (*prefix, *inputs)
        total += 1
        calls.setdefault(core.keyer(args, {})[0], []).append(args)
    found = core.cache.results.find_many(list(calls))
    entries = {key: entry for key, entry in found.items() if core.cache.makes_a_value(entry)}
    kept = sum(len(calls[key]) for key in entries)
    missing = [key for key in calls if key not in entries]
    db = core.project.db
    failures = db.failed(missing) if isinstance(db, FailureLog) else {}
    mean = db.mean_seconds(core.name) if isinstance(db, Statistics) else None
    to_run = [calls[key][0] for key in missing]
    times = [layer.__beautyspot_pricing__.seconds(calls_of(core, to_run)) for layer in core.limiters]
    if mean is not None:
        times.append(mean * len(missing) / max(1, min(workers, len(missing))))
    failed = tuple(calls[key][0][len(prefix) :] for key in missing if key in failures)
    return Plan(total, kept, len(missing), failed, max(times, default=None))


def _outcomes(scheduler: MapScheduler[Pool], block: int | None = None) -> Iterator[InputOutcome]:
    """The outcomes of inputs as they come: carries out the scheduler's instructions by blocking.

    Args:
        scheduler: The scheduler of the map.
        block: How many inputs to look up before the first call runs: see `MapScheduler.read_block`.
    """
    readers: ThreadPoolExecutor | None = None
    try:
        for instruction in scheduler.instructions(block):
            if instruction is Instruction.READ:
                scheduler.read_block(block)
            elif instruction is Instruction.POLL_BUSY:
                scheduler.poll_busy()
            elif instruction is Instruction.WAIT:
                scheduler.on_finished(scheduler.pool.wait() if scheduler.pool is not None else ())
            elif not isinstance(instruction, ReadBlob):
                yield instruction
            elif scheduler.reads_ahead:
                readers = readers or ThreadPoolExecutor(1 + AHEAD, "beautyspot-read")
                scheduler.on_read(instruction.call, scheduler.read_ahead(instruction, readers.submit).result())
            else:
                scheduler.on_read(instruction.call, scheduler.core.cache.read(instruction.entry, instruction.call.key))
    except GeneratorExit:  # the consumer stops before the end
        scheduler.drain()
        raise
    except BaseException as error:
        scheduler.close(now=not isinstance(error, Exception))
        raise
    finally:
        scheduler.close()
        if readers is not None:
            readers.shutdown(cancel_futures=True)


def _unordered(scheduler: MapScheduler[Pool]) -> Iterator[Any]:
    for _, value, error in _outcomes(scheduler):
        shown = scheduler.to_yield(value, error)
        if shown is not MISSING:
            yield shown
    scheduler.finish([])


def _in_order(scheduler: MapScheduler[Pool]) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    scheduler.consumed = 0
    for number, value, error in _outcomes(scheduler):
        waiting[number] = scheduler.to_yield(value, error)
        while scheduler.consumed in waiting:
            shown = waiting.pop(scheduler.consumed)
            scheduler.consumed += 1
            if shown is not MISSING:
                yield shown
    scheduler.finish([])


def _pool_maker(engine: Any, workers: int | None) -> Callable[[MappedTask, bool], Pool]:
    """A function that makes the pool of a map; the options are checked at once, before anything starts."""
    check_workers(workers)
    return lambda task, stop: make_pool(task, engine, workers, stop)


def check_workers(workers: int | None) -> None:
    """Refuse an impossible number of workers."""
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ConfigurationError(f"workers is a whole number of at least 1, not {workers!r}")


def in_step(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call of a map.

    Raises:
        TypeError: If there are no iterables, or one of them is not iterable.
    """
    if not iterables:
        raise TypeError("a map needs at least one iterable of inputs")
    for given in iterables:
        if not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
            shown = of_value(given)
            raise TypeError(
                f"a map takes iterables of inputs, and {shown} is not iterable: write [{shown}], or itertools.repeat"
                f"({shown}) beside another iterable, for an argument that is the same in all calls"
            )
    return zip(*iterables, strict=False)


def _sync(task: MappedTask | Bound[..., Any], iterables: tuple[Iterable[Any], ...]) -> MappedTask | Bound[..., Any]:
    """*task*, checked not to be async."""
    check_mapped(task, iterables)
    if isinstance(getattr(task, "task", task), AsyncTask | BoundAsyncTask | AsyncBatchTask):
        raise _is_async(task)
    return task


def _is_async(task: object) -> TypeError:
    name = getattr(task, "__name__", "the task")
    return TypeError(f"{name} is async: write `await bs.amap({name}, ...)`")


def make_pool(task: MappedTask, engine: Any, workers: int | None, stop: bool) -> Pool:
    """The pool for *engine*: a name, an address, an object of an engine's library, or an engine.

    Args:
        task: The task.
        engine: As for `map`.
        workers: As for `map`.
        stop: Whether no call starts after the first failure.

    Raises:
        ConfigurationError: If there is no engine of that name, or the object is none of these.
    """
    if isinstance(task, BatchTask):
        if engine != "threads":
            raise ConfigurationError(
                f"a map of a batch task runs in threads of this process, and not on {engine!r}: leave engine= out"
            )
        return BatchPool(ThreadPool(ListRunner(task.core, stop), workers or 8, stop=False), task.options.size)
    if not isinstance(task, Task):
        raise _is_async(task)
    if engine == "threads":
        return ThreadPool(task.core, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadPool(task.core, workers or engine._max_workers, stop, engine)
    made = _engine_of(engine, workers)
    if isinstance(made, Threads):
        return ThreadPool(task.core, made.width, stop)
    return EnginePool(task, made, workers, stop)


def _engine_of(engine: Any, workers: int | None) -> Engine | Threads:
    if isinstance(engine, str):
        at = ENGINES.for_url(engine)
        made: Engine | Threads = ENGINES[engine](workers) if at is None else at(workers, engine)
        return made
    for kind in type(engine).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in ENGINES_OF:
            found: Engine | Threads = ENGINES[ENGINES_OF[name]](workers, engine)
            return found
    if all(hasattr(engine, name) for name in ("width", "ahead", "submit", "finished", "cancel", "close")):
        return engine  # type: ignore[no-any-return]
    raise ConfigurationError(
        "engine is a name such as 'threads' or 'processes', the address of a cluster, an executor, a "
        f"joblib.Parallel, a dask.distributed.Client, or an Engine, not {engine!r}"
    )
