"""Killed, full, read-only, damaged: no wrong result is ever returned, and no returned result is lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.db import SQLiteTaskDB
from beautyspot.db.sqlite.schema import MIGRATIONS
from beautyspot.errors import ForeignIndexError, NewerIndexError, NotKeptWarning, UnreadableWarning
from beautyspot.testing import Count, make_key, make_record
from tests.support.servers import until
from tests.support.tampering import change_blob, change_rows, rows

NOBODY = 65534


def run(code: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=cwd, capture_output=True, text=True, timeout=100, **options
    )


def check_index(path: Path) -> None:
    """Check that the index is sound, and that every row has an intact blob."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    results = connection.execute("SELECT count(*) FROM results").fetchone()
    assert connection.execute("SELECT count(*) FROM results JOIN records ON records.id = record").fetchone() == results
    assert connection.execute("SELECT count(*) FROM records").fetchone() == results
    connection.close()


# --- blobs


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda content: content[:-10],
    "zero": lambda content: bytes(len(content)),
    "flip": lambda content: content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :],
    "garble": lambda content: os.urandom(len(content)),
    "empty": lambda _: b"",
    "gone": lambda _: None,
    "longer": lambda content: content * 2,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("project_index", "mmap"), [("sqlite", False), ("sqlite", True), ("postgres", False)])
def test_a_damaged_blob_is_run_again_with_one_warning(
    project: bs.Project, count: Count, damage: str, mmap: bool
) -> None:
    content = project.task(save_blob=True, mmap=mmap)(lambda n: count() or bytes(range(100)) * n)
    content(1000)
    change_blob(project, DAMAGES[damage])
    with pytest.warns(UnreadableWarning, match="its call runs again") as caught:
        assert content(1000) == bytes(range(100)) * 1000
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert content(1000) == bytes(range(100)) * 1000
    assert len(count) == 2
    assert not list(project.results.garbage())


def test_a_flipped_bit_in_a_row_is_a_miss(project: bs.Project, count: Count) -> None:
    text = project.task(lambda x: count() or "some text")
    text(1)
    ((value,),) = rows(project, "value")
    change_rows(project, value=value.replace(b"some", b"Some"))
    with pytest.warns(UnreadableWarning, match="checksum does not fit"):
        assert text(1) == "some text"
    assert len(count) == 2


def test_a_planted_pickle_is_not_executed(project: bs.Project, tmp_path: Path, count: Count) -> None:
    import zlib

    from blake3 import blake3

    text = project.task(lambda x: count() or "text")
    blob = project.task(save_blob=True)(lambda x: count() or "blob")
    text(1)
    blob(1)
    evil = b"cos\nsystem\n(S'touch hacked'\ntR."
    change_blob(project, lambda _: evil)
    crc = zlib.crc32(evil).to_bytes(4, "big")
    change_rows(project, "location IS NULL", value=evil, checksum=crc)
    change_rows(project, "location IS NOT NULL", checksum=blake3(evil).digest(16), size=len(evil))
    with pytest.warns(UnreadableWarning):
        assert (text(1), blob(1)) == ("text", "blob")
    assert not (tmp_path / "hacked").exists()
    assert len(count) == 4


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "s3://bucket/key", "aa/../../x", "."])
def test_a_row_that_points_outside_the_storage_is_a_miss(project: bs.Project, count: Count, location: str) -> None:
    blob = project.task(save_blob=True)(lambda x: count() or "blob")
    blob(1)
    change_rows(project, location=location)
    with pytest.warns(UnreadableWarning, match="not the location of a blob"):
        assert blob(1) == "blob"
    assert len(count) == 2


@pytest.mark.parametrize("project_index", ["sqlite"])
def test_a_link_out_of_the_storage_is_not_followed(project: bs.Project, tmp_path: Path, count: Count) -> None:
    blob = project.task(save_blob=True)(lambda x: count() or "blob")
    blob(1)
    (path,) = (tmp_path / "blobs").rglob("*-*")
    (tmp_path / "outside").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    with pytest.warns(UnreadableWarning, match="symbolic link"):
        assert blob(1) == "blob"


# --- the index


def test_a_garbled_index_is_set_aside(tmp_path: Path, count: Count) -> None:
    path = tmp_path / "p.db"
    for damage in (os.urandom, bytes, lambda size: b"not a database" * 1000):
        with bs.Project("p", db=path) as project:
            task = project.task(version="1")(lambda x: count() or x)
            for i in range(300):
                task(i)
        path.write_bytes(damage(path.stat().st_size))
        ran = len(count)
        with bs.Project("p", db=path) as project:
            task = project.task(version="1")(lambda x: count() or x)
            with pytest.warns(
                UnreadableWarning, match=r"was renamed to .*\.corrupt-.* and a new one was created"
            ) as caught:
                assert [task(i) for i in range(3)] == [0, 1, 2]
            assert len(caught) == 1
        assert len(count) == ran + 3
        check_index(path)
    assert len(list(tmp_path.glob("p.db.corrupt-*"))) == 3


