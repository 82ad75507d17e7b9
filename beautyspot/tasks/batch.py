"""Batch tasks: what ``@project.batch_task`` makes of a function that takes a list and returns one of the same length.

Each item of the list is a call of its own, with its own key, row and failure. The function is called with the items
that have no cached result, at most ``size`` at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from beautyspot._internal.context import flush_current_group
from beautyspot._internal.signatures import signature_of
from beautyspot._internal.text import of_value
from beautyspot.keys.keyer import KeyedCall
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.batch_run import Arguments, BatchRun, Item
from beautyspot.tasks.bound import Bound
from beautyspot.tasks.core import BaseCore, CoreParts, Services
from beautyspot.tasks.options import SCALARS, BatchOptions, Options, item_type
from beautyspot.tasks.task import mark_as_coroutine_function

__all__ = ["AsyncBatchTask", "BatchTask", "BoundBatchTask"]

A = TypeVar("A")
Q = ParamSpec("Q")
R = TypeVar("R")


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

    def map_run(self, calls: Sequence[tuple[tuple[Any, ...], bytes, list[bytes]]]) -> BatchRun:
        """A run for calls of a map that differ in their last argument, the item: their arguments, keys and parts."""
        *before, _ = calls[0][0]
        run = BatchRun(self, self.size, lambda value: ((*before, value), {}), len(calls))
        run.enlist([Item(args[-1], key, parts, [i]) for i, (args, key, parts) in enumerate(calls)])
        return run


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


def check_mapped(task: BaseTask[..., Any] | Bound[..., Any], iterables: tuple[Iterable[Any], ...]) -> None:
    """Refuse a map of a batch task over anything but the items of its list.

    Raises:
        TypeError: If it is one; the error says what to write.
    """
    core, before = (task.task.core, 1) if isinstance(task, BoundBatchTask) else (getattr(task, "core", None), 0)
    if isinstance(core, _Core) and (len(iterables) > 1 or core.parameter.position != before):
        raise TypeError(
            f"a map of a batch task takes one iterable, the items of its first argument: for other arguments call it, "
            f"as in {core.name}(items, ...), or make a batch task of a functools.partial of its function"
        )


def size_of(core: BaseCore) -> int:
    """How many inputs of a map share one call of the function at most."""
    return core.size if isinstance(core, _Core) else 1


def calls_of(core: BaseCore, calls: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The arguments with which a map of *calls* would call the function."""
    if not isinstance(core, _Core):
        return list(calls)
    lists = [calls[i : i + core.size] for i in range(0, len(calls), core.size)]
    return [(*some[0][:-1], [args[-1] for args in some]) for some in lists]
