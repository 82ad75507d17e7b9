"""Why a call is a miss: in what the nearest kept call differs."""

from typing import Any

import numpy as np
import pytest

import beautyspot as bs
from beautyspot.results.explain import nearest_to
from tests.support.marks import on_sqlite

PROMPT = "Name rivers."


def helper(x: int) -> int:
    return x


def told(project: bs.Project, kept: Any, asked: Any) -> str:
    @project.task
    def train(lr: Any) -> int:
        return 1

    train(kept)
    return train.explain(asked).text


@on_sqlite
@pytest.mark.parametrize(
    ("kept", "asked", "said"),
    [
        (np.float32(0.5), 0.5, "lr (in its type: float 0.5, it was np.float32 0.5)"),
        (1, 1.0, "lr (in its type: float 1.0, it was int 1)"),
        (1, "1", "lr (in its type: str '1', it was int 1)"),
        (True, 1, "lr (in its type: int 1, it was bool True)"),
        ([1, 2], (1, 2), "lr (in its type: tuple (1, 2), it was list [1, 2])"),
        ({"a": [1]}, {"a": [1.0]}, "lr"),
        (range(2), range(3), "lr"),
    ],
)
def test_explain_says_when_only_the_type_of_an_argument_differs(
    kept: Any, asked: Any, said: str, project: bs.Project
) -> None:
    assert f"the nearest kept call differs in {said}; it was (lr=" in told(project, kept, asked)


@on_sqlite
def test_explain_says_when_two_values_look_alike(project: bs.Project) -> None:
    long = "a" * 200
    assert "differs in lr (both look like 'aaa" in told(project, f"{long}1{long}", f"{long}2{long}")


@on_sqlite
def test_explain_names_a_constant_that_differs_beside_functions_that_do_not_count(
    project: bs.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    @project.task
    def ask(x: int) -> tuple[int, str]:
        return helper(x), PROMPT

    ask(1)
    monkeypatch.setitem(ask.__wrapped__.__globals__, "PROMPT", "Name hills.")
    assert "differs in constant 'PROMPT'; it was (x=1)" in ask.explain(1).text


@on_sqlite
def test_explain_finds_the_same_call_of_a_version_for_which_constants_counted(project: bs.Project) -> None:
    def ask(x: int) -> tuple[int, str]:
        return x, PROMPT

    project.task(ask)(1)
    explanation = project.task(version="2")(ask).explain(1)
    assert explanation.reason == "version"
    assert explanation.text == "not kept: kept for version '1', and the version is '2'"


@on_sqlite
def test_explain_prefers_a_call_of_the_same_version_and_names_another_one(project: bs.Project) -> None:
    def ask(x: int, y: int) -> int:
        return x

    older, newer = project.task(version="1")(ask), project.task(version="2")(ask)
    older(1, 2)
    assert "differs in y, the version (1 and not 2); it was (x=1, y=2)" in newer.explain(1, 3).text
    newer(1, 4)
    older(1, 2)
    assert "differs in y; it was (x=1, y=4)" in newer.explain(1, 3).text


@on_sqlite
def test_the_nearest_other_call_of_an_index_differs_in_what_the_function_captured(project: bs.Project) -> None:
    scale = 1

    @project.task
    def times(x: int) -> int:
        return x * scale

    times(1)
    scale = 2
    times(1)
    newest, *others = project.db.summaries(times.core.keyer.function_name)
    assert nearest_to(newest, others).endswith("(x=1); it differs in what the function captured")
