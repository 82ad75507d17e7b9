"""Slots: which parameters of a task the inputs of a map fill, and which arguments all of its calls share."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping
from itertools import takewhile
from typing import Any

from beautyspot._internal.signatures import Arguments

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Slots:
    """The parameters of a task, of which some are fixed and the others are filled by the inputs of a map.

    Args:
        name: The task's own name, for messages.
        signature: Its signature.
        before: What stands before the inputs in each call: the object of a method.
        fixed: The fixed arguments by name.

    Attributes:
        common: The arguments that all calls share: *before* and *fixed*.
        given: Their names.
        shared: The names of the parameters that they fill.
        names: The names of the parameters that inputs can fill, in their order.

    Raises:
        TypeError: If a fixed argument is none of the task's.
    """

    def __init__(
        self, name: str, signature: inspect.Signature, before: tuple[Any, ...], fixed: Mapping[str, Any]
    ) -> None:
        parameters = list(signature.parameters.values())
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        self._name = name
        self._required = [p.name for p in parameters if p.default is p.empty and p.kind not in _OPEN]
        self._takes_any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._positional_only = [p.name for p in positional if p.kind is p.POSITIONAL_ONLY]
        bound = [p.name for p in positional[: len(before)]]
        own = [p.name for p in positional[len(before) :]]
        only_by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._check_fixed(fixed, bound, [*own, *only_by_name])
        first = list(takewhile(fixed.__contains__, own))
        others = own[len(first) :]
        self._by_position = list(takewhile(lambda each: each not in fixed, others))
        behind = others[len(self._by_position) :]  # a fixed one stands before these: they are given by name
        if behind:
            self._rest = None
        self._by_name = [each for each in [*behind, *only_by_name] if each not in fixed]
        self._check_positional_only(behind)
        by_name = {each: value for each, value in fixed.items() if each not in first}
        self.common: Arguments = ((*before, *(fixed[each] for each in first)), by_name)
        self.given = frozenset([*bound, *fixed])
        self.shared = self.given.intersection([*bound, *own, *only_by_name])
        self.names = (*self._by_position, *self._by_name)

    def _check_fixed(self, fixed: Mapping[str, Any], bound: list[str], own: list[str]) -> None:
        for each in fixed:
            if each in bound:
                raise TypeError(f"leave {each!r} out of fixed=: it is the object to which {self._name} is bound")
            if each in own or (self._takes_any_name and isinstance(each, str) and each not in self._positional_only):
                continue
            close = difflib.get_close_matches(str(each), own, 1)
            meant = f", did you mean {close[0]!r}?" if close else ":"
            raise TypeError(f"{self._name} has no argument {each!r} to fix{meant} it has {', '.join(own) or 'none'}")

    def _check_positional_only(self, behind: list[str]) -> None:
        for each in behind:
            if each in self._positional_only:
                raise TypeError(
                    f"write itertools.repeat(value) as the iterable of the fixed argument before {each!r}: "
                    f"{self._name} takes {each!r} by position only"
                )

    def places(self, width: int) -> tuple[int, tuple[str, ...]]:
        """How many of *width* values are given by position, and the names of the others.

        Raises:
            TypeError: If the task does not take so many.
        """
        count = len(self._by_position)
        if width <= count or self._rest is not None:
            return width, ()
        names = tuple(self._by_name[: width - count])
        if count + len(names) < width:
            raise TypeError(f"{self._name} takes {self.described()}, and the map has {width} for it")
        return count, names

    def filled(self, width: int) -> tuple[str, ...]:
        """The names of the parameters that *width* values fill, in their order."""
        if self._rest is None or width <= len(self._by_position):
            return self.names[:width]
        return (*self._by_position, *[self._rest] * (width - len(self._by_position)))

    def missing(self, filled: Collection[str]) -> list[str]:
        """The names of required parameters that are neither in *filled* nor given to all calls."""
        return [each for each in self._required if each not in filled and each not in self.given]

    def by_name(self, values: dict[str, Any]) -> Arguments:
        """The arguments of a call, given by name: those that are taken by position only are made so."""
        if not self._positional_only:
            return (), values
        first = list(takewhile(values.__contains__, (n for n in self._by_position if n in self._positional_only)))
        return tuple(values[each] for each in first), {k: v for k, v in values.items() if k not in first}

    def row(self, own: Arguments) -> tuple[Any, ...] | dict[str, Any]:
        """The arguments of a call, without those that all calls share, as a row that ``unpack=True`` takes."""
        args, kwargs = own
        return {**dict(zip(self._by_position, args, strict=False)), **kwargs} if kwargs else args

    def described(self) -> str:
        """The parameters that inputs can fill, as text: ``2 arguments that are not fixed (a, b)``."""
        count = len(self.names)
        unfixed = " that is not fixed" if count == 1 else " that are not fixed"
        listed = f" ({', '.join(self.names)})" if count else ""
        return f"{count} argument{'s' * (count != 1)}{unfixed if self.given else ''}{listed}"


_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
