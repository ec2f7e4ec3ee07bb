"""The exercises of notebook 08: an interval over seeds, a paired difference, a new run, a simulated grounding.

check_seed_interval(seed_interval)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev, stdev, variance

import numpy as np

from ..core.stats import student
from .judge import Exercise, Function, Then

FIVE = student(0.95, 4)  # 2.776


def _about(values: Sequence[float], half: float) -> tuple[float, float]:
    return fmean(values) - half, fmean(values) + half


# -- an interval over seeds ----------------------------------------------------------------------------------------


def _interval(spread: Function, power: float) -> Function:
    return lambda values, t: _about(values, t * spread(values) / len(values) ** power)


check_seed_interval = Exercise(
    "f(values, t): the two ends of the 95 % interval of the mean over seeds.",
    _interval(stdev, 0.5),
    (
        ([0.95, 0.93, 0.96, 0.91, 0.95], FIVE),
        ([0.41, 0.44, 0.30, 0.52, 0.38, 0.45, 0.40], student(0.95, 6)),
        ([0.2, 0.8], student(0.95, 1)),
    ),
    "you divide by n in the standard deviation. The mean lies too near to its values: n - 1 (`ddof=1`).",
    _interval(pstdev, 0.5),
    "that is how far *single runs* scatter. The mean of n of them scatters less, by the square root of n.",
    (_interval(stdev, 0.0), _interval(pstdev, 0.0)),
    "you divide by n. Variances of means fall with n, so standard deviations fall with its square root.",
    _interval(stdev, 1.0),
    "that is the variance; an interval wants its square root, in the unit of the values.",
    (_interval(variance, 0.5), _interval(variance, 1.0)),
    "you leave out `t`: one standard error to each side holds the truth two times in three only.",
    lambda values, t: _interval(stdev, 0.5)(values, 1.0),
    "that is from the worst to the best seed. It grows with every seed; an interval of the mean must shrink.",
    lambda values, t: (min(values), max(values)),
    "you return half the width alone. Wanted are the two ends, around the mean.",
    Then(lambda ends: (ends[1] - ends[0]) / 2),
)


# -- seed by seed --------------------------------------------------------------------------------------------------


def _paired(apart: Function = lambda full, other: other - full, spread: Function = stdev) -> Function:
    """The right rule, but for what is taken of a pair, or how it scatters."""

    def made(full: list[float], other: list[float]) -> tuple[float, float]:
        differences = [apart(f, o) for f, o in zip(full, other, strict=True)]
        return fmean(differences), spread(differences) / math.sqrt(len(differences))

    return made


def _unpaired(full: list[float], other: list[float]) -> tuple[float, float]:
    return fmean(other) - fmean(full), math.hypot(stdev(full), stdev(other))


check_paired = Exercise(
    "f(full, other): mean difference at the same seed, and its standard error.",
    _paired(),
    (
        ([0.95, 0.90, 0.97, 0.88, 0.93], [0.91, 0.85, 0.94, 0.84, 0.88]),  # all fall, by nearly as much
        ([0.5, 0.7, 0.6], [0.8, 0.4, 0.75]),  # better on average, and not sure
        ([0.9, 0.1], [0.7, 0.3]),
    ),
    "the error is that of *unpaired* runs: subtract seed by seed first, then look at how the differences scatter.",
    (_unpaired, lambda full, other: np.divide(_unpaired(full, other), (1, math.sqrt(len(full))))),
    "the sign: a part that is missed must come out below zero.",
    _paired(lambda full, other: full - other),
    "that is the standard deviation of the differences. Their mean is surer, by the square root of their number.",
    lambda full, other: np.multiply(_paired()(full, other), (1, math.sqrt(len(full)))),
    "n - 1 below the squares, not n: the mean was taken from the same differences.",
    _paired(spread=pstdev),
    "you compare sizes of differences. A seed that gains and one that loses must cancel out: no `abs`.",
    (_paired(lambda full, other: abs(other - full)), Then(np.abs)),
    "that is a share of the whole method's accuracy. Points are differences.",
    (_paired(lambda full, other: other / full), _paired(lambda full, other: (other - full) / full)),
    "you sort the two lists, and so compare runs of different seeds.",
    lambda full, other: _paired()(sorted(full), sorted(other)),
)


# -- one more run --------------------------------------------------------------------------------------------------


def _inside(widen: Function) -> Function:
    return lambda values, new, t: abs(new - fmean(values)) <= t * stdev(values) * widen(len(values))


check_as_expected = Exercise(
    "f(values, new, t): whether a new run falls where one more run is to be expected.",
    _inside(lambda n: math.sqrt(1 + 1 / n)),
    # 0.912: in the range, outside of the mean's interval; 0.90: outside of both, and nothing unusual; 0.884: inside,
    # but only thanks to the mean's own error; 1.01: too good is a surprise, too
    [
        *(([0.95, 0.93, 0.96, 0.91, 0.95], new, 2.776) for new in (0.94, 0.912, 0.90, 0.884, 0.87, 0.975, 1.01)),
        *(([0.60, 0.64], new, 12.706) for new in (0.95, 0.25, 1.07)),
    ],
    "that is the interval of the *mean*. A single run scatters far wider than the mean of five.",
    _inside(lambda n: math.sqrt(1 / n)),
    "nearly: you take the mean for known. It was estimated from the same few runs: the two variances add up.",
    _inside(lambda n: 1.0),
    "standard deviations of independent things do not add up, their squares do.",
    _inside(lambda n: 1 + math.sqrt(1 / n)),
    "the worst and the best of a few runs are beaten by the next one often: two times in six, with five runs.",
    lambda values, new, t: min(values) <= new <= max(values),
    "a run that is far too *good* does not fit either: something is not as it was.",
    lambda values, new, t: new >= fmean(values) - t * stdev(values) * math.sqrt(1 + 1 / len(values)),
    "the wrong way round: True means that nothing is odd.",
    Then(np.logical_not),
)


# -- simulated grounding -------------------------------------------------------------------------------------------


def _mixed(there: list[bool], elsewhere: list[bool], p: float) -> float:
    return p * fmean(there) + (1 - p) * fmean(elsewhere)


check_at_grounding = Exercise(
    "f(there, elsewhere, p): expected share of right answers if a share p of looks is at the right place.",
    _mixed,
    # the third: led astray by the right crop
    (([1] * 9 + [0], [0] * 8 + [1] * 2, 0.4), ([1, 1, 0, 1], [1, 0, 0, 1], 0.9), ([1, 0], [1, 1], 0.75)),
    "a look elsewhere is not always a wrong answer: some are guessed, or read in the overview. It counts, too.",
    lambda there, elsewhere, p: p * fmean(there),
    "the wrong way round: `p` is the share of looks that are at the right place.",
    lambda there, elsewhere, p: _mixed(elsewhere, there, p),
    "that is what grounding *adds*. How many answers are right in all?",
    lambda there, elsewhere, p: p * (fmean(there) - fmean(elsewhere)),
    "an average of the two whatever `p` is. Weigh them.",
    lambda there, elsewhere, p: _mixed(there, elsewhere, 0.5),
    "that is a count; wanted is a share of the samples.",
    lambda there, elsewhere, p: p * sum(there) + (1 - p) * sum(elsewhere),
    "you take the first samples for grounded and the rest not. Any sample is, with probability p: average over that.",
    lambda there, elsewhere, p: fmean(there[: round(p * len(there))] + elsewhere[round(p * len(there)) :]),
)
