"""Other limiters, each as a callable that takes a cost, waits, and returns when the call may begin."""

import importlib.util
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiolimiter
import limits
import limits.aio.storage
import limits.aio.strategies
import pyrate_limiter as pyrate
import redis
import throttled

Acquire = Callable[[int], Any]
AsyncAcquire = Callable[[int], Awaitable[Any]]

LIMITS = {
    "fixed": limits.strategies.FixedWindowRateLimiter,
    "moving": limits.strategies.MovingWindowRateLimiter,
    "sliding": limits.strategies.SlidingWindowCounterRateLimiter,
}


def polling(hit: Callable[[int], bool], pause: float = 0.005) -> Acquire:
    """Wait by polling, as users of a limiter without waiting do."""

    def acquire(cost: int) -> None:
        while not hit(cost):
            time.sleep(pause)

    return acquire


def of_limits(name: str, item: limits.RateLimitItem, uri: str) -> Callable[[int], bool]:
    storage = limits.storage.storage_from_string(uri)
    storage.reset()
    limiter = LIMITS[name](storage)
    return lambda cost: limiter.hit(item, name, cost=cost)


def of_pyrate(kind: str, rate: pyrate.Rate, url: str, directory: Path) -> tuple[Acquire, Acquire]:
    """Return two callables: one that waits, and one that tries once."""
    buckets: dict[str, Callable[[], Any]] = {
        "log": lambda: pyrate.InMemoryBucket([rate]),
        "GCRA": lambda: pyrate.StateBucket([rate], pyrate.GCRA()),
        "log, SQLite": lambda: pyrate.SQLiteBucket.init_from_file(
            [rate], db_path=str(directory / "pyrate.db"), use_file_lock=True
        ),
        "log, Redis": lambda: pyrate.RedisBucket.init([rate], redis.Redis.from_url(url), "pyrate-log"),
    }
    limiter = pyrate.Limiter(buckets[kind]())

    def waits(cost: int) -> Any:
        return limiter.try_acquire("bench", cost)

    # With its file lock, trying without waiting is a TypeError (pyrate-limiter 4.5.1 and filelock 4).
    return waits, waits if "SQLite" in kind else lambda cost: limiter.try_acquire("bench", cost, blocking=False)


def of_throttled(limit: int, per: str, burst: int, url: str | None) -> tuple[Acquire, Acquire]:
    """Return two callables: one that waits, and one that tries once."""
    quota = {"minute": throttled.per_min, "second": throttled.per_sec}[per](limit, burst=burst)
    store = throttled.RedisStore(server=url) if url else throttled.MemoryStore()
    waits = throttled.Throttled("bench", using="gcra", quota=quota, store=store, timeout=60)
    tries = throttled.Throttled("bench", using="gcra", quota=quota, store=store)
    return (lambda cost: waits.limit(cost=cost), lambda cost: tries.limit(cost=cost))


def of_aiolimiter(limit: float, seconds: float) -> AsyncAcquire:
    limiter = aiolimiter.AsyncLimiter(limit, seconds)
    return lambda cost: limiter.acquire(cost)


HAS_TOKEN_THROTTLE = importlib.util.find_spec("token_throttle") is not None  # on Python 3.12 and later


@contextmanager
def of_token_throttle(limit: int, seconds: int, place: str, directory: Path, url: str) -> Iterator[Acquire]:
    import token_throttle as tt

    builders: dict[str, Callable[[], Any]] = {
        "memory": tt.SyncMemoryBackendBuilder,
        "SQLite": lambda: tt.SyncSqliteBackendBuilder(directory / "tt.db", key_prefix="b"),
        "Redis": lambda: tt.SyncRedisBackendBuilder(redis.Redis.from_url(url), key_prefix="b", owns_redis_client=True),
    }
    quotas = tt.UsageQuotas([tt.Quota(metric="tokens", limit=limit, per_seconds=seconds)])
    limiter = tt.SyncRateLimiter(tt.PerModelConfig(quotas=quotas, model_family="m"), backend=builders[place]())

    def acquire(cost: int) -> None:
        limiter.acquire_capacity({"tokens": cost}, model="m")

    yield acquire
    limiter.close()
