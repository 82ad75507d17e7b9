"""Objects with declared fields: dataclasses, named tuples, and the models of attrs, msgspec and pydantic.

They are stored as their fields, and what they hold beside them. A stored object is read if it still makes a whole
object of its class: see `shapes`. Neither ``__init__`` nor a validator, a converter or a setter of it runs.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import ChangedClassError, DeserializationError, SerializationError
from beautyspot.serialization.classes import fill, loaded, new, reference, state_of
from beautyspot.serialization.shapes import Field, Shape, always, made_by, shape, take_apart, whole
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

_BUILTIN_DATA = (list, dict, tuple, set, frozenset, str, bytes, int, float, BaseException)


def _trimmed(*parts: Any) -> list[Any]:
    """The parts without the empty ones at the end."""
    count = len(parts)
    while not parts[count - 1]:
        count -= 1
    return list(parts[:count])


def _class_of(value: object) -> Any:
    return type(value)


def _object(value: Any, declared: Shape) -> list[Any]:
    if isinstance(value, _BUILTIN_DATA):
        raise SerializationError(
            f"say how to keep a {full_name(type(value))} with register_type: it is more than its fields"
        )
    kept, beside, unset, marks = take_apart(declared, state_of(value))
    return _trimmed(reference(type(value)), kept, marks, beside, unset)


def _to_object(data: Any, declared: Callable[[type], Shape], what: str) -> tuple[Any, dict[str, Any]]:
    """The class and the whole state of a stored object."""
    ref, kept, marks, *more = data
    beside, unset = [*more, (), ()][:2]
    cls = loaded(ref)
    try:
        now = declared(cls)
    except (AttributeError, KeyError, TypeError) as cause:  # its library may not even be loaded
        raise ChangedClassError(full_name(cls), f"it is no {what} any more") from cause
    fields = whole(cls, now, kept, marks, unset)
    return cls, {**fields, **beside} if beside else fields


def _hints_of(cls: type) -> Callable[[], Mapping[str, Any]]:
    def hints() -> Mapping[str, Any]:
        try:
            return typing.get_type_hints(cls, include_extras=True)
        except Exception:  # names that exist for type checkers only
            return {}

    return hints


@functools.lru_cache(1024)
def _of_dataclass(cls: type) -> Shape:
    none = dataclasses.MISSING

    def default(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
        return made_by(field.default_factory) if field.default is none else always(field.default)

    fields = dataclasses.fields(cls)
    return shape([Field(f.name, f.type, default(f)) for f in fields], _hints_of(cls))


def _dataclass(v: Any, _: Apart) -> Any:
    return _object(v, _of_dataclass(_class_of(v)))


def _to_dataclass(data: Any) -> Any:
    return new(*_to_object(data, _of_dataclass, "dataclass"))


@functools.lru_cache(1024)
def _of_attrs(cls: type) -> Shape:
    attr = sys.modules["attr"]

    def default(field: Any) -> Callable[[], Any] | None:
        if field.default is attr.NOTHING:
            return None
        if isinstance(field.default, attr.Factory):
            return None if field.default.takes_self else made_by(field.default.factory)
        return always(field.default)

    return shape([Field(f.name, f.type, default(f)) for f in attr.fields(cls)], _hints_of(cls))


def _attrs(v: Any, _: Apart) -> Any:
    return _object(v, _of_attrs(_class_of(v)))


def _to_attrs(data: Any) -> Any:
    return new(*_to_object(data, _of_attrs, "class of attrs"))


@functools.lru_cache(1024)
def _of_struct(cls: type) -> Shape:
    msgspec = sys.modules["msgspec"]
    none = msgspec.NODEFAULT

    def default(field: Any) -> Callable[[], Any] | None:
        return made_by(field.default_factory) if field.default is none else always(field.default)

    fields = msgspec.structs.fields(cls)
    hints = {f.name: f.type for f in fields}
    return shape([Field(f.name, f.type, default(f)) for f in fields], lambda: hints, strict=True)


def _struct(v: Any, _: Apart) -> Any:
    return _object(v, _of_struct(_class_of(v)))


def _to_struct(data: Any) -> Any:
    cls, state = _to_object(data, _of_struct, "struct of msgspec")
    fields = {name: state.pop(name) for name in cls.__struct_fields__}
    return fill(_made_struct(cls, fields), state)


def _made_struct(cls: Any, fields: dict[str, Any]) -> Any:
    """A struct with all its *fields*; it is made by a subclass that has no ``__post_init__``."""
    made = _bare_struct(cls)(**fields)
    vars(object)["__class__"].__set__(made, cls)
    return made


@functools.lru_cache(1024)
def _bare_struct(cls: Any) -> Any:
    if not hasattr(cls, "__post_init__"):
        return cls
    if any("__init_subclass__" in vars(base) for base in cls.__mro__[:-1]):
        raise DeserializationError(f"{full_name(cls)} cannot be made without its __post_init__ and __init_subclass__")
    return type(cls)(cls.__name__, (cls,), {"__post_init__": lambda self: None})


@functools.lru_cache(1024)
def _of_namedtuple(cls: Any) -> Shape:
    defaults = cls._field_defaults
    home = next(base for base in cls.__mro__ if "_fields" in vars(base))
    hints = getattr(home, "__annotations__", {})
    fields = [Field(n, hints.get(n, ""), always(defaults[n]) if n in defaults else None) for n in cls._fields]
    return shape(fields, _hints_of(cls))


def _namedtuple(v: Any, _: Apart) -> Any:
    declared = _of_namedtuple(_class_of(v))
    return _trimmed(reference(type(v)), list(v), " ".join(declared.fields), declared.marks, state_of(v))


def _to_namedtuple(data: Any) -> Any:
    ref, values, names, marks, beside = [*data, {}][:5]
    cls = loaded(ref, tuple)
    if not hasattr(cls, "_fields") or not hasattr(cls, "_field_defaults"):
        raise ChangedClassError(full_name(cls), "it is no named tuple any more")
    declared = _of_namedtuple(cls)
    fields = whole(cls, declared, dict(zip(names.split(), values, strict=True)), marks)
    made = tuple.__new__(cls, [fields[name] for name in declared.fields])
    return fill(made, beside) if beside else made


_FIELDS_SET, _EXTRA, _PRIVATE = "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"


@functools.lru_cache(1024)
def _of_pydantic(cls: Any) -> Shape:
    fields = {name: Field(name, field.annotation, _default(field)) for name, field in cls.model_fields.items()}
    hints = {name: field.hint for name, field in fields.items()}
    private = {name: Field(name, "", _default(field)) for name, field in cls.__private_attributes__.items()}
    return shape([*fields.values(), *private.values()], lambda: hints, strict=True)


def _default(field: Any) -> Callable[[], Any] | None:
    if field.default_factory is not None:
        return made_by(field.default_factory)
    none = sys.modules["pydantic_core"].PydanticUndefined
    return None if field.default is none else always(field.default)


def _pydantic(v: Any, _: Apart) -> Any:
    state = state_of(v)
    fields_set, extra, private = state.pop(_FIELDS_SET, set()), state.pop(_EXTRA, None), state.pop(_PRIVATE, None)
    kept, beside, unset, marks = take_apart(_of_pydantic(_class_of(v)), {**state, **(private or {})})
    head = [_reference(type(v)), kept, marks, sorted(fields_set)]
    return _trimmed(*head, beside, unset, [] if extra is None else [extra], private is not None and not private)


def _to_pydantic(data: Any) -> Any:
    ref, kept, marks, *more = data
    fields_set, beside, unset, extra, no_private = more + list(_NOTHING[len(more) :])
    cls = _loaded(ref)
    declared = _of_pydantic(cls)
    fields = whole(cls, declared, kept, marks, unset)
    private = {name: fields[name] for name in cls.__private_attributes__ if name in fields}
    state = {name: value for name, value in fields.items() if name not in private} if private else dict(fields)
    state.update(beside)
    state[_FIELDS_SET], state[_EXTRA] = set(fields_set), extra[0] if extra else None
    state[_PRIVATE] = private if private or no_private else None
    return new(cls, state)


_NOTHING: tuple[Any, ...] = ((), {}, (), None, False)  # what a model has beside its fields, if that is not stored


def _reference(cls: Any) -> list[Any]:
    """As `reference`; a parametrized model, ``Box[int]``, is the model and its parameters."""
    generic = cls.__pydantic_generic_metadata__
    if generic["origin"] is None:
        return reference(cls)
    return [*reference(generic["origin"]), [_from_hint(arg) for arg in generic["args"]]]


def _loaded(ref: Any) -> Any:
    cls = loaded(ref[:2])
    if "pydantic" not in sys.modules or not issubclass(cls, sys.modules["pydantic"].BaseModel):
        raise ChangedClassError(full_name(cls), "it is no model of pydantic any more")
    return cls if len(ref) < 3 else _parametrized(cls, tuple(_to_hint(arg) for arg in ref[2]))


# What a model may bring that would run when it is parametrized.
_HOOKS = ("__class_getitem__", "__init_subclass__", "__pydantic_init_subclass__", "__pydantic_on_complete__",
          "model_parametrized_name")  # fmt: skip


def _parametrized(cls: Any, args: tuple[Any, ...]) -> Any:
    for base in cls.__mro__[:-1]:
        ours = base.__module__.partition(".")[0] in ("pydantic", "typing")
        hooks = [] if ours else [name for name in _HOOKS if name in vars(base)]
        if hooks:
            return _parametrized_before(cls, args, hooks[0])
    return cls[args]


def _parametrized_before(cls: Any, args: tuple[Any, ...], hook: str) -> Any:
    """``cls[args]`` of a model that brings code for that, if the program has parametrized it itself."""
    for made in type.__subclasses__(cls):
        generic = made.__pydantic_generic_metadata__
        if generic["origin"] is cls and generic["args"] == args:
            return made
    raise DeserializationError(f"{full_name(cls)} cannot be parametrized without running its {hook}")


def _from_hint(hint: Any) -> Any:
    """A type as plain data."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return None
    if hint is Any:
        return "Any"
    if origin is typing.Literal:
        return ["Literal", list(args)]
    if origin in (typing.Union, types.UnionType):
        return ["Union", [_from_hint(arg) for arg in args], origin is typing.Union]
    if origin is not None:
        parts = [_from_hint(arg) for arg in args if arg is not ...]
        return ["Generic", reference(origin), parts, ... in args]
    if isinstance(hint, type):
        return ["Class", _reference(hint) if hasattr(hint, "__pydantic_generic_metadata__") else reference(hint)]
    raise SerializationError(f"a model with the parameter {hint!r} cannot be kept; use one of plain types")


