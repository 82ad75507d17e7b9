"""MapScheduler: decides which calls of a map run, and when.

The scheduler yields instructions and receives their results. `map_sync` carries them out by blocking, `map_async` by
awaiting.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from beautyspot._internal.signatures import Arguments
from beautyspot.errors import ConfigurationError, MapError
from beautyspot.fanout.calls import Call, Outcome, Pool, ends_map
from beautyspot.fanout.inputs import Inputs
from beautyspot.fanout.progress import Progress
from beautyspot.protocols.index import Entry
from beautyspot.protocols.storage import MapsBlobs
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import size_of
from beautyspot.tasks.core import BaseCore
from beautyspot.tasks.options import OnError

InputOutcome = tuple[int, Any, BaseException | None]  # the position of an input, and its result or exception
PoolT = TypeVar("PoolT", bound=Pool)

_BLOCK = 1000  # inputs whose keys are looked up together
AHEAD = 7  # blobs that are read from a server while one is handed out
_WINDOW = 128  # inputs that an ordered imap reads ahead of the result that it waits for


class Instruction(enum.Enum):
    """What the driver must do, in its own way: block or await."""

    READ = enum.auto()  # call `read_block`
    POLL_BUSY = enum.auto()  # call `poll_busy`
    WAIT = enum.auto()  # wait for the pool, and call `on_finished`


@dataclass(frozen=True, slots=True)
class ReadBlob:
    """Read the blob of a cached result, and call `on_read`."""

    call: Call
    entry: Entry


class MapScheduler(Generic[PoolT]):
    """One map while it runs.

    Args:
        inputs: The calls to make.
        make_pool: Makes a pool for them; its argument: whether no call starts after the first failure.
        progress: Whether to draw a bar; ``None``: on a terminal.
        on_error: ``"raise"``, ``"continue"`` or ``"return"``.
        ordered: Whether `results_of` gives the results in the order of the inputs.

    Attributes:
        core: The core of the task.
        pool: Where calls run; made for the first miss.
        reads_ahead: Whether several blobs are read at a time: from a server, not from files, where it would only take
            more memory.
        consumed: How many results the user has taken, if they are given in order as they come.
        failures: The exceptions by position of the input, in the order in which the calls failed.
    """

    def __init__(
        self,
        inputs: Inputs,
        make_pool: Callable[[bool], PoolT],
        progress: bool | None,
        on_error: OnError,
        ordered: bool = False,
    ) -> None:
        if on_error not in ("raise", "continue", "return"):
            raise ConfigurationError(f'on_error is "raise", "continue" or "return", not {on_error!r}')
        self.core: BaseCore = inputs.core
        self._inputs = inputs
        self._calls = iter(inputs)
        self._make_pool = make_pool
        self._on_error = on_error
        self._stops = on_error == "raise"
        self._progress_options = (inputs.total, progress)
        self._exhausted = False
        self._batch_size = size_of(self.core)
        self._block = self._batch_size
        self._inputs_read = 0
        self._todo: deque[Call] = deque()
        self._ready: deque[InputOutcome | ReadBlob] = deque()
        self._busy: dict[int, Call] = {}  # calls whose keys were locked elsewhere when their turn came, by number
        # Later inputs with the key of a call in flight.
        self._duplicates: dict[bytes, list[tuple[int, Arguments]]] = {}
        self._failed_inputs: dict[int, Arguments] = {}
        self.reads_ahead = not isinstance(self.core.project.storage, MapsBlobs)
        self._reading: dict[int, Any] = {}
        self.pool: PoolT | None = None
        self.consumed: int | None = 0 if ordered else None
        self._out_of_order: dict[int, Any] = {}  # results that wait for earlier ones
        self.failures: dict[int, BaseException] = {}

    def read_ahead(self, instruction: ReadBlob, submit: Callable[..., Any]) -> Any:
        """Start reading a blob and the next few with *submit*; returns what *submit* returned for the first."""
        for each in (instruction, *islice(self._ready, AHEAD)):
            if isinstance(each, ReadBlob) and each.call.number not in self._reading:
                self._reading[each.call.number] = submit(self.core.cache.read, each.entry, each.call.key)
        return self._reading.pop(instruction.call.number)

    def close(self, now: bool = False) -> None:
        """Close the pool and the bar, once; with *now*, running calls have a second to finish."""
        self.progress.close()
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.close(now)

    def instructions(self, block: int | None) -> Iterator[InputOutcome | ReadBlob | Instruction]:
        """Instructions for the driver, and outcomes of inputs as they come."""
        self.progress = Progress(self.core, *self._progress_options)
        while True:
            while self._wants_input():
                yield Instruction.READ
                if self._ready and block is None:
                    break  # hand these out before asking inputs, which may be slow, for more
            while self._todo and (self.pool is None or self.pool.has_capacity()):
                self.pool = self.pool or self._make_pool(self._stops)
                self._submit(self.pool, self._todo.popleft())
            while self._ready:
                yield self._ready.popleft()
            if self._wants_input():
                continue
            if self._is_time_to_poll():
                yield Instruction.POLL_BUSY
            elif self.pool is not None and self.pool.has_pending():
                yield Instruction.WAIT
            elif not self._todo and not self._ready and self._exhausted:
                return

    def _submit(self, pool: PoolT, call: Call) -> None:
        """Submit *call*; it fails if it would wait for a stream that the code around this map is reading."""
        try:
            if call.waits:
                self.core.locks.check_not_reading(call.key)
        except RecursionError as error:
            self.on_finished([Outcome(call, error=error)])
        else:
            pool.submit(call)

    def _wants_input(self) -> bool:
        if (
            self._exhausted
            or self._todo
            or (self.consumed is not None and self._inputs_read - self.consumed > _WINDOW * self._batch_size)
        ):
            return False
        return len(self._busy) < _WINDOW and (self.pool is None or self.pool.has_capacity())

    def _is_time_to_poll(self) -> bool:
        """Whether to poll calls locked by other callers: the consumer needs one, or no local work is left.

        A call that waits for its key occupies a worker. While calls are pending it could be the only one: they would
        wait for a key that another caller holds.
        """
        if not self._busy or self._todo or self.pool is None:
            return False
        if self.consumed in self._busy:
            return self.pool.has_capacity()
        return (self._exhausted or len(self._busy) >= _WINDOW) and not self.pool.has_pending()

    def read_block(self, block: int | None) -> None:
        """Read inputs and look them up together; each is a hit, equal to an earlier one, or a call to run.

        Args:
            block: How many inputs to read; ``None``: a number that grows while all are hits, so that the first result
                of slow inputs comes soon.
        """
        wanted = block or self._block
        calls = list(islice(self._calls, wanted))
        self._exhausted = len(calls) < wanted or block is not None
        common, read = self._inputs.common, self.core.cache.read
        keyed = self._inputs.keyed(calls, self._inputs_read)
        entries = self.core.cache.results.find_many([key for key, _ in keyed])
        hits, ready = 0, self._ready
        for number, (own, (key, parts)) in enumerate(zip(calls, keyed, strict=True), self._inputs_read):
            entry = entries.get(key)
            value = MISSING if entry is None or entry.value is None else read(entry, key)
            if value is not MISSING:
                ready.append((number, value, None))
                hits += 1
                continue
            call = Call(number, common, own, key, parts)
            if entry is not None and entry.value is None:
                ready.append(ReadBlob(call, entry))  # not read yet: many blobs would not fit into memory
                hits += 1
            else:
                self._enlist(call)
        self._inputs_read += len(keyed)
        self.progress.on_hits(hits)
        self._block = min(_BLOCK, 2 * self._block) if hits == len(keyed) else max(self._batch_size, self._block // 2)

    def on_read(self, call: Call, value: Any) -> None:
        """The blob of a cached result was read; after `MISSING` the call runs."""
        if value is MISSING:
            self._enlist(call)
        else:
            self._ready.appendleft((call.number, value, None))

    def poll_busy(self) -> None:
        """Look up the results of calls that other callers had locked; the rest is submitted again, to wait."""
        calls, self._busy = self._busy, {}
        entries = self.core.cache.results.find_many([call.key for call in calls.values()])
        for number, call in calls.items():
            entry = entries.get(call.key)
            value = MISSING if entry is None or entry.value is None else self.core.cache.read(entry, call.key)
            if value is not MISSING:
                self.on_finished([Outcome(call, value)])
            elif entry is None and self.consumed is not None and number != self.consumed and not self._exhausted:
                self._busy[number] = call
            else:
                call.waits = True
                self._todo.append(call)

    def _enlist(self, call: Call) -> None:
        if call.key in self._duplicates:
            self._duplicates[call.key].append((call.number, call.own))
        else:
            self._duplicates[call.key] = []
            self._todo.append(call)

    def on_finished(self, outcomes: Iterable[Outcome]) -> None:
        """Calls came back: each result goes to every input with that key, a fresh object each."""
        for outcome in outcomes:
            call, error = outcome.call, outcome.error
            if outcome.key_busy:
                self._busy[call.number] = call
                continue
            if error is not None and not isinstance(error, Exception) and not ends_map(error):
                # Where it ran, it was not told from a map that is cancelled.
                self.core.cache.on_failure(self.core.cache.describe(call.keyed()), _as_exception(error), 0.0)
            for number, own in [(call.number, call.own), *self._duplicates.pop(call.key)]:
                self.progress.on_finished(error is not None)
                value = outcome.value
                if error is not None:
                    self._fail(number, own, error)
                elif number != call.number:
                    value = self._fresh(call, value)
                self._ready.append((number, value, error))

    def _fresh(self, call: Call, value: Any) -> Any:
        entry = self.core.cache.results.find(call.key)
        again = MISSING if entry is None else self.core.cache.read(entry, call.key)
        return value if again is MISSING else again

    def _fail(self, number: int, own: Arguments, error: BaseException) -> None:
        self.failures[number], self._failed_inputs[number] = error, own
        if self._stops or ends_map(error):
            self._stops = self._exhausted = True
            self._todo.clear()
            self._busy.clear()
            if self.pool is not None:
                self.pool.stop()

    def drain(self) -> None:
        """Start no further call, and wait until the running ones are stored."""
        if self.pool is not None:
            self.pool.stop()
            while self.pool.has_pending():
                self.pool.wait()

    def finish(self, results: list[Any]) -> None:
        """Raise the failures as ``on_error`` says, at the end of the map.

        Args:
            results: The results by position; empty if they were handed out before.
        """
        if self._stops and self.failures:
            number, first = next(iter(self.failures.items()))
            first.add_note(f"raised by the call {self._inputs.text(self._failed_inputs[number])} of a map")
            raise first
        if self.failures and self._on_error != "return":
            raise self._error(results)
        if self._inputs.mismatch is not None:
            raise self._inputs.mismatch

    def _error(self, results: list[Any]) -> MapError:
        in_order = sorted(self.failures)
        errors = [_as_exception(self.failures[i]) for i in in_order]
        inputs = {i: self._inputs.row(self._failed_inputs[i]) for i in in_order}
        good = {i: value for i, value in enumerate(results) if i not in self.failures}
        kinds = Counter(type(error).__qualname__ for error in errors).most_common()
        message = (
            f"{len(errors):,} of {self._inputs_read:,} calls of {self.core.name} failed, the first "
            f"{self._inputs.text(self._failed_inputs[in_order[0]])}: "
            f"{', '.join(f'{count:,} × {kind}' for kind, count in kinds)}. Print error.failures[{in_order[0]}], "
            "error.inputs and error.results to see them; the same map again runs only what failed"
        )
        error = MapError(message, errors, inputs, good)
        if self._inputs.mismatch is not None:
            error.add_note(str(self._inputs.mismatch))
        return error

    def results_of(self, outcome: InputOutcome) -> Iterator[Any]:
        """What an iterator yields now that *outcome* is there."""
        number, value, error = outcome
        shown = value if error is None else error
        if error is not None and (self._on_error != "return" or ends_map(error)):
            shown = MISSING
        if self.consumed is None:
            if shown is not MISSING:
                yield shown
            return
        self._out_of_order[number] = shown
        while self.consumed in self._out_of_order:
            shown = self._out_of_order.pop(self.consumed)
            self.consumed += 1
            if shown is not MISSING:
                yield shown


def _as_exception(error: BaseException) -> Exception:
    """*error* as a group of exceptions takes it: in place of asyncio's `CancelledError`, the one of futures."""
    if isinstance(error, Exception):
        return error
    cancelled = CancelledError(*error.args)
    cancelled.__cause__ = error
    return cancelled
