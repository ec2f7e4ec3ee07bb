"""What a benchmark's numbers are means of, and how sure they are: grades in units and strata, bootstrap, differences.

Every score of every benchmark here is an average, over strata (sources, cycles), of a mean over units (answers, pairs,
figures). `Measure` keeps the units, so that one bootstrap serves all of them: units are drawn anew within each stratum,
the same way for a seed. Simplified: units are taken as independent, although HR-Bench asks each question in four
cycles; no correction for bias.

    [accuracy, pairs] = pair_accuracy(grades)
    pairs.value, pairs.n                               # 0.55, 150
    interval(pairs)                                    # Interval(value=0.55, low=0.47, high=0.63, n=150)
    interval(difference(looks, answers_at_once))       # sure if low > 0
    published("rows", "vstar")[0]["value"]             # 0.8429...: what others published, to stand beside them
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from statistics import fmean
from typing import Any

import numpy as np

from ..core.errors import R3labError, shown
from ..core.stats import LEVEL, RESAMPLES, Interval, resampled_means

Units = Mapping[str, float]  # name of the unit (an answer, a pair, a figure): its score, 0 to 1


@dataclass(frozen=True)
class Grade:
    """The score of one answer, 0 to 1, with what it is grouped by; plain data, so that a run can be resumed."""

    id: str
    score: float
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """A benchmark's number: the mean over `strata` of the mean over their units.

    Attributes
    ----------
    name : what it is called in the benchmark's papers
    strata : units by stratum; most measures have one stratum
    weights : of the strata, sum 1; None for equal ones
    """

    name: str
    strata: tuple[Units, ...]
    weights: tuple[float, ...] | None = None

    @property
    def n(self) -> int:
        """Units."""
        return sum(map(len, self.strata))

    @property
    def shares(self) -> tuple[float, ...]:
        """Weight of each stratum."""
        return self.weights or (1 / len(self.strata),) * len(self.strata)

    @property
    def value(self) -> float | None:
        """0 to 1; None where a stratum has no unit, for then the benchmark's number cannot be known."""
        if not self.strata or not all(self.strata):
            return None
        return sum(w * fmean(units.values()) for w, units in zip(self.shares, self.strata, strict=True))


def units(grades: Iterable[Grade]) -> dict[str, float]:
    """Each answer a unit.

    Raises
    ------
    R3labError
        If a question was graded twice, or a score is not between 0 and 1.
    """
    found: dict[str, float] = {}
    for grade in grades:
        if grade.id in found:
            raise R3labError(f"Question {shown(grade.id)} is graded twice; keep one of the two.")
        if not 0 <= grade.score <= 1:
            raise R3labError(f"Question {shown(grade.id)} has the score {shown(grade.score)}, not one from 0 to 1.")
        found[grade.id] = float(grade.score)
    return found


def together(grades: Iterable[Grade], names: Sequence[str], size: int | None = None) -> Units:
    """Grades alike in the groups `names` make a unit that is right only if all are; of `size` members, where given."""
    members: dict[tuple[str, ...], list[float]] = {}
    for grade in grades:
        members.setdefault(tuple(grade.groups[name] for name in names), []).append(grade.score)
    return {"/".join(key): min(scores) for key, scores in members.items() if size is None or len(scores) == size}


def split(grades: Sequence[Grade], group: str) -> dict[str, list[Grade]]:
    """Grades by their value of `group`, in order of appearance."""
    parts: dict[str, list[Grade]] = {}
    for grade in grades:
        parts.setdefault(grade.groups[group], []).append(grade)
    return parts


def accuracy(grades: Sequence[Grade], name: str = "accuracy") -> list[Measure]:
    """The mean score."""
    return [Measure(name, (units(grades),))]


def by(grades: Sequence[Grade], group: str) -> list[Measure]:
    """The mean score, then the one of each value of `group`."""
    return accuracy(grades) + [Measure(value, (units(part),)) for value, part in split(grades, group).items()]


def hallusion(grades: Sequence[Grade]) -> list[Measure]:
    """aAcc a question; fAcc all right of a figure; qAcc all right of a question over its figures.

    Source: `get_eval_all`, `get_eval_fig` and `get_eval_pair_all` of the benchmark's utils.py. Figure 0 of the category
    VS is no figure at all and does not count in fAcc.
    """
    figures = [g for g in grades if (g.groups["category"], g.groups["figure_id"]) != ("VS", "0")]
    of = ("category", "subcategory", "set_id")
    return [
        *accuracy(grades, "aAcc"),
        Measure("fAcc", (together(figures, (*of, "figure_id")),)),
        Measure("qAcc", (together(grades, (*of, "question_id")),)),
    ]


