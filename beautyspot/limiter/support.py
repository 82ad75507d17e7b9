"""GCRASupport: the interface of storages of `limits` that the strategy ``"gcra"`` runs on.

In the style of ``limits.storage.MovingWindowSupport``: a storage inherits from it and from ``Storage``.
`beautyspot.limiter.aio.GCRASupport` is the same for async storages.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from limits.errors import StorageError

from beautyspot.limiter.gcra import Request

C = TypeVar("C", bound=Callable[..., Any])

__all__ = ["GCRASupport", "NoWindows", "wraps_errors"]

NO_WINDOWS = '{} has budgets for the strategy "gcra" only; for fixed or moving windows, use a storage of limits itself'


class GCRASupport(ABC):
    """A storage of budgets. Each method is atomic."""

    @abstractmethod
    def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none.

        Args:
            requests: A request for each budget: its key, seconds in which one token is earned, seconds of budget
                that may be saved, and the tokens that the call costs.
            max_wait: Seconds that the call waits at most.

        Returns:
            Whether the call was charged, and after how many seconds it begins, or would have begun.
        """

    @abstractmethod
    def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back: ``(key, seconds)`` each."""

    @abstractmethod
    def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""

    @abstractmethod
    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """For each budget, the seconds that it owes (negative if some are saved) and those that it is deferred by."""


class NoWindows:
    """The counters of fixed windows, which `limits` demands of each storage: not supported."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    def get(self, key: str) -> int:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    def get_expiry(self, key: str) -> float:
        """Not supported."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))


def wraps_errors(method: C) -> C:
    """Let *method* raise a ``StorageError`` for errors of its storage if ``wrap_exceptions`` is set.

    As ``limits`` does for its own methods, but per method, not per class.
    """

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except self.base_exceptions as error:
            if self.wrap_exceptions:
                raise StorageError(error) from error
            raise

    @functools.wraps(method)
    async def async_wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await method(self, *args, **kwargs)
        except self.base_exceptions as error:
            if self.wrap_exceptions:
                raise StorageError(error) from error
            raise

    return async_wrapper if inspect.iscoroutinefunction(method) else wrapper  # type: ignore[return-value]
