"""joblib pipelines that were not written for us: each delayed call is cached, and a killed pipeline resumes."""

import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.svm import SVC

import beautyspot as bs
from beautyspot.adapters.joblib import resumable
from beautyspot.testing import Count
from tests.support.marks import POSTGRES_SLOWLY

# What is tested here is elsewhere than in the index.
project_index = pytest.fixture(lambda request: request.param, params=POSTGRES_SLOWLY)


@pytest.fixture(scope="module", autouse=True)
def _ends() -> Iterator[None]:
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def noted(path: str, x: int) -> int:
    Count(path)(x)
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x


def squares(count: Count, xs: Any, **options: Any) -> Any:
    return joblib.Parallel(**options)(joblib.delayed(noted)(count.path, x) for x in xs)


@pytest.mark.parametrize("n_jobs", [1, 2, -1, None])
@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading", "multiprocessing"])
def test_calls_are_recalled_whatever_runs_them(
    project: bs.Project, count: Count, n_jobs: int | None, backend: str
) -> None:
    with joblib.parallel_config(backend), resumable(project):
        assert squares(count, range(10), n_jobs=2) == [x * x for x in range(10)]
        assert squares(count, range(12), n_jobs=n_jobs) == [x * x for x in range(12)]
    assert sorted(map(int, count.lines)) == list(range(12))


@pytest.mark.slow
def test_results_come_as_joblib_was_asked_for_them(project: bs.Project, count: Count) -> None:
    with resumable(project):
        squares(count, range(0, 40, 3), n_jobs=2)
        assert list(squares(count, range(40), n_jobs=2, return_as="generator")) == [x * x for x in range(40)]
        again = squares(count, range(40), n_jobs=2, return_as="generator_unordered", batch_size=7, pre_dispatch="all")
        assert sorted(again) == [x * x for x in range(40)]
    assert len(count) == 40


def test_thousands_of_cached_calls_do_not_nest(project: bs.Project, count: Count) -> None:
    for x in range(3000):
        project.task(noted).put((count.path, x), x * x)
    with resumable(project):
        assert squares(count, range(3000), n_jobs=2) == [x * x for x in range(3000)]
    assert len(count) == 0


def test_calls_are_events_hit_or_miss_then_keep(project: bs.Project, count: Count) -> None:
    told: list[str] = []
    for kind in ("hit", "miss", "run", "keep", "error"):
        project.on(kind, lambda event: told.append(event.kind))  # type: ignore[arg-type]
    for _ in range(2):
        with resumable(project):
            squares(count, [4, 9], n_jobs=1)
    assert told == ["miss", "keep", "miss", "keep", "hit", "hit"]


def test_failures_are_raised_and_not_kept(project: bs.Project, count: Count) -> None:
    with resumable(project):
        for n_jobs in (1, 2):
            with pytest.raises(ValueError, match="-1 is negative"):
                squares(count, [1, -1], n_jobs=n_jobs)
    assert count.lines.count("-1") == 2


@pytest.mark.slow
def test_a_search_is_recalled_with_equal_results(project: bs.Project) -> None:
    X, y = make_classification(300, 8, random_state=0)
    grid = {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}
    plain = GridSearchCV(SVC(), grid, cv=3).fit(X, y)
    with resumable(project):
        first = GridSearchCV(SVC(), grid, cv=3, n_jobs=2).fit(X, y)
        second = GridSearchCV(SVC(), grid, cv=3).fit(X, y)
        wider = GridSearchCV(SVC(), {**grid, "C": [0.1, 1, 10, 100]}, cv=3, verbose=0, n_jobs=2).fit(X, y)
        kept = len(list(project.db.summaries()))
        scores = [cross_val_score(SVC(), X, y, cv=3, n_jobs=n) for n in (2, 1)]
        predicted = [cross_val_predict(SVC(), X, y, cv=3, n_jobs=n) for n in (2, 1)]
    assert kept == 4 * 2 * 3  # and not 6 * 3 + 8 * 3
    assert first.best_params_ == plain.best_params_
    np.testing.assert_array_equal(first.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(first.cv_results_["mean_fit_time"], second.cv_results_["mean_fit_time"])
    assert wider.best_score_ >= first.best_score_
    np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(scores[0], cross_val_score(SVC(), X, y, cv=3))
    np.testing.assert_array_equal(*predicted)


def test_a_forest_is_the_same_in_threads_that_share_an_array(project: bs.Project) -> None:
    X, y = make_classification(300, 8, random_state=0)
    plain = RandomForestClassifier(20, random_state=0).fit(X, y).predict_proba(X)
    with warnings.catch_warnings(), resumable(project):
        warnings.simplefilter("ignore", bs.NotKeptWarning)  # its trees are kept where skops is installed
        for n_jobs in (2, 1):
            forest = RandomForestClassifier(20, random_state=0, n_jobs=n_jobs).fit(X, y)
            # The threads of a prediction add up in an array that they share.
            for _ in range(2):
                np.testing.assert_array_equal(forest.predict_proba(X), plain)


def _handle(_: int) -> object:
    return object()


def test_what_cannot_be_cached_runs_with_one_warning(project: bs.Project) -> None:
    with resumable(project), pytest.warns(bs.NotKeptWarning) as given:
        runs = [joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(_handle)(i) for i in range(3)) for _ in "ab"]
    assert [len(set(handles)) for handles in runs] == [3, 3]
    (warning,) = given
    assert "_handle are not kept and simply run: result: a builtins.object cannot be kept" in str(warning.message)
    assert not list(project.db.summaries())


