"""`diagrams`: lengths and angles of a figure, to read and to calculate with (in the manner of MathVista's geometry).

A drawing of 512x512 pixels shows a triangle or a quadrangle. Its corners carry letters, its sides lengths, its corners
angles; in place of one angle stands a question mark. Letters and question mark can be read in the overview; numbers are
small print (9 to 10 pixels high: legible in a crop, two in the tiny policy's overview of 128x128), but for at most one
length in large print. Five kinds of question: how long a side is (mostly large: no look), how large an angle is (one
look, or, at the question mark, those at all others), the perimeter (a look a side), how much longer one side is than
another (two looks).

The figure is drawn to scale, by a hand that sets each corner a few pixels off. Angles of an exact drawing could be
measured in an overview, without a look; of these, who knew the corners to the pixel would have one of four right. No
unit is told, so a length cannot be measured. Styles (ground, pen, font, paper, arcs) are drawn by lot from their own
number, each in one split.

This is the worked recipe of a world of one's own: it is not among the worlds that the shipped policy was trained in,
and offered by its name as any package offers one, as an entry point (`r3lab/EXTEND.md` has its essentials).

    sample = Diagrams().sample("train", 0)
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box, intersection
from ..rationale import Steps, reading
from ..sample import Sample
from . import material
from .charts import FONTS, GROUNDS
from .material import NOWHERE, Colour, Drawn, World

SHARES = {"length": 0.3, "angle": 0.1, "perimeter": 0.2, "missing": 0.2, "difference": 0.2}  # of the questions
ASK = {
    "length": "How long is the {}?",
    "angle": "How large is the {}?",
    "perimeter": "What is the perimeter?",
    "missing": "How large is the {}?",
    "difference": "How much longer is the {} than the {}?",
}
LARGE_LENGTH, LARGE_OTHER = 0.75, 0.2  # how often the length asked for is large, and how often another is

SIDE = 512  # source pixels
LETTERS, MISSING = "ABCD", "?"
LABEL = 24  # height of letters and question mark, source pixels: six in the overview
SMALL_INK, LARGE_INK = (9, 10), (50, 56)  # digit heights, source pixels
REACH = {False: (165.0, 200.0), True: (125.0, 165.0)}  # of corners from the middle, pixels; beside large print
SHORTEST, NARROW, WIDE = 115.0, 34.0, 138.0  # a side in pixels; the least and the largest angle in degrees
LENGTHS = range(18, 41)  # of the longest side, in units
OFF = 0.25  # of a side as meant, from a whole number of units
WOBBLE = 6.0  # how far the hand sets a corner off, along each axis, pixels
CLEAR, ARC = 4.5, 20.0  # around print, and the least radius of an arc, pixels
RING = 5.0  # the sign of degrees, pixels across
APART = 2  # the least difference that is asked for
INKS: tuple[Colour, ...] = ((26, 26, 30), (24, 44, 120), (112, 30, 34), (22, 84, 52))
PAPERS, ARCS, DOTS = ("plain", "lines", "columns", "squares"), ("arc", "double", "wedge"), ("none", "dot", "ring")
STYLES, MORE = 60, 1200  # that the splits share out, and more to train with


# -- how a drawing looks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How a drawing looks; every attribute is drawn from `number` alone."""

    number: int
    ground: int
    pen: int
    font: str
    paper: str
    arcs: str
    dots: str  # at the corners
    tinted: bool  # the figure
    width: int  # of a line, source pixels

    @property
    def ink(self) -> Colour:
        """Colour of lines and print."""
        return (235, 235, 230) if sum(GROUNDS[self.ground]) < 300 else INKS[self.pen]

    def towards(self, part: float) -> Colour:
        """A colour between that of the ground and that of the ink."""
        mixed = (round(g + part * (i - g)) for g, i in zip(GROUNDS[self.ground], self.ink, strict=True))
        return next(mixed), next(mixed), next(mixed)


def _style(number: int) -> Style:
    rng = np.random.default_rng([52, number])
    ground, pen, family = (int(rng.integers(len(among))) for among in (GROUNDS, INKS, FONTS))
    paper, arcs, dots = (among[int(rng.integers(len(among)))] for among in (PAPERS, ARCS, DOTS))
    tinted, width = bool(rng.random() < 0.4), int(rng.integers(2, 5))
    return Style(number, ground, pen, FONTS[family], paper, arcs, dots, tinted, width)


