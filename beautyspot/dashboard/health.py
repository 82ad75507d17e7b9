"""HealthView: whether what is kept is whole; looked at on demand, with progress, and mended where that is allowed."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

from beautyspot.dashboard import markup
from beautyspot.dashboard.queries import Source
from beautyspot.dashboard.widgets import Markup, button
from beautyspot.errors import BeautyspotError
from beautyspot.maintenance.verification import UNRECOVERABLE, Health
from beautyspot.protocols.index import Selection

__all__ = ["HealthView"]

_SHOWN = 200  # faults

_MEANS = {
    "index": "the index itself is unsound",
    "missing": "results whose blob is gone",
    "damaged": "results that are not what was written",
    "unsigned": "results that are not signed with the secret",
    "undecodable": "whole results that cannot be decoded here: of a serializer of a task's own, or of no use",
    "orphaned": "blobs that no result refers to",
}


class _Stopped(Exception):
    """Looking was stopped by whoever looks."""


class HealthView(pn.viewable.Viewer):
    """Looks at the index, at every result and its blob, and for blobs that nothing refers to."""

    busy = param.Boolean(default=False)

    def __init__(self, source: Source, **params: Any) -> None:
        self._source = source
        self._stop = False
        self._so_far: Health | None = None
        self._total = -1
        self._check = button("Check everything")
        self._cancel = button("Stop", disabled=True)
        self._fix = button("Drop what is of no use", color="error", visible=False)
        self._sure = False
        self._told = Markup(
            markup.block(markup.note("Reads every result once, and compares checksums. Nothing is changed by looking."))
        )
        super().__init__(**params)
        self._check.on_click(self._on_check)
        self._cancel.on_click(self._on_cancel)
        self._fix.on_click(self._on_fix)

    def __panel__(self) -> Any:
        return pn.Column(pn.Row(self._check, self._cancel, self._fix), self._told, sizing_mode="stretch_width")

    async def _on_check(self, _: Any) -> None:
        await self.check()

    def _on_cancel(self, _: Any) -> None:
        self._stop = True

    async def _on_fix(self, _: Any) -> None:
        if not self._sure:
            self._sure = True
            self._fix.label = "Really drop it? Those calls run again when they are next called for"
            return
        await self.check(fix=True)

    async def check(self, fix: bool = False) -> None:
        """Look at everything, and mend it if *fix*."""
        if self.busy:
            return
        self.busy, self._stop, self._so_far, self._sure = True, False, None, False
        self._check.disabled, self._cancel.disabled = True, False
        self._fix.param.update(visible=False, label="Drop what is of no use")
        try:
            self._total = await self._source.count(Selection())
            health = await self._source.run(self._source.maintenance.verify, fix=fix, progress=self._progress)
            self._told.object = markup.block(_health(health))
            faulty = any(health.counts[kind] for kind in (*UNRECOVERABLE, "orphaned"))
            self._fix.visible = self._source.allow_delete and faulty and not fix
        except _Stopped:
            self._told.object = markup.block(markup.note("Stopped.") + (_health(self._so_far) if self._so_far else ""))
        except BeautyspotError as error:
            self._told.object = markup.block(markup.note(str(error), "failed"))
        finally:
            self.busy = False
            self._check.disabled, self._cancel.disabled = False, True

    def _progress(self, health: Health) -> None:
        """Called from the thread that looks."""
        self._so_far = health
        if self._stop:
            raise _Stopped

    def tick(self) -> None:
        """Show how far looking has come."""
        health = self._so_far
        if self.busy and health is not None:
            share = health.checked / self._total if self._total > 0 else None
            self._told.object = markup.block(markup.meter(share, "checked") + _health(health))


def _health(health: Health) -> str:
    summed = ", ".join(f"{count:,} {_MEANS[kind]}" for kind, count in sorted(health.counts.items()) if count)
    head = f"{health.checked:,} results looked at, {markup.size_text(health.size)}. "
    if not summed:
        head += "All of them are whole." if health.complete else "Nothing wrong so far."
    told = markup.note(head) + (markup.note(summed, "failed") if summed else "")
    if health.unknown:
        told += markup.note(f"{health.unknown:,} are of types that are not known here, and may be as they should.")
    if health.repaired:
        told += markup.note(f"{health.repaired:,} were dropped.")
    if not health.problems:
        return told
    rows = [(f.kind, f.function, f.input, f.key.hex()[:12] if f.key else "", f.text) for f in health.problems[:_SHOWN]]
    more = markup.note(f"the first {_SHOWN} of {health.counts.total():,}") if health.counts.total() > _SHOWN else ""
    return told + markup.grid(("What", "Function", "Input", "Key", "Why"), rows) + more
