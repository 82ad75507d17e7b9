"""Tests that every store of budgets passes: a storage of `limits` with `GCRASupport`, sync or async."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from beautyspot.limiter.gcra import SLACK, Request

FAST, SLOW = 1e-3, 1.0  # seconds a token


def request_for(key: str, cost: float, emission: float = SLOW, burst: float = 0) -> Request:
    """A request for a budget of the suite."""
    return (key, emission, burst * emission + SLACK, cost)


class LimiterStoreContract:
    """Tests of a store for threads. Needs the fixture ``store``: a fresh, empty store.

    The values compared differ by whole seconds, and a test may take most of one: machines are busy.
    """

    NEAR = 0.9  # seconds

    def owed(self, store: Any, key: str) -> float:
        return float(store.get_gcra([key])[0][0])

    def test_the_first_call_begins_at_once(self, store: Any) -> None:
        assert store.acquire_gcra([request_for("k", 5)]) == (True, 0.0)

    def test_a_call_pays_afterwards(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        assert self.owed(store, "k") == pytest.approx(5, abs=self.NEAR)

    def test_a_call_that_would_wait_too_long_is_refused(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        charged, wait = store.acquire_gcra([request_for("k", 1)], 2.0)
        assert not charged
        assert wait == pytest.approx(5, abs=self.NEAR)

    def test_a_refusal_charges_nothing(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        store.acquire_gcra([request_for("k", 3)], 2.0)
        assert self.owed(store, "k") == pytest.approx(5, abs=self.NEAR)

    def test_a_call_that_waits_is_charged_behind_those_before_it(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        charged, wait = store.acquire_gcra([request_for("k", 3)], 10.0)
        assert charged
        assert wait == pytest.approx(5, abs=self.NEAR)
        assert self.owed(store, "k") == pytest.approx(8, abs=self.NEAR)

    def test_a_large_call_begins_as_soon_as_a_small_one(self, store: Any) -> None:
        assert store.acquire_gcra([request_for("k", 500)]) == (True, 0.0)

    def test_each_key_has_its_own_budget(self, store: Any) -> None:
        store.acquire_gcra([request_for("a", 5)])
        assert store.acquire_gcra([request_for("b", 5)]) == (True, 0.0)

    def test_saved_tokens_may_be_spent_at_once(self, store: Any) -> None:
        charged = [store.acquire_gcra([request_for("k", 1, burst=3)])[0] for _ in range(5)]
        assert charged == [True, True, True, True, False]

    def test_several_budgets_are_charged_together(self, store: Any) -> None:
        store.acquire_gcra([request_for("{p}a", 5), request_for("{p}b", 2)])
        assert self.owed(store, "{p}a") == pytest.approx(5, abs=self.NEAR)
        assert self.owed(store, "{p}b") == pytest.approx(2, abs=self.NEAR)

    def test_one_refusal_of_several_charges_none(self, store: Any) -> None:
        store.acquire_gcra([request_for("{p}a", 5)])
        charged, wait = store.acquire_gcra([request_for("{p}a", 1), request_for("{p}b", 1)], 1.0)
        assert not charged
        assert wait == pytest.approx(5, abs=self.NEAR)
        assert self.owed(store, "{p}b") <= 0

    def test_a_second_budget_saves_nothing_while_the_call_waits_for_the_first(self, store: Any) -> None:
        store.acquire_gcra([request_for("{p}a", 5)])
        store.acquire_gcra([request_for("{p}a", 1), request_for("{p}b", 2)], 10.0)
        assert self.owed(store, "{p}b") == pytest.approx(7, abs=self.NEAR)

    def test_a_shift_charges_more_or_gives_back(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        store.shift_gcra([("k", 3.0)])
        assert self.owed(store, "k") == pytest.approx(8, abs=self.NEAR)
        store.shift_gcra([("k", -6.0)])
        assert self.owed(store, "k") == pytest.approx(2, abs=self.NEAR)

    def test_a_refund_beyond_the_debt_is_not_saved(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        store.shift_gcra([("k", -100.0)])
        assert store.acquire_gcra([request_for("k", 1)]) == (True, 0.0)
        assert store.acquire_gcra([request_for("k", 1)])[0] is False

    def test_a_deferral_delays_all_calls(self, store: Any) -> None:
        store.defer_gcra(["{p}a", "{p}b"], 7.0)
        for key in ("{p}a", "{p}b"):
            charged, wait = store.acquire_gcra([request_for(key, 1)], 1.0)
            assert not charged
            assert wait == pytest.approx(7, abs=self.NEAR)

    def test_a_deferral_is_distinguished_from_a_debt(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        assert store.get_gcra(["k"])[0][1] == 0
        store.defer_gcra(["k"], 3.0)
        owed, held = store.get_gcra(["k"])[0]
        assert owed == pytest.approx(5, abs=self.NEAR)
        assert held == pytest.approx(3, abs=self.NEAR)

    def test_giving_back_does_not_shorten_a_deferral(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 9)])
        store.defer_gcra(["k"], 3.0)
        store.shift_gcra([("k", -9.0)])
        assert self.owed(store, "k") == pytest.approx(3, abs=self.NEAR)

    def test_a_shorter_deferral_does_not_end_a_longer_one(self, store: Any) -> None:
        store.defer_gcra(["k"], 7.0)
        store.defer_gcra(["k"], 1.0)
        assert store.get_gcra(["k"])[0][1] == pytest.approx(7, abs=self.NEAR)

    def test_an_unused_budget_owes_nothing(self, store: Any) -> None:
        owed, held = store.get_gcra(["k"])[0]
        assert owed <= 0
        assert held == 0

    def test_a_debt_is_paid_off_by_time(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 200, FAST)])
        before = self.owed(store, "k")
        threading.Event().wait(0.05)
        assert self.owed(store, "k") <= before - 0.04

    def test_a_cleared_budget_owes_nothing(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 500)])
        store.clear("k")
        assert self.owed(store, "k") <= 0

    def test_a_reset_deletes_every_budget(self, store: Any) -> None:
        store.acquire_gcra([request_for("a", 500)])
        store.acquire_gcra([request_for("b", 500)])
        store.reset()
        assert self.owed(store, "a") <= 0
        assert self.owed(store, "b") <= 0

    def test_it_is_healthy(self, store: Any) -> None:
        assert store.check() is True

    def test_threads_are_charged_one_after_the_other(self, store: Any) -> None:
        def charge() -> None:
            for _ in range(50):
                assert store.acquire_gcra([request_for("k", 1)], 1e6)[0]

        threads = [threading.Thread(target=charge) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The clock goes on meanwhile, and pays off part of the debt.
        assert 150 < self.owed(store, "k") <= 200 + self.NEAR

    def test_a_cheap_budget_keeps_its_exact_price(self, store: Any) -> None:
        emission = 60 / 70_000_000
        for _ in range(20):
            store.acquire_gcra([request_for("k", 1e7 + 1, emission)], 1e9)
        assert self.owed(store, "k") == pytest.approx(20 * (1e7 + 1) * emission, abs=self.NEAR)


class _Blocking:
    """An async store with blocking methods."""

    def __init__(self, store: Any, runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            return await method(*args)

        return lambda *args: self._runner.run(call(*args))


class AsyncLimiterStoreContract(LimiterStoreContract):
    """Tests of a store for event loops. Needs the fixture ``async_store``: a fresh, empty store."""

    @pytest.fixture
    def store(self, async_store: Any) -> Any:
        """The store with blocking methods."""
        with asyncio.Runner() as runner:
            yield _Blocking(async_store, runner)

    def test_threads_are_charged_one_after_the_other(self, store: Any) -> None:
        """With tasks in place of threads."""
        inner = store._store

        async def charge() -> None:
            for _ in range(50):
                assert (await inner.acquire_gcra([request_for("k", 1)], 1e6))[0]

        async def main() -> None:
            await asyncio.gather(*(charge() for _ in range(4)))

        store._runner.run(main())
        assert 150 < self.owed(store, "k") <= 200 + self.NEAR

    def test_it_serves_one_event_loop_after_the_other(self, async_store: Any) -> None:
        async def charge() -> bool:
            return bool((await async_store.acquire_gcra([request_for("k", 1)], 1e6))[0])

        assert [asyncio.run(charge()) for _ in range(3)] == [True] * 3
        charged: list[bool] = []
        threads = [threading.Thread(target=lambda: charged.append(asyncio.run(charge()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert charged == [True, True]

    def test_cancelling_an_admission_charges_nothing(self, async_store: Any) -> None:
        async def main() -> float:
            for _ in range(50):
                running = asyncio.ensure_future(async_store.acquire_gcra([request_for("k", 1000)], 1e9))
                await asyncio.sleep(0)
                running.cancel()
                done = await asyncio.gather(running, return_exceptions=True)
                if not isinstance(done[0], BaseException):  # it was charged before it could be cancelled
                    await async_store.shift_gcra([("k", -1000.0)])
            return float((await async_store.get_gcra(["k"]))[0][0])

        assert asyncio.run(main()) < 1000
