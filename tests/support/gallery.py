"""A result of every kind that the app shows, each with the element that its page must contain."""

import contextlib
import dataclasses
import io
import json
import math
import struct
import wave
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from PIL import Image

import beautyspot as bs
from beautyspot import ContentType
from beautyspot.testing import make_failure

HACKED = "document.title='hacked';window.hacked=1;top.document.title='hacked'"
HOSTILE = f'<script>{HACKED}</script><img src=x onerror="{HACKED}"><a href="javascript:{HACKED}">link</a>'
BEACON = '<img src="http://example.com/beacon.png"><link rel=stylesheet href="http://example.com/x.css">'


@dataclasses.dataclass
class Point:
    x: int
    y: float
    tags: list[str]


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.effect_mandelbrot((64, 48), (-2, -1.2, 1, 1.2), 40).convert("RGB").save(file, form)
    return file.getvalue()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 5))) for i in range(4000)))
    return file.getvalue()


PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/MediaBox[0 0 200 200]/Parent 2 0 R>>endobj\ntrailer<</Root 1 0 R>>"
)
BARS = {"data": [{"x": [1, 2, 3], "y": [2, 6, 3], "type": "bar"}], "layout": {"title": {"text": "Bars"}}}
VEGA = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"a": "A", "b": 28}, {"a": "B", "b": 55}]},
    "mark": "bar",
    "encoding": {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}},
}
WALK = np.cumsum(np.random.default_rng(1).normal(size=2000))

# A name, a content type, a value, and two selectors: what the page contains, and what the frame in it contains.
KINDS: list[tuple[str, str | None, Any, str, str]] = [
    ("plain_text", ContentType.TEXT, "as it is\n  <b>indented</b>", "pre", ""),
    ("json_text", ContentType.JSON, json.dumps({"a": [1, {"b": None}]}), "details details", ""),
    ("json_value", None, {"a": [1, {"b": None}], "long": "word " * 300}, "details details", ""),
    ("markdown", ContentType.MARKDOWN, f"# Head\n\n* one\n\n{BEACON}{HOSTILE}", "", "li"),
    ("html", ContentType.HTML, f"<h1>Head</h1>{BEACON}", "", "h1"),
    ("csv", ContentType.CSV, "a,b\n1,2\n", "td", ""),
    ("png", ContentType.PNG, picture("PNG"), "img", ""),
    ("jpeg", ContentType.JPEG, picture("JPEG"), "img", ""),
    ("webp", ContentType.WEBP, picture("WEBP"), "img", ""),
    (
        "svg",
        ContentType.SVG,
        f"<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90' onload=\"{HACKED}\">"
        f"<circle cx='45' cy='45' r='40' fill='teal'/><script>{HACKED}</script></svg>",
        "img",
        "",
    ),
    ("audio", ContentType.WAV, sound(), "audio", ""),
    ("pdf", ContentType.PDF, PDF, "iframe[title=PDF]", ""),
    ("mermaid", ContentType.MERMAID, "graph TD; A[Collect]-->B{Kept?}; B-->C[Recall]", "", "[data-drawn=mermaid] svg"),
    ("graphviz", ContentType.GRAPHVIZ, "digraph { a -> b -> c; a -> c }", "", "[data-drawn=graphviz] svg"),
    ("plotly", ContentType.PLOTLY, BARS, "", "[data-drawn=plotly] .bars"),
    ("vega", ContentType.VEGALITE, json.dumps(VEGA), "", "[data-drawn=vega] canvas, [data-drawn=vega] svg"),
    ("image_array", None, np.arange(1200.0).reshape(30, 40), "img", ""),
    ("colour_array", None, np.zeros((20, 30, 3), "uint8"), "img", ""),
    ("line_array", None, WALK, "polyline", ""),
    ("text_array", None, np.array(["a", "b"], dtype=object), "pre", ""),
    ("pandas_frame", None, pd.DataFrame({"x": range(300), "<b>name": ["<i>r</i>"] * 300}), "td.number", ""),
    ("polars_frame", None, pl.DataFrame({"x": [1, 2], "s": ["a", "b"]}), "td.number", ""),
    ("data_class", None, Point(7, 0.5, ["a"]), "details .key", ""),
    ("pillow_image", None, Image.effect_mandelbrot((64, 48), (-2, -1.2, 1, 1.2), 40), "img", ""),
    ("raw_bytes", None, bytes(range(256)) * 20, "pre.hex", ""),
    ("unknown_type", "application/x-nobody-knows", b"\x00\x01", "pre.hex", ""),
    ("not_what_it_says", ContentType.PNG, {"a": 1}, "details", ""),
]
VALUES = {name: value for name, _, value, _, _ in KINDS}