@pytest.mark.parametrize("whole", [1, 20], ids=["all but its first page", "its later pages"])
def test_an_index_damaged_while_it_is_open_is_set_aside(tmp_path: Path, whole: int) -> None:
    path = tmp_path / "p.db"
    with bs.Project("p", db=path) as project:
        task = project.task(lambda x: "x" * 100)
        for i in range(500):
            task(i)
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(whole * 4096)
            file.write(os.urandom(size - whole * 4096))
        project.close()
        with pytest.warns(UnreadableWarning, match="was renamed to"):
            assert [task(i) for i in range(500)] == ["x" * 100] * 500
        assert all(task.cached(i) for i in range(500))
    check_index(path)


@pytest.mark.parametrize("garbage", [b"", os.urandom(5000)])
def test_a_garbled_log_loses_only_what_it_held(tmp_path: Path, garbage: bytes) -> None:
    code = """
        import beautyspot as bs, os
        task = bs.Project("p", db="p.db").task(version="1")(abs)
        for i in range(100): task(i)
        os.kill(os.getpid(), 9)
    """
    run(code, tmp_path)
    (tmp_path / "p.db-wal").write_bytes(garbage)
    with bs.Project("p", db=tmp_path / "p.db") as project:
        task = project.task(version="1")(abs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreadableWarning)
            assert [task(-i) for i in range(100)] == list(range(100))
    check_index(tmp_path / "p.db")


@pytest.mark.parametrize(
    "call", [lambda t: t(1), lambda t: t.refresh(1), lambda t: t.put(1, 1), lambda t: bs.map(t, [1])]
)
def test_a_file_of_another_program_is_rejected_and_left_as_it_is(tmp_path: Path, call: Any) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("my notes")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE tasks (id)")
    connection.commit()
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with bs.Project("p", db=path) as project:
            with pytest.raises(ForeignIndexError, match="belongs to another program or to an older beautyspot"):
                call(project.task(lambda x: x))
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "other.db"]


def test_a_newer_index_is_rejected_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with bs.Project("p", db=path) as project:
        project.task(lambda x: x)(1)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with bs.Project("p", db=path) as project, pytest.raises(NewerIndexError, match="Install the newer beautyspot"):
        project.task(lambda x: x)(1)
    assert path.read_bytes() == before


def test_every_migration_has_its_record(tmp_path: Path) -> None:
    db = SQLiteTaskDB(tmp_path / "p.db")
    db.upsert([make_record(1)])
    db.close()
    connection = sqlite3.connect(tmp_path / "p.db")
    assert [n for (n,) in connection.execute("SELECT number FROM migrations")] == list(range(1, len(MIGRATIONS) + 1))
    connection.close()


def test_an_index_that_another_process_creates_meanwhile_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, access = str(tmp_path / "fresh.db"), os.access

    def access_then_another_process(place: Any, mode: int) -> bool:
        allowed = access(place, mode)
        if place == path and not os.path.exists(path):
            subprocess.run([sys.executable, "-c", MAKE_INDEX, path], check=True)
        return allowed

    monkeypatch.setattr(os, "access", access_then_another_process)  # the instant cannot be hit from outside
    db = SQLiteTaskDB(path)
    db.upsert([make_record(1)])
    assert len(db.lookup([make_key(1), make_key(2)])) == 1
    db.close()


MAKE_INDEX = """
import sys
from beautyspot.db import SQLiteTaskDB
SQLiteTaskDB(sys.argv[1]).lookup([b"0" * 16])
"""


def test_sixteen_processes_open_a_fresh_index_together(tmp_path: Path) -> None:
    code = """
        import sys, time, beautyspot as bs
        task = bs.Project("p", db="p.db").task(version="1")(abs)
        while time.time() < float(sys.argv[1]): pass
        print(task(int(sys.argv[2])))
    """
    start = str(time.time() + 3)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code), start, str(i)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(16)
    ]  # fmt: skip
    assert [process.communicate(timeout=60) for process in processes] == [(f"{i}\n", "") for i in range(16)]
    with bs.Project("p", db=tmp_path / "p.db") as project:
        assert all(project.task(version="1")(abs).cached(i) for i in range(16))


def test_eight_processes_write_at_once(tmp_path: Path) -> None:
    code = """
        import sys, beautyspot as bs
        task = bs.Project("p", db="p.db", on_save_error="raise").task(version="1")(abs)
        for i in range(300): task(int(sys.argv[1]) * 1000 + i)
    """
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(i)], cwd=tmp_path)
        for i in range(8)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0] * 8
    with bs.Project("p", db=tmp_path / "p.db") as project:
        assert len(list(project.db.summaries())) == 2400
    check_index(tmp_path / "p.db")


