"""ExternalCall: a call that a framework runs; beautyspot looks it up before and stores its result after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beautyspot._internal.warn import warn_once
from beautyspot.errors import NotKeptWarning
from beautyspot.results.store import MISSING
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.core import Services

__all__ = ["ExternalCall", "warn_uncached"]


class ExternalCall:
    """A call of a task whose function a framework runs.

    The call is described when this is made, since the function may change its arguments.

    Args:
        task: The task.
        args: Arguments by position.
        kwargs: Arguments by name.

    Raises:
        UnkeyableError: If an argument cannot be part of a key.
        TypeError: If the arguments do not fit the function.
    """

    def __init__(self, task: BaseTask[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self._cache = task.core.cache
        self._summary = self._cache.describe(task.core.call(args, kwargs))

    def find(self, default: Any) -> Any:
        """The cached result, or *default*, which counts as a miss."""
        value = self._cache.find(self._summary.key)
        if value is not MISSING:
            return value
        self._cache.on_miss(self._summary)
        return default

    def store(self, value: Any) -> None:
        """Store what the function returned; if it cannot be written, warn or raise as the project says.

        Raises:
            SerializationError: If *value* cannot be serialized.
        """
        self._cache.store(self._summary, value, None, self._cache.results.location(self._summary.key))


def warn_uncached(project: Services, function: Any, error: Exception) -> None:
    """Warn, once for each function, that its calls run without the cache, and why."""
    name = getattr(function, "__qualname__", None) or repr(function)
    warn_once(
        ("simply runs", project.name, name), f"calls of {name} are not kept and simply run: {error}", NotKeptWarning
    )
