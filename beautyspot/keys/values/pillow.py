"""Images of PIL: pixels, palette and information, and of an image with more pages, the file that they are read from."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot._internal.digests import digest_of
from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of an image; ``None`` for any other value."""
    image: Any = sys.modules.get("PIL.Image")
    if image is None or not isinstance(value, image.Image):
        return None
    pixels = digest_of(value.tobytes())  # the image is loaded first, which may add to what follows
    palette = value.palette and (value.palette.mode, value.palette.rawmode, bytes(value.palette.palette))
    return (
        b"v", "image", type(value), value.mode, value.size, pixels, palette, value.info, _pages(value)
    )  # fmt: skip


def _pages(value: Any) -> Any:
    """The page that is shown, and the content of the file of an image that reads further pages from it.

    Turning to another page and back would undo what was drawn on this one. A file that is closed has no further pages.
    """
    file: Any = getattr(value, "fp", None) or getattr(value, "_fp", None)
    if not hasattr(file, "read") or getattr(file, "closed", False):
        return None
    at = file.tell()
    try:
        file.seek(0)
        return (value.tell(), file.read())
    finally:
        file.seek(at)
