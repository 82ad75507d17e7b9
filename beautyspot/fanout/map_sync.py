"""map, imap and plan: many calls of one task, of which only those without a cached result run.

Keys are computed and looked up in blocks before any worker is asked, and inputs with one key run once. `workers` bounds
how many calls run at a time, the window of the scheduler how many wait.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Unpack, overload

from beautyspot._internal.signatures import Arguments
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.batch_pool import BatchPool, ListRunner
from beautyspot.fanout.calls import MappedTask, Pool, joined
from beautyspot.fanout.engine_pool import EnginePool
from beautyspot.fanout.engines import ENGINES, ENGINES_OF, Engine, Threads
from beautyspot.fanout.inputs import Inputs, name_of, unbound
from beautyspot.fanout.scheduler import AHEAD, InputOutcome, Instruction, MapScheduler, ReadBlob
from beautyspot.fanout.thread_pool import ThreadPool
from beautyspot.protocols.index import FailureLog, Statistics
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask, calls_of
from beautyspot.tasks.bound import Bound, BoundTask
from beautyspot.tasks.options import CommonMapOptions, OnError
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
        failed: The inputs that failed last time: tuples of arguments, or dicts where they were given by name.
        seconds: Estimated duration by past runs and rate limits; ``None`` if neither is known.
    """

    total: int
    kept: int
    to_run: int
    failed: tuple[tuple[Any, ...] | dict[str, Any], ...]
    seconds: float | None

    def __str__(self) -> str:
        took = "" if self.seconds is None else f", about {self.seconds:.0f} s"
        again = f", {len(self.failed)} failed last time" if self.failed else ""
        return f"{self.total} inputs: {self.kept} kept, {self.to_run} to run{again}{took}"


@overload
def map(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    workers: int | None = None,
    engine: Any = "threads",
    **options: Unpack[CommonMapOptions],
) -> list[T | Exception]: ...
@overload
def map(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "continue"] = "raise",
    workers: int | None = None,
    engine: Any = "threads",
    **options: Unpack[CommonMapOptions],
) -> list[T]: ...
def map(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
    fixed: Mapping[str, Any] | None = None,
    unpack: bool = False,
) -> list[Any]:
    """The task's results for all inputs, in their order.

    Args:
        task: The task to call.
        iterables: The inputs: each fills one parameter that is not fixed, in the order of the signature; several are
            taken in step.
        workers: How many calls run at a time; 8 threads, or as many as the engine has workers.
        engine: ``"threads"``, ``"processes"``, the name of an installed engine, an executor, or an `Engine`.
        progress: A bar: always, never, or (``None``) on a terminal; elsewhere a line every 30 seconds.
        on_error: ``"raise"``: no call starts after the first failure, running ones are stored, then that exception is
            raised; ``"continue"``: all other calls run, then one `MapError` is raised; ``"return"``: exceptions stand
            in the places of their results.
        fixed: Arguments by name that are the same in all calls.
        unpack: Whether the items of the only iterable are the calls: mappings by name, tuples by position.

    Raises:
        TypeError: If *task* is a plain function or async, or the inputs do not fit it; nothing ran.
        ValueError: If one of several iterables ends before the others; nothing ran.
        MapError: With ``on_error="continue"``, if anything failed.
        Exception: With ``on_error="raise"``, what the first failing call raised.
    """
    check_workers(workers)
    inputs = _sync_inputs(task, iterables, fixed, unpack, "await bs.amap({name}, ...)")
    count = inputs.read_all()
    scheduler = MapScheduler(inputs, lambda stop: make_pool(inputs, engine, workers, stop), progress, on_error)
    results: list[Any] = [MISSING] * count
    for number, value, error in _outcomes(scheduler, block=count):
        results[number] = value if error is None else error
    scheduler.finish(results)
    return results


@overload
def imap(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    workers: int | None = None,
    engine: Any = "threads",
    ordered: bool = True,
    **options: Unpack[CommonMapOptions],
) -> Generator[T | Exception, None, None]: ...
@overload
def imap(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "continue"] = "raise",
    workers: int | None = None,
    engine: Any = "threads",
    ordered: bool = True,
    **options: Unpack[CommonMapOptions],
) -> Generator[T, None, None]: ...
def imap(
    task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
    ordered: bool = True,
    fixed: Mapping[str, Any] | None = None,
    unpack: bool = False,
) -> Generator[Any, None, None]:
    """The task's results one by one, with bounded memory; inputs may be endless.

    Args:
        task: The task to call.
        iterables: As for `map`.
        workers: How many calls run at a time.
        engine: As for `map`.
        progress: As for `map`.
        on_error: As for `map`; with ``"continue"`` failed inputs are left out and the `MapError`, which
            then has no results, is raised at the end.
        ordered: In the order of the inputs, or as they come.
        fixed: As for `map`.
        unpack: As for `map`.

    Yields:
        Results.

    Raises:
        As `map` does; what is wrong with an input that was not read yet is raised when it is, and that one of several
        iterables ends before the others after the results so far.
    """
    check_workers(workers)
    inputs = _sync_inputs(task, iterables, fixed, unpack, "async for result in bs.aimap({name}, ...)")
    return _results(
        MapScheduler(inputs, lambda stop: make_pool(inputs, engine, workers, stop), progress, on_error, ordered)
    )


