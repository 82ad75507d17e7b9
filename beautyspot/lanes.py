"""Lanes: where the misses of a map run, in threads of this process or on an engine.

A lane takes calls one by one, says when it has room, and gives back what finished. It is used by one thread.
"""

from __future__ import annotations

import contextvars
import ctypes
import queue
import threading
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from beautyspot import preview
from beautyspot.engines import Answer, dumps, pack_chunk, unpack_answers, unpack_error
from beautyspot.errors import WorkerDied
from beautyspot.protocols import Engine
from beautyspot.results import MISSING

_GRACE = 1.0  # seconds that running calls are given after Ctrl-C
_TELL = 0.002  # seconds after which a thread tells what it finished
_AHEAD = 256  # calls that wait for a thread where calls are quick
_CHUNK_SECONDS = 0.05  # how long a chunk should take: long against what it costs, short against Ctrl-C
_CHUNK_MOST = 200

# The executors (their ids) on which the code that runs just now was started by a map.
_inside: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("beautyspot_inside", default=frozenset())


@dataclass(slots=True)
class Call:
    """One call of a map that has to run."""

    number: int
    args: tuple[Any, ...]
    key: bytes
    parts: list[bytes]


@dataclass(slots=True)
class Outcome:
    """What became of a call: its result or its exception."""

    call: Call
    value: Any = MISSING
    error: BaseException | None = None


class Lane(Protocol):
    """Where calls run."""

    def room(self) -> bool:
        """Whether another call may be submitted now."""
        ...

    def submit(self, call: Call) -> None:
        """Begin *call*, or have it wait for its turn."""
        ...

    def busy(self) -> bool:
        """Whether anything that was submitted has not come back."""
        ...

    def finished(self) -> list[Outcome]:
        """What finished; waits for at least one while the lane is busy."""
        ...

    def stop(self) -> None:
        """Take back what has not begun; what runs comes back still."""
        ...

    def close(self, now: bool = False) -> None:
        """End the lane; *now*: what runs is given a second."""
        ...


class ThreadLane:
    """Calls run in threads: our own, which never hold up the end of the program, or those of an executor.

    Threads help themselves from one queue, and tell of what they finished every few milliseconds: waking
    another thread costs more than many a call.

    Args:
        task: What is called.
        width: How many calls run at a time.
        stop: Whether nothing new begins after the first failure.
        executor: Of the user, or ``None`` for our own threads.
    """

    def __init__(self, task: Any, width: int, stop: bool, executor: Executor | None = None) -> None:
        self._task = task
        self._width = width
        # A map inside a map on one executor would wait for threads that wait for it.
        self._executor = None if id(executor) in _inside.get() else executor
        self._waiting: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[list[Outcome]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers = 0
        self._stops = stop
        self._under_way = 0
        self._taken_back: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._ahead = 0  # calls that wait for a thread, so that a quick one need not wait for them

    def room(self) -> bool:
        """Whether a thread is free, or will be in a moment."""
        return self._under_way < self._width + self._ahead

    def busy(self) -> bool:
        """Whether any call has not come back."""
        return self._under_way > 0

    def submit(self, call: Call) -> None:
        """Hand *call* to a thread."""
        self._under_way += 1
        self._waiting.put(call)
        if self._workers < self._width:
            self._start_worker()

    def _start_worker(self) -> None:
        self._workers += 1
        context = contextvars.copy_context()
        if self._executor is not None:
            context.run(_inside.set, _inside.get() | {id(self._executor)})
            self._executor.submit(context.run, self._work)
            return
        name = f"beautyspot-map-{len(self._threads)}"
        thread = threading.Thread(target=context.run, args=(self._work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        outcomes: list[Outcome] = []
        told = monotonic()
        try:
            while (call := self._waiting.get()) is not None:
                outcomes.append(self._outcome(call))
                if outcomes[-1].error is not None and self._stops:
                    self._take_back()
                now = monotonic()
                if now - told > _TELL or self._waiting.empty():
                    self._done.put(outcomes)
                    outcomes, told = [], now
        except KeyboardInterrupt:  # sent by `close` when the call came back just then
            return

    def _outcome(self, call: Call) -> Outcome:
        try:
            return Outcome(call, self._task._compute(call.key, call.parts, call.args, {}, fresh=False))
        except BaseException as error:
            return Outcome(call, error=error)

    def finished(self) -> list[Outcome]:
        """Wait for a call to come back, and take all that did."""
        waited = monotonic()
        outcomes = self._done.get()
        while not self._done.empty():
            outcomes += self._done.get()
        self._under_way -= len(outcomes) + self._forgotten()
        quick = monotonic() - waited < _TELL * 4
        self._ahead = min(_AHEAD, 2 * self._ahead + self._width) if quick else 0
        return outcomes

    def stop(self) -> None:
        """Take back what no thread has taken."""
        self._take_back()
        self._under_way -= self._forgotten()

    def _take_back(self) -> None:
        """Empty the queue, from any thread; the lane's own counts what was in it."""
        while True:
            try:
                self._taken_back.put(self._waiting.get_nowait())
            except queue.Empty:
                return

    def _forgotten(self) -> int:
        count = 0
        while not self._taken_back.empty():
            self._taken_back.get()
            count += 1
        return count

    def close(self, now: bool = False) -> None:
        """End the threads, after what they run, or a second later."""
        self.stop()
        for _ in range(self._workers):
            self._waiting.put(None)
        if now:
            deadline = monotonic() + _GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - monotonic()))
            for thread in self._threads:
                # What is in Python code ends here; what is in a system call ends when that returns, and as
                # a daemon it does not keep the program.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
                )
            return
        for thread in self._threads:
            thread.join()


