"""Results of diskcache and joblib become results of a task, once their pickles are allowed, and not before."""

import asyncio
import importlib
import os
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diskcache
import joblib
import numpy as np
import pytest
from click.testing import CliRunner, Result

import beautyspot as bs
from beautyspot.cli import main
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.cache_import import import_cache

JOBS = """
import beautyspot as bs

project = bs.Project("jobs")


def embed(text, scale=1, *rest, mode=None, **more):
    with open("runs.txt", "a") as file:
        file.write("run\\n")
    return [text, scale, list(rest), mode, more]


def pick(a=None, b=None, k=None):
    return ["picked", a, b, k]


def open_session(session, x):
    return {"x": x}


async def fetch(x):
    return x + 1


class Own:
    def __repr__(self):
        return "3"


embed_task, pick_task = project.task(embed), project.task(pick)
session_task = project.task(ignore=("session",))(open_session)
fetch_task = project.task(fetch)
"""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with functions and tasks of them, in the current directory."""
    Path("jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(os.getcwd())
    importlib.invalidate_caches()
    module = importlib.import_module("jobs")
    yield module
    module.project.close()
    del sys.modules["jobs"]


def take(*words: str) -> Result:
    before = list(sys.path)
    try:
        return CliRunner().invoke(main, ["import", *words])
    finally:
        sys.path[:] = before


def runs() -> int:
    return len(Path("runs.txt").read_text().splitlines()) if Path("runs.txt").exists() else 0


class Trap:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


class Unknown:
    """Nobody has registered it."""


# --- diskcache


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a",), {}),
    (("b", 2), {}),
    (("c",), {"scale": 3}),
    (("d", None), {}),
    ((None,), {}),
    (("e", 1, 2, 3), {"mode": "m", "other": [1]}),
    (((1, "x"), {"k": {1}}), {}),
    (("large" * 20_000,), {}),
]


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("kind", [diskcache.Cache, diskcache.FanoutCache])
def test_results_of_memoize_become_results_of_the_task(jobs: Any, kind: Any, typed: bool) -> None:
    with kind("old") as cache:
        memoized = cache.memoize(typed=typed)(jobs.embed)
        results = [memoized(*args, **named) for args, named in CALLS]
    done = take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle")
    assert (done.exit_code, done.stdout) == (0, "8 imported\n")
    assert [jobs.embed_task(*args, **named) for args, named in CALLS] == results
    assert runs() == len(CALLS)
    done = take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle")
    assert done.stdout == "0 imported, 8 there already\n"


def test_the_directory_is_only_read(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        cache.memoize()(jobs.embed)("a")
        cache.memoize()(jobs.embed)("large" * 20_000)
    before = {path: path.read_bytes() for path in Path("old").rglob("*") if path.is_file()}
    import_cache("old", jobs.embed_task, allow_pickle=True)
    assert {path: path.read_bytes() for path in Path("old").rglob("*") if path.suffix in (".db", ".val")} == before


def test_a_key_of_two_calls_is_left_out(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        memoized = cache.memoize()(jobs.pick)
        memoized(None, "k")  # the key of pick(k=None) too
        memoized(1, "k")
    done = take("jobs.db", "old", "--task", "jobs:pick_task", "--allow-pickle")
    assert (done.exit_code, done.stdout) == (1, "1 imported, 1 left out, which run again\n")
    assert "1 left out: its key stands for more than one call" in done.stderr
    assert not jobs.pick_task.cached(None, "k")
    assert not jobs.pick_task.cached(k=None)


def test_what_is_over_or_of_others_is_left_out(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        cache.memoize(expire=3600)(jobs.embed)("b")
        cache.memoize()(jobs.pick)(1)
        cache["mine"] = 5
        cache.memoize(expire=0.001)(jobs.embed)("a")
        time.sleep(0.01)
    told = import_cache("old", jobs.embed_task, allow_pickle=True)
    assert (told.taken, told.expired, str(told)) == (1, 1, "1 imported, 1 expired")
    assert told.others == {"jobs.pick": 1, "(no call of a function)": 1}


def test_entries_left_out_are_counted_by_reason(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        memoized = cache.memoize()(jobs.embed)
        memoized("good")
        cache[memoized.__cache_key__("unkept")] = Unknown()
        cache[memoized.__cache_key__("gone")] = bytes(100_000)
        cache["jobs.embed", "strange"] = 1
        cache["jobs.embed", None] = 1
    next(path for path in Path("old").rglob("*.val")).unlink()
    told = import_cache("old", jobs.embed_task, allow_pickle=True)
    assert told.taken == 1
    assert sorted(told.left_out.values()) == [1] * 4
    reasons = " | ".join(told.left_out)
    for reason in (
        "its file is gone",
        "register_type",
        "missing 1 required positional argument: 'text'",
        "its key is not one that memoize makes",
    ):
        assert reason in reasons


def test_a_function_of_another_name_is_asked_for_by_it(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        cache.memoize(name="__main__.embed")(jobs.embed)("a")
    done = take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle")
    assert done.exit_code == 1
    assert "there is no entry of jobs.embed; there are those of __main__.embed (1): see --name" in done.stderr
    done = take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle", "--name", "__main__.embed")
    assert (done.exit_code, done.stdout) == (0, "1 imported\n")
    assert jobs.embed_task.cached("a")


def test_it_goes_on_where_it_was_stopped(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        memoized = cache.memoize()(jobs.pick)
        for i in range(450):
            memoized(i)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_cache("old", jobs.pick_task, allow_pickle=True, progress=stop)
    told = import_cache("old", jobs.pick_task, allow_pickle=True)
    assert (told.taken, told.already) == (250, 200)


def test_arguments_that_were_ignored_are_ignored(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        cache.memoize(ignore={"session"})(jobs.open_session)(session=object(), x=5)
    assert import_cache("old", jobs.session_task, allow_pickle=True).taken == 1
    assert jobs.session_task.cached(object(), 5)


# --- joblib


@pytest.mark.parametrize("compress", [False, 3])
def test_results_of_memory_become_results_of_the_task(jobs: Any, compress: Any) -> None:
    memory = joblib.Memory("old", verbose=0, compress=compress)
    calls = [call for call in CALLS if call[0][0] is not None]
    results = [memory.cache(jobs.embed)(*args, **named) for args, named in calls]
    done = take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle")
    assert (done.exit_code, done.stdout) == (0, f"{len(calls)} imported\n")
    assert [jobs.embed_task(*args, **named) for args, named in calls] == results
    assert runs() == len(calls)
    told = import_cache(Path("old") / "joblib", jobs.embed_task, allow_pickle=True)
    assert (told.taken, told.already) == (0, len(calls))


def test_arrays_come_back_as_they_were(jobs: Any) -> None:
    memory = joblib.Memory(Path("old"), verbose=0)  # a Path, whose directory has another form
    memory.cache(jobs.pick)(1)
    (output,) = Path("old").rglob("output.pkl")
    joblib.dump(np.arange(100_000.0), output)
    assert import_cache("old", jobs.pick_task, allow_pickle=True).taken == 1
    assert np.array_equal(jobs.pick_task(1), np.arange(100_000.0))


def test_arguments_that_joblib_has_only_as_a_text_are_left_out(jobs: Any) -> None:
    cached = joblib.Memory("old", verbose=0).cache(jobs.pick)
    cached(1)
    cached(np.arange(3))
    cached(jobs.Own())  # whose text is that of 3
    told = import_cache("old", jobs.pick_task, allow_pickle=True)
    assert (told.taken, told.left_out.total()) == (1, 2)
    assert "joblib stored its argument 'a' only as a text" in " | ".join(told.left_out)
    assert "joblib's own hash of these is another" in " | ".join(told.left_out)
    assert not jobs.pick_task.cached(3)


def test_what_joblib_did_not_finish_is_left_out(jobs: Any) -> None:
    cached = joblib.Memory("old", verbose=0).cache(jobs.pick)
    for x in (1, 2, 3, 4):
        cached(x)
    first, second, third, _ = sorted(Path("old").rglob("output.pkl"))
    first.unlink()
    (second.parent / "metadata.json").unlink()
    third.write_bytes(third.read_bytes()[:-5])
    told = import_cache("old", jobs.pick_task, allow_pickle=True)
    assert (told.taken, told.left_out.total()) == (1, 3)
    reasons = " | ".join(told.left_out)
    for reason in ("it has no output.pkl", "it has no metadata.json", "it cannot be unpickled here"):
        assert reason in reasons


def test_arguments_that_joblib_ignored_are_ignored(jobs: Any) -> None:
    joblib.Memory("old", verbose=0).cache(jobs.open_session, ignore=["session"])(object(), 5)
    assert import_cache("old", jobs.session_task, allow_pickle=True).taken == 1
    assert jobs.session_task.cached(object(), 5)


def test_results_of_changed_code_are_reported(jobs: Any) -> None:
    joblib.Memory("old", verbose=0).cache(jobs.pick)(1)
    assert not import_cache("old", jobs.pick_task, allow_pickle=True).changed
    (code,) = Path("old").rglob("func_code.py")
    code.write_text("# first line: 3\n@memory.cache\n" + code.read_text().partition("\n")[2])
    assert not import_cache("old", jobs.pick_task, allow_pickle=True).changed
    code.write_text(code.read_text().replace("picked", "chosen"))
    told = import_cache("old", jobs.pick_task, allow_pickle=True)
    assert told.changed
    assert "the code of jobs.pick has changed since joblib cached these" in str(told)


def test_results_of_coroutines_are_awaited_values(jobs: Any) -> None:
    asyncio.run(joblib.Memory("old", verbose=0).cache(jobs.fetch)(1))
    assert import_cache("old", jobs.fetch_task, allow_pickle=True).taken == 1
    assert jobs.fetch_task.peek(1) == 2


# --- nothing is read without the flag


@pytest.mark.parametrize("kind", ["diskcache", "joblib"])
def test_without_the_flag_nothing_is_read(jobs: Any, kind: str) -> None:
    if kind == "diskcache":
        with diskcache.Cache("old") as cache:
            cache["jobs.embed", "a", None] = Trap()
    else:
        joblib.Memory("old", verbose=0).cache(jobs.embed)("a")
        next(Path("old").rglob("output.pkl")).write_bytes(pickle.dumps(Trap()))
    for more in ([], ["--task", "jobs:embed_task"]):
        done = take("jobs.db", "old", *more)
        assert done.exit_code == 2
        assert "reading a pickle runs any code that is in it" in " ".join(done.stderr.split())
        assert "--allow-pickle. Nothing was read." in " ".join(done.stderr.split())
    with pytest.raises(ConfigurationError, match=r"old was not read: .* with allow_pickle=True"):
        import_cache("old", jobs.embed_task)
    assert not Path("sprung").exists()
    take("jobs.db", "old", "--task", "jobs:embed_task", "--allow-pickle")
    assert Path("sprung").exists()  # so it would have been


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--allow-pickle"], 2, "Say which task gets the results: --task mypackage.jobs:embed"),
        (["--allow-pickle", "--task", "jobs"], 2, "a task is written module:name"),
        (["--allow-pickle", "--task", "nothere:x"], 1, "there is no module 'nothere', here or installed"),
        (["--allow-pickle", "--task", "jobs:embed"], 1, "'embed' in jobs is not a task"),
        (["--allow-pickle", "--task", "jobs:nothing.there"], 1, "'nothing.there' in jobs is not a task"),
        (
            ["--allow-pickle", "--task", "jobs:embed_task"],
            1,
            "old is not a directory of diskcache (it has no cache.db)",
        ),
        (["--task", "jobs:embed_task", "--storage-path", "x"], 2, "The project of --task says where the blobs are"),
    ],
)
def test_a_missing_library_is_named(jobs: Any, words: list[str], code: int, text: str) -> None:
    Path("old").mkdir()
    done = take("jobs.db", "old", *words)
    assert done.exit_code == code
    assert text in " ".join(done.stderr.split())


def test_the_index_must_be_that_of_the_task(jobs: Any) -> None:
    with diskcache.Cache("old") as cache:
        cache.memoize()(jobs.pick)(1)
    done = take("other.db", "old", "--task", "jobs:pick_task", "--allow-pickle")
    assert done.exit_code == 1
    assert "are in SQLiteTaskDB('./jobs.db'), and DB is SQLiteTaskDB('other.db')" in done.stderr
    assert not Path("other.db").exists()


def test_the_options_are_for_directories(jobs: Any) -> None:
    with bs.Project("p", db="source.db") as project:
        project.task(jobs.pick)(1)
    done = take("jobs.db", "source.db", "--task", "jobs:pick_task")
    assert done.exit_code == 2
    assert "--task, --name and --allow-pickle are for a directory" in " ".join(done.stderr.split())
