"""ContentType: the MIME types that viewers can show, and the table of their properties."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

__all__ = ["ContentType", "chart_library", "is_image", "is_shown_by_browsers", "label_of", "suffix_of"]

_PLAYED = re.compile(r"(audio|video)/[\w.+-]+")


class ContentType(StrEnum):
    """How viewers show a result. Wherever one is taken, any other MIME type may be written as text."""

    TEXT = "text/plain"
    JSON = "application/json"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    CSV = "text/csv"
    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    GIF = "image/gif"
    SVG = "image/svg+xml"
    PDF = "application/pdf"
    MP3 = "audio/mpeg"
    WAV = "audio/wav"
    MP4 = "video/mp4"
    WEBM = "video/webm"
    MERMAID = "text/vnd.mermaid"
    GRAPHVIZ = "text/vnd.graphviz"
    PLOTLY = "application/vnd.plotly.v1+json"
    VEGA = "application/vnd.vega.v5+json"
    VEGALITE = "application/vnd.vegalite.v5+json"
    BINARY = "application/octet-stream"


class _Known(NamedTuple):
    """The properties of a MIME type.

    Attributes:
        label: One word for it; if empty, the subtype is the label.
        suffix: Suffix of a file; if empty, that of text or of bytes.
        is_image: Whether browsers show it as an image without running anything; SVG may contain scripts.
        chart: The library that draws the chart it specifies, or ``None``.
    """

    label: str = ""
    suffix: str = ""
    is_image: bool = False
    chart: str | None = None


_KNOWN: dict[str, _Known] = {
    ContentType.TEXT: _Known("Text", ".txt"),
    ContentType.JSON: _Known("JSON", ".json"),
    ContentType.MARKDOWN: _Known("Markdown", ".md"),
    ContentType.HTML: _Known("HTML", ".html"),
    ContentType.CSV: _Known("CSV", ".csv"),
    ContentType.PNG: _Known("PNG", ".png", is_image=True),
    ContentType.JPEG: _Known("JPEG", ".jpg", is_image=True),
    ContentType.WEBP: _Known("WEBP", ".webp", is_image=True),
    ContentType.GIF: _Known("GIF", ".gif", is_image=True),
    "image/bmp": _Known("BMP", ".bmp", is_image=True),
    "image/avif": _Known("AVIF", ".avif", is_image=True),
    ContentType.SVG: _Known("SVG", ".svg"),
    ContentType.PDF: _Known("PDF", ".pdf"),
    ContentType.MP3: _Known("MPEG", ".mp3"),
    ContentType.WAV: _Known("WAV", ".wav"),
    ContentType.MP4: _Known("MP4", ".mp4"),
    ContentType.WEBM: _Known("WEBM", ".webm"),
    ContentType.MERMAID: _Known("Mermaid", ".mmd"),
    ContentType.GRAPHVIZ: _Known("Graphviz", ".dot"),
    ContentType.PLOTLY: _Known("Plotly", chart="plotly"),
    ContentType.VEGA: _Known("Vega", chart="vega"),
    "application/vnd.vega.v6+json": _Known("Vega", chart="vega"),
    ContentType.VEGALITE: _Known("Vega-Lite", chart="vega"),
    "application/vnd.vegalite.v6+json": _Known("Vega-Lite", chart="vega"),
    ContentType.BINARY: _Known("Bytes", ".bin"),
}
_OTHER = _Known()


def label_of(content_type: str | None) -> str:
    """A content type in one word; empty if there is none."""
    if not content_type:
        return ""
    return _KNOWN.get(content_type, _OTHER).label or content_type.rpartition("/")[2].upper()[:12]


def suffix_of(content_type: str) -> str:
    """The suffix of a file of a content type, such as ``.png``; empty if it has none of its own."""
    return _KNOWN.get(content_type, _OTHER).suffix


def is_image(content_type: str) -> bool:
    """Whether browsers show a content type as an image without running anything."""
    return _KNOWN.get(content_type, _OTHER).is_image


def chart_library(content_type: str) -> str | None:
    """The library that draws the chart of a content type; ``None`` if it is no chart."""
    return _KNOWN.get(content_type, _OTHER).chart


def is_shown_by_browsers(content_type: str) -> bool:
    """Whether browsers show or play a content type without running anything in it."""
    return is_image(content_type) or content_type == ContentType.PDF or bool(_PLAYED.fullmatch(content_type))
