"""Registry: finds backends by name, our own and those that other packages provide by entry points."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from beautyspot.errors import ConfigurationError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class Registry:
    """A mapping from names to objects, which are imported when they are looked up.

    Args:
        what: Kind of the objects, for error messages.
        group: Entry point group of other packages' objects.
        ours: The library's own objects, as ``module:attribute`` by name.
        hidden: Names of *ours* that messages do not list.
    """

    def __init__(self, what: str, group: str, ours: Mapping[str, str], hidden: Iterable[str] = ()) -> None:
        self._what = what
        self._group = group
        self._ours = dict(ours)
        self._hidden = frozenset(hidden)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The object with a name; the library's own take precedence.

        Raises:
            ConfigurationError: If the name is unknown.
        """
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
            return found
        from difflib import get_close_matches
        from importlib.metadata import entry_points

        theirs = {entry.name: entry for entry in entry_points(group=self._group)}
        if name not in theirs:
            known = sorted({*self._ours, *theirs} - self._hidden)
            near = get_close_matches(name, known, 1)
            meant = f", did you mean {near[0]!r}?" if near else "."
            raise ConfigurationError(
                f"no {self._what} is known as {name!r}{meant} Known are {', '.join(known)}. A package can bring one by "
                f"an entry point in the group {self._group!r}"
            )
        loaded: Callable[..., Any] = theirs[name].load()
        return loaded

    def for_url(self, place: str | os.PathLike[str]) -> Callable[..., Any] | None:
        """The object for the scheme of a URL; ``None`` for a path."""
        found = _SCHEME.match(place) if isinstance(place, str) else None
        return self[found[1].lower()] if found else None
