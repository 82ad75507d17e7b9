"""Lanes: where the misses of a map run, in threads of this process or on an engine."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from beautyspot.calls import Lane
from beautyspot.engine_lane import EngineLane
from beautyspot.engines import ENGINES
from beautyspot.errors import ConfigurationError
from beautyspot.protocols import Engine
from beautyspot.thread_lane import ThreadLane


def make_lane(task: Any, engine: Any, workers: int | None, stop: bool) -> Lane:
    """The lane that *engine* stands for: a name, an executor, or an engine.

    Raises:
        ConfigurationError: If nothing is known under that name, or the object is none of these.
    """
    if engine == "threads":
        return ThreadLane(task, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadLane(task, workers or engine._max_workers, stop, engine)
    made: Engine = ENGINES[engine](workers) if isinstance(engine, str) else _engine_of(engine)
    return EngineLane(task, made, min(workers or made.width, made.width), stop)


def _engine_of(engine: Any) -> Engine:
    if isinstance(engine, Executor):
        made: Engine = ENGINES["executor"](engine)
        return made
    if all(hasattr(engine, name) for name in ("width", "submit", "finished", "cancel", "close")):
        return engine  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"engine is a name such as 'threads' or 'processes', an executor, or an Engine, not {engine!r}"
    )
