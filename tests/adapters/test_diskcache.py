"""An index and a storage in a cache of diskcache: the contracts, eviction, and no pickle."""

import gc
import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest
from click.testing import CliRunner

import beautyspot as bs
from beautyspot.adapters.diskcache import DiskCacheStorage, DiskCacheTaskDB, PlainDisk
from beautyspot.cli import main
from beautyspot.db import open_db
from beautyspot.errors import (
    ConfigurationError,
    DamagedBlobError,
    DeserializationError,
    ForeignIndexError,
    MissingBlobError,
    NotKeptWarning,
    SerializationError,
    StorageError,
    UnkeyableError,
    UnreadableWarning,
)
from beautyspot.protocols.index import TaskDB
from beautyspot.protocols.storage import BlobStorage
from beautyspot.storage import open_storage
from beautyspot.testing import (
    BlobStorageContract,
    CatalogContract,
    Count,
    TaskDBContract,
    make_key,
    make_record,
)

NAME = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _connections_of_threads_that_ended_are_closed() -> Iterator[None]:
    """A connection of SQLite is in a circle with its statements, and diskcache leaves those of other threads to it."""
    yield
    gc.collect()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[bs.Project]:
    """A project whose blobs may take up 3 MB."""
    db, storage = DiskCacheTaskDB("cache", 3_000_000), DiskCacheStorage("cache", 3_000_000)
    with bs.Project("p", db=db, storage=storage) as project:
        yield project
    db.close()
    storage.close()


def change(sql: str, *values: Any) -> None:
    """Change the file of a cache as any program can."""
    with closing(sqlite3.connect("cache/cache.db")) as file, file:
        assert file.execute(sql, values).rowcount


class Trap:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


class TestIndexInADirectory(TaskDBContract, CatalogContract):
    @pytest.fixture
    def db(self, tmp_path: Path) -> Iterator[TaskDB]:
        db = DiskCacheTaskDB(tmp_path / "deep" / "cache")
        yield db
        db.close()


class TestIndexThatNotesUse(TaskDBContract):
    @pytest.fixture
    def db(self, tmp_path: Path) -> Iterator[TaskDB]:
        db = DiskCacheTaskDB(tmp_path / "cache", eviction_policy="least-recently-used")
        yield db
        db.close()


class TestIndexInAFanoutCache(TaskDBContract, CatalogContract):
    @pytest.fixture
    def db(self, tmp_path: Path) -> Iterator[TaskDB]:
        with diskcache.FanoutCache(tmp_path / "cache", shards=4, disk=PlainDisk) as cache:
            db = DiskCacheTaskDB(cache)
            yield db
            db.close()


class TestStorageInADirectory(BlobStorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BlobStorage]:
        storage = DiskCacheStorage(tmp_path / "deep" / "cache")
        yield storage
        storage.close()


class TestStorageInAFanoutCache(BlobStorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BlobStorage]:
        with diskcache.FanoutCache(tmp_path / "cache", shards=4, disk=PlainDisk) as cache:
            yield DiskCacheStorage(cache)


# --- what is dropped is a miss


def test_an_evicted_row_is_a_miss_without_a_warning(project: bs.Project, count: Count) -> None:
    task = project.task(lambda x: x + count())
    assert [task(1), task(1), len(count)] == [1, 1, 1]
    change("DELETE FROM Cache")
    assert [task.cached(1), task(1), len(count)] == [False, 1, 2]


def test_an_evicted_blob_is_a_miss_without_a_warning(project: bs.Project, count: Count) -> None:
    task = project.task(save_blob=True)(lambda n: bytes(n + count()))
    task(100_000)
    change("DELETE FROM Cache WHERE filename IS NOT NULL")
    assert not task.cached(100_000)
    assert [len(task(100_000)), len(task(100_000)), len(count)] == [100_000, 100_000, 2]


def test_the_cache_stays_within_its_size_and_evicts_no_more_than_it_must(project: bs.Project) -> None:
    task = project.task(lambda n: bytes(n))
    for i in range(12):
        task(500_000 + i)
    assert sum(blob.size for blob in project.storage.blobs()) < 3_000_000
    assert [task.cached(500_000 + i) for i in range(12)] == [False] * 7 + [True] * 5


