"""The protocols of locks, which ensure one execution per key across processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class KeyLocks(Protocol):
    """Locks that end with the process that holds them. Without them, one execution per key holds in each process."""

    def try_lock(self, key: bytes) -> bool:
        """Acquire the lock of *key* unless it is held; returns whether it was acquired."""
        ...

    def lock(self, key: bytes) -> None:
        """Acquire the lock of *key*, waiting for as long as a living process holds it."""
        ...

    def unlock(self, key: bytes) -> None:
        """Release the lock of *key*."""
        ...


@runtime_checkable
class BulkLocks(Protocol):
    """Locks of which many are acquired in one request, as over a network. Without it, each is a request of its own."""

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        """Acquire the locks of those *keys* that are not held; returns the keys whose lock was acquired."""
        ...

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        """Release the locks of *keys*."""
        ...
