"""Single flight: one execution per key at a time across threads, coroutines and processes, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.testing import Count


def in_threads(number: int, function: Any) -> list[Any]:
    """Call a function in several threads at once; return their results and exceptions."""
    results: list[Any] = [None] * number

    def run(i: int) -> None:
        try:
            results[i] = function()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("db", ["p.db", "memory://"])
def test_concurrent_threads_share_one_run(db: str, count: Count) -> None:
    with bs.Project("p", db=db) as project:

        @project.task
        def slow(x: int) -> list[int]:
            count()
            time.sleep(0.2)
            return [x]

        results = in_threads(8, lambda: slow(1))
        assert results == [[1]] * 8
        assert len({id(result) for result in results}) == 8
        assert len(count) == 1


def test_concurrent_coroutines_share_one_run(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(x: int) -> int:
        count()
        await asyncio.sleep(0.1)
        return x

    async def main() -> list[int]:
        return await asyncio.gather(*(slow(1) for _ in range(8)))

    assert asyncio.run(main()) == [1] * 8
    assert len(count) == 1


def test_event_loops_in_threads_share_one_run(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(x: int) -> int:
        count()
        await asyncio.sleep(0.2)
        return x

    assert in_threads(6, lambda: asyncio.run(slow(1))) == [1] * 6
    assert len(count) == 1


def test_when_a_call_fails_a_waiting_one_runs(project: bs.Project, count: Count) -> None:
    @project.task
    def flaky(x: int) -> int:
        count()
        time.sleep(0.05)
        if len(count) < 3:
            raise ValueError(len(count))
        return x

    results = in_threads(6, lambda: flaky(1))
    assert sum(isinstance(result, ValueError) for result in results) == 2
    assert results.count(1) == 4
    assert len(count) == 3


def test_cancelling_a_waiting_call_affects_no_other(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(x: int) -> int:
        count()
        await asyncio.sleep(0.2)
        return x

    async def main() -> list[Any]:
        waiters = [asyncio.create_task(slow(1)) for _ in range(5)]
        await asyncio.sleep(0.05)
        waiters[2].cancel()
        return await asyncio.gather(*waiters, return_exceptions=True)

    results = asyncio.run(main())
    assert isinstance(results.pop(2), asyncio.CancelledError)
    assert results == [1] * 4
    assert len(count) == 1


def test_when_the_running_call_is_cancelled_a_waiting_one_runs(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(x: int) -> int:
        count()
        await asyncio.sleep(0.1)
        return x

    async def main() -> list[Any]:
        waiters = [asyncio.create_task(slow(1)) for _ in range(4)]
        while not len(count):
            await asyncio.sleep(0.01)
        waiters[0].cancel()
        first = await asyncio.gather(*waiters, return_exceptions=True)
        return [*first, await asyncio.wait_for(slow(1), 5)]

    cancelled, *results = asyncio.run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert results == [1] * 4
    assert len(count) == 2


def test_a_result_is_stored_though_its_caller_is_cancelled_during_the_write(project: bs.Project) -> None:
    @project.task
    async def large(x: int) -> bytes:
        return bytes(30_000_000)

    async def main() -> None:
        running = asyncio.create_task(large(1))
        while not large.project.single_flight._in_flight:
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for _ in range(500):
            if not large.project.single_flight._in_flight:
                return
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert not project.single_flight._in_flight
    assert not list(project.results.garbage())


def test_a_task_that_calls_itself_with_its_own_arguments_is_an_error(project: bs.Project) -> None:
    @project.task
    def endless(x: int) -> int:
        return endless(x)

    with pytest.raises(RecursionError, match="calls itself with the arguments that it is running with"):
        endless(1)
    with pytest.raises(RecursionError):
        endless(1)


def test_a_task_may_call_itself_with_other_arguments(project: bs.Project) -> None:
    @project.task
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(30) == 832040


_SLOW = """
import os, sys, time
import beautyspot as bs
project = bs.Project("p", db="p.db", storage_path="blobs")
@project.task(version="1")
def slow(x, seconds):
    with open("count.txt", "a") as file: file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    return x
"""


def start(code: str, cwd: Path) -> subprocess.Popen[str]:
    (cwd / "slow.py").write_text(_SLOW)
    return subprocess.Popen(
        [sys.executable, "-c", "from slow import *\n" + code],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_lines(path: Path, number: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().splitlines()) >= number:
            return
        time.sleep(0.005)
    raise AssertionError(f"{path} has not {number} lines after {seconds} s")


def test_concurrent_processes_share_one_run(tmp_path: Path) -> None:
    processes = [start("print(slow(1, 1.0))", tmp_path) for _ in range(5)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (out, err) == ("1\n", "")
    assert len((tmp_path / "count.txt").read_text().splitlines()) == 1


def test_an_async_task_waits_for_another_process_without_blocking(tmp_path: Path) -> None:
    code = """
