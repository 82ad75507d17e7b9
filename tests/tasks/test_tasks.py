"""A call returns the cached result, or runs the function once and stores what it returns."""

import asyncio
import functools
import inspect
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import beautyspot as bs
from beautyspot.db import MemoryTaskDB, SQLiteTaskDB
from beautyspot.errors import ChangedCodeWarning, ConfigurationError, NotKeptWarning, SerializationError
from beautyspot.storage import LocalStorage
from beautyspot.testing import Count
from tests.support.marks import on_sqlite
from tests.support.tampering import change_rows


def test_a_call_runs_once(project: bs.Project, count: Count) -> None:
    @project.task
    def double(x: int) -> int:
        count()
        return 2 * x

    assert [double(1), double(x=1), double(1)] == [2, 2, 2]
    assert len(count) == 1


@pytest.mark.parametrize("value", [None, 0, "", float("nan"), [], False])
def test_every_value_is_cached(project: bs.Project, count: Count, value: Any) -> None:
    @project.task
    def give(x: int) -> Any:
        count()
        return value

    assert [repr(give(1)), repr(give(1))] == [repr(value)] * 2
    assert len(count) == 1


def test_a_result_is_a_fresh_object_each_time(project: bs.Project) -> None:
    give = project.task(lambda: {"list": []})
    give()["list"].append("changed by the caller")
    give()["list"].append("changed by another")
    assert give() == {"list": []}


def test_an_exception_reaches_the_caller_and_the_next_call_runs_again(project: bs.Project, count: Count) -> None:
    error = ValueError("broken")

    @project.task
    def fail(x: int) -> None:
        count()
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="broken") as caught:
            fail(1)
        assert caught.value is error
    assert len(count) == 2
    assert not fail.cached(1)


def test_a_failure_is_recorded_for_viewers(project: bs.Project) -> None:
    @project.task(version="3")
    def fail(text: str) -> None:
        raise KeyError(text)

    with pytest.raises(KeyError):
        fail("some input")
    (failure,) = project.db.failures()  # type: ignore[attr-defined]
    assert (failure.function, failure.version, failure.input) == (
        f"{__name__}.{fail.__qualname__}", "3", "text='some input'",
    )  # fmt: skip
    assert (failure.error, failure.message) == ("builtins.KeyError", "'some input'")
    assert "raise KeyError(text)" in failure.traceback


def test_an_argument_that_the_function_changes_does_not_change_the_key(project: bs.Project, count: Count) -> None:
    @project.task
    def consume(items: list[int]) -> int:
        count()
        return sum(items.pop() for _ in range(len(items)))

    assert [consume([1, 2]), consume([1, 2])] == [3, 3]
    assert len(count) == 1
    (summary,) = project.db.summaries()
    assert summary.input == "items=[1, 2]"


@on_sqlite
def test_a_task_looks_like_its_function(project: bs.Project) -> None:
    def function(x: int, y: str = "a") -> str:
        """Docstring."""
        return y * x

    task = project.task(function)
    assert (task.__name__, task.__doc__, task.__module__) == ("function", "Docstring.", __name__)
    assert inspect.signature(task) == inspect.signature(function)
    assert task.__wrapped__ is function
    assert not inspect.iscoroutinefunction(task)
    assert "function" in repr(task)


@on_sqlite
def test_a_decorator_around_a_task_is_pickled_by_value(project: bs.Project) -> None:
    task = project.task(lambda x: x + 1)

    @functools.wraps(task)
    def above(x: int) -> Any:
        return task(x)

    copy = pickle.loads(cloudpickle.dumps(above))
    assert (copy(1), task.cached(1)) == (2, True)


@on_sqlite
def test_a_task_has_the_signature_of_its_function_as_an_attribute(project: bs.Project) -> None:
    class Reader:
        @project.task
        def read(self, path: str) -> int:
            return len(path)

    assert vars(Reader.read)["__signature__"] == inspect.signature(Reader.read.__wrapped__)  # as Dagster reads it
    copy = pickle.loads(pickle.dumps(Reader.read))
    assert copy.__signature__ == Reader.read.__signature__
    assert not hasattr(Reader().read, "__signature__")  # it would count self as an argument
    assert list(inspect.signature(Reader().read).parameters) == ["path"]


