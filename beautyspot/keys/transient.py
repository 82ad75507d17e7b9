"""Values that another process would not have: times since this one began, temporary paths, random names.

Where one of them is captured, each process has calls of its own, which is seldom meant.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from beautyspot.keys.attributes import attributes_of

_BEGAN = time.time() - 60  # programs import much before they come here
_MONOTONIC = time.monotonic() - 60
_UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[14][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE
)
_OWN_SERVER = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):(3[3-9]|[456])\d{3,4}\b")  # on a port that the system chose
_DEEPEST = 2
_MOST = 100  # members that are looked at


def is_transient(value: Any) -> bool:
    """Whether *value* is one that only this process has, or holds one."""
    return any(_is_one(each) for each in _within(value, _DEEPEST))


def _is_temporary(path: str) -> bool:
    import tempfile  # loads much, and is asked about few values

    return path.startswith(tempfile.gettempdir() + os.sep)


def _within(value: Any, depth: int) -> Iterator[Any]:
    yield value
    if depth == 0 or isinstance(value, str | bytes | int | float | type) or callable(value):
        return
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    else:
        inner = list(attributes_of(value).values())
    for each in inner[:_MOST]:
        yield from _within(each, depth - 1)


def _is_one(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value == os.getpid() or 1 << 40 < value < 1 << 47  # an address
    if isinstance(value, float):
        return _BEGAN <= value <= time.time() or (_MONOTONIC <= value <= time.monotonic() and not value.is_integer())
    if isinstance(value, datetime.datetime):
        return _BEGAN <= value.timestamp() <= time.time() + 1
    if isinstance(value, uuid.UUID):
        return value.version in (1, 4)
    if isinstance(value, str | pathlib.PurePath):
        text = str(value)
        if _UUID.fullmatch(text) is not None or _OWN_SERVER.search(text) is not None:
            return True
        return os.path.isabs(text) and _is_temporary(text)
    return False
