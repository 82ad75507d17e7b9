"""A cache on disk for the results of Python functions, made for batches that take hours or cost money.

A call becomes a key (`keys`), a result becomes bytes (`serialization`), and both are stored in an index (`db`), large
results beside it (`storage`). `results` is the cache itself, where each key runs once at a time. `tasks` are what the
decorators make, `limiter` paces their calls, `fanout` makes many, `maintenance` checks, moves and deletes results, and
`project` builds the parts. All of them use `errors`, `protocols` and `_internal`; on top are `dashboard`, `cli`,
`testing` and `adapters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.errors import (
        BatchError,
        BeautyspotError,
        BeautyspotWarning,
        CapturedWarning,
        ChangedCodeWarning,
        ConfigurationError,
        DeserializationError,
        EngineLost,
        IndexUnavailableError,
        LimiterUnavailableError,
        MapError,
        NotKeptWarning,
        RateLimitExceeded,
        RateLimitWarning,
        RemoteError,
        RetentionWarning,
        SerializationError,
        StorageError,
        UnkeyableError,
        UnreadableWarning,
        WorkerDied,
    )
    from beautyspot.fanout.map_async import aimap, amap
    from beautyspot.fanout.map_sync import Plan, imap, map, plan
    from beautyspot.keys.policies import KeyGen
    from beautyspot.maintenance.retention import Retention
    from beautyspot.project.project import Project
    from beautyspot.results.events import Event
    from beautyspot.results.explain import Explanation
    from beautyspot.serialization.content_types import ContentType
    from beautyspot.tasks.async_stream import AsyncStreamTask
    from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
    from beautyspot.tasks.stream import StreamTask
    from beautyspot.tasks.task import AsyncTask, Task

__version__ = "3.0.0"

__all__ = [
    "AsyncBatchTask",
    "AsyncStreamTask",
    "AsyncTask",
    "BatchError",
    "BatchTask",
    "BeautyspotError",
    "BeautyspotWarning",
    "CapturedWarning",
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
    "RateLimitWarning",
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
    "aimap",
    "amap",
    "imap",
    "map",
    "plan",
]


# Each name loads its room when it is first used: a program that imports us and caches nothing pays nothing.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": (
            "BatchError",
            "BeautyspotError",
            "BeautyspotWarning",
            "RateLimitWarning",
            "CapturedWarning",
            "ChangedCodeWarning",
            "ConfigurationError",
            "DeserializationError",
            "EngineLost",
            "IndexUnavailableError",
            "LimiterUnavailableError",
            "MapError",
            "NotKeptWarning",
            "RateLimitExceeded",
            "RemoteError",
            "RetentionWarning",
            "SerializationError",
            "StorageError",
            "UnkeyableError",
            "UnreadableWarning",
            "WorkerDied",
        ),
        "fanout": (
            "Plan",
            "aimap",
            "amap",
            "imap",
            "map",
            "plan",
        ),
        "keys": ("KeyGen",),
        "maintenance": ("Retention",),
        "project": ("Project",),
        "results": ("Event",),
        "results.explain": ("Explanation",),
        "serialization": ("ContentType",),
        "tasks": (
            "AsyncBatchTask",
            "AsyncStreamTask",
            "AsyncTask",
            "BatchTask",
            "StreamTask",
            "Task",
        ),
    },
    modules=("adapters",),
)
