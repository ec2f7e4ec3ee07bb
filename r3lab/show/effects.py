"""What was measured, in tables and pictures: evaluations, and what leaving a part of the method out does.

    print(scores_text(table)); page = scores_page(table, "rgrpo on badges")      # a terminal; Markdown
    draw_effects(effects(result["rows"])); draw_grounding(result["grounding"])   # pictures of ablations.json
    draw_frames(cases, found, declared)                                          # of `r3lab frames`
    draw_when(result["rows"], result["curves"])                                    # of when.json
    spread([0.954, 0.968], percent=True)                                         # "96.1 % (95.4 to 96.8)"

Published numbers stand in a table of their own, marked as published: nobody measured them here. Foreign text (the name
of a policy) is escaped in the page and cleaned in the terminal. Simplified: differences are in points of one measure;
intervals of ablations are those of Student's t over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..core.errors import R3labError
from ..core.frames import Case, Found, Written
from ..core.stats import Effect, Interval, t_interval
from ..evaluate.benchmarks import get_benchmark
from ..evaluate.grades import EvaluationTable, published
from .canvas import draw_band, line_style
from .palette import BODY, LIGHT, OKABE_ITO, RUNS, SMALL, style
from .picture import Picture
from .text import escape, one_line
from .text import table as markdown_table

COLUMNS = {
    "exact": "exact answer",
    "exact_needed": "exact, look needed",
    "iou": "IoU of the deciding look",
    "look_rate_needed": "looks, needed",
    "look_rate_unneeded": "looks, not needed",
}

PRINTS = ("all", "small print", "large print")
VALUES = {  # measures of the value of looks (`evaluate.value`), in the order of their table
    "right_free": "right, as it chooses",
    "right_direct": "right, forced to answer directly",
    "right_look": "right, forced to look",
    "right_noise": "right, forced to look, crops of noise",
    "answered_free": "answered, as it chooses",
    "answered_direct": "answered, forced directly",
    "answered_look": "answered, forced to look",
    "looked_free": "looks, as it chooses",
    "looked_direct": "looks, forced directly",
    "looked_look": "looks, forced to look",
    "needless": "needless: looks where none helps",
    "missed": "missed: no look where one helps",
    "regret": "look regret",
    "regret_most": "look regret at most",
    "only_with_looks": "solved only with looks",
    "harmed": "harmed by looks",
    "gain": "gain of looks",
    "gain_of_noise": "gain of looks at noise",
    "kept_by_noise": "gain that noise keeps",
    "misread": "answer is not what was read",
}


def between(value: float, low: float, high: float, percent: bool = True, unit: str = " %", sign: str = "") -> str:
    """A value with its ends: `96.1 % (95.4 to 96.8)`; in per cent with one digit, else with two and no unit."""
    scale, digits, unit = (100, 1, unit) if percent else (1, 2, "")
    told, least, most = (f"{scale * number:{sign}.{digits}f}" for number in (value, low, high))
    return f"{told}{unit} ({least} to {most})"


def spread(values: Sequence[float], percent: bool) -> str:
    """Mean with the least and the most over seeds."""
    return between(fmean(values), min(values), max(values), percent)


# -- ablations --------------------------------------------------------------------------------------------------------

ROW, MARGIN, WIDE = 0.3, 0.75, 8.4  # inches
RIGHT = "right answers"


def _points(found: Interval | None) -> str:
    return between(found.value, found.low, found.high, unit="", sign="+") if found else ""


def _share(found: Interval) -> str:
    return between(found.value, found.low, found.high)


def draw_effects(effects: Sequence[Effect]) -> Picture:
    """A row a variant: its seeds and their mean; and beside, the difference from the whole method, seed by seed.

    Parameters
    ----------
    effects : of `ablations.effects.effects`, shares

    Raises
    ------
    R3labError
        If there is nothing to draw.
    """
    if not effects:
        raise R3labError("no effects to draw; `effects(rows)` makes them from the rows of ablations.json")
    names = [one_line(effect.variant, 40) for effect in effects]
    with style():
        figure = Figure(figsize=(WIDE, MARGIN + ROW * len(effects)), layout="constrained", facecolor=LIGHT.paper)
        left, right = figure.subplots(1, 2, sharey=True)
        for y, effect in enumerate(reversed(effects)):
            _draw_interval(left, effect.mean, y, 1, RUNS[0][0], "o")
            left.plot(list(effect.values.values()), [y - 0.25] * len(effect.values), "|", color=LIGHT.muted)
            if found := effect.difference:
                sure = found.low > 0 or found.high < 0
                colour = OKABE_ITO["vermillion"] if sure else LIGHT.muted
                _draw_interval(right, found, y, 100, colour, "o" if sure else "D")
        left.set_yticks(range(len(effects))[::-1], names)
        left.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.set(xlabel=RIGHT, xlim=(-0.03, 1.03))
        right.set_xlabel(f"points against {one_line(effects[0].variant, 30)}, same seed")
        for axes, zero in ((left, effects[0].mean.value), (right, 0.0)):
            axes.axvline(zero, color=LIGHT.muted, linewidth=0.8, linestyle=":")
            axes.xaxis.set_major_locator(MaxNLocator(6, prune="lower" if axes is right else None))
            axes.grid(axis="x")
            axes.tick_params(labelsize=BODY)
    points = [f", {_points(effect.difference)} points" if effect.difference else "" for effect in effects]
    told = [f"{name}: {_share(e.mean)}{more}" for name, e, more in zip(names, effects, points, strict=True)]
    alt = f"Mean of {RIGHT}, with its 95 % interval, and the difference. {'; '.join(told)}."
    return Picture(figure, alt)


def _draw_interval(axes: Axes, found: Interval, y: float, scale: float, colour: str, marker: str) -> None:
    axes.plot([scale * found.low, scale * found.high], [y, y], color=colour, linewidth=1.6)
    axes.plot(scale * found.value, y, marker, color=colour, markersize=5)


def effects_table(effects: Sequence[Effect]) -> str:
    """Markdown: a line a variant, with what the paper reports beside what was measured here."""
    lines = [f"| variant | {RIGHT} | points against {effects[0].variant} | published |", "| --- | --- | --- | --- |"]
    for e in effects:
        own = [p for p in published("effects") if e.variant == f"without {p['without']}"]
        stated = "; ".join(f"{get_benchmark(p['benchmark']).title} {p['points']:+g}" for p in own)
        lines.append(f"| {e.variant} | {_share(e.mean)} | {_points(e.difference)} | {stated} |")
    return "\n".join(lines)


def draw_grounding(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Right answers against the share of looks that are at the right place; the published ends beside it.

    Parameters
    ----------
    rows : "grounding" of ablations.json, two seeds or more
    """
    shares = sorted({float(row["grounding"]) for row in rows})
    if not shares:
        raise R3labError("no rows of simulated grounding to draw; `r3lab train ablations` makes them")
    found = [t_interval([r["exact"] for r in rows if r["grounding"] == share]) for share in shares]
    stated, (other, _) = published("grounding"), RUNS[1]
    with style():
        figure = Figure(figsize=(5.4, 3.2), layout="constrained", facecolor=LIGHT.paper)
        axes, label = figure.subplots(), "measured here: tiny policy, badges"
        values, low, high = zip(*((i.value, i.low, i.high) for i in found), strict=True)
        draw_band(axes, 0, shares, values, low, high, marker="o", markersize=4, label=label)
        label = f"published: VLM-R³, {get_benchmark(stated[0]['benchmark']).title}"
        axes.plot([p["grounding"] for p in stated], [p["value"] for p in stated], "s", color=other, label=label)
        for ticks in (axes.xaxis, axes.yaxis):
            ticks.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(xlabel="looks at the right place (simulated)", ylabel="right answers", ylim=(0, 1.05))
        axes.grid()
        axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
    told = "; ".join(f"{100 * share:.0f} %: {_share(one)}" for share, one in zip(shares, found, strict=True))
    ends = ", ".join(f"{100 * p['value']:.1f} % at {100 * p['grounding']:.0f} %" for p in stated)
    return Picture(figure, f"Right answers by the share of looks at the right place. Here {told}. Published: {ends}.")


