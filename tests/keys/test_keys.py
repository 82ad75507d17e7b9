"""Keys: equal calls have the same key everywhere, different calls never do."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import gc
import inspect
import itertools
import json
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import time
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from typing import Any

import joblib
import msgpack
import numpy as np
import pandas as pd
import polars as pl
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import beautyspot as bs
from beautyspot._internal import warn
from beautyspot.errors import ConfigurationError, UnkeyableError
from beautyspot.keys import keyer as keys
from beautyspot.keys.encoding import encode
from beautyspot.keys.fingerprints import of_source
from beautyspot.keys.keyer import Keyer
from tests.support.marks import on_sqlite


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Line:
    x: float
    y: float = 0.0


class Model(pydantic.BaseModel):
    name: str
    size: int = 3


class Plain:
    def __init__(self, state: Any) -> None:
        self.state = state


class Slotted:
    __slots__ = ("state",)

    def __init__(self, state: Any) -> None:
        self.state = state


Pair = namedtuple("Pair", "a b")

# Values that differ, pairwise: their types count, and what they hold.
DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 2, -1, 2**63, 2**64, 2**100, -(2**100), 0.0, 1.0, -0.0, float("inf"), "", "1", "a",
    b"", b"1", b"a", bytearray(b"a"), (), (1,), ((1,),), [], [1], [[1]], [1, 2], [2, 1], [(1, 2)], [[1, 2]],
    [1, [2]], [[1], 2], {}, {0: 1}, {1: 0}, {"0": 1}, {"a": 1}, {"a": 1, "b": 2}, {"a": {"b": 2}}, set(), {1}, {1, 2},
    frozenset(), frozenset({1}), {"1"}, 1j, dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), "2020-01-01",
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
    dt.datetime(2020, 1, 1, fold=1), dt.time(1), dt.timedelta(1), dt.timedelta(seconds=1), decimal.Decimal("1"),
    decimal.Decimal("1.0"), uuid.UUID(int=1), Path("a"), Path("b"), pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("a"), Colour.RED, Colour.BLUE, Access.READ, Access.WRITE, Access.READ | Access.WRITE,
    Point(1, 2), Point(2, 1), Line(1, 2), Pair(1, 2), (1, 2), Model(name="a"), Model(name="b"), Plain(1), Plain(2),
    Plain([1]), Slotted(1), Slotted(2), Counter("aab"), Counter("abb"), OrderedDict(a=1, b=2), OrderedDict(b=2, a=1),
    defaultdict(list), defaultdict(int), range(3), range(4), slice(1), slice(2), Ellipsis, NotImplemented,
    np.uint64(1), np.int32(1), np.float32(1), np.longdouble(1), np.uint8(1), np.datetime64("2020-01-01"),
    np.zeros(3), np.zeros(4), np.zeros((3, 1)), np.zeros((1, 3)), np.zeros(3, "f4"), np.zeros(3, ">f8"),
    np.zeros(3, "i8"), np.array(0.0), np.array(["a"]), np.array(["a"], object), np.array([None], object),
    np.array([(1, 2)], [("a", "i4"), ("b", "i4")]), np.array([(1, 2)], [("a", "i4"), ("c", "i4")]),
    np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0]), np.dtype("f8"), np.dtype("f4"),
    pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1]}, index=[5]),
    pd.Series([1]), pd.Series([1], name="a"), pd.Index([1]), pd.Index(["a"]), pd.Series(["a"], dtype="category"),
    pd.Series(["a"]), pd.Series(["a", None]), pd.Series(pd.to_datetime(["2020-01-01"])), pd.Timestamp("2020-01-01"),
    pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("UTC")), pd.MultiIndex.from_tuples([(1, 2)]),
    pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), pl.DataFrame({"a": ["1"]}), pl.DataFrame({"a": [None]}),
    pl.Series("a", [1]), pl.Series("b", [1]), len, sorted, np.sin, np.cos, os.path.join, str.lower, int, float, Point,
    Plain, os, sys, functools.partial(int, base=2), functools.partial(int, base=3), lambda: 1, lambda: 2, dict.fromkeys,
]  # fmt: skip


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda v: f"{type(v).__name__}")
def test_a_value_has_one_encoding(value: Any) -> None:
    assert encode(value) == encode(value)


def test_different_values_have_different_encodings() -> None:
    for nest in (lambda v: v, lambda v: [v], lambda v: (v, 1), lambda v: {"k": v}):
        seen: dict[bytes, Any] = {}
        for value in DIFFERENT:
            encoded = encode(nest(value))
            assert encoded not in seen, (value, seen.get(encoded))
            seen[encoded] = value


def test_values_that_joblib_hashes_faithfully_can_be_keyed() -> None:
    for value in DIFFERENT:
        try:
            joblib.hash(value)
        except Exception:
            continue
        encode(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({(1, 2): 3, "a": 4, None: 5}, {None: 5, "a": 4, (1, 2): 3}),
        ({3, 1, 2}, {1, 2, 3}),
        ({1, "a", None, (2,)}, {None, (2,), "a", 1}),
        (Counter("abb"), Counter("bba")),
        (Point(1, 2), Point(1, 2)),
        (Model(name="a"), Model(name="a", size=3)),
        (Plain([1]), Plain([1])),
        (float("nan"), float("nan")),
        (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
        (np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).copy()),
        (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pd.DataFrame({"a": [1, 2]}).assign(b=[3, 4])),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}).set_index("a").reset_index()),
        (pd.DataFrame({"a": [1.5, 2], "b": ["x", None]}), pd.DataFrame({"a": [1.5, 2], "b": ["x", None]}).copy()),
        (pl.DataFrame({"a": [1, 2]}), pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})])),
    ],
)
def test_equal_values_have_one_encoding(one: Any, other: Any) -> None:
    assert encode(one) == encode(other)


def test_shared_references_make_no_difference() -> None:
    shared = [1, "text", np.int64(3)]
    assert encode([shared, shared]) == encode([list(shared), list(shared)])
    text = "".join(["inter", "ned"])
    assert encode([text, "interned"]) == encode([text, text])


def test_a_memory_map_is_the_array_that_it_holds(tmp_path: Path) -> None:
    array = np.arange(100.0)
    np.save(tmp_path / "a.npy", array)
    assert encode(np.load(tmp_path / "a.npy", mmap_mode="r")) == encode(array)


def test_a_large_strided_array_is_read_in_blocks() -> None:
    array = np.arange(3_000_000.0).reshape(1500, 2000)
    assert encode(array[:, ::2]) == encode(np.ascontiguousarray(array[:, ::2]))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, and the types of all their parts too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        if len(a) != len(b):
            return False
        theirs = {(type(key), key): value for key, value in b.items()}
        return all((type(key), key) in theirs and same(a[key], theirs[type(key), key]) for key in a)
    return repr(a) == repr(b) if isinstance(a, float) else a == b


@given(plain, plain)
def test_encodings_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == same(one, other)


@given(st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), plain), st.randoms())
def test_the_order_of_a_dict_does_not_matter(value: dict[Any, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(st.lists(plain, max_size=4), st.lists(plain, max_size=4))
def test_different_lists_of_arguments_have_different_keys(one: list[Any], other: list[Any]) -> None:
    joined = b"".join(map(encode, one)) == b"".join(map(encode, other))
    assert joined == same(one, other)


def test_a_value_that_cannot_be_keyed_is_named_with_its_path() -> None:
    def function(config: Any) -> None: ...

    with pytest.raises(
        UnkeyableError,
        match=r"function: config\['clients'\]\[1\]\.state \(builtins\.generator\) cannot identify a call, since data is "
        r"read from it: write @project\.task\(ignore=\"config\['clients'\]\"\)",
    ):
        Keyer(function)(({"clients": [0, Plain(iter_of(3))]},), {})


def iter_of(count: int) -> Any:
    yield from range(count)


def test_values_that_hold_themselves_have_one_encoding() -> None:
    def ring(size: int) -> list[Any]:
        first: list[Any] = []
        last = first
        for _ in range(size - 1):
            last.append([])
            last = last[0]
        last.append(first)
        return first

    assert encode(ring(1)) == encode(ring(1)) != encode(ring(2)) == encode(ring(2))
    assert encode([ring(1), 1]) != encode([ring(1), 2])


def test_the_work_of_a_key_is_bounded_by_the_size_of_the_value() -> None:
    class Node:
        def __init__(self, parent: Any) -> None:
            self.parent = parent
            self.children: list[Any] = []
            self.next: Any = None

    def tree(refused: Any) -> Node:
        root = Node(None)
        before = root
        for _ in range(300):
            node = Node(root)
            before.next, node.children = node, [before, root]
            root.children.append(node)
            before = node
        root.children.append(refused)
        return root

    small: Any = Node(None)
    for _ in range(60):  # twice as many paths with each
        small = [small, small]
    assert encode(small)
    started = time.perf_counter()
    sys.setrecursionlimit(20_000)
    try:
        assert encode(tree(1)) == encode(tree(1)) != encode(tree(2))
        with pytest.raises(UnkeyableError, match="generator"):
            encode(tree(iter_of(3)))
    finally:
        sys.setrecursionlimit(1000)
    assert time.perf_counter() - started < 60  # without bounds: for ever


def test_classes_inside_functions_count_by_what_they_define() -> None:
    def made(default: int, doubled: bool = False) -> Any:
        class Local:
            kind = default

            def method(self) -> int:
                return default

        if doubled:
            Local.method = lambda self: 2 * default  # type: ignore[method-assign]
        return Local

    assert encode(made(1)()) == encode(made(1)()) != encode(made(2)())
    assert encode(made(1)) == encode(made(1)) != encode(made(1, doubled=True))
    assert encode(namedtuple("A", "x y")(1, 2)) != encode(namedtuple("A", "x z")(1, 2))
    assert encode(type("A", (), {"x": 1})) == encode(type("A", (), {"x": 1})) != encode(type("A", (), {"x": 2}))
    assert encode(enum.Enum("E", "A B").A) != encode(enum.Enum("E", "A C").A)  # type: ignore[attr-defined]
    one, other = (dataclasses.make_dataclass("D", [("x", int, default)])(1) for default in (1, 2))
    assert encode(one) != encode(other)


def test_an_object_may_define_what_identifies_it() -> None:
    class Client:
        def __init__(self, name: str) -> None:
            self.name, self.lock = name, threading.Lock()

        def __beautyspot_key__(self) -> str:
            return self.name

    assert encode(Client("a")) == encode(Client("a")) != encode(Client("b"))


def key_of(function: Any, *args: Any, **kwargs: Any) -> bytes:
    return Keyer(function)(args, kwargs)[0]


def test_a_call_has_one_key_however_its_arguments_are_passed() -> None:
    def function(a: int, /, b: int, c: int = 3, *rest: int, d: int = 4, **more: int) -> None: ...

    keyer = Keyer(function)

    def key(*args: int, **kwargs: int) -> bytes:
        return keyer(args, kwargs)[0]

    assert key(1, 2) == key(1, b=2) == key(1, 2, 3) == key(1, c=3, b=2) == key(1, 2, d=4)
    keys = [key(1, 2), key(2, 1), key(1, 2, 3, 4), key(1, 2, e=5), key(1, 2, d=5), key(1, 2, 3, 4, 5), key(1, 2, f=5)]
    assert len(set(keys)) == len(keys)
    assert key(1, 2, x=1, y=2) == key(1, 2, y=2, x=1)


def test_arguments_that_do_not_fit_raise_the_error_of_the_function() -> None:
    def function(a: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        key_of(function)
    with pytest.raises(TypeError, match="unexpected keyword argument 'b'"):
        key_of(function, 1, b=2)


def test_ignored_arguments_do_not_identify_the_call() -> None:
    def function(x: int, verbose: bool = False, **options: int) -> None: ...

    keyer = Keyer(function, ignore=("verbose", "session"))
    lock: Any = threading.Lock()
    keys = {keyer(*call)[0] for call in [((1,), {}), ((1, True), {}), ((1,), {"verbose": lock, "session": lock})]}
    assert len(keys) == 1
    assert keyer((1,), {"other": 1})[0] not in keys
    assert (
        Keyer(function, key=bs.KeyGen.ignore("verbose"))((1, True), {})[0]
        == Keyer(function, ignore="verbose")((1,), {})[0]
    )


def test_ignoring_a_missing_argument_is_an_error() -> None:
    def function(x: int) -> None: ...

    with pytest.raises(
        ConfigurationError, match="has no argument, captured variable or constant 'y'; it has arguments: x"
    ):
        Keyer(function, ignore="y")


def test_a_key_callable_gets_the_arguments_that_it_names() -> None:
    def function(model: str, prompt: str, temperature: float = 0.5) -> None: ...

    by_name = Keyer(function, key=lambda prompt, model: (model, prompt.strip()))
    assert by_name(("m", " p "), {})[0] == by_name((), {"prompt": "p", "model": "m", "temperature": 1.0})[0]
    rest = Keyer(function, key=lambda model, **_: model)
    assert rest(("m", "p"), {})[0] == rest(("m", "q"), {})[0] != rest(("n", "q"), {})[0]


def test_a_key_callable_with_other_names_is_called_as_the_task_was() -> None:
    def function(path: str) -> None: ...

    upper = Keyer(function, key=lambda p: p.upper())
    assert upper(("a",), {})[0] == upper(("A",), {})[0] != upper(("b",), {})[0]
    assert Keyer(function, key=str.lower)(("A",), {})[0] == Keyer(function, key=str.lower)(("a",), {})[0]


def test_files_may_be_identified_by_their_content(tmp_path: Path) -> None:
    def function(path: Path, scale: int = 1) -> None: ...

    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("content")
    other.write_text("content")
    keyer = Keyer(function, key=bs.KeyGen.file_content("path"))
    assert keyer((one,), {})[0] == keyer((other,), {})[0] == keyer((str(one),), {})[0] != keyer((one, 2), {})[0]
    before = keyer((one,), {})[0]
    one.write_text("changed")
    assert keyer((one,), {})[0] != before
    assert Keyer(function, key=bs.KeyGen.from_file_content)
    with pytest.raises(UnkeyableError, match="function: 'path': its file identifies the call and cannot be read"):
        keyer((tmp_path / "missing",), {})


def test_files_may_be_identified_by_their_stat(tmp_path: Path) -> None:
    def function(path: Path) -> None: ...

    one = tmp_path / "one"
    one.write_text("content")
    for policy in (bs.KeyGen.path_stat("path"), bs.KeyGen.from_path_stat):
        keyer = Keyer(function, key=policy)
        os.utime(one, ns=(1, 1))
        before = keyer((one,), {})[0]
        assert keyer((one,), {})[0] == before
        os.utime(one, ns=(2, 2))
        assert keyer((one,), {})[0] != before


def make(factor: int) -> Any:
    def times(x: int) -> int:
        return x * factor

    return times


def test_closures_of_one_factory_have_different_keys() -> None:
    assert key_of(make(2), 1) == key_of(make(2), 1) != key_of(make(3), 1)


def test_a_captured_variable_that_changes_makes_another_call() -> None:
    factors = [2]

    def function(x: int) -> int:
        return x * factors[0]

    keyer = Keyer(function)
    before = keyer((1,), {})[0]
    factors[0] = 3
    assert keyer((1,), {})[0] != before


class Opaque:
    """A client of an unknown library: what it holds cannot be seen."""

    def __init__(self) -> None:
        self.made = iter([]).__class__

    def __reduce__(self) -> Any:
        raise TypeError("it has a socket")


def test_a_captured_object_without_identity_counts_by_its_type_with_a_warning() -> None:
    def made(client: Any) -> Any:
        def function(x: int) -> Any:
            return client

        return function

    client = Opaque()
    with pytest.warns(
        bs.CapturedWarning,
        match=r"'client' \(.*Opaque\), a captured object, identifies calls by its class alone: write",
    ):
        first = key_of(made(client), 1)
    assert key_of(made(client), 1) == first
    other = Opaque()
    with pytest.raises(UnkeyableError, match=r"'client' \(.*Opaque\) is another one than before, .*ignore=\"client\""):
        key_of(made(other), 1)
    assert Keyer(made(other), ignore="client")((1,), {})


@on_sqlite
def test_a_function_that_captured_itself_can_be_keyed(project: bs.Project) -> None:
    @project.task
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    assert factorial(5) == 120


def test_lambdas_have_different_keys_even_on_one_line() -> None:
    one, other, third = (lambda x: x + 1), (lambda x: x + 2), (lambda x: lambda y: y)
    assert len({key_of(f, 1) for f in (one, other, third)}) == 3


def test_partials_are_distinguished_by_what_they_hold() -> None:
    def function(a: int, b: int, c: int = 0) -> None: ...

    keys = {
        key_of(partial, 5)
        for partial in (
            functools.partial(function, 1),
            functools.partial(function, 2),
            functools.partial(function, 1, c=1),
            functools.partial(functools.partial(function, 1), c=2),
        )
    }
    assert len(keys) == 4


@on_sqlite
def test_methods_are_distinguished_by_their_object(project: bs.Project) -> None:
    assert scale_of(Scale(2)) == scale_of(Scale(2)) != scale_of(Scale(3))


def scale_of(scale: "Scale") -> bytes:
    return key_of(scale.apply, 1)


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def apply(self, x: int) -> int:
        return self.factor * x

    def __call__(self, x: int) -> int:
        return self.factor * x


def test_callable_objects_are_distinguished_by_their_state() -> None:
    assert key_of(Scale(2), 1) == key_of(Scale(2), 1) != key_of(Scale(3), 1)


def scaled(factor: int) -> Any:
    def decorate(function: Any) -> Any:
        lock = threading.Lock()  # the decorator's machinery

        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            with lock:
                return factor * function(*args)

        return wrapper

    return decorate


def test_a_decorated_function_is_distinguished_by_what_its_decorator_captured() -> None:
    def function(x: int) -> int:
        return x

    assert key_of(scaled(2)(function), 1) == key_of(scaled(2)(function), 1) != key_of(scaled(3)(function), 1)


@on_sqlite
def test_a_redefinition_is_another_function(project: bs.Project) -> None:
    namespace: dict[str, Any] = {"project": project, "__name__": "redefining"}
    exec("@project.task\ndef f(x): return x + 1", namespace)
    first = namespace["f"]
    exec("@project.task\ndef f(x): return x + 2", namespace)
    second = namespace["f"]
    assert [first(1), second(1), first(1), second(1)] == [2, 3, 2, 3]


def test_the_version_is_part_of_the_key() -> None:
    def function(x: int) -> None: ...

    keys = [Keyer(function, version=version)((1,), {})[0] for version in (None, "1", "2", 3)]
    assert keys[0] == keys[1]  # a task without a version is version 1
    assert len(set(keys)) == 3


def test_ints_and_texts_of_a_version_are_the_same() -> None:
    def function(x: int) -> None: ...

    assert Keyer(function, version=2)((1,), {}) == Keyer(function, version="2")((1,), {})


_IDENTITY = """
import sys
import beautyspot as bs
project = bs.Project("p")
class C:
    @project.task
    def method(self, x): return x
    @project.task
    @classmethod
    def build(cls, x): return x
    @project.task
    @staticmethod
    def fixed(x): return x