def test_an_index_keeps_to_its_size(tmp_path: Path) -> None:
    db = DiskCacheTaskDB(tmp_path / "cache", size_limit=1 << 20)
    for start in range(0, 3000, 100):
        db.upsert([make_record(i, value=bytes(1000)) for i in range(start, start + 100)])
    kept = [summary.key for summary in db.summaries()]
    assert 300 < len(kept) < 1000
    assert kept == [make_key(i) for i in reversed(range(3000 - len(kept), 3000))]
    db.close()


def test_an_evicted_blob_is_no_problem_for_verify(project: bs.Project) -> None:
    task = project.task(save_blob=True)(lambda n: bytes(n))
    task(1)
    task(2)
    change("DELETE FROM Cache WHERE rowid = (SELECT min(rowid) FROM Cache)")
    health = project.maintenance.verify()
    assert bool(health)
    assert "2 results checked, 1 whose blob the storage evicted" in str(health)


def test_a_result_larger_than_the_cache_is_returned_and_said(project: bs.Project) -> None:
    task = project.task(lambda n: bytes(n))
    with pytest.warns(NotKeptWarning, match=r"5,000,\d+ bytes was evicted at once .* give it a larger size_limit"):
        assert len(task(5_000_000)) == 5_000_000
    assert list(project.storage.blobs()) == []


def test_a_mapped_blob_stays_valid_when_the_cache_evicts_it(tmp_path: Path) -> None:
    storage = DiskCacheStorage(tmp_path / "cache")
    location = storage.save(NAME, [b"x" * 100_000])
    view = storage.map(location, 100_000)
    storage.delete(location)
    assert bytes(view) == b"x" * 100_000
    with pytest.raises(MissingBlobError, match="is no longer in the cache"):
        storage.load(location, 100_000)
    storage.close()


def test_listing_does_not_count_as_use(tmp_path: Path) -> None:
    db = DiskCacheTaskDB(tmp_path / "cache", eviction_policy="least-frequently-used")
    db.upsert([make_record(1)])
    list(db.summaries())
    with closing(sqlite3.connect(tmp_path / "cache" / "cache.db")) as file:
        assert file.execute("SELECT access_count FROM Cache").fetchall() == [(0,)]
        db.lookup([make_key(1)])
        assert file.execute("SELECT access_count FROM Cache").fetchall() == [(1,)]
    db.close()


# --- nothing is unpickled


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("blob", [False, True])
def test_a_planted_pickle_executes_nothing(project: bs.Project, count: Count, blob: bool, in_file: bool) -> None:
    task = project.task(save_blob=blob)(lambda n: bytes(n + count()))
    task(100)
    planted, kind = pickle.dumps(Trap()), "beautyspot blob %" if blob else "beautyspot result %"
    if in_file:
        Path("cache/aa/bb").mkdir(parents=True)
        Path("cache/aa/bb", "0" * 28 + ".val").write_bytes(planted)
    values = (None, "aa/bb/" + "0" * 28 + ".val") if in_file else (planted, None)
    change(f"UPDATE Cache SET mode = 4, value = ?, filename = ? WHERE CAST(key AS TEXT) LIKE '{kind}'", *values)
    with pytest.warns(UnreadableWarning, match="is a pickle and was not loaded"):
        assert len(task(100)) == 100
    assert [len(task(100)), len(count)] == [100, 2]
    assert not Path("sprung").exists()


def test_a_planted_key_executes_nothing(project: bs.Project) -> None:
    task = project.task(lambda n: n)
    task(1)
    planted = pickle.dumps(Trap())
    change("INSERT INTO Cache (key, raw, store_time, mode, value) VALUES (?, 0, 1, 4, ?)", planted, planted)
    assert bool(project.maintenance.verify())
    assert len(list(project.db.summaries())) == 1
    with pytest.raises(DeserializationError, match=r"a key of the cache in .*cache is a pickle and was not loaded"):
        list(diskcache.Cache("cache", disk=PlainDisk))
    assert not Path("sprung").exists()


@pytest.mark.parametrize("packed", [b"\xc1", b"\x93\x01\x02\x03", b"\x96\x01\x02\x03\x04\x05\x06", "text", 1.5])
def test_a_foreign_row_is_a_miss_with_a_warning(project: bs.Project, packed: Any) -> None:
    task = project.task(lambda n: n)
    task(1)
    change("UPDATE Cache SET mode = 1, value = ?, tag = ?", packed, packed)
    with pytest.warns(UnreadableWarning, match="beautyspot did not write it"):
        assert not task.cached(1)
    assert list(project.db.summaries()) == []


