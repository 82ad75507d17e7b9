"""Rendering of a value: by its content type, or else by its own type."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from beautyspot.dashboard import iframes, markup
from beautyspot.dashboard.images import array_html, png
from beautyspot.dashboard.queries import CUT, Large
from beautyspot.serialization.content_types import ContentType, chart_library, is_image
from beautyspot.serialization.to_json import library_kind, to_plain

__all__ = ["see"]

_ROWS, _COLUMNS = 200, 50  # of a frame that are shown


def see(value: Any, content_type: str | None, url: str | None = None) -> str:
    """HTML that shows *value*.

    Args:
        value: A value as a `ClasslessDecoder` decodes it, or a `Large`.
        content_type: The content type that its task declares.
        url: The URL of its bytes; ``None`` if no server has them.
    """
    if isinstance(value, Large):
        return _large(value, content_type, url)
    view = _by_type(value, content_type, url)
    return view if view is not None else _by_kind(value)


def _by_type(value: Any, content_type: str | None, url: str | None) -> str | None:
    """HTML by the content type; ``None`` if there is none, or it does not fit the value."""
    if content_type is None:
        return None
    content_type = content_type.partition(";")[0].strip().lower()
    kind = content_type.partition("/")[0]
    if kind in ("image", "audio", "video") or content_type == ContentType.PDF:
        return _media(value, content_type, url)
    if chart := chart_library(content_type):
        return _spec(value, chart)
    if isinstance(value, str) or (isinstance(value, bytes) and kind in ("text", "application")):
        written = _decoded(value)
        return None if written is None or content_type not in _TEXTS else _TEXTS[content_type](written)
    return None


def _decoded(value: str | bytes) -> str | None:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _json(text: str) -> str:
    try:
        return markup.tree(json.loads(text))
    except (ValueError, RecursionError) as error:
        return markup.note(f"this is no JSON ({error}):") + _text(text)


def _markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    return iframes.page(MarkdownIt("commonmark", {"html": False}).enable("table").render(text[:CUT]), "Markdown")


def _csv(text: str) -> str:
    import csv
    from itertools import islice

    rows = list(islice(csv.reader(text.splitlines()), _ROWS + 1))
    return (
        markup.grid([cell[:200] for cell in rows[0][:_COLUMNS]], [row[:_COLUMNS] for row in rows[1:]]) if rows else ""
    )


def _text(text: str) -> str:
    if len(text) <= CUT:
        return markup.text(text)
    return markup.text(text[:CUT]) + markup.note(f"… cut: {len(text):,} characters in all; the download has them")


_TEXTS: dict[str, Callable[[str], str]] = {
    ContentType.TEXT: _text,
    ContentType.JSON: _json,
    ContentType.MARKDOWN: _markdown,
    ContentType.HTML: lambda text: iframes.page(text, "HTML"),
    ContentType.CSV: _csv,
    ContentType.MERMAID: lambda text: iframes.drawing("mermaid", text, "diagram"),
    ContentType.GRAPHVIZ: lambda text: iframes.drawing("graphviz", text, "graph"),
}


def _spec(value: Any, kind: str) -> str | None:
    """A chart, from its specification as a dict or as JSON."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except ValueError as error:
            return markup.note(f"this is no JSON, so nothing can be drawn: {error}", "failed")
    plain = to_plain(value)
    return iframes.drawing(kind, plain, f"{kind} chart") if isinstance(plain, Mapping) else None


def _media(value: Any, content_type: str, url: str | None) -> str | None:
    """Pictures, sound, films and documents: embedded in the page, or loaded from *url*."""
    if library_kind(value) == "image":
        return _picture(png(value), ContentType.PNG)
    if content_type == ContentType.SVG:
        data = value.encode() if isinstance(value, str) else value
        return _picture(data, content_type) if isinstance(data, bytes) else None
    if not isinstance(value, bytes | bytearray):
        return None
    if content_type == ContentType.PDF:
        return _document(url)
    return _picture(bytes(value), content_type) if is_image(content_type) else _player(value, content_type, url)


