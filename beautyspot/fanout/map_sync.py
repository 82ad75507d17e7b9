"""map, imap and plan: many calls of one task, of which only those run that are not kept.

Keys are made and looked up in blocks before any worker is asked; inputs that are one call run once; what
runs is bounded by the workers, and what waits for its turn by the window.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from beautyspot._internal.pricing import pacing_layers
from beautyspot._internal.text import of_value
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.batch_pool import BatchPool, Lists
from beautyspot.fanout.calls import Pool
from beautyspot.fanout.engine_pool import EnginePool
from beautyspot.fanout.engines import ENGINES, ENGINES_OF, Engine, Threads
from beautyspot.fanout.scheduler import MapScheduler, OnError, unbound
from beautyspot.fanout.thread_pool import ThreadPool
from beautyspot.protocols.index import FailureLog, Statistics
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask, calls_of, check_mapped
from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
from beautyspot.tasks.task import AsyncTask, Task

__all__ = ["Plan", "imap", "map", "plan"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a map would do.

    Attributes:
        total: Inputs.
        kept: Inputs whose result is kept.
        to_run: Calls that would run; inputs that are the same call count once.
        failed: Arguments of those that failed last time.
        seconds: How long it would take by what past runs took and budgets allow; ``None`` if neither is known.
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
        task: What to call.
        iterables: The inputs; several are taken in step, as the built-in ``map`` takes them.
        workers: How many calls run at a time; 8 threads, or as many as the engine has workers.
        engine: ``"threads"``, ``"processes"``, the name of an installed engine, an executor, or an `Engine`.
        progress: A bar: always, never, or (``None``) on a terminal.
        on_error: ``"raise"``: nothing new starts after the first failure, what runs is kept, then that
            exception is raised; ``"continue"``: all others run, then one `MapError` is raised;
            ``"return"``: exceptions stand in their inputs' place.

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
    for number, value, error in scheduler.outcomes(block=len(inputs)):
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
        task: What to call.
        iterables: The inputs; several are taken in step.
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
    return _in_order(scheduler) if ordered else _as_they_come(scheduler)


def plan(task: Any, *iterables: Iterable[Any], workers: int = 8) -> Plan:
    """What ``map(task, *iterables)`` would do; nothing runs.

    Args:
        task: What would be called.
        iterables: The inputs, of known length.
        workers: How many calls would run at a time, for the time it would take.
    """
    bare, prefix = unbound(task)
    check_mapped(task, iterables)
    calls: dict[bytes, list[tuple[Any, ...]]] = {}
    total = kept = 0
    for inputs in in_step(iterables):
        args = (*prefix, *inputs)
        total += 1
        calls.setdefault(bare._keyer(args, {})[0], []).append(args)
    entries = bare._cache.results.find_many(list(calls))
    kept = sum(len(calls[key]) for key in entries)
    missing = [key for key in calls if key not in entries]
    db = bare.project.db
    failures = db.failed(missing) if isinstance(db, FailureLog) else {}
    mean = db.mean_seconds(bare._keyer.function_name) if isinstance(db, Statistics) else None
    to_run = [calls[key][0] for key in missing]
    times = [layer.__beautyspot_pricing__.seconds(calls_of(bare, to_run)) for layer in pacing_layers(bare.__wrapped__)]
    if mean is not None:
        times.append(mean * len(missing) / max(1, min(workers, len(missing))))
    failed = tuple(calls[key][0][len(prefix) :] for key in missing if key in failures)
    return Plan(total, kept, len(missing), failed, max(times, default=None))


def _as_they_come(scheduler: MapScheduler) -> Iterator[Any]:
    for _, value, error in scheduler.outcomes():
        shown = scheduler.shown(value, error)
        if shown is not MISSING:
            yield shown
    scheduler.finish([])


def _in_order(scheduler: MapScheduler) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    scheduler.consumed = 0
    for number, value, error in scheduler.outcomes():
        waiting[number] = scheduler.shown(value, error)
        while scheduler.consumed in waiting:
            shown = waiting.pop(scheduler.consumed)
            scheduler.consumed += 1
            if shown is not MISSING:
                yield shown
    scheduler.finish([])


def _pool_maker(engine: Any, workers: int | None) -> Callable[[Any, bool], Pool]:
    """What makes a run's pool, its options checked before anything begins."""
    check_workers(workers)
    return lambda task, stop: make_pool(task, engine, workers, stop)


def check_workers(workers: int | None) -> None:
    """Refuse a number of workers that cannot be."""
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ConfigurationError(f"workers is a whole number of at least 1, not {workers!r}")


def in_step(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call of a map.

    Raises:
        TypeError: If there are none, or one of them cannot be gone through.
    """
    if not iterables:
        raise TypeError("a map needs at least one iterable of inputs")
    for given in iterables:
        if not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
            shown = of_value(given)
            raise TypeError(
                f"a map goes through iterables of inputs, and {shown} is none: write [{shown}], or itertools.repeat"
                f"({shown}) beside another one for what is the same in all calls"
            )
    return zip(*iterables, strict=False)


def _sync(task: Any, iterables: tuple[Iterable[Any], ...]) -> Any:
    check_mapped(task, iterables)
    if isinstance(getattr(task, "task", task), AsyncTask | BoundAsyncTask | AsyncBatchTask):
        name = getattr(task, "__name__", "the task")
        raise TypeError(f"{name} is async: write `await bs.amap({name}, ...)`")
    return task


def make_pool(task: Any, engine: Any, workers: int | None, stop: bool) -> Pool:
    """The pool that *engine* stands for: a name, an address, an object of an engine's library, or an engine.

    Raises:
        ConfigurationError: If nothing is known under that name, or the object is none of these.
    """
    if isinstance(task, BatchTask):
        if engine != "threads":
            raise ConfigurationError(
                f"a map of a batch task runs in threads of this process, and not on {engine!r}: leave engine= out"
            )
        return BatchPool(ThreadPool(Lists(task, stop), workers or 8, stop=False), task.options.size)
    if engine == "threads":
        return ThreadPool(task, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadPool(task, workers or engine._max_workers, stop, engine)
    made = _engine_of(engine, workers)
    if isinstance(made, Threads):
        return ThreadPool(task, made.width, stop)
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
