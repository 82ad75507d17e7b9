"""BatchRun: one list of a batch task while it is processed.

Items without a cached result run in batches. A batch locks the keys of its items without waiting, so that two lists
with common items never deadlock; the list waits for a key that another caller has locked only while it holds none
itself. `batch` drives the run, in a thread that blocks or on an event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from typing import Any

from beautyspot._internal.signatures import Arguments
from beautyspot.errors import BatchError
from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry, Summary
from beautyspot.protocols.storage import MapsBlobs
from beautyspot.results.codec import EncodedResult
from beautyspot.results.store import MISSING, is_expired
from beautyspot.tasks.core import BaseCore

_READERS = 8  # blobs that are read at a time from a server


@dataclass(slots=True)
class Item:
    """One item of a list, with the positions of all equal ones."""

    value: Any
    key: bytes
    parts: list[bytes]
    numbers: list[int]
    replaced: str | None = None  # location of the blob that the item's result replaces


@dataclass(slots=True)
class _Returned:
    """The result of one item of a batch, serialized."""

    item: Item
    summary: Summary
    value: Any
    encoded: EncodedResult


class BatchRun:
    """One list of a batch task while it is processed.

    Args:
        core: The core of the task.
        size: How many items the function is called with at most.
        call: Gives the arguments of a call with another list; for keys and viewers, of a call with one item.
        count: How many results there will be.
        fresh: Whether to replace cached results.

    Attributes:
        results: By position; ``MISSING`` where there is none yet.
        held: The items of the current batch, whose keys this run has locked.
    """

    def __init__(
        self, core: BaseCore, size: int, call: Callable[[Any], Arguments], count: int, fresh: bool = False
    ) -> None:
        self._cache = core.cache
        self._locks = core.locks
        self._size = size
        self._name = core.name
        self._call = call
        self._fresh = fresh
        self._queue: deque[Item] = deque()
        self._busy: deque[Item] = deque()  # items whose keys other callers have locked
        self._summaries: list[Summary] = []
        self.results: list[Any] = [MISSING] * count
        self.held: list[Item] = []

    def enlist(self, items: Sequence[Item]) -> None:
        """Queue *items*; those whose results are cached when their turn comes do not run."""
        self._queue.extend(items)

    def look_up(self, items: Sequence[Item]) -> None:
        """Read the cached results of *items*, and queue the rest."""
        entries = self._cache.results.find_many([item.key for item in items])
        cached = self._read([(item, entries[item.key]) for item in items if item.key in entries])
        self.enlist([item for item in items if item.key not in cached])

    def _read(self, found: Sequence[tuple[Item, Entry]]) -> set[bytes]:
        """Fill in the results of *found*, a fresh object for each position; returns the keys that could be read."""
        wanted = [(number, item, entry) for item, entry in found for number in item.numbers]
        keys = [item.key for _, item, _ in wanted]
        entries = [entry for _, _, entry in wanted]
        on_server = not isinstance(self._cache.results.storage, MapsBlobs)
        if on_server and sum(entry.value is None for entry in entries) > 1:
            from concurrent.futures import ThreadPoolExecutor  # slow to import, and seldom needed

            with ThreadPoolExecutor(_READERS, "beautyspot-read") as readers:
                values = list(readers.map(self._cache.read, entries, keys))
        else:
            values = list(map(self._cache.read, entries, keys))
        for (number, _, _), value in zip(wanted, values, strict=True):
            self.results[number] = value
        return {item.key for _, item, _ in wanted if all(self.results[n] is not MISSING for n in item.numbers)}

    def is_over(self) -> bool:
        """Whether every item has its result."""
        return not self._queue and not self._busy

    def take(self) -> bool:
        """Lock the next batch: items without a cached result whose keys are free. Returns whether there are any."""
        while self._queue and len(self.held) < self._size:
            count = min(self._size - len(self.held), len(self._queue))
            some = [self._queue.popleft() for _ in range(count)]
            free = self._locks.try_acquire_many([item.key for item in some], allow_local=True)
            locked = [item for item in some if item.key in free]
            self.held += locked
            self._busy += [item for item in some if item.key not in free]
            self._fill_in_cached(locked)
        return bool(self.held)

    def _fill_in_cached(self, locked: Sequence[Item]) -> None:
        """Read results that other callers stored before the keys were locked here."""
        entries = self._cache.results.find_raw([item.key for item in locked])
        for item in locked:
            item.replaced = entries[item.key].location if item.key in entries else None
        found = [(item, entries[item.key]) for item in locked if item.key in entries]
        usable = [(item, entry) for item, entry in found if not is_expired(entry)]
        cached = set() if self._fresh else self._read(usable)
        self.held = [item for item in self.held if item.key not in cached]
        if cached:
            self._locks.release_many(list(cached))

    def waits_for(self) -> Summary:
        """The call to wait for when other callers have locked all remaining keys; after that, they are tried again."""
        self._queue, self._busy = self._busy, deque()
        return self._describe(self._queue[0])

    def _describe(self, item: Item) -> Summary:
        summary: Summary = self._cache.describe(KeyedCall(item.key, item.parts, *self._call(item.value)))
        return summary

    def begin(self) -> Arguments:
        """The arguments for the current batch; its calls are described before the function can change them."""
        self._summaries = [self._describe(item) for item in self.held]
        for summary in self._summaries:
            self._cache.on_miss(summary)
        self._locks.mark_held_many([item.key for item in self.held])
        return self._call([item.value for item in self.held])

    def checked(self, returned: Any) -> list[Any]:
        """The returned results, as a list.

        Raises:
            BatchError: If there is not one result for each item.
        """
        values = _as_list(returned)
        if values is None or len(values) != len(self.held):
            kind = type(returned).__name__
            an = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
            what = an if values is None else f"{len(values)} results"
            raise BatchError(self._name, len(self.held), what)
        return values

    def on_failure(self, error: Exception, seconds: float) -> None:
        """Record for each item of the current batch that the function raised *error* after *seconds*."""
        for summary in self._summaries:
            self._cache.on_failure(summary, error, seconds)

    def store(self, values: Sequence[Any], seconds: float) -> None:
        """Store and fill in the results of the current batch; those in the index share a transaction.

        Raises:
            Exception: The first error of a result that cannot be stored; all others are stored nevertheless.
        """
        errors: list[Exception] = []
        returned: list[_Returned] = []
        each = seconds / len(self.held)
        for item, summary, value in zip(self.held, self._summaries, values, strict=True):
            try:
                returned.append(_Returned(item, summary, value, self._cache.encode(value)))
            except Exception as error:
                error.add_note(f"it is the result for {summary.input}")
                self._cache.on_failure(summary, error, each)
                errors.append(error)
        group = {
            one.item.key: self._cache.record(one.summary, one.encoded, each)
            for one in returned
            if one.encoded.value is not None and one.item.replaced is None
        }
        if not self._cache.try_write_group(list(group.values())):
            group = {}
        for one in returned:
            try:
                if one.item.key in group:
                    entry: Entry | None = group[one.item.key].entry
                else:
                    entry = self._cache.write(one.summary, one.encoded, each, one.item.replaced)
            except Exception as error:
                errors.append(error)
                continue
            self._fill_in(one, entry)
        if errors:
            raise errors[0]

    def _fill_in(self, one: _Returned, entry: Entry | None) -> None:
        first, *others = one.item.numbers
        self.results[first] = self._cache.returned(one.value, entry)
        for number in others:  # a fresh object each
            again = MISSING if entry is None else self._cache.read(entry)
            self.results[number] = one.value if again is MISSING else again

    def unmark_held(self) -> None:
        """The code that runs from here on does not hold the keys of the current batch."""
        self._locks.unmark_held_many([item.key for item in self.held])

    def release(self) -> list[bytes]:
        """End the current batch; returns its keys, which the caller releases."""
        self.unmark_held()
        keys, self.held = [item.key for item in self.held], []
        return keys


def _as_list(returned: Any) -> list[Any] | None:
    """The results of a batch, in their order; ``None`` for an object without that order (a set, dict, frame)."""
    if not isinstance(returned, Collection) or isinstance(returned, str | bytes | Set) or hasattr(returned, "keys"):
        return None
    try:
        return list(returned)
    except TypeError:  # an array without dimensions
        return None
