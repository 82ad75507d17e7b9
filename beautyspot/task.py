"""Task: what ``@project.task`` makes of a function. A call is a lookup, or a flight, a run and a keeping."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeVar, cast, overload

from beautyspot.following import NOTHING, Deps
from beautyspot.keeping import Keeper
from beautyspot.keys import Keyer, Policy
from beautyspot.methods import BoundAsyncTask, BoundTask, LikeCython, arguments
from beautyspot.naming import full_name
from beautyspot.protocols import Entry, Summary
from beautyspot.results import MISSING, Encoded, form_of, is_expired
from beautyspot.serializer import MsgpackSerializer
from beautyspot.shipping import made_here, opened, reduce

if TYPE_CHECKING:
    from typing import Self

    from beautyspot.explain import Explanation

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
D = TypeVar("D")

__all__ = ["AsyncTask", "Task"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``@project.task``, checked."""

    save_blob: bool | None = None
    version: str | int | None = None
    key: Callable[..., Any] | Policy | None = None
    ignore: tuple[str, ...] = ()
    content_type: str | None = None
    ttl: float | None = None
    serializer: Any = None
    mmap: bool = False
    deps: Deps = NOTHING


class Flown(NamedTuple):
    """What came of a call that had its turn.

    Attributes:
        value: The result.
        entry: Of the result, if it is kept.
        encoded: What was written; ``None`` where someone else had run it.
        seconds: That the function took; ``None`` as above.
    """

    value: Any
    entry: Entry | None
    encoded: Encoded | None
    seconds: float | None


