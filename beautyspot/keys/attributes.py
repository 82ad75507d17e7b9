"""What an object holds: its attributes and slots, without what a cache left among them."""

from __future__ import annotations

import copyreg
import functools
import sys
import types
from typing import Any

_IMMUTABLE = (int, float, complex, str, bytes, tuple, frozenset, type)
_CONTAINERS = (list, dict, set, bytearray, BaseException, types.ModuleType, *_IMMUTABLE)
# What an object-relational mapper keeps beside the columns, and what functools.wraps copies for readers.
_MACHINERY = frozenset({"_sa_instance_state", "__doc__", "__annotations__", "__weakref__", "__orig_class__"})
_MODELS = ("__pydantic_extra__", "__pydantic_private__")


@functools.lru_cache(4096)
def _caches(kind: type) -> frozenset[str]:
    """Names that are no state: under which a `functools.cached_property` stores what it computed, and machinery."""
    members = {name: member for base in reversed(kind.__mro__) for name, member in vars(base).items()}
    computed = (name for name, member in members.items() if isinstance(member, functools.cached_property))
    return frozenset(computed) | _MACHINERY


@functools.lru_cache(4096)
def _slots(kind: type) -> tuple[tuple[str, Any], ...]:
    """The slots of instances: their names, mangled as in the class, and descriptors."""
    return tuple(
        (name, member)
        for base in reversed(kind.__mro__)
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and "__slots__" in vars(base)
    )


def attributes_of(value: Any) -> dict[str, Any]:
    """The attributes of *value* by name: its ``__dict__`` and slots, and what a pydantic model holds beside them."""
    kind: Any = type(value)
    slots, caches = _slots(kind), _caches(kind)
    own = getattr(value, "__dict__", None)
    held: dict[str, Any] = dict(own) if type(own) is dict else {}
    if not slots and caches.isdisjoint(held):
        return held
    found: dict[str, Any] = {}
    for name, member in slots:
        try:
            found[name] = member.__get__(value, kind)
        except AttributeError:  # not set
            continue
    for name in _MODELS:
        more = found.pop(name, None)
        if more:
            found[name] = more
    found.pop("__pydantic_fields_set__", None)  # says which were given, and not what they are
    found.update((name, item) for name, item in held.items() if name not in caches)
    return found


def has_attributes_only(value: Any, kind: type) -> bool:
    """Whether an object is its attributes: whether pickle would reduce it to its class and these."""
    known = _is_plain_object.get(kind)
    if known is None:
        known = _ask(value, kind)
        if len(_is_plain_object) > 4096:
            _is_plain_object.clear()
        _is_plain_object[kind] = known
    return known


_is_plain_object: dict[type, bool] = {}


def _ask(value: Any, kind: type) -> bool:
    if issubclass(kind, _CONTAINERS) or kind is object:
        return False
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__pydantic_fields__"):
        return True
    if kind in copyreg.dispatch_table or kind.__reduce_ex__ is not object.__reduce_ex__:
        return False
    if (
        kind.__reduce__ is not object.__reduce__
        or hasattr(kind, "__getnewargs__")
        or hasattr(kind, "__getnewargs_ex__")
    ):
        return False
    if getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None):
        return False
    try:
        parts = value.__reduce_ex__(4)
    except Exception:  # it holds what Python code cannot see
        return False
    return isinstance(parts, tuple) and parts[0] is copyreg.__newobj__ and parts[1] == (kind,)  # type: ignore[attr-defined]


def is_ordered(kind: type) -> bool:
    """Whether a mapping of this class is another one in another order."""
    return any(base.__name__ == "OrderedDict" for base in kind.__mro__)


_named: dict[int, tuple[object, str]] = {}  # sentinels live as long as their modules


def name_in_modules(value: object) -> str | None:
    """The name under which loaded modules have *value* itself; ``None`` if none has.

    Not the module: others import it from there, and which one was loaded first differs between processes.
    """
    known = _named.get(id(value))
    if known is None:
        variables = (vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__"))
        names = [name for each in variables for name, item in list(each.items()) if item is value]
        if not names:
            return None
        known = _named[id(value)] = (value, min(names))
    return known[1]
