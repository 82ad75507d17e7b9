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

# Data comes out of these, so as arguments they are refused.
_SOURCES = frozenset(
    {
        "builtins.generator", "builtins.coroutine", "builtins.async_generator", "builtins.list_iterator",
        "socket.socket", "_socket.socket", "ssl.SSLSocket", "queue.Queue", "_queue.SimpleQueue", "asyncio.queues.Queue",
        "multiprocessing.queues.Queue", "multiprocessing.queues.SimpleQueue", "multiprocessing.connection.Connection",
        "multiprocessing.connection._ConnectionBase", "_csv.reader",
    }
)  # fmt: skip
_HANDLES = _SOURCES | frozenset(
    {
        "_thread.lock", "_thread.RLock", "threading._RLock", "threading.Condition", "threading.Event",
        "threading.Semaphore", "threading.Barrier", "threading.Thread", "_thread._local", "_threading_local.local",
        "asyncio.locks.Lock", "asyncio.locks.Event", "asyncio.locks.Condition", "asyncio.locks.Semaphore",
        "asyncio.locks.Barrier", "asyncio.events.AbstractEventLoop", "_asyncio.Future", "_asyncio.Task",
        "asyncio.futures.Future", "asyncio.runners.Runner", "asyncio.taskgroups.TaskGroup",
        "multiprocessing.synchronize.SemLock", "multiprocessing.synchronize.Condition",
        "multiprocessing.synchronize.Event", "multiprocessing.synchronize.Barrier",
        "multiprocessing.process.BaseProcess", "multiprocessing.pool.Pool", "multiprocessing.managers.BaseManager",
        "multiprocessing.managers.BaseProxy", "concurrent.futures._base.Executor", "concurrent.futures._base.Future",
        "subprocess.Popen", "weakref.ReferenceType", "weakref.ref", "builtins.weakref", "weakref.WeakSet",
        "weakref.WeakKeyDictionary", "weakref.WeakValueDictionary", "builtins.frame", "builtins.traceback",
        "tqdm.std.tqdm", "rich.progress.Progress", "rich.console.Console", "_contextvars.Token", "builtins.Token",
        "anyio._core._synchronization.Lock", "anyio._core._synchronization.Semaphore",
        "anyio._core._synchronization.CapacityLimiter", "_io.StringIO.write", "select.epoll",
        "_pytest.capture.CaptureFixture", "_pytest.logging.LogCaptureFixture", "_pytest.fixtures.FixtureRequest",
        "_pytest.monkeypatch.MonkeyPatch", "_pytest.recwarn.WarningsRecorder", "_pytest.config.Config",
        "_pytest.tmpdir.TempPathFactory", "pytest_mock.plugin.MockerFixture", "_pytest.pytester.Pytester",
        "_csv.writer",
    }
)  # fmt: skip
_READING = frozenset({"r", "rb", "rt", "br", "tr"})


@functools.lru_cache(4096)
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


@functools.lru_cache(4096)
def _is_handle(kind: type) -> bool:
    return not _HANDLES.isdisjoint(_names(kind))


@functools.lru_cache(4096)
def _gives_data(kind: type) -> bool:
    return not _SOURCES.isdisjoint(_names(kind))


def parts_of(value: Any, kind: type, captured: bool) -> Parts | None:
    """The tag and the parts of a handle; ``None`` for any other value.

    Args:
        value: The value.
        kind: Its class.
        captured: Whether it was captured; else it is an argument.

    Raises:
        UnkeyableError: If it is an argument from which data is read.
    """
    if _is_handle(kind):
        if _gives_data(kind) and not captured:
            raise UnkeyableError(f"({full_name(kind)}) cannot identify a call, since data is read from it")
        return (b"h", full_name(kind))
    if isinstance(value, io.IOBase):
        return _of_file(value, kind)
    names = _names(kind)
    if "logging.Logger" in names or "logging.LoggerAdapter" in names:
        return (b"h", "logging", value.name)
    if "_contextvars.ContextVar" in names or "builtins.ContextVar" in names:
        return (b"h", "contextvars", value.name)
    if "tempfile._TemporaryFileWrapper" in names:
        return _of_file(value.file, kind)
    return None


def _of_file(value: Any, kind: type) -> Parts | None:
    """A file: one that is read by its path, the standard streams and one that is written by its type."""
    if any(
        value is each for each in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    ):
        return (b"h", "stream")
    if isinstance(value, io.BytesIO | io.StringIO):
        return (b"H", full_name(kind), value.getvalue()) if not value.closed else (b"h", full_name(kind))
    name, mode = getattr(value, "name", None), getattr(value, "mode", None)
    if mode in _READING and isinstance(name, str | bytes | os.PathLike):
        return (b"h", full_name(kind), os.path.abspath(os.fsdecode(name)))
    return (b"h", full_name(kind))
