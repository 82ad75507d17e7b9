"""A batch task runs with the items that are not cached, and the result of each item is cached under its own key."""

import asyncio
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import beautyspot as bs
from beautyspot.errors import BatchError, ConfigurationError, NotKeptWarning, UnreadableWarning
from tests.fanout.test_group_commit import transactions
from tests.support.marks import on_sqlite


class Lengths:
    """A batch task that returns lengths, and the lists that its function was called with."""

    def __init__(self, project: bs.Project, **options: Any) -> None:
        self.lists: list[list[str]] = []

        @project.batch_task(**options, ignore="self")
        def lengths(texts: list[str], scale: int = 1) -> list[int]:
            self.lists.append(list(texts))
            return [scale * len(text) for text in texts]

        self.task = lengths


def test_only_misses_run_in_lists_of_at_most_size_items(project: bs.Project) -> None:
    lengths = Lengths(project, size=3)
    assert lengths.task(["a", "bb"]) == [1, 2]
    assert lengths.task(["ccc", "a", "dd", "bb", "e", "ffff", "g"]) == [3, 1, 2, 2, 1, 4, 1]
    assert lengths.lists == [["a", "bb"], ["ccc", "dd", "e"], ["ffff", "g"]]
    assert lengths.task([]) == []
    assert len(lengths.lists) == 3


def test_equal_items_run_once_and_get_separate_results(project: bs.Project) -> None:
    seen: list[int] = []

    @project.batch_task(ignore="seen")
    def wrapped(xs: list[int]) -> list[list[int]]:
        seen.extend(xs)
        return [[x] for x in xs]

    for _ in range(2):
        results = wrapped([1, 2, 1, 1])
        assert results == [[1], [2], [1], [1]]
        assert len({id(result) for result in results}) == 4
    assert seen == [1, 2]


@pytest.mark.parametrize(
    "given",
    [("a", "bb"), (x for x in ["a", "bb"]), np.array(["a", "bb"]), pd.Series(["a", "bb"]), {"a": 0, "bb": 1}.keys()],
    ids=lambda given: type(given).__name__,
)
def test_any_iterable_is_passed_on_as_a_list(given: Any, tmp_path: Path) -> None:
    with bs.Project("p") as project:
        lengths = Lengths(project)
        assert lengths.task(given) == [1, 2]
        assert lengths.lists == [["a", "bb"]]


@pytest.mark.parametrize("given", ["text", b"bytes", {"a": 1}, 3, None])
def test_an_argument_that_is_no_list_is_an_error_that_names_the_cure(given: Any) -> None:
    with bs.Project("p") as project:
        with pytest.raises(TypeError, match=r"takes a list of items as 'texts' and got .*write lengths\(\[\.\.\.\]\)"):
            Lengths(project).task(given)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'texts'"):
            Lengths(project).task()


@on_sqlite
def test_other_arguments_are_part_of_the_key_of_each_item(project: bs.Project) -> None:
    lengths = Lengths(project)
    task: Any = lengths.task
    assert task(["a"], 2) == task(["a"], scale=2) == task(texts=["a"], scale=2) == task(scale=2, texts=["a"]) == [2]
    assert task(["a"]) == task(["a"], 1) == [1]
    assert lengths.lists == [["a"], ["a"]]


def test_the_list_is_the_first_argument_annotated_as_one_or_the_one_named_by_batch() -> None:
    with bs.Project("p") as project:

        @project.batch_task
        def annotated(model: str, texts: list[str]) -> list[str]:
            return [model + text for text in texts]

        @project.batch_task
        def bare(texts, model="m"):  # type: ignore[no-untyped-def]
            return [model + text for text in texts]

        @project.batch_task(batch="texts")
        def named(models: list[str], *, texts: Any) -> list[str]:
            return ["".join(models) + text for text in texts]

        assert annotated("m", ["a", "b"]) == bare(["a", "b"]) == named(["m"], texts=["a", "b"]) == ["ma", "mb"]
        assert annotated.cached("m", "b")
        assert bare.cached("b")
        assert named.cached(["m"], texts="b")


