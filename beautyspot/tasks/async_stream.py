"""AsyncStreamTask: an async generator whose items reach the caller as they come; see `stream`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING, is_expired
from beautyspot.tasks.bound import BoundAsyncStreamTask
from beautyspot.tasks.core import AsyncTaskCore, CoreParts
from beautyspot.tasks.stream import Recording, StreamLock
from beautyspot.tasks.task import AsyncTask

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.protocols.index import Entry

__all__ = ["AsyncStreamTask"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")


class _AsyncStreamLock(StreamLock):
    """As `StreamLock`; also released if the stream is collected after its event loop, which can no longer close it."""

    _is_released = False

    def release_after(self, writing: asyncio.Future[None] | None) -> None:
        """Release the key once the result is written, also if the reader is cancelled meanwhile."""
        self._is_released = True
        if writing is None or writing.done():
            self.release(self._single_flight.release_async)
        else:
            self._single_flight.unmark_held(self._key)
            writing.add_done_callback(lambda _: self.release(self._single_flight.release_async))

    def __del__(self) -> None:
        if not self._is_released:
            self.release(self._single_flight.release)


class AsyncStreamCore(AsyncTaskCore):
    """The core of an async stream: in a map, the function returns the list of its items."""

    __slots__ = ()

    def put(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any) -> None:
        """As for any task; *value* is an iterable of the items."""
        super().put(args, kwargs, list(value))


class AsyncStreamTask(AsyncTask[P, list[T]]):
    """An async generator function whose items are cached; calling it gives an async iterator, as the function does."""

    __slots__ = ()

    def _make_core(self, parts: CoreParts) -> AsyncStreamCore:
        async def items(*args: Any, **kwargs: Any) -> list[Any]:
            return [item async for item in parts.function(*args, **kwargs)]

        return AsyncStreamCore(*parts._replace(function=items))

    def _mark_as_coroutine_function(self) -> None:
        """Do nothing: what an async stream returns is iterated over, not awaited."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items, as the function yields them, or from the cache. Nothing runs before the first one is requested."""
        self.core.keyer.values(args, kwargs)  # arguments that do not fit raise now, as with the function itself
        return self._stream(args, kwargs, fresh=False)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items of a new run, which replaces the cached result when it ends."""
        self.core.keyer.values(args, kwargs)
        return self._stream(args, kwargs, fresh=True)

    async def _stream(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool) -> AsyncGenerator[T, None]:
        core = self.core
        call = core.call(args, kwargs)
        items = MISSING if fresh else await self._cached_items(call.key, await self._entry(call.key))
        if items is MISSING:
            recording = Recording(core.cache, call)
            waited = await core.locks.acquire_async(call.key)
            lock, writing = _AsyncStreamLock(core.locks, call.key), None
            try:
                core.cache.on_wait(recording.summary, waited)
                entry = await self._entry(call.key)
                items = MISSING if fresh else await self._cached_items(call.key, entry)
                if items is MISSING:
                    async with aclosing(self._live(call, recording, lock)) as live:
                        async for item in live:
                            yield item
                    writing = core.project.run_io(recording.store, entry and entry.location)
                    await asyncio.shield(writing)
            finally:
                lock.release_after(writing)
        if items is not MISSING:
            for item in items:
                yield item

    async def _live(self, call: KeyedCall, recording: Recording, lock: StreamLock) -> AsyncGenerator[T, None]:
        self.core.cache.on_miss(recording.summary)
        with self.core.keyer.run(call.args, call.kwargs, is_async=True) as run:
            generator: Any = self.__wrapped__(*call.args, **call.kwargs)
            try:
                while (value := await self._next_item(generator, recording)) is not MISSING:
                    lock.pause()
                    run.pause()
                    try:
                        yield value
                    finally:
                        run.resume()
                        lock.resume()
            finally:
                if hasattr(generator, "aclose"):
                    await generator.aclose()

    async def _next_item(self, generator: Any, recording: Recording) -> Any:
        try:
            with recording:
                value = await anext(generator, MISSING)
                if value is not MISSING:
                    recording.add(value)
        except Exception as error:
            await self.core.project.run_io(self.core.cache.on_failure, recording.summary, error, recording.seconds)
            raise
        return value

    async def _entry(self, key: bytes) -> Entry | None:
        entry, _ = await self.core.find_async(key, fresh=True)
        return entry

    async def _cached_items(self, key: bytes, entry: Entry | None) -> Any:
        if entry is None or is_expired(entry):
            return MISSING
        return await self.core.project.run_io(self.core.cache.read_items, entry, key)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncStreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncStreamTask, instance, owner)
