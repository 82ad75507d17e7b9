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
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot._internal.signatures import Arguments
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.calls import ends_map, joined
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
        loaded = _load(payload)
        core, index_unreachable = loaded.core, loaded.index_unreachable
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except (ImportError, AttributeError, DifferentTask) as error:
        return pickle.dumps(ImportFailure(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        return pickle.dumps([CallReply(None, None, pack_error(error), 0.0)])
    current_map.set(CurrentMap(core.limiters, stopped))
    with core.project.events.collected(loaded.has_listeners) as events:
        for key, own, waits in calls:
            if stopped():
                break
            started = time.perf_counter()
            try:
                entry, blob = _run(loaded, key, joined(loaded.common, own), waits)
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
                if stop or ends_map(error):
                    break
    return pickle.dumps(replies)


def _packed_events(events: list[Event]) -> tuple[tuple[Event, bytes | None], ...]:
    """The events since the last call, each with its exception, pickled."""
    collected, events[:] = list(events), []
    return tuple(
        (dataclasses.replace(event, error=None), None if event.error is None else pack_error(event.error))
        for event in collected
    )


class _Loaded(NamedTuple):
    """A payload, as its calls need it.

    Attributes:
        core: The core of the task.
        common: The arguments that all calls share.
        key: The keyer of the task, which encodes these once.
        index_unreachable: Whether the index is out of reach.
        has_listeners: Whether the caller listens to events.
    """

    core: TaskCore
    common: Arguments
    key: Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[bytes, list[bytes]]]
    index_unreachable: bool
    has_listeners: bool


@functools.lru_cache(8)
def _load(payload: bytes) -> _Loaded:
    """The task of a payload, and the arguments that its calls share."""
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
    keyer = core.keyer.sharing(loaded.shared)
    return _Loaded(core, loaded.common, keyer, index_unreachable, loaded.has_listeners)


def _run(loaded: _Loaded, key: bytes, call: Arguments, waits: bool) -> tuple[Entry, bytes | None]:
    """Run a call for a caller in another process: the entry of its result, and the blob if it is not stored.

    Raises:
        KeyBusy: If another caller has locked the key, and this call does not wait.
    """
    core, (args, kwargs) = loaded.core, call
    if loaded.index_unreachable:
        return _as_bytes(core, core.cache.encode(core.function(*args, **kwargs)))
    entry = core.cache.results.find(key)
    if entry is not None:  # the caller reads it
        blob = entry.location is not None
        core.project.events.emit("hit", core.name, key, size=entry.size, blob=blob)
        return entry, None
    computed = core.run(KeyedCall(key, loaded.key(args, kwargs)[1], args, kwargs), wait=waits)
    if computed.entry is None and computed.encoded is not None:
        return _as_bytes(core, computed.encoded)
    return cast("Entry", computed.entry), None


def _as_bytes(core: TaskCore, encoded: EncodedResult) -> tuple[Entry, bytes | None]:
    entry = Entry(encoded.value, None, encoded.checksum, encoded.size, None, core.keyer.code)
    return entry, None if encoded.value is not None else b"".join(encoded.parts)
