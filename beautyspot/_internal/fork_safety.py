"""Objects that survive a fork: told before it, and after it in the parent and in the child."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_live: weakref.WeakSet[SurvivesFork] = weakref.WeakSet()
_told: list[SurvivesFork] = []  # who was told of the fork that is under way


class SurvivesFork:
    """What has threads, locks or connections that a child must not take for its own.

    A child has only the thread that forked, and of the parent's locks those that were held stay so for ever.
    """

    def survive_forks(self) -> None:
        """Be told of forks from now on; to be called at the end of a constructor."""
        _live.add(self)

    def before_fork(self) -> None:
        """Let what must not be cut in two come to its end, and nothing new begin."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew."""


class computed_once(Generic[T]):  # noqa: N801 - as `functools.cached_property` is written
    """An attribute that is computed when it is first asked for; twice, perhaps, where two threads ask together.

    `functools.cached_property` holds a lock of its class meanwhile on Python 3.11, and a child that is forked just then
    would wait for it for ever.
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
        _told.append(each)


def _after_fork_in_parent() -> None:
    while _told:
        _told.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _told:
        _told.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
