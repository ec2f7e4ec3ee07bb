"""The table of a sweep as CSV, one row a point, and its plots.

Columns, in this order: `key`, the parameters, `status`, `seconds`, `attempts`, `place`, `error`, and the results, so
the file alone says what is a parameter and what a result. Numbers stand as they are, lists and the like as JSON,
nothing as an empty cell. Text that a spreadsheet would take for a formula, or a reader for a number, gets an
apostrophe, which `read_table` takes away.

The plots are made from the table alone: lines with bands over the repeats. Only points that are done count, and results
that are numbers (a truth value counts as 0 or 1). What varies beside the parameters that are drawn, the seed above all,
is averaged over. Everything in the table is foreign: it is cleaned and bounded before it is written. Simplified: a band
goes from the lowest to the highest repeat; at most six lines in a plot; axes are linear.

    write_table(table, "runs/sweeps/lesson/table.csv")
    table = read_table("runs/sweeps/lesson/table.csv")
    table.parameters, table.results, table.rows[0]["accuracy"]
    sweep_lines(table, "accuracy", "group", "rate")
    draw_table("runs/sweeps/lesson/table.csv", "runs/sweeps/lesson")       # plots.html and plots/*.png, of every result
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.stats import Interval
from ..show.canvas import draw_band
from ..show.palette import BODY, DPI, HEADING, LIGHT, RUNS, SMALL, style
from ..show.picture import Picture, page, render
from ..show.text import drawable, one_line
from .point import FIXED

STATE = FIXED[1:]  # columns between the parameters and the results
MOST = 10_000  # rows, and so points of a sweep
LARGEST = 256 * 1024 * 1024  # bytes of a table that is read
_FORMULA = re.compile(r"['=+\-@\t\r]")  # what a spreadsheet takes for a formula; and the apostrophe itself
_NUMBER = re.compile(r"(-?\d{1,19})|-?\d{1,400}(\.\d{0,400})?([eE][+-]?\d{1,3})?")
_WORDS = {"": None, "true": True, "false": False}


@dataclass(frozen=True)
class Table:
    """Names of its columns by kind, and its rows."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # column to value; None where there is none

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, in order."""
        return ("key", *self.parameters, *STATE, *self.results)

    @property
    def done(self) -> list[dict[str, Any]]:
        """Rows of the points that are done."""
        return [row for row in self.rows if row["status"] == "ok"]

    def values(self, parameter: str) -> list[Any]:
        """The values that a parameter has at points that are done, in order."""
        return sorted({row[parameter] for row in self.done}, key=order)


def table_of(
    points: Mapping[str, Mapping[str, Any]], found: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> Table:
    """The table of all points.

    Parameters
    ----------
    points
        Parameters by key, in the order of the rows.
    found
        State and results by key, from `Store.row`.
    """
    parameters = tuple(dict.fromkeys(name for values in points.values() for name in values))
    results = tuple(dict.fromkeys(name for key in points for name in found[key][1]))
    empty = dict.fromkeys(Table(parameters, results, ()).columns)  # every row has every column, in their order
    rows = tuple({**empty, "key": key, **points[key], **found[key][0], **found[key][1]} for key in points)
    return Table(parameters, results, rows)


def write_table(table: Table, path: str | Path) -> Path:
    """Write a table as CSV; an `R3labError` where the file cannot be written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_cell(row.get(name)) for name in table.columns] for row in table.rows)
    return write_whole(path, text.getvalue().encode("utf-8"))


def _cell(value: Any) -> str:
    """A value as a cell of the CSV; an empty text is an empty cell, as None is."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) or _NUMBER.fullmatch(value) or value and value in _WORDS else value
    return json.dumps(value)


def read_table(path: str | Path) -> Table:
    """Read the CSV that `write_table` wrote, without the sweep's folder.

    Raises
    ------
    R3labError
        It cannot be read, or is not such a table.
    """
    path, name = Path(path), shown(str(path))
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a sweep's table is smaller.")
        lines = [line for line in csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True) if line]
    except OSError as error:
        raise R3labError(f"Cannot read the table {name}: {error.strerror}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise R3labError(f"{name} is not a table in CSV ({type(error).__name__}); name table.csv.") from None
    columns, rows = lines[0] if lines else [], [[_value(cell) for cell in line] for line in lines[1:]]
    at = columns.index("status") if "status" in columns else -1
    if columns[:1] != ["key"] or columns[at : at + len(STATE)] != list(STATE) or len(set(columns)) < len(columns):
        raise R3labError(f"{name} is no table of `r3lab sweep`: it wants the columns key, ..., {', '.join(STATE)}, ...")
    if len(rows) > MOST or any(len(row) != len(columns) for row in rows):
        raise R3labError(f"{name} has a row that does not fit its {len(columns)} columns, or more than {MOST:,} rows.")
    found = tuple(dict(zip(columns, row, strict=True)) for row in rows)
    return Table(tuple(columns[1:at]), tuple(columns[at + len(STATE) :]), found)


def _value(cell: str) -> Any:
    """A cell of the CSV as a value."""
    if cell in _WORDS:
        return _WORDS[cell]
    if match := _NUMBER.fullmatch(cell):
        number = int(cell) if match[1] else float(cell)
        return number if math.isfinite(number) else cell
    return cell.removeprefix("'")


# -- what is drawn ---------------------------------------------------------------------------------------------------

SEED = "seed"  # the parameter that only repeats
LINES, RESULTS = len(RUNS), 24  # at most: lines in a plot, results that are drawn


def means(table: Table, result: str, by: Sequence[str]) -> dict[tuple[Any, ...], Interval]:
    """The mean of a result at each combination of values of parameters, with the lowest and the highest repeat.

    Returns
    -------
    dict
        Values of `by` to their mean and band, in the order of the values; combinations without a number are not there.
    """
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in table.done:
        number = number_of(row[result])
        if number is not None:
            groups.setdefault(tuple(row[name] for name in by), []).append(number)
    keys = sorted(groups, key=lambda key: [order(value) for value in key])
    return {key: Interval(fmean(groups[key]), min(groups[key]), max(groups[key]), len(groups[key])) for key in keys}


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, bool | int | float) and math.isfinite(value) else None


def order(value: Any) -> tuple[int, float, str]:
    """Numbers first and by size, then text, nothing last."""
    number = number_of(value)
    if number is not None:
        return 0, number, ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def varied(table: Table) -> list[str]:
    """Parameters with several values, without the seed; those with most values first, numbers before text."""
    several = [name for name in table.parameters if name != SEED and len(table.values(name)) > 1]
    return sorted(several, key=lambda name: (not numeric(table.values(name)), -len(table.values(name))))


def numeric(values: Sequence[Any]) -> bool:
    """Whether all of them are numbers (truth values are names)."""
    return all(number_of(value) is not None and not isinstance(value, bool) for value in values)


def label(value: Any) -> str:
    """A value as it stands at an axis."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else one_line(value, 24)


