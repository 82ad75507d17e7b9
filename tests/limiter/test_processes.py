"""One budget for many processes, without configuration: those of a map, two terminals, killed servers."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import beautyspot as bs
from beautyspot.errors import LimiterUnavailableError
from beautyspot.limiter.gcra import SLACK
from beautyspot.testing import Count
from tests.support.servers import RedisServer

SCRIPT = """
import json, sys, time
import beautyspot as bs

uri = sys.argv[1] if len(sys.argv) > 1 else None
project = bs.Project("batch", db="batch.db", tpm=60_000, limiter_uri=uri)

@project.task
@project.limiter(cost=lambda number, *_: 10 + number % 30)
def call(number, terminal=0):
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps([time.time(), 10 + number % 30, number]) + "\\n")
    return number

if __name__ == "__main__":
    with project:
        terminal = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        engine = sys.argv[3] if len(sys.argv) > 3 else "threads"
        bs.map(call, range(60), [terminal] * 60, workers=4, engine=engine, progress=False)
"""


def calls_of(directory: Path) -> list[list[float]]:
    return sorted(json.loads(line) for line in (directory / "calls.jsonl").read_text().splitlines())


def check_pace(calls: list[list[float]], rate: float, late: float = 0.5) -> None:
    """In every window no more than the rate, the slack and the largest call.

    A call writes its time a little after it was admitted: *late* seconds at most, of which a window may see the
    end of one and not of another.
    """
    largest = max(cost for _, cost, _ in calls)
    for first in range(len(calls)):
        total = 0.0
        for at, cost, _ in calls[first:]:
            total += cost
            assert total <= rate * (at - calls[first][0] + SLACK + late) + largest


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", script.name, *arguments]
    return subprocess.Popen(command, cwd=script.parent, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> None:
    done = [(process.communicate(timeout=100)[1], process.returncode) for process in processes]
    assert done == [("", 0)] * len(processes)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "batch.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def test_the_workers_of_a_map_keep_to_one_budget(script: Path, tmp_path: Path) -> None:
    finish(start(script, "sqlite:///" + str(tmp_path / "b.db"), "0", "processes"))
    calls = calls_of(tmp_path)
    assert len(calls) == 60
    check_pace(calls, 1000)


def test_the_default_is_shared_by_two_terminals(tmp_path: Path) -> None:
    path = tmp_path / "batch.py"
    path.write_text(textwrap.dedent(SCRIPT).replace("uri = sys.argv[1] if len(sys.argv) > 1 else None", "uri = None"))
    finish(start(path, "-", "1"), start(path, "-", "2", "processes"))
    calls = calls_of(tmp_path)
    assert len(calls) == 120
    check_pace(calls, 1000)
    assert (tmp_path / "batch.db-limits").exists()


@pytest.mark.slow
def test_two_machines_share_a_budget_through_redis(script: Path, tmp_path: Path, redis_url: str) -> None:
    finish(start(script, redis_url, "1"), start(script, redis_url, "2"))
    calls = calls_of(tmp_path)
    assert len(calls) == 120
    check_pace(calls, 1000)


@pytest.mark.slow
def test_a_deferral_reaches_the_workers_of_two_processes(script: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/b.db"
    processes = [start(script, uri, str(number)) for number in (1, 2)]
    calls = tmp_path / "calls.jsonl"
    while not calls.exists() or calls.read_text().count("\n") < 20:
        time.sleep(0.005)
    with bs.Project("batch", db=tmp_path / "batch.db", tpm=60_000, limiter_uri=uri) as project:
        project.defer(1.5)
        deferred = time.time()
    finish(*processes)
    # A call that was admitted just before may write its time just after.
    times = [at for at, _, _ in calls_of(tmp_path)]
    assert len(times) == 120
    assert not [at for at in times if deferred + 0.6 < at < deferred + 1.45]
    assert [at for at in times if at > deferred + 1.45]


def test_a_budget_in_memory_warns_in_the_workers_of_a_map(script: Path, tmp_path: Path) -> None:
    process = start(script, "memory://", "0", "processes")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1  # since warnings are errors here
    assert "RateLimitWarning: a budget in memory is not shared" in errors


def test_a_killed_server_stops_the_map_and_repeating_it_finishes_it(tmp_path: Path) -> None:
    server = RedisServer()
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, limiter_uri=server.url) as project:
        began: list[tuple[float, float, float]] = []
        stopped = threading.Event()

        @project.task(ignore=("server", "stopped", "began"))
        @project.limiter(cost=20)
        def call(number: int) -> int:
            began.append((time.time(), 20, number))
            if number == 30 and not stopped.is_set():
                stopped.set()
                server.kill()
            return number

        with pytest.raises(LimiterUnavailableError, match="redis://"):
            bs.map(call, range(100), workers=8, progress=False)
        assert 30 <= len(began) < 45  # what was admitted before is kept, and nothing runs without a budget
        server.start()
        assert bs.map(call, range(100), workers=8, progress=False) == list(range(100))
        assert len(began) <= 110
        check_pace(sorted(list(each) for each in began), 1000)
    server.stop()


def test_calls_wait_for_a_server_that_restarts(tmp_path: Path, count: Count) -> None:
    server = RedisServer()
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, limiter_uri=server.url) as project:
        call = project.limiter(cost=1)(count)
        call()
        server.kill()
        calling = threading.Thread(target=call)
        calling.start()
        time.sleep(0.3)
        assert calling.is_alive()
        server.start()  # here: it would end with a thread that started it
        calling.join()
    server.stop()
    assert len(count) == 2


CTRL_C = """
import os, signal, sys, threading, time
import beautyspot as bs