def _picture(data: bytes, content_type: str) -> str:
    return f'<img src="{_data_url(data, content_type)}" alt="the result">'


def _player(data: bytes | bytearray | None, content_type: str, url: str | None) -> str:
    source = url or (_data_url(bytes(data), content_type) if data is not None else None)
    kind = content_type.partition("/")[0]
    if source is None or kind not in ("audio", "video"):
        return markup.note(f"{content_type}: not shown here; the download has it")
    return f'<{kind} controls preload="metadata" src="{escape(source)}"></{kind}>'


def _document(url: str | None) -> str:
    if url is None:
        return markup.note("a PDF: the download has it")
    return f'<iframe src="{escape(url)}" title="PDF" style="height:70vh"></iframe>'


def _data_url(data: bytes, content_type: str) -> str:
    return f"data:{escape(content_type)};base64,{base64.b64encode(data).decode()}"


def _large(value: Large, content_type: str | None, url: str | None) -> str:
    head = markup.note(f"{markup.size_text(value.size)}: too large to be shown whole; the download has it all")
    if content_type and content_type.partition("/")[0] in ("audio", "video") and url:
        return _player(None, content_type, url)
    if content_type == ContentType.PDF and url:
        return _document(url)
    if value.is_text or (content_type or "").startswith("text/"):
        return head + markup.text(value.beginning.decode(errors="replace"))
    return head + (_hex(value.beginning) if value.beginning else "")


def _by_kind(value: Any) -> str:
    """HTML by the type of a value."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes | bytearray):
        return _hex(bytes(value))
    kind = library_kind(value)
    if kind == "image":
        return markup.facts([("size", f"{value.width} × {value.height}"), ("mode", value.mode)]) + _picture(
            png(value), ContentType.PNG
        )
    if kind == "array":
        return array_html(value)
    if kind == "frame":
        return _frame(value if hasattr(value, "columns") else value.to_frame())
    if isinstance(value, float) and not math.isfinite(value):
        return markup.text(str(value))
    return markup.tree(to_plain(value))


def _frame(frame: Any) -> str:
    is_pandas = hasattr(frame, "iloc")
    rows, columns = frame.shape
    if is_pandas:
        part = frame.iloc[:_ROWS, :_COLUMNS]
        cells = [[str(index), *map(_cell, row)] for index, row in zip(part.index, part.itertuples(False), strict=True)]
        names, dtypes = ["", *map(str, part.columns)], [str(kind) for kind in part.dtypes]
        numbers = [i for i, kind in enumerate(part.dtypes, 1) if kind.kind in "iufc"]
    else:
        part = frame[:_ROWS, :_COLUMNS]
        cells, names, dtypes = (
            [list(map(_cell, row)) for row in part.rows()],
            part.columns,
            [str(d) for d in part.dtypes],
        )
        numbers = [i for i, kind in enumerate(part.dtypes) if kind.is_numeric()]
    head = markup.facts(
        [("rows", f"{rows:,}"), ("columns", f"{columns:,}"), ("types", ", ".join(dict.fromkeys(dtypes)))]
    )
    cut = rows > _ROWS or columns > _COLUMNS
    more = markup.note(f"the first {min(rows, _ROWS)} rows and {min(columns, _COLUMNS)} columns; the download has all")
    return head + markup.grid(names, cells, numbers) + (more if cut else "")


def _cell(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _hex(data: bytes) -> str:
    """The first bytes, in hexadecimal and as characters."""
    lines = []
    for start in range(0, min(len(data), 1024), 16):
        some = data[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in some)
        lines.append(f"{start:08x}  {some.hex(' '):<47}  {shown}")
    if len(data) > 1024:
        lines.append(f"… {len(data):,} bytes in all")
    shown = escape("\n".join(lines))
    return f'<pre class="hex">{shown}</pre>'
