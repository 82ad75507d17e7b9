"""The canonical encoding: equal values give equal bytes everywhere, different values never do.

Plain data is MessagePack, which distinguishes int, float, bool, str and bytes. Everything else begins with
the byte 0xC1, which MessagePack never uses, and a tag; each form contains its own length, so that encodings can
be concatenated. Large contents are replaced by their BLAKE3 digest. Shared references, the order of dicts and
sets, the hash seed and the memory layout of arrays make no difference.

Objects that pickle reduces to parts are encoded by these parts, which are only read and never called. An object
that cannot be reduced is an `UnkeyableError` with its path.
"""

from __future__ import annotations

import copyreg
import datetime
import enum
import functools
import pathlib
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from beautyspot._internal.digests import digest_of
from beautyspot._internal.names import full_name, is_interactive, module_name, stands_for
from beautyspot.errors import UnkeyableError
from beautyspot.keys import clients, values
from beautyspot.keys.fingerprints import fingerprint

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_LARGE = 4096  # bytes from which a content is replaced by its digest

# One packer serves all threads: packing exact plain types runs no Python code, so no other thread comes between.
_packer = msgpack.Packer(strict_types=True, unicode_errors="surrogatepass", buf_size=4096)
pack: Callable[[Any], bytes] = _packer.pack
_header: Callable[[int], bytes] = _packer.pack_array_header
_pack_pairs: Callable[[Any], bytes] = msgpack.Packer(unicode_errors="surrogatepass", buf_size=4096).pack
_CONTAINERS = (list, tuple, dict, set, frozenset, str, bytes, int, float, BaseException)
_within = threading.local()


def encode(value: Any) -> bytes:
    """The canonical bytes of *value*.

    Raises:
        UnkeyableError: If *value* has no canonical encoding; its path leads to the part that has none.
    """
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    try:
        return encoder(value) if encoder else _other(value, kind)
    except RecursionError:
        raise UnkeyableError("it contains itself, or is nested too deeply") from None


def tagged(tag: bytes, *parts: Any) -> bytes:
    """The encoding of *parts* under a one-byte *tag*."""
    return b"\xc1" + tag + _header(len(parts)) + b"".join(map(encode, parts))


