"""Permit: leave for one call, of a function that is limited, or of what stands in ``with project.limit(cost=...)``."""

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
    """Leave to run what stands in a ``with`` or ``async with`` block.

    Args:
        budget: Where it waits.
        cost: Tokens that it is expected to cost.
        max_wait: Seconds that it waits at most, or ``None``.
        waited: Is told the budget, and the seconds that were waited there.
        function: What waits, where it is a function that is limited.
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
        """Say what it really cost; charged, or given back, when the block ends.

        Args:
            actual: Tokens, more or less than expected; what is said last counts.

        Raises:
            TypeError, ValueError: If it is no finite number of at least 0.
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
    """What is done to a budget after a call must not lose the call's result: that it failed is said once."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        warn_once(
            ("budget", name, kind),
            f"what a call really cost could not be settled, or others not be held back, for {name}: {kind}: {error}. "
            "What was estimated stays charged (further ones are not reported)",
            RateLimitWarning,
        )
