"""`badges`: handwritten digits on coloured shapes on photographs (a small world in the manner of GQA and VSR).

A photograph of 512x512 pixels carries three to five badges. Each is a coloured shape with a real handwritten digit.
On a small badge the digit is 11 to 14 pixels high: legible in a crop, some four pixels in the tiny policy's overview
(160x160). On a large one it is read at once. Questions name a badge by colour and shape, or by its place
beside another: "Which digit is on the badge left of the blue square?" is asked only where exactly one badge lies
in that direction from the other, beyond doubt and near.

    sample = Badges().sample("train", 0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import ClassVar, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box
from ..rationale import Steps, reading
from ..sample import Sample
from .material import Colour, Drawn, World, handwriting, other_hand, stretch, varied

SIDE = 512  # source pixels
COLOURS: dict[str, Colour] = {
    "red": (214, 39, 40),
    "blue": (31, 99, 214),
    "green": (34, 150, 60),
    "yellow": (240, 208, 40),
    "purple": (140, 70, 190),
    "orange": (245, 130, 30),
}
SHAPES = ("circle", "square", "triangle", "diamond")
DIRECTIONS: dict[str, tuple[int, int]] = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
SMALL, LARGE = (56, 72), (150, 186)  # outer diameter of a badge, source pixels, even numbers
SMALL_INK, LARGE_INK = 0.2, 0.42  # height of the digit as a part of the diameter
RIM, RIM_LIGHT = 0.065, 245.0  # width as a part of the diameter, and grey level
REACH = 200  # a neighbour stands at most so far away, centre to centre
LEEWAY = 0.75  # how far a direction is from doubt: a neighbour stands within 37 degrees of it, all others beyond 53
HANDS = {"hands": 1.0, "wild hands": 1.5}  # strength of `other_hand`
Disc = tuple[float, float, int]  # centre and diameter
Some = TypeVar("Some", bound="Placed")


@dataclass(frozen=True)
class Placed:
    """A coloured shape in a scene, centre and diameter in source pixels."""

    colour: str
    shape: str
    x: float
    y: float
    diameter: int
    large_from: ClassVar[int] = LARGE[0]

    @property
    def name(self) -> str:
        """Colour and shape, unique in a scene."""
        return f"{self.colour} {self.shape}"

    @property
    def large(self) -> bool:
        """True if what stands on it can be read in the overview."""
        return self.diameter >= self.large_from


@dataclass(frozen=True)
class Badge(Placed):
    """One badge, and the box that its pixels fill."""

    digit: int
    box: Box

    @property
    def ink_y(self) -> float:
        """Height at which the digit's middle stands: a triangle holds it lower."""
        return self.y + (0.14 if self.shape == "triangle" else 0.0) * self.diameter

    @property
    def ink(self) -> float:
        """About how high the digit is, source pixels."""
        return self.diameter * (LARGE_INK if self.large else SMALL_INK)


