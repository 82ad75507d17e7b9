"""Stores of budgets: one suite for all; clocks that are set, processes, forks and unreachable servers."""

import asyncio
import gc
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.errors import StorageError
from limits.storage import storage_from_string

import beautyspot as bs
from beautyspot.errors import ConfigurationError, LimiterUnavailableError, RateLimitWarning
from beautyspot.limiter import MemoryStorage, RedisStorage, SQLiteStorage, aio
from beautyspot.limiter.budget import Budget
from beautyspot.limiter.gcra import SLACK
from beautyspot.limiter.rates import TokenLimit
from beautyspot.limiter.stores import open_store
from beautyspot.testing import AsyncLimiterStoreContract, LimiterStoreContract
from beautyspot.testing.limiter import request_for
from tests.support.servers import RedisServer


class TestMemory(LimiterStoreContract):
    @pytest.fixture
    def store(self) -> Any:
        return MemoryStorage()


class TestSQLite(LimiterStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Any]:
        store = SQLiteStorage(f"sqlite:///{tmp_path}/deep/er/budgets.db")
        yield store
        store.close()


class TestRedis(LimiterStoreContract):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[Any]:
        store = RedisStorage(f"beautyspot+{redis_url}")
        yield store
        store.close()

    def test_a_server_that_has_lost_the_scripts_gets_them_again(self, store: Any) -> None:
        store.acquire_gcra([request_for("k", 5)])
        store.get_connection().script_flush()  # as after a restart or a failover
        assert store.acquire_gcra([request_for("k", 1)], 10.0)[0]
        assert self.owed(store, "k") == pytest.approx(6, abs=self.NEAR)


class TestAsyncMemory(AsyncLimiterStoreContract):
    @pytest.fixture
    def async_store(self) -> Any:
        return aio.MemoryStorage()


class TestAsyncSQLite(AsyncLimiterStoreContract):
    @pytest.fixture
    def async_store(self, tmp_path: Path) -> Iterator[Any]:
        store = aio.SQLiteStorage(f"async+sqlite:///{tmp_path}/budgets.db")
        yield store
        store.close()


class TestAsyncRedis(AsyncLimiterStoreContract):
    @pytest.fixture
    def async_store(self, redis_url: str) -> Any:
        return aio.RedisStorage(f"async+beautyspot+{redis_url}")


# --- clocks


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
def clocked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Clock]]:
    clock = Clock()
    store: Any
    if request.param == "memory":
        store = MemoryStorage(clock=clock)
    else:
        store = SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db", clock=clock)
    yield store, clock
    store.close()


def test_a_clock_that_is_set_back_changes_no_wait(clocked: tuple[Any, Clock]) -> None:
    store, clock = clocked
    store.acquire_gcra([request_for("k", 5)])
    clock.now -= 3600
    assert store.acquire_gcra([request_for("k", 1)]) == (False, pytest.approx(5 - SLACK))
    store.acquire_gcra([request_for("k", 1)], 10.0)
    clock.now += 6
    assert store.acquire_gcra([request_for("k", 1)]) == (True, 0.0)


def test_a_clock_that_is_set_forward_gives_one_free_pass(clocked: tuple[Any, Clock]) -> None:
    store, clock = clocked
    store.acquire_gcra([request_for("k", 5)])
    clock.now += 3600
    assert store.acquire_gcra([request_for("k", 5)]) == (True, 0.0)
    assert store.acquire_gcra([request_for("k", 1)])[0] is False


def test_a_deferral_outlives_a_clock_that_is_set_back(clocked: tuple[Any, Clock]) -> None:
    store, clock = clocked
    store.defer_gcra(["k"], 4.0)
    clock.now -= 3600
    assert store.get_gcra(["k"]) == [(4.0, 4.0)]


