"""What locks must do: one execution per key, over processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class KeyLocks(Protocol):
    """Locks that live as long as their owner. Without them, one execution per key holds in one process."""

    def try_lock(self, key: bytes) -> bool:
        """Take the lock of *key* if nobody has it; says whether it was taken."""
        ...

    def lock(self, key: bytes) -> None:
        """Take the lock of *key*, waiting for as long as a living owner has it."""
        ...

    def unlock(self, key: bytes) -> None:
        """Give the lock of *key* back."""
        ...


@runtime_checkable
class BulkLocks(Protocol):
    """Locks of which many are asked for at once, as over a network. Without it, each is asked for by itself."""

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        """Take the locks of those *keys* that nobody has; those that were taken."""
        ...

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        """Give the locks of *keys* back."""
        ...
