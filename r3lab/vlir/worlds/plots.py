"""Bar, line, pie and scatter charts, painted: where everything stands is known before a pixel is drawn.

A world must make a hundred samples a second, more than matplotlib draws figures, so shapes are painted at
twice the size and halved, text over them. A mark is one bar, line, slice or point: its colour, its label in the legend
and the value written beside it, whose ink boxes the painter keeps. A style (ground, font, legend, grid, frame, widths)
is drawn by lot from its own number and belongs to one split.

    plot = Plot("bar", styles("train")[0], "Population 1952", marks, [], large_legend=False)
    if place(plot): image = paint(plot)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box, intersection
from .badges import COLOURS
from .lettering import around, width, write
from .material import shared_out

Colour = tuple[int, int, int]
Point = tuple[float, float]
SIDE = 512  # source pixels
FONTS = ("sans", "serif", "mono", "times-bold", "roman-bold", "grotesque", "sans-bold")
GROUNDS: tuple[Colour, ...] = (
    (255, 255, 255),
    (247, 243, 232),
    (233, 239, 245),
    (234, 234, 242),
    (30, 34, 44),
    (58, 58, 60),
)
STYLES, MORE = 60, 1200  # that the splits share out, and more to train with
SMALL_INK, LARGE_INK = (9, 10), (46, 50)  # digit heights, source pixels


@dataclass(frozen=True)
class Style:
    """How a chart looks; every attribute is drawn from `number` alone."""

    number: int
    ground: int
    font: str
    legend: str  # left or right
    boxed: bool  # the legend
    grid: bool
    frame: bool
    title_below: bool
    full: float  # how much of its room a bar fills, and how thick a line is
    hole: float  # of a pie, part of its radius
    marker: str

    @property
    def ink(self) -> Colour:
        """Colour of text and axes."""
        return (235, 235, 230) if sum(GROUNDS[self.ground]) < 300 else (30, 30, 34)


@lru_cache(maxsize=1)
def _all() -> tuple[Style, ...]:
    made = []
    for number in range(STYLES + MORE):
        rng = np.random.default_rng([36, number])
        legend = ("left", "right")[int(rng.integers(2))]
        boxed, grid, frame, below = (bool(v) for v in rng.random(4) < 0.5)
        hole = round(float(rng.uniform(0.3, 0.5)), 3) if rng.random() < 0.5 else 0.0
        ground, marker = int(rng.integers(len(GROUNDS))), ("circle", "square", "diamond")[int(rng.integers(3))]
        family, full = FONTS[int(rng.integers(len(FONTS)))], round(float(rng.uniform(0.45, 0.85)), 3)
        made.append(Style(number, ground, family, legend, boxed, grid, frame, below, full, hole, marker))
    return tuple(made)


@lru_cache(maxsize=3)
def styles(split: str) -> tuple[Style, ...]:
    """The styles of a split: of every six of the first ones one is for validation and one for test."""

    def look(style: Style) -> Style:
        return replace(style, number=0, full=0.0, hole=float(style.hole > 0))

    return shared_out(split, _all()[:STYLES], _all()[STYLES:], 6, {4: 1, 5: 2}, look)


@dataclass
class Mark:
    """One bar, line, slice or point. `points` are what a line runs through or a point's (x, y), in table units."""

    label: str
    colour: str
    value: float
    said: str  # the value as it is written
    digit: int
    large: bool
    points: tuple[Point, ...] = ()
    shape: tuple[float, ...] = ()  # source pixels; of a slice: degrees
    at: tuple[float, float, str] = (0.0, 0.0, "mm")  # where the value stands, and its anchor
    ink: Box = (0.0, 0.0, 0.0, 0.0)  # of the value
    key: Box = (0.0, 0.0, 0.0, 0.0)  # of swatch and label in the legend
    swatch: Box = (0.0, 0.0, 0.0, 0.0)  # of the swatch alone


def on_mark(kind: str, shape: tuple[float, ...]) -> Point:
    """A point on a mark of that kind of chart, source pixels: the middle of a bar or slice, the end of a line."""
    if kind in ("bar", "across"):
        return (shape[0] + shape[2]) / 2, (shape[1] + shape[3]) / 2
    if kind == "pie":
        x, y, r, start, end = shape
        turn = math.radians((start + end) / 2)
        return x + 0.7 * r * math.cos(turn), y + 0.7 * r * math.sin(turn)
    return shape[-2], shape[-1]


