"""GCRASupport: what a storage of `limits` must do so that the strategy ``"gcra"`` runs on it.

In the style of ``limits.storage.MovingWindowSupport``: an ability that a storage declares by inheriting from
it beside ``Storage``. `beautyspot.limiter.aio.GCRASupport` is its twin for async storages.
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

NO_WINDOWS = '{} has budgets for the strategy "gcra" alone; for windows, give limits one of its own storages'


class GCRASupport(ABC):
    """A storage that keeps budgets. Each method is one step that no other caller can come between."""

    @abstractmethod
    def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none.

        Args:
            requests: One for each budget: its key, seconds in which one token is earned, seconds of budget
                that may be saved up, and the tokens that the call costs.
            max_wait: Seconds that the call would wait at most.

        Returns:
            Whether it was charged, and after how many seconds it begins, or would have begun.
        """

    @abstractmethod
    def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back: ``(key, seconds)`` each."""

    @abstractmethod
    def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let nobody who asks one of the budgets begin before *seconds* have passed."""

    @abstractmethod
    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """For each budget the seconds that it owes, negative where some is saved up, and is deferred by."""


class NoWindows:
    """Answers for the counters that `limits` has each storage declare: fixed windows are left to its own storages."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not here."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    def get(self, key: str) -> int:
        """Not here."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))

    def get_expiry(self, key: str) -> float:
        """Not here."""
        raise NotImplementedError(NO_WINDOWS.format(type(self).__name__))


def wraps_errors(method: C) -> C:
    """Let *method* raise a ``StorageError`` for errors of its storage where ``wrap_exceptions`` is set.

    As ``limits`` does it for its own methods, but once for each method and not once for each class.
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
