"""Pictures, boxes and blocks of text on a sheet that is measured in inches from its top left corner.

A picture gets axes whose data coordinates are pixels of the *source* photograph, whatever was done to its own
pixels, so that `boxes` draws a region where it lies, on the photograph, on the overview and in a crop alike.
Axes carry a `gid` ("photo", "crop-2"), which names them in an SVG and in tests.

    sheet = Canvas(8.0, 3.0, theme())
    axes = sheet.picture(photo, 0.2, 0.2, 2.4, 2.4, extent=(0, 0, 512, 512), gid="photo")
    draw_look(axes, (40, 60, 90, 110), number=1)
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

from ..geometry import Box, Size
from .lettering import height, measure, wrap, write
from .palette import BODY, DPI, HALO, LEADING, LOOKS, SMALL, TITLE, TRUTH, Theme, ink_on, look_colour

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
            max(side, measure(str(number), SMALL, True) + 0.07) / self.width,
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
