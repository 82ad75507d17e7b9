"""What identifies values of other libraries: parts that can be encoded, under a tag.

No library is imported: its values exist only once it is loaded. Equal arrays and frames have equal parts, whatever
their layout in memory; the content of an array is digested in place.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from beautyspot._internal.digests import digest_of, hasher

Parts = tuple[Any, ...]  # a tag of one byte, then the parts


def parts_of(value: Any, kind: type) -> Parts | None:
    """The tag and the parts of a value of NumPy, pandas or polars; ``None`` for any other value."""
    for root in _roots(kind):
        if root in _LIBRARIES:
            return _LIBRARIES[root](value)
    return None


def is_data(value: Any, kind: type) -> bool:
    """Whether a value of a library is data: an array, a frame, a number."""
    return parts_of(value, kind) is not None


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a pydantic model, including extra and private ones; ``None`` for any other value."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(value, pydantic.BaseModel):
        return None
    return {**value.__dict__, **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}


@functools.lru_cache(1024)
def _roots(kind: type) -> tuple[str, ...]:
    """Names of the packages of *kind* and its bases."""
    return tuple(dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__))


def _array(value: Any, numpy: Any) -> Parts:
    if type(value) not in (numpy.ndarray, numpy.memmap):
        return (b"A", type(value), value.view(numpy.ndarray), getattr(value, "mask", None))
    dtype = value.dtype
    if dtype.hasobject or dtype.kind == "T":  # the elements are pointers
        return (b"N", str(dtype.descr), value.shape, value.ravel().tolist())
    kind = dtype.str if dtype.names is None else repr(numpy.lib.format.dtype_to_descr(dtype))
    return (b"n", kind, value.shape, _content(value, numpy))


def _content(value: Any, numpy: Any) -> bytes:
    """The digest of an array's elements in C order, copied block by block if they lie in another order."""
    if value.flags.c_contiguous:
        return digest_of(value.reshape(-1).view(numpy.uint8)) if value.nbytes else bytes(16)
    digest = hasher(value.nbytes)
    rows = max(1, (1 << 22) * len(value) // value.nbytes)
    for start in range(0, len(value), rows):
        block = numpy.ascontiguousarray(value[start : start + rows])
        digest.update(block.reshape(-1).view(numpy.uint8))
    content: bytes = digest.digest(16)
    return content


def _numpy(value: Any) -> Parts | None:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray):
        return _array(value, numpy)
    if isinstance(value, numpy.generic) and not value.dtype.hasobject:
        return (b"g", value.dtype.str, value.tobytes())
    if isinstance(value, numpy.dtype):
        return (b"G", repr(numpy.lib.format.dtype_to_descr(value)))
    return None


def _pandas(value: Any) -> Parts | None:
    pandas = sys.modules["pandas"]
    if isinstance(value, pandas.DataFrame):
        columns = [_pandas_values(value.iloc[:, i]) for i in range(value.shape[1])]
        return (b"P", type(value), value.columns, value.index, columns, value.attrs)
    if isinstance(value, pandas.Series):
        return (b"Q", type(value), value.name, value.index, _pandas_values(value), value.attrs)
    if isinstance(value, pandas.MultiIndex):
        return (b"I", list(value.names), [value.get_level_values(i) for i in range(value.nlevels)])
    if isinstance(value, pandas.Index):
        return (b"I", value.name, _pandas_values(value))
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return (b"E", _pandas_values(pandas.Series(value)))
    return None


def _pandas_values(column: Any) -> tuple[Any, ...]:
    """A series or an index as values that do not depend on the layout of its frame."""
    pandas, dtype = sys.modules["pandas"], column.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        return ("category", dtype.ordered, _pandas_values(dtype.categories), column.array.codes)
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return (str(dtype), column.to_numpy(dtype=f"M8[{dtype.unit}]"))
    if not isinstance(dtype, pandas.api.extensions.ExtensionDtype) and not dtype.hasobject:
        return (str(dtype), column.to_numpy())
    missing = column.isna().tolist()
    return (str(dtype), missing, [None if gone else item for item, gone in zip(column.tolist(), missing, strict=True)])


def _polars(value: Any) -> Parts | None:
    polars = sys.modules["polars"]
    if isinstance(value, polars.DataFrame):
        return (b"R", type(value), [_polars_series(column) for column in value.get_columns()])
    if isinstance(value, polars.Series):
        return (b"R", type(value), _polars_series(value))
    if isinstance(value, polars.DataType) or (isinstance(value, type) and issubclass(value, polars.DataType)):
        return (b"X", str(value))
    return None


def _polars_series(series: Any) -> tuple[Any, ...]:
    plain = series.dtype.is_numeric() and series.null_count() == 0 and not series.dtype.is_decimal()
    return (series.name, str(series.dtype), series.to_numpy() if plain else series.to_list())


_LIBRARIES: dict[str, Callable[[Any], Parts | None]] = {"numpy": _numpy, "pandas": _pandas, "polars": _polars}
