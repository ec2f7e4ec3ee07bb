"""Plain plots of lessons, where no record has a view of its own: pictures side by side, bars, and lines with bands.

    panels({"photograph": photo, "overview": small}, {"photograph": [box]})       # a Picture, with its alt text
    bars({"right": {"small": 0.9, "large": 0.95}}, level=0.1)
    lines({"cold start": {1: 0.4, 8: 0.9}}, x="rollouts", y="at least one is right")

What is drawn is told in the alt text, value by value. Simplified: at most eight series, shares from 0 to 1 in `bars`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..core.geometry import Box
from .palette import OKABE_ITO
from .picture import Picture
from .text import drawable

COLOURS = [OKABE_ITO[name] for name in ("sky blue", "orange", "bluish green", "vermillion", "blue", "reddish purple")]
COLOURS += ["#999999", "black"]
HATCHES, DASHES, MARKERS = ("", "//", "..", "xx"), ("-", "--", ":", "-."), "os^Dv*Px"
Interval = tuple[float, float, float]  # value, low, high


def panels(
    images: Mapping[str, Image.Image],
    boxes: Mapping[str, Sequence[Box]] | None = None,
    truth: Mapping[str, Box] | None = None,
    grid: Mapping[str, int] | None = None,
    about: str = "",
) -> Picture:
    """Pictures side by side, each under its title.

    Parameters
    ----------
    images : by title
    boxes : by title, in pixels of that picture: thick and blue
    truth : by title, a true region: thin and white
    grid : by title, pixels between the lines of a grid
    about : what else there is to say of them, first words of the alt text
    """
    widths = [np.clip(i.width / i.height, 0.4, 2.5) for i in images.values()]
    figure = Figure(figsize=(min(10.0, 4.2 * sum(widths)), 4.2 if len(images) < 3 else 3.2), layout="constrained")
    told = [about] if about else []
    row = figure.subplots(1, len(images), squeeze=False, width_ratios=widths)[0]
    for axes, (title, image) in zip(row, images.items(), strict=True):
        axes.imshow(image, extent=(0, image.width, image.height, 0), interpolation="nearest")
        axes.set(xlim=(0, image.width), ylim=(image.height, 0))
        axes.set_title(drawable(title), fontsize=9, wrap=True)
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


def bars(series: Mapping[str, Mapping[str, float]], level: float | None = None, name: str = "chance") -> Picture:
    """Shares as bars: a group for each name of the values, a bar in it for each series.

    Parameters
    ----------
    series : by name, share from 0 to 1 by group; every series has the same groups
    level : where a dashed line stands
    name : of that line
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
            axes.text(x, height + 0.02, f"{height:.0%}", ha="center", fontsize=8)
    if level is not None:
        axes.axhline(level, color="black", linewidth=1, linestyle="--", label=f"{name}, {level:.0%}")
    axes.set(xticks=range(len(groups)), ylim=(0, 1.12), yticks=[], xlim=(-0.5, len(groups) - 0.5))
    axes.set_xticklabels([drawable(group) for group in groups])
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    told = "; ".join(f"{one}: " + ", ".join(f"{g} {v[g]:.0%}" for g in groups) for one, v in series.items())
    return Picture(figure, f"Bars. {told}." + ("" if level is None else f" Dashed: {name}, {level:.0%}."))


def lines(
    series: Mapping[str, Mapping[float, float | Interval]],
    x: str,
    y: str,
    level: float | None = None,
    name: str = "chance",
) -> Picture:
    """Values over a number, a line for each series, with a band where intervals are given.

    Parameters
    ----------
    series : by name, y by x, or (y, low, high) by x
    x, y : what the axes show
    level, name : a dashed line, and what it is called
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    told = []
    for i, (label, values) in enumerate(series.items()):
        xs = sorted(values)
        rows = [v if isinstance(v, tuple) else (v, v, v) for v in (values[at] for at in xs)]
        middle, low, high = zip(*rows, strict=True)
        look: dict[str, Any] = {"color": COLOURS[(i + 3) % len(COLOURS)]}
        axes.plot(xs, middle, DASHES[i % len(DASHES)], marker=MARKERS[i], label=drawable(label), **look)
        axes.fill_between(xs, low, high, alpha=0.15, linewidth=0, **look)
        told.append(f"{label}: " + ", ".join(f"{v:.3g} at {at:g}" for at, v in zip(xs, middle, strict=True)))
    if level is not None:
        axes.axhline(level, color="black", linewidth=1, linestyle="--", label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return Picture(figure, f"{y} over {x}. " + "; ".join(told) + ".")
