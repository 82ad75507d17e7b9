"""Bound tasks: what looking up a method that is a task returns, on an instance."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from beautyspot.tasks.base import BaseTask, arguments
from beautyspot.tasks.options import AsyncMapOptions, MapOptions

if TYPE_CHECKING:
    from beautyspot.results.explain import Explanation

__all__ = ["BoundAsyncStreamTask", "BoundAsyncTask", "BoundStreamTask", "BoundTask"]

P = ParamSpec("P")
T = TypeVar("T")


class Bound(Generic[P, T]):
    """A task bound to an object: what looking up a method that is a task returns, on an instance."""

    def __init__(self, task: BaseTask[..., Any], instance: Any) -> None:
        self.task: Any = task  # of the subclass's kind; declared as such, type checkers would bind it once more
        self.instance = instance
        self.__doc__ = task.__doc__

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task, self.instance)

    def __repr__(self) -> str:
        return f"<{self.task!r} bound to {self.instance!r}>"

    def __getattr__(self, name: str) -> Any:
        # The first two are not set yet while this is unpickled. A method is not the function that it is made of: Ray
        # and `inspect.signature` must not find that one.
        if name in ("task", "instance", "__func__", "__signature__"):
            raise AttributeError(name)
        return getattr(self.task, name)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return functools.partial(self.task.__wrapped__, self.instance)

    def __beautyspot_followed__(self) -> tuple[bytes, Any, Any]:
        """As that of a task, with the object."""
        identity, function, _ = self.task.__beautyspot_followed__()
        return identity, function, self.instance

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The call's key; see `Task.key`."""
        return str(self.task.key(self.instance, *args, **kwargs))

    def cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a usable result is cached; runs nothing."""
        return bool(self.task.cached(self.instance, *args, **kwargs))

    def peek(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """The cached result, or *default*; runs nothing."""
        return self.task.peek(self.instance, *args, default=default, **kwargs)

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Delete the cached result; returns whether there was one."""
        return bool(self.task.forget(self.instance, *args, **kwargs))

    def put(self, args: Any, value: T) -> None:
        """Store a value that was computed elsewhere; see `Task.put`."""
        given, named = arguments(args)
        self.task.core.put((self.instance, *given), named, value)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Whether the call is cached and, if not, why; see `Task.explain`."""
        found: Explanation = self.task.explain(self.instance, *args, **kwargs)
        return found


class BoundTask(Bound[P, T]):
    """A `Task` bound to an object."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The cached result; after a miss, the method runs and its result is stored."""
        value: T = self.task(self.instance, *args, **kwargs)
        return value

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the method and replace the cached result."""
        value: T = self.task.refresh(self.instance, *args, **kwargs)
        return value

    def map(self, *iterables: Iterable[Any], **options: Unpack[MapOptions]) -> list[T]:
        """``bs.map(task, *iterables, **options)``."""
        mapped: list[T] = self.task.core.project.fan_out(self, iterables, options)
        return mapped


class BoundStreamTask(BoundTask[P, list[T]]):
    """A `StreamTask` bound to an object."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items, as the method yields them, or from the cache."""
        items: Generator[T, None, None] = self.task(self.instance, *args, **kwargs)
        return items

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:  # type: ignore[override]
        """The items of a new run, which replaces the cached result."""
        items: Generator[T, None, None] = self.task.refresh(self.instance, *args, **kwargs)
        return items


class BoundAsyncTask(Bound[P, T]):
    """An `AsyncTask` bound to an object."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """The cached result; after a miss, the method runs and its result is stored."""
        coroutine: Coroutine[Any, Any, T] = self.task(self.instance, *args, **kwargs)
        return coroutine

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Run the method and replace the cached result."""
        coroutine: Coroutine[Any, Any, T] = self.task.refresh(self.instance, *args, **kwargs)
        return coroutine

    async def map(self, *iterables: Iterable[Any], **options: Unpack[AsyncMapOptions]) -> list[T]:
        """``bs.amap(task, *iterables, **options)``."""
        mapped: list[T] = await self.task.core.project.fan_out_async(self, iterables, options)
        return mapped


class BoundAsyncStreamTask(BoundAsyncTask[P, list[T]]):
    """An `AsyncStreamTask` bound to an object."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items, as the method yields them, or from the cache."""
        items: AsyncGenerator[T, None] = self.task(self.instance, *args, **kwargs)
        return items

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:  # type: ignore[override]
        """The items of a new run, which replaces the cached result."""
        items: AsyncGenerator[T, None] = self.task.refresh(self.instance, *args, **kwargs)
        return items