@on_sqlite
def test_methods_of_every_kind_can_be_batch_tasks(project: bs.Project) -> None:
    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __beautyspot_key__(self) -> int:
            return self.factor

        @project.batch_task
        def scaled(self, xs: list[int]) -> list[int]:
            return [self.factor * x for x in xs]

        @project.batch_task
        async def scaled_async(self, xs: list[int]) -> list[int]:
            return [self.factor * x for x in xs]

        @project.batch_task(ignore="cls")
        @classmethod
        def named(cls, xs: list[int]) -> list[str]:
            return [f"{cls.__name__}{x}" for x in xs]

        @project.batch_task
        @staticmethod
        def doubled(xs: list[int]) -> list[int]:
            return [2 * x for x in xs]

    assert Model(2).scaled([1, 2]) == [2, 4]
    assert Model(3).scaled([1, 2]) == [3, 6]
    assert Model(2).scaled.cached(2)
    assert not Model(4).scaled.cached(2)
    assert Model(2).scaled.refresh(2) == 4
    assert Model(2).scaled.map([1, 2, 3]) == [2, 4, 6]
    assert asyncio.run(Model(2).scaled_async([1, 2])) == [2, 4]  # type: ignore[arg-type]
    named: Any = Model.named
    assert named([1]) == ["Model1"]
    doubled: Any = Model.doubled
    assert doubled([1]) == [2]


