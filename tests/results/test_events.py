"""Listeners receive the events of each call once, however the call runs, and have no effect on its result."""

import asyncio
import linecache
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.adapters.futures import CachedExecutor, ProcessEngine
from beautyspot.errors import ConfigurationError, WorkerDied
from beautyspot.fanout.calls import Call
from beautyspot.fanout.engine_pool import EnginePool
from beautyspot.fanout.inputs import Inputs
from beautyspot.fanout.wire import ChunkCall, pack_chunk, pack_task, unpack_replies
from beautyspot.fanout.worker import run_chunk
from beautyspot.results.events import KINDS
from tests.support.marks import on_sqlite


class Events(list[bs.Event]):
    """The events that a project emits, of all kinds or of some."""

    def __init__(self, project: bs.Project, *kinds: Any) -> None:
        super().__init__()
        self.stops = [project.on(kind, self.append) for kind in kinds or KINDS]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self]

    @property
    def count(self) -> Counter[str]:
        return Counter(self.kinds)

    def one(self, kind: str) -> bs.Event:
        (event,) = [event for event in self if event.kind == kind]
        return event


@pytest.fixture
def events(project: bs.Project) -> Events:
    return Events(project)


def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


async def double_later(x: int) -> int:
    return double(x)


def die(x: int) -> None:
    os._exit(3)


