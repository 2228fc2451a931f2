"""Small pictures of evidence files. The files come from anybody: nothing in here may fail or grow because of them."""

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
MAX_PIXELS = 24_000_000  # 72 MB while it is decoded; a long screenshot of a telephone has 17 million
_EDGE = 1280  # a usual page as it was photographed; one of twice the density decodes to that, at no cost
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, OverflowError, EOFError)
_BROKEN = (Image.DecompressionBombError, struct.error, zlib.error, MemoryError, AssertionError, NotImplementedError)


@dataclass(frozen=True)
class Picture:
    """A JPEG of at most 1280 pixels an edge. ``pixels``: how many the original has."""

    jpeg: bytes
    width: int
    height: int
    pixels: int


def make_picture(raw: bytes, media_type: str, *, max_pixels: int = MAX_PIXELS) -> Picture | None:
    """Return a reduced picture of an image file; None when it is no image, does not decode, or is too large to try."""
    if media_type not in FORMATS:
        return None
    try:
        with Image.open(io.BytesIO(raw), formats=[FORMATS[media_type]]) as image:
            if image.width * image.height > max_pixels:
                return None
            return _reduce(image)
    except (*_UNREADABLE, *_BROKEN):
        return None


def _reduce(image: Image.Image) -> Picture:
    pixels = image.width * image.height
    image.draft("RGB", (_EDGE, _EDGE))
    mode = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
    small = image if image.mode == mode else image.convert(mode)
    small.thumbnail((_EDGE, _EDGE), Image.Resampling.HAMMING)  # as sharp as the default to the eye, in half the time
    if small.mode == "RGBA":
        paper = Image.new("RGB", small.size, "white")
        paper.paste(small, mask=small.getchannel("A"))
        small = paper
    out = io.BytesIO()
    # Written from pixels alone: no metadata of the original (place, device) gets into the page.
    small.save(out, "JPEG", quality=78, optimize=True, exif=b"", icc_profile=None)
    return Picture(out.getvalue(), small.width, small.height, pixels)