import asyncio
@project.task(version="1")
async def nap(x):
    with open("count.txt", "a") as file: file.write("run\\n")
    await asyncio.sleep(1.0)
    return x
async def main():
    ticks = 0
    running = asyncio.create_task(nap(1))
    while not running.done():
        await asyncio.sleep(0.01); ticks += 1
    print(await running, ticks > 20)
asyncio.run(main())
"""
    (tmp_path / "naps.py").write_text(_SLOW + code)
    processes = [
        subprocess.Popen([sys.executable, "naps.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["1 True\n"] * 3
    assert len((tmp_path / "count.txt").read_text().splitlines()) == 1


def test_the_lock_of_a_killed_process_is_released_at_once(tmp_path: Path) -> None:
    holder = start("slow(1, 60)", tmp_path)
    wait_for_lines(tmp_path / "count.txt", 1)
    waiter = start("import time; s = time.monotonic(); print(slow(1, seconds=60) if 0 else slow(1, 60))", tmp_path)
    time.sleep(0.5)
    assert waiter.poll() is None
    killed = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    wait_for_lines(tmp_path / "count.txt", 2)
    assert time.monotonic() - killed < 20  # of the minute that the call lasts
    waiter.kill()
    waiter.communicate()


def test_a_call_waits_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    holder = start("slow(1, 3)", tmp_path)
    wait_for_lines(tmp_path / "count.txt", 1)
    waiter = start("print(slow(1, 3))", tmp_path)
    assert waiter.communicate(timeout=60)[0] == "1\n"
    holder.communicate()
    assert len((tmp_path / "count.txt").read_text().splitlines()) == 1


def test_a_child_forked_while_a_call_runs_does_not_hold_its_lock(tmp_path: Path) -> None:
    code = """
import threading, os, time
thread = threading.Thread(target=slow, args=(1, 0.5)); thread.start()
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    time.sleep(3); os._exit(0)
thread.join()
print(slow(1, 0.5), flush=True)
os.kill(pid, 9)
"""
    process = start("import warnings; warnings.simplefilter('ignore')" + code, tmp_path)
    assert process.communicate(timeout=30)[0] == "1\n"
    again = start("print(slow.refresh(1, 0.5))", tmp_path)
    assert again.communicate(timeout=30)[0] == "1\n"


def test_parent_and_child_can_use_the_index_after_a_fork(project: bs.Project) -> None:
    @project.task
    def double(x: int) -> int:
        return 2 * x

    for i in range(20):
        double(i)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            good = [double(i) for i in range(40)] == [2 * i for i in range(40)]
            os.write(writing, b"good" if good else b"bad")
        finally:
            os._exit(0)
    assert [double(i) for i in range(40, 60)] == [2 * i for i in range(40, 60)]
    os.waitpid(pid, 0)
    assert os.read(reading, 10) == b"good"
    os.close(reading)
    os.close(writing)
    assert all(double.cached(i) for i in range(60))


def test_a_process_can_be_forked_while_its_threads_write(project: bs.Project) -> None:
    double = project.task(lambda x: 2 * x)
    stop = threading.Event()

    def write(first: int) -> None:
        i = first
        while not stop.is_set():
            double(i)
            i += 1

    threads = [threading.Thread(target=write, args=(n * 10**6,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for n in range(15):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if [double(-i) for i in range(5)] == [-2 * i for i in range(5)] else 1)
            deadline = time.monotonic() + 20
            status = 0
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    raise AssertionError(f"child {n} hangs")
                time.sleep(0.005)
            assert status == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_child_forked_while_the_first_key_is_computed_can_compute_it_too(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, threading
        import beautyspot as bs
        from beautyspot.keys import keyer as keys
        entered, go_on = threading.Event(), threading.Event()
        fingerprint = keys.fingerprint
        def slow(function):
            entered.set()
            go_on.wait(60)
            return fingerprint(function)
        keys.fingerprint = slow
        project = bs.Project("p", db="p.db")
        double = project.task(lambda x: 2 * x)
        thread = threading.Thread(target=double, args=(1,))
        thread.start()
        assert entered.wait(60)
        if not os.fork():
            keys.fingerprint = fingerprint
            os._exit(double(2) - 4)
        print(os.wait()[1])
        go_on.set()
        thread.join()
    """)
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-W", "ignore", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