# -- when to look -----------------------------------------------------------------------------------------------------

PARTS = 8  # of training, each a point of a path


def _path(curve: Mapping[str, Any], keys: tuple[str, str]) -> list[list[float]]:
    """The mean of two measures of a training log in each part of it; parts without a value are left out."""
    pairs = [pair for pair in zip(*(curve[key] for key in keys), strict=True) if None not in pair]
    size = max(1, -(-len(pairs) // PARTS))
    return [[fmean(column) for column in zip(*pairs[i : i + size], strict=True)] for i in range(0, len(pairs), size)]


def draw_when(rows: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> Picture:
    """Right answers against looks: a path a rule through training, thin a seed and bold their mean, and where its
    policies ended, measured on held-out samples (a mark a seed); what was not trained by rollouts has no path.

    Parameters
    ----------
    rows, curves : of when.json; the first row is the cold start

    Raises
    ------
    R3labError
        If there is nothing to draw.
    """
    if not rows:
        raise R3labError("no rows to draw; `r3lab train when` makes them")
    first, told = rows[0], []
    ways = list(dict.fromkeys(str(row["way"]) for row in rows[1:]))
    with style():
        figure = Figure(figsize=(WIDE, 4.6), layout="constrained", facecolor=LIGHT.paper)
        axes = figure.subplots()
        axes.plot(
            first["look_rate"], first["exact"], "*", color=LIGHT.ink, markersize=11, label=one_line(first["way"], 30)
        )
        for number, way in enumerate(ways):
            colour, dashes = line_style(number)
            line: dict[str, Any] = {"color": colour, "linestyle": (0, dashes) if dashes else "-"}
            paths = [_path(curve, ("look_rate", "exact")) for curve in curves if curve["way"] == way]
            for path in paths:
                axes.plot(*zip(*path, strict=True), linewidth=0.6, alpha=0.5, **line)
            shortest = min(map(len, paths), default=0)
            means = [[fmean(c) for c in zip(*(p[i] for p in paths), strict=True)] for i in range(shortest)]
            ends = [row for row in rows if row["way"] == way]
            label = one_line(way, 30)
            if means:
                axes.plot(*zip(*means, strict=True), linewidth=1.8, **line)
            places = [[e[key] for e in ends] for key in ("look_rate", "exact")]
            mark = "osD^vP"[number // len(RUNS) % 6]
            axes.plot(*places, mark, color=colour, markeredgecolor=LIGHT.paper)
            axes.plot([], [], marker=mark, label=label, **(line if paths else {"color": colour, "linestyle": ""}))
            spans = (spread([e[key] for e in ends], True) for key in ("exact", "look_rate"))
            told.append(f"{label}: right {next(spans)}, looks {next(spans)}")
        for ticks in (axes.xaxis, axes.yaxis):
            ticks.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(xlabel="rollouts that look", ylabel="right answers")
        axes.grid()
        axes.legend(frameon=False, fontsize=SMALL, loc="center left", bbox_to_anchor=(1, 0.5))
    start = f"{one_line(first['way'], 30)}: right {100 * first['exact']:.1f} %, looks {100 * first['look_rate']:.1f} %"
    return Picture(figure, f"Right answers against looks, {first['split']} samples. {'; '.join([start, *told])}.")


# -- frames -----------------------------------------------------------------------------------------------------------

SEEN = (-0.1, 1.3)  # part of a side that is drawn; what was written further off stands at the edge


def draw_frames(cases: Sequence[Case], found: Found, declared: Written) -> Picture:
    """Written against true coordinates, as parts of the picture's sides: as the settings have them, and as found.

    Parameters
    ----------
    cases, found : of `evaluate.frames.frame_of`
    declared : the frame that the settings say

    Raises
    ------
    R3labError
        If no box was written.
    """
    held = [case for case in cases if case.numbers is not None]
    if not held:
        raise R3labError("no box was written; there is nothing to draw")
    shown = [("as set", declared)]
    shown += [("as found", found.written)] if found.written and found.written != declared else []
    with style():
        figure = Figure(figsize=(1 + 3.8 * len(shown), 4.4), layout="constrained", facecolor=LIGHT.paper)
        for axes, (title, one) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            places = [one.place(case.numbers, case.source, case.seen) for case in held if case.numbers]
            for corner, (name, mark) in enumerate(zip(("x1", "y1", "x2", "y2"), "osv^", strict=True)):
                true = [case.truth[corner] / case.source[corner % 2] for case in held]
                written = [min(max(place[corner], SEEN[0]), SEEN[1]) for place in places]
                axes.plot(true, written, mark, color=RUNS[corner][0], markersize=4, alpha=0.8, label=name)
            axes.plot(SEEN, SEEN, color=LIGHT.muted, linewidth=0.8, linestyle=":")
            axes.set(xlim=(-0.05, 1.05), ylim=(SEEN[0] - 0.05, SEEN[1] + 0.05), xlabel="true, part of the side")
            axes.set(ylabel="written, part of the side")
            axes.set_title(f"{title}:\n" + "\n".join(fill(str(one), 44).splitlines()), fontsize=BODY)
            axes.grid()
        axes.legend(frameon=False, fontsize=SMALL, loc="upper left")
    told = "; ".join(f"{title}, {one}" for title, one in shown)
    return Picture(figure, f"Written against true coordinates of {len(held)} boxes, {told}. The policy {found.said}.")


# -- evaluations ------------------------------------------------------------------------------------------------------

MARK = "<!-- made by r3lab eval -->"
PLAIN = {"iou"}  # measures that are no shares
HEADS = {  # of the tables of an evaluation, and their columns that hold numbers
    "Measured": (("questions", "arm", "measure", "value", "95 % interval", "n", "looks", "left out"), range(3, 8)),
    "Differences": (("questions", "arms", "measure", "difference", "95 % interval", "n"), range(3, 6)),
    "Value of looks": (("questions", "print", "measure", "sampled", "95 % interval", "greedy", "n"), range(3, 7)),
    "Published, not measured here": (("questions", "model", "value", "kind", "source"), range(2, 3)),
}
MEANING = (
    "Intervals: percentile bootstrap over n units (answers, pairs, figures); where all units agree it has no width, "
    "but that is no certainty. Looks: valid ones an answer. Left out: questions that could not be read or asked."
)


def _tables(table: EvaluationTable) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The tables of an evaluation under their headings, those without a row left out."""
    measured: list[tuple[str, ...]] = []
    differences: list[tuple[str, ...]] = []
    stated: list[tuple[str, ...]] = []
    for line in table.lines:
        name, looks = COLUMNS.get(line.measure, line.measure), "none" if line.looks is None else f"{line.looks:.2f}"
        counts = (str(line.interval.n) if line.interval else "0", looks, str(line.left_out))
        measured.append((line.source, line.arm, name, *_values(line.interval, line.measure), *counts))
    for one in table.differences:
        arms, name = f"{one.first} - {one.second}", COLUMNS.get(one.measure, one.measure)
        values = _values(one.interval, one.measure, "+", " points")
        differences.append((one.source, arms, name, *values, str(one.interval.n)))
    for row in table.published:
        kind = f"{row['kind']}, {row['right']} of {row['of']}" if "of" in row else str(row["kind"])
        stated.append((row["benchmark"], row["model"], _number(row["value"], ""), kind, row["source"]))
    every = zip(HEADS, (measured, differences, _values_of_looks(table), stated), strict=True)
    return [(name, rows) for name, rows in every if rows]


def _values_of_looks(table: EvaluationTable) -> list[tuple[str, ...]]:
    """A row a measure and print, of each source of which looks were valued."""
    rows: list[tuple[str, ...]] = []
    for source, found in table.values.items():
        for part in PRINTS:
            for name, title in VALUES.items():
                both = [found[part][mode].get(name) for mode in ("sampled", "greedy")]
                sampled, greedy = (None if one is None else Interval(**one) for one in both)
                count = "0" if sampled is None else str(sampled.n)
                if any(both):
                    rows.append((source, part, title, *_values(sampled, name), _values(greedy, name)[0], count))
    return rows


def _values(found: Interval | None, measure: str, sign: str = "", unit: str = " %") -> tuple[str, str]:
    if found is None:
        return "not known", ""
    value, low, high = (_number(v, measure, sign, unit) for v in (found.value, found.low, found.high))
    return value, f"{low.removesuffix(unit)} to {high}"


def _number(value: float, measure: str, sign: str = "", unit: str = " %") -> str:
    return f"{value:{sign}.2f}" if measure in PLAIN else f"{100 * value:{sign}.1f}{unit}"


def scores_page(table: EvaluationTable, title: str) -> str:
    """A page in Markdown.

    Parameters
    ----------
    title
        What was evaluated; may hold foreign text.
    """
    parts = [MARK, f"# {escape(title, 120)}"]
    for name, rows in _tables(table):
        parts += [f"## {name}", markdown_table(HEADS[name][0], rows)]
    return "\n\n".join([*parts, MEANING, *(escape(remark, 400) for remark in table.remarks)]) + "\n"


def scores_text(table: EvaluationTable) -> str:
    """The same for a terminal, columns aligned."""
    parts = []
    for name, rows in _tables(table):
        head, numbers = HEADS[name]
        lines = [head, *(tuple(one_line(cell, 60) for cell in row) for row in rows)]
        wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [name]
        for line in lines:
            cells = [cell.rjust(wide[i]) if i in numbers else cell.ljust(wide[i]) for i, cell in enumerate(line)]
            told.append("  ".join(cells).rstrip())
        parts.append("\n".join(told))
    return "\n\n".join([*parts, "\n".join([MEANING, *(one_line(remark, 400) for remark in table.remarks)])])
