"""Events: what becomes of the calls of a project, told to whoever listens.

While nobody listens, all that a call does for it is to look whether anybody does. What a listener does harms nothing
but itself.
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

# Whether a listener runs just now: what it calls is not told, or it would hear of itself for ever.
_listening: ContextVar[bool] = ContextVar("beautyspot_listening", default=False)
# Where the events of a project go in a worker: to its caller, who listens, and not to whom the worker's copy has.
_collected: ContextVar[tuple[Events, list[Event]] | None] = ContextVar("beautyspot_events", default=None)


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a call. What is not known, or means nothing for its kind, is ``None`` or empty.

    Attributes:
        kind: ``"hit"``: a kept result was given; ``"miss"``: none was, and the function is about to run; ``"run"``: it
            ran to its end; ``"keep"``: a result was committed; ``"error"``: it raised, or what it returned could not
            be kept and the call raises that; ``"wait"``: the call waited for another one that runs the same key, or
            for a budget.
        project: The name of the project.
        function: ``module.qualname``; empty for a ``with project.limit(...)`` block.
        key: The call's key, 32 hexadecimal digits; empty for what waits for a budget outside of any task.
        input: The call's arguments, readable and cut short; not known of a hit.
        seconds: How long the function ran, or the call waited.
        size: Bytes of the serialized result.
        blob: Whether the result lies in blob storage.
        error: What was raised.
        budget: Which budget was waited for; empty where another call was.
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


class _Told:
    """A listener, and whether it has failed before."""

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


class Events(SurvivesFork):
    """The listeners of a project.

    Args:
        project: Its name.

    Attributes:
        active: Whether anybody listens, to whatever kind, here or where the caller of this worker is. A hit looks at
            it, so it is no method: a call of one would take as long as ten of these.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._listeners: dict[Kind, tuple[_Told, ...]] = {}
        self._collecting = 0  # chunks of callers who listen
        self.active = False
        self._lock = threading.Lock()
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        """Go on with the same listeners."""
        self._lock = threading.Lock()

    def on(self, kind: Kind, listener: Listener) -> Callable[[], None]:
        """Add a listener; see `Project.on`."""
        if kind not in KINDS:
            raise ConfigurationError(f"there is no event {kind!r}: it is one of {', '.join(map(repr, KINDS))}")
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise ConfigurationError(f"a listener is a plain function of one event, not {listener!r}")
        told = _Told(listener)
        self._listen(kind, lambda others: (*others, told))
        return functools.partial(self._listen, kind, lambda all_: tuple([one for one in all_ if one is not told]))

    def _listen(self, kind: Kind, change: Callable[[tuple[_Told, ...]], tuple[_Told, ...]]) -> None:
        with self._lock:
            listeners: dict[Kind, tuple[_Told, ...]] = {**self._listeners, kind: change(self._listeners.get(kind, ()))}
            self._listeners = {each: those for each, those in listeners.items() if those}
            self.active = bool(self._listeners or self._collecting)

    def tell(self, kind: Kind, function: str, key: bytes | None, **more: Any) -> None:
        """Tell of a call, if anybody listens to that."""
        if self._collecting or kind in self._listeners:
            self.hand_on(Event(kind, self._project, function, "" if key is None else key.hex(), **more))

    def hand_on(self, event: Event) -> None:
        """Give *event* to those who listen to its kind, or to the list of the worker that this is."""
        collected = _collected.get()
        if collected is not None and collected[0] is self:
            collected[1].append(event)
            return
        if _listening.get():
            return
        token = _listening.set(True)
        try:
            for told in self._listeners.get(event.kind, ()):
                told(event)
        finally:
            _listening.reset(token)

    def waited(self, function: str, budget: str, seconds: float) -> None:
        """Tell that *function* waited for a budget."""
        self.tell("wait", function, current_key(), seconds=seconds, budget=budget)

    @contextmanager
    def collected(self, wanted: bool) -> Iterator[list[Event]]:
        """Within, what is told of this project goes into a list, if that is *wanted*: by the caller of this worker."""
        told: list[Event] = []
        if not wanted:
            yield told
            return
        self._collect(1)
        token = _collected.set((self, told))
        try:
            yield told
        finally:
            _collected.reset(token)
            self._collect(-1)

    def _collect(self, more: int) -> None:
        with self._lock:
            self._collecting += more
            self.active = bool(self._listeners or self._collecting)


class Observable(Protocol):
    """What has events to listen to: a project."""

    def on(self, kind: Kind, listener: Listener) -> Callable[[], None]:
        """Add a listener; see `Project.on`."""
        ...


def listen(project: Observable, listeners: Mapping[Kind, Listener]) -> Callable[[], None]:
    """Add several listeners to a project: to each kind its own.

    Args:
        project: To listen to.
        listeners: By kind.

    Returns:
        A function that takes all of them away again.

    Raises:
        ConfigurationError: As `Project.on` does.
    """
    stops = [project.on(kind, listener) for kind, listener in listeners.items()]

    def stop() -> None:
        for each in stops:
            each()

    return stop
