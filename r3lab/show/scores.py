"""The table of an evaluation in words: a page in Markdown, and the same for a terminal.

    page = scores_page(table, "rgrpo on badges")
    print(scores_text(table))

Published numbers stand in a table of their own, marked as published: nobody measured them here. Foreign text (the name
of a policy) is escaped in the page and cleaned in the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluate.table import Difference, Line, Table
from ..resampling import Interval
from .lettering import one_line
from .markdown import escape
from .markdown import table as markdown_table
from .tables import COLUMNS

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


def sections(table: Table) -> list[Section]:
    """The tables of an evaluation, those without a row left out."""
    found = [
        Section("Measured", _HEAD, [_line(line) for line in table.lines], (3, 4, 5, 6, 7)),
        Section("Differences", _DIFFERENCES, [_difference(one) for one in table.differences], (3, 4, 5)),
        Section(
            "Published, not measured here",
            _PUBLISHED,
            [
                (row.benchmark, row.model, _number(row.value, ""), _counted(row.kind, row.right, row.of), row.source)
                for row in table.published
            ],
            (2,),
        ),
    ]
    return [section for section in found if section.rows]


def _line(line: Line) -> tuple[str, ...]:
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


def _counted(kind: str, right: int | None, of: int | None) -> str:
    return kind if of is None else f"{kind}, {right} of {of}"


def scores_page(table: Table, title: str) -> str:
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


def scores_text(table: Table) -> str:
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
