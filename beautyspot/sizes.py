"""Sizes, as users write them."""

from __future__ import annotations

import re

from beautyspot.errors import ConfigurationError

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


def bytes_in(text: str, name: str) -> int:
    """The bytes of a text such as ``"500"``, ``"64kB"`` or ``"2GiB"``.

    Args:
        text: A number with its unit, or without.
        name: What it is, for the error.

    Raises:
        ConfigurationError: If it is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f'{name} is a number of bytes, such as 500, "64kB", "1MB" or "2GiB", not {text!r}')
    step = 1024 if found[3] else 1000
    return int(float(found[1]) * step ** " kmgt".index(found[2].lower() or " "))
