"""Values of other libraries: equal ones have one key, and what a function could tell apart has two."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import io
import os
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bs4
import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import scipy.sparse as sp
import sklearn.ensemble
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
from hypothesis import given
from hypothesis import strategies as st

from beautyspot.errors import UnkeyableError
from beautyspot.keys.encoding import encode
from beautyspot.keys.keyer import Keyer

ma: Any = np.ma  # its stubs know no mask but arrays of truths


def parsed(page: str) -> Any:
    return bs4.BeautifulSoup(page, "html.parser")


class Quantity(np.ndarray):
    """An array with a unit, as those of astropy and pint: the unit stands in its ``__dict__``."""

    def __new__(cls, data: Any, unit: str) -> "Quantity":
        made = np.asarray(data, float).view(cls)
        made.unit = unit
        return made

    def __array_finalize__(self, other: Any) -> None:
        self.unit = getattr(other, "unit", None)


class Reduced(np.ndarray):
    """An array whose unit is known to its ``__reduce__`` alone."""

    units: dict[int, str] = {}

    def __reduce__(self) -> Any:
        made, args, state = super().__reduce__()
        return made, args, (*state, self.units[id(self)])


class Slotted(np.ndarray):
    __slots__ = ("unit",)


class Frame(pd.DataFrame):
    """A frame as geopandas makes it."""

    _metadata = ["crs"]

    @property
    def _constructor(self) -> Any:
        return Frame


class Extra(pydantic.BaseModel, extra="allow"):
    name: str = "a"

    @functools.cached_property
    def size(self) -> int:
        return 3


def extra(**fields: Any) -> Extra:
    return Extra(**fields)


def reduced(data: Any, unit: str) -> Reduced:
    made = np.asarray(data).view(Reduced)
    Reduced.units[id(made)] = unit
    KEPT.append(made)
    return made


KEPT: list[Any] = []


def slotted(data: Any, unit: str) -> Slotted:
    made = np.asarray(data).view(Slotted)
    made.unit = unit
    return made


def frame(crs: str) -> Frame:
    made: Any = Frame({"a": [1]})
    made.crs = crs
    return made


def padded(filling: int, align: bool = True) -> Any:
    dtype = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2", (2,))], align=align)
    made = np.frombuffer(bytes([filling]) * (dtype.itemsize * 3), dtype).copy()
    made["a"], made["b"], made["c"] = 1, [2, np.nan, 3], 4
    return made


def nan(bits: int, kind: str = "8") -> Any:
    return np.array([0, bits], f"u{kind}").view(f"f{kind}")


def long_double(filling: int) -> Any:
    made = np.frombuffer(bytes([filling]) * (2 * np.dtype("g").itemsize), "g").copy()
    raw = made.view("u1").reshape(2, -1)
    raw[:, : 10 if np.finfo("g").nmant == 63 else None] = (
        np.array([1, 2], "g").view("u1").reshape(2, -1)[:, : 10 if np.finfo("g").nmant == 63 else None]
    )
    return made


def masked(hidden: float, **options: Any) -> Any:
    return ma.array([1.0, hidden, 3.0], mask=[0, 1, 0], **options)


def drawn(generator: Any, times: int) -> Any:
    for _ in range(times):
        generator.random()
    return generator


def nullable(hidden: int) -> Any:
    return pd.Series(pd.arrays.IntegerArray(np.array([1, hidden]), np.array([False, True])))


def used(value: Any, use: Callable[[Any], Any]) -> Any:
    """*value* after *use*, which may leave a cache on it."""
    use(value)
    return value


def duplicated() -> Any:
    return sp.coo_matrix(([1.0, 1.0, 3.0], ([0, 0, 2], [1, 1, 0])), shape=(3, 3))


def unsorted() -> Any:
    return sp.csr_matrix(([3.0, 2.0], [2, 0], [0, 2, 2, 2]), shape=(3, 3))


def image(mode: str = "RGB", colour: Any = 1, **info: Any) -> Any:
    made = PIL.Image.new(mode, (4, 3), colour)
    made.info.update(info)
    return made


def pages(*colours: int, kind: str = "GIF") -> Any:
    target = io.BytesIO()
    first, *rest = [PIL.Image.new("L", (8, 8), colour) for colour in colours]
    first.save(target, kind, save_all=True, append_images=rest)
    return PIL.Image.open(io.BytesIO(target.getvalue()))


def palette(*colours: int) -> Any:
    made = PIL.Image.new("P", (2, 2))
    made.putpalette(colours)
    return made


def fitted(rows: int = 20, **options: Any) -> Any:
    data = np.arange(rows * 2.0).reshape(rows, 2)
    return sklearn.ensemble.RandomForestRegressor(n_estimators=2, random_state=0, **options).fit(data, data[:, 0])


UTC_TIMES = pd.to_datetime(["2020-01-01", "2020-01-02"])
NESTED = pl.Series([[dt.timedelta(seconds=1)], [], None])

EQUAL: list[tuple[Any, Any]] = [
    # scalars of Python's own kinds
    (np.float64(0.1), 0.1), (np.int64(1), 1), (np.longlong(1), 1), (np.bool_(True), True), (np.str_("a"), "a"),
    (np.bytes_(b"a"), b"a"), (np.complex128(1j), 1j), (np.float64("nan"), float("nan")), (-np.float64("nan"), float("nan")),
    ([np.int64(1), [2]], [1, [2]]), ([np.int64(1), "x" * 9000], [1, "x" * 9000]), ((np.float64(1),), (1.0,)),
    ({np.str_("a"): 1}, {"a": 1}), ({"a": np.int64(1)}, {"a": 1}), ({"a": np.int64(1), "b": []}, {"a": 1, "b": []}),
    ({np.int64(1): 2}, {1: 2}), ({np.int64(1), np.int64(2)}, {1, 2}), (frozenset({np.float64(1)}), frozenset({1.0})),
    ([np.bytes_(b"x" * 9000)], [b"x" * 9000]), ({"a": [{"b": np.bool_(False)}]}, {"a": [{"b": False}]}),
    (np.array([1, "a"], object), np.array([np.int64(1), np.str_("a")], object)), (np.int64(2**63 - 1), 2**63 - 1),
    # NaNs and padding
    (nan(0x7FF8000000000000), nan(0xFFF8000000000001)), (nan(0x7FC00000, "4"), nan(0xFFC00001, "4")),
    (nan(0x7E00, "2"), nan(0xFE01, "2")), (np.float32("nan"), -np.float32("nan")),
    (np.array([complex(0, np.nan)]), np.array([complex(0, -np.nan)])),
    (nan(0x7FF8000000000000)[::-1], nan(0xFFF8000000000001)[::-1].copy()), (padded(0), padded(255)),
    (padded(0)[0], padded(255)[0]), (long_double(0), long_double(255)), (long_double(0)[0], long_double(255)[0]),
    (np.array([0, 1], "u1").view("?"), np.array([0, 7], "u1").view("?")), (np.zeros(0), np.zeros((0,))),
    # arrays
    (masked(2), masked(9)), (masked(2), used(masked(2), lambda a: a.fill_value)), (ma.array([1, 2]), ma.array([1, 2], mask=[0, 0])),
    (np.asfortranarray(padded(0).reshape(3, 1)), padded(1).reshape(3, 1)), (Quantity([1], "m"), Quantity([1], "m")),
    (reduced([[1, 2], [3, 4]], "m"), reduced(np.asfortranarray([[1, 2], [3, 4]]), "m")),
    (np.array([np.datetime64("NaT"), np.datetime64(1, "D")]), np.array(["NaT", "1970-01-02"], "M8[D]")),
    (np.random.default_rng(1), np.random.default_rng(1)), (np.random.RandomState(1), np.random.RandomState(1)),
    (drawn(np.random.default_rng(1), 3), drawn(np.random.default_rng(1), 3)),
    (np.array(["a", "b"], np.dtypes.StringDType()), np.array(["a", "b"], np.dtypes.StringDType())),
    # pandas
    (nullable(2), nullable(9)), (pd.RangeIndex(3), pd.Index([0, 1, 2])), (pd.DataFrame({"a": [np.nan]}), pd.DataFrame({"a": [-np.nan]})),
    (pd.Series(["a"]), used(pd.Series(["a"]), lambda s: s.str)), (pd.Index([1, 2]), used(pd.Index([1, 2]), lambda i: i.is_unique)),
    (frame("a"), frame("a")), (pd.Series(["a", None]), pd.Series(["a", np.nan])),
    (pd.Series([0.0, 1], dtype=pd.SparseDtype(float, 0.0)), pd.Series([0.0, 1], dtype=pd.SparseDtype(float, 0.0)).copy()),
    (pd.Series([1, 2], dtype="int64[pyarrow]"), pd.concat([pd.Series([x], dtype="int64[pyarrow]") for x in (1, 2)], ignore_index=True)),
    (pd.Series(pd.interval_range(0, 2)), pd.Series(pd.interval_range(0, 3)[:2])),
    # polars
    (NESTED, pl.concat([NESTED[:1], NESTED[1:]])), (pl.Series([1, None]), pl.Series([1, 2, None]).filter(pl.Series([True, False, True]))),
    (pl.Series(["b", "a"], dtype=pl.Categorical), pl.Series(["a", "b", "a"], dtype=pl.Categorical)[1:]),
    (pl.Series([{"a": 1}, None]), pl.Series([{"a": 1}, None])), (pl.Series([np.nan]), pl.Series([-np.nan])),
    # pyarrow
    (pa.chunked_array([[1], [None]]), pa.chunked_array([[1, None]])), (pa.array([9, [1], []][1:]), pa.array([[1], []])),
    (pa.table({"a": [[1, 2], None]}), pa.table({"a": [[1, 2], None]}).slice(0)),
    # SciPy, scikit-learn, pydantic
    (duplicated(), duplicated().tocsr().tocoo()), (unsorted(), used(unsorted(), lambda m: m.sort_indices())),
    (unsorted(), unsorted().copy()), (sp.csr_matrix(np.eye(2)), sp.csr_matrix(np.eye(2)).copy()),
    (sp.csr_array(np.eye(2)), used(sp.csr_array(np.eye(2)), lambda m: m.has_canonical_format)),
    (fitted(), fitted()), (extra(x=1, y=2), extra(y=2, x=1)), (Extra(), used(Extra(), lambda m: m.size)),
    # PIL, bs4
    (image(), image()), (pages(1, 2, 3), pages(1, 2, 3)), (palette(1, 2, 3), palette(1, 2, 3)),
    (parsed("<p>a<b>c</b></p>").p, parsed("<i></i><p>a<b>c</b></p>").p),
    # the standard library
    (zoneinfo.ZoneInfo("Asia/Tokyo"), zoneinfo.ZoneInfo.no_cache("Asia/Tokyo")),
    (fractions.Fraction(2, 4), fractions.Fraction(1, 2)), (decimal.Decimal("1.0"), decimal.Decimal("1.0")),
]  # fmt: skip

DIFFERENT: list[tuple[Any, Any]] = [
    # scalars
    (np.float32(1), 1.0), (np.int32(1), 1), (np.uint64(1), 1), (np.longdouble(1), 1.0), (np.float32(1), np.float16(1)),
    (np.float64(0.0), np.float64(-0.0)), (np.datetime64(1, "s"), np.datetime64(1, "ms")), (np.clongdouble(1), 1 + 0j),
    (np.array([1]), [1]), (np.array(1), 1), (padded(0)[0], padded(0, align=False)[0]), (padded(0)[0], padded(0)[2]),
    # what arrays carry beside their elements
    (Quantity([1], "m"), Quantity([1], "km")), (Quantity([1], "m"), np.array([1.0])), (Quantity([1], "m"), Quantity([2], "m")),
    (reduced([1], "m"), reduced([1], "km")), (reduced([1], "m"), reduced([2], "m")), (slotted([1], "m"), slotted([1], "km")),
    (masked(2, fill_value=1), masked(2, fill_value=2)), (masked(2), ma.array([1.0, 2.0, 3.0], mask=[0, 0, 0])),
    (masked(2), masked(2, hard_mask=True)), (ma.masked, ma.array(0.0)),
    (np.rec.array([(1,)], [("a", "i8")]), np.array([(1,)], [("a", "i8")])),
    (np.zeros(2, np.dtype((np.record, [("a", "i8")]))), np.zeros(2, [("a", "i8")])),
    (np.zeros(2, [("a", "i8")]), np.zeros(2, [(("title", "a"), "i8")])),
    (padded(0), padded(0, align=False)), (np.zeros(2, np.dtype("i4", metadata={"a": 1})), np.zeros(2, "i4")),
    (np.zeros((2, 2), "i4"), np.zeros(2, "2i4,")), (np.matrix([1]), np.array([[1]])), (np.dtype("i4,i4"), np.dtype("i4,i8")),
    (np.array([None], object), np.array([np.nan], object)), (np.array(["NaT"], "M8[D]"), np.array(["NaT"], "M8[s]")),
    (np.array(["a", ""], np.dtypes.StringDType(na_object=None)), np.array(["a", None], np.dtypes.StringDType(na_object=None))),
    (np.array(["a"], np.dtypes.StringDType(na_object=None)), np.array(["a"], np.dtypes.StringDType())),
    (np.array(["a"], np.dtypes.StringDType()), np.array(["a"], object)),
    # random generators
    (np.random.default_rng(1), np.random.default_rng(2)), (np.random.default_rng(1), drawn(np.random.default_rng(1), 1)),
    (np.random.RandomState(1), np.random.RandomState(2)), (np.random.Generator(np.random.PCG64(1)), np.random.Generator(np.random.MT19937(1))),
    (np.random.default_rng(1), used(np.random.default_rng(1), lambda r: r.spawn(1))),
    # pandas
    *((pd.Series([one], dtype=object), pd.Series([other], dtype=object))
      for i, one in enumerate([None, np.nan, pd.NaT, pd.NA, decimal.Decimal("NaN"), 1, 1.0, True, "1"])
      for other in [None, np.nan, pd.NaT, pd.NA, decimal.Decimal("NaN"), 1, 1.0, True, "1"][:i]),
    (frame("a"), frame("b")), (frame("a"), pd.DataFrame({"a": [1]})), (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)),
    (pd.DatetimeIndex(UTC_TIMES, freq="D"), pd.DatetimeIndex(UTC_TIMES)), (pd.DatetimeIndex(UTC_TIMES), pd.DatetimeIndex(UTC_TIMES).tz_localize("UTC")),
    (pd.DatetimeIndex(UTC_TIMES).as_unit("s"), pd.DatetimeIndex(UTC_TIMES).as_unit("ns")), (pd.Index([1], name="a"), pd.Index([1])),
    (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["a", "c"])), (pd.Categorical(["a"], ordered=True), pd.Categorical(["a"])),
    (pd.Interval(0, 1, "left"), pd.Interval(0, 1, "right")), (pd.arrays.IntervalArray.from_breaks([0, 1]), pd.arrays.IntervalArray.from_breaks([0, 2])),
    (pd.Series([1], dtype="Int64"), pd.Series([1])), (nullable(2), pd.Series([1, 2], dtype="Int64")), (pd.Series([True], dtype="boolean"), pd.Series([True])),
    (pd.Series([0.0, 1], dtype=pd.SparseDtype(float, 0.0)), pd.Series([0.0, 1], dtype=pd.SparseDtype(float, 1.0))),
    (pd.Series([0.0, 1], dtype=pd.SparseDtype(float, 0.0)), pd.Series([0.0, 1])), (pd.Series(["a", None], dtype="string"), pd.Series(["a", None])),
    (pd.period_range("2020", periods=1, freq="D"), pd.period_range("2020", periods=1, freq="M")),
    (pd.Series([1], dtype="timedelta64[ns]"), pd.Series([2], dtype="timedelta64[ns]")), (pd.Timestamp(1), pd.Timestamp(2)),
    (pd.Series([1, 2], dtype="int64[pyarrow]"), pd.Series([1, 3], dtype="int64[pyarrow]")),
    (pd.Series([1], dtype=pd.ArrowDtype(pa.time64("ns"))), pd.Series([2], dtype=pd.ArrowDtype(pa.time64("ns")))),
    (pd.Series([1], dtype=pd.ArrowDtype(pa.int64())), pd.Series([None], dtype=pd.ArrowDtype(pa.int64()))),
    # polars
    *((pl.Series([1], dtype=dtype), pl.Series([2], dtype=dtype)) for dtype in
      (pl.Duration("ns"), pl.Time, pl.Datetime("ns"), pl.Datetime("us", "UTC"), pl.Date, pl.Int128, pl.Float32)),
    (pl.Series([1], dtype=pl.Duration("ns")), pl.Series([1], dtype=pl.Duration("us"))),
    (pl.Series([1], dtype=pl.Datetime("ns", "UTC")), pl.Series([1], dtype=pl.Datetime("ns", "Asia/Tokyo"))),
    *((pl.Series([one], dtype=pl.List(pl.Duration("ns"))), pl.Series([other], dtype=pl.List(pl.Duration("ns"))))
      for one, other in (([1], [2]), ([1], [1, 1]), ([], [None]), ([None], None), (None, []))),
    (pl.Series([[1, 2]], dtype=pl.Array(pl.Time, 2)), pl.Series([[1, 3]], dtype=pl.Array(pl.Time, 2))),
    (pl.Series([[1, 2]]), pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2))), (pl.Series([[], [1]]), pl.Series([[1], []])),
    (pl.Series([{"a": 1}]), pl.Series([{"a": 2}])), (pl.Series([{"a": 1}]), pl.Series([{"b": 1}])), (pl.Series([{"a": None}]), pl.Series([None], dtype=pl.Struct({"a": pl.Null}))),
    (pl.Series(["a"], dtype=pl.Enum(["a", "b"])), pl.Series(["a"], dtype=pl.Enum(["a", "c"]))), (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["a"])),
    (pl.Series([Path("a")], dtype=pl.Object), pl.Series([Path("b")], dtype=pl.Object)), (pl.Series([b"a"]), pl.Series(["a"])),
    (pl.Series([decimal.Decimal("1.0")]), pl.Series([decimal.Decimal("1.1")])), (pl.Series([True, None]), pl.Series([True, False])),
    (pl.Enum(["a"]), pl.Enum(["b"])), (pl.List(pl.Int8()), pl.List(pl.Int16())),
    # pyarrow
    (pa.array([1, None]), pa.array([1, 0])), (pa.array([1], pa.time64("ns")), pa.array([2], pa.time64("ns"))),
    (pa.array([[1]]), pa.array([[2]])), (pa.array([{"a": 1}]), pa.array([{"a": 2}])), (pa.array(["a"]), pa.array(["a"]).dictionary_encode()),
    (pa.table({"a": [1]}), pa.table({"a": [1]}).replace_schema_metadata({"k": "v"})), (pa.scalar(1), pa.scalar(2)),
    (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), pa.array([[("a", 2)]], pa.map_(pa.string(), pa.int64()))),
    # SciPy
    (sp.csr_matrix([[0, 1]]), sp.csr_matrix([[1, 0]])), (sp.csr_matrix([[0, 1]]), sp.csc_matrix([[0, 1]])), (sp.csr_matrix([[0, 1]]), sp.csr_array([[0, 1]])),
    (sp.csr_matrix([[0, 1]]), sp.csr_matrix([[0, 1.0]])), (sp.csr_matrix((2, 2)), sp.csr_matrix((3, 2))),
    (sp.csr_matrix(([0.0], ([0], [0])), shape=(1, 1)), sp.csr_matrix((1, 1))),
    # scikit-learn
    (sklearn.linear_model.Ridge(alpha=1), sklearn.linear_model.Ridge(alpha=2)), (fitted(), fitted(22)), (fitted(), fitted(max_depth=1)),
    (sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler()), sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(with_mean=False))),
    (extra(x=1), extra(x=2)), (extra(x=1), extra()),
    # PIL
    (image(), image(colour=2)), (image(), image("L")), (image(), image(dpi=(1, 1))), (pages(1, 2), pages(1, 3)),
    (pages(1, 2), pages(1)), (pages(1, 2, kind="TIFF"), pages(1, 3, kind="TIFF")), (pages(1, 2, kind="WEBP"), pages(1, 99, kind="WEBP")),
    (pages(1, 2, kind="PNG"), pages(1, 3, kind="PNG")), (palette(1, 2, 3), palette(1, 2, 4)), (pages(1, 2), used(pages(1, 2), lambda i: i.seek(1))),
    # bs4
    (parsed("<p>a</p>"), parsed("<p>b</p>")),
    (parsed("<p>a</p>").p, parsed("<p>a</p>")),
    (bs4.element.NavigableString("a"), bs4.element.Comment("a")), (bs4.element.NavigableString("a"), "a"),
    (zoneinfo.ZoneInfo("Asia/Tokyo"), zoneinfo.ZoneInfo("Asia/Seoul")), (decimal.Decimal("1.0"), decimal.Decimal("1")),
]  # fmt: skip


def id_of(value: Any) -> str:
    return f"{type(value).__module__.split('.')[0]}-{type(value).__name__}"


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=id_of)
def test_equal_values_have_one_key(one: Any, other: Any) -> None:
    assert encode(one) == encode(other)
    assert encode([one, [2]]) == encode([other, [2]])
    assert encode({"a": one}) == encode({"a": other})


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=id_of)
def test_values_that_a_function_could_tell_apart_have_two(one: Any, other: Any) -> None:
    assert encode(one) != encode(other)
    assert encode(one) == encode(one)


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.text(), st.binary(), st.none()
)
nested = st.recursive(
    numbers,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)
MADE = {int: np.int64, float: np.float64, bool: np.bool_, str: np.str_, bytes: np.bytes_}


def by_numpy(value: Any, random: Any) -> Any:
    """*value* with some of its numbers and texts as NumPy makes them."""
    if isinstance(value, list | tuple):
        return type(value)(by_numpy(item, random) for item in value)
    if isinstance(value, dict):
        return {by_numpy(name, random): by_numpy(item, random) for name, item in value.items()}
    if isinstance(value, str | bytes) and value[-1:] in ("\0", b"\0"):
        return value  # NumPy drops these
    return MADE[type(value)](value) if type(value) in MADE and random.random() < 0.5 else value


@given(nested, st.randoms(use_true_random=False))
def test_scalars_of_numpy_count_as_those_of_python_at_any_depth(value: Any, random: Any) -> None:
    assert encode(by_numpy(value, random)) == encode(value)


KINDS = [
    "f2",
    "f4",
    "f8",
    ">f8",
    "g",
    "c8",
    "c16",
    "G",
    "?",
    "i2",
    ">u4",
    "U2",
    "S3",
    "M8[s]",
    "V3",
    "i1,f8,(2,)f4",
    "O",
]


@pytest.mark.parametrize("kind", KINDS)
def test_elements_are_read_in_blocks_whatever_their_order(kind: str) -> None:
    """The arrays are larger than a block, and differ in their last element."""
    size = 600 * 500
    dtype = np.dtype(kind)
    array = np.zeros((600, 500), dtype)
    if dtype.kind == "f":
        array.reshape(-1)[[size // 2, size - 2]] = np.nan
    spread = np.zeros((1200, 1000), dtype)[::2, ::2]
    spread[...] = array
    keys = {encode(made) for made in (array, np.asfortranarray(array), spread, array[::-1][::-1], array.copy())}
    assert len(keys) == 1
    array[-1, -1] = np.ones((), "u1").astype(dtype) if dtype.names is None and dtype.kind != "V" else array[-1, -1]
    if dtype.kind != "V":
        assert encode(array) not in keys


@pytest.mark.parametrize("name", ["coo", "csr", "csc", "bsr", "dia", "dok", "lil"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_a_sparse_matrix_of_any_format_has_the_key_of_its_copy(name: str, kind: str) -> None:
    made = getattr(sp, f"{name}_{kind}")(np.diag([1.0, 0, 3]))
    other = getattr(sp, f"{name}_{kind}")(np.diag([1.0, 0, 4]))
    assert encode(made) == encode(made.copy()) == encode(made.tocoo().asformat(name)) != encode(other)


def test_a_key_leaves_its_argument_as_it_was() -> None:
    matrix = unsorted()
    animated = pages(1, 2, 3)
    animated.putpixel((0, 0), 9)
    array = nan(0xFFF8000000000001)
    encode([matrix, animated, array, masked(2)])
    assert matrix.indices.tolist() == [2, 0]
    assert "_has_sorted_indices" not in vars(matrix)
    assert animated.getpixel((0, 0)) == 9
    assert array.view("u8")[1] == 0xFFF8000000000001
    animated.seek(2)
    assert animated.tell() == 2


def test_a_value_that_its_library_cannot_read_is_named_with_a_cure() -> None:
    closed = pages(1, 2)
    closed.close()
    with pytest.raises(
        UnkeyableError, match=r"\[0\] \(.*GifImageFile\) cannot identify a call, since it cannot be read \(Operation"
    ):
        encode([closed])


def test_a_generator_that_the_module_owns_is_one_object() -> None:
    before = encode(np.random.mtrand._rand)
    np.random.random()
    assert encode(np.random.mtrand._rand) == before != encode(np.random.RandomState(1))


def test_an_estimator_has_one_key_whatever_version_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = encode(fitted())
    monkeypatch.setattr("sklearn.base.__version__", "0.0")
    assert encode(fitted()) == before


def test_an_element_of_a_page_takes_time_in_proportion_to_its_text() -> None:
    rows = "".join(f"<tr><td class='a b'>{i}</td><td><b>{i}</b></td></tr>" for i in range(4000))
    page = parsed(f"<table>{rows}</table>")
    started = time.perf_counter()
    encode([page.td, page.td.string, page.find_all("b")[:100], page])
    assert time.perf_counter() - started < 5


@dataclasses.dataclass
class Holder:
    page: Any
    size: Any


def test_values_inside_of_others_are_found() -> None:
    page = parsed("<p>a</p>").p
    assert encode(Holder(page, np.int64(1))) == encode(Holder(page, 1))
    assert encode(Holder(page, {np.str_("a"): {np.float64(1)}})) == encode(Holder(page, {"a": {1.0}}))


class Level(enum.IntEnum):
    LOW = 1


def test_a_call_has_one_key_whether_numpy_or_python_made_the_number() -> None:
    def function(x: Any) -> None: ...

    keyer = Keyer(function)
    assert keyer((np.float64(0.1),), {})[0] == keyer((0.1,), {})[0]
    assert keyer((Level.LOW,), {})[0] != keyer((np.int64(1),), {})[0]


def digest_of_all() -> str:
    values = [encode(value) for pair in [*EQUAL, *DIFFERENT] for value in pair]
    return hashlib.blake2b(b"".join(values)).hexdigest()


@pytest.mark.slow
def test_values_have_the_same_key_in_every_process() -> None:
    script = "from tests.keys.test_values import digest_of_all; print(digest_of_all())"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    printed = [
        subprocess.run(
            [sys.executable, "-c", script], env={**env, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        for seed in "12"
    ]
    assert [(done.stdout.strip(), done.stderr) for done in printed] == [(digest_of_all(), "")] * 2


def test_no_library_is_imported_for_the_key_of_a_value() -> None:
    script = (
        "import sys; from beautyspot.keys.encoding import encode; import decimal, dataclasses\n"
        "D = dataclasses.make_dataclass('D', ['x']); D.__module__ = 'd'\n"
        "class C: pass\n"
        "encode([{1: [decimal.Decimal(1)]}, (1, 2), C(), D(1)])\n"
        "libraries = 'numpy pandas polars pyarrow scipy sklearn torch xarray networkx PIL bs4 lxml pydantic'\n"
        "print([name for name in libraries.split() if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_graphs_count_by_nodes_and_edges() -> None:
    networkx = pytest.importorskip("networkx")
    made = networkx.Graph([(1, 2, {"weight": 3}), (2, 3)])
    before = encode(made)
    assert len([made.nodes, made.edges, made.degree, made.adj]) == 4  # views stay on the graph
    list(networkx.connected_components(made))
    assert encode(made) == before == encode(networkx.Graph([(3, 2), (2, 1, {"weight": 3})])) == encode(made.copy())
    others = [
        networkx.Graph([(1, 2), (2, 3)]), networkx.DiGraph([(1, 2, {"weight": 3}), (2, 3)]), networkx.Graph([(1, 2)]),
        networkx.MultiGraph([(1, 2, {"weight": 3}), (2, 3)]), networkx.Graph(made, name="a"),
        networkx.MultiGraph([(1, 2, {"weight": 3}), (2, 3), (2, 3)]), networkx.DiGraph([(2, 1, {"weight": 3}), (2, 3)]),
    ]  # fmt: skip
    networkx.set_node_attributes(noted := made.copy(), {1: "a"}, "colour")
    assert len({before, *map(encode, [*others, noted])}) == len(others) + 2


def test_arrays_of_xarray_count_by_dimensions_and_coordinates() -> None:
    xarray = pytest.importorskip("xarray")

    def made(values: Any = (1.0, 2.0), dims: str = "x", coords: Any = None, **options: Any) -> Any:
        return xarray.DataArray(np.array(values), dims=dims, coords=coords, **options)

    assert encode(made()) == encode(made().copy()) == encode(used(made(), lambda a: a.encoding.update(a=1)))
    data = xarray.Dataset({"a": made()}, attrs={"b": 1})
    assert encode(data) == encode(data.copy())
    values = [
        made(), made((1.0, 3.0)), made(dims="y"), made(coords={"x": [1, 2]}), made(coords={"x": [1, 3]}), made(name="a"),
        made(attrs={"a": 1}), data, data.drop_attrs(), data.rename(a="c"), data.set_coords("a"), made().variable,
    ]  # fmt: skip
    assert len({*map(encode, values)}) == len(values)


def test_quantities_of_astropy_count_by_number_and_unit() -> None:
    units = pytest.importorskip("astropy.units")
    table = pytest.importorskip("astropy.table")
    made, same = np.arange(3.0) * units.m, np.arange(3.0) * units.Unit("m")
    assert (made.info.name, made.to("km").unit, hash(made.unit)) != ()  # each leaves something behind
    assert encode(made) == encode(same)
    own = [units.def_unit("own", days * units.day) for days in (13, 14)]
    values = [
        made, made.to("km"), made.value, 1 * units.m, *(1 * unit for unit in own), units.Magnitude([1.0]), [1] * units.mag,
        table.Table({"a": made}), table.QTable({"a": made}), table.QTable({"a": made.to("km")}), table.Table({"b": made}),
        table.Table({"a": made}, meta={"b": 1}), table.Table({"a": table.MaskedColumn([1, 2], mask=[0, 1])}),
        table.Table({"a": table.MaskedColumn([1, 2], mask=[0, 0])}),
    ]  # fmt: skip
    assert len({*map(encode, values)}) == len(values)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_tensors_count_by_elements_dtype_and_requires_grad() -> None:
    torch = pytest.importorskip("torch")
    made = torch.arange(6.0).reshape(2, 3)
    assert encode(made) == encode(made.T.contiguous().T) == encode(made.clone())
    assert encode(torch.tensor([float("nan")])) == encode(-torch.tensor([float("nan")]))
    halves = made.to(torch.bfloat16)
    assert encode(halves) == encode(halves.T.contiguous().T)
    sparse = torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 2), check_invariants=True)
    assert encode(sparse) == encode(sparse.coalesce())
    values = [
        made, made + 1, made.reshape(3, 2), made.double(), halves, halves + 1, made.clone().requires_grad_(), made.numpy(),
        torch.nn.Parameter(made), sparse, sparse.to_dense(), sparse.to_sparse_csr(), made.to("meta"), torch.tensor(1j),
        torch.tensor(1j).conj(), torch.tensor([True]),
    ]  # fmt: skip
    assert len({*map(encode, values)}) == len(values)


def test_elements_of_lxml_count_by_their_text() -> None:
    html = pytest.importorskip("lxml.html")
    page = "<html><body><p>a</p><p>b</p></body></html>"
    assert encode(html.fromstring(page)) == encode(html.fromstring(page)) != encode(html.fromstring(page)[0][0])
    assert encode(html.fromstring(page)[0][0]) != encode(html.fromstring(page)[0][1])
