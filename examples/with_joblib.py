"""A scikit-learn search that is killed half-way and resumes; its code does not know beautyspot."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import beautyspot as bs


def search() -> GridSearchCV:
    images, digits = load_digits(return_X_y=True)
    grid = {"C": [0.1, 1, 10, 100], "gamma": [0.0001, 0.001, 0.01]}
    return GridSearchCV(SVC(), grid, n_jobs=2, cv=5).fit(images, digits)


def main() -> None:
    started = time.perf_counter()
    with bs.Project("search") as project, bs.adapters.joblib.resumable(project):
        cached = len(list(project.db.summaries()))
        best = search()
        print(f"  {cached} of 60 fits were cached; best {best.best_params_} with {best.best_score_:.3f}", end="")
        print(f" after {time.perf_counter() - started:.1f} s", flush=True)


def demonstrate() -> None:
    with tempfile.TemporaryDirectory(prefix="beautyspot-") as directory:
        script = [sys.executable, str(Path(__file__).resolve()), "search"]
        print("a search is started, and killed after some fits")
        process = subprocess.Popen(script, cwd=directory)
        while not Path(directory, "search.db").exists() or _count_cached(directory) < 20:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print("the same search again")
        subprocess.run(script, cwd=directory, check=True)
        print("and once more")
        subprocess.run(script, cwd=directory, check=True)


def _count_cached(directory: str) -> int:
    with bs.Project("search", db=os.path.join(directory, "search.db")) as project:
        return len(list(project.db.summaries()))


if __name__ == "__main__":
    main() if sys.argv[1:] else demonstrate()
