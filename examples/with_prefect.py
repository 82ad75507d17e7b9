"""A Prefect flow that is ended with kill -9: the next run of it runs only what is missing.

Needs `pip install beautyspot prefect`; versions that were tried together are in `with_prefect.lock`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

place = None if "BEAUTYSPOT_EXAMPLE" in os.environ else tempfile.TemporaryDirectory(prefix="beautyspot-")
HERE = Path(place.name if place else os.environ["BEAUTYSPOT_EXAMPLE"])  # real code names a place that stays
# Nothing goes to the network, and nothing into ~/.prefect. Prefect reads these when it is imported.
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


@prefect.task  # one task of Prefect, many calls: none of them costs a round trip to its server
def fetch_all(numbers: list[int]) -> list[str]:
    return bs.map(fetch, numbers, workers=4, progress=False)


@prefect.task
@project.task  # a task of Prefect may be one of ours itself: each call is seen there, and kept here
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
    with prefect_test_harness(server_startup_timeout=300):  # a server of Prefect, for as long as this takes
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
    if place is None:
        print(nightly())
        project.close()
    else:
        with place, project:
            main()
