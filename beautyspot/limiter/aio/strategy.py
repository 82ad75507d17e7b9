"""GCRARateLimiter for event loops: the strategy ``"gcra"`` of ``limits.aio``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from limits import RateLimitItem, WindowStats
from limits.aio.strategies import STRATEGIES, RateLimiter

from beautyspot.errors import RateLimitExceeded
from beautyspot.limiter.aio.support import GCRASupport
from beautyspot.limiter.strategy import BudgetStrategy, request, window_stats

__all__ = ["GCRARateLimiter"]


class GCRARateLimiter(BudgetStrategy, RateLimiter):
    """As `beautyspot.limiter.GCRARateLimiter`, awaited.

    Args:
        storage: An async storage of `limits` that has `beautyspot.limiter.aio.GCRASupport`.
        burst: Tokens that an idle budget may save; 0 paces strictly.

    Raises:
        NotImplementedError: If the storage does not support it.
    """

    _budgets: GCRASupport

    async def acquire(
        self, requests: Sequence[tuple[RateLimitItem, float]], *identifiers: str, max_wait: float = math.inf
    ) -> float:
        """Charge a call to several limits, or to none of them; returns the seconds after which it may begin."""
        asked = [request(item, identifiers, self.burst, cost) for item, cost in requests if cost]
        charged, wait = await self._budgets.acquire_gcra(asked, max_wait) if asked else (True, 0.0)
        if not charged:
            raise RateLimitExceeded(", ".join(str(item) for item, _ in requests), wait, max_wait)
        return wait

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: float = 1) -> bool:
        """Charge a call if it may begin at once; returns whether it may."""
        asked = request(item, identifiers, self.burst, cost)
        return not cost or (await self._budgets.acquire_gcra((asked,)))[0]

    async def test(self, item: RateLimitItem, *identifiers: str, cost: float = 1) -> bool:
        """Whether a call may begin at once; charges nothing."""
        asked = request(item, identifiers, self.burst, cost)
        return not cost or (await self._budgets.get_gcra((asked[0],)))[0][0] <= 0

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """When the debt is paid off, and how many tokens a call may cost at once until then."""
        ((owed, _),) = await self._budgets.get_gcra((item.key_for(*identifiers),))
        return window_stats(item, self.burst, owed)


STRATEGIES.setdefault("gcra", GCRARateLimiter)
