"""The types that are kept without registration, each taken apart into plain data and put together again.

An encoder turns a value into something packable; it is handed ``apart``, which keeps a large buffer out of
the message. A decoder makes a fresh object of it and calls nothing that was named in the data: classes are
looked up among those that are loaded, and their instances are filled without calling them.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import io
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from msgpack import ExtType, Timestamp

from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.naming import find, full_name, module_name

Apart = Callable[[memoryview], Any]
Encoder = Callable[[Any, Apart], Any]

# What MessagePack would write without asking, and give back as another type.
DISGUISED = frozenset({bytearray, memoryview, ExtType, Timestamp})


class Masked:
    """A value of a disguised type, wrapped so that the packer asks what to do with it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class BufferRef(int):
    """Stands in a message for a buffer that is kept apart: its position."""


class Code(enum.IntEnum):
    """Extension codes on disk; a code is never given a second meaning."""

    BUFFER = -2
    BYTES = -3
    TUPLE = -4
    SET = -5
    FROZENSET = -6
    INT = -7
    COMPLEX = -8
    DATETIME = -9
    DATE = -10
    TIME = -11
    TIMEDELTA = -12
    DECIMAL = -13
    UUID = -14
    PATH = -15
    ENUM = -16
    BYTEARRAY = -17
    NAMEDTUPLE = -18
    DATACLASS = -19
    PYDANTIC = -20
    ARRAY = -21
    SCALAR = -22
    PANDAS = -23
    POLARS = -24
    IMAGE = -25


def _reference(cls: type) -> list[str]:
    """How *cls* is named in data; an error if it could not be found again under that name."""
    module = module_name(cls.__module__)
    if find(module, cls.__qualname__) is not cls:
        raise SerializationError(
            f"the class {full_name(cls)} cannot be imported under that name; move it to the top of its module"
        )
    return [module, cls.__qualname__]


def _loaded(reference: Any, *bases: type) -> Any:
    """The class of a reference, if it is loaded and of the kind that the data says."""
    module, qualname = reference
    found = find(module, qualname)
    if not isinstance(found, type):
        raise DeserializationError(f"the class {module}.{qualname} is not loaded; import {module} first")
    if bases and not issubclass(found, bases):
        raise DeserializationError(f"{module}.{qualname} is no longer what it was when the value was kept")
    return found


def _fill(cls: type, attributes: dict[str, Any]) -> Any:
    """An instance of *cls* made of its attributes; neither ``__init__`` nor any setter runs."""
    made: Any = object.__new__(cls)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made


