"""HealthView: verification of cached results on demand, with progress, and repair if that is allowed."""

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

_SHOWN = 200  # problems that are listed

_MEANS = {
    "index": "problems of the index itself",
    "missing": "results whose blob is gone",
    "damaged": "results that are not what was written",
    "unsigned": "results that are not signed with the secret",
    "incomplete": "results that no longer make a whole object: the fields of its class have changed",
    "undecodable": "whole results that cannot be decoded here: of a task with its own serializer, or unusable",
    "orphaned": "blobs that no result refers to",
}


class _Stopped(Exception):
    """The user stopped the check."""


class HealthView(pn.viewable.Viewer):
    """Checks the index, every result and its blob, and finds blobs that no result refers to."""

    busy = param.Boolean(default=False)

    def __init__(self, source: Source, **params: Any) -> None:
        self._source = source
        self._stop = False
        self._so_far: Health | None = None
        self._total = -1
        self._check = button("Check everything")
        self._cancel = button("Stop", disabled=True)
        self._fix = button("Delete unusable results", color="error", visible=False)
        self._sure = False
        self._page = Markup(
            markup.block(markup.note("Reads every result once, and compares checksums. A check changes nothing."))
        )
        super().__init__(**params)
        self._check.on_click(self._on_check)
        self._cancel.on_click(self._on_cancel)
        self._fix.on_click(self._on_fix)

    def __panel__(self) -> Any:
        return pn.Column(pn.Row(self._check, self._cancel, self._fix), self._page, sizing_mode="stretch_width")

    async def _on_check(self, _: Any) -> None:
        await self.check()

    def _on_cancel(self, _: Any) -> None:
        self._stop = True

    async def _on_fix(self, _: Any) -> None:
        if not self._sure:
            self._sure = True
            self._fix.label = "Really delete them? The next calls run again"
            return
        await self.check(fix=True)

    async def check(self, fix: bool = False) -> None:
        """Check everything, and repair it if *fix*."""
        if self.busy:
            return
        self.busy, self._stop, self._so_far, self._sure = True, False, None, False
        self._check.disabled, self._cancel.disabled = True, False
        self._fix.param.update(visible=False, label="Delete unusable results")
        try:
            self._total = await self._source.count(Selection())
            health = await self._source.run(self._source.maintenance.verify, fix=fix, progress=self._progress)
            self._page.object = markup.block(_health(health))
            faulty = any(health.counts[kind] for kind in (*UNRECOVERABLE, "orphaned"))
            self._fix.visible = self._source.allow_delete and faulty and not fix
        except _Stopped:
            self._page.object = markup.block(markup.note("Stopped.") + (_health(self._so_far) if self._so_far else ""))
        except BeautyspotError as error:
            self._page.object = markup.block(markup.note(str(error), "failed"))
        finally:
            self.busy = False
            self._check.disabled, self._cancel.disabled = False, True

    def _progress(self, health: Health) -> None:
        """Called from the thread that checks."""
        self._so_far = health
        if self._stop:
            raise _Stopped

    def tick(self) -> None:
        """Show the progress of the check."""
        health = self._so_far
        if self.busy and health is not None:
            share = health.checked / self._total if self._total > 0 else None
            self._page.object = markup.block(markup.meter(share, "checked") + _health(health))


def _health(health: Health) -> str:
    summed = ", ".join(f"{count:,} {_MEANS[kind]}" for kind, count in sorted(health.counts.items()) if count)
    head = f"{health.checked:,} results checked, {markup.size_text(health.size)}. "
    if not summed:
        head += "All of them are whole." if health.complete else "Nothing wrong so far."
    html = markup.note(head) + (markup.note(summed, "failed") if summed else "")
    if health.unknown:
        html += markup.note(f"{health.unknown:,} are of types that are not known here and were not decoded.")
    if health.repaired:
        html += markup.note(f"{health.repaired:,} were deleted.")
    if not health.problems:
        return html
    rows = [(f.kind, f.function, f.input, f.key.hex()[:12] if f.key else "", f.text) for f in health.problems[:_SHOWN]]
    more = markup.note(f"the first {_SHOWN} of {health.counts.total():,}") if health.counts.total() > _SHOWN else ""
    return html + markup.grid(("What", "Function", "Input", "Key", "Why"), rows) + more
