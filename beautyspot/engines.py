"""What an engine is, and what crosses to its workers and back: bytes, and no failure that could harm a worker.

What fails in a worker comes back as a value, each exception pickled for itself, so that one that cannot travel
does not take its chunk along.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from beautyspot import answers
from beautyspot.answers import Answer
from beautyspot.errors import ConfigurationError, EngineLost, RemoteError
from beautyspot.events import Event
from beautyspot.keys import pacing_layers
from beautyspot.places import Place, is_here, place_of
from beautyspot.plugins import Registry
from beautyspot.protocols import InDirectory
from beautyspot.shipping import dumps
from beautyspot.task import Task
from beautyspot.under_way import MapUnderWay, NotBegun, UnderWay, map_under_way

__all__ = ["ENGINES", "Engine", "EngineLost", "Threads", "run_chunk", "stopping"]

ENGINES = Registry(
    "engine",
    "beautyspot.engines",
    {
        "processes": "beautyspot.adapters.futures:processes",
        "threads": "beautyspot.thread_lane:ThreadLane",
        "executor": "beautyspot.adapters.futures:of_executor",
        "joblib": "beautyspot.adapters.joblib:engine",
        "dask": "beautyspot.adapters.dask:engine",
        "tcp": "beautyspot.adapters.dask:engine",  # the schemes of a Dask scheduler's address
        "tls": "beautyspot.adapters.dask:engine",
        "ray": "beautyspot.adapters.ray:engine",
    },
    hidden=("executor", "tcp", "tls"),
)

# Types of other libraries, which need not be installed, and the engine that their objects stand for.
ENGINES_OF = {
    "concurrent.futures._base.Executor": "executor",
    "joblib.parallel.Parallel": "joblib",
    "distributed.client.Client": "dask",
    "distributed.deploy.cluster.Cluster": "dask",
    "distributed.cfexecutor.ClientExecutor": "dask",
}

stopping = threading.Event()  # set in a worker that is to end: calls that wait for a budget do not begin


class Engine(Protocol):
    """Runs chunks of inputs somewhere else. Only bytes cross, and one thread talks to it.

    Every chunk that was submitted comes back once: as bytes, or as the `EngineLost` that says that its
    outcome is unknown. `run_chunk` is the only function that is ever run there.
    """

    @property
    def width(self) -> int:
        """How many chunks are worked on at a time."""
        ...

    @property
    def ahead(self) -> int:
        """How many further chunks may wait there for a worker: no more than can be taken back."""
        ...

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Begin ``run_chunk(payload, chunk)``, somewhere.

        Args:
            number: Of the chunk, by which it comes back.
            payload: What to run; the same for every chunk of a map.
            chunk: What to run it on.

        Raises:
            EngineLost: If the engine is gone for good; what was submitted before still comes back.
        """
        ...

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Chunks that finished since the last call, at least one: waits for it. Some chunk is under way."""
        ...

    def cancel(self) -> list[int]:
        """Take back chunks that have not begun; their numbers, which will not come back."""
        ...

    def close(self, now: bool = False) -> None:
        """Release what the engine made itself; *now*: workers are given a second and then ended."""
        ...


class Threads(NamedTuple):
    """What an engine's factory returns where calls are to run in threads of this process.

    Attributes:
        width: How many.
    """

    width: int


class Unimportable(NamedTuple):
    """What a worker says that cannot import what it is to run, or has other code of it."""

    reason: str


class _Other(Exception):
    """A module that a worker imported has changed since, or is another one there."""


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker that raised it; stands as its cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def pack_task(task: Task[..., Any]) -> bytes:
    """What `run_chunk` takes as payload: a task, where it keeps its results, and the code that it has here.

    Raises:
        ConfigurationError: If its project is of a kind that cannot be sent to another process.
    """
    project = task.project
    dumps(project)  # an index that cannot be sent is said now; a forked worker would keep to itself
    directories = _directories(task)
    return dumps((task, directories, list(map(place_of, directories)), _code(task), project.events.active))


def _code(task: Task[..., Any]) -> tuple[bytes, bytes]:
    return task._keyer.code, task._keyer.follows


def _directories(task: Task[..., Any]) -> list[str]:
    parts = (task.project.db, task.project.storage)
    return [part.directory for part in parts if isinstance(part, InDirectory)]


def pack_chunk(calls: Sequence[tuple[bytes, tuple[Any, ...], bool]], stop: bool) -> bytes:
    """A chunk: keys and arguments of calls, and whether they wait; with *stop*, those after a failure are not begun."""
    return dumps((list(calls), stop))


def run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool] = stopping.is_set) -> bytes:
    """Run the calls of a chunk in a worker. Never raises: what fails is part of what comes back.

    Args:
        payload: A task, as `pack_task` packs it.
        chunk: Calls, as `pack_chunk` packs them.
        stopped: Whether nothing new is to begin any more.
    """
    return contextvars.copy_context().run(_run_chunk, payload, chunk, stopped)


def _run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool]) -> bytes:
    answered: list[Answer] = []
    try:
        task, away, listened = _loaded(payload)
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except (ImportError, AttributeError, _Other) as error:
        return pickle.dumps(Unimportable(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        return pickle.dumps([Answer(None, None, _packed(error), 0.0)])
    map_under_way.set(MapUnderWay(pacing_layers(task.__wrapped__), stopped))
    with task.project.events.collected(listened) as told:
        for key, args, waits in calls:
            if stopped():
                break
            started = time.perf_counter()
            try:
                entry, blob = answers.run(task, key, args, away, waits)
                answered.append(Answer(entry, blob, None, time.perf_counter() - started, away, _taken(told)))
            except NotBegun:
                break
            except UnderWay:
                answered.append(Answer(None, None, None, time.perf_counter() - started, under_way=True))
            # SystemExit would end the worker, and KeyboardInterrupt is the caller's to handle.
            except BaseException as error:
                took = time.perf_counter() - started
                answered.append(Answer(None, None, _packed(error), took, away, _taken(told)))
                if stop or not isinstance(error, Exception):
                    break
    return pickle.dumps(answered)


def _taken(told: list[Event]) -> tuple[tuple[Event, bytes | None], ...]:
    """What was told since the last call, as it travels."""
    taken, told[:] = list(told), []
    return tuple(
        [
            (dataclasses.replace(event, error=None), None if event.error is None else _packed(event.error))
            for event in taken
        ]
    )


def unpack_answers(data: bytes) -> list[Answer] | Unimportable:
    """What `run_chunk` gave; calls that were not begun have no answer."""
    answered: list[Answer] | Unimportable = pickle.loads(data)  # noqa: S301 - from our own worker
    return answered


def unpack_error(data: bytes) -> BaseException:
    """The exception of an answer, with the worker's traceback as its cause."""
    pickled, text = pickle.loads(data)  # noqa: S301 - from our own worker
    error: BaseException = pickle.loads(pickled)  # noqa: S301 - from our own worker
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


