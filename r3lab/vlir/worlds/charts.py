"""`charts`: bar, line, pie and scatter charts of real tables (in the manner of InfographicsVQA and MathVista).

A chart of 512x512 pixels shows three to five rows of a real table (life expectancy by country, votes by district, ...),
each in a colour that the legend explains, with its value written beside it. Values and legend are small (9 to 10
pixels high: legible in a crop, two in the tiny policy's overview of 128x128) or large enough to be read at
once; the shapes and colours are plain in the overview. Five kinds of question: the value of a colour; of the largest;
the label of a colour; the value of a label (first the legend, here of three lines, then the value); how much more one
is than another (two looks and a subtraction). Tables and styles of the held-out split occur in no other.

    sample = Charts().sample("train", 0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.geometry import Box
from ..rationale import Steps, in_turn, reading
from ..sample import Rationale, Sample
from .badges import COLOURS
from .lettering import around, grained, padded
from .material import Table, split_number, tables
from .plots import LARGE_INK, SIDE, SMALL_INK, Mark, Plot, on_mark, paint, place, styles

SHARES = {"value": 0.3, "largest": 0.15, "label": 0.2, "named": 0.15, "difference": 0.2}  # of the questions
LARGE_LEGEND, LARGE_VALUE = 0.3, 0.3  # how often what a question needs is readable without a look
LARGE_OTHER = 0.15  # how often what it does not need is
MOST, SEARCHED = 5, 3  # rows of a chart; of one whose legend is searched, since more are too fine for one crop
LETTERS, LENGTHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", (0.1, 0.2, 0.7)  # of invented labels
PARTS = ("percent", "percent of days", "millions", "count", "times")  # units whose values make a whole
NOUNS = {"bar": "bar", "across": "bar", "line": "line", "pie": "slice", "scatter": "point"}
LARGEST = {"bar": "largest bar", "line": "line that ends highest", "slice": "largest slice", "point": "highest point"}


def _table(rng: np.random.Generator, split: str) -> Table:
    """A table of the split; a source of tables the oftener the more columns it has in all, though not in proportion."""
    every = tables(split)
    sources = sorted({t.source for t in every})
    weights = np.array([sum(len(t.columns) for t in every if t.source == s) for s in sources]) ** 0.65
    chosen = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
    of = [t for t in every if t.source == chosen]
    return of[int(rng.integers(len(of)))]


def _abscissa(table: Table, split: str) -> Table | None:
    """What a scatter chart of life expectancy has across: the same countries' income."""
    if "lifeExp" not in table.name:
        return None
    return next(t for t in tables(split) if t.name == table.name.replace("lifeExp", "gdpPercap"))


def invented_labels(rng: np.random.Generator, count: int) -> list[str]:
    """Labels of one to three letters by chance, all different."""
    made: list[str] = []
    while len(made) < count:
        word = "".join(LETTERS[int(k)] for k in rng.integers(len(LETTERS), size=1 + int(rng.choice(3, p=LENGTHS))))
        made += [word] * (word not in made)
    return made


