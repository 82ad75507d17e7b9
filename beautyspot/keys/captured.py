"""What the runs of functions change of what they captured: their own state, which does not identify calls.

A place is a captured variable, an attribute, an item of a dict with text keys, or a whole collection. While nothing
runs, a place counts as it is. When a run begins, the places that its function reaches are remembered. A change that a
run made is state: the place goes on counting as it did before. Any other change is made by the outside, and the place
counts anew.

Places belong to the process: what two tasks share, a run of either changes. What runs changed is remembered as long as
it lives; of objects that cannot be weakly referenced (variables, lists, dicts) for the newest 512. A record holds bytes
only, so it keeps nothing else alive.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from beautyspot._internal.fork_safety import after_fork_in_child
from beautyspot.keys.assignments import Assignments
from beautyspot.keys.traversal import Kind

_NEWEST = 512
_UNSEEN = -1  # the identity of what a place holds that arrived from another process
_ABSENT = b"\xc1-"  # the bytes of no value
_WHOLE = "\0"  # no name of an attribute or an item that is read as a place

_records: dict[int, _Record] = {}  # by the identity of the holder, which lives as long as its record
_newest: OrderedDict[int, _Record] = OrderedDict()  # records of holders that cannot be weakly referenced
_under_way: dict[int, Run] = {}
_numbers = itertools.count()
_changing = threading.RLock()  # no user's code runs under it


class Look(Protocol):
    """A traversal of all that a function captured: `Keyer.look`."""

    def __call__(self, watcher: Watcher) -> object:
        """Traverse, and tell *watcher* of each place."""
        ...


class _Place:
    """A place.

    Attributes:
        identity: The identity of what the place held when it was seen last.
        data: Its bytes; ``None`` if they depend on where a traversal begins, since it refers to what holds it.
        counted: The bytes as which it counts; ``None``: it is absent.
        is_state: Whether a run has changed it, so that it goes on counting as it did.
        seen: The number of the traversal that saw it last.
    """

    __slots__ = ("counted", "data", "identity", "is_state", "seen")

    def __init__(self, identity: int, data: bytes | None, counted: bytes | None, is_state: bool, seen: int) -> None:
        self.identity = identity
        self.data = data
        self.counted = counted
        self.is_state = is_state
        self.seen = seen

    def sees_change(self, identity: int, data: bytes | None) -> bool:
        """Take what the place holds now; returns whether it is something else than before."""
        if self.identity == _UNSEEN:
            self.identity, self.data = identity, data
            return False
        by_bytes = self.data is not None and data is not None
        has_changed = self.data != data if by_bytes else self.identity != identity
        self.identity, self.data = identity, data
        return has_changed


class _Record:
    """What is remembered of one object with places.

    Attributes:
        places: Its places by name; under `_WHOLE` the object as a collection.
        is_known: Whether it was traversed before: what appears afterwards was absent then.
        holder: The object, while a run is under way; a weak reference afterwards, or the object among the newest.
        users: How many runs that are under way reach it.
    """

    __slots__ = ("holder", "is_known", "places", "users")

    def __init__(self, holder: Any) -> None:
        self.holder = holder
        self.is_known = False
        self.places: dict[str, _Place] = {}
        self.users = 0


class Watcher:
    """Tells a traversal how places count, and takes note of changes.

    Args:
        run: The run for which the traversal remembers what it meets; ``None``: it only looks.

    Attributes:
        state: Paths of places that runs changed.
        contested: Paths of places that runs changed, and the outside after them.
        met: Objects of which runs changed a place.
    """

    __slots__ = ("_run", "contested", "met", "number", "state")

    def __init__(self, run: Run | None = None) -> None:
        self._run = run
        self.number = next(_numbers)
        self.state: list[str] = []
        self.contested: list[str] = []
        self.met: list[tuple[Any, _Record]] = []

    def of(self, holder: Any, kind: Kind) -> _Watched | None:
        """What is remembered of *holder*; ``None`` if nothing is."""
        record = _records.get(id(holder)) if self._run is None else self._run.reach(holder)
        if record is None:
            return None
        self.met.append((holder, record))
        return _Watched(record, kind, self)


class _Watched:
    """One object with places during a traversal."""

    __slots__ = ("_is_known", "_kind", "_record", "_watcher")

    def __init__(self, record: _Record, kind: Kind, watcher: Watcher) -> None:
        self._record = record
        self._kind: Kind = kind
        self._watcher = watcher
        self._is_known = record.is_known
        record.is_known = True

    def names(self) -> Iterable[str]:
        """The names of its places that are remembered."""
        return [name for name in list(self._record.places) if name != _WHOLE]

    def counts(
        self, name: str, now: bytes | None, path: Callable[[], str], identity: int = 0, refers_upwards: bool = False
    ) -> bytes | None:
        """The bytes as which a place counts; ``None``: it is absent.

        Args:
            name: The name of the place.
            now: The bytes of its value; ``None``: it is absent.
            path: Returns the way to it, for messages.
            identity: The identity of the value.
            refers_upwards: Whether the value refers to what holds it.
        """
        data = _ABSENT if now is None else None if refers_upwards else now
        number = self._watcher.number
        places = self._record.places
        if self._kind == "collection":
            name = _WHOLE
        place = places.get(name)
        if place is None:
            # Of an object that was seen before, what is new was absent; of a module only what is named is looked at.
            was_absent = self._is_known and self._kind in ("attribute", "item")
            appeared = was_absent and _is_made_by_runs(self._kind, name)
            place = places[name] = _Place(identity, data, None if appeared else now, appeared, number)
        elif number >= place.seen:  # else another thread has seen a later value
            place.seen = number
            if place.sees_change(identity, data):
                made_by_runs = _is_made_by_runs(self._kind, name)
                if place.is_state and not made_by_runs:
                    self._watcher.contested.append(path())
                place.is_state = made_by_runs
            if not place.is_state:
                place.counted = now
        if place.is_state:
            self._watcher.state.append(path())
        return place.counted


Remembered = list[tuple[Any, dict[str, bytes | None]]]


def remembered(look: Look) -> Remembered:
    """The objects that *look* meets of which runs changed something, with the bytes as which these places count."""
    if not _records:
        return []
    watcher = Watcher()
    look(watcher)
    met = [
        (holder, {name: p.counted for name, p in record.places.items() if p.is_state}) for holder, record in watcher.met
    ]
    return [(holder, places) for holder, places in met if places]


def remember(met: Remembered) -> None:
    """Let places count as in the process from which they arrived."""
    for holder, places in met:
        record = _records.setdefault(id(holder), _Record(holder))
        record.is_known, record.users = True, record.users + 1  # which never ends: a worker has few tasks
        for name, counted in places.items():
            record.places[name] = _Place(_UNSEEN, None, counted, True, -1)


def watcher() -> Watcher | None:
    """A watcher for a traversal that only looks; ``None`` while nothing is remembered."""
    return Watcher() if _records else None


class NoRun:
    """A run of a function that holds nothing which a run could change."""

    __slots__ = ()

    def __enter__(self) -> NoRun:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def pause(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""


NO_RUN = NoRun()


class Run(NoRun):
    """A run of a function that is under way, as a context manager.

    Args:
        look: Traverses what the function captured.
        assignments: Returns what the code that runs may assign.
        is_async: Whether other code may run on the same thread meanwhile.
    """

    __slots__ = ("_assignments", "_look", "_number", "_reached", "is_async", "thread")

    def __init__(self, look: Look, assignments: Callable[[], Assignments], is_async: bool) -> None:
        self._look = look
        self._assignments = assignments
        self._reached: dict[int, _Record] = {}
        self._number = next(_numbers)
        self.is_async = is_async
        self.thread = threading.get_ident()

    def __enter__(self) -> Run:
        self.resume()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def pause(self) -> None:
        """Code of the outside runs from here on: note what the run has changed."""
        try:
            self._look(Watcher())
        except Exception:  # noqa: S110 - the next call raises it, where it can be told which call that is
            pass
        finally:
            _under_way.pop(self._number, None)

    def resume(self) -> None:
        """The function begins or goes on: what it reaches is remembered, changes may be the run's from here on."""
        self._look(Watcher(self))
        self.thread = threading.get_ident()
        _under_way[self._number] = self

    def _end(self) -> None:
        """Note what the run has changed, and forget what it has not."""
        try:
            if self._number in _under_way:
                self.pause()
        finally:
            with _changing:
                for key, record in self._reached.items():
                    record.users -= 1
                    if record.users == 0:
                        _leave(key, record)
            self._reached = {}

    def reach(self, holder: Any) -> _Record:
        """The record of *holder*, which lives until the run ends."""
        key = id(holder)
        with _changing:
            record = _records.get(key) or _records.setdefault(key, _Record(holder))
            if key not in self._reached:
                self._reached[key] = record
                record.users += 1
                record.holder = holder
            return record

    def may_assign(self, kind: Kind, name: str) -> bool:
        """Whether the code that runs may change such a place."""
        return self._assignments().may_change(kind, name)