@lru_cache(maxsize=3)
def styles(split: str) -> tuple[Style, ...]:
    """The styles of a split: of every six of the first ones one is for validation and one for test."""
    return material.shared_out(split, _style, STYLES, MORE, 6, {4: 1, 5: 2}, lambda style: replace(style, number=0))


# -- the figure, as it is meant and as it is drawn -------------------------------------------------------------------


@dataclass
class Value:
    """A length or an angle: its name, what is written, and where. Points of the plane are complex, source pixels."""

    kind: str  # length or angle
    name: str
    said: str
    at: complex = 0j  # the middle of the side, or the corner
    large: bool = False
    digit: int = 0  # height of its digits
    middle: complex = 0j  # of its print
    ink: Box = NOWHERE


def sides(corners: Sequence[complex]) -> list[complex]:
    """From each corner of a figure to the next; the lengths are their absolute values."""
    return [other - one for one, other in zip(corners, [*corners[1:], corners[0]], strict=True)]


def angles(corners: Sequence[complex]) -> list[float]:
    """The angles of a figure, degrees below 180, corner by corner."""
    way = sides(corners)
    return [abs(math.degrees(cmath.phase(-way[k - 1] / way[k]))) for k in range(len(way))]


def whole(parts: Sequence[float], total: int) -> list[int]:
    """The parts as whole numbers that add up to `total`, each less than 1 off."""
    found = [math.floor(part) for part in parts]
    most = sorted(range(len(parts)), key=lambda k: found[k] - parts[k])
    for k in most[: total - sum(found)]:
        found[k] += 1
    return found


def _meant(rng: np.random.Generator, count: int, large: bool) -> tuple[list[complex], list[int], list[int]] | None:
    """Corners of a figure in pixels, the lengths of its sides in units, and its angles in degrees; None if it is too
    narrow, or has no unit in which its sides are about whole. Room is left for `large` print."""
    start, way = rng.uniform(0, 2 * math.pi), 1 - 2 * int(rng.integers(2))
    x, y = SIDE / 2 + rng.uniform(-35, 35, 2)
    turns = start + way * 2 * math.pi * (np.arange(count) + rng.uniform(-0.25, 0.25, count)) / count
    corners = [complex(c) for c in x + 1j * y + rng.uniform(*REACH[large], count) * np.exp(1j * turns)]
    long, wide, total = [abs(side) for side in sides(corners)], angles(corners), 180 * (count - 2)
    if min(long) < SHORTEST or min(wide) < NARROW or max(wide) > WIDE or round(sum(wide)) != total:
        return None
    degrees = whole(wide, total)
    for longest in rng.permutation(list(LENGTHS)):
        units = [one / max(long) * int(longest) for one in long]
        lengths = [round(one) for one in units]
        near = max(abs(one - length) for one, length in zip(units, lengths, strict=True)) < OFF
        if near and len(set(lengths)) == len(set(degrees)) == count:
            return corners, lengths, degrees
    return None


class Drawing:
    """A figure with its print; `fits` says whether all of it has room.

    Parameters
    ----------
    corners : as they are drawn
    values : lengths of the sides from each corner to the next, then angles
    """

    def __init__(self, style: Style, corners: Sequence[complex], values: Sequence[Value]) -> None:
        self.style, self.corners, self.values = style, list(corners), list(values)
        self.count, middle, line = len(self.corners), sum(self.corners) / len(self.corners), style.width / 2 + 1
        self.ways = [side / abs(side) for side in sides(self.corners)]
        self.radii: list[float] = []  # of the arcs
        self.letters: list[complex] = []  # where they stand
        for k, (corner, way) in enumerate(zip(self.corners, self.ways, strict=True)):
            side, angle = self.values[k], self.values[self.count + k]
            side.at = corner + sides(self.corners)[k] / 2  # and its length outside of it
            out = way * 1j if ((side.at - middle) / way).imag > 0 else way / 1j
            side.middle = side.at + out * (line + span(self._room(side), out))

            back = -self.ways[k - 1]  # an angle stands within its corner, as near as sides and arc let it
            inward = (way + back) / abs(way + back)
            half, reach = self._room(angle), abs(self._room(angle))
            clear = line + max(span(half, way * 1j), span(half, back * 1j))
            far = max(ARC + reach, clear / math.sin(math.radians(angles(self.corners)[k]) / 2))
            angle.at, angle.middle = corner, corner + inward * far
            self.radii.append(far - reach)
            self.letters.append(corner - inward * (6 + span(self.room(LETTERS[k], LABEL), inward)))

    def room(self, text: str, digit: int) -> complex:
        """Half of the room that a text needs, across and down."""
        return complex(material.width(text, self.style.font, digit) / 2 + CLEAR, digit / 2 + CLEAR)

    def _room(self, value: Value) -> complex:
        ring = RING / 2 if value.kind == "angle" and value.said != MISSING else 0.0
        return self.room(value.said, value.digit) + ring

    def fits(self) -> bool:
        """Whether no print touches other print, a side or the edge."""
        places = [(value.middle, self._room(value)) for value in self.values]
        places += [(place, self.room(LETTERS[k], LABEL)) for k, place in enumerate(self.letters)]
        boxes = [(*_pair(middle - half), *_pair(middle + half)) for middle, half in places]
        if any(min(box) < 4 or max(box) > SIDE - 4 for box in boxes):
            return False
        if any(intersection(a, b) for k, a in enumerate(boxes) for b in boxes[:k]):
            return False
        steps = np.linspace(0, 1, 160)[:, None]  # a point in three pixels
        lines = (steps * np.array(sides(self.corners)) + np.array(self.corners)).reshape(-1, 1)
        x1, y1, x2, y2 = np.array(boxes).T
        return not ((lines.real > x1) & (lines.real < x2) & (lines.imag > y1) & (lines.imag < y2)).any()


