"""BatchRun: one list of a batch task on its way, whoever drives it.

The items of the list that are not kept run in batches. A batch takes the keys of its items without waiting, so that
two lists that have items in common never wait for each other in a circle; what someone else has is waited for while
nothing is held. A thread drives it by blocking, an event loop by awaiting: see `batch_task`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from beautyspot.errors import BatchError
from beautyspot.keys.keyer import KeyedCall
from beautyspot.protocols.index import Entry, Record, Summary
from beautyspot.protocols.storage import MapsBlobs
from beautyspot.results.codec import EncodedResult
from beautyspot.results.store import MISSING, is_expired

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]

_READERS = 8  # blobs that are read at a time where they come over a network


@dataclass(slots=True)
class Item:
    """One item of a list, and the numbers of those that are equal to it."""

    value: Any
    key: bytes
    parts: list[bytes]
    numbers: list[int]
    replaced: str | None = None  # the blob of a result that is to be replaced


@dataclass(slots=True)
class _Returned:
    """What a batch returned for one item."""

    item: Item
    summary: Summary
    value: Any
    encoded: EncodedResult


class BatchRun:
    """One list of a batch task on its way.

    Args:
        task: The task.
        call: Gives the arguments of a call whose list is as given; for keys and viewers, of one whose list is an item.
        count: How many results there are to be.
        fresh: Whether kept results are to be replaced.

    Attributes:
        results: By number; ``MISSING`` where there is none yet.
        held: Items of the batch in hand, whose keys are ours.
    """

    def __init__(self, task: Any, call: Callable[[Any], Arguments], count: int, fresh: bool = False) -> None:
        self._cache = task._cache
        self._single_flight = task._single_flight
        self._size: int = task.options.size
        self._name: str = task.function_name
        self._call = call
        self._fresh = fresh
        self._queue: deque[Item] = deque()
        self._elsewhere: deque[Item] = deque()  # whose keys someone else has
        self._summaries: list[Summary] = []
        self.results: list[Any] = [MISSING] * count
        self.held: list[Item] = []

    def enlist(self, items: Sequence[Item]) -> None:
        """Have *items* run, unless they are kept when their turn comes."""
        self._queue.extend(items)

    def recall(self, items: Sequence[Item]) -> None:
        """Read those *items* that are kept, and enlist the others."""
        entries = self._cache.results.find_many([item.key for item in items])
        there = self._read([(item, entries[item.key]) for item in items if item.key in entries])
        self.enlist([item for item in items if item.key not in there])

    def _read(self, found: Sequence[tuple[Item, Entry]]) -> set[bytes]:
        """Fill in the results of *found*, a fresh one for each number; the keys of those that could be read."""
        wanted = [(number, item, entry) for item, entry in found for number in item.numbers]
        keys = [item.key for _, item, _ in wanted]
        entries = [entry for _, _, entry in wanted]
        far = not isinstance(self._cache.results.storage, MapsBlobs)
        if far and sum(entry.value is None for entry in entries) > 1:
            from concurrent.futures import ThreadPoolExecutor  # as in `results._log`: slow to import

            with ThreadPoolExecutor(_READERS, "beautyspot-read") as readers:
                values = list(readers.map(self._cache.read, entries, keys))
        else:
            values = list(map(self._cache.read, entries, keys))
        for (number, _, _), value in zip(wanted, values, strict=True):
            self.results[number] = value
        return {item.key for _, item, _ in wanted if all(self.results[n] is not MISSING for n in item.numbers)}

    def is_over(self) -> bool:
        """Whether every item has its result."""
        return not self._queue and not self._elsewhere

    def take(self) -> bool:
        """Take the next batch: items that nobody has and that are not kept; whether there are any."""
        while self._queue and len(self.held) < self._size:
            room = min(self._size - len(self.held), len(self._queue))
            some = [self._queue.popleft() for _ in range(room)]
            free = self._single_flight.try_acquire_many([item.key for item in some], anyway=True)
            mine = [item for item in some if item.key in free]
            self.held += mine
            self._elsewhere += [item for item in some if item.key not in free]
            self._drop_kept(mine)
        return bool(self.held)

    def _drop_kept(self, mine: Sequence[Item]) -> None:
        """Read what someone kept before we had its key."""
        raw = self._cache.results.find_raw([item.key for item in mine])
        for item in mine:
            item.replaced = raw[item.key].location if item.key in raw else None
        found = [(item, raw[item.key]) for item in mine if item.key in raw and not is_expired(raw[item.key])]
        there = set() if self._fresh else self._read(found)
        self.held = [item for item in self.held if item.key not in there]
        if there:
            self._single_flight.release_many(list(there))

    def waits_for(self) -> Summary:
        """The call to wait for, where all that is left is someone else's; what is left is asked for again then."""
        self._queue, self._elsewhere = self._elsewhere, deque()
        return self._describe(self._queue[0])

    def _describe(self, item: Item) -> Summary:
        summary: Summary = self._cache.describe(KeyedCall(item.key, item.parts, *self._call(item.value)))
        return summary

    def begin(self) -> Arguments:
        """The arguments of the batch in hand; it is described before the function may change them."""
        self._summaries = [self._describe(item) for item in self.held]
        for summary in self._summaries:
            self._cache.begin(summary)
        self._single_flight.mark_held_many([item.key for item in self.held])
        return self._call([item.value for item in self.held])

    def checked(self, returned: Any) -> list[Any]:
        """What the function returned, as a list.

        Raises:
            BatchError: If that is not one result for each item.
        """
        values = _as_list(returned)
        if values is None or len(values) != len(self.held):
            kind = type(returned).__name__
            an = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
            what = an if values is None else f"{len(values)} results"
            raise BatchError(self._name, len(self.held), what)
        return values

    def failed(self, error: Exception, seconds: float) -> None:
        """Note that the batch in hand failed, for each of its items."""
        for summary in self._summaries:
            self._cache.failed(summary, error, seconds)

    def keep(self, values: Sequence[Any], seconds: float) -> None:
        """Keep what the batch in hand returned, rows in one transaction, and fill it in.

        Raises:
            Exception: The first of a result that could not be kept and must be; the others are kept all the same.
        """
        errors: list[Exception] = []
        returned: list[_Returned] = []
        each = seconds / len(self.held)
        for item, summary, value in zip(self.held, self._summaries, values, strict=True):
            try:
                returned.append(_Returned(item, summary, value, self._cache.encode(value)))
            except Exception as error:
                error.add_note(f"it is the result for {summary.input}")
                self._cache.failed(summary, error, each)
                errors.append(error)
        rows = [one for one in returned if one.encoded.value is not None and one.item.replaced is None]
        together = self._kept_together(rows, each)
        for one in returned:
            entry = together.get(one.item.key)
            try:
                entry = entry or self._cache.write(one.summary, one.encoded, each, one.item.replaced)
            except Exception as error:
                errors.append(error)
                continue
            self._fill_in(one, entry)
        if errors:
            raise errors[0]

    def _kept_together(self, rows: Collection[_Returned], seconds: float) -> dict[bytes, Entry]:
        if not rows:
            return {}
        records: list[Record] = [self._cache.record(one.summary, one.encoded, seconds) for one in rows]
        try:
            self._cache.write_together(records)
        except Exception:  # one of them may be the reason, and is told of when each is kept for itself
            return {}
        return {record.summary.key: record.entry for record in records}

    def _fill_in(self, one: _Returned, entry: Entry | None) -> None:
        first, *others = one.item.numbers
        self.results[first] = one.value
        for number in others:  # to each a fresh one
            again = MISSING if entry is None else self._cache.read(entry)
            self.results[number] = one.value if again is MISSING else again

    def unmark_held(self) -> None:
        """Say that the code which runs from here on does not have the keys of the batch in hand."""
        self._single_flight.unmark_held_many([item.key for item in self.held])

    def release(self) -> list[bytes]:
        """The keys of the batch in hand, which is over; someone will land them."""
        self.unmark_held()
        keys, self.held = [item.key for item in self.held], []
        return keys


def _as_list(returned: Any) -> list[Any] | None:
    """The results of a batch, in their order; ``None`` for what has no order, or another one (a dict, a frame)."""
    if not isinstance(returned, Collection) or isinstance(returned, str | bytes | Set) or hasattr(returned, "keys"):
        return None
    try:
        return list(returned)
    except TypeError:  # an array without dimensions
        return None