def fill(project: bs.Project) -> None:
    """Store one result of each kind, each by a task of its own, and one failure."""

    def make(name: str, content_type: str | None) -> None:
        def function(text: str) -> Any:
            return VALUES[name]

        function.__name__ = function.__qualname__ = name
        project.task(content_type=content_type, key=lambda text: (name, text))(function)(f"{name} {HOSTILE}")

    for name, content_type, *_ in KINDS:
        make(name, content_type)

    @project.task(version="2")
    def failing(text: str) -> None:
        raise ValueError(HOSTILE)

    with contextlib.suppress(ValueError):
        failing("x")


def fill_with_attacks(project: bs.Project) -> None:
    """Store results in which every text is an attack: in the list and in every view of a value."""
    css = "<style>*{position:fixed!important;inset:0;z-index:99999;background:red}</style>"
    frame = f'<iframe srcdoc="<script>{HACKED}</script>"></iframe><iframe src="javascript:{HACKED}"></iframe>'
    values: list[tuple[str | None, Any]] = [
        (None, {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}),
        (None, pd.DataFrame({HOSTILE: [HOSTILE]})),
        ("text/markdown", f"[x](javascript:{HACKED})\n\n{HOSTILE}{frame}{css}"),
        ("text/html", HOSTILE + frame + css + f'<svg onload="{HACKED}"><meta http-equiv=refresh content="0;url=/">'),
        ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"{HACKED}\">{HOSTILE}</svg>"),
        ("text/vnd.mermaid", f'graph TD; A["{HOSTILE}"]-->B; click A "javascript:{HACKED}"'),
        ("text/vnd.graphviz", f'digraph {{ a [label=<b>, URL="javascript:{HACKED}"]; b [label="{HACKED}"] }}'),
        ("text/vnd.graphviz", f'digraph {{ a [URL="javascript:{HACKED}", label="x"] }}'),
        ("text/csv", f"{HOSTILE},b\n{HOSTILE},2\n"),
        ("text/plain", HOSTILE),
        (f'image/png"><script>{HACKED}</script>', b"x"),
        (f"audio/x' onerror='{HACKED}", b"x"),
        ("application/vnd.plotly.v1+json", {"data": [{"x": [1], "y": [1], "name": HOSTILE}], "layout": {"title": {"text": HOSTILE}}}),
        ("application/json", json.dumps({HOSTILE: "</script>" + HOSTILE})),
    ]  # fmt: skip
    for number, (content_type, value) in enumerate(values):
        project.task(content_type=content_type, key=lambda x: x)(lambda x, value=value: value)(number)
    for record in list(project.db.records()):  # type: ignore[attr-defined]
        summary = record[1].summary
        project.db.upsert(
            [record[1]._replace(summary=summary._replace(
                function=HOSTILE, input=HOSTILE, version=HOSTILE, worker=HOSTILE))]
        )  # fmt: skip
    project.db.note_failure(  # type: ignore[attr-defined]
        make_failure(5)._replace(function=HOSTILE, input=HOSTILE, error=HOSTILE, message=HOSTILE, traceback=HOSTILE)
    )
