"""Regions drawn on a picture: numbered looks, solid if granted and dashed if refused, and thin true regions.

The axes' data must be source pixels (`Canvas.picture`), so that a box is drawn as it is recorded. Every outline
has a halo, so that it shows on any photograph. Patches carry a `gid`: that of the axes and "-look-2", "-tag-2"
or "-truth". Simplified: a number is put where it hides least, greedily, in the order of the looks.

    draw_truth(axes, (40, 60, 90, 110))
    draw_look(axes, (38, 64, 92, 108), number=1)
"""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..geometry import Box, area, intersection
from .lettering import measure, write
from .palette import HALO, SMALL, TRUTH, ink_on, look_colour

THICK, THIN, EDGE = 1.9, 0.8, 1.4  # points: a look, a true region, the halo on both sides together
DASHES = (3.0, 2.0)
TAG = 0.15  # inches: side of a number's tag


def draw_look(axes: Axes, box: Box, number: int, valid: bool = True) -> None:
    """Draw a look in its colour, with its number.

    Parameters
    ----------
    box
        Source pixels; of a refused one, whatever the model wrote: what lies far outside is not drawn.
    number
        From 1.
    valid
        False: dashed.
    """
    seen = drawable_part(box, axes)
    if seen is not None:
        colour = look_colour(number)
        _outline(axes, seen, colour, THICK, None if valid else DASHES, f"look-{number}")
        _number(axes, seen, number, colour)


def draw_truth(axes: Axes, box: Box) -> None:
    """Draw a true region; draw it before the looks, so that no number hides it."""
    seen = drawable_part(box, axes)
    if seen is not None:
        _outline(axes, seen, TRUTH, THIN, None, "truth")


def _edges(axes: Axes) -> Box:
    """What the axes show."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return (left, min(low, high), right, max(low, high))


def drawable_part(box: Box, axes: Axes) -> Box | None:
    """The box with its sides in order and not far beyond the picture; None if nothing of it is in the picture."""
    if not all(map(math.isfinite, box)):
        return None
    left, up, right, down = _edges(axes)
    far_x, far_y = right - left, down - up  # a model may write 1e300
    x1, x2 = sorted(min(max(v, left - far_x), right + far_x) for v in (box[0], box[2]))
    y1, y2 = sorted(min(max(v, up - far_y), down + far_y) for v in (box[1], box[3]))
    return (x1, y1, x2, y2) if x2 >= left and x1 <= right and y2 >= up and y1 <= down else None


def _outline(axes: Axes, box: Box, colour: str, width: float, dashes: tuple[float, ...] | None, name: str) -> None:
    halo = HALO[1] if colour == TRUTH else HALO[0]
    for order, edge, stroke, pattern in ((3, halo, width + EDGE, None), (4, colour, width, dashes)):
        axes.add_patch(
            Rectangle(
                (box[0], box[1]),
                box[2] - box[0],
                box[3] - box[1],
                fill=False,
                edgecolor=edge,
                linewidth=stroke,
                linestyle=(0, pattern) if pattern else "solid",
                alpha=0.75 if order == 3 else 1.0,
                joinstyle="miter",
                gid=f"{axes.get_gid()}-{name}" if order == 4 else None,
                zorder=order,
            )
        )


def _number(axes: Axes, box: Box, number: int, colour: str) -> None:
    """The number at the corner where it hides least: outside before inside, not on a number or true region."""
    left, up, right, down = _edges(axes)
    shown = axes.get_window_extent()
    dpi = axes.figure.dpi
    w = max(TAG, measure(str(number), SMALL, True) + 0.07) * dpi / shown.width * (right - left)
    h = TAG * dpi / shown.height * (down - up)
    x1, y1, x2, y2 = box
    taken = [
        (p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height())
        for p in axes.patches
        if isinstance(p, Rectangle) and any(mark in str(p.get_gid()) for mark in ("-tag-", "-truth"))
    ]
    corners = [(x, y) for y in (y1 - h, y2, y1, y2 - h) for x in (x1, x2 - w)]
    corners += [(x1 - w, y1), (x2, y1), *((x1 + k * w, y1 - h) for k in range(1, 9))]
    spots = [(min(max(x, left), right - w), min(max(y, up), down - h)) for x, y in corners]

    def cost(order: int) -> float:
        x, y = spots[order]
        spot = (x, y, x + w, y + h)
        hides = 8 * sum(intersection(spot, other) for other in taken) + intersection(spot, box)
        return hides / area(spot) + 0.02 * order

    x, y = spots[min(range(len(spots)), key=cost)]
    axes.add_patch(
        Rectangle(
            (x, y),
            w,
            h,
            facecolor=colour,
            edgecolor=HALO[0],
            linewidth=0.5,
            gid=f"{axes.get_gid()}-tag-{number}",
            zorder=5,
        )
    )
    at = {"ha": "center", "va": "center_baseline", "zorder": 6}
    write(axes, x + w / 2, y + h / 2, number, SMALL, ink_on(colour), True, **at)
