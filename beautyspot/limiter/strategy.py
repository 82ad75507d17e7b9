"""GCRARateLimiter: the strategy ``"gcra"`` of `limits`, on any storage with `GCRASupport`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from limits import RateLimitItem, WindowStats
from limits.strategies import STRATEGIES, RateLimiter

from beautyspot.errors import RateLimitExceeded
from beautyspot.limiter.gcra import SLACK, Request
from beautyspot.limiter.rates import checked_cost
from beautyspot.limiter.support import GCRASupport

__all__ = ["GCRARateLimiter"]


class BudgetStrategy:
    """The base of the strategies for threads and for event loops; takes a storage, as all strategies of `limits` do."""

    _budgets: Any

    def __init__(self, storage: Any, burst: float = 0) -> None:
        if not hasattr(storage, "acquire_gcra"):
            raise NotImplementedError(f"GCRA rate limiting is not implemented for storage of type {type(storage)}")
        super().__init__(storage)  # type: ignore[call-arg]  # the strategy of `limits` comes next in the order of bases
        self._budgets = storage
        self.burst = burst


class GCRARateLimiter(BudgetStrategy, RateLimiter):
    """Paces calls: none begins while its budget owes anything, and each adds its cost to the debt.

    Args:
        storage: A storage of `limits` that has `GCRASupport`.
        burst: Tokens that an idle budget may save; 0 paces strictly.

    Raises:
        NotImplementedError: If the storage does not support it.
    """

    _budgets: GCRASupport

    def acquire(
        self, requests: Sequence[tuple[RateLimitItem, float]], *identifiers: str, max_wait: float = math.inf
    ) -> float:
        """Charge a call to several limits, or to none of them, and reserve its start.

        Args:
            requests: Pairs of a limit and the tokens that the call costs there.
            identifiers: The name of the budget, as for `hit`.
            max_wait: Seconds that the call waits at most.

        Returns:
            Seconds after which the call may begin: the caller waits that long.

        Raises:
            RateLimitExceeded: If it would have to wait longer; nothing is charged then.
            ValueError, TypeError: As `hit` does.
        """
        asked = [request(item, identifiers, self.burst, cost) for item, cost in requests if cost]
        charged, wait = self._budgets.acquire_gcra(asked, max_wait) if asked else (True, 0.0)
        if not charged:
            raise RateLimitExceeded(", ".join(str(item) for item, _ in requests), wait, max_wait)
        return wait

    def hit(self, item: RateLimitItem, *identifiers: str, cost: float = 1) -> bool:
        """Charge a call, if it may begin at once.

        Args:
            item: The limit.
            identifiers: The name of the budget.
            cost: Tokens, at most the limit's amount.

        Returns:
            Whether the call may begin; if not, nothing is charged.

        Raises:
            ValueError: If the cost is negative, not finite, or above what the limit can ever admit.
            TypeError: If the cost is not a number.
        """
        asked = request(item, identifiers, self.burst, cost)
        return not cost or self._budgets.acquire_gcra((asked,))[0]

    def test(self, item: RateLimitItem, *identifiers: str, cost: float = 1) -> bool:
        """Whether a call may begin at once; charges nothing."""
        asked = request(item, identifiers, self.burst, cost)
        return not cost or self._budgets.get_gcra((asked[0],))[0][0] <= 0

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """When the debt is paid off, and how many tokens a call may cost at once until then."""
        ((owed, _),) = self._budgets.get_gcra((item.key_for(*identifiers),))
        return window_stats(item, self.burst, owed)


def request(item: RateLimitItem, identifiers: tuple[str, ...], burst: float, cost: float) -> Request:
    """The request of a call for a limit of `limits`."""
    amount = item.amount
    if type(cost) is not int or not 0 <= cost <= amount:
        cost = checked_cost(cost, amount, str(item))
    emission = item.get_expiry() / amount
    return (item.key_for(*identifiers), emission, burst * emission + SLACK, cost)


def window_stats(item: RateLimitItem, burst: float, owed: float) -> WindowStats:
    """The statistics that `limits` shows of a budget that owes *owed* seconds."""
    if owed > 0:
        return WindowStats(time.time() + owed, 0)
    saved = -owed * item.amount / item.get_expiry()
    # One call more than is saved, since a call adds its cost afterwards.
    return WindowStats(time.time(), math.floor(min(saved, burst)) + 1)


STRATEGIES.setdefault("gcra", GCRARateLimiter)  # type: ignore[arg-type]  # which is typed for the strategies of `limits`
