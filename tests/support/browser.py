"""A real Chromium, and the results app to look at with it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.support.debian import library_path
from tests.support.servers import until

UNPACKED = Path(sys.prefix) / "debian"
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<dir>{0}/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{0}/fonts</cachedir>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
<alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias></fontconfig>"""
SWITCHES = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. While it runs, no event loop can be started in this thread."""
    fonts = UNPACKED / "fonts.conf"
    fonts.write_text(FONTS.format(UNPACKED))
    environment = {**os.environ, "LD_LIBRARY_PATH": library_path(UNPACKED), "FONTCONFIG_FILE": str(fonts)}
    with sync_playwright() as playwright:
        binary = UNPACKED / "usr/lib/chromium/chromium-headless-shell"
        browser = playwright.chromium.launch(executable_path=str(binary), args=SWITCHES, env=environment)
        yield browser
        browser.close()


class Ui:
    """``beautyspot ui`` in a process of its own.

    Args:
        arguments: Behind ``ui``.
        environment: Beside this process's own.
        script: A program that serves the app in place of the command, and prints its address.
        python: That runs it.
    """

    def __init__(
        self,
        *arguments: Any,
        environment: dict[str, str] | None = None,
        script: str | None = None,
        python: str = sys.executable,
    ) -> None:
        given = list(map(str, arguments))
        ours = ["-m", "beautyspot.cli", "ui", *given, "--port", "0", "--no-open"]
        self.process = subprocess.Popen(
            [python, *(ours if script is None else ["-c", script, *given])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        self.printed = self.process.stdout.readline().strip()
        if not self.printed:
            raise AssertionError(self.process.communicate()[1])
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    @property
    def url(self) -> str:
        """Of the app, without a token."""
        parts = urlsplit(self.printed)
        return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('enter')}"

    @property
    def port(self) -> int:
        return urlsplit(self.printed).port or 0

    def memory(self) -> float:
        """Megabytes that are its own: pages of a file that is mapped are the system's, to be dropped at any time."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1000

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Watched:
    """A page, and all that it asked for and complained of.

    Attributes:
        outside: What it asked of other machines: where that got as far as the network.
        refused: What it would have asked of them, and its policy refused.
        errors: Uncaught errors of its own scripts.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.outside: list[str] = []
        self.refused: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname not in ("localhost", "127.0.0.1"):
            self.outside.append(request.url)

    def _failed(self, request: Request) -> None:
        if request.url in self.outside and request.failure == "csp":
            self.outside.remove(request.url)
            self.refused.append(request.url)


ROWS = ".bs-list tbody tr"


def opened(page: Page, url: str, /, **state: Any) -> Page:
    """*page* at the app, with its first rows."""
    query = "&".join(f"{name}={value}" for name, value in state.items())
    page.goto(f"{url}?{query}" if query else url)
    page.wait_for_selector(f"{ROWS}, .bs-range")
    return page


def rows_of(page: Page) -> list[str]:
    """The inputs of the rows that are shown."""
    return page.locator(f"{ROWS} td.input").all_inner_texts()


def wait_until(page: Page, holds: Any, seconds: float = 30) -> None:
    """Wait until *holds* is true; the page goes on meanwhile."""

    def check() -> None:
        page.wait_for_timeout(30)
        assert holds()

    until(check, lambda: True, seconds)


def see(page: Page, function: str) -> Page:
    """Choose the row of *function*, on whichever page of the list it stands, and wait for its value."""
    name = function.rpartition(".")[2]
    page.wait_for_selector(ROWS)  # of a tab that was just turned to
    for _ in range(10):
        row = page.locator(ROWS).filter(has=page.locator("td.function", has_text=name)).first
        if row.count():
            row.click()
            page.locator(".head h2", has_text=name).wait_for()
            page.locator(".value, .failed").first.wait_for()
            return page
        before, turn = rows_of(page), page.get_by_role("button", name="Next page")
        (turn if turn.is_enabled() else page.get_by_role("button", name="First page")).click()
        wait_until(page, lambda: rows_of(page) != before)  # noqa: B023 - it is called at once
    raise AssertionError(f"no row of {function}")


def check_that_nothing_runs(watched: Watched, ui: Ui) -> None:
    """Look at every result and every failure of an app whose texts are attacks, and at its other views."""
    page, title = watched.page, None
    for state in ({}, {"status": "Failed"}):
        opened(page, ui.url, **state)
        title = title or page.title()
        wait_until(page, lambda: page.locator(ROWS).count() > 0)
        for number in range(page.locator(ROWS).count()):
            page.locator(ROWS).nth(number).click()
            page.wait_for_timeout(350)
            for link in page.locator(".value a[href^=javascript]").all():
                link.click()
    for tab in ("Functions", "Health"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(600)
    assert page.title() == title != "hacked"
    assert page.evaluate("window.hacked") is None
    assert watched.outside == []
    assert page.url.startswith(ui.url)
