"""Many calls of one task.

`map_sync` and `map_async` are what users call. `inputs` makes the arguments of calls of what they give: `iterables`
checks it, `slots` says which parameters it fills. `scheduler` decides which call runs when, and does no I/O. `calls`
cross between it and a pool: `thread_pool` with `group_commit`, `batch_pool`, `engine_pool`. `engines` says what an
engine is, `wire` what crosses to its workers, `transport` how what is large reaches them, `worker` and `processes` what
happens there. `progress` draws the bar.
"""

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.fanout.engines import ENGINES, Engine, Threads
    from beautyspot.fanout.map_async import aimap, amap
    from beautyspot.fanout.map_sync import Plan, imap, map, plan
    from beautyspot.fanout.processes import UNGUARDED, become_worker, check_guarded, run_for, run_watched
    from beautyspot.fanout.worker import run_chunk, stopping

__all__ = [
    "ENGINES",
    "UNGUARDED",
    "Engine",
    "Plan",
    "Threads",
    "aimap",
    "amap",
    "become_worker",
    "check_guarded",
    "imap",
    "map",
    "plan",
    "run_chunk",
    "run_for",
    "run_watched",
    "stopping",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "map_sync": (
            "Plan",
            "imap",
            "map",
            "plan",
        ),
        "map_async": (
            "aimap",
            "amap",
        ),
        "engines": (
            "ENGINES",
            "Engine",
            "Threads",
        ),
        "worker": (
            "run_chunk",
            "stopping",
        ),
        "processes": (
            "UNGUARDED",
            "become_worker",
            "check_guarded",
            "run_for",
            "run_watched",
        ),
    },
)
