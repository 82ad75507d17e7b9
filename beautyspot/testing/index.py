"""The contract of an index."""

from __future__ import annotations

import threading

from beautyspot.protocols.index import (
    AccessLog,
    FailureLog,
    MapLog,
    MapProgress,
    OrderedRecords,
    QuickLookup,
    Statistics,
    TaskDB,
)
from beautyspot.protocols.locks import BulkLocks, KeyLocks
from beautyspot.testing.records import make_failure, make_key, make_record


class TaskDBContract:
    """The contract of a `TaskDB`. Needs the fixture ``db``: a fresh, empty index."""

    def test_a_stored_record_is_found(self, db: TaskDB) -> None:
        record = make_record(1)
        db.upsert([record])
        assert db.lookup([make_key(1)]) == {make_key(1): record.entry}

    def test_every_field_comes_back_as_it_was(self, db: TaskDB) -> None:
        record = make_record(1, expires=2e9, version="2", input="x='ü'", content_type="image/png", seconds=None)
        blob = make_record(2, value=None, size=7_000_000_000)
        db.upsert([record, blob])
        assert db.lookup([make_key(1), make_key(2)]) == {make_key(1): record.entry, make_key(2): blob.entry}
        assert list(db.summaries()) in ([blob.summary, record.summary], [record.summary, blob.summary])

    def test_an_unknown_key_is_not_found(self, db: TaskDB) -> None:
        db.upsert([make_record(1)])
        assert db.lookup([make_key(2)]) == {}
        assert db.lookup([]) == {}

    def test_many_keys_are_found_at_once(self, db: TaskDB) -> None:
        records = [make_record(i, value=str(i).encode()) for i in range(3000)]
        db.upsert(records)
        found = db.lookup([make_key(i) for i in range(4000)])
        assert found == {record.summary.key: record.entry for record in records}

    def test_storing_again_replaces(self, db: TaskDB) -> None:
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

    def test_records_come_oldest_first_from_any_place_on(self, db: TaskDB) -> None:
        if isinstance(db, OrderedRecords):
            kept = [make_record(i) for i in range(1200)]
            for start in range(0, 1200, 100):
                db.upsert(kept[start : start + 100])
            db.upsert([make_record(7, input="again")])
            db.delete([make_key(8)])
            numbered = list(db.records())
            expected = [*kept[:7], *kept[9:], make_record(7, input="again")]
            assert [record for _, record in numbered] == expected
            assert [record for _, record in db.records(after=numbered[700][0])] == expected[701:]
            assert list(db.records(after=numbered[-1][0])) == []

    def test_many_locks_are_acquired_at_once(self, db: TaskDB) -> None:
        if isinstance(db, BulkLocks) and isinstance(db, KeyLocks):
            keys = {make_key(i) for i in range(100)}
            assert db.try_lock_many(list(keys)) == keys
            db.unlock_many(list(keys))
            assert db.try_lock(make_key(5))
            db.unlock_many([make_key(5), make_key(6)])

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

    def test_failures_are_recorded(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(make_failure(1))
            db.note_failure(make_failure(2, "module.other"))
            assert list(db.failures()) == [make_failure(2, "module.other"), make_failure(1)]
            assert list(db.failures("module.other")) == [make_failure(2, "module.other")]
            assert db.failed([make_key(1), make_key(3)]) == {make_key(1): make_failure(1)}

    def test_the_latest_failure_of_a_call_stands(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(make_failure(1, message="first"))
            db.note_failure(make_failure(1, message="second"))
            assert [failure.message for failure in db.failures()] == ["second"]

    def test_a_call_that_succeeded_since_is_no_failure(self, db: TaskDB) -> None:
        if isinstance(db, FailureLog):
            db.note_failure(make_failure(1))
            db.upsert([make_record(1)])
            assert list(db.failures()) == []
            assert db.failed([make_key(1)]) == {}

    def test_the_progress_of_maps_is_recorded(self, db: TaskDB) -> None:
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

    def test_what_was_used_least_recently_comes_first(self, db: TaskDB) -> None:
        if isinstance(db, AccessLog):
            kept = [make_record(i) for i in range(1200)]
            for start in range(0, 1200, 100):
                db.upsert(kept[start : start + 100])
            later = kept[-1].summary.created
            accesses = {make_key(i): later + 1200 - i for i in range(0, 1200, 2)}
            db.record_access(accesses)
            db.record_access(dict.fromkeys(accesses, 5.0))  # an earlier use than the one that is known
            expected = [*kept[1::2], *kept[-2::-2]]
            assert list(db.least_used()) == [record.summary for record in expected]

    def test_a_use_ends_with_its_result(self, db: TaskDB) -> None:
        if isinstance(db, AccessLog):
            db.record_access({make_key(1): 2e9})  # of a result that is not in the index
            db.upsert([make_record(i) for i in range(3)])
            assert [summary.input for summary in db.least_used()] == ["x=0", "x=1", "x=2"]
            db.record_access({make_key(0): 2e9 + 9})
            db.delete([make_key(0)])
            db.upsert([make_record(0, created=1.9e9)])
            db.record_access({make_key(1): 2e9})
            assert [summary.input for summary in db.least_used()] == ["x=2", "x=0", "x=1"]

    def test_storing_again_is_a_use(self, db: TaskDB) -> None:
        if isinstance(db, AccessLog):
            db.upsert([make_record(i) for i in range(3)])
            db.record_access({make_key(0): 1.75e9})
            db.upsert([make_record(0, created=2e9)])
            db.record_access({make_key(1): 1.8e9})
            assert [summary.input for summary in db.least_used()] == ["x=2", "x=1", "x=0"]
