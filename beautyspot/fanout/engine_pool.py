"""EnginePool: calls of a map run on an engine, in chunks whose size follows the duration of calls."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any, cast

from beautyspot._internal import text
from beautyspot._internal.warn import log
from beautyspot.errors import ConfigurationError, EngineLost, WorkerDied
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.engines import Engine
from beautyspot.fanout.inputs import Inputs
from beautyspot.fanout.wire import (
    CallReply,
    ChunkCall,
    ImportFailure,
    MissingPayload,
    pack_chunk,
    pack_task,
    unpack_error,
    unpack_replies,
)
from beautyspot.protocols.index import Entry
from beautyspot.results.codec import EncodedResult
from beautyspot.results.store import MISSING
from beautyspot.tasks.core import TaskCore
from beautyspot.tasks.pickling import by_value
from beautyspot.tasks.task import Task

_CHUNK_SECONDS = 0.05  # duration of a chunk to aim at: long compared with its overhead, short enough for Ctrl-C
_MAX_CHUNK = 200  # calls


class EnginePool:
    """Runs calls on an engine, in chunks whose size follows the duration of calls.

    If a chunk is lost with its worker, its calls run again one at a time: only the culprit is lost again, and is named;
    the others finish.

    Args:
        task: The task.
        inputs: The inputs of the map.
        engine: The engine.
        workers: How many chunks run at a time; ``None``: as many as the engine has workers.
        stop: Whether a chunk ends at its first failure.
    """

    def __init__(self, task: Task[..., Any], inputs: Inputs, engine: Engine, workers: int | None, stop: bool) -> None:
        self._task = task
        self._inputs = inputs
        self._core = task.core
        self._engine = engine
        self._workers = workers
        self._stop = stop
        self._is_inline = False  # whether the payload is sent whole with each chunk
        self._payload = pack_task(task, inputs.common)
        self._by_value: int | None = None  # number of the first chunk with the code of the task's module
        self._gathered: list[Call] = []
        self._full: deque[tuple[list[Call], bytes]] = deque()  # chunks that wait for a worker
        self._chunks: dict[int, list[Call]] = {}
        self._suspects: deque[Call] = deque()
        self._suspect_chunk: int | None = None  # the number of the chunk with the suspect that is running
        self._next = 0
        self._seconds = _CHUNK_SECONDS  # duration of a call, as measured last: the first chunks have one call
        self._stopped = False

    def _width(self) -> int:
        return self._workers or self._engine.width

    def has_capacity(self) -> bool:
        """Whether a worker is free, or will be soon: one chunk waits for each that is running."""
        if self._suspects or self._suspect_chunk is not None:
            return False
        return len(self._chunks) + len(self._full) < 2 * self._width()

    def has_pending(self) -> bool:
        """Whether a call has not come back."""
        return bool(self._chunks or self._full or self._gathered or self._suspects)

    def submit(self, call: Call) -> None:
        """Put *call* into a chunk, and send it when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= max(1, min(_MAX_CHUNK, int(_CHUNK_SECONDS / self._seconds))):
            self._pack()
            self._send()

    def _pack(self) -> None:
        if self._gathered:
            calls, self._gathered = self._gathered, []
            self._full.append((calls, self._packed(calls)))

    def _packed(self, calls: list[Call]) -> bytes:
        with self._by_value_if_needed():
            keyer = self._core.keyer
            return pack_chunk(
                [ChunkCall(call.key, keyer.fingerprints(call.parts), call.own, call.waits) for call in calls],
                self._stop,
            )

    def _by_value_if_needed(self) -> AbstractContextManager[None]:
        return nullcontext() if self._by_value is None else by_value(self._task.__module__)

    def _send(self) -> None:
        """Submit chunks for which the engine has a worker, and as many more as it can cancel."""
        width = self._width()
        while self._full and len(self._chunks) < width + min(width, self._engine.ahead):
            self._submit(*self._full[0])
            self._full.popleft()

    def _submit(self, calls: list[Call], chunk: bytes) -> None:
        number, self._next = self._next, self._next + 1
        self._chunks[number] = calls
        try:
            self._engine.submit(number, self._payload.message, chunk)
        except BaseException:
            del self._chunks[number]
            raise

    def wait(self) -> list[Outcome]:
        """The outcomes of the calls of finished chunks, at least one while calls are pending."""
        if self._suspects:
            if not self._chunks:
                self._suspect_chunk, suspect = self._next, [self._suspects.popleft()]
                self._submit(suspect, self._packed(suspect))
        else:
            self._pack()
            self._send()
        replies: list[tuple[list[Call], list[CallReply]]] = []
        outcomes: list[Outcome] = []
        for number, data in self._engine.finished():
            calls = self._chunks.pop(number)
            if isinstance(data, bytes):
                chunk_replies = unpack_replies(data)
                if isinstance(chunk_replies, ImportFailure):
                    self._send_code(chunk_replies.reason, number)
                    chunk_replies = []
                elif isinstance(chunk_replies, MissingPayload):
                    self._send_whole(chunk_replies.reason)
                    chunk_replies = []
                replies.append((calls, chunk_replies))
                self._on_replies(calls, chunk_replies)
            elif number == self._suspect_chunk:
                outcomes.append(self._lost(calls[0], data))
            elif not self._stopped:
                self._suspects.extend(calls)
            if number == self._suspect_chunk:
                self._suspect_chunk = None
        has_failed = any(reply.error for _, chunk_replies in replies for reply in chunk_replies)
        if not self._suspects and not (self._stop and has_failed):
            # Raised again at the next submit, once these results have been handed out.
            with suppress(EngineLost, ConfigurationError):
                self._send()
        for calls, chunk_replies in replies:
            outcomes += [self._outcome(call, reply) for call, reply in zip(calls, chunk_replies, strict=False)]
        return outcomes

    def _lost(self, call: Call, reason: EngineLost) -> Outcome:
        keyer, whole, name = self._core.keyer, call.keyed(), self._core.name
        input_ = text.of_call(keyer.names, keyer.values(whole.args, whole.kwargs))
        died = WorkerDied(name, input_, str(reason))
        events = self._core.project.events  # the events of the worker were lost with it
        events.emit("miss", name, call.key, input=input_)
        events.emit("error", name, call.key, input=input_, error=died)
        return Outcome(call, error=died)

    def _on_replies(self, calls: list[Call], replies: list[CallReply]) -> None:
        """Adapt the estimated duration of a call; calls that were not started are queued again."""
        if replies:
            mean = sum(reply.seconds for reply in replies) / len(replies)
            self._seconds = max(1e-6, (self._seconds + mean) / 2)
        left = calls[len(replies) :]
        if left and not self._stopped:
            self._full.appendleft((left, self._packed(left)))

    def _send_whole(self, reason: str) -> None:
        """Send the payload with each chunk from now on, since a worker cannot open it."""
        log("INFO", "a worker cannot open the shared payload (%s): it is sent with each chunk", reason)
        if not self._is_inline:
            self._is_inline = True
            self._pack_payload()

    def _pack_payload(self) -> None:
        before = self._payload
        with self._by_value_if_needed():
            self._payload = pack_task(self._task, self._inputs.common, self._is_inline)
        before.close()

    def _send_code(self, reason: str, number: int) -> None:
        """Send the code of the task's module from now on, since a worker could not import it."""
        if self._by_value is None:
            self._by_value = self._next
            self._pack_payload()
            self._full = deque((calls, self._packed(calls)) for calls, _ in self._full)
        elif number >= self._by_value:
            raise ConfigurationError(
                f"workers cannot import what {self._core.name} needs ({reason}): install it where they run"
            )

    def _outcome(self, call: Call, reply: CallReply) -> Outcome:
        for event, raised in reply.events:
            events = self._core.project.events
            events.deliver(event if raised is None else replace(event, error=unpack_error(raised)))
        if reply.key_busy:
            return Outcome(call, key_busy=True)
        if reply.error is None:
            return Outcome(call, _value_of(self._core, call, reply))
        error = unpack_error(reply.error)
        _record_failure(self._core, call, reply, error)
        return Outcome(call, error=error)

    def stop(self) -> None:
        """Cancel calls that have not started."""
        self._stopped = True
        self._gathered.clear()
        self._full.clear()
        self._suspects.clear()
        for number in self._engine.cancel():
            del self._chunks[number]

    def close(self, now: bool = False) -> None:
        """Close the engine, if it was made for this map."""
        self._engine.close(now)
        self._payload.close()


