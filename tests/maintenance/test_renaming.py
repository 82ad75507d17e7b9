"""Results get another name without a run: each call is a hit under the new name."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import beautyspot as bs
from beautyspot.cli import main
from beautyspot.maintenance import Maintenance
from tests.support.marks import on_sqlite


def made(project: bs.Project, runs: list[int], **options: Any) -> Any:
    def ask(x: int, text: str = "a") -> str:
        runs.append(x)
        return f"{text} {x}" * (20_000 if x == 7 else 1)

    return project.task(ignore="runs", **options)(ask)


def test_each_call_of_a_renamed_function_is_a_hit(project: bs.Project) -> None:
    runs: list[int] = []
    old = made(project, runs)
    answers = [old(x) for x in range(9)]
    maintenance = Maintenance(project.db, project.storage)
    assert maintenance.rename(old.function_name, "ask") == 9
    new = made(project, runs, name="ask")
    assert [new(x) for x in range(9)] == answers
    assert len(runs) == 9
    assert not old.cached(1)
    assert not maintenance.verify().problems


def test_a_name_that_has_results_is_refused_unless_they_are_merged(project: bs.Project) -> None:
    runs: list[int] = []
    one, other = made(project, runs, name="one"), made(project, runs, name="other")
    for x in range(3):
        one(x)
    other(2)
    maintenance = Maintenance(project.db, project.storage)
    with pytest.raises(bs.ConfigurationError, match=r"there are results of 'other' already: add --merge"):
        maintenance.rename("one", "other")
    assert [one.cached(x) for x in range(3)] == [True] * 3
    assert maintenance.rename("one", "other", merge=True) == 3
    assert [other.cached(x) for x in range(3)] == [True] * 3
    with pytest.raises(bs.ConfigurationError, match=r"there are no results of 'one'"):
        maintenance.rename("one", "third")


def test_signed_results_are_renamed_with_their_secret_only(tmp_path: Path) -> None:
    secret = "s" * 32
    with bs.Project("p", db=tmp_path / "p.db", storage_path=tmp_path / "blobs", secret=secret) as project:
        runs: list[int] = []
        task = made(project, runs, name="one")
        task(1), task(7)
        with pytest.raises(bs.ConfigurationError, match="BEAUTYSPOT_SECRET"):
            Maintenance(project.db, project.storage).rename("one", "two")
        assert Maintenance(project.db, project.storage, secret=secret).rename("one", "two") == 2
        two = made(project, runs, name="two")
        two(1), two(7)
        assert len(runs) == 2


@on_sqlite
def test_the_command_renames_and_says_how_many(project: bs.Project, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with bs.Project("p") as mine:
        made(mine, [], name="old")(1)
    done = CliRunner().invoke(main, ["rename", "p.db", "old", "new"])
    assert (done.exit_code, done.output) == (0, "1 result of old is now of new\n")
    assert CliRunner().invoke(main, ["rename", "old", "new"]).exit_code == 1
    assert "Missing argument 'NEW'" in CliRunner().invoke(main, ["rename", "old"]).output
