"""The strategy ``"gcra"`` of `limits`: its arithmetic, its methods, and the libraries that use it."""

import asyncio
import math
from pathlib import Path
from typing import Any

import flask
import flask_limiter
import limits
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.storage import MemoryStorage as TheirMemoryStorage
from limits.strategies import STRATEGIES, FixedWindowRateLimiter

import beautyspot as bs
from beautyspot.limiter import GCRARateLimiter, MemoryStorage, SQLiteStorage, aio
from beautyspot.limiter.gcra import SLACK, State, admit
from tests.contracts.test_limiter_stores import Clock

MINUTE = limits.parse("60/minute")

# --- the arithmetic


@settings(max_examples=300, deadline=None)
@given(
    calls=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 100), st.floats(0, 20)), min_size=1, max_size=60),
    burst=st.sampled_from([0, 5, 50]),
)
def test_no_window_admits_more_than_the_rate_the_tolerance_and_a_call(
    calls: list[tuple[float, float, float]], burst: int
) -> None:
    emission = 0.05
    tolerance = burst * emission + SLACK
    states: dict[str, State] = {}
    now, admitted = 1e6, []
    for pause, cost, max_wait in calls:
        now += pause
        charged, wait = admit([("k", emission, tolerance, cost)], states, now, max_wait)
        if charged:
            admitted.append((now + wait, cost))
    assert admitted == sorted(admitted, key=lambda each: each[0])
    largest = max((cost for _, cost in admitted), default=0)
    for first, (begin, _) in enumerate(admitted):
        total = 0.0
        for end, cost in admitted[first:]:
            total += cost
            assert total <= (end - begin + tolerance) / emission + largest + 1e-6


@settings(max_examples=200, deadline=None)
@given(calls=st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 50)), min_size=2, max_size=40))
def test_calls_without_a_pause_get_the_whole_rate(calls: list[tuple[float, float]]) -> None:
    """Each call begins exactly when the one before is paid off."""
    states: dict[str, State] = {}
    begins = asked_at = 0.0
    for number, (early, cost) in enumerate(calls):
        asked_at = max(asked_at, begins - early)
        _, wait = admit([("k", 0.1, SLACK, cost)], states, asked_at, math.inf)
        if number:
            assert asked_at + wait == pytest.approx(begins, abs=SLACK + 1e-9)
        begins = asked_at + wait + cost * 0.1


@pytest.mark.parametrize("amount", [7, 50_000, 7_000_000, 50_000_000, 70_000_000, 100_000_000])
def test_the_rate_is_exact_whatever_it_is(amount: int) -> None:
    """A thousand calls of one token: one part in ten thousand, at an uptime of a year."""
    clock = Clock(3.15e7)
    store = MemoryStorage(clock=clock)
    emission = 60 / amount
    for _ in range(1000):
        store.acquire_gcra([("k", emission, SLACK, 1)], math.inf)
    assert store.get_gcra(["k"])[0][0] + SLACK == pytest.approx(1000 * emission, rel=1e-4)


def test_a_call_is_charged_to_one_budget_as_to_several_of_one_kind() -> None:
    """The shortcut for one budget agrees with the general case."""
    for cost, wait in ((3, 0.0), (5, 100.0), (2, 1.0)):
        for owed in (-20.0, -1.0, 0.0, 4.0):
            one: dict[str, State] = {"a": (owed, 100.0, 0.0, 2.0)}
            two: dict[str, State] = {"a": (owed, 100.0, 0.0, 2.0), "b": (owed, 100.0, 0.0, 2.0)}
            first = admit([("a", 1.0, 2.0, cost)], one, 101.0, wait)
            assert first == admit([("a", 1.0, 2.0, cost), ("b", 1.0, 2.0, cost)], two, 101.0, wait)
            assert one["a"] == two["a"] == two["b"]


# --- the methods


class Blocking:
    """The async strategy with blocking methods."""

    def __init__(self, storage: Any, burst: float = 0) -> None:
        self._limiter = aio.GCRARateLimiter(aio.MemoryStorage(shared=storage), burst)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await getattr(self._limiter, name)(*args, **kwargs)

        return lambda *args, **kwargs: asyncio.run(call(*args, **kwargs))


