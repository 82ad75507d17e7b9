"""What identifies functions and classes as values: their names, their code and what they captured.

What an installed package defines under a name counts by that name. Other functions count by their code as well, and
classes without a home (inside a function, made by ``type()``, in a notebook) by what they define.
"""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import sysconfig
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from beautyspot._internal import local_classes
from beautyspot._internal.names import find, full_name, is_interactive, module_name, stands_for
from beautyspot._internal.pricing import is_limited
from beautyspot.keys import mocks
from beautyspot.keys.fingerprints import of_code
from beautyspot.keys.shapes import is_generated, shape_of
from beautyspot.keys.traversal import Traversal

Encode = Callable[[Traversal, Any], bytes]
_MACHINERY = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__",
        "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__abstractmethods__",
        "_abc_impl", "__parameters__", "__orig_bases__", "__slots__", "__dataclass_fields__", "__dataclass_params__",
        "__match_args__", "__hash__", "__classcell__", "__type_params__", "__class_getitem__", "__subclasshook__",
    }
)  # fmt: skip
# What functools.wraps copies, and what lru_cache adds: how much is remembered makes no difference.
_COPIED = frozenset(
    {
        "__wrapped__", "__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__annotate__",
        "__type_params__", "cache_parameters",
    }
)  # fmt: skip


@runtime_checkable
class FollowedTask(Protocol):
    """A task, or one bound to an object, as keys see it: its class stands above this package."""

    def __beautyspot_followed__(self) -> tuple[bytes, Any, Any]:
        """What identifies it, its function, and the object that it is bound to or ``None``."""
        ...


@functools.cache
def _installed_places() -> tuple[str, ...]:
    return tuple({path for name, path in sysconfig.get_paths().items() if name.endswith("lib")})


@functools.lru_cache(4096)
def is_installed(module: str | None, file: str) -> bool:
    """Whether code belongs to an installed package, or to Python itself.

    Args:
        module: The name of its module.
        file: Its file; a name in angle brackets says nothing.
    """
    if not file or file.startswith("<"):
        file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
        if not file:
            return (module or "") in sys.builtin_module_names or getattr(
                getattr(sys.modules.get(module or ""), "__spec__", None), "origin", None
            ) in ("frozen", "built-in")
    return file.startswith(_installed_places()) or "site-packages" in file or "dist-packages" in file


def encoder_of(value: Any, kind: type) -> Encode | None:
    """What encodes a function, a class, or what stands for one, as mocks do; ``None`` for any other value."""
    found = _ENCODERS.get(kind)
    if found is not None:
        return found
    if mocks.is_mock(kind):  # it may say that it is a function or a class
        return _mock
    if isinstance(value, type):
        return _class
    if hasattr(kind, "__beautyspot_followed__"):
        return _task
    if kind in _ALIASES or kind.__module__ == "typing":
        return _annotation
    return None


def name_of(encoder: Traversal, kind: type) -> bytes:
    """The encoding of the class of an object: its name, or what it defines where the name does not lead to it."""
    if kind.__module__ == "builtins" or (stands_for(kind) and not is_interactive(kind.__module__)):
        return encoder.tagged(b"c", module_name(kind.__module__), kind.__qualname__)
    return encoder.node(kind, functools.partial(_definition, encoder))


def _class(encoder: Traversal, value: type) -> bytes:
    """The encoding of a class that is itself the value: one that describes data counts by its shape as well."""
    name, shape = name_of(encoder, value), shape_of(value)
    if shape is None or is_installed(value.__module__, ""):
        return name
    # Its fields may name the class itself: its bases stand for the shape meanwhile.
    return b"\xc1C" + name + encoder.node(value.__mro__, lambda _: encoder.as_captured(shape))


def _definition(encoder: Traversal, kind: type) -> bytes:
    """The encoding of what a class defines."""
    local_classes.see(kind)
    bases = [name_of(encoder, base) for base in kind.__bases__ if base is not object]
    members: dict[str, Any] = {}
    for name, member in list(vars(kind).items()):
        if name in _MACHINERY or isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
            continue
        if name.startswith(
            ("__pydantic_", "__attrs_", "__struct_", "_member", "_value2", "_unhashable", "_new_member")
        ):
            continue
        plain = getattr(member, "__func__", member)
        if isinstance(plain, types.FunctionType) and is_generated(plain, kind):
            continue
        if shape_of(kind) is not None and not callable(plain) and not isinstance(member, _DESCRIPTORS):
            continue  # the shape says it: defaults, members
        members[name] = member
    shape = shape_of(kind)
    return (
        b"\xc1K"
        + encoder.tagged(b"#", full_name(kind), b"".join(bases))
        + encoder.as_captured(shape)
        + encoder.named(kind, "state", members)
    )


