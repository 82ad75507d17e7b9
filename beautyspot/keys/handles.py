"""Handles: objects that do work and are no data. They count by their type, files and loggers by their name.

A library's class is known by its name, so that nothing is imported; subclasses are handles as well.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import UnkeyableError

Parts = tuple[Any, ...]  # a tag of one byte, then the parts

# Data comes out of these, so as arguments they are refused: what to write instead.
AS_LIST = "pass list({place})"
_SOURCES = {
    **dict.fromkeys(
        (
            "socket.socket", "_socket.socket", "ssl.SSLSocket", "queue.Queue", "_queue.SimpleQueue",
            "asyncio.queues.Queue", "asyncio.streams.StreamReader", "multiprocessing.queues.Queue",
            "multiprocessing.queues.SimpleQueue", "multiprocessing.connection.Connection",
            "multiprocessing.connection._ConnectionBase", "multiprocessing.managers.BaseProxy",
            "tempfile.TemporaryDirectory", "mmap.mmap",
        ),
        "{ignore}",
    ),
    "builtins.generator": AS_LIST,
    "csv.DictReader": AS_LIST,
    "builtins.async_generator": "pass [item async for item in {place}]",
    "builtins.coroutine": "pass await {place}",
    "asyncio.futures.Future": "pass await {place}",
    "_asyncio.Future": "pass await {place}",
    "concurrent.futures._base.Future": "pass {place}.result()",
    "multiprocessing.pool.ApplyResult": "pass {place}.get()",
    "subprocess.Popen": "pass {place}.communicate()",
    "tempfile._TemporaryFileWrapper": "pass {place}.read()",
    "tempfile.SpooledTemporaryFile": "pass {place}.read()",
}  # fmt: skip
_CURSORS = frozenset(
    {
        "sqlite3.Cursor", "psycopg.Cursor", "psycopg.AsyncCursor", "psycopg2.extensions.cursor",
        "sqlalchemy.engine.result.Result",
    }
)  # fmt: skip
# Modules whose classes with a ``__next__`` are iterators over something else, in place of data of their own.
_OF_ITERATORS = frozenset(
    {"builtins", "itertools", "_collections", "collections", "_csv", "posix", "nt", "numpy", "_sqlite3"}
)
# Iterators that say what they hold, in an order that is the same in each process.
_TELLING = frozenset(
    {
        "list_iterator", "list_reverseiterator", "tuple_iterator", "str_iterator", "str_ascii_iterator",
        "bytes_iterator", "range_iterator", "longrange_iterator", "dict_keyiterator", "dict_valueiterator",
        "dict_itemiterator", "zip", "map", "filter", "enumerate", "reversed",
    }
)  # fmt: skip
_HANDLES = _SOURCES.keys() | {
    "_thread.lock", "_thread.RLock", "threading._RLock", "threading.Condition", "threading.Event",
    "threading.Semaphore", "threading.Barrier", "threading.Thread", "_thread._local", "_threading_local.local",
    "weakref.ReferenceType", "weakref.ref", "builtins.weakref", "weakref.WeakSet", "weakref.WeakKeyDictionary",
    "weakref.WeakValueDictionary", "_contextvars.Context", "builtins.Context",
    "asyncio.locks.Lock", "asyncio.locks.Event", "asyncio.locks.Condition", "asyncio.locks.Semaphore",
    "asyncio.locks.Barrier", "asyncio.events.AbstractEventLoop", "asyncio.streams.StreamWriter",
    "asyncio.runners.Runner", "asyncio.taskgroups.TaskGroup",
    "multiprocessing.synchronize.SemLock", "_multiprocessing.SemLock", "multiprocessing.synchronize.Condition",
    "multiprocessing.synchronize.Event", "multiprocessing.synchronize.Barrier",
    "multiprocessing.process.BaseProcess", "multiprocessing.pool.Pool", "multiprocessing.managers.BaseManager",
    "concurrent.futures._base.Executor", "builtins.frame", "builtins.traceback",
    "tqdm.std.tqdm", "rich.progress.Progress", "rich.console.Console", "_contextvars.Token", "builtins.Token",
    "anyio._core._synchronization.Lock", "anyio._core._synchronization.Semaphore",
    "anyio._core._synchronization.CapacityLimiter", "select.epoll", "_csv.writer", "random.SystemRandom",
    "prometheus_client.metrics.MetricWrapperBase",
    "_pytest.capture.CaptureFixture", "_pytest.logging.LogCaptureFixture", "_pytest.fixtures.FixtureRequest",
    "_pytest.monkeypatch.MonkeyPatch", "_pytest.recwarn.WarningsRecorder", "_pytest.config.Config",
    "_pytest.tmpdir.TempPathFactory", "pytest_mock.plugin.MockerFixture", "_pytest.pytester.Pytester",
}  # fmt: skip


@functools.lru_cache(4096)
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


@functools.lru_cache(4096)
def _is_handle(kind: type) -> bool:
    return not _HANDLES.isdisjoint(_names(kind)) or (_is_iterator(kind) and kind.__name__ not in _TELLING)


def _is_iterator(kind: type) -> bool:
    is_known = kind.__module__ in _OF_ITERATORS and hasattr(kind, "__next__")
    return is_known and _CURSORS.isdisjoint(_names(kind)) and not issubclass(kind, io.IOBase)


@functools.lru_cache(4096)
def _in_place_of(kind: type) -> str | None:
    """What to pass in place of an argument from which data is read; ``None`` for any other kind."""
    names = _names(kind)
    if not _CURSORS.isdisjoint(names):
        return "pass {place}.fetchall(), or the connection"
    found = [_SOURCES[name] for name in names if name in _SOURCES]
    return found[0] if found else AS_LIST if _is_iterator(kind) else None


def parts_of(value: Any, kind: type, captured: bool) -> Parts | None:
    """The tag and the parts of a handle; ``None`` for any other value.

    Args:
        value: The value.
        kind: Its class.
        captured: Whether it was captured; else it is an argument.

    Raises:
        UnkeyableError: If it is an argument from which data is read.
    """
    if not captured:
        cure = _in_place_of(kind)
        if cure is not None:
            raise is_read(kind, cure)
    if _is_handle(kind):
        if not captured and getattr(value, "iterable", None) is not None and "tqdm.std.tqdm" in _names(kind):
            raise is_read(kind, AS_LIST)  # a bar around an iterable: data is read through it
        return (b"h", full_name(kind))
    if isinstance(value, io.IOBase):
        return _of_file(value, kind, captured)
    return _of_named(value, kind, _names(kind))


def is_read(kind: type, cure: str) -> UnkeyableError:
    """The error about an argument from which data is read, with what to write instead."""
    return UnkeyableError(f"({full_name(kind)}) cannot identify a call, since data is read from it", (), cure)


def _of_named(value: Any, kind: type, names: tuple[str, ...]) -> Parts | None:
    """Handles that count by more than their type."""
    if "logging.Logger" in names or "logging.LoggerAdapter" in names:
        return (b"h", "logging", value.name)
    if "_contextvars.ContextVar" in names or "builtins.ContextVar" in names:
        return (b"h", "contextvars", value.name)
    if "_ssl._SSLContext" in names:
        return (b"h", full_name(kind), int(value.verify_mode), bool(value.check_hostname))
    if "ctypes.CDLL" in names:
        return (b"h", full_name(kind), value._name)
    if "_ctypes.CFuncPtr" in names:
        name = getattr(value, "__name__", None)
        return (b"h", "ctypes", name) if isinstance(name, str) else None
    if "multiprocessing.sharedctypes.SynchronizedBase" in names:
        shared = value.get_obj()
        return (b"H", full_name(kind), full_name(type(shared)), bytes(shared))
    return None


def _of_file(value: Any, kind: type, captured: bool) -> Parts:
    """A file: one that is read by its path, the standard streams and one that is written by its type.

    Raises:
        UnkeyableError: If it is an argument that is read, and no path says what it holds.
    """
    if isinstance(value, io.BytesIO | io.StringIO) and not value.closed:
        return (b"H", full_name(kind), value.getvalue(), value.tell())
    if any(value is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return (b"h", "stream")
    if value is sys.stdin or value is sys.__stdin__:
        if not captured:
            raise is_read(kind, "pass {place}.read()")
        return (b"h", "stream")
    path = None if value.closed or not value.readable() else _path_of(value)
    if path is not None:
        return (b"h", full_name(kind), os.path.abspath(os.fsdecode(path)))
    if not captured and not value.closed and value.readable():
        raise is_read(kind, "pass {place}.read()")
    return (b"h", full_name(kind))


def _path_of(file: Any) -> Any:
    """The path of the file that is read, below what buffers, decodes or decompresses it; ``None`` without one."""
    while file is not None:
        if isinstance(file, io.FileIO):
            return file.name if isinstance(file.name, str | bytes | os.PathLike) else None
        for name in ("buffer", "raw", "fileobj", "_fp", "f"):
            inner = getattr(file, name, None)
            if isinstance(inner, io.IOBase):
                break
        else:
            return None
        file = inner
    return None