class _Kept(Generic[P, T]):
    """What sync and async tasks have in common: all that runs nothing.

    Args:
        function: What is called on a miss.
        project: Whose task this is.
        options: As given to ``@project.task``.
    """

    __wrapped__: Callable[..., Any]
    __func__ = LikeCython()
    binds: Literal["instance", "class", "nothing"] = "instance"  # what looking a method up binds it to

    def __init__(self, function: Callable[..., Any], project: Any, options: Options) -> None:
        functools.update_wrapper(cast("Any", self), function)
        self._token = os.urandom(16).hex()
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
        form = form_of(serializer, options.save_blob, options.mmap)
        self._run: Callable[..., Any] = function  # gives what is kept
        self._use(Keeper(project.results, self._keyer, form, options.content_type, options.ttl, project.on_save_error))
        self._flights = project.flights
        project.events.follow(self)

    def _use(self, keeper: Keeper) -> None:
        """Keep results with *keeper* from now on; the events of the project exchange it while anybody listens."""
        self._keeper, self._entry, self._read = keeper, keeper.results.entry, keeper.read

    def __reduce__(self) -> str | tuple[Any, ...]:
        def state() -> dict[str, Any]:
            identity = {name: getattr(self._keyer, name) for name in ("prefix", "function_name", "code", "follows")}
            names = {name: getattr(self, name, None) for name in functools.WRAPPER_ASSIGNMENTS}
            return {
                "parts": (self.__wrapped__, self.project, self.options),
                "identity": identity,
                "names": names,
                "rest": {"_token": self._token, "binds": self.binds},
            }

        return reduce(self, self._token, self._keyer.captured_digest(), state)

    def __setstate__(self, sealed: Any) -> None:
        if "_token" in self.__dict__:
            return  # it is here already
        state = opened(sealed)
        self.__dict__.update(state["names"], **state["rest"])
        self._setup(*state["parts"])
        # Its function has another module here, or no source: it stays who it was.
        self._keyer.__dict__.update(state["identity"])

    def __repr__(self) -> str:
        return f"<task {self._keyer.function_name} of {self.project!r}>"

    @property
    def function_name(self) -> str:
        """``module.qualname`` of the function, as viewers show it."""
        return self._keyer.function_name

    def __beautyspot_key__(self) -> bytes:
        """What stands for this task where it is an argument of another or captured by it."""
        # While it is being unpickled, its function may refer to it already.
        return self._keyer.prefix if "_keyer" in self.__dict__ else b""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The call's key, 32 hexadecimal digits.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; it names the argument.
        """
        return self._keyer(args, kwargs)[0].hex()

    def cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a usable result is kept; runs nothing."""
        return self._keeper.holds(self._keyer(args, kwargs)[0])

    @overload
    def peek(self, *args: P.args, **kwargs: P.kwargs) -> T | None: ...
    @overload
    def peek(self, *args: Any, default: D, **kwargs: Any) -> T | D: ...
    def peek(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """The kept result, or *default*; runs nothing. An argument named ``default`` is passed by position."""
        value = self._keeper.recall(self._keyer(args, kwargs)[0])
        return default if value is MISSING else value

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the kept result; says whether there was one."""
        return self._keeper.results.forget(self._keyer(args, kwargs)[0])

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
        key, parts = self._keyer(args, kwargs)
        summary = self._keeper.describe(key, parts, args, kwargs)
        self._flights.acquire(key)
        try:
            self._keeper.put(summary, value)
        finally:
            self._flights.release(key)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Whether the call is kept and, if not, why: never run, expired, other version, another argument."""
        from beautyspot.explain import explain

        key, parts = self._keyer(args, kwargs)
        call = self._keeper.describe(key, parts, args, kwargs)
        return explain(self._keeper.results, self._keeper.form, self._keyer, call)

    def map(self, *iterables: Iterable[Any], **options: Any) -> list[T]:
        """``bs.map(task, *iterables, **options)``."""
        mapped: list[T] = self.project.fan_out(self, *iterables, **options)
        return mapped

    def _waited(self, summary: Summary, seconds: float) -> None:
        """Tell those who listen that a call waited for another one that ran the same key."""
        self.project.events.tell("wait", summary.function, summary.key, input=summary.input, seconds=seconds)

    def _bound(self, kind: Callable[[Any, Any], Any], instance: Any, owner: type | None) -> Any:
        if self.binds == "class":
            return kind(self, type(instance) if owner is None else owner)
        return self if instance is None or self.binds == "nothing" else kind(self, instance)


class Task(_Kept[P, T]):
    """A function whose results are kept; called as the function is."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The kept result, or the function's, which is kept then."""
        key, parts = self._keyer(args, kwargs)
        entry = self._entry(key)
        if entry is not None and not is_expired(entry):
            value = self._read(entry)
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        return self._fly(key, parts, args, kwargs).value  # type: ignore[no-any-return]

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the kept result."""
        return self._compute(*self._keyer(args, kwargs), args, kwargs, fresh=True)

    def _compute(
        self, key: bytes, parts: list[bytes], args: tuple[Any, ...], kwargs: Mapping[str, Any], fresh: bool
    ) -> T:
        return self._fly(key, parts, args, kwargs, fresh).value  # type: ignore[no-any-return]

    def _fly(
        self,
        key: bytes,
        parts: list[bytes],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        fresh: bool = False,
        wait: bool = True,
    ) -> Flown:
        """Run the function unless someone did meanwhile; where he is not done yet, *wait* or say so."""
        summary = self._keeper.describe(key, parts, args, kwargs)  # before the function may change its arguments
        if waited := self._flights.acquire(key, wait):
            self._waited(summary, waited)
        try:
            entry = self._entry(key)  # someone else may have run it meanwhile
            if entry is not None and not fresh and not is_expired(entry):
                value = self._read(entry)
                if value is not MISSING:
                    return Flown(value, entry, None, None)
            started = self._keeper.begin(summary)
            try:
                value = self._run(*args, **kwargs)
            except Exception as error:
                self._keeper.failed(summary, error, perf_counter() - started)
                raise
            seconds = perf_counter() - started
            return Flown(value, *self._keeper.keep(summary, value, seconds, entry and entry.location), seconds)
        finally:
            self._flights.release(key)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Task[Concatenate[S, Q], T], instance: S, owner: type | None = None) -> BoundTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundTask, instance, owner)


class AsyncTask(_Kept[P, T]):
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
            value = await self._value(entry)
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        return await self._compute(key, parts, args, kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and replace the kept result."""
        return await self._compute(*self._keyer(args, kwargs), args, kwargs, fresh=True)

    async def _entry_of(self, key: bytes) -> Entry | None:
        results = self._keeper.results
        if results.is_quick:
            return results.entry(key)
        found: Entry | None = await self.project.run_io(results.entry, key)
        return found

    async def _value(self, entry: Entry) -> Any:
        # A large value would hold up the event loop while it is read.
        small = entry.value is not None and entry.size < 1 << 16
        return self._read(entry) if small else await self.project.run_io(self._read, entry)

    async def _compute(
        self,
        key: bytes,
        parts: list[bytes],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        fresh: bool = False,
        wait: bool = True,
    ) -> T:
        import asyncio  # half of the time that importing beautyspot may take

        summary = self._keeper.describe(key, parts, args, kwargs)
        if waited := await self._flights.acquire_async(key, wait):
            self._waited(summary, waited)
        keeping = None
        try:
            entry = await self._entry_of(key)
            if entry is not None and not fresh and not is_expired(entry):
                value = await self._value(entry)
                if value is not MISSING:
                    return value  # type: ignore[no-any-return]
            started = self._keeper.begin(summary)
            try:
                value = await self._run(*args, **kwargs)
            except Exception as error:
                await self.project.run_io(self._keeper.failed, summary, error, perf_counter() - started)
                raise
            seconds = perf_counter() - started
            keeping = self.project.run_io(self._keeper.keep, summary, value, seconds, entry and entry.location)
            await asyncio.shield(keeping)
            return value  # type: ignore[no-any-return]
        finally:
            self._flights.disown(key)
            if keeping is None or keeping.done():
                self._flights.land_async(key)
            else:  # cancelled while the result is being written: it is kept all the same
                keeping.add_done_callback(lambda _: self._flights.land_async(key))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncTask[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundAsyncTask[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundAsyncTask, instance, owner)
