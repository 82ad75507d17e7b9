"""Widgets of the app: a table of rows with its pager, and escaped HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import param
from panel.custom import JSComponent

__all__ = ["Markup", "RowTable", "button", "labelled"]

_STATIC = Path(__file__).parent / "static"
_VALUES = (_STATIC / "values.css").read_text()


class RowTable(JSComponent):
    """One page of rows, and the pager below it; cells are shown as plain text.

    ``columns`` are pairs of a CSS class (which sets the width) and a title; ``rows`` are lists of texts; ``keys`` are
    the keys of the rows, and ``chosen`` is one of them, or empty; ``page`` counts from 1; ``total`` is -1 until it is
    known; ``note`` follows the range.
    """

    columns = param.List(default=[])
    rows = param.List(default=[])
    keys = param.List(default=[])
    chosen = param.String(default="")
    page = param.Integer(default=1, bounds=(1, None))
    per_page = param.Integer(default=20)
    total = param.Integer(default=-1)
    note = param.String(default="")
    empty = param.String(default="Loading …")
    label = param.String(default="Results")

    _esm = "static/table.js"
    _stylesheets: ClassVar[list[str]] = [(_STATIC / "table.css").read_text()]


class Markup(pn.pane.HTML):
    """HTML that `markup`, `render` or `iframes` made, and no other."""

    def __init__(self, made: str = "", **options: Any) -> None:
        super().__init__(made, stylesheets=[_VALUES], sizing_mode="stretch_width", margin=(0, 0, 8, 0), **options)


def button(text: str, **options: Any) -> Any:
    """A button with a text."""
    import panel_material_ui as pmui

    return pmui.Button(label=text, variant="outlined", size="small", **options)


def labelled(kind: str, label: str, options: Any = None, **more: Any) -> Any:
    """A small input of Material UI, by its name there."""
    import panel_material_ui as pmui

    given = {} if options is None else {"options": options}
    shape = {} if "width" in more else {"sizing_mode": "stretch_width", "styles": {"flex": "1 1 110px"}}
    return getattr(pmui, kind)(label=label, size="small", margin=0, **shape, **given, **more)
