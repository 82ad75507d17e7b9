"""WaitQueue: the threads and tasks that wait for a budget, first come, first served.

The queue is a deque: appending, looking at the first and removing are atomic, so there is no lock that an interrupted
waiter could keep. The first waiter is the first whether it was woken or not, waking it twice does no harm, and a waiter
that is gone without leaving is removed by those behind it.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from math import inf

from beautyspot._internal.context import CallCancelled
from beautyspot.limiter.gcra import Request

LOOK = 0.25  # seconds after which a waiting thread notices an interrupt, and a call the end of its map, at the latest


class ThreadWaker:
    """Wakes a thread."""

    is_gone = False  # the waiting thread holds its waker, so it exists as long as this does

    def __init__(self) -> None:
        self._woken = threading.Lock()
        self._woken.acquire()

    def wake(self) -> None:
        """Wake the thread, or keep it from falling asleep."""
        with suppress(RuntimeError):  # it was woken already
            self._woken.release()

    def wait(self, seconds: float) -> None:
        """Block until woken, for *seconds* or `LOOK` at most."""
        self._woken.acquire(timeout=min(seconds, LOOK))


class AsyncWaker:
    """Wakes a task of the running event loop, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = self._loop.create_future()

    @property
    def is_gone(self) -> bool:
        """Whether the loop was closed, so that the task never runs again."""
        return self._loop.is_closed()

    def wake(self) -> None:
        """Wake the task, or keep it from falling asleep."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, self._woken)

    async def wait(self, seconds: float) -> None:
        """Wait until woken, for *seconds* at most."""
        timer = None if seconds == inf else self._loop.call_later(seconds, _settle, self._woken)
        try:
            await self._woken
        finally:
            if timer is not None:
                timer.cancel()
        self._woken = self._loop.create_future()  # before the task looks, so that no wake-up is lost


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Waiter:
    """A call in the queue. The waiting thread or task holds its waker; the queue does not, and so sees when it is gone.

    Attributes:
        requests: The requests of the call; empty once it is charged.
        has_refund: Whether something was given back since it was charged.
        may_give_up: Tells whether the map of the call has ended; ``None`` for a call that waits in any case.
    """

    has_refund = False
    may_give_up: Callable[[], bool] | None = None
    _waker: weakref.ref[ThreadWaker | AsyncWaker] | None = None  # it does not wait yet

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests

    def time_slice(self, seconds: float) -> float:
        """How much of *seconds* to wait before checking whether to give up."""
        return seconds if self.may_give_up is None else min(seconds, LOOK)

    def check(self) -> None:
        """Give up if the map has ended.

        Raises:
            CallCancelled: If it has.
        """
        if self.may_give_up is not None and self.may_give_up():
            raise CallCancelled

    def set_waker(self, waker: ThreadWaker | AsyncWaker) -> None:
        """Let *waker* wake this waiter from now on."""
        self._waker = weakref.ref(waker)

    @property
    def is_gone(self) -> bool:
        """Whether the waiter is gone and never leaves the queue by itself."""
        if self._waker is None:
            return False
        waker = self._waker()
        return waker is None or waker.is_gone

    def wake(self) -> None:
        """Wake the waiter, if it waits already."""
        waker = None if self._waker is None else self._waker()
        if waker is not None:
            waker.wake()


class WaitQueue(deque[Waiter]):
    """The calls that wait; the first may charge the budgets, and stays the first until it begins."""

    def leave(self, waiter: Waiter) -> None:
        """Remove *waiter*, wherever it stands, and wake the first."""
        with suppress(ValueError):  # interrupted before it was appended, or removed as gone
            self.remove(waiter)
        if self:
            self.remove_gone()
            self.wake_first()

    def remove_gone(self) -> None:
        """Remove waiters from the front that are gone."""
        with suppress(IndexError, ValueError):  # other threads append and remove meanwhile
            while (first := self[0]).is_gone:
                self.remove(first)

    def wake_first(self, has_refund: bool = False) -> None:
        """Wake the first; *has_refund*: because something was given back."""
        with suppress(IndexError):
            first = self[0]
            first.has_refund = first.has_refund or has_refund
            first.wake()

    def seconds_ahead(self, waiter: Waiter) -> list[float]:
        """Seconds that the waiters before *waiter* will still be charged, for each budget."""
        ahead = [other.requests for other in takewhile(lambda other: other is not waiter, self.copy())]
        return [
            sum(cost * emission for _, emission, _, cost in column) for column in zip(*filter(None, ahead), strict=True)
        ]
