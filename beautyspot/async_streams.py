"""AsyncStreamTask: an async generator whose items reach the caller as they come; see `streams`.

One asyncio task drives the generator from its first item to its end, since what it opens (a timeout, a group of tasks)
is bound to the task that opened it. It draws an item when a reader has none left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.keys import KeyedCall
from beautyspot.methods import BoundAsyncStreamTask
from beautyspot.results import MISSING, is_expired
from beautyspot.task import AsyncTask
from beautyspot.under_way import UnderWay

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.protocols import Entry

__all__ = ["AsyncStreamTask"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")


class _Reading:
    """One run of an async generator, for all who read along on one event loop.

    Args:
        task: Whose run it is.
        call: Which.
        fresh: Whether a result that is kept already is replaced.
        wait: Whether someone else who runs it is waited for.
    """

    def __init__(self, task: Any, call: KeyedCall, fresh: bool, wait: bool) -> None:
        self.readers = 0
        self.was_kept = False  # meanwhile, by someone else
        self._task, self._key, self._fresh, self._wait = task, call.key, fresh, wait
        self._summary = task._keeper.describe(call)
        self._call: Callable[[], Any] = lambda: task.__wrapped__(*call.args, **call.kwargs)
        self._items: list[bytes] = []
        self._latest: tuple[int, Any] | None = None  # as it was yielded, for the first who reads it
        self._error: BaseException | None = None
        self._is_over = self._keeps = False
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._driver = asyncio.get_running_loop().create_task(self._drive())

    async def items(self) -> AsyncGenerator[Any, None]:
        """All items from the first one on: those that were drawn before as fresh objects."""
        position = 0
        while True:
            while position == len(self._items) and not self._is_over:
                self._wanted.set()
                await self._news.wait()
            if position == len(self._items):
                break
            yield self._item(position)
            position += 1
        if self._error is not None:
            raise self._error

    def _item(self, position: int) -> Any:
        latest, self._latest = self._latest, None
        if latest is not None and latest[0] == position:
            return latest[1]
        return self._task._keeper.form.serializer.loads(self._items[position])

    async def leave(self) -> None:
        """One reader fewer; with the last one the run ends, unless it is being kept already."""
        self.readers -= 1
        if not self.readers and not self._is_over:
            self._task._drop(self._key, self)
            if not self._keeps:
                self._driver.cancel()
            await asyncio.wait([self._driver])

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _drive(self) -> None:
        flights = self._task._flights
        try:
            waited = await flights.acquire_async(self._key, self._wait)
            try:
                if waited:
                    self._task._waited(self._summary, waited)
                await self._run()
            finally:
                flights.land_async(self._key)
        except BaseException as error:
            self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._is_over = True
            self._task._drop(self._key, self)
            self._tell()

    async def _run(self) -> None:
        task, keeper, run_io = self._task, self._task._keeper, self._task.project.run_io
        entry: Entry | None = await task._entry_of(self._key)
        if entry is not None and not self._fresh and not is_expired(entry):
            self.was_kept = await run_io(keeper.results.items, entry, keeper.form) is not MISSING
            if self.was_kept:
                return
        keeper.begin(self._summary)
        seconds = 0.0
        generator = self._call()
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                started = perf_counter()
                value = await anext(generator, MISSING)
                seconds += perf_counter() - started
                if value is MISSING:
                    break
                self._items.append(keeper.encode_item(value, len(self._items)))
                self._latest = (len(self._items) - 1, value)
                self._tell()
        except Exception as error:
            await run_io(keeper.failed, self._summary, error, seconds)
            raise
        finally:
            if hasattr(generator, "aclose"):
                await generator.aclose()
        self._keeps = True
        replaced = entry and entry.location
        await asyncio.shield(run_io(self._keep, seconds, replaced))

    def _keep(self, seconds: float, replaced: str | None) -> None:
        keeper = self._task._keeper
        keeper.write(self._summary, keeper.encode_items(self._items), seconds, replaced)


class AsyncStreamTask(AsyncTask[P, list[T]]):
    """An async generator function whose items are kept; calling it gives an async iterator, as the function does."""

    __slots__ = ("_readings",)

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)
        self._readings: dict[tuple[bytes, asyncio.AbstractEventLoop], _Reading] = {}

    def _look_like_a_coroutine_function(self) -> None:
        """It is none: what it returns is iterated over, and not awaited."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items, as the function yields them, or from what is kept. Nothing runs before the first is asked for."""
        self._keyer.values(args, kwargs)  # what does not fit is said now, as by the function itself
        return self._read_along(args, kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items of a new run, which replaces the kept result when it has come to its end."""
        self._keyer.values(args, kwargs)
        return self._read_along(args, kwargs, fresh=True)

    async def _read_along(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool = False, wait: bool = True
    ) -> AsyncGenerator[T, None]:
        call = self._keyed(args, kwargs)
        self._flights.refuse_own(call.key)
        while True:
            kept = MISSING if fresh else await self._kept_items(call.key)
            if kept is not MISSING:
                for item in kept:
                    yield item
                return
            at = (call.key, asyncio.get_running_loop())
            reading = self._readings.get(at)
            if reading is None:
                reading = self._readings[at] = _Reading(self, call, fresh, wait)
            reading.readers += 1
            items = reading.items()
            try:
                async for item in items:
                    yield item
                if not reading.was_kept:
                    return
            except UnderWay:
                if not wait:
                    raise
            finally:
                await items.aclose()
                await reading.leave()

    async def _kept_items(self, key: bytes) -> Any:
        entry = await self._entry_of(key)
        if entry is None or is_expired(entry):
            return MISSING
        return await self.project.run_io(self._keeper.items, entry, key)

    def _drop(self, key: bytes, reading: _Reading) -> None:
        at = (key, asyncio.get_running_loop())
        if self._readings.get(at) is reading:
            del self._readings[at]

    async def _compute(self, call: KeyedCall, fresh: bool = False, wait: bool = True) -> list[T]:
        """All items, for a map."""
        return [item async for item in self._read_along(call.args, call.kwargs, fresh, wait)]

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncStreamTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncStreamTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncStreamTask, instance, owner)
