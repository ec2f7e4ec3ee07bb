"""`charts`: bar, line, pie and scatter charts of real tables (in the manner of InfographicsVQA and MathVista).

A chart of 512x512 pixels shows three to five rows of a real table (life expectancy by country, votes by district, ...),
each in a colour that the legend explains, with its value written beside it. Values and legend are small (9 to 10 pixels
high: legible in a crop, three in the tiny policy's overview of 160x160), but for at most one value that is large enough
to be read at once (14 there, or more); the shapes and colours are plain in the overview. Five kinds of question: the
value of a colour; of the largest; the label of a colour; the value of a label (first the legend, here of three lines,
then the value); how much more one is than another (two looks and a subtraction). Tables and styles of the held-out
split occur in no other; a chart for training with a label of theirs gets others.

A world must make a hundred samples a second, more than matplotlib draws figures, so shapes are painted at twice the
size and halved, text over them, and where everything stands is known before a pixel is drawn. A style (ground, font,
legend, grid, frame, widths) is drawn by lot from its own number and belongs to one split.

    sample = Charts().sample("train", 0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box, intersection
from ..rationale import Steps, reading
from ..sample import Sample
from . import material
from .badges import COLOURS
from .material import NOWHERE, Colour, Drawn, Table, World

SHARES = {"value": 0.3, "largest": 0.15, "label": 0.2, "named": 0.15, "difference": 0.2}  # of the questions
LARGE_VALUE = 0.65  # how often the one value that a question asks for is readable without a look
LARGE_OTHER = 0.3  # how often another one is, where that is not
MOST, SEARCHED = 5, 3  # rows of a chart; of one whose legend is searched, since more are too fine for one crop
LETTERS, LENGTHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", (0.1, 0.2, 0.7)  # of invented labels
PARTS = ("percent", "percent of days", "millions", "count", "times")  # units whose values make a whole
NOUNS = {"bar": "bar", "across": "bar", "line": "line", "pie": "slice", "scatter": "point"}
LARGEST = {"bar": "largest bar", "line": "line that ends highest", "slice": "largest slice", "point": "highest point"}

SIDE = 512  # source pixels
FONTS = ("sans", "serif", "mono", "times-bold", "roman-bold", "grotesque", "sans-bold")
GROUNDS = ((255, 255, 255), (247, 243, 232), (233, 239, 245), (234, 234, 242), (30, 34, 44), (58, 58, 60))
MARKERS = ("circle", "square", "diamond")
STYLES, MORE = 60, 1200  # that the splits share out, and more to train with
SMALL_INK, LARGE_INK = (9, 10), (46, 54)  # digit heights, source pixels
DIGIT, SWATCH, PITCH, ROOM = 10, 12, 28, 104.0  # of the legend: digit, swatch, from line to line, width of its room


# -- how a chart looks -----------------------------------------------------------------------------------------------


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


def _style(number: int) -> Style:
    rng = np.random.default_rng([36, number])
    legend = ("left", "right")[int(rng.integers(2))]
    boxed, grid, frame, below = (bool(v) for v in rng.random(4) < 0.5)
    hole = round(float(rng.uniform(0.3, 0.5)), 3) if rng.random() < 0.5 else 0.0
    ground, marker = int(rng.integers(len(GROUNDS))), MARKERS[int(rng.integers(3))]
    family, full = FONTS[int(rng.integers(len(FONTS)))], round(float(rng.uniform(0.45, 0.85)), 3)
    return Style(number, ground, family, legend, boxed, grid, frame, below, full, hole, marker)


@lru_cache(maxsize=3)
def styles(split: str) -> tuple[Style, ...]:
    """The styles of a split: of every six of the first ones one is for validation and one for test."""

    def look(style: Style) -> Style:
        return replace(style, number=0, full=0.0, hole=float(style.hole > 0))

    return material.shared_out(split, _style, STYLES, MORE, 6, {4: 1, 5: 2}, look)


@dataclass
class Mark:
    """One bar, line, slice or point. `points` are what a line runs through or a point's (x, y), in table units."""

    label: str
    colour: str
    value: float
    said: str  # the value as it is written
    points: Sequence[tuple[float, float]] = ()
    digit: int = 0  # height of its digits
    large: bool = False
    shape: tuple[float, ...] = ()  # source pixels; of a slice: degrees
    at: tuple[float, float, str] = (0.0, 0.0, "mm")  # where the value stands, and its anchor
    ink: Box = NOWHERE  # of the value
    key: Box = NOWHERE  # of swatch and label in the legend
    swatch: Box = NOWHERE  # of the swatch alone


