"""The results app on the newest Panel, which needs another Python than the rest of the tests run on."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beautyspot as bs
from tests.support.browser import ROWS, Ui, Watched, check_that_nothing_runs, chromium, opened, see, wait_until
from tests.support.gallery import KINDS, fill, fill_with_attacks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parent.parent.parent
OURS = ["msgpack", "blake3", "cloudpickle", "tqdm", "limits", "click", "rich", "typing-extensions"]
THEIRS = ["panel>=1.10", "panel-material-ui", "pandas", "polars", "pyarrow", "pillow"]


def newer_python() -> str:
    """A Python from 3.12 on, wherever this machine has one."""
    if sys.version_info >= (3, 12):
        return sys.executable
    found = [shutil.which(f"python3.{minor}") for minor in (12, 13)]
    found += sorted(map(str, Path("~/.pyenv/versions").expanduser().glob("3.1[23].*/bin/python")))
    for python in found:
        if python and subprocess.run([python, "-c", "import ssl, sqlite3"], capture_output=True).returncode == 0:
            return python
    pytest.skip("this machine has no Python from 3.12 on, and none can be installed from a registry of packages")


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the newest Panel that the lock file knows."""
    place = tmp_path_factory.mktemp("newest")
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "-q", "--python", newer_python(), place / "v"], check=True)
    python = str(place / "v/bin/python")
    lock = ["-c", ROOT / "requirements.lock"]
    done = subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, *lock, *OURS, *THEIRS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture
def ui(newest: str, tmp_path: Path) -> Iterator[Ui]:
    with bs.Project("gallery", db=tmp_path / "gallery.db", storage_path=tmp_path / "blobs") as project:
        fill(project)
    ui = Ui(tmp_path / "gallery.db", python=newest, environment={"PYTHONPATH": str(ROOT), "BOKEH_RESOURCES": "cdn"})
    yield ui
    ui.stop()


def test_the_newest_panel_shows_the_same(ui: Ui, newest: str) -> None:
    version = subprocess.run([newest, "-c", "import panel; print(panel.__version__)"], capture_output=True, text=True)
    assert tuple(map(int, version.stdout.split(".")[:2])) >= (1, 10)
    with chromium() as browser:
        watched = Watched(browser.new_page(viewport={"width": 1400, "height": 900}))
        page = opened(watched.page, ui.url)
        for name, _, _, here, framed in KINDS:
            see(page, name)
            if here:
                page.locator(f".value {here}").first.wait_for()
            else:
                page.frame_locator(".value iframe").locator(framed).first.wait_for()
        for tab in ("Functions", "Maps", "Health"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(1500)
        page.get_by_role("button", name="Check everything").click()
        page.locator(".note", has_text="All of them are whole").wait_for()
        opened(page, ui.url, status="Failed")
        wait_until(page, lambda: page.locator(ROWS).count() == 1)
        page.locator(ROWS).first.click()
        page.locator(".failed").first.wait_for()
        assert page.title() == "gallery.db · beautyspot"
        assert watched.outside == []
        assert watched.errors == []


def test_the_newest_panel_runs_nothing_of_a_hostile_result(newest: str, tmp_path: Path) -> None:
    with bs.Project("hostile", db=tmp_path / "hostile.db", storage_path=tmp_path / "blobs") as project:
        fill_with_attacks(project)
    ui = Ui(tmp_path / "hostile.db", python=newest, environment={"PYTHONPATH": str(ROOT)})
    with chromium() as browser:
        check_that_nothing_runs(Watched(browser.new_page(viewport={"width": 1400, "height": 900})), ui)
    ui.stop()


def test_the_newest_panel_turns_to_the_last_page(newest: str, tmp_path: Path) -> None:
    with bs.Project("many", db=tmp_path / "many.db") as project:
        bs.map(project.task(version="1")(lambda x: x), range(230))
    ui = Ui(tmp_path / "many.db", python=newest, environment={"PYTHONPATH": str(ROOT)})
    with chromium() as browser:
        page = opened(browser.new_page(), ui.url)
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "1–20 of 230")
        page.get_by_role("button", name="Last page").click()
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "221–230 of 230")
        page.get_by_role("button", name="First page").click()
        wait_until(page, lambda: page.locator(".bs-range").inner_text() == "1–20 of 230")
    ui.stop()
