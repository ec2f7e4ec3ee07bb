"""Boxes, numbers and true regions over a picture: where they stand, and as SVG in source pixels.

A look has a thick line in its colour and its number, a refused one is dashed, a true region is thin and white; each has
a halo, so that it shows on any photograph. Lines keep their width at any size. All that reaches the text of these
elements is numbers and our own words. `canvas` draws the same with matplotlib. Simplified: a number is put where it
hides least, greedily, in the order of the looks.

    [spot] = spots([(1, (40, 60, 90, 110), True)], (512, 384))
    svg((0, 0, 512, 384), use("t1-photo", (0, 0, 512, 384)) + look_mark(spot, (512, 384)), "A photograph ...")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.geometry import Box, Size, intersection
from .palette import HALO, TRUTH, ink_on, look_colour
from .text import attribute

SIDE = 1000  # CSS pixels: the longer side of a picture that nothing limits
TAG = 0.052  # side of a number's tag, of the longer side of the picture


@dataclass(frozen=True)
class Spot:
    """A region on a picture, and where its number stands.

    Attributes
    ----------
    box : source pixels, sides in order, nothing far outside the picture
    number : from 1
    valid : False: dashed
    tag : upper left corner of the number, source pixels
    colour : of the line and the tag
    """

    box: Box
    number: int
    valid: bool
    tag: tuple[float, float]
    colour: str


def within(box: Box, view: Box) -> Box | None:
    """The box with its sides in order and not far beyond `view`; None if no part is in it."""
    if not all(map(math.isfinite, box)):
        return None
    left, up, right, down = view
    wide, high = right - left, down - up  # a model may write 1e300
    x1, x2 = sorted(min(max(v, left - wide), right + wide) for v in (box[0], box[2]))
    y1, y2 = sorted(min(max(v, up - high), down + high) for v in (box[1], box[3]))
    return (x1, y1, x2, y2) if x2 >= left and x1 <= right and y2 >= up and y1 <= down else None


def tag_corner(box: Box, tag: tuple[float, float], view: Box, taken: Sequence[Box]) -> tuple[float, float]:
    """Where a number hides least: outside the region before inside, not on what is taken.

    Parameters
    ----------
    box
        The region that it names.
    tag
        Width and height of the number's ground.
    view
        What the picture shows, which it does not leave.
    taken
        What it should not hide.

    Returns
    -------
    tuple of float
        Its upper left corner; all in the same unit.
    """
    (w, h), (x1, y1, x2, y2), (left, up, right, down) = tag, box, view
    corners = [(x, y) for y in (y1 - h, y2, y1, y2 - h) for x in (x1, x2 - w)]
    corners += [(x1 - w, y1), (x2, y1), *((x1 + k * w, y1 - h) for k in range(1, 9))]
    places = [(min(max(x, left), max(left, right - w)), min(max(y, up), max(up, down - h))) for x, y in corners]

    def cost(order: int) -> float:
        x, y = places[order]
        spot = (x, y, x + w, y + h)
        hides = 8 * sum(intersection(spot, other) for other in taken) + intersection(spot, box)
        return hides / (w * h) + 0.02 * order

    return places[min(range(len(places)), key=cost)]


def spots(
    boxes: Sequence[tuple[int, Box | None, bool]], size: Size, colours: Sequence[str] | None = None
) -> list[Spot]:
    """Places for numbered regions on a picture; what is not in it has none.

    Parameters
    ----------
    boxes
        Number from 1, region in source pixels, whether it was granted.
    size
        Of the picture, source pixels.
    colours
        One a region; by default that of a look of its number.
    """
    found: list[Spot] = []
    taken: list[Box] = []
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    for place, (number, box, valid) in enumerate(boxes):
        seen = within(box, whole) if box is not None else None
        if seen is not None:
            w, h = tag_width(number, size), tag_side(size)
            tag = tag_corner(seen, (w, h), whole, taken)
            taken.append((*tag, tag[0] + w, tag[1] + h))
            found.append(Spot(seen, number, valid, tag, colours[place] if colours else look_colour(number)))
    return found


def tag_side(size: Size) -> float:
    """Height of a number's tag, source pixels."""
    return TAG * max(size)


def tag_width(number: int, size: Size) -> float:
    """Width of a number's tag, source pixels."""
    return tag_side(size) * max(1.0, 0.4 + 0.42 * len(str(number)))


