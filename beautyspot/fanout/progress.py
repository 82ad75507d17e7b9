"""Progress: the counts of a map, its bar on a terminal, and its row for viewers."""

from __future__ import annotations

import os
import sys
from time import monotonic, time
from typing import Any

from beautyspot.protocols.index import MapProgress
from beautyspot.results.task_cache import worker
from beautyspot.tasks.core import BaseCore

_EVERY = 1.0  # seconds between two updates of the row; a shorter map writes none


class Progress:
    """Counts the calls of a map.

    Args:
        core: The core of the task.
        total: The number of inputs, if that is known.
        show: Whether to draw a bar; ``None``: on a terminal.

    Attributes:
        kept: Inputs whose results were cached.
        run: Inputs whose calls ran.
        failed: Inputs whose calls failed.
    """

    def __init__(self, core: BaseCore, total: int | None, show: bool | None) -> None:
        self.kept = self.run = self.failed = 0
        self._core = core
        self._total = total
        self._id = os.urandom(8).hex()
        self._started = time()
        self._updated = monotonic()
        self._has_row = False
        self._bar: Any = None
        if show or (show is None and sys.stderr is not None and sys.stderr.isatty()):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=core.short_name, unit="call")

    def on_hits(self, count: int) -> None:
        """*count* results were cached; they count neither for the rate nor for the remaining time."""
        self.kept += count
        if self._bar is not None and count:
            self._bar.initial += count
            self._bar.last_print_n += count
            self._bar.n += count
            self._bar.set_postfix(self._counts(), refresh=True)
        self._update_row()

    def on_finished(self, failed: bool) -> None:
        """The call of one input has ended."""
        self.run += not failed
        self.failed += failed
        if self._bar is not None:
            self._bar.set_postfix(self._counts(), refresh=False)
            self._bar.update()
        self._update_row()

    def close(self) -> None:
        """Remove the bar, and mark the row as ended."""
        if self._bar is not None:
            self._bar.close()
        if self._has_row:
            self._update_row(time())

    def _counts(self) -> dict[str, int]:
        return {"kept": self.kept, "run": self.run, "failed": self.failed}

    def _update_row(self, ended: float | None = None) -> None:
        now = monotonic()
        if now - self._updated < _EVERY and ended is None:
            return
        self._updated, self._has_row = now, True
        counts = (self._total, self.kept, self.run, self.failed)
        progress = MapProgress(self._id, self._core.name, *counts, self._started, time(), ended, worker())
        self._core.cache.record_map(progress)