_DESCRIPTORS = (property, staticmethod, classmethod, functools.cached_property)


def _annotation(encoder: Traversal, value: Any) -> bytes:
    """The encoding of a type expression, such as ``list[Invoice]`` or ``int | None``."""
    origin, args = typing.get_origin(value), typing.get_args(value)
    if origin is None or origin is value:
        return encoder.tagged(b"Y", str(value))
    if origin in (types.UnionType, typing.Union):
        return encoder.tagged(b"Y", "Union") + b"".join(sorted(map(encoder.any, args)))
    return encoder.tagged(b"Y", str(getattr(origin, "__qualname__", origin)), list(args))


def _function(encoder: Traversal, value: types.FunctionType) -> bytes:
    mock = mocks.behind(value)
    return encoder.any(mock) if mock is not None else encoder.node(value, functools.partial(_function_parts, encoder))


def _function_parts(encoder: Traversal, value: types.FunctionType) -> bytes:
    interactive = is_interactive(value.__module__)
    installed = is_installed(value.__module__, value.__code__.co_filename)
    if installed and not interactive and stands_for(value):
        return encoder.tagged(b"F", module_name(value.__module__), value.__qualname__)
    code = b"" if installed and "<lambda>" not in value.__qualname__ else of_code(value.__code__)
    return encoder.tagged(b"L", full_name(value), code) + held_by(encoder, value)


def held_by(encoder: Traversal, value: types.FunctionType, ignored: Iterable[str] = ()) -> bytes:
    """The encoding of what a function holds: captured variables, defaults, attributes."""
    cells = {
        name: cell
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        if name not in ignored
    }
    own = {name: item for name, item in vars(value).items() if name not in _COPIED and not name.startswith("__beauty")}
    defaults = [*(value.__defaults__ or ()), value.__kwdefaults__ or None]
    held = encoder.variables(cells) if cells else b""
    if defaults != [None]:
        held += encoder.as_captured(defaults)
    if own:
        held += encoder.captured_attributes(value, own)
    return encoder.tagged(b"l", len(held)) + held


def _mock(encoder: Traversal, value: Any) -> bytes:
    return encoder.node(value, functools.partial(_mock_parts, encoder))


def _mock_parts(encoder: Traversal, value: Any) -> bytes:
    configured = encoder.named(value, "attribute", mocks.configured(value))
    return encoder.tagged(b"H", full_name(type(value)), len(configured)) + configured


def _method(encoder: Traversal, value: types.MethodType) -> bytes:
    return b"\xc1m" + encoder.any(value.__func__) + encoder.as_captured(value.__self__)


def _builtin(encoder: Traversal, value: types.BuiltinFunctionType) -> bytes:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return encoder.tagged(b"F", str(value.__module__), value.__qualname__)
    return encoder.tagged(b"m", value.__name__) + encoder.as_captured(owner)


def _partial(encoder: Traversal, value: functools.partial[Any]) -> bytes:
    own = {name: item for name, item in vars(value).items() if name not in _COPIED}
    return b"\xc1q" + encoder.any(value.func) + encoder.as_captured([value.args, value.keywords, own])


def _wrapper(encoder: Traversal, value: Any) -> bytes:
    """A wrapper written in C, such as `functools.lru_cache`: what it wraps."""
    return b"\xc1w" + encoder.tagged(b"#", full_name(type(value))) + encoder.any(value.__wrapped__)


def _property(encoder: Traversal, value: property) -> bytes:
    return encoder.tagged(b"y", value.fget, value.fset, value.fdel)


def _unbound(encoder: Traversal, value: Any) -> bytes:
    return encoder.tagged(b"z", type(value).__name__, value.__func__)


def _cached_property(encoder: Traversal, value: functools.cached_property[Any]) -> bytes:
    return encoder.tagged(b"z", "cached_property", value.func)