def svg(view: Box, inside: str, label: str, name: str = "") -> str:
    """A picture in source pixels, with its words for who cannot see it.

    Parameters
    ----------
    view
        The part of the source that it shows.
    inside
        Elements from this module.
    label
        What it shows; foreign text in it is escaped here.
    name
        Class.
    """
    kind = f' class="{name}"' if name else ""
    x, y, w, h = view[0], view[1], view[2] - view[0], view[3] - view[1]
    scale = SIDE / max(w, h)  # a size of its own, so that limits to either side keep its shape
    return (
        f'<svg{kind} viewBox="{_n(x)} {_n(y)} {_n(w)} {_n(h)}" width="{_n(w * scale)}" height="{_n(h * scale)}" '
        f'role="img" aria-label="{attribute(label, 2000)}">{inside}</svg>'
    )


def store(images: Sequence[tuple[str, str]]) -> str:
    """Images that a page holds once and shows with `use`: id and data URI."""
    held = "".join(
        f'<image id="{name}" width="1" height="1" preserveAspectRatio="none" href="{uri}"/>' for name, uri in images
    )
    return f'<svg class="store" width="0" height="0" aria-hidden="true" focusable="false"><defs>{held}</defs></svg>'


def use(name: str, box: Box, hard: bool = False) -> str:
    """An image of the `store` over `box`, source pixels; `hard`: its own pixels keep their edges."""
    x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
    move = f"translate({_n(x)} {_n(y)}) scale({_n(w)} {_n(h)})"
    kind = ' class="px"' if hard else ""  # inherited by the image; a rule for the image itself does not reach it
    return f'<use href="#{name}" transform="{move}"{kind}/>'


def truth_mark(box: Box, size: Size) -> str:
    """A true region."""
    seen = within(box, (0.0, 0.0, float(size[0]), float(size[1])))
    if seen is None:
        return ""
    return f'<g class="truth">{_rect(seen, HALO[1], 2.6)}{_rect(seen, TRUTH, 1.2)}</g>'


def look_mark(spot: Spot, size: Size, when: str = "") -> str:
    """A numbered region; `when` are attributes that say at which moments it shows."""
    dashes = "" if spot.valid else ' stroke-dasharray="6 4"'
    lines = _rect(spot.box, HALO[0], 4.6, ' stroke-opacity="0.8"') + _rect(spot.box, spot.colour, 2.6, dashes)
    return f'<g class="look"{when}><g class="edge">{lines}</g><g class="tag">{tag_mark(spot, size)}</g></g>'


def tag_mark(spot: Spot, size: Size) -> str:
    """The number of a region on its colour."""
    x, y = spot.tag
    w, h = tag_width(spot.number, size), tag_side(size)
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" fill="{spot.colour}" stroke="{HALO[0]}" '
        f'stroke-width="0.8" vector-effect="non-scaling-stroke"/>'
        f'<text x="{_n(x + w / 2)}" y="{_n(y + 0.77 * h)}" font-size="{_n(0.74 * h)}" text-anchor="middle" '
        f'font-weight="700" fill="{ink_on(spot.colour)}">{spot.number}</text>'
    )


def path_mark(start: Spot, end: Spot, when: str = "") -> str:
    """The way from one region to the next, centre to centre."""
    (ax, ay), (bx, by) = centre(start.box), centre(end.box)
    line = f'x1="{_n(ax)}" y1="{_n(ay)}" x2="{_n(bx)}" y2="{_n(by)}" vector-effect="non-scaling-stroke"'
    return (
        f'<g class="path"{when}><line {line} stroke="{HALO[1]}" stroke-width="3.4" stroke-opacity="0.6"/>'
        f'<line {line} stroke="{HALO[0]}" stroke-width="1.6" stroke-dasharray="2 4" stroke-linecap="round"/></g>'
    )


def centre(box: Box) -> tuple[float, float]:
    """The middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _rect(box: Box, colour: str, width: float, more: str = "") -> str:
    x1, y1, x2, y2 = box
    return (
        f'<rect x="{_n(x1)}" y="{_n(y1)}" width="{_n(x2 - x1)}" height="{_n(y2 - y1)}" fill="none" stroke="{colour}" '
        f'stroke-width="{width}" vector-effect="non-scaling-stroke"{more}/>'
    )


def _n(value: float) -> str:
    """A number without a tail of zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
