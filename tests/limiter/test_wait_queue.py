"""Waiting for a budget: the order, refusals, and calls that are cancelled, interrupted or killed while they wait."""

import asyncio
import contextlib
import ctypes
import gc
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.limiter.budget import Budget
from beautyspot.limiter.gcra import SLACK
from beautyspot.limiter.rates import Rate, TokenLimit
from beautyspot.limiter.stores import Store, open_store
from tests.support.clocks import quickest

PACE = 0.02  # seconds a token in most of these tests


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/budgets.db"}
    uri = place.get(request.param) or request.getfixturevalue("redis_url")
    store = open_store(uri)
    yield store
    store.close()


def budget_of(store: Store, pace: float = PACE, key: str = "k", most: int = 1000) -> Budget:
    return Budget(store, [Rate(key, pace, SLACK, most)], key)


def owed(budget: Budget) -> float:
    return budget._store.sync.get_gcra(budget.keys)[0][0]


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def start(function: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


# --- the order


def test_threads_are_admitted_in_the_order_in_which_they_came(store: Store) -> None:
    budget, admitted = budget_of(store), []
    budget.acquire(5)

    def wait(number: int) -> None:
        budget.acquire(1)
        admitted.append(number)

    threads = []
    for number in range(8):
        threads.append(start(wait, number))
        until(lambda: len(budget._queue) == number + 1)  # noqa: B023
    for thread in threads:
        thread.join()
    assert admitted == list(range(8))


def test_tasks_are_admitted_in_the_order_in_which_they_came(store: Store) -> None:
    budget, admitted = budget_of(store), []

    async def wait(number: int) -> None:
        await budget.acquire_async(1)
        admitted.append(number)

    asyncio.run(_all(wait(number) for number in range(8)))
    assert admitted == list(range(8))


async def _all(coroutines: Any) -> list[Any]:
    return await asyncio.gather(*coroutines)


def test_threads_and_tasks_of_two_loops_share_one_queue(store: Store) -> None:
    budget, admitted = budget_of(store), []
    budget.acquire(5)

    def block(number: int) -> None:
        budget.acquire(1)
        admitted.append(number)

    async def wait(number: int) -> None:
        await budget.acquire_async(1)
        admitted.append(number)

    threads = []
    for number in range(9):
        kind: Any = (block, number) if number % 3 == 0 else (asyncio.run, wait(number))
        threads.append(start(*kind))
        until(lambda: len(budget._queue) == number + 1)  # noqa: B023
    for thread in threads:
        thread.join()
    assert admitted == list(range(9))


def test_a_large_call_is_admitted_in_its_turn(store: Store) -> None:
    budget, admitted = budget_of(store, pace=0.0005), []
    budget.acquire(100)

    def ask(cost: int) -> None:
        for _ in range(5):
            budget.acquire(cost)
            admitted.append(cost)

    threads = [start(ask, cost) for cost in (100, 1, 1, 1)]
    for thread in threads:
        thread.join()
    # Between two large calls each other thread is admitted once, or twice if a thread was slow to call again.
    assert admitted.count(100) == 5
    assert 100 in admitted[:8]


def test_one_key_does_not_delay_another(store: Store) -> None:
    slow, quick = budget_of(store, 1.0, "slow"), budget_of(store, 1.0, "quick")
    slow.acquire(100)
    waiting = start(slow.acquire, 1)
    until(lambda: len(slow._queue))
    quick.acquire(1)
    assert waiting.is_alive()
    slow.settle(100, 0)
    waiting.join()


def _refused(budget: Budget, max_wait: float) -> None:
    with contextlib.suppress(bs.RateLimitExceeded):
        budget.acquire(1, max_wait)


def test_calls_that_cost_nothing_do_not_wait_for_tokens() -> None:
    store = open_store("memory://")
    tokens = Budget(store, TokenLimit(60, None, 0).rates("{p}", "t"), "t")
    both = Budget(store, TokenLimit(60, 1_000_000, 0).rates("{p}", "b"), "b")
    for budget in (tokens, both):
        budget.acquire(50)
        budget.acquire(0, max_wait=0.01)
    asyncio.run(both.acquire_async(0, max_wait=0.01))


def test_calls_that_cost_nothing_count_as_calls() -> None:
    budget = Budget(open_store("memory://"), TokenLimit(60, 60, 0).rates("{p}", "k"), "k")
    budget.acquire(0)
    with pytest.raises(bs.RateLimitExceeded):
        budget.acquire(0, max_wait=0.5)


# --- refusals


def test_a_call_that_would_wait_too_long_is_refused_at_once_and_not_charged(store: Store) -> None:
    budget = budget_of(store, 1.0)
    budget.acquire(6)
    with pytest.raises(bs.RateLimitExceeded) as refused:
        budget.acquire(1, max_wait=2)
    assert refused.value.retry_after == pytest.approx(6, abs=0.9)
    assert refused.value.max_wait == 2
    assert owed(budget) == pytest.approx(6, abs=0.9)
    assert not budget._queue


def test_a_call_is_refused_at_once_if_the_waiters_before_it_take_too_long(store: Store) -> None:
    budget = budget_of(store, 1.0)
    budget.acquire(1)
    threads = [start(budget.acquire, 3) for _ in range(2)]
    until(lambda: len(budget._queue) == 2)
    until(lambda: owed(budget) > 3)  # the first waiter is charged
    for acquire in (budget.acquire, lambda *given: asyncio.run(budget.acquire_async(*given))):
        with pytest.raises(bs.RateLimitExceeded) as refused:
            acquire(1, 5.0)
        assert 5 < refused.value.retry_after < 11  # 7, or 10 while the second waiter is charged and not yet admitted
    budget.settle(100, 0)
    for thread in threads:
        thread.join()


def test_a_call_whose_time_runs_out_in_the_queue_is_refused_then() -> None:
    budget = budget_of(open_store("memory://"), 1.0)
    budget.acquire(0.3)
    first = start(budget.acquire, 0.3)
    until(lambda: owed(budget) > 0.31)
    refused: list[bs.RateLimitExceeded] = []

    def ask() -> None:
        try:
            budget.acquire(1, 1.0)  # 0.6 s are owed when it joins the queue
        except bs.RateLimitExceeded as error:
            refused.append(error)

    waiting = start(ask)
    until(lambda: len(budget._queue) == 2)
    budget.defer(3)  # and more, once it waits
    waiting.join()
    assert len(refused) == 1
    assert refused[0].retry_after > 1
    assert first.is_alive()  # it still waits, before the refused one
    first.join()
    assert not budget._queue


@pytest.mark.parametrize("cost", [1001, float("inf"), float("nan"), -1, -0.5])
def test_a_cost_that_can_never_be_admitted_is_a_value_error(cost: float) -> None:
    budget = budget_of(open_store("memory://"))
    for acquire in (budget.acquire, lambda *given: asyncio.run(budget.acquire_async(*given))):
        with pytest.raises(ValueError, match="cost"):
            acquire(cost)
    assert owed(budget) <= 0
    assert not budget._queue


@pytest.mark.parametrize("cost", [True, "5", None, b"5", [5]])
def test_a_cost_that_is_no_number_is_a_type_error(cost: Any) -> None:
    budget = budget_of(open_store("memory://"))
    with pytest.raises(TypeError, match="number of tokens"):
        budget.acquire(cost)


def test_a_cost_above_the_limit_is_rejected_without_queueing() -> None:
    budget = budget_of(open_store("memory://"), 0.01)
    budget.acquire(500)
    threads = [start(_refused, budget, 1000) for _ in range(100)]
    until(lambda: len(budget._queue) == 100)
    before = owed(budget)
    with pytest.raises(ValueError, match="can never be admitted"):
        budget.acquire(1001)
    assert owed(budget) <= before
    budget.settle(1000, 0)
    for thread in threads:
        thread.join()


# --- settling and deferring


def test_settling_moves_a_waiter_that_is_charged_already(store: Store) -> None:
    budget = budget_of(store, 0.1)
    budget.acquire(1000)
    threads = [start(budget.acquire, 2) for _ in range(3)]
    until(lambda: owed(budget) > 100)
    budget.settle(1000, 0.1)
    for thread in threads:
        thread.join(20)
    assert not budget._queue


def test_settling_lets_waiters_begin_sooner(store: Store) -> None:
    """Twenty calls, estimated at 400 and costing 80: five times as long if nothing were given back."""
    budget = budget_of(store, 0.0005, most=1000)

    async def call() -> None:
        await budget.acquire_async(400)
        await budget.settle_async(400, 80)

    def measure() -> float:
        started = time.monotonic()
        asyncio.run(_all(call() for _ in range(20)))
        return time.monotonic() - started

    without_settling = 20 * 400 * 0.0005
    assert quickest(measure, without_settling) < without_settling


def test_more_than_was_expected_delays_the_next_call(store: Store) -> None:
    budget = budget_of(store, 1.0)
    budget.acquire(2)
    budget.settle(2, 5)
    assert owed(budget) == pytest.approx(5, abs=0.9)


def test_a_deferral_delays_a_waiter_that_is_charged_already(store: Store) -> None:
    budget = budget_of(store)
    budget.acquire(3)
    admitted: list[tuple[int, float]] = []

    def wait(number: int) -> None:
        budget.acquire(1)
        admitted.append((number, time.monotonic()))

    threads = []
    for number in range(4):
        threads.append(start(wait, number))
        until(lambda: len(budget._queue) == number + 1 or admitted)  # noqa: B023
    deferred_at = time.monotonic()
    budget.defer(0.5)
    for thread in threads:
        thread.join()
    after = [number for number, at in admitted if at > deferred_at]
    assert all(at - deferred_at >= 0.49 for number, at in admitted if at > deferred_at)
    assert after == sorted(after)
    assert len(after) >= 3
    assert not budget._queue


# --- cancelled, interrupted, dropped


def test_a_cancelled_task_gives_its_charge_back(store: Store) -> None:
    budget = budget_of(store, 1.0)

    async def main() -> None:
        await budget.acquire_async(1)
        waiting = [asyncio.create_task(budget.acquire_async(20)) for _ in range(100)]
        while owed(budget) < 10:
            await asyncio.sleep(0.001)
        for task in random.sample(waiting, 100):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())
    assert owed(budget) <= 1 + SLACK
    assert not budget._queue