@dataclass
class Plot:
    """A chart to be painted; `area` is what the legend and the title leave."""

    kind: str  # bar, across, line, pie, scatter
    style: Style
    title: str
    marks: list[Mark]
    large_legend: bool
    area: Box = field(default=(0.0, 0.0, 0.0, 0.0))


LEGENDS = {True: (42, 40, 64, 212.0), False: (10, 12, 28, 104.0)}  # large: digit, swatch, pitch, width of the room


def place(plot: Plot) -> bool:
    """Set shapes and where values stand; False if values would touch each other, a foreign shape or the edge, or if a
    label of the legend would not fit beside the plot."""
    digit, swatch, _, room = LEGENDS[plot.large_legend]
    if max(width(m.label, plot.style.font, digit) for m in plot.marks) > room - swatch - 31:
        return False
    top, bottom = (16.0, SIDE - 62.0) if plot.style.title_below else (62.0, SIDE - 18.0)
    plot.area = (room, top, SIDE - 20.0, bottom) if plot.style.legend == "left" else (24.0, top, SIDE - room, bottom)
    {"bar": _bars, "across": _bars, "line": _lines, "pie": _slices, "scatter": _points}[plot.kind](plot)
    boxes = []
    for mark in plot.marks:
        (x, y, anchor), wide = mark.at, width(mark.said, plot.style.font, mark.digit)
        left = x - {"l": 0, "m": wide / 2, "r": wide}[anchor[0]]
        up = y - {"t": 0, "m": mark.digit / 2, "b": mark.digit}[anchor[1]]
        boxes.append((left - 5, up - 5, left + wide + 5, up + mark.digit + 5))
    x1, y1, x2, y2 = plot.area
    if any(b[0] < x1 - 14 or b[1] < y1 - 4 or b[2] > x2 + 14 or b[3] > y2 + 6 for b in boxes):
        return False
    if plot.kind == "scatter":  # a point's value must not stand on another point
        boxes += [(m.shape[0] - 12, m.shape[1] - 12, m.shape[0] + 12, m.shape[1] + 12) for m in plot.marks]
        return not any(
            intersection(a, b) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if i - j != len(plot.marks)
        )
    return not any(intersection(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def _scaled(values: list[float], low: float, high: float, pad: float) -> list[float]:
    """Values onto the stretch low..high, the least and the greatest `pad` away from its ends."""
    least, most = min(values), max(values)
    span = (most - least) or 1.0
    return [low + (pad + (v - least) / span * (1 - 2 * pad)) * (high - low) for v in values]


def _bars(plot: Plot) -> None:
    """Bars from zero; the value above a standing one, behind a lying one."""
    x1, y1, x2, y2 = plot.area
    most, n, full = max(m.value for m in plot.marks), len(plot.marks), plot.style.full
    for k, mark in enumerate(plot.marks):
        if plot.kind == "bar":
            slot = (x2 - x1) / n
            left, up = x1 + slot * (k + 0.5 - full / 2), y2 - mark.value / most * (y2 - y1 - 68)
            mark.shape = (left, up, left + slot * full, y2)
            mark.at = (left + slot * full / 2, up - 7, "mb")
        else:
            slot = (y2 - y1) / n
            top, end = y1 + slot * (k + 0.5 - full / 2), x1 + mark.value / most * (x2 - x1 - 120)
            mark.shape = (x1, top, end, top + slot * full)
            mark.at = (end + 8, top + slot * full / 2, "lm")


def _lines(plot: Plot) -> None:
    """Lines over the columns of the table; the value stands at the end."""
    x1, y1, x2, y2 = plot.area
    every = [y for m in plot.marks for _, y in m.points]
    heights = iter(_scaled(every, y2, y1, 0.08))
    for mark in plot.marks:
        xs = _scaled([x for x, _ in mark.points], x1 + 4, x2 - 108, 0.0)
        mark.shape = tuple(v for x in xs for v in (x, next(heights)))
        mark.at = (mark.shape[-2] + 11, mark.shape[-1], "lm")


def _slices(plot: Plot) -> None:
    """A pie, or a ring; small values stand outside, large ones on the slice."""
    x1, y1, x2, y2 = plot.area
    cx, cy, r = (x1 + x2) / 2, (y1 + y2) / 2, min(x2 - x1, y2 - y1) / 2 - 26
    total, turn = sum(m.value for m in plot.marks), -90.0
    for mark in plot.marks:
        span = 360 * mark.value / total
        middle = math.radians(turn + span / 2)
        out = r * (0.5 + plot.style.hole / 2) if mark.large else r + 17
        narrow = mark.large and span < 80
        mark.shape = (cx, cy, r, turn, turn + span)
        mark.at = (-99.0 if narrow else cx + out * math.cos(middle), cy + out * math.sin(middle), "mm")
        turn += span


def _points(plot: Plot) -> None:
    """One point a mark; its value stands over it."""
    x1, y1, x2, y2 = plot.area
    xs = _scaled([m.points[0][0] for m in plot.marks], x1, x2, 0.14)
    ys = _scaled([m.points[0][1] for m in plot.marks], y2, y1, 0.12)
    for mark, x, y in zip(plot.marks, xs, ys, strict=True):
        mark.shape, mark.at = (x, y), (x, y - 17, "mb")


def paint(plot: Plot) -> Image.Image:
    """The chart, SIDE x SIDE; sets `ink` and `key` of every mark. `place` must have said that it fits."""
    style, (x1, y1, x2, y2) = plot.style, plot.area
    ground, ink = GROUNDS[style.ground], style.ink
    faint = tuple((2 * g + i) // 3 for g, i in zip(ground, ink, strict=True))
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE), ground)
    draw = ImageDraw.Draw(image)
    if plot.kind != "pie":
        for k in range(1, 5 if style.grid else 0):
            y = 2 * (y2 - k * (y2 - y1) / 5)
            draw.line((2 * x1, y, 2 * x2, y), fill=faint, width=2)
        draw.line([2 * v for v in (x1, y1, x1, y2, x2, y2)], fill=ink, width=3)
        if style.frame:
            draw.line([2 * v for v in (x1, y1, x2, y1, x2, y2)], fill=ink, width=3)
    for mark in plot.marks:
        _shape(draw, plot, mark, [2 * v for v in mark.shape])
    if plot.kind == "pie" and style.hole:
        cx, cy, r = (2 * v for v in plot.marks[0].shape[:3])
        r *= style.hole
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=ground)
    image = image.reduce(2)
    draw = ImageDraw.Draw(image)
    for mark in plot.marks:
        x, y, anchor = mark.at
        dark = sum(COLOURS[mark.colour]) < 400
        on_slice = plot.kind == "pie" and mark.large
        colour = ((255, 255, 255) if dark else (10, 10, 10)) if on_slice else ink
        mark.ink = write(draw, (x, y), mark.said, style.font, mark.digit, colour, anchor)
    _legend(draw, plot)
    digit = 15
    while width(plot.title, style.font, digit) > SIDE - 40:
        digit -= 1
    write(draw, (SIDE / 2, SIDE - 28 if style.title_below else 28), plot.title, style.font, digit, ink, "mm")
    return image


