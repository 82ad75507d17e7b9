"""Decorating: the part of a project that makes tasks of functions."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from beautyspot._internal.names import full_name
from beautyspot._internal.registry import Registry
from beautyspot._internal.units import ttl_seconds
from beautyspot.errors import ConfigurationError
from beautyspot.keys.dependencies import checked_deps
from beautyspot.keys.keyer import function_name
from beautyspot.keys.policies import Policy
from beautyspot.protocols.serializer import BufferSerializer, Serializer
from beautyspot.protocols.storage import BlobStorage, MapsBlobs
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
from beautyspot.tasks.options import Options, TaskOptions, batch_options
from beautyspot.tasks.task import AsyncTask, Task

A = TypeVar("A")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

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


if TYPE_CHECKING:
    from beautyspot.maintenance.retention import Retention
    from beautyspot.tasks.async_stream import AsyncStreamTask
    from beautyspot.tasks.stream import StreamTask


SERIALIZERS = Registry(
    "serializer", "beautyspot.serializers", {"msgpack": "beautyspot.serialization.msgpack_serializer:MsgpackSerializer"}
)


_OPTIONS = frozenset(field.name for field in fields(Options))


class Decorating:
    """The part of a project that makes tasks of functions."""

    storage: BlobStorage
    serializer: Serializer
    retention: Retention | None

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> AsyncTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, Iterator[T]], /) -> StreamTask[P, T]: ...
    @overload
    def task(self, function: Callable[P, T], /) -> Task[P, T]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> _Decorator: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Keep the results of a function; with or without options, as a decorator or called on a function.

        Args:
            function: What to keep the results of; sync or async, a method, a lambda, a partial.
            save_blob: Results always in blob storage, never, or (``None``) by size.
            version: Part of the key; ``"auto"`` follows the function's own code, and that of *deps*.
            key: A callable of the call's arguments giving what identifies them, or a `KeyGen` policy.
            ignore: Names of arguments, or of captured variables, that do not identify the call.
            content_type: How viewers show the result: a `ContentType` or any MIME type.
            ttl: How long a result is good for: ``"90s"``, ``"12h"``, ``"30d"``, seconds or a timedelta.
            serializer: For this task alone: an object, or the name of an installed one.
            mmap: Arrays of kept blobs are mapped into memory, read-only, instead of read.
            deps: Functions, classes, modules and tasks whose code ``version="auto"`` follows too.

        Raises:
            ConfigurationError: If an option cannot work.
            UnkeyableError: If the function captured something that cannot be part of a key.
        """
        checked = self._checked("task", options)
        if function is None:
            return lambda function: self._make(function, checked)
        return self._make(function, checked)

    def _checked(self, decorator: str, options: dict[str, Any]) -> Options:
        for name in options.keys() - _OPTIONS:
            from difflib import get_close_matches

            near = get_close_matches(name, _OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(_OPTIONS))}"
            raise TypeError(f"project.{decorator} has no option {name!r}; {hint}")
        given = Options(**options)
        self._check(given)
        return replace(
            given,
            ignore=(given.ignore,) if isinstance(given.ignore, str) else tuple(given.ignore),
            ttl=ttl_seconds(given.ttl),
            serializer=serializer_of(given.serializer),
            deps=checked_deps(options.get("deps", ()), given.version),
        )

    def _check(self, given: Options) -> None:
        """Refuse options that cannot work; those are looked at here that are kept as they were given."""
        if given.save_blob not in (None, True, False):
            raise ConfigurationError(f"save_blob is True, False or None, not {given.save_blob!r}")
        if given.key is not None and not callable(given.key) and not isinstance(given.key, Policy):
            raise ConfigurationError(f"key is a callable or a policy of KeyGen, not {given.key!r}")
        if given.mmap and (given.save_blob is False or not isinstance(self.storage, MapsBlobs)):
            raise ConfigurationError(
                "mmap=True maps blobs, so it needs a storage of local files and no save_blob=False"
            )
        if given.mmap and not isinstance(serializer_of(given.serializer) or self.serializer, BufferSerializer):
            raise ConfigurationError("mmap=True needs a serializer that keeps buffers apart, as the built-in one does")
        if given.content_type is not None and "/" not in str(given.content_type):
            raise ConfigurationError(
                f'content_type is a ContentType or a MIME type such as "text/markdown", not {given.content_type!r}'
            )

    def _make(self, function: Any, options: Options, kind_of: Callable[[Any], Any] | None = None) -> Any:
        if isinstance(function, staticmethod | classmethod):
            task = self._make(function.__func__, options, kind_of)
            task.binds = "nothing" if isinstance(function, staticmethod) else "class"
            return task
        if not callable(function):
            raise ConfigurationError(f"project.task keeps the results of a function, and {function!r} cannot be called")
        if self.retention is not None and options.ttl is None:
            options = replace(options, ttl=self.retention.ttl_of(function_name(function)))
        return (kind_of or _kind_of)(inspect.unwrap(function))(function, self, options)


def _kind_of(function: Any) -> Callable[..., Any]:
    """What a task of this kind of function is made by."""
    if inspect.isgeneratorfunction(function):
        from beautyspot.tasks.stream import StreamTask

        return StreamTask
    if inspect.isasyncgenfunction(function):
        from beautyspot.tasks.async_stream import AsyncStreamTask

        return AsyncStreamTask
    return AsyncTask if inspect.iscoroutinefunction(function) else Task


class _Decorator:
    """What ``project.task(...)`` with options returns, for type checkers."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> AsyncTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Iterator[T]], /) -> StreamTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Task[P, T]: ...
    def __call__(self, function: Any, /) -> Any: ...


def serializer_of(given: Serializer | str | None) -> Serializer | None:
    """A serializer, looked up where its name was given."""
    found: Serializer | None = SERIALIZERS[given]() if isinstance(given, str) else given
    if found is not None and (isinstance(found, type) or not _serializes(found)):
        raise ConfigurationError(f"a serializer is an object with the methods dumps and loads, not {given!r}")
    return found


def _serializes(given: object) -> bool:
    return all(callable(getattr(given, name, None)) for name in ("dumps", "loads"))


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
            return project._make(function, batch_options(plain, checked, size, batch), _kind_of_batch)

        return made if function is None else made(function)


_WRAPPED = (staticmethod, classmethod)


def _kind_of_batch(function: Any) -> Any:
    return AsyncBatchTask if inspect.iscoroutinefunction(function) else BatchTask
