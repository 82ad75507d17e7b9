"""Rates: limits as they are declared (``tpm``, ``rpm``, a text such as ``"100/minute"``), and checks of costs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, RateLimitItemPerMinute, parse_many

from beautyspot.errors import ConfigurationError
from beautyspot.limiter.gcra import SLACK


@dataclass(frozen=True, slots=True)
class Rate:
    """One budget of a limit.

    Attributes:
        key: The key of the budget in its store.
        emission: Seconds in which one token is earned.
        tolerance: Seconds of budget that an idle budget may save.
        max_cost: Tokens that a call may cost.
        counts_calls: Whether every call costs 1 here, whatever it costs elsewhere.
    """

    key: str
    emission: float
    tolerance: float
    max_cost: int
    counts_calls: bool = False


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """Tokens and calls a minute, charged together or not at all."""

    tpm: int | None
    rpm: int | None
    burst: float

    kind = "tokens"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in (("tpm", self.tpm), ("rpm", self.rpm)) if value)

    def rates(self, namespace: str, key: str) -> Iterator[Rate]:
        """A rate for each budget; both may save the same share of time."""
        saved = self.burst * 60 / (self.tpm or self.rpm or 1)
        for name, amount in (("tpm", self.tpm), ("rpm", self.rpm)):
            if amount is not None:
                item = RateLimitItemPerMinute(amount, 1, namespace)
                yield Rate(item.key_for(name, key), 60 / amount, saved + SLACK, amount, name == "rpm")


@dataclass(frozen=True, slots=True)
class TextLimit:
    """Limits in the notation of `limits`, such as ``"10/second; 500/minute"``: all of them hold."""

    text: str
    burst: float

    kind = "calls"

    def __str__(self) -> str:
        return repr(self.text)

    def rates(self, namespace: str, key: str) -> Iterator[Rate]:
        """A rate for each limit in the text."""
        for item in parsed(self.text):
            item.namespace = namespace
            emission = item.get_expiry() / item.amount
            yield Rate(item.key_for("calls", key), emission, self.burst * emission + SLACK, item.amount)


Limit = TokenLimit | TextLimit


def parsed(text: str) -> list[RateLimitItem]:
    """The limits that *text* declares in the notation of `limits`.

    Raises:
        ConfigurationError: If the text is not in that notation, or admits nothing.
    """
    try:
        items = parse_many(text)
    except ValueError as error:
        raise ConfigurationError(
            f'a limit is written as "100/minute" or "10/second; 500/hour", not {text!r}'
        ) from error
    if not all(item.amount >= 1 and item.get_expiry() > 0 for item in items):
        raise ConfigurationError(f"the limit {text!r} admits nothing")
    return items


def checked_cost(cost: Any, most: float, name: str) -> float:
    """The cost of a call as a number that can be charged.

    Raises:
        TypeError: If the cost is not a number.
        ValueError: If the cost is negative, not finite, or above what can ever be admitted.
    """
    if not _is_number(cost):
        raise TypeError(f"the cost of a call is a number of tokens, not {cost!r} ({type(cost).__name__})")
    if not 0 <= cost < math.inf:
        raise ValueError(f"the cost of a call is a finite number of tokens, 0 or more, not {cost!r}")
    if cost > most:
        raise ValueError(
            f"a call that costs {float(cost):,.10g} can never be admitted by {name}, which admits {most:,.10g} at "
            "most; raise the limit or split the call"
        )
    return float(cost)


def checked_seconds(what: str, seconds: Any) -> float:
    """Seconds as a number.

    Raises:
        TypeError: If they are not a number.
        ConfigurationError: If they are negative or not finite.
    """
    if not _is_number(seconds):
        raise TypeError(f"{what} is a number of seconds, not {seconds!r} ({type(seconds).__name__})")
    if not 0 <= seconds < math.inf:
        raise ConfigurationError(f"{what} is a finite number of seconds, 0 or more, not {seconds!r}")
    return float(seconds)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
