"""Retention: how long results stay in the cache, and how many bytes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase

from beautyspot._internal.units import bytes_in, ttl_seconds
from beautyspot.errors import ConfigurationError

__all__ = ["Retention"]

Duration = str | float | timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a project keeps results, and how many bytes of them. Without it, nothing is deleted unless you ask.

    A rule sets the ``ttl`` of the tasks that it matches, unless a task has its own. To results that were stored without
    any ``ttl``, ``gc`` applies the rules too, from the time at which they were stored.

    Args:
        ttl: Patterns of functions, each with a time to live; the first match applies. A pattern is written like that
            of a file name, as in ``"scrape.*"``, and is compared with ``module.qualname``. ``None`` in place of a time
            keeps the results for ever. A single time applies to all functions.
        max_bytes: The size of all results together, in the index and in blob storage: ``"10GB"`` or a number of bytes.
            ``gc`` evicts what is above, the least recently used first.
        background: How often each process of the project evicts by itself, such as ``"1h"``: in the thread that has
            just written a result, when that time has passed since its last eviction, or sooner, when it has written a
            tenth of *max_bytes*; for the first time after a minute at most. A process that writes nothing evicts
            nothing, and one process at a time evicts. ``None``: only ``gc`` evicts.

    Attributes:
        rules: The patterns of *ttl*, each with its time in seconds.
        limit: *max_bytes* as a number.
        period: *background* in seconds.

    Raises:
        ConfigurationError: If one of the arguments is not of its form.
    """

    ttl: Mapping[str, Duration | None] | Duration | None = None
    max_bytes: int | str | None = None
    background: Duration | None = None
    rules: tuple[tuple[str, float | None], ...] = field(init=False, repr=False, compare=False)
    limit: int | None = field(init=False, repr=False, compare=False)
    period: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (
            ("rules", _rules(self.ttl)),
            ("limit", _limit(self.max_bytes)),
            ("period", ttl_seconds(self.background, "background")),
        ):
            object.__setattr__(self, name, value)
        if self.background is not None and not self:
            raise ConfigurationError("background evicts by ttl or max_bytes: give one of them as well")

    def __bool__(self) -> bool:
        """Whether anything can ever be evicted."""
        return bool(self.rules) or self.limit is not None

    def ttl_of(self, function: str) -> float | None:
        """The time to live in seconds that the first matching rule gives a function; ``None`` without one.

        Args:
            function: The ``module.qualname`` of the function.
        """
        for pattern, seconds in self.rules:
            if fnmatchcase(function, pattern):
                return seconds
        return None


def _rules(given: Mapping[str, Duration | None] | Duration | None) -> tuple[tuple[str, float | None], ...]:
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        return (("*", ttl_seconds(given)),)
    for pattern in given:
        if not isinstance(pattern, str) or not pattern:
            raise ConfigurationError(f'a rule of ttl is for a pattern such as "scrape.*" or "*", not {pattern!r}')
    return tuple((pattern, ttl_seconds(ttl, f"ttl of {pattern!r}")) for pattern, ttl in given.items())


def _limit(given: int | str | None) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ConfigurationError(f'max_bytes is "10GB" or a number of bytes, not {given!r}')
    size = bytes_in(given, "max_bytes") if isinstance(given, str) else given
    if size < 1:
        raise ConfigurationError(f"max_bytes must be at least 1, and is {given!r}")
    return size