def test_queries_do_not_run_the_function(project: bs.Project, count: Count) -> None:
    @project.task
    def function(x: int) -> int:
        count()
        return x

    assert not function.cached(1)
    assert function.peek(1) is None
    assert function.peek(1, default="none") == "none"
    assert len(function.key(1)) == 32
    assert not function.forget(1)
    assert not function.explain(1).kept
    assert len(count) == 0
    function(1)
    assert function.cached(1)
    assert function.peek(x=1) == 1
    assert function.forget(1)
    assert not function.cached(1)


def test_refresh_runs_again_and_replaces_the_cached_result(project: bs.Project, count: Count) -> None:
    @project.task
    def number(x: int) -> int:
        count()
        return len(count)

    assert [number(0), number.refresh(0), number(0)] == [1, 2, 2]


def test_put_stores_a_value_computed_elsewhere(project: bs.Project) -> None:
    @project.task
    def function(x: int, y: int = 0) -> str:
        raise AssertionError

    function.put(1, "single")
    function.put((2, 3), "tuple")
    function.put({"x": 4}, "dict")
    assert [function(1), function(2, 3), function(4)] == ["single", "tuple", "dict"]


class Scraper:
    def __init__(self, base: str) -> None:
        self.base = base

    def __repr__(self) -> str:
        return f"Scraper({self.base!r})"


def test_methods_are_cached_per_object(project: bs.Project, count: Count) -> None:
    class Client:
        def __init__(self, base: str) -> None:
            self.base = base

        def __beautyspot_key__(self) -> str:
            return self.base

        @project.task
        def fetch(self, path: str) -> str:
            """Docstring."""
            count()
            return self.base + path

        @project.task
        @classmethod
        def build(cls, x: int) -> str:
            return f"{cls.__name__}{x}"

        @project.task
        @staticmethod
        def fixed(x: int) -> int:
            return x

        def __reduce__(self) -> Any:
            raise TypeError

    one, other = Client("a/"), Client("b/")
    assert [one.fetch("x"), one.fetch(path="x"), other.fetch("x"), Client("a/").fetch("x")] == ["a/x"] * 2 + [
        "b/x",
        "a/x",
    ]
    assert len(count) == 2
    assert one.fetch.cached("x")
    assert one.fetch.key("x") != other.fetch.key("x")
    assert one.fetch.peek("x") == "a/x"
    one.fetch.put("y", "put")
    assert one.fetch("y") == "put"
    assert one.fetch.refresh("y") == "a/y"
    assert one.fetch.explain("x")
    assert one.fetch.forget("x")
    assert one.fetch.map(["x", "y"]) == ["a/x", "a/y"]
    assert one.fetch.__doc__ == "Docstring."
    assert list(inspect.signature(one.fetch).parameters) == ["path"]
    assert Client.fixed(3) == one.fixed(3) == 3
    assert bs.map(one.fetch, ["z"]) == ["a/z"]


@on_sqlite
def test_class_methods_are_cached_per_class(project: bs.Project) -> None:
    assert [Base.name(1), Derived.name(1), Derived().name(1)] == ["Base1", "Derived1", "Derived1"]
    assert Base.name.key(1) != Derived.name.key(1)


_shared = bs.Project("shared", db="memory://", storage_path="memory://")


class Base:
    @_shared.task
    @classmethod
    def name(cls, x: int) -> str:
        return f"{cls.__name__}{x}"


class Derived(Base):
    pass


def test_the_result_of_an_async_task_is_cached(project: bs.Project, count: Count) -> None:
    @project.task
    async def fetch(x: int) -> int:
        count()
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> list[int]:
        return [await fetch(1), await fetch(1), await fetch.refresh(1)]

    assert asyncio.run(main()) == [2, 2, 2]
    assert len(count) == 2
    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.iscoroutinefunction(fetch) if sys.version_info < (3, 14) else True
    assert fetch.peek(1) == 2
    assert fetch.cached(1)


def test_an_async_failure_is_recorded(project: bs.Project) -> None:
    @project.task
    async def fail(x: int) -> int:
        raise ValueError(x)

    with pytest.raises(ValueError, match="1"):
        asyncio.run(fail(1))
    assert len(list(project.db.failures())) == 1  # type: ignore[attr-defined]


