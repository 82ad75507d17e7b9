"""What the code that runs just now belongs to: a call and its keys, a batch of calls, a map."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

# The batch of calls within which the code runs that is running just now, if there is one.
current_group: ContextVar[Flushes | None] = ContextVar("beautyspot_batch", default=None)
# The map whose call runs just now, if there is one.
current_map: ContextVar[CurrentMap | None] = ContextVar("beautyspot_map", default=None)
# Keys that the code which is running just now already has: asking for one again would wait for itself.
held_keys: ContextVar[tuple[bytes, ...]] = ContextVar("beautyspot_flights", default=())
# Whom the code which is running just now stands for: for the readers of streams that are between two items.
readers_under_way: ContextVar[tuple[Reader, ...]] = ContextVar("beautyspot_readers", default=())


class Flushes(Protocol):
    """What holds keys that it can give back: a batch of calls."""

    def flush(self) -> None:
        """Give back what is held; from any thread."""
        ...


class Reader:
    """Stands for the code that asked a stream for its latest item, and for what that code has started since."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_gone = False


class CurrentMap(NamedTuple):
    """What a map says to its calls that wait for a budget and have not begun.

    Attributes:
        before: Functions of the task that run before its own code does.
        has_ended: Whether nothing new is to begin any more.
    """

    before: tuple[Callable[..., Any], ...]
    has_ended: Callable[[], bool]


class CallCancelled(BaseException):
    """Ends a call of a map that has ended, before its own code has begun."""


class KeyBusy(Exception):
    """Says to a call that is not to wait that someone else runs it just now."""


def current_key() -> bytes | None:
    """The key of the call that runs just now, if there is one."""
    mine = held_keys.get()
    return mine[-1] if mine else None


def flush_current_group() -> None:
    """Give back what the batch of the running call holds, before that call waits for anyone."""
    group = current_group.get()
    if group is not None:
        group.flush()
