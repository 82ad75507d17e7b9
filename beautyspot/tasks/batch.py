"""Batch tasks: what ``@project.batch_task`` makes of a function that takes a list and returns one of the same length.

Each item of the list is a call of its own: it has its own key, its own row and its own failure. A function is called
with the items that are not kept, and never with more than ``size`` of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from beautyspot._internal.context import flush_current_group
from beautyspot._internal.signatures import signature_of
from beautyspot._internal.text import of_value
from beautyspot.keys.keyer import KeyedCall
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.batch_run import Arguments, BatchRun, Item
from beautyspot.tasks.bound import _Bound
from beautyspot.tasks.options import _SCALARS, BatchOptions, _item_of

__all__ = ["AsyncBatchTask", "BatchTask", "BoundBatchTask"]

A = TypeVar("A")
Q = ParamSpec("Q")
R = TypeVar("R")


class _Batching(BaseTask[Concatenate[A, Q], R], Generic[A, Q, R]):
    """What sync and async batch tasks have in common."""

    options: BatchOptions

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)
        parameters = signature_of(function).parameters
        self._default = parameters[options.batch].default
        self._takes_scalars = _item_of(parameters[options.batch].annotation) in _SCALARS
        positional = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._at = positional.index(options.batch) if options.batch in positional else len(positional)

    def _placed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Callable[[Any], Arguments]]:
        """What a call gives as its list, and what makes the same call with another one."""
        at, name = self._at, self.options.batch
        if len(args) > at:
            return args[at], lambda value: ((*args[:at], value, *args[at + 1 :]), kwargs)
        if name not in kwargs and self._default is inspect.Parameter.empty:
            self._keyer.values(args, kwargs)  # raises as the function itself would
        return kwargs.get(name, self._default), lambda value: (args, {**kwargs, name: value})

    def _listed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[BatchRun, list[Item]]:
        """A run for a call's list, and its items, equal ones together."""
        given, call = self._placed(args, kwargs)
        if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
            name = self.function_name.rpartition(".")[2]
            raise TypeError(
                f"{self.function_name} takes a list of items as {self.options.batch!r} and got {of_value(given)}: "
                f"write {name}([...])"
            )
        values = list(given)
        items: dict[bytes, Item] = {}
        if values:
            for number, (key, parts) in enumerate(self._keyer.each(self.options.batch, values, call)):
                if key in items:
                    items[key].numbers.append(number)
                else:
                    items[key] = Item(values[number], key, parts, [number])
        return BatchRun(self, call, len(values)), list(items.values())

    def _alone(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BatchRun:
        """A run that replaces the result of one item."""
        value, call = self._placed(args, kwargs)
        key, parts, _, _ = self._keyed(args, kwargs)
        run = BatchRun(self, call, 1, fresh=True)
        run.enlist([Item(value, key, parts, [0])])
        return run

    def _keyed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> KeyedCall:
        """The call of one item; a list where items are known to be none is a mistake for a call of all."""
        value, _ = self._placed(args, kwargs)
        if isinstance(value, list) and self._takes_scalars:
            raise TypeError(
                f"{self.function_name} is asked about one item at a time here, and got {of_value(value)}: ask for "
                "each, as in [task.cached(item) for item in items]"
            )
        return super()._keyed(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bound(BoundBatchTask, instance, owner)


class BatchTask(_Batching[A, Q, R]):
    """A function of a list whose results are kept item by item; called as the function is.

    ``key``, ``cached``, ``peek``, ``forget``, ``put``, ``refresh`` and ``explain`` take one item where a call takes the
    list.
    """

    if TYPE_CHECKING:

        def __call__(self, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As below; the list may be given by name too, which no type can say."""
            ...

        def refresh(self, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As below."""
            ...

    else:

        def __call__(self, *args, **kwargs):
            """The results of all items, in their order: the kept ones, and the function's for the others."""
            run, items = self._listed(args, kwargs)
            run.recall(items)
            self._finish(run)
            return run.results

        def refresh(self, *args, **kwargs):
            """Run the function for one item and replace its kept result."""
            run = self._alone(args, kwargs)
            self._finish(run)
            return run.results[0]

    def _finish(self, run: BatchRun, wait: bool = True) -> None:
        """Run one batch after the other, each kept before the next begins; what others run is waited for, or left."""
        while not run.is_over():
            flush_current_group()
            try:
                if run.take():
                    self._run_batch(run)
                    continue
            finally:
                if keys := run.release():
                    self._single_flight.release_many(keys)
            # Waited for while nothing is held; whoever has it keeps it, or fails and leaves it to us.
            if run.is_over() or not wait:
                return
            summary = run.waits_for()
            if waited := self._single_flight.acquire(summary.key):
                self._waited(summary, waited)
            self._single_flight.release_current(summary.key)

    def _run_batch(self, run: BatchRun) -> None:
        args, kwargs = run.begin()
        started = perf_counter()
        try:
            values = run.checked(self._run(*args, **kwargs))
        except Exception as error:
            run.failed(error, perf_counter() - started)
            raise
        run.keep(values, perf_counter() - started)


class AsyncBatchTask(_Batching[A, Q, R]):
    """A coroutine function of a list whose results are kept item by item; called and awaited as the function is.

    What is said of `BatchTask` holds here too. ``refresh`` is awaited.
    """

    def _setup(self, function: Callable[..., Any], project: Any, options: Any) -> None:
        super()._setup(function, project, options)
        mark = getattr(inspect, "markcoroutinefunction", None)
        if mark is not None:  # Python 3.11 looks at its code
            mark(self)

    if TYPE_CHECKING:

        async def __call__(self, items: Iterable[A], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
            """As below; the list may be given by name too, which no type can say."""
            ...

        async def refresh(self, item: A, /, *args: Q.args, **kwargs: Q.kwargs) -> R:
            """As below."""
            ...

    else:

        async def __call__(self, *args, **kwargs):
            """The results of all items, in their order: the kept ones, and the function's for the others."""
            run, items = self._listed(args, kwargs)
            await self.project.run_io(run.recall, items)
            await self._finish(run)
            return run.results

        async def refresh(self, *args, **kwargs):
            """Run the function for one item and replace its kept result."""
            run = self._alone(args, kwargs)
            await self._finish(run)
            return run.results[0]

    async def _finish(self, run: BatchRun, wait: bool = True) -> None:
        """As that of `BatchTask`. Cancelled while a thread takes keys or keeps results, these are freed after it."""
        import asyncio  # half of the time that importing beautyspot may take

        while not run.is_over():
            flush_current_group()
            step = self.project.run_io(run.take)
            try:
                if await asyncio.shield(step):
                    args, kwargs = run.begin()
                    started = perf_counter()
                    try:
                        values = run.checked(await self._run(*args, **kwargs))
                    except Exception as error:
                        step = self.project.run_io(run.failed, error, perf_counter() - started)
                        await asyncio.shield(step)
                        raise
                    step = self.project.run_io(run.keep, values, perf_counter() - started)
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
            if waited := await self._single_flight.acquire_async(summary.key):
                self._waited(summary, waited)
            self._single_flight.unmark_held(summary.key)
            self._single_flight.release_async(summary.key)

    def _release(self, run: BatchRun) -> None:
        keys = run.release()
        if keys:
            self._single_flight.release_many_async(keys)


class BoundBatchTask(_Bound[Any, Any]):
    """A batch task with its object: what a method is when it is looked up on an instance."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of all items; to be awaited where the method is."""
        return self.task(self.instance, *args, **kwargs)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Run the method for one item and replace its kept result; to be awaited where the method is."""
        return self.task.refresh(self.instance, *args, **kwargs)


def check_mapped(task: Any, iterables: tuple[Iterable[Any], ...]) -> None:
    """Refuse a map of a batch task that says anything but the items of its list.

    Raises:
        TypeError: It says what to write.
    """
    bare, before = (task.task, 1) if isinstance(task, BoundBatchTask) else (task, 0)
    if isinstance(bare, _Batching) and (len(iterables) > 1 or bare._at != before):
        name = bare._keyer.function_name
        raise TypeError(
            f"a map of a batch task takes one iterable, the items of its first argument: for other arguments call it, "
            f"as in {name}(items, ...), or make a batch task of a functools.partial of its function"
        )


def size_of(task: Any) -> int:
    """How many inputs of a map run together at most."""
    size: int = task.options.size if isinstance(task, _Batching) else 1
    return size


def calls_of(task: Any, calls: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The calls of its function that a map with *calls* to run would make."""
    if not isinstance(task, _Batching):
        return list(calls)
    size = task.options.size
    lists = [calls[i : i + size] for i in range(0, len(calls), size)]
    return [(*some[0][:-1], [args[-1] for args in some]) for some in lists]
