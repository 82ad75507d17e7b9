"""A worker runs the very function whose key it was given, or says that it cannot."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import beautyspot as bs
from tests.support.marks import on_sqlite

_MODULE = """
import beautyspot as bs
project, other = bs.Project("one"), bs.Project("two")
MODEL = "first"
tasks = []
for model in ("small", "medium", "large"):
    @project.task
    def ask(prompt, model=model):
        return f"{model}: {prompt}"
    tasks.append(ask)
def shared(x):
    return x
shared_one, shared_two = project.task(name="shared")(shared), other.task(name="shared")(shared)
@project.task
def constant(x):
    return MODEL, x
@project.task
def helped(x):
    return helper(x)
def helper(x):
    return x + 1
def made(factor):
    @project.task
    def times(x):
        return factor * x
    return times
"""
_MAPPED = """
import concurrent.futures, multiprocessing, sys
import beautyspot as bs
IMPORT
def main():
    how = sys.argv[1]
    engine = "processes"
    if how == "joblib":
        engine = "joblib"
    elif how != "own":
        engine = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(how))
        list(engine.map(abs, range(4)))  # the workers are there before anything changes
    def mapped(task):
        return bs.map(task, range(3), engine=engine, workers=2, progress=False)
    shown = [mapped(task) for task in tasks]
    shown.append([mapped(made(2)), mapped(made(3))])
    mapped(shared_two)
    shown.append([[task.cached(x) for x in range(3)] for task in (shared_one, shared_two)])
    globals()["MODEL"] = here.MODEL = "second"
    shown.append(mapped(constant))
    shown.append([constant(x) for x in range(3)])
    print(shown)
if __name__ == "__main__":
    main()
"""
_EXPECTED = [
    ["small: 0", "small: 1", "small: 2"],
    ["medium: 0", "medium: 1", "medium: 2"],
    ["large: 0", "large: 1", "large: 2"],
    [[0, 2, 4], [0, 3, 6]],
    [[False] * 3, [True] * 3],
    [("second", 0), ("second", 1), ("second", 2)],
    [("second", 0), ("second", 1), ("second", 2)],
]


@pytest.mark.parametrize("place", ["script", "module"])
@pytest.mark.parametrize("engine", ["own", "joblib", "fork", "spawn", "forkserver"])
def test_defaults_captured_values_constants_and_projects_are_the_callers(
    engine: str, place: str, tmp_path: Path
) -> None:
    if place == "script":
        source = _MAPPED.replace("IMPORT", _MODULE.replace("import beautyspot as bs", "here = sys.modules[__name__]"))
    else:
        (tmp_path / "here.py").write_text(_MODULE)
        source = _MAPPED.replace("IMPORT", "import here\nfrom here import *")
    (tmp_path / "script.py").write_text(source)
    done = subprocess.run([sys.executable, "script.py", engine], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert eval(done.stdout) == _EXPECTED


@on_sqlite
def test_locks_events_and_semaphores_travel_as_new_ones(project: bs.Project) -> None:
    lock, rlock, event, semaphore = threading.Lock(), threading.RLock(), threading.Event(), threading.Semaphore(2)
    lock.acquire()

    @project.task
    def ask(x: int) -> bool:
        with semaphore, rlock:
            free = lock.acquire(timeout=5)
            lock.release()
            return free and not event.is_set()

    assert bs.map(ask, range(2), engine="processes", workers=2) == [True, True]


@on_sqlite
def test_a_captured_value_that_cannot_travel_is_named_before_anything_runs(project: bs.Project, tmp_path: Path) -> None:
    file = (tmp_path / "out").open("w")
    runs = tmp_path / "runs"

    @project.task
    def ask(x: int) -> int:
        runs.write_text("ran")
        file.write(str(x))
        return x

    with pytest.raises(
        bs.ConfigurationError,
        match=r'write engine="threads", or make \'file\' \(_io\.TextIOWrapper\) inside ask: it is captured, and cannot be',
    ):
        bs.map(ask, range(3), engine="processes", workers=2)
    assert not runs.exists()
    file.close()


@on_sqlite
def test_a_large_captured_array_is_mapped_into_each_worker_and_can_be_written_there(project: bs.Project) -> None:
    table = np.zeros(1_000_000)

    @project.task
    def change(x: int) -> float:
        table[x] += 1
        return float(table[x])

    assert bs.map(change, range(20), engine="processes", workers=2) == [1.0] * 20
    assert not table.any()


@on_sqlite
def test_random_numbers_differ_in_each_worker_and_chunk(project: bs.Project) -> None:
    import random

    @project.task
    def draw(x: int) -> tuple[float, float]:
        return random.random(), float(np.random.random())

    np.random.seed(1)
    random.seed(1)
    drawn = bs.map(draw, range(100), engine="processes", workers=2)
    assert len({a for a, _ in drawn}) == len({b for _, b in drawn}) == 100


_NESTED = """
import sys
import beautyspot as bs
project = bs.Project("p")
def main(engine):
    log = []
    @project.task
    def embed(x):
        log.append(x)
        open("runs", "a").write(".")
        return x
    @project.task
    def pipeline(x):
        log.append(-x)
        open("runs", "a").write(".")
        return embed(x % 4) + embed(x)
    for _ in range(2):
        bs.map(pipeline, range(6), engine=engine, workers=2, progress=False)
main(sys.argv[1])
"""


def test_a_nested_task_that_shares_state_runs_once_whatever_the_engine(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("if __name__ == '__main__':\n" + textwrap.indent(_NESTED, "    "))
    runs = []
    for engine in ("processes", "threads", "processes"):
        subprocess.run([sys.executable, "script.py", engine], cwd=tmp_path, check=True)
        runs.append((tmp_path / "runs").stat().st_size)
    assert runs == [12, 12, 12]


@on_sqlite
def test_what_runs_have_changed_before_a_map_is_state_in_its_workers_too(project: bs.Project) -> None:
    log: list[int] = []

    @project.task
    def embed(x: int) -> int:
        log.append(x)
        return x

    @project.task
    def pipeline(x: int) -> int:
        log.append(-x)
        return embed(x)

    pipeline(1)
    assert bs.map(pipeline, [2, 3], engine="processes", workers=2) == [2, 3]
    assert all(embed.cached(x) for x in (1, 2, 3))
    assert log == [-1, 1]
