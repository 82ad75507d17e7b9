"""RedisStorage for event loops: a client for each loop, since a connection belongs to the loop that opened it."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import limits.aio.storage

from beautyspot.limiter.aio.support import GCRASupport
from beautyspot.limiter.gcra import Request
from beautyspot.limiter.redis import SCRIPTS, acquire_arguments, levels_of
from beautyspot.limiter.support import wraps_errors

__all__ = ["RedisStorage"]

_PREFIX = "async+beautyspot+"


class RedisStorage(limits.aio.storage.RedisStorage, GCRASupport):
    """Budgets in a Redis server, beside the windows of `limits`.

    Args:
        uri: ``async+beautyspot+redis://host:port/0``; also ``rediss`` and ``redis+unix``.
        key_prefix: The prefix of every key in the server.
        wrap_exceptions: Whether errors of redis are raised as ``limits.errors.StorageError``.
        options: Options of ``redis.asyncio.Redis``.
    """

    STORAGE_SCHEME = [f"{_PREFIX}{scheme}" for scheme in ("redis", "rediss", "redis+unix")]

    _of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, Any]] | None = None
    _model: Any

    def __init__(
        self,
        uri: str,
        key_prefix: str = limits.aio.storage.RedisStorage.PREFIX,
        wrap_exceptions: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            f"async+{uri.removeprefix(_PREFIX)}",
            wrap_exceptions=wrap_exceptions,
            implementation="redispy",
            key_prefix=key_prefix,
            **options,
        )
        self._of_loops = weakref.WeakKeyDictionary()

    @property
    def bridge(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The client of the running loop and its scripts, under the name that `limits` has for them."""
        if self._of_loops is None:  # while `limits` sets up the first one, which then serves as the model
            return self._model
        loop = asyncio.get_running_loop()
        found = self._of_loops.get(loop)
        if found is None:
            bridge = self._new_bridge()
            lifetime = _lifetime(bridge.storage, self._of_loops)
            with contextlib.suppress(StopIteration):
                lifetime.__anext__().send(None)  # started, so that the loop closes it when it ends
            self._of_loops[loop] = found = (bridge, lifetime)
        return found[0]

    @bridge.setter
    def bridge(self, model: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._model = model

    def _new_bridge(self) -> Any:
        model = self._model
        bridge = type(model)(model.uri, model.dependency, model.key_prefix, **self.options)
        bridge.use_basic(**self.options)
        bridge.register_scripts()
        bridge.gcra = {name: bridge.storage.register_script(script) for name, script in SCRIPTS.items()}
        return bridge

    @wraps_errors
    async def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        charged, wait = await self._charge(requests, max_wait)
        return bool(charged), wait / 1e6

    async def _charge(self, requests: Sequence[Request], max_wait: float) -> Any:
        """Run the script to its end even when cancelled: otherwise it would be unknown whether the call was charged."""
        bridge = self.bridge
        script = bridge.gcra["acquire"](*acquire_arguments(requests, max_wait, bridge.key_prefix))
        running = asyncio.ensure_future(script)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled() and running.exception() is None and running.result()[0]:
                await self.shift_gcra([(key, -cost * emission) for key, emission, _, cost in requests])
            raise

    @wraps_errors
    async def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        keys, seconds = [key for key, _ in shifts], [seconds * 1e6 for _, seconds in shifts]
        await self.bridge.gcra["shift"](self._prefixed(keys), seconds)

    @wraps_errors
    async def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""
        await self.bridge.gcra["defer"](self._prefixed(keys), [seconds * 1e6])

    @wraps_errors
    async def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        return levels_of(await self.bridge.gcra["get"](self._prefixed(keys), []))

    def _prefixed(self, keys: Sequence[str]) -> list[str]:
        return [self._model.prefixed_key(key) for key in keys]


async def _lifetime(client: Any, of_loops: Any) -> AsyncGenerator[None, None]:
    """Close *client* with its loop: a loop that ends closes its async generators."""
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        of_loops.pop(loop, None)  # the entry holds the loop, which would otherwise never be freed
        await client.aclose()