@pytest.fixture(params=[GCRARateLimiter, Blocking], ids=["sync", "async"])
def strategy(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_hit_returns_whether_a_call_may_begin_now(strategy: Any) -> None:
    limiter = strategy(MemoryStorage())
    assert limiter.hit(MINUTE, "k", cost=5) is True
    assert limiter.hit(MINUTE, "k") is False
    assert limiter.hit(MINUTE, "another") is True


def test_test_charges_nothing(strategy: Any) -> None:
    limiter = strategy(MemoryStorage())
    assert [limiter.test(MINUTE, "k", cost=5) for _ in range(3)] == [True] * 3
    limiter.hit(MINUTE, "k")
    assert limiter.test(MINUTE, "k") is False


def test_a_burst_may_be_spent_at_once(strategy: Any) -> None:
    clock = Clock()
    limiter = strategy(MemoryStorage(clock=clock), 3)
    assert [limiter.hit(MINUTE, "k") for _ in range(5)] == [True, True, True, True, False]
    clock.now += 60
    assert [limiter.hit(MINUTE, "k") for _ in range(5)] == [True, True, True, True, False]


def test_window_stats_show_what_is_left(strategy: Any) -> None:
    clock = Clock()
    limiter = strategy(MemoryStorage(clock=clock), 3)
    assert limiter.get_window_stats(MINUTE, "k").remaining == 4
    limiter.hit(MINUTE, "k")
    assert limiter.get_window_stats(MINUTE, "k").remaining == 3
    limiter.hit(MINUTE, "k", cost=10)
    stats = limiter.get_window_stats(MINUTE, "k")
    assert stats.remaining == 0
    clock.now += 100
    assert limiter.get_window_stats(MINUTE, "k").remaining == 4


def test_acquire_reserves_a_place_in_several_limits(strategy: Any) -> None:
    limiter = strategy(MemoryStorage(clock=Clock()))
    tokens, calls = limits.parse("6000/minute"), limits.parse("60/minute")
    waits = [limiter.acquire([(tokens, 10), (calls, 1)], "k") for _ in range(3)]
    assert waits == [0, pytest.approx(1, abs=0.02), pytest.approx(2, abs=0.02)]
    assert limiter.acquire([(tokens, 10), (calls, 0)], "k") == pytest.approx(2, abs=0.2)


def test_acquire_refuses_a_call_that_would_wait_too_long(strategy: Any) -> None:
    limiter = strategy(MemoryStorage(clock=Clock()))
    limiter.acquire([(MINUTE, 5)], "k")
    with pytest.raises(bs.RateLimitExceeded) as refused:
        limiter.acquire([(MINUTE, 1)], "k", max_wait=2)
    assert refused.value.retry_after == pytest.approx(5 - SLACK)


def test_clear_deletes_a_budget(strategy: Any) -> None:
    limiter = strategy(MemoryStorage())
    limiter.hit(MINUTE, "k", cost=50)
    limiter.clear(MINUTE, "k")
    assert limiter.hit(MINUTE, "k") is True


@pytest.mark.parametrize("cost", [61, -1, float("nan"), float("inf")])
def test_an_invalid_cost_is_a_value_error(cost: float, strategy: Any) -> None:
    limiter = strategy(MemoryStorage())
    for ask in (limiter.hit, limiter.test):
        with pytest.raises(ValueError, match="cost"):
            ask(MINUTE, "k", cost=cost)
    assert limiter.hit(MINUTE, "k") is True


def test_a_call_that_costs_nothing_may_always_begin(strategy: Any) -> None:
    limiter = strategy(MemoryStorage())
    limiter.hit(MINUTE, "k", cost=50)
    assert limiter.hit(MINUTE, "k", cost=0) is True


@pytest.mark.parametrize(
    ("kind", "storage"),
    [(GCRARateLimiter, TheirMemoryStorage), (aio.GCRARateLimiter, limits.aio.storage.MemoryStorage)],
)
def test_a_storage_without_support_is_rejected(kind: Any, storage: Any) -> None:
    made = storage()
    with pytest.raises(NotImplementedError, match="GCRA rate limiting is not implemented"):
        kind(made)


# --- libraries that use it


def test_the_strategy_is_in_the_registries() -> None:
    assert STRATEGIES["gcra"] is GCRARateLimiter  # type: ignore[comparison-overlap]
    assert limits.aio.strategies.STRATEGIES["gcra"] is aio.GCRARateLimiter


def test_fixed_windows_need_a_storage_of_limits(tmp_path: Path) -> None:
    file = SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db")
    for storage in (MemoryStorage(), file):
        with pytest.raises(NotImplementedError, match='has budgets for the strategy "gcra" only'):
            FixedWindowRateLimiter(storage).hit(MINUTE, "k")
    with pytest.raises(NotImplementedError, match='has budgets for the strategy "gcra" only'):
        asyncio.run(limits.aio.strategies.FixedWindowRateLimiter(aio.MemoryStorage()).hit(MINUTE, "k"))
    file.close()


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_flask_limiter_runs_on_it(place: str, tmp_path: Path, redis_url: str) -> None:
    uri = f"sqlite:///{tmp_path}/budgets.db" if place == "sqlite" else f"beautyspot+{redis_url}"
    app = flask.Flask("app")
    limiter = flask_limiter.Limiter(lambda: "somebody", app=app, strategy="gcra", storage_uri=uri, headers_enabled=True)

    @app.get("/")
    @limiter.limit("30/minute")
    def index() -> str:
        return "hello"

    client = app.test_client()
    answers = [client.get("/") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= int(answers[1].headers["Retry-After"]) <= 2
    limiter.storage.close()  # type: ignore[attr-defined]