@lru_cache(maxsize=512)
def _mask(shape: str, diameter: int, rim: float = 0.0) -> np.ndarray:
    """Coverage (d, d) in 0..1 of a shape of that outer diameter, less a rim of so many pixels; 16 samples a pixel."""
    d, t = diameter * 4, rim * 4
    image = Image.new("L", (d, d), 0)
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((t, t, d - 1 - t, d - 1 - t), fill=255)
    elif shape == "square":
        edge = round(0.06 * d) + t
        draw.rectangle((edge, edge, d - 1 - edge, d - 1 - edge), fill=255)
    else:
        corners: tuple[tuple[float, float], ...]
        if shape == "triangle":
            corners, middle, inner = ((d / 2, 0), (d - 1, d - 1), (0, d - 1)), (d / 2, d - 0.309 * d), 0.309 * d
        else:
            corners, middle = ((d / 2, 0), (d - 1, d / 2), (d / 2, d - 1), (0, d / 2)), (d / 2, d / 2)
            inner = d / math.sqrt(8)
        k = 1 - t / inner  # the inscribed circle shrinks by the rim, and the corners with it
        draw.polygon([tuple(m + (c - m) * k for c, m in zip(at, middle, strict=True)) for at in corners], fill=255)
    small = image.resize((diameter, diameter), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0


def _place(rng: np.random.Generator, count: int) -> list[Disc]:
    """`count` badges that do not touch; some stand beside an earlier one."""
    placed: list[Disc] = []
    tries = 0
    while len(placed) < count:
        tries += 1
        if tries > 400:  # a crowded start; begin again
            placed, tries = [], 0
        large = sum(p[2] >= LARGE[0] for p in placed) < 2 and rng.random() < 0.3
        low, high = LARGE if large else SMALL
        d = 2 * int(rng.integers(low // 2, high // 2 + 1))
        margin = d / 2 + 4
        if placed and rng.random() < 0.5:
            x, y = beside(rng, placed[int(rng.integers(len(placed)))], d, (1.25, 1.7), 8, 0.3)
        else:
            x, y = rng.uniform(margin, SIDE - margin), rng.uniform(margin, SIDE - margin)
        x, y = float(round(x)), float(round(y))
        if stands(x, y, margin) and all(math.hypot(x - px, y - py) > 0.56 * (d + pd) + 14 for px, py, pd in placed):
            placed.append((x, y, d))
    return placed


def beside(
    rng: np.random.Generator, other: Disc, diameter: int, gaps: tuple[float, float], more: int, aside: float
) -> tuple[float, float]:
    """A centre in one of the four directions of another thing; three draws.

    Parameters
    ----------
    gaps, more : the distance: of the mean diameter between these parts, and so many pixels more
    aside : how far off the direction, at most, as a part of the distance
    """
    x, y, d = other
    dx, dy = list(DIRECTIONS.values())[int(rng.integers(4))]
    gap = (diameter + d) / 2 * rng.uniform(*gaps) + more
    side = gap * rng.uniform(-aside, aside)
    return x + dx * gap + dy * side, y + dy * gap + dx * side


def stands(x: float, y: float, margin: float) -> bool:
    """Whether a point is at least so far inside the picture."""
    return margin <= x <= SIDE - margin and margin <= y <= SIDE - margin


def neighbour(badges: tuple[Badge, ...], anchor: Badge, direction: str) -> Badge | None:
    """The one badge that lies in a direction of `anchor`, plainly so and within REACH; None where that is in doubt."""
    found = [other for other in seen_from(anchor, direction, badges) if other[1] > other[2] * LEEWAY]
    if len(found) != 1:
        return None
    far, along, across, badge = found[0]
    return badge if along * LEEWAY > across and far <= REACH else None


def seen_from(one: Placed, direction: str, things: Iterable[Some]) -> list[tuple[float, float, float, Some]]:
    """Of each other thing: how far it is, how far along a direction and how far across it, centre to centre."""
    (dx, dy), found = DIRECTIONS[direction], []
    for other in things:
        ox, oy = other.x - one.x, other.y - one.y
        if other != one:
            found.append((math.hypot(ox, oy), ox * dx + oy * dy, abs(ox * dy) + abs(oy * dx), other))
    return found


def _stamp(canvas: np.ndarray, badge: Badge, ink: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a badge with its digit into `canvas` (SIDE, SIDE, 3) uint8, in place."""
    d = badge.diameter
    x1, y1 = round(badge.x - d / 2), round(badge.y - d / 2)
    colour = np.array(COLOURS[badge.colour], dtype=np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    light = colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32) < 140
    target = canvas[y1 : y1 + d, x1 : x1 + d]
    mask, inside = _mask(badge.shape, d)[..., None], _mask(badge.shape, d, round(RIM * d))[..., None]
    patch = target * (1 - mask) + RIM_LIGHT * (mask - inside) + np.clip(colour, 0, 255) * inside

    s = round(badge.ink * rng.uniform(0.93, 1.1))
    angle, shear, k = rng.uniform(-0.08, 0.08), rng.uniform(-0.06, 0.06), 8 / s
    cos, sin = math.cos(angle) * k, math.sin(angle) * k
    a, b, c, e = cos, sin + shear * k, -sin, cos
    middle = s / 2
    affine = (a, b, 4 - a * middle - b * middle, c, e, 4 - c * middle - e * middle)
    bitmap = Image.fromarray((ink * 255).astype(np.uint8))
    turned = bitmap.transform((s, s), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    alpha = np.clip(np.asarray(turned, dtype=np.float32) / 200.0 - 0.2, 0, 1)[..., None]  # keeps loops open
    top = round(badge.ink_y - badge.y + d / 2 - s / 2)
    left = round(d / 2 - s / 2)
    spot = patch[top : top + s, left : left + s]
    spot[:] = spot * (1 - alpha) + (250.0 if light else 12.0) * alpha
    target[:] = patch + 0.5


def arrange(rng: np.random.Generator, split: str, count: int) -> tuple[tuple[Badge, ...], np.ndarray]:
    """`count` badges, each colour and shape once, and the number (count,) of each one's bitmap; no pixels yet."""
    names = list(COLOURS)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:  # every second badge shares its colour or its shape with an earlier one
        colour, shape = names[int(rng.integers(len(names)))], SHAPES[int(rng.integers(len(SHAPES)))]
        if pairs and rng.random() < 0.5:
            other = pairs[int(rng.integers(len(pairs)))]
            colour, shape = (other[0], shape) if rng.random() < 0.5 else (colour, other[1])
        if (colour, shape) not in pairs:
            pairs.append((colour, shape))
    labels = handwriting(split)[1]
    rows = rng.integers(len(labels), size=count)
    badges = []
    for (colour, shape), (x, y, d), row in zip(pairs, _place(rng, count), rows, strict=True):
        edge = 0.06 * d if shape == "square" else 0.0
        x1, y1 = round(x - d / 2), round(y - d / 2)
        box = (x1 + edge, y1 + edge, x1 + d - edge, y1 + d - edge)
        badges.append(Badge(colour, shape, x, y, d, int(labels[row]), box))
    return tuple(badges), rows


def paint(
    rng: np.random.Generator, split: str, badges: tuple[Badge, ...], rows: np.ndarray, vary: Sequence[str] = ()
) -> Image.Image:
    """A stretch of one of the split's photographs, with these badges on it.

    Parameters
    ----------
    vary : "colours": most photographs in other colours; "hands": digits as other hands might write them, and
        "wild hands": as hands further off might
    """
    canvas = stretch(rng, split, SIDE)
    canvas = np.array(canvas[:, ::-1] if rng.random() < 0.5 else canvas, order="C")
    if "colours" in vary and rng.random() < 0.8:
        canvas = varied(canvas, rng)
    bitmaps, labels = handwriting(split)
    strength = max((s for word, s in HANDS.items() if word in vary), default=None)
    for badge, row in zip(badges, rows, strict=True):
        bitmap = bitmaps[row] if strength is None else other_hand(bitmaps, labels, row, rng, strength)
        _stamp(canvas, badge, bitmap, rng)
    return Image.fromarray(canvas)


def scene(
    rng: np.random.Generator, split: str, count: int, vary: Sequence[str] = ()
) -> tuple[Image.Image, tuple[Badge, ...]]:
    """A photograph with `count` badges; `vary` as in `paint`."""
    badges, rows = arrange(rng, split, count)
    return paint(rng, split, badges, rows, vary), badges


class Badges(World):
    """The world; see the module's docstring."""

    name = "badges"

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """About 30 % are readable without a look, about 30 % ask by relation."""
        wants_large, wants_relation = rng.random() < 0.3, rng.random() < 0.3
        while True:
            badges, rows = arrange(rng, split, int(rng.integers(3, 6)))
            asked: list[tuple[Badge, str]] = []
            if wants_relation:
                for anchor in badges:
                    for direction in DIRECTIONS:
                        found = neighbour(badges, anchor, direction)
                        if found is not None and found.large == wants_large:
                            asked.append((found, f"badge {direction} the {anchor.name}"))
            else:
                asked = [(b, b.name) for b in badges if b.large == wants_large]
            if asked:
                break
        target, words = asked[int(rng.integers(len(asked)))]
        image, question, answer = paint(rng, split, badges, rows), f"Which digit is on the {words}?", str(target.digit)
        meta = {"badges": [asdict(b) for b in badges], "target": target.name, "asked": words}
        return Drawn(image, question, answer, [target.box], not target.large, meta)

    def steps(self, sample: Sample) -> Steps:
        """Name the badge (resolve the relation), look if its digit is small, read, answer."""
        target, words = sample.meta["target"], sample.meta["asked"]
        subject = f"The {target}" if words == target else f"The {words} is the {target}. It"
        return reading(subject, sample.answer, sample.regions[0] if sample.needs_look else None)
