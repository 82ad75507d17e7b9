"""Budget: acquire and settle rate-limit budgets, sync and async.

Only the first waiter of the queue is charged, and has a start time in the future: when a call settles or is cancelled
meanwhile, all others move. `_admission` decides, and yields instructions; `_block` and `_await` carry them out, by
blocking or by awaiting.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from beautyspot._internal.context import current_map, flush_current_group
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import LimiterUnavailableError, RateLimitExceeded
from beautyspot.limiter.gcra import SLACK, Request
from beautyspot.limiter.rates import Limit, Rate, checked_cost
from beautyspot.limiter.stores import Store
from beautyspot.limiter.wait_queue import AsyncWaker, ThreadWaker, Waiter, WaitQueue

logger = logging.getLogger("beautyspot")
_LOGGED_FROM = 30.0  # seconds: shorter deferrals are not logged
_LARGEST = sys.float_info.max  # tokens: the maximal cost where only calls are limited

Answer = tuple[bool, float]  # of the store: whether the call was charged, and after how many seconds it begins
Levels = list[tuple[float, float]]  # for each budget the seconds that it owes, and is deferred by


class Charge(NamedTuple):
    """Charge the call to all of its budgets, or to none; the reply is an `Answer`."""

    requests: Sequence[Request]
    max_wait: float


class GiveBack(NamedTuple):
    """Give back what the call was charged."""

    shifts: Sequence[tuple[str, float]]


class ReadLevels(NamedTuple):
    """Read what the budgets owe; the reply is their `Levels`."""

    keys: Sequence[str]


class Wait(NamedTuple):
    """Wait until woken, for so many seconds at most."""

    seconds: float


Instruction = Charge | GiveBack | ReadLevels | Wait
Steps = Generator[Instruction, Any, None]  # each is sent the reply to the instruction that it yielded
Function = Callable[..., Any]


class Budget(SurvivesFork):
    """Admits calls to the budgets of one limit, first come, first served.

    Args:
        store: The store of the budgets.
        rates: A rate for each budget.
        name: The name in error messages.
        limit: The limit as it was declared.
    """

    def __init__(self, store: Store, rates: Iterable[Rate], name: str, limit: Limit | None = None) -> None:
        rates = tuple(rates)
        counted = [rate for rate in rates if rate.counts_calls]
        self._token_rates = [rate for rate in rates if not rate.counts_calls]
        self.name = name
        self.limit = limit
        self.keys = [rate.key for rate in (*self._token_rates, *counted)]
        self._store = store
        self._prices = [(rate.key, rate.emission, rate.tolerance) for rate in self._token_rates]
        self._call_requests = tuple([(rate.key, rate.emission, rate.tolerance, 1.0) for rate in counted])
        self._max_cost = min((rate.max_cost for rate in self._token_rates), default=_LARGEST)
        self._queue = WaitQueue()
        self._lost: tuple[float, LimiterUnavailableError] | None = None  # when the store was last unreachable, and how
        # A call that costs no tokens does not queue behind calls that wait for tokens.
        self._calls_only = Budget(store, counted, name) if self._token_rates and counted else None
        self.survive_forks()

    @property
    def is_idle(self) -> bool:
        """Whether no call waits."""
        return not self._queue and (self._calls_only is None or self._calls_only.is_idle)

    def acquire(self, cost: float, max_wait: float | None = None, function: Function | None = None) -> float:
        """Wait until a call that costs *cost* tokens may begin, and charge it.

        Args:
            cost: Tokens.
            max_wait: Seconds to wait at most; ``None``: without a bound.
            function: The limited function that waits: if its map ends first, it does not begin.

        Returns:
            Seconds that the call waited; 0 if it could begin at once.

        Raises:
            RateLimitExceeded: If the wait would exceed *max_wait* seconds; nothing is charged then.
            LimiterUnavailableError: If the store cannot be reached.
            ValueError, TypeError: If the cost is invalid.
        """
        requests = self.requests(cost)
        if not cost and self._token_rates:
            return self._calls_only.acquire(1, max_wait, function) if self._calls_only else 0.0
        queue, store = self._queue, self._store
        if store.is_instant and not queue and store.sync.acquire_gcra(requests)[0]:
            return 0.0
        waiter = Waiter(requests)
        try:
            queue.append(waiter)
            answer = None
            if queue[0] is waiter:
                answer = store.sync.acquire_gcra(requests, inf if max_wait is None else max_wait)
                if answer[0] and answer[1] <= 0:
                    return 0.0
            waker = ThreadWaker()
            began = monotonic()
            self._block(self._admission(waiter, waker, max_wait, function, answer), waker)
            return monotonic() - began
        except store.errors as error:
            raise self._store_lost(error) from error
        finally:
            queue.leave(waiter)

    async def acquire_async(
        self, cost: float, max_wait: float | None = None, function: Function | None = None
    ) -> float:
        """As `acquire`, awaited."""
        requests = self.requests(cost)
        if not cost and self._token_rates:
            return await self._calls_only.acquire_async(1, max_wait, function) if self._calls_only else 0.0
        queue, store = self._queue, self._store
        if store.is_instant and not queue and store.sync.acquire_gcra(requests)[0]:
            return 0.0
        waiter = Waiter(requests)
        try:
            queue.append(waiter)
            answer = None
            if queue[0] is waiter:
                answer = await store.aio.acquire_gcra(requests, inf if max_wait is None else max_wait)
                if answer[0] and answer[1] <= 0:
                    return 0.0
            waker = AsyncWaker()
            began = monotonic()
            await self._await(self._admission(waiter, waker, max_wait, function, answer), waker)
            return monotonic() - began
        except store.errors as error:
            raise self._store_lost(error) from error
        finally:
            queue.leave(waiter)

    def _store_lost(self, error: Exception) -> LimiterUnavailableError:
        """The error for an unreachable store, noted so that calls which wait already need not try for themselves."""
        self._lost = (monotonic(), self._store.unavailable(error))
        return self._store.unavailable(error)

    def requests(self, cost: float) -> tuple[Request, ...]:
        """The request that a call of this *cost* makes of each budget; an invalid cost is an error."""
        kind = type(cost)
        if not ((kind is int or kind is float) and 0 <= cost <= self._max_cost):
            cost = checked_cost(cost, self._max_cost, self.name)
        if len(self._prices) == 1:
            key, emission, tolerance = self._prices[0]
            return ((key, emission, tolerance, cost), *self._call_requests)
        return (*[(key, emission, tolerance, cost) for key, emission, tolerance in self._prices], *self._call_requests)

    def _admission(
        self,
        waiter: Waiter,
        waker: ThreadWaker | AsyncWaker,
        max_wait: float | None,
        function: Function | None,
        answer: Answer | None,
    ) -> Steps:
        """The instructions until the call may begin; *answer* is the store's, if it was asked already."""
        requests = waiter.requests
        deadline = inf if max_wait is None else monotonic() + max_wait
        flush_current_group()  # the results and locks of its commit group must not wait with this call
        ending = current_map.get()
        if ending is not None and function in ending.before:
            waiter.may_give_up = ending.has_ended
        waiter.set_waker(waker)
        if answer is None:
            yield from self._wait_for_turn(waiter, max_wait, deadline)
        back = [(key, -cost * emission) for key, emission, _, cost in requests]
        while True:
            left = max(0.0, deadline - monotonic())
            charged, wait = answer or (yield Charge(requests, left))
            if not charged:
                raise RateLimitExceeded(self.name, wait, max_wait or 0.0)
            if wait <= 0:
                return
            waiter.requests = ()
            try:
                if (yield from self._wait_for_start(waiter, back, wait)):
                    return
            except GeneratorExit:  # the coroutine was dropped: nothing is left to carry out an instruction
                self._store.sync.shift_gcra(back)
                raise
            except BaseException:
                yield GiveBack(back)
                raise
            yield GiveBack(back)
            waiter.requests, answer = requests, None

    def _wait_for_turn(self, waiter: Waiter, max_wait: float | None, deadline: float) -> Steps:
        """Wait until *waiter* is the first; if that would exceed its maximal wait, refuse it at once."""
        if max_wait is not None and (owed := (yield from self._expected_wait(waiter))) > max_wait:
            raise RateLimitExceeded(self.name, owed, max_wait)
        waiter.check()
        joined = monotonic()
        while self._queue[0] is not waiter:
            left = deadline - monotonic()
            if max_wait is not None and left <= 0:
                raise RateLimitExceeded(self.name, (yield from self._expected_wait(waiter)), max_wait)
            yield Wait(waiter.time_slice(left))
            waiter.check()
            self._queue.remove_gone()
        if self._lost is not None and self._lost[0] > joined:
            # The waiter before has retried for as long as makes sense.
            raise LimiterUnavailableError(self._lost[1].place, self._lost[1].cause)

    def _wait_for_start(
        self, waiter: Waiter, back: list[tuple[str, float]], wait: float
    ) -> Generator[Instruction, Any, bool]:
        """Wait until the call of *waiter*, the first, may begin; ``False`` if it is to be charged anew."""
        waiter.check()
        begins = monotonic() + wait
        while (left := begins - monotonic()) > 0:
            yield Wait(waiter.time_slice(left))
            waiter.check()
            if waiter.has_refund:  # something was given back: could it begin earlier?
                waiter.has_refund = False
                levels: Levels = yield ReadLevels(self.keys)
                earliest = max(owed + own for (owed, _), (_, own) in zip(levels, back, strict=True))
                if earliest < begins - monotonic() - SLACK:
                    return False
        levels = yield ReadLevels(self.keys)
        # If calls were deferred meanwhile, this start time lies before the end of the deferral.
        return not any(held > 0 for _, held in levels)

    def _expected_wait(self, waiter: Waiter) -> Generator[Instruction, Any, float]:
        """Seconds after which *waiter* could begin: by what is owed, and what waiters before it will be charged."""
        levels: Levels = yield ReadLevels(self.keys)
        ahead = self._queue.seconds_ahead(waiter) or [0.0] * len(levels)
        seconds = [owed + more for (owed, _), more in zip(levels, ahead, strict=True)]
        return max(0.0, *seconds)

    def _block(self, steps: Steps, waker: ThreadWaker) -> None:
        """Carry out *steps*, blocking."""
        try:
            instruction = next(steps)
            while True:
                try:
                    reply = self._perform(instruction, waker)
                except BaseException as error:
                    instruction = steps.throw(error)
                else:
                    instruction = steps.send(reply)
        except StopIteration:
            return

    def _perform(self, instruction: Instruction, waker: ThreadWaker) -> Answer | Levels | None:
        match instruction:
            case Wait(seconds):
                waker.wait(seconds)
            case Charge(requests, max_wait):
                return self._store.sync.acquire_gcra(requests, max_wait)
            case GiveBack(shifts):
                self._store.sync.shift_gcra(shifts)
            case ReadLevels(keys):
                return self._store.sync.get_gcra(keys)
        return None

    async def _await(self, steps: Steps, waker: AsyncWaker) -> None:
        """Carry out *steps*, awaiting."""
        try:
            instruction = next(steps)
            while True:
                try:
                    reply = await self._perform_async(instruction, waker)
                except BaseException as error:
                    instruction = steps.throw(error)
                else:
                    instruction = steps.send(reply)
        except StopIteration:
            return

    async def _perform_async(self, instruction: Instruction, waker: AsyncWaker) -> Answer | Levels | None:
        match instruction:
            case Wait(seconds):
                await waker.wait(seconds)
            case Charge(requests, max_wait):
                return await self._store.aio.acquire_gcra(requests, max_wait)
            case GiveBack(shifts):
                await self._store.aio.shift_gcra(shifts)
            case ReadLevels(keys):
                return await self._store.aio.get_gcra(keys)
        return None

    def settle(self, cost: float, actual: float) -> None:
        """Charge the actual cost of a call in place of the estimate.

        Raises:
            LimiterUnavailableError: If the store cannot be reached.
        """
        shifts = self._shifts(cost, actual)
        try:
            if shifts:
                self._store.sync.shift_gcra(shifts)
                self._queue.wake_first(has_refund=actual < cost)
        except self._store.errors as error:
            raise self._store.unavailable(error) from error

    async def settle_async(self, cost: float, actual: float) -> None:
        """As `settle`, awaited."""
        shifts = self._shifts(cost, actual)
        try:
            if shifts:
                await self._store.aio.shift_gcra(shifts)
                self._queue.wake_first(has_refund=actual < cost)
        except self._store.errors as error:
            raise self._store.unavailable(error) from error

    def _shifts(self, cost: float, actual: float) -> list[tuple[str, float]]:
        more = checked_cost(actual, inf, self.name) - cost
        return [(rate.key, more * rate.emission) for rate in self._token_rates] if more else []

    def defer(self, seconds: float) -> None:
        """Let no call begin before *seconds* have passed, in any process.

        Raises:
            LimiterUnavailableError: If the store cannot be reached.
        """
        self._log_deferral(seconds)
        try:
            self._store.sync.defer_gcra(self.keys, seconds)
        except self._store.errors as error:
            raise self._store.unavailable(error) from error

    async def defer_async(self, seconds: float) -> None:
        """As `defer`, awaited."""
        self._log_deferral(seconds)
        try:
            await self._store.aio.defer_gcra(self.keys, seconds)
        except self._store.errors as error:
            raise self._store.unavailable(error) from error

    def _log_deferral(self, seconds: float) -> None:
        if seconds >= _LOGGED_FROM:  # a job must not stand still without a word
            logger.warning("%s is deferred: no call of it begins for %.0f s", self.name, seconds)

    def after_fork_in_child(self) -> None:
        """Start with an empty queue: the threads of the parent do not exist in a child."""
        self._queue = WaitQueue()
