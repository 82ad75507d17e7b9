"""Async tasks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import beautyspot as bs


def test_a_semaphore(project, fresh):
    log = []

    async def main():
        semaphore = asyncio.Semaphore(2)

        @project.task
        async def fetch(url):
            async with semaphore:
                await asyncio.sleep(0.001)
                log.append(url)
                return url.upper()

        return await asyncio.gather(*(fetch(url) for url in "abcabc"))

    assert asyncio.run(main()) == list("ABCABC")
    assert asyncio.run(main()) == list("ABCABC")
    assert sorted(log) == fresh(["a", "b", "c"])


def test_a_semaphore_as_an_argument(project, fresh):
    log = []

    @project.task
    async def fetch(url, semaphore):
        async with semaphore:
            log.append(url)
            return url.upper()

    async def main():
        semaphore = asyncio.Semaphore(2)
        return await asyncio.gather(*(fetch(url, semaphore) for url in "abcabc"))

    assert asyncio.run(main()) == list("ABCABC")
    assert sorted(log) == fresh(["a", "b", "c"])


def test_counters_in_gather(project, fresh):
    calls, cost, by_model = 0, 0.0, {"small": 0}

    @project.task
    async def ask(x):
        nonlocal calls, cost
        calls += 1
        await asyncio.sleep(0.001)
        cost += 0.5
        by_model["small"] += 1
        return x

    async def main():
        for _ in range(2):
            assert await asyncio.gather(*(ask(x) for x in range(10))) == list(range(10))
            assert await bs.amap(ask, range(10), workers=4, progress=False) == list(range(10))

    asyncio.run(main())
    assert calls == by_model["small"] == fresh(10)
    assert cost == fresh(5.0)


def test_a_lock_and_an_event(project, fresh):
    log = []

    async def main():
        lock, event = asyncio.Lock(), asyncio.Event()
        event.set()

        @project.task
        async def work(x):
            async with lock:
                await event.wait()
                log.append(x)
                return x

        return [await work(1), await work(2), await work(1)]

    assert asyncio.run(main()) == [1, 2, 1]
    assert log == fresh([1, 2])


def test_a_queue(project, fresh):
    seen = []

    async def main():
        queue = asyncio.Queue()

        @project.task
        async def work(x):
            await queue.put(x)
            return x

        assert [await work(1), await work(2), await work(1)] == [1, 2, 1]
        while not queue.empty():
            seen.append(queue.get_nowait())

    asyncio.run(main())
    assert seen == fresh([1, 2])


def test_a_stream(project, fresh):
    log = []

    @project.task
    async def tokens(prompt):
        for token in prompt.split():
            log.append(token)
            yield token
            await asyncio.sleep(0)

    async def main():
        return [[token async for token in tokens("a b")] for _ in range(2)]

    assert asyncio.run(main()) == [["a", "b"], ["a", "b"]]
    assert log == fresh(["a", "b"])


def test_an_async_client(project, fresh):
    class Client:
        def __init__(self):
            self.calls = 0
            self.open = False

        async def __aenter__(self):
            self.open = True
            return self

        async def __aexit__(self, *error):
            self.open = False

        async def get(self, url):
            await asyncio.sleep(0.001)
            self.calls += 1
            return url.upper()

    async def main():
        async with Client() as client:

            @project.task
            async def fetch(url):
                return await client.get(url)

            answers = await asyncio.gather(*(fetch(url) for url in "abab"))
            return answers, client.calls

    answers, calls = asyncio.run(main())
    assert answers == ["A", "B", "A", "B"]
    assert calls == fresh(2)


def test_a_cancelled_call(project):
    log = []

    @project.task
    async def slow(x):
        log.append(x)
        await asyncio.sleep(0.5 if len(log) == 1 else 0)
        return x

    async def main():
        if not slow.cached(1):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slow(1), 0.01)
        return [await slow(1), await slow(1)]

    assert asyncio.run(main()) == [1, 1]
    assert len(log) <= 2


def test_threads_with_a_lock(project, fresh):
    lock, calls = threading.Lock(), 0

    @project.task
    def count(x):
        nonlocal calls
        with lock:
            calls += 1
        return x

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, [1, 2, 3] * 10)) == [1, 2, 3] * 10
    assert calls == fresh(3)


def test_an_executor_that_is_captured(project, fresh):
    log = []
    with ThreadPoolExecutor(2) as pool:

        @project.task
        def double(x):
            return pool.submit(lambda: log.append(x) or 2 * x).result()

        assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh([1, 2])


def test_threading_local(project, fresh):
    local = threading.local()
    local.calls = 0

    @project.task
    def double(x):
        local.calls += 1
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert local.calls == fresh(2)
