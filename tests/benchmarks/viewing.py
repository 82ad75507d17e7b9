"""The results app on an index of many results: how long a user waits in a real browser, and the server's memory."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

from beautyspot.db import SQLiteTaskDB
from beautyspot.testing import make_record
from tests.benchmarks.tables import table
from tests.support.browser import ROWS, Ui, chromium, opened, wait_until

SIZES = (10_000, 100_000, 1_000_000)
TURNS = 10


def filled(path: Path, rows: int) -> None:
    """Fill an index with *rows* different results of 40 functions over 90 days."""
    db, began = SQLiteTaskDB(path), time.time() - 90 * 86400
    for start in range(0, rows, 5000):
        db.upsert(
            [
                make_record(
                    i,
                    value=b"\xc4\xc8" + bytes(200),
                    function=f"pipeline.step{i % 8}.function{i % 40}",
                    version="2" if i % 3 else "",
                    input=f"x={i * 7919 % 1_000_003}, seed={i % 50}, text='row {i}'",
                    size=i * 31 % 5000,
                    seconds=i * 17 % 1000 / 100,
                    created=began + i * 90 * 86400 / rows,
                )
                for i in range(start, min(rows, start + 5000))
            ]
        )
    db.close()


def until_rows_change(page: Page, act: Callable[[], Any]) -> float:
    """Return the seconds from an action until the first row changes."""
    row = page.locator(f"{ROWS} td.input").first
    before, began = row.inner_text(), time.perf_counter()
    act()
    while row.inner_text() == before:
        pass
    return time.perf_counter() - began


def looks(browser: Browser, ui: Ui) -> Iterator[tuple[str, list[float]]]:
    """Yield each action of a user with the seconds that it took, several times."""
    pages, first = [], []
    for _ in range(5):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        began = time.perf_counter()
        page.goto(ui.url)
        page.wait_for_selector(ROWS)
        first.append(time.perf_counter() - began)
        wait_until(page, lambda page=page: "…" not in page.locator(".bs-range").inner_text())
        pages.append(page)
        page.wait_for_timeout(3000)
    yield "first rows, from navigation", first
    for page in pages[:-1]:
        page.close()
    page = pages[-1]

    def press(name: str) -> Callable[[], Any]:
        return lambda: page.get_by_role("button", name=name).click()

    yield "next page", [until_rows_change(page, press("Next page")) for _ in range(TURNS)]
    yield "last page and first page", [until_rows_change(page, press(f"{n} page")) for n in ("Last", "First") * 3]
    yield "one result", [_detail(page, number) for number in range(TURNS)]
    text = page.get_by_label("Input contains")
    found = [until_rows_change(page, lambda q=q: (text.fill(q), page.keyboard.press("Enter"))) for q in
             ("seed=7,", "x=12", "seed=31", "seed=8,", "=49")]  # fmt: skip
    yield "filter by text", found
    opened(page, ui.url)
    yield "filter by function, from the pick", [until_rows_change(page, _found(page, n).click) for n in (7, 13, 21, 39)]


def _detail(page: Page, number: int) -> float:
    row = page.locator(ROWS).nth(number)
    text, began = row.locator("td.input").inner_text(), time.perf_counter()
    row.click()
    page.locator(".head", has_text=text).wait_for()
    page.locator(".value").first.wait_for()
    return time.perf_counter() - began


def _found(page: Page, number: int) -> Locator:
    """Open the list of functions and return the entry of one."""
    page.wait_for_timeout(800)  # a list that was open before has closed by then
    page.get_by_label("Function", exact=True).first.click()
    found = page.locator("li", has_text=f"function{number}").last
    found.wait_for()
    page.wait_for_timeout(400)
    return found


def viewing(directory: Path) -> str:
    """The table of all actions and sizes."""
    rows: dict[str, list[str]] = {}
    with chromium() as browser:
        for size in SIZES:
            path = directory / f"{size}.db"
            filled(path, size)
            ui = Ui(path)
            alone = ui.memory()
            for what, seconds in looks(browser, ui):
                rows.setdefault(what, []).append(f"{statistics.median(seconds):.2f} ({max(seconds):.2f})")
                if what.startswith("first"):
                    rows.setdefault("memory of the server, MB", []).append(f"{ui.memory():.0f}")
                    each = (ui.memory() - alone) / 5
                    rows.setdefault("of that a session, MB", []).append(f"{each:.1f}")
            ui.stop()
    head = ["seconds, median (longest)", *(f"{size:,} results" for size in SIZES)]
    return table("The results app", head, [[what, *cells] for what, cells in rows.items()])
