"""One decorator makes a function's results durable.

A call becomes a key (`keys`), a result becomes bytes (`serializer`), and both meet in an index (`db`) with
large results beside it (`storage`). `results` keeps the two in step, `flight` lets one run at a time, `task`
is what the decorator makes, `fanout` calls it many times, and `project` owns it all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beautyspot.async_streams import AsyncStreamTask
    from beautyspot.asyncmap import amap
    from beautyspot.batch_task import AsyncBatchTask, BatchTask
    from beautyspot.content import ContentType
    from beautyspot.errors import (
        BatchError,
        BeautyspotError,
        BeautyspotWarning,
        BudgetWarning,
        ChangedCodeWarning,
        ConfigurationError,
        DeserializationError,
        EngineLost,
        IndexUnavailableError,
        LimiterUnavailableError,
        MapError,
        NotKeptWarning,
        RateLimitExceeded,
        RemoteError,
        RetentionWarning,
        SerializationError,
        StorageError,
        UnkeyableError,
        UnreadableWarning,
        WorkerDied,
    )
    from beautyspot.events import Event
    from beautyspot.explain import Explanation
    from beautyspot.fanout import Plan, imap, map, plan
    from beautyspot.keys import KeyGen
    from beautyspot.project import Project
    from beautyspot.retention import Retention
    from beautyspot.streams import StreamTask
    from beautyspot.task import AsyncTask, Task

__version__ = "3.0.0"

__all__ = [
    "AsyncBatchTask",
    "AsyncStreamTask",
    "AsyncTask",
    "BatchError",
    "BatchTask",
    "BeautyspotError",
    "BeautyspotWarning",
    "BudgetWarning",
    "ChangedCodeWarning",
    "ConfigurationError",
    "ContentType",
    "DeserializationError",
    "EngineLost",
    "Event",
    "Explanation",
    "IndexUnavailableError",
    "KeyGen",
    "LimiterUnavailableError",
    "MapError",
    "NotKeptWarning",
    "Plan",
    "Project",
    "RateLimitExceeded",
    "RemoteError",
    "Retention",
    "RetentionWarning",
    "SerializationError",
    "StorageError",
    "StreamTask",
    "Task",
    "UnkeyableError",
    "UnreadableWarning",
    "WorkerDied",
    "amap",
    "imap",
    "map",
    "plan",
]


# Each name loads its module when it is first used: a program that imports us and keeps nothing pays nothing.
_HOMES = {
    **dict.fromkeys(("AsyncBatchTask", "BatchTask"), "batch_task"),
    **dict.fromkeys(("AsyncTask", "Task"), "task"),
    **dict.fromkeys(("Plan", "imap", "map", "plan"), "fanout"),
    "AsyncStreamTask": "async_streams",
    "ContentType": "content",
    "Event": "events",
    "Explanation": "explain",
    "KeyGen": "keys",
    "Project": "project",
    "Retention": "retention",
    "StreamTask": "streams",
    "amap": "asyncmap",
}


def __getattr__(name: str) -> Any:
    if name == "adapters":
        return importlib.import_module(f"{__name__}.adapters")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
