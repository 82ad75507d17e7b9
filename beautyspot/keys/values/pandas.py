"""Values of pandas: frames, series, indexes and their arrays; nothing of how they lie in memory."""

from __future__ import annotations

import functools
import sys
from typing import Any

from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts

# Attributes that frames, series and indexes of any version hold for themselves.
_OWN = frozenset(
    ("_mgr", "_attrs", "_flags", "_name", "_index", "_is_copy", "_item_cache", "_cacher", "_cache", "_data", "_id",
     "_no_setting_name", "_reference", "_references", "_range", "_levels", "_codes", "_names", "sortorder",
     "_cacheable", "_subtyp", "index", "columns", "name")
)  # fmt: skip


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a frame, series, index or array; ``None`` for any other value."""
    pandas: Any = sys.modules["pandas"]
    kind = type(value)
    if isinstance(value, pandas.DataFrame):
        columns = [_column(value.iloc[:, i], pandas) for i in range(value.shape[1])]
        return (b"v", "frame", kind, value.columns, value.index, columns, *_beside(value, kind))
    if isinstance(value, pandas.Series):
        return (b"v", "series", kind, value.name, value.index, _column(value, pandas), *_beside(value, kind))
    if isinstance(value, pandas.Index):
        return _index(value, kind, pandas)
    if isinstance(value, pandas.api.extensions.ExtensionArray) and _is_own(kind):
        return (b"v", "extension array", _column(pandas.Series(value), pandas))
    return None


def _is_own(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pandas"


def _beside(value: Any, kind: type) -> tuple[Any, ...]:
    """What a frame or a series holds beside its values."""
    metadata = {name: getattr(value, name, None) for name in kind._metadata if name != "_name"}  # type: ignore[attr-defined]
    held = extras(value, kind, _OWN | metadata.keys() | _accessors(kind))
    return (value.attrs, value.flags.allows_duplicate_labels, metadata or None, held)


@functools.lru_cache(256)
def _accessors(kind: Any) -> frozenset[str]:
    """The names of accessors such as ``str`` and ``dt``, which stay on the object once they were used."""
    return frozenset().union(*(getattr(base, "_accessors", ()) for base in kind.__mro__))


def _index(value: Any, kind: type, pandas: Any) -> Parts:
    held = None if _is_own(kind) else (kind, extras(value, kind, _OWN | _accessors(kind)))
    if isinstance(value, pandas.MultiIndex):
        return (b"v", "index", list(value.names), [value.get_level_values(i) for i in range(value.nlevels)], held)
    frequency = getattr(value, "freqstr", None)
    if isinstance(value, pandas.RangeIndex):  # its own array would stay in memory
        numpy: Any = sys.modules["numpy"]
        values: Any = ("int64", numpy.arange(value.start, value.stop, value.step, dtype="i8"))
    else:
        values = _column(value, pandas)
    return (b"v", "index", value.name, values, frequency, held)


def _column(column: Any, pandas: Any) -> tuple[Any, ...]:
    """The dtype and the values of a series or an index."""
    dtype, array = column.dtype, column.array
    name = str(dtype)
    if not isinstance(dtype, pandas.api.extensions.ExtensionDtype):
        return (name, column.tolist() if dtype.hasobject else column.to_numpy())
    if not _is_own(type(dtype)):  # another package's array tells itself what it is
        return (name, type(dtype), array)
    if isinstance(dtype, pandas.CategoricalDtype):
        return ("category", dtype.ordered, dtype.categories, array.codes)
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return (name, column.to_numpy(dtype=f"M8[{dtype.unit}]"))
    if isinstance(dtype, pandas.IntervalDtype):
        return (name, array.left, array.right)
    if isinstance(dtype, pandas.PeriodDtype):
        return (name, array.asi8)
    if isinstance(dtype, pandas.SparseDtype):
        return (name, dtype.fill_value, array.to_dense())
    if isinstance(dtype, pandas.ArrowDtype):
        return (name, dtype.pyarrow_dtype, array.__arrow_array__())
    missing = column.isna().to_numpy() if hasattr(column.isna(), "to_numpy") else column.isna()
    if isinstance(dtype, pandas.StringDtype):
        texts = [None if gone else text for text, gone in zip(column.tolist(), missing.tolist(), strict=True)]
        return (name, repr(dtype.na_value), texts)
    if isinstance(array, pandas.arrays.IntegerArray | pandas.arrays.FloatingArray | pandas.arrays.BooleanArray):
        return (name, missing, array.to_numpy(dtype=dtype.numpy_dtype, na_value=0))
    return (name, column.tolist())
