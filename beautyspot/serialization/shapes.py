"""Shapes: the declared fields of a class, and whether the stored fields of an instance still make a whole object of it.

A shape is stored with each instance as two bytes a field, which change with the field's name and type. Where they are
those of the class as it is now, nothing needs to be compared.
"""

from __future__ import annotations

import copy
import re
import types
import typing
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from beautyspot._internal.names import full_name
from beautyspot.errors import ChangedClassError
from beautyspot.serialization.classes import listed

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# What a default factory may be: to call any other one would run code of the class.
_FACTORIES = frozenset({list, dict, set, tuple, frozenset, bytearray, str, int, float, bytes, bool, complex}) | {
    Counter,
    OrderedDict,
    defaultdict,
    deque,
}


class Field(NamedTuple):
    """A declared field.

    Attributes:
        name: Its name.
        hint: Its type as it is declared, which may be a text.
        default: Returns its default; ``None`` if it has none, or one that only code of the class can make.
    """

    name: str
    hint: Any
    default: Callable[[], Any] | None = None


class Shape(NamedTuple):
    """The declared fields of a class.

    Attributes:
        fields: The fields by name.
        marks: Two bytes for each field, which change with its name and its type.
        hints: Returns the types of the fields, resolved as far as possible.
        strict: Whether its library converts values to these types.
    """

    fields: dict[str, Field]
    marks: bytes
    hints: Callable[[], Mapping[str, Any]]
    strict: bool


def shape(fields: Iterable[Field], hints: Callable[[], Mapping[str, Any]], strict: bool = False) -> Shape:
    """The shape with these *fields*."""
    by_name = {field.name: field for field in fields}
    return Shape(by_name, b"".join(map(_mark, by_name.values())), hints, strict)


def _mark(field: Field) -> bytes:
    return zlib.crc32(f"{field.name}:{_text_of(field.hint)}".encode("utf-8", "replace")).to_bytes(4, "big")[:2]


def _text_of(hint: Any) -> str:
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint.__qualname__ if hint.__module__ == "builtins" else full_name(hint)
    return hint if isinstance(hint, str) else _ADDRESS.sub("", repr(hint))


def made_by(factory: Any) -> Callable[[], Any] | None:
    """The default of a field with a default factory; ``None`` for a factory that is code of the class."""
    return factory if isinstance(factory, type) and factory in _FACTORIES else None


def always(default: Any) -> Callable[[], Any]:
    """The default of a field that has a value as its default: a fresh one, if it is a plain collection."""
    return (lambda: copy.copy(default)) if type(default) in (list, dict, set) else (lambda: default)


def take_apart(shape: Shape, state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str], bytes]:
    """The *state* of an instance as its fields, what it has beside them, the fields that are not set, and the marks."""
    fields = shape.fields
    if fields.keys() == state.keys():
        return {name: state[name] for name in fields}, {}, [], shape.marks
    kept = {name: state[name] for name in fields if name in state}
    beside = {name: value for name, value in state.items() if name not in fields}
    unset = [name for name in fields if name not in state]
    marks = b"".join(_mark(fields[name]) for name in (*kept, *unset)) if unset else shape.marks
    return kept, beside, unset, marks


def whole(cls: type, shape: Shape, kept: dict[str, Any], marks: bytes, unset: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a whole object of *cls*: the *kept* ones, and the defaults of those that are new.

    Args:
        cls: The class, for errors.
        shape: Its shape as it is now.
        kept: The stored fields.
        marks: The marks of the stored fields, and of the *unset* ones.
        unset: The fields that were not set in the stored instance.

    Raises:
        ChangedClassError: If the class has lost a field, has a new one without a default, or another type for one.
    """
    if marks == shape.marks and kept.keys() == shape.fields.keys():
        return kept
    names = [*kept, *unset]
    then = {name: marks[2 * i : 2 * i + 2] for i, name in enumerate(names)}
    gained = [field for field in shape.fields.values() if field.name not in then]
    gone = then.keys() - shape.fields.keys()
    if gone:
        raise ChangedClassError(full_name(cls), f"{listed(gone)} gone{_new(gained)}")
    made = dict(kept)
    for field in gained:
        if field.default is None:
            raise ChangedClassError(
                full_name(cls), f"its field {field.name!r} is new", f"give the field {field.name!r} a plain default"
            )
        made[field.name] = field.default()
    for name in _of_another_type(shape, kept, then):
        raise ChangedClassError(full_name(cls), f"its field {name!r} has another type, which the value does not fit")
    return made


def _new(gained: list[Field]) -> str:
    return f", and {listed(field.name for field in gained)} new" if gained else ""


def _of_another_type(shape: Shape, kept: dict[str, Any], then: dict[str, bytes]) -> Iterator[str]:
    changed = [name for name in kept if then[name] != _mark(shape.fields[name])]
    hints = shape.hints() if changed else {}
    return (name for name in changed if not fits(kept[name], hints.get(name, Any), shape.strict))


def fits(value: Any, hint: Any, strict: bool) -> bool:
    """Whether *value* is what *hint* says, as far as that can be told without running code of a class.

    Args:
        value: The value.
        hint: The type; a value fits any that is not understood.
        strict: Whether an int is no float.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, arg, strict) for arg in args)
    if origin in (typing.Annotated, typing.Final, typing.ClassVar):
        return fits(value, args[0], strict) if args else True
    if origin is typing.Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if isinstance(hint, typing.NewType):
        return fits(value, hint.__supertype__, strict)
    if origin is tuple:
        return isinstance(value, tuple) and _fits_items(value, args, strict)
    if isinstance(origin, type):
        return _is_a(value, origin, strict) and _fits_parts(value, args, strict)
    return _is_a(value, hint, strict) if isinstance(hint, type) else True


def _fits_items(value: tuple[Any, ...], args: tuple[Any, ...], strict: bool) -> bool:
    if not args:
        return True
    if len(args) == 2 and args[1] is ...:
        return all(fits(item, args[0], strict) for item in value)
    return len(args) == len(value) and all(fits(v, a, strict) for v, a in zip(value, args, strict=True))


def _fits_parts(value: Any, args: tuple[Any, ...], strict: bool) -> bool:
    """Whether the items of a built-in collection fit; the parts of any other class are not looked at."""
    if isinstance(value, dict) and len(args) == 2:
        return all(fits(k, args[0], strict) and fits(v, args[1], strict) for k, v in value.items())
    if isinstance(value, list | set | frozenset | deque) and len(args) == 1:
        return all(fits(item, args[0], strict) for item in value)
    return True


def _is_a(value: Any, cls: type, strict: bool) -> bool:
    if cls is Any or cls in type(value).__mro__ or (cls is float and not strict and type(value) is int):
        return True
    if typing.is_typeddict(cls):
        return type(value) is dict
    if cls.__module__ in ("collections.abc", "numbers"):
        return isinstance(value, cls)
    # What else counts as one of these, only code of theirs can say.
    return hasattr(cls, "__get_pydantic_core_schema__") or bool(vars(cls).get("_is_protocol"))
