"""What an object of a subclass holds beside the data of its library's class."""

from __future__ import annotations

import functools
from collections.abc import Container
from typing import Any


def extras(value: Any, base: type, known: Container[str] = ()) -> dict[str, Any] | None:
    """Attributes and slots of *value* by name, except caches and *known* ones; ``None`` where it has none.

    Args:
        value: An object of a subclass of *base*, or of *base* itself.
        base: The library's class, whose own slots are its data.
        known: Names of the data and caches of *base*.
    """
    kind: type = type(value)
    found = {name: item for name, item in getattr(value, "__dict__", {}).items() if name not in known}
    for name in _slots(kind, base):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return {name: item for name, item in found.items() if not is_cached(kind, name)} or None


def is_cached(kind: type, name: str) -> bool:
    """Whether the attribute *name* is what a `functools.cached_property` of *kind* left."""
    return isinstance(getattr(kind, name, None), functools.cached_property)


@functools.lru_cache(1024)
def _slots(kind: type, base: type) -> tuple[str, ...]:
    """The slots that *kind* has and *base* has not, by the names that reach them."""
    names: list[str] = []
    for cls in kind.__mro__:
        if not issubclass(base, cls):
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                private = name.startswith("__") and not name.endswith("__")
                names.append(f"_{cls.__name__.lstrip('_')}{name}" if private else name)
    return tuple(name for name in dict.fromkeys(names) if name not in ("__dict__", "__weakref__"))
