"""What is said about keys: errors with what to write, and warnings about state that may not identify calls as meant."""

from __future__ import annotations

import ast
import itertools
import re
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, cast

from beautyspot._internal.names import full_name
from beautyspot._internal.warn import warn_once
from beautyspot.errors import CapturedWarning, UnkeyableError
from beautyspot.keys.fingerprints import find_node

# Methods that hand on what a collection holds.
_READING = frozenset({"get", "items", "values", "keys", "copy", "pop", "popleft", "popitem", "most_common", "elements"})
_ON_HEAP, _IMMUTABLE = 1 << 9, 1 << 8  # flags of classes: made by Python code or like it; closed to new attributes
_seen: dict[tuple[str, str], Any] = {}  # the first object of a kind that counts by its type, by function and path


def with_cure(error: UnkeyableError, function: str, place: str, name: str, is_custom: bool) -> UnkeyableError:
    """*error*, with where its value stands and what to write.

    Args:
        error: The error, with the path below the place.
        function: The name of the function.
        place: Where the value stands, such as ``prompts[3]``.
        name: The argument or variable that holds it.
        is_custom: Whether the value is what ``key=`` returned.
    """
    path = "".join((place, *error.path))
    if not error.reason.startswith("("):
        return UnkeyableError(error.reason, (f"{function}: {path}",))
    left_out = f'write @project.task(ignore="{_ignorable(name, error.path)}")'
    # What an attribute holds cannot be passed in another form.
    in_object = any(step.startswith(".") for step in error.path)
    template = "{ignore}" if in_object and "{ignore}" not in error.cure else error.cure
    cure = template.replace("{ignore}", left_out).replace("{place}", path)
    if is_custom:
        cure = "return something else from key="
    shown = path if "[" in path or "." in path else repr(path)
    return UnkeyableError(f"{error.reason}: {cure}", (f"{function}: {shown}",))


def _ignorable(name: str, below: Sequence[str]) -> str:
    """The path of what can be left out: down to the first list, whose members are no places of their own."""
    steps = itertools.takewhile(lambda step: step.startswith(".") or step.startswith(("['", '["')), below)
    return "".join((name, *steps)).replace('"', "'")


def hook_of(kind: type) -> str:
    """The advice to give a class a method that identifies its objects, where that is possible."""
    is_fixed = not kind.__flags__ & _ON_HEAP or kind.__flags__ & _IMMUTABLE
    return (
        "" if is_fixed else f", or give {kind.__qualname__} a __beautyspot_key__ method that returns what identifies it"
    )


def unidentified(name: str, found: Sequence[tuple[str, Any]]) -> None:
    """Warn of objects that count by their type alone; two that nothing tells apart are an error.

    Raises:
        UnkeyableError: If the function captured another such object before, which is still there.
    """
    for path, value in found:
        kind = full_name(type(value))
        shown = path if "[" in path or "." in path else repr(path)
        cure = f'write @project.task(ignore="{path}"){hook_of(type(value))}'
        earlier = _seen.get((name, path))
        first = earlier() if earlier is not None else None
        if first is not None and first is not value and type(first) is type(value):
            raise UnkeyableError(
                f"({kind}) is another one than before, and nothing tells the two apart: {cure}", (f"{name}: {shown}",)
            )
        try:
            _seen[name, path] = weakref.ref(value)
        except TypeError:
            _seen.pop((name, path), None)
        warn_once(
            ("unidentified", name, path),
            f"{name}: {shown} ({kind}), a captured object, identifies calls by its class alone: {cure}",
            CapturedWarning,
        )


def changed(name: str, function: Any, state: Sequence[str], contested: Sequence[str]) -> None:
    """Warn of state that identifies no call although results may depend on it."""
    short = name.rpartition(".")[2]
    for path in contested:
        warn_once(
            ("contested", name, path),
            f"both the runs of {short} and other code change {path}, so calls run again each time: write "
            f'@project.task(ignore="{path}") if it does not identify the call, or pass it as an argument',
            CapturedWarning,
        )
    for path in state:
        if path in contested or not is_handed_on(function, path):
            continue
        arguments = _parameters(function)
        counted = ", ".join([*(each for each in arguments if each != "self"), path])
        warn_once(
            ("handed on", name, path),
            f"{short} hands on {path}, which its runs change: calls are told apart by their arguments alone. Pass it "
            f"as an argument, or write key=lambda {', '.join(arguments)}: ({counted}); if it is only a cache, "
            f'ignore="{path}"',
            CapturedWarning,
        )


