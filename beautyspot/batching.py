"""Batching: the part of a project that makes batch tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from beautyspot.base_task import BaseTask, TaskOptions
from beautyspot.batch_task import AsyncBatchTask, BatchTask, batch_options
from beautyspot.errors import ConfigurationError
from beautyspot.naming import full_name

A = TypeVar("A")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Batching:
    """What a project knows of batch tasks."""

    @overload
    def batch_task(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
    ) -> AsyncBatchTask[A, Q, R]: ...
    @overload
    def batch_task(
        self, function: Callable[Concatenate[S, list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
    ) -> AsyncBatchMethod[S, A, Q, R]: ...
    @overload
    def batch_task(self, function: Callable[Concatenate[list[A], Q], Sequence[R]], /) -> BatchTask[A, Q, R]: ...  # type: ignore[overload-overlap]
    @overload
    def batch_task(self, function: Callable[Concatenate[S, list[A], Q], Sequence[R]], /) -> BatchMethod[S, A, Q, R]: ...
    @overload
    def batch_task(
        self, /, *, size: int = 64, batch: str | None = None, **options: Unpack[TaskOptions]
    ) -> _BatchDecorator: ...
    def batch_task(self, function: Any = None, /, *, size: int = 64, batch: str | None = None, **options: Any) -> Any:
        """Keep the results of a function that takes a list and returns a list of the same length, item by item.

        It is called with the items that are not kept, at most *size* at a time, and each result is kept under its own
        input. With or without options, as a decorator or called on a function.

        Args:
            function: What to keep the results of; sync or async, a method too.
            size: How many items the function is called with at most.
            batch: The parameter that takes the list; by default the first one that is annotated as a list, or the
                first (after ``self``).
            options: As for `Project.task`. ``key`` is asked about one item in place of the list; ``ignore`` cannot
                name the list.

        Raises:
            ConfigurationError: If an option cannot work.
            UnkeyableError: If the function captured something that cannot be part of a key.
        """
        project: Any = self
        checked = project._checked("batch_task", options)

        def made(function: Any) -> Any:
            plain = getattr(function, "__func__", function) if isinstance(function, _WRAPPED) else function
            if not callable(plain):
                raise ConfigurationError(f"project.batch_task is for a function, and {plain!r} cannot be called")
            if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
                raise ConfigurationError(f"{full_name(plain)} is a generator: a batch function returns a list")
            return project._make(function, batch_options(plain, checked, size, batch), _kind_of)

        return made if function is None else made(function)


_WRAPPED = (staticmethod, classmethod)


def _kind_of(function: Any) -> Any:
    return AsyncBatchTask if inspect.iscoroutinefunction(function) else BatchTask


if TYPE_CHECKING:

    class BatchMethod(BaseTask[Concatenate[S, A, Q], R], Generic[S, A, Q, R]):
        """A batch task in a class, or one whose list is its second argument."""

        def __call__(self, first: S, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As `BatchTask`."""
            ...

        def refresh(self, first: S, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As `BatchTask`."""
            ...

        @overload
        def __get__(self, instance: None, owner: type) -> BatchMethod[S, A, Q, R]: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> BatchTask[A, Q, R]: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...

    class AsyncBatchMethod(BaseTask[Concatenate[S, A, Q], R], Generic[S, A, Q, R]):
        """As `BatchMethod`."""

        async def __call__(self, first: S, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As `AsyncBatchTask`."""
            ...

        async def refresh(self, first: S, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As `AsyncBatchTask`."""
            ...

        @overload
        def __get__(self, instance: None, owner: type) -> AsyncBatchMethod[S, A, Q, R]: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> AsyncBatchTask[A, Q, R]: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...

    class _BatchDecorator:
        """What ``project.batch_task(...)`` with options returns."""

        @overload
        def __call__(  # type: ignore[overload-overlap]
            self, function: Callable[Concatenate[list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
        ) -> AsyncBatchTask[A, Q, R]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[S, list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
        ) -> AsyncBatchMethod[S, A, Q, R]: ...
        @overload
        def __call__(self, function: Callable[Concatenate[list[A], Q], Sequence[R]], /) -> BatchTask[A, Q, R]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(
            self, function: Callable[Concatenate[S, list[A], Q], Sequence[R]], /
        ) -> BatchMethod[S, A, Q, R]: ...
        @overload
        def __call__(self, function: Callable[..., Any], /) -> BatchTask[Any, ..., Any]: ...
        def __call__(self, function: Any, /) -> Any: ...