def test_the_first_call_emits_miss_run_keep_and_the_second_hit(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    assert [task(3), task(3)] == [6, 6]
    assert events.kinds == ["miss", "run", "keep", "hit"]
    assert {event.key for event in events} == {task.key(3)}
    assert {(event.project, event.function) for event in events} == {("test", task.function_name)}
    miss, run, keep, hit = events
    assert miss.input == run.input == keep.input == "x=3"
    assert run.seconds is not None
    assert run.seconds >= 0
    assert run.size == keep.size == hit.size == 1
    assert keep.blob is hit.blob is False


def test_events_of_a_large_result_say_that_it_is_a_blob(project: bs.Project, events: Events) -> None:
    task = project.task(save_blob=True)(double)
    task(1)
    task(1)
    assert [events.one("keep").blob, events.one("hit").blob] == [True, True]


@on_sqlite
def test_an_exception_is_an_error_event_and_reaches_the_caller_unchanged(project: bs.Project, events: Events) -> None:
    with pytest.raises(ValueError, match="-1 is negative") as raised:
        project.task(double)(-1)
    assert events.kinds == ["miss", "error"]
    assert events.one("error").error is raised.value


@on_sqlite
def test_a_result_that_cannot_be_serialized_is_an_error_event(project: bs.Project, events: Events) -> None:
    with pytest.raises(bs.SerializationError) as raised:
        project.task(lambda: object())()
    assert events.kinds == ["miss", "error"]
    assert events.one("error").error is raised.value


def test_refresh_is_a_miss(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    task(1)
    task.refresh(1)
    assert events.kinds == ["miss", "run", "keep"] * 2


@on_sqlite
def test_methods_emit_events(project: bs.Project, events: Events) -> None:
    class Model:
        @project.task
        def scale(self, x: int) -> int:
            return 3 * x

        def __beautyspot_key__(self) -> str:
            return "model"

    model = Model()
    assert [model.scale(2), model.scale.refresh(2), model.scale(2)] == [6, 6, 6]
    assert events.kinds == ["miss", "run", "keep"] * 2 + ["hit"]


def test_queries_emit_no_event(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    assert not task.cached(1)
    assert task.peek(1) is None
    task.explain(1)
    task(1)
    events.clear()
    assert task.cached(1)
    task.explain(1)
    bs.plan(task, [1, 2])
    task.forget(1)
    assert events == []


def test_a_peek_that_gives_a_result_is_a_hit(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    task.put(4, 8)
    assert events.kinds == ["keep"]
    assert task.peek(4) == 8
    assert events.kinds == ["keep", "hit"]


@pytest.mark.parametrize("project_index", ["postgres"])  # where a release needs a round trip
def test_a_lock_that_is_being_released_causes_no_wait_event(
    project: bs.Project, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    db: Any = project.db
    unlock_many = db.unlock_many

    def slowly(keys: Sequence[bytes]) -> None:
        time.sleep(0.2)
        unlock_many(keys)

    monkeypatch.setattr(db, "unlock_many", slowly)
    task = project.task(double_later)

    async def main() -> None:
        assert [await task(1), await task.refresh(1)] == [2, 2]

    asyncio.run(main())
    assert "wait" not in events.kinds


def test_async_calls_emit_events(project: bs.Project, events: Events) -> None:
    task = project.task(double_later)

    async def main() -> None:
        assert [await task(1), await task(1), await task.refresh(1)] == [2, 2, 2]
        with pytest.raises(ValueError, match="negative"):
            await task(-1)

    asyncio.run(main())
    assert events.kinds == ["miss", "run", "keep", "hit", "miss", "run", "keep", "miss", "error"]


@pytest.mark.parametrize("workers", [1, 8])
def test_a_map_emits_the_events_of_each_call_once(project: bs.Project, events: Events, workers: int) -> None:
    task = project.task(double)
    bs.map(task, range(300), workers=workers)
    assert events.count == {"miss": 300, "run": 300, "keep": 300}
    events.clear()
    assert list(bs.imap(task, range(301))) == [2 * i for i in range(301)]
    assert events.count == {"hit": 300, "miss": 1, "run": 1, "keep": 1}
    assert {event.key for event in events} == {task.key(i) for i in range(301)}


def test_a_repeated_input_is_a_miss_then_a_hit(project: bs.Project, events: Events) -> None:
    assert bs.map(project.task(double), [1, 1]) == [2, 2]
    assert events.kinds == ["miss", "run", "keep", "hit"]


def test_blobs_that_a_map_reads_are_hits(project: bs.Project, events: Events) -> None:
    task = project.task(save_blob=True)(double)
    bs.map(task, range(20))
    bs.map(task, range(20))
    assert events.count == {"miss": 20, "run": 20, "keep": 20, "hit": 20}


def test_failures_of_a_map_are_error_events(project: bs.Project, events: Events) -> None:
    bs.map(project.task(double), range(-30, 30), on_error="return")
    assert events.count == {"miss": 60, "run": 30, "keep": 30, "error": 30}


def test_amap_emits_the_events_of_each_call_once(project: bs.Project, events: Events) -> None:
    task = project.task(double_later)
    asyncio.run(bs.amap(task, range(20)))
    asyncio.run(bs.amap(task, range(21)))
    assert events.count == {"miss": 21, "run": 21, "keep": 21, "hit": 20}


def test_events_of_worker_processes_are_emitted_in_the_caller(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    values = bs.map(task, range(-3, 5), engine="processes", workers=2, on_error="return")
    assert values[3:] == [0, 2, 4, 6, 8]
    assert events.count == {"miss": 8, "run": 5, "keep": 5, "error": 3}
    assert {str(event.error) for event in events if event.kind == "error"} == {f"-{i} is negative" for i in (1, 2, 3)}
    events.clear()
    bs.map(task, range(6), engine="processes", workers=2)
    assert events.count == {"hit": 5, "miss": 1, "run": 1, "keep": 1}


def test_a_result_that_a_worker_finds_cached_is_one_hit(project: bs.Project) -> None:
    events: list[bs.Event] = []
    task = project.task(double)
    task(1)
    stop = project.on("hit", events.append)
    inputs = Inputs(task, [[1]])
    pool = EnginePool(task, inputs, ProcessEngine(1), 1, stop=True)
    try:  # as if another process had run it after the map looked it up
        pool.submit(Call(0, inputs.common, ((1,), {}), *task.core.keyer((1,), {})))
        (outcome,) = pool.wait()
    finally:
        pool.close()
    assert outcome.value == 2
    assert [(event.kind, event.key) for event in events] == [("hit", task.key(1))]
    stop()


def test_a_chunk_that_runs_in_a_thread_of_its_caller_leaves_no_listener(project: bs.Project) -> None:
    events: list[bs.Event] = []
    task = project.task(double)
    stop = project.on("miss", events.append)
    payload = pack_task(task, ((), {})).message
    chunk = pack_chunk([ChunkCall(task.core.keyer((1,), {})[0], b"", ((1,), {}), True)], True)
    (reply,) = unpack_replies(run_chunk(payload, chunk))
    assert [event.kind for event, _ in reply.events] == ["miss", "run", "keep"]
    assert events == []  # until the caller has the reply
    stop()
    assert not project.events.active


def test_the_death_of_a_worker_is_an_error_event(project: bs.Project, events: Events) -> None:
    bs.map(project.task(die), [1], engine="processes", workers=1, on_error="return")
    assert events.kinds == ["miss", "error"]
    assert isinstance(events.one("error").error, WorkerDied)


def test_a_listener_of_a_script_is_not_called_in_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, os, sys\nimport beautyspot as bs\n"
        "project = bs.Project('p')\n"
        "for kind in ('miss', 'run', 'keep', 'hit'):\n"
        "    project.on(kind, lambda event: print(event.kind, event.key, os.getpid(), flush=True))\n"
        "@project.task\ndef double(x): return 2 * x\n"
        "@project.task\ndef more(x): return double(x) + 1\n"
        "if __name__ == '__main__':\n"
        "    print('here', '', os.getpid(), flush=True)\n"
        "    multiprocessing.set_start_method(sys.argv[1])\n"
        "    bs.map(more, range(4), engine='processes', workers=2)\n"
    )
    for method in ("spawn", "fork"):
        done = subprocess.run([sys.executable, script, method], capture_output=True, text=True, cwd=tmp_path)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert len({line[-1] for line in lines}) == 1, done.stdout + done.stderr
        # A task that is called within the worker emits its events here too.
        assert Counter(line[0] for line in lines) == {"here": 1, "miss": 8, "run": 8, "keep": 8}, done.stdout
        for file in tmp_path.glob("p.db*"):
            file.unlink()


@on_sqlite
def test_a_cached_executor_emits_events(project: bs.Project, events: Events) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with CachedExecutor(project, ThreadPoolExecutor(1)) as executor:
        assert executor.submit(double, 1).result() == 2
        assert executor.submit(double, 1).result() == 2
    assert events.kinds == ["miss", "run", "keep", "hit"]


def test_waiting_for_another_call_is_a_wait_event_then_a_hit(project: bs.Project, events: Events) -> None:
    inside, leave = threading.Event(), threading.Event()

    @project.task(ignore=("inside", "leave"))
    def slow(x: int) -> int:
        inside.set()
        assert leave.wait(30)
        return x

    first, second = [threading.Thread(target=slow, args=(1,)) for _ in range(2)]
    first.start()
    assert inside.wait(30)
    second.start()
    while not _waits(second):
        assert second.is_alive()
        time.sleep(0.001)
    leave.set()
    first.join()
    second.join()
    assert events.count == {"miss": 1, "run": 1, "keep": 1, "wait": 1, "hit": 1}
    wait = events.one("wait")
    assert (wait.key, wait.input, wait.budget) == (slow.key(1), "x=1", "")
    assert wait.seconds is not None
    assert wait.seconds > 0


def _waits(thread: threading.Thread) -> bool:
    """Whether a thread is at the line where it waits for another thread that runs the same call."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return False
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "holder.lock.acquire()"


def test_async_calls_that_wait_for_another_emit_wait_events(project: bs.Project, events: Events) -> None:
    leave: list[bool] = []

    @project.task(ignore="leave")
    async def slow(x: int) -> int:
        while not leave:
            await asyncio.sleep(0.001)
        return x

    async def main() -> None:
        calls = [asyncio.create_task(slow(1)) for _ in range(3)]
        while sum(len(running.callbacks) for running in slow.core.locks._in_flight.values()) < 2:
            await asyncio.sleep(0.001)
        leave.append(True)
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert events.count == {"miss": 1, "run": 1, "keep": 1, "wait": 2, "hit": 2}


def test_a_wait_event_names_the_budget_and_the_waiting_call(tmp_path: Path) -> None:
    with bs.Project("paced", tpm=6_000, storage_path=tmp_path / "blobs") as project:
        events = Events(project, "wait")

        @project.task
        @project.limiter(cost=100)
        def ask(x: int) -> int:
            return x

        ask(1)
        assert events == []
        ask(2)
        wait = events.one("wait")
        assert (wait.function, wait.key, wait.budget) == (ask.function_name, ask.key(2), "'paced' (tpm=6000)")
        assert wait.seconds is not None
        assert wait.seconds > 0
        with project.limit(cost=100):
            pass
        assert (events[1].function, events[1].key, events[1].budget) == ("", "", wait.budget)

        @project.limiter(cost=100)
        async def plain() -> None: ...

        async def main() -> None:
            await plain()
            async with project.limit(cost=100):
                pass

        asyncio.run(main())
        assert len(events) == 4
        assert events[2].function.endswith("plain")


def test_a_worker_that_waits_for_a_budget_emits_wait_events(tmp_path: Path) -> None:
    with bs.Project("paced", tpm=60_000, storage_path=tmp_path / "blobs") as project:
        events = Events(project, "wait")
        task = project.task(project.limiter(cost=500)(double))
        bs.map(task, range(3), engine="processes", workers=1)
        assert {event.key for event in events} <= {task.key(i) for i in range(3)}
        assert len(events) == 2


@on_sqlite
def test_the_function_that_on_returns_removes_the_listener(project: bs.Project) -> None:
    events: list[bs.Event] = []
    task = project.task(double)
    stops = [project.on("hit", events.append), project.on("hit", events.append)]
    task(1)
    task(1)
    assert len(events) == 2
    stops[0]()
    stops[0]()
    task(1)
    assert len(events) == 3
    stops[1]()
    task(1)
    assert len(events) == 3


@on_sqlite
def test_a_hit_emits_an_event_only_while_there_is_a_listener(
    project: bs.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = project.task(double)
    emitted: list[str] = []
    monkeypatch.setattr(project.events, "emit", lambda kind, *_, **__: emitted.append(kind))
    task(1)
    task(1)
    assert emitted == []
    stop = project.on("miss", print)
    task(1)
    assert emitted == ["hit"]  # that no listener takes hits is for `emit` to find out
    stop()
    task(1)
    assert emitted == ["hit"]


@on_sqlite
def test_tasks_that_are_made_after_the_listener_emit_events(project: bs.Project, events: Events) -> None:
    project.task(double)(1)
    assert events.kinds == ["miss", "run", "keep"]


@on_sqlite
def test_an_unknown_kind_is_an_error_that_lists_the_six(project: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match=r"'hits'.*'hit', 'miss', 'run', 'keep', 'error', 'wait'"):
        project.on("hits", print)  # type: ignore[arg-type]


@pytest.mark.parametrize("listener", [None, double_later])
@on_sqlite
def test_a_listener_that_is_no_plain_function_is_refused(project: bs.Project, listener: Any) -> None:
    with pytest.raises(ConfigurationError, match="a listener is a plain function of one event"):
        project.on("hit", listener)


@on_sqlite
def test_the_first_error_of_a_listener_is_logged_with_its_traceback(
    project: bs.Project, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: bs.Event) -> None:
        raise LookupError("no such metric")

    project.on("miss", broken)
    events = Events(project)
    task = project.task(double)
    with caplog.at_level(logging.ERROR, "beautyspot"):
        assert [task(1), task(2)] == [2, 4]
    assert events.kinds == ["miss", "run", "keep"] * 2
    first, second = caplog.records
    assert "a listener to 'miss' failed" in first.message
    assert "LookupError: no such metric" in first.message
    assert first.exc_info
    assert not second.exc_info


@on_sqlite
def test_an_interrupt_in_a_listener_interrupts_the_program(project: bs.Project) -> None:
    def interrupt(event: bs.Event) -> None:
        raise KeyboardInterrupt

    task = project.task(double)
    stop = project.on("miss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        task(1)
    stop()
    assert task(1) == 2


def test_a_result_is_stored_before_the_run_event_is_emitted(project: bs.Project) -> None:
    task = project.task(double)
    kept = []
    project.on("run", lambda event: kept.append(task.cached(1)))
    task(1)
    assert kept == [True]


@on_sqlite
def test_calls_of_a_listener_emit_no_event(project: bs.Project) -> None:
    task = project.task(double)
    events: list[str] = []

    def listen(event: bs.Event) -> None:
        events.append(event.input)
        assert task(100) == 200
        assert bs.map(task, range(100, 103)) == [200, 202, 204]

    for kind in KINDS:
        project.on(kind, listen)
    task(1)
    assert events == ["x=1"] * 3


def test_listeners_of_a_map_may_call_the_mapped_task(project: bs.Project) -> None:
    task = project.task(double)
    failed: list[Exception] = []

    def listen(event: bs.Event) -> None:
        try:
            task(int(event.input.removeprefix("x=")) + 1)
        except RecursionError as error:
            failed.append(error)

    project.on("miss", listen)
    assert bs.map(task, range(200), workers=4) == [2 * i for i in range(200)]
    assert failed == []


def test_a_listener_that_repeats_the_call_of_its_event_gets_an_error(
    project: bs.Project, caplog: pytest.LogCaptureFixture
) -> None:
    task = project.task(double_later)

    def listen(event: bs.Event) -> None:
        asyncio.run(task(-1))

    project.on("error", listen)  # in a thread of the project, where it would wait for itself
    with pytest.raises(ValueError, match="negative"):
        asyncio.run(task(-1))
    assert "RecursionError: a task calls itself" in caplog.text


@on_sqlite
def test_listeners_are_not_pickled_with_a_project(project: bs.Project, events: Events) -> None:
    project.on("hit", lambda event: None)
    with pickle.loads(pickle.dumps(project)) as copy:
        copy.task(double)(1)
        assert events == []
    project.task(double)(1)
    assert events.kinds == ["hit"]


def test_events_of_a_forked_child_are_emitted_in_that_child(project: bs.Project, events: Events) -> None:
    task = project.task(double)
    task(1)
    events.clear()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            task(1)
            os.write(writing, " ".join(events.kinds).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 100) == b"hit"
    os.close(reading)
    os.close(writing)
    assert events == []


def test_an_event_is_immutable() -> None:
    event = bs.Event("hit", "p", "f", "00")
    with pytest.raises(AttributeError):
        event.kind = "miss"  # type: ignore[misc]
    assert not hasattr(event, "__dict__")
