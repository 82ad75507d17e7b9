"""StreamTask: a generator whose items reach the caller as they come, and are kept when it has run to its end.

A stream has its key from its first item to its end: who asks for the key meanwhile waits, and replays what was kept, or
runs in his turn if the reader has walked away. Kept is the list of the items: what `peek` gives, `put` takes, maps
return and viewers show.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import MISSING, is_expired
from beautyspot.results.task_cache import TaskCache
from beautyspot.tasks.bound import BoundStreamTask
from beautyspot.tasks.task import Task

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.protocols.index import Entry

__all__ = ["StreamTask"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")


class Recording:
    """What a stream has yielded, each item serialized as it was then. As a context it is the time that passes within.

    Args:
        cache: Of the task.
        call: Whose items they are.
    """

    def __init__(self, cache: TaskCache, call: KeyedCall) -> None:
        self.summary = cache.describe(call)
        self.seconds = 0.0
        self._cache = cache
        self._items: list[bytes] = []
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += perf_counter() - self._began

    def add(self, value: Any) -> None:
        """Record an item.

        Raises:
            SerializationError: Carrying *value*, if it cannot be kept.
        """
        self._items.append(self._cache.encode_item(value, len(self._items)))

    def keep(self, replaced: str | None) -> None:
        """Keep the list of the items, in place of a blob that lies at *replaced*."""
        self._cache.write(self.summary, self._cache.encode_items(self._items), self.seconds, replaced)


class Turn:
    """The right to run a stream: its key, from the first item to the end.

    Args:
        flights: Of the project.
        key: Of the call; it was taken for the code that runs from here on.
    """

    def __init__(self, single_flight: SingleFlight, key: bytes) -> None:
        self._single_flight = single_flight
        self._key = key
        self._process = os.getpid()

    def pause(self) -> None:
        """An item is handed out: the key is the stream's, and not that of the code which reads it."""
        self._single_flight.lend(self._key)

    def go_on(self) -> None:
        """The next item is wanted, or the end."""
        self._single_flight.take_back(self._key)

    def end(self, release: Callable[[bytes], None]) -> None:
        """Give the key back; where a fork copied the stream, it is the parent's."""
        self._single_flight.unmark_held(self._key)
        if self._process == os.getpid():
            release(self._key)


class StreamTask(Task[P, list[T]]):
    """A generator function whose items are kept; calling it gives an iterator, as the function does."""

    __slots__ = ()

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)
        self._run = lambda *args, **kwargs: list(function(*args, **kwargs))  # for a map

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items, as the function yields them, or from what is kept. Nothing runs before the first is asked for."""
        self._keyer.values(args, kwargs)  # what does not fit is said now, as by the function itself
        return self._stream(args, kwargs, fresh=False)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items of a new run, which replaces the kept result when it has come to its end."""
        self._keyer.values(args, kwargs)
        return self._stream(args, kwargs, fresh=True)

    def _stream(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool) -> Generator[T, None, None]:
        call = self._keyed(args, kwargs)
        kept = MISSING if fresh else self._kept_items(call.key, self._entry(call.key))
        if kept is MISSING:
            recording = Recording(self._cache, call)
            waited = self._single_flight.acquire(call.key)
            turn = Turn(self._single_flight, call.key)
            try:
                if waited:
                    self._waited(recording.summary, waited)
                entry = self._entry(call.key)
                kept = MISSING if fresh else self._kept_items(call.key, entry)
                if kept is MISSING:
                    yield from self._live(call, recording, turn)
                    recording.keep(entry and entry.location)
            finally:
                turn.end(self._single_flight.release)
        if kept is not MISSING:
            yield from kept

    def _live(self, call: KeyedCall, recording: Recording, turn: Turn) -> Generator[T, None, None]:
        self._cache.begin(recording.summary)
        generator: Any = iter(self.__wrapped__(*call.args, **call.kwargs))
        try:
            while (value := self._drawn(generator, recording)) is not MISSING:
                turn.pause()
                try:
                    yield value
                finally:
                    turn.go_on()
        finally:
            if hasattr(generator, "close"):
                generator.close()

    def _drawn(self, generator: Any, recording: Recording) -> Any:
        try:
            with recording:
                value = next(generator, MISSING)
                if value is not MISSING:
                    recording.add(value)
        except Exception as error:
            self._cache.failed(recording.summary, error, recording.seconds)
            raise
        return value

    def _kept_items(self, key: bytes, entry: Entry | None) -> Any:
        return MISSING if entry is None or is_expired(entry) else self._cache.items(entry, key)

    def _put(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        super()._put(args, kwargs, list(value))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: StreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundStreamTask, instance, owner)
