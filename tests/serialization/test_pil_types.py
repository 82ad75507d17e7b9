"""Images come back with all their pages, and all that PIL can see of them."""

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization import MsgpackSerializer
from tests.support.round_trip import both_ways, check

COLOURS = [(80 * i, 0, 100) for i in range(3)]


def pages(kind: str, **options: Any) -> Image.Image:
    first, *others = [Image.new("RGB", (8, 6), colour) for colour in COLOURS]
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def one(kind: str, mode: str, **options: Any) -> Image.Image:
    file = io.BytesIO()
    Image.effect_noise((5, 4), 50).convert(mode).save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def seen(image: Any) -> Any:
    image.load()
    palette = None if image.palette is None else (image.palette.mode, image.getpalette(image.palette.mode))
    tags = dict(image.tag_v2) if hasattr(image, "tag_v2") else None
    more = [getattr(image, name, None) for name in ("text", "quantization", "n_frames", "is_animated", "layers")]
    return image.mode, image.size, image.tobytes(), image.info, palette, image.format, dict(image.getexif()), tags, more


def seen_pages(image: Any) -> Any:
    at = image.tell()
    found = []
    for number in range(image.n_frames):
        image.seek(number)
        image.load()
        found.append((image.mode, image.tobytes(), image.info.get("duration")))
    image.seek(at)
    return at, image.n_frames, found[1:], found[0][:2]


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_every_page_comes_back(kind: str, is_loaded: bool) -> None:
    image = pages(kind, **({} if kind == "TIFF" else {"duration": [100, 200, 300]}))
    if is_loaded:
        image.load()
    check(image, seen_pages)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_an_image_comes_back_at_its_page(kind: str) -> None:
    image = pages(kind)
    image.seek(1)
    check(image, lambda v: (v.tell(), v.tobytes(), v.n_frames))


FILES = {
    "png": ("PNG", "RGBA", {}), "jpeg": ("JPEG", "RGB", {"quality": 80}), "tiff": ("TIFF", "RGB", {"dpi": (72, 72)}),
    "gif": ("GIF", "P", {}), "bmp": ("BMP", "RGB", {}), "webp": ("WEBP", "RGB", {}),
    "png with a palette": ("PNG", "P", {"transparency": 0}),
}  # fmt: skip


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_an_image_of_a_file_comes_back(name: str, loaded: bool) -> None:
    kind, mode, options = FILES[name]
    image = one(kind, mode, **options)
    if loaded:
        image.load()
    check(image, seen)


def test_texts_of_a_png_come_back_with_their_language() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("key", "value", "en", "translated")
    image = one("PNG", "RGB", pnginfo=texts)
    image.load()
    for back in both_ways(image):
        assert (back.info["key"], back.info["key"].lang, back.info["key"].tkey) == ("value", "en", "translated")


MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "RGBX",
    "RGBa",
    "La",
    "I;16",
    "I;16B",
)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_comes_back(mode: str) -> None:
    check(Image.new(mode, (3, 2)), seen)


def test_a_palette_comes_back_with_its_transparency() -> None:
    image = Image.new("P", (2, 2))
    image.putpalette(list(range(16)), "RGBA")
    check(image, seen)


def test_changed_tags_come_back() -> None:
    image = Image.new("RGB", (2, 2))
    image.getexif()[0x10E] = "a description"
    check(image, seen)


def test_a_changed_image_comes_back_as_it_is_and_not_as_its_file() -> None:
    image = one("JPEG", "RGB")
    image.putpixel((0, 0), (1, 2, 3))
    check(image, seen)


def test_an_image_that_was_opened_by_name_and_changed_on_disk_comes_back_as_it_was(tmp_path: Any) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (2, 2), "red").save(path)
    with Image.open(path) as image:
        image.load()
    Image.new("RGB", (2, 2), "blue").save(path)
    assert [back.getpixel((0, 0)) for back in both_ways(image)] == [(255, 0, 0)] * 2


def test_pages_that_were_changed_are_refused() -> None:
    image = pages("TIFF")
    image.putpixel((0, 0), (1, 2, 3))
    with pytest.raises(SerializationError, match=r"return \[page.copy\(\) for page in PIL.ImageSequence"):
        MsgpackSerializer().dumps(image)


def test_an_image_of_a_class_of_ones_own_is_refused() -> None:
    class Picture(Image.Image):
        pass

    with pytest.raises(SerializationError, match=r"write image.copy\(\)"):
        MsgpackSerializer().dumps(Picture())


def test_no_file_is_read_that_another_program_would_have_to_draw() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    data = MsgpackSerializer().dumps(Image.open(file))
    with pytest.raises(DeserializationError, match="not read from a file of the format 'EPS'"):
        MsgpackSerializer().loads(data.replace(b"\xa3PNG", b"\xa3EPS", 1))
