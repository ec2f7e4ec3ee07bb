"""Plain plots of lessons, where no record has a view of its own: pictures side by side, bars, lines with bands, and
numbers in a coloured table.

    panels({"photograph": photo, "overview": small}, {"photograph": [box]})       # a Picture, with its alt text
    bars({"right": {"small": 0.9, "large": 0.95}}, level=0.1)
    lines({"cold start": {1: 0.4, 8: 0.9}}, x="rollouts", y="at least one is right")
    panels({"raw": heat, "relative": other}, truth=dict.fromkeys(("raw", "relative"), region), photo=photo)
    cells({"mass": table}, rows=("layer 0", "layer 1"), columns=("head 0", "head 1"))

What is drawn is told in the alt text, value by value. Simplified: at most eight series, shares from 0 to 1 in `bars`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..core.geometry import Box
from ..explain.explanation import HeatMap
from .explanation import spotlight
from .palette import OKABE_ITO
from .picture import Picture
from .text import drawable, wrap

COLOURS = [OKABE_ITO[name] for name in ("sky blue", "orange", "bluish green", "vermillion", "blue", "reddish purple")]
COLOURS += ["#999999", "black"]
HATCHES, DASHES, MARKERS = ("", "//", "..", "xx"), ("-", "--", ":", "-."), "os^Dv*Px"
Interval = tuple[float, float, float]  # value, low, high


LIFT = 0.6  # exponent: 20 of 255 becomes 55, 200 becomes 220


def lifted(photo: Image.Image) -> Image.Image:
    """The photograph with its dark parts brightened, for a spotlight to lie on: black on black shows nothing."""
    return photo.convert("RGB").point([round(255 * (value / 255) ** LIFT) for value in range(256)] * 3)


def panels(
    images: Mapping[str, Image.Image | HeatMap],
    boxes: Mapping[str, Sequence[Box]] | None = None,
    truth: Mapping[str, Box] | None = None,
    grid: Mapping[str, int] | None = None,
    about: str = "",
    photo: Image.Image | None = None,
) -> Picture:
    """Pictures side by side, each under its title; a map lies as a spotlight on the photograph, brightened.

    Parameters
    ----------
    images : by title
    boxes : by title, in pixels of that picture: thick and blue
    truth : by title, a true region: thin and white
    grid : by title, pixels between the lines of a grid
    about : what else there is to say of them, first words of the alt text
    photo : the photograph that maps lie on
    """
    under = {title: photo if isinstance(one, HeatMap) else one for title, one in images.items()}
    shown = {title: one for title, one in under.items() if one is not None}
    widths = [np.clip(i.width / i.height, 0.4, 2.5) for i in shown.values()]
    inches = min(10.0, 4.2 * sum(widths))
    tall = min(4.2 if len(shown) < 3 else 3.2, inches / sum(widths) + 0.5)
    figure = Figure(figsize=(inches, tall), layout="constrained")
    told = [about] if about else []
    row = figure.subplots(1, len(shown), squeeze=False, width_ratios=widths)[0]
    for axes, (title, image) in zip(row, shown.items(), strict=True):
        below = lifted(image) if isinstance(images[title], HeatMap) else image
        axes.imshow(below, extent=(0, image.width, image.height, 0), interpolation="nearest")
        if isinstance(heat := images[title], HeatMap):
            x1, y1, x2, y2 = heat.box
            axes.imshow(spotlight(heat), extent=(x1, x2, y2, y1), interpolation="nearest")
        axes.set(xlim=(0, image.width), ylim=(image.height, 0))
        wide = inches * widths[list(shown).index(title)] / sum(widths)
        axes.set_title("\n".join(wrap(title, wide - 0.1, 9, 3)), fontsize=9)
        axes.set_axis_off()
        for at in range(0, max(image.size) + 1, grid[title]) if grid and title in grid else ():
            axes.axvline(at, color="white", linewidth=0.4)
            axes.axhline(at, color="white", linewidth=0.4)
        words = f"{title}: {image.width} by {image.height} pixels"
        marked = [(box, OKABE_ITO["blue"], 2.0, "box") for box in (boxes or {}).get(title, ())]
        if truth and title in truth:
            marked.insert(0, (truth[title], "white", 1.2, "true region"))
        for (x1, y1, x2, y2), colour, width, name in marked:
            xs, ys = (x1, x2, x2, x1, x1), (y1, y1, y2, y2, y1)
            axes.plot(xs, ys, color="black" if colour == "white" else "white", linewidth=width + 2, alpha=0.8)
            axes.plot(xs, ys, color=colour, linewidth=width)
            words += f", {name} at {[round(v) for v in (x1, y1, x2, y2)]}"
        told.append(words + ".")
    return Picture(figure, " ".join(told))


def bars(
    series: Mapping[str, Mapping[str, float]], level: float | None = None, name: str = "chance", y: str = ""
) -> Picture:
    """Shares as bars: a group for each name of the values, a bar in it for each series.

    Parameters
    ----------
    series : by name, share from 0 to 1 by group; every series has the same groups
    level : where a dashed line stands
    name : of that line
    y : what numbers that are no shares mean, on an axis of their own
    """
    groups = list(next(iter(series.values())))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    wide = 0.84 / len(series)
    for i, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + wide * (i - (len(series) - 1) / 2)
        heights = [values[group] for group in groups]
        look: dict[str, Any] = {"color": COLOURS[i], "hatch": HATCHES[i % len(HATCHES)], "edgecolor": "white"}
        axes.bar(places, heights, 0.92 * wide, label=drawable(label), **look)
        for x, height in zip(places, heights, strict=True):
            if not y:
                axes.text(x, height + 0.02, f"{height:.0%}", ha="center", fontsize=8)
    form = ".3g" if y else ".0%"
    if level is not None:
        axes.axhline(level, color="black", linewidth=1, linestyle="--", label=f"{name}, {level:{form}}")
    axes.set(xticks=range(len(groups)), xlim=(-0.5, len(groups) - 0.5), ylabel=y)
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(groups) > 6 else {}
    room = 2.0 if turned else 8 / len(groups)  # inches: a turned label reaches beyond its own group
    axes.set_xticklabels(["\n".join(wrap(group, room, 9, 3)) for group in groups], **turned)
    axes.spines[["top", "right"]].set_visible(False)
    if not y:
        axes.set(ylim=(0, 1.12), yticks=[])
        axes.spines["left"].set_visible(False)
    if len(series) > 1 or level is not None:
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
    told = "; ".join(f"{one}: " + ", ".join(f"{g} {v[g]:{form}}" for g in groups) for one, v in series.items())
    of = f" of {y}" if y else ""
    return Picture(figure, f"Bars{of}. {told}." + ("" if level is None else f" Dashed: {name}, {level:{form}}."))


def lines(
    series: Mapping[str, Mapping[float, float | Interval]],
    x: str,
    y: str,
    level: float | None = None,
    name: str = "chance",
    words: Mapping[float, str] | None = None,
    log: int = 0,
) -> Picture:
    """Values over a number, a line for each series, with a band where intervals are given.

    Parameters
    ----------
    series : by name, y by x, or (y, low, high) by x
    x, y : what the axes show
    level, name : a dashed line, and what it is called
    words : what stands at an x in place of its number
    log : base of a logarithmic horizontal axis; 0: linear
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    told = []
    for i, (label, values) in enumerate(series.items()):
        xs = sorted(values)
        rows = [v if isinstance(v, tuple) else (v, v, v) for v in (values[at] for at in xs)]
        middle, low, high = zip(*rows, strict=True)
        look: dict[str, Any] = {"color": COLOURS[(i + 3) % len(COLOURS)]}
        mark = MARKERS[i] if len(xs) <= 40 else None
        axes.plot(xs, middle, DASHES[i % len(DASHES)], marker=mark, label=drawable(label), **look)
        axes.fill_between(xs, low, high, alpha=0.15, linewidth=0, **look)
        few = [*zip(xs, middle, strict=True)][:: max(1, len(xs) // 20)]
        told.append(f"{label}: " + ", ".join(f"{v:.3g} at {(words or {}).get(at, f'{at:g}')}" for at, v in few))
    if level is not None:
        axes.axhline(level, color="black", linewidth=1, linestyle="--", label=name)
    axes.set(xlabel=x, ylabel=y)
    if log:
        axes.set_xscale("log", base=log)
        axes.xaxis.set_major_formatter("{x:g}")  # the default writes TeX, which is drawn as it stands
        axes.minorticks_off()
    if words:
        axes.set_xticks(list(words), [drawable(word) for word in words.values()], rotation=45, ha="right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return Picture(figure, f"{y} over {x}. " + "; ".join(told) + ".")


def cells(
    tables: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str], times: bool = False
) -> Picture:
    """Numbers in a table, the darker the smaller; tables side by side.

    Parameters
    ----------
    tables : by title, (rows, columns) from 0 to 1; NaN is an empty cell
    times : the numbers are multiples, and 1 is in the middle of the scale
    """
    wide = max(3.4, 1.3 + 0.72 * len(columns))
    figure = Figure(figsize=(wide * len(tables), 0.9 + 0.32 * len(rows)), layout="constrained")
    said = []
    for axes, (title, given) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        values = np.asarray(given, dtype=float)
        shade = np.nan_to_num(np.clip(np.log2(np.maximum(values, 1e-9)) / 4 + 0.5, 0, 1) if times else values, nan=0.5)
        axes.imshow(shade, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            told = "" if np.isnan(value) else f"{value:.1f}" if times else f"{value:.2f}"
            ink = "white" if shade[row, column] < 0.6 else "black"
            axes.text(column, row, told, ha="center", va="center", color=ink, fontsize=9)
            said += [f"{rows[row]}, {columns[column]}: {told}"] if told else []
        axes.set_xticks(range(len(columns)), [drawable(name) for name in columns])
        axes.set_yticks(range(len(rows)), [drawable(name) for name in rows])
        axes.set_title("\n".join(wrap(title, wide - 0.6, 9, 2)), loc="left", fontsize=9)
        axes.spines[:].set_visible(False)
    return Picture(figure, f"Tables in colour, {'; '.join(tables)}. {'; '.join(said)}.")
