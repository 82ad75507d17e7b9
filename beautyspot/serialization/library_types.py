"""The types of other libraries that need no registration; no library is imported for them.

A library matters only if it is loaded already, since otherwise no value of its types exists. Arrays are written from
their memory without a copy; frames are converted to Arrow.
"""

from __future__ import annotations

import ast
import functools
import io
import sys
from collections.abc import Callable
from typing import Any

from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.builtin_types import Apart, Code, Encoder, fill, loaded, reference

_PYDANTIC = ("__dict__", "__pydantic_extra__", "__pydantic_private__")


def _pydantic(v: Any, _: Apart) -> Any:
    return [reference(type(v)), [getattr(v, name) for name in _PYDANTIC], sorted(v.__pydantic_fields_set__)]


def _to_pydantic(data: Any) -> Any:
    cls = loaded(data[0], sys.modules["pydantic"].BaseModel)
    return fill(cls, {**dict(zip(_PYDANTIC, data[1], strict=True)), "__pydantic_fields_set__": set(data[2])})


def _array(v: Any, apart: Apart) -> Any:
    import numpy

    char: str = v.dtype.char

    if v.dtype.hasobject or v.dtype.kind == "T":
        if v.dtype not in (numpy.dtype(object), numpy.dtype("T") if hasattr(numpy.dtypes, "StringDType") else None):
            raise SerializationError(f"an array of dtype {v.dtype} holds Python objects inside its records")
        return [char, list(v.shape), "L", v.ravel().tolist()]
    order = "C" if v.flags.c_contiguous or not v.flags.f_contiguous else "F"
    flat = numpy.ascontiguousarray(v.T if order == "F" else v).reshape(-1)
    return [_described(v.dtype), list(v.shape), order, apart(flat.view(numpy.uint8).data)]


def _to_array(data: Any) -> Any:
    import numpy

    descr: str
    descr, shape, order, content = data
    if order == "L":
        if descr not in ("O", "T"):  # for any other, the data alone would set the size of the allocation
            raise DeserializationError(f"an array of dtype {descr!r} is not kept as a list")
        flat = numpy.empty(len(content), dtype=descr)
        for i, item in enumerate(content):
            flat[i] = item
        return flat.reshape(shape)
    dtype = _to_dtype(descr)
    if dtype.hasobject:
        raise DeserializationError("an array of Python objects cannot be made from bytes")
    # A view of separate memory is used as it is; bytes are read-only and are copied.
    memory = bytearray(content) if isinstance(content, bytes) else content
    return numpy.ndarray(tuple(shape), dtype, memory, order=order)


def _described(dtype: Any) -> str:
    """A dtype as text: NumPy's own description, as in files of NumPy."""
    import numpy

    descr = numpy.lib.format.dtype_to_descr(dtype)
    return descr if isinstance(descr, str) else repr(descr)


def _to_dtype(text: str) -> Any:
    import numpy

    to_dtype: Any = numpy.lib.format.descr_to_dtype
    return to_dtype(ast.literal_eval(text) if text[:1] in "[(" else text)


def _scalar(v: Any, _: Apart) -> Any:
    if v.dtype.hasobject:
        raise SerializationError("a NumPy scalar that holds Python objects cannot be kept")
    return [_described(v.dtype), v.tobytes()]


def _to_scalar(data: Any) -> Any:
    import numpy

    return numpy.ndarray((), _to_dtype(data[0]), bytearray(data[1]))[()]


def _pandas(v: Any, apart: Apart) -> Any:
    import pandas

    is_series = isinstance(v, pandas.Series)
    frame = v.to_frame(name="values") if is_series else v
    # Arrow has column names as texts; a range of numbers would come back as separate numbers.
    names = None if is_series else v.columns
    columns = [names.start, names.stop, names.step] if type(names) is pandas.RangeIndex else None
    head = [is_series, v.name if is_series else None, columns]
    try:
        import pyarrow

        table = pyarrow.Table.from_pandas(frame)
        target = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(target, table.schema) as writer:
            writer.write_table(table)
    except ImportError as cause:
        raise SerializationError("pandas frames are kept through Arrow; install pyarrow") from cause
    except Exception as cause:
        raise SerializationError(f"Arrow cannot hold this {type(v).__name__}: {cause}") from cause
    content = memoryview(target.getvalue())
    if not _same_frame(_to_pandas([head, content]), v):
        raise SerializationError(
            f"Arrow would change this {type(v).__name__} (mixed types in a column, or an index it does not know); "
            "make its columns of one type each"
        )
    return [head, apart(content)]


