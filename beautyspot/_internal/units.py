"""Parsing of sizes and durations, as users write them."""

from __future__ import annotations

import re
from datetime import timedelta

from beautyspot.errors import ConfigurationError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31_536_000}


def seconds_in(text: str, name: str) -> float:
    """The seconds of a text such as ``"90s"`` or ``"30d"``.

    Args:
        text: A number with its unit.
        name: Name of the option, for errors.

    Raises:
        ConfigurationError: If it is not a duration.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdwy])\s*", text)
    if found is None:
        raise ConfigurationError(
            f'{name} is a number with one of s, m, h, d, w, y, such as "90s" or "30d", not {text!r}'
        )
    return float(found[1]) * _UNITS[found[2]]


def ttl_seconds(ttl: str | float | timedelta | None, name: str = "ttl") -> float | None:
    """A time to live in seconds; *name* is the option's name for errors."""
    if isinstance(ttl, timedelta):
        seconds = ttl.total_seconds()
    elif isinstance(ttl, str):
        seconds = seconds_in(ttl, name)
    elif ttl is None or (isinstance(ttl, int | float) and not isinstance(ttl, bool)):
        if ttl is None:
            return None
        seconds = float(ttl)
    else:
        raise ConfigurationError(f'{name} is "90s", "12h", "30d", seconds or a timedelta, not {ttl!r}')
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{name} must be more than 0 seconds, and is {ttl!r}")
    return seconds


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


def bytes_in(text: str, name: str) -> int:
    """The bytes of a text such as ``"500"``, ``"64kB"`` or ``"2GiB"``.

    Args:
        text: A number with its unit, or without.
        name: Name of the option, for errors.

    Raises:
        ConfigurationError: If it is not a size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f'{name} is a number of bytes, such as 500, "64kB", "1MB" or "2GiB", not {text!r}')
    step = 1024 if found[3] else 1000
    return int(float(found[1]) * step ** " kmgt".index(found[2].lower() or " "))
