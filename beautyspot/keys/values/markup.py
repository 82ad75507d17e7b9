"""Elements of parsed pages, of bs4 and lxml: their text as it would be written.

The tree around an element, which it leads to, does not count: to follow it would take time without bound.
"""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of an element or a page; ``None`` for any other value."""
    return _soup(value) or _lxml(value)


def _soup(value: Any) -> Parts | None:
    bs4: Any = sys.modules.get("bs4")
    if bs4 is None:
        return None
    if isinstance(value, bs4.Tag):
        return (b"v", "element", type(value), value.decode())
    if isinstance(value, bs4.NavigableString):
        return (b"v", "element", type(value), str(value))
    if isinstance(value, bs4.ResultSet):
        return (b"v", "elements", type(value), list(value))
    return None


def _lxml(value: Any) -> Parts | None:
    etree: Any = sys.modules.get("lxml.etree")
    if etree is None or not isinstance(value, etree._Element | etree._ElementTree):
        return None
    return (b"v", "element", type(value), etree.tostring(value, encoding="unicode"))
