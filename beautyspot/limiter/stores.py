"""Store: the budgets behind a ``limiter_uri``, for threads and for event loops."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import limits.errors
from limits.errors import StorageError

from beautyspot._internal.registry import Registry
from beautyspot.errors import ConfigurationError, LimiterUnavailableError
from beautyspot.limiter import aio
from beautyspot.limiter.memory import MemoryStorage
from beautyspot.limiter.redis import RedisStorage
from beautyspot.limiter.sqlite import SQLiteStorage
from beautyspot.limiter.support import GCRASupport

STORES = Registry(
    "store of budgets",
    "beautyspot.limiters",
    {
        "memory": "beautyspot.limiter.stores:memory",
        "sqlite": "beautyspot.limiter.stores:sqlite",
        **dict.fromkeys(("redis", "rediss", "redis+unix"), "beautyspot.limiter.stores:redis"),
    },
)

_REDIS_SECONDS = 5.0  # timeout of an answer
# Retries bridge a restart of the server, after 0.2, 0.4, 0.8 and 1 seconds. The client sends a command that was in
# flight again, with the same waits at each attempt.
_REDIS_RETRIES = 4
_REDIS_PAUSE, _REDIS_LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Store:
    """A store of budgets, for threads and for event loops.

    Attributes:
        place: The URI without its password, for messages.
        sync: The storage for threads.
        aio: The storage of the same budgets for event loops.
        close: Releases connections; a later call opens them again.
        errors: The errors of `sync` and `aio` when the store cannot be reached.
        is_instant: Whether `sync` never blocks, so that it may be called on an event loop, and twice.
    """

    place: str
    sync: GCRASupport
    aio: aio.GCRASupport
    close: Callable[[], None]
    errors: tuple[type[Exception], ...]
    is_instant: bool = False

    def unavailable(self, error: BaseException) -> LimiterUnavailableError:
        """The error to raise in place of one of `errors`."""
        cause = error.__cause__ or error
        return LimiterUnavailableError(self.place, f"{type(cause).__name__}: {cause}".rstrip("."))


def open_store(uri: str) -> Store:
    """The store at ``memory://``, ``sqlite:///path`` or ``redis://host:port/0``.

    Raises:
        ConfigurationError: If the scheme is unknown, or the library that it needs is not installed.
    """
    opener = STORES.for_url(uri)
    if opener is None:
        raise ConfigurationError(
            f'limiter_uri is a URL such as "memory://", "sqlite:///budgets.db" or "redis://host:6379/0", not {uri!r}'
        )
    try:
        store: Store = opener(uri)
    except ConfigurationError:
        raise
    except (ValueError, TypeError, limits.errors.ConfigurationError) as error:
        raise ConfigurationError(f"the limiter_uri {_without_password(uri)} cannot work: {error}") from error
    return store


def check_uri(uri: str) -> None:
    """Check, without connecting, that a store can be opened at *uri*.

    Raises:
        ConfigurationError: As `open_store`.
    """
    open_store(uri).close()


def memory(uri: str) -> Store:
    """A store in the memory of this process."""
    sync = MemoryStorage(uri)
    return Store(uri, sync, aio.MemoryStorage(uri, shared=sync), sync.close, (), is_instant=True)


def sqlite(uri: str) -> Store:
    """A store for all processes that name the same file."""
    if not uri.partition("://")[2].strip("/"):
        raise ConfigurationError(f"a limiter_uri names a file, as in 'sqlite:///budgets.db', and {uri!r} names none")
    path = uri.partition(":///")[2]
    if os.path.isdir(path):
        raise ConfigurationError(f"a limiter_uri names a file, as in 'sqlite:///budgets.db', and {path} is a directory")
    sync = SQLiteStorage(uri, wrap_exceptions=True)
    twin = aio.SQLiteStorage(uri, wrap_exceptions=True, shared=sync)
    return Store(uri, sync, twin, sync.close, (StorageError,))


def redis(uri: str) -> Store:
    """A store for all machines that reach the same Redis server."""
    try:
        from redis import ConnectionError, TimeoutError
        from redis.asyncio.retry import Retry as AsyncRetry
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError('a redis:// limiter_uri needs redis: pip install "beautyspot[redis]"') from error
    backoff = ExponentialBackoff(cap=_REDIS_LONGEST_PAUSE, base=_REDIS_PAUSE)
    lost = (ConnectionError, TimeoutError)
    again: Any = (*lost, OSError)  # a refused connection is an OSError before the client translates it
    options: dict[str, Any] = {
        "socket_timeout": _REDIS_SECONDS,
        "socket_connect_timeout": _REDIS_SECONDS,
        "retry_on_error": list(lost),  # which older versions of redis need as well
    }
    uri = _with_port(uri)
    retry = Retry(backoff, _REDIS_RETRIES, supported_errors=again)
    sync = RedisStorage(f"beautyspot+{uri}", wrap_exceptions=True, retry=retry, **options)
    async_retry = AsyncRetry(backoff, _REDIS_RETRIES, supported_errors=again)
    twin = aio.RedisStorage(f"async+beautyspot+{uri}", wrap_exceptions=True, retry=async_retry, **options)
    sync.storage.connection_pool.make_connection()  # which does not connect yet, and rejects a misspelt option
    return Store(_without_password(uri), sync, twin, sync.close, (StorageError,))


def _with_port(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.hostname is None or parts.port is not None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:6379"))


def _without_password(uri: str) -> str:
    """*uri* as messages may show it, even if it is malformed."""
    scheme, _, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
