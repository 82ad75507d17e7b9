"""What the decorators make of functions.

`core` is the inside of a task: what calls, maps and workers run. `options` are checked here; `base` has what all
tasks can do without running anything. `task` calls, `stream` and `async_stream` are generators, `batch` and
`batch_run` take lists. `bound` are methods, `pickling` sends tasks to other processes, `external` is a call that
someone else runs, `imports` finds what a function imports.
"""

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.tasks.async_stream import AsyncStreamTask
    from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
    from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
    from beautyspot.tasks.external import ExternalCall, warn_uncached
    from beautyspot.tasks.stream import StreamTask
    from beautyspot.tasks.task import AsyncTask, Task

__all__ = [
    "AsyncBatchTask",
    "AsyncStreamTask",
    "AsyncTask",
    "BatchTask",
    "BoundAsyncTask",
    "BoundTask",
    "ExternalCall",
    "StreamTask",
    "Task",
    "warn_uncached",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "task": (
            "AsyncTask",
            "Task",
        ),
        "stream": ("StreamTask",),
        "async_stream": ("AsyncStreamTask",),
        "batch": (
            "AsyncBatchTask",
            "BatchTask",
        ),
        "bound": (
            "BoundAsyncTask",
            "BoundTask",
        ),
        "external": (
            "ExternalCall",
            "warn_uncached",
        ),
    },
)
