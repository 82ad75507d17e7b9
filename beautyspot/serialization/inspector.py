"""ClasslessDecoder: decodes cached results for viewers, which do not have the classes of the program that stored them.

A data class, a pydantic model, a named tuple or an enum member becomes an `UnknownObject` with its name and its fields;
a value of a registered type becomes one with its code and its bytes. As everywhere, nothing in the data is executed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from beautyspot.errors import DeserializationError
from beautyspot.serialization.builtin_types import Code
from beautyspot.serialization.library_types import DECODERS as OF_LIBRARIES
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer

__all__ = ["ClasslessDecoder", "UnknownObject"]

_LIBRARIES = {
    Code.ARRAY: "numpy",
    Code.SCALAR: "numpy",
    Code.PANDAS: "pandas",
    Code.POLARS: "polars",
    Code.IMAGE: "PIL.Image",
}


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
    if not isinstance(data[1], dict):
        raise DeserializationError("a data class is kept as its fields")
    return UnknownObject(_name(data[0]), data[1])


def _pydantic(data: Any) -> UnknownObject:
    fields, extra, _ = data[1]
    return UnknownObject(_name(data[0]), {**fields, **(extra or {})})


def _of_library(code: Code) -> Callable[[Any], Any]:
    """The decoder of a library's type; without that library, the decoder returns an `UnknownObject`."""

    def decode(data: Any) -> Any:
        library = _LIBRARIES[code]
        try:
            importlib.import_module(library)
            return OF_LIBRARIES[code](data)
        except ImportError as missing:
            return UnknownObject(
                f"{library.partition('.')[0]} {code.name.lower()}", f"{missing}; install it to see this"
            )

    return decode


class ClasslessDecoder(MsgpackSerializer):
    """Reads what the built-in serializer of any project wrote, without the classes of the values.

    Args:
        like: A serializer whose registered types are decoded too.
    """

    _builtin: ClassVar[dict[int, Callable[[Any], Any]]] = {
        **MsgpackSerializer._builtin,
        Code.ENUM: _enum,
        Code.NAMEDTUPLE: lambda data: UnknownObject(_name(data[0]), list(data[1])),
        Code.DATACLASS: _fields,
        Code.PYDANTIC: _pydantic,
        **{code: _of_library(code) for code in _LIBRARIES},
    }

    def __init__(self, like: MsgpackSerializer | None = None) -> None:
        super().__init__()
        if like is not None:
            self._decoders = like._decoders

    def _unknown(self, code: int, data: bytes) -> Any:
        return UnknownObject(f"registered type {code}", data)
