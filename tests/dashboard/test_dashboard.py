"""The results app in a real browser: every kind of value is seen, every control is used, and nothing gets out."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

import beautyspot as bs
from beautyspot.db import SQLiteTaskDB
from beautyspot.testing import make_failure, make_key, make_record
from tests.support.browser import ROWS, Ui, Watched, check_that_nothing_runs, chromium, opened, rows_of, see, wait_until
from tests.support.gallery import HACKED, HOSTILE, KINDS, PDF, fill, fill_with_attacks
from tests.support.servers import S3Server, until

EMBEDDED = """
import sys
import panel as pn
from beautyspot.dashboard import results_app

def mine():
    return pn.Column("# A page of mine", results_app(sys.argv[1]))

server = pn.serve(
    {"/mine": mine}, address="127.0.0.1", port=0, prefix="pre", show=False, start=False, verbose=False,
    websocket_origin="*",
)
server.start()
print(f"http://127.0.0.1:{server.port}/pre/mine", flush=True)
server.io_loop.start()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an index that holds a result of every kind."""
    directory = tmp_path_factory.mktemp("gallery")
    with bs.Project("gallery", db=directory / "gallery.db", storage_path=directory / "blobs") as project:
        fill(project)
    return str(directory / "gallery.db")


@pytest.fixture(scope="module")
def app(gallery: str) -> Iterator[Ui]:
    ui = Ui(gallery)
    yield ui
    ui.stop()


@pytest.fixture(scope="module")
def embedded(gallery: str) -> Iterator[Ui]:
    """The app in a page of somebody's own, below a prefix, without our policy."""
    ui = Ui(gallery, script=EMBEDDED)
    yield ui
    ui.stop()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One memory of files for all pages: the libraries are read once."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    yield context
    context.close()


@pytest.fixture(scope="module")
def shown(context: BrowserContext, app: Ui) -> Iterator[Watched]:
    watched = Watched(context.new_page())
    opened(watched.page, app.url)
    yield watched
    watched.page.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Ui]]:
    started: list[Ui] = []

    def start(*arguments: Any, **options: Any) -> Ui:
        started.append(Ui(*arguments, **options))
        return started[-1]

    yield start
    for ui in started:
        ui.stop()


def many(path: Path, count: int = 230) -> SQLiteTaskDB:
    db = SQLiteTaskDB(path)
    db.upsert(
        [
            make_record(
                i,
                function=f"work.f{i % 3}",
                version="2" if i % 10 == 0 else "",
                input=f"x={i}, text='100%_{i}'",
                size=i,
                seconds=float(i % 7),
                created=time.time() - 90_000 * (i % 5),
            )
            for i in range(count)
        ]
    )
    db.close()
    return db


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def key_of(path: str, function: str) -> str:
    db = SQLiteTaskDB(path, read_only=True)
    (key,) = [s.key.hex() for s in db.summaries() if s.function.endswith(f".{function}")]
    db.close()
    return key


