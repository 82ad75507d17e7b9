"""A real Chromium, and the results app that it opens."""

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
    """Run a browser. Until it is closed, no event loop can be started in this thread."""
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
        arguments: The command-line arguments after ``ui``.
        environment: Environment variables in addition to those of this process.
        script: A program that serves the app instead of the command, and prints its address.
        python: The interpreter that runs the command or the script.
    """

    def __init__(
        self,
        *arguments: Any,
        environment: dict[str, str] | None = None,
        script: str | None = None,
        python: str = sys.executable,
    ) -> None:
        words = list(map(str, arguments))
        command = ["-m", "beautyspot.cli", "ui", *words, "--port", "0", "--no-open"]
        self.process = subprocess.Popen(
            [python, *(command if script is None else ["-c", script, *words])],
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
        """The URL of the app, without a token."""
        parts = urlsplit(self.printed)
        return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('enter')}"

    @property
    def port(self) -> int:
        return urlsplit(self.printed).port or 0

    def memory(self) -> float:
        """The memory of the process in MB, without pages of mapped files, which the system may reclaim at any time."""
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
    """A page whose requests and errors are recorded.

    Attributes:
        outside: The URLs on other machines that it requested over the network.
        refused: The URLs on other machines whose requests its content security policy refused.
        errors: The uncaught errors of its scripts.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.outside: list[str] = []
        self.refused: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_request_failed)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname not in ("localhost", "127.0.0.1"):
            self.outside.append(request.url)

    def _on_request_failed(self, request: Request) -> None:
        if request.url in self.outside and request.failure == "csp":
            self.outside.remove(request.url)
            self.refused.append(request.url)


ROWS = ".bs-list tbody tr"


def opened(page: Page, url: str, /, **state: Any) -> Page:
    """Open the app in *page* and wait for its first rows."""
    query = "&".join(f"{name}={value}" for name, value in state.items())
    page.goto(f"{url}?{query}" if query else url)
    page.wait_for_selector(f"{ROWS}, .bs-range")
    return page


def rows_of(page: Page) -> list[str]:
    """Return the inputs of the visible rows."""
    return page.locator(f"{ROWS} td.input").all_inner_texts()


def wait_until(page: Page, holds: Any, seconds: float = 30) -> None:
    """Wait until *holds* is true, while the page continues to run."""

    def check() -> None:
        page.wait_for_timeout(30)
        assert holds()

    until(check, lambda: True, seconds)


def see(page: Page, function: str) -> Page:
    """Select the row of *function*, on any page of the list, and wait for its value."""
    name = function.rpartition(".")[2]
    page.wait_for_selector(ROWS)  # the tab may just have been opened
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
    """Open every view of an app whose texts are attacks, and check that none of them is executed."""
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
