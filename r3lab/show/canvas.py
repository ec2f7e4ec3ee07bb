"""What views draw with: text and pictures on a sheet measured in inches, and regions over a picture.

    sheet = Canvas(8.0, None)                                # as high as `cut` says in the end
    axes = sheet.picture(photo, 0.2, 0.2, 2.4, 2.4, extent=(0, 0, 512, 512), gid="photo")
    draw_truth(axes, (40, 60, 90, 110))
    draw_look(axes, (38, 64, 92, 108), number=1)
    figure = sheet.cut(2.8)

A picture gets axes whose data are pixels of the *source* photograph, whatever was done to its own pixels, so that a
region is drawn where it lies, on the photograph, on the overview and in a crop alike. Looks are numbered, solid if
granted and dashed if refused; true regions are thin; each outline has a halo, so that it shows on any photograph. Axes
carry a `gid` ("photo", "crop-2"), patches that of their axes and "-look-2", "-tag-2" or "-truth", which names them in
an SVG and in tests. A page draws the same regions as SVG, whose text is numbers and our own words alone. Simplified: a
number is put where it hides least, greedily, in the order of the looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

from ..core.geometry import Box, Size, intersection
from .palette import BODY, DPI, HALO, LEADING, LIGHT, LOOKS, RUNS, SMALL, TITLE, TRUTH, ink_on, look_colour
from .text import height, text_width, wrap, write

KEY_ROW = height(1, SMALL) + 0.02
SHARP = 300  # pixels an inch up to which a picture is enlarged, so that its pixels keep hard edges
THICK, THIN, EDGE = 1.9, 0.8, 1.4  # points: a look, a true region, the halo on both sides together
DASHES = (3.0, 2.0)
TAG = 0.15  # inches: side of a number's tag
KEYS: dict[str, tuple[str, list[tuple[str, float, tuple[float, ...] | None]]]] = {
    # what a line on a picture means: words, and its strokes (colour, points, dashes)
    "look": ("region that it looked at", [(LOOKS[0], THICK, None)]),
    "refused": ("region that it was refused", [(LOOKS[1], THICK, DASHES)]),
    "truth": ("true region", [(HALO[1], 2.2, None), (TRUTH, THIN, None)]),
}


class Canvas:
    """A figure without a window, measured in inches from its top left corner, and what stands on it.

    Parameters
    ----------
    width, height
        Inches; a height of None is settled by `cut`.
    """

    def __init__(self, width: float, height: float | None) -> None:
        self.width, self.height = width, height or 10.0
        self.figure = Figure(figsize=(width, self.height), dpi=DPI, facecolor=LIGHT.paper)
        FigureCanvasAgg(self.figure)
        self._down = Affine2D().scale(1, -1).translate(0, self.height)
        self.inches = self._down + self.figure.dpi_scale_trans

    def cut(self, height: float) -> Figure:
        """The figure, cut to this height in inches; what is drawn stays where it is, from the top."""
        shrunk = self.height / height
        for axes in self.figure.axes:
            x, y, w, h = axes.get_position(original=True).bounds
            axes.set_position((x, 1 - (1 - y) * shrunk, w, h * shrunk))
        self.height = height
        self._down.clear().scale(1, -1).translate(0, height)
        self.figure.set_size_inches(self.width, height)
        return self.figure

    def line(self, x: float, y: float, text: object, size: float, colour: str, bold: bool = False) -> None:
        """One line whose top is at `y`."""
        base = y + 0.8 * size * LEADING / 72
        write(self.figure, x, base, text, size, colour, bold, va="baseline", transform=self.inches)

    def block(self, x: float, y: float, lines: Sequence[str], size: float, colour: str, bold: bool = False) -> float:
        """Lines one under the other; returns the `y` below the last."""
        for line in lines:
            self.line(x, y, line, size, colour, bold)
            y += height(1, size)
        return y

    def text(self, x: float, y: float, text: object, wide: float, size: float, most: int, **ink: Any) -> float:
        """Foreign text in at most so many lines of so many inches, its ink as of `block`; returns the `y` below it."""
        lines = wrap(text, wide, size, most, ink.get("bold", False))
        return self.block(x, y, lines, size, **{"colour": LIGHT.ink, **ink})

    def rect(self, x: float, y: float, w: float, h: float, **options: Any) -> None:
        """A rectangle; `options` are those of matplotlib's."""
        self.figure.add_artist(Rectangle((x, y), w, h, transform=self.inches, **options))

    def sign(
        self, x: float, y: float, w: float, h: float, text: object, size: float, colour: str, ink: str, **options: Any
    ) -> None:
        """A few bold characters amid a rectangle of `colour`."""
        self.rect(x, y, w, h, facecolor=colour, **{"edgecolor": "none", **options})
        middle: dict[str, Any] = {"ha": "center", "va": "center_baseline", "transform": self.inches}
        write(self.figure, x + w / 2, y + h / 2, text, size, ink, True, **middle)

    def tag(self, x: float, y: float, number: int) -> None:
        """The number of a look on its colour, as on its box."""
        colour, side = look_colour(number), 0.155
        wide = max(side, text_width(str(number), SMALL, True) + 0.07)
        self.sign(x, y, wide, side, number, SMALL, colour, ink_on(colour))

    def verdict(self, x: float, y: float, colour: str, mark: str, word: str) -> None:
        """Right, wrong or unknown: a mark on its colour, and the word."""
        side = 0.24
        self.sign(x, y, side, side, mark, TITLE, colour, HALO[0])
        place: dict[str, Any] = {"va": "center_baseline", "transform": self.inches}
        write(self.figure, x + side + 0.09, y + side / 2, word, TITLE, LIGHT.ink, True, **place)

    def arrow(self, x: float, y: float, length: float) -> None:
        """What comes next is to the right."""
        tip = (x + length, y)
        for start in ((x, y), (tip[0] - 0.05, y - 0.04), (tip[0] - 0.05, y + 0.04)):
            xs, ys = zip(start, tip, strict=True)
            stroke: dict[str, Any] = {"color": LIGHT.muted, "linewidth": 1.1, "solid_capstyle": "round"}
            self.figure.add_artist(Line2D(xs, ys, transform=self.inches, **stroke))

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
            self.placeholder(axes, missing, LIGHT.muted)
        else:
            lay(axes, sharpened(image, (w, h)), extent, interpolation="antialiased")
        return axes

    def placeholder(self, axes: Axes, words: str, colour: str) -> None:
        """A dashed frame with words instead of a picture."""
        look: dict[str, Any] = {"facecolor": LIGHT.panel, "edgecolor": colour, "linewidth": 1.2}
        frame = Rectangle((0.01, 0.01), 0.98, 0.98, transform=axes.transAxes, linestyle=(0, (4, 2.5)), **look)
        axes.add_patch(frame)
        position = axes.get_position()
        lines = wrap(words, position.width * self.width - 0.2, BODY, 4)
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        for i, line in enumerate(lines):
            down = (i - (len(lines) - 1) / 2) * height(1, BODY) / (position.height * self.height)
            write(axes, 0.5, 0.5 - down, line, BODY, LIGHT.ink, **middle)

    def border(self, axes: Axes, colour: str, width: float) -> None:
        """A line around axes, outside the picture."""
        place, off = axes.get_position(), (width / 2 - 0.4) / 72  # over the picture's last pixel: no gap shows
        x, y = place.x0 * self.width - off, (1 - place.y1) * self.height - off
        wide, high = place.width * self.width + 2 * off, place.height * self.height + 2 * off
        self.rect(x, y, wide, high, fill=False, edgecolor=colour, linewidth=width, joinstyle="miter")

    def swatch(self, x: float, y: float, colour: str, width: float, dashes: tuple[float, ...] | None) -> None:
        """The outline of a small region, for a key."""
        high, line = y + height(1, SMALL) / 2 - 0.045, (0, dashes) if dashes else "solid"
        self.rect(x, high, 0.2, 0.09, fill=False, edgecolor=colour, linewidth=width, linestyle=line)

    def key(self, x: float, y: float, kinds: Sequence[str]) -> float:
        """What the lines on a picture mean: any of `KEYS`, `KEY_ROW` inches each; returns the `y` below the last."""
        for kind in kinds:
            words, strokes = KEYS[kind]
            for colour, width, dashes in strokes:
                self.swatch(x, y, colour, width, dashes)
            self.line(x + 0.28, y, words, SMALL, LIGHT.muted)
            y += KEY_ROW
        return y


