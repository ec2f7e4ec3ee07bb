"""What was measured, in tables and pictures: evaluations, and what leaving a part of the method out does.

    print(scores_text(table)); page = scores_page(table, "rgrpo on badges")      # a terminal; Markdown
    draw_effects(effects(result["rows"])); draw_grounding(result["grounding"])   # pictures of ablations.json
    spread([0.954, 0.968], percent=True)                                         # "96.1 % (95.4 to 96.8)"

Published numbers stand in a table of their own, marked as published: nobody measured them here. Foreign text (the name
of a policy) is escaped in the page and cleaned in the terminal. Simplified: differences are in points of one measure;
intervals of ablations are those of Student's t over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..core.errors import R3labError
from ..core.stats import Effect, Interval, t_interval
from ..evaluate.benchmarks import get_benchmark
from ..evaluate.grades import Difference, EvaluationTable, ScoreRow, published
from .palette import BODY, OKABE_ITO, RUNS, SMALL, style, theme
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
RIGHT = "right answers, held out"


def _points(found: Interval) -> str:
    return between(found.value, found.low, found.high, unit="", sign="+")


def _share(found: Interval) -> str:
    return between(found.value, found.low, found.high)


def draw_effects(effects: Sequence[Effect], measure: str = RIGHT, dark: bool = False) -> Picture:
    """A row a variant: its seeds and their mean; and beside, the difference from the whole method, seed by seed.

    Parameters
    ----------
    effects : of `ablations.effects.effects`, shares
    measure : what is compared, for the axis
    dark : for a dark page

    Raises
    ------
    R3labError
        If there is nothing to draw.
    """
    if not effects:
        raise R3labError("no effects to draw; `effects(rows)` makes them from the rows of ablations.json")
    chosen, at = theme(dark), list(range(len(effects)))[::-1]
    with style(chosen):
        figure = Figure(figsize=(WIDE, MARGIN + ROW * len(effects)), layout="constrained", facecolor=chosen.paper)
        left, right = figure.subplots(1, 2, sharey=True)
        for y, effect in zip(at, effects, strict=True):
            left.plot([effect.mean.low, effect.mean.high], [y, y], color=RUNS[0][0], linewidth=1.6)
            left.plot(list(effect.values.values()), [y - 0.25] * len(effect.values), "|", color=chosen.muted)
            left.plot(effect.mean.value, y, "o", color=RUNS[0][0], markersize=5)
            if effect.difference:
                sure = effect.difference.low > 0 or effect.difference.high < 0
                colour = OKABE_ITO["vermillion"] if sure else chosen.muted
                right.plot([100 * effect.difference.low, 100 * effect.difference.high], [y, y], color=colour)
                right.plot(100 * effect.difference.value, y, "o" if sure else "D", color=colour, markersize=4.5)
        left.axvline(effects[0].mean.value, color=chosen.muted, linewidth=0.8, linestyle=":")
        right.axvline(0, color=chosen.muted, linewidth=0.8, linestyle=":")
        left.set_yticks(at, [one_line(effect.variant, 40) for effect in effects])
        left.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.set(xlabel=one_line(measure, 60), xlim=(-0.03, 1.03))
        right.set_xlabel(f"points against {one_line(effects[0].variant, 30)}, same seed")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.grid(axis="x")
            axes.tick_params(labelsize=BODY)
    return Picture(figure, _effects_alt(effects, measure))


def _effects_alt(effects: Sequence[Effect], measure: str) -> str:
    """What `draw_effects` shows, in words."""
    told = [
        f"{one_line(e.variant, 40)}: {_share(e.mean)}" + (f", {_points(e.difference)} points" if e.difference else "")
        for e in effects
    ]
    return f"Mean of {one_line(measure, 60)}, with its 95 % interval, and the difference. {'; '.join(told)}."


def effects_table(effects: Sequence[Effect], measure: str = RIGHT) -> str:
    """Markdown: a line a variant, with what the paper reports beside what was measured here."""
    lines = [f"| variant | {measure} | points against {effects[0].variant} | published |", "| --- | --- | --- | --- |"]
    for e in effects:
        stated = "; ".join(
            f"{get_benchmark(p['benchmark']).title} {p['points']:+g}"
            for p in published("effects")
            if e.variant == f"without {p['without']}"
        )
        lines.append(f"| {e.variant} | {_share(e.mean)} | {_points(e.difference) if e.difference else ''} | {stated} |")
    return "\n".join(lines)


def _mixtures(rows: Sequence[Mapping[str, Any]]) -> dict[float, Interval]:
    shares = sorted({float(row["grounding"]) for row in rows})
    if not shares:
        raise R3labError("no rows of simulated grounding to draw; `r3lab train ablations` makes them")
    return {share: t_interval([r["exact"] for r in rows if r["grounding"] == share]) for share in shares}


def draw_grounding(rows: Sequence[Mapping[str, Any]], dark: bool = False) -> Picture:
    """Right answers against the share of looks that are at the right place; the published ends beside it.

    Parameters
    ----------
    rows : "grounding" of ablations.json, two seeds or more
    dark : for a dark page
    """
    found, stated, chosen = _mixtures(rows), published("grounding"), theme(dark)
    with style(chosen):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained", facecolor=chosen.paper)
        axes, (own, other) = figure.subplots(), (RUNS[0], RUNS[1])
        means = [interval.value for interval in found.values()]
        axes.fill_between(
            list(found), [i.low for i in found.values()], [i.high for i in found.values()],
            color=own[0], alpha=0.2, linewidth=0,
        )  # fmt: skip
        axes.plot(list(found), means, "o-", color=own[0], markersize=4, label="measured here: tiny policy, badges")
        axes.plot(
            [p["grounding"] for p in stated], [p["value"] for p in stated], "s", color=other[0],
            label=f"published: VLM-R³, {get_benchmark(stated[0]['benchmark']).title}",
        )  # fmt: skip
        for ticks in (axes.xaxis, axes.yaxis):
            ticks.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(xlabel="looks at the right place (simulated)", ylabel="right answers", ylim=(0, 1.05))
        axes.grid()
        axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
    return Picture(figure, _grounding_alt(rows))


def _grounding_alt(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `draw_grounding` shows, in words."""
    told = [f"{100 * share:.0f} %: {_share(interval)}" for share, interval in _mixtures(rows).items()]
    ends = [f"{100 * p['value']:.1f} % at {100 * p['grounding']:.0f} %" for p in published("grounding")]
    return (
        f"Right answers by the share of looks at the right place. Here {'; '.join(told)}. Published: {', '.join(ends)}."
    )


