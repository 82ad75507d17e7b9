"""RedisStorage: budgets in a Redis server, shared by all machines that reach it; one command per admission.

The server's clock counts, so machines need not agree on the time. A state is four doubles in 32 bytes, in
microseconds: exact, and parsed faster than text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import limits.storage

from beautyspot.limiter.gcra import STEP, Request
from beautyspot.limiter.support import GCRASupport, wraps_errors

__all__ = ["RedisStorage"]

# `gcra.aged` and `gcra._time`, for the scripts below. A missing key owes nothing at all.
_AGED = f"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function aged(key)
    local text = redis.call('GET', key)
    if not text then return -math.huge, 0, now, 0 end
    local debt, last, held, tolerance = struct.unpack('<dddd', text)
    local elapsed = now - last
    if elapsed > 0 then return debt - elapsed, math.max(held - elapsed, 0), now, tolerance end
    return debt, held, (-elapsed <= {STEP * 1e6:.0f}) and last or now, tolerance
end
local function put(key, debt, last, held, tolerance)
    -- A minute longer than the state matters, so that a clock that is set back is noticed.
    local ms = math.ceil(math.max(debt + tolerance, held) / 1000) + 60000
    redis.call('SET', key, struct.pack('<dddd', debt, last, held, tolerance), 'PX', ms)
end
"""
# ARGV: max_wait, then tolerance and charge of each key. Inlined, since it runs for every call: functions and formats
# would make it take half as long again.
ACQUIRE = f"""
local call, floor = redis.call, -math.huge
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local texts = #KEYS == 1 and {{call('GET', KEYS[1])}} or call('MGET', unpack(KEYS))
local wait, owed, held, last = 0, {{}}, {{}}, {{}}
for i = 1, #KEYS do
    local debt, at, hold = floor, now, 0
    if texts[i] then
        debt, at, hold = struct.unpack('<ddd', texts[i])
        local elapsed = now - at
        if elapsed > 0 then
            debt, at, hold = debt - elapsed, now, hold > elapsed and hold - elapsed or 0
        elseif elapsed < -{STEP * 1e6:.0f} then
            at = now
        end
        if debt > wait then wait = debt end
    end
    owed[i], last[i], held[i] = debt, at, hold
end
if wait > tonumber(ARGV[1]) then return {{0, math.ceil(wait)}} end
for i = 1, #KEYS do
    local tolerance, debt = tonumber(ARGV[2 * i]), owed[i]
    if debt < wait - tolerance then debt = wait - tolerance end
    debt = debt + ARGV[2 * i + 1]
    local ms = math.ceil((debt + tolerance > held[i] and debt + tolerance or held[i]) / 1000) + 60000
    call('SET', KEYS[i], struct.pack('<dddd', debt, last[i], held[i], tolerance), 'PX', ms)
end
return {{1, math.ceil(wait)}}
"""
# ARGV: for each key the microseconds to charge, or (negative) to give back.
SHIFT = (
    _AGED
    + """
for i, key in ipairs(KEYS) do
    local owed, held, last, tolerance = aged(key)
    put(key, math.max(math.max(owed, -tolerance) + tonumber(ARGV[i]), held), last, held, tolerance)
end
"""
)
DEFER = (
    _AGED
    + """
for i, key in ipairs(KEYS) do
    local owed, held, last, tolerance = aged(key)
    held = math.max(held, tonumber(ARGV[1]))
    put(key, math.max(owed, held), last, held, tolerance)
end
"""
)
GET = (
    _AGED
    + """
local found = {}
for i, key in ipairs(KEYS) do
    local owed, held = aged(key)
    found[i] = {string.format('%.17g', owed), string.format('%.17g', held)}
end
return found
"""
)
SCRIPTS = {"acquire": ACQUIRE, "shift": SHIFT, "defer": DEFER, "get": GET}
_PREFIX = "beautyspot+"
_LONGEST = 1e18  # microseconds: an unbounded wait, as a number that Lua can read


class RedisStorage(GCRASupport, limits.storage.RedisStorage):
    """Budgets in a Redis server, beside the windows of `limits`.

    Args:
        uri: ``beautyspot+redis://host:port/0``; also ``rediss`` and ``redis+unix``.
        options: Options of ``limits.storage.RedisStorage``.
    """

    STORAGE_SCHEME = [f"{_PREFIX}{scheme}" for scheme in ("redis", "rediss", "redis+unix")]

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix(_PREFIX), **options)
        connection: Any = self.get_connection()
        self._gcra = {name: connection.register_script(script) for name, script in SCRIPTS.items()}

    @wraps_errors
    def acquire_gcra(self, requests: Sequence[Request], max_wait: float = 0.0) -> tuple[bool, float]:
        """Charge a call to all of its budgets, or to none."""
        prefix = self.key_prefix
        charged, wait = self._run("acquire", *acquire_arguments(requests, max_wait, prefix))
        return bool(charged), wait / 1e6

    @wraps_errors
    def shift_gcra(self, shifts: Sequence[tuple[str, float]]) -> None:
        """Charge further seconds to budgets, or give some back."""
        self._run("shift", self._prefixed([key for key, _ in shifts]), [seconds * 1e6 for _, seconds in shifts])

    @wraps_errors
    def defer_gcra(self, keys: Sequence[str], seconds: float) -> None:
        """Let no call of these budgets begin before *seconds* have passed."""
        self._run("defer", self._prefixed(keys), [seconds * 1e6])

    @wraps_errors
    def get_gcra(self, keys: Sequence[str]) -> list[tuple[float, float]]:
        """The seconds that each budget owes and is deferred by."""
        return levels_of(self._run("get", self._prefixed(keys), []))

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[float]) -> Any:
        script = self._gcra[name]
        try:  # as calling the script does, but without its check for a pipeline
            return script.registered_client.evalsha(script.sha, len(keys), *keys, *arguments)
        except self.dependencies[self.target_server].module.exceptions.NoScriptError:
            return script(keys, arguments)

    def _prefixed(self, keys: Sequence[str]) -> list[str]:
        return [self.prefixed_key(key) for key in keys]

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        connection: Any = self.get_connection()
        connection.close()


def acquire_arguments(requests: Sequence[Request], max_wait: float, prefix: str) -> tuple[list[str], list[float]]:
    """Keys and arguments of the script that admits a call."""
    keys, arguments = [], [min(max_wait * 1e6, _LONGEST)]
    for key, emission, tolerance, cost in requests:
        keys.append(f"{prefix}:{key}")
        arguments += (tolerance * 1e6, cost * emission * 1e6)
    return keys, arguments


def levels_of(answer: Sequence[tuple[bytes, bytes]]) -> list[tuple[float, float]]:
    """The reply of the script GET, in seconds."""
    return [(float(owed) / 1e6, float(held) / 1e6) for owed, held in answer]
