"""Permit: admits one call of a limited function, or one ``with project.limit(cost=...)`` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from beautyspot._internal.warn import warn_once
from beautyspot.errors import ConfigurationError, RateLimitWarning
from beautyspot.limiter.budget import Budget
from beautyspot.limiter.headers import requested_pause
from beautyspot.limiter.rates import checked_cost

if TYPE_CHECKING:
    from typing import Self


class Permit:
    """Admits a ``with`` or ``async with`` block to its budget.

    Args:
        budget: The budget.
        cost: The estimate in tokens.
        max_wait: Seconds to wait at most; ``None``: without a bound.
        waited: A callback that gets the budget and the seconds waited.
        function: The limited function, if one waits.
    """

    _actual: float | None = None
    _is_inside = False

    def __init__(
        self,
        budget: Budget,
        cost: float,
        max_wait: float | None,
        waited: Callable[[Budget, float], None],
        function: Callable[..., Any] | None = None,
    ) -> None:
        self._budget, self._cost, self._function = budget, cost, function
        self._max_wait, self._waited = max_wait, waited

    def __repr__(self) -> str:
        return f"<permit for {self._cost:g} of {self._budget.name}>"

    def settle(self, actual: float) -> None:
        """Report the actual cost; the difference is charged or given back when the block ends.

        Args:
            actual: Tokens, more or fewer than estimated; the last report counts.

        Raises:
            TypeError, ValueError: If it is not a finite number of at least 0.
            ConfigurationError: Outside of the block.
        """
        if not self._is_inside:
            raise ConfigurationError("a permit is settled inside of its with block")
        self._actual = checked_cost(actual, inf, self._budget.name)

    def __enter__(self) -> Self:
        if seconds := self._budget.acquire(self._cost, self._max_wait, self._function):
            self._waited(self._budget, seconds)
        self._is_inside, self._actual = True, None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        self._is_inside = False
        if self._actual is None and error is None:
            return
        with warn_on_failure(self._budget.name):
            if self._actual is not None:
                self._budget.settle(self._cost, self._actual)
            if isinstance(error, Exception) and (seconds := requested_pause(error)):
                self._budget.defer(seconds)

    async def __aenter__(self) -> Self:
        if seconds := await self._budget.acquire_async(self._cost, self._max_wait, self._function):
            self._waited(self._budget, seconds)
        self._is_inside, self._actual = True, None
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        self._is_inside = False
        if self._actual is None and error is None:
            return
        with warn_on_failure(self._budget.name):
            if self._actual is not None:
                await self._budget.settle_async(self._cost, self._actual)
            if isinstance(error, Exception) and (seconds := requested_pause(error)):
                await self._budget.defer_async(seconds)


@contextmanager
def warn_on_failure(name: str) -> Iterator[None]:
    """Turn a failure into a warning, once: an update of a budget must not cost a call its result."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        warn_once(
            ("budget", name, kind),
            f"the actual cost of a call could not be settled, or later ones not deferred, for {name}: {kind}: {error}. "
            "The estimate stays charged (further failures are not reported)",
            RateLimitWarning,
        )
