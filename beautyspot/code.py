"""Fingerprints of code: equal while a function does the same, whatever its comments and its layout."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from beautyspot.naming import find, module_name

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Fields that say nothing about what code does, or that not every Python version has.
_SILENT = frozenset(
    {"ctx", "type_comment", "type_ignores", "kind", "type_params", "decorator_list", "returns", "annotation"}
)


def fingerprint(function: Any) -> bytes:
    """Sixteen bytes that change when the code of *function* does.

    Made from the syntax tree without docstring, annotations and decorators, so that it is the same on
    every Python version. Code whose source is not at hand is known by its bytecode, and is then bound to
    the Python version. A function without Python code (a builtin) gives ``b""``.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    return _of_code(code) if isinstance(code, CodeType) else b""


@functools.lru_cache(4096)
def _of_code(code: CodeType) -> bytes:
    node = _find_node(code)
    digest = hashlib.blake2b(digest_size=16)
    for word in _bytecode_words(code) if node is None else _words(node):
        digest.update(word.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.digest()


def followed(function: Any) -> bytes:
    """A fingerprint of *function* and of all functions and classes of its module that it calls."""
    seen: dict[str, bytes] = {}
    waiting = [inspect.unwrap(function)]
    while waiting:
        current = waiting.pop()
        if current.__qualname__ not in seen and hasattr(current, "__code__"):
            seen[current.__qualname__] = fingerprint(current)
            waiting += _called(current)
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name])
    return digest.digest()


def _called(function: FunctionType) -> Iterator[FunctionType]:
    """Functions of the same module, or of the same class, whose names stand in the code of *function*."""
    owner = find(module_name(function.__module__), function.__qualname__.rpartition(".")[0])
    siblings = vars(owner) if inspect.isclass(owner) else {}
    for name in _names(function.__code__):
        found: Any
        for found in (function.__globals__.get(name), siblings.get(name)):
            if getattr(found, "__module__", None) != function.__module__:
                continue
            members = vars(found).values() if inspect.isclass(found) else (found,)
            plain: Iterator[Any] = (inspect.unwrap(getattr(member, "__func__", member)) for member in members)
            yield from (member for member in plain if inspect.isfunction(member))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _words(node: Any) -> Iterator[str]:
    """The tree below *node* as words, the same on every Python version."""
    if isinstance(node, ast.AST):
        yield "(" + type(node).__name__
        body: Any = getattr(node, "body", None)
        has_docstring = isinstance(node, (*_DEFINITIONS, ast.ClassDef)) and ast.get_docstring(node, False) is not None
        for field, value in ast.iter_fields(node):
            # An absent field and an empty one are the same: versions differ in which they write.
            if field in _SILENT or value is None or value == []:
                continue
            yield field
            yield from _words(value[1:] if has_docstring and value is body else value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _words(item)
    else:
        yield f"{type(node).__name__}:{node!r}"


def _bytecode_words(code: CodeType) -> Iterator[str]:
    yield f"{sys.implementation.cache_tag}:{code.co_code.hex()}"
    yield from (*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars, "|")
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _bytecode_words(const)
        else:
            # A set of constants has no order of its own.
            yield repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const)


def _find_node(code: CodeType) -> ast.AST | None:
    """The definition that *code* was compiled from, or ``None`` where its source is not at hand."""
    if code.co_filename.startswith("<") and code.co_filename not in linecache.cache:
        return None
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    try:
        nodes = _definitions(text)
    except SyntaxError:
        return None
    here = [node for node in nodes.get(code.co_firstlineno, ()) if getattr(node, "name", "<lambda>") == code.co_name]
    return here[0] if len(here) == 1 else _at_position(here, code)


@functools.lru_cache(16)
def _definitions(text: str) -> dict[int, list[ast.AST]]:
    """Functions and lambdas of a source text by the line that their code says it starts on."""
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _DEFINITIONS):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found.setdefault(first, []).append(node)
        elif isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
    return found


def _at_position(nodes: list[Any], code: CodeType) -> ast.AST | None:
    """Of several lambdas on one line, the one whose body *code* was compiled from."""
    spans = [(line, column, end_line, end) for line, end_line, column, end in code.co_positions() if end]
    if not spans:
        return None
    start, end = min(s[:2] for s in spans), max(s[2:] for s in spans)
    for node in nodes:
        body: Any = getattr(node, "body", None)
        if not isinstance(body, ast.expr) or (body.lineno, body.col_offset) > start:
            continue
        if end <= (body.end_lineno, body.end_col_offset) and _tight(nodes, node, start):
            found: ast.AST = node
            return found
    return None


def _tight(nodes: list[ast.AST], node: ast.AST, start: tuple[Any, Any]) -> bool:
    """Whether no other of *nodes* begins its body between that of *node* and *start*."""
    begin = (node.body.lineno, node.body.col_offset)  # type: ignore[attr-defined]
    return not any(begin < (n.body.lineno, n.body.col_offset) <= start for n in nodes)  # type: ignore[attr-defined]
