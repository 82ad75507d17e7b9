"""Task: what ``@project.task`` makes of a function. A call is a lookup, or a flight, a run and a keeping."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry
from beautyspot.results.store import MISSING, is_expired
from beautyspot.tasks.base import BaseTask, ComputedResult
from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
from beautyspot.tasks.options import Options

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")

__all__ = ["AsyncTask", "Task"]


class Task(BaseTask[P, T]):
    """A function whose results are kept; called as the function is."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The kept result, or the function's, which is kept then."""
        key, parts = self._keyer(args, kwargs)
        entry = self._entry(key)
        if entry is not None and not is_expired(entry):
            value = self._read(entry, key)
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        return self._compute_locked(KeyedCall(key, parts, args, kwargs)).value  # type: ignore[no-any-return]

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the kept result."""
        return self._compute_locked(self._keyed(args, kwargs), fresh=True).value  # type: ignore[no-any-return]

    def _compute_locked(self, call: KeyedCall, fresh: bool = False, wait: bool = True) -> ComputedResult:
        """Run the function unless someone did meanwhile; where he is not done yet, *wait* or say so."""
        key, _, args, kwargs = call
        summary = self._cache.describe(call)  # before the function may change its arguments
        if waited := self._single_flight.acquire(key, wait):
            self._waited(summary, waited)
        try:
            entry = self._entry(key)  # someone else may have run it meanwhile
            if entry is not None and not fresh and not is_expired(entry):
                value = self._read(entry, key)
                if value is not MISSING:
                    return ComputedResult(value, entry, None, None)
            started = self._cache.begin(summary)
            try:
                value = self._run(*args, **kwargs)
            except Exception as error:
                self._cache.failed(summary, error, perf_counter() - started)
                raise
            seconds = perf_counter() - started
            return ComputedResult(value, *self._cache.keep(summary, value, seconds, entry and entry.location), seconds)
        finally:
            self._single_flight.release_current(key)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Task[Concatenate[S, Q], T], instance: S, owner: type | None = None) -> BoundTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundTask, instance, owner)


class AsyncTask(BaseTask[P, T]):
    """A coroutine function whose results are kept; called and awaited as the function is.

    The index is asked on the event loop where it answers in microseconds; blobs are read, and results
    written, in threads of the project.
    """

    def __init__(self, function: Callable[..., Any], project: Any, options: Options) -> None:
        super().__init__(function, project, options)
        self._look_like_a_coroutine_function()

    def _look_like_a_coroutine_function(self) -> None:
        mark = getattr(inspect, "markcoroutinefunction", None)
        if mark is not None:  # Python 3.11 looks at its code
            mark(self)

    def __setstate__(self, sealed: Any) -> None:
        super().__setstate__(sealed)
        self._look_like_a_coroutine_function()

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The kept result, or the function's, which is kept then."""
        key, parts = self._keyer(args, kwargs)
        entry = await self._entry_of(key)
        if entry is not None and not is_expired(entry):
            value = await self._value(entry, key)
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        return await self._compute_locked_async(KeyedCall(key, parts, args, kwargs))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the kept result."""
        return await self._compute_locked_async(self._keyed(args, kwargs), fresh=True)

    async def _entry_of(self, key: bytes) -> Entry | None:
        results = self._cache.results
        if results.is_quick:
            return results.entry(key)
        found: Entry | None = await self.project.run_io(results.entry, key)
        return found

    async def _value(self, entry: Entry, key: bytes) -> Any:
        # A large value would hold up the event loop while it is read.
        small = entry.value is not None and entry.size < 1 << 16
        return self._read(entry, key) if small else await self.project.run_io(self._read, entry, key)

    async def _compute_locked_async(self, call: KeyedCall, fresh: bool = False, wait: bool = True) -> T:
        import asyncio  # half of the time that importing beautyspot may take

        key, _, args, kwargs = call
        summary = self._cache.describe(call)
        if waited := await self._single_flight.acquire_async(key, wait):
            self._waited(summary, waited)
        keeping = None
        try:
            entry = await self._entry_of(key)
            if entry is not None and not fresh and not is_expired(entry):
                value = await self._value(entry, key)
                if value is not MISSING:
                    return value  # type: ignore[no-any-return]
            started = self._cache.begin(summary)
            try:
                value = await self._run(*args, **kwargs)
            except Exception as error:
                await self.project.run_io(self._cache.failed, summary, error, perf_counter() - started)
                raise
            seconds = perf_counter() - started
            keeping = self.project.run_io(self._cache.keep, summary, value, seconds, entry and entry.location)
            await asyncio.shield(keeping)
            return value  # type: ignore[no-any-return]
        finally:
            self._single_flight.unmark_held(key)
            if keeping is None or keeping.done():
                self._single_flight.release_async(key)
            else:  # cancelled while the result is being written: it is kept all the same
                keeping.add_done_callback(lambda _: self._single_flight.release_async(key))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncTask, instance, owner)
