"""map, imap and plan: many calls of one task, of which only those run that are not kept.

Keys are made and looked up in blocks before any worker is asked; inputs that are one call run once; what
runs is bounded by the workers, and what waits for its turn by the window.
"""

from __future__ import annotations

import enum
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

from beautyspot.errors import ConfigurationError, MapError
from beautyspot.lanes import Call, Lane, Outcome, make_lane
from beautyspot.progress import Progress
from beautyspot.protocols import Entry, FailureLog, Statistics
from beautyspot.results import MISSING
from beautyspot.task import AsyncTask, BoundAsyncTask, BoundTask, Task

__all__ = ["Plan", "imap", "map", "plan"]

T = TypeVar("T")
OnError = Literal["raise", "continue", "return"]

_BLOCK = 1000  # inputs whose keys are looked up together
_WINDOW = 128  # inputs that an ordered imap is ahead of the result that it waits for


@dataclass(frozen=True, slots=True)
class Plan:
    """What a map would do.

    Attributes:
        total: Inputs.
        kept: Inputs whose result is kept.
        to_run: Calls that would run; inputs that are the same call count once.
        failed: Arguments of those that failed last time.
        seconds: How long it would take by what past runs took, or ``None`` if there were none.
    """

    total: int
    kept: int
    to_run: int
    failed: tuple[tuple[Any, ...], ...]
    seconds: float | None

    def __str__(self) -> str:
        took = "" if self.seconds is None else f", about {self.seconds:.0f} s"
        again = f", {len(self.failed)} failed last time" if self.failed else ""
        return f"{self.total} inputs: {self.kept} kept, {self.to_run} to run{again}{took}"