@on_sqlite
def test_async_methods_can_be_tasks(project: bs.Project) -> None:
    class Client:
        def __beautyspot_key__(self) -> str:
            return "client"

        @project.task
        async def fetch(self, x: int) -> int:
            return x

    client = Client()
    assert asyncio.run(client.fetch(3)) == 3
    assert asyncio.run(client.fetch.refresh(3)) == 3
    assert asyncio.run(bs.amap(client.fetch, [1, 2])) == [1, 2]
    assert inspect.iscoroutinefunction(client.fetch)


def test_blobs_of_async_tasks_are_written_and_read_off_the_event_loop(tmp_path: Path) -> None:
    threads: list[int] = []

    class Watched(LocalStorage):
        def save(self, name: str, parts: Any) -> str:
            threads.append(threading.get_ident())
            return super().save(name, parts)

        def load(self, location: str, size: int) -> bytearray:
            threads.append(threading.get_ident())
            return super().load(location, size)

    with bs.Project("p", storage=Watched(tmp_path / "blobs")) as project:

        @project.task
        async def large(x: int) -> bytes:
            return bytes(100_000)

        async def main() -> None:
            await large(1)
            await large(1)

        asyncio.run(main())
    assert len(threads) == 2
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("save_blob", [None, True, False])
def test_size_and_save_blob_decide_whether_a_result_is_a_blob(
    project: bs.Project, tmp_path: Path, size: int, save_blob: bool | None
) -> None:
    @project.task(save_blob=save_blob)
    def content(size: int) -> bytes:
        return os.urandom(size)

    assert content(size) == content(size)
    blobs = list(project.storage.blobs())
    assert len(blobs) == (save_blob if save_blob is not None else size > 65536)


def test_a_result_above_the_threshold_is_a_blob(tmp_path: Path) -> None:
    with bs.Project("p", storage_path=tmp_path / "b", blob_threshold=10) as project:
        content = project.task(lambda n: bytes(n))
        content(5)
        assert not list(project.storage.blobs())
        content(20)
        assert len(list(project.storage.blobs())) == 1
    with bs.Project("p", storage_path=tmp_path / "b", blob_threshold=10**9) as project:
        array = project.task(lambda n: np.zeros(n))
        assert array(100_000).shape == array(100_000).shape
        assert len(list(project.storage.blobs())) == 1


def test_the_blob_of_a_replaced_or_forgotten_result_is_deleted(project: bs.Project) -> None:
    content = project.task(save_blob=True)(lambda n: os.urandom(n))
    first = content(10)
    assert content.refresh(10) != first
    assert len(list(project.storage.blobs())) == 1
    assert not list(project.results.garbage())
    content.forget(10)
    assert not list(project.storage.blobs())


