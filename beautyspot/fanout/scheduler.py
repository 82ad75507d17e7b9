"""Run: one map while it runs, whoever drives it.

A run says what is to be done next and is told what came of it. A thread does it by blocking, an event loop by
awaiting; which calls run, and when, is decided here alone.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from beautyspot._internal import text
from beautyspot.errors import ConfigurationError, MapError
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.progress import Progress
from beautyspot.protocols.index import Entry
from beautyspot.protocols.storage import MapsBlobs
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask, BoundBatchTask, size_of
from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
from beautyspot.tasks.task import AsyncTask, Task

OnError = Literal["raise", "continue", "return"]
InputOutcome = tuple[int, Any, BaseException | None]  # the number of an input, and its result or what it raised

_BLOCK = 1000  # inputs whose keys are looked up together
_AHEAD = 7  # blobs that are on their way while one is handed out, where they come over a network
_WINDOW = 128  # inputs that an ordered imap is ahead of the result that it waits for


class Instruction(enum.Enum):
    """What a run asks its driver to do, since a thread and an event loop do it differently."""

    READ = enum.auto()
    POLL_BUSY = enum.auto()
    WAIT = enum.auto()


@dataclass(frozen=True, slots=True)
class ReadBlob:
    """Asks the driver to read the blob of a kept result."""

    call: Call
    entry: Entry


class MapScheduler:
    """One map while it runs.

    Attributes:
        pool: Where the misses run; made when there is one.
        consumed: How many results the user took, where they are given in order.
        failures: Numbers of failed inputs with what they raised, in the order in which they failed.
    """

    def __init__(
        self,
        task: Any,
        inputs: Iterable[tuple[Any, ...]],
        total: int | None,
        make_pool: Callable[[Any, bool], Any],
        progress: bool | None,
        on_error: OnError,
    ) -> None:
        if on_error not in ("raise", "continue", "return"):
            raise ConfigurationError(f'on_error is "raise", "continue" or "return", not {on_error!r}')
        self.task, self._prefix = unbound(task)
        self._inputs = iter(inputs)
        self._make_pool = make_pool
        self._on_error = on_error
        self._stops = on_error == "raise"
        self._progress_options = (total, progress)
        self._exhausted = False
        self._together = size_of(self.task)
        self._block = self._together
        self._read = 0  # inputs
        self._todo: deque[Call] = deque()
        self._ready: deque[InputOutcome | ReadBlob] = deque()
        self._elsewhere: dict[int, Call] = {}  # that someone else ran when their turn came, by number
        self._same: dict[bytes, list[tuple[int, tuple[Any, ...]]]] = {}  # later inputs of a key under way
        self._failed_inputs: dict[int, tuple[Any, ...]] = {}
        # Files of this machine are at hand; several blobs at once would only take more memory.
        self.reads_ahead = not isinstance(self.task.project.storage, MapsBlobs)
        self._reading: dict[int, Any] = {}
        self._readers: ThreadPoolExecutor | None = None
        self.pool: Any = None
        self.consumed: int | None = None
        self.failures: dict[int, BaseException] = {}

    def outcomes(self, block: int | None = None) -> Iterator[InputOutcome]:
        """Numbers of inputs and what became of them, as they come.

        Args:
            block: How many inputs to look up before the first call runs; ``None``: a number that grows
                while everything is kept, so that the first result of a slow input comes soon.
        """
        try:
            for step in self.steps(block):
                if step is Instruction.READ:
                    self.read_block(block)
                elif step is Instruction.POLL_BUSY:
                    self.poll_busy()
                elif step is Instruction.WAIT:
                    self.on_finished(self.pool.wait())
                elif isinstance(step, ReadBlob):
                    self.recalled(step.call, self._value_of(step))
                else:
                    yield step
        except GeneratorExit:  # the caller walks away: what runs is kept, nothing new begins
            if self.pool is not None:
                self.pool.stop()
                while self.pool.has_pending():
                    self.pool.wait()
            raise
        except BaseException as error:
            self.close(now=not isinstance(error, Exception))
            raise
        finally:
            self.close()

    def _value_of(self, step: ReadBlob) -> Any:
        if not self.reads_ahead:
            return self.task._cache.read(step.entry, step.call.key)
        if self._readers is None:
            self._readers = ThreadPoolExecutor(1 + _AHEAD, "beautyspot-read")
        return self.ahead(step, self._readers.submit).result()

    def ahead(self, step: ReadBlob, submit: Callable[..., Any]) -> Any:
        """The reading of a blob, begun with *submit*; those of the next few, which need not wait, are begun too."""
        for each in (step, *islice(self._ready, _AHEAD)):
            if isinstance(each, ReadBlob) and each.call.number not in self._reading:
                self._reading[each.call.number] = submit(self.task._cache.read, each.entry, each.call.key)
        return self._reading.pop(step.call.number)

    def close(self, now: bool = False) -> None:
        """End the pool, the readers and the bar, once."""
        self.progress.close()
        readers, self._readers = self._readers, None
        if readers is not None:
            readers.shutdown(cancel_futures=True)
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.close(now)

    def steps(self, block: int | None) -> Iterator[InputOutcome | ReadBlob | Instruction]:
        """What is to be done next, and what came of it: read inputs, feed the pool, wait, hand out."""
        self.progress = Progress(self.task, *self._progress_options)
        while True:
            while self._wants_input():
                yield Instruction.READ
                if self._ready and block is None:
                    break  # to be handed out before an input that may be slow is asked for more
            while self._todo and (self.pool is None or self.pool.has_capacity()):
                self.pool = self.pool or self._make_pool(self.task, self._stops)
                self._submit(self._todo.popleft())
            while self._ready:
                yield self._ready.popleft()
            if self._wants_input():
                continue
            if self._turns_to_others():
                yield Instruction.POLL_BUSY
            elif self.pool is not None and self.pool.has_pending():
                yield Instruction.WAIT
            elif not self._todo and not self._ready and self._exhausted:
                return

    def _submit(self, call: Call) -> None:
        """Have *call* run; not where another process would wait for a stream that whoever runs this map reads."""
        try:
            if call.waits:
                self.task._single_flight.refuse_reader(call.key)
        except RecursionError as error:
            self.on_finished([Outcome(call, error=error)])
        else:
            self.pool.submit(call)

    def _wants_input(self) -> bool:
        if (
            self._exhausted
            or self._todo
            or (self.consumed is not None and self._read - self.consumed > _WINDOW * self._together)
        ):
            return False
        return len(self._elsewhere) < _WINDOW and (self.pool is None or bool(self.pool.has_capacity()))

    def _turns_to_others(self) -> bool:
        """Whether to look at what others run: the user waits for it, or there is nothing of our own to run."""
        if not self._elsewhere or self._todo or not self.pool.has_capacity():
            return False
        return self._exhausted or self.consumed in self._elsewhere or len(self._elsewhere) >= _WINDOW

    def read_block(self, block: int | None) -> None:
        """Read inputs, look them up together, and sort them into kept, the same, and to run."""
        wanted = block or self._block
        inputs = islice(self._inputs, wanted)
        every_args = [(*self._prefix, *args) for args in inputs] if self._prefix else list(inputs)
        self._exhausted = len(every_args) < wanted or block is not None
        keyer, read = self.task._keyer, self.task._cache.read
        keyed = [keyer(args, {}) for args in every_args]
        entries = self.task._cache.results.find_many([key for key, _ in keyed])
        recalled, ready = 0, self._ready
        for number, (args, (key, parts)) in enumerate(zip(every_args, keyed, strict=True), self._read):
            entry = entries.get(key)
            value = MISSING if entry is None or entry.value is None else read(entry, key)
            if value is not MISSING:
                ready.append((number, value, None))
                recalled += 1
                continue
            call = Call(number, args, key, parts)
            if entry is not None and entry.value is None:
                ready.append(ReadBlob(call, entry))  # one blob at a time: many would not fit into memory
                recalled += 1
            else:
                self._enlist(call)
        self._read += len(keyed)
        self.progress.recalled(recalled)
        self._block = min(_BLOCK, 2 * self._block) if recalled == len(keyed) else max(self._together, self._block // 2)

    def recalled(self, call: Call, value: Any) -> None:
        """The blob of a kept result was read; one that could not be is run again."""
        if value is MISSING:
            self._enlist(call)
        else:
            self._ready.appendleft((call.number, value, None))

    def poll_busy(self) -> None:
        """Calls that someone else ran: what he is done with is recalled together, for the rest is waited."""
        calls, self._elsewhere = self._elsewhere, {}
        entries = self.task._cache.results.find_many([call.key for call in calls.values()])
        for number, call in calls.items():
            entry = entries.get(call.key)
            value = MISSING if entry is None or entry.value is None else self.task._cache.read(entry, call.key)
            if value is not MISSING:
                self.on_finished([Outcome(call, value)])
            elif entry is None and self.consumed is not None and number != self.consumed and not self._exhausted:
                self._elsewhere[number] = call
            else:
                call.waits = True
                self._todo.append(call)

    def _enlist(self, call: Call) -> None:
        if call.key in self._same:
            self._same[call.key].append((call.number, call.args))
        else:
            self._same[call.key] = []
            self._todo.append(call)

    def on_finished(self, outcomes: Iterable[Outcome]) -> None:
        """Calls came back: each result goes to every input that is this call, to each a fresh one."""
        for outcome in outcomes:
            call, error = outcome.call, outcome.error
            if outcome.key_busy:
                self._elsewhere[call.number] = call
                continue
            for number, args in [(call.number, call.args), *self._same.pop(call.key)]:
                self.progress.finished(error is not None)
                value = outcome.value
                if error is not None:
                    self._fail(number, args[len(self._prefix) :], error)
                elif number != call.number:
                    value = self._again(call, value)
                self._ready.append((number, value, error))

    def _again(self, call: Call, value: Any) -> Any:
        entry = self.task._cache.results.find(call.key)
        again = MISSING if entry is None else self.task._cache.read(entry, call.key)
        return value if again is MISSING else again

    def _fail(self, number: int, args: tuple[Any, ...], error: BaseException) -> None:
        self.failures[number], self._failed_inputs[number] = error, args
        if self._stops or not isinstance(error, Exception):
            self._stops = self._exhausted = True
            self._todo.clear()
            self._elsewhere.clear()
            self.pool.stop()

    def finish(self, results: list[Any]) -> None:
        """Raise what ``on_error`` says, now that all is over."""
        if not self.failures or (self._on_error == "return" and not self._stops):
            return
        if self._stops:
            number, first = next(iter(self.failures.items()))
            first.add_note(f"raised by the call {self._named(number)} of a map")
            raise first
        in_order = sorted(self.failures)
        errors = [error for i in in_order if isinstance(error := self.failures[i], Exception)]
        inputs = {i: self._failed_inputs[i] for i in in_order}
        good = {i: value for i, value in enumerate(results) if i not in self.failures}
        name = self.task._keyer.function_name
        first_of_them = self._named(in_order[0])
        raise MapError(
            f"{len(errors)} of {self._read} calls of {name} failed, the first {first_of_them}", errors, inputs, good
        )

    def _named(self, number: int) -> str:
        keyer, args = self.task._keyer, (*self._prefix, *self._failed_inputs[number])
        return f"{keyer.function_name.rpartition('.')[2]}({text.of_call(keyer.names, keyer.values(args, {}))})"

    def shown(self, value: Any, error: BaseException | None) -> Any:
        """What an iterator yields for what became of an input; ``MISSING`` for nothing."""
        if error is None:
            return value
        return error if self._on_error == "return" and isinstance(error, Exception) else MISSING


def unbound(task: Any) -> tuple[Any, tuple[Any, ...]]:
    """The task, and what stands before its inputs: the object of a method.

    Raises:
        TypeError: If it is no task.
    """
    if isinstance(task, BoundTask | BoundAsyncTask | BoundBatchTask):
        return task.task, (task.instance,)
    if not isinstance(task, Task | AsyncTask | BatchTask | AsyncBatchTask):
        name = getattr(task, "__name__", repr(task))
        raise TypeError(f"a map needs a task: decorate {name} with @project.task, or pass project.task({name})")
    return task, ()
