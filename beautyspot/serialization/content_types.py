"""ContentType: the MIME types that viewers know how to show."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ContentType"]


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
