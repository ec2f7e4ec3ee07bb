"""Plots of a sweep from its table alone: lines with bands over the repeats, and a heat map over two parameters.

    table = read_table("runs/sweeps/lesson/table.csv")
    sweep_lines(table, "accuracy", "group", "rate")
    draw_table("runs/sweeps/lesson/table.csv", "runs/sweeps/lesson")       # plots.html and plots/*.png, of every result

Only points that are done count, and results that are numbers (a truth value counts as 0 or 1). What varies beside the
parameters that are drawn, the seed above all, is averaged over. Everything in the table is foreign: it is cleaned and
bounded before it is written. Simplified: a band over one repeat has no width; at most six lines in a plot, 24 rows and
columns in a map; axes are linear.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core.errors import R3labError, nearest, shown
from ..core.files import write_whole
from ..core.stats import Interval, mean_interval
from ..show.palette import BODY, DPI, HEADING, RUNS, SEQUENTIAL, SMALL, Theme, ink_on, style, theme
from ..show.picture import Picture, page
from ..show.text import attribute, drawable, html_line, one_line
from .table import Table, read_table

Band = Literal["range", "interval"]
SEED = "seed"  # the parameter that only repeats


LINES, SIDE, RESULTS = len(RUNS), 24, 24  # at most: lines in a plot, values on a side of a map, results that are drawn
WRITTEN = 10  # values on a side up to which a map has its numbers written in


def means(table: Table, result: str, by: Sequence[str], band: Band = "range") -> dict[tuple[Any, ...], Interval]:
    """The mean of a result at each combination of values.

    Parameters
    ----------
    table
        From `sweep.read_table`.
    result
        Name of a result.
    by
        Names of parameters.
    band
        "range" from the lowest to the highest repeat, "interval" the 95 % bootstrap interval of the mean.

    Returns
    -------
    dict
        Values of `by` to their mean and band, in the order of the values; combinations without a number are not there.

    Raises
    ------
    R3labError
        The table has no such result, or no such parameter.
    """
    for name, known, kind in [(result, table.results, "result"), *((n, table.parameters, "parameter") for n in by)]:
        if name not in known:
            have = ", ".join(one_line(k, 60) for k in known[:20]) or "none"
            raise R3labError(f"The table has no {kind} {shown(name)}.{nearest(str(name), known)} It has {have}.")
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in table.rows:
        number = number_of(row[result])
        if row["status"] == "ok" and number is not None:
            groups.setdefault(tuple(row[name] for name in by), []).append(number)
    return {key: _mean(groups[key], band) for key in sorted(groups, key=lambda key: [order(value) for value in key])}


def _mean(values: Sequence[float], band: Band) -> Interval:
    if band == "interval":
        return mean_interval(values)
    return Interval(sum(values) / len(values), min(values), max(values), len(values))


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


def order(value: Any) -> tuple[int, float, str]:
    """Numbers first and by size, then text, nothing last."""
    number = number_of(value)
    if number is not None:
        return 0, number, ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def values_of(table: Table, parameter: str) -> list[Any]:
    """The values that a parameter has at points that are done, in order."""
    return sorted({row[parameter] for row in table.rows if row["status"] == "ok"}, key=order)


def varied(table: Table) -> list[str]:
    """Parameters with several values, without the seed; those with most values first, numbers before text."""
    several = [name for name in table.parameters if name != SEED and len(values_of(table, name)) > 1]
    return sorted(several, key=lambda name: (not numeric(values_of(table, name)), -len(values_of(table, name))))


def numeric(values: Sequence[Any]) -> bool:
    """Whether all of them are numbers (truth values are names)."""
    return all(number_of(value) is not None and not isinstance(value, bool) for value in values)


def measured(table: Table) -> list[str]:
    """Results that are numbers at one point at least."""
    done = [row for row in table.rows if row["status"] == "ok"]
    return [name for name in table.results if any(number_of(row[name]) is not None for row in done)]


def averaged(table: Table, drawn: Sequence[str]) -> list[str]:
    """Parameters with several values that are not drawn: the means go over them."""
    return [name for name in table.parameters if name not in drawn and len(values_of(table, name)) > 1]


def label(value: Any, limit: int = 24) -> str:
    """A value as it stands at an axis."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else one_line(value, limit)


