"""Decorating: the part of a project that makes tasks of functions."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from beautyspot.base_task import Options, TaskOptions
from beautyspot.durations import ttl_seconds
from beautyspot.errors import ConfigurationError
from beautyspot.following import checked_deps
from beautyspot.keys import Policy, function_name
from beautyspot.plugins import Registry
from beautyspot.protocols import BlobStorage, BufferSerializer, MapsBlobs, Serializer
from beautyspot.task import AsyncTask, Task

if TYPE_CHECKING:
    from beautyspot.async_streams import AsyncStreamTask
    from beautyspot.retention import Retention
    from beautyspot.streams import StreamTask

P = ParamSpec("P")
T = TypeVar("T")

SERIALIZERS = Registry("serializer", "beautyspot.serializers", {"msgpack": "beautyspot.serializer:MsgpackSerializer"})


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
        from beautyspot.streams import StreamTask

        return StreamTask
    if inspect.isasyncgenfunction(function):
        from beautyspot.async_streams import AsyncStreamTask

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