def plan(
    task: MappedTask | Bound[..., Any],
    *iterables: Iterable[Any],
    workers: int = 8,
    fixed: Mapping[str, Any] | None = None,
    unpack: bool = False,
) -> Plan:
    """What ``map(task, *iterables)`` would do; nothing runs.

    Args:
        task: The task.
        iterables: The inputs, of known length.
        workers: How many calls would run at a time, for the estimate of the duration.
        fixed: As for `map`.
        unpack: As for `map`.
    """
    inputs = Inputs(task, iterables, fixed, unpack)
    total = inputs.read_all()
    core = inputs.core
    calls: dict[bytes, list[Arguments]] = {}
    for own, (key, _) in zip(inputs, inputs.keyed(list(inputs), 0), strict=True):
        calls.setdefault(key, []).append(own)
    found = core.cache.results.find_many(list(calls))
    entries = {key: entry for key, entry in found.items() if core.cache.makes_a_value(entry)}
    kept = sum(len(calls[key]) for key in entries)
    missing = [key for key in calls if key not in entries]
    db = core.project.db
    failures = db.failed(missing) if isinstance(db, FailureLog) else {}
    mean = db.mean_seconds(core.name) if isinstance(db, Statistics) else None
    to_run = [joined(inputs.common, calls[key][0]) for key in missing]
    times = [layer.__beautyspot_pricing__.seconds(calls_of(core, to_run)) for layer in core.limiters]
    if mean is not None:
        times.append(mean * len(missing) / max(1, min(workers, len(missing))))
    failed = tuple(inputs.row(calls[key][0]) for key in missing if key in failures)
    return Plan(total, kept, len(missing), failed, max(times, default=None))


def _outcomes(scheduler: MapScheduler[Pool], block: int | None = None) -> Generator[InputOutcome, None, None]:
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


def _results(scheduler: MapScheduler[Pool]) -> Generator[Any, None, None]:
    with closing(_outcomes(scheduler)) as outcomes:
        for outcome in outcomes:
            yield from scheduler.results_of(outcome)
    scheduler.finish([])


def _sync_inputs(
    task: object, iterables: Sequence[Iterable[Any]], fixed: Mapping[str, Any] | None, unpack: bool, cure: str
) -> Inputs:
    """The inputs of a map of a task that is not async.

    Raises:
        TypeError: If it is; *cure* is what to write, with a place for the task's name.
    """
    mapped, _ = unbound(task)
    if isinstance(mapped, AsyncTask | AsyncBatchTask):
        name = name_of(mapped.core)
        raise TypeError(f"{name} is async: write `{cure.format(name=name)}`")
    return Inputs(task, iterables, fixed, unpack)


def check_workers(workers: int | None) -> None:
    """Refuse an impossible number of workers."""
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ConfigurationError(f"workers is a whole number of at least 1, not {workers!r}")


def make_pool(inputs: Inputs, engine: Any, workers: int | None, stop: bool) -> Pool:
    """The pool for *engine*: a name, an address, an object of an engine's library, or an engine.

    Args:
        inputs: The inputs of the map.
        engine: As for `map`.
        workers: As for `map`.
        stop: Whether no call starts after the first failure.

    Raises:
        ConfigurationError: If there is no engine of that name, or the object is none of these.
    """
    task = inputs.task
    if isinstance(task, BatchTask):
        if engine != "threads":
            raise ConfigurationError(
                f"a map of a batch task runs in threads of this process, and not on {engine!r}: leave engine= out"
            )
        return BatchPool(ThreadPool(ListRunner(task.core, stop), workers or 8, stop=False), task.core)
    assert isinstance(task, Task)  # noqa: S101 - others were refused
    if engine == "threads":
        return ThreadPool(task.core, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadPool(task.core, workers or engine._max_workers, stop, engine)
    made = _engine_of(engine, workers)
    if isinstance(made, Threads):
        return ThreadPool(task.core, made.width, stop)
    return EnginePool(task, inputs, made, workers, stop)


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