@project.task
def f(x, s=frozenset({"a", "b", 3, None})): return x
@project.task(version="auto")
def g(x): return helper(x)
def helper(x): return x + 1
def make(n):
    def inner(x): return x * n
    return project.task(inner)
keys = [f.key({"b": 1, "a": {"x", "y"}}), g.key(1), make(2).key(1), C().method.key(1), C.fixed.key(1), C.build.key(1)]
def show(_=None): return keys
if __name__ == "__main__":
    import multiprocessing
    print(keys)
    for method in ("spawn", "forkserver", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool: print(pool.apply(show))
"""


def test_a_function_is_the_same_in_a_script_a_module_an_import_and_every_child(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(_IDENTITY)
    (tmp_path / "theirs.py").write_text(_IDENTITY)
    link = tmp_path / "elsewhere"
    link.mkdir()
    (link / "ours.py").symlink_to(tmp_path / "ours.py")
    printed: set[str] = set()
    for seed, command in enumerate(
        [["ours.py"], ["-m", "ours"], ["-c", "import ours; print(ours.keys)"], [str(link / "ours.py")]]
    ):
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(tmp_path)}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed |= set(done.stdout.splitlines())
    assert len(printed) == 1
    other = subprocess.run([sys.executable, "theirs.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(other.stdout.splitlines()).isdisjoint(printed)


def test_a_notebook_function_is_the_same_in_two_cells_and_kernels(tmp_path: Path) -> None:
    cell = "@project.task\ndef f(x):\n    return x + 1\nkeys.append(f.key(1))"
    longer = "other = 1\n" + cell.replace("x + 1", "x + 1  # a comment")
    changed = cell.replace("x + 1", "x + 2")
    script = textwrap.dedent(f"""
        import sys
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        sys.modules["__main__"] = shell.user_module
        shell.run_cell("import beautyspot as bs; project = bs.Project('p'); keys = []")
        for cell in {[cell, longer, changed, cell]!r}:
            shell.run_cell(cell).raise_error()
        print(shell.user_ns["keys"])
    """)
    (tmp_path / "kernel.py").write_text(script)
    printed = [
        subprocess.run([sys.executable, "kernel.py"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    one, same_, changed_, again = eval(printed[0].splitlines()[-1])
    assert one == same_ == again != changed_


_VERSIONED = """
import beautyspot as bs
project = bs.Project("p")
LIMIT = 3
def helper(x):
    return x + 1
class Tool:
    def use(self, x): return x
@project.task(version="auto")
def f(x: int) -> int:
    '''Docstring.'''
    return helper(x) + Tool().use(x)
"""


def _auto_key(tmp_path: Path, source: str) -> str:
    (tmp_path / "versioned.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-B", "-c", "import versioned; print(versioned.f.key(1))"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_version_auto_follows_code_and_not_comments(tmp_path: Path) -> None:
    key = _auto_key(tmp_path, _VERSIONED)
    for old, new in (
        ("return x + 1", "return (x   + 1)  # comment"),
        ("'''Docstring.'''", "'''Another.'''"),
        ("def f(x: int) -> int:", "def f(x):"),
        ("LIMIT = 3", "LIMIT = 4\n\n\n"),
    ):
        assert _auto_key(tmp_path, _VERSIONED.replace(old, new)) == key, new
    for old, new in (
        ("return helper(x)", "return 2 * helper(x)"),
        ("return x + 1", "return x + 2"),
        ("use(self, x): return x", "use(self, x): return -x"),
    ):
        assert _auto_key(tmp_path, _VERSIONED.replace(old, new)) != key, new


@pytest.mark.parametrize("python", ["python3.12", "python3.13"])
def test_keys_are_the_same_on_other_versions_of_python(python: str, tmp_path: Path) -> None:
    """Every installed Python version computes the keys of plain data and code, from our own source."""
    versions = sorted(Path(sys.base_prefix).parent.glob(f"{python.removeprefix('python')}*/bin/python3"))
    if not versions:  # one version is all that this machine has
        assert not versions
        return
    (tmp_path / "ours.py").write_text(_IDENTITY)
    _write_modules(tmp_path)
    show = "import ours, script; from tests.keys import known_calls; print(ours.keys, script.keys, known_calls.keys())"
    command, root = ["-c", show], str(Path(bs.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    here = done.stdout
    site = tmp_path / "site"
    uv = Path(sys.executable).with_name("uv")
    packages = ["msgpack", "blake3", "cloudpickle", "tqdm", "typing-extensions"]
    subprocess.run([uv, "pip", "install", "-q", "--python", versions[0], "--target", site, *packages], check=True)
    env["PYTHONPATH"] = os.pathsep.join([str(site), root])
    there = subprocess.run([versions[0], *command], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert there.stdout == here, there.stderr


def test_keys_do_not_depend_on_the_thread() -> None:
    def function(x: Any) -> None: ...

    keyer, keys = Keyer(function), set()
    value = {"a": [1, 2.5, ("x", b"y")], "b": {3, 4}}

    def compute() -> None:
        for _ in range(2000):
            keys.add(keyer((value,), {})[0])

    threads = [threading.Thread(target=compute) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 1


def test_every_pair_of_similar_tables_differs() -> None:
    frames = [
        pd.DataFrame({"a": column}, index=index)
        for column, index in itertools.product(
            ([1, 2], [1.0, 2.0], ["1", "2"], [True, False]), ([0, 1], [1, 0], ["a", "b"])
        )
    ]
    assert len({encode(frame) for frame in frames}) == len(frames)


_WITH_DEPS = """
import sys
import beautyspot as bs
import first, package
from second import Second, scale, task_of_second, times
project = bs.Project("p")
@project.task(version="auto", deps=[first, package, Second, scale, task_of_second, times(2)])
def f(x): return first.one(x) + scale(x)
@project.task(version="auto", deps=[sys.modules[__name__]])
def of_itself(x): return x
keys = [f.key(1), of_itself.key(1)]
def show(_=None): return keys
if __name__ == "__main__":
    import multiprocessing
    print(keys)
    for method in ("spawn", "forkserver", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool: print(pool.apply(show))
"""
_FIRST = """
'''A module.'''
LIMIT = 3
def one(x: int) -> int:
    '''Docstring.'''
    return x + LIMIT
"""
_SECOND = """
import beautyspot as bs
from dataclasses import dataclass
project = bs.Project("q")
UNUSED = 1
def scale(x): return halved(x)
def halved(x): return x / 2
def unused(x): return x
class Base:
    def base(self): return 1
@dataclass
class Second(Base):
    rate: float = 0.5
    def use(self): return called(self.rate)
def called(x): return x + 10
def of_task(x): return x + 20
def dep_of_task(x): return x + 30
def times(n):
    def inner(x): return n * x
    return inner
@project.task(version="auto", deps=[dep_of_task])
def task_of_second(x): return of_task(x)
"""
_INNER = "VALUE = 1\ndef inner(x): return x + VALUE\n"


def _write_modules(place: Path) -> None:
    """A script with the modules that its task depends on."""
    (place / "package" / "deeper").mkdir(parents=True)
    files = {
        "script.py": _WITH_DEPS, "first.py": _FIRST, "second.py": _SECOND, "package/__init__.py": "",
        "package/inner.py": _INNER, "package/deeper/__init__.py": "", "package/deeper/low.py": _INNER,
    }  # fmt: skip
    for name, source in files.items():
        (place / name).write_text(source)


_CHANGES = """
import importlib, json, linecache, sys
from pathlib import Path
for file, old, new in json.loads(sys.argv[1]):
    path = Path(file)
    source = path.read_text()
    assert old in source, (file, old)
    path.write_text(source.replace(old, new))
    importlib.invalidate_caches()
    linecache.clearcache()
    import script
    print(script.f.key(1))
    path.write_text(source)
    for name in ("script", "first", "second", "package"):
        sys.modules.pop(name, None)
"""


def _keys_after(place: Path, changes: list[tuple[str, str, str]]) -> list[str]:
    """The keys of ``f(1)`` after each change of one line in one file; each change is undone."""
    command = [sys.executable, "-B", "-c", _CHANGES, json.dumps(changes)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_deps_are_followed_by_their_code_and_not_by_comments(tmp_path: Path) -> None:
    _write_modules(tmp_path)
    key, *keys = _keys_after(tmp_path, [
        ("first.py", "", ""),
        ("first.py", "return x + LIMIT", "return (x   +  LIMIT)  # comment\n\n"),
        ("first.py", "'''A module.'''", "'''Another.'''"),
        ("first.py", "'''Docstring.'''", ""),
        ("first.py", "(x: int) -> int", "(x)"),
        ("package/inner.py", "VALUE = 1", "VALUE = 1  # comment"),
        ("second.py", "def unused(x): return x", "def unused(x): return -x"),
        ("second.py", "UNUSED = 1", "UNUSED = 2"),
        ("second.py", "version=\"auto\", deps=[dep_of_task]", "version=\"auto\", ttl=9, deps=[dep_of_task]"),
    ])  # fmt: skip
    assert set(keys) == {key}
    changed = [
        ("first.py", "LIMIT = 3", "LIMIT = 4"),
        ("first.py", "x + LIMIT", "x - LIMIT"),
        ("package/inner.py", "VALUE = 1", "VALUE = 2"),
        ("package/deeper/low.py", "VALUE = 1", "VALUE = 2"),
        ("second.py", "return halved(x)", "return halved(-x)"),
        ("second.py", "return x / 2", "return x / 3"),
        ("second.py", "rate: float = 0.5", "rate: float = 0.6"),
        ("second.py", "rate: float", "rate: int"),
        ("second.py", "return called(self.rate)", "return called(-self.rate)"),
        ("second.py", "return x + 10", "return x + 11"),
        ("second.py", "def base(self): return 1", "def base(self): return 2"),
        ("second.py", "return x + 20", "return x + 21"),
        ("second.py", "return x + 30", "return x + 31"),
        ("second.py", "return n * x", "return n * x * 1"),
        ("script.py", "times(2)]", "times(3)]"),
    ]
    *keys, again = _keys_after(tmp_path, [*changed, ("first.py", "", "")])
    assert len({*keys} - {key}) == len(changed)
    assert again == key


def test_deps_give_one_key_in_a_script_a_module_an_import_and_every_child(tmp_path: Path) -> None:
    _write_modules(tmp_path)
    printed: set[str] = set()
    for seed, command in enumerate([["script.py"], ["-m", "script"], ["-c", "import script; print(script.keys)"]]):
        env = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed |= set(done.stdout.splitlines())
    assert len(printed) == 1


_HELPED = """
import sys
import beautyspot as bs
import helper
project = bs.Project("p")
@project.task(version="auto", deps=[helper])
def f(x): return helper.double(x)
print(f.cached(1), f.explain(1).reason, f(1))
print(f.explain(1))
"""


def test_results_of_an_earlier_helper_stay_beside_those_of_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_HELPED)
    printed = []
    for source in ("def double(x): return 2 * x", "def double(x): return 3 * x", "def double(x): return 2 * x  # "):
        (tmp_path / "helper.py").write_text(source)
        done = subprocess.run(
            [sys.executable, "-B", "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        printed.append(done.stdout.splitlines()[0])
    assert printed == ["False never run 2", "False version 3", "True kept 2"]


@on_sqlite
def test_a_pickled_task_with_deps_has_the_same_key(project: bs.Project) -> None:
    def helper(x: int) -> int:
        return x

    @project.task(version="auto", deps=[helper])
    def f(x: int) -> int:
        return x

    copy = pickle.loads(pickle.dumps(f))
    assert copy.key(1) == f.key(1)
    script = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).key(1))"
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(f), capture_output=True, check=True)
    assert done.stdout.decode().strip() == f.key(1)


def test_explain_reports_that_followed_code_has_changed(project: bs.Project) -> None:
    def made(n: int) -> Any:
        def helper(x: int) -> int:
            return x + n

        def f(x: int) -> int:
            return x

        return project.task(version="auto", deps=[helper])(f)

    made(1)(5)
    explanation = made(2).explain(5)
    assert explanation.reason == "version"
    assert "of its deps, which its version follows" in explanation.text


@pytest.mark.parametrize(
    ("deps", "message"),
    [
        ([3], "deps names 3, which has no Python source to follow"),
        ([len], "deps names <built-in function len>"),
        ([int], "deps names <class 'int'>"),
        ([functools.partial(print)], "deps names functools.partial"),
        (textwrap, "deps is a list, not <module 'textwrap'"),
        ("textwrap", "deps is a list, not 'textwrap'"),
        ([math], "deps cannot follow the module math, which has no Python source"),
        ([msgpack], "deps cannot follow the module msgpack._cmsgpack, which has no Python source"),
    ],
)
@on_sqlite
def test_deps_that_cannot_be_followed_are_rejected_by_name(project: bs.Project, deps: Any, message: str) -> None:
    with pytest.raises(bs.ConfigurationError, match=re.escape(message)):
        project.task(version="auto", deps=deps)(lambda x: x)


@pytest.mark.parametrize("version", [None, "2"])
@on_sqlite
def test_deps_without_version_auto_are_rejected(project: bs.Project, version: str | None) -> None:
    with pytest.raises(bs.ConfigurationError, match=r'deps are followed by version="auto", and the version is .*write'):
        project.task(version=version, deps=[textwrap])


@on_sqlite
def test_the_version_of_a_task_among_the_deps_counts(project: bs.Project) -> None:
    def helper(x: int) -> int:
        return x

    def f(x: int) -> int:
        return x

    tasks = [project.task(helper), project.task(version="2")(helper), project.task(version="3")(helper)]
    keys = [project.task(version="auto", deps=[task])(f).key(1) for task in tasks]
    assert len(set(keys)) == 3
    assert project.task(version="auto", deps=[helper])(f).key(1) == keys[0]


def test_threads_may_make_their_first_keys_at_once() -> None:
    source, failed = inspect.getsource(warn), []

    class Ring:
        def __del__(self) -> None:
            time.sleep(0)  # lets another thread run, in the middle of the parser where garbage is collected there

    def parse(number: int) -> None:
        try:
            for i in range(50):
                ring: Any = Ring()
                ring.ring = ring
                of_source(f"{source}\n# {number} {i}")
        except SystemError as error:
            failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=parse, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failed


def test_a_finalizer_may_parse_in_the_middle_of_a_parse() -> None:
    ran = []

    class Ring:
        def __del__(self) -> None:
            ran.append(of_source("x = 1"))

    for i in range(20):
        ring: Any = Ring()
        ring.ring = ring
        del ring
        of_source(f"{inspect.getsource(keys)}\n# {i}")
    gc.collect()
    assert len(ran) == 20
