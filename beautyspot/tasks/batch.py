"""Batch tasks: what ``@project.batch_task`` makes of a function that takes a list and returns one of the same length.

Each item of the list is a call of its own, with its own key, row and failure. The function is called with the items
that have no cached result, at most ``size`` at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack

from beautyspot._internal.context import flush_current_group
from beautyspot._internal.signatures import Arguments, signature_of
from beautyspot._internal.text import of_value
from beautyspot.keys.keyer import KeyedCall
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.batch_run import BatchRun, Item
from beautyspot.tasks.bound import Bound
from beautyspot.tasks.core import BaseCore, CoreParts, Services
from beautyspot.tasks.options import SCALARS, AsyncMapOptions, BatchOptions, MapOptions, Options, item_type
from beautyspot.tasks.task import mark_as_coroutine_function

__all__ = ["AsyncBatchTask", "BatchTask", "BoundBatchTask"]

A = TypeVar("A")
Q = ParamSpec("Q")
R = TypeVar("R")

_EXACT = frozenset({str, bytes, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class ListParameter:
    """The parameter of a batch function that takes the list.

    Attributes:
        name: Its name.
        position: Its position in a call; after all others if it is given by name only.
        default: Its default, or `inspect.Parameter.empty`.
        takes_scalars: Whether its items are known to be numbers or texts, so that a list cannot be an item.
    """

    name: str
    position: int
    default: Any
    takes_scalars: bool

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> ListParameter:
        """The parameter *name* of *function*."""
        parameters = signature_of(function).parameters
        positional = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        position = positional.index(name) if name in positional else len(positional)
        return cls(name, position, parameters[name].default, item_type(parameters[name].annotation) in SCALARS)


@dataclass(frozen=True, slots=True)
class _Core(BaseCore):
    """What the cores of sync and async batch tasks have in common.

    Attributes:
        parameter: The parameter that takes the list.
        size: How many items the function is called with at most.
    """

    parameter: ListParameter
    size: int

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> KeyedCall:
        """The call of one item, with its key. A list whose items are known to be scalars is a mistake."""
        value, _ = self._split(args, kwargs)
        if isinstance(value, list) and self.parameter.takes_scalars:
            raise TypeError(
                f"{self.name} is asked about one item at a time here, and got {of_value(value)}: ask for "
                "each, as in [task.cached(item) for item in items]"
            )
        return KeyedCall(*self.keyer(args, kwargs), args, kwargs)

    def _split(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Callable[[Any], Arguments]]:
        """The list of a call, and a function that makes the same call with another list."""
        at, name = self.parameter.position, self.parameter.name
        if len(args) > at:
            return args[at], lambda value: ((*args[:at], value, *args[at + 1 :]), kwargs)
        if name not in kwargs and self.parameter.default is inspect.Parameter.empty:
            self.keyer.values(args, kwargs)  # raises as the function itself would
        return kwargs.get(name, self.parameter.default), lambda value: (args, {**kwargs, name: value})

    def list_run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[BatchRun, list[Item]]:
        """A run for the list of a call, and its items, with equal ones merged."""
        given, call = self._split(args, kwargs)
        if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
            raise TypeError(
                f"{self.name} takes a list of items as {self.parameter.name!r} and got {of_value(given)}: "
                f"write {self.short_name}([...])"
            )
        values = list(given)
        items: dict[bytes, Item] = {}
        if values:
            for position, (key, parts) in enumerate(self.keyer.each(self.parameter.name, values, call)):
                if key in items:
                    items[key].numbers.append(position)
                else:
                    items[key] = Item(values[position], key, parts, [position])
        return BatchRun(self, self.size, call, len(values)), list(items.values())

    def item_run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BatchRun:
        """A run that replaces the result of one item."""
        value, call = self._split(args, kwargs)
        key, parts, _, _ = self.call(args, kwargs)
        run = BatchRun(self, self.size, call, 1, fresh=True)
        run.enlist([Item(value, key, parts, [0])])
        return run

    def map_run(self, calls: Sequence[KeyedCall]) -> BatchRun:
        """A run for calls of a map that differ in their item only: see `others`."""
        _, with_list = self._split(calls[0].args, calls[0].kwargs)
        run = BatchRun(self, self.size, with_list, len(calls))
        items = [self._split(call.args, call.kwargs)[0] for call in calls]
        run.enlist([Item(items[i], call.key, call.parts, [i]) for i, call in enumerate(calls)])
        return run

    def others(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """What calls of a map have in common if they can share a list: their arguments beside the item."""
        at, name = self.parameter.position, self.parameter.name
        by_name = [(each, _identity(kwargs[each])) for each in sorted(kwargs) if each != name]
        return (*map(_identity, args[:at]), *map(_identity, args[at + 1 :]), *by_name)

    def lists(self, calls: Iterable[Arguments]) -> list[Arguments]:
        """The arguments with which a map of *calls* would call the function."""
        groups: dict[Hashable, list[Arguments]] = {}
        for args, kwargs in calls:
            groups.setdefault(self.others(args, kwargs), []).append((args, kwargs))
        made: list[Arguments] = []
        for group in groups.values():
            _, with_list = self._split(*group[0])
            items = [self._split(*call)[0] for call in group]
            made += [with_list(items[i : i + self.size]) for i in range(0, len(items), self.size)]
        return made


def _identity(value: Any) -> Hashable:
    """What two values have in common if one may stand for the other: of numbers and texts the value."""
    kind = type(value)
    return (kind, value) if kind in _EXACT else (kind, repr(value)) if kind is float else id(value)


class BatchCore(_Core):
    """The core of a batch task that is called."""

    __slots__ = ()

    def finish(self, run: BatchRun, wait: bool = True) -> None:
        """Process a list batch by batch, each stored before the next begins.

        Args:
            run: The list.
            wait: Whether to wait for keys that other callers have locked; else these items stay without results.

        Raises:
            Exception: What the function raised.
        """
        while not run.is_over():
            flush_current_group()
            try:
                if run.take():
                    self._run_batch(run)
                    continue
            finally:
                if keys := run.release():
                    self.locks.release_many(keys)
            # Wait while holding no key: the key's holder stores the result, or fails and leaves it to this run.
            if run.is_over() or not wait:
                return
            summary = run.waits_for()
            self.cache.on_wait(summary, self.locks.acquire(summary.key))
            self.locks.release_current(summary.key)

    def _run_batch(self, run: BatchRun) -> None:
        args, kwargs = run.begin()
        with self.keyer.run(args, kwargs):
            started = perf_counter()
            try:
                values = run.checked(self.function(*args, **kwargs))
            except Exception as error:
                run.on_failure(error, perf_counter() - started)
                raise
        run.store(values, perf_counter() - started)


class AsyncBatchCore(_Core):
    """The core of a batch task that is awaited."""

    __slots__ = ()

    async def finish(self, run: BatchRun, wait: bool = True) -> None:
        """As `BatchCore.finish`. If it is cancelled while a thread locks or stores, it releases the keys after that."""
        import asyncio  # takes half of the time that importing beautyspot may take

        run_io = self.project.run_io
        while not run.is_over():
            flush_current_group()
            step = run_io(run.take)
            try:
                if await asyncio.shield(step):
                    args, kwargs = run.begin()
                    with self.keyer.run(args, kwargs, is_async=True):
                        started = perf_counter()
                        try:
                            values = run.checked(await self.function(*args, **kwargs))
                        except Exception as error:
                            step = run_io(run.on_failure, error, perf_counter() - started)
                            await asyncio.shield(step)
                            raise
                    step = run_io(run.store, values, perf_counter() - started)
                    await asyncio.shield(step)
                    continue
            finally:
                run.unmark_held()
                if step.done():
                    self._release(run)
                else:
                    step.add_done_callback(lambda _: self._release(run))
            if run.is_over() or not wait:
                return
            summary = run.waits_for()
            self.cache.on_wait(summary, await self.locks.acquire_async(summary.key))
            self.locks.unmark_held(summary.key)
            self.locks.release_async(summary.key)

    def _release(self, run: BatchRun) -> None:
        if keys := run.release():
            self.locks.release_many_async(keys)


class _Batching(BaseTask[Concatenate[A, Q], R], Generic[A, Q, R]):
    """What sync and async batch tasks have in common."""

    options: BatchOptions

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundBatchTask, instance, owner)


class BatchTask(_Batching[A, Q, R]):
    """A function of a list whose results are cached item by item; called as the function is.

    ``key``, ``cached``, ``peek``, ``forget``, ``put``, ``refresh`` and ``explain`` take one item where a call takes the
    list.
    """

    core: BatchCore

    def _make_core(self, parts: CoreParts) -> BatchCore:
        return BatchCore(*parts, ListParameter.of(self.__wrapped__, self.options.batch), self.options.size)

    def map(self, *iterables: Iterable[Any], **options: Unpack[MapOptions]) -> list[R]:
        """``bs.map(task, *iterables, **options)``."""
        return self.core.project.fan_out(self, iterables, options)

    if TYPE_CHECKING:

        def __call__(self, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As below; the list may be given by name too, which no type can say."""
            ...

        def refresh(self, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As below."""
            ...

    else:

        def __call__(self, *args, **kwargs):
            """The results of all items, in their order: the cached ones, and the function's for the rest."""
            run, items = self.core.list_run(args, kwargs)
            run.look_up(items)
            self.core.finish(run)
            return run.results

        def refresh(self, *args, **kwargs):
            """Run the function for one item and replace its cached result."""
            run = self.core.item_run(args, kwargs)
            self.core.finish(run)
            return run.results[0]


class AsyncBatchTask(_Batching[A, Q, R]):
    """A coroutine function of a list whose results are cached item by item; called and awaited as the function is.

    What `BatchTask` says about single items holds here too. ``refresh`` is awaited.
    """

    core: AsyncBatchCore

    def _make_core(self, parts: CoreParts) -> AsyncBatchCore:
        return AsyncBatchCore(*parts, ListParameter.of(self.__wrapped__, self.options.batch), self.options.size)

    def _setup(self, function: Callable[..., Any], project: Services, options: Options) -> None:
        super()._setup(function, project, options)
        mark_as_coroutine_function(self)

    async def map(self, *iterables: Iterable[Any], **options: Unpack[AsyncMapOptions]) -> list[R]:
        """``bs.amap(task, *iterables, **options)``."""
        return await self.core.project.fan_out_async(self, iterables, options)

    if TYPE_CHECKING:

        async def __call__(self, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As below; the list may be given by name too, which no type can say."""
            ...

        async def refresh(self, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As below."""
            ...

    else:

        async def __call__(self, *args, **kwargs):
            """The results of all items, in their order: the cached ones, and the function's for the rest."""
            run, items = self.core.list_run(args, kwargs)
            await self.core.project.run_io(run.look_up, items)
            await self.core.finish(run)
            return run.results

        async def refresh(self, *args, **kwargs):
            """Run the function for one item and replace its cached result."""
            run = self.core.item_run(args, kwargs)
            await self.core.finish(run)
            return run.results[0]


class BoundBatchTask(Bound[Any, Any]):
    """A batch task bound to an object."""

    task: BatchTask[Any, ..., Any] | AsyncBatchTask[Any, ..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of all items; awaitable if the method is a coroutine function."""
        return self.task(self.instance, *args, **kwargs)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Run the method for one item and replace its cached result; awaitable as the results of a call are."""
        return self.task.refresh(self.instance, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], **options: Any) -> Any:
        """``bs.map(task, *iterables, **options)``; ``bs.amap`` if the method is a coroutine function."""
        project = self.task.core.project
        if isinstance(self.task, AsyncBatchTask):
            return project.fan_out_async(self, iterables, options)
        return project.fan_out(self, iterables, options)


def check_mapped(core: BaseCore, filled: Sequence[str]) -> None:
    """Refuse a map of a batch task whose inputs are not the items of its list.

    Args:
        core: The core of the task.
        filled: The names of the parameters that the inputs fill.

    Raises:
        TypeError: If they are not; the error says what to write.
    """
    if isinstance(core, _Core) and core.parameter.name not in filled:
        raise TypeError(
            f'write fixed={{"{filled[0]}": value}} for the same {filled[0]!r} in all calls: a map of the batch task '
            f"{core.short_name} is over the items of {core.parameter.name!r}"
        )


def size_of(core: BaseCore) -> int:
    """How many inputs of a map share one call of the function at most."""
    return core.size if isinstance(core, _Core) else 1


def calls_of(core: BaseCore, calls: Sequence[Arguments]) -> list[Arguments]:
    """The arguments with which a map of *calls* would call the function."""
    return core.lists(calls) if isinstance(core, _Core) else list(calls)
