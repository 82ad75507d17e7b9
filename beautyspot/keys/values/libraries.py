"""Finds what identifies a value by the library of its class or of a base."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import UnkeyableError

Parts = tuple[Any, ...]  # a tag of one byte, the name of the form, then the parts

# Where the values of a package have their forms; a module is loaded with the first value of its library.
_MODULES = {
    "numpy": "numpy",
    "astropy": "astropy",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "arrow",
    "scipy": "scipy",
    "sklearn": "sklearn",
    "torch": "torch",
    "xarray": "xarray",
    "networkx": "networkx",
    "PIL": "pillow",
    "bs4": "markup",
    "lxml": "markup",
    "zoneinfo": "stdlib",
    "sqlalchemy": "sqlalchemy",
    "sqlite3": "stdlib",
}


def parts_of(value: Any, kind: type) -> Parts | None:
    """The tag and the parts of a library's value; ``None`` for any other value.

    Raises:
        UnkeyableError: If the library cannot read the value: an image that was closed.
    """
    for form in _forms(kind):
        try:
            parts = form(value)
        except (UnkeyableError, RecursionError, MemoryError):
            raise
        except Exception as cause:
            raise UnkeyableError(
                f"({full_name(kind)}) cannot identify a call, since it cannot be read ({cause})"
            ) from cause
        if parts is not None:
            return parts
    return None


@functools.lru_cache(1024)
def _forms(kind: type) -> tuple[Callable[[Any], Parts | None], ...]:
    """The functions that know values of *kind*: those of its own package come first."""
    roots = dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__)
    names = dict.fromkeys(_MODULES[root] for root in roots if root in _MODULES)
    return tuple(importlib.import_module(f"beautyspot.keys.values.{name}").parts_of for name in names)


def has_forms(kind: type) -> bool:
    """Whether a library may say what identifies an object of this class."""
    return bool(_forms(kind))


def plain_of(value: Any, kind: type) -> Any:
    """*value*, or the Python value that a NumPy scalar of one of Python's own kinds counts as."""
    made = _scalar_types().get(kind)
    return value if made is None else made(value)


def holds_scalars(items: Collection[Any]) -> bool:
    """Whether one of *items* is a NumPy scalar that counts as a Python value."""
    return not _scalar_types().keys().isdisjoint(map(type, items))


def plain_items(items: Iterable[Any]) -> list[Any]:
    """*items*, with what NumPy scalars count as in their place."""
    types = _scalar_types()
    return [item if (made := types.get(type(item))) is None else made(item) for item in items]


def _scalar_types() -> dict[type, Callable[[Any], Any]]:
    """Types of NumPy scalars that count as Python's, and what makes Python's of them; empty without NumPy."""
    return _loaded_scalar_types() if "numpy" in sys.modules else {}


@functools.cache
def _loaded_scalar_types() -> dict[type, Callable[[Any], Any]]:
    from beautyspot.keys.values.numpy import plain_types

    return plain_types()