@dataclass
class Plot:
    """A chart to be painted; `area` is what the legend and the title leave."""

    kind: str  # bar, across, line, pie, scatter
    style: Style
    title: str
    marks: list[Mark]
    area: Box = field(default=NOWHERE)


# -- where everything stands -----------------------------------------------------------------------------------------


def on_mark(kind: str, shape: tuple[float, ...]) -> tuple[float, float]:
    """A point on a mark of that kind of chart, source pixels: the middle of a bar or slice, the end of a line."""
    if kind in ("bar", "across"):
        return (shape[0] + shape[2]) / 2, (shape[1] + shape[3]) / 2
    if kind == "pie":
        x, y, r, start, end = shape
        turn = math.radians((start + end) / 2)
        return x + 0.7 * r * math.cos(turn), y + 0.7 * r * math.sin(turn)
    return shape[-2], shape[-1]


def place(plot: Plot) -> bool:
    """Set shapes and where values stand; False if values would touch each other, a foreign shape or the edge, or if a
    label of the legend would not fit beside the plot."""
    if max(material.width(m.label, plot.style.font, DIGIT) for m in plot.marks) > ROOM - SWATCH - 31:
        return False
    top, bottom = (16.0, SIDE - 62.0) if plot.style.title_below else (62.0, SIDE - 18.0)
    plot.area = (ROOM, top, SIDE - 20.0, bottom) if plot.style.legend == "left" else (24.0, top, SIDE - ROOM, bottom)
    {"bar": _bars, "across": _bars, "line": _lines, "pie": _slices, "scatter": _points}[plot.kind](plot)
    boxes = []
    for mark in plot.marks:
        (x, y, anchor), wide = mark.at, material.width(mark.said, plot.style.font, mark.digit)
        left = x - {"l": 0, "m": wide / 2, "r": wide}[anchor[0]]
        up = y - {"t": 0, "m": mark.digit / 2, "b": mark.digit}[anchor[1]]
        boxes.append((left - 5, up - 5, left + wide + 5, up + mark.digit + 5))
    x1, y1, x2, y2 = plot.area
    if any(b[0] < x1 - 14 or b[1] < y1 - 4 or b[2] > x2 + 14 or b[3] > y2 + 6 for b in boxes):
        return False
    own = 0  # how far behind a value's box the box of its own mark stands, which it may touch
    if plot.kind == "scatter":  # a point's value must not stand on another point
        own = len(plot.marks)
        boxes += [(m.shape[0] - 12, m.shape[1] - 12, m.shape[0] + 12, m.shape[1] + 12) for m in plot.marks]
    return not any(intersection(a, b) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if i - j != own)


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
    heights = iter(_scaled([y for m in plot.marks for _, y in m.points], y2, y1, 0.08))
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


def _clear(plot: Plot) -> bool:
    """Whether the largest mark is so beyond doubt: 14 pixels ahead of the next, or 15 degrees."""
    if plot.kind == "pie":
        least, sizes = 15.0, [m.shape[4] - m.shape[3] for m in plot.marks]
    elif plot.kind == "across":
        least, sizes = 14.0, [m.shape[2] for m in plot.marks]
    else:
        least, sizes = 14.0, [-m.shape[-1 if plot.kind == "line" else 1] for m in plot.marks]
    *_, second, first = sorted(sizes)
    return first - second > least


