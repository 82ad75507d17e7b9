"""Values of polars: frames, series, data types; durations and times to the nanosecond."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts

_OWN = frozenset(("_df", "_s", "_accessors"))


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a frame, series or data type; ``None`` for any other value."""
    polars: Any = sys.modules["polars"]
    kind = type(value)
    if isinstance(value, polars.DataFrame):
        columns = [(column.name, _series(column, polars)) for column in value.get_columns()]
        return (b"v", "polars frame", kind, value.height, columns, extras(value, polars.DataFrame, _OWN))
    if isinstance(value, polars.Series):
        return (b"v", "polars series", kind, value.name, _series(value, polars), extras(value, polars.Series, _OWN))
    if isinstance(value, polars.DataType):
        return (b"v", "polars type", _described(value, polars))
    return None


def _described(dtype: Any, polars: Any) -> Any:
    """What a data type is, as plain values."""
    if isinstance(dtype, polars.List):
        return ("list", _described(dtype.inner, polars))
    if isinstance(dtype, polars.Array):
        return ("array", dtype.size, _described(dtype.inner, polars))
    if isinstance(dtype, polars.Struct):
        return ("struct", [(field.name, _described(field.dtype, polars)) for field in dtype.fields])
    if isinstance(dtype, polars.Enum):
        return ("enum", dtype.categories.to_list())
    return str(dtype)


def _series(series: Any, polars: Any) -> tuple[Any, ...]:
    """The data type, the places of missing values, and the others."""
    missing = None
    dtype = series.dtype
    described = _described(dtype, polars)
    if series.null_count():
        missing, series = series.is_null().to_numpy(), series.drop_nulls()
    return (described, len(series), missing, _present(series, dtype, polars))


def _present(series: Any, dtype: Any, polars: Any) -> Any:
    """The values of a series without missing ones."""
    if isinstance(dtype, polars.Struct):
        return [_series(series.struct.field(field.name), polars) for field in dtype.fields]
    if isinstance(dtype, polars.Array):
        dtype, series = polars.List(dtype.inner), series.arr.to_list()
    if isinstance(dtype, polars.List):
        lengths = series.list.len()
        filled = series.filter(lengths > 0)
        # An empty list would explode into a missing value.
        return (lengths.to_numpy(), _series(filled.explode(), polars) if len(filled) else None)
    if isinstance(dtype, polars.Categorical | polars.Enum):
        return series.cast(polars.String).to_list()
    if dtype.is_temporal():
        return series.to_physical().to_numpy()
    plain = dtype.is_numeric() and not dtype.is_decimal() and str(dtype) not in ("Int128", "UInt128")
    return series.to_numpy() if plain or dtype == polars.Boolean else series.to_list()