def sweep_lines(
    table: Table, result: str, x: str, lines: str | None = None, band: Band = "range", dark: bool = False
) -> Picture:
    """A result over a parameter, a line for each value of another, with a band over the repeats.

    Parameters
    ----------
    table
        From `sweep.read_table`.
    result
        Name of a result that is a number.
    x, lines
        Names of parameters; whatever else varies (the seed, say) is averaged over.
    band
        "range" from the lowest to the highest repeat, "interval" the 95 % bootstrap interval of the mean.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        The table has no such result or parameter, or `lines` has more than six values.
    """
    found = _series(table, result, x, lines, band)
    chosen = theme(dark)
    with style(chosen):
        figure, axes = _figure(chosen, 4.6, 3.1, result, _note(table, [x, *([lines] if lines else [])], band))
        at = {
            value: float(value) if numeric(values_of(table, x)) else float(i)
            for i, value in enumerate(values_of(table, x))
        }
        for i, (name, points) in enumerate(found.items()):
            colour, dashes = RUNS[i % LINES]
            xs = [at[value] for value in points]
            axes.fill_between(
                xs, [m.low for m in points.values()], [m.high for m in points.values()],
                color=colour, alpha=0.2, linewidth=0, gid=f"band-{i}",
            )  # fmt: skip
            axes.plot(
                xs, [m.value for m in points.values()], color=colour, linewidth=1.9, marker="o", markersize=3.5,
                linestyle=(0, dashes) if dashes else "solid", label=drawable(label(name)), gid=f"mean-{i}",
            )  # fmt: skip
        axes.set_xticks(list(at.values()), [drawable(label(value)) for value in at] if len(at) <= 12 else None)
        if len(at) > 12:
            axes.xaxis.set_major_locator(MaxNLocator(8))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y")
        axes.set_xlabel(drawable(one_line(x, 40)))
        if lines:
            axes.legend(
                title=drawable(one_line(lines, 30)), loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
                fontsize=BODY, title_fontsize=BODY, handlelength=2.6,
            )  # fmt: skip
    return Picture(figure, _lines_alt(table, result, x, lines, band))


def _lines_alt(table: Table, result: str, x: str, lines: str | None, band: Band) -> str:
    """What `sweep_lines` shows, in words."""
    parts = []
    for name, points in _series(table, result, x, lines, band).items():
        said = [f"{m.value:.3g} ({m.low:.3g} to {m.high:.3g}) at {label(value)}" for value, m in points.items()]
        shown = said if len(said) <= 8 else [*said[:4], f"and {len(said) - 8} more", *said[-4:]]
        parts.append(f"{f'{one_line(lines, 40)} {label(name)}: ' if lines else ''}{'; '.join(shown)}.")
    note = _note(table, [x, *([lines] if lines else [])], band)
    return f"Lines of {one_line(result, 60)} over {one_line(x, 40)}. {' '.join(parts)} {note}."


def sweep_heat(table: Table, result: str, x: str, y: str, dark: bool = False) -> Picture:
    """The mean of a result at each pair of values of two parameters, as a map with its numbers written in.

    Parameters
    ----------
    table, result
        As for `sweep_lines`.
    x, y
        Names of parameters.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        The table has no such result or parameter, or one has more than 24 values.
    """
    columns, rows, found = _cells(table, result, x, y)
    chosen = theme(dark)
    grid = np.full((len(rows), len(columns)), np.nan)
    for (a, b), mean in found.items():
        grid[rows.index(b), columns.index(a)] = mean.value
    width, high = 1.7 + 0.42 * max(len(columns), 5), 1.3 + 0.36 * max(len(rows), 3)
    scale = LinearSegmentedColormap.from_list("r3lab", SEQUENTIAL)
    with style(chosen):
        figure, axes = _figure(chosen, width, high, result, _note(table, [x, y], None), left=1.0)
        drawn = axes.imshow(grid, cmap=scale, aspect="auto", origin="lower")
        axes.set_xticks(range(len(columns)), [drawable(label(value, 10)) for value in columns])
        axes.set_yticks(range(len(rows)), [drawable(label(value, 12)) for value in rows])
        axes.set(xlabel=drawable(one_line(x, 40)), ylabel=drawable(one_line(y, 30)))
        axes.spines[:].set_visible(False)
        if max(grid.shape) <= WRITTEN:
            _numbers(axes, grid, drawn, chosen)
    return Picture(figure, _heat_alt(table, result, x, y))


def _heat_alt(table: Table, result: str, x: str, y: str) -> str:
    """What `sweep_heat` shows, in words."""
    columns, rows, found = _cells(table, result, x, y)
    named = {
        key: f"{m.value:.3g} at {one_line(x, 40)} {label(key[0])}, {one_line(y, 40)} {label(key[1])}"
        for key, m in found.items()
    }
    high, low = (pick(found, key=lambda key: found[key].value) for pick in (max, min))
    empty = len(columns) * len(rows) - len(found)
    without = f" {empty} of {len(columns) * len(rows)} cells are empty." if empty else ""
    return (
        f"Map of {one_line(result, 60)} over {one_line(x, 40)} ({len(columns)} values) and {one_line(y, 40)} "
        f"({len(rows)} values): highest {named[high]}; lowest {named[low]}.{without} {_note(table, [x, y], None)}."
    )


