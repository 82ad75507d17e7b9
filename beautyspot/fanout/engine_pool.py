"""EnginePool: calls of a map run on an engine, in chunks that follow the time they take."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any, cast

from beautyspot._internal import text
from beautyspot.errors import ConfigurationError, EngineLost, WorkerDied
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.engines import Engine
from beautyspot.fanout.wire import CallReply, ImportFailure, pack_chunk, pack_task, unpack_error, unpack_replies
from beautyspot.protocols.index import Entry
from beautyspot.results.codec import EncodedResult
from beautyspot.results.store import MISSING
from beautyspot.tasks.pickling import by_value

_CHUNK_SECONDS = 0.05  # how long a chunk should take: long against what it costs, short against Ctrl-C
_CHUNK_MOST = 200


class EnginePool:
    """Calls run on an engine, in chunks that follow the time they take.

    Where a chunk was lost with its worker, its calls run again one at a time: only the culprit is lost
    again, and is named; the others finish.

    Args:
        task: What is called.
        engine: Where.
        workers: How many chunks run at a time; ``None``: as many as the engine has workers.
        stop: Whether a chunk ends at its first failure.
    """

    def __init__(self, task: Any, engine: Engine, workers: int | None, stop: bool) -> None:
        self._task = task
        self._engine = engine
        self._workers = workers
        self._stop = stop
        self._payload = pack_task(task)
        self._by_value: int | None = None  # the first chunk with which our module was sent along
        self._gathered: list[Call] = []
        self._full: deque[tuple[list[Call], bytes]] = deque()  # chunks that wait for a worker
        self._chunks: dict[int, list[Call]] = {}
        self._suspects: deque[Call] = deque()
        self._alone: int | None = None  # the number of the chunk of the suspect that runs just now
        self._next = 0
        self._seconds = _CHUNK_SECONDS  # an input, as far as known: chunks begin with one
        self._stopped = False

    def _width(self) -> int:
        return self._workers or self._engine.width

    def has_capacity(self) -> bool:
        """Whether a worker is free, or will be soon: one chunk waits for each that runs."""
        if self._suspects or self._alone is not None:
            return False
        return len(self._chunks) + len(self._full) < 2 * self._width()

    def has_pending(self) -> bool:
        """Whether any call has not come back."""
        return bool(self._chunks or self._full or self._gathered or self._suspects)

    def submit(self, call: Call) -> None:
        """Put *call* into a chunk, and send it when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= max(1, min(_CHUNK_MOST, int(_CHUNK_SECONDS / self._seconds))):
            self._pack()
            self._send()

    def _pack(self) -> None:
        if self._gathered:
            calls, self._gathered = self._gathered, []
            self._full.append((calls, self._packed(calls)))

    def _packed(self, calls: list[Call]) -> bytes:
        with self._sent_along():
            return pack_chunk([(call.key, call.args, call.waits) for call in calls], self._stop)

    def _sent_along(self) -> AbstractContextManager[None]:
        return nullcontext() if self._by_value is None else by_value(self._task.__module__)

    def _send(self) -> None:
        """Give the engine what it has a worker for, and what it can take back."""
        width = self._width()
        while self._full and len(self._chunks) < width + min(width, self._engine.ahead):
            self._submit(*self._full[0])
            self._full.popleft()

    def _submit(self, calls: list[Call], chunk: bytes) -> None:
        number, self._next = self._next, self._next + 1
        self._chunks[number] = calls
        try:
            self._engine.submit(number, self._payload, chunk)
        except BaseException:
            del self._chunks[number]
            raise

    def wait(self) -> list[Outcome]:
        """Wait for a chunk to come back, and take all that did."""
        if self._suspects:
            if not self._chunks:
                self._alone, suspect = self._next, [self._suspects.popleft()]
                self._submit(suspect, self._packed(suspect))
        else:
            self._pack()
            self._send()
        replies: list[tuple[list[Call], list[CallReply]]] = []
        outcomes: list[Outcome] = []
        for number, data in self._engine.finished():
            calls = self._chunks.pop(number)
            if isinstance(data, bytes):
                those = unpack_replies(data)
                if isinstance(those, ImportFailure):
                    self._send_along(those.reason, number)
                    those = []
                replies.append((calls, those))
                self._learn(calls, those)
            elif number == self._alone:
                outcomes.append(self._lost(calls[0], data))
            elif not self._stopped:
                self._suspects.extend(calls)
            if number == self._alone:
                self._alone = None
        if not self._suspects and not (self._stop and any(one.error for _, those in replies for one in those)):
            with suppress(
                EngineLost, ConfigurationError
            ):  # it will be raised again, when these results have been handed out
                self._send()
        for calls, those in replies:
            outcomes += [self._outcome(call, one) for call, one in zip(calls, those, strict=False)]
        return outcomes

    def _lost(self, call: Call, reason: EngineLost) -> Outcome:
        name, input_ = self._task._keyer.function_name, text.of_call(*self._named(call))
        died = WorkerDied(name, input_, str(reason))
        tell = self._task.project.events.tell  # what the worker had to tell was lost with it
        tell("miss", name, call.key, input=input_)
        tell("error", name, call.key, input=input_, error=died)
        return Outcome(call, error=died)

    def _named(self, call: Call) -> tuple[Any, Any]:
        keyer = self._task._keyer
        return keyer.names, keyer.values(call.args, {})

    def _learn(self, calls: list[Call], replies: list[CallReply]) -> None:
        """How long an input takes, from how long these took; calls that were not begun wait again."""
        if replies:
            took = sum(reply.seconds for reply in replies) / len(replies)
            self._seconds = max(1e-6, (self._seconds + took) / 2)
        left = calls[len(replies) :]
        if left and not self._stopped:
            self._full.appendleft((left, self._packed(left)))

    def _send_along(self, reason: str, number: int) -> None:
        """A worker could not import our module: from now on its code is sent with the task."""
        if self._by_value is None:
            self._by_value = self._next
            with self._sent_along():
                self._payload = pack_task(self._task)
            self._full = deque((calls, self._packed(calls)) for calls, _ in self._full)
        elif number >= self._by_value:
            name = self._task._keyer.function_name
            raise ConfigurationError(f"workers cannot import what {name} needs ({reason}): install it where they are")

    def _outcome(self, call: Call, reply: CallReply) -> Outcome:
        for event, raised in reply.events:
            events = self._task.project.events
            events.hand_on(event if raised is None else replace(event, error=unpack_error(raised)))
        if reply.key_busy:
            return Outcome(call, key_busy=True)
        if reply.error is None:
            return Outcome(call, value_of(self._task, call, reply))
        error = unpack_error(reply.error)
        note_failure(self._task, call, reply, error)
        return Outcome(call, error=error)

    def stop(self) -> None:
        """Take back what has not begun."""
        self._stopped = True
        self._gathered.clear()
        self._full.clear()
        self._suspects.clear()
        for number in self._engine.cancel():
            del self._chunks[number]

    def close(self, now: bool = False) -> None:
        """End the engine, if it is ours."""
        self._engine.close(now)