def test_an_expired_call_runs_again(project: bs.Project, count: Count) -> None:
    @project.task(ttl=3600, save_blob=True)
    def function(x: int) -> int:
        count()
        return x

    function(1)
    function(1)
    assert len(count) == 1
    change_rows(project, expires=time.time() - 0.01)  # an hour later
    assert not function.cached(1)
    assert function.explain(1).reason == "expired"
    function(1)
    assert len(count) == 2
    assert len(list(project.storage.blobs())) == 1


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("90s", 90), ("12h", 43200), ("30d", 2592000), ("1.5m", 90), (5, 5), (timedelta(1), 86400)]
)
@on_sqlite
def test_a_time_to_live_is_a_text_a_number_or_a_timedelta(project: bs.Project, ttl: Any, seconds: float) -> None:
    function = project.task(ttl=ttl)(lambda: 1)
    function()
    (summary,) = project.db.summaries()
    assert summary.expires is not None
    assert abs(summary.expires - time.time() - seconds) < 5


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": "soon"}, {"ttl": 0}, {"ttl": -1}, {"ttl": True}, {"ttl": float("inf")}, {"save_blob": "yes"},
        {"key": 3}, {"content_type": "markdown"}, {"ignore": ("nothing",)}, {"mmap": True, "save_blob": False},
    ],
)  # fmt: skip
@on_sqlite
def test_an_invalid_option_is_an_error(project: bs.Project, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        project.task(**options)(lambda x: x)


@on_sqlite
def test_an_unknown_option_is_an_error(project: bs.Project) -> None:
    with pytest.raises(TypeError, match=r"project\.task has no option 'tll'; did you mean 'ttl'\?"):
        project.task(tll=3)  # type: ignore[call-overload]
    with pytest.raises(
        TypeError, match=r"project\.batch_task has no option 'colour'; it has content_type, deps, ignore"
    ):
        project.batch_task(colour=3)  # type: ignore[call-overload]


@on_sqlite
def test_an_object_that_is_no_serializer_is_refused(project: bs.Project) -> None:
    for given in (int, 5, object()):
        with pytest.raises(ConfigurationError, match="an object with the methods dumps and loads"):
            project.task(serializer=given)  # type: ignore[call-overload]


@on_sqlite
def test_a_serializer_that_returns_no_bytes_raises_an_error_that_carries_the_result(project: bs.Project) -> None:
    class Refusing:
        def dumps(self, value: Any) -> bytes:
            raise KeyError("no")

        def loads(self, data: Any) -> Any:
            return None

    texts: Any = json
    for serializer, reason in ((texts, "TypeError"), (Refusing(), "KeyError: 'no'")):
        task = project.task(serializer=serializer)(lambda x: [x])
        with pytest.raises(bs.SerializationError, match=f"the serializer .* gave no bytes for it: {reason}") as raised:
            task(1)
        assert raised.value.value == [1]


@on_sqlite
def test_an_object_that_cannot_be_called_is_refused(project: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match="cannot be called"):
        project.task(3)  # type: ignore[call-overload]


def test_memory_mapped_arrays_are_read_only(tmp_path: Path) -> None:
    with bs.Project("p", storage_path=tmp_path / "blobs") as project:
        array = project.task(mmap=True)(lambda n: {"a": np.arange(n)})
        array(100_000)
        mapped = array(100_000)["a"]
        assert not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, np.arange(100_000))


def test_arrays_read_from_a_blob_are_writable(project: bs.Project) -> None:
    array = project.task(lambda n: np.arange(n))
    array(100_000)
    array(100_000)[0] = 7
    assert array(100_000)[0] == 0


@on_sqlite
def test_a_result_that_cannot_be_serialized_raises_an_error_that_carries_it(project: bs.Project) -> None:
    @project.task
    def give(x: int) -> Any:
        return {"data": x, "lambda": lambda: x}

    with pytest.raises(SerializationError, match=r"result\['lambda'\]: a .*function cannot be kept") as caught:
        give(3)
    assert caught.value.value["data"] == 3


@on_sqlite
def test_registered_types_are_cached(project: bs.Project) -> None:
    project.register_type(type_=range, code=10, encoder=lambda r: str(r.stop).encode(), decoder=lambda b: range(int(b)))
    give = project.task(lambda n: [range(n)])
    assert give(3) == give(3) == [range(3)]


def test_a_record_has_what_viewers_show(project: bs.Project) -> None:
    @project.task(content_type=bs.ContentType.MARKDOWN, version=2, ignore=("secret",))
    def page(title: str, size: int = 3, secret: str = "") -> str:
        time.sleep(0.01)
        return title * size

    page("x" * 1000, secret="hidden")
    (summary,) = project.db.summaries()
    assert summary.function == f"{__name__}.{page.__qualname__}"
    assert (summary.version, summary.content_type) == ("2", "text/markdown")
    assert summary.input.startswith("title='xxx")
    assert summary.input.endswith(", size=3")
    assert len(summary.input) < 500
    assert summary.seconds is not None
    assert 0.01 <= summary.seconds < 5
    assert summary.size == 3003
    assert abs(summary.created - time.time()) < 5
    assert summary.worker.endswith(f":{os.getpid()}")


_CHANGED = """
import warnings
import beautyspot as bs
project = bs.Project("p", db="p.db")
@project.task
def f(x):
    return x + 1  # BODY
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(f(1), f(1), f(2), [(w.category.__name__, w.filename.endswith("script.py")) for w in caught])
"""


