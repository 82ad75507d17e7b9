"""Readable texts of a call's arguments, bounded in length and in the time that they take."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

_LONGEST = 500  # characters of a whole call
_SHORT = frozenset({type(None), bool, int, float})


class _Preview(reprlib.Repr):
    """``repr`` cut short; of objects that are not plain data only the type, and the shape if they have one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 120
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 6
        self.maxlong = 60

    def repr_bytes(self, x: bytes, level: int) -> str:
        """The first bytes, and how many there are."""
        return repr(x) if len(x) <= 40 else f"{x[:32]!r}… ({len(x)} bytes)"

    def repr_instance(self, x: Any, level: int) -> str:
        """An object by its own ``repr``, unless that may be long to make."""
        kind, shape = type(x), getattr(x, "shape", None)
        if shape is not None:
            return f"{kind.__name__}{tuple(shape)} {getattr(x, 'dtype', '')}".rstrip()
        if getattr(kind, "__repr__", None) is object.__repr__:
            return f"<{kind.__qualname__}>"
        return super().repr_instance(x, level)


_preview = _Preview()


def of_value(value: Any) -> str:
    """A short text of one value."""
    if type(value) in _SHORT or (type(value) is str and len(value) < 100):
        return repr(value)
    try:
        return _preview.repr(value)
    except Exception:  # an object's own repr or shape may do anything, and this text is only for people
        return f"<{type(value).__qualname__}>"


def of_call(names: Iterable[str], values: Iterable[Any]) -> str:
    """A call's arguments as they would be written, such as ``text='A', n=3``."""
    text = ", ".join([f"{name}={of_value(value)}" for name, value in zip(names, values, strict=True)])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
