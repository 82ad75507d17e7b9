"""Permit: what ``with project.limit(cost=...)`` gives, for calls that no decorator can wrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from beautyspot.errors import BudgetWarning, ConfigurationError
from beautyspot.limiter.budgets import COMMON, Budgets
from beautyspot.limiter.gate import Gate
from beautyspot.limiter.headers import asked_to_wait
from beautyspot.limiter.rates import checked_cost
from beautyspot.notices import warn_once

if TYPE_CHECKING:
    from typing import Self


class Permit:
    """Leave to run what stands in a ``with`` or ``async with`` block.

    Args:
        budgets: Of the project.
        cost: Tokens that it is expected to cost.
        key: Of the budget, or ``None``: the project's own.
        max_wait: Seconds that it waits at most, or ``None``.
        waited: Is told the name of the budget, and the seconds that it was waited for.
    """

    def __init__(
        self,
        budgets: Budgets,
        cost: float,
        key: str | None,
        max_wait: float | None,
        waited: Callable[[str, float], None],
    ) -> None:
        self._budgets = budgets
        self._waited = waited
        self._cost = cost
        self._key = COMMON if key is None else key
        self._max_wait = max_wait
        self._actual: float | None = None
        self._gate: Gate | None = None

    def __repr__(self) -> str:
        return f"<permit for {self._cost:g} of {self._key or 'the project'}>"

    def settle(self, actual: float) -> None:
        """Say what it really cost; charged, or given back, when the block ends.

        Args:
            actual: Tokens, more or less than expected; what is said last counts.

        Raises:
            TypeError, ValueError: If it is no finite number of at least 0.
            ConfigurationError: Outside of the block.
        """
        if self._gate is None:
            raise ConfigurationError("a permit is settled inside of its with block")
        self._actual = checked_cost(actual, inf, self._gate.name)

    def __enter__(self) -> Self:
        gate = self._budgets.gate("tokens", self._key)
        waited = gate.acquire(self._cost, self._max_wait)
        self._gate = gate
        if waited:
            self._waited(gate.name, waited)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        gate, self._gate = self._gate, None
        assert gate is not None  # noqa: S101 - entered
        with at_least_said(gate.name):
            if self._actual is not None:
                gate.settle(self._cost, self._actual)
            if isinstance(error, Exception) and (seconds := asked_to_wait(error)):
                gate.defer(seconds)

    async def __aenter__(self) -> Self:
        gate = self._budgets.gate("tokens", self._key)
        waited = await gate.acquire_async(self._cost, self._max_wait)
        self._gate = gate
        if waited:
            self._waited(gate.name, waited)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        gate, self._gate = self._gate, None
        assert gate is not None  # noqa: S101 - entered
        with at_least_said(gate.name):
            if self._actual is not None:
                await gate.settle_async(self._cost, self._actual)
            if isinstance(error, Exception) and (seconds := asked_to_wait(error)):
                await gate.defer_async(seconds)


@contextmanager
def at_least_said(name: str) -> Iterator[None]:
    """What is done to a budget after a call must not lose the call's result: that it failed is said once."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        warn_once(
            ("budget", name, kind),
            f"what a call really cost could not be settled, or others not be held back, for {name}: {kind}: {error}. "
            "What was estimated stays charged (further ones are not reported)",
            BudgetWarning,
        )
