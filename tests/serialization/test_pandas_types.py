"""Frames, series, indexes, arrays and scalars of pandas come back with all that pandas can see of them."""

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import pandas as pd_st

from beautyspot.errors import SerializationError
from beautyspot.serialization import MsgpackSerializer
from tests.support.round_trip import check

TIMES = pd.date_range("2020", periods=3, tz="Europe/Berlin")
LEVELS = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["p", "q"])


def with_attrs(frame: Any) -> Any:
    frame.attrs = {"source": ("a", 1)}
    return frame


VALUES: dict[str, Any] = {
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan]}),
    "attrs": with_attrs(pd.DataFrame({"a": [1]})), "attrs of a series": with_attrs(pd.Series([1])),
    "flags": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    "flags of a series": pd.Series([1, 2]).set_flags(allows_duplicate_labels=False),
    "nothing": pd.DataFrame(), "no rows": pd.DataFrame(columns=["a", "b"]), "no columns": pd.DataFrame(index=[1, 2]),
    "series": pd.Series([1, 2], name="s"), "a tuple as name": pd.Series(["a"], name=("t", 3)),
    "mixed cells": pd.DataFrame({"a": [1, "x"]}), "one name twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "any cells": pd.DataFrame({"o": pd.Series([None, np.nan, pd.NaT, pd.NA, (1,), {"a": {1}}, 2**70], dtype=object)}),
    "texts as objects": pd.Series(["a"], dtype=object), "texts as objects only": pd.DataFrame({"a": ["x"]}, dtype=object),
    "frames in cells": pd.Series([pd.DataFrame({"a": [1]}), np.arange(3)]), "one array": pd.DataFrame(np.zeros((2, 3))),
    "categories": pd.DataFrame({"a": pd.Categorical(list("aba"), ordered=True)}), "zone": pd.DataFrame({"t": TIMES}),
    "index of times": pd.DataFrame({"x": [1, 2, 3]}, index=TIMES), "large": pd.DataFrame({"a": range(50_000)}),
    "Int64": pd.DataFrame({"a": [1, None]}, dtype="Int64"), "Float32": pd.Series([1, None], dtype="Float32"),
    "boolean": pd.Series([True, None], dtype="boolean"), "levels": pd.DataFrame({"x": [1, 2]}, index=LEVELS),
    "levels of columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["a"], [1, 2]])),
    "periods": pd.Series(pd.period_range("2020", periods=2, freq="M")), "intervals": pd.Series(pd.interval_range(0, 2)),
    "durations": pd.Series(pd.to_timedelta([1, None], unit="s")), "complex": pd.Series([1j]),
    "sparse": pd.Series(pd.arrays.SparseArray([0, 0, 1])), "seconds": pd.Series(np.array(["2020"], "M8[s]")),
    "sparse blocks": pd.Series(pd.arrays.SparseArray([0.0, 1.0, np.nan], kind="block")),
    "arrow": pd.Series([1, 2, None], dtype="int64[pyarrow]"),
    "lists of arrow": pd.Series([[1], [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "string": pd.Series(["a", None], dtype="string"), "string of python": pd.Series(["a", None], dtype=pd.StringDtype("python")),
    "decimals": pd.DataFrame({"d": [decimal.Decimal("1.5"), None]}), "dates": pd.DataFrame({"d": [dt.date(2020, 1, 1)]}),
    "two dtypes": pd.DataFrame({"a": np.array([1], "u1"), "b": np.array([1], "f4")}),
    "RangeIndex": pd.RangeIndex(1, 7, 2, name="r"), "Index": pd.Index(["a", "b"], name="i"), "MultiIndex": LEVELS,
    "Index of objects": pd.Index([1, "a", None]), "PeriodIndex": pd.period_range("2020", periods=2, freq="Q", name="p"),
    "IntervalIndex": pd.interval_range(0, 2, closed="left"), "CategoricalIndex": pd.CategoricalIndex(["a", "b"]),
    "TimedeltaIndex": pd.timedelta_range("1D", periods=3), "DatetimeIndex": pd.DatetimeIndex(["2020-01-01 00:00:00.123456789"]),
    "business days": pd.bdate_range("2020", periods=3), "weeks": pd.date_range("2020", periods=3, freq="W-TUE"),
    "months": pd.date_range("2020", periods=3, freq="2ME"), "UTC": pd.date_range("2020", periods=2, tz="UTC"),
    "an offset": pd.date_range("2020", periods=2, tz=dt.timezone(dt.timedelta(hours=2))),
    "Categorical": pd.Categorical([1, None, 2], [1, 2, 3]), "array": pd.array([1, 2, None]), "array of times": TIMES.array,
    "Timestamp": pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"), "NA": pd.NA, "NaT": pd.NaT,
    "Timestamp in seconds": pd.Timestamp("2020").as_unit("s"), "nanoseconds": pd.Timestamp("2020-01-01 00:00:00.123456789"),
    "Timedelta": pd.Timedelta("1h"), "Period": pd.Period("2020-01", "Q"), "Interval": pd.Interval(1, 2, "both"),
    "Interval of times": pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021")), "BusinessDay": pd.offsets.BusinessDay(2),
}  # fmt: skip


def cells(values: Any) -> list[Any]:
    return [(type(cell), repr(cell)) for cell in values]


def seen(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, i] for i in range(value.shape[1])]
        parts = [(c.dtype, type(c.array), cells(c)) for c in columns]
        return parts, seen(value.index), seen(value.columns), value.attrs, value.flags.allows_duplicate_labels
    if isinstance(value, pd.Series):
        return seen(value.array), seen(value.index), value.name, value.attrs, value.flags.allows_duplicate_labels
    if isinstance(value, pd.MultiIndex):
        return [seen(level) for level in value.levels], [list(c) for c in value.codes], value.names, value.sortorder
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return value.dtype, cells(value), getattr(value, "name", None), getattr(value, "freq", None)
    return value, [getattr(value, name, None) for name in ("unit", "tz", "fold", "freq", "nanosecond")]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back(name: str) -> None:
    check(VALUES[name], seen)


@given(
    pd_st.data_frames(
        [
            pd_st.column("i", dtype=int),
            pd_st.column("f", dtype=float),
            pd_st.column("t", dtype="datetime64[ns]"),
            pd_st.column("o", elements=st.none() | st.text(max_size=3) | st.tuples(st.integers()), dtype=object),
        ],
        index=pd_st.range_indexes(max_size=5),
    )
)
def test_any_frame_comes_back(frame: pd.DataFrame) -> None:
    check(frame, seen)


def test_a_frequency_that_has_no_name_is_refused() -> None:
    closed = pd.offsets.CustomBusinessDay(holidays=["2020-01-01"])
    with pytest.raises(SerializationError, match="set freq=None, or use one that its name describes"):
        MsgpackSerializer().dumps(pd.date_range("2020", periods=3, freq=closed))


def test_a_cell_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"builtins\.object cannot be kept"):
        MsgpackSerializer().dumps(pd.DataFrame({"a": [object()]}))
