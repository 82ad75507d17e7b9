"""Hooks at forks: for objects that must survive a fork, and for modules. All of the library's are registered here."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_live: weakref.WeakSet[SurvivesFork] = weakref.WeakSet()
_prepared: list[SurvivesFork] = []  # objects whose `before_fork` has run for the current fork


class SurvivesFork:
    """Base class of objects with threads, locks or connections that a forked child must not use.

    A child has only the thread that forked, and locks that were held in the parent stay locked in it for ever.
    """

    def survive_forks(self) -> None:
        """Call the methods below at forks from now on. A constructor calls this at its end."""
        _live.add(self)

    def before_fork(self) -> None:
        """Wait for the end of what a fork must not interrupt, and let nothing new start."""

    def after_fork_in_parent(self) -> None:
        """Undo `before_fork`."""

    def after_fork_in_child(self) -> None:
        """Reset the state for the child."""


class computed_once(Generic[T]):  # noqa: N801 - as `functools.cached_property` is written
    """An attribute that is computed when it is first read; possibly twice if two threads read it at once.

    `functools.cached_property` holds a lock of its class meanwhile on Python 3.11, and a child that is forked at that
    moment would wait for the lock for ever.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value: T = self._function(instance)
        vars(instance)[self._name] = value
        return value


def after_fork_in_child(callback: Callable[[], object]) -> None:
    """Call *callback* in every forked child, for modules whose state a child must not share."""
    if hasattr(os, "register_at_fork"):  # Windows cannot fork
        os.register_at_fork(after_in_child=callback)


def _before_fork() -> None:
    for each in list(_live):
        each.before_fork()
        _prepared.append(each)


def _after_fork_in_parent() -> None:
    while _prepared:
        _prepared.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _prepared:
        _prepared.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
