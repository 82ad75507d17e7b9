"""Events: what happens to the calls of a project, for its listeners.

Without a listener, a call only checks a flag. If a listener raises, that is logged, and the call goes on.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from beautyspot._internal.context import current_key
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import ConfigurationError

__all__ = ["Event", "Kind", "listen"]

Kind = Literal["hit", "miss", "run", "keep", "error", "wait"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Whether a listener is running: its own calls emit nothing, or they would call it again without end.
_listening: ContextVar[bool] = ContextVar("beautyspot_listening", default=False)
# In a worker process: the list in which the events of a project are collected for its caller.
_collected: ContextVar[tuple[Events, list[Event]] | None] = ContextVar("beautyspot_events", default=None)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a call. A field that its kind does not have is ``None`` or empty.

    Attributes:
        kind: ``"hit"``: a cached result was returned; ``"miss"``: there was none, and the function is about to run;
            ``"run"``: it returned; ``"keep"``: a result was committed; ``"error"``: it raised, or its result cannot be
            stored and the call raises that; ``"wait"``: the call waited for another run of its key, or for a budget.
        project: The name of the project.
        function: ``module.qualname``; empty for a ``with project.limit(...)`` block.
        key: The call's key, 32 hexadecimal digits; empty for a wait for a budget outside of any task.
        input: A preview of the call's arguments; empty for a hit.
        seconds: How long the function ran, or the call waited.
        size: Size of the serialized result in bytes.
        blob: Whether the result is a blob.
        error: The exception.
        budget: The budget that the call waited for; empty if it waited for another run.
    """

    kind: Kind
    project: str
    function: str
    key: str
    input: str = ""
    seconds: float | None = None
    size: int | None = None
    blob: bool | None = None
    error: BaseException | None = None
    budget: str = ""


Listener = Callable[[Event], object]


class _GuardedListener:
    """A listener whose exceptions are logged, the first with its traceback."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        try:
            self._listener(event)
        except Exception as error:  # a KeyboardInterrupt is meant for the program
            import logging  # takes longer to import than this module, and is seldom needed

            text = "a listener to %r failed, and the call of %s goes on: %s: %s"
            values = event.kind, event.function, type(error).__name__, error
            logging.getLogger("beautyspot").error(text, *values, exc_info=not self._has_failed)
            self._has_failed = True


_Listeners = tuple[_GuardedListener, ...]


class Events(SurvivesFork):
    """The listeners of a project.

    Args:
        project: Its name.

    Attributes:
        active: Whether there is a listener of any kind, here or at the caller of this worker. An attribute, since every
            hit reads it: calling a method would take ten times as long.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._listeners: dict[Kind, _Listeners] = {}
        self._collecting = 0  # number of running chunks whose caller has listeners
        self.active = False
        self._lock = threading.Lock()
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        """Keep the listeners, under a new lock."""
        self._lock = threading.Lock()

    def on(self, kind: Kind, listener: Listener) -> Callable[[], None]:
        """Add a listener; see `Project.on`."""
        if kind not in KINDS:
            raise ConfigurationError(f"there is no event {kind!r}: it is one of {', '.join(map(repr, KINDS))}")
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise ConfigurationError(f"a listener is a plain function of one event, not {listener!r}")
        guarded = _GuardedListener(listener)
        self._change(kind, lambda others: (*others, guarded))
        return functools.partial(self._change, kind, lambda all_: tuple([each for each in all_ if each is not guarded]))

    def _change(self, kind: Kind, change: Callable[[_Listeners], _Listeners]) -> None:
        with self._lock:
            listeners: dict[Kind, _Listeners] = {**self._listeners, kind: change(self._listeners.get(kind, ()))}
            self._listeners = {kind: each for kind, each in listeners.items() if each}
            self.active = bool(self._listeners or self._collecting)

    def emit(self, kind: Kind, function: str, key: bytes | None, **more: Any) -> None:
        """Deliver an event of a call, if its kind has a listener."""
        if self._collecting or kind in self._listeners:
            self.deliver(Event(kind, self._project, function, "" if key is None else key.hex(), **more))

    def deliver(self, event: Event) -> None:
        """Call the listeners of this kind; in a worker process, collect the event for the caller."""
        collected = _collected.get()
        if collected is not None and collected[0] is self:
            collected[1].append(event)
            return
        if _listening.get():
            return
        token = _listening.set(True)
        try:
            for listener in self._listeners.get(event.kind, ()):
                listener(event)
        finally:
            _listening.reset(token)

    def waited(self, function: str, budget: str, seconds: float) -> None:
        """Emit that *function* waited for a budget."""
        self.emit("wait", function, current_key(), seconds=seconds, budget=budget)

    @contextmanager
    def collected(self, wanted: bool) -> Iterator[list[Event]]:
        """Context: collect the events of this project in a list, if the caller of this worker *wanted* them."""
        events: list[Event] = []
        if not wanted:
            yield events
            return
        self._collect(1)
        token = _collected.set((self, events))
        try:
            yield events
        finally:
            _collected.reset(token)
            self._collect(-1)

    def _collect(self, more: int) -> None:
        with self._lock:
            self._collecting += more
            self.active = bool(self._listeners or self._collecting)


class Observable(Protocol):
    """Has events to listen to: a project."""

    def on(self, kind: Kind, listener: Listener) -> Callable[[], None]:
        """Add a listener; see `Project.on`."""
        ...


def listen(project: Observable, listeners: Mapping[Kind, Listener]) -> Callable[[], None]:
    """Add several listeners to a project, one for each kind.

    Args:
        project: The project.
        listeners: A listener by kind.

    Returns:
        A function that removes all of them.

    Raises:
        ConfigurationError: As `Project.on` does.
    """
    stops = [project.on(kind, listener) for kind, listener in listeners.items()]

    def stop() -> None:
        for each in stops:
            each()

    return stop
