"""What code may assign: by its bytecode, without running it.

Tells a change that a function made from one that other code made at the same time.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from beautyspot.keys.attributes import attributes_of
from beautyspot.keys.traversal import Kind

_CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__", "__setstate__"})
# Methods of dicts that change items under names that the code does not show.
_CHANGING_ITEMS = frozenset({"update", "pop", "popitem", "clear", "setdefault", "__setitem__", "__delitem__"})
_STORING = {
    "STORE_DEREF": "variable", "DELETE_DEREF": "variable", "STORE_ATTR": "attribute", "DELETE_ATTR": "attribute",
    "STORE_GLOBAL": "constant", "DELETE_GLOBAL": "constant",
}  # fmt: skip
_ITEM = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR"})
_ANY = "*"
_DEEPEST = 3  # levels of attributes below an object whose classes count
_MOST = 50  # attributes that are looked at


@dataclass(frozen=True, slots=True)
class Assignments:
    """What some code may assign.

    Attributes:
        names: Pairs of a kind and a name.
    """

    names: frozenset[tuple[str, str]]

    def may_change(self, kind: Kind, name: str) -> bool:
        """Whether the code may change a place of this kind and name."""
        if kind == "item" and ("item", _ANY) in self.names:
            return True
        return (kind, name) in self.names


def assignments_of(functions: Iterable[Any], objects: Iterable[Any]) -> Assignments:
    """What functions may assign, with those that they captured or name in their modules, and methods of *objects*."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = list(functions)
    for value in objects:
        for kind in _classes_within(value, _DEEPEST):
            waiting += _methods(kind)
    seen: set[int] = set()
    while waiting:
        function = waiting.pop()
        function = getattr(function, "__func__", function)
        if isinstance(function, functools.partial):
            waiting.append(function.func)
            continue
        if hasattr(function, "__wrapped__"):
            waiting.append(function.__wrapped__)
        if not isinstance(function, types.FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        found |= _assigned(function.__code__)
        waiting += _reached(function)
    return Assignments(frozenset(found))


def _classes_within(value: Any, depth: int) -> set[type]:
    """The classes of an object and of what its attributes hold."""
    if isinstance(value, type | types.FunctionType | types.ModuleType | str | bytes | int | float | None):
        return set()
    found = {type(value)}
    if depth:
        inner = list(value) if isinstance(value, list | tuple) else list(attributes_of(value).values())
        for each in inner[:_MOST]:
            found |= _classes_within(each, depth - 1)
    return found


def _methods(kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        if base is object:
            continue
        for name, member in vars(base).items():
            if name in _CONSTRUCTORS:
                continue
            if isinstance(member, property):
                yield from (each for each in (member.fget, member.fset, member.fdel) if each is not None)
            else:
                yield getattr(member, "func", member)


def _reached(function: types.FunctionType) -> Iterator[Any]:
    """What a function captured, the methods of objects among it, and functions of its module that it names."""
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if callable(value) and not isinstance(value, type):
            yield value
        for kind in _classes_within(value, _DEEPEST):
            yield from _methods(kind)
    for name in _all_names(function.__code__):
        found = function.__globals__.get(name)
        if getattr(found, "__module__", None) == function.__module__:
            if isinstance(found, type):
                yield from _methods(found)
            elif callable(found):
                yield found


@functools.lru_cache(2048)
def _all_names(code: types.CodeType) -> frozenset[str]:
    inner = [_all_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return frozenset(code.co_names).union(*inner)


@functools.lru_cache(2048)
def _assigned(code: types.CodeType) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    before: Any = None
    for step in dis.get_instructions(code):
        kind = _STORING.get(step.opname)
        if kind is not None:
            found.add((kind, str(step.argval)))
        elif step.opname in _ITEM:
            is_constant = before is not None and before.opname == "LOAD_CONST"
            name = before.argval if is_constant and before is not None else None
            found.add(("item", name if isinstance(name, str) else _ANY))
        elif step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in _CHANGING_ITEMS:
            found.add(("item", _ANY))
        if step.opname not in ("CACHE", "NOP", "EXTENDED_ARG"):
            before = step
    for const in code.co_consts:
        if isinstance(const, types.CodeType) and const.co_name not in _CONSTRUCTORS:
            found |= _assigned(const)
    return frozenset(found)


def constant_names(code: types.CodeType) -> tuple[str, ...]:
    """The global names that the code of a function reads, functions inside it included, in alphabetical order."""
    return tuple(sorted(name for name in _globals_read(code) if not name.startswith(("__", "@"))))


def globals_assigned(code: types.CodeType) -> frozenset[str]:
    """The global names that the code of a function assigns."""
    return frozenset(name for kind, name in _assigned(code) if kind == "constant")


@functools.lru_cache(2048)
def _globals_read(code: types.CodeType) -> frozenset[str]:
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _globals_read(const)
    return frozenset(found)