# -- painting --------------------------------------------------------------------------------------------------------


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
        for corner in ((x1, y2), (x2, y1))[: 1 + style.frame]:
            draw.line([2 * v for v in (x1, y1, *corner, x2, y2)], fill=ink, width=3)
    for mark in plot.marks:
        _shape(draw, plot, COLOURS[mark.colour], [2 * v for v in mark.shape])
    if plot.kind == "pie" and style.hole:
        cx, cy, r = (2 * v for v in plot.marks[0].shape[:3])
        draw.ellipse(_about(cx, cy, r * style.hole), fill=ground)
    image = image.reduce(2)
    draw = ImageDraw.Draw(image)
    for mark in plot.marks:
        x, y, anchor = mark.at
        on_slice = plot.kind == "pie" and mark.large
        contrast = (255, 255, 255) if sum(COLOURS[mark.colour]) < 400 else (10, 10, 10)
        colour = contrast if on_slice else ink
        mark.ink = material.write(draw, (x, y), mark.said, style.font, mark.digit, colour, anchor)
    _legend(draw, plot)
    digit = 15
    while material.width(plot.title, style.font, digit) > SIDE - 40:
        digit -= 1
    material.write(draw, (SIDE / 2, SIDE - 28 if style.title_below else 28), plot.title, style.font, digit, ink, "mm")
    return image


def _about(x: float, y: float, r: float) -> Box:
    return (x - r, y - r, x + r, y + r)


def _shape(draw: ImageDraw.ImageDraw, plot: Plot, colour: Colour, shape: list[float]) -> None:
    """Draw a mark at twice the size."""
    x, y = shape[-2:]
    if plot.kind in ("bar", "across"):
        draw.rectangle(shape, fill=colour)
    elif plot.kind == "line":
        draw.line(shape, fill=colour, width=round(6 + 8 * plot.style.full), joint="curve")
        draw.ellipse(_about(x, y, 13), fill=colour)
    elif plot.kind == "pie":
        cx, cy, r, start, end = shape
        draw.pieslice(_about(cx, cy, r), start / 2, end / 2, colour, GROUNDS[plot.style.ground], 4)
    elif plot.style.marker == "circle":
        draw.ellipse(_about(x, y, 22), fill=colour)
    elif plot.style.marker == "square":
        draw.rectangle(_about(x, y, 22), fill=colour)
    else:
        draw.polygon(((x, y - 28), (x + 28, y), (x, y + 28), (x - 28, y)), fill=colour)


def _legend(draw: ImageDraw.ImageDraw, plot: Plot) -> None:
    """Swatches and labels in a column beside the plot."""
    style = plot.style
    left = 14.0 if style.legend == "left" else plot.area[2] + 20
    for k, mark in enumerate(plot.marks):
        y = plot.area[1] + 26 + k * PITCH
        mark.swatch = (left, y - SWATCH / 2, left + SWATCH, y + SWATCH / 2)
        draw.rectangle(mark.swatch, fill=COLOURS[mark.colour])
        text = material.write(draw, (left + SWATCH + 7, y), mark.label, style.font, DIGIT, style.ink, "lm")
        mark.key = material.around([mark.swatch, text])
    if style.boxed:
        x1, y1, x2, y2 = material.around([m.key for m in plot.marks])
        draw.rectangle((x1 - 6, y1 - 6, x2 + 6, y2 + 6), outline=style.ink, width=1)


# -- what is shown and asked -----------------------------------------------------------------------------------------


def _table(rng: np.random.Generator, split: str) -> Table:
    """A table of the split; a source of tables the oftener the more columns it has in all, though not in proportion."""
    every = material.tables(split)
    sources = sorted({t.source for t in every})
    weights = np.array([sum(len(t.columns) for t in every if t.source == s) for s in sources]) ** 0.65
    chosen = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
    of = [t for t in every if t.source == chosen]
    return of[int(rng.integers(len(of)))]


def _abscissa(table: Table, split: str) -> Table | None:
    """What a scatter chart of life expectancy has across: the same countries' income."""
    if "lifeExp" not in table.name:
        return None
    return next(t for t in material.tables(split) if t.name == table.name.replace("lifeExp", "gdpPercap"))


@lru_cache(maxsize=1)
def held_out_labels() -> frozenset[str]:
    """The labels of tables that are held out: none is learned."""
    return frozenset(x for split in ("validation", "test") for t in material.tables(split) for x in t.labels)


@lru_cache(maxsize=1)
def seen_labels() -> tuple[str, ...]:
    """The labels that training shows."""
    return tuple(sorted({x for t in material.tables("train") for x in t.labels} - held_out_labels()))