def _shape(draw: ImageDraw.ImageDraw, plot: Plot, mark: Mark, shape: list[float]) -> None:
    """Draw a mark at twice the size."""
    colour = COLOURS[mark.colour]
    if plot.kind in ("bar", "across"):
        draw.rectangle(shape, fill=colour)
    elif plot.kind == "line":
        draw.line(shape, fill=colour, width=round(6 + 8 * plot.style.full), joint="curve")
        x, y = shape[-2:]
        draw.ellipse((x - 13, y - 13, x + 13, y + 13), fill=colour)
    elif plot.kind == "pie":
        cx, cy, r = shape[:3]
        draw.pieslice(
            (cx - r, cy - r, cx + r, cy + r),
            shape[3] / 2,
            shape[4] / 2,
            fill=colour,
            outline=GROUNDS[plot.style.ground],
            width=4,
        )
    else:
        x, y, r = *shape, 22
        if plot.style.marker == "circle":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif plot.style.marker == "square":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.polygon(((x, y - r - 6), (x + r + 6, y), (x, y + r + 6), (x - r - 6, y)), fill=colour)


def _legend(draw: ImageDraw.ImageDraw, plot: Plot) -> None:
    """Swatches and labels in a column beside the plot."""
    style, n = plot.style, len(plot.marks)
    digit, swatch, pitch, _ = LEGENDS[plot.large_legend]
    left = 14.0 if style.legend == "left" else plot.area[2] + 20
    top = plot.area[1] + 26
    for k, mark in enumerate(plot.marks):
        y = top + k * pitch
        box = (left, y - swatch / 2, left + swatch, y + swatch / 2)
        draw.rectangle(box, fill=COLOURS[mark.colour])
        text = write(draw, (left + swatch + 7, y), mark.label, style.font, digit, style.ink, "lm")
        mark.key, mark.swatch = around([box, text]), box
    if style.boxed and n:
        x1, y1, x2, y2 = around([m.key for m in plot.marks])
        draw.rectangle((x1 - 6, y1 - 6, x2 + 6, y2 + 6), outline=style.ink, width=1)