def listeners(pid: int) -> set[str]:
    """Addresses on which a process listens, in the hexadecimal of /proc."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes}


class TestStarting:
    def test_it_prints_its_address_and_listens_on_this_machine_alone(self, app: Ui) -> None:
        assert re.fullmatch(r"http://localhost:\d+/", app.printed)
        assert listeners(app.process.pid) <= {"0100007F", "00000000000000000000000001000000"}
        assert get(app.url)[0] == 200

    @pytest.mark.parametrize("what", ["missing", "no database", "another program's", "a port that is taken"])
    @pytest.mark.slow
    def test_what_it_cannot_show_is_one_line(self, what: str, tmp_path: Path) -> None:
        path, port = tmp_path / "x.db", "0"
        if what == "no database":
            path.write_text("a text " * 1000)
        elif what == "another program's":
            subprocess.run(
                [sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(path)!r}).execute('CREATE TABLE t (x)')"]
            )
        elif what == "a port that is taken":
            many(path, 3)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            if what == "a port that is taken":
                port = str(taken.getsockname()[1])
            command = [sys.executable, "-m", "beautyspot.cli", "ui", path, "--no-open", "--port", port]
            done = subprocess.run([*command, "--address", "127.0.0.1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert re.fullmatch(r"Error: .+\n", done.stderr), done.stderr
        assert path.exists() == (what != "missing")

    def test_without_panel_it_says_what_to_install(self, gallery: str) -> None:
        code = "import sys; sys.modules['panel'] = None; from beautyspot.cli import main; main(['ui', sys.argv[1]])"
        done = subprocess.run([sys.executable, "-c", code, gallery], capture_output=True, text=True)
        assert done.returncode == 1
        assert 'pip install "beautyspot[dashboard]"' in done.stderr
        assert done.stderr.count("\n") == 1

    @pytest.mark.slow
    def test_verifying_changes_no_byte_of_the_index(self, page: Page, start: Callable[..., Ui], tmp_path: Path) -> None:
        many(tmp_path / "x.db")
        before = hashlib.sha256((tmp_path / "x.db").read_bytes()).digest()
        ui = start(tmp_path / "x.db")
        opened(page, ui.url)
        page.locator(ROWS).first.click()
        page.locator(".value, .failed").first.wait_for()
        page.get_by_role("tab", name="Health").click()
        page.get_by_role("button", name="Check everything").click()
        page.get_by_text("results checked").wait_for()
        ui.stop()
        assert hashlib.sha256((tmp_path / "x.db").read_bytes()).digest() == before


class TestValues:
    @pytest.mark.parametrize(
        ("name", "content_type", "value", "here", "framed"), KINDS, ids=[kind[0] for kind in KINDS]
    )
    def test_a_value_is_seen_as_what_it_is(
        self, name: str, content_type: Any, value: Any, here: str, framed: str, shown: Watched
    ) -> None:
        page = see(shown.page, name)
        if here:
            element = page.locator(f".value {here}").first
            element.wait_for()
        else:
            element = page.frame_locator(".value iframe").locator(framed).first
            element.wait_for()
        if here == "img":
            wait_until(page, lambda: element.evaluate("image => image.naturalWidth") > 0)
        if here == "audio":
            wait_until(page, lambda: element.evaluate("player => player.readyState") >= 1)
        assert page.title() == "gallery.db · beautyspot"
        assert shown.errors == []
        assert shown.outside == []

    def test_a_tree_folds(self, shown: Watched) -> None:
        page = see(shown.page, "json_value")
        inner = page.locator(".value details details").first
        inner.locator(".leaf").first.wait_for()
        inner.locator("summary").first.click()
        inner.locator(".leaf").first.wait_for(state="hidden")

    def test_a_failed_call_shows_its_error_as_text(self, page: Page, app: Ui) -> None:
        opened(page, app.url, status="Failed")
        page.locator(ROWS).first.click()
        page.locator(".failed", has_text="builtins.ValueError").wait_for()
        assert HACKED in page.locator("pre", has_text="Traceback").inner_text()
        assert page.title() == "gallery.db · beautyspot"

    @pytest.mark.slow
    def test_a_large_value_is_cut_with_a_way_to_get_all(
        self, page: Page, start: Callable[..., Ui], tmp_path: Path
    ) -> None:
        text = "".join(f"line {i}\n" for i in range(1_500_000))
        with bs.Project("large", db=tmp_path / "large.db", storage_path=tmp_path / "blobs") as project:
            project.task(key=lambda: 1)(lambda: text)()
            project.task(key=lambda: 2, content_type="application/octet-stream")(lambda: text.encode() * 2)()
        ui = start(tmp_path / "large.db")
        opened(page, ui.url)
        for number, expected in ((0, text.encode() * 2), (1, text.encode())):
            page.locator(ROWS).nth(number).click()
            page.locator(".head", has_text=f"{len(expected) // 1_000_000}.").wait_for()
            page.locator(".value .note", has_text="too large to be shown whole").wait_for()
            with page.expect_download() as download:
                page.get_by_role("link", name="Download").click()
            assert Path(download.value.path()).read_bytes() == expected
        assert ui.memory() < 300

    @pytest.mark.slow
    @pytest.mark.timeout(240)
    def test_a_text_of_a_gigabyte_costs_the_server_no_memory(
        self, page: Page, start: Callable[..., Ui], tmp_path: Path
    ) -> None:
        size = 1_000_000_000
        code = f"""
