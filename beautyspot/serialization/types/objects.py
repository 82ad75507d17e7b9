"""Instances of plain classes that were registered without an encoder: what is in their ``__dict__`` and slots.

What such a class declares are its annotations, its slots, and what its ``__init__`` assigns. If that has changed since
an instance was stored, the instance is read only if it still has all that the class declares, and nothing beyond it.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import ChangedClassError, ConfigurationError
from beautyspot.serialization.classes import layout_of, listed, new, state_of

_HEAP_TYPE = 1 << 9  # of a class's __flags__: it was made when the program ran, as every class of Python code is


def check_plain(cls: type) -> None:
    """Check that instances of *cls* are what is in their ``__dict__`` and slots.

    Raises:
        ConfigurationError: If the state of its instances is elsewhere.
    """
    if _is_of_c(cls):
        raise ConfigurationError(
            f"give code=, encoder= and decoder= for {full_name(cls)}: the state of its values is not in attributes"
        )
    for base in cls.__mro__[:-1]:
        for name in ("__reduce__", "__reduce_ex__"):
            if name in vars(base):
                raise ConfigurationError(
                    f"give code=, encoder= and decoder= for {full_name(cls)}: its {name} says that the state of its "
                    "values is not in attributes"
                )


def _is_of_c(cls: type) -> bool:
    if cls is object or not cls.__flags__ & _HEAP_TYPE:
        return True
    if inspect.isabstract(cls):  # it has no instances, and is checked as a base of those that have
        return False
    try:
        object.__new__(cls)
    except TypeError:  # memory of its own
        return True
    return False


def take_apart(value: Any) -> list[Any]:
    """The state of *value* and what its class declares."""
    cls: Any = type(value)
    return [state_of(value), " ".join(_declared(cls))]


def made(cls: type, state: dict[str, Any], then: str) -> Any:
    """An instance of *cls*.

    Args:
        cls: The class as it is now.
        state: The state of the instance.
        then: What the class declared when the instance was stored.

    Raises:
        ChangedClassError: If the instance would not be whole.
    """
    now = _declared(cls)
    if then != " ".join(now):
        _check(cls, state, set(then.split()), now)
    return new(cls, state)


def _check(cls: type, state: dict[str, Any], then: set[str], now: tuple[str, ...]) -> None:
    gone = (then - set(now)) & state.keys()
    if gone:
        raise ChangedClassError(full_name(cls), f"{listed(gone)} gone")
    slots = layout_of(cls).slots
    for name in now:
        of_class = name not in slots and any(name in vars(base) for base in cls.__mro__)
        if name not in then and name not in state and not of_class:
            raise ChangedClassError(
                full_name(cls), f"its field {name!r} is new", f"give the class a plain default for {name!r}"
            )


@functools.lru_cache(1024)
def _declared(cls: type) -> tuple[str, ...]:
    names = set(layout_of(cls).slots)
    for base in cls.__mro__[:-1]:
        hints: dict[str, Any] = getattr(base, "__annotations__", {})
        names |= {name for name, hint in hints.items() if "ClassVar" not in str(hint)}
        init = vars(base).get("__init__")
        if isinstance(init, types.FunctionType):
            names |= set(_assigned(init))
    return tuple(sorted(names - layout_of(cls).caches))


def _assigned(init: types.FunctionType) -> Iterator[str]:
    """The attributes of its first argument that a function assigns."""
    if not init.__code__.co_argcount:
        return
    this, before = init.__code__.co_varnames[0], None
    for step in dis.get_instructions(init):
        if step.opname == "STORE_ATTR" and before is not None and before.opname.startswith("LOAD_FAST"):
            loaded = before.argval[-1] if isinstance(before.argval, tuple) else before.argval
            if loaded == this:
                yield step.argval
        before = step
