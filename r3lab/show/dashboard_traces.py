"""The lines of a panel as Plotly reads them, in plain data: for the figure of a notebook and for the page.

What a trace is called and what it says under the pointer holds foreign text that Plotly would read as markup: it is
made plain here. Each trace carries the number of its group in `meta`, by which a legend switches it. Simplified: of
more than six groups the pointer shows the smoothed value alone; numbers have four figures.

    traces(board, panel), axes(board, panel)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from ..train import ratio_bins
from .dashboard_bands import Course
from .dashboard_board import Board, limits, line_style
from .dashboard_panels import Panel
from .player_traces import plain

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
                "x": list(range(ratio_bins.BINS)),
                "y": [_number(v) if v > 0 else None for v in shares],
                "text": [ratio_bins.label(i) for i in range(ratio_bins.BINS)],
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
        edges = [f"&lt; {ratio_bins.EDGES[0]:g}", "0", f"&gt; {ratio_bins.EDGES[-1]:g}"]
        places = [0, ratio_bins.BINS // 2, ratio_bins.BINS - 1]
        across: dict[str, Any] = {"tickvals": places, "ticktext": edges, "range": [-0.5, ratio_bins.BINS - 0.5]}
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
