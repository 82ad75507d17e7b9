"""Telling: what stands in place of a task's keeper while somebody listens to its project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from beautyspot.forms import Encoded
from beautyspot.keeping import Keeper
from beautyspot.protocols import Entry, Record, Summary
from beautyspot.results import MISSING, Results

if TYPE_CHECKING:
    from beautyspot.events import Events, Kind


class _Found(Entry):
    """An entry that knows its key, so that whoever reads it can tell; it travels as a plain one."""

    key: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return Entry, tuple(self)


class _Finding(Results):
    """The results of a project, whose entries know their keys."""

    def __init__(self, results: Results) -> None:
        self.__dict__ = results.__dict__

    def entry(self, key: bytes) -> Entry | None:
        """As that of the results that this stands for."""
        entry = super().entry(key)
        return None if entry is None else _found(key, entry)

    def find_raw(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """As that of the results that this stands for."""
        return {key: _found(key, entry) for key, entry in super().find_raw(keys).items()}


def _found(key: bytes, entry: Entry) -> Entry:
    found = _Found(*entry)
    found.key = key
    return found


class TellingKeeper(Keeper):
    """A task's keeper while somebody listens.

    Args:
        plain: The one that it stands for.
        events: Of the project.
    """

    def __init__(self, plain: Keeper, events: Events) -> None:
        self.__dict__.update(plain.__dict__)
        self.plain = plain
        self._events = events

    def begin(self, summary: Summary) -> float:
        """Tell of a miss."""
        self._tell("miss", summary)
        return super().begin(summary)

    def keep(
        self, summary: Summary, value: Any, seconds: float | None, replaced: str | None = None
    ) -> tuple[Entry | None, Encoded]:
        """Tell of a result that cannot be serialized."""
        try:
            encoded = self.encode(value)
        except Exception as error:
            self._tell("error", summary, seconds=seconds, error=error)
            raise
        return self.write(summary, encoded, seconds, replaced), encoded

    def write(self, summary: Summary, encoded: Encoded, seconds: float | None, replaced: str | None) -> Entry | None:
        """Tell of the run and of the commit, both when the result is safe; or that it could not be written."""
        try:
            entry = super().write(summary, encoded, seconds, replaced)
        except Exception as error:
            self._tell("error", summary, seconds=seconds, error=error)
            raise
        self._told(summary, encoded, seconds, kept=entry is not None)
        return entry

    def write_together(self, records: Sequence[Record]) -> None:
        """Tell of the runs and of their commit."""
        super().write_together(records)
        for entry, summary in records:
            self._told(summary, entry, summary.seconds, kept=True)

    def _told(self, summary: Summary, result: Encoded | Entry, seconds: float | None, kept: bool) -> None:
        size, blob = result.size, result.value is None
        if seconds is not None:
            self._tell("run", summary, seconds=seconds, size=size)
        if kept:
            self._tell("keep", summary, size=size, blob=blob)

    def put(self, summary: Summary, value: Any) -> Entry:
        """Tell of the commit."""
        entry = super().put(summary, value)
        self._tell("keep", summary, size=entry.size, blob=entry.value is None)
        return entry

    def failed(self, summary: Summary, error: Exception, seconds: float) -> None:
        """Tell of a failure."""
        super().failed(summary, error, seconds)
        self._tell("error", summary, seconds=seconds, error=error)

    def _tell(self, kind: Kind, summary: Summary, **more: Any) -> None:
        self._events.tell(kind, summary.function, summary.key, input=summary.input, **more)


class HitTellingKeeper(TellingKeeper):
    """A task's keeper while somebody listens to hits.

    Args:
        plain: The one that it stands for.
        events: Of the project.
    """

    def __init__(self, plain: Keeper, events: Events) -> None:
        super().__init__(plain, events)
        self.results = _Finding(plain.results)

    def read(self, entry: Entry) -> Any:
        """Tell of a hit, where *entry* was found under a key, and is not the result of a worker."""
        value = super().read(entry)
        if value is not MISSING:
            self._tell_of_hit(entry)
        return value

    def items(self, entry: Entry) -> Any:
        """Tell of a hit, as `read` does."""
        items = super().items(entry)
        if items is not MISSING:
            self._tell_of_hit(entry)
        return items

    def _tell_of_hit(self, entry: Entry) -> None:
        if isinstance(entry, _Found):
            blob = entry.location is not None
            self._events.tell("hit", self._keyer.function_name, entry.key, size=entry.size, blob=blob)

    def holds(self, key: bytes) -> bool:
        """Whether a usable result is kept: a question, of which nothing is told."""
        return self.plain.holds(key)