def invented_labels(rng: np.random.Generator, count: int) -> list[str]:
    """Labels of one to three letters by chance, all different."""
    made: list[str] = []
    while len(made) < count:
        word = "".join(LETTERS[int(k)] for k in rng.integers(len(LETTERS), size=1 + int(rng.choice(3, p=LENGTHS))))
        made += [word] * (word not in made)
    return made


def _plot(
    rng: np.random.Generator, split: str, most: int, invented: float, seen: bool
) -> tuple[Plot, dict[str, Any]] | None:
    """A chart of three to `most` rows and a column of a table, sizes not yet decided, and what of which table it shows;
    None if its numbers do not lend themselves."""
    table = _table(rng, split)
    across = _abscissa(table, split)
    style = styles(split)[int(rng.integers(len(styles(split))))]
    kinds = ["bar", "across"] + ["pie"] * (table.unit in PARTS) + ["line"] * 2 * (len(table.columns) > 5)
    kinds += ["scatter"] * 5 * (across is not None)
    kind = kinds[int(rng.integers(len(kinds)))]
    column = int(rng.integers(4 if kind == "line" else 0, len(table.columns)))
    rows = [int(r) for r in rng.permutation(len(table.labels))[: int(rng.integers(3, most + 1))]]
    values = [table.values[r][column] for r in rows]
    if kind == "pie":
        values = [100 * v / sum(values) for v in values]
    said = [f"{v:.0f}" if max(values) >= 10 else f"{v:.1f}" for v in values]
    if len(set(said)) < len(said) or max(values) >= 999 or min(values) < 0.08 * max(values):
        return None
    colours = [list(COLOURS)[int(k)] for k in rng.permutation(len(COLOURS))]
    labels = [table.labels[row] for row in rows]
    if split == "train" and (rng.random() < invented or not held_out_labels().isdisjoint(labels)):
        labels = invented_labels(rng, len(rows))
    elif seen:
        every = seen_labels()
        labels = [every[int(k)] for k in rng.permutation(len(every))[: len(rows)]]
    marks = [Mark(*known) for known in zip(labels, colours, values, said, strict=False)]
    for mark, row in zip(marks, rows, strict=True):
        if kind == "line":
            mark.points = [(float(c), table.values[row][c]) for c in range(max(0, column - 7), column + 1)]
        elif kind == "scatter" and across is not None:
            mark.points = [(across.values[row][column], mark.value)]
    time = f" {table.columns[column]}" if len(table.columns) > 1 else ""
    title = f"{table.title}{time}, {'percent' if kind == 'pie' else table.unit}"
    shown = {"chart": kind, "table": table.name, "rows": rows, "column": column, "style": style.number}
    return Plot(kind, style, title, marks), shown


def legend_text(marks: Sequence[Mapping[str, Any]]) -> str:
    """What a legend says, line by line; `marks` as in a sample's `meta`."""
    return ", ".join(f"{mark['label']} {mark['colour']}" for mark in marks)


def difference(more: str, less: str) -> str:
    """One written number less another, with as many decimals."""
    decimals = len(more.partition(".")[2])
    return f"{(round(float(more) * 10**decimals) - round(float(less) * 10**decimals)) / 10**decimals:.{decimals}f}"