@pytest.mark.parametrize("project_index", ["sqlite"])
def test_calls_wait_for_a_slow_writer(project: bs.Project) -> None:
    task = project.task(lambda x: x)
    task(1)
    other = sqlite3.connect(project.db.path, isolation_level=None, check_same_thread=False)  # type: ignore[attr-defined]
    other.execute("BEGIN IMMEDIATE")
    import threading

    threading.Timer(2, lambda: other.execute("COMMIT")).start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert task(2) == 2
    assert task.cached(2)
    other.close()


def test_an_index_that_stays_locked_costs_caching_and_not_the_job(tmp_path: Path) -> None:
    with bs.Project("p", db=SQLiteTaskDB(tmp_path / "p.db", timeout=0.2)) as project:
        task = project.task(lambda x: x)
        task(1)
        other = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(NotKeptWarning, match="database is locked"):
            assert task(2) == 2
        other.close()
        assert task(2) == 2
        assert task.cached(2)
        project.db.close()


# --- full disks and read-only directories


_ON_LITTLE_SPACE = """
    import resource, signal, sys, warnings, os
    import beautyspot as bs
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    project = bs.Project("p", db="p.db", storage_path="blobs", on_save_error=sys.argv[1])
    small = project.task(version="s")(abs)
    large = project.task(version="l", save_blob=True)(lambda n: bytes(n))
    inline = project.task(version="i", save_blob=False)(lambda n: bytes(n))
    print([small(i) for i in range(5)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            print(len(large(1_000_000)), len(large(1_000_001)), len(inline(2_000_000)), len(inline(2_000_001)))
        except bs.BeautyspotError as error:
            print(type(error).__name__)
    print(sorted({w.category.__name__ for w in caught}), len(caught), [str(w.message)[:500] for w in caught])
    print([small(i) for i in range(5)], small.cached(3), large.cached(1_000_000))
    print(sum(len(files) for _, _, files in os.walk("blobs")))
"""


def test_a_full_disk_costs_caching_and_not_the_result(tmp_path: Path) -> None:
    done = run(_ON_LITTLE_SPACE.replace("sys.argv[1]", "'warn'"), tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[1] == "1000000 1000001 2000000 2000001"
    assert lines[2].startswith("['NotKeptWarning'] 2")  # one for the storage, one for the index
    assert "File too large" in lines[2]
    assert "disk" in lines[2]
    assert lines[3:] == ["[0, 1, 2, 3, 4] True False", "0"]
    check_index(tmp_path / "p.db")


def test_a_full_disk_is_an_error_on_request(tmp_path: Path) -> None:
    done = run(_ON_LITTLE_SPACE.replace("sys.argv[1]", "'raise'"), tmp_path)
    assert done.stdout.splitlines()[1] == "StorageError"


def test_a_file_system_without_space_costs_caching_and_not_the_result(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:  # not allowed here: the limit on file sizes above stands for it
        assert os.geteuid() != 0 or b"permi" in mounted.stderr.lower() or b"denied" in mounted.stderr.lower()
        return
    try:
        with bs.Project("p", db=place / "p.db", storage_path=place / "blobs") as project:
            large = project.task(save_blob=True)(lambda n: os.urandom(n))
            small = project.task(lambda x: x)
            small(1)
            with pytest.warns(NotKeptWarning, match="No space left on device"):
                assert len(large(3_000_000)) == 3_000_000
            assert small.cached(1)
            assert not list(project.storage.blobs())
        check_index(place / "p.db")
    finally:
        subprocess.run(["umount", place], check=True)


_AS_NOBODY = f"""
import importlib, os, pkgutil, traceback, concurrent.futures.thread, logging
import beautyspot
for module in pkgutil.walk_packages(beautyspot.__path__, "beautyspot."):
    importlib.import_module(module.name)  # the place of the library may be root's alone
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


def as_nobody(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run as a user without write permission: root may write everywhere."""
    return run(_AS_NOBODY + textwrap.dedent(code), cwd)


@pytest.mark.parametrize("end", ["project.close()", "os.kill(os.getpid(), 9)"])
@pytest.mark.slow
def test_a_read_only_directory_serves_hits_and_runs_misses(end: str, readable_place: Path) -> None:
    place = readable_place
    write = f"""
        import os, beautyspot as bs
        project = bs.Project("p", db="p.db", storage_path="blobs")
        project.task(version="1")(abs)(-1)
        project.task(version="b", save_blob=True)(abs)(-1)
        {end}
    """
    run(write, place)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = """
        import warnings, beautyspot as bs
        project = bs.Project("p", db="p.db", storage_path="blobs")
        task = project.task(version="1")(abs)
        blob = project.task(version="b", save_blob=True)(abs)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(task.cached(-1), task(-1), blob.cached(-1), blob(-1), task(-2), task(-3))
        print([w.category.__name__ for w in caught])
    """
    done = as_nobody(code, place)
    assert done.stdout == "True 1 True 1 2 3\n['NotKeptWarning']\n", done.stderr


@pytest.mark.slow
def test_calls_run_in_a_directory_without_write_permission(readable_place: Path) -> None:
    readable_place.chmod(0o555)
    code = """
        import warnings, beautyspot as bs
        task = bs.Project("p", db="sub/p.db", storage_path="blobs").task(version="1")(abs)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(task(-1), task(-2), bs.map(task, [-3, -4]))
        print(sorted(w.category.__name__ for w in caught))
    """
    done = as_nobody(code, readable_place)
    assert done.stdout == "1 2 [3, 4]\n['NotKeptWarning', 'UnreadableWarning']\n", done.stderr


@pytest.fixture
def readable_place() -> Any:
    """A directory that every user can reach, unlike that of pytest."""
    import shutil
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="beautyspot-"))
    place.chmod(0o755)
    yield place
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(place)