def test_arguments_that_cannot_be_part_of_a_key_are_said_once(project: bs.Project) -> None:
    def function(x: Any) -> int:
        return 1

    calls = [joblib.delayed(function)(i for i in range(2)) for _ in range(3)]
    with (
        resumable(project),
        pytest.warns(bs.NotKeptWarning, match=r"'x' \(builtins\.generator\) cannot identify") as given,
    ):
        assert joblib.Parallel(n_jobs=2, prefer="threads")(calls) == [1, 1, 1]
    assert len(given) == 1


def test_tasks_keep_themselves(project: bs.Project, count: Count) -> None:
    task = project.task(version="its own")(noted)
    with resumable(project):
        for _ in range(2):
            assert joblib.Parallel(n_jobs=2)(joblib.delayed(task)(count.path, x) for x in range(3)) == [0, 1, 4]
    assert len(count) == 3
    assert [summary.version for summary in project.db.summaries()] == ["its own"] * 3


def test_a_map_of_a_task_runs_on_the_other_backend(project: bs.Project, count: Count) -> None:
    task = project.task(noted)
    with joblib.parallel_config("loky", n_jobs=2), resumable(project):
        for _ in range(2):
            assert bs.map(task, [count.path] * 4, range(4), engine="joblib") == [0, 1, 4, 9]
    assert len(count) == 4


def test_scikit_learns_configuration_is_part_of_a_call(project: bs.Project) -> None:
    import sklearn

    X, y = make_classification(100, 5, random_state=0)
    with resumable(project):
        for value in (False, True):
            with sklearn.config_context(assume_finite=value):
                cross_val_score(SVC(), X, y, cv=3)
    assert len(list(project.db.summaries())) == 6


_SEARCH = """
import sys, time
import numpy as np
import beautyspot as bs
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, shift=0):
        self.shift = shift
    def fit(self, X, y):
        with open("fitted.txt", "a") as file:
            file.write(f"{self.shift} {X.sum()}\\n")
        time.sleep(0.08)
        self.classes_ = np.unique(y)
        return self
    def predict(self, X):
        return (X[:, 0] > self.shift / 20).astype(int)

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    X = rng.random((90, 2))
    y = (X[:, 0] > 0.5).astype(int)
    project = bs.Project("search")
    with bs.adapters.joblib.resumable(project):
        search = GridSearchCV(Slow(), {"shift": list(range(16))}, cv=3, n_jobs=2, refit=False).fit(X, y)
    print(search.best_params_, [round(x, 6) for x in search.cv_results_["mean_test_score"]])
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text(_SEARCH)
    fitted = tmp_path / "fitted.txt"
    seen = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "search.py"], cwd=tmp_path, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not fitted.exists() or len(fitted.read_text().splitlines()) < seen + 12:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = len(fitted.read_text().splitlines())
    done = subprocess.run([sys.executable, "search.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = fitted.read_text().splitlines()
    assert len(set(lines)) == 48
    assert len(lines) <= 48 + 2 * 4  # what ran when it was killed, and what was on its way
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "search.py").write_text(_SEARCH)
    other = subprocess.run([sys.executable, "search.py"], cwd=undisturbed, capture_output=True, text=True, timeout=60)
    assert other.stdout == done.stdout
