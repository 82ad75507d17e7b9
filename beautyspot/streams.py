"""StreamTask: a generator whose items reach the caller as they come, and are kept when it has run to its end.

Who asks for a key that is under way in this process reads along: whoever needs the next item draws it from the
generator, so that nobody waits for a reader who is slow. When the last of them walks away the generator is closed,
and nothing is kept. Kept is the list of the items: what `peek` gives, `put` takes, maps return and viewers show.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Mapping
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.base_task import Flown
from beautyspot.forks import SurvivesFork
from beautyspot.keys import KeyedCall
from beautyspot.methods import BoundStreamTask
from beautyspot.results import MISSING, is_expired
from beautyspot.task import Task

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.protocols import Entry

__all__ = ["StreamTask"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")


class _BrokenOff(Exception):
    """Says that the reader who drew an item was interrupted, which is nothing to the others who read along."""


class _Reading:
    """One run of a generator, for all who read along.

    Args:
        task: Whose run it is.
        call: Which.
    """

    def __init__(self, task: Any, call: KeyedCall) -> None:
        self.key = call.key
        self.readers = 0
        self.is_over = False
        self._task = task
        self._summary = task._keeper.describe(call)
        self._call: Callable[[], Any] = lambda: task.__wrapped__(*call.args, **call.kwargs)
        self._generator: Any = None
        self._replaced: str | None = None
        self._items: list[bytes] = []
        self._error: BaseException | None = None
        self._drawing = threading.Lock()
        self._seconds = 0.0
        self._process = os.getpid()

    def begin(self, fresh: bool) -> bool:
        """Take the key, unless it was taken for this run already; ``False``: someone kept a result meanwhile."""
        task = self._task
        task._flights.refuse_own(self.key)
        with self._drawing:
            if self._generator is not None or self.is_over:
                return True
            waited = task._flights.acquire(self.key)
            task._flights.disown(self.key)  # it is the run's, and not that of the thread which reads just now
            try:
                entry: Entry | None = task._entry(self.key)
                if waited:
                    task._waited(self._summary, waited)
                if entry is not None and not fresh and not is_expired(entry) and _is_readable(task, entry):
                    return False
                task._keeper.begin(self._summary)
                self._replaced = None if entry is None else entry.location
                self._generator = iter(self._call())
            finally:
                if self._generator is None:
                    task._flights.land(self.key)
        return True

    def items(self, position: int) -> Generator[Any, None, None]:
        """All items from *position* on: those that were drawn before as fresh objects.

        Raises:
            _BrokenOff: If the run is over, and neither the generator's end nor its failure was the reason.
        """
        while (item := self._item(position)) is not MISSING:
            yield item
            position += 1

    def _item(self, position: int) -> Any:
        self._task._flights.refuse_own(self.key)
        with self._drawing:
            if position < len(self._items):
                return self._task._keeper.form.serializer.loads(self._items[position])
            if isinstance(self._error, Exception):
                raise self._error
            if self._error is not None:
                raise _BrokenOff
            if self.is_over:
                return MISSING
            try:
                while (value := self._drawn()) is not MISSING and len(self._items) <= position:
                    pass  # the reader has it from a run that was broken off
                return value
            except BaseException as error:
                self._fail(error)
                raise

    def _drawn(self) -> Any:
        keeper, flights = self._task._keeper, self._task._flights
        flights.own(self.key)  # in here, and not where the items are read
        started = perf_counter()
        try:
            value = next(self._generator, MISSING)
            if value is not MISSING:
                self._items.append(keeper.encode_item(value, len(self._items)))
                return value
        finally:
            self._seconds += perf_counter() - started
            flights.disown(self.key)
        keeper.write(self._summary, keeper.encode_items(self._items), self._seconds, self._replaced)
        self._end()
        return MISSING

    def _fail(self, error: BaseException) -> None:
        self._error = error
        try:
            if isinstance(error, Exception):
                self._task._keeper.failed(self._summary, error, self._seconds)
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        self._task._readings.drop(self)
        self.close()

    def close(self) -> None:
        """End the generator where it is, and give the key back."""
        generator, self._generator = self._generator, None
        if generator is None or self._process != os.getpid():  # a fork copied it: it is the parent's
            return
        try:
            if hasattr(generator, "close"):
                generator.close()
        finally:
            self._task._flights.land(self.key)


class _Readings(SurvivesFork):
    """The runs of one task that are read just now, by key."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        """Forget the parent's."""
        self._by_key: dict[bytes, _Reading] = {}
        # A reader that is collected as garbage leaves in whatever thread runs then, which may be in here already.
        self._lock = threading.RLock()

    def find(self, key: bytes) -> _Reading | None:
        """The run of *key*, with one more reader."""
        with self._lock:
            reading = self._by_key.get(key)
            if reading is not None:
                reading.readers += 1
            return reading

    def join(self, mine: _Reading) -> _Reading:
        """The run of that key, or *mine* if there is none; with one more reader."""
        with self._lock:
            reading = self._by_key.setdefault(mine.key, mine)
            reading.readers += 1
            return reading

    def leave(self, reading: _Reading) -> None:
        """One reader fewer; with the last one the run ends."""
        with self._lock:
            reading.readers -= 1
            if reading.readers or reading.is_over:
                return
            reading.is_over = True
            self.drop(reading)
        reading.close()

    def drop(self, reading: _Reading) -> None:
        """Nobody joins this run any more."""
        with self._lock:
            if self._by_key.get(reading.key) is reading:
                del self._by_key[reading.key]