# --- kills


_JOB = """
import os, sys, numpy as np
import beautyspot as bs
project = bs.Project("p", db="p.db", storage_path="blobs", on_save_error="raise", blob_threshold=3000)
@project.task(version="1")
def work(x):
    return np.full(x % 7 * 100 + 1, x)
if __name__ == "__main__":
    with open("out.txt", "a", buffering=1) as out:
        for i, value in enumerate(bs.imap(work, range(10**6), engine=sys.argv[1], workers=3)):
            assert (value == i).all() and len(value) == i % 7 * 100 + 1
            out.write(f"{i}\\n")
"""


def wait_for_the_end_of(groups: set[int]) -> None:
    """Wait until all processes of these sessions have ended."""
    deadline = time.monotonic() + 30
    for group in groups:
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("workers outlive their caller")


def kill_at_random(tmp_path: Path, engine: str, times: int, seed: int) -> None:
    """Kill a map again and again; every returned result stays stored, and every row is intact."""
    (tmp_path / "job.py").write_text(_JOB)
    rng, groups, out = random.Random(seed), set[int](), tmp_path / "out.txt"
    for turn in range(times):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "job.py", engine], cwd=tmp_path, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        groups.add(process.pid)
        time.sleep(rng.uniform(0.25, 0.9))
        if turn == times - 1:  # on a slow machine nothing may have been handed out until now
            until(lambda: out.read_text().index("\n"), lambda: process.poll() is None)  # noqa: B023
        assert process.poll() is None, process.communicate()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    wait_for_the_end_of(groups)  # workers finish the calls in hand
    check_index(tmp_path / "p.db")
    lines = (tmp_path / "out.txt").read_text().split("\n")
    handed_out = {int(line) for line in lines[:-1] if line}
    check = f"""
        import numpy as np, warnings
        warnings.simplefilter("error")
        from job import work, project
        for i in range({max(handed_out) + 1}):
            value = work.peek(i)
            assert value is not None and (value == i).all(), i
        kept = len(list(project.db.summaries()))
        garbage = list(project.results.garbage())
        for blob in garbage: project.storage.delete(blob.location)
        assert not list(project.results.garbage())
        print(kept, len(garbage))
    """
    done = run(check, tmp_path)
    assert done.returncode == 0, done.stderr
    kept, garbage = map(int, done.stdout.split())
    assert kept >= len(handed_out)
    assert garbage <= 10 * times


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_killed_map_resumes(engine: str, tmp_path: Path) -> None:
    kill_at_random(tmp_path, engine, 4, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("engine", ["threads", "processes"])
@pytest.mark.parametrize("seed", range(3))
def test_a_map_that_is_killed_a_hundred_times_resumes(engine: str, seed: int, tmp_path: Path) -> None:
    kill_at_random(tmp_path, engine, 50, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_writers_leave_a_sound_index(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(_JOB)
    rng = random.Random(7)
    processes: list[subprocess.Popen[bytes]] = []
    for _ in range(150):
        if len(processes) >= 4:
            victim = processes.pop(rng.randrange(len(processes)))
            assert victim.poll() is None
            victim.kill()
            victim.wait()
        processes.append(subprocess.Popen([sys.executable, "-W", "error", "job.py", "threads"], cwd=tmp_path))
        time.sleep(rng.uniform(0.05, 0.4))
    for process in processes:
        process.kill()
        process.wait()
    check_index(tmp_path / "p.db")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_signal_at_any_instant_of_a_write_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(_JOB)
    rng = random.Random(3)
    for number in range(40):
        process = subprocess.Popen(
            [sys.executable, "job.py", "threads"], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(0.25, 0.6) if number else 5)  # the first one makes the index, on any machine
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    check_index(tmp_path / "p.db")