def draw_table(path: str | Path, folder: str | Path) -> tuple[Path | None, str]:
    """Draw every result of a table: `plots/*.png` with their alt text, and `plots.html` that opens from disk.

    Parameters
    ----------
    path
        The table, .csv or .parquet; nothing else of the sweep is read.
    folder
        Where they are written.

    Returns
    -------
    tuple
        The page, None where there was nothing to draw; and a remark on what was left out, or "".

    Raises
    ------
    R3labError
        The table cannot be read, or a file cannot be written.
    """
    table, folder = read_table(path), Path(folder)
    results, several = measured(table), varied(table)
    if not several or not results:
        lacks = "only the seed varies" if not several else "no result is a number"
        return None, f"no plots: {lacks}"
    x = several[0]
    lines = next((name for name in several[1:] if len(values_of(table, name)) <= LINES), None)
    pair = [name for name in several if len(values_of(table, name)) <= SIDE][:2]
    body = [f"<h1>{html_line(Path(path).parent.resolve().name)}</h1>"]
    for i, result in enumerate(results[:RESULTS]):
        name = f"{i:02d}-{re.sub(r'[^A-Za-z0-9_]', '_', result)[:40]}"
        drawn = [(f"{name}-lines.png", sweep_lines(table, result, x, lines))]
        if len(pair) == 2:
            a, b = pair
            drawn.append((f"{name}-map.png", sweep_heat(table, result, a, b)))
        body.append(f"<h2>{html_line(result)}</h2>")
        for file, shot in drawn:
            shot.save(folder / "plots" / file)
            body.append(
                f'<figure><img alt="{attribute(shot.alt)}" src="{shot.uri}" width="{shot.width}">'
                f"<figcaption>{html_line(shot.alt, 2000)}</figcaption></figure>"
            )
    target = folder / "plots.html"
    whole = page("Plots of a sweep", "\n".join(body), ".r3 img{max-width:100%;height:auto}")
    write_whole(target, whole.encode("utf-8"))
    left = len(results) - RESULTS
    return target, f"{left} results were not drawn" if left > 0 else ""


def _series(table: Table, result: str, x: str, lines: str | None, band: Band) -> dict[Any, dict[Any, Interval]]:
    """Means by value of `lines` (None where there are none), then by value of `x`."""
    by = [x] if lines is None else [lines, x]
    found: dict[Any, dict[Any, Interval]] = {}
    for key, mean in means(table, result, by, band).items():
        found.setdefault(key[0] if lines else None, {})[key[-1]] = mean
    if len(found) > LINES:
        raise R3labError(f"{lines} has {len(found)} values; a plot has at most {LINES} lines. Give another parameter.")
    if not found:
        raise R3labError(f"No point that is done has a number for {one_line(result, 60)}.")
    return found


def _cells(table: Table, result: str, x: str, y: str) -> tuple[list[Any], list[Any], dict[tuple[Any, ...], Interval]]:
    found = means(table, result, [x, y])
    columns, rows = values_of(table, x), values_of(table, y)
    if max(len(columns), len(rows)) > SIDE:
        raise R3labError(f"{x} has {len(columns)} values and {y} {len(rows)}; a map has at most {SIDE} on a side.")
    if not found:
        raise R3labError(f"No point that is done has a number for {one_line(result, 60)}.")
    return columns, rows, found


def _note(table: Table, drawn: Sequence[str], band: Band | None) -> str:
    """What the means go over, and what the band is."""
    over = averaged(table, drawn)
    if not over:
        return "One point each, no repeats"
    mean = f"Mean over {', '.join(one_line(name, 30) for name in over[:4])}"
    kinds = {"range": "lowest to highest", "interval": "95 % interval of the mean"}
    return f"{mean}; band: {kinds[band]}" if band else mean


def _figure(chosen: Theme, width: float, high: float, title: str, note: str, left: float = 0.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, high), dpi=DPI, facecolor=chosen.paper, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(drawable(one_line(title, 48)), fontsize=HEADING)
    figure.supxlabel(drawable(one_line(note, 90)), fontsize=SMALL, color=chosen.muted, x=0.02, ha="left")
    return figure, axes


def _numbers(axes: Axes, grid: np.ndarray, drawn: Any, chosen: Theme) -> None:
    for (row, column), value in np.ndenumerate(grid):
        known = number_of(float(value)) is not None
        ink = ink_on(to_hex(drawn.cmap(drawn.norm(value)))) if known else chosen.muted
        axes.text(column, row, f"{value:.3g}" if known else "–", ha="center", va="center", color=ink, fontsize=SMALL)
