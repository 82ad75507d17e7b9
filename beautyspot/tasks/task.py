"""Task, AsyncTask: what ``@project.task`` makes of a function, and of a coroutine function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING, is_expired
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
from beautyspot.tasks.core import AsyncTaskCore, CoreParts, Services, TaskCore
from beautyspot.tasks.options import AsyncMapOptions, MapOptions, Options

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")

__all__ = ["AsyncTask", "Task"]


class Task(BaseTask[P, T]):
    """A function whose results are cached; called as the function is."""

    core: TaskCore

    def _make_core(self, parts: CoreParts) -> TaskCore:
        return TaskCore(*parts)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The cached result; after a miss the function's, which is stored."""
        core = self.core
        key, parts = core.keyer(args, kwargs)
        # A hit ends here. `core.find` would do the same for one more call.
        entry = core.cache.results.entry(key)
        if entry is not None and not is_expired(entry):
            value = core.cache.read(entry, key)
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        return core.run(KeyedCall(key, parts, args, kwargs)).value  # type: ignore[no-any-return]

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the cached result."""
        return self.core.run(self.core.call(args, kwargs), fresh=True).value  # type: ignore[no-any-return]

    def map(self, *iterables: Iterable[Any], **options: Unpack[MapOptions]) -> list[T]:
        """``bs.map(task, *iterables, **options)``."""
        return self.core.project.fan_out(self, iterables, options)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Task[Concatenate[S, Q], T], instance: S, owner: type | None = None) -> BoundTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundTask, instance, owner)


class AsyncTask(BaseTask[P, T]):
    """A coroutine function whose results are cached; called and awaited as the function is."""

    core: AsyncTaskCore

    def __init__(self, function: Callable[..., Any], project: Services, options: Options) -> None:
        super().__init__(function, project, options)
        self._mark_as_coroutine_function()

    def _make_core(self, parts: CoreParts) -> AsyncTaskCore:
        return AsyncTaskCore(*parts)

    def _mark_as_coroutine_function(self) -> None:
        mark_as_coroutine_function(self)

    def __setstate__(self, sealed: Any) -> None:
        super().__setstate__(sealed)
        self._mark_as_coroutine_function()

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The cached result; after a miss the function's, which is stored."""
        core = self.core
        key, parts = core.keyer(args, kwargs)
        _, value = await core.find_async(key)
        if value is MISSING:
            value = (await core.run(KeyedCall(key, parts, args, kwargs))).value
        return value  # type: ignore[no-any-return]

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the cached result."""
        computed = await self.core.run(self.core.call(args, kwargs), fresh=True)
        return computed.value  # type: ignore[no-any-return]

    async def map(self, *iterables: Iterable[Any], **options: Unpack[AsyncMapOptions]) -> list[T]:
        """``bs.amap(task, *iterables, **options)``."""
        return await self.core.project.fan_out_async(self, iterables, options)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncTask, instance, owner)


def mark_as_coroutine_function(task: BaseTask[..., Any]) -> None:
    """Have `inspect.iscoroutinefunction` say yes; Python 3.11 has no such mark and looks at ``__code__``."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(task)
