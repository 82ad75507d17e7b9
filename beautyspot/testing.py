"""Contract suites: what every index, storage, serializer and engine must do, ours and anyone's.

Subclass a suite in a test module of pytest, and give the fixture that it asks for::

    class TestMine(TaskDBContract):
        @pytest.fixture
        def db(self, tmp_path):
            return MyTaskDB(tmp_path / "index")

A test of a further ability (`KeyLocks`, `FailureLog`, `MapsBlobs` …) passes over a backend that has not got it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Any

from beautyspot.engines import run_chunk
from beautyspot.errors import EngineLost, StorageError
from beautyspot.protocols import (
    BlobStorage,
    Engine,
    Entry,
    Failure,
    FailureLog,
    KeyLocks,
    MapLog,
    MapProgress,
    MapsBlobs,
    QuickLookup,
    Record,
    Serializer,
    Statistics,
    Summary,
    TaskDB,
)

__all__ = ["BlobStorageContract", "EngineContract", "SerializerContract", "TaskDBContract", "make_key", "make_record"]


def make_key(number: int) -> bytes:
    """A key, as calls have them: 16 bytes without order."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def make_record(
    number: int, value: bytes | None = b"\x01", function: str = "module.function", **changes: Any
) -> Record:
    """A record of the key of *number*; *changes* replace fields of its entry or its summary."""
    location = None if value is not None else f"{number:032x}"
    entry = Entry(value, location, b"1234", len(value or b""), None, b"code")
    now = 1_700_000_000.0 + number
    summary = Summary(
        make_key(number), function, "", f"x={number}", b"abcd", None, entry.size, now, None, 0.5, "host:1"
    )
    return Record(
        entry._replace(**{k: v for k, v in changes.items() if k in Entry._fields}),
        summary._replace(**{k: v for k, v in changes.items() if k in Summary._fields}),
    )


def _failure(number: int, function: str = "module.function", message: str = "broken") -> Failure:
    key, text = make_key(number), "Traceback …"
    return Failure(key, function, "", f"x={number}", "builtins.ValueError", message, text, 1e9 + number, 0.5, "host:1")


