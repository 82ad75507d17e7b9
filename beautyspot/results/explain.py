"""Explanation: whether a call is cached and, if not, why."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Literal

from beautyspot.keys.keyer import Keyer, split_fingerprints
from beautyspot.protocols.index import Entry, FailureLog, Summary
from beautyspot.results.codec import Codec
from beautyspot.results.store import MISSING, Results

__all__ = ["Explanation"]

_MAX_CANDIDATES = 5000  # cached calls among which the nearest is searched for, newest first

Reason = Literal["kept", "expired", "unreadable", "failed", "version", "arguments", "never run"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `Task.explain` found.

    Attributes:
        kept: Whether a usable result is cached.
        reason: The reason, in a word or two.
        text: The reason, in a sentence.
        different: Names of the arguments in which the nearest cached call differs.
        nearest: The input of that call, as viewers show it.
    """

    kept: bool
    reason: Reason
    text: str
    different: tuple[str, ...] = ()
    nearest: str | None = None

    def __bool__(self) -> bool:
        return self.kept

    def __str__(self) -> str:
        return self.text


def explain(results: Results, codec: Codec, keyer: Keyer, call: Summary) -> Explanation:
    """Explain whether *call* is cached and, if not, why; nothing runs."""
    entry = results.entry(call.key)
    if entry is not None:
        return _explain_entry(results, codec, entry)
    if isinstance(results.db, FailureLog) and (failure := results.db.failed([call.key]).get(call.key)):
        return Explanation(
            False, "failed", f"not kept: it failed {_when(failure.created)} with {failure.error}: {failure.message}"
        )
    calls = list(itertools.islice(results.db.summaries(call.function), _MAX_CANDIDATES))
    if not calls:
        return Explanation(False, "never run", f"not kept: no call of {call.function} is kept")
    count = len(keyer.argument_names)
    wanted = split_fingerprints(call.arguments)[:count]
    for other in calls:
        if other.version != call.version and split_fingerprints(other.arguments)[:count] == wanted:
            text = f"not kept: kept for version {other.version!r}, and the version is {call.version!r}"
            return Explanation(False, "version", text, nearest=other.input)
    nearest = min(calls, key=lambda other: (len(_different_names(keyer, call, other)), other.version != call.version))
    names = _different_names(keyer, call, nearest)
    if not names:
        earlier = "or an earlier version of its code"
        if keyer.version == "auto":
            earlier = "or other code, its own or that of what it calls or of its deps, which its version follows"
        text = f"not kept: kept for the same arguments, but for another function of this name {earlier}"
        return Explanation(False, "version", text, nearest=nearest.input)
    parts = [_with_types(name, call, nearest) for name in names]
    if nearest.version != call.version:
        parts.append(_versions(call, nearest))
    text = f"not kept: the nearest kept call differs in {', '.join(parts)}; it was ({nearest.input})"
    return Explanation(False, "arguments", text, names, nearest.input)


def nearest_to(call: Summary, others: Iterable[Summary]) -> str:
    """A sentence: which other cached call of the same function is nearest to *call*, and in what it differs.

    Args:
        call: A cached call.
        others: Cached calls of the same function, newest first; *call* may be among them.
    """
    candidates = [other for other in itertools.islice(others, _MAX_CANDIDATES) if other.key != call.key]
    if not candidates:
        return f"no other call of {call.function} is kept"
    nearest = min(candidates, key=lambda other: (len(_different_positions(call, other)), other.version != call.version))
    positions, names = _different_positions(call, nearest), _names_in(call.input)
    parts = [_with_types(names[i], call, nearest) for i in positions if i < len(names)]
    unnamed = [i for i in positions if i >= len(names)]
    if names and unnamed:  # the names of what a function captured are in no index
        parts.append("what the function captured")
    elif unnamed:  # the input was cut short
        parts += [f"argument {i + 1}" for i in unnamed]
    if nearest.version != call.version:
        parts.append(_versions(call, nearest))
    what = ", ".join(parts) or "nothing that is listed: its function is another one of this name, or had other code"
    return f"the nearest other kept call is {nearest.key.hex()[:12]} ({nearest.input}); it differs in {what}"


def _different_positions(call: Summary, other: Summary) -> list[int]:
    """Positions of the arguments whose fingerprints differ."""
    pairs = itertools.zip_longest(split_fingerprints(call.arguments), split_fingerprints(other.arguments))
    return [i for i, (a, b) in enumerate(pairs) if a != b]


def _versions(call: Summary, other: Summary) -> str:
    return f"the version ({other.version or 'none'} and not {call.version or 'none'})"


def _names_in(text: str) -> list[str]:
    """Names of the arguments in a readable input; empty if the input was cut short."""
    return list(_values_in(text))


def _values_in(text: str) -> dict[str, ast.expr]:
    """The arguments in a readable input by name, as expressions; empty if the input was cut short."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {keyword.arg or "": keyword.value for keyword in call.keywords} if isinstance(call, ast.Call) else {}


def _with_types(name: str, call: Summary, other: Summary) -> str:
    """The name of an argument that differs, with both values where these look alike."""
    now, before = _values_in(call.input).get(name), _values_in(other.input).get(name)
    if now is None or before is None:
        return name
    (kind, value), (kind_before, value_before) = _type_and_text(now), _type_and_text(before)
    if kind != kind_before and value == value_before:
        shown, shown_before = (_as_written(each) for each in (now, before))
        return f"{name} (in its type: {kind} {shown}, it was {kind_before} {shown_before})"
    if ast.dump(now) == ast.dump(before):
        return f"{name} (both look like {ast.unparse(now)}, and differ in type or in what is not shown)"
    return name


def _type_and_text(node: ast.expr) -> tuple[str, str]:
    """The type of a value by its preview, and a text that is the same for values that differ in their type alone."""
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        return ast.unparse(node.func), _type_and_text(node.args[0])[1]
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return "", ast.unparse(node)
    if isinstance(value, list | tuple | set):
        return type(value).__name__, str([*value])
    is_whole = isinstance(value, float) and value.is_integer()
    return type(value).__name__, str(int(value) if is_whole or isinstance(value, bool) else value)


def _as_written(node: ast.expr) -> str:
    """A value as its preview shows it, without the name of its type."""
    is_made = isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords
    return ast.unparse(node.args[0] if is_made and isinstance(node, ast.Call) else node)


def _explain_entry(results: Results, codec: Codec, entry: Entry) -> Explanation:
    if entry.expires is not None and entry.expires <= time():
        return Explanation(False, "expired", f"not kept: it expired {_when(entry.expires)}")
    if results.read(entry, codec) is MISSING:
        return Explanation(
            False, "unreadable", "not kept: its result cannot be read any more, and the call will run again"
        )
    place = "in the index" if entry.location is None else f"in the blob {entry.location}"
    return Explanation(True, "kept", f"kept: {entry.size} bytes {place}")


def _different_names(keyer: Keyer, call: Summary, other: Summary) -> tuple[str, ...]:
    """Names of the arguments, captured variables and constants whose fingerprints differ."""
    names, count = keyer.part_names(), len(keyer.argument_names)
    now, before = split_fingerprints(call.arguments), split_fingerprints(other.arguments)
    has_same_parts = len(now) == len(before)
    pairs = zip(names if has_same_parts else names[:count], now, before, strict=False)
    different = tuple(name for name, a, b in pairs if a != b)
    if has_same_parts or call.version != other.version:  # which says whether constants count
        return different
    return (*different, "the number of arguments" if len(before) < count else "the number of captured variables")


def _when(seconds: float) -> str:
    return f"at {datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