def test_processes_whose_clocks_differ_a_little_agree_on_the_time(tmp_path: Path) -> None:
    ahead, behind = Clock(1_700_000_000.5), Clock(1_700_000_000.0)
    one, other = (SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db", clock=clock) for clock in (ahead, behind))
    for _ in range(100):  # taking turns pays nothing off while no time passes
        one.acquire_gcra([request_for("k", 1)], 1e6)
        other.acquire_gcra([request_for("k", 1)], 1e6)
    assert one.get_gcra(["k"])[0][0] == pytest.approx(200 - SLACK)
    one.close()
    other.close()


@pytest.mark.parametrize(("hours", "owed"), [(1, 5.0), (-1, float("-inf"))], ids=["back", "forward"])
def test_a_redis_server_whose_clock_is_set(hours: int, owed: float, redis_url: str) -> None:
    """A clock that was set leaves a state behind that was written an hour later or earlier."""
    store = RedisStorage(f"beautyspot+{redis_url}")
    store.acquire_gcra([request_for("k", 5)])
    with redis.Redis.from_url(redis_url) as client:
        client.eval(
            "local a, b, c, d = struct.unpack('<dddd', redis.call('GET', KEYS[1]))"
            "redis.call('SET', KEYS[1], struct.pack('<dddd', a, b + ARGV[1], c, d))",
            1,
            "LIMITS:k",
            str(hours * 3600e6),
        )
    charged, wait = store.acquire_gcra([request_for("k", 1)])
    assert (charged, wait) == ((False, pytest.approx(owed, abs=0.9)) if owed > 0 else (True, 0.0))
    store.close()


def test_a_client_of_redis_whose_clock_is_a_minute_ahead_keeps_the_same_pace(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, ahead = RedisStorage(f"beautyspot+{redis_url}"), RedisStorage(f"beautyspot+{redis_url}")
    one.acquire_gcra([request_for("k", 5)])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 61)  # as the clock of another machine
    assert ahead.acquire_gcra([request_for("k", 1)], 10.0) == (True, pytest.approx(5, abs=0.9))
    monkeypatch.undo()
    assert one.acquire_gcra([request_for("k", 1)]) == (False, pytest.approx(6, abs=0.9))
    one.close()
    ahead.close()


# --- the scripts agree with the arithmetic

KEYS = st.sampled_from("ab")
ASKED = st.lists(st.tuples(KEYS, st.floats(0, 50)), min_size=1, max_size=2, unique_by=lambda each: each[0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), ASKED),
        st.tuples(st.just("shift"), st.lists(st.tuples(KEYS, st.floats(-100, 100)), min_size=1, max_size=1)),
        st.tuples(st.just("defer"), st.tuples(KEYS, st.floats(0, 100))),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_scripts_of_redis_agree_with_the_arithmetic(steps: list[Any], redis_server: RedisServer) -> None:
    ours, theirs = MemoryStorage(), RedisStorage(f"beautyspot+{redis_server.url}")
    theirs.reset()
    for name, what in steps:
        answers: list[Any] = []
        for store in (ours, theirs):
            if name == "acquire":
                answers.append(store.acquire_gcra([request_for(key, cost, burst=2) for key, cost in what], 1e6)[1])
            elif name == "shift":
                store.shift_gcra(what)
            else:
                store.defer_gcra([what[0]], what[1])
        assert not answers or answers[0] == pytest.approx(answers[1], abs=0.9)
    for actual, expected in zip(ours.get_gcra(["a", "b"]), theirs.get_gcra(["a", "b"]), strict=True):
        assert actual == pytest.approx(expected, abs=0.9)
    theirs.close()


# --- how much, and how many


def test_an_admission_without_a_wait_is_one_command_of_redis() -> None:
    server = RedisServer()
    store = open_store(server.url)
    budget = Budget(store, TokenLimit(1_000_000, 1_000_000, 0).rates("{p}", "k"), "k")
    budget.acquire(1)  # which loads the script
    with redis.Redis.from_url(server.url) as client:
        client.config_resetstat()
        for _ in range(20):
            budget.acquire(1)
            time.sleep(0.001)
        counted = client.info("commandstats")
    store.close()
    server.stop()
    assert counted["cmdstat_evalsha"]["calls"] == 20
    # What the script itself reads and writes is counted too, and nothing else is sent.
    sent = {name for name in counted if name not in ("cmdstat_config|resetstat", "cmdstat_info")}
    assert sent == {"cmdstat_evalsha", "cmdstat_mget", "cmdstat_set", "cmdstat_time"}


def test_a_budget_takes_less_than_400_bytes_of_memory() -> None:
    store = MemoryStorage()
    tracemalloc.start()
    for number in range(1000):
        store.acquire_gcra([request_for(f"a budget of some name {number}", 1e6)])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 1000 < 400


def test_a_budget_takes_less_than_400_bytes_of_a_file(tmp_path: Path) -> None:
    store = SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db")
    for number in range(1000):
        store.acquire_gcra([request_for(f"a budget of some name {number}", 1e6)])
    store.close()
    assert (tmp_path / "budgets.db").stat().st_size / 1000 < 400


def test_a_budget_takes_less_than_400_bytes_of_redis(redis_url: str) -> None:
    store = RedisStorage(f"beautyspot+{redis_url}")
    for number in range(10):
        store.acquire_gcra([request_for(f"a budget of some name {number}", 1e6)])
    with redis.Redis.from_url(redis_url) as client:
        assert max(client.memory_usage(key) for key in client.scan_iter()) < 400
        assert all(client.ttl(key) > 0 for key in client.scan_iter())
    store.close()


def test_budgets_that_are_paid_off_are_deleted(clocked: tuple[Any, Clock]) -> None:
    store, clock = clocked
    for number in range(2000):
        store.acquire_gcra([request_for(str(number), 1)])
        clock.now += 1
    if isinstance(store, MemoryStorage):
        assert len(store._states) <= 1100
    else:
        with sqlite3.connect(store.file.path) as connection:
            assert connection.execute("SELECT count(*) FROM gcra").fetchone()[0] <= 1100
        connection.close()


def test_nothing_starts_a_thread(tmp_path: Path, redis_url: str) -> None:
    before = threading.active_count()
    for uri in ("memory://", f"sqlite:///{tmp_path}/b.db", redis_url):
        store = open_store(uri)
        store.sync.acquire_gcra([request_for("k", 1)])
        store.close()
    assert threading.active_count() == before


# --- processes and forks

HAMMER = """
import sys, time
from beautyspot.limiter import SQLiteStorage
store = SQLiteStorage(sys.argv[1])
count, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    assert store.acquire_gcra([("k", 1.0, 0.01, 1)], 1e12)[0]
    count += 1
store.close()
print(count)
"""


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_each_admission_counts_when_eight_processes_hammer_one_file(seconds: int, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/budgets.db"
    run = [sys.executable, "-W", "error", "-c", HAMMER, uri, str(seconds)]
    processes = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    done = [process.communicate() for process in processes]
    assert [errors for _, errors in done] == [""] * 8
    store = SQLiteStorage(uri)
    # Each admission costs a second; what was paid off meanwhile is the time that passed.
    assert store.get_gcra(["k"])[0][0] == pytest.approx(sum(int(count) for count, _ in done), abs=seconds + 30)
    store.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_transactions_harms_neither_side(tmp_path: Path) -> None:
    store = SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db")
    stop = threading.Event()
    threads = [threading.Thread(target=_charge_until, args=(store, stop)) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if all(store.acquire_gcra([request_for("k", 1)], 1e9)[0] for _ in range(20)) else 1)
        codes.append(os.waitpid(child, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert codes == [0] * 20
    with sqlite3.connect(store.file.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def _charge_until(store: SQLiteStorage, stop: threading.Event) -> None:
    while not stop.is_set():
        store.acquire_gcra([request_for("k", 1)], 1e9)


def _warnings_of_a_copy(store: MemoryStorage, connection: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            store.acquire_gcra([request_for("k", 1)], 1e9)
    connection.send([str(warning.message) for warning in caught if warning.category is RateLimitWarning])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_budget_in_memory_warns_once_in_a_forked_child() -> None:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_warnings_of_a_copy, args=(MemoryStorage(), there))
    child.start()
    (message,) = here.recv()
    child.join()
    here.close()
    there.close()
    assert "Leave limiter_uri out" in message


# --- unreachable stores


def test_a_file_that_stays_locked_for_too_long_is_an_error(tmp_path: Path) -> None:
    store = SQLiteStorage(f"sqlite:///{tmp_path}/budgets.db", wrap_exceptions=True, timeout=0.1)
    store.acquire_gcra([request_for("k", 1)])
    with sqlite3.connect(store.file.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError):
            store.acquire_gcra([request_for("k", 1)])
        other.execute("ROLLBACK")
    other.close()
    assert store.acquire_gcra([request_for("k", 1)], 5.0)[0]
    store.close()


def test_an_event_loop_goes_on_while_another_process_locks_the_file(tmp_path: Path) -> None:
    store = aio.SQLiteStorage(f"async+sqlite:///{tmp_path}/budgets.db")

    async def main() -> None:
        await store.acquire_gcra([request_for("k", 1)])
        other = sqlite3.connect(f"{tmp_path}/budgets.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(store.acquire_gcra([request_for("k", 1)], 5.0))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        other.execute("ROLLBACK")
        other.close()
        assert (await waiting)[0]

    asyncio.run(main())
    store.close()


def test_a_path_that_cannot_be_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SQLiteStorage(f"sqlite:///{tmp_path}/file/budgets.db", wrap_exceptions=True)
    assert store.check() is False
    with pytest.raises(StorageError):
        store.acquire_gcra([request_for("k", 1)])


def test_a_server_that_is_killed_is_an_error_and_one_that_is_back_goes_on() -> None:
    server = RedisServer()
    store = RedisStorage(f"beautyspot+{server.url}", wrap_exceptions=True)
    store.acquire_gcra([request_for("k", 500)])
    server.kill()
    with pytest.raises(StorageError):
        store.acquire_gcra([request_for("k", 1)])
    server.start()
    # What was owed is owed still, and the script, which the server has forgotten, is loaded anew.
    assert store.acquire_gcra([request_for("k", 1)])[0] is False
    store.close()
    server.stop()


def test_the_client_of_an_event_loop_ends_with_it() -> None:
    server = RedisServer()
    store = aio.RedisStorage(f"async+beautyspot+{server.url}")

    async def main() -> None:
        await store.acquire_gcra([request_for("k", 1)])
        await store.incr("counted", 60)

    for _ in range(3):
        asyncio.run(main())
    gc.collect()  # which would warn of a connection that was left open
    with redis.Redis.from_url(server.url) as client:
        assert len(client.client_list()) == 1
    server.stop()


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("budgets.db", "limiter_uri is a URL"),
        ("mysql://host/db", "no store of budgets is known as 'mysql'"),
        ("redis+cluster://127.0.0.1:6379", r"no store of budgets is known as 'redis\+cluster'"),
        ("redis+sentinel://127.0.0.1:26379/mine", r"no store of budgets is known as 'redis\+sentinel'"),
        ("redis://:secret@127.0.0.1:abc/0", "redis://127.0.0.1:abc/0 cannot work"),
        ("redis://127.0.0.1:99999/0", "cannot work: Port out of range"),
        ("redis://[::1/0", "cannot work: Invalid IPv6 URL"),
        ("redis://127.0.0.1:6379/0?typo=1", "unexpected keyword argument 'typo'"),
        ("sqlite:///", "a limiter_uri names a file"),
    ],
)
def test_an_invalid_uri_is_rejected_where_the_project_is_made(uri: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        bs.Project("p", limiter_uri=uri)
    with pytest.raises(ConfigurationError, match=text):
        open_store(uri)


def test_redis_has_its_usual_port() -> None:
    assert open_store("redis://user:secret@127.0.0.1/3").place == "redis://127.0.0.1:6379/3"


def test_an_error_does_not_show_the_password_of_its_uri() -> None:
    store = open_store("redis://user:secret@127.0.0.1:1/0")
    error = store.unavailable(ValueError("gone"))
    assert isinstance(error, LimiterUnavailableError)
    assert "secret" not in str(error)
    assert "redis://127.0.0.1:1/0" in str(error)


# --- the registry of limits


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("beautyspot+memory://", MemoryStorage),
        ("sqlite:///budgets.db", SQLiteStorage),
        ("beautyspot+sqlite:///budgets.db", SQLiteStorage),
        ("beautyspot+redis://127.0.0.1:1/0", RedisStorage),
        ("async+beautyspot+memory://", aio.MemoryStorage),
        ("async+sqlite:///budgets.db", aio.SQLiteStorage),
        ("async+beautyspot+redis://127.0.0.1:1/0", aio.RedisStorage),
    ],
)
def test_limits_makes_a_store_from_its_scheme(scheme: str, kind: type) -> None:
    assert type(storage_from_string(scheme)) is kind


def test_the_schemes_of_limits_stay_its_own() -> None:
    code = (
        "import beautyspot.limiter, limits.storage as s;"
        "print(type(s.storage_from_string('redis://127.0.0.1:1')).__module__,"
        "s.SCHEMES['memory'].__module__, s.SCHEMES['async+redis'].__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["limits.storage.redis", "limits.storage.memory", "limits.aio.storage.redis"]
