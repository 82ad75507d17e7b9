"""Classes of results: their names in stored data, and instances that are made without running any code of theirs.

The state of an instance is what is in its ``__dict__`` and its slots. Caches are no part of it: what a
``functools.cached_property`` left there is computed again when it is asked for.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from beautyspot._internal.names import full_name, loaded_module, module_name
from beautyspot.errors import ChangedClassError, DeserializationError, SerializationError, UnloadedClassError

_HASH = "_attrs_cached_hash"  # in instances of attrs; another one in each process
_ALIASES = frozenset({"__orig_class__"})  # what `Box[int](1)` leaves in an instance of `Box`


def reference(cls: type) -> list[Any]:
    """The name of *cls* in stored data.

    Raises:
        SerializationError: If the class cannot be found by that name.
    """
    module = module_name(cls.__module__)
    if find_class(module, cls.__qualname__) is not cls:
        raise SerializationError(
            f"the class {full_name(cls)} cannot be imported under that name; move it to the top of its module"
        )
    return [module, cls.__qualname__]


def find_class(module: Any, qualname: Any) -> type | None:
    """The class with a name, if its module is loaded; nothing is imported, and no ``__getattr__`` is asked."""
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise DeserializationError("a class is named by two texts")
    holder: Any = loaded_module(module)
    for part in qualname.split("."):
        if not isinstance(holder, type | types.ModuleType):
            return None
        holder = vars(holder).get(part)
    return holder if isinstance(holder, type) else None


def loaded(reference: Any, *bases: type) -> Any:
    """The class of a reference.

    Raises:
        UnloadedClassError: If it is not loaded.
        DeserializationError: If it is not, or no longer, a subclass of *bases*.
    """
    module, qualname = reference
    found = find_class(module, qualname)
    if found is None:
        raise UnloadedClassError(module, qualname)
    if bases and not issubclass(found, bases):
        raise DeserializationError(f"{module}.{qualname} is no longer what it was when the value was kept")
    return found


class Layout(NamedTuple):
    """Where instances of a class have their state.

    Attributes:
        namespace: The descriptor of their ``__dict__``; ``None`` if they have none.
        slots: The descriptors of their slots, by name.
        caches: Names of cached properties, which are no part of the state.
    """

    namespace: types.GetSetDescriptorType | None
    slots: dict[str, types.MemberDescriptorType]
    caches: frozenset[str]


@functools.lru_cache(1024)
def layout_of(cls: type) -> Layout:
    """The layout of the instances of *cls*."""
    namespace: types.GetSetDescriptorType | None = None
    slots: dict[str, types.MemberDescriptorType] = {}
    caches = set(_ALIASES)
    for base in cls.__mro__:
        members = vars(base)
        found = members.get("__dict__")
        if namespace is None and type(found) is types.GetSetDescriptorType:
            namespace = found
        own = {n: m for n, m in members.items() if type(m) is types.MemberDescriptorType} if _has_slots(base) else {}
        if "__attrs_attrs__" in members:  # slots beside its fields are those of cached properties
            caches |= own.keys() - {field.name for field in members["__attrs_attrs__"]} - {_HASH}
        caches |= {name for name, member in members.items() if isinstance(member, functools.cached_property)}
        slots = {**own, **slots}
    return Layout(namespace, slots, frozenset(caches))


def _has_slots(base: type) -> bool:
    return "__slots__" in vars(base) or hasattr(base, "__struct_fields__")


def state_of(value: Any) -> dict[str, Any]:
    """What is in the ``__dict__`` and the slots of *value*; no property and no ``__getattr__`` of it is asked."""
    cls: Any = type(value)
    namespace, slots, caches = layout_of(cls)
    state = {} if namespace is None else {n: v for n, v in namespace.__get__(value).items() if n not in caches}
    for name, slot in slots.items():
        if name not in caches:
            try:
                state[name] = slot.__get__(value)
            except AttributeError:  # a slot that is not set
                continue
    if _HASH in state:
        state[_HASH] = None
    return state


def fill(made: Any, state: dict[str, Any]) -> Any:
    """*made* with *state* in its ``__dict__`` and its slots; no setter of it runs.

    Raises:
        ChangedClassError: If its class has neither a ``__dict__`` nor a slot of that name any more.
    """
    cls: Any = type(made)
    namespace, slots, _ = layout_of(cls)
    if slots:
        rest = {}
        for name, value in state.items():
            slot = slots.get(name)
            if slot is None:
                rest[name] = value
            else:
                slot.__set__(made, value)
        state = rest
    if state:
        if namespace is None:
            raise ChangedClassError(full_name(cls), f"{listed(state)} no longer in it")
        namespace.__get__(made).update(state)
    return made


def new(cls: type, state: dict[str, Any]) -> Any:
    """A new instance of *cls* with *state*; neither ``__new__`` nor ``__init__`` of it runs."""
    return fill(object.__new__(cls), state)


def listed(names: Iterable[str]) -> str:
    """Names of attributes with their verb: ``its field 'a' is`` or ``its fields 'a', 'b' are``."""
    found = sorted(names)
    return f"its field{'s' * (len(found) > 1)} {', '.join(map(repr, found))} {'are' if len(found) > 1 else 'is'}"