def test_cancelling_a_waiter_affects_no_other(store: Store) -> None:
    budget = budget_of(store)

    async def main() -> list[Any]:
        await budget.acquire_async(5)
        waiting = [asyncio.create_task(budget.acquire_async(1)) for _ in range(10)]
        await asyncio.sleep(0.01)
        for task in waiting[::2]:
            task.cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    done = asyncio.run(main())
    assert [type(one) for one in done] == [asyncio.CancelledError, float] * 5  # seconds waited


def test_a_coroutine_that_is_dropped_gives_its_charge_back(store: Store) -> None:
    budget = budget_of(store, 1.0)
    budget.acquire(5)
    loop = asyncio.new_event_loop()
    waiting: Any = [budget.acquire_async(50) for _ in range(2)]

    async def step() -> None:
        tasks = [asyncio.ensure_future(coroutine) for coroutine in waiting]
        assert len(tasks) == 2
        while owed(budget) < 10:
            await asyncio.sleep(0.001)

    loop.run_until_complete(step())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the test drops them on purpose
    del task
    waiting.clear()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()
    assert owed(budget) <= 5
    budget.settle(5, 0)
    budget.acquire(1, max_wait=1)
    assert not budget._queue


def test_a_loop_that_was_closed_over_its_waiters_delays_no_other() -> None:
    budget = budget_of(open_store("memory://"))
    budget.acquire(5)
    loop = asyncio.new_event_loop()

    async def step() -> None:
        tasks.append(asyncio.ensure_future(budget.acquire_async(1)))
        tasks.append(asyncio.ensure_future(budget.acquire_async(1)))
        await asyncio.sleep(0.01)

    tasks: list[Any] = []
    holding = start(budget.acquire, 5)
    until(lambda: len(budget._queue) == 1)
    loop.run_until_complete(step())
    loop.close()
    later = start(budget.acquire, 1)
    later.join(20)
    assert not later.is_alive()
    holding.join()
    for task in tasks:
        task._log_destroy_pending = False


