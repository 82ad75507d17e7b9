"""The shape of classes that describe data: what their fields are called, of which types, with which defaults.

A model of pydantic, a dataclass, a ``TypedDict``, an ``Enum``, a named tuple, a class of attrs or msgspec.
"""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Iterator
from typing import Any

_MAKERS = ("dataclasses", "enum", "collections", "reprlib", "attr._make")
Shape = list[tuple[Any, ...]]


def shape_of(kind: type) -> Shape | None:
    """The fields of *kind*, each a tuple of name, type, default and more; ``None`` for a class of another sort."""
    if isinstance(kind, enum.EnumMeta):
        members: dict[str, Any] = dict(kind.__members__)
        return [(name, member._value_) for name, member in members.items()]
    if "__pydantic_fields__" in vars(kind):
        return list(_of_pydantic(kind))
    if "__dataclass_fields__" in vars(kind):
        return list(_of_dataclass(kind))
    if "__attrs_attrs__" in vars(kind):
        return [(each.name, _type(each.type), _default(each.default)) for each in vars(kind)["__attrs_attrs__"]]
    if "__struct_fields__" in vars(kind):
        defaults = [_default(each) for each in kind.__struct_defaults__]  # type: ignore[attr-defined]
        types_ = annotations_of(kind)
        return [*((name, types_.get(name)) for name in vars(kind)["__struct_fields__"]), tuple(defaults)]
    names: Any = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(names, tuple):
        defaults_of = getattr(kind, "_field_defaults", {})
        hints = annotations_of(kind)
        return [(name, hints.get(name), name in defaults_of, defaults_of.get(name)) for name in names]
    if "__total__" in vars(kind) and issubclass(kind, dict):  # a TypedDict
        required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
        return [(name, hint, name in required) for name, hint in sorted(annotations_of(kind).items())]
    return None


def annotations_of(kind: type) -> dict[str, Any]:
    """The annotations of a class: types, or texts where they are written so or cannot be evaluated."""
    try:
        found = dict(getattr(kind, "__annotations__", None) or {})
    except NameError:  # Python 3.14 evaluates them when they are asked for
        import annotationlib  # type: ignore[import-not-found,unused-ignore]

        found = dict(annotationlib.get_annotations(kind, format=annotationlib.Format.STRING))
    return {name: _type(hint) for name, hint in found.items()}


def is_generated(function: types.FunctionType, kind: type) -> bool:
    """Whether a method was made from the fields, so that the shape says all about it; other Pythons make others."""
    file = function.__code__.co_filename
    is_made = file.startswith("<") or any(file == getattr(sys.modules.get(name), "__file__", "") for name in _MAKERS)
    return is_made and shape_of(kind) is not None


def _type(hint: Any) -> Any:
    """A type as part of a shape: forward references by their text."""
    if isinstance(hint, str):
        return hint
    text = getattr(hint, "__forward_arg__", None)
    return text if isinstance(text, str) else hint


def _default(value: Any) -> Any:
    """A default; what says that there is none, by its name."""
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("dataclasses", "attr", "attrs", "msgspec", "pydantic_core"):
        factory = getattr(value, "factory", None)
        return ("factory", factory) if factory is not None else f"{kind.__module__}.{kind.__qualname__}"
    return value


def _of_dataclass(kind: type) -> Iterator[tuple[Any, ...]]:
    for name, field in vars(kind)["__dataclass_fields__"].items():
        yield name, _type(field.type), _default(field.default), _default(field.default_factory), field.init


def _of_pydantic(kind: type) -> Iterator[tuple[Any, ...]]:
    for name, field in vars(kind)["__pydantic_fields__"].items():
        yield (
            name,
            _type(field.annotation),
            _default(field.default),
            field.default_factory,
            field.description,
            field.alias,
            [repr(each) for each in field.metadata],
        )