@functools.lru_cache(8)
def _loaded(payload: bytes) -> tuple[Task[..., Any], bool, bool]:
    """The task of a payload, whether its index is out of reach, and whether its caller listens to events."""
    task: Task[..., Any]
    directories: list[str]
    places: list[Place]
    task, directories, places, code, listened = pickle.loads(payload)  # noqa: S301 - from our own caller, never from an index
    away = not all(map(is_here, places))
    if _code(task) != code:  # what it returned would be kept as a result of the caller's code
        raise _Other(f"{task._keyer.function_name} has other code there")
    if not away and _directories(task) != directories:
        raise _Other(f"its project is in {_directories(task)[0]} there; an absolute path as db= is one everywhere")
    if away and pacing_layers(task.__wrapped__) and task.project.budgets_are_local:
        raise ConfigurationError(
            f"calls of {task._keyer.function_name} are limited, and this worker does not reach the file of "
            'their budget: name a store that all reach, as in Project(limiter_uri="redis://host:6379/0")'
        )
    return task, away, listened


def _packed(error: BaseException) -> bytes:
    try:
        pickled = dumps(error)
        pickle.loads(pickled)  # noqa: S301 - an exception whose constructor refuses its own arguments shows here
    except Exception:
        kind = type(error)
        pickled = pickle.dumps(RemoteError(f"{kind.__module__}.{kind.__qualname__}", str(error)[:2000]))
    return pickle.dumps((pickled, "".join(traceback.format_exception(error))))
