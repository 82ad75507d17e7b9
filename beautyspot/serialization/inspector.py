"""ClasslessDecoder: decodes cached results for viewers, which do not have the classes of the program that stored them.

An object with declared fields, a named tuple or an enum member becomes an `UnknownObject` with its name and its fields;
a value of a registered type becomes one with its code and its bytes. As everywhere, nothing in the data is executed.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from beautyspot.errors import DeserializationError, UnknownTypeError
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.serialization.types.codes import Code, Decoder
from beautyspot.serialization.types.lookup import FILES, decoder_of

__all__ = ["ClasslessDecoder", "UnknownObject"]


class UnknownObject(NamedTuple):
    """Takes the place of a value whose class is not available.

    Attributes:
        kind: Name of its class, as ``module.Name``, or another description.
        content: Its fields by name, its items, or its bytes.
    """

    kind: str
    content: Any

    def __repr__(self) -> str:
        if isinstance(self.content, dict):
            return f"{self.kind}({', '.join(f'{name}={value!r}' for name, value in self.content.items())})"
        if isinstance(self.content, list):
            return f"{self.kind}({', '.join(map(repr, self.content))})"
        return f"<{self.kind}: {self.content!r}>"


def _name(reference: Any) -> str:
    module, qualname = reference
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise DeserializationError("a class is named by two texts")
    return f"{module}.{qualname}"


def _enum(data: Any) -> UnknownObject:
    return UnknownObject(_name(data[0]), data[2] if len(data) > 2 else data[1])


def _fields(data: Any) -> UnknownObject:
    return _object(data[0], data[1], *data[3:4])


def _object(ref: Any, *parts: Any) -> UnknownObject:
    if not all(isinstance(part, dict) for part in parts):
        raise DeserializationError("an object is kept as its fields")
    return UnknownObject(_name(ref), {name: value for part in parts for name, value in part.items()})


def _pydantic(data: Any) -> UnknownObject:
    ref, kept, *more = data
    beside, extra = (more[2] if len(more) > 2 else {}), (more[4][0] if len(more) > 4 and more[4] else {})
    shown = _object(ref[:2], kept, beside, extra)
    return UnknownObject(shown.kind, {name: shown.content[name] for name in shown.content if name[:1] != "_"})


def _plain(data: Any) -> UnknownObject:
    return _object(data[0], data[1])


def _readable(code: int, decoder: Decoder) -> Decoder:
    """*decoder*, which returns an `UnknownObject` without the library or the class that it needs."""

    def decode(data: Any) -> Any:
        try:
            return decoder(data)
        except ImportError as missing:
            return UnknownObject(f"{FILES[Code(code)]} {Code(code).name.lower()}", f"{missing}; install it to see this")
        except UnknownTypeError as unknown:
            return UnknownObject(Code(code).name.lower(), str(unknown))

    return decode


# The decoders of objects without their classes.
_CLASSLESS: dict[int, Decoder] = {
    Code.ENUM: _enum,
    Code.NAMEDTUPLE: lambda data: UnknownObject(_name(data[0]), list(data[1])),
    Code.DATACLASS: _fields,
    Code.ATTRS: _fields,
    Code.STRUCT: _fields,
    Code.PYDANTIC: _pydantic,
}


def _with_class(code: int, classless: Decoder) -> Decoder:
    """The decoder that makes an object of its class; *classless*, if that is not loaded."""

    def decode(data: Any) -> Any:
        real = MsgpackSerializer._builtin.get(code) or decoder_of(code)
        try:
            return classless(data) if real is None else real(data)
        except UnknownTypeError:
            return classless(data)

    return decode


class ClasslessDecoder(MsgpackSerializer):
    """Reads what the built-in serializer of any project wrote, without the classes of the values.

    Args:
        like: A serializer whose registered types are decoded too.
    """

    _builtin: ClassVar[dict[int, Decoder]] = {
        **MsgpackSerializer._builtin,
        Code.STANDARD: _readable(Code.STANDARD, MsgpackSerializer._builtin[Code.STANDARD]),
        **_CLASSLESS,
        Code.OBJECT: _plain,
    }

    def __init__(self, like: MsgpackSerializer | None = None) -> None:
        super().__init__()
        if like is not None:
            self._decoders = like._decoders

    def _found(self, code: int) -> Decoder:
        decoder = decoder_of(code)
        if decoder is None:
            return super()._found(code)
        self._builtin[code] = _readable(code, decoder)
        return self._builtin[code]

    def _unknown(self, code: int, data: bytes) -> Any:
        return UnknownObject(f"registered type {code}", data)


class CheckingDecoder(ClasslessDecoder):
    """A `ClasslessDecoder` that makes the objects whose classes are loaded, as a hit does: to check that it can.

    Args:
        like: A serializer whose registered types are decoded too.
    """

    _builtin: ClassVar[dict[int, Decoder]] = {
        **ClasslessDecoder._builtin,
        **{code: _with_class(code, decoder) for code, decoder in _CLASSLESS.items()},
    }
    del _builtin[Code.OBJECT]  # that is for `_object`

    def __init__(self, like: MsgpackSerializer | None = None) -> None:
        super().__init__(like)
        self._plain = like._plain if like is not None else {}

    def _object(self, data: Any) -> Any:
        try:
            return super()._object(data)
        except UnknownTypeError:
            return _plain(data)
