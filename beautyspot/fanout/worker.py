"""What a worker does: it runs the calls of a chunk and replies to each.

A worker that reaches the index and the blobs stores its results, and the caller of the map reads them there. If they
are on another machine, results come back as bytes, and the caller stores them.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import os
import pickle
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot._internal.signatures import Arguments
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.calls import ends_map, joined
from beautyspot.fanout.transport import PayloadUnreachable, opened
from beautyspot.fanout.wire import (
    CallReply,
    ChunkCall,
    DifferentTask,
    ImportFailure,
    MissingPayload,
    Payload,
    directories_of,
    is_same_directory,
    pack_error,
)
from beautyspot.keys.keyer import Fingerprint, KeyedCall
from beautyspot.protocols.index import Entry
from beautyspot.results.codec import EncodedResult
from beautyspot.results.events import Event
from beautyspot.results.task_cache import worker as this_worker
from beautyspot.tasks.core import TaskCore

_seeded = os.getpid()  # the process whose random numbers are its own

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
    _draw_anew()
    try:
        loaded = _load(payload)
        core, index_unreachable = loaded.core, loaded.index_unreachable
        calls, stop = pickle.loads(chunk)  # noqa: S301 - from our own caller, never from an index
    except PayloadUnreachable as error:
        return pickle.dumps(MissingPayload(str(error)))
    except (ImportError, AttributeError, DifferentTask) as error:
        return pickle.dumps(ImportFailure(f"{type(error).__name__}: {error}"))
    except BaseException as error:
        return pickle.dumps([CallReply(None, None, pack_error(error), 0.0)])
    current_map.set(CurrentMap(core.limiters, stopped))
    with core.project.events.collected(loaded.has_listeners) as events:
        for call in map(ChunkCall._make, calls):
            if stopped():
                break
            started = time.perf_counter()
            try:
                entry, blob = _run(loaded, call)
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
        index_unreachable: Whether the index is out of reach.
        has_listeners: Whether the caller listens to events.
    """

    core: TaskCore
    common: Arguments
    index_unreachable: bool
    has_listeners: bool


@functools.lru_cache(8)
def _load(payload: bytes) -> _Loaded:
    """The task of a payload, and the arguments that its calls share."""
    loaded = Payload(*opened(payload))
    task, core = loaded.task, cast("TaskCore", loaded.task.core)
    index_unreachable = not all(map(is_same_directory, loaded.identities))
    if loaded.digest and task.digest() != loaded.digest:  # its results would be stored as those of the caller's
        raise DifferentTask(f"the code of {core.name}, its defaults, constants or options are other ones there")
    if not index_unreachable and directories_of(task) != loaded.directories:
        raise DifferentTask(
            f"its project is in {directories_of(task)[0]} there; give an absolute path as db=, the same everywhere"
        )
    if index_unreachable and core.limiters and core.project.budgets_are_local:
        raise ConfigurationError(
            f"calls of {core.name} are limited, and this worker does not reach the file of "
            'their budget: give a store that all workers reach, as in Project(limiter_uri="redis://host:6379/0")'
        )
    if loaded.caller != this_worker():
        core.keyer.adopt(*loaded.common)
    return _Loaded(core, loaded.common, index_unreachable, loaded.has_listeners)


def _draw_anew() -> None:
    """Seed the random numbers of a forked worker anew: it has those of its parent, as its siblings have."""
    global _seeded
    if _seeded != os.getpid():
        _seeded = os.getpid()
        random.seed()
        numpy: Any = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.seed()


def _run(loaded: _Loaded, call: ChunkCall) -> tuple[Entry, bytes | None]:
    """Run a call for a caller in another process: the entry of its result, and the blob if it is not stored.

    Raises:
        KeyBusy: If another caller has locked the key, and this call does not wait.
    """
    core, key, (args, kwargs) = loaded.core, call.key, joined(loaded.common, call.own)
    if loaded.index_unreachable:
        return _as_bytes(core, core.cache.encode(core.function(*args, **kwargs)))
    entry = core.cache.results.find(key)
    if entry is not None:  # the caller reads it
        blob = entry.location is not None
        core.project.events.emit("hit", core.name, key, size=entry.size, blob=blob)
        return entry, None
    parts = [Fingerprint(call.fingerprints[i : i + 4]) for i in range(0, len(call.fingerprints), 4)]
    computed = core.run(KeyedCall(key, list(parts), args, kwargs), wait=call.waits)
    if computed.entry is None and computed.encoded is not None:
        return _as_bytes(core, computed.encoded)
    return cast("Entry", computed.entry), None


def _as_bytes(core: TaskCore, encoded: EncodedResult) -> tuple[Entry, bytes | None]:
    entry = Entry(encoded.value, None, encoded.checksum, encoded.size, None, core.keyer.made_by)
    return entry, None if encoded.value is not None else b"".join(encoded.parts)
