"""The training dashboard: what a run of R-GRPO, or many, did over its steps. From logs; it needs no model.

Reward and its components, looks, answers, ratios, clipping, lengths, time: a chart a measure, runs over each other,
seeds of a setting as mean and band. In a notebook it is a Plotly figure, with a picture beside it for pages that run no
code; `save` writes a page, or the picture. While a run goes on: `dashboard_live`. Simplified: one horizontal axis, the
step.

    dashboard("runs/rgrpo")                                                  # last line of a cell
    dashboard({"paper": ["runs/a", "runs/b"], "grounded": ["runs/c"]}, smooth=10).save("dashboard.html")
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..train import log as lr
from .canvas import Canvas
from .curves import _kernel
from .dashboard_data import (
    AUTO,
    LOG,
    Board,
    Course,
    Log,
    Panel,
    Runs,
    board_of,
    limits,
    line_style,
    made,
    read_log_file,
    told,
)
from .page import page
from .palette import BODY, DPI, HEADING, SMALL, Theme, style, theme
from .picture import FORMATS, Picture
from .player import plain
from .text import attribute, height, html_line, html_words, one_line, text_width, wrap, write

# The lines of a panel as Plotly reads them, in plain data: for the figure of a notebook and for the page.
#
# What a trace is called and what it says under the pointer holds foreign text that Plotly would read as markup: it is
# made plain here. Each trace carries the number of its group in `meta`, by which a legend switches it. Simplified: of
# more than six groups the pointer shows the smoothed value alone; numbers have four figures.
#
#     traces(board, panel), axes(board, panel)

BOLD, THIN = 2.2, 1.1  # pixels
UNIFIED = 8  # groups whose values stand in one label
SPOKEN = 6  # groups of which more than the smoothed value is told

Trace = dict[str, Any]


def traces(board: Board, panel: Panel) -> list[Trace]:
    """All lines of a panel, those that lie above others later."""
    if panel.bins:
        return _profiles(board, panel)
    faint: list[Trace] = []
    bold: list[Trace] = []
    for number, name in enumerate(board.groups):
        one, (colour, dashes) = board.course(name, panel.key), line_style(number)
        if not len(one.steps):
            continue
        thin = {
            "line": {"color": colour, "width": THIN},
            "opacity": 0.4 if len(board.groups[name]) == 1 else 0.28,
            **_silent(number),
        }
        if np.isfinite(one.low).any():
            faint.append(_band(one, colour, number))
        if board.faint:
            faint.append({**_line(one.steps, one.raw), **thin})
        faint += [{**_line(steps, values), **thin, "opacity": 0.7} for steps, values in one.tails]
        few = np.isfinite(one.mean).sum() <= 12
        bold.append(
            {
                **_line(one.steps, one.mean),
                "mode": "lines+markers" if few else "lines",
                "line": {"color": colour, "width": BOLD, "dash": _dash(dashes)},
                "name": plain(board.legend(name)),
                "meta": number,
                "showlegend": False,
                **_spoken(board, panel, name, one),
            }
        )
    return [*faint, *bold]


def _silent(number: int) -> Trace:
    return {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "meta": number}


def _line(steps: np.ndarray, values: np.ndarray) -> Trace:
    """Places of a line; where its steps are regular, their first and their distance alone."""
    found: Trace = {"type": "scatter", "y": _numbers(values)}
    between = np.diff(steps)
    if len(between) and (between == between[0]).all():
        return {**found, "x0": _number(steps[0]), "dx": _number(between[0])}
    return {**found, "x": _numbers(steps)}


def _band(one: Course, colour: str, number: int) -> Trace:
    """The band as outlines of its stretches."""
    xs: list[float | int | None] = []
    ys: list[float | int | None] = []
    fine = np.isfinite(one.low)
    for part in np.split(np.arange(len(fine)), np.flatnonzero(np.diff(fine)) + 1):
        if not fine[part[0]]:
            continue
        steps = one.steps[part]
        xs += [*_numbers(steps), *_numbers(steps[::-1]), None]
        ys += [*_numbers(one.low[part]), *_numbers(one.high[part][::-1]), None]
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return {
        "type": "scatter", "x": xs[:-1], "y": ys[:-1], "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.22)", "line": {"width": 0}, **_silent(number),
    }  # fmt: skip


def _spoken(board: Board, panel: Panel, name: str, one: Course) -> Trace:
    """What stands under the pointer: the name, the smoothed value, and the value as logged or the band."""
    how = ".1%" if panel.whole else ".3~p" if panel.share else ".4~g"
    said = f"{plain(board.legend(name))}: <b>%{{y:{how}}}</b>"
    if len(board.groups) > UNIFIED:
        said = f"step %{{x}}<br>{said}"
    more: Trace = {}
    if len(board.groups) <= SPOKEN and np.isfinite(one.low).any():
        more["customdata"] = [[_number(a), _number(b)] for a, b in zip(one.low, one.high, strict=True)]
        said += f" (%{{customdata[0]:{how}}} to %{{customdata[1]:{how}}}, {one.runs} runs)"
    elif len(board.groups) <= SPOKEN and board.smooth > 1:
        more["customdata"] = _numbers(one.raw)
        said += f" (as logged %{{customdata:{how}}})"
    return {**more, "hovertemplate": f"{said}<extra></extra>"}


def _profiles(board: Board, panel: Panel) -> list[Trace]:
    """Shares of the bins of the log ratio; an empty bin has no point."""
    found = []
    for number, name in enumerate(board.groups):
        shares = board.profile(name)
        if shares is None:
            continue
        colour, dashes = line_style(number)
        found.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(lr.LOG_RATIO_BINS)),
                "y": [_number(v) if v > 0 else None for v in shares],
                "text": [lr.log_ratio_label(i) for i in range(lr.LOG_RATIO_BINS)],
                "line": {"color": colour, "width": BOLD, "dash": _dash(dashes)},
                "name": plain(board.legend(name)),
                "meta": number,
                "showlegend": False,
                "hovertemplate": f"{plain(board.legend(name))}: <b>%{{y:.3~p}}</b> of the tokens, log ratio "
                "%{text}<extra></extra>",
            }
        )
    return found


def axes(board: Board, panel: Panel) -> dict[str, dict[str, Any]]:
    """Both axes of a panel, without colours."""
    if panel.bins:
        edges = [f"&lt; {lr.LOG_RATIO_EDGES[0]:g}", "0", f"&gt; {lr.LOG_RATIO_EDGES[-1]:g}"]
        places = [0, lr.LOG_RATIO_BINS // 2, lr.LOG_RATIO_BINS - 1]
        across: dict[str, Any] = {
            "tickvals": places,
            "ticktext": edges,
            "range": [-0.5, lr.LOG_RATIO_BINS - 0.5],
        }
        return {"xaxis": across, "yaxis": {"type": "log", "tickformat": "~p", "nticks": 5}}
    low, high = limits(board, panel)
    upright: dict[str, Any] = {"range": [_number(low), _number(high)], "nticks": 5, "exponentformat": "e"}
    if panel.share:
        upright["tickformat"] = "~p"
    if panel.whole:
        upright |= {"tickvals": [0, 0.5, 1]}
    return {"xaxis": {"title": {"text": "step", "standoff": 4}, "nticks": 5}, "yaxis": upright}


def hovermode(board: Board) -> str:
    """One label for all lines at a step, as long as they are few."""
    return "x unified" if len(board.groups) <= UNIFIED else "closest"


def _dash(dashes: tuple[float, ...] | None) -> str:
    return "solid" if dashes is None else ",".join(f"{max(1.0, BOLD * part):.3g}px" for part in dashes)


def _number(value: float) -> float | int | None:
    """Four figures, whole where that is the same; None for a gap."""
    if not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1e12:
        return int(value)
    return float(f"{value:.4g}")


def _numbers(values: np.ndarray) -> list[float | int | None]:
    return [_number(float(v)) for v in values]


# The dashboard as a picture that does not move: for pages that run no code, for a paper, for a run in progress.
#
# All charts are drawn into one set of axes in inches, which takes a third of the time that axes a chart would: a
# picture
# of 26 charts and 20 runs comes within a second. Simplified: of more than 12 groups the legend names the first ones.
#
#     dashboard(runs).picture

DASHBOARD_PICTURE_COLUMNS, NAMED = 4, 12  # charts in a row; groups that the legend names
WIDE, DASHBOARD_PICTURE_HIGH = 1.66, 0.92  # inches of a chart's field
LEFT, RIGHT, DASHBOARD_PICTURE_ABOVE, DASHBOARD_PICTURE_BELOW = (
    0.48,
    0.54,
    0.24,
    0.22,
)  # around it: numbers of the axis, last values, title, steps
MARGIN = 0.14
ENDS = 3  # groups whose last values are written


def _drawn(board: Board, dark: bool, dpi: int) -> Picture:
    """A board as a picture."""
    chosen = theme(dark)
    columns = min(DASHBOARD_PICTURE_COLUMNS, max(2, len(board.panels)))
    rows = -(-len(board.panels) // columns)
    width = columns * (LEFT + WIDE + RIGHT) + MARGIN
    note = wrap(board.explained(), width - 2 * MARGIN, SMALL, 4)
    legend = _places(board, width)
    top = MARGIN + (legend[-1][1] + height(1, BODY) if legend else 0.0) + 0.04
    first = top + height(len(note), SMALL) + 0.1
    with style(chosen):
        canvas = Canvas(
            width,
            first + rows * (DASHBOARD_PICTURE_ABOVE + DASHBOARD_PICTURE_HIGH + DASHBOARD_PICTURE_BELOW) + MARGIN,
            chosen,
        )
        axes = canvas.axes(0, 0, canvas.width, canvas.height, (0, 0, canvas.width, canvas.height), "dashboard")
        for x, y, number, words in legend:
            _dashboard_picture_legend(axes, x, MARGIN + y, number, words, chosen)
        canvas.block(MARGIN, top, note, SMALL, chosen.muted)
        for i, panel in enumerate(board.panels):
            row, column = divmod(i, columns)
            x = MARGIN + column * (LEFT + WIDE + RIGHT) + LEFT - 0.1
            y = (
                first
                + row * (DASHBOARD_PICTURE_ABOVE + DASHBOARD_PICTURE_HIGH + DASHBOARD_PICTURE_BELOW)
                + DASHBOARD_PICTURE_ABOVE
            )
            if panel.bins:
                _bins(axes, board, panel, x, y, chosen)
            else:
                _chart(axes, board, panel, x, y, chosen, lowest=i + columns >= len(board.panels))
    return Picture(canvas.figure, _dashboard_alt(board), dpi)


# -- legend ----------------------------------------------------------------------------------------------------------


def _places(board: Board, width: float) -> list[tuple[float, float, int, str]]:
    """Where each group is named: x, y below the margin, its number, words."""
    names = list(board.groups)
    if len(names) == 1 and len(board.groups[names[0]]) == 1 and names[0] == "run":
        return []
    words = [board.legend(name) for name in names[:NAMED]]
    more = len(names) - NAMED
    found, x, y = [], MARGIN, 0.0
    for number, word in enumerate([*words, *([f"and {more} more"] * (more > 0))]):
        wide = 0.34 + text_width(word, BODY) + 0.28
        if x > MARGIN and x + wide > width - MARGIN:
            x, y = MARGIN, y + height(1, BODY) + 0.04
        found.append((x, y, number if number < len(words) else -1, word))
        x += wide
    return found


def _dashboard_picture_legend(axes: Axes, x: float, y: float, number: int, words: str, chosen: Theme) -> None:
    if number >= 0:
        colour, dashes = line_style(number)
        middle = y + height(1, BODY) / 2
        axes.plot(
            [x, x + 0.28], [middle, middle], color=colour, linewidth=1.9, linestyle=_dashboard_picture_dash(dashes)
        )
    write(axes, x + (0.34 if number >= 0 else 0), y, words, BODY, chosen.ink)


def _dashboard_picture_dash(dashes: tuple[float, ...] | None) -> tuple[float, tuple[float, ...] | None]:
    return (0, dashes)


# -- charts ----------------------------------------------------------------------------------------------------------


def _chart(axes: Axes, board: Board, panel: Panel, x: float, y: float, chosen: Theme, lowest: bool) -> None:
    """A measure over the steps, its field's upper left corner at (x, y); the lowest of a column has the steps below."""
    low, high = limits(board, panel)
    first, last = _span(board)

    def place(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        across = x + WIDE * (steps - first) / (last - first)
        return np.column_stack([across, y + DASHBOARD_PICTURE_HIGH * (high - values) / (high - low)])

    ticks = _ticks(low, high) if not panel.whole else [0.0, 0.5, 1.0]
    _frame(
        axes,
        panel,
        x,
        y,
        [(y + DASHBOARD_PICTURE_HIGH * (high - t) / (high - low), _short(t, panel, ticks)) for t in ticks],
        chosen,
    )
    if lowest:
        for at, words in ((0.0, f"{first:g}"), (0.5, "step"), (1.0, f"{last:g}")):
            write(axes, x + WIDE * at, y + DASHBOARD_PICTURE_HIGH + 0.05, words, SMALL, chosen.muted, ha="center")
    faint: list[tuple[np.ndarray, str, float]] = []
    bold: list[np.ndarray] = []
    bands: list[tuple[np.ndarray, str]] = []
    dots: list[tuple[np.ndarray, str]] = []
    styles: list[tuple[str, Any]] = []
    ends: list[tuple[float, str, str]] = []
    for number, name in enumerate(board.groups):
        one, (colour, dashes) = board.course(name, panel.key), line_style(number)
        if not len(one.steps):
            continue
        if board.faint:
            faint.append((place(one.steps, one.raw), colour, 0.6))
        faint += [(place(steps, values), colour, 1.0) for steps, values in one.tails]
        bold.append(place(one.steps, one.mean))
        styles.append((colour, _dashboard_picture_dash(dashes)))
        fine = np.isfinite(one.low)
        if fine.any():
            edge = [place(one.steps[fine], line[fine]) for line in (one.low, one.high)]
            bands.append((np.concatenate([edge[0], edge[1][::-1]]), colour))
        if np.isfinite(one.mean).sum() <= 12:
            dots.append((place(one.steps, one.mean), colour))
        if math.isfinite(one.ends[1]):
            at = y + DASHBOARD_PICTURE_HIGH * (high - min(max(one.ends[1], low), high)) / (high - low)
            ends.append((at, told(panel, one.ends[1]), colour))
    if not bold:
        write(
            axes, x + WIDE / 2, y + DASHBOARD_PICTURE_HIGH / 2, "no value", BODY, chosen.muted, ha="center", va="center"
        )
        return
    clear = 0.36 if len(board.groups) < 3 else 0.24
    field = Rectangle((x - 0.02, y - 0.02), WIDE + 0.04, DASHBOARD_PICTURE_HIGH + 0.04, transform=axes.transData)
    drawn = [
        PolyCollection([p for p, _ in bands], facecolors=[c for _, c in bands], alpha=0.26, linewidths=0),
        LineCollection([p for p, *_ in faint], colors=[c for _, c, _ in faint], alpha=clear,
                       linewidths=[w for *_, w in faint]),
        LineCollection(bold, colors=[c for c, _ in styles], linestyles=[d for _, d in styles],
                       linewidths=1.7 if len(bold) < 7 else 1.1, gid=f"mean-{one_line(panel.key, 60)}"),
    ]  # fmt: skip
    for one_kind in drawn:
        axes.add_collection(one_kind, autolim=False)
        one_kind.set_clip_path(field)
    for points, colour in dots:
        axes.plot(*points.T, color=colour, linestyle="none", marker="o", markersize=2.6, clip_path=field)
    _ends(axes, ends, x + WIDE + 0.05, y, chosen)


def _ends(axes: Axes, ends: list[tuple[float, str, str]], x: float, top: float, chosen: Theme) -> None:
    """Last values beside the lines' ends, pushed apart where they would touch."""
    if len(ends) > ENDS:
        return
    least = height(1, SMALL) * 0.95
    at = [y for y, *_ in sorted(ends)]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + least)
    over = max(0.0, at[-1] - (top + DASHBOARD_PICTURE_HIGH)) if at else 0.0
    for y, (_, words, colour) in zip(at, sorted(ends), strict=True):
        axes.plot([x, x + 0.06], [y - over] * 2, color=colour, linewidth=2.4, solid_capstyle="butt")
        write(axes, x + 0.09, y - over, words, SMALL, chosen.ink, True, va="center")