def _to_hint(data: Any) -> Any:
    if data is None or data == "Any":
        return None if data is None else Any
    kind, content, *more = data
    if kind == "Literal":
        return typing.Literal[tuple(content)]
    if kind == "Union":
        parts = tuple(map(_to_hint, content))
        return typing.Union[parts] if more[0] else functools.reduce(operator.or_, parts)  # noqa: UP007 - as it was
    if kind == "Generic":
        origin, args = loaded(content), tuple(map(_to_hint, more[0]))
        if origin.__module__ not in ("builtins", "collections", "collections.abc"):
            raise DeserializationError(f"{full_name(origin)} is no collection")
        return origin[(*args, ...) if more[1] else args]
    found: Any = _loaded(content) if len(content) > 2 else loaded(content)
    return found


DECODERS: dict[int, Decoder] = {
    Code.NAMEDTUPLE: _to_namedtuple,
    Code.DATACLASS: _to_dataclass,
    Code.ATTRS: _to_attrs,
    Code.STRUCT: _to_struct,
    Code.PYDANTIC: _to_pydantic,
}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a class with declared fields; ``None`` for any other type."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return Code.NAMEDTUPLE, _namedtuple
    if dataclasses.is_dataclass(kind):
        return Code.DATACLASS, _dataclass
    if "pydantic" in sys.modules and issubclass(kind, sys.modules["pydantic"].BaseModel):
        return Code.PYDANTIC, _pydantic
    if "msgspec" in sys.modules and issubclass(kind, sys.modules["msgspec"].Struct):
        return Code.STRUCT, _struct
    if "attr" in sys.modules and sys.modules["attr"].has(kind):
        return Code.ATTRS, _attrs
    return None
