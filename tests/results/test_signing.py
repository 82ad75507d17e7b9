"""A project with a secret accepts only results that are signed with it."""

import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.errors import UnreadableWarning
from beautyspot.testing import Count
from tests.support.tampering import change_rows, rows

SECRET = "a secret that nobody can guess"


@pytest.fixture(params=["sqlite", "postgres"])
def locations(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    db = tmp_path / "p.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return {"db": db, "storage_path": tmp_path / "blobs"}


def tasks(project: bs.Project, count: Count) -> tuple[Any, Any]:
    text = project.task(version="t")(lambda x: count() or f"text {x}")
    blob = project.task(version="b", save_blob=True)(lambda x: count() or f"blob {x}")
    return text, blob


def test_a_signed_result_is_a_hit(locations: dict[str, Any], count: Count) -> None:
    for _ in range(2):
        with bs.Project("p", secret=SECRET, **locations) as project:
            for task in tasks(project, count):
                assert task(1)[4:] == " 1"
                assert bs.map(task, [1, 2, 3])[2][4:] == " 3"
                assert task.explain(1)
    assert len(count) == 6


def test_the_same_secret_may_be_text_or_bytes(locations: dict[str, Any], count: Count) -> None:
    for secret in (SECRET, SECRET.encode()):
        with bs.Project("p", secret=secret, **locations) as project:
            tasks(project, count)[0](1)
    assert len(count) == 1


@pytest.mark.parametrize("other", [None, "another secret, long enough"], ids=["unsigned", "another secret"])
def test_a_result_without_a_valid_signature_is_a_miss(
    locations: dict[str, Any], count: Count, other: str | None
) -> None:
    with bs.Project("p", secret=other, **locations) as project:
        for task in tasks(project, count):
            bs.map(task, [1, 2])
    with bs.Project("p", secret=SECRET, **locations) as project:
        with pytest.warns(UnreadableWarning, match="is not signed with this project's secret") as caught:  # noqa: PT031
            for task in tasks(project, count):
                assert not task.cached(1)
                assert task.peek(1) is None
                assert bs.plan(task, [1, 2]).to_run == 2
                assert bs.map(task, [1, 2])[1][4:] == " 2"
                assert task.cached(1)
        assert len(caught) == 1
    assert len(count) == 8


def test_a_project_without_the_secret_warns_that_it_needs_one(locations: dict[str, Any], count: Count) -> None:
    with bs.Project("p", secret=SECRET, **locations) as project:
        tasks(project, count)[0](1)
    with bs.Project("p", **locations) as project, pytest.warns(UnreadableWarning, match="give it secret="):
        assert tasks(project, count)[0](1) == "text 1"


CHANGES = {
    "value": lambda row: {"value": row[0].replace(b"text", b"evil"), "checksum": row[1]},
    "expiry": lambda _: {"expires": 4e9},
    "code": lambda _: {"code": b"other code"},
    "signature": lambda row: {"checksum": row[1][:-1] + b"x"},
    "no signature": lambda row: {"checksum": row[1][:4]},
    "empty signature": lambda _: {"checksum": b""},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tampered_row_is_a_miss(locations: dict[str, Any], count: Count, change: str) -> None:
    with bs.Project("p", secret=SECRET, **locations) as project:
        text, _ = tasks(project, count)
        text(1)
        (row,) = rows(project, "value, checksum")
        change_rows(project, **CHANGES[change](row))
        with pytest.warns(UnreadableWarning, match="not signed"):
            assert text(1) == "text 1"
    assert len(count) == 2


def test_the_result_of_another_call_is_a_miss(tmp_path: Path, count: Count) -> None:
    with bs.Project("p", db=tmp_path / "p.db", secret=SECRET) as project:
        text, _ = tasks(project, count)
        text(1)
        text(2)
        project.close()
        connection = sqlite3.connect(tmp_path / "p.db")
        ((first, sum1), (second, sum2)) = connection.execute("SELECT value, checksum FROM results").fetchall()
        connection.execute("UPDATE results SET value = ?, checksum = ? WHERE value = ?", (second, sum2, first))
        connection.commit()
        connection.close()
        assert sum1 != sum2
        with pytest.warns(UnreadableWarning, match="not signed"):
            assert (text(1), text(2)) == ("text 1", "text 2")
    assert len(count) == 3


def test_a_blob_tampered_with_together_with_its_checksum_is_a_miss(locations: dict[str, Any], count: Count) -> None:
    from blake3 import blake3

    with bs.Project("p", secret=SECRET, **locations) as project:
        _, blob = tasks(project, count)
        blob(1)
        (path,) = Path(locations["storage_path"]).rglob("*-*")
        evil = path.read_bytes().replace(b"blob 1", b"evil 1")
        path.write_bytes(evil)
        with pytest.warns(UnreadableWarning, match="its checksum does not fit"):
            assert blob(1) == "blob 1"
        (path,) = Path(locations["storage_path"]).rglob("*-*")
        path.write_bytes(evil)
        (row,) = rows(project, "checksum")
        change_rows(project, checksum=blake3(evil).digest(16) + row[0][16:])
        with pytest.warns(UnreadableWarning, match="not signed"):
            assert blob(1) == "blob 1"
    assert len(count) == 3


def test_the_blob_of_an_unsigned_row_is_not_deleted(locations: dict[str, Any], count: Count) -> None:
    # An attacker who can write rows could name any blob in them.
    with bs.Project("p", **locations) as project:
        tasks(project, count)[1](1)
    (path,) = Path(locations["storage_path"]).rglob("*-*")
    with bs.Project("p", secret=SECRET, **locations) as project:
        with pytest.warns(UnreadableWarning):
            tasks(project, count)[1](1)
        assert [blob.location.endswith(path.name) for blob in project.results.garbage()] == [True]
    assert path.exists()


def test_workers_sign_their_results(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", secret=SECRET) as project:
        square = project.task(lambda x: x * x)
        assert bs.map(square, range(20), engine="processes", workers=2) == [x * x for x in range(20)]
        assert bs.plan(square, range(20)).kept == 20
        assert pickle.loads(pickle.dumps(project)).results.signer.secret == SECRET


def test_no_repr_shows_the_secret(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", secret=SECRET) as project:
        assert SECRET not in repr(project) + repr(project.results.signer)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("short", r"secret has 5 bytes.*secrets\.token_hex"),
        (b"", "secret has 0 bytes"),
        (7, "secret is a text or bytes"),
    ],
)
def test_an_unusable_secret_is_an_error(secret: Any, message: str) -> None:
    with pytest.raises(bs.ConfigurationError, match=message) as caught:
        bs.Project("p", secret=secret)
    assert "short" not in str(caught.value).replace("a short one", "")