def test_changed_code_returns_the_cached_result_with_one_warning(tmp_path: Path) -> None:
    def run(source: str) -> str:
        (tmp_path / "script.py").write_text(source)
        return subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert run(_CHANGED) == "2 2 3 []"
    assert run(_CHANGED.replace("# BODY", "# a comment")) == "2 2 3 []"
    assert run(_CHANGED.replace("x + 1", "x + 100")) == "2 2 3 [('ChangedCodeWarning', True)]"
    assert run(_CHANGED) == "2 2 3 []"


@on_sqlite
def test_the_warning_about_changed_code_names_the_options(project: bs.Project) -> None:
    @project.task
    def function(x: int) -> int:
        return x

    function(1)
    function.core.keyer.__dict__["code"] = function.core.keyer.__dict__["made_by"] = b"changed!"
    with pytest.warns(ChangedCodeWarning, match='Set version="1" .* version="2" .* version="auto"') as caught:
        function(1)
    assert caught[0].filename == __file__


LIMIT = 3


@on_sqlite
def test_the_warning_about_changed_code_does_not_advise_a_version_that_would_run_all_again(
    project: bs.Project,
) -> None:
    @project.task
    def function(x: int) -> int:
        return x * LIMIT

    function(1)
    function.core.keyer.__dict__["code"] = function.core.keyer.__dict__["made_by"] = b"changed!"
    with pytest.warns(ChangedCodeWarning, match='are still returned. Set version="2" to run anew'):
        function(1)
    assert function.key(1) != project.task(version="1")(function.__wrapped__).key(1)


@pytest.mark.parametrize(
    ("prepare", "reason", "words"),
    [
        (lambda f: f(1), "kept", "kept: 1 bytes in the index"),
        (lambda f: None, "never run", "no call of"),
        (lambda f: f(1, y=5), "arguments", r"differs in y; it was \(x=1, y=5\)"),
        (lambda f: bs.map(f, [-1], on_error="return"), "never run", "no call of"),
    ],
)
def test_explain_gives_the_reason(project: bs.Project, prepare: Any, reason: str, words: str) -> None:
    @project.task
    def function(x: int, y: int = 2) -> int:
        if x < 0:
            raise ValueError(x)
        return x

    prepare(function)
    explanation = function.explain(1)
    assert explanation.reason == reason
    assert bool(explanation) == (reason == "kept")
    import re

    assert re.search(words, str(explanation))


def test_explain_mentions_another_version_and_a_failure(project: bs.Project) -> None:
    def function(x: int) -> int:
        if x < 0:
            raise ValueError("negative")
        return x

    project.task(version="1")(function)(1)
    newer = project.task(version="2")(function)
    assert "kept for version '1', and the version is '2'" in str(newer.explain(1))
    with pytest.raises(ValueError, match="negative"):
        newer(-1)
    assert "it failed at" in str(newer.explain(-1))
    assert "ValueError: negative" in str(newer.explain(-1))


class Unprintable:
    def __beautyspot_key__(self) -> str:
        return "unprintable"

    @property
    def shape(self) -> int:
        raise RuntimeError


@on_sqlite
def test_an_argument_that_cannot_be_displayed_is_shown_by_its_type(project: bs.Project) -> None:
    assert project.task(lambda x: 1)(Unprintable()) == 1
    (summary,) = project.db.summaries()
    assert summary.input == "x=<Unprintable>"


def test_a_project_creates_no_file_before_it_stores_a_result(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "deep" / "p.db", storage_path=tmp_path / "blobs") as project:
        task = project.task(lambda x: x)
        assert list(tmp_path.iterdir()) == []
        task(1)
        assert sorted(p.name for p in (tmp_path / "deep").glob("*.db")) == ["p.db"]
        assert not (tmp_path / "blobs").exists()


def test_the_name_of_a_project_gives_its_default_paths(tmp_path: Path) -> None:
    with bs.Project("my_experiment") as project:
        project.task(save_blob=True)(lambda: 1)()
    assert (tmp_path / "my_experiment.db").exists()
    assert (tmp_path / "blobs").is_dir()
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700


