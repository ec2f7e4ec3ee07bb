"""What a benchmark's numbers are means of, and how sure they are: grades in units and strata, bootstrap, differences.

Every score of every benchmark here is an average, over strata (sources, cycles), of a mean over units (answers, pairs,
figures). `Measure` keeps the units, so that one bootstrap serves all of them: units are drawn anew within each stratum,
the same way for a seed. Simplified: units are taken as independent, although HR-Bench asks each question in four
cycles; no correction for bias.

    [accuracy, pairs] = pair_accuracy(grades)
    pairs.value, pairs.n                               # 0.55, 150
    interval(pairs)                                    # Interval(value=0.55, low=0.47, high=0.63, n=150)
    interval(difference(looks, answers_at_once))       # sure if low > 0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from ..core.errors import shown
from ..core.stats import LEVEL, RESAMPLES, Interval, resampled_means
from .formats import BenchmarkError

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
    BenchmarkError
        If a question was graded twice, or a score is not between 0 and 1.
    """
    found: dict[str, float] = {}
    for grade in grades:
        if grade.id in found:
            raise BenchmarkError(f"Question {shown(grade.id)} is graded twice; keep one of the two.")
        if not 0 <= grade.score <= 1:
            raise BenchmarkError(f"Question {shown(grade.id)} has the score {shown(grade.score)}, not one from 0 to 1.")
        found[grade.id] = float(grade.score)
    return found


def together(grades: Iterable[Grade], key: Callable[[Grade], tuple[str, ...]], size: int | None = None) -> Units:
    """Grades of one `key` make a unit that is right only if all of them are; of `size` members only, where given."""
    members: dict[tuple[str, ...], list[float]] = {}
    for grade in grades:
        members.setdefault(key(grade), []).append(grade.score)
    return {"/".join(k): min(s) for k, s in members.items() if size is None or len(s) == size}


def accuracy(grades: Sequence[Grade], name: str = "accuracy") -> list[Measure]:
    """The mean score."""
    return [Measure(name, (units(grades),))]


def by(grades: Sequence[Grade], group: str, name: str = "accuracy") -> list[Measure]:
    """The mean score, then the one of each value of `group`, in order of appearance."""
    values = dict.fromkeys(g.groups[group] for g in grades)
    parts = (accuracy([g for g in grades if g.groups[group] == v], v) for v in values)
    return accuracy(grades, name) + [measure for part in parts for measure in part]


def hallusion(grades: Sequence[Grade]) -> list[Measure]:
    """aAcc a question; fAcc all right of a figure; qAcc all right of a question over its figures.

    Source: `get_eval_all`, `get_eval_fig` and `get_eval_pair_all` of the benchmark's utils.py. Figure 0 of the category
    VS is no figure at all and does not count in fAcc.
    """

    def of(*names: str) -> Callable[[Grade], tuple[str, ...]]:
        return lambda grade: tuple(grade.groups[name] for name in ("category", "subcategory", "set_id", *names))

    figures = [g for g in grades if (g.groups["category"], g.groups["figure_id"]) != ("VS", "0")]
    return [
        *accuracy(grades, "aAcc"),
        Measure("fAcc", (together(figures, of("figure_id")),)),
        Measure("qAcc", (together(grades, of("question_id")),)),
    ]


def pair_accuracy(grades: Sequence[Grade]) -> list[Measure]:
    """MMVP: accuracy, and the share of pairs of which both are right; a pair of which one is missing does not count.

    Source: lmms-eval `mmvp_aggregate_pair_results`, and the benchmark's grader, which counts every two lines.
    """
    pairs = together(grades, lambda grade: (grade.groups["pair"],), size=2)
    return [*accuracy(grades), Measure("pair accuracy", (pairs,))]


def cv_bench(grades: Sequence[Grade]) -> list[Measure]:
    """CV-Bench: 2D is the mean of ADE20K and COCO, 3D is Omni3D, overall the mean of the two; by source as well.

    Source: the data card's formula 1/2 ((ADE20K + COCO) / 2 + Omni3D), as in lmms-eval `cv_bench`.
    """
    ade, coco, omni = (
        units(g for g in grades if g.groups["source"] == source) for source in ("ADE20K", "COCO", "Omni3D")
    )
    return [
        Measure("overall", (ade, coco, omni), (0.25, 0.25, 0.5)),
        Measure("2D", (ade, coco)),
        Measure("3D", (omni,)),
        *(Measure(name, (part,)) for name, part in (("ADE20K", ade), ("COCO", coco))),
    ]


def hr_bench(grades: Sequence[Grade]) -> list[Measure]:
    """HR-Bench: the mean over cycles (turns of the options) of the accuracy in a cycle: average, single, cross.

    Source: `evaluate` of the benchmark's `image_mcq.py` and lmms-eval `hrbench_aggregate_results`.
    """

    def over_cycles(part: Sequence[Grade], name: str) -> Measure:
        cycles = dict.fromkeys(g.groups["cycle"] for g in part)
        return Measure(name, tuple(units(g for g in part if g.groups["cycle"] == c) for c in cycles))

    categories = sorted({g.groups["category"] for g in grades}, reverse=True)  # single, cross
    parts = [over_cycles([g for g in grades if g.groups["category"] == c], c) for c in categories]
    return [over_cycles(grades, "average"), *parts]


def interval(measure: Measure, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Interval | None:
    """The measure's value with its percentile interval; None where the value is not known.

    Parameters
    ----------
    measure
        Of scores or of differences.
    resamples
        At least 100.
    level
        Share of the resampled values inside, between 0 and 1.
    seed
        The same seed gives the same interval.

    Raises
    ------
    BenchmarkError
        If `resamples` or `level` is out of range.
    """
    if resamples < 100 or not 0 < level < 1:
        raise BenchmarkError(f"An interval needs 100 resamples and a level in (0, 1), got {resamples} and {level}.")
    value = measure.value
    if value is None:
        return None
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for share, units in zip(measure.shares, measure.strata, strict=True):
        total += share * resampled_means(np.fromiter(units.values(), float), resamples, rng)
    low, high = np.quantile(total, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), measure.n, level)


def difference(first: Measure, second: Measure) -> Measure:
    """First minus second, unit by unit: what `interval` then says is of the paired difference.

    Raises
    ------
    BenchmarkError
        If the two are not the same measure over the same units (an arm that is not finished, another data file).
    """
    if first.name != second.name or len(first.strata) != len(second.strata) or first.shares != second.shares:
        raise BenchmarkError(f"Cannot compare {first.name!r} with {second.name!r}; measure both arms alike.")
    for left, other in zip(first.strata, second.strata, strict=True):
        if left.keys() != other.keys():
            alone = len(left.keys() ^ other.keys())
            raise BenchmarkError(f"{alone} units of {first.name!r} were graded in one arm only; finish both arms.")
    strata = tuple(
        {key: left[key] - other[key] for key in left} for left, other in zip(first.strata, second.strata, strict=True)
    )
    return Measure(first.name, strata, first.weights)