def span(half: complex, way: complex) -> float:
    """How far half of a box, across and down, reaches along a direction of length 1."""
    return half.real * abs(way.real) + half.imag * abs(way.imag)


def _pair(point: complex) -> tuple[float, float]:
    return point.real, point.imag


# -- painting --------------------------------------------------------------------------------------------------------


def paint(drawing: Drawing) -> Image.Image:
    """The picture, SIDE x SIDE, without grain; sets `ink` of every value."""
    style = drawing.style
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE), GROUNDS[style.ground])
    draw = ImageDraw.Draw(image)
    for far in range(24, 2 * SIDE, 48):
        if style.paper in ("lines", "squares"):
            draw.line((0, far, 2 * SIDE, far), fill=style.towards(0.1), width=2)
        if style.paper in ("columns", "squares"):
            draw.line((far, 0, far, 2 * SIDE), fill=style.towards(0.1), width=2)
    corners = [_pair(2 * corner) for corner in drawing.corners]
    if style.tinted:
        draw.polygon(corners, fill=style.towards(0.12))
    for k, corner in enumerate(corners):
        _arc(draw, style, corner, 2 * drawing.radii[k], drawing.ways[k], -drawing.ways[k - 1])
    draw.line([*corners, *corners[:2]], fill=style.ink, width=2 * style.width, joint="curve")
    for x, y in corners if style.dots != "none" else ():
        r, fill = 2 * style.width + 4, style.ink if style.dots == "dot" else GROUNDS[style.ground]
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=style.ink, width=4)
    image = image.reduce(2)
    draw = ImageDraw.Draw(image)
    for value in drawing.values:
        degrees = value.kind == "angle" and value.said != MISSING
        middle = _pair(value.middle - RING / 2 * degrees)
        value.ink = material.write(draw, middle, value.said, style.font, value.digit, style.ink, "mm")
        if degrees:
            _, top, right, _ = value.ink
            draw.ellipse((right + 1, top - 1, right + RING - 1, top + RING - 3), outline=style.ink)
    for letter, place in zip(LETTERS, drawing.letters, strict=False):
        material.write(draw, _pair(place), letter, style.font, LABEL, style.ink, "mm")
    return image


def _arc(
    draw: ImageDraw.ImageDraw, style: Style, corner: tuple[float, float], radius: float, one: complex, other: complex
) -> None:
    """The mark of an angle between two directions, at twice the size."""
    (x, y), ways = corner, [math.degrees(cmath.phase(way)) % 360 for way in (one, other)]
    start, end = ways if (ways[1] - ways[0]) % 360 < 180 else ways[::-1]
    for r in (radius, radius - 10)[: 1 + (style.arcs == "double")]:
        box = (x - r, y - r, x + r, y + r)
        if style.arcs == "wedge":
            draw.pieslice(box, start, end, fill=style.towards(0.3))
        else:
            draw.arc(box, start, end, fill=style.ink, width=3)


# -- what is asked, and how it is computed ---------------------------------------------------------------------------