class AdoptedRun(Run):
    """The runs of a function in a worker: what it holds is looked at when it arrives, and not for each run."""

    def __init__(self, look: Look, assignments: Callable[[], Assignments]) -> None:
        super().__init__(look, assignments, is_async=False)
        self._look(Watcher(self))
        self._depth = 0

    def __exit__(self, *error: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Code of the outside runs from here on."""
        self._depth -= 1
        if self._depth == 0:
            _under_way.pop(self._number, None)

    def resume(self) -> None:
        """The function begins or goes on."""
        self._depth += 1
        self.thread = threading.get_ident()
        _under_way[self._number] = self


def _leave(key: int, record: _Record) -> None:
    """No run reaches the object any more: remember what runs changed of it, if anything."""
    record.places = {name: place for name, place in record.places.items() if place.is_state}
    holder = record.holder
    if not record.places:
        _records.pop(key, None)
        _newest.pop(key, None)
        return
    try:
        record.holder = weakref.ref(holder, lambda _: _records.pop(key, None))
    except TypeError:
        _newest[key] = record
        _newest.move_to_end(key)
        while len(_newest) > _NEWEST:
            oldest, dropped = _newest.popitem(last=False)
            if not dropped.users:
                _records.pop(oldest, None)


def _is_made_by_runs(kind: Kind, name: str) -> bool:
    """Whether a change that was just seen was made by the runs that are under way."""
    runs = list(_under_way.values())
    if not runs:
        return False
    if kind == "collection" or _are_alone(runs):
        return True
    return any(run.may_assign(kind, name) for run in runs)


def _are_alone(runs: list[Run]) -> bool:
    """Whether no code but these runs could have made a change: all of them in this thread, and no other thread."""
    current = threading.get_ident()
    if any(run.is_async or run.thread != current for run in runs):
        return False
    return all(thread.ident == current or thread.name.startswith("beautyspot") for thread in threading.enumerate())


def _after_fork() -> None:
    """Of the runs under way only those of the thread that forked go on in the child."""
    global _changing
    _changing = threading.RLock()
    current = threading.get_ident()
    for number, run in list(_under_way.items()):
        if run.thread != current:
            del _under_way[number]


after_fork_in_child(_after_fork)