def test_the_other_methods_take_one_item_in_place_of_the_list(project: bs.Project) -> None:
    lengths = Lengths(project)
    task: Any = lengths.task
    assert task.explain("a").reason == "never run"
    assert not task.cached("a")
    assert task.peek("a", default=-1) == -1
    task(["a", "bb"])
    assert task.cached("a")
    assert task.cached(texts="a", scale=1)
    assert task.peek("bb") == 2
    assert len({task.key("a"), task.key("bb"), task.key("a", 2)}) == 3
    assert task.explain("a").kept
    assert task.explain("ccc").different == ("texts",)
    assert task.forget("a")
    assert task(["a", "bb"]) == [1, 2]
    task.put("bb", 20)
    task.put({"texts": "a", "scale": 9}, 90)
    assert task(["bb"]) == [20]
    assert task(["a"], scale=9) == [90]
    assert task.refresh("bb") == task.refresh(texts="bb") == 2
    assert task(["bb"]) == [2]
    assert lengths.lists == [["a", "bb"], ["a"], ["bb"], ["bb"]]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1], r"was given a list of 2 items and returned 1 results: return a list with one result for each item"),
        ([1, 2, 3], "returned 3 results"),
        (None, "returned a NoneType"),
        ("ab", "returned a str"),
        ({"a": 1, "b": 2}, "returned a dict"),
        ({1, 2}, "returned a set"),
        (7, "returned an int"),
        (np.array(7), "returned a ndarray"),
        (pd.DataFrame([[1, 2], [3, 4]]), "returned a DataFrame"),
        ((x for x in (1, 2)), "returned a generator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_one_result_for_each_item_is_an_error_and_not_cached(returned: Any, message: str) -> None:
    with bs.Project("p") as project:

        @project.batch_task(ignore="returned")
        def wrong(texts: list[str]) -> Any:
            return returned

        task: Any = wrong
        with pytest.raises(BatchError, match=message):
            task(["a", "b"])
        assert not task.cached("a")
        assert task.explain("b").reason == "failed"


def test_an_array_of_rows_is_one_result_for_each_item(project: bs.Project) -> None:
    @project.batch_task(size=2)
    def vectors(xs: list[int]) -> Any:
        return np.array([[x, x * x] for x in xs], dtype=np.float32)

    task: Any = vectors
    for _ in range(2):
        results = task([1, 2, 3])
        assert [row.tolist() for row in results] == [[1, 1], [2, 4], [3, 9]]
        assert {row.dtype for row in results} == {np.dtype("float32")}


def test_results_of_earlier_batches_stay_cached_when_one_fails(project: bs.Project) -> None:
    error = ValueError("the third batch")

    @project.batch_task(size=2, ignore="error")
    def fails(xs: list[int]) -> list[int]:
        if 4 in xs:
            raise error
        return xs

    with pytest.raises(ValueError, match="the third batch") as caught:
        fails(range(8))
    assert caught.value is error
    assert [fails.cached(x) for x in range(8)] == [True] * 4 + [False] * 4
    assert [fails.explain(x).reason for x in (4, 5)] == ["failed"] * 2
    assert fails.explain(6).reason == "arguments"
    assert all(project.single_flight.try_acquire(bytes.fromhex(fails.key(x))) for x in range(8))
    project.single_flight.release_many([bytes.fromhex(fails.key(x)) for x in range(8)])


def test_each_batch_is_stored_in_one_transaction_before_the_next_begins(project: bs.Project) -> None:
    sizes = transactions(project)
    kept: list[bool] = []

    @project.batch_task(size=3, ignore=("kept", "looked"))
    def same(xs: list[int]) -> list[int]:
        kept.append(all(looked[0].cached(x) for x in range(xs[0])))
        return xs

    looked: list[Any] = [same]
    same(range(8))
    assert sizes == [3, 3, 2]
    assert kept == [True] * 3


def test_large_results_are_blobs_that_are_deleted_when_replaced(project: bs.Project) -> None:
    @project.batch_task(ttl=1000)
    def large(xs: list[int]) -> list[bytes]:
        return [bytes([x]) * (10 if x < 2 else 200_000) for x in xs]

    for _ in range(2):
        assert [len(value) for value in large([1, 2, 3, 3])] == [10, 200_000, 200_000, 200_000]
    assert len(list(project.storage.blobs())) == 2
    assert len(large.refresh(2)) == 200_000
    assert len(list(project.storage.blobs())) == 2
    for blob in list(project.storage.blobs()):
        project.storage.delete(blob.location)
    with pytest.warns(UnreadableWarning):
        assert [len(value) for value in large([1, 2, 3])] == [10, 200_000, 200_000]
    assert len(list(project.storage.blobs())) == 2


def test_an_expired_item_runs_again(project: bs.Project) -> None:
    lengths = Lengths(project, ttl=0.2)
    lengths.task(["a", "bb"])
    time.sleep(0.3)
    assert lengths.task(["a", "bb"]) == [1, 2]
    assert lengths.lists == [["a", "bb"]] * 2


def test_version_and_dependencies_are_part_of_the_key_of_each_item(project: bs.Project) -> None:
    def helper(x: int) -> int:
        return x

    def same(xs: list[int]) -> list[int]:
        return xs

    keys = {
        project.batch_task(same).key(1),
        project.batch_task(version="2")(same).key(1),
        project.batch_task(version="auto")(same).key(1),
        project.batch_task(version="auto", deps=[helper])(same).key(1),
    }
    assert len(keys) == 4


@on_sqlite
def test_a_key_function_is_called_with_each_item(project: bs.Project, tmp_path: Path) -> None:
    seen: list[Any] = []

    @project.batch_task(key=lambda users: users["id"], ignore="seen")
    def names(users: list[dict[str, Any]]) -> list[str]:
        seen.extend(user["id"] for user in users)
        return [user["name"] for user in users]

    assert names([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]) == ["a", "b"]
    assert names([{"id": 1, "name": "other"}]) == ["a"]
    assert seen == [1, 2]

    @project.batch_task(key=bs.KeyGen.file_content("paths"))
    def sizes(paths: list[str]) -> list[int]:
        return [len(Path(path).read_text()) for path in paths]

    Path("a.txt").write_text("one")
    assert sizes(["a.txt"]) == [3]
    Path("a.txt").rename("b.txt")
    assert sizes.cached("b.txt")


@on_sqlite
def test_a_list_where_one_item_is_expected_is_an_error(project: bs.Project) -> None:
    @project.batch_task
    def embed(texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @project.batch_task
    def total(rows: "list[list[int]]") -> list[int]:
        return [sum(row) for row in rows]

    embed(["a"])
    asked: tuple[Callable[[Any], Any], ...] = (
        embed.key,
        embed.cached,
        embed.peek,
        embed.forget,
        embed.refresh,
        embed.explain,
    )
    for ask in asked:
        with pytest.raises(TypeError, match=r"embed is asked about one item at a time here, and got \['a'\]"):
            ask(["a"])
    with pytest.raises(TypeError, match="one item at a time"):
        embed.put((["a"],), 1)
    assert embed.cached("a")
    total([[1, 2]])
    assert total.cached([1, 2])


def test_the_other_results_are_cached_when_one_cannot_be_serialized(project: bs.Project) -> None:
    @project.batch_task
    def some(xs: list[int]) -> list[Any]:
        return [threading.Lock() if x == 2 else x for x in xs]

    with pytest.raises(bs.SerializationError) as caught:
        some([1, 2, 3])
    assert type(caught.value.value) is type(threading.Lock())
    assert "it is the result for xs=2" in caught.value.__notes__
    assert [some.cached(x) for x in (1, 2, 3)] == [True, False, True]


def test_results_that_cannot_be_written_are_returned_with_a_warning(tmp_path: Path) -> None:
    Path("in_the_way").write_text("")
    with bs.Project("p", storage_path="in_the_way") as project:

        @project.batch_task(save_blob=True)
        def same(xs: list[int]) -> list[int]:
            return xs

        with pytest.warns(NotKeptWarning):
            assert same([1, 2, 1]) == [1, 2, 1]


def test_batches_stay_whole_when_the_index_is_unreachable() -> None:
    with bs.Project("p", db="postgresql://nobody@127.0.0.1:9/none?timeout=0.1", storage_path="blobs") as project:
        lengths = Lengths(project, size=4)
        with pytest.warns(bs.BeautyspotWarning):
            assert lengths.task(["a", "b", "c", "d", "e"]) == [1] * 5
        assert lengths.lists == [["a", "b", "c", "d"], ["e"]]


def test_an_unkeyable_item_is_named_by_its_position() -> None:
    with bs.Project("p") as project:
        task: Any = Lengths(project).task
        with pytest.raises(bs.UnkeyableError, match=r"lengths: texts\[1\]\['numbers'\] \(builtins\.generator\) cannot"):
            task(["a", {"numbers": (x for x in [1])}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is how many items a batch has at most, a whole number from 1, not 0"),
        ({"size": True}, "not True"),
        ({"size": 2.5}, "not 2.5"),
        ({"batch": "words"}, "has no argument batch='words'; it has texts, model, more"),
        ({"batch": "rest"}, "has no argument batch='rest'"),
        ({"ignore": "texts"}, "ignores 'texts', which is its list of items: all of them would be one call"),
        ({"key": bs.KeyGen.ignore("texts")}, "ignores 'texts'"),
        ({"deps": [len], "version": "auto"}, "deps names <built-in function len>"),
    ],
)
def test_invalid_options_are_errors(options: dict[str, Any], message: str) -> None:
    def function(texts: list[str], model: str = "", more: str = "", *rest: str) -> list[str]:
        return texts

    with bs.Project("p") as project, pytest.raises(ConfigurationError, match=re.escape(message)):
        project.batch_task(**options)(function)


def test_functions_that_take_or_return_no_list_are_refused() -> None:
    def generator(texts: list[str]) -> Any:
        yield from texts

    make: Any = bs.Project("p").batch_task
    with pytest.raises(ConfigurationError, match="is a generator: a batch function returns a list"):
        make(generator)
    with pytest.raises(ConfigurationError, match="has no argument that takes the list of items"):
        make(lambda *texts: texts)
    with pytest.raises(ConfigurationError, match="3 cannot be called"):
        make(3)


def test_a_limiter_below_is_charged_once_per_list() -> None:
    with bs.Project("p", tpm=60_000_000, limiter_uri="memory://") as project:
        costs: list[int] = []

        def cost(texts: list[str]) -> int:
            costs.append(len(texts))
            return len(texts)

        @project.batch_task(size=2)
        @project.limiter(cost=cost)
        def lengths(texts: list[str]) -> list[int]:
            return [len(text) for text in texts]

        assert lengths(["a", "b", "c"]) == [1, 1, 1]
        assert lengths(["a", "b"]) == [1, 1]
        assert costs == [2, 1]
        costs.clear()
        assert bs.plan(lengths, ["a", "d", "e", "f"]).to_run == 3
        assert costs == [2, 1]


def test_a_pickled_batch_task_has_the_same_keys_and_options(project: bs.Project) -> None:
    @project.batch_task(size=3)
    def same(xs: list[int]) -> list[int]:
        return xs

    copy = pickle.loads(pickle.dumps(same))
    assert copy.key(1) == same.key(1)
    script = (
        "import pickle, sys; task = pickle.loads(sys.stdin.buffer.read()); "
        "print(task.key(1), task.options.size, task([1, 2])); task.project.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(same), capture_output=True)
    assert done.stdout.decode().split(maxsplit=2) == [same.key(1), "3", "[1, 2]\n"], done.stderr
    assert same.cached(2)


@on_sqlite
def test_events_are_emitted_for_each_item(project: bs.Project) -> None:
    emitted: list[tuple[str, str]] = []
    for kind in ("hit", "miss", "run", "keep", "error"):
        project.on(kind, lambda event: emitted.append((event.kind, event.key)))  # type: ignore[arg-type]

    @project.batch_task
    def same(xs: list[int]) -> list[Any]:
        return [threading.Lock() if x == 3 else x for x in xs]

    same([1, 2])
    keys = [same.key(x) for x in (1, 2, 3)]
    assert [key for kind, key in emitted if kind == "miss"] == keys[:2]
    assert [key for kind, key in emitted if kind == "run"] == keys[:2]
    assert [key for kind, key in emitted if kind == "keep"] == keys[:2]
    emitted.clear()
    same([2, 2])
    assert emitted == [("hit", keys[1])] * 2
    emitted.clear()
    with pytest.raises(bs.SerializationError):
        same([3])
    assert emitted == [("miss", keys[2]), ("error", keys[2])]


class TestConcurrency:
    """Concurrent calls whose lists share items."""

    def test_threads_with_lists_in_any_order_run_each_item_once(self, project: bs.Project) -> None:
        ran: Counter[int] = Counter()

        @project.batch_task(size=4, ignore="ran")
        def same(xs: list[int]) -> list[int]:
            time.sleep(0.01)
            ran.update(xs)
            return xs

        lists = [random.sample(range(40), 40) for _ in range(6)]
        results: dict[int, list[int]] = {}

        def work(i: int) -> None:
            results[i] = same(lists[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [results[i] for i in range(6)] == lists
        assert ran == Counter(range(40))

    def test_coroutines_with_lists_in_any_order_run_each_item_once(self, project: bs.Project) -> None:
        ran: Counter[int] = Counter()

        @project.batch_task(size=4, ignore="ran")
        async def same(xs: list[int]) -> list[int]:
            await asyncio.sleep(0.01)
            ran.update(xs)
            return xs

        lists = [random.sample(range(40), 40) for _ in range(6)]

        async def main() -> list[list[int]]:
            return await asyncio.gather(*map(same, lists))

        assert asyncio.run(main()) == lists
        assert ran == Counter(range(40))

    def test_processes_with_lists_in_any_order_run_each_item_once(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text(_JOB)
        command = [sys.executable, "job.py"]
        jobs = [
            subprocess.Popen([*command, str(seed)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
            for seed in range(3)
        ]
        outputs = [job.communicate(timeout=100)[0] for job in jobs]
        assert outputs == ["True\n"] * 3
        assert Counter((tmp_path / "ran.txt").read_text().split()) == Counter(map(str, range(60)))

    def test_a_waiting_call_runs_the_items_that_failed_in_another_call(self, project: bs.Project) -> None:
        began, go_on = threading.Event(), threading.Event()
        calls: list[list[int]] = []

        @project.batch_task(ignore=("began", "go_on", "calls"))
        def fails_first(xs: list[int]) -> list[int]:
            calls.append(xs)
            if len(calls) == 1:
                began.set()
                assert go_on.wait(30)
                raise ValueError("the first one")
            return xs

        errors: list[Exception] = []

        def first() -> None:
            try:
                fails_first([1, 2, 3])
            except ValueError as error:
                errors.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        assert began.wait(30)
        threading.Timer(0.1, go_on.set).start()
        assert fails_first([3, 2, 4]) == [3, 2, 4]
        thread.join()
        assert len(errors) == 1
        assert calls[0] == [1, 2, 3]
        assert sorted(x for xs in calls[1:] for x in xs) == [2, 3, 4]

    def test_a_batch_that_needs_its_own_item_raises_instead_of_waiting(self, project: bs.Project) -> None:
        task: Any = None

        @project.batch_task(ignore="task")
        def again(xs: list[int]) -> list[int]:
            return task([3, *xs]) if 2 in xs else xs  # type: ignore[no-any-return]

        task = again
        with pytest.raises(RecursionError, match="calls itself with the arguments"):
            again([1, 2])
        assert again([3, 1]) == [3, 1]

    def test_locks_acquired_before_one_that_fails_are_released(self, project: bs.Project) -> None:
        first, second = b"1" * 16, b"2" * 16
        project.single_flight.acquire(second)
        with pytest.raises(RecursionError):
            project.single_flight.try_acquire_many([first, second])
        assert project.single_flight.try_acquire(first)
        project.single_flight.release_many([first, second])
        project.single_flight.unmark_held(second)


_JOB = """
import random, sys, time
import beautyspot as bs
project = bs.Project("p")
@project.batch_task(size=5)
def same(xs: list[int]) -> list[int]:
    time.sleep(0.02)
    with open("ran.txt", "a") as file:
        file.write(" ".join(map(str, xs)) + " ")
    return xs
xs = random.Random(sys.argv[1]).sample(range(60), 60)
print(same(xs) == xs)
project.close()
"""


_KILLED = """
import os, signal, sys
import beautyspot as bs
project = bs.Project("p")
@project.batch_task(size=10)
def same(xs: list[int]) -> list[int]:
    if os.environ["KILL"] in map(str, xs):
        os.kill(os.getpid(), signal.SIGKILL)
    with open("ran.txt", "a") as file:
        file.write(" ".join(map(str, xs)) + " ")
    return xs
call = {"direct": same, "map": lambda xs: bs.map(same, xs, workers=1)}[sys.argv[1]]
print(call(range(50)) == list(range(50)))
project.close()
"""


@pytest.mark.parametrize("how", ["direct", "map"])
def test_a_killed_run_resumes_after_its_last_batch(how: str, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(_KILLED)
    for kill, code, output in (("35", -signal.SIGKILL, ""), ("none", 0, "True\n")):
        done = subprocess.run(
            [sys.executable, "job.py", how], cwd=tmp_path, env={"KILL": kill}, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (code, output), done.stderr
    assert Counter((tmp_path / "ran.txt").read_text().split()) == Counter(map(str, range(50)))


class TestAsync:
    """A batch task of a coroutine function."""

    def test_each_item_is_cached(self, project: bs.Project) -> None:
        lists: list[list[int]] = []

        @project.batch_task(size=2, ignore="lists")
        async def same(xs: list[int], scale: int = 1) -> list[int]:
            lists.append(xs)
            return [scale * x for x in xs]

        assert asyncio.iscoroutinefunction(same)
        task: Any = same
        assert asyncio.run(task([1, 2, 1, 3])) == [1, 2, 1, 3]
        assert asyncio.run(task(xs=(3, 4))) == [3, 4]
        assert same.cached(4)
        assert asyncio.run(same.refresh(4)) == 4
        assert lists == [[1, 2], [3], [4], [4]]

    def test_an_error_reaches_the_caller_and_earlier_batches_stay_cached(self, project: bs.Project) -> None:
        @project.batch_task(size=2)
        async def fails(xs: list[int]) -> list[int]:
            if 3 in xs:
                raise ValueError("three")
            return xs[:1] if 5 in xs else xs

        with pytest.raises(ValueError, match="three"):
            asyncio.run(fails([1, 2, 3]))
        with pytest.raises(BatchError):
            asyncio.run(fails([5, 6]))
        assert [fails.cached(x) for x in (1, 2, 3, 5)] == [True, True, False, False]
        assert fails.explain(3).reason == "failed"

    def test_a_cancelled_call_releases_its_keys(self, project: bs.Project) -> None:
        calls: list[list[int]] = []

        @project.batch_task(ignore="calls")
        async def slow(xs: list[int]) -> list[int]:
            calls.append(xs)
            if len(calls) == 1:
                await asyncio.sleep(60)
            return xs

        async def main() -> list[int]:
            running = asyncio.create_task(slow([1, 2]))  # type: ignore[arg-type]
            while not calls:
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return await slow([2, 1])

        assert asyncio.run(main()) == [2, 1]

    def test_results_are_stored_though_the_call_is_cancelled_during_the_write(self, project: bs.Project) -> None:
        writing, go_on = threading.Event(), threading.Event()
        write_records = project.results.write_records

        def slowly(records: Any) -> None:
            writing.set()
            assert go_on.wait(30)
            write_records(records)

        project.results.write_records = slowly  # type: ignore[method-assign]

        @project.batch_task
        async def same(xs: list[int]) -> list[int]:
            return xs

        async def main() -> None:
            running = asyncio.create_task(same([1, 2]))  # type: ignore[arg-type]
            while not writing.is_set():
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            go_on.set()
            assert await same([2, 1]) == [2, 1]

        asyncio.run(main())
        assert same.cached(1)

    def test_a_map_runs_lists_concurrently_and_returns_results_in_order(self, project: bs.Project) -> None:
        lists: list[int] = []
        concurrent: list[int] = []
        running = 0

        @project.batch_task(size=10, ignore=("lists", "running", "concurrent"))
        async def same(xs: list[int]) -> list[int]:
            nonlocal running
            running += 1
            concurrent.append(running)
            lists.append(len(xs))
            await asyncio.sleep(0.05)
            running -= 1
            return xs

        xs = [*range(35), *range(20)]
        assert asyncio.run(bs.amap(same, xs, workers=2)) == xs
        assert sorted(lists) == [5, 10, 10, 10]
        assert max(concurrent) == 2
        with pytest.raises(TypeError, match=r"same is async: write `await bs.amap\(same, \.\.\.\)`"):
            bs.map(same, [1])  # type: ignore[arg-type]

    @on_sqlite
    def test_a_map_treats_failures_as_on_error_says(self, project: bs.Project) -> None:
        @project.batch_task(size=2)
        async def fails(xs: list[int]) -> list[int]:
            if 3 in xs:
                raise ValueError("three")
            return xs

        results = asyncio.run(bs.amap(fails, range(6), workers=1, on_error="return"))
        assert [type(result) for result in results] == [int, int, ValueError, ValueError, int, int]
        with pytest.raises(ValueError, match="three"):
            asyncio.run(bs.amap(fails, [6, 3, 7, 8], workers=1))
        assert [fails.cached(x) for x in (6, 3, 7, 8)] == [False] * 4


class TestMaps:
    """Maps of a batch task, which run lists in threads."""

    def test_lists_run_concurrently_and_results_are_in_order(self, project: bs.Project) -> None:
        barrier = threading.Barrier(3)
        lists: list[list[int]] = []

        @project.batch_task(size=10, ignore=("barrier", "lists"))
        def same(xs: list[int]) -> list[int]:
            lists.append(xs)
            if len(xs) == 10:
                barrier.wait(30)
            return xs

        xs = [*range(35), *range(20)]
        assert bs.map(same, xs, workers=4) == xs
        assert sorted(map(len, lists)) == [5, 10, 10, 10]
        assert same.map(range(36), workers=2) == list(range(36))
        assert lists[4:] == [[35]]

    def test_imap_reads_its_input_lazily(self, project: bs.Project) -> None:
        read: list[int] = []

        @project.batch_task(size=200)
        def same(xs: list[int]) -> list[int]:
            return xs

        def endless() -> Any:
            for i in range(10**9):
                read.append(i)
                yield i

        results = bs.imap(same, endless(), workers=1)
        assert [next(results) for _ in range(450)] == list(range(450))
        results.close()
        assert len(read) < 450 + 2000
        assert sorted(bs.imap(same, range(5), ordered=False)) == list(range(5))

    @pytest.mark.parametrize("mapped", [bs.map, lambda *args, **options: list(bs.imap(*args, **options))])
    @on_sqlite
    def test_failures_are_treated_as_in_other_maps(self, project: bs.Project, mapped: Callable[..., Any]) -> None:
        calls: list[list[int]] = []

        @project.batch_task(size=2, ignore="calls")
        def fails(xs: list[int]) -> list[int]:
            calls.append(xs)
            if 3 in xs:
                raise ValueError("three")
            return xs

        results = mapped(fails, range(6), workers=1, on_error="return")
        assert [type(result) for result in results] == [int, int, ValueError, ValueError, int, int]
        with pytest.raises(bs.MapError) as caught:
            mapped(fails, range(8), workers=1, on_error="continue")
        assert caught.value.inputs == {2: (2,), 3: (3,)}
        calls.clear()
        with pytest.raises(ValueError, match="three"):
            mapped(fails, [3, 10, *range(11, 61)], workers=1)
        assert len(calls) < 5

    def test_maps_of_the_same_items_divide_the_work(self, project: bs.Project) -> None:
        ran: Counter[int] = Counter()
        threads: set[int] = set()

        @project.batch_task(size=5, ignore=("ran", "threads"))
        def same(xs: list[int]) -> list[int]:
            threads.add(threading.get_ident())
            time.sleep(0.02)
            ran.update(xs)
            return xs

        @project.batch_task(size=5)
        async def mapped(xs: list[list[int]]) -> list[list[int]]:
            return [await asyncio.to_thread(bs.map, same, x, workers=2) for x in xs]

        async def main() -> list[list[list[int]]]:
            return await asyncio.gather(mapped([list(range(60))]), mapped([list(range(59, -1, -1))]))

        assert asyncio.run(main()) == [[list(range(60))], [list(range(59, -1, -1))]]
        assert ran == Counter(range(60))
        assert len(threads) > 2

    def test_a_plan_counts_items(self, project: bs.Project) -> None:
        lengths = Lengths(project)
        lengths.task(["a", "b"])
        plan = bs.plan(lengths.task, ["a", "b", "c", "c"])
        assert (plan.total, plan.kept, plan.to_run) == (4, 2, 1)

    def test_a_map_on_an_engine_is_an_error(self) -> None:
        with bs.Project("p") as project:
            lengths = Lengths(project)
            with pytest.raises(ConfigurationError, match="runs in threads of this process, and not on 'processes'"):
                bs.map(lengths.task, ["a"], engine="processes")
            assert lengths.lists == []