def _plot(
    rng: np.random.Generator, split: str, most: int, large_legend: bool, invented: float
) -> tuple[Plot, dict[str, Any]] | None:
    """A chart of three to `most` rows and a column of a table, sizes not yet decided; None if its numbers do not lend
    themselves.

    Returns
    -------
    The chart, and what of which table it shows
    """
    table = _table(rng, split)
    across = _abscissa(table, split)
    style = styles(split)[int(rng.integers(len(styles(split))))]
    kinds = ["bar", "across"] + ["pie"] * (table.unit in PARTS) + ["line"] * 2 * (len(table.columns) > 5)
    kinds += ["scatter"] * 5 * (across is not None)
    kind = kinds[int(rng.integers(len(kinds)))]
    column = int(rng.integers(4 if kind == "line" else 0, len(table.columns)))
    rows = [int(r) for r in rng.permutation(len(table.labels))[: int(rng.integers(3, most + 1))]]
    values = [table.values[r][column] for r in rows]
    if kind == "pie":
        values = [100 * v / sum(values) for v in values]
    said = [f"{v:.0f}" if max(values) >= 10 else f"{v:.1f}" for v in values]
    if len(set(said)) < len(said) or max(values) >= 999 or min(values) < 0.08 * max(values):
        return None
    colours = [list(COLOURS)[int(k)] for k in rng.permutation(len(COLOURS))]
    labels = [table.labels[row] for row in rows]
    if invented and rng.random() < invented:
        labels = invented_labels(rng, len(rows))
    marks = []
    for row, label, value, words, colour in zip(rows, labels, values, said, colours, strict=False):
        points: tuple[tuple[float, float], ...] = ()
        if kind == "line":
            points = tuple((float(c), table.values[row][c]) for c in range(max(0, column - 7), column + 1))
        elif kind == "scatter" and across is not None:
            points = ((across.values[row][column], value),)
        marks.append(Mark(label, colour, value, words, 0, False, points))
    time = f" {table.columns[column]}" if len(table.columns) > 1 else ""
    title = f"{table.title}{time}, {'percent' if kind == 'pie' else table.unit}"
    shown = {"chart": kind, "table": table.name, "rows": rows, "column": column, "style": style.number}
    return Plot(kind, style, title, marks, large_legend), shown


def _clear(plot: Plot) -> bool:
    """Whether the largest mark is so beyond doubt: 14 pixels ahead of the next, or 15 degrees."""
    ends = {"bar": 1, "across": 2, "line": -1, "scatter": 1}
    if plot.kind == "pie":
        sizes = sorted(m.shape[4] - m.shape[3] for m in plot.marks)
        return sizes[-1] - sizes[-2] > 15
    sizes = sorted(m.shape[ends[plot.kind]] for m in plot.marks)
    return sizes[-1] - sizes[-2] > 14 if plot.kind == "across" else sizes[1] - sizes[0] > 14


def legend_text(marks: Sequence[Mapping[str, Any]]) -> str:
    """What a legend says, line by line; `marks` as in a sample's `meta`."""
    return ", ".join(f"{mark['label']} {mark['colour']}" for mark in marks)


def difference(more: str, less: str) -> str:
    """One written number less another, with as many decimals."""
    decimals = len(more.partition(".")[2])
    return f"{(round(float(more) * 10**decimals) - round(float(less) * 10**decimals)) / 10**decimals:.{decimals}f}"


