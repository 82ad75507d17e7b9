"""The cache itself: an index and blobs in step.

`store` reads and writes results, `codec` says how one task's results are encoded, `task_cache` is what one task does
with its results. `singleflight` lets one call of a key run at a time, `events` tells listeners, `signing` signs,
`explain` says why a call is not cached, `last_used` remembers when results were used.
"""

from beautyspot._internal.text import one_line
from beautyspot.results.events import KINDS, Event, Kind, Listener, Observable, listen

__all__ = [
    "KINDS",
    "Event",
    "Kind",
    "Listener",
    "Observable",
    "listen",
    "one_line",
]