import beautyspot as bs
project = bs.Project("vast")
project.task(key=lambda: 1)(lambda: "ab" * {size // 2})()
project.task(key=lambda: 2)(lambda: __import__("numpy").arange({size // 8}))()
"""
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        ui = start(tmp_path / "vast.db")
        opened(page, ui.url)
        page.locator(ROWS).nth(0).click()
        page.locator(".value dd", has_text="125,000,000").wait_for()
        page.locator(".value polyline").wait_for()
        page.locator(ROWS).nth(1).click()
        page.locator(".value .note", has_text="1.0 GB: too large to be shown whole").wait_for()
        assert page.locator(".value pre").inner_text().startswith("abab")
        url = page.get_by_role("link", name="Download").get_attribute("href")
        assert get(f"{ui.url}{url}", Range=f"bytes={size - 3}-")[2] == b"bab"
        assert ui.memory() < 300

    @pytest.mark.slow
    def test_an_unreadable_result_is_reported_on_the_page(
        self, page: Page, start: Callable[..., Ui], tmp_path: Path
    ) -> None:
        with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs") as project:
            gone, changed = (project.task(save_blob=True, key=lambda i=i: i)(lambda: b"content") for i in range(2))
            gone()
            (blob,) = project.storage.blobs()
            changed()
            project.db.upsert([make_record(1, b"\xc1", function="p.undecodable", checksum=b"\x00\x00\x00\x00")])
            project.storage.delete(blob.location)
            (other,) = project.storage.blobs()
            Path(tmp_path, "blobs", other.location).write_bytes(b"x" * other.size)
        ui = start(tmp_path / "p.db")
        opened(page, ui.url)
        for number in range(3):
            page.locator(ROWS).nth(number).click()
            wait_until(page, lambda: "cannot be read" in page.locator(".bs .failed").first.inner_text())
        assert get(ui.url)[0] == 200
        assert not [line for line in ui.errors if "Traceback" in line]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    path = tmp_path_factory.mktemp("many") / "many.db"
    db = many(path)
    for i in range(30):
        db.note_failure(make_failure(1000 + i, "work.f1"))
    db.close()
    ui = Ui(path)
    yield ui
    ui.stop()


class TestList:
    def inputs(self, wanted: Callable[[int], bool] = lambda i: True) -> list[str]:
        return [f"x={i}, text='100%_{i}'" for i in reversed(range(230)) if wanted(i)]

    def test_pages_are_turned(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url)
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "1–20 of 230")
        assert rows_of(page) == self.inputs()[:20]
        for name, start in (("Next page", 20), ("Last page", 220), ("Previous page", 200), ("First page", 0)):
            page.get_by_role("button", name=name).click()
            wait_until(page, lambda start=start: rows_of(page) == self.inputs()[start : start + 20])
        assert page.get_by_role("button", name="Previous page").is_disabled()

    def test_fast_clicks_end_on_the_last_page_asked_for(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url)
        wait_until(page, lambda: "230" in page.locator(".bs-range").inner_text())
        for _ in range(10):
            page.get_by_role("button", name="Next page").click(no_wait_after=True)
        wait_until(page, lambda: rows_of(page) == self.inputs()[200:220])
        page.wait_for_timeout(500)
        assert rows_of(page) == self.inputs()[200:220]

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            ({"function": "work.f1"}, lambda i: i % 3 == 1),
            pytest.param({"version": "2"}, lambda i: i % 10 == 0, marks=pytest.mark.slow),
            pytest.param({"version": "Without"}, lambda i: i % 10 != 0, marks=pytest.mark.slow),
            ({"text": "%25_22"}, lambda i: str(i).startswith("22")),
            pytest.param({"text": "_%25"}, lambda i: False, marks=pytest.mark.slow),
            pytest.param({"text": "%27100"}, lambda i: True, marks=pytest.mark.slow),
            pytest.param({"period": "Last day"}, lambda i: i % 5 == 0, marks=pytest.mark.slow),
            ({"period": "Last week", "function": "work.f2", "version": "2"}, lambda i: i % 3 == 2 and i % 10 == 0),
        ],
        ids=["function", "version", "no version", "text", "no text", "quote", "period", "all"],
    )
    def test_an_address_says_which_rows_are_shown(
        self, state: dict[str, str], expected: Callable[[int], bool], listed: Ui, page: Page
    ) -> None:
        opened(page, listed.url, **state)
        wanted = self.inputs(expected)
        total = f"1–{min(20, len(wanted))} of {len(wanted)}" if wanted else "No result matches"
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == total)
        assert rows_of(page) == wanted[:20]

    @pytest.mark.slow
    def test_every_filter_is_a_control(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url)

        def choose(label: str, option: str) -> None:
            page.get_by_label(label, exact=True).click()
            page.locator("li").filter(has_text=re.compile(f"^{option}$")).click()

        page.get_by_label("Input contains").fill("x=2")
        page.keyboard.press("Enter")
        wait_until(page, lambda: rows_of(page) == self.inputs(lambda i: str(i).startswith("2"))[:20])
        wait_until(page, lambda: "text=x%3D2" in page.url)
        choose("Function", "work.f2")
        wait_until(page, lambda: rows_of(page) == self.inputs(lambda i: str(i).startswith("2") and i % 3 == 2)[:20])
        choose("Order", "Smallest first")
        wait_until(page, lambda: rows_of(page)[0] == "x=2, text='100%_2'")
        choose("Version", "2")
        wait_until(page, lambda: rows_of(page) == ["x=20, text='100%_20'", "x=200, text='100%_200'"])
        choose("When", "Last hour")
        wait_until(page, lambda: rows_of(page) == ["x=20, text='100%_20'", "x=200, text='100%_200'"])
        choose("Status", "Expired")
        wait_until(page, lambda: rows_of(page) == [])
        for name in ("status=Expired", "period=Last+hour", "order=Smallest+first", "function=work.f2", "version=2"):
            assert name in page.url

    def test_failures_are_listed_as_results_are(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url, status="Failed", page=2)
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "21–30 of 30")
        assert rows_of(page) == [f"x={i}" for i in range(1009, 999, -1)]

    @pytest.mark.slow
    def test_an_address_that_means_nothing_shows_the_first_page(self, listed: Ui, page: Page) -> None:
        watched = Watched(page)
        opened(page, listed.url, page="abc", status="Nope", tab="none", key="zz", version="99", nonsense="1")
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "No result matches")
        opened(page, listed.url, page="abc", status="Nope", tab="none", key="zz", order="up")
        wait_until(page, lambda: rows_of(page) == self.inputs()[:20])
        assert watched.errors == []

    def test_a_link_leads_to_a_result(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url, key=make_key(17).hex(), page=3)
        page.locator(".head", has_text="x=17, text='100%_17'").wait_for()
        wait_until(page, lambda: rows_of(page) == self.inputs()[40:60])

    def test_keys_move_through_the_rows(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url)
        page.locator(".bs-list table").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.locator(".head", has_text=self.inputs()[1]).wait_for()
        page.keyboard.press("k")
        page.locator(".head", has_text=self.inputs()[0]).wait_for()
        page.keyboard.press("End")
        page.locator(".head", has_text=self.inputs()[19]).wait_for()
        page.keyboard.press("PageDown")
        wait_until(page, lambda: rows_of(page) == self.inputs()[20:40])

    def test_a_narrow_screen_shows_what_matters(self, listed: Ui, page: Page) -> None:
        page.set_viewport_size({"width": 400, "height": 800})
        opened(page, listed.url)
        assert page.locator(f"{ROWS} td.input").first.is_visible()
        assert not page.locator(f"{ROWS} td.size").first.is_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 400

    def test_dark_is_dark(self, listed: Ui, page: Page) -> None:
        opened(page, listed.url)

        def colours() -> list[int]:
            found = page.locator(f"{ROWS} td.input").first.evaluate("cell => getComputedStyle(cell).color")
            return [int(part) for part in re.findall(r"\d+", found)[:3]]

        assert max(colours()) < 100
        page.get_by_label("Toggle theme").click()
        wait_until(page, lambda: min(colours()) > 150)


@pytest.mark.slow
class TestLive:
    def test_new_results_are_announced_and_followed(self, page: Page, start: Callable[..., Ui], tmp_path: Path) -> None:
        db = many(tmp_path / "x.db", 5)
        ui = start(tmp_path / "x.db")
        opened(page, ui.url)
        wait_until(page, lambda: len(rows_of(page)) == 5)
        db.upsert([make_record(100, input="new=1")])
        page.get_by_role("button", name="New results").wait_for(timeout=30_000)
        assert "new=1" not in rows_of(page)
        page.get_by_role("button", name="New results").click()
        wait_until(page, lambda: rows_of(page)[0] == "new=1")
        page.get_by_label("Follow").check()
        db.upsert([make_record(101, input="new=2")])
        wait_until(page, lambda: rows_of(page)[0] == "new=2", 8)
        db.close()

    def test_a_running_map_is_watched(self, page: Page, start: Callable[..., Ui], tmp_path: Path) -> None:
        job = """
            import time
            import beautyspot as bs
            project = bs.Project("job")
            @project.task
            def slow(x):
                time.sleep(0.02)
                if x % 50 == 49:
                    raise ValueError(x)
                return x
            bs.map(slow, range(100), on_error="return", progress=False)
            bs.map(slow, range(1600), workers=2, on_error="return", progress=False)
        """
        code = "\n".join(line[12:] for line in job.splitlines())
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
        until(lambda: (tmp_path / "job.db").stat(), lambda: process.poll() is None)
        db = SQLiteTaskDB(tmp_path / "job.db", read_only=True)
        wait_until(page, lambda: db.latest()[0] > 100)
        db.close()
        ui = start(tmp_path / "job.db")
        page.goto(f"{ui.url}?tab=maps")
        section = page.locator("section.running", has_text="of 1,600")
        section.wait_for()
        first = section.locator("progress").evaluate("bar => bar.value")
        for text in ("98 (", "a second", "time left", "failed"):
            assert text in section.inner_text(), section.inner_text()
        wait_until(page, lambda: section.count() and section.locator("progress").evaluate("bar => bar.value") > first)
        process.wait()
        page.locator("section.ended", has_text="1,600 of 1,600").wait_for()

    def test_functions_are_summed_up(self, page: Page, start: Callable[..., Ui], tmp_path: Path) -> None:
        many(tmp_path / "x.db", 30)
        ui = start(tmp_path / "x.db")
        page.goto(f"{ui.url}?tab=functions")
        page.locator("td", has_text="work.f0").first.wait_for()
        assert page.locator("svg[aria-label=activity] g").count() == 60
        titles = page.locator("svg[aria-label=activity] title").all_text_contents()
        assert sum(int(re.search(r"(\d+) results", title)[1]) for title in titles) == 30  # type: ignore[index]
        assert "30 results, 435 B" in page.locator(".note", has_text="hits save").inner_text()
        page.get_by_role("combobox").click()
        page.locator("li", has_text="Last day").click()
        wait_until(page, lambda: "highest 6" in page.locator(".note", has_text="highest").inner_text())

    def test_a_server_that_stops_is_noticed(self, page: Page, start: Callable[..., Ui], tmp_path: Path) -> None:
        many(tmp_path / "x.db", 3)
        ui = start(tmp_path / "x.db")
        opened(page, ui.url)
        page.wait_for_timeout(1000)
        ui.stop()
        page.get_by_text("The connection is lost").first.wait_for(timeout=30_000)


@pytest.mark.slow
class TestHealth:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        """An index with a blob that is gone, one that nothing refers to, one in the making, and a value that is none."""
        with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs") as project:
            task = project.task(save_blob=True)(lambda x: str(x))
            for i in range(5):
                task(i)
            project.storage.delete(project.results.location(bytes.fromhex(task.key(3))) or "")
            old = project.storage.save(make_key(1).hex(), [b"old"])
            os.utime(tmp_path / "blobs" / old, (1e9, 1e9))
            project.storage.save(make_key(2).hex(), [b"new"])
            undecodable = b"\xc1"
            record = make_record(
                9, undecodable, function="p.broken", checksum=zlib.crc32(undecodable).to_bytes(4, "big")
            )
            project.db.upsert([record])
        return tmp_path / "p.db"

    def check(self, page: Page, url: str) -> str:
        page.goto(f"{url}?tab=health")
        page.get_by_role("button", name="Check everything").click()
        page.locator(".note", has_text="results checked").wait_for()
        wait_until(page, lambda: page.get_by_role("button", name="Check everything").is_enabled())
        return page.locator(".bs", has_text="results checked").inner_text()

    def test_exactly_what_is_wrong_is_found(self, damaged: Path, page: Page, start: Callable[..., Ui]) -> None:
        told = self.check(page, start(damaged).url)
        for part in (
            "1 results whose blob is gone",
            "1 blobs that no result refers to",
            "1 whole results that cannot be",
        ):
            assert part in told
        assert page.locator(".value td, .bs td").count() == 3 * 5
        assert make_key(9).hex()[:12] in told
        assert not page.get_by_role("button", name="Delete unusable results").is_visible()

    def test_problems_are_repaired_where_that_is_allowed(
        self, damaged: Path, page: Page, start: Callable[..., Ui]
    ) -> None:
        ui = start(damaged, "--allow-delete")
        self.check(page, ui.url)
        page.get_by_role("button", name="Delete unusable results").click()
        page.get_by_role("button", name="Really delete them").click()
        page.locator(".note", has_text="2 were deleted").wait_for()
        told = self.check(page, ui.url)
        assert "gone" not in told
        assert "refers to" not in told
        assert "1 whole results that cannot be decoded here" in told

    def test_a_result_is_deleted_where_that_is_allowed(
        self, page: Page, start: Callable[..., Ui], tmp_path: Path
    ) -> None:
        many(tmp_path / "x.db", 4)
        ui = start(tmp_path / "x.db", "--allow-delete")
        opened(page, ui.url)
        page.locator(ROWS).first.click()
        page.get_by_role("button", name="Delete this result").click()
        page.get_by_role("button", name="Really delete it").click()
        wait_until(page, lambda: len(rows_of(page)) == 3)
        opened(page, start(tmp_path / "x.db").url)
        page.locator(ROWS).first.click()
        page.locator(".value, .failed").first.wait_for()
        assert not page.get_by_role("button", name="Delete this result").is_visible()

    def test_a_check_runs_while_pages_are_turned_until_it_is_stopped(
        self, page: Page, start: Callable[..., Ui], tmp_path: Path
    ) -> None:
        many(tmp_path / "x.db", 200_000)
        page.goto(f"{start(tmp_path / 'x.db').url}?tab=health")
        page.get_by_role("button", name="Check everything").click()
        page.locator("progress[aria-label=checked]").wait_for()
        page.get_by_role("tab", name="Results").click()
        wait_until(page, lambda: len(rows_of(page)) == 20)
        before = rows_of(page)
        page.get_by_role("button", name="Next page").click()
        wait_until(page, lambda: rows_of(page) not in (before, []))
        page.get_by_role("tab", name="Health").click()
        page.get_by_role("button", name="Stop").click()
        page.locator(".note", has_text="Stopped.").wait_for()


@pytest.mark.slow
class TestNothingGetsOut:
    def test_nothing_is_asked_of_another_machine(self, browser: Browser, app: Ui) -> None:
        for mode in ("", "cdn", "inline"):
            ui = Ui(*[app_path(app)], environment={"BOKEH_RESOURCES": mode}) if mode else app
            watched = Watched(browser.new_page())
            opened(watched.page, ui.url)
            for tab in ("Functions", "Maps", "Health", "Results"):
                watched.page.get_by_role("tab", name=tab).click()
                watched.page.wait_for_timeout(300)
            for name in ("html", "markdown", "plotly", "mermaid") if not mode else ("plotly",):
                see(watched.page, name)
                watched.page.wait_for_timeout(700)
            watched.page.goto(f"{ui.url}no-such-page")
            assert watched.outside == []
            assert mode or [url for url in watched.refused if "beacon.png" in url], "the recorder sees nothing"
            watched.page.close()
            if mode:
                ui.stop()

    def test_a_page_of_ones_own_asks_nothing_of_another_machine_either(self, browser: Browser, embedded: Ui) -> None:
        watched = Watched(browser.new_page(viewport={"width": 1400, "height": 900}))
        opened(watched.page, embedded.url)
        for name, selector in (("html", "h1"), ("markdown", "li"), ("mermaid", "svg"), ("graphviz", "svg")):
            see(watched.page, name)
            watched.page.frame_locator(".value iframe").locator(selector).first.wait_for()
        assert watched.outside == []
        assert [url for url in watched.refused if "beacon.png" in url]
        assert watched.page.title() != "hacked"
        assert watched.errors == []
        watched.page.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an index in which every text is an attack."""
    directory = tmp_path_factory.mktemp("hostile")
    with bs.Project("hostile", db=directory / "hostile.db", storage_path=directory / "blobs") as project:
        fill_with_attacks(project)
    return str(directory / "hostile.db")


@pytest.mark.slow
class TestHostileResults:
    @pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
    def test_it_runs_nothing(self, policy: bool, hostile: str, page: Page, start: Callable[..., Ui]) -> None:
        ui = start(hostile) if policy else start(hostile, script=EMBEDDED)
        check_that_nothing_runs(Watched(page), ui)

    def test_the_attack_would_be_seen(self, page: Page) -> None:
        page.set_content(HOSTILE)
        wait_until(page, lambda: page.title() == "hacked")
        assert page.evaluate("window.hacked") == 1

    def test_frames_have_an_origin_of_their_own(self, shown: Watched) -> None:
        page = see(shown.page, "mermaid")
        page.frame_locator(".value iframe").locator("svg").first.wait_for()
        frame = page.frames[-1]
        assert frame.evaluate("self.origin") == "null"
        assert "SecurityError" in frame.evaluate(
            "(() => { try { return parent.document.title } catch (e) { return e.name } })()"
        )
        for kept in ("document.cookie", "localStorage"):
            assert (
                frame.evaluate(f"(() => {{ try {{ return {kept} }} catch (e) {{ return e.name }} }})()")
                == "SecurityError"
            )
        assert "allow-same-origin" not in (page.locator(".value iframe").get_attribute("sandbox") or "")


def app_path(app: Ui) -> str:
    arguments: Any = app.process.args
    return str(arguments[4])


class TestTheServer:
    def test_other_hosts_are_refused(self, app: Ui) -> None:
        assert get(app.url, Host="evil.example")[0] == 403
        assert get(f"{app.url}value/{'0' * 32}", Host=f"evil.example:{app.port}")[0] == 403
        assert get(app.url, Host=f"127.0.0.1:{app.port}")[0] == 200

    def test_websockets_of_other_pages_are_refused(self, app: Ui) -> None:
        def handshake(origin: str) -> int:
            lines = ["GET /ws HTTP/1.1", f"Host: localhost:{app.port}", f"Origin: {origin}", "Connection: Upgrade"]
            lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
            with socket.create_connection(("127.0.0.1", app.port)) as connection:
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                return int(connection.recv(1000).split()[1])

        assert handshake("http://evil.example") == 403
        assert handshake("null") == 403
        assert handshake("http://localhost:1") == 403

    def test_every_answer_carries_a_policy(self, app: Ui, gallery: str) -> None:
        for path in ("", "no-such-page", "static/js/bokeh.min.js", f"value/{key_of(gallery, 'png')}"):
            assert "default-src" in get(app.url + path)[1]["Content-Security-Policy"], path
        first, second = (re.search("nonce-[^']+", get(app.url)[1]["Content-Security-Policy"]) for _ in range(2))
        assert first is not None
        assert second is not None
        assert first[0] != second[0]

    def test_a_value_is_a_download_unless_a_browser_only_shows_it(self, app: Ui, gallery: str) -> None:
        for name, is_shown in (("png", True), ("pdf", True), ("audio", True), ("html", False), ("svg", False)):
            status, headers, _ = get(f"{app.url}value/{key_of(gallery, name)}")
            assert status == 200
            assert headers["Content-Disposition"].startswith("inline" if is_shown else "attachment")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert is_shown or headers["Content-Type"] == "application/octet-stream"
        assert get(f"{app.url}value/{key_of(gallery, 'pdf')}")[2] == PDF

    def test_a_part_of_a_value_is_given(self, app: Ui, gallery: str) -> None:
        url = f"{app.url}value/{key_of(gallery, 'pdf')}"
        status, headers, content = get(url, Range="bytes=5-9")
        assert (status, headers["Content-Range"], content) == (206, f"bytes 5-9/{len(PDF)}", PDF[5:10])
        assert get(url, Range="bytes=-4")[2] == PDF[-4:]
        assert get(url, Range=f"bytes={len(PDF)}-")[0] == 416

    @pytest.mark.parametrize("path", ["../x.db", "..%2fx.db", "%2fetc%2fpasswd", "0" * 32, "zz", f"{'0' * 30}.."])
    def test_only_keys_lead_to_values(self, path: str, app: Ui) -> None:
        assert get(f"{app.url}value/{path}")[0] in (400, 404)

    @pytest.mark.slow
    def test_a_row_that_points_outside_gives_nothing(self, start: Callable[..., Ui], tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("secret")
        (tmp_path / "blobs" / "ab").mkdir(parents=True)
        link = f"ab/{'ab' * 16}-00000000"
        (tmp_path / "blobs" / link).symlink_to(tmp_path / "secret.txt")
        db = SQLiteTaskDB(tmp_path / "x.db")
        places = ["../secret.txt", str(tmp_path / "secret.txt"), "ab/../../secret.txt", link]
        records = [make_record(i, None) for i in range(len(places))]
        db.upsert(
            [r._replace(entry=r.entry._replace(location=p, size=6)) for r, p in zip(records, places, strict=True)]
        )
        db.close()
        ui = start(tmp_path / "x.db")
        for i in range(len(places)):
            status, _, content = get(f"{ui.url}value/{make_key(i).hex()}")
            assert status == 404
            assert b"secret" not in content.replace(b"secret.txt", b"")

    @pytest.mark.slow
    def test_a_token_lets_in_and_nothing_else_does(self, page: Page, start: Callable[..., Ui], gallery: str) -> None:
        ui = start(gallery, "--token", "open-sesame")
        value = f"value/{key_of(gallery, 'png')}"
        for path in ("", value, "ws"):
            status, _, content = get(ui.url + path)
            assert status in (302, 403), path
            assert b"PNG" not in content
        assert get(f"{ui.url}enter?token=wrong")[0] == 401
        assert ui.printed.endswith("/enter?token=open-sesame")
        page.goto(ui.printed)
        page.wait_for_selector(ROWS)
        assert "token" not in page.url
        (cookie,) = [c for c in page.context.cookies() if c.get("name", "").startswith("beautyspot")]
        assert cookie.get("httpOnly")
        assert cookie.get("sameSite") == "Strict"
        assert "open-sesame" not in (cookie.get("value") or "")
        assert get(ui.url + value, Cookie=f"{cookie.get('name')}={cookie.get('value')}")[0] == 200

    @pytest.mark.slow
    def test_a_password_lets_in_and_nothing_else_does(
        self, browser: Browser, start: Callable[..., Ui], gallery: str
    ) -> None:
        ui = start(gallery, environment={"BEAUTYSPOT_BASIC_AUTH": "me:secret"})
        assert get(ui.url)[0] == 302
        status, headers, _ = get(f"{ui.url}enter")
        assert (status, headers["WWW-Authenticate"][:5]) == (401, "Basic")
        context = browser.new_context(http_credentials={"username": "me", "password": "secret"})
        page = context.new_page()
        page.goto(ui.url)
        page.wait_for_selector(ROWS)
        context.close()
        wrong = browser.new_context(http_credentials={"username": "me", "password": "wrong"})
        assert wrong.new_page().goto(ui.url).status == 401  # type: ignore[union-attr]
        wrong.close()

    @pytest.mark.slow
    def test_beyond_this_machine_a_token_is_asked_for(self, start: Callable[..., Ui], gallery: str) -> None:
        ui = start(gallery, "--address", "0.0.0.0")
        assert re.fullmatch(r"http://localhost:\d+/enter\?token=\S{30,}", ui.printed)
        assert get(ui.url)[0] == 302


@pytest.mark.slow
def test_a_project_beyond_one_machine_is_seen_as_well(
    page: Page, start: Callable[..., Ui], postgres_url: str, s3_server: S3Server, s3_url: str
) -> None:
    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=s3_server.options) as project:
        fill(project)
    options = [word for name, value in s3_server.options.items() for word in ("--s3-opt", f"{name}={value}")]
    ui = start(postgres_url, "--storage-path", s3_url, *options)
    opened(page, ui.url)
    for name in ("png", "line_array", "json_value"):
        see(page, name)
    opened(page, ui.url, status="Failed")
    wait_until(page, lambda: len(rows_of(page)) == 1)
    page.goto(f"{ui.url}?tab=health")
    page.get_by_role("button", name="Check everything").click()
    page.locator(".note", has_text="All of them are whole").wait_for()
    assert "secret" not in page.content()


@pytest.mark.slow
def test_a_project_in_memory_is_seen_in_a_page_of_ones_own(page: Page, start: Callable[..., Ui]) -> None:
    script = """
import panel as pn
import beautyspot as bs
from beautyspot.dashboard import results_app
project = bs.Project("memory", db="memory://", storage_path="memory://")
task = project.task(lambda x: {"x": x})
bs.map(task, range(50))
server = pn.serve(lambda: results_app(project, per_page=10), port=0, show=False, start=False, verbose=False, address="127.0.0.1", websocket_origin="*")
server.start()
print(f"http://127.0.0.1:{server.port}/", flush=True)
server.io_loop.start()
"""
    ui = start(script=script)
    opened(page, ui.url)
    wait_until(page, lambda: page.locator(".bs-range").inner_text() == "1–10 of 50")
    page.locator(ROWS).nth(3).click()
    page.locator(".value details").first.wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download").first.click()
    assert json.loads(Path(download.value.path()).read_text()) == {"x": 46}


def test_a_click_means_the_row_that_was_drawn_whatever_came_in_its_place() -> None:
    script = """
import asyncio
import beautyspot as bs
from beautyspot.dashboard.browser import TaskBrowser
from beautyspot.dashboard.queries import source_of


async def main():
    with bs.Project("clicked") as project:
        task = project.task(lambda x: x)
        bs.map(task, range(3))
        browser = TaskBrowser(source_of(project), per_page=3)
        await browser.start()
        drawn = browser.table.keys
        task(3)
        await browser.refresh()
        assert browser.table.keys != drawn
        browser.table.chosen = drawn[2]  # as the page tells it, which has not drawn the new rows yet
        assert browser.key == drawn[2] == task.key(0)


asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