def _value_of(core: TaskCore, call: Call, reply: CallReply) -> Any:
    """The result of a call; stored here if the worker could not do so."""
    cache, entry, blob = core.cache, cast("Entry", reply.entry), reply.blob
    stored = cache.results.find(call.key) if reply.index_unreachable else None
    if stored is not None:  # another caller has stored it meanwhile: a hit
        value = cache.read(stored, call.key)
    else:
        if reply.index_unreachable:
            _store(core, call, reply)
        value = cache.read(entry) if blob is None else cache.codec.decode_blob(bytearray(blob))
    return core.run(call.keyed()).value if value is MISSING else value


def _store(core: TaskCore, call: Call, reply: CallReply) -> None:
    cache, entry = core.cache, cast("Entry", reply.entry)
    encoded = EncodedResult(entry.value, () if reply.blob is None else (reply.blob,), entry.checksum, entry.size)
    summary = cache.describe(call.keyed())
    cache.on_miss(summary)
    cache.write(summary, encoded, reply.seconds, cache.results.location(call.key))


def _record_failure(core: TaskCore, call: Call, reply: CallReply, error: BaseException) -> None:
    """Record a failure for viewers, if the worker could not do so."""
    if reply.index_unreachable and isinstance(error, Exception):
        summary = core.cache.describe(call.keyed())
        core.cache.on_miss(summary)
        core.cache.on_failure(summary, error, reply.seconds)