class Charts(World):
    """The world; see the module's docstring.

    Parameters
    ----------
    large_other : share of the values that are not asked for that are large
    invented : share of the charts whose labels are letters by chance; of real ones there are few, and a policy that is
        trained with those alone guesses at what it reads
    shares : of the questions by kind
    seen : labels in held-out charts are those of training, to see what it is worth to know them
    """

    name, key = "charts", (3,)

    def __init__(
        self,
        large_other: float = LARGE_OTHER,
        invented: float = 0.0,
        shares: Mapping[str, float] = SHARES,
        seen: bool = False,
    ) -> None:
        self.large_other, self.invented, self.shares, self.seen = large_other, invented, dict(shares), seen

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """Kinds as in `shares`; about 30 % are readable without a look."""
        kind = list(self.shares)[int(rng.choice(len(self.shares), p=list(self.shares.values())))]
        drawn = None
        while drawn is None:
            drawn = self._drawn(rng, split, kind)
        plot, shown, asked = drawn
        image = material.grained(paint(plot), rng)
        involved = _involved(plot, kind, asked)
        small = [box for box, large in involved if not large]
        noun = NOUNS[plot.kind]
        first, last = f"{asked[0].colour} {noun}", f"{asked[-1].colour} {noun}"
        question, answer = {
            "value": (f"What is the value of the {first}?", asked[0].said),
            "largest": (f"What is the value of the {LARGEST[noun]}?", asked[0].said),
            "label": (f"Which label has the {first}?", asked[0].label),
            "named": (f"What is the value of {asked[0].label}?", asked[0].said),
            "difference": (f"How much more is the {first} than the {last}?", difference(asked[0].said, asked[-1].said)),
        }[kind]
        kept = ("label", "colour", "said", "large", "digit", "ink", "key", "value", "swatch")
        marks = [{name: getattr(m, name) for name in kept} for m in plot.marks]
        for mark, of in zip(marks, plot.marks, strict=True):
            mark["middle"] = on_mark(plot.kind, of.shape)
        meta = {"kind": kind, "hops": max(1, len(small)), **shown}
        meta |= {"asked": [plot.marks.index(m) for m in asked], "marks": marks}
        regions = small or [box for box, _ in involved]
        return Drawn(image, question, answer, regions, bool(small), meta)

    def _drawn(self, rng: np.random.Generator, split: str, kind: str) -> tuple[Plot, dict[str, Any], list[Mark]] | None:
        """A chart for that kind of question, what it shows, and the marks that are asked about; None if it has no room,
        or no answer beyond doubt."""
        found = _plot(rng, split, SEARCHED if kind == "named" else MOST, self.invented, self.seen)
        if found is None:
            return None
        plot, shown = found
        order = sorted(plot.marks, key=lambda m: -m.value)
        asked = [order[0]] if kind == "largest" else [order[int(rng.integers(len(order)))]]
        if kind == "difference":
            first = int(rng.integers(len(order) - 1))
            asked = [order[first], order[int(rng.integers(first + 1, len(order)))]]
        others = [mark for mark in plot.marks if mark not in asked]
        if kind in ("value", "largest") and rng.random() < LARGE_VALUE:
            asked[0].large = True
        elif others and kind != "difference" and rng.random() < self.large_other:
            others[int(rng.integers(len(others)))].large = True
        for mark in plot.marks:
            low, high = LARGE_INK if mark.large else SMALL_INK
            mark.digit = int(rng.integers(low, high + 1))
        return (plot, shown, asked) if place(plot) and (kind != "largest" or _clear(plot)) else None

    def steps(self, sample: Sample) -> Steps:
        """Find the mark (by the legend where it is named), look at what is small, compute, answer."""
        meta, regions = sample.meta, iter(sample.regions if sample.needs_look else ())
        kind, noun = meta["kind"], NOUNS[meta["chart"]]
        asked = [meta["marks"][k] for k in meta["asked"]]
        first = f"the {asked[0]['colour']} {noun}"
        steps: Steps = []

        if kind == "label":
            return reading(f"The label of {first}", asked[0]["label"], next(regions))
        if kind == "largest":
            steps.append((f"The {LARGEST[noun]} is {first}.", None))
        elif kind == "named":
            steps += reading("The legend", legend_text(meta["marks"]), next(regions))
            steps.append((f"{asked[0]['label']} is {first}.", None))
        for mark in asked:
            region = None if mark["large"] else next(regions)
            steps += reading(f"The value of the {mark['colour']} {noun}", mark["said"], region)
        if kind == "difference":
            steps.append((f"{asked[0]['said']} - {asked[1]['said']} = {sample.answer}.", None))
        return steps


def _involved(plot: Plot, kind: str, asked: list[Mark]) -> list[tuple[Box, bool]]:
    """What the answer rests on, in order: its region, and whether it can be read in the overview."""
    size, values = (SIDE, SIDE), [(material.padded(m.ink, (SIDE, SIDE)), m.large) for m in asked]
    if kind == "label":
        return [(material.padded(asked[0].key, size, 4.0, 18.0), False)]
    if kind == "named":
        return [(material.padded(material.around([m.key for m in plot.marks]), size, 4.0), False), *values]
    return values
