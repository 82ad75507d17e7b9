"""Verification of cached results: the index, each row, its blob, and whether it still decodes.

A server that does not answer is not damage: the check ends with its error. A result that is to be deleted is checked
once more under the lock of its key, since its call may have run meanwhile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from beautyspot._internal.pages import pages
from beautyspot._internal.text import counted
from beautyspot.db.scanning import iterate_records
from beautyspot.errors import ChangedClassError, DamagedBlobError, MissingBlobError, StorageError, UnknownTypeError
from beautyspot.maintenance.pruning import delete_keys
from beautyspot.protocols.index import Entry, InDirectory, IntegrityCheck, Record
from beautyspot.protocols.storage import Evicts, MapsBlobs
from beautyspot.results.codec import Codec
from beautyspot.results.signing import is_signed, without_signature
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results, unreferenced

__all__ = ["Health", "Problem", "verified"]

_PAGE = 200  # rows between two reports
_LISTED = 1000  # problems that are listed one by one

UNSEALED = (
    "it is signed with a secret, without which it cannot be checked: give secret=, or set "
    "BEAUTYSPOT_SECRET on the command line"
)

ProblemKind = Literal["index", "missing", "damaged", "unsigned", "undecodable", "incomplete", "orphaned"]
# Problems for which a row is deleted: its call would run again in any case. An undecodable result is whole, and a
# serializer that only its task knows may decode it; for an incomplete one, its class may get its field back.
UNRECOVERABLE: tuple[ProblemKind, ...] = ("missing", "damaged")


class Problem(NamedTuple):
    """A problem with the index, a result or a blob.

    Attributes:
        kind: ``"index"``: the index itself is damaged; ``"missing"``: a blob is gone; ``"damaged"``: a row or a blob is
            not what was written; ``"unsigned"``: a result is not signed with the secret, or no secret was given;
            ``"undecodable"``: a result is whole, but the serializer cannot decode it; ``"incomplete"``: it no longer
            makes a whole object of its class; ``"orphaned"``: no row refers to a blob.
        text: A sentence that says what is wrong.
        key: The key of the result; ``None`` if there is none.
        function: The function of the result.
        input: The arguments of the result, as viewers show them.
        location: The location of the blob; ``None`` if there is none.
        size: The size of the result or the blob in bytes.
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
    """The outcome of a check; true if there is no problem.

    Attributes:
        checked: The number of results that were checked.
        size: Their size in bytes.
        unknown: The number of whole results of types that are not known here, so that they were not decoded.
        evicted: The number of results whose blobs the storage evicted by itself: their calls run again, nothing is
            wrong.
        counts: The number of problems of each kind.
        problems: The first thousand problems.
        place: The place of the last result that was checked, after which the check can continue.
        complete: Whether all results were checked.
        repaired: The number of unusable results and orphaned blobs that were deleted.
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
        """Count a problem, and list it if there is room."""
        self.counts[problem.kind] += 1
        if len(self.problems) < _LISTED:
            self.problems.append(problem)

    def __bool__(self) -> bool:
        return not self.counts

    def __str__(self) -> str:
        counts = [f"{count:,} {kind}" for kind, count in sorted(self.counts.items())]
        found = ", ".join(counts) if counts else "all whole" if self.complete else "nothing wrong so far"
        more = f", {self.unknown:,} of types that are not known here" if self.unknown else ""
        more += f", {self.evicted:,} whose blob the storage evicted" if self.evicted else ""
        return f"{counted(self.checked, 'result')} checked{more}: {found}"


def verified(
    results: Results, codec: Codec, after: int = 0, progress: Callable[[Health], object] | None = None
) -> Iterator[tuple[Health, list[Problem]]]:
    """Check the index and all its results; yields, for each page, the health so far and the problems of the page.

    Args:
        results: The index and its blobs.
        codec: The codec that decodes values.
        after: The place after which to begin: ``place`` of an earlier `Health`.
        progress: Called after each page, once the caller has done with it.

    Raises:
        StorageError, IndexUnavailableError: If the storage or the index does not answer.
    """
    health = Health(place=after)
    if isinstance(results.db, IntegrityCheck) and not after:
        for text in results.db.problems():
            health.add(Problem("index", text))
    yield health, []
    checker = _Checker(results, codec)
    for page in pages(iterate_records(results.db, after), _PAGE):
        problems = []
        for place, record in page:
            health.checked, health.size, health.place = health.checked + 1, health.size + record.entry.size, place
            problem = checker.check(record)
            if problem is not None:
                problems.append(problem)
                health.add(problem)
        health.unknown, health.evicted = checker.unknown, checker.evicted
        yield health, problems
        if progress is not None:  # now the problems of this page are repaired, and a check can continue at `place`
            progress(health)
    health.complete = True
    yield health, []


def repair(results: Results, codec: Codec, single_flight: SingleFlight, problems: Iterable[Problem]) -> int:
    """Delete unusable results, unless they were stored anew or their keys are locked; returns how many were deleted.

    Raises:
        StorageError: If a blob is missing and the storage holds no blob at all: it is the wrong one, or not mounted.
    """
    checker, deleted = _Checker(results, codec), 0
    for problem in problems:
        if (
            problem.kind not in UNRECOVERABLE
            or problem.key is None
            or not single_flight.try_acquire(problem.key, require_index=True)
        ):
            continue
        try:
            entry = results.db.lookup([problem.key]).get(problem.key)
            kind = None if entry is None else checker.kind_of(problem.key, entry)
            if kind is not None and kind[0] in UNRECOVERABLE:
                if kind[0] == "missing":
                    checker.refuse_an_empty_storage()
                deleted += delete_keys(results, [problem.key])
        finally:
            single_flight.release(problem.key)
    return deleted


def check_row(entry: Entry) -> None:
    """Compare the checksum of a result that is stored in the index itself.

    Raises:
        DamagedBlobError: If it differs.
    """
    if len(entry.value or b"") != entry.size or not without_signature(entry).is_intact():
        raise DamagedBlobError("its row is damaged: its checksum does not fit")


class _Checker:
    """Checks one result after the other."""

    def __init__(self, results: Results, codec: Codec) -> None:
        self._results = results
        # Mapped where that can be: a blob of any size then costs no memory.
        self._codec = results.codec_for(codec.serializer, mmap=isinstance(results.storage, MapsBlobs))
        self.unknown = self.evicted = 0
        self._has_blobs = False

    def check(self, record: Record) -> Problem | None:
        """The problem of a result; ``None`` if it has none."""
        summary, entry = record.summary, record.entry
        kind = self.kind_of(summary.key, entry)
        if kind is not None:  # deleted, or stored anew, during the check?
            now = self._results.db.lookup([summary.key]).get(summary.key)
            kind = kind if now == entry else None if now is None else self.kind_of(summary.key, now)
        if kind is None:
            return None
        return Problem(*kind, summary.key, summary.function, summary.input, entry.location, entry.size)

    def kind_of(self, key: bytes, entry: Entry) -> tuple[ProblemKind, str] | None:
        """The kind of an entry's problem and a sentence about it; ``None`` if it has none."""
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
            self._check_storage_exists(error)
            return "missing", str(error)
        except DamagedBlobError as error:
            return "damaged", str(error)
        except UnknownTypeError:
            self.unknown += 1
        except ChangedClassError as error:
            return "incomplete", f"it no longer makes a whole object: {error}"
        except StorageError:
            raise
        except Exception as error:  # a serializer may raise anything on bytes that it did not write
            return "undecodable", str(error) or type(error).__name__
        return None

    def _check(self, entry: Entry) -> None:
        if entry.value is not None:
            check_row(entry)
            self._codec.serializer.loads(entry.value)
        elif entry.location is None:
            raise DamagedBlobError("its row has neither a value nor a location")
        else:
            self._codec.decode_blob(self._results.blob(entry, self._codec.mmap))

    def _check_storage_exists(self, error: StorageError) -> None:
        """Refuse a missing directory: that is a wrong path or an unmounted disk, not a thousand lost blobs."""
        storage = self._results.storage
        if isinstance(storage, InDirectory) and not os.path.isdir(storage.directory):
            raise StorageError(
                f"the results of {self._results.db!r} have blobs, but there is no directory {storage.directory}: "
                "give the storage_path of the project"
            ) from error

    def refuse_an_empty_storage(self) -> None:
        """Refuse to delete results for missing blobs if all blobs are missing: the storage may be the wrong one."""
        self._has_blobs = self._has_blobs or self._holds_one_of_ours()
        if not self._has_blobs:
            raise StorageError(
                f"blobs are missing, and {self._results.storage!r} has no blob of this index, so nothing was deleted: "
                "check that it is the storage_path of the project, and mounted. If the blobs are lost, their calls run "
                "again by themselves, and `prune` deletes their rows"
            )

    def _holds_one_of_ours(self) -> bool:
        for page in pages(self._results.storage.blobs(), _PAGE):
            if sum(1 for _ in unreferenced(iter(page), self._results.db)) < len(page):
                return True
        return False
