"""The types of the standard library that need no registration: their encoders to plain data, and their decoders.

An encoder turns a value into something that MessagePack can pack; its argument ``apart`` moves a large buffer out of
the message. A decoder makes a new object and calls nothing that is named in the data: it looks classes up among those
that are loaded, and fills their instances without calling them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from msgpack import ExtType, Timestamp

from beautyspot._internal.names import find, full_name, module_name
from beautyspot.errors import DeserializationError, SerializationError, UnknownTypeError

Apart = Callable[[memoryview], Any]
Encoder = Callable[[Any, Apart], Any]

# Types that MessagePack would write without calling the encoder, and read as another type.
DISGUISED = frozenset({bytearray, memoryview, ExtType, Timestamp})


class Masked:
    """Wraps a value of a disguised type, so that the packer calls the encoder for it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class BufferRef(int):
    """Takes the place of a separate buffer in a message: the buffer's position."""


class Code(enum.IntEnum):
    """Extension codes in stored data; a code never gets a second meaning."""

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


def reference(cls: type) -> list[str]:
    """The name of *cls* in data. Raises a `SerializationError` if the class cannot be found by that name."""
    module = module_name(cls.__module__)
    if find(module, cls.__qualname__) is not cls:
        raise SerializationError(
            f"the class {full_name(cls)} cannot be imported under that name; move it to the top of its module"
        )
    return [module, cls.__qualname__]


def loaded(reference: Any, *bases: type) -> Any:
    """The class of a reference; an error if it is not loaded, or no longer a subclass of *bases*."""
    module, qualname = reference
    found = find(module, qualname)
    if not isinstance(found, type):
        raise UnknownTypeError(f"the class {module}.{qualname} is not loaded; import {module} first")
    if bases and not issubclass(found, bases):
        raise DeserializationError(f"{module}.{qualname} is no longer what it was when the value was kept")
    return found


def fill(cls: type, attributes: dict[str, Any]) -> Any:
    """A new instance of *cls* with *attributes*; neither ``__init__`` nor any setter runs."""
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
    named = reference(type(v))
    return [named, v._value_] if isinstance(v, enum.Flag) else [named, None, v._name_]


def _to_enum(data: Any) -> enum.Enum:
    cls = loaded(data[0], enum.Enum)
    member: enum.Enum = cls(data[1]) if issubclass(cls, enum.Flag) else cls.__members__[data[2]]
    return member


def _to_namedtuple(data: Any) -> Any:
    return tuple.__new__(loaded(data[0], tuple), data[1])


def _dataclass(v: Any, _: Apart) -> Any:
    if isinstance(v, list | dict | tuple | set | frozenset | str | bytes | int | float | BaseException):
        raise SerializationError(
            f"a {full_name(type(v))} is more than its fields; say how to keep it with register_type"
        )
    return [reference(type(v)), {f.name: getattr(v, f.name) for f in dataclasses.fields(v) if hasattr(v, f.name)}]


def _to_dataclass(data: Any) -> Any:
    cls = loaded(data[0])
    if not hasattr(cls, "__dataclass_fields__"):
        raise DeserializationError(f"{full_name(cls)} is no dataclass any more")
    return fill(cls, data[1])


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
}


@functools.lru_cache(1024)
def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type that has no entry in ``ENCODERS``, or ``None``."""
    if issubclass(kind, enum.Enum):
        return Code.ENUM, _enum
    if issubclass(kind, pathlib.PurePath):
        return Code.PATH, _path
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return Code.NAMEDTUPLE, lambda v, _: [reference(type(v)), list(v)]
    if dataclasses.is_dataclass(kind):
        return Code.DATACLASS, _dataclass
    return None
