"""Limits on how fast calls are made: GCRA as a strategy of the library `limits`, with stores and waiting.

`gcra` is the arithmetic. `support` is the interface that a storage of `limits` implements for it; `memory`, `sqlite`
(in a `sqlite_file`) and `redis` are such storages, opened by `stores`, and `strategy` runs on any of them; `aio` is the
same for event loops. `rates` are limits as users declare them, `budgets` holds those of a project, a `budget` admits
calls in the order of its `wait_queue`, `headers` reads ``Retry-After``. `decorator` and `permit` are what users write.

Importing this registers the strategy ``"gcra"`` and the storages with `limits`.
"""

from beautyspot.limiter import aio
from beautyspot.limiter.gcra import Request
from beautyspot.limiter.headers import retry_after
from beautyspot.limiter.memory import MemoryStorage
from beautyspot.limiter.redis import RedisStorage
from beautyspot.limiter.sqlite import SQLiteStorage
from beautyspot.limiter.strategy import GCRARateLimiter
from beautyspot.limiter.support import GCRASupport

__all__ = [
    "GCRARateLimiter",
    "GCRASupport",
    "MemoryStorage",
    "RedisStorage",
    "Request",
    "SQLiteStorage",
    "aio",
    "retry_after",
]
