"""Maps: cached results are read in bulk, equal inputs run once, and every finished call is stored."""

import asyncio
import concurrent.futures
import contextvars
import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.errors import ConfigurationError, EngineLost, MapError, WorkerDied
from beautyspot.testing import Count
from tests.support.marks import on_sqlite

HERE = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_work_under_every_start_method(method: str, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import multiprocessing, os
        import beautyspot as bs
        project = bs.Project("p", db="p.db", storage_path="blobs")
        def make(factor):
            @project.task
            def times(x): return x * factor
            return times
        @project.task
        def where(x): return os.getpid(), x
        class Tool:
            def __init__(self, n): self.n = n
            @project.task
            def add(self, x): return self.n + x
        if __name__ == "__main__":
            multiprocessing.set_start_method({method!r})
            results = bs.map(where, range(20), engine="processes", workers=2)
            assert [x for _, x in results] == list(range(20))
            assert os.getpid() not in {{pid for pid, _ in results}}
            assert bs.map(make(3), range(5), engine="processes", workers=2) == [0, 3, 6, 9, 12]
            assert bs.map(Tool(4).add, range(5), engine="processes", workers=2) == [4, 5, 6, 7, 8]
            assert all(where.cached(x) for x in range(20)) and make(3).cached(4) and Tool(4).add.cached(4)
            print("done")
    """)
    (tmp_path / "script.py").write_text(script)
    for _ in range(2):
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert (done.stdout, done.stderr) == ("done\n", "")


def test_two_processes_that_map_the_same_inputs_share_the_work(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, sys, time
        import beautyspot as bs
        project = bs.Project("p", db="p.db")
        @project.task
        def work(x):
            os.write(ran, b"x")
            time.sleep(0.05)
            return x
        if __name__ == "__main__":
            ran = os.open(f"ran{sys.argv[1]}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            work.cached(0)
            print("ready", flush=True)
            sys.stdin.readline()
            assert bs.map(work, range(100), workers=2) == list(range(100))
    """)
    (tmp_path / "script.py").write_text(script)
    command, pipe = [sys.executable, "script.py"], subprocess.PIPE
    jobs = [
        subprocess.Popen([*command, str(i)], cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for i in range(2)
    ]
    for job in jobs:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        print(file=job.stdin, flush=True)
    assert [job.communicate()[1] for job in jobs] == ["", ""]
    shares = [len((tmp_path / f"ran{i}").read_text()) for i in range(2)]
    assert sum(shares) == 100
    assert min(shares) > 20  # a process that did not skip the calls of the other one would wait most of the time


def test_an_amap_skips_a_call_that_another_coroutine_runs_and_comes_back_to_it(
    project: bs.Project, count: Count
) -> None:
    async def main() -> list[int]:
        last_has_run = asyncio.Event()

        @project.task(ignore="last_has_run")
        async def work(x: int) -> int:
            count(x)
            if x == 5:
                last_has_run.set()
            if x == 0:
                await asyncio.wait_for(last_has_run.wait(), 30)
            return x

        other = asyncio.create_task(work(0))
        while not len(count):
            await asyncio.sleep(0.01)
        results = await bs.amap(work, range(6), workers=1)
        assert await other == 0
        return results

    assert asyncio.run(main()) == list(range(6))
    assert sorted(map(int, count.lines)) == list(range(6))


def test_an_imap_waits_for_a_call_that_another_thread_runs_when_its_turn_comes(
    project: bs.Project, count: Count
) -> None:
    go_on = threading.Event()

    @project.task(ignore="go_on")
    def work(x: int) -> int:
        count(x)
        if x == 0:
            assert go_on.wait(30)
        return x

    other = threading.Thread(target=work, args=(0,))
    other.start()
    while not len(count):
        time.sleep(0.01)
    results = bs.imap(work, itertools.count(), workers=2)
    threading.Timer(0.3, go_on.set).start()
    assert list(itertools.islice(results, 300)) == list(range(300))
    results.close()
    other.join()
    lines = list(map(int, count.lines))
    assert len(lines) == len(set(lines))
    assert len(lines) < 300 + 200 + 20  # not far ahead of what was read


def test_a_script_without_a_main_guard_gets_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)\n"
        "import beautyspot as bs\nproject = bs.Project('p')\ntask = project.task(lambda x: x)\n"
        "print(bs.map(task, range(3), engine='processes', workers=2))\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("beautyspot.errors.ConfigurationError"), done.stderr
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_a_dead_worker_is_an_error_that_names_the_input(project: bs.Project) -> None:
    def function(x: int) -> int:
        if x == 7:
            os._exit(3)
        return x

    task = project.task(function)
    results = bs.map(task, range(20), engine="processes", workers=2, on_error="return")
    assert [r for r in results if not isinstance(r, Exception)] == [x for x in range(20) if x != 7]
    assert isinstance(results[7], WorkerDied)
    assert "function(x=7) died" in str(results[7])
    with pytest.raises(WorkerDied, match=r"function\(x=7\) died"):
        bs.map(task, [7], engine="processes", workers=2)


