"""Random nestings of values: equal ones have one key, different ones two.

A value is made from a description, anew each time. Two values are equal where their canonical descriptions are, which
know neither the order of dicts and sets nor whether NumPy or Python made a number.
"""

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import pickle
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydantic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beautyspot.keys.encoding import encode
from beautyspot.keys.keyer import Keyer

Description = tuple[Any, ...]  # a kind, then what makes it


# How long a machine that does other work takes says nothing about keys.
thoroughly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any


class Pair(NamedTuple):
    x: Any
    y: Any


class Model(pydantic.BaseModel):
    x: Any
    y: Any


class Plain:
    def __init__(self, x: Any, y: Any) -> None:
        self.x = x
        self.y = y


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x: Any, y: Any) -> None:
        self.x = x
        self.y = y


class Texts(list[Any]):
    """A subclass of a built-in."""


def error(x: Any, y: Any) -> ValueError:
    return ValueError(x, y)


LEAVES: dict[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "str": str,
    "bytes": lambda text: text.encode(),
    "bytearray": lambda text: bytearray(text.encode()),
    "date": lambda days: dt.date(2020, 1, 1) + dt.timedelta(days=days),
    "datetime": lambda days: dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=days),
    "timedelta": lambda days: dt.timedelta(days=days),
    "decimal": lambda number: decimal.Decimal(number),
    "uuid": lambda number: uuid.UUID(int=number),
    "path": lambda number: Path(f"data/{number}"),
    "colour": lambda number: list(Colour)[number % 2],
    "range": range,
    "np.float64": np.float64,
    "np.int64": np.int64,
    "np.bool": lambda number: np.bool_(number),
    "np.float32": np.float32,
    "np.int32": np.int32,
    "array": lambda number: np.array([number, 1]),
    "array of floats": lambda number: np.array([number, 1.0]),
    "array of columns": lambda number: np.array([[number], [1]]),
}
OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "point": Point, "pair": Pair, "model": lambda x, y: Model(x=x, y=y), "plain": Plain, "slotted": Slotted,
    "namespace": lambda x, y: types.SimpleNamespace(x=x, y=y), "error": error,
}  # fmt: skip
OF_MANY: dict[str, Callable[[list[Any]], Any]] = {
    "list": list, "tuple": tuple, "deque": collections.deque, "texts": Texts,
}  # fmt: skip
OF_NAMES: dict[str, Callable[[list[tuple[Any, Any]]], Any]] = {
    "dict": dict, "ordered": collections.OrderedDict, "default": lambda pairs: collections.defaultdict(list, pairs),
}  # fmt: skip
OF_TEXTS: dict[str, Callable[[list[Any]], Any]] = {"set": set, "frozenset": frozenset, "counter": collections.Counter}

small = st.integers(0, 3)
names = st.sampled_from(["a", "b", "c", 0, 1, 2])
# What makes a leaf, where a small number would not do.
of_leaf = {"str": st.text(max_size=3), "bytes": st.text(max_size=3), "bytearray": st.text(max_size=3),
           "float": st.floats() | small, "int": st.integers() | small}  # fmt: skip
of_numbers = st.sampled_from([kind for kind in LEAVES if kind not in ("str", "bytes", "bytearray")])
of_leaves = st.sampled_from([*LEAVES, *OF_TEXTS])
of_all = of_leaves | st.sampled_from([*OF_TWO, *OF_MANY, *OF_NAMES])


@st.composite
def descriptions(draw: st.DrawFn, depth: int = 3) -> Description:
    """A description of a nested value."""
    kind = draw(of_all if depth else of_leaves)
    if kind in LEAVES:
        return (kind, draw(of_leaf.get(kind, small)))
    if kind in OF_TEXTS:
        return (kind, draw(st.lists(names, unique=True, max_size=4)))
    if kind in OF_TWO:
        return (kind, draw(descriptions(depth - 1)), draw(descriptions(depth - 1)))
    if kind in OF_MANY:
        return (kind, [draw(descriptions(depth - 1)) for _ in range(draw(small))])
    unique = draw(st.lists(names, unique=True, max_size=3))
    return (kind, [(name, draw(descriptions(depth - 1))) for name in unique])


def made(description: Description, shared: dict[str, Any] | None = None) -> Any:
    """The value that is described; with *shared*, equal parts are one object."""
    known = None if shared is None else shared.get(repr(description))
    if known is not None:
        return known
    kind, *held = description
    value: Any
    if kind in LEAVES:
        value = LEAVES[kind](held[0])
    elif kind in OF_TWO:
        value = OF_TWO[kind](made(held[0], shared), made(held[1], shared))
    elif kind in OF_MANY:
        value = OF_MANY[kind]([made(each, shared) for each in held[0]])
    elif kind in OF_NAMES:
        value = OF_NAMES[kind]([(name, made(each, shared)) for name, each in held[0]])
    else:
        value = OF_TEXTS[kind](held[0])
    if shared is not None:
        shared[repr(description)] = value
    return value


