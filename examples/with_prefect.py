"""A Prefect flow that is killed with kill -9: its next run makes only the missing calls.

Needs `pip install beautyspot prefect`; `with_prefect.lock` lists versions that are tested together.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

directory = None if "BEAUTYSPOT_EXAMPLE" in os.environ else tempfile.TemporaryDirectory(prefix="beautyspot-")
HERE = Path(directory.name if directory else os.environ["BEAUTYSPOT_EXAMPLE"])  # real code uses a permanent directory
# Prefect sends nothing over the network and writes nothing to ~/.prefect. It reads these variables when it is imported.
os.environ |= {"PREFECT_HOME": str(HERE / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}

import prefect  # noqa: E402
from prefect.settings import PREFECT_API_URL  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

import beautyspot as bs  # noqa: E402

PAGES = 60
project = bs.Project("pages", db=HERE / "pages.db", storage_path=HERE / "blobs")


def note(line: str) -> None:
    with (HERE / "ran.txt").open("a") as file:
        file.write(line + "\n")


@project.task
def fetch(number: int) -> str:
    note(f"fetch {number}")
    time.sleep(0.05)
    return f"page {number} " * number


@prefect.task  # one Prefect task for many calls: they need no round trip to its server
def fetch_all(numbers: list[int]) -> list[str]:
    return bs.map(fetch, numbers, workers=4, progress=False)


@prefect.task
@project.task  # a Prefect task may be a beautyspot task too: Prefect shows each call, and beautyspot caches it
def count_words(pages: list[str]) -> int:
    note("count_words")
    return sum(len(page.split()) for page in pages)


@prefect.flow
def nightly() -> int:
    return count_words(fetch_all(list(range(PAGES))))


def ran() -> list[str]:
    return (HERE / "ran.txt").read_text().splitlines() if (HERE / "ran.txt").exists() else []


def start(api: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "BEAUTYSPOT_EXAMPLE": str(HERE), "PREFECT_API_URL": api}
    return subprocess.Popen([sys.executable, __file__], env=environment, stdout=subprocess.PIPE, text=True)


def main() -> None:
    with prefect_test_harness(server_startup_timeout=300):  # a temporary Prefect server
        run = start(PREFECT_API_URL.value())
        while len(ran()) < PAGES // 2 and run.poll() is None:
            time.sleep(0.01)
        run.kill()
        run.communicate()
        first, left = ran(), bs.plan(fetch, range(PAGES)).to_run
        print(f"first run:  {len(first)} of {PAGES} pages begun, then killed; {left} are left")
        assert run.returncode == -9
        assert 0 < left < PAGES

        words = start(PREFECT_API_URL.value()).communicate()[0].strip()  # how many the flow counted
        second = ran()[len(first) :]
        print(f"second run: {len(second) - 1} pages, then {second[-1]}: {words}")
        assert len(second) == left + 1
        assert {*first, *second} == {*(f"fetch {n}" for n in range(PAGES)), "count_words"}


if __name__ == "__main__":
    if directory is None:
        print(nightly())
        project.close()
    else:
        with directory, project:
            main()
