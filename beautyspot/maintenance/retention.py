"""Retention: for how long results are kept, and how many bytes of them."""

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
    """For how long a project keeps results, and how many bytes of them. Without it, nothing is ever dropped.

    A rule gives the tasks that it fits their ``ttl``, unless they have one of their own. Results that were kept
    without any ``ttl`` are judged by it when ``gc`` runs, by the time at which they were kept.

    Args:
        ttl: Patterns of functions, each with a time to live; the first that fits holds. A pattern is that of a file's
            name, as in ``"scrape.*"``, and is compared with ``module.qualname``. ``None`` in place of a time keeps
            them for ever. A time alone is that of all functions.
        max_bytes: Of all results, those in the index and those in blob storage: ``"10GB"`` or a number. What is above
            is dropped by ``gc``, the longest unused first.
        background: How often each process of the project drops these by itself, such as ``"1h"``: in the thread that
            has just written a result, when so long has passed since the last time, or when a tenth of *max_bytes* was
            written meanwhile; for the first time after a minute at most. A process that writes nothing drops nothing,
            and one at a time does it. ``None``: only ``gc`` does.

    Attributes:
        rules: The patterns of *ttl*, each with its seconds.
        limit: *max_bytes* as a number.
        period: *background* in seconds.

    Raises:
        ConfigurationError: If one of them cannot work.
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
            raise ConfigurationError("background drops what ttl or max_bytes says: give one of them as well")

    def __bool__(self) -> bool:
        """Whether anything is ever dropped."""
        return bool(self.rules) or self.limit is not None

    def ttl_of(self, function: str) -> float | None:
        """The seconds for which results of a function are kept by the first rule that fits it, if one does.

        Args:
            function: As ``module.qualname``.
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
