"""Adapters to other libraries, a file for each: engines, targets of events, storages. They use public names only.

This is the package ``beautyspot.adapters``; the folder stands beside the library, and its plain name may belong to
another project. Each module is imported when it is first used, and needs the library of its name.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beautyspot.adapters import dask, diskcache, futures, joblib, logging, opentelemetry, prometheus, ray

if __name__ != "beautyspot.adapters":
    raise ImportError(f"import this package as beautyspot.adapters, not as {__name__}")

__all__ = ["dask", "diskcache", "futures", "joblib", "logging", "opentelemetry", "prometheus", "ray"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