def value_of(task: Any, call: Call, reply: CallReply) -> Any:
    """The result of a call that a worker answered; kept here, where the worker could not."""
    cache, entry, blob = task._cache, reply.entry, reply.blob
    faster = cache.results.find(call.key) if reply.index_unreachable else None
    if faster is not None:  # someone kept it meanwhile: a hit, as any other
        value = cache.read(faster, call.key)
    else:
        if reply.index_unreachable:
            _keep_here(task, call, reply)
        value = cache.read(entry) if blob is None else cache.results.from_blob(bytearray(blob), cache.codec)
    return task(*call.args) if value is MISSING else value


def _keep_here(task: Any, call: Call, reply: CallReply) -> None:
    cache, sent = task._cache, cast("Entry", reply.entry)
    encoded = EncodedResult(sent.value, () if reply.blob is None else (reply.blob,), sent.checksum, sent.size)
    summary = cache.describe(call.keyed())
    cache.begin(summary)
    cache.write(summary, encoded, reply.seconds, cache.results.location(call.key))


def note_failure(task: Any, call: Call, reply: CallReply, error: BaseException) -> None:
    """Note a failure for viewers, where the worker could not."""
    if reply.index_unreachable and isinstance(error, Exception):
        cache = task._cache
        summary = cache.describe(call.keyed())
        cache.begin(summary)
        cache.failed(summary, error, reply.seconds)
