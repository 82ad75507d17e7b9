"""Images as results: PIL images are read back unchanged, and are stored as files outside the index."""

import os
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

import beautyspot as bs

directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
os.chdir(directory.name)  # a real script keeps its results where it runs
project = bs.Project("thumbnails")


def take_photos(count: int) -> list[Path]:
    """Draw pictures to work on, so that the example needs no files."""
    Path("photos").mkdir()
    for n in range(count):
        photo = Image.new("RGB", (1200, 800), (40, 20 * n % 256, 120))
        ImageDraw.Draw(photo).ellipse((100 + 40 * n, 100, 700 + 40 * n, 700), fill="white")
        photo.save(f"photos/{n}.png")
    return sorted(Path("photos").iterdir())


@project.task(save_blob=True, content_type=bs.ContentType.PNG, key=bs.KeyGen.file_content("path"))
def thumbnail(path: Path, width: int = 160) -> Image.Image:
    print("  shrinking", path.name)
    image = Image.open(path)
    image.thumbnail((width, width))
    return image


with project:
    photos = take_photos(4)
    print("first run")
    thumbnails = thumbnail.map(photos, workers=2)

    print("second run, with one photo renamed and one changed")
    photos[0] = photos[0].rename("photos/renamed.png")
    Image.open(photos[1]).rotate(90).save(photos[1])
    again = thumbnail.map(photos, workers=2)

    print("same image as before:", again[2] == thumbnails[2], again[2].size, again[2].mode)
    print("in blob storage:", sum(blob.size for blob in project.storage.blobs()), "bytes")

directory.cleanup()