class TaskDBContract:
    """What every `TaskDB` does. Asks for the fixture ``db``: a fresh, empty index."""

    def test_what_was_kept_is_found(self, db: TaskDB) -> None:
        record = make_record(1)
        db.upsert([record])
        assert db.lookup([make_key(1)]) == {make_key(1): record.entry}

    def test_every_field_comes_back_as_it_was(self, db: TaskDB) -> None:
        record = make_record(1, expires=2e9, version="2", input="x='ü'", content_type="image/png", seconds=None)
        blob = make_record(2, value=None, size=7_000_000_000)
        db.upsert([record, blob])
        assert db.lookup([make_key(1), make_key(2)]) == {make_key(1): record.entry, make_key(2): blob.entry}
        assert list(db.summaries()) in ([blob.summary, record.summary], [record.summary, blob.summary])

    def test_what_was_not_kept_is_not_found(self, db: TaskDB) -> None:
        db.upsert([make_record(1)])
        assert db.lookup([make_key(2)]) == {}
        assert db.lookup([]) == {}

    def test_many_keys_are_found_at_once(self, db: TaskDB) -> None:
        records = [make_record(i, value=str(i).encode()) for i in range(3000)]
        db.upsert(records)
        found = db.lookup([make_key(i) for i in range(4000)])
        assert found == {record.summary.key: record.entry for record in records}

    def test_keeping_again_replaces(self, db: TaskDB) -> None:
        db.upsert([make_record(1, value=b"old", input="old")])
        db.upsert([make_record(1, value=b"new", input="new")])
        assert db.lookup([make_key(1)])[make_key(1)].value == b"new"
        assert [summary.input for summary in db.summaries()] == ["new"]

    def test_deleting_says_how_many_there_were(self, db: TaskDB) -> None:
        db.upsert([make_record(i) for i in range(3)])
        assert db.delete([make_key(0), make_key(1), make_key(99)]) == 2
        assert set(db.lookup([make_key(i) for i in range(3)])) == {make_key(2)}
        assert [summary.key for summary in db.summaries()] == [make_key(2)]
        assert db.delete([make_key(0)]) == 0

    def test_summaries_come_newest_first(self, db: TaskDB) -> None:
        for i in range(700):
            db.upsert([make_record(i)])
        assert [summary.input for summary in db.summaries()] == [f"x={i}" for i in reversed(range(700))]

    def test_summaries_of_one_function(self, db: TaskDB) -> None:
        db.upsert([make_record(i, function=f"module.f{i % 3}") for i in range(1000)])
        db.delete([make_key(3)])
        expected = [f"x={i}" for i in reversed(range(1000)) if i % 3 == 0 and i != 3]
        assert [summary.input for summary in db.summaries("module.f0")] == expected
        assert list(db.summaries("module.g")) == []

    def test_it_opens_again_after_closing(self, db: TaskDB) -> None:
        db.upsert([make_record(1)])
        db.close()
        assert make_key(1) in db.lookup([make_key(1)])
        db.close()

    def test_threads_may_use_it_at_once(self, db: TaskDB) -> None:
        def keep(first: int) -> None:
            for i in range(first, first + 50):
                db.upsert([make_record(i)])
                assert make_key(i) in db.lookup([make_key(i)])

        threads = [threading.Thread(target=keep, args=(50 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(db.lookup([make_key(i) for i in range(400)])) == 400

    def test_a_quick_lookup_finds_the_same(self, db: TaskDB) -> None:
        if isinstance(db, QuickLookup):
            record = make_record(1)
            db.upsert([record])
            assert db.get(make_key(1)) == record.entry
            assert db.get(make_key(2)) is None

    def test_a_lock_keeps_others_out(self, db: TaskDB) -> None:
        if isinstance(db, KeyLocks):
            assert db.try_lock(make_key(1))
            assert db.try_lock(make_key(2))
            db.unlock(make_key(1))
            db.lock(make_key(1))
            db.unlock(make_key(1))
            db.unlock(make_key(2))

    def test_failures_are_noted(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(_failure(1))
            db.note_failure(_failure(2, "module.other"))
            assert list(db.failures()) == [_failure(2, "module.other"), _failure(1)]
            assert list(db.failures("module.other")) == [_failure(2, "module.other")]
            assert db.failed([make_key(1), make_key(3)]) == {make_key(1): _failure(1)}

    def test_the_latest_failure_of_a_call_stands(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(_failure(1, message="first"))
            db.note_failure(_failure(1, message="second"))
            assert [failure.message for failure in db.failures()] == ["second"]

    def test_a_call_that_succeeded_since_is_no_failure(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(_failure(1))
            db.upsert([make_record(1)])
            assert list(db.failures()) == []
            assert db.failed([make_key(1)]) == {}

    def test_the_progress_of_maps_is_noted(self, db: TaskDB) -> None:
        if isinstance(db, MapLog):
            first = MapProgress("a", "module.function", 10, 1, 2, 0, 1e9, 1e9 + 1, None, "host:1")
            second = MapProgress("b", "module.function", None, 0, 0, 0, 2e9, 2e9, 2e9, "host:1")
            db.note_map(first)
            db.note_map(second)
            db.note_map(first._replace(run=5))
            assert list(db.maps()) == [second, first._replace(run=5)]

    def test_run_times_are_averaged(self, db: TaskDB) -> None:
        if isinstance(db, Statistics):
            db.upsert([make_record(1, seconds=1.0), make_record(2, seconds=3.0), make_record(3, seconds=None)])
            assert db.mean_seconds("module.function") == 2.0
            assert db.mean_seconds("module.other") is None


class BlobStorageContract:
    """What every `BlobStorage` does. Asks for the fixture ``storage``: a fresh, empty storage."""

    name = "0123456789abcdef0123456789abcdef"

    def test_a_blob_comes_back_as_it_was_written(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"head", memoryview(b"body"), bytearray(b"tail")])
        content = storage.load(location, 12)
        assert content == b"headbodytail"
        content[0:4] = b"mine"  # whoever reads it may write to it
        assert storage.load(location, 12) == b"headbodytail"

    def test_a_large_blob_comes_back(self, storage: BlobStorage) -> None:
        content = bytes(range(256)) * 40_000
        location = storage.save(self.name, [memoryview(content)])
        assert storage.load(location, len(content)) == content

    def test_an_empty_blob_comes_back(self, storage: BlobStorage) -> None:
        assert storage.load(storage.save(self.name, []), 0) == b""

    def test_two_blobs_of_one_name_are_two(self, storage: BlobStorage) -> None:
        first, second = storage.save(self.name, [b"first"]), storage.save(self.name, [b"second"])
        assert storage.load(first, 5) == b"first"
        assert storage.load(second, 6) == b"second"

    def test_a_deleted_blob_is_gone(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        storage.delete(location)
        storage.delete(location)
        assert _refuses(storage, location, 7)

    def test_a_blob_of_another_size_is_refused(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        assert _refuses(storage, location, 6)
        assert _refuses(storage, location, 8)

    def test_a_location_outside_is_refused(self, storage: BlobStorage) -> None:
        for location in ("../outside", "/etc/passwd", "", "..", "s3://other/blob", f"../{self.name}"):
            assert _refuses(storage, location, 1), location

    def test_all_blobs_are_listed(self, storage: BlobStorage) -> None:
        assert list(storage.blobs()) == []
        locations = {storage.save(f"{i:032x}", [b"x" * i]) for i in range(20)}
        blobs = list(storage.blobs())
        assert {blob.location for blob in blobs} == locations
        assert sorted(blob.size for blob in blobs) == list(range(20))
        assert all(abs(blob.modified - time.time()) < 3600 for blob in blobs)
        assert all(any(f"{i:032x}" in blob.location for i in range(20)) for blob in blobs)

    def test_it_opens_again_after_closing(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        storage.close()
        assert storage.load(location, 7) == b"content"
        storage.close()

    def test_a_mapped_blob_is_read_only(self, storage: BlobStorage) -> None:
        if isinstance(storage, MapsBlobs):
            location = storage.save(self.name, [b"content"])
            view = storage.map(location, 7)
            assert view.readonly
            assert bytes(view) == b"content"


def _refuses(storage: BlobStorage, location: str, size: int) -> bool:
    try:
        storage.load(location, size)
    except StorageError:
        return True
    return False


class SerializerContract:
    """What every `Serializer` does. Asks for the fixture ``serializer``."""

    values: tuple[Any, ...] = (None, True, 0, -1, 2**40, 1.5, "", "text", b"bytes", [1, [2, None]], {"a": {"b": [1.5]}})

    def test_plain_values_come_back_equal(self, serializer: Serializer) -> None:
        for value in self.values:
            back = serializer.loads(serializer.dumps(value))
            assert back == value
            assert type(back) is type(value)

    def test_a_value_comes_back_as_a_fresh_object(self, serializer: Serializer) -> None:
        data = serializer.dumps([[]])
        serializer.loads(data)[0].append("changed")
        assert serializer.loads(data) == [[]]

    def test_a_pickle_is_not_executed(self, serializer: Serializer) -> None:
        try:
            serializer.loads(b"cos\nsystem\n(S'exit 1'\ntR.")
        except Exception:
            return
        raise AssertionError("bytes of another format were read as a value")


class EngineContract:
    """What every `Engine` does. Asks for the fixture ``engine``: an object that is one."""

    def test_every_chunk_comes_back_once(self, engine: Engine) -> None:
        for number in range(20):
            engine.submit(number, b"not a task", b"")
        numbers: list[int] = []
        while len(numbers) < 20:
            for number, data in engine.finished():
                numbers.append(number)
                # Whatever fails inside a chunk is an answer, and no failure of the engine.
                assert data == run_chunk(b"not a task", b"") or isinstance(data, bytes)
        assert sorted(numbers) == list(range(20))

    def test_a_chunk_that_was_taken_back_does_not_come_back(self, engine: Engine) -> None:
        for number in range(50):
            engine.submit(number, b"not a task", b"")
        left = set(range(50)) - set(engine.cancel())
        while left:
            left -= {number for number, data in engine.finished() if not isinstance(data, EngineLost)}

    def test_it_has_a_width(self, engine: Engine) -> None:
        assert engine.width >= 1
