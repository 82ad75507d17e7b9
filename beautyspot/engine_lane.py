"""EngineLane: calls of a map run on an engine, in chunks that follow the time they take."""

from __future__ import annotations

from collections import deque
from typing import Any

from beautyspot import preview
from beautyspot.calls import Call, Outcome
from beautyspot.engines import Answer, dumps, pack_chunk, unpack_answers, unpack_error
from beautyspot.errors import WorkerDied
from beautyspot.protocols import Engine

_CHUNK_SECONDS = 0.05  # how long a chunk should take: long against what it costs, short against Ctrl-C
_CHUNK_MOST = 200


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
