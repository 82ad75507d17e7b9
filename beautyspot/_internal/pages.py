"""Pages: any number of rows, walked through some at a time, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def pages(rows: Iterable[T], size: int, progress: Callable[[int], object] | None = None) -> Iterator[list[T]]:
    """Lists of *size* rows each, the last one perhaps shorter; a page is read when it is asked for.

    Args:
        rows: What to walk through.
        size: The number of rows of a page.
        progress: Called with the number of rows of each page, once the caller has done with it.
    """
    rows = iter(rows)
    while page := list(islice(rows, size)):
        yield page
        if progress is not None:
            progress(len(page))