def test_a_broken_executor_of_the_user_is_an_error(project: bs.Project) -> None:
    task = project.task(lambda x: os._exit(1) if x == 1 else x)
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        with pytest.raises((WorkerDied, EngineLost)):
            bs.map(task, range(3), engine=pool)


def test_an_executor_that_was_shut_down_is_an_error(project: bs.Project) -> None:
    pool = concurrent.futures.ProcessPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ConfigurationError, match="the executor is shut down: hand in an open one"):
        bs.map(project.task(lambda x: x), range(3), engine=pool)


def test_maps_inside_maps_do_not_wait_for_each_other(project: bs.Project) -> None:
    inner = project.task(lambda x: x + 1)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    for kind in ("threads", pool):
        outer = project.task(version=str(kind), ignore=("kind",))(
            lambda x, kind=kind: sum(bs.map(inner, range(x, x + 3), workers=2, engine=kind))
        )
        assert bs.map(outer, range(5), workers=2, engine=kind) == [3 * x + 6 for x in range(5)]
    pool.shutdown()


def test_maps_inside_processes_work(project: bs.Project) -> None:
    inner = project.task(lambda x: x + 1)
    outer = project.task(lambda x: sum(bs.map(inner, range(x, x + 3), workers=2)))
    assert bs.map(outer, range(5), workers=2, engine="processes") == [3 * x + 6 for x in range(5)]


