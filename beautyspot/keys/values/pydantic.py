"""Models of pydantic: their fields, by name."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import is_cached


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a pydantic model by name, with extra and private ones; ``None`` for any other value.

    Extra fields have no order, and what a cached property left does not count.
    """
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(value, pydantic.BaseModel):
        return None
    kind = type(value)
    own = {name: item for name, item in value.__dict__.items() if not is_cached(kind, name)}
    held = {**own, **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}
    return {name: held[name] for name in sorted(held)}