def _zone(zone: dt.tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        return [offset // dt.timedelta(microseconds=1), zone.tzname(None)]
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return zone.key
    raise SerializationError(f"the time zone {full_name(type(zone))} cannot be kept; use zoneinfo or datetime.timezone")


def _to_zone(data: Any) -> dt.tzinfo | None:
    if data is None:
        return None
    if isinstance(data, str):
        return zoneinfo.ZoneInfo(data)
    offset = dt.timedelta(microseconds=data[0])
    plain = dt.timezone(offset)
    return plain if plain.tzname(None) == data[1] else dt.timezone(offset, data[1])


def _datetime(v: dt.datetime, _: Apart) -> Any:
    return [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold, _zone(v.tzinfo)]


def _time(v: dt.time, _: Apart) -> Any:
    return [v.hour, v.minute, v.second, v.microsecond, v.fold, _zone(v.tzinfo)]


def _to_datetime(data: Any) -> dt.datetime:
    *fields, fold, zone = data
    return dt.datetime(*fields).replace(fold=fold, tzinfo=_to_zone(zone))


def _to_time(data: Any) -> dt.time:
    *fields, fold, zone = data
    return dt.time(*fields).replace(fold=fold, tzinfo=_to_zone(zone))


def _path(v: pathlib.PurePath, _: Apart) -> Any:
    kind = "Path" if isinstance(v, pathlib.Path) else type(v).__name__
    if type(v) is not type(getattr(pathlib, kind)()):
        raise SerializationError(f"a {full_name(type(v))} cannot be kept; only the classes of pathlib can")
    return [kind, str(v)]


def _to_path(data: Any) -> pathlib.PurePath:
    kinds = {"Path": pathlib.Path, "PurePosixPath": pathlib.PurePosixPath, "PureWindowsPath": pathlib.PureWindowsPath}
    made: pathlib.PurePath = kinds[data[0]](data[1])
    return made


def _enum(v: enum.Enum, _: Apart) -> Any:
    reference = _reference(type(v))
    return [reference, v._value_] if isinstance(v, enum.Flag) else [reference, None, v._name_]


def _to_enum(data: Any) -> enum.Enum:
    cls = _loaded(data[0], enum.Enum)
    member: enum.Enum = cls(data[1]) if issubclass(cls, enum.Flag) else cls.__members__[data[2]]
    return member


def _to_namedtuple(data: Any) -> Any:
    return tuple.__new__(_loaded(data[0], tuple), data[1])


def _dataclass(v: Any, _: Apart) -> Any:
    if isinstance(v, list | dict | tuple | set | frozenset | str | bytes | int | float | BaseException):
        raise SerializationError(
            f"a {full_name(type(v))} is more than its fields; say how to keep it with register_type"
        )
    return [_reference(type(v)), {f.name: getattr(v, f.name) for f in dataclasses.fields(v) if hasattr(v, f.name)}]


def _to_dataclass(data: Any) -> Any:
    cls = _loaded(data[0])
    if not hasattr(cls, "__dataclass_fields__"):
        raise DeserializationError(f"{full_name(cls)} is no dataclass any more")
    return _fill(cls, data[1])


_PYDANTIC = ("__dict__", "__pydantic_extra__", "__pydantic_private__")


def _pydantic(v: Any, _: Apart) -> Any:
    return [_reference(type(v)), [getattr(v, name) for name in _PYDANTIC], sorted(v.__pydantic_fields_set__)]


def _to_pydantic(data: Any) -> Any:
    cls = _loaded(data[0], sys.modules["pydantic"].BaseModel)
    return _fill(cls, {**dict(zip(_PYDANTIC, data[1], strict=True)), "__pydantic_fields_set__": set(data[2])})


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
        flat = numpy.empty(len(content), dtype=descr)
        for i, item in enumerate(content):
            flat[i] = item
        return flat.reshape(shape)
    dtype = _to_dtype(descr)
    if dtype.hasobject:
        raise DeserializationError("an array of Python objects cannot be made from bytes")
    # A view of its own memory is taken as it is; bytes cannot be written to and are copied.
    memory = bytearray(content) if isinstance(content, bytes) else content
    return numpy.ndarray(tuple(shape), dtype, memory, order=order)


def _described(dtype: Any) -> str:
    """A dtype as text: NumPy's own description, as files of NumPy hold it."""
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
    # Arrow names its columns; a range of numbers would come back as numbers.
    names = None if is_series else v.columns
    columns = [names.start, names.stop, names.step] if type(names) is pandas.RangeIndex else None
    head = [is_series, v.name if is_series else None, columns]
    try:
        import pyarrow

        table = pyarrow.Table.from_pandas(frame)
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except ImportError as cause:
        raise SerializationError("pandas frames are kept through Arrow; install pyarrow") from cause
    except Exception as cause:
        raise SerializationError(f"Arrow cannot hold this {type(v).__name__}: {cause}") from cause
    content = memoryview(sink.getvalue())
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

    sink = io.BytesIO()
    try:
        (v if isinstance(v, polars.DataFrame) else v.to_frame()).write_ipc(sink)
    except Exception as cause:
        raise SerializationError(f"Arrow cannot hold this {type(v).__name__}: {cause}") from cause
    return [isinstance(v, polars.Series), apart(sink.getbuffer())]


def _to_polars(data: Any) -> Any:
    import polars

    frame = polars.read_ipc(io.BytesIO(data[1]))
    return frame.to_series(0) if data[0] else frame


def _image(v: Any, _: Apart) -> Any:
    return [_reference(type(v)), v.__getstate__()]


def _to_image(data: Any) -> Any:
    cls = _loaded(data[0], sys.modules["PIL.Image"].Image)
    made = cls.__new__(cls)
    made.__setstate__(data[1])
    return made


ENCODERS: dict[type, tuple[int, Encoder]] = {
    tuple: (Code.TUPLE, lambda v, _: list(v)),
    set: (Code.SET, lambda v, _: list(v)),
    frozenset: (Code.FROZENSET, lambda v, _: list(v)),
    int: (Code.INT, lambda v, _: v.to_bytes(v.bit_length() // 8 + 1, "big", signed=True)),
    complex: (Code.COMPLEX, lambda v, _: [v.real, v.imag]),
    dt.datetime: (Code.DATETIME, _datetime),
    dt.date: (Code.DATE, lambda v, _: [v.year, v.month, v.day]),
    dt.time: (Code.TIME, _time),
    dt.timedelta: (Code.TIMEDELTA, lambda v, _: [v.days, v.seconds, v.microseconds]),
    decimal.Decimal: (Code.DECIMAL, lambda v, _: str(v)),
    uuid.UUID: (Code.UUID, lambda v, _: v.bytes),
    bytearray: (Code.BYTEARRAY, lambda v, apart: apart(memoryview(v))),
}

DECODERS: dict[int, Callable[[Any], Any]] = {
    Code.BYTES: bytes,
    Code.TUPLE: tuple,
    Code.SET: set,
    Code.FROZENSET: frozenset,
    Code.INT: lambda data: int.from_bytes(data, "big", signed=True),
    Code.COMPLEX: lambda data: complex(*data),
    Code.DATETIME: _to_datetime,
    Code.DATE: lambda data: dt.date(*data),
    Code.TIME: _to_time,
    Code.TIMEDELTA: lambda data: dt.timedelta(*data),
    Code.DECIMAL: decimal.Decimal,
    Code.UUID: lambda data: uuid.UUID(bytes=data),
    Code.PATH: _to_path,
    Code.ENUM: _to_enum,
    Code.BYTEARRAY: bytearray,
    Code.NAMEDTUPLE: _to_namedtuple,
    Code.DATACLASS: _to_dataclass,
    Code.PYDANTIC: _to_pydantic,
    Code.ARRAY: _to_array,
    Code.SCALAR: _to_scalar,
    Code.PANDAS: _to_pandas,
    Code.POLARS: _to_polars,
    Code.IMAGE: _to_image,
}

# Types of libraries, by the name of the library, looked at only where it is loaded.
_LIBRARIES: dict[str, Callable[[Any], list[tuple[tuple[type, ...], int, Encoder]]]] = {
    "numpy": lambda m: [((m.ndarray, m.memmap), Code.ARRAY, _array)],
    "pandas": lambda m: [((m.DataFrame, m.Series), Code.PANDAS, _pandas)],
    "polars": lambda m: [((m.DataFrame, m.Series), Code.POLARS, _polars)],
}


@functools.lru_cache(1024)
def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type that has no entry in ``ENCODERS``, or ``None``."""
    if issubclass(kind, enum.Enum):
        return Code.ENUM, _enum
    if issubclass(kind, pathlib.PurePath):
        return Code.PATH, _path
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
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return Code.NAMEDTUPLE, lambda v, _: [_reference(type(v)), list(v)]
    if dataclasses.is_dataclass(kind):
        return Code.DATACLASS, _dataclass
    return None
