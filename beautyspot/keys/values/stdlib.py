"""Values of the standard library whose pickled form says more than their value."""

from __future__ import annotations

from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The name of a time zone, whether it was cached or not; the columns and values of a row of SQLite."""
    if f"{type(value).__module__}.{type(value).__qualname__}" == "sqlite3.Row":
        return (b"v", "row", tuple(value.keys()), tuple(value))
    key = getattr(value, "key", None)
    return (b"v", "zone", type(value), key) if isinstance(key, str) else None
