"""Lanes: where the misses of a map run, in threads of this process or on an engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beautyspot.batch_lane import BatchLane, Lists
from beautyspot.batch_task import BatchTask
from beautyspot.calls import Lane
from beautyspot.engine_lane import EngineLane
from beautyspot.engines import ENGINES, ENGINES_OF, Engine, Threads
from beautyspot.errors import ConfigurationError
from beautyspot.thread_lane import ThreadLane


def make_lane(task: Any, engine: Any, workers: int | None, stop: bool) -> Lane:
    """The lane that *engine* stands for: a name, an address, an object of an engine's library, or an engine.

    Raises:
        ConfigurationError: If nothing is known under that name, or the object is none of these.
    """
    if isinstance(task, BatchTask):
        if engine != "threads":
            raise ConfigurationError(
                f"a map of a batch task runs in threads of this process, and not on {engine!r}: leave engine= out"
            )
        return BatchLane(ThreadLane(Lists(task, stop), workers or 8, stop=False), task.options.size)
    if engine == "threads":
        return ThreadLane(task, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadLane(task, workers or engine._max_workers, stop, engine)
    made = _engine_of(engine, workers)
    if isinstance(made, Threads):
        return ThreadLane(task, made.width, stop)
    return EngineLane(task, made, workers, stop)


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
