"""The protocols of an index.

`TaskDB` is the least that an index must implement. Each further ability is a protocol of its own, whose docstring says
what happens without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from beautyspot.protocols.records import (
    BlobInfo,
    Entry,
    Failure,
    FunctionSummary,
    MapProgress,
    Order,
    Record,
    Selection,
    Summary,
    is_over,
)

__all__ = [
    "AccessLog",
    "BlobInfo",
    "Catalog",
    "Compacts",
    "Entry",
    "Failure",
    "FailureLog",
    "FunctionSummary",
    "InDirectory",
    "IntegrityCheck",
    "LocalFile",
    "MapLog",
    "MapProgress",
    "Order",
    "OrderedRecords",
    "PrunesHistory",
    "QuickLookup",
    "Record",
    "Selection",
    "Statistics",
    "Summary",
    "TaskDB",
    "is_over",
]


class TaskDB(Protocol):
    """An index: the database of keys and records.

    With these methods alone, calls, maps and ``forget`` work in one process.
    """

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that have a cached result, in few statements however many keys there are."""
        ...

    def upsert(self, records: Sequence[Record]) -> None:
        """Store *records*, all or none, replacing those of the same key. They are durable when it returns."""
        ...

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete the records of *keys*; returns how many there were."""
        ...

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Summaries of the cached results, newest first, of one function or of all. Reads no values."""
        ...

    def close(self) -> None:
        """Close files and connections. The next call opens them again."""
        ...


@runtime_checkable
class QuickLookup(Protocol):
    """An index that looks up one key in microseconds, so that an event loop may wait for it.

    Without it, ``lookup([key])`` is called, and async tasks call the index and its `KeyLocks` in a thread.
    """

    def get(self, key: bytes) -> Entry | None:
        """The entry of *key*, or ``None``."""
        ...


@runtime_checkable
class OrderedRecords(Protocol):
    """An index that lists its records in the order they were stored. Without it, a transfer lists all in memory."""

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Records, oldest first, each with its position in that order; only those at positions greater than *after*."""
        ...


@runtime_checkable
class Catalog(Protocol):
    """An index that selects, orders and counts records by itself. Without it, viewers read its lists from end to end.

    An order by anything but time may end after some thousands of rows, since no database index supports it.
    """

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Summary] | list[Failure]:
        """The rows *start* to *start + count* of a selection: failures if it selects failures, else summaries."""
        ...

    def count(self, selection: Selection) -> int:
        """How many rows a selection has."""
        ...

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """The first *count* results and failures whose key, in hexadecimal digits, begins with *prefix*."""
        ...

    def functions(self) -> list[FunctionSummary]:
        """One summary for each version of each function, ordered by name and version."""
        ...

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results, and how many failures, were recorded in each of *bins* equal parts of a period."""
        ...

    def latest(self) -> tuple[int, int]:
        """A number that grows with every result, and one that grows with every failure."""
        ...


@runtime_checkable
class IntegrityCheck(Protocol):
    """An index that can check its own file or tables. Without it, ``verify`` checks only its records."""

    def problems(self) -> list[str]:
        """Descriptions of what is wrong with the file or the tables; empty if nothing is."""
        ...


@runtime_checkable
class PrunesHistory(Protocol):
    """An index that can delete the failures and maps that it recorded for viewers. Without it, these stay."""

    def prune_history(self, before: float | None = None, function: str | None = None) -> int:
        """Delete failures, and maps that are over, recorded *before* a time and of one *function*; returns how many."""
        ...


@runtime_checkable
class AccessLog(Protocol):
    """An index that stores when its results were last used. Without it, ``max_bytes`` is a `ConfigurationError`."""

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when the results of these keys were used, for keys that have one. An earlier time changes nothing."""
        ...

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first; one without a recorded use counts as used when it was stored."""
        ...


@runtime_checkable
class Compacts(Protocol):
    """An index that can release the space of deleted records. Without it, new records reuse that space."""

    def compact(self) -> None:
        """Shrink the index to the size of its records; writers wait meanwhile."""
        ...


@runtime_checkable
class LocalFile(Protocol):
    """An index in a local file. Without it, each process has rate limits of its own by default."""

    def beside(self, suffix: str) -> str:
        """The absolute path of another file in the same directory, named after the index and *suffix*."""
        ...


@runtime_checkable
class InDirectory(Protocol):
    """An index or a storage in a local directory. One without this protocol counts as reachable from every machine."""

    @property
    def directory(self) -> str:
        """The absolute path of the directory, whether it exists yet or not."""
        ...


@runtime_checkable
class FailureLog(Protocol):
    """An index that records failures for viewers. Without it, an exception only reaches the caller."""

    def note_failure(self, failure: Failure) -> None:
        """Record *failure*, replacing an earlier one of the same key."""
        ...

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no cached result, newest first."""
        ...

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* whose latest call failed."""
        ...


@runtime_checkable
class MapLog(Protocol):
    """An index that records the progress of maps for viewers. Without it, only the progress bar shows it."""

    def note_map(self, progress: MapProgress) -> None:
        """Record *progress*, replacing an earlier record with the same ``id``."""
        ...

    def maps(self) -> Iterator[MapProgress]:
        """Recorded maps, the one that started last first."""
        ...


@runtime_checkable
class Statistics(Protocol):
    """An index that knows how long calls took. Without it, ``bs.plan`` estimates no time."""

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time, in seconds, of the latest calls of *function*; ``None`` if none was run."""
        ...