@on_sqlite
def test_workers_limits_the_calls_that_run_at_a_time(project: bs.Project) -> None:
    running, most, lock = 0, 0, threading.Lock()

    @project.task(ignore=("lock", "running", "most"))
    def function(x: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return x

    bs.map(function, range(40), workers=3)
    assert most == 3


@on_sqlite
def test_context_variables_reach_the_threads(project: bs.Project) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    task = project.task(ignore=("variable",))(lambda x: variable.get())
    assert bs.map(task, [1, 2]) == ["set", "set"]


@pytest.mark.parametrize("project_index", ["sqlite"])
def test_many_keys_are_looked_up_in_few_statements(project: bs.Project) -> None:
    task = project.task(lambda x: x)
    bs.map(task, range(10_000))
    statements: list[str] = []
    reader = project.db._connections.reader.sqlite  # type: ignore[attr-defined]
    reader.set_trace_callback(statements.append)
    assert bs.map(task, range(10_000)) == list(range(10_000))
    reader.set_trace_callback(None)
    assert len(statements) <= 100  # some twenty: a block that was read quickly is followed by a longer one


@pytest.mark.parametrize("project_index", ["sqlite"])
def test_cached_blobs_are_read_one_at_a_time(project: bs.Project) -> None:
    task = project.task(lambda x: bytes([x]) * 100_000)
    list(bs.imap(task, range(50)))
    blobs = 0
    load = project.storage.load

    def counted(location: str, size: int) -> bytearray:
        nonlocal blobs
        blobs += 1
        return load(location, size)

    project.storage.load = counted  # type: ignore[method-assign]
    results = bs.imap(task, range(50))
    next(results)
    assert blobs == 1
    results.close()


@pytest.mark.parametrize("project_index", ["postgres"])
def test_cached_blobs_are_read_several_at_a_time_over_a_network(project: bs.Project) -> None:
    task = project.task(lambda x: bytes([x]) * 100_000)
    expected = bs.map(task, range(40))
    load, lock = project.storage.load, threading.Lock()
    reading = most = begun = 0

    def counted(location: str, size: int) -> bytearray:
        nonlocal reading, most, begun
        with lock:
            reading, begun = reading + 1, begun + 1
            most = max(most, reading)
        time.sleep(0.02)
        content = load(location, size)
        with lock:
            reading -= 1
        return content

    project.storage.load = counted  # type: ignore[method-assign]
    assert bs.map(task, range(40)) == expected
    assert (4 <= most <= 8, begun) == (True, 40)
    results = bs.imap(task, range(40))
    assert next(results) == expected[0]
    results.close()
    assert begun <= 50

    @project.task(save_blob=True)
    async def fetch(x: int) -> bytes:
        return bytes([x]) * 10

    assert asyncio.run(bs.amap(fetch, range(40))) == [bytes([x]) * 10 for x in range(40)]
    most = 0
    assert asyncio.run(bs.amap(fetch, range(40))) == [bytes([x]) * 10 for x in range(40)]
    assert 3 <= most <= 8


def test_a_cached_result_is_returned_before_the_next_input_is_read(project: bs.Project) -> None:
    read = []

    def inputs() -> Iterator[int]:
        for i in range(3):
            read.append(i)
            yield i

    task = project.task(lambda x: x)
    task(0)
    results = bs.imap(task, inputs())
    assert next(results) == 0
    assert read == [0]
    assert list(results) == [1, 2]


def test_an_ordered_imap_does_not_run_far_ahead_of_a_slow_first_call(project: bs.Project) -> None:
    started: list[int] = []

    def function(x: int) -> int:
        started.append(x)
        if x == 0:
            time.sleep(1)
        return x

    results = bs.imap(project.task(ignore=("started",))(function), itertools.count(), workers=4)
    assert next(results) == 0
    assert len(started) < 1500
    results.close()


def test_calls_that_run_when_an_imap_is_abandoned_are_stored(project: bs.Project) -> None:
    def function(x: int) -> int:
        time.sleep(0.05)
        return x

    task = project.task(function)
    for result in bs.imap(task, range(100), workers=4):
        if result == 3:
            break
    del result
    import gc

    gc.collect()
    cached = sum(task.cached(x) for x in range(100))
    assert 4 <= cached <= 16


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": 2.5}, {"on_error": "ignore"}, {"engine": "fibres"}, {"engine": 3}]
)
@on_sqlite
def test_an_invalid_option_is_an_error(project: bs.Project, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        bs.map(project.task(lambda x: x), [1], **options)


@on_sqlite
def test_a_map_of_nothing_is_empty(project: bs.Project) -> None:
    task = project.task(lambda x: x)
    assert bs.map(task, []) == []
    assert list(bs.imap(task, iter(()))) == []
    with pytest.raises(TypeError, match="at least one iterable"):
        bs.map(task)


@on_sqlite
def test_an_input_iterator_that_raises_ends_the_map(project: bs.Project) -> None:
    def inputs() -> Iterator[int]:
        yield 1
        raise OSError("input broke")

    with pytest.raises(OSError, match="input broke"):
        list(bs.imap(project.task(lambda x: x), inputs()))


def wait_until_all_released(project: bs.Project) -> None:
    """Wait until no key is in flight; over a network, locks are released a moment after the call."""
    end = time.monotonic() + 30
    while project.single_flight._in_flight and time.monotonic() < end:
        time.sleep(0.01)
    assert not project.single_flight._in_flight


class TestAmap:
    def test_results_are_in_the_order_of_the_inputs(self, project: bs.Project, count: Count) -> None:
        @project.task
        async def fetch(x: int) -> int:
            count()
            await asyncio.sleep(0.01 * (x % 3))
            return 2 * x

        assert asyncio.run(bs.amap(fetch, [*range(20), *range(20)])) == [2 * x for x in range(20)] * 2
        assert asyncio.run(bs.amap(fetch, range(25))) == [2 * x for x in range(25)]
        assert len(count) == 25

    @on_sqlite
    def test_workers_limits_the_calls_that_run_concurrently(self, project: bs.Project) -> None:
        running = most = 0

        @project.task(ignore=("running", "most"))
        async def fetch(x: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return x

        asyncio.run(bs.amap(fetch, range(30), workers=5))
        assert most == 5

    @on_sqlite
    def test_failures_are_treated_as_on_error_says(self, project: bs.Project) -> None:
        @project.task
        async def fetch(x: int) -> float:
            await asyncio.sleep(0)
            return 1 / x

        with pytest.raises(ZeroDivisionError):
            asyncio.run(bs.amap(fetch, [1, 0, 2]))
        with pytest.raises(MapError) as caught:
            asyncio.run(bs.amap(fetch, [1, 0, 2], on_error="continue"))
        assert caught.value.results == {0: 1.0, 2: 0.5}
        assert isinstance(asyncio.run(bs.amap(fetch, [1, 0, 2], on_error="return"))[1], ZeroDivisionError)

    def test_cancelling_it_cancels_the_running_calls(self, project: bs.Project) -> None:
        running = cancelled = 0

        @project.task(ignore=("running", "cancelled"))
        async def fetch(x: int) -> int:
            nonlocal running, cancelled
            running += 1
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled += 1
                raise
            return x

        async def main() -> None:
            mapping = asyncio.ensure_future(bs.amap(fetch, range(10), workers=4))
            while running < 4:
                await asyncio.sleep(0.01)
            mapping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await mapping

        asyncio.run(main())
        assert cancelled == 4
        wait_until_all_released(project)


def test_a_plan_counts_what_a_map_would_run(project: bs.Project) -> None:
    def function(x: int) -> int:
        time.sleep(0.02)
        if x == 9:
            raise ValueError(x)
        return x

    task = project.task(function)
    bs.map(task, range(10), on_error="return")
    plan = bs.plan(task, [*range(20), 1, 15], workers=2)
    assert (plan.total, plan.kept, plan.to_run, plan.failed) == (22, 10, 11, ((9,),))
    assert plan.seconds is not None
    assert 0.1 < plan.seconds < 1
    assert str(plan).startswith("22 inputs: 10 kept, 11 to run, 1 failed last time")
    assert bs.plan(project.task(lambda x: x), [1]).seconds is None


@on_sqlite
def test_the_progress_bar_counts_cached_run_and_failed_calls(
    project: bs.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    task = project.task(lambda x: 1 / x)
    bs.map(task, range(1, 6), progress=False)
    assert capsys.readouterr().err == ""
    bs.map(task, range(10), on_error="return", progress=True, workers=1)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "10/10" in last
    assert "kept=5, run=4, failed=1" in last
    bs.map(task, range(1, 6))
    assert capsys.readouterr().err == ""  # standard error is no terminal here


@on_sqlite
def test_hits_do_not_distort_the_time_left(project: bs.Project) -> None:
    from beautyspot.fanout.progress import Progress

    progress = Progress(project.task(lambda x: x).core, 1000, True)
    progress.on_hits(900)
    time.sleep(0.2)
    progress.on_finished(failed=False)
    bar = progress._bar
    assert bar.n == 901
    assert (bar.n - bar.initial) / bar.format_dict["elapsed"] < 10
    progress.close()


def test_the_progress_of_a_long_map_is_recorded_for_viewers(project: bs.Project) -> None:
    seen = []

    def function(x: int) -> int:
        time.sleep(0.4)
        seen.extend(project.db.maps())  # type: ignore[attr-defined]
        return x

    task = project.task(ignore=("seen", "project"))(function)
    bs.map(task, range(8), workers=2)
    (recorded,) = project.db.maps()  # type: ignore[attr-defined]
    assert (recorded.total, recorded.run, recorded.failed) == (8, 8, 0)
    assert recorded.ended is not None
    assert seen
    assert seen[0].ended is None


@on_sqlite
def test_task_map_is_bs_map(project: bs.Project) -> None:
    assert project.task(lambda x: x + 1).map([1, 2], workers=1) == [2, 3]


def test_processes_start_with_the_method_of_multiprocessing() -> None:
    from beautyspot.adapters.futures import processes

    engine = processes(1)
    assert engine._context.get_start_method() == multiprocessing.get_start_method()
    engine.close()


@on_sqlite
def test_a_failure_names_its_input(project: bs.Project) -> None:
    @project.task
    def divide(a: int, b: int = 3) -> float:
        return b / a

    with pytest.raises(ZeroDivisionError) as raised:
        bs.map(divide, [1, 0, 2], workers=1)
    assert raised.value.__notes__ == ["raised by the call divide(a=0, b=3) of a map"]
    with pytest.raises(MapError, match=r"1 of 3 calls of .*divide failed, the first divide\(a=0, b=3\)"):
        bs.map(divide, [1, 0, 2], workers=1, on_error="continue")


@on_sqlite
def test_a_misspelt_engine_is_an_error_that_suggests_a_name(project: bs.Project) -> None:
    with pytest.raises(
        ConfigurationError, match=r"known as 'process', did you mean 'processes'\? Known are dask, joblib, p"
    ):
        bs.map(project.task(lambda x: x), [1], engine="process")


@on_sqlite
def test_a_map_error_says_which_exceptions_and_shows_each_once(project: bs.Project) -> None:
    def function(x: int) -> float:
        if x > 90:
            raise ValueError(f"too large: {x}")
        return 1 / (x % 10)

    with pytest.raises(bs.MapError) as caught:
        bs.map(project.task(function), range(100), on_error="continue")
    error = caught.value
    assert str(error).startswith("19 of 100 calls of ")
    assert "failed, the first function(x=0): 10 × ZeroDivisionError, 9 × ValueError. Print error.failures[0]," in str(
        error
    )
    shown = "".join(traceback.format_exception(error))
    assert (shown.count("ZeroDivisionError: "), shown.count("ValueError: ")) == (1, 1)
    assert len(error.failures) == len(error.inputs) == 19
    assert len(error.results) == 81
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.inputs, len(copy.failures)) == (str(error), error.inputs, 19)


@on_sqlite
def test_except_star_gives_all_failures_of_a_type(project: bs.Project) -> None:
    def function(x: int) -> float:
        if x > 3:
            raise KeyError(x)
        return 1 / (x % 3)

    caught: list[BaseException] = []
    try:
        try:
            bs.map(project.task(function), range(6), on_error="continue")
        except* KeyError as group:
            caught.append(group)
    except bs.MapError as rest:
        caught.append(rest)
    of_keys, others = caught
    assert isinstance(of_keys, bs.MapError)
    assert isinstance(others, bs.MapError)
    assert of_keys.inputs == {4: (4,), 5: (5,)}
    assert [str(error) for error in of_keys.failures.values()] == ["4", "5"]
    assert others.inputs == {0: (0,), 3: (3,)}