def worked(kind: str, said: Sequence[str]) -> tuple[str, str]:
    """How the answer follows from what was read, step by step, and the answer; a value alone takes no step.

    >>> worked("perimeter", ["12", "7", "9"])
    ('12 + 7 = 19. 19 + 9 = 28.', '28')
    """
    numbers = [int(one) for one in said]
    if kind == "missing":
        numbers.insert(0, 180 * (len(said) - 1))  # of a triangle two were read
    steps, result = [], numbers[0]
    for number in numbers[1:]:
        before, result = result, result + number * (1 if kind == "perimeter" else -1)
        steps.append(f"{before} {'+' if kind == 'perimeter' else '-'} {number} = {result}.")
    return " ".join(steps), str(result)


def _drawn(
    rng: np.random.Generator, kind: str, style: Style, count: int, large: bool, other: bool
) -> tuple[Drawing, list[Value], list[Value]] | None:
    """A drawing for that kind of question, the values that must be read, and those that it names; None if it has no
    room. The length asked for is `large`, or an `other` one."""
    found = _meant(rng, count, large or other)
    if found is None:
        return None
    meant, lengths, degrees = found
    ring = LETTERS[:count] + LETTERS[0]
    long = [Value("length", f"side {ring[k : k + 2]}", str(length)) for k, length in enumerate(lengths)]
    wide = [Value("angle", f"angle at {ring[k]}", str(one)) for k, one in enumerate(degrees)]
    missing = wide[int(rng.integers(count))]
    missing.said, missing.digit = MISSING, LABEL
    written = [value for value in wide if value is not missing]
    asked = {
        "length": [long[int(rng.integers(count))]],
        "angle": [written[int(rng.integers(count - 1))]],
        "perimeter": long,
        "missing": written,
        "difference": sorted((long[int(k)] for k in rng.permutation(count)[:2]), key=lambda value: -int(value.said)),
    }[kind]
    if kind == "difference" and int(asked[0].said) - int(asked[1].said) < APART:
        return None
    if large or other:
        among = asked if large else [value for value in long if value not in asked]
        among[int(rng.integers(len(among)))].large = True
    for value in [*long, *written]:
        low, high = LARGE_INK if value.large else SMALL_INK
        value.digit = int(rng.integers(low, high + 1))
    corners = [corner + complex(*rng.uniform(-WOBBLE, WOBBLE, 2)) for corner in meant]
    drawing = Drawing(style, corners, [*long, *wide])
    return (drawing, asked, [missing] if kind == "missing" else asked) if drawing.fits() else None


class Diagrams(World):
    """The world; see the module's docstring.

    Parameters
    ----------
    large_other : share of the drawings with a length in large print that is not asked for, where the one asked for is
        not large
    shares : of the questions by kind
    """

    name, key = "diagrams", (5,)

    def __init__(self, large_other: float = LARGE_OTHER, shares: Mapping[str, float] = SHARES) -> None:
        self.large_other, self.shares = large_other, dict(shares)

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """Kinds as in `shares`; three quarters of the lengths asked for are large."""
        kind = list(self.shares)[int(rng.choice(len(self.shares), p=list(self.shares.values())))]
        style = styles(split)[int(rng.integers(len(styles(split))))]
        count, large = int(rng.integers(3, 5)), kind == "length" and bool(rng.random() < LARGE_LENGTH)
        other = not large and kind != "perimeter" and bool(rng.random() < self.large_other)
        drawn = None
        while drawn is None:
            drawn = _drawn(rng, kind, style, count, large, other)
        drawing, asked, about = drawn
        image = material.grained(paint(drawing), rng)
        _, answer = worked(kind, [value.said for value in asked])
        meta = {"kind": kind, "hops": len(asked), "style": style.number, "corners": [*map(_pair, drawing.corners)]}
        meta |= {"letters": [*map(_pair, drawing.letters)], "asked": [drawing.values.index(value) for value in asked]}
        meta["values"] = [vars(v) | {"at": _pair(v.at), "middle": _pair(v.middle)} for v in drawing.values]
        question = ASK[kind].format(*(value.name for value in about))
        regions = [material.padded(value.ink, image.size) for value in asked]
        return Drawn(image, question, answer, regions, not asked[0].large, meta)

    def steps(self, sample: Sample) -> Steps:
        """Look at every number that is needed, or read a large one, and compute the answer."""
        asked = [sample.meta["values"][k] for k in sample.meta["asked"]]
        steps: Steps = []
        for value, region in zip(asked, sample.regions, strict=True):
            steps += reading(f"The {value['name']}", value["said"], region if sample.needs_look else None)
        text, _ = worked(sample.meta["kind"], [value["said"] for value in asked])
        return [*steps, (text, None)] if text else steps
