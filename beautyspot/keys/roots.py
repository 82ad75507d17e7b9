"""What a function holds beside its arguments, as parts of its keys: captured variables, its decorators, constants.

Each part has a name, by which ``ignore=`` and `Task.explain` know it. Numbers and texts are compared by identity and
their bytes are reused, so that a call whose function holds a few of them costs little.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import enum
import pathlib
import re
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from beautyspot.keys import captured, values
from beautyspot.keys.assignments import constant_names, globals_assigned
from beautyspot.keys.definitions import counted_layers, layer_held, layers_of
from beautyspot.keys.encoding import PLAIN, Encoder, pack
from beautyspot.keys.transient import is_transient

_MISSING: Any = object()
_DATA = (
    *PLAIN, complex, bytearray, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal,
    uuid.UUID, pathlib.PurePath, enum.Enum, re.Pattern, range, slice,
)  # fmt: skip
_MOST_LOOKED_AT = 1000  # members of a container, to find out whether it is data


class Part:
    """One part of the keys of a function.

    Args:
        name: What messages call it.
        path: The beginning of the paths below it.
        ignored: Paths that do not count.
    """

    __slots__ = ("_data", "_ignored", "_last", "name", "path")
    is_assigned = True  # whether a run may change it

    def __init__(self, name: str, path: str, ignored: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.path = path
        self._ignored = ignored
        self._last: Any = _MISSING
        self._data = b""

    def encoder(self, watcher: captured.Watcher | None) -> Encoder:
        """A traversal of what the part holds."""
        return Encoder(captured=True, watcher=watcher, path=self.path, ignored=self._ignored)


class VariablePart(Part):
    """A captured variable."""

    __slots__ = ("cell",)

    def __init__(self, name: str, cell: types.CellType, ignored: frozenset[str]) -> None:
        super().__init__(f"captured variable {name!r}", name, ignored)
        self.cell = cell

    def known(self) -> bytes | None:
        """Its bytes, if it still holds the number or text that it held when it was last encoded."""
        try:
            return self._data if self.cell.cell_contents is self._last else None
        except ValueError:  # not assigned yet
            return None

    def is_transient(self) -> bool:
        """Whether it holds a value that only this process has."""
        try:
            return is_transient(self.cell.cell_contents)
        except ValueError:  # not assigned yet
            return False

    def encode(self, encoder: Encoder) -> bytes:
        """Its bytes now."""
        data = encoder.variable(self.path, self.cell)
        try:
            value = self.cell.cell_contents
        except ValueError:
            value = _MISSING
        self._last, self._data = (value, data) if type(value) in PLAIN else (_MISSING, b"")
        return data


class LayerPart(Part):
    """A decorator, a `functools.partial` or a bound method around the function."""

    __slots__ = ("_layer", "_with_code")

    def __init__(self, layer: Any, ignored: frozenset[str], with_code: bool) -> None:
        name = getattr(getattr(layer, "__code__", None), "co_qualname", None) or type(layer).__qualname__
        path = "self" if isinstance(layer, types.MethodType) else name.partition(".")[0]
        super().__init__("its object" if path == "self" else f"{name!r} around it", path, ignored)
        self._layer = layer
        self._with_code = with_code

    def known(self) -> bytes | None:
        """``None``: it is traversed each time."""
        return None

    def is_transient(self) -> bool:
        """Never: what a decorator holds is not looked into."""
        return False

    def encode(self, encoder: Encoder) -> bytes:
        """Its bytes now."""
        return layer_held(encoder, self._layer, self._with_code)


class ConstantPart(Part):
    """A global name that the function reads; it counts while it is data.

    Args:
        name: The name.
        scope: The variables of the module.
        ignored: Paths that do not count.
        is_assigned: Whether the function's own code assigns the name.
    """

    __slots__ = ("_global", "_own", "_scope")

    def __init__(self, name: str, scope: dict[str, Any], ignored: frozenset[str], is_assigned: bool) -> None:
        super().__init__(f"constant {name!r}", name, ignored)
        self._global = name
        self._scope = scope
        self._own = is_assigned

    @property
    def is_assigned(self) -> bool:  # type: ignore[override]
        """Whether a run may change it."""
        return self._own

    def known(self) -> bytes | None:
        """Its bytes, if the name still stands for the same object."""
        return self._data if self._scope.get(self._global, _MISSING) is self._last else None

    def counts(self) -> bool:
        """Whether it stood for data when it was encoded last."""
        return bool(self._data)

    def is_fixed(self) -> bool:
        """Whether the name stands for what a module is made of, or is built in, and never counts."""
        value = self._scope.get(self._global, _MISSING)
        return _is_defined(value) if value is not _MISSING else hasattr(builtins, self._global)

    def is_transient(self) -> bool:
        """Whether it is a value that only this process has."""
        return bool(self._data) and is_transient(self._last)

    def encode(self, encoder: Encoder) -> bytes:
        """Its name and its bytes now; nothing for what is no data."""
        value = self._scope.get(self._global, _MISSING)
        data = pack(self._global) + encoder.as_captured(value) if is_data(value) else b""
        self._data = encoder.constant(self._scope, self._global, data) if self._own else data
        self._last = value
        return self._data


AnyPart = VariablePart | LayerPart | ConstantPart


def parts_of(
    function: Any, ignored: frozenset[str], explicit_version: bool, skipped: Callable[[str], bool]
) -> Iterator[AnyPart]:
    """The parts of the keys of *function* beside its arguments.

    Args:
        function: The function, with the layers around it.
        ignored: Paths that do not count.
        explicit_version: Whether the version alone says when code and constants have changed.
        skipped: Whether a variable or constant of this name does not count.
    """
    *_, core = layers_of(function)
    for layer in counted_layers(function):
        yield LayerPart(layer, ignored, not explicit_version)
    code = getattr(core, "__code__", None)
    if not isinstance(code, types.CodeType):
        return
    for name, cell in zip(code.co_freevars, core.__closure__ or (), strict=True):
        if not skipped(name):
            yield VariablePart(name, cell, ignored)
    if not explicit_version:
        assigned = globals_assigned(code)
        for name in constant_names(code):
            if not skipped(name) and (not hasattr(builtins, name) or name in core.__globals__):
                yield ConstantPart(name, core.__globals__, ignored, name in assigned)


def _is_defined(value: Any) -> bool:
    """Whether a global is what a module is made of: a function, a class, another module."""
    return isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.ModuleType | type)


def is_data(value: Any) -> bool:
    """Whether a global counts: plain values, containers of them, arrays and frames."""
    return _is_data(value, [_MOST_LOOKED_AT])


def _is_data(value: Any, left: list[int]) -> bool:
    left[0] -= 1
    if left[0] < 0 or isinstance(value, _DATA):
        return not isinstance(value, type)
    kind = type(value)
    if kind.__module__ == "fractions":
        return True
    if kind in (list, tuple, set, frozenset):
        return all(_is_data(each, left) for each in value)
    if isinstance(value, dict) and kind.__module__ in ("builtins", "collections"):
        return all(_is_data(key, left) and _is_data(item, left) for key, item in value.items())
    if kind is types.MappingProxyType:
        return all(_is_data(item, left) for item in value.values())
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return all(_is_data(each, left) for each in value)
    return values.parts_of(value, kind) is not None or values.plain_of(value, kind) is not value
