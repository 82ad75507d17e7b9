"""What the parts of beautyspot ask of each other: protocols. The frozen values that cross them are those of `rows`.

Each first protocol is the least that a backend must have; every further ability is a protocol of its own,
and what works without it is said in its docstring.
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
    """The index. With these methods alone, calls, maps and ``forget`` work in one process."""

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that are kept, in few statements however many keys there are."""
        ...

    def upsert(self, records: Sequence[Record]) -> None:
        """Keep *records*, all or none, replacing those of the same key. Durable when it returns."""
        ...

    def delete(self, keys: Sequence[bytes]) -> int:
        """Drop what is kept under *keys*; returns how many there were."""
        ...

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Kept results, newest first, of one function or of all. Reads no values."""
        ...

    def close(self) -> None:
        """Release what was opened. A later call opens it again."""
        ...


@runtime_checkable
class QuickLookup(Protocol):
    """An index that answers for one key in microseconds, so that it may be asked on an event loop.

    Without it, ``lookup([key])`` serves, and async tasks ask it, and its `KeyLocks`, in a thread.
    """

    def get(self, key: bytes) -> Entry | None:
        """The entry of *key*, or ``None``."""
        ...


@runtime_checkable
class OrderedRecords(Protocol):
    """An index that tells all it holds in the order in which it came. Without it, moving results holds their list."""

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Kept results, oldest first, each with its place in that order: those behind the place *after*."""
        ...


@runtime_checkable
class Catalog(Protocol):
    """An index that selects, orders and counts rows by itself. Without it, viewers walk through its lists.

    Orders by anything but time may end after some thousands of rows, since no index supports them.
    """

    def select(
        self, selection: Selection, order: Order = "created", descending: bool = True, start: int = 0, count: int = 50
    ) -> list[Summary] | list[Failure]:
        """The rows *start* to *start + count* of a selection: summaries, or failures where it asks for these."""
        ...

    def count(self, selection: Selection) -> int:
        """How many rows a selection has."""
        ...

    def find(self, prefix: str, count: int = 20) -> list[Summary | Failure]:
        """What is kept, or failed, under keys whose hexadecimal digits begin with *prefix*: the first *count*."""
        ...

    def functions(self) -> list[FunctionSummary]:
        """What is kept of each version of each function, by name and version."""
        ...

    def activity(self, since: float, before: float, bins: int) -> tuple[list[int], list[int]]:
        """How many results, and how many failures, came in each of *bins* equal parts of a time."""
        ...

    def latest(self) -> tuple[int, int]:
        """Numbers that grow with every result, and with every failure, that comes."""
        ...


@runtime_checkable
class IntegrityCheck(Protocol):
    """An index that can tell whether it is sound. Without it, only its rows are looked at."""

    def problems(self) -> list[str]:
        """What is wrong with its file or its tables; empty where nothing is."""
        ...


@runtime_checkable
class PrunesHistory(Protocol):
    """An index that can drop what it noted for viewers. Without it, failures and maps stay noted."""

    def prune_history(self, before: float | None = None, function: str | None = None) -> int:
        """Drop failures, and maps that are over, noted *before* a time and of one *function*; how many there were."""
        ...


@runtime_checkable
class AccessLog(Protocol):
    """An index that remembers when its results were last used. Without it, ``max_bytes`` is a `ConfigurationError`."""

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Remember when the results of these keys were used, where they are kept and it was not later."""
        ...

    def least_used(self) -> Iterator[Summary]:
        """Kept results, longest unused first; one that was never noted counts as used when it was kept."""
        ...


@runtime_checkable
class Compacts(Protocol):
    """An index that can give the space of dropped rows back. Without it, new rows fill it again."""

    def compact(self) -> None:
        """Make the index as small as its rows; writers wait meanwhile."""
        ...


@runtime_checkable
class LocalFile(Protocol):
    """An index in a file of this machine. Without it, each process has rate limits of its own by default."""

    def beside(self, suffix: str) -> str:
        """The absolute path of a further file beside the index's."""
        ...


@runtime_checkable
class InDirectory(Protocol):
    """An index or a storage in the file system of this machine. Without it, it is reached from everywhere."""

    @property
    def directory(self) -> str:
        """The absolute path of the directory in which it lies, whether that exists already or not."""
        ...


@runtime_checkable
class FailureLog(Protocol):
    """Notes failures for viewers. Without it, failures reach the caller and are not noted."""

    def note_failure(self, failure: Failure) -> None:
        """Note *failure*, replacing an earlier one of the same key."""
        ...

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no kept result, newest first."""
        ...

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* that failed last time."""
        ...


@runtime_checkable
class MapLog(Protocol):
    """Notes the progress of maps for viewers. Without it, it is only shown as a bar."""

    def note_map(self, progress: MapProgress) -> None:
        """Note *progress*, replacing what was noted under its ``id``."""
        ...

    def maps(self) -> Iterator[MapProgress]:
        """Noted maps, the latest started first."""
        ...


@runtime_checkable
class Statistics(Protocol):
    """Knows how long calls took. Without it, ``bs.plan`` gives no time."""

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest calls of *function* in seconds; ``None`` if none was run."""
        ...