_SAME_AS = {"np.float64": "float", "np.int64": "int", "np.bool": "bool"}


def canonical(description: Description) -> str:
    """A text that is the same for equal values."""
    kind, *held = description
    if kind in LEAVES:
        value = LEAVES[kind](held[0])
        plain = value.item() if kind in _SAME_AS else value
        return f"{_SAME_AS.get(kind, kind)} {plain!r}"
    if kind in OF_TWO:
        return f"{kind}({canonical(held[0])}, {canonical(held[1])})"
    if kind in OF_MANY:
        return f"{kind}({', '.join(map(canonical, held[0]))})"
    if kind in OF_NAMES:
        pairs = [f"{name!r}: {canonical(each)}" for name, each in held[0]]
        return f"{kind}({', '.join(pairs if kind == 'ordered' else sorted(pairs))})"
    return f"{kind}({', '.join(sorted(map(repr, held[0])))})"


def changed(description: Description, data: st.DataObject) -> Description:
    """The description with another value in one place."""
    kind, *held = description
    if kind in OF_TWO and data.draw(st.booleans()):
        return (kind, changed(held[0], data), held[1])
    if kind in OF_MANY and held[0] and data.draw(st.booleans()):
        return (kind, [*held[0][:-1], changed(held[0][-1], data)])
    if kind in OF_NAMES and held[0] and data.draw(st.booleans()):
        name, last = held[0][-1]
        return (kind, [*held[0][:-1], (name, changed(last, data))])
    if kind in LEAVES and isinstance(held[0], int) and 0 <= held[0] <= 3 and data.draw(st.booleans()):
        return (data.draw(of_numbers), held[0])
    return data.draw(descriptions())


def asking(value: Any) -> Callable[[int], Any]:
    def ask(question: int) -> Any:
        return value, question

    return ask


def key_of(function: Callable[..., Any], *args: Any) -> bytes:
    return Keyer(function)(args, {})[0]


@thoroughly
@given(descriptions())
def test_equal_values_have_one_key_and_their_copies_too(description: Description) -> None:
    value = made(description)
    encoded = encode(value)
    assert encode(made(description)) == encoded
    assert encode(copy.deepcopy(value)) == encoded
    assert encode(pickle.loads(pickle.dumps(value))) == encoded


@thoroughly
@given(descriptions(), st.data())
def test_values_that_differ_in_one_place_have_two_keys(description: Description, data: st.DataObject) -> None:
    other = changed(description, data)
    are_equal = canonical(description) == canonical(other)
    assert (encode(made(description)) == encode(made(other))) == are_equal
    assert (key_of(asking(made(description)), 1) == key_of(asking(made(other)), 1)) == are_equal


@thoroughly
@given(st.lists(descriptions(), max_size=3))
def test_shared_parts_count_as_equal_ones(parts: list[Description]) -> None:
    description = ("list", [*parts, *parts, ("list", parts)])
    shared: dict[str, Any] = {}
    assert encode(made(description, shared)) == encode(made(description))
    assert key_of(asking(made(description, {})), 1) == key_of(asking(made(description)), 1)


@thoroughly
@given(descriptions())
def test_a_copy_in_another_closure_counts_as_the_value(description: Description) -> None:
    value = made(description)
    keys = {key_of(asking(each), 1) for each in (value, made(description), copy.deepcopy(value))}
    assert len(keys) == 1


@thoroughly
@given(st.lists(descriptions(), min_size=1, max_size=3))
def test_a_run_that_is_under_way_makes_no_difference(parts: list[Description]) -> None:
    held = {"a": made(parts[0]), "b": [made(each) for each in parts]}
    keyer, other = Keyer(asking(held)), Keyer(asking(held["b"]))
    before = keyer((1,), {})[0], other((1,), {})[0], encode(held)
    with keyer.run((1,), {}):
        assert (keyer((1,), {})[0], other((1,), {})[0], encode(held)) == before
        assert encode(made(("list", parts))) == encode(held["b"])
        with other.run((1,), {}):
            assert (keyer((1,), {})[0], other((1,), {})[0], encode(held)) == before
    assert (keyer((1,), {})[0], other((1,), {})[0], encode(held)) == before


@thoroughly
@given(st.lists(descriptions(), min_size=1, max_size=3))
def test_one_object_under_two_paths_counts_in_a_run_as_it_does_outside(parts: list[Description]) -> None:
    shared: dict[str, Any] = {}
    value = made(("dict", [("a", ("list", parts)), ("b", ("list", parts)), ("c", parts[0])]), shared)
    keyer = Keyer(asking(value))
    before = keyer((1,), {})[0]
    with keyer.run((1,), {}):
        assert keyer((1,), {})[0] == before
        assert key_of(asking(copy.deepcopy(value)), 1) == before
    assert keyer((1,), {})[0] == before