PLACE = os.getcwd()
project = bs.Project("p", tpm=3000)     # a call a second

@project.task
@project.limiter(cost=50)
def call(number):
    print(number, flush=True)
    open(f"{PLACE}/began", "w").close()
    return number

def interrupt():
    while not os.path.exists("began"):
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    if sys.argv[2] == "interrupted":
        threading.Thread(target=interrupt).start()
    try:
        bs.map(call, range(10 if sys.argv[2] == "interrupted" else 3), workers=4, engine=sys.argv[1], progress=False)
    except KeyboardInterrupt:
        print("interrupted", time.time(), flush=True)
        budget = project.budgets.budget("tokens", "")
        print(round(budget._store.sync.get_gcra(budget.keys)[0][0], 2))
    project.close()
"""


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_ctrl_c_begins_nothing_and_gives_charges_back(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text(textwrap.dedent(CTRL_C))
    run = [sys.executable, path.name, engine]
    done = subprocess.run([*run, "interrupted"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    *calls, interrupted, owed = done.stdout.splitlines()
    assert interrupted.startswith("interrupted"), done.stderr
    assert 1 <= len(calls) <= 4  # at 0 s, and one for each second that the interrupt comes late
    assert float(owed) <= 1.0 if engine == "threads" else float(owed) <= 2.0
    again = subprocess.run([*run, "again"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    ran = [*calls, *again.stdout.split()]
    assert len(ran) == len(set(ran))
    assert {"0", "1", "2"} <= set(ran)


def test_a_call_that_waits_for_its_budget_does_not_begin_after_a_failure(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000) as project:
        began: list[int] = []

        def call(number: int) -> int:
            began.append(number)
            if number == 2:
                raise ValueError("two")
            return number

        async def call_async(number: int) -> int:
            return call(number)

        task = project.task(ignore=("began",))(project.limiter(cost=100)(call))
        with pytest.raises(ValueError, match="two"):
            bs.map(task, range(20), workers=6, progress=False)
        assert 2 in began  # threads take their inputs in order, or nearly
        assert len(began) <= 4
        began.clear()
        async_task = project.task(ignore=("call",))(project.limiter(cost=100)(call_async))
        with pytest.raises(ValueError, match="two"):
            asyncio.run(bs.amap(async_task, range(20), workers=6, progress=False))
        assert 2 in began  # threads take their inputs in order, or nearly
        assert len(began) <= 4


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
@pytest.mark.slow
def test_workers_share_the_budget_however_they_are_started(how: str, tmp_path: Path) -> None:
    path = tmp_path / "batch.py"
    code = textwrap.dedent(SCRIPT).replace(
        'if __name__ == "__main__":',
        f'if __name__ == "__main__":\n    import multiprocessing\n    multiprocessing.set_start_method({how!r})',
    )
    path.write_text(code)
    finish(start(path, f"sqlite:///{tmp_path}/b.db", "0", "processes"))
    check_pace(calls_of(tmp_path), 1000)