def map(
    task: Task[..., T] | BoundTask[..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
) -> list[T]:
    """The task's results for all inputs, in their order.

    Args:
        task: What to call.
        iterables: The inputs; several are taken in step, as the built-in ``map`` takes them.
        workers: How many calls run at a time; 8 threads, or as many as the engine has workers.
        engine: ``"threads"``, ``"processes"``, the name of an installed engine, an executor, or an `Engine`.
        progress: A bar: always, never, or (``None``) on a terminal.
        on_error: ``"raise"``: nothing new starts after the first failure, what runs is kept, then that
            exception is raised; ``"continue"``: all others run, then one `MapError` is raised;
            ``"return"``: exceptions stand in their inputs' place.

    Raises:
        TypeError: If *task* is a plain function.
        MapError: With ``on_error="continue"``, if anything failed.
        Exception: With ``on_error="raise"``, what the first failing call raised.
    """
    inputs = list(_in_step(iterables))
    run = Run(_sync(task), inputs, len(inputs), _lanes(engine, workers), progress, on_error)
    results: list[Any] = [MISSING] * len(inputs)
    for number, outcome in run.outcomes(block=len(inputs)):
        results[number] = outcome.value if outcome.error is None else outcome.error
    run.finish(results)
    return results


def imap(
    task: Task[..., T] | BoundTask[..., T],
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Any = "threads",
    progress: bool | None = None,
    on_error: OnError = "raise",
    ordered: bool = True,
) -> Iterator[T]:
    """The task's results one by one, with bounded memory; inputs may be endless.

    Args:
        task: What to call.
        iterables: The inputs; several are taken in step.
        workers: How many calls run at a time.
        engine: As for `map`.
        progress: As for `map`.
        on_error: As for `map`; with ``"continue"`` failed inputs are left out and the `MapError`, which
            then has no results, is raised at the end.
        ordered: In the order of the inputs, or as they come.

    Yields:
        Results.

    Raises:
        As `map` does.
    """
    total = operator.length_hint(iterables[0], -1) if len(iterables) == 1 else -1
    known = total if total >= 0 else None
    run = Run(_sync(task), _in_step(iterables), known, _lanes(engine, workers), progress, on_error)
    return _in_order(run) if ordered else _as_they_come(run)


def plan(task: Any, *iterables: Iterable[Any], workers: int = 8) -> Plan:
    """What ``map(task, *iterables)`` would do; nothing runs.

    Args:
        task: What would be called.
        iterables: The inputs, of known length.
        workers: How many calls would run at a time, for the time it would take.
    """
    bare, prefix = _unbound(task)
    calls: dict[bytes, list[tuple[Any, ...]]] = {}
    total = kept = 0
    for inputs in _in_step(iterables):
        args = (*prefix, *inputs)
        total += 1
        calls.setdefault(bare._keyer(args, {})[0], []).append(args)
    entries = bare._keeper.results.find_many(list(calls))
    kept = sum(len(calls[key]) for key in entries)
    missing = [key for key in calls if key not in entries]
    db = bare.project.db
    failures = db.failed(missing) if isinstance(db, FailureLog) else {}
    mean = db.mean_seconds(bare._keyer.function_name) if isinstance(db, Statistics) else None
    seconds = None if mean is None else mean * len(missing) / max(1, min(workers, len(missing)))
    failed = tuple(calls[key][0][len(prefix) :] for key in missing if key in failures)
    return Plan(total, kept, len(missing), failed, seconds)


class Step(enum.Enum):
    """What a run asks its driver to do, since a thread and an event loop do it differently."""

    READ = enum.auto()
    WAIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Recall:
    """Asks the driver to read the blob of a kept result."""

    call: Call
    entry: Entry


class Run:
    """One map while it runs.

    Attributes:
        lane: Where the misses run; made when there is one.
        consumed: How many results the user took, where they are given in order.
        failures: Numbers of failed inputs with what they raised, in the order in which they failed.
    """

    def __init__(
        self,
        task: Any,
        inputs: Iterable[tuple[Any, ...]],
        total: int | None,
        make_lane: Callable[[Any, bool], Any],
        progress: bool | None,
        on_error: OnError,
    ) -> None:
        if on_error not in ("raise", "continue", "return"):
            raise ConfigurationError(f'on_error is "raise", "continue" or "return", not {on_error!r}')
        self.task, self._prefix = _unbound(task)
        self._inputs = iter(inputs)
        self._make_lane = make_lane
        self._on_error = on_error
        self._stops = on_error == "raise"
        self._progress_options = (total, progress)
        self._exhausted = False
        self._block = 1
        self._read = 0  # inputs
        self._todo: deque[Call] = deque()
        self._ready: deque[tuple[int, Outcome] | Recall] = deque()
        self._same: dict[bytes, list[tuple[int, tuple[Any, ...]]]] = {}  # later inputs of a key under way
        self._failed_inputs: dict[int, tuple[Any, ...]] = {}
        self.lane: Any = None
        self.consumed: int | None = None
        self.failures: dict[int, BaseException] = {}

    def outcomes(self, block: int | None = None) -> Iterator[tuple[int, Outcome]]:
        """Numbers of inputs and what became of them, as they come.

        Args:
            block: How many inputs to look up before the first call runs; ``None``: a number that grows
                while everything is kept, so that the first result of a slow input comes soon.
        """
        read = self.task._keeper.read
        try:
            for step in self.steps(block):
                if step is Step.READ:
                    self.read_block(block)
                elif step is Step.WAIT:
                    self.landed(self.lane.finished())
                elif isinstance(step, Recall):
                    self.recalled(step.call, read(step.entry))
                else:
                    yield step
        except GeneratorExit:  # the caller walks away: what runs is kept, nothing new begins
            if self.lane is not None:
                self.lane.stop()
                while self.lane.busy():
                    self.lane.finished()
            raise
        except BaseException as error:
            self.close(now=not isinstance(error, Exception))
            raise
        finally:
            self.close()

    def close(self, now: bool = False) -> None:
        """End the lane and the bar, once."""
        self.progress.close()
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.close(now)

    def steps(self, block: int | None) -> Iterator[tuple[int, Outcome] | Recall | Step]:
        """What is to be done next, and what came of it: read inputs, feed the lane, wait, hand out."""
        self.progress = Progress(self.task, *self._progress_options)
        while True:
            while self._wants_input():
                yield Step.READ
                if self._ready and block is None:
                    break  # to be handed out before an input that may be slow is asked for more
            while self._todo and (self.lane is None or self.lane.room()):
                self.lane = self.lane or self._make_lane(self.task, self._stops)
                self.lane.submit(self._todo.popleft())
            while self._ready:
                yield self._ready.popleft()
            if self._wants_input():
                continue
            if self.lane is not None and self.lane.busy():
                yield Step.WAIT
            elif not self._todo and not self._ready and self._exhausted:
                return

    def _wants_input(self) -> bool:
        if self._exhausted or self._todo or (self.consumed is not None and self._read - self.consumed > _WINDOW):
            return False
        return self.lane is None or bool(self.lane.room())

    def read_block(self, block: int | None) -> None:
        """Read inputs, look them up together, and sort them into kept, the same, and to run."""
        wanted = block or self._block
        inputs = islice(self._inputs, wanted)
        every_args = [(*self._prefix, *args) for args in inputs] if self._prefix else list(inputs)
        self._exhausted = len(every_args) < wanted or block is not None
        keyer, read = self.task._keyer, self.task._keeper.read
        calls = [Call(i, args, *keyer(args, {})) for i, args in enumerate(every_args, self._read)]
        self._read += len(calls)
        entries = self.task._keeper.results.find_many([call.key for call in calls])
        recalled = 0
        for call in calls:
            entry = entries.get(call.key)
            if entry is None:
                self._enlist(call)
                continue
            recalled += 1
            value = MISSING if entry.value is None else read(entry)
            if value is not MISSING:
                self._ready.append((call.number, Outcome(call, value)))
            elif entry.value is None:
                self._ready.append(Recall(call, entry))  # one blob at a time: many would not fit into memory
            else:
                self._enlist(call)
        self.progress.recalled(recalled)
        self._block = min(_BLOCK, 2 * self._block) if recalled == len(calls) else max(1, self._block // 2)

    def recalled(self, call: Call, value: Any) -> None:
        """The blob of a kept result was read; one that could not be is run again."""
        if value is MISSING:
            self._enlist(call)
        else:
            self._ready.appendleft((call.number, Outcome(call, value)))

    def _enlist(self, call: Call) -> None:
        if call.key in self._same:
            self._same[call.key].append((call.number, call.args))
        else:
            self._same[call.key] = []
            self._todo.append(call)

    def landed(self, outcomes: Iterable[Outcome]) -> None:
        """Calls came back: each result goes to every input that is this call, to each a fresh one."""
        for outcome in outcomes:
            call, error = outcome.call, outcome.error
            for number, args in [(call.number, call.args), *self._same.pop(call.key)]:
                self.progress.finished(error is not None)
                value = outcome.value
                if error is not None:
                    self._fail(number, args[len(self._prefix) :], error)
                elif number != call.number:
                    value = self._again(call, value)
                self._ready.append((number, Outcome(call, value, error)))

    def _again(self, call: Call, value: Any) -> Any:
        entry = self.task._keeper.results.find(call.key)
        again = MISSING if entry is None else self.task._keeper.read(entry)
        return value if again is MISSING else again

    def _fail(self, number: int, args: tuple[Any, ...], error: BaseException) -> None:
        self.failures[number], self._failed_inputs[number] = error, args
        if self._stops or not isinstance(error, Exception):
            self._stops = self._exhausted = True
            self._todo.clear()
            self.lane.stop()

    def finish(self, results: list[Any]) -> None:
        """Raise what ``on_error`` says, now that all is over."""
        if not self.failures or (self._on_error == "return" and not self._stops):
            return
        if self._stops:
            raise next(iter(self.failures.values()))
        in_order = sorted(self.failures)
        errors = [error for i in in_order if isinstance(error := self.failures[i], Exception)]
        inputs = {i: self._failed_inputs[i] for i in in_order}
        good = {i: value for i, value in enumerate(results) if i not in self.failures}
        name = self.task._keyer.function_name
        raise MapError(f"{len(errors)} of {self._read} calls of {name} failed", errors, inputs, good)

    def shown(self, outcome: Outcome) -> Any:
        """What an iterator yields for an outcome; ``MISSING`` for nothing."""
        if outcome.error is None:
            return outcome.value
        return outcome.error if self._on_error == "return" and isinstance(outcome.error, Exception) else MISSING


def _as_they_come(run: Run) -> Iterator[Any]:
    for _, outcome in run.outcomes():
        shown = run.shown(outcome)
        if shown is not MISSING:
            yield shown
    run.finish([])


def _in_order(run: Run) -> Iterator[Any]:
    waiting: dict[int, Outcome] = {}
    run.consumed = 0
    for number, outcome in run.outcomes():
        waiting[number] = outcome
        while run.consumed in waiting:
            shown = run.shown(waiting.pop(run.consumed))
            run.consumed += 1
            if shown is not MISSING:
                yield shown
    run.finish([])


def _lanes(engine: Any, workers: int | None) -> Callable[[Any, bool], Lane]:
    """What makes a run's lane, its options checked before anything begins."""
    check_workers(workers)
    return lambda task, stop: make_lane(task, engine, workers, stop)


def check_workers(workers: int | None) -> None:
    """Refuse a number of workers that cannot be."""
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ConfigurationError(f"workers is a whole number of at least 1, not {workers!r}")


def _in_step(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    if not iterables:
        raise TypeError("a map needs at least one iterable of inputs")
    return zip(*iterables, strict=False)


def _sync(task: Any) -> Any:
    if isinstance(task, AsyncTask | BoundAsyncTask):
        name = getattr(task, "__name__", "the task")
        raise TypeError(f"{name} is async: write `await bs.amap({name}, ...)`")
    return task


def _unbound(task: Any) -> tuple[Any, tuple[Any, ...]]:
    """The task, and what stands before its inputs: the object of a method.

    Raises:
        TypeError: If it is no task.
    """
    if isinstance(task, BoundTask | BoundAsyncTask):
        return task.task, (task.instance,)
    if not isinstance(task, Task | AsyncTask):
        name = getattr(task, "__name__", repr(task))
        raise TypeError(f"a map needs a task: decorate {name} with @project.task, or pass project.task({name})")
    return task, ()
