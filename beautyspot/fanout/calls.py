"""What crosses between the scheduler of a map and the pool in which its calls run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from beautyspot._internal.signatures import Arguments
from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
from beautyspot.tasks.core import ComputedResult
from beautyspot.tasks.task import AsyncTask, Task

MappedTask = Task[..., Any] | AsyncTask[..., Any] | BatchTask[Any, ..., Any] | AsyncBatchTask[Any, ..., Any]


@dataclass(slots=True)
class Call:
    """One call of a map that has to run.

    Attributes:
        number: The position of its input.
        common: The arguments that it shares with all calls of the map.
        own: Its other arguments.
        key: Its key.
        parts: The encodings that its key was made of.
        waits: Whether to wait if another caller has locked the key; calls that need not wait come first.
    """

    number: int
    common: Arguments
    own: Arguments
    key: bytes
    parts: list[bytes]
    waits: bool = False

    def keyed(self) -> KeyedCall:
        """The call as cores take it."""
        return KeyedCall(self.key, self.parts, *joined(self.common, self.own))


def joined(common: Arguments, own: Arguments) -> Arguments:
    """The arguments of a whole call."""
    before, fixed = common
    args, kwargs = own
    return (*before, *args), {**fixed, **kwargs} if kwargs else fixed


@dataclass(slots=True)
class Outcome:
    """What a call came to: its result, its exception, or neither.

    Attributes:
        call: The call.
        value: Its result.
        error: Its exception.
        again: Whether it must be submitted again.
        key_busy: Whether another caller had locked its key, and it did not wait.
    """

    call: Call
    value: Any = MISSING
    error: BaseException | None = None
    again: bool = False
    key_busy: bool = False


def ends_map(error: BaseException) -> bool:
    """Whether *error* ends a map whatever ``on_error`` says: Ctrl-C or an exit, but not one call that was cancelled."""
    if isinstance(error, Exception):
        return False
    exceptions = sys.modules.get("asyncio.exceptions")
    return exceptions is None or not isinstance(error, exceptions.CancelledError)


class Runner(Protocol):
    """Runs one call at a time: the core of a task, or a `ListRunner`."""

    @property
    def limiters(self) -> tuple[Callable[..., Any], ...]:
        """Wrappers of the user's function that run before its own code."""
        ...

    def run(self, call: KeyedCall, wait: bool = True) -> ComputedResult:
        """As `TaskCore.run`."""
        ...


class AsyncRunner(Protocol):
    """As `Runner`, awaited."""

    @property
    def limiters(self) -> tuple[Callable[..., Any], ...]:
        """As those of `Runner`."""
        ...

    async def run(self, call: KeyedCall, wait: bool = True) -> ComputedResult:
        """As `AsyncTaskCore.run`."""
        ...


class Pool(Protocol):
    """Where the calls of a map run."""

    def has_capacity(self) -> bool:
        """Whether another call may be submitted now."""
        ...

    def submit(self, call: Call) -> None:
        """Start *call*, or queue it."""
        ...

    def has_pending(self) -> bool:
        """Whether a submitted call has not come back."""
        ...

    def wait(self) -> list[Outcome]:
        """The outcomes of finished calls, at least one while calls are pending: waits for it."""
        ...

    def stop(self) -> None:
        """Cancel calls that have not started; running ones still come back."""
        ...

    def close(self, now: bool = False) -> None:
        """End the pool after its running calls; with *now*, after a second."""
        ...


class AsyncPool(Pool, Protocol):
    """A pool on an event loop, where `wait` does not block: it follows `ready`."""

    async def ready(self) -> None:
        """Wait until a call has finished."""
        ...

    async def cancel(self) -> None:
        """Cancel the running calls."""
        ...