def test_ten_thousand_cancellations_leave_no_waiter_stuck_and_nothing_uncharged() -> None:
    budget = budget_of(open_store("memory://"), 1e-5)
    admitted: list[float] = []
    chance = random.Random(0)

    async def call(rounds: int) -> None:
        for _ in range(rounds):
            cost = chance.choice([1, 5, 20])
            how = chance.random()
            try:
                if how < 0.3:
                    async with asyncio.timeout(chance.random() * 0.002):
                        await budget.acquire_async(cost)
                elif how < 0.5:
                    await budget.acquire_async(cost, max_wait=chance.random() * 0.002)
                elif how < 0.7:
                    task = asyncio.ensure_future(budget.acquire_async(cost))
                    asyncio.get_running_loop().call_later(chance.random() * 0.002, task.cancel)
                    await task
                else:
                    await budget.acquire_async(cost)
            except (TimeoutError, bs.RateLimitExceeded, asyncio.CancelledError):
                continue
            admitted.append(cost)

    async def main() -> None:
        await asyncio.gather(*(call(500) for _ in range(20)))

    started = time.monotonic()
    asyncio.run(main())
    took = time.monotonic() - started
    assert not budget._queue
    # In any time no more than the rate, the slack and one call.
    assert sum(admitted) <= (took + SLACK) / 1e-5 + 20
    budget.acquire(1, max_wait=60)


