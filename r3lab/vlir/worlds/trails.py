"""`trails`: signs that say which sign to read next, until one shows a digit (recognition, reasoning, refinement).

A photograph of 512x512 pixels carries five to seven signs, coloured shapes with a white face. On a face stands an arrow
(the next sign plainly in that direction), the name of another sign ("green square"), or a handwritten digit. The
question names the first sign; the digit at the end of the trail is the answer, after one to four steps. Faces are small
(print 7, arrows 8 to 10, digits 11 to 14 pixels high: two to three in the tiny policy's overview) but for a part of the
trails, whose two signs are large. No single look can answer: at least two more signs show other digits, every
step can lead elsewhere, and what a sign says is on its face alone.

    sample = Trails().sample("train", 0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from ...core.errors import R3labError
from ...core.geometry import Box
from ..rationale import LARGE as IS_LARGE
from ..rationale import SMALL as IS_SMALL
from ..rationale import Steps, shows
from ..sample import Sample
from .badges import COLOURS, DIRECTIONS, SHAPES, SIDE, Disc, Placed, beside, seen_from, stands
from .material import Drawn, World, digit_ink, grained, stretch, write

HOPS = {1: 0.3, 2: 0.35, 3: 0.23, 4: 0.12}  # steps of the trails that need looks
READABLE = 0.25  # share of the trails that are readable in the overview; they have one step
SMALL, LARGE = (88, 98), (172, 184)  # outer diameter of a sign, source pixels
# Width and height of the white face of small and large signs, parts of the diameter: what stands on a small one fills
# it, so that its crop shows it well.
FACES = {False: (0.54, 0.32), True: (0.46, 0.44)}
INK, DIGIT, LARGE_INK = 0.3, 0.4, 0.85  # height of a small arrow, a small digit, of both if large, parts of the face's
LOWER = 0.26  # a triangle holds its face lower, part of the diameter
REACH = 280  # an arrow leads no further, centre to centre
WAYS = {"left of": "left", "right of": "right", "above": "up", "below": "down"}  # how a rationale names an arrow


@dataclass(frozen=True)
class Sign(Placed):
    """A sign. `says` is a digit, an arrow (a key of DIRECTIONS) or another sign's name."""

    says: str
    large_from: ClassVar[int] = LARGE[0]

    @property
    def face(self) -> Box:
        """The white face, source pixels: where to look."""
        w, h = (round(part * self.diameter / 2) for part in FACES[self.large])
        y = self.y + (round(LOWER * self.diameter) if self.shape == "triangle" else 0)
        return self.x - w, y - h, self.x + w, y + h


def ahead(signs: tuple[Sign, ...], sign: Sign, direction: str) -> Sign | None:
    """The next sign in a direction of another: within 27 degrees of it, and nearer by a third than any other within 42;
    None where that is in doubt."""
    found = sorted((o for o in seen_from(sign, direction, signs) if o[2] < 0.9 * o[1]), key=lambda other: other[0])
    if not found or len(found) > 1 and found[1][0] <= 1.33 * found[0][0]:
        return None
    far, along, across, other = found[0]
    return other if across <= 0.5 * along and far < REACH else None


def follow(signs: tuple[Sign, ...], start: str) -> list[Sign]:
    """The trail from the sign of that name to a digit, by what the signs say and nothing else.

    Raises
    ------
    R3labError
        If it leads in a circle, or to no sign.
    """
    trail: list[Sign] = []
    sign: Sign | None = next((s for s in signs if s.name == start), None)
    while sign is not None and sign not in trail:
        trail.append(sign)
        if sign.says.isdigit():
            return trail
        says = sign.says
        sign = ahead(signs, sign, says) if says in DIRECTIONS else next((s for s in signs if s.name == says), None)
    raise R3labError(
        f"The trail from {start!r} has no end after {len(trail)} signs; let every sign lead to a later one."
    )


