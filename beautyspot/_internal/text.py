"""Formatting for people: sizes, durations, times, and texts of values and calls."""

from __future__ import annotations

import re
import reprlib
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def size_text(size: float) -> str:
    """A size in bytes, such as ``1.2 kB``."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 99.5 else f"{size:.1f} {_UNITS[unit]}"


def seconds_text(seconds: float | None) -> str:
    """A duration, such as ``250 ms``, ``3.1 s``, ``2 h 5 min``; empty if unknown."""
    if seconds is None:
        return ""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24:,} d {hours % 24} h"


def time_text(when: float, now: float | None = None) -> str:
    """A time, as short as it is unambiguous: today's without the day."""
    then, today = datetime.fromtimestamp(when), datetime.fromtimestamp(time.time() if now is None else now)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%b %d %H:%M}" if then.year == today.year else f"{then:%Y-%m-%d}"


def full_time(when: float) -> str:
    """A time with its date and zone."""
    return f"{datetime.fromtimestamp(when).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def counted(number: int, what: str) -> str:
    """A number with its noun: ``1 result``, ``2,000 results``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """*text* with control characters and lone surrogates escaped; line ends and tabs stay."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """*text* as `printable` returns it, in one line."""
    return " ".join(printable(text).split())


_LONGEST = 500  # characters of a whole call


_SHORT = frozenset({type(None), bool, int, float})


class _Preview(reprlib.Repr):
    """A truncated ``repr``; for objects that are not plain data only the type, and the shape if they have one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 120
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 6
        self.maxlong = 60

    def repr_bytes(self, x: bytes, level: int) -> str:
        """The first bytes, and their number."""
        return repr(x) if len(x) <= 40 else f"{x[:32]!r}… ({len(x)} bytes)"

    def repr_instance(self, x: Any, level: int) -> str:
        """The object's own ``repr``, unless that may take long."""
        kind, shape = type(x), getattr(x, "shape", None)
        if shape not in (None, ()):  # a scalar of NumPy has a shape as well, and a text that says more
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
