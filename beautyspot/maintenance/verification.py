"""Whether what is kept is whole: the index, each row, its blob, and whether it still decodes.

What cannot be looked at because a server does not answer is no damage: looking ends there, with that error. What is
to be dropped is looked at once more with the lock of its key in hand: its call may have run meanwhile.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from beautyspot._internal.text import counted
from beautyspot.db.scanning import iterate_records
from beautyspot.errors import DamagedBlobError, MissingBlobError, StorageError, UnknownTypeError
from beautyspot.maintenance.pruning import drop_keys
from beautyspot.protocols.index import Entry, InDirectory, IntegrityCheck, Record
from beautyspot.protocols.storage import Evicts, MapsBlobs
from beautyspot.results.codec import Codec
from beautyspot.results.signing import is_signed
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results, unreferenced

__all__ = ["Health", "Problem", "verified"]

_PAGE = 200  # rows between two reports
_TOLD = 1000  # faults that are told one by one

UNSEALED = (
    "it is signed with a secret, without which nobody can tell whether it is whole: give secret=, or set "
    "BEAUTYSPOT_SECRET on the command line"
)

ProblemKind = Literal["index", "missing", "damaged", "unsigned", "undecodable", "orphaned"]
# Faults for which a row is dropped: its call would run again in any case. What is undecodable here is whole, and may be
# good to a serializer that only its task knows.
UNRECOVERABLE: tuple[ProblemKind, ...] = ("missing", "damaged")


class Problem(NamedTuple):
    """Something that is not whole.

    Attributes:
        kind: ``"index"``: the index itself; ``"missing"``: a blob is gone; ``"damaged"``: a row or a blob is not what
            was written; ``"unsigned"``: not signed with the secret, or with one that is not given;
            ``"undecodable"``: whole, and no value to the serializer that looks; ``"orphaned"``: a blob that no row
            refers to.
        text: What is wrong.
        key: Of the result, where it is one.
        function: Of the result.
        input: Of the result.
        location: Of the blob, where there is one.
        size: Bytes of the result or the blob.
    """

    kind: ProblemKind
    text: str
    key: bytes | None = None
    function: str = ""
    input: str = ""
    location: str | None = None
    size: int = 0


@dataclass(slots=True)
class Health:
    """What was found.

    Attributes:
        checked: Results that were looked at.
        size: Bytes of them.
        unknown: Whole results of types that are not known here, so that nobody could tell whether they decode.
        evicted: Results whose blobs the storage dropped to keep to its size: their calls run again, nothing is wrong.
        counts: How many faults there are of each kind.
        faults: The first thousand of them.
        place: Of the last result that was looked at, to go on behind it.
        complete: Whether all were looked at.
        mended: Faulty results and orphaned blobs that were dropped.
    """

    checked: int = 0
    size: int = 0
    unknown: int = 0
    evicted: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    place: int = 0
    complete: bool = False
    repaired: int = 0

    def add(self, problem: Problem) -> None:
        """Note a fault."""
        self.counts[problem.kind] += 1
        if len(self.problems) < _TOLD:
            self.problems.append(problem)

    def __bool__(self) -> bool:
        return not self.counts

    def __str__(self) -> str:
        told = [f"{count:,} {kind}" for kind, count in sorted(self.counts.items())]
        found = ", ".join(told) if told else "all whole" if self.complete else "nothing wrong so far"
        more = f", {self.unknown:,} of types that are not known here" if self.unknown else ""
        more += f", {self.evicted:,} of which the storage dropped the blob to keep to its size" if self.evicted else ""
        return f"{counted(self.checked, 'result')} looked at{more}: {found}"


def verified(
    results: Results, codec: Codec, after: int = 0, progress: Callable[[Health], object] | None = None
) -> Iterator[tuple[Health, list[Problem]]]:
    """Look at the index and all its results, a page at a time; what was found so far, and the faults of the page.

    Args:
        results: What to look at.
        form: How values are decoded.
        after: Behind which place to begin, as an earlier `Health` says.
        progress: Told after each page, once whoever asked has done with it.

    Raises:
        StorageError, IndexUnavailableError: If the storage or the index does not answer.
    """
    health = Health(place=after)
    if isinstance(results.db, IntegrityCheck) and not after:
        for text in results.db.problems():
            health.add(Problem("index", text))
    yield health, []
    look = _Look(results, codec)
    rows = iterate_records(results.db, after)
    while page := list(islice(rows, _PAGE)):
        problems = []
        for place, record in page:
            health.checked, health.size, health.place = health.checked + 1, health.size + record.entry.size, place
            problem = look.at(record)
            if problem is not None:
                problems.append(problem)
                health.add(problem)
        health.unknown, health.evicted = look.unknown, look.evicted
        yield health, problems
        if progress is not None:  # only now: what was found on this page is mended, and `place` is one to go on from
            progress(health)
    health.complete = True
    yield health, []


def repair(results: Results, codec: Codec, single_flight: SingleFlight, problems: Iterable[Problem]) -> int:
    """Drop results that are of no use, unless they are kept anew or their calls run just now; how many there were.

    Raises:
        StorageError: If a blob is missing from a storage that holds none at all: it is the wrong one, or not mounted.
    """
    look, dropped = _Look(results, codec), 0
    for problem in problems:
        if (
            problem.kind not in UNRECOVERABLE
            or problem.key is None
            or not single_flight.try_acquire(problem.key, require_index=True)
        ):
            continue
        try:
            entry = results.db.lookup([problem.key]).get(problem.key)
            kind = None if entry is None else look.kind(problem.key, entry)
            if kind is not None and kind[0] in UNRECOVERABLE:
                if kind[0] == "missing":
                    look.refuse_an_empty_storage()
                dropped += drop_keys(results, [problem.key])
        finally:
            single_flight.release(problem.key)
    return dropped


def check_row(entry: Entry) -> None:
    """Compare the checksum of a result that lies in the index itself.

    Raises:
        DamagedBlobError: If it does not fit.
    """
    value = entry.value or b""
    if len(value) != entry.size or zlib.crc32(value).to_bytes(4, "big") != entry.checksum[:4]:
        raise DamagedBlobError("its row is damaged: its checksum does not fit")


class _Look:
    """Looks at one result after the other."""

    def __init__(self, results: Results, codec: Codec) -> None:
        self._results = results
        # Mapped where that can be: a blob of any size then costs no memory.
        self._form = results.codec_for(codec.serializer, mmap=isinstance(results.storage, MapsBlobs))
        self.unknown = self.evicted = 0
        self._has_blobs = False

    def at(self, record: Record) -> Problem | None:
        """What is wrong with a result, if anything is."""
        summary, entry = record.summary, record.entry
        kind = self.kind(summary.key, entry)
        if kind is not None:  # dropped, or kept anew, while it was looked at?
            now = self._results.db.lookup([summary.key]).get(summary.key)
            kind = kind if now == entry else None if now is None else self.kind(summary.key, now)
        if kind is None:
            return None
        return Problem(*kind, summary.key, summary.function, summary.input, entry.location, entry.size)

    def kind(self, key: bytes, entry: Entry) -> tuple[ProblemKind, str] | None:
        """What kind of fault an entry has, if any, and what is wrong."""
        signer = self._results.signer
        if signer is not None:
            bare = signer.verified(key, entry)
            if bare is None:
                return "unsigned", "it is not signed with this project's secret"
            entry = bare
        elif is_signed(entry):
            return "unsigned", UNSEALED
        try:
            self._check(entry)
        except MissingBlobError as error:
            if isinstance(self._results.storage, Evicts):
                self.evicted += 1
                return None
            self._is_the_storage_there(error)
            return "missing", str(error)
        except DamagedBlobError as error:
            return "damaged", str(error)
        except UnknownTypeError:
            self.unknown += 1
        except StorageError:
            raise
        except Exception as error:  # a serializer may raise anything on bytes that are no value of its own
            return "undecodable", str(error) or type(error).__name__
        return None

    def _check(self, entry: Entry) -> None:
        if entry.value is not None:
            check_row(entry)
            self._form.serializer.loads(entry.value)
        elif entry.location is None:
            raise DamagedBlobError("its row has neither a value nor a location")
        else:
            self._form.decode_blob(self._results.blob(entry, self._form.mmap))

    def _is_the_storage_there(self, error: StorageError) -> None:
        """A directory that is not there at all is a wrong path or an unmounted disk, and not a thousand lost blobs."""
        storage = self._results.storage
        if isinstance(storage, InDirectory) and not os.path.isdir(storage.directory):
            raise StorageError(
                f"the results of {self._results.db!r} refer to blobs, and there is no directory {storage.directory}: "
                "give the storage_path of the project"
            ) from error

    def refuse_an_empty_storage(self) -> None:
        """Before a result is dropped for its blob is missing: where all of them are, that says nothing of any."""
        self._has_blobs = self._has_blobs or self._holds_one_of_ours()
        if not self._has_blobs:
            raise StorageError(
                f"blobs are missing, and {self._results.storage!r} holds not one that is of this index, so nothing was "
                "dropped: see that it is the storage_path of the project, and mounted. If they are lost, their calls "
                "run again by themselves, and `prune` drops their rows"
            )

    def _holds_one_of_ours(self) -> bool:
        blobs = self._results.storage.blobs()
        while page := list(islice(blobs, _PAGE)):
            if sum(1 for _ in unreferenced(iter(page), self._results.db)) < len(page):
                return True
        return False
