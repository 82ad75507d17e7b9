"""What a worker does: it runs the calls of a chunk and answers for each."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot._internal.pricing import pacing_layers
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.wire import (
    CallReply,
    DirectoryIdentity,
    ImportFailure,
    _code,
    _directories,
    _Other,
    _packed,
    is_same_directory,
)
from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry
from beautyspot.results.codec import EncodedResult
from beautyspot.results.events import Event
from beautyspot.tasks.task import Task

stopping = threading.Event()  # set in a worker that is to end: calls that wait for a budget do not begin


def run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool] = stopping.is_set) -> bytes:
    """Run the calls of a chunk in a worker. Never raises: what fails is part of what comes back.

    Args:
        payload: A task, as `pack_task` packs it.
        chunk: Calls, as `pack_chunk` packs them.
        stopped: Whether nothing new is to begin any more.
    """
    return contextvars.copy_context().run(_run_chunk, payload, chunk, stopped)


def _run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool]) -> bytes:
    replies: list[CallReply] = []
    try:
        task, index_unreachable, listened = _loaded(payload)
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except (ImportError, AttributeError, _Other) as error:
        return pickle.dumps(ImportFailure(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        return pickle.dumps([CallReply(None, None, _packed(error), 0.0)])
    current_map.set(CurrentMap(pacing_layers(task.__wrapped__), stopped))
    with task.project.events.collected(listened) as events:
        for key, args, waits in calls:
            if stopped():
                break
            started = time.perf_counter()
            try:
                entry, blob = run(task, key, args, index_unreachable, waits)
                replies.append(
                    CallReply(entry, blob, None, time.perf_counter() - started, index_unreachable, _taken(events))
                )
            except CallCancelled:
                break
            except KeyBusy:
                replies.append(CallReply(None, None, None, time.perf_counter() - started, key_busy=True))
            # SystemExit would end the worker, and KeyboardInterrupt is the caller's to handle.
            except BaseException as error:
                took = time.perf_counter() - started
                replies.append(CallReply(None, None, _packed(error), took, index_unreachable, _taken(events)))
                if stop or not isinstance(error, Exception):
                    break
    return pickle.dumps(replies)


def _taken(events: list[Event]) -> tuple[tuple[Event, bytes | None], ...]:
    """What was told since the last call, as it travels."""
    taken, events[:] = list(events), []
    return tuple(
        [
            (dataclasses.replace(event, error=None), None if event.error is None else _packed(event.error))
            for event in taken
        ]
    )


@functools.lru_cache(8)
def _loaded(payload: bytes) -> tuple[Task[..., Any], bool, bool]:
    """The task of a payload, whether its index is out of reach, and whether its caller listens to events."""
    task: Task[..., Any]
    directories: list[str]
    identities: list[DirectoryIdentity]
    task, directories, identities, code, listened = pickle.loads(payload)  # noqa: S301 - from our own caller, never from an index
    index_unreachable = not all(map(is_same_directory, identities))
    if _code(task) != code:  # what it returned would be kept as a result of the caller's code
        raise _Other(f"{task._keyer.function_name} has other code there")
    if not index_unreachable and _directories(task) != directories:
        raise _Other(f"its project is in {_directories(task)[0]} there; an absolute path as db= is one everywhere")
    if index_unreachable and pacing_layers(task.__wrapped__) and task.project.budgets_are_local:
        raise ConfigurationError(
            f"calls of {task._keyer.function_name} are limited, and this worker does not reach the file of "
            'their budget: name a store that all reach, as in Project(limiter_uri="redis://host:6379/0")'
        )
    return task, index_unreachable, listened


def run(
    task: Any, key: bytes, args: tuple[Any, ...], index_unreachable: bool, waits: bool
) -> tuple[Entry, bytes | None]:
    """Run a call for a caller in another process: the entry of its result, and the blob where it is not kept.

    Args:
        task: What is called.
        key: Of the call, as its caller computed it.
        args: All arguments, by position.
        away: Whether the index is out of reach.
        waits: Whether someone else who runs it just now is waited for.

    Raises:
        KeyBusy: If he is not.
    """
    if index_unreachable:
        encoded = task._cache.encode(task._run(*args))
        return _sent(task, encoded)
    entry = task._cache.results.find(key)
    if entry is not None:  # the caller reads it
        blob = entry.location is not None
        task.project.events.tell("hit", task.function_name, key, size=entry.size, blob=blob)
        return entry, None
    computed = task._compute_locked(KeyedCall(key, task._keyer(args, {})[1], args, {}), wait=waits)
    return (computed.entry, None) if computed.entry is not None else _sent(task, computed.encoded)


def _sent(task: Any, encoded: EncodedResult) -> tuple[Entry, bytes | None]:
    entry = Entry(encoded.value, None, encoded.checksum, encoded.size, None, task._keyer.code)
    return entry, None if encoded.value is not None else b"".join(encoded.parts)