def _parameters(function: Any) -> Sequence[str]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def is_handed_on(function: Any, path: str) -> bool:
    """Whether the code of *function* passes, returns, iterates over, indexes or computes with the value at *path*."""
    node = find_node(function.__code__) if hasattr(function, "__code__") else None
    return node is not None and any(_hands_on(each, above) for each, above in _uses(node, path))


def _uses(node: ast.AST, path: str) -> Iterator[tuple[ast.expr, list[ast.AST]]]:
    """The expressions that read *path* or what holds it, each with the nodes around it, innermost first."""
    paths = {path, *(path[: found.start()] for found in re.finditer(r"\[", path))}
    waiting: list[tuple[ast.AST, list[ast.AST]]] = [(node, [])]
    while waiting:
        current, above = waiting.pop()
        is_read = isinstance(current, ast.Name | ast.Attribute | ast.Subscript) and isinstance(current.ctx, ast.Load)
        if is_read and ast.unparse(current) in paths and not _leads_elsewhere(current, above[0], path):
            yield cast("ast.expr", current), above
            continue
        waiting += [(child, [current, *above]) for child in ast.iter_child_nodes(current)]


def _leads_elsewhere(use: ast.AST, outer: ast.AST, path: str) -> bool:
    """Whether *use* is only the beginning of a longer expression, such as ``x['a']`` for the path ``x['b']``."""
    if not isinstance(outer, ast.Subscript) or outer.value is not use or ast.unparse(use) == path:
        return False
    return isinstance(outer.slice, ast.Constant)


def _hands_on(use: ast.expr, above: list[ast.AST]) -> bool:
    outer = above[0]
    if _is_own_update(use, above):
        return False
    if isinstance(outer, ast.Call):
        called = outer.func
        name = called.id if isinstance(called, ast.Name) else ""
        is_dropped = name == "next" and isinstance(above[1], ast.Expr)
        return called is not use and name not in ("len", "bool", "id", "next") and not is_dropped
    if isinstance(outer, ast.keyword) and outer.arg == "file":  # of print
        return False
    if isinstance(outer, ast.Compare | ast.withitem | ast.Expr | ast.Delete):
        return False
    if isinstance(outer, ast.If | ast.While | ast.IfExp | ast.Assert):
        return outer.test is not use
    if isinstance(outer, ast.BoolOp) or (isinstance(outer, ast.UnaryOp) and isinstance(outer.op, ast.Not)):
        return _hands_on(outer, above[1:])
    if isinstance(outer, ast.Subscript):
        return isinstance(outer.ctx, ast.Load) and not _is_changed_in_place(outer, above[1:])
    if isinstance(outer, ast.Attribute):
        around = above[1]
        is_called = isinstance(around, ast.Call) and around.func is outer
        result_is_used = not (is_called and isinstance(above[2], ast.Expr))
        return (outer.attr in _READING and result_is_used) if is_called else False
    return True


def _is_changed_in_place(subscript: ast.Subscript, above: list[ast.AST]) -> bool:
    """Whether ``x[k]`` is only there to be changed, as in ``x[k].append(1)``."""
    return (
        isinstance(above[0], ast.Attribute)
        and isinstance(above[1], ast.Call)
        and above[1].func is above[0]
        and isinstance(above[2], ast.Expr)
    )


def _is_own_update(use: ast.expr, above: list[ast.AST]) -> bool:
    """Whether the value is computed for the place itself, as in ``x = x + 1`` or ``x[k] = x.get(k, 0) + 1``."""
    place, inner = ast.unparse(use), use
    for node in above:
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return all(place in (ast.unparse(each), ast.unparse(getattr(each, "value", each))) for each in targets)
        is_in_front = inner in (getattr(node, "value", None), getattr(node, "func", None))  # x of x.get(k), x[k]
        if not isinstance(node, ast.BinOp) and not (
            is_in_front and isinstance(node, ast.Attribute | ast.Subscript | ast.Call)
        ):
            return False
        inner = node
    return False
