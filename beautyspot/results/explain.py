"""Explanation: whether a call is cached and, if not, why."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Literal

from beautyspot.keys.keyer import Keyer
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
    for other in calls:
        if other.arguments == call.arguments and other.version != call.version:
            text = f"not kept: kept for version {other.version!r}, and the version is {call.version!r}"
            return Explanation(False, "version", text, nearest=other.input)
    nearest = min(calls, key=lambda other: len(_different_names(keyer, call, other)))
    names = _different_names(keyer, call, nearest)
    if not names:
        earlier = "or an earlier version of its code"
        if keyer.version == "auto":
            earlier = "or other code, its own or that of what it calls or of its deps, which its version follows"
        text = f"not kept: kept for the same arguments, but for another function of this name {earlier}"
        return Explanation(False, "version", text, nearest=nearest.input)
    text = f"not kept: the nearest kept call differs in {', '.join(names)}; it was ({nearest.input})"
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
    parts = [names[i] if i < len(names) else f"argument {i + 1}" for i in positions]
    if nearest.version != call.version:
        parts.append(f"the version ({nearest.version or 'none'} and not {call.version or 'none'})")
    what = ", ".join(parts) or "nothing that is listed: its function is another one of this name, or had other code"
    return f"the nearest other kept call is {nearest.key.hex()[:12]} ({nearest.input}); it differs in {what}"


def _different_positions(call: Summary, other: Summary) -> list[int]:
    """Positions of the arguments whose fingerprints differ."""
    pairs = itertools.zip_longest(_fingerprints(call.arguments), _fingerprints(other.arguments))
    return [i for i, (a, b) in enumerate(pairs) if a != b]


def _names_in(text: str) -> list[str]:
    """Names of the arguments in a readable input; empty if the input was cut short."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [keyword.arg or "" for keyword in call.keywords] if isinstance(call, ast.Call) else []


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
    """Names of the arguments whose fingerprints differ."""
    pairs = zip(_fingerprints(call.arguments), _fingerprints(other.arguments), strict=False)
    names = tuple(name for name, (a, b) in zip(keyer.part_names(), pairs, strict=False) if a != b)
    return names if len(call.arguments) == len(other.arguments) else (*names, "the number of arguments")


def _fingerprints(data: bytes) -> list[bytes]:
    """The fingerprints of arguments, four bytes each."""
    return [data[i : i + 4] for i in range(0, len(data), 4)]


def _when(seconds: float) -> str:
    return f"at {datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
