"""What a map is given: iterables, fixed arguments, rows, and what to write where that was something else."""

import asyncio
import functools
import itertools
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import beautyspot as bs
from beautyspot.errors import ConfigurationError
from beautyspot.testing import Count


@pytest.fixture
def project(tmp_path: Path) -> Iterator[bs.Project]:
    with bs.Project("test", db=tmp_path / "test.db", storage_path=tmp_path / "blobs") as project:
        yield project


def listed(*args: Any, **options: Any) -> list[Any]:
    return list(bs.imap(*args, **options))


def finished(made: Any) -> Any:
    return asyncio.run(made) if asyncio.iscoroutine(made) else made


def by_method(task: Any, *args: Any, **options: Any) -> list[Any]:
    return task.map(*args, **options)  # type: ignore[no-any-return]


MAPS = [bs.map, listed, by_method]


@pytest.fixture(params=MAPS, ids=["map", "imap", "task.map"])
def mapped(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    return request.param  # type: ignore[no-any-return]


def test_fixed_arguments_are_those_of_every_call(project: bs.Project, mapped: Any) -> None:
    task = project.task(lambda prompt, *, model="small", n=1: (prompt, model, n))
    assert mapped(task, ["a", ""], fixed={"model": "large"}) == [("a", "large", 1), ("", "large", 1)]
    assert task.cached("a", model="large")
    assert not task.cached("a")


def test_iterables_fill_the_parameters_that_are_not_fixed(project: bs.Project, mapped: Any) -> None:
    task = project.task(lambda client, prompt, seed, *, model, n=0: (client, prompt, seed, model, n))
    for fixed, iterables, expected in [
        ({"client": "c", "model": "m"}, (["p"], [1]), ("c", "p", 1, "m", 0)),
        ({"prompt": "p", "model": "m"}, (["c"], [1]), ("c", "p", 1, "m", 0)),
        ({"seed": 1, "model": "m"}, (["c"], ["p"]), ("c", "p", 1, "m", 0)),
        ({"seed": 1}, (["c"], ["p"], ["m"]), ("c", "p", 1, "m", 0)),
        ({"client": "c", "seed": 1}, (["p"], ["m"], [5]), ("c", "p", 1, "m", 5)),
    ]:
        assert mapped(task, *iterables, fixed=fixed) == [expected]
    assert task.cached("c", "p", 1, model="m", n=5)


def test_open_ended_parameters_take_what_is_left(project: bs.Project) -> None:
    task = project.task(lambda a, *rest, **options: (a, rest, options))
    assert bs.map(task, [1], [2], [3], fixed={"x": 4}) == [(1, (2, 3), {"x": 4})]
    assert bs.map(task, [2], [3], fixed={"a": 1}) == [(1, (2, 3), {})]
    rows: list[Any] = [{"a": 1, "options": 2}, {"a": 1, "options": 3}]
    assert bs.map(task, rows, fixed={"y": 0}, unpack=True) == [(1, (), {"y": 0, "options": n}) for n in (2, 3)]


def test_rows_are_calls_with_unpack(project: bs.Project, mapped: Any) -> None:
    task = project.task(lambda a, b=2, *, c=3: (a, b, c))
    Row = namedtuple("Row", "a b")
    rows = [{"a": 1}, (1, 5), {"c": 0, "a": 1}, (1, 5, 6), Row(7, 8), (4,)]
    assert mapped(task, rows, unpack=True) == [(1, 2, 3), (1, 5, 3), (1, 2, 0), (1, 5, 6), (7, 8, 3), (4, 2, 3)]
    assert mapped(task, rows[:2], unpack=True, fixed={"c": 9}) == [(1, 2, 9), (1, 5, 9)]
    assert mapped(task, iter([(5,), (6, 7)]), unpack=True, fixed={"a": 0}) == [(0, 5, 3), (0, 6, 7)]


def test_parameters_that_are_taken_by_position_only_can_be_fixed_and_unpacked(project: bs.Project) -> None:
    def function(a: int, b: int, /, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    task = project.task(function)
    assert bs.map(task, [2], fixed={"a": 1}) == [(1, 2, 3)]
    assert bs.map(task, [{"b": 2, "a": 1}, {"a": 1, "c": 5, "b": 2}], unpack=True) == [(1, 2, 3), (1, 2, 5)]
    assert bs.map(task, [{"b": 2}], unpack=True, fixed={"a": 1}) == [(1, 2, 3)]
    with pytest.raises(TypeError, match=r"write itertools\.repeat\(value\) as the iterable"):
        bs.map(project.task(lambda a, b, c, /: a), [1], [2], fixed={"b": 1})


def test_methods_take_fixed_arguments_and_rows(project: bs.Project, mapped: Any) -> None:
    class Tool:
        def __init__(self, size: int) -> None:
            self.size = size

        def __beautyspot_key__(self) -> int:
            return self.size

        @project.task
        def scale(self, x: int, by: int = 1) -> int:
            return self.size * x * by

        @project.task
        async def scale_async(self, x: int, by: int = 1) -> int:
            return self.size * x * by

    tool = Tool(10)
    assert mapped(tool.scale, [1, 2], fixed={"by": 3}) == [30, 60]
    assert mapped(tool.scale, [{"x": 1, "by": 2}, (3, 4)], unpack=True) == [20, 120]
    assert tool.scale.cached(1, by=3)
    assert asyncio.run(bs.amap(tool.scale_async, [1, 2], fixed={"by": 3})) == [30, 60]
    assert asyncio.run(tool.scale_async.map([(1, 2)], unpack=True)) == [20]
    with pytest.raises(TypeError, match=r"leave 'self' out of fixed=: it is the object to which scale is bound"):
        mapped(tool.scale, [1], fixed={"self": tool})


def test_async_tasks_take_fixed_arguments_and_rows(project: bs.Project) -> None:
    @project.task
    async def ask(prompt: str, *, model: str = "small") -> str:
        return f"{model}: {prompt}"

    async def main() -> None:
        assert await bs.amap(ask, ["a", "b"], fixed={"model": "large"}) == ["large: a", "large: b"]
        assert await ask.map(["a"], fixed={"model": "large"}, workers=2) == ["large: a"]
        assert await bs.amap(ask, [{"prompt": "c", "model": "m"}, ("d",)], unpack=True) == ["m: c", "small: d"]
        assert [r async for r in bs.aimap(ask, ["a"], fixed={"model": "x"})] == ["x: a"]
        assert [r async for r in bs.aimap(ask, [("a", "y")], unpack=True)] == ["y: a"]

    asyncio.run(main())


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_fixed_value_is_encoded_and_sent_once(project: bs.Project, engine: str, count: Count) -> None:
    encoded: list[int] = []

    class Table:
        def __beautyspot_key__(self) -> str:
            encoded.append(1)
            return "table"

        def __reduce__(self) -> Any:
            count("sent")
            return (dict, ())

    task = project.task(lambda x, table: x)
    assert bs.map(task, range(100), fixed={"table": Table()}, engine=engine, workers=2) == list(range(100))
    assert len(encoded) <= 2 if engine == "processes" else len(encoded) == 1
    assert len(count) == (engine == "processes")
    encoded.clear()
    assert bs.map(task, range(100), fixed={"table": Table()}) == list(range(100))
    assert len(encoded) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore": "note"},
        {"key": bs.KeyGen.file_content("path")},
        {"key": bs.KeyGen.file_content("path", "other")},
        {"key": lambda path, x: (path, x)},
        {"version": "auto"},
    ],
)
def test_results_of_a_map_are_those_of_single_calls(project: bs.Project, options: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    base = 10**30

    @project.task(**options)
    def read(path: str, x: Any, other: str = "a", note: str = "") -> Any:
        return Path(path).read_text(), x, base

    xs = [1, 2.5, 10**25, None, "text", (1, [2])]
    fixed = {"path": str(tmp_path / "a"), "other": str(tmp_path / "b"), "note": "n"}
    results = bs.map(read, xs, fixed=fixed)
    assert results == [("a", x, base) for x in xs]
    assert all(read.cached(x=x, **fixed) for x in xs)
    assert not read.cached(x=3, **fixed)
    assert not any(read.cached(str(tmp_path / "b"), x, str(tmp_path / "b")) for x in xs)
    base += 1
    assert bs.plan(read, xs, fixed=fixed).kept == 0


def test_a_fixed_value_that_cannot_be_sent_is_named_before_anything_runs(project: bs.Project, count: Count) -> None:
    task = project.task(ignore="lock")(lambda x, lock: count())
    with pytest.raises(ConfigurationError, match=r"make 'lock' inside .*cannot be sent to other processes \(TypeError"):
        bs.map(task, [1], fixed={"lock": threading.Lock()}, engine="processes", workers=1)
    assert len(count) == 0
    assert bs.map(task, [1], fixed={"lock": threading.Lock()}) == [0]


def test_a_plan_takes_fixed_arguments_and_rows(project: bs.Project) -> None:
    def function(x: int, *, y: int = 0) -> float:
        return y / x

    task = project.task(function)
    bs.map(task, [1, 2, 0], fixed={"y": 1}, on_error="return")
    plan = bs.plan(task, [1, 2, 0, 3], fixed={"y": 1})
    assert (plan.total, plan.kept, plan.to_run, plan.failed) == (4, 2, 2, ((0,),))
    plan = bs.plan(task, [{"x": 1, "y": 1}, {"x": 0, "y": 1}, {"x": 5}], unpack=True)
    assert (plan.total, plan.kept, plan.to_run, plan.failed) == (3, 1, 2, ({"x": 0, "y": 1},))


def test_a_plan_of_a_limited_task_asks_for_the_cost_of_whole_calls() -> None:
    with bs.Project("limited", tpm=60) as project:

        @project.task
        @project.limiter(cost=lambda text, factor: len(text) * factor)
        def call(text: str, *, factor: int) -> str:
            return text

        plan = bs.plan(call, ["aa", "bbb"], fixed={"factor": 4})
        assert plan.seconds is not None
        assert 10 < plan.seconds <= 20


def test_the_inputs_of_a_map_error_run_once_more_as_rows(project: bs.Project) -> None:
    fails = [True]

    def function(x: int, *, y: int = 0) -> int:
        if fails[0]:
            raise ValueError(x)
        return x + y

    task = project.task(ignore="fails")(function)
    with pytest.raises(bs.MapError) as caught:
        bs.map(task, [1, 2], [3, 4], on_error="continue")
    fails.clear()
    fails.append(False)
    assert caught.value.inputs == {0: {"x": 1, "y": 3}, 1: {"x": 2, "y": 4}}
    assert bs.map(task, caught.value.inputs.values(), unpack=True) == [4, 6]


class TestBatches:
    """Maps of batch tasks."""

    def test_other_arguments_are_fixed(self, project: bs.Project, mapped: Any) -> None:
        lists: list[Any] = []

        @project.batch_task(size=2, ignore="lists")
        def embed(texts: list[str], model: str = "small") -> list[str]:
            lists.append((texts, model))
            return [f"{model} {text}" for text in texts]

        assert mapped(embed, ["a", "b", "c"], fixed={"model": "large"}, workers=1) == ["large a", "large b", "large c"]
        assert lists == [(["a", "b"], "large"), (["c"], "large")]
        assert embed.cached("a", model="large")

    def test_the_list_may_be_any_parameter(self, project: bs.Project) -> None:
        @project.batch_task(batch="texts")
        def embed(model: str, texts: list[str]) -> list[str]:
            return [f"{model} {text}" for text in texts]

        assert bs.map(embed, ["a", "b"], fixed={"model": "m"}) == ["m a", "m b"]
        with pytest.raises(TypeError, match=r'write fixed=\{"model": value\}.*is over the items of \'texts\''):
            bs.map(embed, ["a", "b"])

    def test_rows_that_differ_in_their_item_only_share_a_list(self, project: bs.Project) -> None:
        lists: list[Any] = []

        @project.batch_task(size=10, ignore="lists")
        def embed(texts: list[str], model: str = "small", heat: float = 0.0, tags: Any = None) -> list[str]:
            lists.append((sorted(texts), model))
            return [f"{model} {text}" for text in texts]

        rows: list[Any] = [{"texts": f"t{i}", "model": "ab"[i % 2], "heat": float("0.5")} for i in range(6)]
        assert bs.map(embed, rows, unpack=True, workers=1) == [f"{'ab'[i % 2]} t{i}" for i in range(6)]
        assert sorted(lists) == [(["t0", "t2", "t4"], "a"), (["t1", "t3", "t5"], "b")]
        lists.clear()
        assert bs.map(embed, ["x", "y", "z"], ["c", "c", "d"], workers=1) == ["c x", "c y", "d z"]
        assert sorted(lists) == [(["x", "y"], "c"), (["z"], "d")]
        assert bs.plan(embed, [("n", "c"), ("x", "c")], unpack=True).to_run == 1

    def test_many_lists_of_which_none_fills_do_not_gather_without_end(self, project: bs.Project) -> None:
        read = []

        def rows() -> Iterator[tuple[int, int]]:
            for i in itertools.count():
                read.append(i)
                yield i, i

        @project.batch_task(size=4)
        def add(xs: list[int], y: int) -> list[int]:
            return [x + y for x in xs]

        results = bs.imap(add, rows(), unpack=True, ordered=False, workers=1)
        assert next(results) % 2 == 0
        results.close()
        assert len(read) < 200

    def test_async_batch_tasks_take_fixed_arguments(self, project: bs.Project) -> None:
        @project.batch_task(size=2)
        async def embed(texts: list[str], model: str = "small") -> list[str]:
            return [f"{model} {text}" for text in texts]

        assert asyncio.run(bs.amap(embed, ["a", "b", "c"], fixed={"model": "m"})) == ["m a", "m b", "m c"]
        assert asyncio.run(embed.map(["a"], fixed={"model": "m"})) == ["m a"]


class TestLengths:
    def test_lengths_that_are_known_and_differ_are_an_error_that_names_them(
        self, project: bs.Project, count: Count
    ) -> None:
        task = project.task(lambda prompt, model: count())
        for function in (bs.map, bs.imap, bs.plan):
            with pytest.raises(ValueError, match=r"there are 3 for 'prompt' and 2 for 'model'"):
                function(task, ["a", "b", "c"], ("x", "y"))
            with pytest.raises(ValueError, match=r"there are 1,000 for 'prompt' and 2 for 'model'"):
                function(project.task(lambda prompt, x, model: 1), range(1000), iter([1]), ["x", "y"])
        assert len(count) == 0

    def test_an_iterable_that_ends_first_is_an_error_that_names_it(self, project: bs.Project, count: Count) -> None:
        def function(a: int, b: int) -> int:
            count()
            return a + b

        task = project.task(function)
        cure = r"the inputs for 'b' ended after 2, and those for 'a' go on: .*zip\(a, b\) with unpack=True"
        with pytest.raises(ValueError, match=cure):
            bs.map(task, [1, 2, 3], iter([1, 2]))
        assert len(count) == 0
        assert bs.map(task, zip([1, 2, 3], iter([1, 2]), strict=False), unpack=True) == [2, 4]

    def test_an_imap_raises_it_after_the_results_so_far(self, project: bs.Project) -> None:
        task = project.task(lambda a, b: a + b)
        results = bs.imap(task, iter([1, 2]), iter([1, 2, 3]))
        assert [next(results), next(results)] == [2, 4]
        with pytest.raises(ValueError, match=r"the inputs for 'a' ended after 2, and those for 'b' go on"):
            next(results)

        @project.task
        async def add(a: int, b: int) -> int:
            return a + b

        async def main() -> list[int]:
            results = bs.aimap(add, iter([1, 2]), iter([1, 2, 3]))
            found = [await anext(results), await anext(results)]
            with pytest.raises(ValueError, match="ended after 2"):
                await anext(results)
            return found

        assert asyncio.run(main()) == [2, 4]

    def test_iterables_without_end_may_go_on(self, project: bs.Project, mapped: Any) -> None:
        task = project.task(lambda a, b, c, d: (a, b, c, d))
        iterables = (iter("xy"), itertools.count(1), itertools.repeat(0), itertools.cycle("ab"))
        assert mapped(task, *iterables) == [("x", 1, 0, "a"), ("y", 2, 0, "b")]


def ask(prompt: str, model: str = "small") -> str:
    return f"{model}: {prompt}"


def train(lr: float, depth: int, seed: int = 0) -> float:
    return lr * depth


FRAME = {"id": [1, 2], "prompt": ["a", "b"], "model": ["m", "n"]}
LONG = "a long text, " * 20


@pytest.mark.parametrize(
    ("function", "iterables", "options", "message"),
    [
        (ask, ("Hello",), {}, 'write [text] for one call, or fixed={"prompt": "Hello"}'),
        (ask, (LONG,), {}, 'write [text] for one call, or fixed={"prompt": text}'),
        (ask, (b"x",), {}, "write [data] for one call, or fixed={\"prompt\": b'x'}"),
        (ask, (["a"], "large"), {}, 'write fixed={"model": "large"} for the same \'model\' in all calls'),
        (ask, (["a"], 5), {}, 'write fixed={"model": 5} for the same \'model\' in all calls: 5 given for \'model\''),
        (ask, (5,), {}, 'write [5] for one call, or fixed={"prompt": 5}'),
        (ask, (None,), {}, "None given for 'prompt' is not iterable"),
        (ask, (pd.DataFrame(FRAME),), {}, 'write frame["prompt"] for a call with each value of that column'),
        (ask, (pd.DataFrame({"text": ["a"]}),), {}, 'write frame["text"] for a call'),
        (ask, (pd.DataFrame([[1]]),), {}, "write frame[0] for a call"),
        (ask, (pl.DataFrame(FRAME),), {}, 'or frame.iter_rows(named=True) with unpack=True'),
        (ask, (pl.LazyFrame(FRAME),), {}, 'write frame.collect()["prompt"]'),
        (ask, (pa.table(FRAME),), {}, 'write frame["prompt"].to_pylist()'),
        (ask, (pd.DataFrame(FRAME),), {"unpack": True}, 'write frame.to_dict("records") with unpack=True'),
        (ask, (pl.DataFrame(FRAME),), {"unpack": True}, "write frame.iter_rows(named=True) with unpack=True"),
        (ask, (["a"], pd.DataFrame(FRAME)), {}, 'write frame["model"] for a call'),
        (train, (pd.DataFrame({"lr": [1], "depth": [2]}),), {}, 'write frame.to_dict("records") with unpack=True'),
        (train, ([{"lr": 1, "depth": 2}],), {}, "write unpack=True if the inputs are dicts, which are arguments by name"),
        (train, (iter([{"lr": 1, "depth": 2}]),), {}, "write unpack=True if the inputs are dicts"),
        (train, ([(1, 2)],), {}, "write unpack=True if the inputs are tuples of its arguments: train needs 'depth' too"),
        (train, ({"lr": [1, 2], "depth": [3, 4]},), {}, "row in zip(*inputs.values())] with unpack=True: train needs"),
        (train, ({"lr": 1, "depth": 3},), {}, "write [inputs] with unpack=True for one call with these arguments"),
        (train, ([1, 2],), {}, 'write fixed={"depth": value} for the same \'depth\' in all calls, or give an iterable'),
        (train, ({"lr": [1], "depth": [3]},), {"unpack": True}, "zip(*inputs.values())] with unpack=True: a dict of"),
        (train, ({"lr": 1, "depth": 3},), {"unpack": True}, "write [inputs] for one call of train"),
        (ask, (["a"], {"a": 1}), {}, 'write fixed={"model": inputs} for the same \'model\' in all calls, or list(inputs)'),
        (ask, ({"a": 1},), {}, "or list(inputs) for one call with each key: the dict given for 'prompt'"),
        (ask, ("ab",), {"unpack": True}, "write a list of dicts or tuples, a call of ask each: \"ab\" is a str"),
        (ask, (3,), {"unpack": True}, "write a list of dicts or tuples, a call of ask each: 3 is an int"),
        (ask, (["ab"],), {"unpack": True}, "the rows are dicts or tuples, and row 0 is a str"),
        (ask, (pd.DataFrame(FRAME).itertuples(),), {"unpack": True}, "or frame.itertuples(index=False): itertuples()"),
        (ask, (pd.DataFrame(FRAME).iterrows(),), {"unpack": True}, "iterrows() gives pairs of the index and a row"),
        (ask, ([["ab"]],), {"unpack": True}, "write (tuple(row) for row in rows)"),
        (ask, (["a"], ["b"]), {"unpack": True}, "unpack=True takes one iterable"),
        (ask, (["a"],), {"fixed": {"modle": 1}}, "ask has no argument 'modle' to fix, did you mean 'model'? it has prompt"),
        (ask, (["a"],), {"fixed": "large"}, 'write fixed={"name": value}: fixed= is a dict of arguments by name'),
        (ask, (["a"], ["b"]), {"fixed": {"model": 1}}, "ask takes 1 argument that is not fixed (prompt), and the map has 2"),
        (ask, ([{"prompt": "a", "model": "b"}],), {"fixed": {"model": 1}, "unpack": True}, "leave 'model' out of fixed="),
        (ask, ([("a", "b", "c")],), {"unpack": True}, "ask takes 2 arguments (prompt, model), and the map has 3"),
        (ask, ([{"prompt": "a"}, {"promt": "b"}],), {"unpack": True}, "unexpected keyword argument 'promt'"),
        (ask, (), {}, "a map needs at least one iterable of inputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_that_says_what_to_write(
    project: bs.Project, count: Count, function: Any, iterables: Any, options: Any, message: str
) -> None:
    task = project.task(function)
    with pytest.raises(TypeError) as caught:
        bs.map(task, *iterables, **options)
    assert message in str(caught.value)
    assert not task.cached("a", "b") if function is ask else True


@pytest.mark.parametrize("mapped", [bs.amap, bs.aimap, bs.imap, bs.plan], ids=["amap", "aimap", "imap", "plan"])
def test_every_kind_of_map_refuses_wrong_inputs_before_anything_runs(project: bs.Project, mapped: Any) -> None:
    async def fetch(prompt: str, model: str = "small") -> str:
        raise AssertionError

    task = project.task(fetch if mapped in (bs.amap, bs.aimap) else ask)
    for wrong, options, message in [
        ("text", {}, r"write \[text\] for one call"),
        (["a"], {"fixed": {"other": 1}}, "has no argument 'other' to fix: it has prompt, model"),
        ([{"model": "a", "prompt": "b"}], {"fixed": {"model": 1}, "unpack": True}, "leave 'model' out of fixed="),
    ]:
        with pytest.raises(TypeError, match=message):
            finished(mapped(task, wrong, **options))


def test_an_imap_refuses_a_wrong_row_when_it_reads_it(project: bs.Project) -> None:
    rows: list[Any] = [{"prompt": "a"}, {"prompt": "b", "model": "c"}]
    results = bs.imap(project.task(ask), rows, fixed={"model": "m"}, unpack=True)
    with pytest.raises(TypeError, match=r"leave 'model' out of fixed=, or out of the rows: row 1 gives it too"):
        list(results)


def test_an_input_that_does_not_fit_is_named(project: bs.Project) -> None:
    with pytest.raises(TypeError) as caught:
        bs.map(project.task(ask), [("a",), {"promt": "b"}], unpack=True)
    assert caught.value.__notes__ == ["it is input 1 of a map of ask"]


def test_an_amap_runs_nothing_if_a_row_does_not_fit(project: bs.Project, count: Count) -> None:
    @project.task
    async def fetch(x: int) -> int:
        count()
        return x

    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        asyncio.run(bs.amap(fetch, [*[{"x": i} for i in range(50)], {"y": 1}], unpack=True))
    assert len(count) == 0


def test_async_iterables_are_refused(project: bs.Project) -> None:
    async def prompts() -> AsyncIterator[str]:
        yield "a"

    with pytest.raises(TypeError, match=r"write \[x async for x in inputs\]"):
        bs.map(project.task(ask), prompts())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write \[row async for row in rows\]"):
        bs.map(project.task(ask), prompts(), unpack=True)  # type: ignore[arg-type]


def test_columns_and_rows_of_frames_are_inputs(project: bs.Project) -> None:
    task = project.task(lambda prompt, model: f"{model} {prompt}")
    expected = ["m a", "n b"]
    for frame in (pd.DataFrame(FRAME), pl.DataFrame(FRAME)):
        assert bs.map(task, frame["prompt"], frame["model"]) == expected
    rows = pl.DataFrame(FRAME).select("prompt", "model").iter_rows(named=True)
    assert bs.map(task, rows, unpack=True) == expected
    assert bs.map(task, pd.DataFrame(FRAME)[["prompt", "model"]].to_dict("records"), unpack=True) == expected
    assert bs.map(task, pa.table(FRAME).select(["prompt", "model"]).to_pylist(), unpack=True) == expected
    assert bs.map(task, pd.DataFrame(FRAME)["prompt"], fixed={"model": "m"}) == ["m a", "m b"]


class TestKinds:
    """What may be mapped, and by which of the four."""

    def test_a_map_of_an_async_task_says_to_await(self, project: bs.Project) -> None:
        @project.task
        async def fetch(x: int) -> int:
            return x

        @project.batch_task
        async def embed(xs: list[int]) -> list[int]:
            return xs

        for name, task in [("fetch", fetch), ("embed", embed)]:
            with pytest.raises(TypeError, match=rf"{name} is async: write `await bs\.amap\({name}, \.\.\.\)`"):
                bs.map(task, [1])  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=rf"write `async for result in bs\.aimap\({name}, \.\.\.\)`"):
                bs.imap(task, [1])  # type: ignore[arg-type]

    def test_an_amap_of_a_sync_task_says_to_use_a_thread(self, project: bs.Project) -> None:
        @project.task
        def fetch(x: int) -> int:
            return x

        cure = r"fetch is not async: write `await asyncio\.to_thread\(bs\.map, fetch, \.\.\.\)`"
        with pytest.raises(TypeError, match=cure):
            asyncio.run(bs.amap(fetch, [1]))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=cure):
            bs.aimap(fetch, [1])  # type: ignore[arg-type]

    @pytest.mark.parametrize("mapped", [bs.map, bs.imap, bs.plan, bs.aimap, bs.amap])
    def test_a_plain_function_says_how_to_make_it_a_task(self, project: bs.Project, mapped: Any) -> None:
        def given(function: Any, message: str) -> None:
            with pytest.raises(TypeError, match=message):
                finished(mapped(function, [1]))

        given(ask, r"decorate ask with @project\.task, or pass project\.task\(ask\)")
        given(lambda x: x, r"make it a task, as in project\.task\(function\)")
        given([1], "a map needs a task, and then its inputs: .* is no function")
        task = project.task(ask)
        given(functools.partial(task, model="x"), r'write the task itself and fixed=\{"model": \.\.\.\}')