def sweep_lines(table: Table, result: str, x: str, lines: str | None = None) -> Picture:
    """A result over a parameter, a line for each value of another, with a band over the repeats.

    Parameters
    ----------
    result
        Name of a result that is a number.
    x, lines
        Names of parameters; whatever else varies (the seed, say) is averaged over. `lines` has at most six values.
    """
    found = means(table, result, [x] if lines is None else [lines, x])
    names, values = list(dict.fromkeys(key[0] if lines else None for key in found)), table.values(x)
    at = {value: float(value if numeric(values) else i) for i, value in enumerate(values)}
    over = [name for name in table.parameters if name not in (x, lines) and len(table.values(name)) > 1]
    means_over = f"Mean over {', '.join(one_line(name, 30) for name in over[:4])}, with lowest to highest"
    note = means_over if over else "One point each, no repeats"
    told = []
    with style():
        figure = Figure(figsize=(4.6, 3.1), dpi=DPI, facecolor=LIGHT.paper, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(drawable(one_line(result, 48)), fontsize=HEADING)
        figure.supxlabel(drawable(one_line(note, 90)), fontsize=SMALL, color=LIGHT.muted, x=0.02, ha="left")
        for i, name in enumerate(names):
            points = {key[-1]: mean for key, mean in found.items() if lines is None or key[0] == name}
            middle, low, high = zip(*((m.value, m.low, m.high) for m in points.values()), strict=True)
            told_by: dict[str, Any] = {"marker": "o", "markersize": 3.5, "label": drawable(label(name))}
            places = [at[value] for value in points]
            if numeric(values):
                draw_band(axes, i, places, middle, low, high, **told_by)
            else:  # there is nothing between two names: points, each with the range of its repeats
                ends = [
                    [m - a for m, a in zip(middle, low, strict=True)],
                    [b - m for m, b in zip(middle, high, strict=True)],
                ]
                beside = [place + 0.12 * (i - (len(names) - 1) / 2) for place in places]
                axes.errorbar(beside, middle, ends, color=RUNS[i][0], linestyle="", capsize=2.5, **told_by)
            said = [f"{m.value:.3g} ({m.low:.3g} to {m.high:.3g}) at {label(value)}" for value, m in points.items()]
            shorter = said if len(said) <= 8 else [*said[:4], f"and {len(said) - 8} more", *said[-4:]]
            told.append(f"{f'{one_line(lines, 40)} {label(name)}: ' if lines else ''}{'; '.join(shorter)}.")
        axes.set_xticks(list(at.values()), [drawable(label(value)) for value in at] if len(at) <= 12 else None)
        if not numeric(values):
            axes.set_xlim(-0.5, len(at) - 0.5)
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if min(m.low for m in found.values()) < 0 else 0.0)
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
    drawn = "Lines" if numeric(values) else "Points"
    return Picture(figure, f"{drawn} of {one_line(result, 60)} over {one_line(x, 40)}. {' '.join(told)} {note}.")


def draw_table(path: str | Path, folder: str | Path) -> tuple[Path | None, str]:
    """Draw every result of a table: `plots/*.png` with their alt text, and `plots.html` that opens from disk.

    Parameters
    ----------
    path
        The table in CSV; nothing else of the sweep is read.
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
    several = varied(table)
    results = [name for name in table.results if any(number_of(row[name]) is not None for row in table.done)]
    if not several or not results:
        return None, f"no plots: {'no result is a number' if several else 'only the seed varies'}"
    lines = next((name for name in several[1:] if len(table.values(name)) <= LINES), None)
    sections = []
    for i, result in enumerate(results[:RESULTS]):
        stem = f"{i:02d}-{re.sub(r'[^A-Za-z0-9_]', '_', result)[:40]}"
        drawn = sweep_lines(table, result, several[0], lines)
        drawn.save(folder / "plots" / f"{stem}.png")
        sections.append((result, "", [drawn]))
    body = render("pictures.html", title=Path(path).parent.resolve().name, sections=sections)
    target = write_whole(folder / "plots.html", page("Plots of a sweep", body).encode("utf-8"))
    left = len(results) - RESULTS
    return target, f"{left} results were not drawn" if left > 0 else ""
