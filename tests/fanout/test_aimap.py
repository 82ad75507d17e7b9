"""aimap: results of an async task one by one, with bounded memory; and calls of an amap that are cancelled."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.testing import Count


@pytest.fixture
def project(tmp_path: Path) -> Iterator[bs.Project]:
    with bs.Project("test", db=tmp_path / "test.db", storage_path=tmp_path / "blobs") as project:
        yield project


def test_results_come_in_the_order_of_the_inputs(project: bs.Project, count: Count) -> None:
    @project.task
    async def fetch(x: int) -> int:
        count()
        await asyncio.sleep(0.02 * (x % 3))
        return 2 * x

    async def main() -> list[int]:
        return [result async for result in bs.aimap(fetch, [*range(20), *range(20)], workers=4)]

    assert asyncio.run(main()) == [2 * x for x in range(20)] * 2
    assert asyncio.run(main()) == [2 * x for x in range(20)] * 2
    assert len(count) == 20


def test_results_may_come_in_any_order(project: bs.Project) -> None:
    @project.task
    async def fetch(x: float) -> float:
        await asyncio.sleep(x)
        return x

    async def main(ordered: bool) -> list[float]:
        return [result async for result in bs.aimap(fetch, [0.3, 0.0, 0.01], workers=3, ordered=ordered)]

    assert asyncio.run(main(ordered=False)) == [0.0, 0.01, 0.3]
    assert asyncio.run(main(ordered=True)) == [0.3, 0.0, 0.01]


def test_an_endless_input_is_read_as_far_as_it_is_used(project: bs.Project) -> None:
    read: list[int] = []
    most = running = 0

    def numbers() -> Iterator[int]:
        for i in itertools.count():
            read.append(i)
            yield i

    @project.task(ignore=("most", "running"))
    async def double(x: int) -> int:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.3 if x == 0 else 0)
        running -= 1
        return 2 * x

    async def main() -> list[int]:
        async with aclosing(bs.aimap(double, numbers(), workers=3)) as results:
            return [await anext(results) for _ in range(300)]

    assert asyncio.run(main()) == [2 * x for x in range(300)]
    assert most <= 3
    assert len(read) < 300 + 600


def test_slow_inputs_do_not_block_the_event_loop(project: bs.Project) -> None:
    longest = 0.0

    def slow() -> Iterator[int]:
        for i in range(3):
            time.sleep(0.3)
            yield i

    @project.task
    async def same(x: int) -> int:
        return x

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async def main() -> list[int]:
        watching = asyncio.create_task(watch())
        results = [result async for result in bs.aimap(same, slow())]
        watching.cancel()
        return results

    assert asyncio.run(main()) == [0, 1, 2]
    assert longest < 0.25


def test_calls_that_run_when_it_is_closed_are_stored(project: bs.Project) -> None:
    started: list[int] = []

    @project.task(ignore="started")
    async def fetch(x: int) -> int:
        started.append(x)
        await asyncio.sleep(0.05)
        return x

    async def main() -> None:
        async with aclosing(bs.aimap(fetch, itertools.count(), workers=4)) as results:
            async for result in results:
                if result == 3:
                    break

    asyncio.run(main())
    assert 4 <= len(started) <= 16
    assert all(fetch.cached(x) for x in started)


def test_leaving_the_loop_is_enough_while_the_program_goes_on(project: bs.Project) -> None:
    started: list[int] = []

    @project.task(ignore="started")
    async def fetch(x: int) -> int:
        started.append(x)
        await asyncio.sleep(0.05)
        return x

    async def main() -> None:
        async for _ in bs.aimap(fetch, itertools.count(), workers=4):
            break
        await asyncio.sleep(0.5)
        assert len(started) <= 8
        assert all(fetch.cached(x) for x in started)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_cancelling_its_consumer_cancels_the_running_calls(project: bs.Project) -> None:
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

    async def consume() -> list[int]:
        return [result async for result in bs.aimap(fetch, range(10), workers=4)]

    async def main() -> None:
        consuming = asyncio.create_task(consume())
        while running < 4:
            await asyncio.sleep(0.01)
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming

    asyncio.run(main())
    assert cancelled == 4


def test_failures_are_treated_as_on_error_says(project: bs.Project) -> None:
    @project.task
    async def divide(x: int) -> float:
        await asyncio.sleep(0)
        return 1 / x

    async def collected(on_error: Any) -> list[Any]:
        found: list[Any] = []
        try:
            async for result in bs.aimap(divide, [1, 0, 2], on_error=on_error, workers=1):
                found.append(result)
        except Exception as error:
            found.append(type(error))
        return found

    assert asyncio.run(collected("raise")) == [1.0, ZeroDivisionError]
    assert asyncio.run(collected("continue")) == [1.0, 0.5, bs.MapError]
    one, failed, half = asyncio.run(collected("return"))
    assert (one, type(failed), half) == (1.0, ZeroDivisionError, 0.5)


def test_batch_tasks_are_iterated_in_lists(project: bs.Project) -> None:
    lists: list[int] = []

    @project.batch_task(size=10, ignore="lists")
    async def same(xs: list[int]) -> list[int]:
        lists.append(len(xs))
        return xs

    async def main() -> list[int]:
        return [result async for result in bs.aimap(same, range(25), workers=2)]

    assert asyncio.run(main()) == list(range(25))
    assert sum(lists) == 25


class TestCancelledCalls:
    """A call that is cancelled fails alone; an amap that is cancelled ends."""

    def test_a_cancelled_call_fails_like_any_other(self, project: bs.Project) -> None:
        @project.task
        async def fetch(x: int) -> int:
            await asyncio.sleep(0)
            if x == 1:
                raise asyncio.CancelledError("the client gave up")
            return x

        async def main() -> None:
            zero, failed, *others = await bs.amap(fetch, range(6), workers=2, on_error="return")
            assert (zero, others) == (0, [2, 3, 4, 5])
            assert isinstance(failed, asyncio.CancelledError)
            with pytest.raises(bs.MapError, match=r"1 of 6 calls of .*: 1 × CancelledError\.") as caught:
                await bs.amap(fetch, range(6), workers=2, on_error="continue")
            assert caught.value.inputs == {1: (1,)}
            assert isinstance(caught.value.failures[1].__cause__, asyncio.CancelledError)
            found = [each async for each in bs.aimap(fetch, range(3), on_error="return")]
            assert isinstance(found[1], asyncio.CancelledError)
            with pytest.raises(asyncio.CancelledError, match="the client gave up"):
                await bs.amap(fetch, range(6), workers=2)

        asyncio.run(main())

    def test_a_task_that_cancels_itself_fails_alone(self, project: bs.Project) -> None:
        @project.task
        async def fetch(x: int) -> int:
            task = asyncio.current_task()
            if x == 1 and task is not None:
                task.cancel()
            await asyncio.sleep(0.01)
            return x

        results = asyncio.run(bs.amap(fetch, range(4), on_error="return"))
        assert [type(result) for result in results] == [int, asyncio.CancelledError, int, int]
        assert bs.plan(fetch, range(4)).failed == ((1,),)

    def test_a_cancelled_list_fails_alone(self, project: bs.Project) -> None:
        @project.batch_task(size=2)
        async def same(xs: list[int]) -> list[int]:
            if 2 in xs:
                raise asyncio.CancelledError
            return xs

        results = asyncio.run(bs.amap(same, range(6), workers=1, on_error="return"))
        failed = asyncio.CancelledError
        assert [type(result) for result in results] == [int, int, failed, failed, int, int]

    @pytest.mark.parametrize("engine", ["threads", "processes"])
    def test_a_sync_call_that_is_cancelled_inside_fails_alone(self, project: bs.Project, engine: str) -> None:
        def fetch(x: int) -> int:
            async def inner() -> int:
                if x == 1:
                    raise asyncio.CancelledError
                return x

            return asyncio.run(inner())

        results = bs.map(project.task(fetch), range(4), engine=engine, workers=2, on_error="return")
        assert [type(result) for result in results] == [int, asyncio.CancelledError, int, int]
