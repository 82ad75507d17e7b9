"""Commit groups: quick calls of a map share a transaction, with the same results and errors as single calls."""

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import beautyspot as bs
from beautyspot.errors import NotKeptWarning


def transactions(project: bs.Project) -> list[int]:
    """Return a list to which each write from now on appends its number of records."""
    sizes: list[int] = []
    upsert = project.db.upsert

    def counted(records: list[object]) -> None:
        sizes.append(len(records))
        upsert(records)  # type: ignore[arg-type]

    project.db.upsert = counted  # type: ignore[method-assign, assignment]
    return sizes


def test_quick_calls_share_transactions(project: bs.Project) -> None:
    sizes = transactions(project)
    task = project.task(lambda x: 2 * x)
    assert bs.map(task, range(3000), workers=2) == [2 * x for x in range(3000)]
    assert sum(sizes) == 3000
    assert len(sizes) < 2700  # a few dozen where nothing else runs
    assert all(task.cached(x) for x in range(3000))


def test_slow_calls_are_stored_one_by_one(project: bs.Project) -> None:
    sizes = transactions(project)
    bs.map(project.task(lambda x: time.sleep(0.01)), range(40), workers=4)
    assert sizes == [1] * 40


def test_a_result_is_stored_before_it_is_returned(project: bs.Project) -> None:
    task = project.task(lambda x: x)
    for x in bs.imap(task, range(2000), workers=3):
        assert task.cached(x)


def test_quick_results_are_stored_while_a_slow_call_follows_them(project: bs.Project) -> None:
    all_read = threading.Event()

    def function(x: int) -> int:
        if x == 700:
            assert all_read.wait(30)
        return x

    task = project.task(ignore=("all_read",))(function)
    results = bs.imap(task, range(701), workers=2, ordered=False)
    assert sorted(itertools.islice(results, 700)) == list(range(700))
    assert all(task.cached(x) for x in range(700))
    all_read.set()
    assert list(results) == [700]


def test_calls_held_up_by_a_slow_one_run_in_another_thread(project: bs.Project) -> None:
    others_done = threading.Event()

    def function(x: int) -> int:
        if x == 500:
            assert others_done.wait(30)
        return x

    task = project.task(ignore=("others_done",))(function)
    results = bs.imap(task, range(600), workers=2, ordered=False)
    assert 500 not in list(itertools.islice(results, 599))
    others_done.set()
    assert list(results) == [500]


def test_a_task_that_calls_itself_is_mapped(project: bs.Project) -> None:
    @project.task
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    expected = [0, 1]
    while len(expected) < 120:
        expected.append(expected[-1] + expected[-2])
    for inputs in (range(60), range(89, -1, -1), [*range(100, 120), *range(90, 100)]):
        assert bs.map(fibonacci, inputs, workers=3) == [expected[n] for n in inputs]


@pytest.mark.timeout(60)
def test_maps_inside_quick_maps_do_not_wait_for_each_other(project: bs.Project) -> None:
    inner = project.task(lambda x: x + 1)
    outer = project.task(lambda x: sum(bs.map(inner, [x, x + 1, 299 - x], workers=2)))
    assert bs.map(outer, range(300), workers=4) == [x + 1 + x + 2 + 300 - x for x in range(300)]


@pytest.mark.timeout(60)
def test_threads_inside_quick_calls_do_not_wait_for_the_commit_group(project: bs.Project) -> None:
    def function(x: int) -> int:
        if x % 50 == 49:  # calls, in another thread, for a result that its own group may hold
            results: list[int] = []
            context = __import__("contextvars").copy_context()
            thread = threading.Thread(target=lambda: results.append(context.run(task, x - 1)))
            thread.start()
            thread.join()
            return results[0] + 1
        return x

    task = project.task(ignore=("task",))(function)
    assert bs.map(task, range(1000), workers=2) == list(range(1000))


def test_the_first_failure_stops_a_commit_group(project: bs.Project) -> None:
    ran = []

    def function(x: int) -> int:
        ran.append(x)  # calls of a group that becomes slow move to other threads, and run out of order
        if x >= 1000:
            raise ValueError(x)
        return x

    task = project.task(ignore=("ran",))(function)
    with pytest.raises(ValueError, match=r"1\d\d\d") as raised:
        bs.map(task, range(2000), workers=1)
    failed = [x for x in ran if x >= 1000]
    assert [raised.value.args[0]] == failed == ran[-1:]
    assert all(task.cached(x) for x in ran[:-1])
    assert not project.single_flight._in_flight


def test_failures_in_a_commit_group_affect_no_other_call(project: bs.Project) -> None:
    task = project.task(lambda x: 1 / (x % 10))
    results = bs.map(task, range(1000), workers=2, on_error="return")
    assert sum(isinstance(result, ZeroDivisionError) for result in results) == 100
    assert sum(task.cached(x) for x in range(1000)) == 900
    assert len(list(project.db.failures())) == 100  # type: ignore[attr-defined]


def test_large_and_unserializable_results_may_be_among_quick_ones(project: bs.Project) -> None:
    def function(x: int) -> object:
        return bytes(100_000) if x == 300 else (lambda: 1) if x == 301 else x

    task = project.task(function)
    results = bs.map(task, range(600), workers=2, on_error="return")
    assert results[300] == bytes(100_000)
    assert isinstance(results[301], bs.SerializationError)
    assert [r for r in results if type(r) is int] == [x for x in range(600) if x not in (300, 301)]
    assert len(list(project.storage.blobs())) == 1


def test_results_that_cannot_be_written_are_returned_with_one_warning(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db") as project:
        task = project.task(lambda x: x)
        task(-1)

        def refuse(records: object) -> None:
            raise OSError("no space")

        project.db.upsert = refuse  # type: ignore[method-assign, assignment]
        with pytest.warns(NotKeptWarning, match="no space") as caught:
            assert bs.map(task, range(1000), workers=2) == list(range(1000))
        assert len(caught) == 1


@pytest.mark.timeout(90)
def test_processes_that_map_the_same_inputs_in_another_order_share_the_work(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("""
import sys
import beautyspot as bs
project = bs.Project("p", db="p.db")
@project.task
def inner(x):
    with open("count.txt", "a") as file: file.write(f"{x}\\n")
    return x
@project.task
def outer(x): return inner((x * 7) % 400) + inner((x * 3) % 400)
inputs = list(range(400))[:: int(sys.argv[1])]
assert bs.map(outer, inputs, workers=4) == [(x * 7) % 400 + (x * 3) % 400 for x in inputs]
""")
    processes = [subprocess.Popen([sys.executable, "job.py", step], cwd=tmp_path) for step in ("1", "-1", "1")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert sorted(map(int, (tmp_path / "count.txt").read_text().split())) == list(range(400))


@pytest.mark.timeout(30)
def test_an_index_that_becomes_foreign_ends_the_map_with_its_error(project: bs.Project) -> None:
    task = project.task(lambda x: x)
    bs.map(task, range(500), workers=2)

    def refuse(keys: object) -> None:
        raise bs.errors.ForeignIndexError("not ours any more")

    results = bs.imap(task, itertools.count(1000), workers=2)
    list(itertools.islice(results, 500))
    project.db.get = refuse  # type: ignore[method-assign, assignment]
    project.results._get = refuse  # type: ignore[assignment]
    project.db.lookup = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(bs.errors.ForeignIndexError, match="not ours any more"):
        for _ in results:
            pass
