"""MemoryTaskDB: the index of one process, for tests and for results that need not outlive it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beautyspot.errors import ConfigurationError
from beautyspot.protocols.index import Entry, Failure, MapProgress, Record, Summary, is_over

__all__ = ["MemoryTaskDB"]


class MemoryTaskDB:
    """An index in a dict. It ends with its process and cannot be sent to another process."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._entries: dict[bytes, Entry] = {}
        self._summaries: dict[bytes, Summary] = {}
        self._failures: dict[bytes, Failure] = {}
        self._maps: dict[str, MapProgress] = {}
        self._used: dict[bytes, float] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        raise ConfigurationError(
            'an index in memory cannot be sent to another process; use engine="threads", or a path as db='
        )

    def get(self, key: bytes) -> Entry | None:
        """The entry of *key*, or ``None``."""
        return self._entries.get(key)

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that have a cached result."""
        return {key: self._entries[key] for key in keys if key in self._entries}

    def upsert(self, records: Sequence[Record]) -> None:
        """Store *records*."""
        with self._writing:
            for entry, summary in records:
                self._summaries.pop(summary.key, None)  # so that the newest comes last
                self._entries[summary.key], self._summaries[summary.key] = entry, summary

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete the records of *keys*; returns how many there were."""
        with self._writing:
            found = {key for key in keys if self._entries.pop(key, None) is not None}
            for key in found:
                del self._summaries[key]
                self._used.pop(key, None)
            return len(found)

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """Summaries of the cached results, newest first."""
        with self._writing:
            newest_first = list(reversed(self._summaries.values()))
        return (s for s in newest_first if function in (None, s.function))

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Records, oldest first, each with its position."""
        with self._writing:
            oldest_first = [Record(self._entries[key], summary) for key, summary in self._summaries.items()]
        return iter(list(enumerate(oldest_first, 1))[after:])

    def close(self) -> None:
        """Do nothing: nothing was opened, and the results stay until the process ends."""

    def note_failure(self, failure: Failure) -> None:
        """Record *failure*, replacing an earlier one of the same key."""
        with self._writing:
            self._failures.pop(failure.key, None)
            self._failures[failure.key] = failure

    def failures(self, function: str | None = None) -> Iterator[Failure]:
        """Failures whose call has no cached result, newest first."""
        with self._writing:
            newest_first = list(reversed(self._failures.values()))
        return (f for f in newest_first if function in (None, f.function) and f.key not in self._entries)

    def failed(self, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """The failures of those *keys* whose latest call failed."""
        return {key: self._failures[key] for key in keys if key in self._failures and key not in self._entries}

    def note_map(self, progress: MapProgress) -> None:
        """Record *progress*, replacing an earlier record with the same ``id``."""
        with self._writing:
            self._maps[progress.id] = progress

    def maps(self) -> Iterator[MapProgress]:
        """Recorded maps, the one that started last first."""
        return iter(sorted(self._maps.values(), key=lambda m: -m.started))

    def prune_history(self, before: float | None = None, function: str | None = None) -> int:
        """Delete failures, and maps that are over, recorded *before* a time and of one *function*; returns how many."""

        def is_selected(item: Failure | MapProgress, recorded: float) -> bool:
            return (before is None or recorded < before) and function in (None, item.function)

        with self._writing:
            failures = [key for key, failure in self._failures.items() if is_selected(failure, failure.created)]
            maps = [name for name, m in self._maps.items() if is_over(m) and is_selected(m, m.updated)]
            for key in failures:
                del self._failures[key]
            for name in maps:
                del self._maps[name]
        return len(failures) + len(maps)

    def record_access(self, accesses: Mapping[bytes, float]) -> None:
        """Store when results were last used."""
        with self._writing:
            for key in accesses.keys() & self._entries.keys():
                self._used[key] = max(accesses[key], self._used.get(key, 0.0))

    def least_used(self) -> Iterator[Summary]:
        """Results, least recently used first."""
        with self._writing:
            return iter(sorted(self._summaries.values(), key=lambda s: max(s.created, self._used.get(s.key, 0.0))))

    def mean_seconds(self, function: str) -> float | None:
        """Mean run time of the latest 200 calls of *function*."""
        ran = [s.seconds for s in itertools.islice(self.summaries(function), 200) if s.seconds is not None]
        return sum(ran) / len(ran) if ran else None


def open_url(url: str) -> MemoryTaskDB:
    """The index of ``memory://``."""
    if url != "memory://":
        raise ConfigurationError(f"an index in memory has no name: write 'memory://' instead of {url!r}")
    return MemoryTaskDB()
