"""Context variables: the commit group, the map and the keys of the running call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

# The commit group of the running call.
current_group: ContextVar[Flushes | None] = ContextVar("beautyspot_batch", default=None)
# The map of the running call.
current_map: ContextVar[CurrentMap | None] = ContextVar("beautyspot_map", default=None)
# The keys whose locks the running code holds: acquiring one again would wait for itself.
held_keys: ContextVar[tuple[bytes, ...]] = ContextVar("beautyspot_flights", default=())
# The readers on whose behalf the running code runs: readers of streams, between two items.
current_readers: ContextVar[tuple[Reader, ...]] = ContextVar("beautyspot_readers", default=())


class Flushes(Protocol):
    """A commit group: it holds keys, and can store its results and release them early."""

    def flush(self) -> None:
        """Store the results and release the keys; may be called from any thread."""
        ...


class Reader:
    """Identifies the code that took the latest item of a stream, and what that code has started since."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_gone = False


class CurrentMap(NamedTuple):
    """The state of a map, for its calls that wait for a budget and have not started.

    Attributes:
        before: Functions of the task that run before its own code.
        has_ended: Function that returns whether no further call may start.
    """

    before: tuple[Callable[..., Any], ...]
    has_ended: Callable[[], bool]


class CallCancelled(BaseException):
    """Cancels a call of a map that has ended, before the call's own code has started."""


class KeyBusy(Exception):
    """Raised instead of waiting for a key that another caller holds."""


def current_key() -> bytes | None:
    """The key of the running call, or ``None``."""
    keys = held_keys.get()
    return keys[-1] if keys else None


def flush_current_group() -> None:
    """Flush the commit group of the running call, before that call waits for another one."""
    group = current_group.get()
    if group is not None:
        group.flush()
