"""Fingerprints of code: independent of comments and layout."""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

from beautyspot._internal.fork_safety import after_fork_in_child

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (*_DEFINITIONS, ast.ClassDef, ast.Module)
# Fields that do not affect what code does, or that not every Python version has.
_IRRELEVANT = frozenset({"ctx", "type_comment", "type_ignores", "kind", "type_params", "returns", "annotation"})
_IRRELEVANT_IN_FUNCTIONS = _IRRELEVANT | {"decorator_list"}
_parsing = threading.RLock()  # Python 3.11 raises SystemError when two threads parse at once


def fingerprint(function: Any) -> bytes:
    """Sixteen bytes that change when the code of *function* does.

    Made from the syntax tree without docstring, annotations and decorators, so that it is the same on
    every Python version. Without its source, code is identified by its bytecode, which depends on the Python
    version. The fingerprint of a function without Python code (a builtin) is ``b""``.
    """
    code = getattr(function, "__code__", None)
    return of_code(code) if isinstance(code, CodeType) else b""


@functools.lru_cache(4096)
def of_code(code: CodeType) -> bytes:
    """As `fingerprint`, of a function's code object."""
    node = find_node(code)
    return _digest(_bytecode_words(code) if node is None else _words(node))


def is_ambiguous(code: CodeType, qualname: str) -> bool:
    """Whether the name of a function does not tell it apart: its source defines it more than once, or is not at hand.

    Definitions that are only declarations for type checkers (``typing.overload``) do not count.
    """
    if find_node(code) is None:
        return True
    *outer, name = [part for part in qualname.split(".") if part != "<locals>"]
    for text in _texts(code.co_filename):
        nodes: list[ast.AST] = [_parsed(text)]
        for part in outer:
            nodes = [inner for node in nodes for inner in _defined_in(node) if inner.name == part][:1]
        defined = [inner for node in nodes for inner in _defined_in(node) if inner.name == name]
        return sum(not _is_overload(node) for node in defined) > 1
    return True


def _is_overload(node: Any) -> bool:
    names = [getattr(each, "attr", getattr(each, "id", "")) for each in getattr(node, "decorator_list", ())]
    return "overload" in names


# The sources of files as they were when a task was made of a function in them: a file may be edited before its first
# call. Newest last.
_pinned: dict[str, list[str]] = {}
_MOST_PINNED = 4
_LOADED = time.time()


def pin_source(code: CodeType) -> None:
    """Take the source of a function now: its file may be edited before the code is needed."""
    text = source_of(code.co_filename)
    texts = _pinned.setdefault(code.co_filename, [])
    if text and text not in texts:
        texts.append(text)
        del texts[:-_MOST_PINNED]


def _texts(filename: str) -> list[str]:
    """The sources from which a code object of this file may have been compiled, the most probable first."""
    pinned = _pinned.get(filename)
    return pinned[::-1] if pinned else [text for text in (source_of(filename),) if text]


def _is_of(text: str, code: CodeType) -> bool:
    """Whether *code* was compiled from this text. A file that is older than this process has not changed since."""
    try:
        if os.stat(code.co_filename).st_mtime < _LOADED - 60 and len(_pinned.get(code.co_filename, ())) < 2:
            return True
    except OSError:  # a cell, or a file that was moved
        if len(_pinned.get(code.co_filename, ())) < 2:
            return True
    if "@py_assert1" in code.co_varnames or "@pytest_ar" in code.co_names:
        return True  # pytest compiles another text
    return any(_is_same(code, each) for each in _compiled(text).get((code.co_name, code.co_firstlineno), ()))


@functools.lru_cache(16)
def _compiled(text: str) -> dict[tuple[str, int], list[CodeType]]:
    """The code objects of a source text, by name and first line."""
    found: dict[tuple[str, int], list[CodeType]] = {}
    try:
        waiting = [compile(text, "<source>", "exec", dont_inherit=True)]
    except SyntaxError:
        return {}
    while waiting:
        code = waiting.pop()
        found.setdefault((code.co_name, code.co_firstlineno), []).append(code)
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
    return found


