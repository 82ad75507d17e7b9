"""The same strategy and stores for event loops, as ``limits.aio`` stands beside ``limits``.

`memory`, `redis` and `sqlite` are storages, `support` is their interface, `strategy` runs on any of them.
"""

from beautyspot.limiter.aio.memory import MemoryStorage
from beautyspot.limiter.aio.redis import RedisStorage
from beautyspot.limiter.aio.sqlite import SQLiteStorage
from beautyspot.limiter.aio.strategy import GCRARateLimiter
from beautyspot.limiter.aio.support import GCRASupport

__all__ = ["GCRARateLimiter", "GCRASupport", "MemoryStorage", "RedisStorage", "SQLiteStorage"]
