"""Decorators: makes tasks of functions."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

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
from beautyspot.tasks.core import Services
from beautyspot.tasks.options import Options, batch_options
from beautyspot.tasks.task import AsyncTask, Task

if TYPE_CHECKING:
    from beautyspot.maintenance.retention import Retention
    from beautyspot.tasks.async_stream import AsyncStreamTask
    from beautyspot.tasks.stream import StreamTask

A = TypeVar("A")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

SERIALIZERS = Registry(
    "serializer", "beautyspot.serializers", {"msgpack": "beautyspot.serialization.msgpack_serializer:MsgpackSerializer"}
)


_OPTIONS = frozenset(field.name for field in fields(Options))


TaskKind = Callable[[Callable[..., Any], Services, Options], BaseTask[..., Any]]


class Decorators:
    """Makes tasks of functions: checks the options, and picks the kind of task.

    Args:
        storage: The storage of the project.
        serializer: The serializer of the project.
        retention: The retention of the project, if it has one.
    """

    def __init__(self, storage: BlobStorage, serializer: Serializer, retention: Retention | None) -> None:
        self._storage = storage
        self._serializer = serializer
        self._retention = retention
        self._named: weakref.WeakValueDictionary[str, BaseTask[..., Any]] = weakref.WeakValueDictionary()

    def checked(self, decorator: str, options: dict[str, Any]) -> Options:
        """The options of ``project.task`` or ``project.batch_task``, checked.

        Args:
            decorator: The name of the method, for errors.
            options: The options as they were given.

        Raises:
            TypeError: If there is no such option.
            ConfigurationError: If an option is invalid.
        """
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
        """Reject invalid options; the others are checked where they are converted."""
        if given.name is not None and (not isinstance(given.name, str) or not given.name.strip()):
            raise ConfigurationError(f'name is a text, as in @project.task(name="ask"), not {given.name!r}')
        if given.save_blob not in (None, True, False):
            raise ConfigurationError(f"save_blob is True, False or None, not {given.save_blob!r}")
        if given.key is not None and not callable(given.key) and not isinstance(given.key, Policy):
            raise ConfigurationError(f"key is a callable or a policy of KeyGen, not {given.key!r}")
        if given.mmap and (given.save_blob is False or not isinstance(self._storage, MapsBlobs)):
            raise ConfigurationError(
                "mmap=True maps blobs, so it needs a storage of local files and no save_blob=False"
            )
        if given.mmap and not isinstance(serializer_of(given.serializer) or self._serializer, BufferSerializer):
            raise ConfigurationError("mmap=True needs a serializer that keeps buffers apart, as the built-in one does")
        if given.content_type is not None and "/" not in str(given.content_type):
            raise ConfigurationError(
                f'content_type is a ContentType or a MIME type such as "text/markdown", not {given.content_type!r}'
            )

    def task(self, project: Services, function: Any, options: Options) -> BaseTask[..., Any]:
        """Make a task of *project*.

        Raises:
            ConfigurationError, UnkeyableError: As `Project.task` does.
        """
        return self._make(project, function, options, _kind_of)

    def batch_task(
        self, project: Services, function: Any, options: Options, size: int, batch: str | None
    ) -> BaseTask[..., Any]:
        """Make a batch task of *project*.

        Raises:
            ConfigurationError, UnkeyableError: As `Project.batch_task` does.
        """
        plain = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        if not callable(plain):
            raise ConfigurationError(f"project.batch_task is for a function, and {plain!r} cannot be called")
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise ConfigurationError(f"{full_name(plain)} is a generator: a batch function returns a list")
        return self._make(project, function, batch_options(plain, options, size, batch), _kind_of_batch)

    def _make(
        self, project: Services, function: Any, options: Options, kind_of: Callable[[Callable[..., Any]], TaskKind]
    ) -> BaseTask[..., Any]:
        if isinstance(function, staticmethod | classmethod):
            task = self._make(project, function.__func__, options, kind_of)
            task.binds = "nothing" if isinstance(function, staticmethod) else "class"
            return task
        if not callable(function):
            raise ConfigurationError(f"project.task keeps the results of a function, and {function!r} cannot be called")
        if self._retention is not None and options.ttl is None:
            options = replace(options, ttl=self._retention.ttl_of(function_name(function)))
        kind = kind_of(inspect.unwrap(function))
        task = kind(function, project, options)
        if options.name is not None:
            self._take_name(options.name, task)
        return task

    def _take_name(self, name: str, task: BaseTask[..., Any]) -> None:
        """Give *task* its name; a cell or a module that runs once more makes the task of that name anew.

        Raises:
            ConfigurationError: If a task that another function makes has the name.
        """
        other, home = self._named.get(name), task.core.keyer.home
        if other is not None and other.core.keyer.home != home:
            raise ConfigurationError(
                f"two functions are called {name!r}, {other.core.keyer.home} and {home}, and their results would be "
                f"mixed: write another name, such as @project.task(name={name + ' 2'!r})"
            )
        self._named[name] = task


def _kind_of(function: Callable[..., Any]) -> TaskKind:
    """The kind of task that a function becomes."""
    if inspect.isgeneratorfunction(function):
        from beautyspot.tasks.stream import StreamTask

        return StreamTask
    if inspect.isasyncgenfunction(function):
        from beautyspot.tasks.async_stream import AsyncStreamTask

        return AsyncStreamTask
    return AsyncTask if inspect.iscoroutinefunction(function) else Task


def _kind_of_batch(function: Callable[..., Any]) -> TaskKind:
    return AsyncBatchTask if inspect.iscoroutinefunction(function) else BatchTask


def serializer_of(given: Serializer | str | None) -> Serializer | None:
    """The serializer, looked up if it was given by name."""
    found: Serializer | None = SERIALIZERS[given]() if isinstance(given, str) else given
    if found is not None and (isinstance(found, type) or not _serializes(found)):
        raise ConfigurationError(f"a serializer is an object with the methods dumps and loads, not {given!r}")
    return found


def _serializes(given: object) -> bool:
    return all(callable(getattr(given, name, None)) for name in ("dumps", "loads"))


class TaskDecorator:
    """What ``project.task(...)`` with options returns, for type checkers."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> AsyncTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Iterator[T]], /) -> StreamTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Task[P, T]: ...
    def __call__(self, function: Any, /) -> Any:
        """Make a task of *function*."""
        ...


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

    class BatchDecorator:
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
        def __call__(self, function: Any, /) -> Any:
            """Make a batch task of *function*."""
            ...
