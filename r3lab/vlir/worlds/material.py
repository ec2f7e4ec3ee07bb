"""What the worlds are made of: photographs, handwriting and tables, split so that nothing is shared; print and grain.

Photographs are divided by name (assets/photos.json), handwriting by bitmap: of the bitmaps of each digit, in the order
of the UCI file, of every six one goes to validation, one to test, four to train. Tables (what countries, districts,
winds, guests and wines measured, gathered by assets/build.py) are divided by what they are about: no country, district,
direction, party or feature is in two splits.

A world must know which pixels its text fills (the true region) and how high they are (can it be read in the overview?).
So a size is given as the height of a digit in pixels, the same for every family of the fonts that matplotlib ships, and
writing returns the box of the ink. Simplified: left to right, no kerning, one line.

Grain is the unevenness of paper, print and sensor. Without it small print is not illegible in an overview: a
scaled-down picture that is clean to the last grey level keeps enough for a network to tell digits apart that no eye can
(of digits 10 pixels high, 2.5 in the overview, a perceptron that knew where they stand told about 70 %; 7 pixels high,
under grain, about 30 %). A crop hardly suffers: strokes there are ten times as strong.

    photos("train")        # list of (name, array (H, W, 3) uint8), shorter side at least 640 pixels
    handwriting("test")    # images (N, 8, 8) float32 in 0..1, labels (N,)
    tables("train")[0]     # .labels ("AGO", ...), .columns ("1952", ...), .values ((30.0, ...), ...)
    ink = write(ImageDraw.Draw(image), (40, 60), "12.40", "serif", 11, (20, 20, 20), "rm")
    image = grained(image, rng)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from ...core.errors import R3labError, nearest, shown
from ...core.files import assets_dir
from ...core.geometry import Box, Size, clip
from ..rationale import Steps, in_turn
from ..sample import Rationale, Sample

SPLITS = ("train", "validation", "test")
MIN_SIDE = 640
CELL, STRENGTH = 4, 12.0  # source pixels of a grain (one overview pixel); grey levels, standard deviation
TILE = 768
DARKER = 14  # so that white paper has room for lighter grains
Colour = tuple[int, int, int]
NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
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


# -- splits ----------------------------------------------------------------------------------------------------------


def split_number(split: str) -> int:
    """0, 1 or 2 for train, validation, test; an error that names the value for anything else."""
    if split not in SPLITS:
        raise R3labError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


class Drawn(NamedTuple):
    """A question on a picture, as a world draws it; fields as of `Sample`, `meta` of JSON and tuples."""

    image: Image.Image
    question: str
    answer: str
    regions: Sequence[Box]
    needs_look: bool
    meta: dict[str, Any]


class World:
    """A source of questions on images in which looking again pays, with the truth known.

    A world says `draw` and `steps`; the same (split, index, seed) gives the same sample in every process.

    Attributes
    ----------
    name : of the world and, with split, seed and index, of its samples
    key : what tells its random draws from those of other worlds
    """

    name = ""
    key: tuple[int, ...] = ()

    def sample(self, split: str, index: int, seed: int = 0) -> Sample:
        """The sample number `index` of a split."""
        lot = (seed, split_number(split), index, *self.key)
        drawn = self.draw(np.random.default_rng(lot), split, lot)
        if not isinstance(drawn, Drawn):
            raise R3labError(f"draw gave {shown(drawn)}; wanted a Drawn({', '.join(Drawn._fields)})")
        known = drawn._asdict() | {"regions": tuple(drawn.regions), "meta": json.loads(json.dumps(drawn.meta))}
        return Sample(f"{self.name}-{split}-{seed}-{index}", world=self.name, split=split, **known)

    def rationale(self, sample: Sample) -> Rationale:
        """The teacher's answer to a sample of this world, with exact regions."""
        return in_turn(self.steps(sample), sample)

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """A question made of a split's material, by `rng` alone, which was seeded with `lot`."""
        raise NotImplementedError("a world has draw(rng, split, lot)")

    def steps(self, sample: Sample) -> Steps:
        """The exact lesson: what is said, and what is looked at, in order; see `rationale.in_turn`."""
        raise NotImplementedError("a world has steps(sample)")


def shared_out(
    split: str,
    make: Callable[[int], Any],
    first: int,
    more: int,
    every: int,
    places: Mapping[int, int],
    look: Callable[[Any], Any],
) -> tuple[Any, ...]:
    """What a split has of things that are drawn from their number alone.

    Parameters
    ----------
    make : the thing of a number
    first : how many the splits share out: of every `every`, those at `places` (number modulo it -> 1 or 2) are held out
    more : further ones to train with, since a tower learns few layouts by heart; those that look like a held-out one
        are not
    look : a thing without what does not count as another look: its number, measures that any two differ in
    """
    number, things = split_number(split), [make(n) for n in range(first)]
    own = tuple(thing for n, thing in enumerate(things) if places.get(n % every, 0) == number)
    if number:
        return own
    held_out = {look(thing) for n, thing in enumerate(things) if n % every in places}
    return own + tuple(thing for thing in map(make, range(first, first + more)) if look(thing) not in held_out)


