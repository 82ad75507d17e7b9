"""PIL: images with all their pages.

An image that was opened from a file, and not changed since, is stored as that file: its pages, its tags and its
palettes are those of the file. Any other image is stored as its pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.classes import find_class, reference
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

# The formats of files that are read again: PIL hands others to programs, PostScript to Ghostscript.
_FORMATS = frozenset({"AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"})


def _pil() -> Any:
    import PIL.Image

    return PIL.Image


def _image(v: Any, apart: Apart) -> Any:
    if not type(v).__module__.startswith("PIL."):
        raise SerializationError(f"return the image of a {full_name(type(v))} as one of PIL: write image.copy()")
    page = v.tell() if hasattr(v, "tell") else 0
    content = _file_of(v) if v.format in _FORMATS else None
    if content is not None and _is_same(v, content, page):
        return ["file", v.format, page, apart(memoryview(content))]
    if getattr(v, "n_frames", 1) > 1:
        content = _saved_anew(v, page)
        if content is None:
            raise SerializationError(
                "return [page.copy() for page in PIL.ImageSequence.Iterator(image)]: the file of this image is closed, "
                "or its pages have changed, and they cannot be kept as one image"
            )
        return ["file", v.format, page, apart(memoryview(content))]
    return ["pixels", reference(type(v)), v.__getstate__(), _palette_of(v), _exif_of(v), _attributes_of(v)]


def _file_of(v: Any) -> bytes | None:
    """The bytes of the file that an image was opened from; ``None`` if they cannot be had."""
    for name in ("fp", "_fp"):
        with contextlib.suppress(Exception):  # it is closed, or an object that says so
            file = getattr(v, name)
            at = file.tell()
            file.seek(0)
            content: bytes = file.read()
            file.seek(at)
            return content
    path = getattr(v, "filename", None)
    if path and os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    return None


def _is_same(v: Any, content: bytes, page: int) -> bool:
    """Whether an image is that page of its file, which another program or the image's own methods may have changed."""
    if v._im is None and not getattr(v, "filename", None):  # not read yet
        return True
    try:
        other = _opened(v.format, page, content)
        for each in (other, v):  # some of its attributes are known only then
            each.load()
        same: bool = (
            type(other) is type(v) and other == v and getattr(other, "n_frames", 1) == getattr(v, "n_frames", 1)
        )
    except Exception:  # it is no file of that kind any more
        return False
    return same


def _saved_anew(v: Any, page: int) -> bytes | None:
    """The pages of an image whose file is gone, as a file that loses nothing; ``None`` if there is no such file."""
    if v.format != "WEBP":
        return None
    pages = _pages_of(v)
    v.seek(page)
    first, *others = [pages[number][0] for number in range(v.n_frames)]
    info = {name: v.info[name] for name in ("loop", "background", "exif", "icc_profile", "xmp") if name in v.info}
    info["duration"] = [pages[number][1].get("duration", 0) for number in range(v.n_frames)]
    target = io.BytesIO()
    first.save(target, "WEBP", save_all=True, append_images=others, lossless=True, exact=True, **info)
    content = target.getvalue()
    return content if _pages_of(_opened("WEBP", 0, content)) == pages else None


def _pages_of(v: Any) -> dict[int, tuple[Any, dict[str, Any]]]:
    pages = {}
    for number in (*range(1, v.n_frames), 0):  # PIL knows how long the first one lasts when it comes back to it
        v.seek(number)
        pages[number] = v.copy(), dict(v.info)
    return pages


def _opened(kind: str, page: int, content: Any) -> Any:
    if kind not in _FORMATS:
        raise DeserializationError(f"an image is not read from a file of the format {kind!r}")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", _pil().DecompressionBombWarning
        )  # it was open before; twice as much is an error
        made = _pil().open(io.BytesIO(content), formats=["JPEG" if kind == "MPO" else kind])
        if page:
            made.seek(page)
    return made


def _palette_of(v: Any) -> Any:
    """The palette as its mode and its bytes; PIL's own state has it without its transparency."""
    if v.mode not in ("P", "PA") or v.palette is None:
        return None
    return [v.palette.mode, bytes(v.getpalette(v.palette.mode))]


def _exif_of(v: Any) -> bytes | None:
    """The tags that were read, and perhaps changed."""
    exif = v._exif
    return exif.tobytes() if exif is not None and len(exif) else None


def _attributes_of(v: Any) -> dict[str, Any]:
    """What the plugin of a format noted beside the pixels, as far as it is plain data: ``quantization`` of a JPEG."""
    return {
        name: value
        for name, value in vars(v).items()
        if not name.startswith("_") and name not in _OF_IMAGE and _is_plain(value)
    }


# Of the image itself, and of the file that is closed.
_OF_IMAGE = frozenset(
    {"info", "palette", "fp", "tile", "map", "decoderconfig", "decodermaxblock", "filename", "readonly"}
)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in (int, float, str, bytes, bool, type(None))


def _to_pixels(ref: Any, state: list[Any], palette: Any, exif: Any, attributes: dict[str, Any]) -> Any:
    cls: Any = find_class(*ref)
    if cls is None:
        _pil().init()  # PIL imports the modules of its formats when it first needs them
        cls = find_class(*ref)
    if cls is None or not issubclass(cls, _pil().Image) or not cls.__module__.startswith("PIL."):
        raise DeserializationError(f"{'.'.join(ref)} is no image of PIL")
    (width, height), content = state[2], state[4]
    if width * height > 8 * len(content):  # PIL allocates the image before it reads the pixels
        raise DeserializationError(f"an image of {width} by {height} pixels and {len(content)} bytes")
    made: Any = cls.__new__(cls)
    made.__setstate__(state)
    vars(made).update({name: value for name, value in attributes.items() if name not in _OF_IMAGE})
    if palette is not None:
        made.putpalette(palette[1], palette[0])
    if exif is not None:
        made._exif = _pil().Exif()
        made._exif.load(exif)
    return made


def _to_rational(numerator: Any, denominator: Any) -> Any:
    from PIL.TiffImagePlugin import IFDRational

    return IFDRational(numerator, denominator)


def _to_text(text: str, lang: Any, key: Any) -> Any:
    from PIL.PngImagePlugin import iTXt

    return iTXt(text, lang, key)


_KINDS: dict[str, Callable[..., Any]] = {
    "file": _opened,
    "pixels": _to_pixels,
    "rational": _to_rational,
    "text": _to_text,
}


def _to_image(data: Any) -> Any:
    kind, *content = data
    return _KINDS[kind](*content)


DECODERS: dict[int, Decoder] = {Code.IMAGE: _to_image}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of PIL; ``None`` for any other type."""
    if issubclass(kind, sys.modules["PIL.Image"].Image):
        return Code.IMAGE, _image
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name == "PIL.TiffImagePlugin.IFDRational":
        return Code.IMAGE, lambda v, _: ["rational", v._numerator, v._denominator]
    if name == "PIL.PngImagePlugin.iTXt":
        return Code.IMAGE, lambda v, _: ["text", str(v), v.lang, v.tkey]
    return None