def _bins(axes: Axes, board: Board, panel: Panel, x: float, y: float, chosen: Theme) -> None:
    """Shares of tokens in bins of the log ratio; the vertical scale is logarithmic, an empty bin has no point."""
    found = {n: p for n, name in enumerate(board.groups) if (p := board.profile(name)) is not None}
    least = min(float(p[p > 0].min()) for p in found.values())
    low = math.floor(math.log10(least) - 0.1)
    ticks = [(y + DASHBOARD_PICTURE_HIGH * t / low, f"{100 * 10.0**t:g} %") for t in range(low, 1, max(1, -low // 3))]
    _frame(axes, panel, x, y, ticks, chosen)
    places = x + WIDE * (np.arange(lr.LOG_RATIO_BINS) + 0.5) / lr.LOG_RATIO_BINS
    for at, words in (
        (0.5, f"< {lr.LOG_RATIO_EDGES[0]:g}"),
        (6.5, "0"),
        (12.5, f"> {lr.LOG_RATIO_EDGES[-1]:g}"),
    ):
        write(axes, x + WIDE * at / 13, y + DASHBOARD_PICTURE_HIGH + 0.05, words, SMALL, chosen.muted, ha="center")
    for number, shares in found.items():
        colour, dashes = line_style(number)
        with np.errstate(divide="ignore"):
            points = np.where(shares > 0, y + DASHBOARD_PICTURE_HIGH * np.log10(shares) / low, np.nan)
        axes.plot(
            places, points, color=colour, linewidth=1.4,
            linestyle=_dashboard_picture_dash(dashes), marker="o", markersize=2.4,
            gid=f"bins-{number}",
        )  # fmt: skip


def _frame(axes: Axes, panel: Panel, x: float, y: float, ticks: list[tuple[float, str]], chosen: Theme) -> None:
    """Title, grid and numbers of a chart."""
    title = wrap(panel.title, WIDE + LEFT + RIGHT - 0.14, HEADING - 0.6, 1, bold=True)
    write(axes, x - LEFT + 0.18, y - DASHBOARD_PICTURE_ABOVE + 0.02, "".join(title), HEADING - 0.6, chosen.ink, True)
    lines = [[(x, at), (x + WIDE, at)] for at, _ in ticks]
    axes.add_collection(LineCollection(lines, colors=chosen.faint, linewidths=0.6, zorder=0.5), autolim=False)
    for at, words in ticks:
        write(axes, x - 0.05, at, words, SMALL, chosen.muted, ha="right", va="center")


def _span(board: Board) -> tuple[float, float]:
    """First and last step of all panels."""
    steps = [one.steps for logs in board.groups.values() for log in logs for one in log.series.values()]
    first, last = min(float(s[0]) for s in steps), max(float(s[-1]) for s in steps)
    return (first, last) if last > first else (first - 0.5, last + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    return [float(t) for t in MaxNLocator(3).tick_values(low, high) if low <= t <= high]


def _short(value: float, panel: Panel, ticks: list[float]) -> str:
    """A number of the axis."""
    value = 0.0 if abs(value) < 1e-12 else value
    if panel.share:
        return f"{100 * value:.3g} %"
    between = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else 0.0
    if between and max(map(abs, ticks)) > 1000 * between:  # numbers that differ only far behind the point
        return f"{value:.{max(0, 1 - math.floor(math.log10(between)))}f}"
    if value and max(map(abs, ticks)) < 1e-2:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


# -- words -----------------------------------------------------------------------------------------------------------


def _dashboard_alt(board: Board) -> str:
    """What the dashboard shows, in words: where every measure of every group begins and ends."""
    count = sum(len(logs) for logs in board.groups.values())
    names = [board.legend(name) for name in board.groups]
    who = f"{count} run{'' if count == 1 else 's'}"
    if len(names) > 1:
        who += f" in {len(names)} groups ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
    said = [f"Training of {who} over {board.last:g} steps: {len(board.panels)} charts. {board.explained()}"]
    for panel in board.panels:
        if panel.bins:
            shares = [board.profile(name) for name in board.groups]
            middle = [told(panel, float(one[lr.LOG_RATIO_BINS // 2])) for one in shares if one is not None]
            said.append(
                f"{panel.title}: {', '.join(middle[:4])} of the tokens within {lr.LOG_RATIO_EDGES[6]:g} of zero."
            )
            continue
        ends = {name: board.course(name, panel.key).ends for name in board.groups}
        ends = {name: pair for name, pair in ends.items() if math.isfinite(pair[1])}
        if len(ends) <= 3:
            parts = [
                (f"{one_line(name, 30)} " if len(names) > 1 else "") + f"from {told(panel, a)} to {told(panel, b)}"
                for name, (a, b) in ends.items()
            ]
            said.append(f"{panel.title}: {'; '.join(parts) or 'no value'}.")
        else:
            most, least = (pick(ends, key=lambda name: ends[name][1]) for pick in (max, min))
            high, low = (told(panel, ends[name][1]) for name in (most, least))
            apart = f"at the end from {low} ({one_line(least, 30)}) to {high} ({one_line(most, 30)})"
            said.append(f"{panel.title}: {f'{high} at the end' if high == low else apart}.")
    return " ".join(said)


# The dashboard as one Plotly figure: for a notebook with a kernel, and for who composes figures.
#
# Pointing at a line reads out step and values, the legend switches runs in every chart, dragging zooms. Simplified:
# four
# charts in a row, whatever the width; the page (`dashboard_page`) fits a phone.
#
#     plotly_figure(board).show()

COLUMNS, HIGH = 4, 190  # charts in a row; CSS pixels of a row
ACROSS, ABOVE, BELOW = 0.045, 0.2, 0.2  # between charts: share of the width; shares of a row


def figure_data(board: Board, dark: bool = False) -> dict[str, Any]:
    """The figure as plain data, as `application/vnd.plotly.v1+json` wants it."""
    chosen = theme(dark)
    columns = min(COLUMNS, max(1, len(board.panels)))
    rows = -(-len(board.panels) // columns)
    layout: dict[str, Any] = {
        "height": rows * HIGH + 90,
        "margin": {"l": 46, "r": 14, "t": 50, "b": 30},
        "paper_bgcolor": chosen.paper,
        "plot_bgcolor": chosen.paper,
        "font": {"color": chosen.ink, "family": "system-ui, 'DejaVu Sans', Arial, sans-serif", "size": 11},
        "hovermode": hovermode(board),
        "hoverlabel": {"bgcolor": chosen.panel, "font": {"color": chosen.ink, "size": 11}},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "yref": "container"},
        "showlegend": True,
        "annotations": [],
        "meta": {"alt": _dashboard_alt(board)},
    }
    data: list[dict[str, Any]] = _legend(board)
    for i, panel in enumerate(board.panels):
        row, column = divmod(i, columns)
        n = "" if i == 0 else str(i + 1)
        wide, high = (1 + ACROSS) / columns, 1 / rows
        left, bottom = column * wide, 1 - (row + 1 - BELOW) * high
        top = 1 - (row + ABOVE) * high
        held = axes(board, panel)
        grid = {"gridcolor": chosen.faint, "zeroline": False, "tickfont": {"color": chosen.muted, "size": 10}}
        held["xaxis"].pop("title", None)
        layout[f"xaxis{n}"] = {**held["xaxis"], **grid, "showgrid": False, "anchor": f"y{n}", "matches": None,
                               "domain": [left, left + wide - ACROSS]}  # fmt: skip
        layout[f"yaxis{n}"] = {**held["yaxis"], **grid, "anchor": f"x{n}", "domain": [bottom, top]}
        layout["annotations"].append(
            {"text": f"<b>{plain(one_line(panel.title, 60))}</b>", "x": left, "y": top, "xref": "paper",
             "yref": "paper", "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        )  # fmt: skip
        data += [
            {**trace, "xaxis": f"x{n}", "yaxis": f"y{n}", "legendgroup": str(trace["meta"])}
            for trace in traces(board, panel)
        ]
    return {"data": data, "layout": layout}


def _legend(board: Board) -> list[dict[str, Any]]:
    """Lines that stand in the legend and nowhere else."""
    found = []
    for number, name in enumerate(board.groups):
        colour, dashes = line_style(number)
        dash = "solid" if dashes is None else ",".join(f"{BOLD * part:.3g}px" for part in dashes)
        found.append(
            {
                "type": "scatter", "mode": "lines", "x": [None], "y": [None], "name": plain(board.legend(name)),
                "legendgroup": str(number), "showlegend": True, "hoverinfo": "skip",
                "line": {"color": colour, "width": BOLD, "dash": dash},
            }
        )  # fmt: skip
    return found


def plotly_figure(board: Board, dark: bool = False) -> go.Figure:
    """The figure; nothing of Plotly's global state has changed, the alt text is ``figure.layout.meta["alt"]``."""
    data = figure_data(board, dark)
    return go.Figure(data=data["data"], layout={"template": "none", **data["layout"]})


# The dashboard as a page that opens from disk: charts to point at, runs and panels to switch, fit for a phone.
#
# The still picture stands there first, and for who runs no scripts; then Plotly, which the page holds once, draws
# each
# chart as it comes into view. Runs and panels are checkboxes, so that a keyboard reaches them. Simplified: Plotly is
# 4.8 MB of every page, whatever it shows.
#
#     Path("dashboard.html").write_text(dashboard_page(board, picture), encoding="utf-8")

MOST_ROWS = 36  # groups in the table of numbers
STYLE = """
.r3-board .r3-live { display: none; }
.r3-board.r3-on .r3-live { display: block; }
.r3-board.r3-on fieldset.r3-live { display: flex; }
.r3-board.r3-on > .r3-still-here { display: none; }
.r3-board fieldset { border: 0; padding: 0; margin: 0 0 10px; display: flex; flex-wrap: wrap; gap: 2px 18px;
  align-items: center; }
.r3-board legend { float: left; padding: 0; margin-right: 4px; color: var(--muted); }
.r3-board label { display: inline-flex; gap: 6px; align-items: center; min-height: 32px; max-width: 100%; }
.r3-board label svg { width: 34px; height: 10px; flex: none; }
.r3-board button { background: var(--panel); color: var(--ink); border: 1px solid var(--muted); border-radius: 4px;
  padding: 3px 12px; min-height: 32px; cursor: pointer; }
.r3-board details { margin: 0 0 12px; }
.r3-board section { margin-top: 16px; }
.r3-charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(270px, 100%), 1fr)); gap: 12px 18px; }
.r3 .r3-charts figcaption { color: var(--ink); font-weight: 600; font-size: .9em; overflow-wrap: anywhere; }
.r3-plot { height: 190px; }
.r3-logs { padding-left: 1.2em; overflow-wrap: anywhere; }
@media print { .r3-board fieldset, .r3-choose { display: none !important; } }
"""


def dashboard_page(board: Board, still: Picture, title: str = "Training") -> str:
    """A page that needs no other file and no network.

    Parameters
    ----------
    still
        The same board as a picture with words.
    title
        Over the page; foreign text.
    """
    body = f"<h1>{html_words(title, 400)}</h1>{dashboard_markup(board, still)}{_placeholders()}"
    return page(title, body, STYLE, _script(), _plotly())


def dashboard_markup(board: Board, still: Picture) -> str:
    """What the page shows; foreign text is escaped."""
    charts = [{"traces": traces(board, panel), **axes(board, panel)} for panel in board.panels]
    data = json.dumps({"hovermode": hovermode(board), "charts": charts}, allow_nan=False, separators=(",", ":"))
    sections, number = "", 0
    for section, panels in groupby(board.panels, key=lambda panel: panel.section):
        figures = ""
        for panel in panels:
            figures += (
                f"<figure><figcaption>{html_line(panel.title, 80)}</figcaption>"
                f'<div class="r3-plot" data-chart="{number}" '
                f'role="img" aria-label="{attribute(_said(board, number), 400)}"></div></figure>'
            )
            number += 1
        sections += f'<section><h2>{section}</h2><div class="r3-charts">{figures}</div></section>'
    image = base64.b64encode(still.png).decode("ascii")
    return (
        f'<p class="r3-note">{html_words(board.explained(), 600)}</p>'
        f'<div class="r3-board">{_runs(board)}{_panels(board)}'
        f'<div class="r3-live">{sections}</div>'
        f'<figure class="r3-still-here"><img class="r3-still" alt="{attribute(still.alt, 8000)}" '
        f'src="data:image/png;base64,{image}" width="{still.width}"></figure>'
        f'<script type="application/json">{_json(data)}</script></div>'
        f"{_dashboard_page_numbers(board)}"
        f"<details><summary>In words</summary><p>{html_words(still.alt, 8000)}</p></details>"
        f'<h2>Logs</h2><ul class="r3-logs">{"".join(f"<li>{html_line(note, 600)}</li>" for note in board.notes())}</ul>'
    )


def _json(text: str) -> str:
    """JSON that no parser of HTML takes for the end of its element, or for a comment."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _runs(board: Board) -> str:
    """The legend: a checkbox a group."""
    labels = ""
    for number, name in enumerate(board.groups):
        colour, dashes = line_style(number)
        dash = f' stroke-dasharray="{" ".join(f"{BOLD * part:.3g}" for part in dashes)}"' if dashes else ""
        labels += (
            f'<label><input type="checkbox" data-group="{number}" checked><svg viewBox="0 0 34 10" aria-hidden="true">'
            f'<line x1="0" x2="34" y1="5" y2="5" stroke="{colour}" stroke-width="{BOLD}"{dash}/></svg>'
            f"<span>{html_line(board.legend(name), 80)}</span></label>"
        )
    buttons = ""
    if len(board.groups) > 2:
        buttons = '<button type="button" data-all="on">All</button><button type="button" data-all="off">None</button>'
    return f'<fieldset class="r3-runs r3-live"><legend>Runs</legend>{labels}{buttons}</fieldset>'


def _panels(board: Board) -> str:
    labels = "".join(
        f'<label><input type="checkbox" data-panel="{number}" checked><span>{html_line(panel.title, 80)}</span></label>'
        for number, panel in enumerate(board.panels)
    )
    return (
        '<details class="r3-choose r3-live"><summary>Choose panels</summary>'
        f"<fieldset><legend>Panels</legend>{labels}</fieldset></details>"
    )


def _said(board: Board, number: int) -> str:
    """A panel in words."""
    panel = board.panels[number]
    if panel.bins:
        return f"{panel.title}: share of the tokens in bins of the log ratio."
    parts = []
    for name in list(board.groups)[:4]:
        a, b = board.course(name, panel.key).ends
        if math.isfinite(b):
            who = f"{board.legend(name)} " if len(board.groups) > 1 else ""
            parts.append(f"{who}from {told(panel, a)} to {told(panel, b)}")
    return f"{panel.title}: {'; '.join(parts) or 'no value'}."


def _dashboard_page_numbers(board: Board) -> str:
    """The last smoothed value of each measure and group as a table."""
    head = "".join(f'<th scope="col" class="number">{html_line(board.legend(n), 60)}</th>' for n in board.groups)
    rows = ""
    for panel in board.panels:
        cells = ""
        for name in list(board.groups)[:MOST_ROWS]:
            if panel.bins:
                shares = board.profile(name)
                value = math.nan if shares is None else float(shares[lr.LOG_RATIO_BINS // 2])
            else:
                value = board.course(name, panel.key).ends[1]
            cells += f'<td class="number">{told(panel, value) if math.isfinite(value) else "–"}</td>'
        kind = " (bin around 0)" if panel.bins else ""
        rows += f'<tr><th scope="row">{html_line(panel.title, 80)}{kind}</th>{cells}</tr>'
    return (
        f'<details><summary>Numbers at the end</summary><div class="r3-scroll"><table><thead><tr><th scope="col">'
        f"Smoothed, at the end</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


@lru_cache(maxsize=1)
def _script() -> str:
    return (Path(__file__).parent / "dashboard.js").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Plotly's own code, as its Python package brings it."""
    from plotly.offline import get_plotlyjs

    code = str(get_plotlyjs())
    if "</script" in code.lower():
        raise RuntimeError("this version of Plotly cannot stand inside a page")
    return code


@lru_cache(maxsize=1)
def _placeholders() -> str:
    """Empty elements in place of the style sheets (of maps) that Plotly adds to a page which has none of their ids."""
    return "".join(
        f'<p id="{name}" hidden></p>' for name in re.findall(r'getElementById\("([0-9a-f]{64})"\)', _plotly())
    )


PLOTLY = "application/vnd.plotly.v1+json"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that a notebook shows; `dashboard` makes one.

    Attributes
    ----------
    board : what is drawn
    title : over the page; foreign text
    dark : of the picture and the figure; the page follows its reader
    dpi : of the picture
    """

    board: Board
    title: str = "Training"
    dark: bool = False
    dpi: int = DPI

    @property
    def alt(self) -> str:
        """What it shows, in words."""
        return _dashboard_alt(self.board)

    @property
    def figure(self) -> go.Figure:
        """As a Plotly figure, to restyle or compose."""
        return plotly_figure(self.board, self.dark)

    @cached_property
    def picture(self) -> Picture:
        """As a picture with words."""
        return _drawn(self.board, self.dark, self.dpi)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        light = self if not self.dark else Dashboard(self.board, self.title, dpi=self.dpi)
        return dashboard_page(self.board, light.picture, self.title)

    def save(self, path: str | Path) -> Path:
        """Write the page (.html) or the picture (.png, .svg, .pdf); the file appears whole or not at all.

        Raises
        ------
        R3labError
            If the ending is another one, or the file cannot be written.
        """
        kind = Path(path).suffix.lower().removeprefix(".")
        if kind == "html":
            return write_whole(path, self.to_page().encode("utf-8"))
        if kind not in FORMATS:
            wanted = ", .".join(["html", *FORMATS])
            raise R3labError(f"Cannot save a dashboard as {shown(str(path))}: end its name in .{wanted}.")
        return self.picture.save(path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        still = {kind: data for kind, data in self.picture._repr_mimebundle_().items() if kind != "image/png"}
        return {**still, PLOTLY: figure_data(self.board, self.dark)}  # beside a PNG, Plotly's renderer shows the PNG


def dashboard(
    runs: Runs,
    keys: Sequence[str] | None = None,
    smooth: int | None = None,
    band: str = "range",
    by: str = AUTO,
    title: str = "Training",
    dark: bool = False,
) -> Dashboard:
    """Draw one run, or lay many over each other.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``. A log is a file, the folder of a run, or the
        rows of a log.
    keys
        Measures to draw, in order; by default all that the logs have.
    smooth
        Steps of the running mean, which looks back only; by default a twelfth of all, 1 for none.
    band
        Over the runs of a group: "range", from lowest to highest, or "interval", Student's 95 % interval of the mean.
    by
        How runs without a label are grouped: "auto" (by the settings that differ, else by their names without a number
        at the end), "run" (not at all), or a setting's name.
    title
        Over the page.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, a measure is in no log, or an argument is not one of the above.
    """
    return Dashboard(board_of(runs, keys, smooth, band, by), title, dark)


# The dashboard of a run that is going on: as its `log`, or from the log file that another process writes.
#
# One figure is replaced in place, so that a notebook executed without a screen holds exactly one, the last. It is
# redrawn when there is something new, at most every two seconds, and never for more than a tenth of the time,
# whatever it
# costs to draw. What was not drawn when a cell ends is drawn then. Outside of Jupyter it only keeps the rows.
# Simplified:
# a drawing takes its time from the training that calls it.
#
#     train_rgrpo(policy, batches, settings, log=LiveDashboard(then=JsonlLog("runs/rgrpo/log.jsonl")))
#     LiveDashboard().follow("runs/rgrpo", seconds=600)               # `r3lab train rgrpo` runs in a terminal

EVERY, SHARE = 2.0, 0.1  # seconds between two drawings at least; of the time, for drawing
LIVE_DPI = 100  # a picture that is replaced again and again: two thirds of the usual


class Waiting:
    """What stands in the cell while there is nothing to draw."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __repr__(self) -> str:
        return self.why


class LiveDashboard:
    """A dashboard in place; see the module's docstring.

    Parameters
    ----------
    keys, smooth, dark
        As of `dashboard.dashboard`.
    then
        Called with each row too: the log that is written.
    every
        Seconds between two drawings, at least.

    Attributes
    ----------
    rows : all rows so far
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        smooth: int | None = None,
        then: Callable[[dict[str, Any]], None] | None = None,
        every: float = EVERY,
        dark: bool = False,
    ) -> None:
        if every < 0:
            raise R3labError(f"every must not be negative, got {shown(every)}; give seconds between two drawings.")
        self.keys, self.smooth, self.then, self.every, self.dark = keys, smooth, then, every, dark
        self.rows: list[dict[str, Any]] = []
        self._followed: Log | None = None
        self._new = False  # something is not drawn yet
        self._next = 0.0  # when it may be drawn
        self._id = ""
        self._waiting: Any = None  # the events of a shell that will call `flush`

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the next row of a log; draw if it is time."""
        self.rows.append(dict(row))
        if self.then is not None:
            self.then(self.rows[-1])
        self._new = True
        shell = _kernel()
        if shell is None:
            return
        if self._waiting is None:
            self._waiting = shell.events
            self._waiting.register("post_run_cell", self._at_end_of_cell)
        if time.monotonic() >= self._next:
            self._draw()

    def follow(self, path: str | Path, seconds: float | None = None, every: float | None = None) -> LiveDashboard:
        """Read a log that another process writes, until its run is done.

        Parameters
        ----------
        path
            A log or the folder of a run, which may not be there yet.
        seconds
            To follow it at most; by default until it has as many steps as its settings say. A log without settings
            has no end that could be known: give seconds, or interrupt the kernel.
        every
            Seconds between two looks at the file; by default those between two drawings.

        Raises
        ------
        R3labError
            If it is no log, or not there when the seconds are over.
        """
        begin, seen, shell = time.monotonic(), None, _kernel()
        pause = max(0.05, self.every if every is None else every)
        while True:
            now = _stamp(Path(path))
            if now is not None and now != seen:
                seen, self._new = now, True
                self._followed = read_log_file(path)
            if shell is not None and self._new and time.monotonic() >= self._next:
                self._draw()
            left = None if seconds is None else seconds - (time.monotonic() - begin)
            if self._done() or (left is not None and left <= 0):
                break
            time.sleep(pause if left is None else max(0.0, min(pause, left)))
        if self._followed is None:
            raise R3labError(
                f"There is no log at {shown(str(path))} after {seconds:g} s; name a log or a run's folder."
            )
        if shell is not None:
            self.flush()
        return self

    def _done(self) -> bool:
        """Whether the run that is followed has all of its steps."""
        steps = self._followed.settings.get("steps") if self._followed else None
        return isinstance(steps, int) and self._followed is not None and self._followed.last >= steps

    def dashboard(self) -> Dashboard:
        """The dashboard of what there is now.

        Raises
        ------
        R3labError
            If there is nothing to draw yet.
        """
        log = self._followed or made(self.rows, "run", "this run")
        return Dashboard(board_of(log, self.keys, self.smooth), dark=self.dark, dpi=LIVE_DPI)

    def flush(self) -> None:
        """Draw what was not drawn yet; the end of the cell does it as well."""
        if self._new:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display, update_display

        begin, self._new = time.monotonic(), False
        shown_now: Any
        try:
            shown_now = self.dashboard()
        except R3labError as error:  # a picture is no reason to end a training
            shown_now = Waiting(str(error))
        if self._id:
            update_display(shown_now, display_id=self._id)
        else:
            self._id = f"r3lab-dashboard-{uuid.uuid4().hex}"
            display(shown_now, display_id=self._id)
        end = time.monotonic()
        self._next = end + max(self.every, (end - begin) / SHARE)

    def _at_end_of_cell(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.unregister("post_run_cell", self._at_end_of_cell)
            self._waiting = None
        self.flush()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None while there is none."""
    try:
        found = (path / LOG if path.is_dir() else path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
