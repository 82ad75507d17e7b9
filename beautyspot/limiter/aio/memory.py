"""MemoryStorage for event loops: shares its budgets with threads, since it delegates to the same object."""

from __future__ import annotations

from collections.abc import Sequence

from limits.aio.storage import Storage

from beautyspot.limiter.aio.support import GCRASupport, NoWindows
from beautyspot.limiter.gcra import Request
from beautyspot.limiter.memory import MemoryStorage as SyncMemoryStorage

__all__ = ["MemoryStorage"]


class MemoryStorage(NoWindows, Storage, GCRASupport):
    """Budgets of this process.

    Args:
        uri: ``async+beautyspot+memory://``.
        wrap_exceptions: Accepted since ``limits`` passes it; no method raises an error that could be wrapped.
        shared: The storage that threads use; a new one if there is none.
    """

    STORAGE_SCHEME = ["async+beautyspot+memory"]

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        shared: SyncMemoryStorage | None = None,
        **_: object,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._sync = shared or SyncMemoryStorage()

    async def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        return self._sync.acquire_gcra(requests, max_wait)

    async def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        self._sync.shift_gcra(shifts)

    async def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""
        self._sync.defer_gcra(keys, seconds)

    async def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        return self._sync.get_gcra(keys)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """No method fails."""
        return ()

    async def check(self) -> bool:
        """Whether the storage works: always."""
        return self._sync.check()

    async def reset(self) -> int:
        """Delete all budgets; returns how many there were."""
        return self._sync.reset()

    async def clear(self, key: str) -> None:
        """Delete the budget of *key*."""
        self._sync.clear(key)
