"""The line before a budget: threads and tasks of all event loops, first come, first served.

A deque is the whole line: appending, looking at the first and removing are one step each, so no lock guards
it that an interrupted waiter could keep. Who is first is first whether or not anybody told him, being told
twice harms nobody, and who is gone without leaving is dropped by those behind him.
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

LOOK = 0.25  # seconds after which a waiting thread can be interrupted, and a call of a map gives up, at the latest


class ThreadWaker:
    """Wakes a thread."""

    is_gone = False  # while it is there: whoever waits holds it

    def __init__(self) -> None:
        self._woken = threading.Lock()
        self._woken.acquire()

    def wake(self) -> None:
        """Wake the thread, or see to it that it does not fall asleep."""
        with suppress(RuntimeError):  # it was rung already
            self._woken.release()

    def wait(self, seconds: float) -> None:
        """Until it rings, *seconds* have passed, or it is time to look."""
        self._woken.acquire(timeout=min(seconds, LOOK))


class AsyncWaker:
    """Wakes a task of the running event loop, from whichever thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = self._loop.create_future()

    @property
    def is_gone(self) -> bool:
        """Whether the loop was closed over the task, which will never run again."""
        return self._loop.is_closed()

    def wake(self) -> None:
        """Wake the task, or see to it that it does not fall asleep."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, self._woken)

    async def wait(self, seconds: float) -> None:
        """Until it rings, or *seconds* have passed."""
        timer = None if seconds == inf else self._loop.call_later(seconds, _settle, self._woken)
        try:
            await self._woken
        finally:
            if timer is not None:
                timer.cancel()
        self._woken = self._loop.create_future()  # before the task looks, so that no ring is lost


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Waiter:
    """Someone in the line. Whoever waits holds his waker; the line does not, and sees when he is gone.

    Attributes:
        requests: What he will ask of the budgets; nothing once he is charged.
        has_refund: Whether something was given back since he was charged.
        may_give_up: Whether the map that he belongs to has ended; ``None`` where he goes on in any case.
    """

    has_refund = False
    may_give_up: Callable[[], bool] | None = None
    _waker: weakref.ref[ThreadWaker | AsyncWaker] | None = None  # he does not wait yet

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests

    def time_slice(self, seconds: float) -> float:
        """How much of *seconds* to wait before looking whether to give up."""
        return seconds if self.may_give_up is None else min(seconds, LOOK)

    def check(self) -> None:
        """Go on waiting, or give up.

        Raises:
            CallCancelled: If the map has ended meanwhile.
        """
        if self.may_give_up is not None and self.may_give_up():
            raise CallCancelled

    def set_waker(self, waker: ThreadWaker | AsyncWaker) -> None:
        """Say that *waker* wakes him from now on."""
        self._waker = weakref.ref(waker)

    @property
    def is_gone(self) -> bool:
        """Whether he will never leave by himself."""
        if self._waker is None:
            return False
        waker = self._waker()
        return waker is None or waker.is_gone

    def wake(self) -> None:
        """Wake him."""
        waker = None if self._waker is None else self._waker()
        if waker is not None:
            waker.wake()


class WaitQueue(deque[Waiter]):
    """Who waits; the first may ask the budgets, and stays the first until he is through."""

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out, wherever he stands, and tell the first."""
        with suppress(ValueError):  # interrupted before he came in, or dropped
            self.remove(waiter)
        if self:
            self.remove_gone()
            self.wake_first()

    def remove_gone(self) -> None:
        """Take out the first, and those behind him, who will never leave by themselves."""
        with suppress(IndexError, ValueError):  # others come and go meanwhile
            while (first := self[0]).is_gone:
                self.remove(first)

    def wake_first(self, has_refund: bool = False) -> None:
        """Wake the first; *has_refund*: because something was given back."""
        with suppress(IndexError):
            first = self[0]
            first.has_refund = first.has_refund or has_refund
            first.wake()

    def seconds_ahead(self, waiter: Waiter) -> list[float]:
        """What those before *waiter* will be charged still, for each budget."""
        ahead = [other.requests for other in takewhile(lambda other: other is not waiter, self.copy())]
        return [
            sum(cost * emission for _, emission, _, cost in column) for column in zip(*filter(None, ahead), strict=True)
        ]
