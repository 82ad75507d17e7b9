"""BaseTask: what all kinds of tasks have in common. It looks up, keeps, drops and explains, and runs nothing."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar, cast, overload

from beautyspot._internal.names import full_name
from beautyspot.keys.keyer import KeyedCall, Keyer
from beautyspot.keys.policies import Policy
from beautyspot.protocols.index import Entry, Summary
from beautyspot.protocols.serializer import Serializer
from beautyspot.results.codec import EncodedResult, codec_for
from beautyspot.results.store import MISSING
from beautyspot.results.task_cache import TaskCache
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.tasks.bound import RayFunctionMarker, arguments
from beautyspot.tasks.options import Options
from beautyspot.tasks.pickling import made_here, opened, reduce

if TYPE_CHECKING:
    from beautyspot.results.explain import Explanation

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

__all__ = ["BaseTask", "ComputedResult", "TaskOptions"]


class TaskOptions(TypedDict, total=False):
    """The options of ``@project.task`` as they are given, for type checkers and editors."""

    save_blob: bool | None
    version: str | int | None
    key: Callable[..., Any] | Policy | None
    ignore: str | tuple[str, ...]
    content_type: str | None
    ttl: str | float | timedelta | None
    serializer: Serializer | str | None
    mmap: bool
    deps: Iterable[Any]


class ComputedResult(NamedTuple):
    """What came of a call that had its turn.

    Attributes:
        value: The result.
        entry: Of the result, if it is kept.
        encoded: What was written; ``None`` where someone else had run it.
        seconds: That the function took; ``None`` as above.
    """

    value: Any
    entry: Entry | None
    encoded: EncodedResult | None
    seconds: float | None


class BaseTask(Generic[P, T]):
    """What all kinds of tasks have in common: all that runs nothing.

    Args:
        function: What is called on a miss.
        project: Whose task this is.
        options: As given to ``@project.task``.
    """

    # functools.wraps copies a __dict__: what is ours stays out of it, and of the pickles of whatever wraps a task.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_cache",
        "_entry",
        "_keyer",
        "_read",
        "_run",
        "_single_flight",
        "_token",
        "binds",
        "options",
        "project",
    )  # fmt: skip
    __wrapped__: Callable[..., Any]
    __func__ = RayFunctionMarker()
    binds: Literal["instance", "class", "nothing"]  # what looking a method up binds it to

    def __init__(self, function: Callable[..., Any], project: Any, options: Options) -> None:
        functools.update_wrapper(cast("Any", self), function)
        self._token, self.binds = os.urandom(16).hex(), "instance"
        made_here(self, self._token)
        self._setup(function, project, options)

    def _setup(self, function: Callable[..., Any], project: Any, options: Options) -> None:
        self.__wrapped__ = function
        plain: Any = inspect.unwrap(function)
        if hasattr(plain, "__code__"):  # for those who look at a function's signature: asyncio, Ray
            self.__code__ = plain.__code__.replace(co_freevars=())  # for Ray, which makes a function of it
            self.__defaults__, self.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
        self.project = project
        self.options = options
        serializer = options.serializer or project.serializer
        written = "" if type(serializer) is MsgpackSerializer else full_name(type(serializer))
        self._keyer = Keyer(function, options.version, options.key, options.ignore, written, options.deps)
        self.__signature__ = self._keyer.signature  # Dagster else takes the type hints of __call__ for its own
        codec = codec_for(serializer, options.save_blob, options.mmap)
        self._run: Callable[..., Any] = function  # gives what is kept
        self._cache = TaskCache(
            project.results,
            self._keyer,
            codec,
            options.content_type,
            options.ttl,
            project.on_save_error,
            project.events,
        )
        self._entry, self._read = project.results.entry, self._cache.read
        self._single_flight = project.single_flight

    def __reduce__(self) -> str | tuple[Any, ...]:
        def state() -> tuple[Any, ...]:
            identity = {name: getattr(self._keyer, name) for name in ("prefix", "function_name", "code", "follows")}
            names = {name: getattr(self, name, None) for name in functools.WRAPPER_ASSIGNMENTS}
            return (self.__wrapped__, self.project, self.options), identity, names, (self._token, self.binds)

        return reduce(self, self._token, self._keyer.captured_digest(), state)

    def __setstate__(self, sealed: Any) -> None:
        if hasattr(self, "_token"):
            return  # it is here already
        parts, identity, names, (self._token, self.binds) = opened(sealed)
        self.__dict__.update(names)
        self._setup(*parts)
        # Its function has another module here, or no source: it stays who it was.
        self._keyer.__dict__.update(identity)

    def __repr__(self) -> str:
        return f"<task {self._keyer.function_name} of {self.project!r}>"

    @property
    def function_name(self) -> str:
        """``module.qualname`` of the function, as viewers show it."""
        return self._keyer.function_name

    def __beautyspot_key__(self) -> bytes:
        """What stands for this task where it is an argument of another or captured by it."""
        # While it is being unpickled, its function may refer to it already.
        return self._keyer.prefix if hasattr(self, "_keyer") else b""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The call's key, 32 hexadecimal digits.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; it names the argument.
        """
        return self._keyed(args, kwargs).key.hex()

    def cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a usable result is kept; runs nothing."""
        return self._cache.holds(self._keyed(args, kwargs).key)

    @overload
    def peek(self, *args: P.args, **kwargs: P.kwargs) -> T | None: ...
    @overload
    def peek(self, *args: Any, default: D, **kwargs: Any) -> T | D: ...
    def peek(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """The kept result, or *default*; runs nothing. An argument named ``default`` is passed by position."""
        value = self._cache.recall(self._keyed(args, kwargs).key)
        return default if value is MISSING else value

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the kept result; says whether there was one."""
        return self._cache.results.forget(self._keyed(args, kwargs).key)

    def put(self, args: Any, value: T) -> None:
        """Keep a value that was computed elsewhere.

        Args:
            args: The call's arguments: a tuple of positional ones, a dict of named ones, or a single one.
            value: The result.

        Raises:
            SerializationError: If it cannot be kept.
            StorageError, IndexUnavailableError: If it cannot be written.
        """
        self._put(*arguments(args), value)

    def _put(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: T) -> None:
        call = self._keyed(args, kwargs)
        summary = self._cache.describe(call)
        self._single_flight.acquire(call.key)
        try:
            self._cache.put(summary, value)
        finally:
            self._single_flight.release_current(call.key)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Whether the call is kept and, if not, why: never run, expired, other version, another argument."""
        from beautyspot.results.explain import explain

        call = self._cache.describe(self._keyed(args, kwargs))
        return explain(self._cache.results, self._cache.codec, self._keyer, call)

    def map(self, *iterables: Iterable[Any], **options: Any) -> list[T]:
        """``bs.map(task, *iterables, **options)``."""
        mapped: list[T] = self.project.fan_out(self, *iterables, **options)
        return mapped

    def _keyed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> KeyedCall:
        """What is looked up, described and dropped."""
        return KeyedCall(*self._keyer(args, kwargs), args, kwargs)

    def _waited(self, summary: Summary, seconds: float) -> None:
        """Tell those who listen that a call waited for another one that ran the same key."""
        self.project.events.tell("wait", summary.function, summary.key, input=summary.input, seconds=seconds)

    def _bound(self, kind: Callable[[Any, Any], Any], instance: Any, owner: type | None) -> Any:
        if self.binds == "class":
            return kind(self, type(instance) if owner is None else owner)
        return self if instance is None or self.binds == "nothing" else kind(self, instance)