def _is_same(one: CodeType, other: CodeType) -> bool:
    if one.co_code != other.co_code or one.co_names != other.co_names or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _is_same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else (type(a), a) == (type(b), b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def of_source(text: str) -> bytes:
    """A fingerprint of a whole module: all of its source, without docstrings, annotations and layout.

    Raises:
        SyntaxError: If the text is not Python.
    """
    return _digest(_words(_parsed(text), _IRRELEVANT))


def of_class(text: str, qualname: str) -> bytes:
    """A fingerprint of a class: its bases, constants, fields and methods; ``b""`` if the class is not in *text*."""
    nodes: list[ast.AST] = [_parsed(text)]
    for name in qualname.split("."):
        if name != "<locals>":
            nodes = [inner for node in nodes for inner in _defined_in(node) if inner.name == name]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    return _digest(word for node in classes for word in _words(node)) if classes else b""


def source_of(filename: str) -> str:
    """The source text of a file, a notebook cell or a prompt; empty if it is not available."""
    if filename.startswith("<") and filename not in linecache.cache:
        return ""
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename))


def _digest(words: Iterable[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for word in words:
        digest.update(word.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.digest()


def _defined_in(node: ast.AST) -> Iterator[Any]:
    """Functions and classes in *node*, without those nested in one another."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*_DEFINITIONS, ast.ClassDef)):
            yield child
        else:
            yield from _defined_in(child)


def _words(node: Any, irrelevant: frozenset[str] = _IRRELEVANT_IN_FUNCTIONS) -> Iterator[str]:
    """The tree below *node* as words, the same on every Python version."""
    if isinstance(node, ast.AST):
        yield "(" + type(node).__name__
        body: Any = getattr(node, "body", None)
        has_docstring = isinstance(node, _DOCUMENTED) and ast.get_docstring(node, False) is not None
        for field, value in ast.iter_fields(node):
            # An absent field and an empty one are the same: Python versions differ in which they use.
            if field in irrelevant or value is None or value == []:
                continue
            yield field
            yield from _words(value[1:] if has_docstring and value is body else value, irrelevant)
        if isinstance(node, ast.ClassDef):  # an annotation may be what makes a name a field of its class
            yield from _words([each.annotation for each in node.body if isinstance(each, ast.AnnAssign)], irrelevant)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _words(item, irrelevant)
    else:
        yield f"{type(node).__name__}:{node!r}"


def _bytecode_words(code: CodeType) -> Iterator[str]:
    yield f"{sys.implementation.cache_tag}:{code.co_code.hex()}"
    yield from (*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars, "|")
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _bytecode_words(const)
        else:
            # A set of constants has no order.
            yield repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const)


def find_node(code: CodeType) -> ast.AST | None:
    """The definition that *code* was compiled from, or ``None`` if its source is not available."""
    for text in _texts(code.co_filename):
        try:
            nodes = _definitions(text)
        except SyntaxError:
            continue
        candidates = [
            node for node in nodes.get(code.co_firstlineno, ()) if getattr(node, "name", "<lambda>") == code.co_name
        ]
        found = candidates[0] if len(candidates) == 1 else _at_position(candidates, code)
        if found is not None and _is_of(text, code):
            return found
    return None


@functools.lru_cache(4)
def _parsed(text: str) -> ast.Module:
    with _parsing:
        try:
            return ast.parse(text)
        except SystemError:  # another parse ran meanwhile: not one of ours, or one in a finalizer in the middle of this
            return ast.parse(text)


@functools.lru_cache(16)
def _definitions(text: str) -> dict[int, list[ast.AST]]:
    """Functions and lambdas of a source text, by the first line of their code objects."""
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(_parsed(text)):
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
        if end <= (body.end_lineno, body.end_col_offset) and _is_innermost(nodes, node, start):
            found: ast.AST = node
            return found
    return None


def _is_innermost(nodes: list[ast.AST], node: ast.AST, start: tuple[Any, Any]) -> bool:
    """Whether no other of *nodes* begins its body between that of *node* and *start*."""
    begin = (node.body.lineno, node.body.col_offset)  # type: ignore[attr-defined]
    return not any(begin < (n.body.lineno, n.body.col_offset) <= start for n in nodes)  # type: ignore[attr-defined]


def _unlock_in_child() -> None:
    global _parsing
    _parsing = threading.RLock()  # the thread that may have held it does not exist here


after_fork_in_child(_unlock_in_child)
