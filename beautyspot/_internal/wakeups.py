"""What threads and coroutines that wait for one another need: to wake one from any thread, to leave in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Asked:
    """A lock that one asks for and another takes: whoever comes second, to leave or to take, gives it back."""

    def __init__(self) -> None:
        self._first = threading.Lock()

    def comes_second(self) -> bool:
        """Whether the other one was here before; to be called once by each."""
        return not self._first.acquire(blocking=False)


def wake(loop: asyncio.AbstractEventLoop, released: asyncio.Future[None]) -> None:
    """End the waiting for *released*, from any thread."""
    try:
        loop.call_soon_threadsafe(_settle, released)
    except RuntimeError:  # its loop is closed: nobody waits there any more
        return


def _settle(released: asyncio.Future[None]) -> None:
    if not released.done():  # its waiter may have been cancelled
        released.set_result(None)
