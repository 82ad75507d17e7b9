"""BaseTask: what all kinds of tasks can do without running their function: look up, store, delete, explain."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from beautyspot._internal.names import full_name
from beautyspot._internal.pricing import pacing_layers
from beautyspot.keys.captured import remember
from beautyspot.keys.keyer import Keyer
from beautyspot.results.store import MISSING
from beautyspot.results.task_cache import TaskCache
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.tasks.core import BaseCore, CoreParts, Services
from beautyspot.tasks.imports import FunctionImports
from beautyspot.tasks.options import Options
from beautyspot.tasks.pickling import reduce_task, register_task, unpickle_state

if TYPE_CHECKING:
    from beautyspot.results.explain import Explanation

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

__all__ = ["BaseTask"]


def arguments(args: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call as ``put`` takes them: a tuple, a dict, or a single one."""
    if isinstance(args, dict):
        return (), args
    return (args if isinstance(args, tuple) else (args,)), {}


class RayFunctionMarker:
    """Ray accepts an object that is no plain function only if it is a Cython function, known by this type's name."""


RayFunctionMarker.__name__ = "cython_function_or_method"


class BaseTask(Generic[P, T]):
    """What all kinds of tasks have in common.

    Args:
        function: The function to call after a miss.
        project: The project of the task.
        options: The options of ``@project.task``, checked.

    Attributes:
        core: The core of the task: what `bs.map` and worker processes run.
        binds: What the task is bound to when it is looked up as a method.
    """

    # functools.wraps copies a __dict__: our attributes stay out of it, and out of the pickles of what wraps a task.
    __slots__ = ("__dict__", "__weakref__", "_token", "binds", "core", "options")
    __wrapped__: Callable[..., Any]
    __func__ = RayFunctionMarker()
    binds: Literal["instance", "class", "nothing"]

    def __init__(self, function: Callable[..., Any], project: Services, options: Options) -> None:
        functools.update_wrapper(cast("Any", self), function)
        self._token, self.binds = os.urandom(16).hex(), "instance"
        register_task(self, self._token)
        self._setup(function, project, options)

    def _setup(self, function: Callable[..., Any], project: Services, options: Options) -> None:
        self.__wrapped__ = function
        plain: Any = inspect.unwrap(function)
        if hasattr(plain, "__code__"):  # asyncio and Ray look at it
            self.__code__ = plain.__code__.replace(co_freevars=())  # Ray makes a function of it
            self.__defaults__, self.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
        self.options = options
        serializer = options.serializer or project.serializer
        written = "" if type(serializer) is MsgpackSerializer else full_name(type(serializer))
        keyer = Keyer(function, options.version, options.key, options.ignore, written, options.deps, options.name)
        self.__signature__ = keyer.signature  # Dagster would take the type hints of __call__ instead
        cache = TaskCache(
            project.results,
            keyer,
            project.results.codec_for(serializer, options.save_blob, options.mmap, FunctionImports(plain).load),
            options.content_type,
            options.ttl,
            project.on_save_error,
            project.events,
        )
        parts = CoreParts(keyer, cache, project.single_flight, function, pacing_layers(function), project)
        self.core = self._make_core(parts)

    def _make_core(self, parts: CoreParts) -> BaseCore:
        """The core of this kind of task."""
        return BaseCore(*parts)

    def __reduce__(self) -> str | tuple[Any, ...]:
        def state() -> tuple[Any, ...]:
            identity = {
                name: getattr(self.core.keyer, name) for name in ("prefix", "function_name", "home", "code", "follows")
            }
            names = {name: getattr(self, name, None) for name in functools.WRAPPER_ASSIGNMENTS}
            parts = (self.__wrapped__, self.core.project, self.options)
            return parts, identity, names, (self._token, self.binds), self.core.keyer.remembered()

        return reduce_task(self, self._token, self.digest(), state)

    def digest(self) -> bytes:
        """A digest of all that results depend on: a worker whose task has the same one runs the very function."""
        options, project = self.options, self.core.project
        kept = (options.save_blob, options.mmap, options.ttl, str(options.content_type), repr(options.serializer))
        places = (type(self).__name__, project.name, repr(project.db), repr(project.storage), project.on_save_error)
        return self.core.keyer.digest_of_all(repr((kept, places)))

    def __setstate__(self, pickled: Any) -> None:
        if hasattr(self, "_token"):
            return  # this process already has the task
        parts, identity, names, (self._token, self.binds), remembered = unpickle_state(pickled)
        remember(remembered)
        self.__dict__.update(names)
        self._setup(*parts)
        # In this process the function may have another module, or no source: the task keeps its identity.
        self.core.keyer.__dict__.update(identity)

    def __repr__(self) -> str:
        return f"<task {self.core.name} of {self.core.project!r}>"

    @property
    def project(self) -> Any:
        """The project of the task."""
        return self.core.project

    @property
    def function_name(self) -> str:
        """``module.qualname`` of the function, as viewers show it."""
        return self.core.name

    def __beautyspot_followed__(self) -> tuple[bytes, Any, Any]:
        """What identifies this task where another one got or captured it: its identity, and what its function holds."""
        if not hasattr(self, "core"):  # it is being unpickled, and its function refers to it already
            return b"", None, None
        return self.core.keyer.own_identity, self.__wrapped__, None

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The call's key, 32 hexadecimal digits.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; it names the argument.
        """
        return self.core.call(args, kwargs).key.hex()

    def cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a usable result is cached; runs nothing."""
        return self.core.cache.has(self.core.call(args, kwargs).key)

    @overload
    def peek(self, *args: P.args, **kwargs: P.kwargs) -> T | None: ...
    @overload
    def peek(self, *args: Any, default: D, **kwargs: Any) -> T | D: ...
    def peek(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """The cached result, or *default*; runs nothing. Pass an argument named ``default`` by position."""
        value = self.core.cache.find(self.core.call(args, kwargs).key)
        return default if value is MISSING else value

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Delete the cached result; returns whether there was one."""
        return self.core.cache.results.delete(self.core.call(args, kwargs).key)

    def put(self, args: Any, value: T) -> None:
        """Store a value that was computed elsewhere.

        Args:
            args: The call's arguments: a tuple of positional ones, a dict of named ones, or a single one.
            value: The result.

        Raises:
            SerializationError: If *value* cannot be serialized.
            StorageError, IndexUnavailableError: If the result cannot be written.
        """
        self.core.put(*arguments(args), value)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Whether the call is cached and, if not, why: never run, expired, other version, another argument."""
        from beautyspot.results.explain import explain

        core = self.core
        call = core.cache.describe(core.call(args, kwargs))
        return explain(core.cache.results, core.cache.codec, core.keyer, call)

    def _bound(self, kind: Callable[[Any, Any], Any], instance: Any, owner: type | None) -> Any:
        if self.binds == "class":
            return kind(self, type(instance) if owner is None else owner)
        return self if instance is None or self.binds == "nothing" else kind(self, instance)
