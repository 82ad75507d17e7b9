"""The contract of a map on an engine."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.testing.programs import ProgramsContract
from beautyspot.testing.records import Count


class Stubborn(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__("stubborn")


class Sent(list[int]):
    """Counts how often it is pickled."""

    def __init__(self, count: Count, items: Iterable[int]) -> None:
        super().__init__(items)
        self._count = count

    def __beautyspot_key__(self) -> str:
        return "sent"

    def __reduce__(self) -> Any:
        self._count("sent")
        return list, (list(self),)


class FanOutContract(ProgramsContract):
    """The contract of `bs.map` on any engine.

    Needs the fixtures ``engine``, which is passed as ``engine=``, and ``engine_source``: an expression that makes an
    engine of that kind in another program (``bs`` is beautyspot).

    If a test makes no sense for an engine (threads do not die), a subclass sets ``test_of_that = None``.
    """

    @pytest.fixture
    def project(self, tmp_path: Path) -> Iterator[bs.Project]:
        with bs.Project("contract", db=tmp_path / "contract.db", storage_path=tmp_path / "blobs") as project:
            yield project

    @pytest.fixture
    def count(self, tmp_path: Path) -> Count:
        return Count(tmp_path / "count.txt")

    def test_results_stand_in_the_order_of_the_inputs(self, project: bs.Project, engine: Any) -> None:
        double: Any = project.task(lambda x: 2 * x)
        assert bs.map(double, range(50), workers=2, engine=engine) == [2 * x for x in range(50)]
        assert all(double.cached(x) for x in range(50))

    def test_cached_results_do_not_run(self, project: bs.Project, engine: Any, count: Count) -> None:
        double: Any = project.task(lambda x: 2 * x + count(x))
        bs.map(double, range(0, 40, 2), workers=2, engine=engine)
        assert bs.map(double, range(40), workers=2, engine=engine) == [2 * x for x in range(40)]
        assert sorted(map(int, count.lines)) == list(range(40))

    def test_equal_inputs_run_once(self, project: bs.Project, engine: Any, count: Count) -> None:
        make: Any = project.task(lambda x: [x + count(x)])
        results = bs.map(make, [1, 2, 1, 1, 2, 3], workers=2, engine=engine)
        assert results == [[1], [2], [1], [1], [2], [3]]
        assert len({id(result) for result in results}) == 6
        assert len(count) == 3

    def test_calls_locked_by_other_processes_are_polled_later(
        self, project: bs.Project, engine: Any, count: Count, tmp_path: Path
    ) -> None:
        last_has_run = tmp_path / "last"

        def function(x: int) -> int:
            count(x)
            if x == 5:
                last_has_run.touch()
            deadline = time.monotonic() + 100  # in which the workers of any engine start, on a busy machine too
            while x == 0 and not last_has_run.exists():
                assert time.monotonic() < deadline, "the map waited for an input that someone else runs"
                time.sleep(0.01)
            return x

        task: Any = project.task(function)
        other = threading.Thread(target=task, args=(0,))
        other.start()
        while not len(count):
            time.sleep(0.01)
        assert bs.map(task, range(6), workers=1, engine=engine) == list(range(6))
        other.join()
        assert sorted(map(int, count.lines)) == list(range(6))

    def test_two_maps_at_a_time_run_each_input_once(self, project: bs.Project, engine: Any, count: Count) -> None:
        def function(x: int) -> int:
            time.sleep(0.02)
            count(x)
            return x

        results: list[list[int]] = []
        task: Any = project.task(function)
        threads = [
            threading.Thread(target=lambda: results.append(bs.map(task, range(20), workers=2, engine=engine)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [list(range(20))] * 2
        assert sorted(map(int, count.lines)) == list(range(20))

    def test_several_iterables_are_zipped(self, project: bs.Project, engine: Any) -> None:
        add: Any = project.task(lambda x, y: x + y)
        assert bs.map(add, range(5), itertools.count(10), engine=engine) == [10, 12, 14, 16, 18]

    def test_iterables_fill_the_parameters_that_are_not_fixed(self, project: bs.Project, engine: Any) -> None:
        task: Any = project.task(lambda client, prompt, *, model="small", n=0: (client, prompt, model, n))
        options: dict[str, Any] = {"workers": 2, "engine": engine}
        for _ in range(2):
            large = bs.map(task, ["a", "b"], fixed={"client": "c", "model": "large"}, **options)
            assert large == [("c", "a", "large", 0), ("c", "b", "large", 0)]
            assert bs.map(task, ["c"], ["d"], fixed={"n": 1}, **options) == [("c", "d", "small", 1)]
        assert task.cached("c", "a", model="large")

    def test_rows_are_calls(self, project: bs.Project, engine: Any) -> None:
        task: Any = project.task(lambda a, b=2, *, c=3: (a, b, c))
        rows = [{"a": 1}, (1, 5), {"c": 0, "a": 1}, {"a": 1}]
        options: dict[str, Any] = {"workers": 2, "engine": engine, "unpack": True}
        for _ in range(2):
            assert bs.map(task, rows, **options) == [(1, 2, 3), (1, 5, 3), (1, 2, 0), (1, 2, 3)]
            assert bs.map(task, rows[:2], fixed={"c": 9}, **options) == [(1, 2, 9), (1, 5, 9)]
        assert list(bs.imap(task, iter(rows), **options)) == [(1, 2, 3), (1, 5, 3), (1, 2, 0), (1, 2, 3)]

    def test_a_fixed_value_travels_with_the_task(self, project: bs.Project, engine: Any, count: Count) -> None:
        task: Any = project.task(lambda x, table: table[x])
        table = Sent(count, range(100))
        assert bs.map(task, range(100), fixed={"table": table}, workers=1, engine=engine) == list(range(100))
        assert len(count) <= 2  # the code of the task may have to be sent as well, and the table with it

    def test_large_results_come_back(self, project: bs.Project, engine: Any) -> None:
        make: Any = project.task(lambda n: bytes([n % 251]) * n)
        sizes = [10, 200_000, 3_000_000]
        assert bs.map(make, sizes, workers=2, engine=engine) == [bytes([n % 251]) * n for n in sizes]
        assert bs.map(make, sizes, workers=2, engine=engine) == [bytes([n % 251]) * n for n in sizes]

    def test_the_first_failure_is_raised_and_what_finished_is_kept(
        self, project: bs.Project, engine: Any, count: Count
    ) -> None:
        def function(x: int) -> int:
            count(x)
            time.sleep(0.01)
            if x == 3:
                raise KeyError("three")
            return x

        task: Any = project.task(function)
        with pytest.raises(KeyError, match="three"):
            bs.map(task, range(200), workers=2, engine=engine)
        ran = [int(x) for x in count.lines]
        assert len(ran) < 60
        assert all(task.cached(x) for x in ran if x != 3)

    def test_all_other_calls_run_where_errors_do_not_stop(self, project: bs.Project, engine: Any) -> None:
        def function(x: int) -> float:
            return 1 / x

        task: Any = project.task(function)
        with pytest.raises(bs.MapError, match=r"2 of 5 calls of .* failed, .*: 2 × ZeroDivisionError") as caught:
            bs.map(task, [1, 0, 2, -0, 4], workers=2, engine=engine, on_error="continue")
        error = caught.value
        assert error.inputs == {1: (0,), 3: (0,)}
        assert error.results == {0: 1.0, 2: 0.5, 4: 0.25}
        assert {i: type(e) for i, e in error.failures.items()} == {1: ZeroDivisionError, 3: ZeroDivisionError}
        assert [type(e) for e in error.exceptions] == [ZeroDivisionError]  # one of each type, for tracebacks
        assert task.cached(4)

    def test_errors_may_be_returned_and_are_recorded(self, project: bs.Project, engine: Any) -> None:
        task: Any = project.task(lambda x: 1 / x)
        one, failed, quarter = bs.map(task, [1, 0, 4], workers=2, engine=engine, on_error="return")
        assert (one, quarter) == (1.0, 0.25)
        assert isinstance(failed, ZeroDivisionError)
        assert bs.plan(task, [1, 0, 4]).failed == ((0,),)

    def test_an_endless_input_is_read_as_far_as_it_is_used(self, project: bs.Project, engine: Any) -> None:
        read = []

        def numbers() -> Iterator[int]:
            for i in itertools.count():
                read.append(i)
                yield i

        double: Any = project.task(lambda x: 2 * x)
        results = bs.imap(double, numbers(), workers=2, engine=engine)
        assert [next(results) for _ in range(30)] == [2 * x for x in range(30)]
        results.close()
        assert len(read) < 1500

    def test_closing_the_iterator_stores_what_was_running(self, project: bs.Project, engine: Any, count: Count) -> None:
        def function(x: int) -> int:
            count(x)
            time.sleep(0.05)
            return x

        task: Any = project.task(function)
        results = bs.imap(task, itertools.count(), workers=2, engine=engine)
        assert next(results) == 0
        results.close()
        ran = [int(x) for x in count.lines]
        assert len(ran) < 12
        assert all(task.cached(x) for x in ran)

    def test_results_may_come_in_any_order(self, project: bs.Project, engine: Any) -> None:
        def function(x: float) -> float:
            time.sleep(x)
            return x

        task: Any = project.task(function)
        assert sorted(bs.imap(task, [0.5, 0.0, 0.01], workers=2, engine=engine, ordered=False)) == [0.0, 0.01, 0.5]
        assert list(bs.imap(task, [0.5, 0.0, 0.01], workers=2, engine=engine)) == [0.5, 0.0, 0.01]

    def test_an_exception_that_cannot_be_pickled_is_reported(self, project: bs.Project, engine: Any) -> None:
        def function(x: int) -> int:
            raise Stubborn(1, 2)

        with pytest.raises(Exception, match="stubborn"):
            bs.map(project.task(function), [1], engine=engine)

    def test_system_exit_in_a_call_ends_the_map_and_no_worker(self, project: bs.Project, engine: Any) -> None:
        task: Any = project.task(lambda x: sys.exit(int(x)))
        double: Any = project.task(lambda x: 2 * x)
        with pytest.raises(SystemExit, match="3"):
            bs.map(task, [3], workers=2, engine=engine)
        assert bs.map(double, range(4), workers=2, engine=engine) == [0, 2, 4, 6]

    def test_a_dead_worker_is_an_error_that_names_the_input(self, project: bs.Project, engine: Any) -> None:
        caller = os.getpid()

        def function(x: int) -> int:
            if x == 7 and os.getpid() != caller:
                os._exit(3)
            return x

        task: Any = project.task(ignore=("caller",))(function)
        results = bs.map(task, range(20), engine=engine, workers=2, on_error="return")
        assert [r for r in results if not isinstance(r, Exception)] == [x for x in range(20) if x != 7]
        assert isinstance(results[7], bs.WorkerDied)
        assert "function(x=7) died" in str(results[7])

    def test_methods_closures_and_partials_are_tasks_there(self, project: bs.Project, engine: Any) -> None:
        class Tool:
            def __init__(self, factor: int) -> None:
                self.factor = factor

            def __beautyspot_key__(self) -> int:
                return self.factor

            @project.task
            def times(self, x: int) -> int:
                return self.factor * x

            @project.task
            @classmethod
            def name(cls, x: int) -> str:
                return f"{cls.__name__}{x}"

            @project.task
            @staticmethod
            def twice(x: int) -> int:
                return 2 * x

        def shifted(by: int) -> Any:
            return project.task(lambda x: x + by)

        power: Any = project.task(functools.partial(pow, exp=2))
        options: dict[str, Any] = {"workers": 2, "engine": engine}
        for _ in range(2):
            assert bs.map(Tool(3).times, range(4), **options) == [0, 3, 6, 9]
            assert bs.map(Tool.twice, range(4), **options) == [0, 2, 4, 6]
            assert bs.map(shifted(10), range(4), **options) == [10, 11, 12, 13]
            assert bs.map(shifted(20), range(4), **options) == [20, 21, 22, 23]
            assert bs.map(power, range(4), **options) == [0, 1, 4, 9]

    def test_a_closure_is_sent_with_its_present_values(self, project: bs.Project, engine: Any) -> None:
        by = 1

        @project.task
        def add(x: int) -> int:
            return x + by

        assert bs.map(add, range(3), workers=2, engine=engine) == [1, 2, 3]
        by = 10
        assert bs.map(add, range(3), workers=2, engine=engine) == [10, 11, 12]

    def test_a_budget_paces_all_workers(self, tmp_path: Path, engine: Any) -> None:
        with bs.Project("paced", db=tmp_path / "paced.db", tpm=None, rpm=1200) as project:

            @project.task
            @project.limiter
            def call(x: int) -> float:
                return time.time()

            times = sorted(bs.map(call, range(12), workers=2, engine=engine))
        assert times[-1] - times[0] > 10 * 0.05

    def test_the_progress_counts_inputs(
        self, project: bs.Project, engine: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        task: Any = project.task(lambda x: 1 / x)
        bs.map(task, [1, 2], progress=False)
        bs.map(task, [1, 2, 3, 0, 4], workers=2, engine=engine, progress=True, on_error="return")
        shown = capsys.readouterr().err
        last = shown.split("\r")[-1]
        assert "5/5" in last
        assert "kept=2, run=2, failed=1" in last