def _stand(rng: np.random.Generator, count: int, large: int) -> list[Disc] | None:
    """Signs that do not touch, the first `large` of them large; each begins a step from the one before where that fits.
    None if a sign found no place."""
    placed: list[Disc] = []
    for k in range(count):
        for tries in range(60):
            low, high = LARGE if k < large else SMALL
            d = 2 * int(rng.integers(low // 2, high // 2 + 1))
            margin = d / 2 + 3
            if placed and tries < 30 and rng.random() < 0.8:
                x, y = beside(rng, placed[-1], d, (1.14, 1.4), 6, 0.35)
            else:
                x, y = rng.uniform(margin, SIDE - margin), rng.uniform(margin, SIDE - margin)
            x, y = float(round(x)), float(round(y))
            if stands(x, y, margin) and all(math.hypot(x - px, y - py) > 0.53 * (d + pd) + 6 for px, py, pd in placed):
                placed.append((x, y, d))
                break
        else:
            return None
    return placed


def arrange(rng: np.random.Generator, hops: int, readable: bool) -> tuple[Sign, ...]:
    """Signs of a scene; the first `hops` + 1 are the trail, the others show two more digits or lead astray."""
    count = hops + 1 + (2 if hops == 4 else int(rng.integers(2, 4)) if hops > 1 else 3)
    while True:
        pairs = rng.permutation(len(COLOURS) * len(SHAPES))[:count]
        places = _stand(rng, count, 2 if readable else 0)
        if places is None:
            continue
        digits = iter(str(int(d)) for d in rng.permutation(10))
        signs = tuple(
            Sign(list(COLOURS)[int(p) // len(SHAPES)], SHAPES[int(p) % len(SHAPES)], x, y, d, next(digits))
            for p, (x, y, d) in zip(pairs, places, strict=True)
        )
        leads = [(k, k + 1) for k in range(hops)]
        leads += [(k, int(rng.integers(k - 2, k))) for k in range(hops + 3, count)]  # astray
        for k, to in leads:
            ways = [d for d in DIRECTIONS if ahead(signs, signs[k], d) == signs[to]]
            arrow = bool(ways) and (readable or rng.random() < 0.8)
            says = ways[int(rng.integers(len(ways)))] if arrow else signs[to].name
            signs = (*signs[:k], replace(signs[k], says=says), *signs[k + 1 :])
        if not readable or signs[0].says in DIRECTIONS:  # a name is never large enough for the overview
            return signs


@lru_cache(maxsize=256)
def _outline(shape: str, d: int, rim: int) -> Image.Image:
    """Mask (d, d) of a shape, `rim` pixels smaller on every side; four samples a pixel across."""
    mask = Image.new("L", (4 * d, 4 * d), 0)
    draw, a, b, m = ImageDraw.Draw(mask), 4 * rim, 4 * (d - rim) - 1, 2 * d
    if shape == "circle":
        draw.ellipse((a, a, b, b), fill=255)
    elif shape == "square":
        edge = round(0.24 * d)
        draw.rectangle((a + edge, a + edge, b - edge, b - edge), fill=255)
    elif shape == "triangle":
        draw.polygon(((m, 2 * a), (b - 0.6 * a, b), (1.6 * a, b)), fill=255)
    else:
        draw.polygon(((m, 1.4 * a), (b - 0.4 * a, m), (m, b - 0.4 * a), (1.4 * a, m)), fill=255)
    return mask.reduce(4)


def _arrow(direction: str, side: int) -> Image.Image:
    """A white arrow on a dark disc, (side, side). Its mass is balanced: centred, and as far spread along as across, so
    that scaled down to two pixels it is a grey dot whichever way it lies."""
    tile = Image.new("L", (4 * side, 4 * side), 0)
    draw, c = ImageDraw.Draw(tile), 2 * side
    (dx, dy), u = DIRECTIONS[direction], 4 * side / 100
    draw.ellipse((0, 0, 4 * side - 1, 4 * side - 1), fill=255)
    outline = ((-33, -7.5), (-2, -7.5), (-2, -40), (26, 0), (-2, 40), (-2, 7.5), (-33, 7.5))  # to the right, % of side
    draw.polygon([(c + (x * dx - y * dy) * u, c + (x * dy + y * dx) * u) for x, y in outline], fill=0)
    return tile.reduce(4)


def _stamp(image: Image.Image, sign: Sign, split: str, rng: np.random.Generator) -> None:
    """Draw a sign into the picture, in place."""
    d, (x1, y1, x2, y2) = sign.diameter, sign.face
    corner = (round(sign.x - d / 2), round(sign.y - d / 2))
    colour = tuple(int(np.clip(v + rng.uniform(-12, 12), 0, 255)) for v in COLOURS[sign.colour])
    image.paste((245, 245, 245), corner, _outline(sign.shape, d, 0))
    image.paste(colour, corner, _outline(sign.shape, d, round(0.045 * d)))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), round(0.05 * d), fill=(246, 246, 242))
    x, y, unit, ink = (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1, (16, 16, 20)
    if sign.says.isdigit():
        h = round(unit * (LARGE_INK if sign.large else DIGIT) * rng.uniform(0.95, 1.05))
        mask = digit_ink(rng, split, int(sign.says), h)
        mask = mask.point([min(255, max(0, v * 3 // 2 - 50)) for v in range(256)])
        image.paste(ink, (round(x - h / 2), round(y - h / 2)), mask)
    elif sign.says in DIRECTIONS:
        side = round(unit * (LARGE_INK if sign.large else INK))
        image.paste(ink, (round(x - side / 2), round(y - side / 2)), _arrow(sign.says, side))
    else:
        words = sign.says.split()
        family = ("sans", "serif", "grotesque")[int(rng.integers(3))]
        for word, at in zip(words, (-0.2, 0.2), strict=True):
            write(draw, (x, y + at * unit), word, family, 7, ink, "mm")


def paint(signs: tuple[Sign, ...], split: str, lot: tuple[int, ...]) -> Image.Image:
    """The picture of a scene. `lot` decides photograph and handwriting; each sign is drawn by a lot of its own, so that
    changing what one says changes no pixel outside its face."""
    rng = np.random.default_rng(lot)
    ground = stretch(rng, split, SIDE)
    image = Image.fromarray(np.ascontiguousarray(ground[:, :: 1 - 2 * int(rng.integers(2))]))
    for k, sign in enumerate(signs):
        _stamp(image, sign, split, np.random.default_rng([*lot, k]))
    return grained(image, rng)


class Trails(World):
    """The world; see the module's docstring.

    Parameters
    ----------
    readable : share of the trails that are readable in the overview
    """

    name, key = "trails", (4,)

    def __init__(self, readable: float = READABLE) -> None:
        self.readable = readable

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """A quarter is readable without a look, else of one to four steps as in `HOPS`."""
        readable = bool(rng.random() < self.readable)
        hops = 1 if readable else int(rng.choice(list(HOPS), p=list(HOPS.values())))
        signs = arrange(rng, hops, readable)
        trail = follow(signs, signs[0].name)
        question = f"Start at the {signs[0].name}. Which digit is at the end of the trail?"
        meta = {"kind": "trail", "hops": hops, "lot": lot, "trail": [sign.name for sign in trail]}
        meta |= {"signs": [{**vars(sign), "face": sign.face} for sign in signs]}
        image, regions = paint(signs, split, lot), [sign.face for sign in trail]
        return Drawn(image, question, trail[-1].says, regions, not readable, meta)

    def steps(self, sample: Sample) -> Steps:
        """Look at the first sign, go where it says, look there, ..., read the digit."""
        says = {f"{s['colour']} {s['shape']}": s["says"] for s in sample.meta["signs"]}
        trail = sample.meta["trail"]
        said = []
        for name, then in pairwise(trail):
            way = WAYS.get(says[name])
            said.append(f"It points {way} to the {then}." if way else f"It says {then}.")
        steps: Steps = []
        for name, region, after in zip(trail, sample.regions, [*said, shows(sample.answer)], strict=True):
            if sample.needs_look:
                steps += [(f"The {name}{IS_SMALL}", region), (after, None)]
            else:
                steps.append((f"The {name}{IS_LARGE}{after}", None))
        return steps