def test_interrupted_threads_leave_no_waiter_stuck() -> None:
    """KeyboardInterrupt, at any instruction: into eight threads, a few thousand times."""
    budget = budget_of(open_store("memory://"), 1e-4)
    stop = time.monotonic() + 6
    counts = {"interrupted": 0, "admitted": 0}

    def call() -> None:
        while time.monotonic() < stop:
            try:
                while time.monotonic() < stop:
                    budget.acquire(1)
                    counts["admitted"] += 1
            except KeyboardInterrupt:
                counts["interrupted"] += 1

    def run() -> None:
        while time.monotonic() < stop:
            with contextlib.suppress(KeyboardInterrupt):
                call()

    threads = [start(run) for _ in range(8)]
    chance = random.Random(0)
    while time.monotonic() < stop - 1:
        thread = chance.choice(threads)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
        )
        time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert counts["interrupted"] > 100
    assert counts["admitted"] > 1000
    assert not budget._queue
    budget.acquire(1, max_wait=30)


# --- killed

WAITERS = """
import sys, threading, time
import beautyspot as bs
project = bs.Project("p", tpm=6000, limiter_uri=sys.argv[1])
budget = project.budgets.budget("tokens", "")
budget.acquire(int(sys.argv[2]))
print("charged", flush=True)
threads = [threading.Thread(target=budget.acquire, args=(200,)) for _ in range(20)]
for thread in threads: thread.start()
while budget._store.sync.get_gcra(budget.keys)[0][0] < 2.1: time.sleep(0.001)
print("waiting", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_a_killed_process_leaves_one_charge_behind(place: str, tmp_path: Path, redis_url: str) -> None:
    """Twenty calls of two seconds wait in the process; only the first of them is charged."""
    uri = redis_url if place == "redis" else f"sqlite:///{tmp_path}/budgets.db"
    code = textwrap.dedent(WAITERS)
    process = subprocess.Popen([sys.executable, "-c", code, uri, "20"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["charged\n", "waiting\n"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with bs.Project("p", tpm=6000, limiter_uri=uri) as project:
        budget = project.budgets.budget("tokens", "")
        assert 0 < owed(budget) <= 2 + 2  # for a call that began, and for the waiter that was charged
        budget.acquire(1, max_wait=5)
