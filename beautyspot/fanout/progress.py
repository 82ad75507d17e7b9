"""Progress: the counts of a map, what shows them, and its row for viewers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from beautyspot._internal.text import seconds_text
from beautyspot.protocols.index import MapProgress
from beautyspot.results.task_cache import worker
from beautyspot.tasks.core import BaseCore

_EVERY = 1.0  # seconds between two updates of the row; a shorter map writes none
_LINE_EVERY = 30.0  # seconds between two lines where there is no terminal; a shorter map writes none


class Progress:
    """Counts the calls of a map, and shows the counts: what only shows never fails a call.

    Args:
        core: The core of the task.
        total: The number of inputs, if that is known.
        show: Whether to draw a bar; ``None``: on a terminal, and elsewhere to write a line now and then.

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
        self._updated = self._began = self._shown = monotonic()
        self._has_row = self._has_lines = False
        self._bar: Any = None
        self._writes_lines = show is None
        if show is not False:
            self._show(lambda: self._draw(show is True))

    def _draw(self, always: bool) -> None:
        if always or (sys.stderr is not None and sys.stderr.isatty()):
            from tqdm.auto import tqdm

            self._writes_lines = False
            self._bar = tqdm(total=self._total, desc=self._core.short_name, unit="call")

    def _show(self, write: Callable[[], None]) -> None:
        """Call *write*; nothing is shown any more once that fails, as where standard error is closed."""
        try:
            write()
        except Exception:
            self._writes_lines = False
            bar, self._bar = self._bar, None
            if bar is not None:
                bar.disable = True  # it would try once more when it is deleted

    def on_hits(self, count: int) -> None:
        """*count* results were cached; they count neither for the rate nor for the remaining time."""
        self.kept += count
        if self._bar is not None and count:
            self._show(lambda: self._advance(count))
        self._on_change()

    def _advance(self, count: int) -> None:
        self._bar.initial += count
        self._bar.last_print_n += count
        self._bar.n += count
        self._bar.set_postfix(self._counts(), refresh=True)

    def on_finished(self, failed: bool) -> None:
        """The call of one input has ended."""
        self.run += not failed
        self.failed += failed
        if self._bar is not None:
            self._show(self._step)
        self._on_change()

    def _step(self) -> None:
        self._bar.set_postfix(self._counts(), refresh=False)
        self._bar.update()

    def _on_change(self) -> None:
        self._update_row()
        if self._writes_lines and monotonic() - self._shown >= _LINE_EVERY:
            self._shown, self._has_lines = monotonic(), True
            self._show(self._write_line)

    def _write_line(self) -> None:
        # None where there is no standard error, as below pythonw or a service.
        if sys.stderr is not None:
            sys.stderr.write(self._line() + "\n")
            sys.stderr.flush()

    def _line(self) -> str:
        done, took = self.kept + self.run + self.failed, monotonic() - self._began
        of = "" if self._total is None else f" of {self._total:,}"
        counts = ", ".join(f"{count:,} {name}" for name, count in self._counts().items())
        line = f"{self._core.short_name}: {done:,}{of} after {seconds_text(took)} ({counts})"
        ran = self.run + self.failed
        if self._total is None or done >= self._total or not ran:
            return line
        return f"{line}, about {seconds_text(took / ran * (self._total - done))} left"

    def close(self) -> None:
        """Remove the bar or write the last line, and mark the row as ended."""
        if self._bar is not None:
            self._show(self._bar.close)
        if self._has_lines and self._writes_lines:
            self._show(self._write_line)
            self._has_lines = False
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