def _int(value: int) -> bytes:
    try:
        return pack(value)
    except OverflowError:
        return b"\xc1i" + pack(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _bytes(value: Any, tag: bytes = b"") -> bytes:
    if len(value) < _LARGE:
        return tag + pack(bytes(value))
    return tag + b"\xc1B" + pack(len(value)) + digest_of(value)


def _items(items: Iterable[Any]) -> list[bytes]:
    parts: list[bytes] = []
    try:
        for value in items:
            parts.append(encode(value))
    except UnkeyableError as error:
        raise error.inside(f"[{len(parts)}]") from None
    return parts


def _list(value: list[Any] | tuple[Any, ...]) -> bytes:
    if PLAIN.issuperset(map(type, value)):
        try:
            return pack(value if type(value) is list else list(value))
        except OverflowError:  # an integer of more than 64 bits
            pass
    if values.holds_scalars(value):
        return _list(values.plain_items(value))
    return _header(len(value)) + b"".join(_items(value))


def _tuple(value: tuple[Any, ...]) -> bytes:
    return b"\xc1t" + _list(value)


def _set(value: Iterable[Any], tag: bytes = b"\xc1s") -> bytes:
    parts = sorted(_items(value))
    return tag + _header(len(parts)) + b"".join(parts)


def _dict(value: dict[Any, Any]) -> bytes:
    if all(type(key) is str for key in value) and PLAIN.issuperset(map(type, value.values())):
        try:
            return b"\xc1d" + _pack_pairs(sorted(value.items()))
        except OverflowError:
            pass
    if values.holds_scalars((*value, *value.values())):
        return _dict(dict(zip(values.plain_items(value), values.plain_items(value.values()), strict=True)))
    pairs = []
    for key, item in value.items():
        try:
            pairs.append((encode(key), encode(item)))
        except UnkeyableError as error:
            raise error.inside(f"[{key!r}]") from None
    return b"\xc1D" + _header(len(pairs)) + b"".join(part for pair in sorted(pairs) for part in pair)


def _path(value: pathlib.PurePath) -> bytes:
    # To users a concrete path is one type, whether PosixPath or WindowsPath.
    kind = "Path" if isinstance(value, pathlib.Path) else type(value).__name__
    return tagged(b"p", kind, value.as_posix())


def _datetime(value: Any) -> bytes:
    zone = getattr(value, "tzinfo", None)
    return tagged(b"T", type(value).__name__, value.isoformat(), getattr(value, "fold", 0), zone)


def _class(value: type) -> bytes:
    if "<locals>" in value.__qualname__:
        raise UnkeyableError(
            f"the class {full_name(value)} is defined inside a function, so nothing distinguishes it from another of "
            "that name; move it to the top of its module, or say what identifies the call with key="
        )
    return tagged(b"c", module_name(value.__module__), value.__qualname__)


def _function(value: types.FunctionType) -> bytes:
    if stands_for(value) and not is_interactive(value.__module__):
        return tagged(b"F", module_name(value.__module__), value.__qualname__)
    return tagged(b"L", full_name(value), fingerprint(value), captured(value), value.__defaults__, value.__kwdefaults__)


def captured(function: Any, ignore: Iterable[str] = ()) -> list[Any]:
    """The variables that a function captured, as pairs of name and encoding; stops where it captured itself."""
    code, active = function.__code__, _within.__dict__.setdefault("codes", [])
    if not function.__closure__ or code in active:
        return []
    active.append(code)
    try:
        return [
            (name, _captured_value(name, cell))
            for name, cell in zip(code.co_freevars, function.__closure__, strict=True)
            if name not in ignore
        ]
    finally:
        active.pop()


def _captured_value(name: str, cell: Any) -> bytes:
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet: the enclosing function assigns it further down
        return b""
    try:
        return encode(value)
    except UnkeyableError as error:
        raise error.inside(f"captured variable {name!r}") from None


def _method(value: types.MethodType) -> bytes:
    return tagged(b"m", value.__func__, value.__self__)


def _builtin(value: types.BuiltinFunctionType) -> bytes:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return tagged(b"F", str(value.__module__), value.__qualname__)
    return tagged(b"m", value.__name__, owner)


def _module(value: types.ModuleType) -> bytes:
    return tagged(b"M", module_name(value.__name__))


def _enum(value: enum.Enum) -> bytes:
    # A combination of flags is no member and may have no name.
    return tagged(b"e", type(value), value._name_, value._value_ if isinstance(value, enum.Flag) else None)


def _other(value: Any, kind: type) -> bytes:
    """The encoding of a value whose exact type has no encoder."""
    hook = getattr(kind, "__beautyspot_key__", None)
    if hook is not None:
        return tagged(b"k", hook(value))
    plain = values.plain_of(value, kind)
    if plain is not value:
        return encode(plain)
    if isinstance(value, enum.Enum):
        return _enum(value)
    if isinstance(value, pathlib.PurePath):
        return _path(value)
    if isinstance(value, type):
        return _class(value)
    parts = values.parts_of(value, kind)
    if parts is not None:
        return tagged(*parts)
    fields = values.fields_of(value)
    if fields is not None:
        return _fields(value, fields)
    parts = clients.client_parts(value, kind)
    if parts is not None:
        return tagged(*parts)
    if hasattr(kind, "__dataclass_fields__") and not isinstance(value, _CONTAINERS):
        return _fields(
            value, {name: getattr(value, name) for name in kind.__dataclass_fields__ if hasattr(value, name)}
        )
    return _reduced(value, kind)


def _fields(value: Any, fields: dict[str, Any]) -> bytes:
    parts = []
    for name, item in fields.items():
        try:
            parts.append(encode(name) + encode(item))
        except UnkeyableError as error:
            raise error.inside(f".{name}") from None
    return b"\xc1o" + encode(type(value)) + _header(len(parts)) + b"".join(parts)


def _reduced(value: Any, kind: type) -> bytes:
    """The encoding of the parts to which pickle would reduce *value*."""
    reducer = copyreg.dispatch_table.get(kind)
    try:
        parts: Any = reducer(value) if reducer else value.__reduce_ex__(4)
    except Exception as cause:
        raise UnkeyableError(
            f"a {full_name(kind)} cannot be part of a key ({cause}); leave it out with ignore=, or give "
            "its class a __beautyspot_key__ method; for an argument, key= may also say what identifies the call"
        ) from None
    if isinstance(parts, str):
        return tagged(b"F", module_name(getattr(value, "__module__", None)), parts)
    function, args, state, items, pairs = (*parts, *[None] * 5)[:5]
    whole = [encode(function), encode(args), _state(state)]
    whole.append(b"" if items is None else b"\xc1l" + _list(list(items)))
    if pairs is not None:
        # Mappings are equal in any order, except for OrderedDict.
        ordered = any(base.__name__ == "OrderedDict" for base in kind.__mro__)
        whole.append(b"\xc1O" + _list([list(pair) for pair in pairs]) if ordered else _dict(dict(pairs)))
    return b"\xc1r" + _header(len(whole)) + b"".join(whole)


def _state(state: Any) -> bytes:
    """The encoding of an object's state, by attribute."""
    if type(state) is dict and all(type(name) is str for name in state):
        parts = []
        for name in sorted(state):
            try:
                parts.append(encode(name) + encode(state[name]))
            except UnkeyableError as error:
                raise error.inside(f".{name}") from None
        return b"\xc1a" + _header(len(parts)) + b"".join(parts)
    return encode(state)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): pack,
    bool: pack,
    float: pack,
    int: _int,
    str: pack,
    bytes: _bytes,
    bytearray: functools.partial(_bytes, tag=b"\xc1b"),
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: functools.partial(_set, tag=b"\xc1f"),
    dict: _dict,
    datetime.datetime: _datetime,
    datetime.date: _datetime,
    datetime.time: _datetime,
    type: _class,
    enum.EnumMeta: _class,
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.ModuleType: _module,
    types.EllipsisType: lambda _: b"\xc1.",
    types.NotImplementedType: lambda _: b"\xc1!",
}