# -- photographs, handwriting, tables --------------------------------------------------------------------------------


@lru_cache(maxsize=3)
def photos(split: str) -> tuple[tuple[str, np.ndarray], ...]:
    """The photographs of a split, scaled so that the shorter side has at least `MIN_SIDE` pixels."""
    split_number(split)
    index = json.loads((assets_dir() / "photos.json").read_text())
    found = []
    for name, entry in index.items():
        if entry["split"] != split:
            continue
        image = Image.open(assets_dir() / "photos" / f"{name}.jpg").convert("RGB")
        scale = MIN_SIDE / min(image.size)
        if scale > 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BICUBIC)
        array = np.asarray(image)
        array.setflags(write=False)
        found.append((name, array))
    return tuple(found)


def stretch(rng: np.random.Generator, split: str, side: int) -> np.ndarray:
    """A square (side, side, 3) uint8 out of one of the split's photographs; three draws. Not to be written to."""
    photo = photos(split)[int(rng.integers(len(photos(split))))][1]
    y, x = (int(rng.integers(n - side + 1)) for n in photo.shape[:2])
    return photo[y : y + side, x : x + side]


@lru_cache(maxsize=3)
def handwriting(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Bitmaps (N, 8, 8) float32 in 0..1 (1 is ink) and labels (N,) of a split."""
    number = split_number(split)
    with np.load(assets_dir() / "digits.npz", allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    chosen = []
    for digit in range(10):
        of_digit = np.flatnonzero(labels == digit)
        place = np.arange(len(of_digit)) % 6
        member = np.where(place == 5, 1, np.where(place == 2, 2, 0))
        chosen.append(of_digit[member == number])
    rows = np.concatenate(chosen)
    return images[rows].astype(np.float32) / 16.0, labels[rows].astype(np.int64)


def digit_ink(rng: np.random.Generator, split: str, digit: int, side: int) -> Image.Image:
    """A digit (side, side) as somebody of the split wrote it, grey, 255 is ink; one draw."""
    bitmaps, labels = handwriting(split)
    rows = np.flatnonzero(labels == digit)
    ink = bitmaps[rows[int(rng.integers(len(rows)))]]
    return Image.fromarray((ink * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def varied(stretch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square stretch (S, S, 3) of a photograph, turned, with its colours exchanged, stretched and shifted.

    Nine photographs are few: a tower that has seen them as they are alone takes their colours for the background's.
    """
    stretch = np.rot90(stretch, int(rng.integers(4)))[..., rng.permutation(3)]
    levels = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
    curve = levels ** np.exp(rng.uniform(-0.6, 0.6, 3)) * rng.uniform(0.5, 1.4, 3) + rng.uniform(-0.25, 0.25, 3)
    table = np.clip(curve * 255, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][stretch[..., c]] for c in range(3)], axis=-1)


def other_hand(
    bitmaps: np.ndarray, labels: np.ndarray, row: int, rng: np.random.Generator, strength: float = 1.0
) -> np.ndarray:
    """A bitmap (8, 8) between that of `row` and another of the same digit, turned, slanted and stretched a little.

    A thousand digits are few: a tower that has seen no others reads those of another hand worse. `strength` is a
    factor on all of it; from 2 on, some cannot be read any more.
    """
    same = np.flatnonzero(labels == labels[row])
    share = rng.uniform(0.0, 0.35 * strength)
    mixed = (1 - share) * bitmaps[row] + share * bitmaps[int(rng.choice(same))]
    angle, slant = rng.uniform(-0.12, 0.12) * strength, rng.uniform(-0.15, 0.15) * strength
    wide, high = np.exp(rng.uniform(-0.1, 0.1, 2) * strength)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b, c, e = cos / wide, sin / wide + slant, -sin / high, cos / high
    affine = (a, b, 4 - 4 * (a + b), c, e, 4 - 4 * (c + e))
    image = Image.fromarray(mixed.astype(np.float32))
    turned = image.transform((8, 8), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(turned) * rng.uniform(0.85, 1.2), 0.0, 1.0)


@dataclass(frozen=True)
class Table:
    """A table: `values` has a row a label and a number a column."""

    name: str
    source: str
    title: str
    unit: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=3)
def tables(split: str) -> tuple[Table, ...]:
    """The tables of a split, in the order of assets/tables.json."""
    split_number(split)
    made = []
    for name, entry in json.loads((assets_dir() / "tables.json").read_text("utf-8")).items():
        if entry.pop("split") == split:
            values = tuple(tuple(float(v) for v in row) for row in entry["values"])
            about = (name, entry["source"], entry["title"], entry["unit"])
            made.append(Table(*about, tuple(entry["labels"]), tuple(entry["columns"]), values))
    return tuple(made)


# -- print and grain -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def font(family: str, digit: int) -> ImageFont.FreeTypeFont:
    """The font in which a digit is about `digit` pixels high.

    Raises
    ------
    R3labError
        If the family is unknown.
    """
    if family not in FAMILIES:
        raise R3labError(f"Unknown font family {family!r}.{nearest(family, FAMILIES)}")
    import matplotlib  # a second; only its fonts are wanted

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FAMILIES[family]

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
    fill: Colour,
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
