"""Work on cached results, apart from calling tasks.

`maintenance` is the class that users meet; it uses `verification`, `pruning`, `garbage`, `eviction` by a `retention`
(in the `background` of calls) and `export`. `transfer` moves results between indexes, `cache_import` imports
`other_caches`, with `unpickling` where the user has allowed that. `renaming` gives the results of a function another
name.
"""

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.maintenance.cache_import import ImportReport, import_cache
    from beautyspot.maintenance.eviction import EvictionReport
    from beautyspot.maintenance.garbage import GarbageReport
    from beautyspot.maintenance.maintenance import Maintenance
    from beautyspot.maintenance.pruning import PruneReport
    from beautyspot.maintenance.retention import Retention
    from beautyspot.maintenance.transfer import TransferEndpoint, TransferReport, move
    from beautyspot.maintenance.verification import Health, Problem

__all__ = [
    "EvictionReport",
    "GarbageReport",
    "Health",
    "ImportReport",
    "Maintenance",
    "Problem",
    "PruneReport",
    "Retention",
    "TransferEndpoint",
    "TransferReport",
    "import_cache",
    "move",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "maintenance": ("Maintenance",),
        "retention": ("Retention",),
        "verification": (
            "Problem",
            "Health",
        ),
        "pruning": ("PruneReport",),
        "eviction": ("EvictionReport",),
        "garbage": ("GarbageReport",),
        "transfer": (
            "TransferReport",
            "TransferEndpoint",
            "move",
        ),
        "cache_import": (
            "ImportReport",
            "import_cache",
        ),
    },
)
