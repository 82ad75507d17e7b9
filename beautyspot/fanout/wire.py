"""What crosses between a map and its workers: tasks, chunks of calls, and replies. Only bytes cross.

Each exception is pickled by itself, so that one that cannot be pickled does not cost the other replies of its chunk.
"""

from __future__ import annotations

import os
import pickle
import traceback
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from beautyspot._internal.signatures import Arguments
from beautyspot.errors import ConfigurationError, RemoteError
from beautyspot.fanout.transport import SharedPayload
from beautyspot.protocols.index import Entry, InDirectory
from beautyspot.results.events import Event
from beautyspot.results.task_cache import worker
from beautyspot.tasks.base import BaseTask
from beautyspot.tasks.pickling import check_captured, dumps, travels_by_name


class CallReply(NamedTuple):
    """The reply of a worker for one call.

    Attributes:
        entry: The entry of the result; ``None`` if there is none.
        blob: The bytes of a large result that is not stored.
        error: The exception, pickled.
        seconds: How long the call took.
        index_unreachable: Whether the worker does not reach the index, so that the caller of the map stores the result.
        events: Events for listeners at the caller, each with its exception, pickled.
        key_busy: Whether another caller had locked the key, and the worker did not wait.
    """

    entry: Entry | None
    blob: bytes | None
    error: bytes | None
    seconds: float
    index_unreachable: bool = False
    events: tuple[tuple[Event, bytes | None], ...] = ()
    key_busy: bool = False


class ImportFailure(NamedTuple):
    """The reply of a worker that cannot import the task, or has other code of it."""

    reason: str


class MissingPayload(NamedTuple):
    """The reply of a worker that cannot open the payload: it has to be sent whole."""

    reason: str


class DifferentTask(Exception):
    """The task that a worker imported is not the caller's: its module has changed, or is another one."""


class RemoteTraceback(Exception):
    """The traceback of an exception in its worker; the cause of the exception."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Payload(NamedTuple):
    """What `run_chunk` needs to run the calls of a task.

    Attributes:
        task: The task.
        common: The arguments that all calls share.
        directories: The directories of its index and its blobs; those on a server have none.
        identities: These directories, as the caller sees them.
        digest: The digest of the task, if a worker imports it by its name; else no bytes: it arrives as it is.
        caller: The process that maps, as ``host:pid``.
        has_listeners: Whether the caller listens to events.
    """

    task: BaseTask[..., Any]
    common: Arguments
    directories: list[str]
    identities: list[DirectoryIdentity]
    digest: bytes
    caller: str
    has_listeners: bool


def pack_task(task: BaseTask[..., Any], common: Arguments, inline: bool = False) -> SharedPayload:
    """The payload of a map.

    Args:
        task: The task.
        common: The arguments that all calls share.
        inline: Whether it is sent whole with each chunk, however large it is.

    Raises:
        ConfigurationError: If its project, what the task captured, or an argument that all calls share cannot be sent
            to another process.
    """
    project = task.core.project
    dumps(project)  # an index that cannot be sent raises now; a forked worker would store results in a copy of its own
    directories = directories_of(task)
    identities = list(map(identity_of, directories))
    digest = task.digest() if travels_by_name(task) else b""
    payload = tuple(Payload(task, common, directories, identities, digest, worker(), project.events.active))
    check_captured(task)
    try:
        return SharedPayload(lambda callback: dumps(payload, callback), inline)
    except Exception:
        _check_sendable(task, common)
        raise


def _check_sendable(task: BaseTask[..., Any], common: Arguments) -> None:
    """Name the argument that cannot be sent, if that is the reason why a payload cannot."""
    args, fixed = common
    for name, value in {**dict(zip(task.core.keyer.signature.parameters, args, strict=False)), **fixed}.items():
        try:
            dumps(value)
        except Exception as cause:
            raise ConfigurationError(
                f'write engine="threads", or make {name!r} inside {task.core.short_name}: it is the same in all calls, '
                f"and cannot be sent to other processes ({type(cause).__name__}: {cause})"
            ) from cause


def directories_of(task: BaseTask[..., Any]) -> list[str]:
    """The directories of the task's index and blobs; none for a server."""
    parts = (task.core.project.db, task.core.project.storage)
    return [part.directory for part in parts if isinstance(part, InDirectory)]


class ChunkCall(NamedTuple):
    """One call of a chunk.

    Attributes:
        key: Its key: the worker does not compute it again.
        fingerprints: Four bytes for each part of the key.
        own: The arguments that it does not share.
        waits: Whether it waits for a key that another caller has locked.
    """

    key: bytes
    fingerprints: bytes
    own: Arguments
    waits: bool


def pack_chunk(calls: Sequence[ChunkCall], stop: bool) -> bytes:
    """A chunk of calls; with *stop*, none starts after a failure."""
    return dumps(([tuple(call) for call in calls], stop))


def unpack_replies(data: bytes) -> list[CallReply] | ImportFailure | MissingPayload:
    """The replies from `run_chunk`; calls that were not started have none."""
    replies: list[CallReply] | ImportFailure | MissingPayload = pickle.loads(data)  # noqa: S301 - from our own worker
    return replies


def unpack_error(data: bytes) -> BaseException:
    """The exception of a reply, with the worker's traceback as its cause."""
    pickled, text = pickle.loads(data)  # noqa: S301 - from our own worker
    error: BaseException = pickle.loads(pickled)  # noqa: S301 - from our own worker
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


def pack_error(error: BaseException) -> bytes:
    """An exception and its traceback, pickled; a `RemoteError` in place of one that cannot be pickled."""
    try:
        pickled = dumps(error)
        pickle.loads(pickled)  # noqa: S301 - an exception whose constructor refuses its own arguments fails here
    except Exception:
        kind = type(error)
        pickled = pickle.dumps(RemoteError(f"{kind.__module__}.{kind.__qualname__}", str(error)[:2000]))
    return pickle.dumps((pickled, "".join(traceback.format_exception(error))))


class DirectoryIdentity(NamedTuple):
    """A directory as one process sees it.

    An SQLite index in WAL mode, and its locks, work among the processes of one kernel. So a directory is identified by
    the machine and by what its path leads to there; one that two machines share over a network has two identities.

    Attributes:
        machine: The kernel, and its boot.
        path: The directory, or the nearest one above it that exists.
        device: The device of *path*.
        inode: The inode of *path*.
    """

    machine: str
    path: str
    device: int
    inode: int


def identity_of(directory: str) -> DirectoryIdentity:
    """The identity of *directory*, which need not exist yet."""
    path = os.path.abspath(directory)
    while True:
        try:
            found = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
        else:
            return DirectoryIdentity(_machine(), path, found.st_dev, found.st_ino)


def is_same_directory(identity: DirectoryIdentity) -> bool:
    """Whether this process sees the directory as the sender does."""
    return identity_of(identity.path) == identity


@cache
def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:  # no Linux
        return f"{os.uname().nodename}:{uuid.getnode()}"
