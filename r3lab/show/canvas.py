"""Regions drawn on a picture: numbered looks, solid if granted and dashed if refused, and thin true regions.

The axes' data must be source pixels (`Canvas.picture`), so that a box is drawn as it is recorded. Every outline
has a halo, so that it shows on any photograph. Patches carry a `gid`: that of the axes and "-look-2", "-tag-2"
or "-truth". Simplified: a number is put where it hides least, greedily, in the order of the looks.

    draw_truth(axes, (40, 60, 90, 110))
    draw_look(axes, (38, 64, 92, 108), number=1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from ..core.geometry import Box, Size, area, intersection
from .palette import BODY, DPI, HALO, LEADING, LOOKS, SMALL, TITLE, TRUTH, Theme, ink_on, look_colour
from .text import height, text_width, wrap, write

# Pictures, boxes and blocks of text on a sheet that is measured in inches from its top left corner.
#
# A picture gets axes whose data coordinates are pixels of the *source* photograph, whatever was done to its own
# pixels, so that `boxes` draws a region where it lies, on the photograph, on the overview and in a crop alike.
# Axes carry a `gid` ("photo", "crop-2"), which names them in an SVG and in tests.
#
#     sheet = Canvas(8.0, 3.0, theme())
#     axes = sheet.picture(photo, 0.2, 0.2, 2.4, 2.4, extent=(0, 0, 512, 512), gid="photo")
#     draw_look(axes, (40, 60, 90, 110), number=1)

KEY_ROW = height(1, SMALL) + 0.02
SHARP = 300  # pixels an inch up to which a picture is enlarged, so that its pixels keep hard edges


class Canvas:
    """A figure of `width` x `height` inches without a window, and what stands on it."""

    def __init__(self, width: float, height: float, theme: Theme) -> None:
        self.width, self.height, self.theme = width, height, theme
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper)
        FigureCanvasAgg(self.figure)

    # -- text ----------------------------------------------------------------------------------------------------

    def line(
        self,
        x: float,
        y: float,
        text: object,
        size: float,
        colour: str,
        bold: bool = False,
        align: str = "left",
    ) -> None:
        """One line whose top is at `y`."""
        write(
            self.figure,
            x / self.width,
            1 - (y + 0.8 * size * LEADING / 72) / self.height,
            text,
            size,
            colour,
            bold,
            ha=align,
            va="baseline",
        )

    def block(self, x: float, y: float, lines: Sequence[str], size: float, colour: str, bold: bool = False) -> float:
        """Lines one under the other; returns the `y` below the last."""
        for line in lines:
            self.line(x, y, line, size, colour, bold)
            y += height(1, size)
        return y

    def tag(self, x: float, y: float, number: int, side: float = 0.155) -> None:
        """The number of a look on its colour, as on its box."""
        colour = look_colour(number)
        spot = Rectangle(
            (x / self.width, 1 - (y + side) / self.height),
            max(side, text_width(str(number), SMALL, True) + 0.07) / self.width,
            side / self.height,
            facecolor=colour,
            edgecolor="none",
            transform=self.figure.transFigure,
        )
        self.figure.add_artist(spot)
        middle = spot.get_x() + spot.get_width() / 2
        write(
            self.figure,
            middle,
            1 - (y + side / 2) / self.height,
            number,
            SMALL,
            ink_on(colour),
            True,
            ha="center",
            va="center_baseline",
        )

    def verdict(self, x: float, y: float, colour: str, mark: str, word: str) -> None:
        """Right, wrong or unknown: a mark on its colour, and the word."""
        side = 0.24
        spot = Rectangle(
            (x / self.width, 1 - (y + side) / self.height),
            side / self.width,
            side / self.height,
            facecolor=colour,
            edgecolor="none",
            transform=self.figure.transFigure,
        )
        self.figure.add_artist(spot)
        middle, high = (x + side / 2) / self.width, 1 - (y + side / 2) / self.height
        write(self.figure, middle, high, mark, TITLE, HALO[0], True, ha="center", va="center_baseline")
        write(
            self.figure,
            (x + side + 0.09) / self.width,
            high,
            word,
            TITLE,
            self.theme.ink,
            True,
            va="center_baseline",
        )

    def arrow(self, x: float, y: float, length: float) -> None:
        """What comes next is to the right."""
        points = [(x, y), (x + length, y), (x + length - 0.05, y - 0.04), (x + length - 0.05, y + 0.04)]
        place = [(px / self.width, 1 - py / self.height) for px, py in points]
        for a, b in ((0, 1), (2, 1), (3, 1)):
            xs, ys = zip(place[a], place[b], strict=True)
            self.figure.add_artist(Line2D(xs, ys, color=self.theme.muted, linewidth=1.1, solid_capstyle="round"))

    # -- pictures ------------------------------------------------------------------------------------------------

    def axes(self, x: float, y: float, w: float, h: float, extent: Box, gid: str) -> Axes:
        """Bare axes at these inches, whose data are the source pixels of `extent`."""
        axes = self.figure.add_axes((x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height))
        axes.set_axis_off()
        axes.set(xlim=(extent[0], extent[2]), ylim=(extent[3], extent[1]), gid=gid)
        axes.set_autoscale_on(False)
        return axes

    def picture(
        self,
        image: Image.Image | None,
        x: float,
        y: float,
        w: float,
        h: float,
        extent: Box,
        gid: str,
        missing: str = "picture not kept",
    ) -> Axes:
        """An image that shows `extent` of the source; enlarged without smoothing, reduced with it."""
        axes = self.axes(x, y, w, h, extent, gid)
        if image is None:
            self.placeholder(axes, missing, self.theme.muted)
            return axes
        shown = np.asarray(sharpened(image, (w, h)))
        axes.imshow(
            shown,
            extent=(extent[0], extent[2], extent[3], extent[1]),
            aspect="auto",
            interpolation="antialiased",
            origin="upper",
        )
        axes.set(xlim=(extent[0], extent[2]), ylim=(extent[3], extent[1]))
        return axes

    def placeholder(self, axes: Axes, words: str, colour: str) -> None:
        """A dashed frame with words instead of a picture."""
        axes.add_patch(
            Rectangle(
                (0.01, 0.01),
                0.98,
                0.98,
                transform=axes.transAxes,
                facecolor=self.theme.panel,
                edgecolor=colour,
                linewidth=1.2,
                linestyle=(0, (4, 2.5)),
            )
        )
        wide = axes.get_position().width * self.width - 0.2
        lines = wrap(words, wide, BODY, 4)
        for i, line in enumerate(lines):
            down = (i - (len(lines) - 1) / 2) * height(1, BODY) / (axes.get_position().height * self.height)
            write(
                axes, 0.5, 0.5 - down, line, BODY, self.theme.ink, ha="center", va="center",
                transform=axes.transAxes,
            )  # fmt: skip

    def border(self, axes: Axes, colour: str, width: float) -> None:
        """A line around axes, outside the picture."""
        position = axes.get_position()
        off = (width / 2 - 0.4) / 72  # over the picture's last pixel: no gap shows
        off_x, off_y = off / self.width, off / self.height
        self.figure.add_artist(
            Rectangle(
                (position.x0 - off_x, position.y0 - off_y),
                position.width + 2 * off_x,
                position.height + 2 * off_y,
                fill=False,
                edgecolor=colour,
                linewidth=width,
                joinstyle="miter",
                transform=self.figure.transFigure,
            )
        )

    # -- key -----------------------------------------------------------------------------------------------------

    def key(self, x: float, y: float, kinds: Sequence[str]) -> None:
        """What the lines on a picture mean: any of "look", "refused", "truth"; `KEY_ROW` inches each."""
        words = {
            "look": "region that it looked at",
            "refused": "region that it was refused",
            "truth": "true region",
        }
        for kind in kinds:
            high = y + height(1, SMALL) / 2
            strokes: list[tuple[str, float, tuple[float, ...] | None]] = [(LOOKS[0], 1.9, None)]
            if kind == "refused":
                strokes = [(LOOKS[1], 1.9, (3.0, 2.0))]
            elif kind == "truth":
                strokes = [(HALO[1], 2.2, None), (TRUTH, 0.8, None)]
            for colour, wide, dashes in strokes:
                self.figure.add_artist(
                    Rectangle(
                        (x / self.width, 1 - (high + 0.045) / self.height),
                        0.2 / self.width,
                        0.09 / self.height,
                        fill=False,
                        edgecolor=colour,
                        linewidth=wide,
                        linestyle=(0, dashes) if dashes else "solid",
                        transform=self.figure.transFigure,
                    )
                )
            self.line(x + 0.28, y, words[kind], SMALL, self.theme.muted)
            y += KEY_ROW


def sharpened(image: Image.Image, inches: tuple[float, float]) -> Image.Image:
    """An image with about `SHARP` pixels an inch: repeated pixels where it is small, reduced where it is large."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    want = max(1, math.ceil(inches[0] * SHARP)), max(1, math.ceil(inches[1] * SHARP))
    times = min(16, math.ceil(max(want[0] / rgb.width, want[1] / rgb.height)))
    if times > 1:
        return rgb.resize((rgb.width * times, rgb.height * times), Image.Resampling.NEAREST)
    if rgb.width > 2 * want[0] and rgb.height > 2 * want[1]:
        return rgb.resize(want, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return rgb


def fitted(size: Size, wide: float, high: float) -> tuple[float, float]:
    """Inches at which an image of `size` fits into wide x high with its aspect kept, never thinner than a line."""
    scale = min(wide / max(1, size[0]), high / max(1, size[1]))
    return max(0.06, size[0] * scale), max(0.06, size[1] * scale)


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
    w = max(TAG, text_width(str(number), SMALL, True) + 0.07) * dpi / shown.width * (right - left)
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
