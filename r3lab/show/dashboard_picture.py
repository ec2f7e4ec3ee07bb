"""The dashboard as a picture that does not move: for pages that run no code, for a paper, for a run in progress.

All charts are drawn into one set of axes in inches, which takes a third of the time that axes a chart would: a picture
of 26 charts and 20 runs comes within a second. Simplified: of more than 12 groups the legend names the first ones.

    picture(dashboard_figure(board), dashboard_alt(board))
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..train import ratio_bins
from .canvas import Canvas
from .dashboard_board import Board, limits, line_style, told
from .dashboard_panels import Panel
from .lettering import height, measure, one_line, wrap, write
from .palette import BODY, HEADING, SMALL, Theme, style, theme

COLUMNS, NAMED = 4, 12  # charts in a row; groups that the legend names
WIDE, HIGH = 1.66, 0.92  # inches of a chart's field
LEFT, RIGHT, ABOVE, BELOW = 0.48, 0.54, 0.24, 0.22  # around it: numbers of the axis, last values, title, steps
MARGIN = 0.14
ENDS = 3  # groups whose last values are written


def dashboard_figure(board: Board, dark: bool = False) -> Figure:
    """Draw a board."""
    chosen = theme(dark)
    columns = min(COLUMNS, max(2, len(board.panels)))
    rows = -(-len(board.panels) // columns)
    width = columns * (LEFT + WIDE + RIGHT) + MARGIN
    note = wrap(board.explained(), width - 2 * MARGIN, SMALL, 4)
    legend = _places(board, width)
    top = MARGIN + (legend[-1][1] + height(1, BODY) if legend else 0.0) + 0.04
    first = top + height(len(note), SMALL) + 0.1
    with style(chosen):
        canvas = Canvas(width, first + rows * (ABOVE + HIGH + BELOW) + MARGIN, chosen)
        axes = canvas.axes(0, 0, canvas.width, canvas.height, (0, 0, canvas.width, canvas.height), "dashboard")
        for x, y, number, words in legend:
            _legend(axes, x, MARGIN + y, number, words, chosen)
        canvas.block(MARGIN, top, note, SMALL, chosen.muted)
        for i, panel in enumerate(board.panels):
            row, column = divmod(i, columns)
            x = MARGIN + column * (LEFT + WIDE + RIGHT) + LEFT - 0.1
            y = first + row * (ABOVE + HIGH + BELOW) + ABOVE
            if panel.bins:
                _bins(axes, board, panel, x, y, chosen)
            else:
                _chart(axes, board, panel, x, y, chosen, lowest=i + columns >= len(board.panels))
    return canvas.figure


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
        wide = 0.34 + measure(word, BODY) + 0.28
        if x > MARGIN and x + wide > width - MARGIN:
            x, y = MARGIN, y + height(1, BODY) + 0.04
        found.append((x, y, number if number < len(words) else -1, word))
        x += wide
    return found


def _legend(axes: Axes, x: float, y: float, number: int, words: str, chosen: Theme) -> None:
    if number >= 0:
        colour, dashes = line_style(number)
        middle = y + height(1, BODY) / 2
        axes.plot([x, x + 0.28], [middle, middle], color=colour, linewidth=1.9, linestyle=_dash(dashes))
    write(axes, x + (0.34 if number >= 0 else 0), y, words, BODY, chosen.ink)


def _dash(dashes: tuple[float, ...] | None) -> tuple[float, tuple[float, ...] | None]:
    return (0, dashes)


# -- charts ----------------------------------------------------------------------------------------------------------


def _chart(axes: Axes, board: Board, panel: Panel, x: float, y: float, chosen: Theme, lowest: bool) -> None:
    """A measure over the steps, its field's upper left corner at (x, y); the lowest of a column has the steps below."""
    low, high = limits(board, panel)
    first, last = _span(board)

    def place(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        across = x + WIDE * (steps - first) / (last - first)
        return np.column_stack([across, y + HIGH * (high - values) / (high - low)])

    ticks = _ticks(low, high) if not panel.whole else [0.0, 0.5, 1.0]
    _frame(axes, panel, x, y, [(y + HIGH * (high - t) / (high - low), _short(t, panel, ticks)) for t in ticks], chosen)
    if lowest:
        for at, words in ((0.0, f"{first:g}"), (0.5, "step"), (1.0, f"{last:g}")):
            write(axes, x + WIDE * at, y + HIGH + 0.05, words, SMALL, chosen.muted, ha="center")
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
        styles.append((colour, _dash(dashes)))
        fine = np.isfinite(one.low)
        if fine.any():
            edge = [place(one.steps[fine], line[fine]) for line in (one.low, one.high)]
            bands.append((np.concatenate([edge[0], edge[1][::-1]]), colour))
        if np.isfinite(one.mean).sum() <= 12:
            dots.append((place(one.steps, one.mean), colour))
        if math.isfinite(one.ends[1]):
            at = y + HIGH * (high - min(max(one.ends[1], low), high)) / (high - low)
            ends.append((at, told(panel, one.ends[1]), colour))
    if not bold:
        write(axes, x + WIDE / 2, y + HIGH / 2, "no value", BODY, chosen.muted, ha="center", va="center")
        return
    clear = 0.36 if len(board.groups) < 3 else 0.24
    field = Rectangle((x - 0.02, y - 0.02), WIDE + 0.04, HIGH + 0.04, transform=axes.transData)
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
    over = max(0.0, at[-1] - (top + HIGH)) if at else 0.0
    for y, (_, words, colour) in zip(at, sorted(ends), strict=True):
        axes.plot([x, x + 0.06], [y - over] * 2, color=colour, linewidth=2.4, solid_capstyle="butt")
        write(axes, x + 0.09, y - over, words, SMALL, chosen.ink, True, va="center")


def _bins(axes: Axes, board: Board, panel: Panel, x: float, y: float, chosen: Theme) -> None:
    """Shares of tokens in bins of the log ratio; the vertical scale is logarithmic, an empty bin has no point."""
    found = {n: p for n, name in enumerate(board.groups) if (p := board.profile(name)) is not None}
    least = min(float(p[p > 0].min()) for p in found.values())
    low = math.floor(math.log10(least) - 0.1)
    ticks = [(y + HIGH * t / low, f"{100 * 10.0**t:g} %") for t in range(low, 1, max(1, -low // 3))]
    _frame(axes, panel, x, y, ticks, chosen)
    places = x + WIDE * (np.arange(ratio_bins.BINS) + 0.5) / ratio_bins.BINS
    for at, words in ((0.5, f"< {ratio_bins.EDGES[0]:g}"), (6.5, "0"), (12.5, f"> {ratio_bins.EDGES[-1]:g}")):
        write(axes, x + WIDE * at / 13, y + HIGH + 0.05, words, SMALL, chosen.muted, ha="center")
    for number, shares in found.items():
        colour, dashes = line_style(number)
        with np.errstate(divide="ignore"):
            points = np.where(shares > 0, y + HIGH * np.log10(shares) / low, np.nan)
        axes.plot(
            places, points, color=colour, linewidth=1.4, linestyle=_dash(dashes), marker="o", markersize=2.4,
            gid=f"bins-{number}",
        )  # fmt: skip


def _frame(axes: Axes, panel: Panel, x: float, y: float, ticks: list[tuple[float, str]], chosen: Theme) -> None:
    """Title, grid and numbers of a chart."""
    title = wrap(panel.title, WIDE + LEFT + RIGHT - 0.14, HEADING - 0.6, 1, bold=True)
    write(axes, x - LEFT + 0.18, y - ABOVE + 0.02, "".join(title), HEADING - 0.6, chosen.ink, True)
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


def dashboard_alt(board: Board) -> str:
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
            middle = [told(panel, float(one[ratio_bins.BINS // 2])) for one in shares if one is not None]
            said.append(f"{panel.title}: {', '.join(middle[:4])} of the tokens within {ratio_bins.EDGES[6]:g} of zero.")
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