def lay(axes: Axes, image: Image.Image | np.ndarray, box: Box, **options: Any) -> None:
    """Lay an image or a map over `box` of what the axes show, which stays; `options` are those of `imshow`."""
    shown = edges(axes)
    x1, y1, x2, y2 = box
    axes.imshow(np.asarray(image), extent=(x1, x2, y2, y1), aspect="auto", origin="upper", **options)
    axes.set(xlim=(shown[0], shown[2]), ylim=(shown[3], shown[1]))


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


# -- lines of a chart --------------------------------------------------------------------------------------------------


def line_style(number: int) -> tuple[str, tuple[float, ...] | None]:
    """Colour and dash of the group of that number, from 0: the first six differ in both, 36 in one of the two."""
    n = len(RUNS)
    return RUNS[number % n][0], RUNS[(number + number // n) % n][1]


def draw_band(
    axes: Axes,
    number: int,
    xs: Sequence[float] | np.ndarray,
    mean: Sequence[float] | np.ndarray,
    low: Sequence[float] | np.ndarray,
    high: Sequence[float] | np.ndarray,
    **options: Any,
) -> None:
    """A line with the band around it, in colour and dash of its `number`; `options` are those of matplotlib's `plot`.

    Ends of the band that are NaN have none.
    """
    colour, dashes = line_style(number)
    if np.isfinite(low).any():
        axes.fill_between(xs, low, high, color=colour, alpha=0.22, linewidth=0, gid=f"band-{number}")
    line = {"color": colour, "linestyle": (0, dashes), "linewidth": 1.8, "gid": f"mean-{number}"}
    axes.plot(xs, mean, **{**line, **options})


# -- where regions and their numbers stand -----------------------------------------------------------------------------


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


# -- regions in a figure -----------------------------------------------------------------------------------------------


def draw_look(axes: Axes, box: Box, number: int, valid: bool = True) -> None:
    """Draw a look in its colour, with its number where it hides least of the region, other numbers and true regions.

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
    if seen is None:
        return
    colour = look_colour(number)
    outline(axes, seen, colour, THICK, f"look-{number}", dashes=None if valid else DASHES)
    view, shown, dpi = edges(axes), axes.get_window_extent(), axes.figure.dpi
    w = max(TAG, text_width(str(number), SMALL, True) + 0.07) * dpi / shown.width * (view[2] - view[0])
    h = TAG * dpi / shown.height * (view[3] - view[1])
    taken = [
        (p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height())
        for p in axes.patches
        if isinstance(p, Rectangle) and any(mark in str(p.get_gid()) for mark in ("-tag-", "-truth"))
    ]
    draw_tag(axes, tag_corner(seen, (w, h), view, taken), (w, h), number, colour, HALO[0], 5)


def draw_truth(axes: Axes, box: Box) -> None:
    """Draw a true region; draw it before the looks, so that no number hides it."""
    seen = drawable_part(box, axes)
    if seen is not None:
        outline(axes, seen, TRUTH, THIN, "truth", halo=HALO[1])


def edges(axes: Axes) -> Box:
    """What the axes show."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return (left, min(low, high), right, max(low, high))


def drawable_part(box: Box, axes: Axes) -> Box | None:
    """The box with its sides in order and not far beyond the picture; None if nothing of it is in the picture."""
    return within(box, edges(axes))


def outline(
    axes: Axes,
    box: Box,
    colour: str,
    width: float,
    name: str,
    halo: str = HALO[0],
    wider: float = EDGE,
    alpha: float = 0.75,
    dashes: tuple[float, ...] | None = None,
) -> None:
    """The outline of a region with its halo.

    Parameters
    ----------
    width, wider
        Of the line, and by how much the halo is wider, points.
    name
        What the line is called, behind the axes' own name.
    alpha
        Opacity of the halo.
    """
    (x1, y1, x2, y2), line = box, (0, dashes) if dashes else "solid"
    shape: dict[str, Any] = {"xy": (x1, y1), "width": x2 - x1, "height": y2 - y1, "fill": False, "joinstyle": "miter"}
    axes.add_patch(Rectangle(**shape, edgecolor=halo, linewidth=width + wider, alpha=alpha, zorder=3))
    gid = f"{axes.get_gid()}-{name}"
    axes.add_patch(Rectangle(**shape, edgecolor=colour, linewidth=width, linestyle=line, zorder=4, gid=gid))


def draw_tag(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], number: int, colour: str, edge: str, order: int
) -> None:
    """A number on its colour, its upper left `corner` and its `size` in the axes' data."""
    gid = f"{axes.get_gid()}-tag-{number}"
    look: dict[str, Any] = {"facecolor": colour, "edgecolor": edge, "linewidth": 0.5}
    axes.add_patch(Rectangle(corner, *size, gid=gid, zorder=order, **look))
    at: dict[str, Any] = {"ha": "center", "va": "center_baseline", "zorder": order + 1}
    write(axes, corner[0] + size[0] / 2, corner[1] + size[1] / 2, number, SMALL, ink_on(colour), True, **at)


# -- regions of a page (marks.html), in source pixels ------------------------------------------------------------------

SVG_TAG = 0.052  # side of a number's tag, of the longer side of the picture


@dataclass(frozen=True)
class Spot:
    """A region on a picture, and where its number stands.

    Attributes
    ----------
    box : source pixels, sides in order, nothing far outside the picture
    number : from 1
    valid : False: dashed
    tag : the number's ground, source pixels
    """

    box: Box
    number: int
    valid: bool
    tag: Box


def spots(boxes: Sequence[tuple[int, Box | None, bool]], size: Size) -> list[Spot]:
    """Places for numbered regions on a picture; what is not in it has none.

    Parameters
    ----------
    boxes
        Number from 1, region in source pixels, whether it was granted.
    size
        Of the picture, source pixels.
    """
    found: list[Spot] = []
    whole, h = (0.0, 0.0, float(size[0]), float(size[1])), SVG_TAG * max(size)
    for number, box, valid in boxes:
        seen = within(box, whole) if box is not None else None
        if seen is not None:
            w = h * max(1.0, 0.4 + 0.42 * len(str(number)))
            x, y = tag_corner(seen, (w, h), whole, [one.tag for one in found])
            found.append(Spot(seen, number, valid, (x, y, x + w, y + h)))
    return found
