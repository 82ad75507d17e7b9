"""pandas: frames, series, indexes, arrays and scalars, each as the arrays that it consists of.

A column of NumPy is stored as its array, cells of any kind that is kept included; a column of Arrow as Arrow. Where all
columns have one dtype of NumPy they are stored, and mapped into memory, as one array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.types.builtin import to_zone, zone
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

_SEPARATE = 50  # columns up to which each stays an array of its own; pandas slows down, and warns, at a hundred


def _pd() -> Any:
    import pandas

    return pandas


def _frame(v: Any, apart: Apart) -> Any:
    import numpy as np

    kinds = set(v.dtypes)
    if len(kinds) == 1 and isinstance(v.dtypes.iloc[0], np.dtype) and v.dtypes.iloc[0].kind not in "Mm":
        columns: Any = v.to_numpy()
    else:
        columns = [_values(v.iloc[:, i], apart) for i in range(v.shape[1])]
    return ["frame", columns, v.index, v.columns, _marks(v)]


def _marks(v: Any) -> list[Any]:
    """What a frame or a series holds beside its data."""
    return [dict(v.attrs), v.flags.allows_duplicate_labels]


def _marked(v: Any, marks: list[Any]) -> Any:
    v.attrs = marks[0]
    return v if marks[1] else v.set_flags(allows_duplicate_labels=False)


def _to_frame(columns: Any, index: Any, names: Any, marks: list[Any]) -> Any:
    pd = _pd()
    if isinstance(columns, list):
        data = {i: _to_column(values, index, i) for i, values in enumerate(columns)}
        made = pd.DataFrame(data, index=index, copy=len(data) > _SEPARATE)
        made.columns = names
    else:
        made = pd.DataFrame(columns, index=index, columns=names, dtype=columns.dtype, copy=False)
    return _marked(made, marks)


def _series(v: Any, apart: Apart) -> Any:
    return ["series", _values(v, apart), v.index, v.name, _marks(v)]


def _to_series(values: Any, index: Any, name: Any, marks: list[Any]) -> Any:
    return _marked(_to_column(values, index, name), marks)


def _to_column(values: Any, index: Any, name: Any) -> Any:
    """A series of the data of `_values`; its dtype is given, since pandas would make texts of some objects."""
    array = _to_extension(values) if isinstance(values, list) else values
    return _pd().Series(array, index=index, name=name, dtype=array.dtype, copy=False)


def _values(v: Any, apart: Apart) -> Any:
    """The data of a series or an index: an array of NumPy, or the parts of an extension array."""
    import numpy as np

    if isinstance(v.dtype, np.dtype) and v.dtype.kind not in "Mm":
        return v.to_numpy()
    return _extension(v.array, apart)


def _extension(v: Any, apart: Apart) -> Any:
    pd = _pd()
    kind = type(v)
    arrays = pd.arrays
    if kind is pd.Categorical:
        return ["categories", v.codes, v.categories, v.ordered]
    if kind is arrays.DatetimeArray:
        return ["times", v.asi8, v.unit, zone(v.tz)]
    if kind is arrays.TimedeltaArray:
        return ["durations", v.asi8, v.unit]
    if kind is arrays.PeriodArray:
        return ["periods", v.asi8, str(v.dtype)]
    if kind is arrays.IntervalArray:
        return ["intervals", v.left, v.right, v.closed]
    if kind in (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray):
        return ["masked", v._data, v._mask]
    if kind is arrays.SparseArray:
        return ["sparse", v.sp_values, v.sp_index.indices, len(v), v.fill_value, v.kind]
    if kind is arrays.NumpyExtensionArray:
        return ["numpy", v.to_numpy()]
    if isinstance(v.dtype, pd.StringDtype):
        dtype = [v.dtype.storage, v.dtype.na_value is pd.NA]
        content = _to_arrow(v, apart) if v.dtype.storage == "pyarrow" else v.to_numpy(object)
        return ["text", content, *dtype]
    if kind is arrays.ArrowExtensionArray:
        return ["arrow", _to_arrow(v, apart)]
    raise SerializationError(f"a {full_name(kind)} cannot be kept; convert it with astype to a dtype of pandas itself")


def _to_extension(data: list[Any]) -> Any:
    pd = _pd()
    kind, *content = data
    if kind == "categories":
        codes, categories, ordered = content
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, ordered))
    if kind == "times":
        stamps, unit, named = content
        made = pd.DatetimeIndex(stamps.view(f"M8[{unit}]"))
        return (made if named is None else made.tz_localize("UTC").tz_convert(to_zone(named))).array
    if kind == "durations":
        stamps, unit = content
        return pd.TimedeltaIndex(stamps.view(f"m8[{unit}]")).array
    if kind == "periods":
        return pd.arrays.PeriodArray(content[0], dtype=pd.api.types.pandas_dtype(content[1]))
    if kind == "intervals":
        return pd.arrays.IntervalArray.from_arrays(*content)
    if kind == "masked":
        values, mask = content
        made = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}.get(
            values.dtype.kind, pd.arrays.IntegerArray
        )
        return made(values, mask)
    if kind == "sparse":
        return _to_sparse(*content)
    if kind == "numpy":
        return pd.arrays.NumpyExtensionArray(content[0])
    if kind == "text":
        values, storage, is_na = content
        dtype = pd.StringDtype(storage, na_value=pd.NA if is_na else float("nan"))
        return dtype.construct_array_type()._from_sequence(
            _of_arrow(values) if storage == "pyarrow" else values, dtype=dtype
        )
    if kind == "arrow":
        return pd.arrays.ArrowExtensionArray(_of_arrow(*content))
    raise DeserializationError(f"there is no column of the kind {kind!r}")


def _to_sparse(values: Any, indices: Any, size: int, fill_value: Any, kind: str) -> Any:
    import numpy as np
    from pandas._libs import sparse

    make: Any = sparse.IntIndex
    index = make(size, np.asarray(indices, np.int32), check_integrity=True)
    pd = _pd()
    index = index if kind == "integer" else index.to_block_index()
    return pd.arrays.SparseArray._simple_new(values, index, pd.SparseDtype(values.dtype, fill_value))


def _to_arrow(v: Any, apart: Apart) -> Any:
    import pyarrow

    column = v.__arrow_array__()
    table = pyarrow.table({"": column})
    target = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return apart(memoryview(target.getvalue()))


def _of_arrow(content: Any) -> Any:
    import pyarrow

    table = pyarrow.ipc.open_stream(pyarrow.py_buffer(content)).read_all()
    table.validate(full=True)
    return table.column(0)


def _name_of(freq: Any) -> str | None:
    """A frequency as text, checked to be the whole of it."""
    if freq is None:
        return None
    from pandas.tseries.frequencies import to_offset

    name: str = freq.freqstr
    try:
        same = to_offset(name) == freq
    except ValueError:
        same = False
    if not same:
        raise SerializationError(
            f"the frequency {freq!r} cannot be kept: set freq=None, or use one that its name describes"
        )
    return name


def _index(v: Any, apart: Apart) -> Any:
    pd = _pd()
    if type(v) is pd.RangeIndex:
        return ["range", v.start, v.stop, v.step, v.name]
    if type(v) is pd.MultiIndex:
        return ["levels", list(v.levels), list(v.codes), list(v.names), v.sortorder]
    steps = (pd.DatetimeIndex, pd.TimedeltaIndex)
    return ["index", _values(v, apart), v.name, _name_of(v.freq) if isinstance(v, steps) else None]


def _to_index(values: Any, name: Any, freq: str | None) -> Any:
    array = _to_extension(values) if isinstance(values, list) else values
    made = _pd().Index(array, dtype=array.dtype, name=name, copy=False)
    if freq is not None:
        made.freq = freq
    return made


def _to_levels(levels: Any, codes: Any, names: Any, sortorder: Any) -> Any:
    return _pd().MultiIndex(levels, codes, sortorder=sortorder, names=names, verify_integrity=True)


def _array(v: Any, apart: Apart) -> Any:
    return ["array", _extension(v, apart)]


def _stamp(v: Any, _: Apart) -> Any:
    return ["stamp", v.asm8, zone(v.tz)]


def _to_stamp(moment: Any, named: Any) -> Any:
    made = _pd().Timestamp(moment)
    return made if named is None else made.tz_localize("UTC").tz_convert(to_zone(named))


def _to_period(ordinal: int, freq: str) -> Any:
    return _pd().Period(ordinal=ordinal, freq=freq)


def _offset(name: str) -> Any:
    from pandas.tseries.frequencies import to_offset

    return to_offset(name)


_KINDS: dict[str, Callable[..., Any]] = {
    "frame": _to_frame,
    "series": _to_series,
    "index": _to_index,
    "range": lambda start, stop, step, name: _pd().RangeIndex(start, stop, step, name=name),
    "levels": _to_levels,
    "array": _to_extension,
    "stamp": _to_stamp,
    "duration": lambda length: _pd().Timedelta(length),
    "period": _to_period,
    "interval": lambda left, right, closed: _pd().Interval(left, right, closed),
    "NA": lambda: _pd().NA,
    "NaT": lambda: _pd().NaT,
    "offset": _offset,
}


def _to_pandas(data: Any) -> Any:
    kind, *content = data
    return _KINDS[kind](*content)


DECODERS: dict[int, Decoder] = {Code.PANDAS: _to_pandas}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of pandas; ``None`` for any other type."""
    found = _encoder_of(sys.modules["pandas"], kind) if kind.__module__.partition(".")[0] == "pandas" else None
    return None if found is None else (Code.PANDAS, found)


def _encoder_of(pd: Any, kind: type) -> Encoder | None:
    table: dict[Any, Encoder] = {
        pd.DataFrame: _frame,
        pd.Series: _series,
        pd.Timestamp: _stamp,
        pd.Timedelta: lambda v, _: ["duration", v.asm8],
        pd.Period: lambda v, _: ["period", v.ordinal, v.freqstr],
        pd.Interval: lambda v, _: ["interval", v.left, v.right, v.closed],
        type(pd.NA): lambda v, _: ["NA"],
        type(pd.NaT): lambda v, _: ["NaT"],
    }
    if kind in table:
        return table[kind]
    if issubclass(kind, pd.Index):
        return _index
    if issubclass(kind, pd.api.extensions.ExtensionArray):
        return _array
    if issubclass(kind, pd.offsets.BaseOffset):
        return lambda v, _: ["offset", _name_of(v)]
    return None