class EngineLane:
    """Calls run on an engine, in chunks that follow the time they take.

    Where a chunk was lost with its worker, its calls run again one at a time: only the culprit is lost
    again, and is named; the others finish.

    Args:
        task: What is called.
        engine: Where.
        width: How many chunks run at a time.
        stop: Whether a chunk ends at its first failure.
    """

    def __init__(self, task: Any, engine: Engine, width: int, stop: bool) -> None:
        self._task = task
        self._engine = engine
        self._width = width
        self._stop = stop
        dumps(task.project)  # an index that cannot be sent is said now; a forked worker would keep to itself
        self._payload = dumps(task)
        self._gathered: list[Call] = []
        self._chunks: dict[int, list[Call]] = {}
        self._suspects: deque[Call] = deque()
        self._alone: int | None = None  # the number of the chunk of the suspect that runs just now
        self._next = 0
        self._seconds = _CHUNK_SECONDS  # an input, as far as known: chunks begin with one

    def room(self) -> bool:
        """Whether a worker is free, or will be soon: one chunk waits for each that runs."""
        return not self._suspects and self._alone is None and len(self._chunks) < 2 * self._width

    def busy(self) -> bool:
        """Whether any call has not come back."""
        return bool(self._chunks or self._gathered or self._suspects)

    def submit(self, call: Call) -> None:
        """Put *call* into a chunk, and send it when it is full."""
        self._gathered.append(call)
        if len(self._gathered) >= max(1, min(_CHUNK_MOST, int(_CHUNK_SECONDS / self._seconds))):
            self._send()

    def _send(self) -> None:
        if self._gathered:
            calls, self._gathered = self._gathered, []
            self._submit(calls)

    def _submit(self, calls: list[Call]) -> None:
        number, self._next = self._next, self._next + 1
        self._chunks[number] = calls
        try:
            chunk = pack_chunk([(call.key, call.args) for call in calls], self._stop)
            self._engine.submit(number, self._payload, chunk)
        except BaseException:
            del self._chunks[number]
            raise

    def finished(self) -> list[Outcome]:
        """Wait for a chunk to come back, and take all that did."""
        if not self._suspects:
            self._send()
        elif not self._chunks:
            self._alone = self._next
            self._submit([self._suspects.popleft()])
        outcomes: list[Outcome] = []
        for number, data in self._engine.finished():
            calls = self._chunks.pop(number)
            if isinstance(data, bytes):
                outcomes += self._answered(calls, unpack_answers(data))
            elif number == self._alone:
                died = WorkerDied(self._task._keyer.function_name, preview.of_call(*self._named(calls[0])), str(data))
                outcomes.append(Outcome(calls[0], error=died))
            else:
                self._suspects.extend(calls)
            if number == self._alone:
                self._alone = None
        return outcomes

    def _named(self, call: Call) -> tuple[Any, Any]:
        keyer = self._task._keyer
        return keyer.names, keyer.values(call.args, {})

    def _answered(self, calls: list[Call], answers: list[Answer]) -> list[Outcome]:
        took = sum(answer.seconds for answer in answers) / len(answers)
        self._seconds = max(1e-6, (self._seconds + took) / 2)
        return [self._outcome(call, answer) for call, answer in zip(calls, answers, strict=False)]

    def _outcome(self, call: Call, answer: Answer) -> Outcome:
        if answer.error is not None:
            return Outcome(call, error=unpack_error(answer.error))
        return Outcome(call, self._task._value_of(answer.entry, answer.blob, call.args))

    def stop(self) -> None:
        """Take back what has not begun."""
        self._gathered.clear()
        self._suspects.clear()
        for number in self._engine.cancel():
            del self._chunks[number]

    def close(self, now: bool = False) -> None:
        """End the engine, if it is ours."""
        self._engine.close(now)


def make_lane(task: Any, engine: Any, workers: int | None, stop: bool) -> Lane:
    """The lane that *engine* stands for: a name, an executor, or an engine.

    Raises:
        ConfigurationError: If nothing is known under that name, or the object is none of these.
    """
    from concurrent.futures import ThreadPoolExecutor

    from beautyspot.engines import ENGINES

    if engine == "threads":
        return ThreadLane(task, workers or 8, stop)
    if isinstance(engine, ThreadPoolExecutor):
        return ThreadLane(task, workers or engine._max_workers, stop, engine)
    made: Engine = ENGINES[engine](workers) if isinstance(engine, str) else _engine_of(engine)
    return EngineLane(task, made, min(workers or made.width, made.width), stop)


def _engine_of(engine: Any) -> Engine:
    from beautyspot.engines import ENGINES
    from beautyspot.errors import ConfigurationError

    if isinstance(engine, Executor):
        made: Engine = ENGINES["executor"](engine)
        return made
    if all(hasattr(engine, name) for name in ("width", "submit", "finished", "cancel", "close")):
        return engine  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"engine is a name such as 'threads' or 'processes', an executor, or an Engine, not {engine!r}"
    )
