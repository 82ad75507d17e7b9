"""Reads when a provider accepts calls again: ``Retry-After`` and related headers, in all their spellings."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["retry_after"]

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
    r"(?:(\d+(?:\.\d+)?)ms)?"
)
_LONGEST = 3600.0  # seconds for which one answer may defer all calls; after that, one tries again
_EPOCH = 1e9  # a larger number is a time in seconds since the epoch, which some services send
_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_RESETS = re.compile(r"x-ratelimit-reset(-\w+)?|anthropic-ratelimit-[\w-]+-reset")
_BUSY = frozenset({408, 425, 429, 503, 529})  # statuses whose Retry-After tells when the same call may be made again


def retry_after(answer: Any) -> float | None:
    """Seconds until a provider accepts calls again.

    Args:
        answer: Headers, a response with ``.headers``, or an exception with ``.response.headers`` or
            ``.headers``, as httpx, requests, aiohttp, urllib and the clients of LLM providers raise them.

    Returns:
        Seconds, by ``retry-after-ms``, ``retry-after``, or else the latest of the headers that say when a
        limit resets; ``None`` if there is none that can be read.
    """
    headers = _headers(answer)
    if headers is None:
        return None
    named = {str(name).lower(): str(value) for name, value in headers.items()}
    milliseconds = _number(named.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    seconds = delay(named.get("retry-after", ""))
    if seconds is not None:
        return seconds
    resets = [delay(value) for name, value in named.items() if _RESETS.fullmatch(name)]
    return max((reset for reset in resets if reset is not None), default=None)


def requested_pause(error: BaseException) -> float | None:
    """Seconds for which a failed call defers all calls, an hour at most; ``None`` unless the service was busy."""
    headers = _headers(error)
    if headers is None:
        return None
    named = {str(name).lower() for name in headers}
    if not named & {"retry-after", "retry-after-ms"} or _status(error) not in (None, *_BUSY):
        return None
    seconds = retry_after(headers)
    return None if seconds is None else min(seconds, _LONGEST)


def delay(text: str) -> float | None:
    """Seconds from ``"1.5"``, ``"6m0s"``, ``"250ms"`` or a time (HTTP, RFC 3339, epoch); else ``None``."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number if number < _EPOCH else max(0.0, number - time.time())
    duration = _DURATION.fullmatch(text) if text else None
    if duration is not None:
        return sum(float(part) * unit for part, unit in zip(duration.groups(), _SECONDS, strict=True) if part)
    moment = _moment(text)
    return None if moment is None else max(0.0, moment.timestamp() - time.time())


def _headers(answer: Any) -> Mapping[str, str] | None:
    for holder in (getattr(answer, "response", None), answer):
        headers = getattr(holder, "headers", None)
        if hasattr(headers, "items"):
            return headers
    return answer if isinstance(answer, Mapping) else None


def _status(error: BaseException) -> int | None:
    for holder in (getattr(error, "response", None), error):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _moment(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
