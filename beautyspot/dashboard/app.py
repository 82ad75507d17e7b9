"""ResultsApp: the results app as one object of Panel, for a page of one's own and for ``beautyspot ui``."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode

import panel as pn
import panel_material_ui as pmui
import param

from beautyspot.dashboard.activity import FunctionsView, MapsView
from beautyspot.dashboard.browser import TaskBrowser
from beautyspot.dashboard.detail import ResultView
from beautyspot.dashboard.health import HealthView
from beautyspot.dashboard.queries import Source

__all__ = ["ResultsApp"]

TABS = ("results", "functions", "maps", "health")
_TITLES = ("Results", "Functions", "Maps", "Health")
_OTHERS: dict[str, type[FunctionsView | MapsView | HealthView]] = {
    "functions": FunctionsView,
    "maps": MapsView,
    "health": HealthView,
}
_STATE = (*TaskBrowser.FILTERS, "page", "key")
_EVERY = 1000  # milliseconds between two refreshes


class ResultsApp(pn.viewable.Viewer):
    """The whole app below the header of its page.

    The state of the page is in its address, so that a link shows a colleague the same result.

    Args:
        source: The index and its storage.
        per_page: The number of rows of a page.
    """

    tab: Any = param.Selector(default="results", objects=list(TABS))

    def __init__(self, source: Source, per_page: int = 20, **params: Any) -> None:
        given = _state_of_address()
        tab = given.pop("tab", "results")
        super().__init__(tab=tab if tab in TABS else "results", **params)
        self._source = source
        self.browser = TaskBrowser(source, per_page, **given)
        self.detail = ResultView(source, key=self.browser.key)
        # Made when their tab is first opened: each costs a new page a tenth of a second.
        self._others: dict[str, FunctionsView | MapsView | HealthView] = {}
        self._pages = {name: pn.Column(sizing_mode="stretch_width") for name in _OTHERS}
        self._layout = self._laid_out()
        self._ticks = 0
        self.browser.param.watch(self._on_state, list(_STATE))
        self.detail.param.watch(self._on_deleted, "deleted")
        self.param.watch(self._on_tab, "tab")
        begin = _begin()
        if begin is not None:
            begin(self._start)
            # Only then: until the page is connected, Panel would call it again and again, without a pause.
            pn.state.onload(self._watch)

    def __panel__(self) -> Any:
        return self._layout

    def _laid_out(self) -> Any:
        results = pn.FlexBox(
            pn.Column(self.browser, styles={"flex": "3 1 480px", "min-width": "0"}),
            pn.Column(self.detail, styles={"flex": "2 1 320px", "min-width": "0"}),
            sizing_mode="stretch_width",
            gap="16px",
        )
        pages = (results, *self._pages.values())
        tabs = pmui.Tabs(
            *zip(_TITLES, pages, strict=True), active=TABS.index(self.tab), dynamic=True, sizing_mode="stretch_width"
        )
        tabs.param.watch(lambda event: self.param.update(tab=TABS[event.new]), "active")
        return tabs

    def _view(self) -> FunctionsView | MapsView | HealthView | None:
        """The view of the open tab; ``None`` for the results."""
        if self.tab not in _OTHERS:
            return None
        if self.tab not in self._others:
            self._others[self.tab] = _OTHERS[self.tab](self._source)
            self._pages[self.tab].append(self._others[self.tab])
        return self._others[self.tab]

    async def _start(self) -> None:
        await self._on_tab()
        await self.browser.start()

    def _watch(self) -> None:
        if pn.state.curdoc is not None:
            tick: Any = self._tick
            pn.state.add_periodic_callback(tick, period=_EVERY)

    async def _tick(self) -> None:
        self._ticks += 1
        self._write_address()  # the browser may have sent back an older one
        view = self._view()
        if isinstance(view, HealthView):
            view.tick()
        elif isinstance(view, MapsView) or (view is not None and self._ticks % 2 == 0):
            await view.refresh()
        elif view is None and self._ticks % 2 == 0:
            await self.browser.tick()

    async def _on_tab(self, *_: Any) -> None:
        self._write_address()
        view = self._view()
        if isinstance(view, FunctionsView | MapsView):
            await view.refresh()

    def _on_state(self, *_: Any) -> None:
        if self.detail.key != self.browser.key:
            self.detail.key = self.browser.key
        self._write_address()

    async def _on_deleted(self, _: Any) -> None:
        await self.browser.refresh()

    def _write_address(self) -> None:
        """Write what differs from the defaults, so that an address stays short."""
        if pn.state.location is None:
            return
        state = {} if self.tab == "results" else {"tab": self.tab}
        for name in _STATE:
            value = getattr(self.browser, name)
            if value != self.browser.param[name].default:
                state[name] = str(value)
        search = f"?{urlencode(state)}" if state else ""
        if pn.state.location.search != search:
            pn.state.location.search = search


def _begin() -> Any:
    """What starts the app: in a session at once, so that the page finds its rows; in a notebook when it is shown.

    ``None`` in a program that only makes an app, and has no event loop.
    """
    if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        return pn.state.execute
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return pn.state.onload


def _state_of_address() -> dict[str, Any]:
    """The state of the page from its address, without invalid values."""
    search = pn.state.location.search if pn.state.location is not None else ""
    given: dict[str, Any] = {}
    for name, value in parse_qsl((search or "").lstrip("?")):
        if name == "tab":
            given[name] = value
        elif name == "page":
            if value.isdecimal() and 1 <= int(value) < 1 << 31:
                given[name] = int(value)
        elif name in _STATE and value in (getattr(TaskBrowser.param[name], "objects", None) or [value]):
            given[name] = value
    return given
