"""Calls that someone else runs: recalled before, and kept after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beautyspot._internal.warn import warn_once
from beautyspot.errors import NotKeptWarning
from beautyspot.results.store import MISSING

__all__ = ["ExternalCall", "warn_uncached"]


class ExternalCall:
    """A call of a task whose function someone else runs.

    It is described here and now: the function may change its arguments.

    Args:
        task: Whose call it is.
        args: Arguments by position.
        kwargs: Arguments by name.

    Raises:
        UnkeyableError: If an argument cannot be part of a key.
        TypeError: If the arguments do not fit.
    """

    def __init__(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self._summary = task._cache.describe(task._keyed(args, kwargs))

    def recall(self, default: Any) -> Any:
        """The kept result, or *default*."""
        value = self.task._cache.recall(self._summary.key)
        if value is not MISSING:
            return value
        self.task._cache.begin(self._summary)
        return default

    def keep(self, value: Any) -> None:
        """Keep what the function returned; where it cannot be written, warn or raise as the project says.

        Raises:
            SerializationError: If it cannot be serialized.
        """
        cache = self.task._cache
        cache.keep(self._summary, value, None, cache.results.location(self._summary.key))


def warn_uncached(project: Any, function: Any, error: Exception) -> None:
    """Say, once for each function, that its calls are not kept, and why."""
    name = getattr(function, "__qualname__", None) or repr(function)
    warn_once(
        ("simply runs", project.name, name), f"calls of {name} are not kept and simply run: {error}", NotKeptWarning
    )
