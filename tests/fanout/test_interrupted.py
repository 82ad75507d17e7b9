"""Interrupted maps: Ctrl-C or the death of the caller costs at most the calls in flight, and no process is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from tests.project.test_crashes import check_index, wait_for_the_end_of
from tests.support.clusters import DaskCluster

JOB = """
import os, sys, time
import beautyspot as bs
DIRECTORY = os.getcwd()
project = bs.Project("p", storage_path="blobs")
@project.task(version="1")
def work(x):
    with open(f"{DIRECTORY}/started/{x}", "w"): pass
    if LONG and x >= 20: time.sleep(60)
    time.sleep(0.02)
    return x
if __name__ == "__main__":
    SETUP
    try:
        bs.map(work, range(400), engine=ENGINE, workers=4, progress=False)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
# Seconds from Ctrl-C to the end, far above the usual time: two for Ray, less than one for the others. Long calls last a
# minute.
SOON = 30
ENGINES = ("threads", "processes", "joblib", "dask", "dask cluster", "ray", "ray cluster")


@pytest.fixture(scope="module")
def four_workers() -> Any:
    cluster = DaskCluster(4)
    yield cluster
    cluster.stop()


SLOW = ("joblib", "dask", "dask cluster", "ray", "ray cluster")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ENGINES])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Return a function that starts the job and waits until some twenty calls have begun."""
    setup, engine = "import polars", name  # polars handles Ctrl-C too: then waits without a timeout go on after it
    if name == "dask cluster":
        engine = request.getfixturevalue("four_workers").address
    elif name == "ray cluster":
        address = request.getfixturevalue("ray_cluster").address
        setup, engine = f"import ray; ray.init({address!r}, logging_level=40, log_to_driver=False)", "ray"
    (tmp_path / "started").mkdir()
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}

    def started(long: bool) -> "subprocess.Popen[str]":
        text = JOB.replace("SETUP", setup).replace("ENGINE", repr(engine)).replace("LONG", str(long))
        (tmp_path / "job.py").write_text(text)
        process = subprocess.Popen(
            [sys.executable, "job.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=environment,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "started").iterdir())) < 24:
            assert time.monotonic() < deadline, (process.kill(), process.communicate())
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return process

    return started


def count_cached(directory: Path) -> int:
    check_index(directory / "p.db")
    with bs.Project("p", db=directory / "p.db") as project:
        return len(list(project.db.summaries()))


@pytest.mark.parametrize("long", [False, True])
def test_ctrl_c_ends_a_map_soon_and_finished_calls_stay_cached(
    start: Any, name: str, long: bool, tmp_path: Path
) -> None:
    process = start(long)
    os.killpg(process.pid, signal.SIGINT)
    interrupted = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - interrupted < SOON, err
    assert out == "interrupted\n", err
    wait_for_the_end_of({process.pid})  # no worker is left
    time.sleep(0.5 if "cluster" in name else 0)  # the workers of a cluster are no children of the job
    started = len(list((tmp_path / "started").iterdir()))
    assert started < 100
    assert count_cached(tmp_path) >= started - 4 - (0 if long else 4)


def test_a_killed_caller_leaves_no_worker_and_resumes_when_it_is_restarted(
    start: Any, name: str, tmp_path: Path
) -> None:
    process = start(False)
    process.kill()
    process.communicate()
    if name == "ray":  # its workers end; its agents wait for their parent, which a container may never reap
        time.sleep(4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    wait_for_the_end_of({process.pid})
    time.sleep(1 if "cluster" in name else 0)
    before = {path.name: path.stat().st_mtime for path in (tmp_path / "started").iterdir()}
    cached = count_cached(tmp_path)
    assert cached >= len(before) - 8
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert count_cached(tmp_path) == 400
    ran_again = [n for n, began in before.items() if (tmp_path / "started" / n).stat().st_mtime != began]
    assert len(ran_again) <= len(before) - cached  # nothing ran after the caller's death, and no cached call again
