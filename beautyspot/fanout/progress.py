"""How far a map has come: counts, a bar on a terminal, and a row for viewers."""

from __future__ import annotations

import os
import sys
from time import monotonic, time
from typing import Any

from beautyspot.protocols.index import MapProgress
from beautyspot.results.task_cache import worker

_EVERY = 1.0  # seconds between two rows; a map that is over sooner writes none


class Progress:
    """Counts what a map does.

    Args:
        task: What is mapped.
        total: How many inputs there are, if that is known.
        show: A bar: always, never, or (``None``) on a terminal.
    """

    def __init__(self, task: Any, total: int | None, show: bool | None) -> None:
        self.kept = self.run = self.failed = 0
        self._task = task
        self._total = total
        self._id = os.urandom(8).hex()
        self._started = time()
        self._noted = monotonic()
        self._written = False
        self._bar: Any = None
        if show or (show is None and sys.stderr is not None and sys.stderr.isatty()):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=task.__name__, unit="call")

    def recalled(self, count: int) -> None:
        """*count* inputs were kept already: they do not belong to the rate and the time left."""
        self.kept += count
        if self._bar is not None and count:
            self._bar.initial += count
            self._bar.last_print_n += count
            self._bar.n += count
            self._bar.set_postfix(self._counts(), refresh=True)
        self._note()

    def finished(self, failed: bool) -> None:
        """One input ran."""
        self.run += not failed
        self.failed += failed
        if self._bar is not None:
            self._bar.set_postfix(self._counts(), refresh=False)
            self._bar.update()
        self._note()

    def close(self) -> None:
        """The map is over."""
        if self._bar is not None:
            self._bar.close()
        if self._written:
            self._note(time())

    def _counts(self) -> dict[str, int]:
        return {"kept": self.kept, "run": self.run, "failed": self.failed}

    def _note(self, ended: float | None = None) -> None:
        now = monotonic()
        if now - self._noted < _EVERY and ended is None:
            return
        self._noted, self._written = now, True
        name = self._task._keyer.function_name
        counts = (self._total, self.kept, self.run, self.failed)
        self._task._cache.note_map(MapProgress(self._id, name, *counts, self._started, time(), ended, worker()))
