"""GCRASupport for async storages of `limits`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from beautyspot.limiter.gcra import Request
from beautyspot.limiter.support import NO_WINDOWS

__all__ = ["GCRASupport", "NoWindows"]


class GCRASupport(ABC):
    """An async storage of budgets; each method is as in `beautyspot.limiter.GCRASupport`.

    Cancelling a method leaves nothing charged that was not charged before.
    """

    @abstractmethod
    async def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""

    @abstractmethod
    async def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back: ``(key, seconds)`` each."""

    @abstractmethod
    async def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""

    @abstractmethod
    async def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """For each budget, the seconds that it owes (negative if some are saved) and those that it is deferred by."""


class NoWindows:
    """The counters of fixed windows, which `limits` demands of each storage: not supported."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    async def get(self, key: str) -> int:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    async def get_expiry(self, key: str) -> float:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))
