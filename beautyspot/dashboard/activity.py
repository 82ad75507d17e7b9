"""FunctionsView: the results of each function, and when they were stored. MapsView: the progress of maps."""

from __future__ import annotations

import time
from html import escape
from typing import Any

import panel as pn
import param

from beautyspot.dashboard import markup
from beautyspot.dashboard.queries import Source
from beautyspot.dashboard.widgets import Markup, labelled
from beautyspot.errors import BeautyspotError
from beautyspot.protocols.index import FunctionSummary, MapProgress
from beautyspot.protocols.records import SILENT

__all__ = ["FunctionsView", "MapsView"]

_PERIODS = {"Last hour": 3600.0, "Last day": 86400.0, "Last week": 7 * 86400.0, "Last 90 days": 90 * 86400.0}
_BINS = 60
_SHOWN = 50  # maps that are listed


class FunctionsView(pn.viewable.Viewer):
    """For each function and version: results, bytes, failures, and the seconds that computing took and hits save."""

    period: Any = param.Selector(default="Last week", objects=list(_PERIODS))

    def __init__(self, source: Source, **params: Any) -> None:
        self._source = source
        self._chart = Markup(markup.block(markup.note("Counting …")))
        self._table = Markup()
        super().__init__(**params)
        self._select = labelled("Select", "Activity", list(_PERIODS), value=self.period, width=200)
        self._select.link(self, value="period")

    def __panel__(self) -> Any:
        return pn.Column(self._select, self._chart, self._table, sizing_mode="stretch_width", margin=(8, 0))

    @param.depends("period", watch=True)
    async def refresh(self) -> None:
        """Sum up again, if there are new results."""
        seconds, now = _PERIODS[self.period], time.time()
        try:
            results, failures = await self._source.activity(now - seconds, now, _BINS)
            self._chart.object = markup.block(markup.bars(results, failures, now - seconds, now))
            self._table.object = markup.block(_functions(await self._source.functions()))
        except BeautyspotError as error:
            self._table.object = markup.block(markup.note(str(error), "failed"))


def _functions(found: list[FunctionSummary]) -> str:
    columns = ["Function", "Version", "Results", "Size", "Total time", "Mean", "Failures", "Latest"]
    rows = [
        (
            f.function,
            f.version,
            f"{f.results:,}",
            markup.size_text(f.size),
            markup.seconds_text(f.seconds),
            markup.seconds_text(f.seconds / f.results) if f.results else "",
            f"{f.failures:,}" if f.failures else "",
            markup.time_text(f.latest),
        )
        for f in sorted(found, key=lambda f: -f.seconds)
    ]
    if not rows:
        return markup.note("There are no results yet.")
    saved = markup.seconds_text(sum(f.seconds for f in found))
    total = f"{sum(f.results for f in found):,} results, {markup.size_text(sum(f.size for f in found))}"
    return markup.note(f"{total}; hits save {saved}") + markup.grid(columns, rows, (2, 3, 4, 5, 6))


class MapsView(pn.viewable.Viewer):
    """The maps of the index, the running ones first."""

    def __init__(self, source: Source, **params: Any) -> None:
        self._source = source
        self._list = Markup(markup.block(markup.note("Loading …")))
        self.running = 0
        super().__init__(**params)

    def __panel__(self) -> Any:
        return self._list

    async def refresh(self) -> None:
        """Read the progress of the maps."""
        try:
            maps = await self._source.run(self._source.maintenance.maps)
        except BeautyspotError as error:
            self._list.object = markup.block(markup.note(str(error), "failed"))
            return
        now = time.time()
        states = {m.id: _state(m, now) for m in maps}
        self.running = sum(state == "running" for state in states.values())
        ordered = sorted(maps, key=lambda m: (states[m.id] != "running", -m.started))
        shown = "".join(_map(m, states[m.id], now) for m in ordered[:_SHOWN])
        none = markup.note("No map has run for longer than a second yet. Maps that do are shown while they run.")
        self._list.object = markup.block(shown or none)


def _state(m: MapProgress, now: float) -> str:
    if m.ended is not None:
        return "ended"
    return "running" if m.updated > now - SILENT else "killed"


def _map(m: MapProgress, state: str, now: float) -> str:
    done = m.kept + m.run + m.failed
    seconds = max(1e-9, (m.updated if state != "ended" else m.ended or m.updated) - m.started)
    rate = (m.run + m.failed) / seconds
    share = done / m.total if m.total else (1.0 if state == "ended" else None)
    left = None
    if state == "running" and m.total and rate:
        left = markup.seconds_text((m.total - done) / rate)
    elif state == "killed":
        left = "no progress for a minute: it may have been killed. The same map again continues"
    total = f"{done:,} of {m.total:,}" if m.total is not None else f"{done:,}"
    pairs = [
        ("state", state),
        ("done", total),
        ("hits", f"{m.kept:,} ({100 * m.kept / done:.0f} %)" if done else None),
        ("ran", f"{m.run:,}"),
        ("failed", f"{m.failed:,}" if m.failed else None),
        ("rate", f"{rate:,.1f} a second"),
        ("time left", left),
        ("started", f"{markup.full_time(m.started)}, {markup.seconds_text(seconds)} ago" if state == "running" else
         f"{markup.full_time(m.started)}, for {markup.seconds_text(seconds)}"),
        ("by", m.worker),
    ]  # fmt: skip
    head = f"<h2>{escape(m.function)}</h2>"
    return f'<section class="map {state}">{head}{markup.meter(share, m.function)}{markup.facts(pairs)}</section>'
