"""Helpers for threads and coroutines that wait for each other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class CancelRace:
    """Settles who releases a lock: the waiter that gives up or the helper that acquires it, whichever is second."""

    def __init__(self) -> None:
        self._first = threading.Lock()

    def comes_second(self) -> bool:
        """Whether the other side has called this before; each side calls it once."""
        return not self._first.acquire(blocking=False)


def wake(loop: asyncio.AbstractEventLoop, released: asyncio.Future[None]) -> None:
    """Complete the future *released* of an event loop, from any thread."""
    try:
        loop.call_soon_threadsafe(_settle, released)
    except RuntimeError:  # the loop is closed: no coroutine waits in it any more
        return


def _settle(released: asyncio.Future[None]) -> None:
    if not released.done():  # its waiter may have been cancelled
        released.set_result(None)
