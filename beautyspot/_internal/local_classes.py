"""Classes that no name leads to, since they are defined inside functions: those that tasks hold, by name.

A result of such a class is read as long as the class is there. The class that a task holds was seen when the key of
the call was computed, just before its result is read: so the newest one of a name is that task's.
"""

from __future__ import annotations

import weakref

from beautyspot._internal.names import module_name

_seen: dict[tuple[str, str], weakref.ref[type]] = {}


def see(kind: type) -> None:
    """Take note of a class that was defined inside a function."""
    if "<locals>" in kind.__qualname__:
        _seen[module_name(kind.__module__), kind.__qualname__] = weakref.ref(kind)


def seen(module: str, qualname: str) -> type | None:
    """The class of that name that was seen last, if it is still there."""
    found = _seen.get((module, qualname))
    return None if found is None else found()
