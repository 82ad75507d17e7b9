"""Streams: the items of a generator reach the caller as they are yielded, and are cached when the generator ends."""

import asyncio
import contextlib
import contextvars
import gc
import itertools
import json
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.errors import NotKeptWarning, SerializationError, UnreadableWarning
from beautyspot.limiter.gcra import SLACK
from beautyspot.testing import Count
from tests.support.marks import on_sqlite
from tests.support.tampering import change_blob


class Word:
    def __init__(self, text: str) -> None:
        self.text = text


@pytest.fixture
def letters(project: bs.Project, count: Count) -> Any:
    @project.task
    def letters(text: str) -> Iterator[str]:
        count(text)
        yield from text

    return letters


async def all_of(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def test_a_stream_is_run_once_and_replayed(letters: Any, count: Count) -> None:
    assert list(letters("abc")) == list(letters(text="abc")) == ["a", "b", "c"]
    assert list(letters("")) == list(letters("")) == []
    assert count.lines == ["abc", ""]


def test_an_async_stream_is_run_once_and_replayed(project: bs.Project, count: Count) -> None:
    @project.task
    async def letters(text: str) -> AsyncIterator[str]:
        count(text)
        for letter in text:
            await asyncio.sleep(0)
            yield letter

    for _ in range(2):
        assert asyncio.run(all_of(letters("abc"))) == ["a", "b", "c"]
        assert asyncio.run(all_of(letters(""))) == []
    assert count.lines == ["abc", ""]


@on_sqlite
def test_items_reach_the_caller_as_they_are_yielded(project: bs.Project) -> None:
    drawn = []

    @project.task(ignore="drawn")
    def numbers(to: int) -> Iterator[int]:
        for i in range(to):
            drawn.append(i)
            yield i

    stream = numbers(3)
    assert drawn == []  # as with any generator
    assert next(stream) == 0
    assert drawn == [0]
    assert next(stream) == 1
    assert drawn == [0, 1]
    assert not numbers.cached(3)
    assert list(stream) == [2]
    assert numbers.cached(3)


@on_sqlite
def test_items_of_an_async_stream_reach_the_caller_as_they_are_yielded(project: bs.Project) -> None:
    drawn = []

    @project.task(ignore="drawn")
    async def numbers(to: int) -> AsyncIterator[int]:
        for i in range(to):
            drawn.append(i)
            yield i

    async def main() -> None:
        stream = numbers(3)
        await asyncio.sleep(0.05)
        assert drawn == []
        assert await anext(stream) == 0
        await asyncio.sleep(0.05)
        assert drawn == [0]  # items are drawn only on request
        assert [item async for item in stream] == [1, 2]
        assert numbers.cached(3)

    asyncio.run(main())


def test_a_replay_decodes_items_lazily(project: bs.Project) -> None:
    decoded = []

    def decode(data: bytes) -> Word:
        decoded.append(data)
        return Word(data.decode())

    project.register_type(Word, 5, lambda word: word.text.encode(), decode)

    @project.task
    def words(number: int) -> Iterator[Word]:
        for i in range(number):
            yield Word(str(i))

    assert [word.text for word in words(1000)] == [str(i) for i in range(1000)]
    replay = words(1000)
    assert next(replay).text == "0"
    assert len(decoded) < 10
    assert len(list(replay)) == 999


@pytest.mark.parametrize("size", [3, 100_000])
def test_items_are_replayed_as_they_were_yielded(project: bs.Project, size: int) -> None:
    import numpy as np

    items = [None, (1, 2), {3}, {"x": [b"y" * size]}, np.arange(size), "z" * size]

    @project.task
    def stream() -> Iterator[Any]:
        yield from items

    for given in (list(stream()), list(stream()), stream.peek()):
        assert given is not None
        for item, expected in zip(given, items, strict=True):
            assert type(item) is type(expected)
            assert np.array_equal(item, expected) if isinstance(expected, np.ndarray) else item == expected


def test_an_item_that_is_changed_after_it_was_yielded_is_replayed_as_it_was(project: bs.Project) -> None:
    @project.task
    def growing(to: int) -> Iterator[list[int]]:
        items: list[int] = []
        for i in range(to):
            items.append(i)
            yield items

    live = []
    for items in growing(3):
        live.append(list(items))
        items.clear()
    assert live == [[0], [1], [2]]
    assert list(growing(3)) == [[0], [1], [2]]


def test_an_abandoned_stream_is_neither_cached_nor_a_failure(letters: Any, count: Count) -> None:
    for _ in range(2):
        for letter in letters("abc"):
            assert letter == "a"
            break
        assert not letters.cached("abc")
    assert list(letters("abc")) == ["a", "b", "c"]
    assert len(count) == 3
    assert list(letters.project.db.failures()) == []


@on_sqlite
def test_abandoning_a_stream_closes_its_generator(project: bs.Project) -> None:
    ended = []

    @project.task(ignore="ended")
    def numbers(to: int) -> Iterator[int]:
        try:
            yield from range(to)
        finally:
            ended.append(to)

    stream = numbers(5)
    next(stream)
    stream.close()
    assert ended == [5]
    stream = numbers(6)
    next(stream)
    del stream
    gc.collect()
    assert ended == [5, 6]


def test_abandoning_an_async_stream_closes_its_generator(project: bs.Project) -> None:
    began: list[int] = []
    ended: list[int] = []

    @project.task(ignore=("began", "ended"))
    async def numbers(to: int) -> AsyncIterator[int]:
        try:
            began.append(to)
            for i in range(to):
                await asyncio.sleep(0)
                yield i
        finally:
            await asyncio.sleep(0)
            ended.append(to)

    async def main() -> None:
        stream = numbers(5)
        assert await anext(stream) == 0
        await stream.aclose()
        assert ended == [5]
        async for _ in numbers(6):
            break
        waiting = asyncio.create_task(all_of(numbers(10**9)))
        while 10**9 not in began:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert 10**9 in ended
        assert not numbers.cached(5)

    asyncio.run(main())
    assert sorted(ended) == [5, 6, 10**9]
    assert asyncio.run(all_of(numbers(3))) == [0, 1, 2]


def in_thread(stream: Iterator[Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a thread that reads a stream to its end; return it and a list to which it appends the items."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(list(stream)))
    thread.start()
    return thread, got


def test_a_second_reader_waits_for_the_first_and_replays_its_items(project: bs.Project, count: Count) -> None:
    @project.task
    def rows(to: int) -> Iterator[list[int]]:
        count()
        for i in range(to):
            yield [i]

    events: list[bs.Event] = []
    project.on("wait", events.append)
    first = rows(4)
    live = [next(first)]
    waiting, got = in_thread(rows(4))
    waiting.join(0.1)
    assert waiting.is_alive()
    live += first
    waiting.join()
    assert live == [[0], [1], [2], [3]]
    assert got == [live]
    assert got[0][0] is not live[0]
    assert len(count) == 1
    assert [event.seconds > 0.05 for event in events if event.seconds] == [True]


@pytest.mark.parametrize("end", ["closed", "deleted", "failed", "interrupted"])
def test_when_the_first_reader_stops_early_a_waiting_one_runs(project: bs.Project, count: Count, end: str) -> None:
    @project.task
    def numbers(to: int, end: str) -> Iterator[int]:
        count()
        yield 0
        if len(count) == 1:
            raise KeyError if end == "failed" else KeyboardInterrupt
        yield from range(1, to)

    first = numbers(4, end)
    assert next(first) == 0
    threads = [in_thread(numbers(4, end)) for _ in range(3)]
    time.sleep(0.1)
    assert all(thread.is_alive() for thread, _ in threads)
    if end == "closed":
        first.close()
    elif end == "deleted":
        del first
    else:
        with pytest.raises(KeyError if end == "failed" else KeyboardInterrupt):
            next(first)
    for thread, got in threads:
        thread.join()
        assert got == [[0, 1, 2, 3]]
    assert len(count) == 2


def test_a_stream_can_be_closed_by_another_thread_than_its_reader(letters: Any, count: Count) -> None:
    first = letters("abc")
    assert next(first) == "a"
    thread = threading.Thread(target=first.close)
    thread.start()
    thread.join()
    assert list(letters("abc")) == ["a", "b", "c"]
    assert len(count) == 2


def test_the_thread_that_began_a_stream_can_wait_when_another_thread_reads_it(letters: Any, count: Count) -> None:
    first = letters("abc")
    assert next(first) == "a"

    def read_on() -> None:
        next(first)
        begun.set()
        time.sleep(0.05)
        list(first)

    begun = threading.Event()
    thread = threading.Thread(target=read_on)
    thread.start()
    begun.wait()
    assert list(letters("abc")) == ["a", "b", "c"]
    thread.join()
    assert len(count) == 1


def test_concurrent_threads_share_one_run(project: bs.Project, count: Count) -> None:
    @project.task
    def slow(to: int) -> Iterator[int]:
        count()
        for i in range(to):
            time.sleep(0.01)
            yield i

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(list(slow(20)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(20))] * 8
    assert len(count) == 1


def test_async_readers_share_one_run(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(to: int) -> AsyncIterator[list[int]]:
        count()
        async with asyncio.timeout(60):  # is bound to the task that opened it
            for i in range(to):
                await asyncio.sleep(0.01)
                yield [i]

    async def main() -> None:
        results = await asyncio.gather(*[all_of(slow(10)) for _ in range(4)])
        assert results == [[[i] for i in range(10)]] * 4
        assert len({id(result[0]) for result in results}) == 4

    asyncio.run(main())
    assert len(count) == 1


@pytest.mark.parametrize("role", ["the reader", "a waiter"])
def test_cancelling_an_async_reader_affects_no_other(project: bs.Project, count: Count, role: str) -> None:
    @project.task
    async def slow(to: int, role: str) -> AsyncIterator[int]:
        count()
        for i in range(to):
            await asyncio.sleep(0.01)
            yield i

    async def main() -> None:
        readers = [asyncio.create_task(all_of(slow(10, role)))]
        while not len(count):
            await asyncio.sleep(0.01)
        readers += [asyncio.create_task(all_of(slow(10, role))) for _ in range(3)]
        await asyncio.sleep(0.03)
        cancelled = 0 if role == "the reader" else 1
        readers[cancelled].cancel()
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert isinstance(results.pop(cancelled), asyncio.CancelledError)
        assert results == [list(range(10))] * 3

    asyncio.run(main())
    assert len(count) == (2 if role == "the reader" else 1)


def test_a_result_is_stored_though_its_reader_is_cancelled_during_the_write(
    project: bs.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    @project.task
    async def numbers(to: int) -> AsyncIterator[int]:
        for i in range(to):
            yield i

    began, upsert = threading.Event(), project.db.upsert

    def slow(records: Any) -> None:
        began.set()
        time.sleep(0.1)
        upsert(records)

    async def main() -> None:
        monkeypatch.setattr(project.db, "upsert", slow)
        reader = asyncio.create_task(all_of(numbers(3)))
        await asyncio.to_thread(began.wait)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        monkeypatch.undo()
        assert not numbers.cached(3)
        assert await all_of(numbers(3)) == [0, 1, 2]

    asyncio.run(main())
    assert numbers.peek(3) == [0, 1, 2]


def test_an_abandoned_async_stream_can_be_read_again_at_once(project: bs.Project, count: Count) -> None:
    @project.task
    async def numbers(to: int) -> AsyncIterator[int]:
        count()
        try:
            for i in range(to):
                yield i
        finally:
            await asyncio.sleep(0.01)

    async def main() -> None:
        async for _ in numbers(3):
            break
        assert await all_of(numbers(3)) == [0, 1, 2]

    asyncio.run(main())
    assert len(count) == 2


def test_an_async_stream_collected_after_its_loop_releases_its_key(project: bs.Project) -> None:
    @project.task
    async def numbers(to: int) -> AsyncIterator[int]:
        for i in range(to):
            yield i

    async def begun() -> AsyncIterator[int]:
        stream = numbers(3)
        assert await anext(stream) == 0
        return stream

    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(begun())
    loop.close()
    del stream
    assert asyncio.run(all_of(numbers(3))) == [0, 1, 2]


def test_event_loops_in_threads_share_one_run(project: bs.Project, count: Count) -> None:
    @project.task
    async def slow(to: int) -> AsyncIterator[int]:
        count()
        for i in range(to):
            await asyncio.sleep(0.01)
            yield i

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(all_of(slow(10))))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(10))] * 3
    assert len(count) == 1


PROCESS = """
    import sys, time
    import beautyspot as bs
    project = bs.Project("p", db="p.db")

    @project.task
    def slow(to):
        with open("ran.txt", "a") as file:
            file.write("x")
        for i in range(to):
            time.sleep(0.02)
            yield i

    if __name__ == "__main__":
        for item in slow(20):
            print(item, flush=True)
"""


def test_processes_share_one_run_and_replace_a_killed_reader(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(textwrap.dedent(PROCESS))
    jobs = [
        subprocess.Popen([sys.executable, "p.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [job.communicate(timeout=60)[0].split() for job in jobs]
    assert outputs == [[str(i) for i in range(20)]] * 3
    assert (tmp_path / "ran.txt").read_text() == "x"
    (tmp_path / "p.db").unlink()
    (tmp_path / "ran.txt").unlink()
    job = subprocess.Popen([sys.executable, "p.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "0\n"
    waiting = subprocess.Popen([sys.executable, "p.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.2)
    job.kill()
    job.communicate()
    assert waiting.communicate(timeout=60)[0].split() == [str(i) for i in range(20)]
    assert (tmp_path / "ran.txt").read_text() == "xx"


def test_a_failed_stream_is_not_cached(project: bs.Project, count: Count) -> None:
    @project.task
    def failing(x: int) -> Iterator[int]:
        count()
        yield 1
        if len(count) < 3:
            raise KeyError(x)

    for _ in range(2):
        stream = failing(7)
        assert next(stream) == 1
        with pytest.raises(KeyError) as raised:
            next(stream)
        assert raised.value.args == (7,)
        assert not failing.cached(7)
    failures = list(project.db.failures())  # type: ignore[attr-defined]
    assert [(failure.error, failure.input) for failure in failures] == [("builtins.KeyError", "x=7")]
    assert list(failing(7)) == [1]


def test_each_reader_runs_an_async_stream_that_fails(project: bs.Project, count: Count) -> None:
    @project.task
    async def failing(x: int) -> AsyncIterator[int]:
        count()
        yield 1
        await asyncio.sleep(0.02)
        raise KeyError(x)

    async def main() -> None:
        results = await asyncio.gather(*[all_of(failing(7)) for _ in range(3)], return_exceptions=True)
        assert [type(result) for result in results] == [KeyError] * 3

    asyncio.run(main())
    assert len(count) == 3
    assert not failing.cached(7)


def test_an_item_that_cannot_be_serialized_raises_an_error_that_carries_it(project: bs.Project) -> None:
    lock = threading.Lock()

    @project.task
    def odd() -> Iterator[Any]:
        yield 1
        yield {"lock": threading.Lock()}

    stream = odd()
    assert next(stream) == 1
    with pytest.raises(SerializationError, match=r"result\[1\]\['lock'\]") as raised:
        next(stream)
    assert type(raised.value.value["lock"]) is type(lock)
    assert not odd.cached()


@on_sqlite
def test_returning_an_iterator_is_an_error_that_names_the_cure(project: bs.Project) -> None:
    @project.task
    def returned() -> Any:
        return iter([1, 2])

    with pytest.raises(SerializationError, match="yield from"):
        returned()


def test_a_stream_that_cannot_be_written_yields_its_items_with_a_warning(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", storage_path="/dev/null/blobs") as project:

        @project.task(save_blob=True)
        def numbers(to: int) -> Iterator[int]:
            yield from range(to)

        with pytest.warns(NotKeptWarning):
            assert list(numbers(3)) == [0, 1, 2]
        assert not numbers.cached(3)


def test_a_damaged_stream_runs_again(tmp_path: Path, count: Count) -> None:
    with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs") as project:

        @project.task(save_blob=True)
        def numbers(to: int) -> Iterator[int]:
            count()
            yield from range(to)

        list(numbers(3))
        change_blob(project, lambda content: content[:-1])
        with pytest.warns(UnreadableWarning):
            assert list(numbers(3)) == [0, 1, 2]
        assert list(numbers(3)) == [0, 1, 2]
        assert len(count) == 2


def test_the_other_methods_of_a_stream_task_work_with_lists(letters: Any, count: Count) -> None:
    assert letters.peek("abc", default=0) == 0
    letters.put("abc", iter(["x", "y"]))
    assert list(letters("abc")) == letters.peek("abc") == ["x", "y"]
    assert letters.explain("abc").kept
    assert list(letters.refresh("abc")) == ["a", "b", "c"]
    assert list(letters("abc")) == ["a", "b", "c"]
    assert letters.forget("abc")
    assert not letters.cached("abc")
    assert len(count) == 1


def test_maps_return_lists(letters: Any, count: Count) -> None:
    words = ["ab", "", "cde", "ab"]
    for _ in range(2):
        assert bs.map(letters, words, workers=2) == [list(word) for word in words]
    assert list(letters("cde")) == ["c", "d", "e"]
    assert sorted(count.lines) == ["", "ab", "cde"]


def test_amaps_return_lists(project: bs.Project, count: Count) -> None:
    @project.task
    async def letters(text: str) -> AsyncIterator[str]:
        count(text)
        for letter in text:
            yield letter

    words = ["ab", "", "cde", "ab"]
    for _ in range(2):
        assert asyncio.run(bs.amap(letters, words, workers=2)) == [list(word) for word in words]
    assert sorted(count.lines) == ["", "ab", "cde"]


def stream_of_module(project: bs.Project) -> Callable[..., Any]:
    @project.task
    def repeated(x: int) -> Iterator[bytes]:
        yield from [bytes([x])] * x

    return repeated


def test_maps_in_worker_processes_return_lists(project: bs.Project) -> None:
    task: Any = stream_of_module(project)
    expected = [[bytes([x])] * x for x in range(6)]
    assert bs.map(task, range(6), workers=2, engine="processes") == expected
    assert [list(task(x)) for x in range(6)] == expected


def test_waiting_for_a_stream_while_reading_it_is_an_error(letters: Any, count: Count) -> None:
    """A stream makes no progress while its reader waits for it, or waits for a thread or process that does."""
    stream = letters("abc")
    assert next(stream) == "a"
    for ask in (
        lambda: next(letters("abc")),
        lambda: next(letters.refresh("abc")),
        lambda: letters.put("abc", ["other"]),
        lambda: bs.map(letters, ["abc"], workers=2),
        lambda: bs.map(letters, ["abc", "x"], workers=2, engine="processes"),
        lambda: contextvars.copy_context().run(next, letters("abc")),
    ):
        with pytest.raises(RecursionError, match="is being read here"):
            ask()
    first, second = bs.map(letters, ["abc", "y"], workers=2, engine="processes", on_error="return")
    assert isinstance(first, RecursionError)
    assert second == ["y"]
    assert list(stream) == ["b", "c"]
    assert bs.map(letters, ["abc"]) == [["a", "b", "c"]]
    assert count.lines.count("abc") == 1


def test_waiting_for_an_async_stream_while_reading_it_is_an_error(project: bs.Project, count: Count) -> None:
    @project.task
    async def letters(text: str) -> AsyncIterator[str]:
        count(text)
        for letter in text:
            yield letter

    async def main() -> None:
        stream = letters("abc")
        assert await anext(stream) == "a"
        for ask in (
            lambda: all_of(letters("abc")),
            lambda: all_of(letters.refresh("abc")),
            lambda: asyncio.gather(all_of(letters("abc"))),
            lambda: bs.amap(letters, ["abc"]),
            lambda: asyncio.to_thread(letters.put, "abc", ["other"]),
        ):
            with pytest.raises(RecursionError, match="is being read here"):
                await ask()
        with pytest.raises(RecursionError, match="is being read here"):
            letters.put("abc", ["other"])
        assert [item async for item in stream] == ["b", "c"]
        assert await bs.amap(letters, ["abc"]) == [["a", "b", "c"]]

    asyncio.run(main())
    assert count.lines == ["abc"]


def test_blocking_an_event_loop_on_a_stream_that_it_reads_is_an_error(letters: Any) -> None:
    async def read(begun: asyncio.Event, go_on: asyncio.Event) -> list[str]:
        items = []
        for item in letters("abc"):
            items.append(item)
            begun.set()
            await go_on.wait()
        return items

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        reader = asyncio.create_task(read(begun, go_on))
        await begun.wait()
        with pytest.raises(RecursionError, match="is being read here"):
            list(letters("abc"))
        waiting = asyncio.create_task(asyncio.to_thread(list, letters("abc")))
        await asyncio.sleep(0.05)
        go_on.set()
        assert await reader == await waiting == ["a", "b", "c"]

    asyncio.run(main())


def test_a_pool_thread_can_wait_for_a_stream_that_it_read_for_another_request(letters: Any, count: Count) -> None:
    """A web server draws each item in any free thread, in a copy of the request's context."""
    first, second = letters("abc"), letters("abc")
    pool = [ThreadPoolExecutor(1) for _ in range(2)]

    def drawn(thread: int, stream: Iterator[str]) -> Future[str]:
        return pool[thread].submit(contextvars.copy_context().run, next, stream)

    assert drawn(0, first).result() == "a"
    waiting = drawn(0, second)
    assert [drawn(1, first).result() for _ in range(2)] == ["b", "c"]
    assert drawn(1, map(str, first)).exception() is not None  # the end
    assert waiting.result() == "a"
    assert list(second) == ["b", "c"]
    assert len(count) == 1
    for each in pool:
        each.shutdown()


def test_an_unreachable_stream_is_not_waited_for(letters: Any, count: Count) -> None:
    cycle: list[Any] = [letters("abc")]
    cycle.append(cycle)
    next(cycle[0])
    gc.disable()
    try:
        del cycle
        assert list(letters("abc")) == ["a", "b", "c"]
    finally:
        gc.enable()
    assert len(count) == 2


def test_a_stream_that_reads_itself_is_an_error(project: bs.Project) -> None:
    @project.task
    def loop(x: int) -> Iterator[int]:
        yield from loop(x)

    @project.task
    async def async_loop(x: int) -> AsyncIterator[int]:
        async for item in async_loop(x):
            yield item

    with pytest.raises(RecursionError, match="calls itself"):
        list(loop(1))
    with pytest.raises(RecursionError, match="calls itself"):
        asyncio.run(all_of(async_loop(1)))
    with pytest.raises(RecursionError, match="calls itself"):
        bs.map(loop, [1])


@on_sqlite
def test_wrong_arguments_raise_at_the_call(letters: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        letters(x=1)


@on_sqlite
def test_methods_can_be_streams(project: bs.Project, count: Count) -> None:
    class Counter:
        def __init__(self, step: int) -> None:
            self.step = step

        def __beautyspot_key__(self) -> int:
            return self.step

        @project.task
        def up(self, to: int) -> Iterator[int]:
            count()
            yield from range(0, to, self.step)

        @project.task
        async def later(self, to: int) -> AsyncIterator[int]:
            for i in range(0, to, self.step):
                yield i

    for _ in range(2):
        assert list(Counter(2).up(5)) == [0, 2, 4]
        assert list(Counter(3).up(5)) == [0, 3]
        assert asyncio.run(all_of(Counter(3).later(5))) == [0, 3]
        assert bs.map(Counter(2).up, [5]) == [[0, 2, 4]]
    assert len(count) == 2


def test_streams_are_stored_with_a_custom_serializer(tmp_path: Path, count: Count) -> None:
    class Json:
        def dumps(self, value: Any) -> bytes:
            return json.dumps(value).encode()

        def loads(self, data: Any) -> Any:
            return json.loads(bytes(data))

    with bs.Project("p", db=tmp_path / "p.db", serializer=Json()) as project:

        @project.task
        def numbers(to: int) -> Iterator[list[int]]:
            count()
            for i in range(to):
                yield [i]

        assert list(numbers(3)) == list(numbers(3)) == [[0], [1], [2]]
        assert len(count) == 1


def test_a_stream_task_can_be_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "streaming.py").write_text(
        "import beautyspot as bs\nproject = bs.Project('p')\n@project.task\ndef up(n):\n    yield from range(n)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import streaming  # type: ignore[import-not-found]

    copy = pickle.loads(pickle.dumps(streaming.up))
    assert list(copy(3)) == [0, 1, 2]
    assert streaming.up.cached(3)
    streaming.project.close()


def test_a_budget_paces_streams_and_is_settled_by_their_items(tmp_path: Path) -> None:
    settled = []
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, limiter_uri="memory://") as project:

        def used(items: list[int]) -> float:
            settled.append(items)
            return 200

        @project.task
        @project.limiter(cost=60_000, settle=used)
        def numbers(x: int) -> Iterator[int]:
            yield from (x, x + 1)

        @project.task
        @project.limiter(cost=60_000, settle=used)
        async def later(x: int) -> AsyncIterator[int]:
            yield x

        began = time.monotonic()
        for x in (1, 1, 5):
            assert list(numbers(x)) == [x, x + 1]
        assert asyncio.run(all_of(later(7))) == [7]
        took = time.monotonic() - began
    assert settled == [[1, 2], [5, 6], [7]]
    # Two calls waited for the 200 tokens of the one before them, at 1,000 tokens a second. Unused tokens were refunded:
    # otherwise each call would have waited for a minute.
    assert 0.4 - SLACK <= took < 60


def test_a_forked_child_does_not_end_the_stream_of_its_parent(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os
        import beautyspot as bs
        project = bs.Project("p", db="p.db")
        @project.task
        def up(n):
            yield from range(n)
        stream = up(3)
        next(stream)
        if not os.fork():
            stream.close()
            assert list(up(2)) == [0, 1]
            os._exit(0)
        assert os.wait()[1] == 0
        assert list(stream) == [1, 2] and up.cached(3) and up.cached(2)
        print("done")
    """)
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_streams_may_be_garbage_collected_at_any_moment(project: bs.Project) -> None:
    @project.task
    def numbers(x: int) -> Iterator[int]:
        yield from itertools.count(x)

    class Cycle:
        def __init__(self, x: int) -> None:
            self.me, self.stream = self, numbers(x)
            next(self.stream)

    before = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        for x in range(300):
            Cycle(x)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    with contextlib.closing(numbers(1)) as stream:
        assert next(stream) == 1


@on_sqlite
def test_events_are_emitted_for_streams(letters: Any) -> None:
    project, emitted = letters.project, []
    for kind in ("hit", "miss", "run", "keep", "error"):
        project.on(kind, lambda event: emitted.append((event.kind, event.function.rpartition(".")[2], event.size)))

    @project.task
    async def later(text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    list(letters("ab"))
    list(letters("ab"))
    assert emitted == [
        ("miss", "letters", None),
        ("run", "letters", 5),
        ("keep", "letters", 5),
        ("hit", "letters", 5),
    ]
    emitted.clear()
    asyncio.run(all_of(later("ab")))
    asyncio.run(all_of(later("ab")))
    assert [kind for kind, *_ in emitted] == ["miss", "run", "keep", "hit"]


def test_a_stream_that_waits_for_its_budget_emits_a_wait_event(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, limiter_uri="memory://") as project:
        events: list[bs.Event] = []
        project.on("wait", events.append)

        @project.task
        @project.limiter(cost=500)
        def numbers(x: int) -> Iterator[int]:
            yield x

        @project.task
        @project.limiter(cost=500)
        async def later(x: int) -> AsyncIterator[int]:
            yield x

        list(numbers(1))
        list(numbers(2))
        asyncio.run(all_of(later(3)))
        assert [(event.function, event.key) for event in events] == [
            (numbers.function_name, numbers.key(2)),
            (later.function_name, later.key(3)),
        ]
        assert all(event.budget and event.seconds for event in events)
