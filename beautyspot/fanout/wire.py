"""What crosses between a map and its workers: tasks, chunks of calls, and what became of them."""

from __future__ import annotations

import os
import pickle
import traceback
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from beautyspot.errors import RemoteError
from beautyspot.protocols.index import Entry, InDirectory
from beautyspot.results.events import Event
from beautyspot.tasks.pickling import dumps
from beautyspot.tasks.task import Task


class CallReply(NamedTuple):
    """What became of one call.

    Attributes:
        entry: Of the result; ``None`` if there is none.
        blob: The bytes of a large result that is not kept.
        error: The exception, pickled.
        seconds: How long it took.
        away: Whether the worker did not reach the index, so that the caller keeps.
        told: Events of the worker, for those who listen at its caller, each with its exception, pickled.
        key_busy: Whether someone else runs it just now, for whom the worker did not wait.
    """

    entry: Entry | None
    blob: bytes | None
    error: bytes | None
    seconds: float
    index_unreachable: bool = False
    events: tuple[tuple[Event, bytes | None], ...] = ()
    key_busy: bool = False


class ImportFailure(NamedTuple):
    """What a worker says that cannot import what it is to run, or has other code of it."""

    reason: str


class _Other(Exception):
    """A module that a worker imported has changed since, or is another one there."""


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker that raised it; stands as its cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def pack_task(task: Task[..., Any]) -> bytes:
    """What `run_chunk` takes as payload: a task, where it keeps its results, and the code that it has here.

    Raises:
        ConfigurationError: If its project is of a kind that cannot be sent to another process.
    """
    project = task.project
    dumps(project)  # an index that cannot be sent is said now; a forked worker would keep to itself
    directories = _directories(task)
    return dumps((task, directories, list(map(identity_of, directories)), _code(task), project.events.active))


def _code(task: Task[..., Any]) -> tuple[bytes, bytes]:
    return task._keyer.code, task._keyer.follows


def _directories(task: Task[..., Any]) -> list[str]:
    parts = (task.project.db, task.project.storage)
    return [part.directory for part in parts if isinstance(part, InDirectory)]


def pack_chunk(calls: Sequence[tuple[bytes, tuple[Any, ...], bool]], stop: bool) -> bytes:
    """A chunk: keys and arguments of calls, and whether they wait; with *stop*, those after a failure are not begun."""
    return dumps((list(calls), stop))


def unpack_replies(data: bytes) -> list[CallReply] | ImportFailure:
    """What `run_chunk` gave; calls that were not begun have no answer."""
    replies: list[CallReply] | ImportFailure = pickle.loads(data)  # noqa: S301 - from our own worker
    return replies


def unpack_error(data: bytes) -> BaseException:
    """The exception of an answer, with the worker's traceback as its cause."""
    pickled, text = pickle.loads(data)  # noqa: S301 - from our own worker
    error: BaseException = pickle.loads(pickled)  # noqa: S301 - from our own worker
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


def _packed(error: BaseException) -> bytes:
    try:
        pickled = dumps(error)
        pickle.loads(pickled)  # noqa: S301 - an exception whose constructor refuses its own arguments shows here
    except Exception:
        kind = type(error)
        pickled = pickle.dumps(RemoteError(f"{kind.__module__}.{kind.__qualname__}", str(error)[:2000]))
    return pickle.dumps((pickled, "".join(traceback.format_exception(error))))


class DirectoryIdentity(NamedTuple):
    """A directory as one process sees it.

    Attributes:
        machine: Which kernel, since when.
        path: The directory, or the nearest one above it that exists.
        device: Of that one.
        inode: Of that one.
    """

    machine: str
    path: str
    device: int
    inode: int


def identity_of(directory: str) -> DirectoryIdentity:
    """The place of *directory*, which need not exist yet."""
    path = os.path.abspath(directory)
    while True:
        try:
            found = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
        else:
            return DirectoryIdentity(_machine(), path, found.st_dev, found.st_ino)


def is_same_directory(identity: DirectoryIdentity) -> bool:
    """Whether this process sees *place* as the one who sent it does."""
    return identity_of(identity.path) == identity


@cache
def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:  # no Linux
        return f"{os.uname().nodename}:{uuid.getnode()}"