class StreamTask(Task[P, list[T]]):
    """A generator function whose items are kept; calling it gives an iterator, as the function does."""

    __slots__ = ("_readings",)

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)
        self._run = lambda *args, **kwargs: list(function(*args, **kwargs))
        self._readings = _Readings()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items, as the function yields them, or from what is kept. Nothing runs before the first is asked for."""
        self._keyer.values(args, kwargs)  # what does not fit is said now, as by the function itself
        return self._read_along(args, kwargs, fresh=False)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items of a new run, which replaces the kept result when it has come to its end."""
        self._keyer.values(args, kwargs)
        return self._read_along(args, kwargs, fresh=True)

    def _read_along(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool) -> Generator[T, None, None]:
        call, given = self._keyed(args, kwargs), 0
        while True:
            entry = None if fresh else self._entry(call.key)
            if entry is not None and not is_expired(entry):
                kept = self._keeper.items(entry, call.key)
                if kept is not MISSING:
                    yield from islice(kept, given, None)
                    return
            reading = self._readings.find(call.key) or self._readings.join(_Reading(self, call))
            try:
                if reading.begin(fresh):
                    for item in reading.items(given):
                        given += 1
                        yield item
                    return
            except _BrokenOff:  # to run again is for those who are left
                continue
            finally:
                self._readings.leave(reading)

    def _fly(self, call: KeyedCall, fresh: bool = False, wait: bool = True) -> Flown:
        """As for any task; a run that is read in this process just now is read along, since it may be read by us."""
        reading = self._readings.find(call.key)
        if reading is None:
            return super()._fly(call, fresh, wait)
        started = perf_counter()
        try:
            items = list(self._read_along(call.args, call.kwargs, fresh))
        finally:
            self._readings.leave(reading)
        return Flown(items, None, self._keeper.encode(items), perf_counter() - started)

    def _put(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        call = self._keyed(args, kwargs)
        reading = self._readings.find(call.key)
        if reading is None:
            return super()._put(args, kwargs, list(value))
        try:  # we may be who reads it: to wait for its end would be to wait for ourselves
            self._keeper.put(self._keeper.describe(call), list(value))
        finally:
            self._readings.leave(reading)
        return None

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: StreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundStreamTask, instance, owner)


def _is_readable(task: Any, entry: Entry) -> bool:
    return task._keeper.results.items(entry, task._keeper.form) is not MISSING