@pytest.mark.parametrize("filename", ["../../secret", "/etc/passwd", None, "aa/bb/" + "g" * 28 + ".val"])
def test_a_file_outside_is_not_read(project: bs.Project, filename: str | None) -> None:
    location = project.storage.save(NAME, [b"content"])
    change("UPDATE Cache SET mode = 2, filename = ?, value = NULL", filename)
    with pytest.raises(DamagedBlobError, match="is none of that cache"):
        project.storage.load(location, 7)


def test_a_file_outside_is_not_removed(project: bs.Project, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "precious").write_text("mine")
    location = project.storage.save(NAME, [b"content"])
    change("UPDATE Cache SET mode = 2, filename = ?", str(tmp_path / "precious"))
    project.storage.delete(location)
    assert (tmp_path / "precious").read_text() == "mine"
    assert "which is none of that cache and was left alone" in caplog.text


def test_a_file_behind_a_link_is_not_read(project: bs.Project, tmp_path: Path) -> None:
    location = project.storage.save(NAME, [b"x" * 100_000])
    (file,) = Path("cache").glob("*/*/*.val")
    (tmp_path / "elsewhere").write_bytes(b"y" * 100_000)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedBlobError):
        project.storage.load(location, 100_000)


@pytest.mark.parametrize(("name", "value"), [("_directory", "/tmp"), ("eviction_policy", "x"), ("size_limit", "1")])
def test_a_planted_setting_is_refused(name: str, value: str) -> None:
    db = DiskCacheTaskDB("cache")
    db.upsert([make_record(1)])
    db.close()
    change("INSERT OR REPLACE INTO Settings VALUES (?, ?)", name, value)
    with pytest.raises(ForeignIndexError, match=f"it sets '{name}' to '{value}'"):
        db.lookup([make_key(1)])


@pytest.mark.parametrize("thing", [(1, 2), None, True, 1 << 70, {"a": 1}])
def test_what_only_pickle_could_write_is_refused(tmp_path: Path, thing: Any) -> None:
    with diskcache.Cache(tmp_path / "cache", disk=PlainDisk) as cache:
        with pytest.raises(UnkeyableError, match="without pickle is text, bytes, a float or an int of 64 bits, not"):
            cache.set(thing, 1)
        with pytest.raises(
            SerializationError, match="without pickle is text, bytes, a float or an int of 64 bits, not"
        ):
            cache.set(1, thing)
        for plain in (1, 1.5, "text", b"bytes", "t" * 40_000, b"b" * 40_000):
            cache[1] = plain
            assert cache[1] == plain


# --- whose cache it is


def test_a_cache_that_was_handed_in_stays_open(tmp_path: Path) -> None:
    with diskcache.Cache(tmp_path / "cache", disk=PlainDisk) as cache:
        connection = cache._con
        with bs.Project("p", db=DiskCacheTaskDB(cache), storage=DiskCacheStorage(cache)) as project:
            project.task(lambda n: n)(1)
        project.db.close()
        project.storage.close()
        assert cache._con is connection
        assert len(cache) == 1


def test_rows_of_others_in_the_cache_stay(tmp_path: Path) -> None:
    with diskcache.Cache(tmp_path / "cache", disk=PlainDisk) as cache:
        cache["mine"] = "theirs"
        db, storage = DiskCacheTaskDB(cache), DiskCacheStorage(cache)
        db.upsert([make_record(1)])
        location = storage.save(NAME, [b"content"])
        assert len(list(db.summaries())) == 1
        assert [blob.location for blob in storage.blobs()] == [location]
        assert cache["mine"] == "theirs"
        db.close()


def test_a_cache_that_would_unpickle_is_refused(tmp_path: Path) -> None:
    with diskcache.Cache(tmp_path / "cache") as cache:
        with pytest.raises(ConfigurationError, match=r"would unpickle what it reads.*open it with disk=PlainDisk"):
            DiskCacheTaskDB(cache)
    with diskcache.FanoutCache(tmp_path / "fanout", shards=2, disk=diskcache.JSONDisk) as fanout:
        with pytest.raises(ConfigurationError, match="open it with disk=PlainDisk"):
            DiskCacheStorage(fanout)


