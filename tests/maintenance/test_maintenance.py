"""Cached results are verified, deleted and exported, and garbage is collected, on any index and storage."""

import csv
import io
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from botocore.config import Config

import beautyspot as bs
from beautyspot.db import MemoryTaskDB, SQLiteTaskDB, open_db
from beautyspot.errors import ConfigurationError, StorageError
from beautyspot.maintenance.maintenance import Maintenance
from beautyspot.protocols.index import Entry, Record, Selection, Summary
from beautyspot.protocols.serializer import Buffer
from beautyspot.serialization.inspector import ClasslessDecoder, UnknownObject
from beautyspot.serialization.to_json import as_json, as_payload, to_plain
from beautyspot.storage import LocalStorage, MemoryStorage, S3Storage, open_storage
from beautyspot.testing import make_key, make_record
from tests.support.marks import on_postgres_slowly
from tests.support.servers import S3Server, free_port
from tests.support.tampering import change_rows

SECRET = "a secret that nobody can guess"


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every blob is old enough to be garbage, whatever the clock of a server says."""
    monkeypatch.setattr("beautyspot.maintenance.maintenance.GRACE", -60.0)


def text_of(project: bs.Project) -> Any:
    """A task whose results have as many bytes as it is asked for; those above 400 are blobs."""
    return project.task(version="1", save_blob=None, key=lambda n: n)(lambda n: "y" * n)


def fill(project: bs.Project, sizes: list[int]) -> Any:
    project.results.blob_threshold = 400
    task = text_of(project)
    bs.map(task, sizes)
    return task


def location(project: bs.Project, key: str) -> str:
    found = project.db.lookup([bytes.fromhex(key)])[bytes.fromhex(key)].location
    assert found is not None
    return found


def overwrite(project: bs.Project, place: str, content: bytes) -> None:
    storage = project.storage
    if isinstance(storage, LocalStorage):
        Path(storage.root, place).write_bytes(content)
    else:
        assert isinstance(storage, S3Storage)
        storage._client.get().put_object(Bucket=storage.bucket, Key=f"{storage.prefix}/{place}", Body=content)


def plant(project: bs.Project) -> Any:
    """Nine results of which four are of no use and one cannot be decoded, and a blob of none."""
    task = fill(project, [1, 2, 3, 4, 500, 501, 502, 503, 504])
    change_rows(project, "size = 4", checksum=b"1234")
    change_rows(project, "size = 5", value=b"\xc1", size=1, checksum=zlib.crc32(b"\xc1").to_bytes(4, "big"))
    project.storage.delete(location(project, task.key(500)))
    content = bytearray(project.storage.load(location(project, task.key(501)), entry(project, task.key(501)).size))
    content[-1] ^= 1
    overwrite(project, location(project, task.key(501)), bytes(content))
    overwrite(project, location(project, task.key(502)), bytes(content[:100]))
    project.storage.save(make_key(1).hex(), [b"nobody's"])
    return task


def entry(project: bs.Project, key: str) -> Entry:
    return project.db.lookup([bytes.fromhex(key)])[bytes.fromhex(key)]


# --- verify


def test_each_kind_of_problem_is_found(project: bs.Project, no_grace: None) -> None:
    task = plant(project)
    told: list[int] = []
    health = project.maintenance.verify(progress=lambda health: told.append(health.checked))
    assert health.counts == {"missing": 1, "damaged": 3, "undecodable": 1, "orphaned": 1}
    assert (health.checked, health.complete, bool(health), told) == (9, True, False, [9])
    assert str(health) == "9 results checked: 3 damaged, 1 missing, 1 orphaned, 1 undecodable"
    keys = {problem.key.hex() for problem in health.problems if problem.key is not None}
    assert keys == {task.key(n) for n in (4, 500, 501, 502)} | {task.key(3)}
    assert len(list(project.db.summaries())) == 9  # looking drops nothing


def test_fix_deletes_unusable_results_alone(project: bs.Project, no_grace: None) -> None:
    task = plant(project)
    assert project.maintenance.verify(fix=True).repaired == 5
    assert project.maintenance.verify().counts == {"undecodable": 1}
    assert [task.cached(n) for n in (1, 2, 503, 504)] == [True] * 4
    assert bs.plan(task, [3, 500, 501, 502]).kept == 0
    assert list(project.results.garbage()) == []


def test_known_problems_are_repaired_without_another_check(project: bs.Project, no_grace: None) -> None:
    task = plant(project)
    maintenance = project.maintenance
    health = maintenance.verify()
    with pytest.warns(bs.UnreadableWarning):
        task(500)  # runs again meanwhile
    assert maintenance.repair(health) == 4
    assert maintenance.verify().counts == {"undecodable": 1}
    assert task.cached(500)


class Json:
    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: Buffer) -> Any:
        return json.loads(bytes(data))


@pytest.mark.parametrize("save_blob", [True, False], ids=["in blobs", "in the index"])
def test_a_result_of_a_tasks_own_serializer_is_never_deleted(project: bs.Project, save_blob: bool) -> None:
    task = project.task(serializer=Json(), save_blob=save_blob)(lambda x: {"x": x})
    for x in range(5):
        task(x)
    for maintenance in (project.maintenance, Maintenance(project.db, project.storage)):
        health = maintenance.verify(fix=True)
        assert (health.counts, health.repaired, maintenance.repair(health)) == ({"undecodable": 5}, 0, 0)
    assert bs.plan(task, range(5)).kept == 5
    assert task(3) == {"x": 3}


def test_a_result_whose_call_is_running_is_not_repaired(project: bs.Project) -> None:
    task = fill(project, [500, 501])
    project.storage.delete(location(project, task.key(500)))
    key = bytes.fromhex(task.key(500))
    assert project.single_flight.try_acquire(key)
    assert project.maintenance.verify(fix=True).repaired == 0
    project.single_flight.release(key)
    assert project.maintenance.verify(fix=True).repaired == 1


def test_unsigned_results_are_reported_and_never_deleted(project: bs.Project) -> None:
    task = fill(project, [1, 500])
    maintenance = Maintenance(project.db, project.storage, secret=SECRET)
    health = maintenance.verify(fix=True)
    assert (health.counts, health.repaired) == ({"unsigned": 2}, 0)
    assert task.cached(500)
    with pytest.raises(bs.BeautyspotError, match="not signed with this secret"):
        maintenance.value(bytes.fromhex(task.key(1)))


def test_signed_results_are_not_taken_for_damaged_without_the_secret(project: bs.Project) -> None:
    with bs.Project("signed", db=project.db, storage=project.storage, secret=SECRET) as signed:
        task = fill(signed, [1, 500])
        health = project.maintenance.verify(fix=True)
        assert (health.counts, health.repaired) == ({"unsigned": 2}, 0)
        assert "set BEAUTYSPOT_SECRET" in health.problems[0].text
        assert signed.maintenance.verify()
        assert [task.cached(n) for n in (1, 500)] == [True, True]
        with pytest.raises(bs.DeserializationError, match="signed with a secret"):
            project.maintenance.value(bytes.fromhex(task.key(500)))


def test_a_check_continues_after_a_place(project: bs.Project) -> None:
    fill(project, list(range(300)))
    places: list[int] = []

    def interrupt(health: Any) -> None:
        places.append(health.place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.maintenance.verify(progress=interrupt)
    health = project.maintenance.verify(after=places[0])
    assert (health.checked, bool(health)) == (100, True)


def test_a_server_that_is_down_is_no_damage(project: bs.Project, s3_server: S3Server, s3_url: str) -> None:
    with bs.Project("p", db=project.db, storage_path=s3_url, s3_opts=s3_server.options) as there:
        fill(there, [500, 501])
    dead = {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    dead["config"] = Config(retries={"total_max_attempts": 1})  # type: ignore[assignment]
    storage = open_storage(s3_url, dead)
    with pytest.raises(StorageError, match="cannot be reached"):
        Maintenance(project.db, storage).verify(fix=True)
    storage.close()
    assert len(list(project.db.summaries())) == 2


def test_a_bucket_that_is_not_there_is_no_damage(project: bs.Project, s3_server: S3Server) -> None:
    fill(project, [500])
    storage = open_storage("s3://no-such-bucket/x", s3_server.options)
    with pytest.raises(StorageError, match="no such bucket"):
        Maintenance(project.db, storage).verify(fix=True)
    storage.close()
    assert len(list(project.db.summaries())) == 1


def test_a_directory_that_is_not_there_is_no_damage(project: bs.Project, tmp_path: Path) -> None:
    fill(project, [1, 500])
    with pytest.raises(StorageError, match="give the storage_path of the project"):
        Maintenance(project.db, LocalStorage(tmp_path / "nowhere")).verify(fix=True)
    assert len(list(project.db.summaries())) == 2


def test_nothing_is_deleted_if_the_storage_is_empty(project: bs.Project, tmp_path: Path) -> None:
    fill(project, [1, 500, 501])
    (tmp_path / "unmounted").mkdir()
    elsewhere = Maintenance(project.db, LocalStorage(tmp_path / "unmounted"))
    assert elsewhere.verify().counts == {"missing": 2}
    with pytest.raises(StorageError, match="has no blob of this index, so nothing was deleted"):
        elsewhere.verify(fix=True)
    elsewhere.storage.save(make_key(1).hex(), [b"of another project"])
    with pytest.raises(StorageError, match="has no blob of this index, so nothing was deleted"):
        elsewhere.verify(fix=True)
    assert len(list(project.db.summaries())) == 3


def test_an_index_whose_halves_differ_is_told_and_left(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db") as project:
        fill(project, [1, 2])
        project.close()
        with sqlite3.connect(tmp_path / "p.db") as connection:
            connection.execute("DELETE FROM records WHERE id = 1")
        connection.close()
        health = project.maintenance.verify(fix=True)
    assert (health.counts, health.repaired) == ({"index": 1}, 0)
    assert "2 results are kept, and 1 are listed" in health.problems[0].text


# --- prune, clear


def test_results_are_pruned_by_what_they_are(project: bs.Project) -> None:
    task = fill(project, [1, 2, 500, 501])
    maintenance = project.maintenance
    selection = Selection(smallest=400)
    before = list(project.db.summaries())
    sizes = [entry(project, task.key(n)).size for n in (500, 501)]
    assert maintenance.prune(selection, dry_run=True) == (2, sum(sizes), 0)
    assert list(project.db.summaries()) == before
    assert str(maintenance.prune(selection)) == "2 results"
    assert [task.cached(n) for n in (1, 2, 500, 501)] == [True, True, False, False]
    assert list(project.storage.blobs()) == []


@pytest.fixture
def with_failures(project: bs.Project) -> bs.Project:
    """Two results, of which one has expired, and two failures, each of two functions."""

    def fails(x: int) -> int:
        raise ValueError(x)

    def short(x: int) -> int:
        return x

    fails.__qualname__, short.__qualname__ = "fails", "short"
    failing = project.task(version="1")(fails)
    for x in range(2):
        with pytest.raises(ValueError):
            failing(x)
    project.task(version="1", ttl=0.001)(short)(1)
    project.task(version="1")(short)(2)
    time.sleep(0.01)
    return project


def test_pruning_what_expired_leaves_failures_noted(with_failures: bs.Project) -> None:
    maintenance = with_failures.maintenance
    assert maintenance.prune(Selection("expired")) == (1, 1, 0)
    assert maintenance.catalog.count(Selection("failed")) == 2


def test_failures_of_a_function_go_with_its_results(with_failures: bs.Project) -> None:
    maintenance = with_failures.maintenance
    module = __name__
    assert maintenance.prune(Selection(function=f"{module}.short")).failures == 0
    assert maintenance.catalog.count(Selection("failed")) == 2
    assert maintenance.prune(Selection("failed", function=f"{module}.fails"), dry_run=True) == (0, 0, 2)
    assert maintenance.prune(Selection("failed", function=f"{module}.fails")) == (0, 0, 2)
    assert maintenance.catalog.count(Selection("failed")) == 0


def test_failures_are_deleted_by_time_or_function_alone(with_failures: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match="by nothing else"):
        with_failures.maintenance.prune(Selection("failed", text="x=1"))


def test_clear_leaves_nothing(with_failures: bs.Project) -> None:
    fill(with_failures, [500, 501])
    maintenance = with_failures.maintenance
    assert str(maintenance.clear()) == "4 results and 2 failures"
    assert (list(with_failures.db.summaries()), maintenance.catalog.functions()) == ([], [])
    assert list(with_failures.storage.blobs()) == []


@on_postgres_slowly
def test_a_killed_prune_goes_on_where_it_was(project: bs.Project) -> None:
    project.results.blob_threshold = 400
    task = project.task(version="1")(lambda n: "y" * (500 if n % 40 == 0 else 3))
    bs.map(task, range(1100))
    script = """
        import json, os, signal, sys
        from beautyspot.db import open_db
        from beautyspot.maintenance.maintenance import Maintenance
        from beautyspot.protocols.index import Selection
        from beautyspot.storage import open_storage
        kept = Maintenance(open_db(sys.argv[1]), open_storage(sys.argv[2], json.loads(sys.argv[3])))
        kept.prune(Selection(), progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))
    """
    assert in_process(project, script).wait() == -signal.SIGKILL
    left = len(list(project.db.summaries()))
    assert left == 600
    assert project.maintenance.verify()
    assert project.maintenance.prune(Selection()).results == 600
    assert bs.plan(task, range(1100)).kept == 0
    assert project.maintenance.gc(grace=-60).young == 0
    assert list(project.storage.blobs()) == []


def in_process(project: bs.Project, script: str, **more: Any) -> subprocess.Popen[str]:
    """Run a script that is told where a project keeps its results."""
    storage: Any = project.storage
    on_disk = isinstance(storage, LocalStorage)
    blobs = [storage.root, "null"] if on_disk else [storage._url(), json.dumps(storage._opts)]
    places = [place_of(project), *blobs]
    code = "\n".join(line[8:] for line in script.splitlines())
    return subprocess.Popen([sys.executable, "-c", code, *places], text=True, **more)


# --- gc


def test_a_blob_in_the_making_is_no_garbage(project: bs.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    save: Callable[..., str] = project.storage.save
    written, go_on = threading.Event(), threading.Event()

    def slowly(name: str, parts: Any) -> str:
        place = save(name, parts)
        written.set()
        go_on.wait(30)
        return place

    monkeypatch.setattr(project.storage, "save", slowly)
    task = project.task(save_blob=True, version="1")(lambda n: b"x" * n)
    job = threading.Thread(target=task, args=(5000,))
    job.start()
    written.wait(30)
    elsewhere = Maintenance(open_db(place_of(project)), project.storage)  # as another process sees it
    for maintenance in (project.maintenance, elsewhere):
        assert maintenance.gc(grace=-60, dry_run=False)[:3] == (0, 0, 1)
    go_on.set()
    job.join()
    elsewhere.db.close()
    assert task.cached(5000)
    assert project.maintenance.verify()


def place_of(project: bs.Project) -> str:
    db: Any = project.db
    return db.path if isinstance(db, SQLiteTaskDB) else f"{db._connections.url}?schema={db._schema}"


def test_a_blob_whose_key_is_locked_by_another_process_is_left(project: bs.Project) -> None:
    project.storage.save(make_key(1).hex(), [b"in the making"])
    project.db.lookup([])
    script = """
        import sys
        from beautyspot.db import open_db
        from beautyspot.testing import make_key
        db = open_db(sys.argv[1])
        db.lock(make_key(1))
        print("locked", flush=True)
        sys.stdin.read()
    """
    other = in_process(project, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    assert project.maintenance.gc(grace=-60)[:3] == (0, 0, 1)
    other.kill()
    other.communicate()
    deadline = time.monotonic() + 20
    while (found := project.maintenance.gc(grace=-60)).young and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found[:3] == (1, 13, 0)


def test_a_young_blob_is_left_for_an_hour(project: bs.Project) -> None:
    project.storage.save(make_key(1).hex(), [b"young"])
    assert project.maintenance.gc()[:3] == (0, 0, 1)
    assert project.maintenance.verify()


def test_a_dry_run_removes_nothing(project: bs.Project) -> None:
    project.storage.save(make_key(1).hex(), [b"old"])
    assert project.maintenance.gc(grace=-60, dry_run=True)[:3] == (1, 3, 0)
    assert len(list(project.storage.blobs())) == 1


@on_postgres_slowly
def test_writers_killed_at_any_instant_leave_whole_rows_once_garbage_is_collected(project: bs.Project) -> None:
    script = """
        import json, os, sys
        import beautyspot as bs
        from beautyspot.storage import open_storage
        storage = open_storage(sys.argv[2], json.loads(sys.argv[3]))
        with bs.Project("p", db=sys.argv[1], storage=storage) as project:
            task = project.task(save_blob=True, version="1")(lambda n: bytes(n % 7) * 20_000)
            task(-1)
            print("begins", flush=True)
            first = int.from_bytes(os.urandom(3), "big")
            while True:
                bs.map(task, range(first, first := first + 50), workers=4, progress=False)
    """
    for _ in range(2):
        writer = in_process(project, script, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0.1, 0.5))
        writer.kill()
        writer.communicate()
    maintenance = project.maintenance
    deadline = time.monotonic() + 20
    while maintenance.gc(grace=-60).young and time.monotonic() < deadline:
        time.sleep(0.1)  # a server that was killed in the middle of a call ends it by itself
    assert list(project.results.garbage()) == []
    assert maintenance.verify()
    assert len(list(project.storage.blobs())) == len(list(project.db.summaries())) > 0


def test_blobs_of_another_project_in_the_same_directory_are_no_garbage(tmp_path: Path, no_grace: None) -> None:
    with bs.Project("a") as a, bs.Project("b") as b:
        fill(a, [500])
        task = fill(b, [501, 502])
        assert len(list(a.storage.blobs())) == 3
        assert a.maintenance.gc(grace=-60)[:3] == (0, 0, 0)
        assert a.maintenance.verify(fix=True)
        task.forget(501)
        b.storage.save(make_key(1).hex(), [b"nobody's"])
        assert a.maintenance.gc(grace=-60)[:3] == (1, 8, 0)
        assert task.cached(502)


def test_no_grace_is_given_up_where_other_indexes_share_the_storage(tmp_path: Path) -> None:
    with bs.Project("a") as a, bs.Project("b") as b:
        fill(a, [500])
        fill(b, [501])
        a.storage.save(make_key(1).hex(), [b"of a call of b, perhaps"])
        assert a.maintenance.gc(grace=0)[:3] == (0, 0, 1)


def test_nothing_is_removed_beside_an_index_that_cannot_be_read(tmp_path: Path) -> None:
    with bs.Project("a") as a, bs.Project("b") as b:
        fill(b, [501])
        b.close()
        with sqlite3.connect("b.db") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(bs.IndexUnavailableError, match="schema 99"):
            a.maintenance.gc(grace=-60)
        assert len(list(a.storage.blobs())) == 1


def test_databases_of_other_programs_in_the_directory_do_not_matter(tmp_path: Path) -> None:
    with sqlite3.connect("theirs.db") as connection:
        connection.execute("CREATE TABLE guests (name)")
    connection.close()
    Path("notes.db").write_text("no database at all, but a text of some length")
    with bs.Project("a") as a:
        a.storage.save(make_key(1).hex(), [b"nobody's"])
        assert a.maintenance.gc(grace=-60)[:3] == (1, 8, 0)


def test_the_space_of_deleted_rows_is_returned(tmp_path: Path) -> None:
    with bs.Project("p") as project:
        bs.map(project.task(version="1")(lambda n: "z" * 10_000), range(100))
        project.maintenance.clear()
        project.close()
        before = os.path.getsize("p.db")
        project.maintenance.gc(compact=True)
        assert os.path.getsize("p.db") < before / 4


# --- looking without a trace


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("killed", [False, True])
def test_reading_changes_no_file(tmp_path: Path, killed: bool) -> None:
    script = "import beautyspot as bs, os; p = bs.Project('p'); f = p.task(save_blob=True)(lambda n: bytes(n)); f(3); "
    script += "os.kill(os.getpid(), 9)" if killed else "p.close()"
    subprocess.run([sys.executable, "-c", script], check=False)
    assert os.path.exists("p.db-wal") == killed
    before = everything(tmp_path)
    kept = Maintenance(SQLiteTaskDB("p.db", read_only=True), LocalStorage("blobs"))
    (row,) = kept.selected(Selection())
    assert kept.value(row.key) == bytes(3)
    assert kept.verify()
    assert kept.gc(dry_run=True)[:3] == (0, 0, 0)
    assert kept.prune(Selection(), dry_run=True).results == 1
    with pytest.raises(bs.IndexUnavailableError, match="read-only"):
        kept.clear()
    kept.close()
    after = everything(tmp_path)
    assert {name for name in after if not name.endswith("-shm")} == {n for n in before if not n.endswith("-shm")}
    assert all(after[name] == before[name] for name in before if not name.endswith("-shm"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_results(tmp_path: Path) -> None:
    value = msgpack.packb("a result")
    checksum = zlib.crc32(value).to_bytes(4, "big")
    db = SQLiteTaskDB("p.db")
    for start in range(0, 100_000, 10_000):
        db.upsert([make_record(i, value, checksum=checksum) for i in range(start, start + 10_000)])
    db.close()
    script = """
        import beautyspot as bs
        from beautyspot.db import SQLiteTaskDB
        from beautyspot.maintenance.maintenance import Maintenance
        from beautyspot.protocols.index import Selection
        from beautyspot.storage import LocalStorage
        def peak():
            with open("/proc/self/status") as file:
                return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) // 1024
        kept = Maintenance(SQLiteTaskDB("p.db"), LocalStorage("blobs"))
        kept.catalog.select(Selection(), count=1000)
        before = peak()
        assert kept.verify().checked == 100_000
        assert kept.export("all.jsonl") == 100_000
        assert kept.gc()[:3] == (0, 0, 0)
        assert kept.prune(Selection(text="of another kind")).results == 0
        print(peak() - before)
        kept.close()
    """
    code = "\n".join(line[8:] for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert int(done.stdout) < 25


# --- values as viewers see them

WRITER = """
import dataclasses, enum, typing
import pydantic
import beautyspot as bs