def _code(encoder: Traversal, value: types.CodeType) -> bytes:
    return encoder.tagged(b"L", value.co_name, of_code(value))


def _mapping(encoder: Traversal, value: Mapping[Any, Any]) -> bytes:
    return encoder.tagged(b"Z", dict(value))


def _struct(encoder: Traversal, value: Any) -> bytes:
    return encoder.tagged(b"z", "Struct", value.format)


def _type_variable(encoder: Traversal, value: Any) -> bytes:
    return encoder.tagged(b"Y", str(value))


def _task(encoder: Traversal, value: FollowedTask) -> bytes:
    """A task counts as its function does: by its name, its version, and what it captured itself."""
    return encoder.node(value, functools.partial(_task_parts, encoder))


def _task_parts(encoder: Traversal, value: FollowedTask) -> bytes:
    identity, function, instance = value.__beautyspot_followed__()
    data = encoder.tagged(b"k", identity)
    if function is None:  # it is being unpickled, and its function refers to it
        return data
    data += layers_held_by(encoder, function)
    return data if instance is None else data + encoder.as_captured(instance)


def layers_of(function: Any) -> typing.Iterator[Any]:
    """*function*, what it wraps, and so on down to the innermost function."""
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        if not hasattr(function, "__qualname__") and not isinstance(function, functools.partial):
            function = types.MethodType(type(function).__call__, function)  # a callable object
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return


def counted_layers(function: Any) -> list[Any]:
    """The layers above the innermost function that are part of its identity: not ours, nor what its name leads to."""
    *outer, _ = layers_of(function)
    return [layer for layer in outer if not is_limited(layer) and not _is_importable(layer)]


def _is_importable(layer: Any) -> bool:
    return find(module_name(getattr(layer, "__module__", None)), getattr(layer, "__qualname__", "")) is layer


def layers_held_by(encoder: Traversal, function: Any) -> bytes:
    """The encoding of what a function and the layers around it hold."""
    *_, core = layers_of(function)
    parts = [layer_held(encoder, layer, True) for layer in counted_layers(function)]
    if isinstance(core, types.FunctionType):
        parts.append(held_by(encoder, core))
    return encoder.tagged(b"#", len(parts)) + b"".join(parts)


def layer_held(encoder: Traversal, layer: Any, with_code: bool) -> bytes:
    """The encoding of one layer around a function, without the function.

    Args:
        encoder: The traversal.
        layer: A wrapper, a `functools.partial`, or a bound method.
        with_code: Whether the code of the wrapper counts.
    """
    if isinstance(layer, functools.partial):
        return b"\xc1q" + encoder.as_captured([layer.args, layer.keywords])
    if isinstance(layer, types.MethodType):
        return b"\xc1m" + encoder.as_captured(layer.__self__)
    inner = getattr(layer, "__wrapped__", None)
    if isinstance(layer, types.FunctionType):
        wrapped = [
            name
            for name, cell in zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True)
            if _contents(cell) is inner
        ]
        own_code = with_code and not is_installed(layer.__module__, layer.__code__.co_filename)
        code = of_code(layer.__code__) if own_code else b""
        return encoder.tagged(b"L", layer.__code__.co_qualname, code) + held_by(encoder, layer, wrapped)
    own = {name: item for name, item in (getattr(layer, "__dict__", None) or {}).items() if name not in _COPIED}
    own = {name: item for name, item in own.items() if item is not inner}
    return b"\xc1w" + name_of(encoder, type(layer)) + encoder.captured_attributes(layer, own)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


_ALIASES: tuple[Any, ...] = (types.GenericAlias, types.UnionType)
_ENCODERS: dict[type, Encode] = cast(
    "dict[type, Encode]",
    {
        type: _class,
        enum.EnumMeta: _class,
        types.FunctionType: _function,
        types.MethodType: _method,
        types.BuiltinFunctionType: _builtin,
        functools.partial: _partial,
        type(functools.lru_cache(len)): _wrapper,
        property: _property,
        staticmethod: _unbound,
        classmethod: _unbound,
        functools.cached_property: _cached_property,
        types.CodeType: _code,
        types.MappingProxyType: _mapping,
        typing.TypeVar: _type_variable,
        inspect.Signature: _type_variable,
    },
)