def _to_pandas(data: Any) -> Any:
    import pandas
    import pyarrow

    (is_series, name, columns), content = data
    frame = pyarrow.ipc.open_stream(pyarrow.py_buffer(content)).read_all().to_pandas()
    if is_series:
        return frame["values"].rename(name)
    if columns is not None:
        frame.columns = pandas.RangeIndex(*columns)
    return frame


def _same_frame(a: Any, b: Any) -> bool:
    import pandas

    indexes = [(a.index, b.index)]
    if isinstance(b, pandas.DataFrame):
        indexes.append((a.columns, b.columns))
        same_types = list(a.dtypes) == list(b.dtypes)
    else:
        same_types = a.dtype == b.dtype and a.name == b.name
    kept = all(type(x) is type(y) and x.equals(y) and list(x.names) == list(y.names) for x, y in indexes)
    return type(a) is type(b) and kept and same_types and bool(a.equals(b)) and a.attrs == b.attrs


def _polars(v: Any, apart: Apart) -> Any:
    import polars

    target = io.BytesIO()
    try:
        (v if isinstance(v, polars.DataFrame) else v.to_frame()).write_ipc(target)
    except Exception as cause:
        raise SerializationError(f"Arrow cannot hold this {type(v).__name__}: {cause}") from cause
    return [isinstance(v, polars.Series), apart(target.getbuffer())]


def _to_polars(data: Any) -> Any:
    import polars

    frame = polars.read_ipc(io.BytesIO(data[1]))
    return frame.to_series(0) if data[0] else frame


def _image(v: Any, _: Apart) -> Any:
    return [reference(type(v)), v.__getstate__()]


def _to_image(data: Any) -> Any:
    cls = loaded(data[0], sys.modules["PIL.Image"].Image)
    (width, height), content = data[1][2], data[1][4]
    if width * height > 8 * len(content):  # PIL allocates the image before it reads the pixels
        raise DeserializationError(f"an image of {width} by {height} pixels and {len(content)} bytes")
    made = cls.__new__(cls)
    made.__setstate__(data[1])
    return made


DECODERS: dict[int, Callable[[Any], Any]] = {
    Code.PYDANTIC: _to_pydantic,
    Code.ARRAY: _to_array,
    Code.SCALAR: _to_scalar,
    Code.PANDAS: _to_pandas,
    Code.POLARS: _to_polars,
    Code.IMAGE: _to_image,
}

# Types of libraries by the name of the library, which is used only if it is loaded.
_LIBRARIES: dict[str, Callable[[Any], list[tuple[tuple[type, ...], int, Encoder]]]] = {
    "numpy": lambda m: [((m.ndarray, m.memmap), Code.ARRAY, _array)],
    "pandas": lambda m: [((m.DataFrame, m.Series), Code.PANDAS, _pandas)],
    "polars": lambda m: [((m.DataFrame, m.Series), Code.POLARS, _polars)],
}


@functools.lru_cache(1024)
def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a library's type; ``None`` for any other type."""
    for name, rows in _LIBRARIES.items():
        if name in sys.modules:
            for types, code, encoder in rows(sys.modules[name]):
                if kind in types:
                    return code, encoder
    if "numpy" in sys.modules and issubclass(kind, sys.modules["numpy"].generic):
        return Code.SCALAR, _scalar
    if "pydantic" in sys.modules and issubclass(kind, sys.modules["pydantic"].BaseModel):
        return Code.PYDANTIC, _pydantic
    if "PIL.Image" in sys.modules and issubclass(kind, sys.modules["PIL.Image"].Image):
        return Code.IMAGE, _image
    return None
