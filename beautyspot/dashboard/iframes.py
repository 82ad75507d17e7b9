"""Frames for untrusted content: each has its own origin, and no access to the page or the network.

HTML and Markdown are shown without any script. Diagrams and charts are drawn by programs that run in the frame, which
come from this machine: shipped with beautyspot, or with Panel.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import panel as pn

__all__ = ["Frames", "drawing", "page"]

_LOOK = "body{color:#111;font:14px/1.5 system-ui,sans-serif;margin:12px;overflow-wrap:anywhere}img{max-width:100%}"
_STILL = "default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; font-src data:"
_DRAWN_BY = {"mermaid": ["mermaid.min.js"], "graphviz": ["viz-global.js"], "plotly": [], "vega": []}
_BUNDLED = {
    "plotly": ("plotlyplot", ("plotly-*.min.js",)),
    "vega": ("vegaplot", ("vega@*", "vega-lite@*", "vega-embed@*")),
}
_HEIGHTS = {"mermaid": "60vh", "graphviz": "60vh", "plotly": "480px", "vega": "480px"}


class Frames(pn.viewable.Viewer):
    """The files for frames: any server of Panel serves the files that a component lists."""

    _resources: ClassVar[dict[str, dict[str, str]]] = {
        "files": {name: f"static/{name}" for name in ("mermaid.min.js", "viz-global.js", "frame.js")}
    }


def page(body: str, title: str) -> str:
    """A frame with untrusted HTML: it is shown, and neither runs nor loads anything."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_STILL}">'
    return _frame("", f'<!doctype html><meta charset="utf-8">{policy}<style>{_LOOK}</style>{body}', title, "60vh")


def drawing(kind: str, content: Any, title: str) -> str:
    """A frame in which a program draws.

    Args:
        kind: ``"mermaid"`` or ``"graphviz"``, whose content is a text; ``"plotly"`` or ``"vega"``, whose is a dict.
        content: What to draw.
        title: The title for screen readers.
    """
    # In a script element only its own end would be read as markup.
    given = json.dumps({"kind": kind, "content": content}).replace("<", "\\u003c")
    here = _origin()
    policy = (
        f"default-src 'none'; script-src {here} 'unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; worker-src blob:"
    )
    scripts = "".join(f'<script src="{escape(url)}"></script>' for url in _scripts(kind))
    document = (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>{_LOOK}html,body{{height:100%;margin:0}}#drawing{{height:96vh;padding:8px;box-sizing:border-box}}"
        f"#drawing svg{{max-width:100%;max-height:100%}}.failed{{color:#b00020;white-space:pre-wrap}}</style>"
        f'<div id="drawing"></div><script type="application/json" id="content">{given}</script>{scripts}'
    )
    return _frame("allow-scripts", document, title, _HEIGHTS[kind])


def _frame(sandbox: str, document: str, title: str, height: str) -> str:
    return (
        f'<iframe sandbox="{sandbox}" srcdoc="{escape(document)}" title="{escape(title)}" referrerpolicy="no-referrer" '
        f'style="height:{height};resize:vertical;overflow:auto"></iframe>'
    )


def _origin() -> str:
    """The origin of this page, as its browser sees it."""
    place = pn.state.location
    if place is None or not place.hostname:
        return "http: https:"
    return f"{place.protocol}//{place.hostname}{f':{place.port}' if place.port else ''}"


def _root() -> str:
    return f"{pn.state.rel_path}/" if pn.state.rel_path else ""


def _scripts(kind: str) -> list[str]:
    ours = f"{_root()}components/{__name__}/{Frames.__name__}/_resources/files/static/"
    return [*_of_panel(kind), *(ours + name for name in (*_DRAWN_BY[kind], "frame.js"))]


def _of_panel(kind: str) -> list[str]:
    """The libraries that Panel ships, below its own static files.

    They are found by their names: the classes of Panel that know them would put them on every page once imported.
    """
    folder, names = _BUNDLED.get(kind, ("", ()))
    bundled = Path(pn.__file__).parent / "dist" / "bundled"
    files = [next(iter(sorted((bundled / folder).glob(name))), None) for name in names]
    return [f"{_root()}static/extensions/panel/bundled/{folder}/{file.name}" for file in files if file is not None]
