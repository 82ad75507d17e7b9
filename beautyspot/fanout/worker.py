"""What a worker does: it runs the calls of a chunk and replies to each.

A worker that reaches the index and the blobs stores its results, and the caller of the map reads them there. If they
are on another machine, results come back as bytes, and the caller stores them.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.wire import (
    CallReply,
    DifferentTask,
    ImportFailure,
    Payload,
    code_of,
    directories_of,
    is_same_directory,
    pack_error,
)
from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry
from beautyspot.results.codec import EncodedResult
from beautyspot.results.events import Event
from beautyspot.tasks.core import TaskCore

stopping = threading.Event()  # set in a worker that is to exit: calls that wait for a budget do not start


def run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool] = stopping.is_set) -> bytes:
    """Run the calls of a chunk in a worker. Never raises: failures are part of the replies.

    Args:
        payload: A task, from `pack_task`.
        chunk: Calls, from `pack_chunk`.
        stopped: Returns whether no further call may start.
    """
    return contextvars.copy_context().run(_run_chunk, payload, chunk, stopped)


def _run_chunk(payload: bytes, chunk: bytes, stopped: Callable[[], bool]) -> bytes:
    replies: list[CallReply] = []
    try:
        core, index_unreachable, has_listeners = _load(payload)
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except (ImportError, AttributeError, DifferentTask) as error:
        return pickle.dumps(ImportFailure(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        return pickle.dumps([CallReply(None, None, pack_error(error), 0.0)])
    current_map.set(CurrentMap(core.limiters, stopped))
    with core.project.events.collected(has_listeners) as events:
        for key, args, waits in calls:
            if stopped():
                break
            started = time.perf_counter()
            try:
                entry, blob = _run(core, key, args, index_unreachable, waits)
                seconds = time.perf_counter() - started
                replies.append(CallReply(entry, blob, None, seconds, index_unreachable, _packed_events(events)))
            except CallCancelled:
                break
            except KeyBusy:
                replies.append(CallReply(None, None, None, time.perf_counter() - started, key_busy=True))
            # SystemExit would end the worker, and KeyboardInterrupt is for the caller to handle.
            except BaseException as error:
                seconds = time.perf_counter() - started
                packed = pack_error(error)
                replies.append(CallReply(None, None, packed, seconds, index_unreachable, _packed_events(events)))
                if stop or not isinstance(error, Exception):
                    break
    return pickle.dumps(replies)


def _packed_events(events: list[Event]) -> tuple[tuple[Event, bytes | None], ...]:
    """The events since the last call, each with its exception, pickled."""
    collected, events[:] = list(events), []
    return tuple(
        (dataclasses.replace(event, error=None), None if event.error is None else pack_error(event.error))
        for event in collected
    )


@functools.lru_cache(8)
def _load(payload: bytes) -> tuple[TaskCore, bool, bool]:
    """The core of a payload's task, whether the index is out of reach, and whether the caller listens to events."""
    loaded = Payload(*pickle.loads(payload))  # noqa: S301 - from our own caller, never from an index
    task, core = loaded.task, cast("TaskCore", loaded.task.core)
    index_unreachable = not all(map(is_same_directory, loaded.identities))
    if code_of(task) != loaded.code:  # its results would be stored as those of the caller's code
        raise DifferentTask(f"{core.name} has other code there")
    if not index_unreachable and directories_of(task) != loaded.directories:
        raise DifferentTask(
            f"its project is in {directories_of(task)[0]} there; give an absolute path as db=, the same everywhere"
        )
    if index_unreachable and core.limiters and core.project.budgets_are_local:
        raise ConfigurationError(
            f"calls of {core.name} are limited, and this worker does not reach the file of "
            'their budget: give a store that all workers reach, as in Project(limiter_uri="redis://host:6379/0")'
        )
    return core, index_unreachable, loaded.has_listeners


def _run(
    core: TaskCore, key: bytes, args: tuple[Any, ...], index_unreachable: bool, waits: bool
) -> tuple[Entry, bytes | None]:
    """Run a call for a caller in another process: the entry of its result, and the blob if it is not stored.

    Raises:
        KeyBusy: If another caller has locked the key, and this call does not wait.
    """
    if index_unreachable:
        return _as_bytes(core, core.cache.encode(core.function(*args)))
    entry = core.cache.results.find(key)
    if entry is not None:  # the caller reads it
        blob = entry.location is not None
        core.project.events.emit("hit", core.name, key, size=entry.size, blob=blob)
        return entry, None
    computed = core.run(KeyedCall(key, core.keyer(args, {})[1], args, {}), wait=waits)
    if computed.entry is None and computed.encoded is not None:
        return _as_bytes(core, computed.encoded)
    return cast("Entry", computed.entry), None


def _as_bytes(core: TaskCore, encoded: EncodedResult) -> tuple[Entry, bytes | None]:
    entry = Entry(encoded.value, None, encoded.checksum, encoded.size, None, core.keyer.made_by)
    return entry, None if encoded.value is not None else b"".join(encoded.parts)
