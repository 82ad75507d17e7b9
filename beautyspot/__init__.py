"""One decorator makes a function's results durable.

A call becomes a key (`keys`), a result becomes bytes (`serializer`), and both meet in an index (`db`) with
large results beside it (`storage`). `results` keeps the two in step, `flight` lets one run at a time, `task`
is what the decorator makes, `fanout` calls it many times, and `project` owns it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beautyspot.content import ContentType
from beautyspot.errors import (
    BeautyspotError,
    BeautyspotWarning,
    ChangedCodeWarning,
    ConfigurationError,
    DeserializationError,
    EngineLost,
    IndexUnavailableError,
    MapError,
    NotKeptWarning,
    RemoteError,
    SerializationError,
    StorageError,
    UnkeyableError,
    UnreadableWarning,
    WorkerDied,
)
from beautyspot.explain import Explanation
from beautyspot.fanout import Plan, imap, map, plan
from beautyspot.keys import KeyGen
from beautyspot.project import Project
from beautyspot.task import AsyncTask, Task

if TYPE_CHECKING:
    from beautyspot.asyncmap import amap

__version__ = "3.0.0"

__all__ = [
    "AsyncTask",
    "BeautyspotError",
    "BeautyspotWarning",
    "ChangedCodeWarning",
    "ConfigurationError",
    "ContentType",
    "DeserializationError",
    "EngineLost",
    "Explanation",
    "IndexUnavailableError",
    "KeyGen",
    "MapError",
    "NotKeptWarning",
    "Plan",
    "Project",
    "RemoteError",
    "SerializationError",
    "StorageError",
    "Task",
    "UnkeyableError",
    "UnreadableWarning",
    "WorkerDied",
    "amap",
    "imap",
    "map",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name == "amap":  # brings asyncio along, which takes longer to import than all the rest
        from beautyspot.asyncmap import amap

        return amap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
