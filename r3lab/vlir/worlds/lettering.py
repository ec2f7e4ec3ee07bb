"""What the worlds' pictures are written with: print whose ink is known, and the grain that lies over all of it.

A world must know which pixels its text fills (the true region) and how high they are (can it be read in the overview?).
So a size is given as the height of a digit in pixels, the same for every family of the fonts that matplotlib ships, and
writing returns the box of the ink. Simplified: left to right, no kerning, one line.

Grain is the unevenness of paper, print and sensor. Without it small print is not illegible in an overview: a
scaled-down picture that is clean to the last grey level keeps enough for a network to tell digits apart that no eye can
(of digits 10 pixels high, 2.5 in the overview, a perceptron that knew where they stand told about 70 %; 7 pixels high,
under grain, about 30 %). A crop hardly suffers: strokes there are ten times as strong.

    ink = write(ImageDraw.Draw(image), (40, 60), "12.40", "serif", 11, (20, 20, 20), "rm")
    image = grained(image, rng)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from ...core.errors import R3labError, nearest
from ...core.geometry import Box, Size, clip

CELL, STRENGTH = 4, 12.0  # source pixels of a grain (one overview pixel); grey levels, standard deviation
TILE = 768
DARKER = 14  # so that white paper has room for lighter grains
FAMILIES = {
    "sans": "DejaVuSans.ttf",
    "sans-bold": "DejaVuSans-Bold.ttf",
    "serif": "DejaVuSerif.ttf",
    "serif-bold": "DejaVuSerif-Bold.ttf",
    "mono": "DejaVuSansMono.ttf",
    "mono-bold": "DejaVuSansMono-Bold.ttf",
    "times": "STIXGeneral.ttf",
    "times-bold": "STIXGeneralBol.ttf",
    "roman": "cmr10.ttf",
    "roman-bold": "cmb10.ttf",
    "grotesque": "cmss10.ttf",
    "typewriter": "cmtt10.ttf",
}


@lru_cache(maxsize=256)
def font(family: str, digit: int) -> ImageFont.FreeTypeFont:
    """The font in which a digit is about `digit` pixels high.

    Raises
    ------
    R3labError
        If the family is unknown, the height is under 4 pixels, or matplotlib's fonts are not where they belong.
    """
    if family not in FAMILIES:
        raise R3labError(f"Unknown font family {family!r}.{nearest(family, FAMILIES)}")
    if digit < 4:
        raise R3labError(f"A digit {digit} pixels high cannot be drawn; ask for at least 4.")
    import matplotlib  # a second; only its fonts are wanted

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FAMILIES[family]
    if not path.is_file():
        raise R3labError(f"matplotlib ships no font {path.name} here; install matplotlib 3.8 or later anew.")

    def at(size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)

    _, top, _, bottom = at(200).getbbox("0")
    return at(max(6, round(200 * digit / (bottom - top))))


@lru_cache(maxsize=4096)
def extent(text: str, family: str, digit: int) -> tuple[int, int, int, int]:
    """The ink of a text (x1, y1, x2, y2) in pixels, relative to where its baseline begins."""
    left, top, right, bottom = font(family, digit).getbbox(text, anchor="ls")
    return int(left), int(top), int(right), int(bottom)


def width(text: str, family: str, digit: int) -> int:
    """How wide the ink of a text is, pixels."""
    left, _, right, _ = extent(text, family, digit)
    return right - left


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    family: str,
    digit: int,
    fill: tuple[int, int, int],
    anchor: str = "lm",
) -> Box:
    """Write a text and return the box of its ink.

    Parameters
    ----------
    at, anchor : a point, and what stands on it: across, the ink's l, m or r; down, a digit's t, m or b, so that texts
        with and without a tail share a line
    digit : height of a digit, pixels
    """
    left, top, right, bottom = extent(text, family, digit)
    x = round(at[0] - {"l": 0, "m": (right - left) / 2, "r": right - left}[anchor[0]])
    base = round(at[1] + {"t": digit, "m": digit / 2, "b": 0}[anchor[1]])
    draw.text((x - left, base), text, font=font(family, digit), fill=fill, anchor="ls")
    return float(x), float(base + top), float(x + right - left), float(base + bottom)


def padded(ink: Box, size: Size, pad: float = 6.0, least: float = 26.0) -> Box:
    """The region of some ink: `pad` pixels on every side, no side under `least`, inside an image of that size."""
    x, y = (ink[0] + ink[2]) / 2, (ink[1] + ink[3]) / 2
    w, h = (max(least, ink[2] - ink[0] + 2 * pad) / 2, max(least, ink[3] - ink[1] + 2 * pad) / 2)
    return clip((x - w, y - h, x + w, y + h), size)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    return (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))


@lru_cache(maxsize=1)
def _tile() -> Image.Image:
    """A fixed stretch of grain, RGB, 128 where there is none."""
    cells = np.random.default_rng(4).normal(128, STRENGTH, (TILE // CELL, TILE // CELL))
    small = Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8))
    return Image.merge("RGB", (small.resize((TILE, TILE), Image.Resampling.BICUBIC),) * 3)


def grained(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture, at most TILE pixels a side, under a stretch of grain that `rng` chooses; two draws."""
    x, y = (int(rng.integers(TILE - side + 1)) for side in image.size)
    return ImageChops.add(image, _tile().crop((x, y, x + image.width, y + image.height)), 1.0, -128 - DARKER)
