"""MemoryStorage for event loops: the same budgets as those of threads, since it asks the same object."""

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
        wrap_exceptions: Taken as ``limits`` passes it; nothing here raises what could be wrapped.
        shared: Whose budgets these are; a storage of its own where there is none.
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
        """Let nobody who asks one of the budgets begin before *seconds* have passed."""
        self._sync.defer_gcra(keys, seconds)

    async def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """What budgets owe and are deferred by, in seconds."""
        return self._sync.get_gcra(keys)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Nothing here fails."""
        return ()

    async def check(self) -> bool:
        """Whether the storage works: it does."""
        return self._sync.check()

    async def reset(self) -> int:
        """Forget everything; returns how many keys there were."""
        return self._sync.reset()

    async def clear(self, key: str) -> None:
        """Forget *key*."""
        self._sync.clear(key)
