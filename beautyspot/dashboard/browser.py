"""TaskBrowser: cached results and failures, a page at a time, filtered and ordered by the index itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import panel as pn
import param

from beautyspot.dashboard import markup
from beautyspot.dashboard.queries import Source
from beautyspot.dashboard.widgets import RowTable, button, labelled
from beautyspot.db.selection_sql import DEEPEST
from beautyspot.errors import BeautyspotError
from beautyspot.protocols.index import Failure, Order, Selection, Summary
from beautyspot.serialization.content_types import label_of

__all__ = ["TaskBrowser"]

STATUSES = {"Kept": "kept", "Expired": "expired", "Failed": "failed"}
PERIODS: dict[str, float | None] = {
    "Any time": None,
    "Last hour": 3600.0,
    "Last day": 86400.0,
    "Last week": 7 * 86400.0,
    "Last 30 days": 30 * 86400.0,
}
ORDERS: dict[str, tuple[Order, bool]] = {
    "Newest first": ("created", True),
    "Oldest first": ("created", False),
    "Largest first": ("size", True),
    "Smallest first": ("size", False),
    "Slowest first": ("seconds", True),
    "Quickest first": ("seconds", False),
}
ANY = "Any"
_NO_VERSION = "Without"


class TaskBrowser(pn.viewable.Viewer):
    """A table over any number of rows, with filters above it.

    Args:
        source: The index and its storage.
        per_page: The number of rows of a page.
    """

    status: Any = param.Selector(default="Kept", objects=list(STATUSES))
    function = param.String(default="")
    version = param.String(default=ANY)
    text = param.String(default="")
    period: Any = param.Selector(default="Any time", objects=list(PERIODS))
    order: Any = param.Selector(default="Newest first", objects=list(ORDERS))
    page = param.Integer(default=1, bounds=(1, None))
    key = param.String(default="", doc="The key of the chosen row.")
    follow = param.Boolean(default=False)

    FILTERS: ClassVar[tuple[str, ...]] = ("status", "function", "version", "text", "period", "order")
    COLUMNS: ClassVar[list[tuple[str, str]]] = [
        ("state", ""),
        ("when", "When"),
        ("function", "Function"),
        ("input", "Input"),
        ("type", "Type"),
        ("size", "Size"),
        ("time", "Took"),
    ]

    def __init__(self, source: Source, per_page: int = 20, **params: Any) -> None:
        self._source = source
        self._turn = 0
        self._seen = (0, 0)
        self._ready = False
        super().__init__(**params)
        self.table = RowTable(columns=self.COLUMNS, per_page=per_page, page=self.page, sizing_mode="stretch_width")
        self._new = button("", visible=False)
        self._new.on_click(self._on_new)
        self._inputs = self._make_inputs()
        self.table.param.watch(self._on_page, "page")
        self.table.param.watch(self._on_chosen, "chosen")
        self.param.watch(self._on_filter, list(self.FILTERS))
        self.param.watch(lambda _: self.table.param.update(page=self.page), "page")

    def _make_inputs(self) -> list[Any]:
        text = labelled("TextInput", "Input contains")
        text.link(self, value="text")
        text.value = self.text
        self._function = labelled("Select", "Function", [ANY], value=ANY, searchable=True)
        self._version = labelled("Select", "Version", [ANY], value=ANY)
        self._offer(self._function, self.function or ANY, [])
        self._offer(self._version, self.version, [])
        self._function.param.watch(
            lambda event: self.param.update(function="" if event.new == ANY else event.new), "value"
        )
        self._version.param.watch(lambda event: self.param.update(version=event.new), "value")
        chosen = [
            labelled("Select", label, self.param[name].objects, value=getattr(self, name))
            for name, label in (("status", "Status"), ("period", "When"), ("order", "Order"))
        ]
        for widget, name in zip(chosen, ("status", "period", "order"), strict=True):
            widget.link(self, value=name)
        follow = labelled("Checkbox", "Follow", value=self.follow, width=92)
        follow.link(self, value="follow")
        return [text, self._function, self._version, *chosen, follow]

    def __panel__(self) -> Any:
        filters = pn.FlexBox(
            *self._inputs[:-1],
            sizing_mode="stretch_width",
            align_items="center",
            gap="8px",
            margin=(10, 0, 0, 0),
        )
        live = pn.Row(self._inputs[-1], self._new, height=40)
        return pn.Column(filters, live, self.table, sizing_mode="stretch_width")

    def _offer(self, select: Any, value: str, options: list[str]) -> None:
        """Give a select its options; the value that it has stays one of them."""
        every = list(dict.fromkeys([ANY, *options, value]))
        if every != select.options:
            select.param.update(options=every, value=value)

    async def start(self) -> None:
        """Fetch the first rows, and then what the filters offer."""
        self._ready = True
        await self.refresh()
        await self.offer_functions()

    async def offer_functions(self) -> None:
        """Bring the functions and versions that can be chosen up to date."""
        try:
            found = await self._source.functions()
        except BeautyspotError:  # the rows say it already
            return
        self._offer(self._function, self.function or ANY, list(dict.fromkeys(f.function for f in found)))
        versions = {f.version or _NO_VERSION for f in found if self.function in ("", f.function)}
        self._offer(self._version, self.version, sorted(versions))

    @property
    def selection(self) -> Selection:
        """What the filters say."""
        seconds = PERIODS[self.period]
        # Whole minutes, so that pages and counts of one look speak of the same rows.
        since = None if seconds is None else (time.time() - seconds) // 60 * 60
        version = None if self.version == ANY else "" if self.version == _NO_VERSION else self.version
        status = cast("Literal['kept', 'expired', 'failed']", STATUSES[self.status])
        return Selection(status, self.function or None, version, self.text.strip(), since)

    async def _on_filter(self, *events: Any) -> None:
        if self._ready:
            self.page = 1
            self.table.total = -1
            await self.refresh()
            if any(event.name == "function" for event in events):
                await self.offer_functions()

    async def _on_page(self, event: Any) -> None:
        self.page = event.new
        if self._ready:
            await self.refresh()

    def _on_chosen(self, event: Any) -> None:
        if event.new:
            self.key = event.new

    async def _on_new(self, _: Any) -> None:
        self.page = 1
        await self.refresh()

    async def refresh(self) -> None:
        """Fetch the page; the answer to an outdated query is ignored."""
        self._turn += 1
        turn, selection, per_page = self._turn, self.selection, self.table.per_page
        order, descending = ORDERS[self.order]
        if selection.status == "failed" and order == "size":
            order, descending = "created", True
        catalog, start = self._source.catalog, (self.page - 1) * per_page
        try:
            latest = await self._source.run(catalog.latest)
            rows = await self._source.run(catalog.select, selection, order, descending, start, per_page)
            if turn != self._turn:
                return
            self._seen = latest
            self._new.visible = False
            self._show(rows, selection)
            total = await self._source.count(selection)
        except BeautyspotError as error:
            if turn == self._turn:
                self.table.param.update(keys=[], rows=[], total=0, empty=str(error))
            return
        if turn == self._turn:
            self._show_total(total, order)

    def _show(self, rows: Sequence[Summary | Failure], selection: Selection) -> None:
        now = time.time()
        keys = [row.key.hex() for row in rows]
        chosen = self.key if self.key in keys else ""
        empty = "No result matches" if selection.status != "failed" else "No call has failed"
        cells = [_cells(row, now) for row in rows]
        self.table.param.update(keys=keys, rows=cells, chosen=chosen, empty=empty)

    def _show_total(self, total: int, order: Order) -> None:
        shown, note = total, ""
        if order != "created" and total > DEEPEST:
            shown, note = DEEPEST, f" in this order ({total:,} in all)"
        self.table.param.update(total=shown, note=note)

    async def tick(self) -> None:
        """Check for new rows; show them at once if the user follows."""
        if not self._ready:
            return
        try:
            latest = await self._source.run(self._source.catalog.latest)
        except BeautyspotError:
            return
        failed = self.status == "Failed"
        new = latest[failed] - self._seen[failed]
        if new <= 0:
            return
        if self.follow and self.page == 1:
            await self.refresh()
        else:
            self._new.param.update(label="New results: show them" if not failed else "New failures: show them")
            self._new.visible = True


def _cells(row: Summary | Failure, now: float) -> list[str]:
    if isinstance(row, Failure):
        state, kind, size = "✗", row.error.rpartition(".")[2], ""
    else:
        state = "⌛" if row.expires is not None and row.expires <= now else "✓"
        kind, size = label_of(row.content_type), markup.size_text(row.size)
    when = markup.time_text(row.created, now)
    return [state, when, _short(row.function), row.input, kind, size, markup.seconds_text(row.seconds)]


def _short(function: str) -> str:
    """The end of a function's name, which tells it from others: ``module.function``."""
    return ".".join([part for part in function.split(".") if part != "<locals>"][-2:])