@dataclasses.dataclass
class Point:
    x: int
    label: str

class Model(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    name: str
    points: list[Point] = []

class Pair(typing.NamedTuple):
    left: int
    right: Point

class Color(enum.Enum):
    RED = 1

class Flags(enum.Flag):
    A = 1
    B = 2

class Own:
    pass

if __name__ == "__main__":
    import writer
    project = bs.Project("p")
    project.register_type(type_=writer.Own, code=7, encoder=lambda own: b"own", decoder=lambda data: writer.Own())
    make = project.task(version="1")(lambda n: [
        writer.Point(1, "a"), writer.Pair(2, writer.Point(3, "b")), writer.Color.RED, writer.Flags.A | writer.Flags.B,
        writer.Own(), writer.Model(name="m", points=[writer.Point(4, "c")], more=5),
        {"deep": (writer.Point(6, "d"),)},
    ][n])
    bs.map(make, range(7))
    project.close()
"""


@pytest.fixture
def strangers(tmp_path: Path) -> list[Any]:
    """Values of classes that are not loaded here, as they were kept by another program."""
    Path("writer.py").write_text(WRITER)
    subprocess.run([sys.executable, "writer.py"], check=True)
    kept = Maintenance(SQLiteTaskDB("p.db", read_only=True), LocalStorage("blobs"))
    rows = sorted(kept.selected(Selection()), key=lambda row: row.input)
    values = [kept.value(row.key) for row in rows]
    assert kept.verify()
    kept.close()
    assert "writer" not in sys.modules
    return values


def test_values_of_classes_that_are_not_loaded_are_shown_by_their_fields(strangers: list[Any]) -> None:
    point, pair, color, flags, own, model, nested = strangers
    assert repr(point) == "writer.Point(x=1, label='a')"
    assert repr(pair) == "writer.Pair(2, writer.Point(x=3, label='b'))"
    assert repr(color) == "<writer.Color: 'RED'>"
    assert repr(flags) == "<writer.Flags: 3>"
    assert own == UnknownObject("registered type 7", b"own")
    assert repr(model) == "writer.Model(name='m', points=[writer.Point(x=4, label='c')], more=5)"
    assert repr(nested) == "{'deep': (writer.Point(x=6, label='d'),)}"


def test_they_are_written_as_json(strangers: list[Any]) -> None:
    point, pair, color, _, own, model, nested = map(to_plain, strangers)
    assert point == {"type": "writer.Point", "x": 1, "label": "a"}
    assert pair == {"type": "writer.Pair", "value": [2, {"type": "writer.Point", "x": 3, "label": "b"}]}
    assert color == {"type": "writer.Color", "value": "RED"}
    assert own == {"type": "registered type 7", "base64": "b3du"}
    assert (model["name"], model["more"], nested["deep"][0]["x"]) == ("m", 5, 6)


def extension(code: int, content: Any) -> bytes:
    data = content if isinstance(content, bytes) else msgpack.packb(content)
    return b"\x81\xa5value\xc7" + bytes([len(data), code % 256]) + data


HOSTILE = {
    "a function for a data class": extension(-19, [["os", "system"], {"a": "touch hacked"}]),
    "a class for an enum": extension(-16, [["subprocess", "Popen"], "touch hacked"]),
    "a module that acts when it is imported": extension(-18, [["antigravity", "x"], ["touch hacked"]]),
    "a model of it": extension(-20, [["this", "x"], {"x": "touch hacked"}]),
    "a pickle in a user's type": extension(9, b"cos\nsystem\n(S'touch hacked'\ntR."),
}
MEANINGLESS = {
    "names that are none": extension(-19, [[1, None], {}]),
    "no reference at all": extension(-19, 7),
    "a pickle alone": b"\x80\x04\x95cos\nsystem\n(S'touch hacked'\ntR.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_values_are_shown_without_executing_anything(case: str) -> None:
    value = ClasslessDecoder().loads(HOSTILE[case])
    assert isinstance(value["value"], UnknownObject)
    assert "hacked" in repr(value)
    json.loads(as_json(value))
    assert not Path("hacked").exists()
    assert {"this", "antigravity"}.isdisjoint(sys.modules)


@pytest.mark.parametrize("case", MEANINGLESS)
def test_bytes_that_are_no_value_are_refused(case: str) -> None:
    with pytest.raises(bs.DeserializationError):
        ClasslessDecoder().loads(MEANINGLESS[case])
    assert not Path("hacked").exists()


def test_a_type_that_its_project_registered_is_shown_as_that() -> None:
    with bs.Project("p", db="memory://", storage_path="memory://") as project:
        project.register_type(type_=slice, code=3, encoder=lambda s: bytes([s.start]), decoder=lambda b: slice(b[0]))
        task = project.task(version="1")(lambda: slice(4, 5))
        task()
        assert project.maintenance.value(bytes.fromhex(task.key())) == slice(4)


# --- values for other programs


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for i in range(levels):
        value = [value] if i % 2 else {"k": value}
    return value


def test_a_value_as_deep_as_any_that_is_kept_can_be_written() -> None:
    with bs.Project("p", db="memory://", storage_path="memory://") as project:
        task = project.task(version="1")(deep)
        task(200)
        assert as_json(project.maintenance.value(bytes.fromhex(task.key(200)))).count("bottom") == 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (math.nan, "nan"),
        (1 << 70, str(1 << 70)),
        ({1: "a", (2, 3): b"\x00"}, {"1": "a", "[2, 3]": {"base64": "AA=="}}),
        (np.arange(3), [0, 1, 2]),
        (np.float32(0.5), 0.5),
        (np.zeros((200, 200)), {"type": "array", "shape": [200, 200], "dtype": "float64"}),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_any_value_becomes_what_json_has(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    json.loads(as_json(value))


def test_a_value_is_a_file_of_its_kind() -> None:
    assert as_payload(b"\x89PNG", "image/png") == (b"\x89PNG", "image/png", ".png")
    assert as_payload("text", None).suffix == ".txt"
    assert np.load(io.BytesIO(as_payload(np.arange(3), None).content)).tolist() == [0, 1, 2]
    assert json.loads(as_payload({"a": 1}, None).content) == {"a": 1}


def test_a_table_has_the_cached_results(project: bs.Project) -> None:
    task = project.task(version="2", content_type="text/plain")(lambda text: {"text": text, "half": "\ud800"})
    bs.map(task, ["one", 'two, "quoted"\nand more'])
    maintenance = project.maintenance
    for name in ("all.jsonl", "all.csv", "all.parquet"):
        assert maintenance.export(name) == 2
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert [line["value"]["text"] for line in lines] == ['two, "quoted"\nand more', "one"]
    assert (lines[1]["key"], lines[1]["version"]) == (task.key("one"), "2")
    with open("all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["value"])["text"] for row in rows] == ['two, "quoted"\nand more', "one"]
    import pyarrow.parquet

    table = pyarrow.parquet.read_table("all.parquet")
    assert table.column("key").to_pylist() == [line["key"] for line in lines]
    assert sorted(os.listdir()) == sorted({*os.listdir()} - {"all.csv.part"})


def test_a_result_that_cannot_be_read_does_not_cost_the_others(project: bs.Project) -> None:
    task = fill(project, [1, 500])
    project.storage.delete(location(project, task.key(500)))
    assert project.maintenance.export("all.jsonl") == 2
    problems = [json.loads(line)["problem"] for line in Path("all.jsonl").read_text().splitlines()]
    assert sum(problem is None for problem in problems) == 1


def test_a_server_that_goes_away_ends_an_export(s3_server: S3Server, s3_url: str) -> None:
    with bs.Project("p", storage_path=s3_url, s3_opts=s3_server.options) as project:
        fill(project, [500])
        dead = {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{free_port()}"}
        dead["config"] = Config(retries={"total_max_attempts": 1})  # type: ignore[assignment]
        storage = open_storage(s3_url, dead)
        with pytest.raises(StorageError, match="cannot be reached"):
            Maintenance(project.db, storage).export("all.jsonl")
        storage.close()
    assert not [name for name in os.listdir() if "jsonl" in name]


# --- any index


class Bare:
    """An index with the least that one must have."""

    def __init__(self) -> None:
        db = MemoryTaskDB()
        for name in ("lookup", "upsert", "delete", "summaries", "close"):
            setattr(self, name, getattr(db, name))


def test_an_index_with_the_least_that_one_must_have_is_maintained(no_grace: None) -> None:
    db: Any = Bare()
    storage = MemoryStorage()
    with bs.Project("p", db=db, storage=storage) as project:
        task = fill(project, [1, 2, 500, 501])
        maintenance = project.maintenance
        storage.delete(location(project, task.key(500)))
        assert maintenance.verify().counts == {"missing": 1}
        assert maintenance.verify(fix=True).repaired == 1
        assert maintenance.catalog.functions()[0].results == 3
        assert maintenance.one(task.key(1)[:8]) == maintenance.one(task.key(1))
        assert maintenance.prune(Selection(smallest=400)).results == 1
        assert maintenance.clear().results == 2
        assert maintenance.gc()[:3] == (0, 0, 0)


def test_a_key_is_found_by_as_much_of_it_as_tells_it_from_others(project: bs.Project) -> None:
    keys = [bytes([0xAB, n]) + bytes(14) for n in (1, 2)]
    records = [make_record(n) for n in range(2)]
    project.db.upsert([Record(r.entry, r.summary._replace(key=key)) for r, key in zip(records, keys, strict=True)])
    found = project.maintenance.one("AB01")
    assert isinstance(found, Summary)
    assert found.key == keys[0]
    with pytest.raises(ConfigurationError, match="more than one key begins with 'ab': ab01"):
        project.maintenance.one("ab")
    with pytest.raises(ConfigurationError, match="no result and no failure has a key"):
        project.maintenance.one("cd")


def test_the_nearest_call_to_a_cached_one_is_shown(project: bs.Project) -> None:
    @project.task(version="1")
    def ask(question: str, model: str = "large") -> str:
        return question

    ask("Why?")
    ask("Why?", model="small")
    maintenance = project.maintenance
    text = maintenance.explain(maintenance.one(ask.key("Why?")))
    assert text.startswith("kept: ")
    assert "(question='Why?', model='small'); it differs in model" in text
