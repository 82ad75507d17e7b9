"""Pickling of tasks for other processes: by reference if they can be imported there, else by value.

A task of an importable module is pickled as its name. A task of a script or a notebook, or one made inside a function,
is pickled by value, along with its name and a digest of all that its results depend on: if that name leads to a task
with this digest in the receiver (a forked or spawned child of the script), the receiver uses that task and does not
even unpickle the value. However often a process receives a task, it makes one task of it, with one project. Classes and
functions of a script, which arguments and exceptions are made of, are pickled the same way (`dumps`), and so are those
of a module for a worker that cannot import it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
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
from beautyspot._internal.names import MAIN, find, full_name, module_name, stands_for
from beautyspot.errors import ConfigurationError

_by_value: set[str] = set()  # packages that the receiver of the current pickle cannot import
_registering = threading.Lock()
_being_pickled = threading.local()  # the tokens of the tasks that this thread is pickling by value
_received_tasks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_own_tasks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
# A forked child has the locks that were held at the fork, which nobody releases there: its tasks arrive by value.
after_fork_in_child(_own_tasks.clear)


class ByValue:
    """Carries an object that plain pickle may refuse: a lambda, a decorated function."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            buffers: list[pickle.PickleBuffer] = []
            return ByValue._unopened, (dumps_by_value(self.value, buffers.append), buffers)
        except Exception as error:  # raised where the value is needed, if it is
            return PicklingFailure, (f"{type(error).__name__}: {error}",)

    @staticmethod
    def _unopened(data: bytes, buffers: list[Any]) -> Callable[[], Any]:
        return PickledValue(data, buffers)


class PickledValue:
    """An object that was sent by value, not unpickled yet."""

    def __init__(self, data: bytes, buffers: list[Any]) -> None:
        self._data = data
        self._buffers = buffers

    def __call__(self) -> Any:
        """Unpickle the object."""
        return pickle.loads(self._data, buffers=self._buffers)  # noqa: S301 - from our own caller, never from an index


def dumps_by_value(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None) -> bytes:
    """*value* pickled with the functions and classes that it is made of; locks arrive as new ones.

    Args:
        value: The value.
        buffer_callback: Takes the contents of arrays, which are not copied.

    Raises:
        Exception: What pickling raises, if something cannot be pickled.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            reduced = _LOCKS.get(type(obj))
            return super().reducer_override(obj) if reduced is None else reduced

    file = io.BytesIO()
    Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


# What guards one process only is made anew in another one.
_LOCKS: dict[type, tuple[Any, ...]] = {
    type(threading.Lock()): (threading.Lock, ()),
    type(threading.RLock()): (threading.RLock, ()),
    threading.local: (threading.local, ()),
}


class PicklingFailure:
    """Stands for an object that could not be pickled, and raises where the object is needed."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self) -> Any:
        """Raise a `pickle.PicklingError`."""
        raise pickle.PicklingError(
            f"the task cannot be sent to this process ({self._reason}); put it into a module that can be imported here"
        )


