"""What crosses to an engine's workers and back: bytes, and no failure that could harm a worker.

Results do not travel: a worker keeps them, and the caller reads what was kept. What fails comes back as a
value, each exception pickled for itself, so that one that cannot travel does not take its chunk along.
"""

from __future__ import annotations

import functools
import pickle
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from beautyspot.errors import EngineLost, RemoteError
from beautyspot.flight import MapUnderWay, map_under_way
from beautyspot.keys import pacing_layers
from beautyspot.plugins import Registry
from beautyspot.protocols import Engine, Entry
from beautyspot.task import Task

__all__ = ["ENGINES", "Engine", "EngineLost", "run_chunk", "stopping"]

ENGINES = Registry(
    "engine",
    "beautyspot.engines",
    {
        "processes": "beautyspot.adapters.futures:processes",
        "threads": "beautyspot.thread_lane:ThreadLane",
        "executor": "beautyspot.adapters.futures:ExecutorEngine",
    },
)


stopping = threading.Event()  # set in a worker that is to end: calls that wait for a budget do not begin


class Answer(NamedTuple):
    """What became of one input.

    Attributes:
        entry: Of the result, as it was kept.
        blob: The result's bytes, where it could not be kept.
        error: The exception, pickled.
        seconds: How long it took.
    """

    entry: Entry | None
    blob: bytes | None
    error: bytes | None
    seconds: float


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker that raised it; stands as its cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def pack_chunk(calls: Sequence[tuple[bytes, tuple[Any, ...]]], stop: bool) -> bytes:
    """A chunk: keys and arguments of calls; with *stop*, those after a failure are not begun."""
    return dumps((list(calls), stop))


def run_chunk(payload: bytes, chunk: bytes) -> bytes:
    """Run the calls of a chunk in a worker. Never raises: what fails is part of what comes back."""
    answers: list[Answer] = []
    try:
        task = _loaded(payload)
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except BaseException as error:
        return pickle.dumps([Answer(None, None, _packed(error), 0.0)])
    map_under_way.set(MapUnderWay(pacing_layers(task.__wrapped__), stopping.is_set))
    for key, args in calls:
        if stopping.is_set():
            answers.append(Answer(None, None, _packed(EngineLost("the worker was told to end")), 0.0))
            break
        started = time.perf_counter()
        try:
            entry, blob = task._answer(key, args)
            answers.append(Answer(entry, blob, None, time.perf_counter() - started))
        # SystemExit would end the worker, and KeyboardInterrupt is the caller's to handle.
        except BaseException as error:
            answers.append(Answer(None, None, _packed(error), time.perf_counter() - started))
            if stop:
                break
    return pickle.dumps(answers)


def unpack_answers(data: bytes) -> list[Answer]:
    """What `run_chunk` gave."""
    answers: list[Answer] = pickle.loads(data)  # noqa: S301 - from our own worker
    return answers


def unpack_error(data: bytes) -> BaseException:
    """The exception of an answer, with the worker's traceback as its cause."""
    pickled, text = pickle.loads(data)  # noqa: S301 - from our own worker
    error: BaseException = pickle.loads(pickled)  # noqa: S301 - from our own worker
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


@functools.lru_cache(8)
def _loaded(payload: bytes) -> Task[..., Any]:
    task: Task[..., Any] = pickle.loads(payload)  # noqa: S301 - from our own caller, never from an index
    return task


def _packed(error: BaseException) -> bytes:
    try:
        pickled = dumps(error)
        pickle.loads(pickled)  # noqa: S301 - an exception whose constructor refuses its own arguments shows here
    except Exception:
        kind = type(error)
        pickled = pickle.dumps(RemoteError(f"{kind.__module__}.{kind.__qualname__}", str(error)[:2000]))
    return pickle.dumps((pickled, "".join(traceback.format_exception(error))))


def dumps(value: Any) -> bytes:
    """Pickled, by value where plain pickle cannot (lambdas, classes of a notebook)."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:
        import cloudpickle

        by_value: bytes = cloudpickle.dumps(value)
        return by_value
