"""Values of the standard library whose pickled form says more than their value."""

from __future__ import annotations

from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The name of a time zone, whether it came from the cache of time zones or not; ``None`` for any other value."""
    key = getattr(value, "key", None)
    return (b"v", "zone", type(value), key) if isinstance(key, str) else None