def test_closing_a_project_closes_only_what_it_opened(tmp_path: Path) -> None:
    db = SQLiteTaskDB(tmp_path / "p.db")
    project = bs.Project("p", db=db)
    task = project.task(lambda x: x)
    task(1)
    project.shutdown()
    assert db._connections._all
    db.close()
    assert not db._connections._all
    assert task(1) == 1  # it opens again
    db.close()


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"name": 3}, {"on_save_error": "ignore"}, {"io_workers": 0}, {"blob_threshold": -1}]
)
def test_an_invalid_project_option_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        bs.Project(**{"name": "p", **options})


def test_a_project_can_be_pickled(tmp_path: Path) -> None:
    project = bs.Project(
        "p", db=tmp_path / "p.db", storage_path=tmp_path / "b", blob_threshold=7, on_save_error="raise"
    )
    project.register_type(type_=range, code=1, encoder=lambda r: b"", decoder=lambda b: range(3))
    copy = pickle.loads(pickle.dumps(project))
    assert (copy.name, copy.results.blob_threshold, copy.on_save_error) == ("p", 7, "raise")
    with project, copy:
        project.task(version="1")(give_range)(1)
        assert copy.task(version="1")(give_range).peek(1) == range(3)


def give_range(x: int) -> range:
    return range(x)


def test_a_project_in_memory_cannot_be_pickled() -> None:
    with pytest.raises(ConfigurationError, match='use engine="threads"'):
        pickle.dumps(bs.Project("p", db=MemoryTaskDB()))


def test_a_copied_cache_works_in_another_directory(tmp_path: Path) -> None:
    import shutil

    here, there = tmp_path / "here", tmp_path / "there"
    with bs.Project("p", db=here / "p.db", storage_path=here / "blobs") as project:
        project.task(version="c")(give_bytes)(100_000)
    shutil.copytree(here, there)
    shutil.rmtree(here)
    with bs.Project("p", db=there / "p.db", storage_path=there / "blobs") as project:
        assert project.task(version="c")(give_bytes).peek(100_000) == bytes(100_000)


def give_bytes(n: int) -> bytes:
    return bytes(n)


def test_a_task_of_a_module_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(module_task)) is module_task
    assert len(pickle.dumps(module_task)) < 100
    assert pickle.loads(pickle.dumps(Base.name)).task is Base.__dict__["name"]


@_shared.task
def module_task(x: int) -> int:
    return x


def test_a_local_task_is_pickled_by_value(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db") as project:
        factor = 3

        @project.task
        def times(x: int) -> int:
            return x * factor if x >= 0 else times(-x)

        data = pickle.dumps(times)
        assert pickle.loads(data) is pickle.loads(data)
        child = f"""
import pickle
task = pickle.loads({data!r})
print(task(2), task(-2), task.key(2), task.project.name)
task.project.close()
"""
        done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["6", "6", times.key(2), "p"]
        assert times.peek(2) == 6


@on_sqlite
def test_decorators_below_the_task_are_part_of_the_function(project: bs.Project) -> None:
    def twice(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(x: int) -> int:
            return 2 * int(function(x))

        return wrapper

    @project.task
    @twice
    def function(x: int) -> int:
        return x

    assert function(2) == function(2) == 4
    assert list(inspect.signature(function).parameters) == ["x"]


def test_a_failed_write_is_an_error_if_the_project_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the directory should be")
    with bs.Project("p", storage_path=tmp_path / "blobs", on_save_error="raise") as project:
        with pytest.raises(bs.StorageError, match="cannot write the blob"):
            project.task(save_blob=True)(lambda: 1)()


def test_a_failed_write_is_a_warning_by_default(tmp_path: Path, count: Count) -> None:
    (tmp_path / "blobs").write_text("a file where the directory should be")
    with bs.Project("p", storage_path=tmp_path / "blobs") as project:
        task = project.task(save_blob=True)(lambda x: count() or x)
        with pytest.warns(NotKeptWarning, match="cannot write the blob") as caught:
            assert task(1) == 1
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert task(1) == 1
        assert len(count) == 2


def test_a_project_accepts_a_storage_object(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "mine")
    with bs.Project("p", storage=storage) as project:
        project.task(save_blob=True)(lambda: 1)()
    assert len(list(storage.blobs())) == 1