@contextmanager
def by_value(module: str) -> Iterator[None]:
    """Context: pickle the classes, functions and tasks of *module*'s package by value.

    Raises:
        ConfigurationError: If the package is an installed one, which workers must have installed too.
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
    """The module in which the receiver looks first; empty if its module of that name may be another one."""
    return module_name(module) if module in MAIN or not _travels_by_value(module) else ""


def register_task(task: object, token: str) -> None:
    """Register *task* as made in this process: if it is sent back here, it is unpickled as this object."""
    _own_tasks[token] = task


def travels_by_name(task: object) -> bool:
    """Whether another process can import the task by its name."""
    return not _travels_by_value(task.__module__) and stands_for(task)


def reduce_task(task: object, token: str, digest: bytes, state: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...] | str:
    """The value of a task's ``__reduce__``.

    Args:
        task: The task, with ``__module__`` and ``__qualname__`` of its function.
        token: A text that identifies the task in every process.
        digest: A digest of all that the task's results depend on: where another task has its name or token, or what it
            captured has changed since, the receiver makes a new task.
        state: Returns what the task is made of; called only if the task is pickled by value.
    """
    name = (_lookup_module(task.__module__), getattr(task, "__qualname__", ""))  # a partial has no name
    if travels_by_name(task):
        # Looking a class method up returns it bound to its class, which pickle would refuse as a different object.
        return name[1] if _lookup(*name) is task else (_import_task, name)
    sending = _being_pickled.__dict__.setdefault("tokens", set())
    if token in sending:  # its function refers to itself
        return _receive_task, (type(task), token, digest, *name)
    sending.add(token)
    try:
        # Pickled at once, while the token marks the task as being pickled.
        pickled = ByValue(state()).__reduce__()
    finally:
        sending.discard(token)
    return _receive_task, (type(task), token, digest, *name), (pickled[0], pickled[1])


def _lookup(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), sys.modules[module])


def _import_task(module: str, qualname: str) -> Any:
    """The task of a name that the sender could import."""
    importlib.import_module(module)
    return find(module, qualname)


def _digest_of(task: Any) -> bytes:
    digest: bytes = task.digest()
    return digest


def _receive_task(kind: type, token: str, digest: bytes, module: str, qualname: str) -> Any:
    """The task of that token or name, if this process has it as it was sent; else an empty one to be filled."""
    candidates: list[Any] = [_own_tasks.get(token), find(module, qualname)]
    for found in candidates:
        # Another cell, loop or project may have made another task of that name.
        if type(found) is kind and _digest_of(found) == digest:
            return found
    identity = f"{token}:{digest.hex()}"
    received: Any = _received_tasks.get(identity)
    if received is None:
        received = _received_tasks[identity] = object.__new__(kind)
    return received


def check_captured(task: Any) -> None:
    """Check that what a task captured can be sent, if it is pickled by value and no name leads to it.

    Raises:
        ConfigurationError: If it cannot: names the variable.
    """
    core = inspect.unwrap(task.__wrapped__)
    if travels_by_name(task) or stands_for(task) or not isinstance(core, types.FunctionType):
        return
    reduced = task.__reduce__()
    if not isinstance(reduced, tuple) or len(reduced) < 3 or reduced[2][0] is not PicklingFailure:
        return
    for name, cell in zip(core.__code__.co_freevars, core.__closure__ or (), strict=True):
        try:
            dumps_by_value(cell.cell_contents)
        except Exception as cause:
            kind = full_name(type(cell.cell_contents))
            raise ConfigurationError(
                f'write engine="threads", or make {name!r} ({kind}) inside {core.__name__}: it is captured, and cannot '
                f"be sent to other processes ({type(cause).__name__}: {cause})"
            ) from cause


def dumps(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None) -> bytes:
    """*value* pickled for another process, which need not have imported the script of this one.

    What plain pickle refuses (a lambda, a class inside a function) is pickled by value.

    Args:
        value: The value.
        buffer_callback: Takes the contents of arrays, which are not copied; ``None``: they are pickled too.
    """
    try:
        return _dump(_Pickler, value, buffer_callback)
    except Exception:
        import cloudpickle

        class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                reduced = _reduce_by_value(obj)
                return super().reducer_override(obj) if reduced is NotImplemented else reduced

        return _dump(ByValuePickler, value, buffer_callback)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _reduce_by_value(obj)


def _dump(
    pickler: Callable[..., Any], value: Any, buffer_callback: Callable[[pickle.PickleBuffer], object] | None
) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def _reduce_by_value(obj: Any) -> Any:
    """Reduce a class or function of the main module to its name and its value."""
    if not isinstance(obj, type | types.FunctionType) or not _travels_by_value(obj.__module__) or not stands_for(obj):
        return NotImplemented
    return _find_or_unpickle, (_lookup_module(obj.__module__), obj.__qualname__, id(obj), *ByValue(obj).__reduce__())


def _find_or_unpickle(module: str, qualname: str, address: int, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    found = find(module, qualname)
    # In a notebook, a cell may have run again: only a forked child has the very same object, at the same address.
    if found is None or (module in MAIN and id(found) != address):
        return make(*args)()
    return found


def unpickle_state(state: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    """The state that was given to `reduce_task`."""
    make, args = state
    return make(*args)()
