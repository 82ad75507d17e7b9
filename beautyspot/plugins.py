"""Finding a backend by name: our own, and those that other packages bring by entry point."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from beautyspot.errors import ConfigurationError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class Registry:
    """Names, and where what they stand for lives.

    Args:
        what: What is looked for, for error messages.
        group: The entry point group in which other packages name theirs.
        ours: Name to ``module:attribute``, imported when it is asked for.
    """

    def __init__(self, what: str, group: str, ours: Mapping[str, str]) -> None:
        self._what = what
        self._group = group
        self._ours = dict(ours)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """What *name* stands for; ours before anyone else's.

        Raises:
            ConfigurationError: If nobody knows the name.
        """
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
            return found
        from importlib.metadata import entry_points

        theirs = {entry.name: entry for entry in entry_points(group=self._group)}
        if name not in theirs:
            known = ", ".join(sorted({*self._ours, *theirs}))
            raise ConfigurationError(
                f"no {self._what} is known as {name!r}; known are {known}. A package can bring one by an entry "
                f"point in the group {self._group!r}"
            )
        loaded: Callable[..., Any] = theirs[name].load()
        return loaded

    def for_url(self, place: str | os.PathLike[str]) -> Callable[..., Any] | None:
        """What the scheme of a URL stands for; ``None`` for a path."""
        found = _SCHEME.match(place) if isinstance(place, str) else None
        return self[found[1].lower()] if found else None
