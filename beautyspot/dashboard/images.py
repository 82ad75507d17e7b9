"""Arrays and images: facts about them, and a picture or a line chart."""

from __future__ import annotations

import base64
import io
from typing import Any

from beautyspot.dashboard import markup

_STRETCHES, _STRETCH = 100, 10_000  # and elements of each, that statistics of a larger array are made of
_SIDE = 1024  # pixels of a picture that is shown
_POINTS = 600  # of a line


def png(image: Any) -> bytes:
    """An image of Pillow as PNG, scaled down if it is very large."""
    if max(image.size) > 2 * _SIDE:
        image = image.copy()
        image.thumbnail((2 * _SIDE, 2 * _SIDE))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def array_html(array: Any) -> str:
    """Shape, dtype and statistics of an array, its picture and its first elements."""
    facts: list[tuple[str, Any]] = [
        ("shape", " × ".join(f"{side:,}" for side in array.shape) or "scalar"),
        ("dtype", str(array.dtype)),
        ("size", markup.size_text(array.nbytes)),
    ]
    if array.size and array.dtype.kind in "biuf":
        facts += _statistics(array)
    return markup.facts(facts) + _picture(array) + _elements(array)


def _statistics(array: Any) -> list[tuple[str, Any]]:
    import numpy

    flat = array.ravel(order="K")  # no copy, in whichever order it lies
    is_part = flat.size > _STRETCHES * _STRETCH
    # Stretches, since single elements from all over a mapped array would bring each of its pages into memory.
    starts = numpy.linspace(0, flat.size - _STRETCH, _STRETCHES, dtype="int64") if is_part else [0]
    parts = [flat[start : start + _STRETCH] for start in starts] if is_part else [flat]
    sample = numpy.concatenate(parts).astype("float64")
    good = sample[numpy.isfinite(sample)]
    found: list[tuple[str, Any]] = []
    if good.size:
        found = [("least", f"{good.min():g}"), ("mean", f"{good.mean():g}"), ("greatest", f"{good.max():g}")]
        found.append(("deviation", f"{good.std():g}"))
    missing = sample.size - good.size
    found.append(("not finite", f"{missing:,}" if missing else None))
    found.append(("statistics of", f"{_STRETCHES} stretches of {_STRETCH:,} elements" if is_part else None))
    return found


def _picture(array: Any) -> str:
    """A line for one dimension, an image for two, or for three with colours."""
    if array.dtype.kind not in "biuf" or array.size < 2:
        return ""
    if array.ndim == 1:
        step = max(1, array.size // _POINTS)
        return markup.line([float(value) for value in array[::step]])
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype.kind in "uf"
    if not (array.ndim == 2 or is_colour) or min(array.shape[:2]) < 2:
        return ""
    from PIL import Image

    data = base64.b64encode(png(Image.fromarray(_as_bytes(array, is_colour)))).decode()
    small = max(array.shape[:2]) < 128
    look = "width:min(100%,384px);image-rendering:pixelated" if small else "max-width:100%"
    return f'<img src="data:image/png;base64,{data}" alt="the array as an image" style="{look}">'


def _as_bytes(array: Any, is_colour: bool) -> Any:
    """The array in shades of 0 to 255, sampled if it is very large."""
    import numpy

    rows, columns = (max(1, side // _SIDE) for side in array.shape[:2])
    part = numpy.asarray(array[::rows, ::columns])
    if part.dtype == numpy.uint8:
        return numpy.ascontiguousarray(part)
    values = part.astype("float64")
    good = values[numpy.isfinite(values)]
    low, high = (good.min(), good.max()) if good.size else (0.0, 1.0)
    if is_colour and part.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = numpy.nan_to_num((values - low) / ((high - low) or 1.0), nan=0.0, posinf=1.0, neginf=0.0)
    return (255 * scaled.clip(0, 1)).astype("uint8")


def _elements(array: Any) -> str:
    import numpy

    text = numpy.array2string(numpy.asarray(array), threshold=200, edgeitems=3, max_line_width=100)
    return markup.text(text if len(text) < 20_000 else text[:20_000] + "…")