class Charts:
    """The world; see the module's docstring.

    Parameters
    ----------
    large_other : share of the values that are not asked for that are large
    invented : share of the charts whose labels are letters by chance; of real ones there are few, and a policy that is
        trained with those alone guesses at what it reads
    shares : of the questions by kind
    """

    name = "charts"

    def __init__(
        self, large_other: float = LARGE_OTHER, invented: float = 0.0, shares: Mapping[str, float] = SHARES
    ) -> None:
        self.large_other, self.invented, self.shares = large_other, invented, dict(shares)

    def sample(self, split: str, index: int, seed: int = 0) -> Sample:
        """Sample number `index`: kinds as in `shares`; about 30 % are readable without a look."""
        rng = np.random.default_rng([seed, split_number(split), index, 3])
        kind = list(self.shares)[int(rng.choice(len(self.shares), p=list(self.shares.values())))]
        while True:
            large_legend = bool(rng.random() < {"label": LARGE_LEGEND, "named": 0.0}.get(kind, LARGE_OTHER))
            made = _plot(rng, split, SEARCHED if kind == "named" else MOST, large_legend, self.invented)
            if made is None:
                continue
            plot, shown = made
            order = sorted(plot.marks, key=lambda m: -m.value)
            asked = [order[0]] if kind == "largest" else [order[int(rng.integers(len(order)))]]
            if kind == "difference":
                first = int(rng.integers(len(order) - 1))
                asked = [order[first], order[int(rng.integers(first + 1, len(order)))]]
            readable = bool(rng.random() < LARGE_VALUE)
            for mark in plot.marks:
                mark.large = readable if mark in asked else bool(rng.random() < self.large_other)
                if kind == "difference" and mark is asked[1] and rng.random() < 0.2:
                    mark.large = not readable  # only one of the two needs a look
                low, high = LARGE_INK if mark.large else SMALL_INK
                mark.digit = int(rng.integers(low, high + 1))
            if place(plot) and (kind != "largest" or _clear(plot)):
                break
        image = grained(paint(plot), rng)
        involved = self._involved(plot, kind, asked)
        small = [box for box, large in involved if not large]
        noun = NOUNS[plot.kind]
        question, answer = {
            "value": (f"What is the value of the {asked[0].colour} {noun}?", asked[0].said),
            "largest": (f"What is the value of the {LARGEST[noun]}?", asked[0].said),
            "label": (f"Which label has the {asked[0].colour} {noun}?", asked[0].label),
            "named": (f"What is the value of {asked[0].label}?", asked[0].said),
            "difference": (
                f"How much more is the {asked[0].colour} {noun} than the {asked[-1].colour} {noun}?",
                difference(asked[0].said, asked[-1].said),
            ),
        }[kind]
        return Sample(
            id=f"{self.name}-{split}-{seed}-{index}",
            image=image,
            question=question,
            answer=answer,
            regions=tuple(small or [box for box, _ in involved]),
            needs_look=bool(small),
            world=self.name,
            split=split,
            meta={
                "kind": kind,
                "hops": max(1, len(small)),
                **shown,
                "large_legend": plot.large_legend,
                "asked": [plot.marks.index(m) for m in asked],
                "marks": [
                    {"label": m.label, "colour": m.colour, "said": m.said, "large": m.large, "digit": m.digit}
                    | {"ink": list(m.ink), "key": list(m.key), "value": m.value}
                    | {"swatch": list(m.swatch), "middle": list(on_mark(plot.kind, m.shape))}
                    for m in plot.marks
                ],
            },
        )

    @staticmethod
    def _involved(plot: Plot, kind: str, asked: list[Mark]) -> list[tuple[Box, bool]]:
        """What the answer rests on, in order: its region, and whether it can be read in the overview."""
        size, values = (SIDE, SIDE), [(padded(m.ink, (SIDE, SIDE)), m.large) for m in asked]
        if kind == "label":
            return [(padded(asked[0].key, size, 4.0, 18.0), plot.large_legend)]
        if kind == "named":
            return [(padded(around([m.key for m in plot.marks]), size, 4.0), False), *values]
        return values

    def rationale(self, sample: Sample) -> Rationale:
        """The exact lesson: find the mark (by the legend where it is named), look at what is small, compute, answer."""
        meta, regions = sample.meta, iter(sample.regions if sample.needs_look else ())
        kind, noun = meta["kind"], NOUNS[meta["chart"]]
        asked = [meta["marks"][k] for k in meta["asked"]]
        first = f"the {asked[0]['colour']} {noun}"
        steps: Steps = []

        if kind == "label":
            region = None if meta["large_legend"] else next(regions)
            return in_turn(reading(f"The label of {first}", asked[0]["label"], region), sample)
        if kind == "largest":
            steps.append((f"The {LARGEST[noun]} is {first}.", None))
        elif kind == "named":
            steps += reading("The legend", legend_text(meta["marks"]), next(regions))
            steps.append((f"{asked[0]['label']} is {first}.", None))
        for mark in asked:
            region = None if mark["large"] else next(regions)
            steps += reading(f"The value of the {mark['colour']} {noun}", mark["said"], region)
        if kind == "difference":
            steps.append((f"{asked[0]['said']} - {asked[1]['said']} = {sample.answer}.", None))
        return in_turn(steps, sample)
