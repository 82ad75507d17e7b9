"""How long a result is good for, as users write it."""

from __future__ import annotations

import re
from datetime import timedelta

from beautyspot.errors import ConfigurationError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def ttl_seconds(ttl: str | float | timedelta | None) -> float | None:
    """A time to live in seconds."""
    if isinstance(ttl, timedelta):
        seconds = ttl.total_seconds()
    elif isinstance(ttl, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", ttl)
        if found is None:
            raise ConfigurationError(f'ttl is a number with one of s, m, h, d, w, such as "90s" or "30d", not {ttl!r}')
        seconds = float(found[1]) * _UNITS[found[2]]
    elif ttl is None or (isinstance(ttl, int | float) and not isinstance(ttl, bool)):
        if ttl is None:
            return None
        seconds = float(ttl)
    else:
        raise ConfigurationError(f'ttl is "90s", "12h", "30d", seconds or a timedelta, not {ttl!r}')
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"ttl must be more than 0 seconds, and is {ttl!r}")
    return seconds