def pair_accuracy(grades: Sequence[Grade]) -> list[Measure]:
    """MMVP: accuracy, and the share of pairs of which both are right; a pair of which one is missing does not count.

    Source: lmms-eval `mmvp_aggregate_pair_results`, and the benchmark's grader, which counts every two lines.
    """
    return [*accuracy(grades), Measure("pair accuracy", (together(grades, ("pair",), size=2),))]


def cv_bench(grades: Sequence[Grade]) -> list[Measure]:
    """CV-Bench: 2D is the mean of ADE20K and COCO, 3D is Omni3D, overall the mean of the two; by source as well.

    Source: the data card's formula 1/2 ((ADE20K + COCO) / 2 + Omni3D), as in lmms-eval `cv_bench`.
    """
    parts = split(grades, "source")
    ade, coco, omni = (units(parts.get(source, [])) for source in ("ADE20K", "COCO", "Omni3D"))
    return [
        Measure("overall", (ade, coco, omni), (0.25, 0.25, 0.5)),
        Measure("2D", (ade, coco)),
        Measure("3D", (omni,)),
        Measure("ADE20K", (ade,)),
        Measure("COCO", (coco,)),
    ]


def hr_bench(grades: Sequence[Grade]) -> list[Measure]:
    """HR-Bench: the mean over cycles (turns of the options) of the accuracy in a cycle: average, single, cross.

    Source: `evaluate` of the benchmark's `image_mcq.py` and lmms-eval `hrbench_aggregate_results`.
    """
    parts = [("average", grades), *sorted(split(grades, "category").items(), reverse=True)]  # single, cross
    return [Measure(name, tuple(map(units, split(part, "cycle").values()))) for name, part in parts]


def interval(measure: Measure, resamples: int = RESAMPLES, seed: int = 0) -> Interval | None:
    """The measure's value with its percentile interval; None where the value is not known.

    Parameters
    ----------
    measure
        Of scores or of differences.
    seed
        The same seed gives the same interval.
    """
    value = measure.value
    if value is None:
        return None
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for share, units in zip(measure.shares, measure.strata, strict=True):
        total += share * resampled_means(np.fromiter(units.values(), float), resamples, rng)
    low, high = np.quantile(total, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), measure.n)


def difference(first: Measure, second: Measure) -> Measure | None:
    """First minus second, unit by unit: what `interval` then says is of the paired difference.

    None where the two are not over the same units (an arm that is not finished, the IoU of looks that one of them did
    not take).
    """
    if [part.keys() for part in first.strata] != [part.keys() for part in second.strata]:
        return None
    pairs = zip(first.strata, second.strata, strict=True)
    return Measure(first.name, tuple({key: a[key] - b[key] for key in a} for a, b in pairs), first.weights)


# -- what is told of them ----------------------------------------------------------------------------------------------


def published(part: str, benchmark: str | None = None) -> list[dict[str, Any]]:
    """What others published; nobody measured it here.

    Parameters
    ----------
    part
        ``"rows"``: numbers of models (benchmark, model, value from 0 to 1, source, where known the counts right and
        of). ``"effects"``: what leaving a part out did (without, benchmark, points, source). ``"grounding"``: answers
        at a simulated grounding accuracy (grounding, benchmark, value, source; the ends of the paper's figure 4).
    benchmark
        Of this one alone.
    """
    held: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return [{**row, "kind": held["kind"]} for row in held[part] if benchmark in (None, row["benchmark"])]


@dataclass(frozen=True)
class ScoreRow:
    """A measure of an arm on a source.

    Attributes
    ----------
    interval : None where the value is not known (a stratum has no answer)
    looks : valid looks a graded answer; None if there is none
    left_out : records that could not be read, and questions that could not be asked
    """

    source: str
    arm: str
    measure: str
    interval: Interval | None
    looks: float | None
    left_out: int


@dataclass(frozen=True)
class Difference:
    """First arm minus second, of one measure over the same units."""

    source: str
    first: str
    second: str
    measure: str
    interval: Interval


@dataclass(frozen=True)
class EvaluationTable:
    """All numbers of an evaluation, those published of its benchmarks, and what a reader of them must know."""

    lines: list[ScoreRow] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)  # of looks, by source: `value.summary`

    def record(self) -> dict[str, Any]:
        """The table as JSON: `rows`, `differences`, `published`, `remarks`, and where they were measured `values`."""
        return {
            "rows": [_flat(asdict(line)) for line in self.lines],
            "differences": [_flat(asdict(one)) for one in self.differences],
            "published": self.published,
            "remarks": self.remarks,
            **({"values": self.values} if self.values else {}),
        }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its interval's fields beside the others."""
    found = row.pop("interval") or {"value": None, "low": None, "high": None, "n": 0, "level": LEVEL}
    return {**row, **found}
