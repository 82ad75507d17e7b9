"""Values as HTML: everything that comes from a result is escaped, and never becomes markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from beautyspot._internal.text import full_time, seconds_text, size_text, time_text

__all__ = [
    "bars",
    "block",
    "facts",
    "full_time",
    "grid",
    "line",
    "meter",
    "note",
    "seconds_text",
    "size_text",
    "text",
    "time_text",
    "tree",
]

_NODES = 3000  # of a tree that are shown
_STRING = 5000  # characters of a text in a tree
_OPEN = 40  # items below which a branch is open at first


def block(inner: str, kind: str = "") -> str:
    """A block of the app's own look."""
    return f'<div class="bs {kind}">{inner}</div>'


def note(text: str, kind: str = "note") -> str:
    """A remark of the app."""
    return f'<p class="{kind}">{escape(text)}</p>'


def text(value: str) -> str:
    """A text as it is."""
    return f"<pre>{escape(value)}</pre>"


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names with their values; names without a value are left out."""
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs if value not in (None, "")]
    return f"<dl>{''.join(rows)}</dl>"


def grid(columns: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = ()) -> str:
    """A table; the columns at the positions *numbers* are aligned as numbers are."""
    right = set(numbers)

    def cells(tag: str, values: Sequence[Any]) -> str:
        return "".join(
            f"<{tag}{' class=number' * (i in right)} title='{escape(str(value))}'>{escape(str(value))}</{tag}>"
            for i, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", columns)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def tree(value: Any) -> str:
    """What JSON has, as a tree whose branches fold; large ones are cut."""
    return f'<div class="tree">{_Tree().node(value, None)}</div>'


class _Tree:
    def __init__(self) -> None:
        self._left = _NODES

    def node(self, value: Any, key: str | None) -> str:
        """One node with what is below it."""
        self._left -= 1
        name = "" if key is None else f'<span class="key">{escape(key)}</span>: '
        if isinstance(value, Mapping) and value:
            return self._branch(name, "{", "}", [(str(k), v) for k, v in value.items()])
        if isinstance(value, list) and value:
            return self._branch(name, "[", "]", [(str(i), v) for i, v in enumerate(value)])
        return f'<div class="leaf">{name}{_leaf(value)}</div>'

    def _branch(self, name: str, first: str, last: str, items: list[tuple[str, Any]]) -> str:
        inner = []
        for number, (key, item) in enumerate(items):
            if self._left <= 0:
                inner.append(note(f"… {len(items) - number:,} more"))
                break
            inner.append(self.node(item, key))
        is_open = " open" * (len(items) <= _OPEN)
        count = f"{len(items):,} item{'s' * (len(items) != 1)}"
        return f"<details{is_open}><summary>{name}{first} {count} {last}</summary>{''.join(inner)}</details>"


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        shown = value if len(value) <= _STRING else value[:_STRING] + f"… ({len(value):,} characters)"
        return f'<span class="text">"{escape(shown)}"</span>'
    names = ((None, "null"), (True, "true"), (False, "false"))
    shown = next((name for known, name in names if value is known), str(value))
    return f'<span class="atom">{escape(shown)}</span>'


def bars(results: Sequence[int], failures: Sequence[int], since: float, before: float) -> str:
    """A bar chart over time: results, with failures on top."""
    width, height = 600, 90
    highest = max([a + b for a, b in zip(results, failures, strict=True)] or [0]) or 1
    step = width / max(1, len(results))
    shapes = []
    for i, (good, bad) in enumerate(zip(results, failures, strict=True)):
        up, down = height * good / highest, height * bad / highest
        start = since + (before - since) * i / len(results)
        label = f"{full_time(start)}: {good:,} results, {bad:,} failures"
        place = f'x="{i * step + 0.5:.1f}" width="{max(1, step - 1):.1f}"'
        shapes.append(
            f'<g><title>{escape(label)}</title><rect {place} y="0" height="{height}" fill="transparent"/>'
            f'<rect {place} y="{height - up:.1f}" height="{up:.1f}" fill="#1976d2"/>'
            f'<rect {place} y="{height - up - down:.1f}" height="{down:.1f}" fill="#d32f2f"/></g>'
        )
    ends = f"{escape(full_time(since))} — {escape(full_time(before))}, highest {highest:,}"
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" style="width:100%;height:{height}px" '
        f'role="img" aria-label="activity">{"".join(shapes)}</svg><p class="note">{ends}</p>'
    )


def line(values: Sequence[float]) -> str:
    """Numbers as a line chart."""
    width, height = 600, 140
    good = [v for v in values if math.isfinite(v)]
    if len(good) < 2:
        return ""
    low, high = min(good), max(good)
    span = (high - low) or 1
    step = width / (len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{height - 4 - (height - 8) * (v - low) / span:.1f}"
        for i, v in enumerate(values)
        if math.isfinite(v)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" style="width:100%" role="img" aria-label="line">'
        f'<polyline points="{points}" fill="none" stroke="#1976d2" stroke-width="1.5"/></svg>'
    )


def meter(share: float | None, label: str) -> str:
    """A progress bar for a share from 0 to 1; ``None`` if it is unknown."""
    value = "" if share is None else f' value="{share:.4f}"'
    return f'<progress max="1"{value} style="width:100%" aria-label="{escape(label)}"></progress>'