# -- evaluations ------------------------------------------------------------------------------------------------------

MARK = "<!-- made by r3lab eval -->"
PLAIN = {"iou"}  # measures that are no shares
_HEAD = ("questions", "arm", "measure", "value", "95 % interval", "n", "looks", "left out")
_DIFFERENCES = ("questions", "arms", "measure", "difference", "95 % interval", "n")
_PUBLISHED = ("questions", "model", "value", "kind", "source")
_MEANING = (
    "Intervals: percentile bootstrap over n units (answers, pairs, figures); where all units agree it has no width, "
    "but that is no certainty. Looks: valid ones an answer. Left out: questions that could not be read or asked."
)


@dataclass(frozen=True)
class Section:
    """One table under a heading."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: tuple[int, ...]  # columns that stand to the right


def sections(table: EvaluationTable) -> list[Section]:
    """The tables of an evaluation, those without a row left out."""
    found = [
        Section("Measured", _HEAD, [_line(line) for line in table.lines], (3, 4, 5, 6, 7)),
        Section("Differences", _DIFFERENCES, [_difference(one) for one in table.differences], (3, 4, 5)),
        Section(
            "Published, not measured here",
            _PUBLISHED,
            [
                (row["benchmark"], row["model"], _number(row["value"], ""), _counted(row), row["source"])
                for row in table.published
            ],
            (2,),
        ),
    ]
    return [section for section in found if section.rows]


def _line(line: ScoreRow) -> tuple[str, ...]:
    looks = "none" if line.looks is None else f"{line.looks:.2f}"
    ends = (str(line.interval.n) if line.interval else "0", looks, str(line.left_out))
    return (
        line.source,
        line.arm,
        COLUMNS.get(line.measure, line.measure),
        *_values(line.interval, line.measure),
        *ends,
    )


def _difference(one: Difference) -> tuple[str, ...]:
    name, arms = COLUMNS.get(one.measure, one.measure), f"{one.first} - {one.second}"
    return (one.source, arms, name, *_values(one.interval, one.measure, "+", " points"), str(one.interval.n))


def _values(found: Interval | None, measure: str, sign: str = "", unit: str = " %") -> tuple[str, str]:
    if found is None:
        return "not known", ""
    value, low, high = (_number(v, measure, sign, unit) for v in (found.value, found.low, found.high))
    return value, f"{low.removesuffix(unit)} to {high}"


def _number(value: float, measure: str, sign: str = "", unit: str = " %") -> str:
    return f"{value:{sign}.2f}" if measure in PLAIN else f"{100 * value:{sign}.1f}{unit}"


def _counted(row: Mapping[str, Any]) -> str:
    return f"{row['kind']}, {row['right']} of {row['of']}" if "of" in row else str(row["kind"])


def scores_page(table: EvaluationTable, title: str) -> str:
    """A page in Markdown.

    Parameters
    ----------
    title
        What was evaluated; may hold foreign text.
    """
    parts = [MARK, f"# {escape(title, 120)}"]
    for section in sections(table):
        parts += [f"## {section.title}", markdown_table(section.head, section.rows)]
    parts += [_MEANING, *(escape(remark, 400) for remark in table.remarks)]
    return "\n\n".join(parts) + "\n"


def scores_text(table: EvaluationTable) -> str:
    """The same for a terminal, columns aligned."""
    parts = []
    for section in sections(table):
        rows = [section.head, *([one_line(cell, 60) for cell in row] for row in section.rows)]
        parts.append(f"{section.title}\n{_aligned(rows, section.numbers)}")
    return "\n\n".join([*parts, "\n".join([_MEANING, *(one_line(remark, 400) for remark in table.remarks)])])


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, wide, strict=True))
        lines.append("  ".join(cell.rjust(w) if i in numbers else cell.ljust(w) for i, (cell, w) in cells).rstrip())
    return "\n".join(lines)
