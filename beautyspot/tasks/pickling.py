"""Sending tasks to other processes: by reference where they can be imported there, by value elsewhere.

A task of an importable module travels as its name. A task of a script, a notebook, or one that was made
inside a function travels by value, with its name beside it: where that name leads to a task already (a forked
or spawned child of the script), this one is taken, and the value is not even opened. A process makes one
task, with one project, however often it receives it. Classes and functions of a script, of which arguments and
exceptions are made, travel the same way (`dumps`); and so does a module's, to a worker that cannot import it.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from beautyspot._internal.fork_safety import after_fork_in_child
from beautyspot._internal.names import MAIN, find, module_name, stands_for
from beautyspot.errors import ConfigurationError

_by_value: set[str] = set()  # packages that cannot be imported where things are being sent to just now
_registering = threading.Lock()
_being_pickled = threading.local()  # tokens of what this thread is just now pickling by value
_received_tasks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_own_tasks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
# What a forked child finds captured may have been assigned anew in its parent since.
after_fork_in_child(_own_tasks.clear)


class ByValue:
    """Carries an object that plain pickle may refuse (a lambda, a function that was decorated)."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        try:
            return ByValue._unopened, (cloudpickle.dumps(self.value),)
        except Exception as error:  # only matters where the value is really needed
            return PicklingFailure, (f"{type(error).__name__}: {error}",)

    @staticmethod
    def _unopened(data: bytes) -> Callable[[], Any]:
        return PickledValue(data)


class PickledValue:
    """What travelled by value, not opened yet."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self) -> Any:
        """The object."""
        return pickle.loads(self._data)  # noqa: S301 - from our own caller, never from an index


class PicklingFailure:
    """What could not be pickled; an error where it is needed."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self) -> Any:
        """Raises."""
        raise pickle.PicklingError(
            f"the task cannot be sent to this process ({self._reason}); put it into a module that can be imported here"
        )


@contextmanager
def by_value(module: str) -> Iterator[None]:
    """Within, what belongs to the package of *module* is sent by value.

    Raises:
        ConfigurationError: If it is an installed package, which belongs to where the workers are.
    """
    package = module.partition(".")[0]
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    if package in _by_value or module in MAIN:
        yield
        return
    if any(file.startswith(path) for name, path in sysconfig.get_paths().items() if name.endswith("lib")):
        raise ConfigurationError(f"the package {package} has to be installed where the workers are")
    import cloudpickle

    with _registering:
        cloudpickle.register_pickle_by_value(sys.modules[package])
        _by_value.add(package)
        try:
            yield
        finally:
            _by_value.discard(package)
            cloudpickle.unregister_pickle_by_value(sys.modules[package])


def _travels_by_value(module: str | None) -> bool:
    return module in MAIN or (bool(_by_value) and str(module).partition(".")[0] in _by_value)


def _lookup_module(module: str | None) -> str:
    """Where the receiver looks first; nowhere, where what he may have is not ours."""
    return module_name(module) if module in MAIN or not _travels_by_value(module) else ""


def register_task(task: Any, token: str) -> None:
    """Say that *task* was made in this process: where it comes back to it, it is this one."""
    _own_tasks[token] = task


def reduce_task(task: Any, token: str, captured: bytes, state: Callable[[], tuple[Any, ...]]) -> str | tuple[Any, ...]:
    """What a task's ``__reduce__`` returns.

    Args:
        task: The task, with ``__module__`` and ``__qualname__`` of its function.
        token: What tells this task from all others, in every process.
        captured: What its function captured, as it is now: when that has changed, it is sent anew.
        state: Gives what the task is made of; asked only where it travels by value.
    """
    name = (_lookup_module(task.__module__), getattr(task, "__qualname__", ""))  # a partial has no name
    if not _travels_by_value(task.__module__) and stands_for(task):
        # Looking a class method up gives it bound to its class, which pickle would not take for it.
        return str(task.__qualname__) if _lookup(*name) is task else (_import_task, name)
    sending = _being_pickled.__dict__.setdefault("tokens", set())
    if token in sending:  # its function refers to itself
        return _receive_task, (type(task), token, captured, *name)
    sending.add(token)
    try:
        # Pickled here and now, while the token says that we are inside.
        pickled = ByValue(state()).__reduce__()
    finally:
        sending.discard(token)
    return _receive_task, (type(task), token, captured, *name), (pickled[0], pickled[1])


def _lookup(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), sys.modules[module])


def _import_task(module: str, qualname: str) -> Any:
    """The task of a name that the sender knows can be imported."""
    importlib.import_module(module)
    return find(module, qualname)


def _receive_task(kind: type, token: str, captured: bytes, module: str, qualname: str) -> Any:
    """The task of that name or token if there is one here, else an empty one that its state will fill."""
    found: Any = _own_tasks.get(token) or find(module, qualname)
    # In a notebook, a cell may have been run anew.
    if type(found) is not kind or (module in MAIN and getattr(found, "_token", None) != token):
        identity = f"{token}:{captured.hex()}"
        found = _received_tasks.get(identity)
        if found is None:
            found = _received_tasks[identity] = object.__new__(kind)
    return found


def dumps(value: Any) -> bytes:
    """Pickled, for another process, which need not have imported our script.

    What plain pickle refuses (a lambda, a class inside a function) travels by value.
    """
    try:
        return _dump(_Pickler, value)
    except Exception:
        import cloudpickle

        class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                reduced = _reduce_by_value(obj)
                return super().reducer_override(obj) if reduced is NotImplemented else reduced

        return _dump(ByValuePickler, value)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _reduce_by_value(obj)


def _dump(pickler: Callable[..., Any], value: Any) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol=5).dump(value)
    return file.getvalue()


def _reduce_by_value(obj: Any) -> Any:
    """How a class or a function of the main module travels: with its name, and by value."""
    if not isinstance(obj, type | types.FunctionType) or not _travels_by_value(obj.__module__) or not stands_for(obj):
        return NotImplemented
    return _find_or_unpickle, (_lookup_module(obj.__module__), obj.__qualname__, id(obj), *ByValue(obj).__reduce__())


def _find_or_unpickle(module: str, qualname: str, address: int, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    found = find(module, qualname)
    # In a notebook a cell may have been run anew: only a forked child has the very same object.
    if found is None or (module in MAIN and id(found) != address):
        return make(*args)()
    return found


def unpickle_state(state: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    """What `reduce` was given as state."""
    make, args = state
    return make(*args)()
