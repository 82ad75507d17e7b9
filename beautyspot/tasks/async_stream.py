"""AsyncStreamTask: an async generator whose items reach the caller as they come; see `streams`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING, is_expired
from beautyspot.tasks.bound import BoundAsyncStreamTask
from beautyspot.tasks.stream import Recording, Turn
from beautyspot.tasks.task import AsyncTask

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.protocols.index import Entry

__all__ = ["AsyncStreamTask"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")


class _AsyncTurn(Turn):
    """As `Turn`; it ends too where the stream is collected after its event loop, which cannot close it any more."""

    _has_ended = False

    def end_after(self, keeping: asyncio.Future[None] | None) -> None:
        """Give the key back when the result is written, as it is even where the reader is cancelled meanwhile."""
        self._has_ended = True
        if keeping is None or keeping.done():
            self.end(self._single_flight.release_async)
        else:
            self._single_flight.unmark_held(self._key)
            keeping.add_done_callback(lambda _: self.end(self._single_flight.release_async))

    def __del__(self) -> None:
        if not self._has_ended:
            self.end(self._single_flight.release)


class AsyncStreamTask(AsyncTask[P, list[T]]):
    """An async generator function whose items are kept; calling it gives an async iterator, as the function does."""

    __slots__ = ()

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)

        async def items(*args: Any, **kwargs: Any) -> list[Any]:
            return [item async for item in function(*args, **kwargs)]

        self._run = items  # for a map

    def _look_like_a_coroutine_function(self) -> None:
        """It is none: what it returns is iterated over, and not awaited."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items, as the function yields them, or from what is kept. Nothing runs before the first is asked for."""
        self._keyer.values(args, kwargs)  # what does not fit is said now, as by the function itself
        return self._stream(args, kwargs, fresh=False)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items of a new run, which replaces the kept result when it has come to its end."""
        self._keyer.values(args, kwargs)
        return self._stream(args, kwargs, fresh=True)

    async def _stream(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool) -> AsyncGenerator[T, None]:
        call = self._keyed(args, kwargs)
        kept = MISSING if fresh else await self._kept_items(call.key, await self._entry_of(call.key))
        if kept is MISSING:
            recording = Recording(self._cache, call)
            waited = await self._single_flight.acquire_async(call.key)
            turn, keeping = _AsyncTurn(self._single_flight, call.key), None
            try:
                if waited:
                    self._waited(recording.summary, waited)
                entry = await self._entry_of(call.key)
                kept = MISSING if fresh else await self._kept_items(call.key, entry)
                if kept is MISSING:
                    async with aclosing(self._live(call, recording, turn)) as live:
                        async for item in live:
                            yield item
                    keeping = self.project.run_io(recording.keep, entry and entry.location)
                    await asyncio.shield(keeping)
            finally:
                turn.end_after(keeping)
        if kept is not MISSING:
            for item in kept:
                yield item

    async def _live(self, call: KeyedCall, recording: Recording, turn: Turn) -> AsyncGenerator[T, None]:
        self._cache.begin(recording.summary)
        generator: Any = self.__wrapped__(*call.args, **call.kwargs)
        try:
            while (value := await self._drawn(generator, recording)) is not MISSING:
                turn.pause()
                try:
                    yield value
                finally:
                    turn.go_on()
        finally:
            if hasattr(generator, "aclose"):
                await generator.aclose()

    async def _drawn(self, generator: Any, recording: Recording) -> Any:
        try:
            with recording:
                value = await anext(generator, MISSING)
                if value is not MISSING:
                    recording.add(value)
        except Exception as error:
            await self.project.run_io(self._cache.failed, recording.summary, error, recording.seconds)
            raise
        return value

    async def _kept_items(self, key: bytes, entry: Entry | None) -> Any:
        if entry is None or is_expired(entry):
            return MISSING
        return await self.project.run_io(self._cache.items, entry, key)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncStreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncStreamTask, instance, owner)
