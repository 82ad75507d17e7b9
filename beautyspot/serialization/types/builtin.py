"""The types of the standard library that need no registration: their encoders to plain data, and their decoders.

An encoder turns a value into something that MessagePack can pack; its argument ``apart`` moves a large buffer out of
the message. A decoder makes a new object and calls nothing that is named in the data: it looks classes up among those
that are loaded, and fills their instances without calling them.
"""

from __future__ import annotations

import array
import datetime as dt
import decimal
import enum
import functools
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from typing import Any

from msgpack import ExtType, Timestamp

from beautyspot._internal.names import full_name
from beautyspot.errors import ChangedClassError, SerializationError
from beautyspot.serialization.classes import loaded, reference
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

# Types that MessagePack would write without calling the encoder, and read as another type.
DISGUISED = frozenset({bytearray, memoryview, ExtType, Timestamp})


class Masked:
    """Wraps a value of a disguised type, so that the packer calls the encoder for it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class BufferRef(int):
    """Takes the place of a separate buffer in a message: the buffer's position."""


def zone(of: dt.tzinfo | None) -> Any:
    """A time zone as plain data.

    Raises:
        SerializationError: If it is neither of ``zoneinfo`` nor of ``datetime``.
    """
    if of is None:
        return None
    if type(of) is dt.timezone:
        offset = of.utcoffset(None)
        return [offset // dt.timedelta(microseconds=1), of.tzname(None)]
    if type(of) is zoneinfo.ZoneInfo and of.key:
        return of.key
    raise SerializationError(f"the time zone {full_name(type(of))} cannot be kept; use zoneinfo or datetime.timezone")


def to_zone(data: Any) -> dt.tzinfo | None:
    """The time zone that `zone` made *data* of."""
    if data is None:
        return None
    if isinstance(data, str):
        return zoneinfo.ZoneInfo(data)
    offset = dt.timedelta(microseconds=data[0])
    plain = dt.timezone(offset)
    return plain if plain.tzname(None) == data[1] else dt.timezone(offset, data[1])


def _datetime(v: dt.datetime, _: Apart) -> Any:
    return [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold, zone(v.tzinfo)]


def _time(v: dt.time, _: Apart) -> Any:
    return [v.hour, v.minute, v.second, v.microsecond, v.fold, zone(v.tzinfo)]


def _to_datetime(data: Any) -> dt.datetime:
    *fields, fold, zone = data
    return dt.datetime(*fields).replace(fold=fold, tzinfo=to_zone(zone))


def _to_time(data: Any) -> dt.time:
    *fields, fold, zone = data
    return dt.time(*fields).replace(fold=fold, tzinfo=to_zone(zone))


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
    if issubclass(cls, enum.Flag):
        flags: enum.Enum = cls(data[1])
        return flags
    if data[2] not in cls.__members__:
        raise ChangedClassError(full_name(cls), f"its member {data[2]!r} is gone")
    named: enum.Enum = cls.__members__[data[2]]
    return named


def _array(v: Any, apart: Apart) -> Any:
    # As `array` pickles itself: with a number for the format of its items, which another machine may not share.
    _, (_, typecode, machine_format, content), _ = v.__reduce_ex__(3)
    return [typecode, machine_format, apart(memoryview(content))]


def _to_array(data: Any) -> Any:
    typecode, machine_format, content = data
    rebuild: Any = array._array_reconstructor  # type: ignore[attr-defined]
    return rebuild(array.array, typecode, machine_format, bytes(content))


def _factory(v: Any) -> Any:
    if v.default_factory is None:
        return None
    if not isinstance(v.default_factory, type):
        raise SerializationError(
            "a defaultdict is kept with a type as its factory, such as list; return dict(...) of this one"
        )
    return reference(v.default_factory)


def _uuid(v: uuid.UUID, _: Apart) -> Any:
    return v.bytes if v.is_safe is uuid.SafeUUID.unknown else [v.bytes, v.is_safe.value]


def _to_uuid(data: Any) -> uuid.UUID:
    if isinstance(data, bytes):
        return uuid.UUID(bytes=data)
    return uuid.UUID(bytes=data[0], is_safe=uuid.SafeUUID(data[1]))


def _to_pattern(data: Any) -> Any:
    return re.compile(data[0], data[1] & ~re.DEBUG)  # which would print


def _to_address(kind: str, text: str) -> Any:
    import ipaddress

    return getattr(ipaddress, kind)(text)


def _to_fraction(data: Any) -> Any:
    from fractions import Fraction

    return Fraction(*data)


def _to_ordered(data: Any) -> OrderedDict[Any, Any]:
    made = OrderedDict(data[0])
    vars(made).update(data[1])  # PyTorch notes something there
    return made


def _namespace(data: dict[str, Any]) -> types.SimpleNamespace:
    made = types.SimpleNamespace()
    vars(made).update(data)
    return made


_ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")


# The types that share one code, by a name that is stored: how one is taken apart, and made again.
_STANDARD: dict[str, tuple[type | str, Encoder, Decoder]] = {
    "range": (range, lambda v, _: [v.start, v.stop, v.step], lambda data: range(*data)),
    "slice": (slice, lambda v, _: [v.start, v.stop, v.step], lambda data: slice(*data)),
    "fraction": ("fractions.Fraction", lambda v, _: [v.numerator, v.denominator], _to_fraction),
    "namespace": (types.SimpleNamespace, lambda v, _: dict(vars(v)), _namespace),
    "ordered": (OrderedDict, lambda v, _: [list(map(list, v.items())), dict(vars(v))], _to_ordered),
    "counter": (Counter, lambda v, _: dict(v), Counter),
    "default": (
        defaultdict,
        lambda v, _: [_factory(v), dict(v)],
        lambda data: defaultdict(data[0] and loaded(data[0]), data[1]),
    ),
    "deque": (deque, lambda v, _: [v.maxlen, list(v)], lambda data: deque(data[1], data[0])),
    "chain": (ChainMap, lambda v, _: list(v.maps), lambda data: ChainMap(*data)),
    "pattern": (re.Pattern, lambda v, _: [v.pattern, v.flags], _to_pattern),
    "array": (array.array, _array, _to_array),
    "zone": (dt.timezone, lambda v, _: zone(v), to_zone),
    "zoneinfo": (zoneinfo.ZoneInfo, lambda v, _: zone(v), to_zone),
    **{
        f"ip.{name}": (f"ipaddress.{name}", lambda v, _: str(v), functools.partial(_to_address, name))
        for name in _ADDRESSES
    },
}


def _named(name: str, encoder: Encoder) -> Encoder:
    return lambda v, apart: [name, encoder(v, apart)]


def _to_standard(data: Any) -> Any:
    name, content = data
    return _STANDARD[name][2](content)


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
    uuid.UUID: (Code.UUID, _uuid),
    bytearray: (Code.BYTEARRAY, lambda v, apart: apart(memoryview(v))),
    **{
        kind: (Code.STANDARD, _named(name, encode))
        for name, (kind, encode, _) in _STANDARD.items()
        if isinstance(kind, type)
    },
}

DECODERS: dict[int, Decoder] = {
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
    Code.UUID: _to_uuid,
    Code.PATH: _to_path,
    Code.ENUM: _to_enum,
    Code.BYTEARRAY: bytearray,
    Code.STANDARD: _to_standard,
}


@functools.lru_cache(1024)
def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type that has no entry in ``ENCODERS``, or ``None``."""
    if issubclass(kind, enum.Enum):
        return Code.ENUM, _enum
    if issubclass(kind, pathlib.PurePath):
        return Code.PATH, _path
    for name, (other, encode, _) in _STANDARD.items():
        if isinstance(other, str) and other == f"{kind.__module__}.{kind.__qualname__}":
            module, _, attribute = other.rpartition(".")
            if getattr(sys.modules[module], attribute) is kind:
                return Code.STANDARD, _named(name, encode)
    return None
