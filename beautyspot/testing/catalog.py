"""The contract of an index as viewers use it."""

from __future__ import annotations

from collections.abc import Callable

from beautyspot.db.scanning import catalog_of
from beautyspot.protocols.index import FailureLog, IntegrityCheck, Selection, Summary, TaskDB
from beautyspot.testing.records import make_failure, make_key, make_record


class CatalogContract:
    """The contract of a `TaskDB` as viewers use it. Needs the fixture ``db``: a fresh, empty index."""

    def _filled(self, db: TaskDB) -> list[Summary]:
        """Store 1,000 results of three functions; returns their summaries, newest first."""
        records = [
            make_record(
                i,
                function=f"module.f{i % 3}",
                version="2" if i % 10 == 0 else "",
                input=f"text='Row {i} of 100%'",
                size=i * 7 % 1000,
                seconds=None if i % 50 == 0 else i * 13 % 1000 / 10,
                expires=1.0 if i % 20 == 0 else None,
            )
            for i in range(1000)
        ]
        for start in range(0, 1000, 100):
            db.upsert(records[start : start + 100])
        db.delete([make_key(999), make_key(500)])
        return [record.summary for i, record in enumerate(records) if i not in (500, 999)][::-1]

    def test_a_page_is_a_slice_of_the_whole_list(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        for start in (0, 25, 490, 980, 997, 2000):
            assert catalog.select(Selection(), start=start, count=25) == kept[start : start + 25]
        assert catalog.select(Selection(), descending=False, start=10, count=5) == kept[::-1][10:15]

    def test_rows_are_selected_by_what_they_are(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        cases: list[tuple[Selection, Callable[[Summary], bool]]] = [
            (Selection(), lambda s: True),
            (Selection(function="module.f1"), lambda s: s.function == "module.f1"),
            (Selection(version="2"), lambda s: s.version == "2"),
            (Selection(version=""), lambda s: not s.version),
            (Selection(text="ROW 7"), lambda s: "Row 7" in s.input),
            (Selection(text="0%'"), lambda s: True),
            (Selection(text="_"), lambda s: False),
            (Selection(text="\\"), lambda s: False),
            (Selection(since=1.7e9 + 900), lambda s: s.created >= 1.7e9 + 900),
            (Selection(before=1.7e9 + 30), lambda s: s.created < 1.7e9 + 30),
            (Selection(smallest=500, largest=600), lambda s: 500 <= s.size <= 600),
            (Selection(status="expired"), lambda s: s.expires == 1.0),
            (
                Selection("expired", "module.f0", "2", "row", 1.7e9 + 100, 1.7e9 + 900, 10, 900),
                lambda s: s.expires == 1.0 and s.function == "module.f0" and s.version == "2"
                and 1.7e9 + 100 <= s.created < 1.7e9 + 900 and 10 <= s.size <= 900,
            ),
        ]  # fmt: skip
        for selection, belongs in cases:
            expected = [summary for summary in kept if belongs(summary)]
            assert catalog.count(selection) == len(expected), selection
            assert catalog.select(selection, count=2000) == expected, selection
            assert catalog.select(selection, start=3, count=4) == expected[3:7], selection

    def test_rows_are_ordered_by_size_or_by_the_time_they_took(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        largest = catalog.select(Selection(), "size", count=30)
        assert [row.size for row in largest] == sorted((s.size for s in kept), reverse=True)[:30]  # type: ignore[union-attr]
        quickest = catalog.select(Selection(version="2"), "seconds", False, start=5, count=40)
        expected = sorted(s.seconds or 0 for s in kept if s.version == "2")[5:45]
        assert [row.seconds or 0 for row in quickest] == expected

    def test_a_key_is_found_by_its_beginning(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        for summary in kept[:40]:
            assert catalog.find(summary.key.hex()) == [summary]
        for prefix in ("0", "7f", "8", "ff", "a0b"):
            found = sorted(row.key for row in catalog.find(prefix, 1000))
            assert found == sorted(s.key for s in kept if s.key.hex().startswith(prefix))
        assert len(catalog.find("1", 3)) == 3

    def test_each_version_of_each_function_is_summed_up(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        found = catalog.functions()
        assert [(f.function, f.version) for f in found] == [(f"module.f{n}", v) for n in range(3) for v in ("", "2")]
        for f in found:
            own = [s for s in kept if (s.function, s.version) == (f.function, f.version)]
            assert (f.results, f.size, f.failures) == (len(own), sum(s.size for s in own), 0)
            assert abs(f.seconds - sum(s.seconds or 0 for s in own)) < 1e-6
            assert f.latest == max(s.created for s in own)

    def test_activity_is_counted_in_equal_parts_of_a_time(self, db: TaskDB) -> None:
        kept, catalog = self._filled(db), catalog_of(db)
        results, failures = catalog.activity(1.7e9 + 200, 1.7e9 + 1200, 10)
        assert results == [sum(200 + 100 * i <= s.created - 1.7e9 < 300 + 100 * i for s in kept) for i in range(10)]
        assert failures == [0] * 10

    def test_failures_are_selected_as_results_are(self, db: TaskDB) -> None:
        catalog = catalog_of(db)
        if isinstance(db, FailureLog):
            db.upsert([make_record(i) for i in range(5)])
            for i in range(10):
                db.note_failure(make_failure(i, f"module.f{i % 2}"))
            expected = [make_failure(i, f"module.f{i % 2}") for i in range(9, 4, -1)]  # the others have succeeded since
            assert catalog.select(Selection("failed")) == expected
            assert catalog.select(Selection("failed"), descending=False, start=1, count=2) == expected[::-1][1:3]
            assert catalog.select(Selection("failed", function="module.f1", text="X=7")) == [expected[2]]
            assert catalog.count(Selection("failed", since=1e9 + 8)) == 2
            assert catalog.find(make_key(7).hex()[:9]) == [expected[2]]
            assert [(f.function, f.results, f.failures, f.latest) for f in catalog.functions() if f.failures] == [
                ("module.f0", 0, 2, 1e9 + 8),
                ("module.f1", 0, 3, 1e9 + 9),
            ]
            assert catalog.activity(1e9, 1e9 + 10, 2) == ([0, 0], [0, 5])

    def test_latest_grows_with_every_record(self, db: TaskDB) -> None:
        catalog = catalog_of(db)
        before = catalog.latest()
        db.upsert([make_record(1)])
        between = catalog.latest()
        assert between[0] > before[0]
        if isinstance(db, FailureLog):
            db.note_failure(make_failure(2))
            assert catalog.latest() == (between[0], catalog.latest()[1])
            assert catalog.latest()[1] > between[1]

    def test_a_sound_index_has_no_problems(self, db: TaskDB) -> None:
        self._filled(db)
        if isinstance(db, IntegrityCheck):
            assert db.problems() == []
