"""Deleting cached results: rows first, then their blobs, a page at a time, so that it may be stopped anywhere.

A blob is garbage only if no row refers to it, it is old enough, and its key is not locked: a writer holds the lock of
the key from before it writes the blob until the row is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from beautyspot._internal.pages import pages
from beautyspot._internal.text import counted
from beautyspot.db.scanning import is_selected
from beautyspot.errors import StorageError
from beautyspot.protocols.index import Entry, Selection, Summary
from beautyspot.results.store import Results

__all__ = [
    "PruneReport",
]

_PAGE = 500  # results that are deleted together

Progress = Callable[[int], object]


class PruneReport(NamedTuple):
    """What was deleted.

    Attributes:
        results: The number of results.
        size: Their size in bytes.
        failures: The number of recorded failures.
    """

    results: int
    size: int
    failures: int = 0

    def __str__(self) -> str:
        failures = [counted(self.failures, "failure")] if self.failures else []
        results = [counted(self.results, "result")] if self.results or not failures else []
        return " and ".join(results + failures)


def delete_selected(results: Results, selection: Selection, progress: Progress | None = None) -> PruneReport:
    """Delete the results of a selection.

    Args:
        results: The index and its blobs.
        selection: The conditions; the status is not ``"failed"``.
        progress: Called with the number of results that were checked since its last call.
    """
    deleted, size = 0, 0
    for page in pages(results.db.summaries(selection.function), _PAGE, progress):
        chosen = [row for row in page if is_selected(row, selection)]
        deleted += delete_keys(results, [row.key for row in chosen])
        size += sum(row.size for row in chosen)
    return PruneReport(deleted, size)


def delete_keys(results: Results, keys: list[bytes]) -> int:
    """Delete the results of *keys*, whatever their signatures; returns how many there were."""
    return delete_entries(results, results.db.lookup(keys)) if keys else 0


def delete_entries(results: Results, entries: Mapping[bytes, Entry]) -> int:
    """Delete the results of *entries*, given by key; returns how many there were."""
    deleted = results.db.delete(list(entries)) if entries else 0
    for entry in entries.values():
        if entry.location is not None:
            try:
                results.storage.delete(entry.location)
            except StorageError as error:  # then it is garbage, which does no harm and is found by `gc`
                logging.getLogger("beautyspot").warning("cannot delete the blob %s: %s", entry.location, error)
    return deleted


def selected(results: Results, selection: Selection) -> Iterator[Summary]:
    """The results of a selection, newest first, in bounded memory."""
    return (row for row in results.db.summaries(selection.function) if is_selected(row, selection))
