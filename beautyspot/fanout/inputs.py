"""Inputs: the calls that a map makes, as arguments.

Iterables fill the parameters that are not fixed, in the order of the signature; with ``unpack`` each row of one
iterable is a call. What all calls share (the object of a method, fixed arguments) is kept apart from what each call has
of its own: it is encoded once for the keys, and travels with the task.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, repeat
from typing import Any

from beautyspot._internal.signatures import Arguments
from beautyspot._internal.text import of_call
from beautyspot.fanout.calls import MappedTask, joined
from beautyspot.fanout.iterables import (
    InStep,
    check_first_row,
    check_iterable,
    check_lengths,
    check_rows,
    expected_length,
    not_enough,
    wrong_row,
)
from beautyspot.fanout.slots import Slots
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask, BoundBatchTask, check_mapped
from beautyspot.tasks.bound import Bound, BoundAsyncTask, BoundTask
from beautyspot.tasks.core import BaseCore
from beautyspot.tasks.task import AsyncTask, Task

_NONE: dict[str, Any] = {}


class Inputs:
    """The calls of a map, each as the arguments that it does not share with the others.

    Args:
        task: The task, or a bound method that is one.
        iterables: What was given as inputs.
        fixed: Arguments by name that are the same in all calls.
        unpack: Whether the items of the only iterable are the calls: mappings by name, tuples by position.

    Attributes:
        task: The task itself.
        core: Its core.
        common: The arguments that all calls share.
        shared: The names of the parameters that have the same argument in all calls, defaults included.
        total: The number of calls, if that is known or expected.

    Raises:
        TypeError: If *task* is none, or the inputs do not fit it, as far as that is seen before they are read.
        ValueError: If the known lengths of the iterables differ.
    """

    def __init__(
        self,
        task: object,
        iterables: Sequence[Iterable[Any]],
        fixed: Mapping[str, Any] | None = None,
        unpack: bool = False,
    ) -> None:
        self.task, before = unbound(task)
        self.core: BaseCore = self.task.core
        self._name = name = name_of(self.core)
        self._slots = Slots(name, self.core.keyer.signature, before, _checked(fixed))
        self.common = self._slots.common
        if not iterables:
            raise TypeError(f"a map needs at least one iterable of inputs: write [...] for {self._slots.described()}")
        self.total: int | None
        same = self._slots.shared
        if unpack:
            rows = self._only(iterables)
            check_rows(rows, name, self._slots.names)
            self.total = expected_length(rows)
            self._calls: Iterable[Arguments] = map(self._unpacked, rows, count())
            self._in_step: InStep | None = None
            if isinstance(rows, Sequence) and rows:
                self._unpacked(rows[0], 0)  # refused now, and not when the first result is asked for
        else:
            filled = self._filled(iterables)
            self.total = check_lengths(iterables, filled)
            self._in_step = InStep(iterables, filled)
            self._calls = self._placed(self._in_step, len(iterables))
            same = frozenset(self.core.keyer.signature.parameters).difference(filled)
        self.shared = same
        self._key = self.core.keyer.sharing(same)
        self._shares = bool(self.common[0] or self.common[1])

    def _only(self, iterables: Sequence[Iterable[Any]]) -> Iterable[Any]:
        if len(iterables) > 1:
            raise TypeError(
                f"write {self._name}.map(zip(...), unpack=True): unpack=True takes one iterable, whose rows are the "
                f"calls, and got {len(iterables)}"
            )
        return iterables[0]

    def _filled(self, iterables: Sequence[Iterable[Any]]) -> tuple[str, ...]:
        """The parameters that *iterables* fill, after they were checked."""
        slots, width = self._slots, len(iterables)
        slots.places(width)
        filled = slots.filled(width)
        check_mapped(self.core, filled)
        missing = slots.missing(filled)
        if missing and width == 1 and not isinstance(iterables[0], str | bytes) and hasattr(iterables[0], "__iter__"):
            raise not_enough(self._name, missing, filled, iterables)
        for name, each in zip(filled, iterables, strict=True):
            check_iterable(each, self._name, name, alone=width == 1)
        if missing:
            raise not_enough(self._name, missing, filled, iterables)
        return filled

    def _placed(self, rows: Iterable[tuple[Any, ...]], width: int) -> Iterable[Arguments]:
        by_position, names = self._slots.places(width)
        if not names:
            return zip(rows, repeat(_NONE))
        return ((row[:by_position], dict(zip(names, row[by_position:], strict=True))) for row in rows)

    @functools.cached_property
    def _places(self) -> Callable[[int], tuple[int, tuple[str, ...]]]:
        return functools.cache(self._slots.places)

    def _unpacked(self, row: Any, number: int) -> Arguments:
        """The arguments of a call, of a row."""
        if isinstance(row, tuple):
            if number == 0:
                check_first_row(row)
            by_position, names = self._places(len(row))
            return (row, _NONE) if not names else (row[:by_position], dict(zip(names, row[by_position:], strict=True)))
        if not isinstance(row, Mapping) and not hasattr(row, "keys"):
            raise wrong_row(row, number)
        values = dict(row)
        if not self._slots.given.isdisjoint(values):
            twice = next(each for each in values if each in self._slots.given)
            raise TypeError(f"leave {twice!r} out of fixed=, or out of the rows: row {number} gives it too")
        return self._slots.by_name(values)

    def __iter__(self) -> Iterator[Arguments]:
        return iter(self._calls)

    def read_all(self) -> int:
        """Read all inputs, so that a wrong one is an error before anything runs; returns their number.

        Raises:
            TypeError: If a row does not fit the task.
            ValueError: If one of several iterables ended before the others.
        """
        self._calls = calls = list(self._calls)
        self.total = len(calls)
        if self._in_step is None:
            self._check_rows(calls)
        if self.mismatch is not None:
            raise self.mismatch
        return len(calls)

    def _check_rows(self, calls: Sequence[Arguments]) -> None:
        """Bind the arguments of rows now: their keys may be computed while earlier ones run."""
        for number, own in enumerate(calls):
            args, kwargs = joined(self.common, own)
            try:
                self.core.keyer.values(args, kwargs)
            except TypeError as error:
                error.add_note(f"it is input {number} of a map of {self._name}")
                raise

    @property
    def mismatch(self) -> ValueError | None:
        """The error to raise once the calls are done, if one iterable ended before the others."""
        return None if self._in_step is None else self._in_step.mismatch

    def keyed(self, calls: Sequence[Arguments], number: int) -> list[tuple[bytes, list[bytes]]]:
        """The keys of *calls*, and the encodings that make them up.

        Args:
            calls: Calls, as this object gives them.
            number: The position of the first.

        Raises:
            TypeError: If the arguments of one do not fit the task, or cannot be part of a key.
        """
        key, common, shares = self._key, self.common, self._shares
        keyed: list[tuple[bytes, list[bytes]]] = []
        key.look()
        try:
            for own in calls:
                args, kwargs = joined(common, own) if shares else own
                keyed.append(key(args, kwargs))
        except TypeError as error:
            error.add_note(f"it is input {number + len(keyed)} of a map of {self._name}")
            raise
        return keyed

    def row(self, own: Arguments) -> tuple[Any, ...] | dict[str, Any]:
        """A call as a row that ``unpack=True`` takes."""
        return self._slots.row(own)

    def text(self, own: Arguments) -> str:
        """A call as it would be written."""
        keyer = self.core.keyer
        return f"{self.core.short_name}({of_call(keyer.names, keyer.values(*joined(self.common, own)))})"


def name_of(core: BaseCore) -> str:
    """The name of a task, as a program would write it."""
    return core.short_name if core.short_name.isidentifier() else "task"


def unbound(task: object) -> tuple[MappedTask, tuple[Any, ...]]:
    """The task, and the arguments before its inputs: the object of a method.

    Raises:
        TypeError: If it is no task.
    """
    if isinstance(task, BoundTask | BoundAsyncTask | BoundBatchTask):
        return task.task, (task.instance,)
    if isinstance(task, Task | AsyncTask | BatchTask | AsyncBatchTask):
        return task, ()
    raise _is_no_task(task)


def _is_no_task(given: object) -> TypeError:
    if isinstance(given, functools.partial) and isinstance(given.func, BaseTask | Bound):
        name = getattr(given.func, "__name__", "task")
        fixed = ", ".join(f'"{each}": ...' for each in given.keywords) or '"name": ...'
        return TypeError(f"write the task itself and fixed={{{fixed}}}: a map needs a task, not a partial of {name}")
    name = getattr(given, "__name__", None) or repr(given)
    if not callable(given):
        return TypeError(f"a map needs a task, and then its inputs: {name} is no function")
    if not name.isidentifier() or inspect.ismethod(given):
        return TypeError(f"make it a task, as in project.task(function): a map needs a task, not {name}")
    return TypeError(f"a map needs a task: decorate {name} with @project.task, or pass project.task({name})")


def _checked(fixed: object) -> Mapping[str, Any]:
    """The fixed arguments, which are a mapping.

    Raises:
        TypeError: If they are none.
    """
    if fixed is None:
        return {}
    if not isinstance(fixed, Mapping):
        raise TypeError(f'write fixed={{"name": value}}: fixed= is a dict of arguments by name, not {fixed!r}')
    return dict(fixed)
