"""Programs as people write them, started three times and killed once: the second start runs what is missing."""

import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PAGES = 40


class Site(http.server.ThreadingHTTPServer):
    """A site of pages with links, which gives a cookie with each page and knows what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Page(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        time.sleep(0.02)
        number = int(self.path[1:])
        body = " ".join(f"/{link}" for link in (number + 1, 2 * number) if link < PAGES).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"visits={len(self.server.asked)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def _killed(program: list[str], place: Path, has_begun: Callable[[], bool]) -> None:
    """Start a program and end it with SIGKILL as soon as it has begun."""
    process = subprocess.Popen(program, cwd=place)
    deadline = time.monotonic() + 60
    while not has_begun():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


_SCRAPER = """
import sys
import requests
import beautyspot as bs

project = bs.Project("scraper")

def main(url, with_map):
    visited = set()
    with requests.Session() as session:
        session.headers["User-Agent"] = "ours"

        @project.task
        def fetch(path):
            visited.add(path)
            response = session.get(url + path)
            response.raise_for_status()
            return response.text

        found, new = {"/0"}, ["/0"]
        while new:
            pages = bs.map(fetch, new, workers=3, progress=False) if with_map else [fetch(path) for path in new]
            new = sorted({link for page in pages for link in page.split()} - found)
            found |= set(new)
    print(len(found))

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "map")
"""


@pytest.mark.parametrize("way", ["loop", "map"])
def test_a_scraper_with_a_session_fetches_each_page_once(way: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "scraper.py").write_text(_SCRAPER)
    program = [sys.executable, "-W", "error::beautyspot.errors.CapturedWarning", "scraper.py", site.url, way]
    _killed(program, tmp_path, lambda: len(site.asked) >= 10)
    subprocess.run(program, cwd=tmp_path, check=True)
    asked = len(site.asked)
    assert set(site.asked) == {f"/{number}" for number in range(PAGES)}
    assert PAGES <= asked <= PAGES + 3  # what was under way when it was killed
    done = subprocess.run(program, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == f"{PAGES}\n"
    assert len(site.asked) == asked


_NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
sys.modules["__main__"] = shell.user_module
for cell in json.load(open("notebook.json")):
    shell.run_cell(cell).raise_error()
"""
_CELLS = [
    "PROMPT = 'Summarize'\nSETTINGS = {'temperature': 0.5}",
    "import time\nimport beautyspot as bs\nproject = bs.Project('notebook')\ncost = 0.0\nlog = []",
    """
@project.task
def ask(text):
    global cost
    cost += 0.1
    log.append(text)
    with open("runs", "a") as file:
        file.write(".")
    time.sleep(0.02)
    return f"{PROMPT} {text} at {SETTINGS['temperature']}"
""",
    "answers = [ask(f'text {i}') for i in range(40)]\nassert answers[7] == f\"{PROMPT} text 7 at {SETTINGS['temperature']}\"",
]


@pytest.mark.slow
def test_a_notebook_with_its_prompt_in_the_first_cell_runs_anew_where_the_prompt_is_edited(tmp_path: Path) -> None:
    import json

    runs = tmp_path / "runs"
    (tmp_path / "kernel.py").write_text(_NOTEBOOK)
    program = [sys.executable, "-W", "error::beautyspot.errors.CapturedWarning", "kernel.py"]

    def run_again(cells: list[str]) -> int:
        """Run a notebook in a new kernel; returns how many calls ran."""
        before = runs.stat().st_size
        (tmp_path / "notebook.json").write_text(json.dumps(cells))
        subprocess.run(program, cwd=tmp_path, check=True)
        return runs.stat().st_size - before

    (tmp_path / "notebook.json").write_text(json.dumps(_CELLS))
    _killed(program, tmp_path, lambda: runs.exists() and runs.stat().st_size >= 10)
    started = runs.stat().st_size
    assert 40 - started <= run_again(_CELLS) <= 41 - started
    assert run_again(_CELLS) == 0
    edited = _CELLS[0].replace("Summarize", "Translate")
    assert run_again([edited, *_CELLS[1:]]) == 40
    assert run_again([*_CELLS, edited, _CELLS[3], _CELLS[0], _CELLS[3]]) == 0  # edited while the kernel goes on
    assert run_again([_CELLS[0].replace("0.5", "0.7"), *_CELLS[1:]]) == 40
