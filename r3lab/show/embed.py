"""Pictures inside a page: each image once, small enough, as a data URI that needs no other file.

What is small keeps its exact pixels (PNG), so that a page shows a crop as the model got it; a photograph becomes a JPEG
that is made smaller until it fits its share of a budget. Simplified: the shares are fixed (photograph, overview, all
crops), and an overview as large as the photograph that the page shows is not held twice.

    found = embed(photo, most=120_000)
    found.uri, found.width, found.exact           # "data:image/jpeg;base64,...", 896, False
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from ..images import to_png_bytes
from ..trajectory import Trajectory
from .story import overview, photograph

LONGEST = 1024  # pixels: a page shows no picture larger
TINY = 256 * 256  # pixels up to which a PNG is tried
LEAST = 48  # pixels: the longest side is never made smaller
HARD = 160  # pixels: the longer side up to which a picture is enlarged without smoothing
QUALITIES = (88, 76)
BUDGET = 1_200_000  # characters of all pictures of one trajectory
SHARES = (0.4, 0.15, 0.45)  # of the budget: photograph, overview, all crops


@dataclass(frozen=True)
class Embedded:
    """An image as a page holds it.

    Attributes
    ----------
    uri : data URI
    width, height : of the pixels that it holds
    exact : whether these are the image's own pixels
    """

    uri: str
    width: int
    height: int
    exact: bool

    @property
    def hard(self) -> bool:
        """Whether it is so small that a page enlarges it, and its pixels should keep their edges."""
        return self.exact and max(self.width, self.height) <= HARD


def embed(image: Image.Image, most: int = 200_000, longest: int = LONGEST) -> Embedded:
    """An image as a data URI of about `most` characters at most.

    Parameters
    ----------
    image
        Any image; shown as RGB.
    most
        Characters of the URI. An image of 48 pixels is not made smaller still, whatever it takes.
    longest
        Pixels of the longer side at most.
    """
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if rgb.width * rgb.height <= TINY and max(rgb.size) <= longest:
        uri = _uri("png", to_png_bytes(rgb))
        if len(uri) <= most:
            return Embedded(uri, *rgb.size, True)
    largest = _at_most(rgb, longest)
    side = float(max(largest.size))
    while True:
        small = _at_most(largest, round(side))
        for quality in QUALITIES:
            uri = _uri("jpeg", _jpeg(small, quality))
            if len(uri) <= most:
                return Embedded(uri, *small.size, False)
        if side <= LEAST:
            return Embedded(uri, *small.size, False)
        side = max(float(LEAST), side * min(0.9, (most / len(uri)) ** 0.5))


def _at_most(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest <= side:
        return image
    w, h = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class Pictures:
    """The images of a trajectory, ready for a page; None where one was not kept.

    Attributes
    ----------
    photo : the source photograph
    overview : what the model saw first; the same object as `photo` where that is as good
    crops : one a look, None also where it was refused
    """

    photo: Embedded | None
    overview: Embedded | None
    crops: list[Embedded | None]


def pictures_of(t: Trajectory, budget: int = BUDGET, looks: int = 16) -> Pictures:
    """The images of a trajectory within a budget.

    Parameters
    ----------
    budget
        Characters of all of them together, about.
    looks
        Looks whose crops are embedded, the first ones.
    """
    source, first = photograph(t), overview(t)
    photo = embed(source, round(SHARES[0] * budget)) if source is not None else None
    seen = photo
    if first is not None and not (photo and first.width >= photo.width):
        seen = embed(first, round(SHARES[1] * budget))
    shown = t.looks[:looks]
    held = sum(look.crop is not None for look in shown)
    each = round(SHARES[2] * budget / max(1, held))
    crops = []
    for look in shown:
        crop = t.images.get(look.crop.hash) if look.crop else None
        crops.append(embed(crop, each) if crop is not None else None)
    return Pictures(photo, seen, crops)
