"""Statements of SQLAlchemy: their text and parameters, since their parts have names made of addresses."""

from __future__ import annotations

from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The text and the parameters of a statement; ``None`` for any other value."""
    names = {f"{base.__module__}.{base.__qualname__}" for base in type(value).__mro__}
    if "sqlalchemy.sql.base.Executable" not in names or "sqlalchemy.sql.elements.ClauseElement" not in names:
        return None
    compiled = value.compile()
    return (b"v", "statement", type(value), str(compiled), compiled.params)