def test_options_that_cannot_be_say_what_to_write(tmp_path: Path) -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: DiskCacheTaskDB("cache", size_limit=1000), "size_limit is a number of bytes, 1,048,576 at the least"),
        (lambda: DiskCacheTaskDB("cache", eviction_policy="lru"), "eviction_policy is one of none, least-recently-"),
        (lambda: DiskCacheTaskDB(5), "a cache is a directory, a diskcache.Cache or a FanoutCache, not 5"),  # type: ignore[arg-type]
        (lambda: open_db("diskcache:///"), 'a cache is "diskcache:///directory'),
        (lambda: open_storage("diskcache:///cache?size=1"), 'a cache is "diskcache:///directory'),
    ]
    for make, text in cases:
        with pytest.raises(ConfigurationError, match=text):
            make()
    with diskcache.FanoutCache(tmp_path / "cache", shards=2, disk=PlainDisk) as cache:
        with pytest.raises(ConfigurationError, match="size_limit of a cache that is open already"):
            DiskCacheTaskDB(cache, size_limit=10_000_000)
    with pytest.raises(ConfigurationError, match="is a FanoutCache: hand it in open"):
        DiskCacheTaskDB(tmp_path / "cache")
    assert not Path("5").exists()


def test_a_url_names_a_directory(tmp_path: Path) -> None:
    db, storage = open_db(f"diskcache:///{tmp_path}/cache"), open_storage("diskcache:///cache?size_limit=5000000")
    assert isinstance(db, DiskCacheTaskDB)
    assert isinstance(storage, DiskCacheStorage)
    assert db.directory == storage.directory == str(tmp_path / "cache")
    assert storage.size_limit() == 5_000_000
    storage.close()


def test_a_pickle_carries_the_recipe(tmp_path: Path) -> None:
    with diskcache.FanoutCache(tmp_path / "cache", shards=3, size_limit=50_000_000, disk=PlainDisk) as cache:
        storage = DiskCacheStorage(cache)
        location = storage.save(NAME, [b"content"])
        copy = pickle.loads(pickle.dumps(storage))
        assert copy.load(location, 7) == b"content"
        assert copy.size_limit() == storage.size_limit()
        copy.close()
    copy = pickle.loads(pickle.dumps(DiskCacheTaskDB("other", size_limit=5_000_000)))
    assert copy.directory == str(tmp_path / "other")
    copy.upsert([make_record(1)])
    copy.close()


def slow(count: Count, x: int) -> int:
    return x + count()


def test_processes_share_the_cache(project: bs.Project, count: Count) -> None:
    task = project.task(ignore=("count",))(slow)
    assert bs.map(task, [count] * 40, list(range(20)) * 2, engine="processes", workers=2) == list(range(20)) * 2
    assert len(count) == 20
    assert bs.map(task, [count] * 20, range(20)) == list(range(20))
    assert len(count) == 20


def test_a_key_is_locked_over_processes(project: bs.Project) -> None:
    other = pickle.loads(pickle.dumps(project.db))
    assert project.db.try_lock(make_key(1))
    assert not other.try_lock(make_key(1))
    project.db.unlock(make_key(1))
    assert other.try_lock(make_key(1))
    other.close()


def test_a_write_waits_for_another_writer(tmp_path: Path) -> None:
    with diskcache.FanoutCache(tmp_path / "cache", shards=1, timeout=0.01, disk=PlainDisk) as cache:
        db = DiskCacheTaskDB(cache)
        with closing(sqlite3.connect(tmp_path / "cache" / "000" / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writer = threading.Thread(target=db.upsert, args=([make_record(1)],))
            writer.start()
            writer.join(0.1)  # ten times the patience of diskcache
            other.execute("COMMIT")
            writer.join()
        assert make_key(1) in db.lookup([make_key(1)])
        db.close()


def test_a_file_that_is_no_cache_is_an_error(tmp_path: Path) -> None:
    Path("cache").mkdir()
    Path("cache/cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"the cache in .*cache: file is not a database"):
        list(DiskCacheStorage("cache").blobs())
    assert Path("cache/cache.db").read_bytes() == b"no database" * 1000


def test_the_command_line_takes_its_url(project: bs.Project) -> None:
    project.task(lambda n: n)(1)
    project.close()
    listed = CliRunner().invoke(main, ["list", "diskcache:///cache", "--storage-path", "diskcache:///cache"])
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 2)
    nowhere = CliRunner().invoke(main, ["list", "diskcache:///nowhere"])
    assert nowhere.exit_code == 1
    assert "nowhere: that directory does not exist" in nowhere.stderr
    assert not Path("nowhere").exists()
