"""Sending tasks to other processes: by reference where they can be imported there, by value elsewhere.

A task of an importable module travels as its name. A task of a script, a notebook, or one that was made
inside a function travels by value, with its name beside it: where that name leads to a task already (a forked
or spawned child of the script), this one is taken, and the value is not even opened. A process makes one
task, with one project, however often it receives it.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from beautyspot.naming import MAIN, find, module_name, stands_for

_sending = threading.local()  # tokens of what this thread is just now pickling by value
_received: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


class ByValue:
    """Carries an object that plain pickle may refuse (a lambda, a function that was decorated)."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        try:
            return ByValue._opened, (cloudpickle.dumps(self.value),)
        except Exception as error:  # only matters where the value is really needed
            return Unsendable, (f"{type(error).__name__}: {error}",)

    @staticmethod
    def _opened(data: bytes) -> Callable[[], Any]:
        return Sealed(data)


class Sealed:
    """What travelled by value, not opened yet."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self) -> Any:
        """The object."""
        return pickle.loads(self._data)  # noqa: S301 - from our own caller, never from an index


class Unsendable:
    """What could not be pickled; an error where it is needed."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self) -> Any:
        """Raises."""
        raise pickle.PicklingError(
            f"the task cannot be sent to this process ({self._reason}); put it into a module that can be imported here"
        )


def reduce(task: Any, token: str, state: Callable[[], Any]) -> str | tuple[Any, ...]:
    """What a task's ``__reduce__`` returns.

    Args:
        task: The task, with ``__module__`` and ``__qualname__`` of its function.
        token: What tells this task from all others, in every process.
        state: Gives what the task is made of; asked only where it travels by value.
    """
    name = (module_name(task.__module__), task.__qualname__)
    if task.__module__ not in MAIN and stands_for(task):
        # Looking a class method up gives it bound to its class, which pickle would not take for it.
        return str(task.__qualname__) if _looked_up(*name) is task else (_imported, name)
    sending = _sending.__dict__.setdefault("tokens", set())
    if token in sending:  # its function refers to itself
        return _receive, (type(task), token, *name)
    sending.add(token)
    try:
        # Pickled here and now, while the token says that we are inside.
        sealed = ByValue(state()).__reduce__()
    finally:
        sending.discard(token)
    return _receive, (type(task), token, *name), (sealed[0], sealed[1])


def _looked_up(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), sys.modules[module])


def _imported(module: str, qualname: str) -> Any:
    """The task of a name that the sender knows can be imported."""
    importlib.import_module(module)
    return find(module, qualname)


def _receive(kind: type, token: str, module: str, qualname: str) -> Any:
    """The task of that name or token if there is one here, else an empty one that its state will fill."""
    found = find(module, qualname)
    if type(found) is kind:
        return found
    task = _received.get(token)
    if task is None:
        task = _received[token] = object.__new__(kind)
    return task


def opened(state: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    """What `reduce` was given as state."""
    make, args = state
    return make(*args)()
