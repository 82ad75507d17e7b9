"""Results are evicted by a retention, and never otherwise: by time, by bytes, by gc and by threads that write."""

import asyncio
import gc
import logging
import pickle
import signal
import sqlite3
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.db import MemoryTaskDB, SQLiteTaskDB
from beautyspot.db.sqlite import schema
from beautyspot.db.sqlite.schema import MIGRATIONS
from beautyspot.errors import ConfigurationError, IndexUnavailableError
from beautyspot.maintenance import background
from beautyspot.maintenance.pruning import PruneReport
from beautyspot.protocols.index import AccessLog, Record, Summary
from beautyspot.results import last_used
from beautyspot.testing import Count, make_key, make_record
from tests.maintenance.test_maintenance import in_process
from tests.support.marks import on_postgres_slowly

DAY = 86400.0


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which it is time to drop results, and to write which were used."""
    clock = Clock()
    monkeypatch.setattr(background, "monotonic", clock)
    monkeypatch.setattr(last_used, "monotonic", clock)
    return clock


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "memory":
        return {"db": MemoryTaskDB(), "storage_path": tmp_path / "blobs"}
    db = tmp_path / "p.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return {"db": db, "storage_path": tmp_path / "blobs"}


def bytes_of(project: bs.Project) -> Any:
    """A task whose results are blobs of a thousand bytes and a few more."""

    def a_thousand(n: int) -> bytes:
        return n.to_bytes(1000, "big")

    return project.task(version="1", save_blob=True, key=lambda n: n)(a_thousand)


SIZE = 1088  # of such a blob


def age(project: bs.Project, seconds: float) -> None:
    """Make all results older."""
    keys = [summary.key for summary in project.db.summaries()]
    entries = project.db.lookup(keys)
    records = [Record(entries[s.key], s._replace(created=s.created - seconds)) for s in project.db.summaries()]
    project.db.upsert(records[::-1])


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blobs_of(project: bs.Project) -> int:
    return len(list(project.storage.blobs()))


# --- what is asked for


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ttl": {"*": "soon"}}, "ttl of '\\*' is a number with one of"),
        ({"ttl": {"*": 0}}, "ttl of '\\*' must be more than 0 seconds"),
        ({"ttl": {1: "1d"}}, "a rule of ttl is for a pattern"),
        ({"ttl": {"": "1d"}}, "a rule of ttl is for a pattern"),
        ({"ttl": ["1d"]}, 'ttl is "90s"'),
        ({"max_bytes": "much"}, "max_bytes is a number of bytes"),
        ({"max_bytes": 0}, "max_bytes must be at least 1"),
        ({"max_bytes": -5}, "max_bytes must be at least 1"),
        ({"max_bytes": 1.5}, 'max_bytes is "10GB"'),
        ({"max_bytes": True}, 'max_bytes is "10GB"'),
        ({"ttl": "1d", "background": True}, 'background is "90s"'),
        ({"background": "1h"}, "give one of them as well"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        bs.Retention(**options)


def test_an_invalid_retention_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="retention is a Retention"):
        bs.Project("p", retention="30d")  # type: ignore[arg-type]


def test_the_first_rule_that_fits_holds() -> None:
    retention = bs.Retention(ttl={"scrape.*": "30d", "*.forever": None, "*": "1y"}, max_bytes="10GB", background="1h")
    assert retention.ttl_of("scrape.page") == 30 * DAY
    assert retention.ttl_of("scrape.forever") == 30 * DAY
    assert retention.ttl_of("model.forever") is None
    assert retention.ttl_of("model.fit") == 365 * DAY
    assert (retention.limit, retention.period) == (10_000_000_000, 3600)
    assert bs.Retention(ttl="30d").ttl_of("any.function") == 30 * DAY
    assert bs.Retention(ttl={"a.*": "30d"}).ttl_of("b.function") is None
    assert (bool(retention), bool(bs.Retention())) == (True, False)


def test_a_retention_travels() -> None:
    retention = bs.Retention(ttl={"scrape.*": "30d"}, max_bytes="10GB")
    copy = pickle.loads(pickle.dumps(retention))
    assert (copy, copy.limit, copy.ttl_of("scrape.x")) == (retention, retention.limit, 30 * DAY)
    with bs.Project("p", retention=retention) as project:
        again = pickle.loads(pickle.dumps(project))
        assert again.retention == retention
        again.close()


# --- by time


def test_without_a_retention_nothing_is_ever_deleted(places: dict[str, Any]) -> None:
    with bs.Project("p", **places) as project:
        task = project.task(version="1", ttl=0.001)(abs)
        task(1)
        age(project, 1000 * DAY)
        garbage = project.maintenance.gc()
        assert (garbage.evicted.results, len(list(project.db.summaries()))) == (0, 1)
        assert project.maintenance.gc(retention=bs.Retention()).evicted.results == 0


def test_a_rule_is_the_ttl_of_tasks_that_have_none_of_their_own(places: dict[str, Any]) -> None:
    rules = bs.Retention(ttl={f"{__name__}.*": "1h"})
    with bs.Project("p", **places, retention=rules) as project:
        project.task(version="1")(_ruled)(1)
        project.task(version="2", ttl="2h")(_ruled)(1)
        project.task(version="3")(abs)(1)
        lasting = [s.expires and round(s.expires - s.created) for s in project.db.summaries()]
        assert lasting == [None, 7200, 3600]


def _ruled(x: int) -> int:
    return x


def test_a_result_whose_rule_has_ended_runs_again(count: Count) -> None:
    with bs.Project("p", retention=bs.Retention(ttl=0.02)) as project:
        task = project.task(lambda x: (count(x), x)[1])
        task(1)
        time.sleep(0.05)
        task(1)
    assert len(count) == 2


def test_a_rule_travels_with_the_task(tmp_path: Path) -> None:
    with bs.Project("p", retention=bs.Retention(ttl={f"{__name__}._ruled": "1h"})) as project:
        bs.map(project.task(_ruled), range(4), engine="processes", workers=2)
        assert [round(s.expires - s.created) for s in project.db.summaries() if s.expires] == [3600] * 4


def test_gc_evicts_by_rules_unless_a_task_has_its_own_ttl(places: dict[str, Any]) -> None:
    with bs.Project("p", **places) as project:
        old, own = bytes_of(project), project.task(version="2", ttl="1y", save_blob=True)(_ruled)
        bs.map(old, range(5))
        own(1)
        age(project, 10 * DAY)
        old(5)
        young = project.maintenance.gc(retention=bs.Retention(ttl="11d"))
        assert young.evicted.results == 0
        rules = bs.Retention(ttl={"*.a_thousand": "9d", "*": "1d"})
        counted = project.maintenance.gc(retention=rules, dry_run=True).evicted
        assert (counted.expired.results, len(list(project.db.summaries()))) == (5, 7)
        evicted = project.maintenance.gc(retention=rules).evicted
        assert evicted == counted
        assert str(evicted) == "5 results that expired"
        assert (bs.plan(old, range(6)).kept, own.cached(1), blobs_of(project)) == (1, True, 2)
        assert project.maintenance.verify()


def test_gc_evicts_expired_results_of_a_project_with_a_retention(places: dict[str, Any]) -> None:
    with bs.Project("p", **places, retention=bs.Retention(ttl={"*": None})) as project:
        project.task(version="1", ttl=0.001)(_ruled)(1)
        project.task(version="2")(_ruled)(1)
        time.sleep(0.01)
        assert project.maintenance.gc().evicted.expired.results == 1
        assert len(list(project.db.summaries())) == 1


def test_a_result_whose_call_is_running_is_left(places: dict[str, Any]) -> None:
    with bs.Project("p", **places) as project:
        task = bytes_of(project)
        bs.map(task, range(3))
        age(project, 10 * DAY)
        key = bytes.fromhex(task.key(1))
        assert project.single_flight.try_acquire(key)
        try:
            for rules in (bs.Retention(ttl="1d"), bs.Retention(max_bytes=1100)):
                project.maintenance.gc(retention=rules)
                assert task.cached(1)
        finally:
            project.single_flight.release(key)
        assert project.maintenance.gc(retention=bs.Retention(ttl="1d")).evicted.results == 1


def test_a_row_that_is_not_the_one_that_was_seen_is_left(places: dict[str, Any]) -> None:
    with bs.Project("p", **places) as project:
        task = bytes_of(project)
        task(1)
        age(project, 10 * DAY)
        seen: Callable[..., Any] = project.db.summaries

        def then_replaced(function: str | None = None) -> Iterator[Summary]:
            rows = list(seen(function))
            entry = project.db.lookup([rows[0].key])[rows[0].key]
            later = time.time() + DAY
            project.db.upsert([Record(entry._replace(expires=later), rows[0]._replace(expires=later))])
            return iter(rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(project.db, "summaries", then_replaced)
            assert project.maintenance.gc(retention=bs.Retention(ttl="1d")).evicted.results == 0
        assert task.cached(1)


# --- by bytes


def test_what_was_used_least_recently_goes_first(places: dict[str, Any]) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=5 * SIZE)) as project:
        task = bytes_of(project)
        for n in range(8):
            task(n)
        age(project, 100)
        task(0)
        bs.map(task, [2])
        counted = project.maintenance.gc(dry_run=True).evicted
        assert counted.over == PruneReport(3, 3 * SIZE)
        garbage = project.maintenance.gc()
        assert garbage.evicted == counted
        assert [task.cached(n) for n in range(8)] == [True, False, True, False, False, True, True, True]
        assert blobs_of(project) == 5
        assert project.maintenance.gc().evicted.results == 0
        assert project.maintenance.verify()


def test_what_an_earlier_process_used_is_remembered(tmp_path: Path) -> None:
    script = """
        import sys
        import beautyspot as bs
        project = bs.Project("p", db=sys.argv[1], storage_path=sys.argv[2], retention=bs.Retention(max_bytes="1MB"))
        oldest = list(project.db.summaries())[-1]
        project.results.entry(oldest.key)
    """
    with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs") as project:
        task = bytes_of(project)
        for n in range(4):
            task(n)
        age(project, 100)
        assert in_process(project, script).wait() == 0  # it ends without closing its project
        project.maintenance.gc(retention=bs.Retention(max_bytes=2 * SIZE))
        assert [task.cached(n) for n in range(4)] == [True, False, False, True]


def test_results_in_the_index_count_as_those_in_blobs_do(places: dict[str, Any]) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=3000)) as project:
        task = project.task(version="1", save_blob=False, key=lambda n: n)(lambda n: "x" * 997)
        bs.map(task, range(10))
        assert project.maintenance.gc().evicted.over == (7, 7000, 0)
        assert [task.cached(n) for n in range(10)].count(True) == 3


def test_expired_results_go_before_any_that_is_good(places: dict[str, Any]) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=2 * SIZE)) as project:
        task = bytes_of(project)
        bs.map(task, range(2))
        short = project.task(version="2", ttl=0.001, save_blob=True)(lambda n: bytes(1000))
        bs.map(short, range(20))
        time.sleep(0.01)
        evicted = project.maintenance.gc().evicted
        assert (evicted.expired.results, evicted.over.results) == (20, 0)
        assert [task.cached(n) for n in range(2)] == [True, True]


def test_a_result_above_max_bytes_is_stored_with_a_warning_and_evicts_no_other(places: dict[str, Any]) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=2 * SIZE)) as project:
        task = bytes_of(project)
        large = project.task(version="2", save_blob=True)(lambda n: bytes(n))
        bs.map(task, range(2))
        with pytest.warns(bs.RetentionWarning, match="5.1 kB, more than max_bytes=2,176 allows") as warned:
            large(5000)
        assert warned[0].filename == __file__
        evicted = project.maintenance.gc().evicted
        assert (evicted.results, evicted.oversized) == (0, 1)
        assert [task.cached(0), task.cached(1), large.cached(5000)] == [True] * 3


class Bare:
    """An index with the first methods alone."""

    def __init__(self) -> None:
        db = MemoryTaskDB()
        self.lookup, self.upsert, self.delete = db.lookup, db.upsert, db.delete
        self.summaries, self.close = db.summaries, db.close

    def __repr__(self) -> str:
        return "Bare()"


def test_an_index_that_remembers_no_uses_refuses_max_bytes_and_takes_rules() -> None:
    with pytest.raises(ConfigurationError, match="Bare\\(\\) does not remember uses: give rules of ttl instead"):
        bs.Project("p", db=Bare(), retention=bs.Retention(max_bytes="1GB"))
    with bs.Project("p", db=Bare(), retention=bs.Retention(ttl="1d")) as project:
        project.task(_ruled)(1)
        age(project, 2 * DAY)
        with pytest.raises(ConfigurationError, match="does not remember uses"):
            project.maintenance.gc(retention=bs.Retention(max_bytes="1GB"))
        assert project.maintenance.gc(retention=bs.Retention(ttl={"*": None})).evicted.results == 0


def test_evictions_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with bs.Project("p", retention=bs.Retention(max_bytes=2000)) as project:
        bs.map(project.task(version="1", save_blob=False)(lambda n: "x" * 997), range(5))
        with caplog.at_level(logging.INFO, "beautyspot"):
            project.maintenance.gc()
            project.maintenance.gc()
    assert [r.getMessage() for r in caplog.records] == [
        "evicted from SQLiteTaskDB('./p.db'): 3 results over max_bytes, 3.0 kB"
    ]


def test_what_is_used_after_closing_is_noted_too(tmp_path: Path) -> None:
    with bs.Project("p", retention=bs.Retention(max_bytes="1GB")) as project:
        task = bytes_of(project)
        for n in range(2):
            task(n)
        task(0)
        project.close()
        age(project, -1)  # as if both were kept again
        time.sleep(1.1)
        task(0)
        project.close()
        assert isinstance(project.db, AccessLog)
        assert next(project.db.least_used()).key == bytes.fromhex(task.key(1))


def test_awaited_hits_count_as_used() -> None:
    async def double(x: int) -> int:
        return 2 * x

    async def run(task: Any) -> None:
        for x in (1, 2, 1):
            assert await task(x) == 2 * x

    with bs.Project("p", retention=bs.Retention(max_bytes=1)) as project:
        task = project.task(double)
        asyncio.run(run(task))
        age(project, 100)
        assert project.maintenance.gc().evicted.over.results == 1
        assert (task.cached(1), task.cached(2)) == (True, False)


def test_the_file_is_smaller_once_it_is_compacted() -> None:
    with bs.Project("p", retention=bs.Retention(max_bytes=100_000)) as project:
        bs.map(project.task(version="1", save_blob=False)(lambda n: "x" * 10_000), range(200))
        project.close()
        before = Path("p.db").stat().st_size
        assert project.maintenance.gc(compact=True).evicted.over.results == 191
        project.close()
        assert Path("p.db").stat().st_size < before / 8


# --- killed, and several at once


@on_postgres_slowly
def test_an_eviction_killed_anywhere_is_ended_by_the_next(project: bs.Project) -> None:
    project.results.blob_threshold = 400
    task = project.task(version="1", key=lambda n: n)(lambda n: "y" * (500 if n % 40 == 0 else 3))
    bs.map(task, range(1100))
    size = sum(summary.size for summary in project.db.summaries())
    script = """
        import json, os, signal, sys
        from beautyspot.db import open_db
        from beautyspot.maintenance.maintenance import Maintenance
        from beautyspot.maintenance.retention import Retention
        from beautyspot.storage import open_storage
        kept = Maintenance(open_db(sys.argv[1]), open_storage(sys.argv[2], json.loads(sys.argv[3])))
        seen = []
        def progress(count):
            seen.append(count)
            if len(seen) == 4:  # behind three pages that are only looked at
                os.kill(os.getpid(), signal.SIGKILL)
        kept.evict(Retention(max_bytes=1000), progress=progress)
    """
    assert in_process(project, script).wait() == -signal.SIGKILL
    left = list(project.db.summaries())
    assert len(left) == 600
    assert project.maintenance.verify()
    until(lambda: project.maintenance.evict(bs.Retention(max_bytes=1000)) is not None)
    kept = list(project.db.summaries())
    assert 0 < sum(summary.size for summary in kept) <= 1000 < size
    assert project.maintenance.gc(grace=-60)[:3] == (0, 0, 0)


def test_two_evictions_at_once_delete_no_more_than_one(places: dict[str, Any]) -> None:
    with bs.Project("p", **places) as project:
        task = project.task(version="1", save_blob=False, key=lambda n: n)(lambda n: "x" * 98)
        bs.map(task, range(2000))
        retention = bs.Retention(max_bytes=100_000)
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.append(project.maintenance.evict(retention))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(evicted.over.results for evicted in found) == 1000
        assert len(list(project.db.summaries())) == 1000


def test_one_process_at_a_time_evicts(project: bs.Project) -> None:
    task = project.task(version="1", save_blob=False)(lambda n: "x" * 98)
    bs.map(task, range(3))
    script = """
        import sys
        from beautyspot.db import open_db
        from beautyspot.maintenance.eviction import _TURN
        db = open_db(sys.argv[1])
        db.lock(_TURN)
        print("locked", flush=True)
        sys.stdin.read()
    """
    other = in_process(project, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    retention = bs.Retention(max_bytes=100)
    assert project.maintenance.evict(retention, wait=False).results == 0
    assert len(list(project.db.summaries())) == 3
    other.kill()
    other.communicate()
    assert project.maintenance.evict(retention).results == 2


# --- by whoever writes


def test_the_writing_thread_evicts_the_excess(places: dict[str, Any]) -> None:
    retention = bs.Retention(max_bytes=4 * SIZE, background="1h")
    with bs.Project("p", **places, retention=retention) as project:
        task = bytes_of(project)
        for n in range(30):
            task(n)
        assert [task.cached(n) for n in range(30)].count(True) == blobs_of(project) == 4
        assert task.cached(29)
        assert project.maintenance.verify()


@pytest.mark.parametrize("save_blob", [True, False])
def test_maps_that_write_evict_the_excess(places: dict[str, Any], save_blob: bool) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=100_000, background="1h")) as project:
        task = project.task(version="1", save_blob=save_blob)(lambda n: bytes([n % 256]) * 1000)
        assert bs.map(task, range(1000), workers=4) == [bytes([n % 256]) * 1000 for n in range(1000)]
        # The keys of a batch are held while it is committed: what it wrote is dropped the next time.
        for n in range(1000, 1015):
            task(n)
        assert 80 <= len(list(project.db.summaries())) <= 111
        assert project.maintenance.verify()


def test_awaited_calls_that_write_evict_the_excess(places: dict[str, Any]) -> None:
    async def a_thousand(n: int) -> bytes:
        return bytes(1000)

    with bs.Project("p", **places, retention=bs.Retention(max_bytes=4 * SIZE, background="1h")) as project:
        task = project.task(version="1", save_blob=True)(a_thousand)

        async def main() -> None:
            for n in range(10):
                await task(n)

        asyncio.run(main())
        assert len(list(project.db.summaries())) == 4


def test_nothing_is_evicted_before_it_is_time(clock: Clock) -> None:
    with bs.Project("p", retention=bs.Retention(ttl=0.001, background="1h")) as project:

        def left_after(seconds: float, n: int) -> int:
            clock.now += seconds
            time.sleep(0.01)
            project.task(_ruled)(n)
            return len(list(project.db.summaries()))

        assert [left_after(0, n) for n in range(3)] == [1, 2, 3]
        assert left_after(59, 3) == 4
        assert left_after(2, 4) == 1  # the first time
        assert left_after(3590, 5) == 2
        assert left_after(20, 6) == 1


def test_a_tenth_of_max_bytes_brings_the_next_time(clock: Clock) -> None:
    with bs.Project("p", retention=bs.Retention(max_bytes=100 * SIZE, ttl=0.001, background="1h")) as project:
        task = bytes_of(project)
        for n in range(10):
            task(n)
        time.sleep(0.01)
        assert len(list(project.db.summaries())) == 10
        task(10)
        assert len(list(project.db.summaries())) == 1


def test_reads_and_writes_call_nothing_without_a_retention() -> None:
    for retention in (None, bs.Retention(), bs.Retention(ttl="1d")):
        with bs.Project("p", retention=retention) as project:
            assert (project.results._on_read, project.results._on_write) == (None, None)


def test_no_thread_of_its_own_evicts() -> None:
    before = threading.enumerate()
    with bs.Project("p", retention=bs.Retention(ttl="1d", max_bytes=4 * SIZE, background=0.001)) as project:
        for n in range(10):
            bytes_of(project)(n)
        assert threading.enumerate() == before


def test_an_unclosed_project_is_collected() -> None:
    project = bs.Project("p", db=MemoryTaskDB(), retention=bs.Retention(max_bytes="1GB", background="1h"))
    project.task(_ruled)(1)
    there = weakref.ref(project)
    del project
    gc.collect()
    assert there() is None


def test_a_call_that_evicts_leaves_its_own_result(places: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with bs.Project("p", **places, retention=bs.Retention(max_bytes=1, ttl=0.001, background="1h")) as project:
        inner = project.task(version="1")(_ruled)
        seen: list[list[str]] = []

        @project.task(version="1", key=lambda n, to: n)
        def outer(n: int, to: list[list[str]]) -> int:
            inner(n)
            to.append([summary.function.rpartition(".")[2] for summary in project.db.summaries()])
            return n

        for _ in range(2):  # the first result has expired when the second call writes
            outer(1, seen)
            time.sleep(0.01)
    assert "cannot be evicted" not in caplog.text
    assert seen == [["_ruled"], ["_ruled", "outer"]]


def test_a_call_does_not_wait_for_an_eviction_of_another_process(project: bs.Project) -> None:
    script = """
        import sys
        from beautyspot.db import open_db
        from beautyspot.maintenance.eviction import _TURN
        db = open_db(sys.argv[1])
        db.lock(_TURN)
        print("locked", flush=True)
        sys.stdin.read()
    """
    other = in_process(project, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    retention = bs.Retention(max_bytes=100, background="1h")
    with bs.Project("p", db=project.db, storage=project.storage, retention=retention) as writing:
        task = writing.task(version="1", save_blob=False)(lambda n: "x" * 98)
        for n in range(3):
            task(n)
        assert len(list(project.db.summaries())) == 3
        other.kill()
        other.communicate()
        until(lambda: task.refresh(3) and len(list(project.db.summaries())) == 1)


def test_uses_are_written_while_the_program_runs(clock: Clock) -> None:
    with bs.Project("p", retention=bs.Retention(max_bytes="1GB")) as project:
        task = bytes_of(project)
        for x in range(3):
            task(x)
        age(project, 100)
        db = project.db
        assert isinstance(db, AccessLog)
        task(0)
        assert next(db.least_used()).key == bytes.fromhex(task.key(0))
        clock.now += 61
        task(0)
        assert next(db.least_used()).key == bytes.fromhex(task.key(1))


def test_many_uses_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used, "_MANY", 10)
    with bs.Project("p", retention=bs.Retention(max_bytes="1GB")) as project:
        task = bytes_of(project)
        bs.map(task, range(20), workers=1)  # in their order
        age(project, 100)
        bs.map(task, range(10))
        assert isinstance(project.db, AccessLog)
        assert next(project.db.least_used()).key == bytes.fromhex(task.key(10))


def test_an_event_loop_does_not_write_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used, "_EVERY", 0.0)

    async def double(x: int) -> int:
        return 2 * x

    with bs.Project("p", retention=bs.Retention(max_bytes="1GB")) as project:
        db: Any = project.db
        record_access, threads = db.record_access, []

        def noted(accesses: Any) -> None:
            threads.append(threading.current_thread())
            record_access(accesses)

        monkeypatch.setattr(db, "record_access", noted)
        task = project.task(double)

        async def main() -> None:
            assert [await task(1) for _ in range(3)] == [2, 2, 2]

        asyncio.run(main())
        project.close()
    assert threads
    assert threading.current_thread() not in threads


def test_a_forked_child_evicts_by_itself(tmp_path: Path) -> None:
    script = """
        import os, sys
        import beautyspot as bs
        retention = bs.Retention(max_bytes=2000, background="1h")
        project = bs.Project("p", db=sys.argv[1], storage_path=sys.argv[2], retention=retention)
        task = project.task(version="1")(lambda n: "x" * 900)
        task(1)
        project._retention_worker._evicting.acquire()  # as if another thread were evicting
        child = os.fork()
        if child == 0:
            for n in range(9):
                task(n)
            left = len(list(project.db.summaries()))
            project.close()
            os._exit(0 if left == 2 else 1)
        code = os.waitpid(child, 0)[1]
        project.close()
        sys.exit(os.waitstatus_to_exitcode(code))
    """
    with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs") as project:
        assert in_process(project, script).wait(60) == 0


def test_a_call_does_not_fail_if_eviction_fails(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with bs.Project("p", retention=bs.Retention(ttl=0.001, background="1h"), on_save_error="raise") as project:
        listed: Callable[..., Any] = project.db.summaries
        failed = threading.Event()

        def fails_once(function: str | None = None) -> Iterator[Summary]:
            if not failed.is_set():
                failed.set()
                raise IndexUnavailableError("the server went away")
            return iter(listed(function))

        monkeypatch.setattr(project.db, "summaries", fails_once)
        task = project.task(save_blob=True)(_ruled)
        for n in range(3):
            assert task(n) == n
            clock.now += 3601
            time.sleep(0.01)
        assert failed.is_set()
        assert len(list(listed())) == blobs_of(project) == 1
    assert caplog.text.count("cannot be evicted: the server went away") == 1


def test_an_index_that_cannot_be_written_to_serves_its_hits(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bs.Project("p", db=tmp_path / "p.db") as project:
        project.task(_ruled)(1)
    reading = SQLiteTaskDB(tmp_path / "p.db", read_only=True)
    with bs.Project("p", db=reading, retention=bs.Retention(max_bytes="1GB")) as project:
        task = project.task(_ruled)
        for _ in range(3):
            assert task(1) == 1
            clock.now += 61
    assert caplog.text.count("which results were used") == 1
    reading.close()


def test_an_index_of_the_schema_before_is_read_as_it_is_and_migrated_by_a_project(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[:1])
        db = SQLiteTaskDB(path)
        db.upsert([make_record(i) for i in range(3)])
        db.close()
    before = path.read_bytes()
    old = SQLiteTaskDB(path, read_only=True)
    assert [summary.input for summary in old.least_used()] == ["x=0", "x=1", "x=2"]
    assert make_key(1) in old.lookup([make_key(1)])
    old.close()
    assert path.read_bytes() == before
    db = SQLiteTaskDB(path)
    db.record_access({make_key(0): time.time()})
    assert [summary.input for summary in db.least_used()] == ["x=1", "x=2", "x=0"]
    db.delete([make_key(0)])
    db.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM uses").fetchone() == (0,)
    connection.close()
