"""Prefect and Dagster, each in an environment of its own with the versions of its lock: they pin too much for ours."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parent.parent.parent
QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
# Python runs it first in every process, servers of the engines included.
WATCH = """
import os, sys
LOCAL = ("localhost", "127.0.0.1", "::1", "", None, "0.0.0.0", b"localhost", b"127.0.0.1")
def watch(event, args):
    if event == "socket.getaddrinfo" and args[0] not in LOCAL:
        reached = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in LOCAL:
        reached = args[1]
    else:
        return
    with open(os.environ["REACHED"], "a") as file:
        file.write(f"{reached!r}\\n")
sys.addaudithook(watch)
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the Python of an environment that has what a lock beside the examples names, and nothing else."""
    made: dict[str, str] = {}

    def make(engine: str) -> str:
        if engine not in made:
            place = tmp_path_factory.mktemp(engine)
            uv = str(Path(sys.executable).parent / "uv")
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, place / "v"], check=True)
            python = str(place / "v/bin/python")
            lock = ROOT / "examples" / f"with_{engine}.lock"
            # Compiled, since they are large and a run of an example is many processes.
            install = [uv, "pip", "install", "-q", "--python", python, "--compile-bytecode", "--require-hashes"]
            done = subprocess.run([*install, "-r", lock], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            made[engine] = python
        return made[engine]

    return make


@pytest.fixture
def run(environments: Callable[[str], str], tmp_path: Path) -> Run:
    """Runs a script with an engine; gives what it printed, and sees that it ended and reached no other machine."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "here").mkdir()
    (tmp_path / "home").mkdir()

    def run(engine: str, script: str | Path) -> str:
        ours = {"PYTHONPATH": f"{tmp_path / 'watch'}:{ROOT}", "REACHED": str(tmp_path / "reached.txt")}
        homes = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
        process = subprocess.Popen(
            [environments(engine), script], cwd=tmp_path / "here", env={**os.environ, **QUIET, **homes, **ours},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            printed, said = process.communicate(timeout=600)  # which lasts until its last process ends
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, said = process.communicate()
        assert process.returncode == 0, printed + said
        assert not (tmp_path / "reached.txt").exists(), (tmp_path / "reached.txt").read_text()
        assert list((tmp_path / "home").iterdir()) == []
        return printed

    return run


def page_code(name: str) -> tuple[str, list[str]]:
    """The block of the guide that is named so, and what it says that it prints."""
    page = (ROOT / "docs/guide/workflows.md").read_text()
    (code,) = re.findall(rf"```python\n(# {re.escape(name)}\n.*?)```", page, re.DOTALL)
    return code, re.findall(r"^ *print\(.*\) +# (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize(("engine", "name"), [("prefect", "flow.py"), ("dagster", "assets.py")])
def test_the_code_of_the_guide_prints_what_it_says(run: Run, tmp_path: Path, engine: str, name: str) -> None:
    code, expected = page_code(name)
    (tmp_path / name).write_text(code)
    assert run(engine, tmp_path / name).splitlines() == expected


def test_a_killed_prefect_flow_runs_only_what_is_missing(run: Run, tmp_path: Path) -> None:
    printed = run("prefect", ROOT / "examples/with_prefect.py")
    found = re.search(r"(\d+) of 60 pages begun, then killed; (\d+) are left\nsecond run: (\d+) pages", printed)
    assert found, printed
    begun, left, second = map(int, found.groups())
    assert 0 < left == second < 60
    assert 60 <= begun + second <= 60 + 4  # what the four threads had in hand when it was killed
    assert list((tmp_path / "here").iterdir()) == []


def test_a_failed_dagster_asset_runs_only_what_is_missing(run: Run, tmp_path: Path) -> None:
    printed = run("dagster", ROOT / "examples/with_dagster.py")
    assert "first run:  success=False, 40 calls; now 40 inputs: 36 kept, 4 to run, 4 failed last time" in printed
    assert "second run: success=True, 5 calls; 1560 words" in printed
    assert "third run:  success=True, 0 calls; 1560 words" in printed
    assert list((tmp_path / "here").iterdir()) == []


_COMPOSED = """
import os
from pathlib import Path
import prefect
from prefect.cache_policies import INPUTS
from prefect.task_runners import ProcessPoolTaskRunner
import beautyspot as bs

project = bs.Project("composed")

def ran():
    lines = sorted(Path("ran.txt").read_text().splitlines())
    Path("ran.txt").write_text("")
    return lines

def note(line):
    with open("ran.txt", "a") as file:
        file.write(line + "\\n")

@prefect.task
@project.task
def double(x):
    note(f"{x} {os.getpid() != int(os.environ['CALLER'])}")
    return 2 * x

@prefect.flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def in_processes(n):
    return double.map(range(n)).result()

@project.task
def square(x):
    note(f"{x}")
    return x * x

@prefect.task
def squares(n):
    return bs.map(square, range(n), engine="processes", workers=2)

@prefect.flow(retries=1)
def tried_again():
    found = squares(4)
    if not Path("once").exists():
        Path("once").touch()
        raise ValueError("the first attempt fails")
    return found

@prefect.task(persist_result=True, cache_policy=INPUTS)
@project.task
def kept_twice(x):
    note(f"{x}")
    return {"x": x}

@prefect.flow
def persisted(n):
    return [kept_twice(x) for x in range(n)]

if __name__ == "__main__":
    os.environ["CALLER"] = str(os.getpid())
    print(in_processes(2), ran())
    print(in_processes(3), ran())
    print(tried_again(), ran())
    print(persisted(2), ran())
    print(kept_twice.fn.forget(0), persisted(3), ran())
    project.close()
"""


def test_prefect_with_processes_retries_or_results_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "composed.py").write_text(_COMPOSED)
    assert run("prefect", tmp_path / "composed.py").splitlines() == [
        "[0, 2] ['0 True', '1 True']",
        "[0, 2, 4] ['2 True']",
        "[0, 1, 4, 9] ['0', '1', '2', '3']",
        "[{'x': 0}, {'x': 1}] ['0', '1']",
        "True [{'x': 0}, {'x': 1}, {'x': 2}] ['2']",  # Prefect did not ask for 0
    ]
