"""StreamTask: a generator whose items reach the caller as they come; the list of them is cached at its end.

A stream holds its key from its first item to its end: another caller of the key waits, and then replays the cached
items, or runs the function itself if the first reader stopped before the end. `peek` returns the list, `put` takes it,
maps return it and viewers show it.
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
from beautyspot.tasks.core import CoreParts, TaskCore
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
    """The items that a stream has yielded, each serialized when it was yielded. As a context manager, it adds up time.

    Args:
        cache: The cache of the task.
        call: The call.

    Attributes:
        summary: What viewers list about the call.
        seconds: How long the generator has run.
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
            SerializationError: If *value* cannot be serialized; the error carries it.
        """
        self._items.append(self._cache.encode_item(value, len(self._items)))

    def store(self, replaced: str | None) -> None:
        """Store the list of the items; it replaces the blob at *replaced*."""
        self._cache.write(self.summary, self._cache.codec.encode_items(self._items), self.seconds, replaced)


class StreamLock:
    """The lock of a stream's key, held from the first item to the end.

    Args:
        single_flight: The locks of the project.
        key: The key of the call; the running code has acquired it.
    """

    def __init__(self, single_flight: SingleFlight, key: bytes) -> None:
        self._single_flight = single_flight
        self._key = key
        self._process = os.getpid()

    def pause(self) -> None:
        """Pause after an item: the stream holds the key, and the code that reads the item does not."""
        self._single_flight.pause_stream(self._key)

    def resume(self) -> None:
        """Go on, since the reader asks for the next item or closes the stream."""
        self._single_flight.resume_stream(self._key)

    def release(self, release_key: Callable[[bytes], None]) -> None:
        """Release the key with *release_key*, but not in a forked child: its stream is a copy, the parent holds it."""
        self._single_flight.unmark_held(self._key)
        if self._process == os.getpid():
            release_key(self._key)


class StreamCore(TaskCore):
    """The core of a stream: in a map and in a worker process, the function returns the list of its items."""

    __slots__ = ()

    def put(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any) -> None:
        """As for any task; *value* is an iterable of the items."""
        super().put(args, kwargs, list(value))


class StreamTask(Task[P, list[T]]):
    """A generator function whose items are cached; calling it gives an iterator, as the function does."""

    __slots__ = ()

    def _make_core(self, parts: CoreParts) -> StreamCore:
        return StreamCore(*parts._replace(function=lambda *args, **kwargs: list(parts.function(*args, **kwargs))))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items, as the function yields them, or from the cache. Nothing runs before the first one is requested."""
        self.core.keyer.values(args, kwargs)  # arguments that do not fit raise now, as with the function itself
        return self._stream(args, kwargs, fresh=False)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items of a new run, which replaces the cached result when it ends."""
        self.core.keyer.values(args, kwargs)
        return self._stream(args, kwargs, fresh=True)

    def _stream(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool) -> Generator[T, None, None]:
        core = self.core
        call = core.call(args, kwargs)
        items = MISSING if fresh else self._cached_items(call.key, core.cache.results.entry(call.key))
        if items is MISSING:
            recording = Recording(core.cache, call)
            waited = core.locks.acquire(call.key)
            lock = StreamLock(core.locks, call.key)
            try:
                core.cache.on_wait(recording.summary, waited)
                entry = core.cache.results.entry(call.key)
                items = MISSING if fresh else self._cached_items(call.key, entry)
                if items is MISSING:
                    yield from self._live(call, recording, lock)
                    recording.store(entry and entry.location)
            finally:
                lock.release(core.locks.release)
        if items is not MISSING:
            yield from items

    def _live(self, call: KeyedCall, recording: Recording, lock: StreamLock) -> Generator[T, None, None]:
        self.core.cache.on_miss(recording.summary)
        with self.core.keyer.run(call.args, call.kwargs) as run:
            generator: Any = iter(self.__wrapped__(*call.args, **call.kwargs))
            try:
                while (value := self._next_item(generator, recording)) is not MISSING:
                    lock.pause()
                    run.pause()
                    try:
                        yield value
                    finally:
                        run.resume()
                        lock.resume()
            finally:
                if hasattr(generator, "close"):
                    generator.close()

    def _next_item(self, generator: Any, recording: Recording) -> Any:
        try:
            with recording:
                value = next(generator, MISSING)
                if value is not MISSING:
                    recording.add(value)
        except Exception as error:
            self.core.cache.on_failure(recording.summary, error, recording.seconds)
            raise
        return value

    def _cached_items(self, key: bytes, entry: Entry | None) -> Any:
        return MISSING if entry is None or is_expired(entry) else self.core.cache.read_items(entry, key)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: StreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundStreamTask, instance, owner)
