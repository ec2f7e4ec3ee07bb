"""The exercises of notebook 08: an interval over seeds, a paired difference, a new run, a simulated grounding.

check_seed_interval(seed_interval)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, pstdev, stdev
from typing import Any

from ..core.stats import student
from .judge import Exercise

FIVE = student(0.95, 4)  # 2.776
SEEDS = (
    ([0.95, 0.93, 0.96, 0.91, 0.95], FIVE),
    ([0.41, 0.44, 0.30, 0.52, 0.38, 0.45, 0.40], student(0.95, 6)),
    ([0.2, 0.8], student(0.95, 1)),
)


def _about(values: list[float], half: float) -> tuple[float, float]:
    return fmean(values) - half, fmean(values) + half


# -- an interval over seeds ----------------------------------------------------------------------------------------


def _interval(spread: Callable[[list[float]], float], power: float) -> Callable[[list[float], float], Any]:
    return lambda values, t: _about(values, t * spread(values) / len(values) ** power)


check_seed_interval = Exercise(
    "f(values, t): the two ends of the 95 % interval of the mean over seeds.",
    _interval(stdev, 0.5),
    SEEDS,
    {
        "you divide by n inside the spread. The mean was taken from the same few values and lies too near to them; "
        "n - 1 makes up for it (`statistics.stdev`, or `ddof=1`).": [_interval(pstdev, 0.5)],
        "that is how far *single runs* scatter. The mean of n of them scatters less, by the square root of n.": [
            _interval(stdev, 0.0),
            _interval(pstdev, 0.0),
        ],
        "you divide by n. Variances of means fall with n, so spreads fall with its square root.": [
            _interval(stdev, 1.0)
        ],
        "that is the variance; an interval wants its square root, in the unit of the values.": [
            _interval(lambda values: stdev(values) ** 2, 0.5),
            _interval(lambda values: stdev(values) ** 2, 1.0),
        ],
        "you leave out `t`: one standard error to each side holds the truth two times in three only.": [
            lambda values, t: _about(values, stdev(values) / math.sqrt(len(values)))
        ],
        "that is from the worst to the best seed. It grows with every seed that you add; an interval of the mean "
        "must shrink.": [lambda values, t: (min(values), max(values))],
        "you return half the width alone. Wanted are the two ends, around the mean.": [
            lambda values, t: t * stdev(values) / math.sqrt(len(values))
        ],
    },
)


# -- seed by seed --------------------------------------------------------------------------------------------------


def _paired(full: list[float], other: list[float]) -> tuple[float, float]:
    apart = [b - a for a, b in zip(full, other, strict=True)]
    return fmean(apart), stdev(apart) / math.sqrt(len(apart))


def _unpaired(full: list[float], other: list[float]) -> tuple[float, float]:
    error = math.sqrt(stdev(full) ** 2 / len(full) + stdev(other) ** 2 / len(other))
    return fmean(other) - fmean(full), error


check_paired = Exercise(
    "f(full, other): mean difference at the same seed, and its standard error.",
    _paired,
    (
        ([0.95, 0.90, 0.97, 0.88, 0.93], [0.91, 0.85, 0.94, 0.84, 0.88]),  # all fall, by nearly as much
        ([0.5, 0.7, 0.6], [0.8, 0.4, 0.75]),  # better on average, and not sure
        ([0.9, 0.1], [0.7, 0.3]),
    ),
    {
        "the mean is right, the error is that of *unpaired* runs. Seeds that are hard for both are no reason for "
        "doubt: subtract seed by seed first, then look at how the differences scatter.": [
            _unpaired,
            lambda full, other: (fmean(other) - fmean(full), math.hypot(stdev(full), stdev(other))),
        ],
        "the sign: a part that is missed must come out below zero.": [lambda full, other: _paired(other, full)],
        "that is the spread of the differences. Their mean is surer, by the square root of their number.": [
            lambda full, other: (_paired(full, other)[0], _paired(full, other)[1] * math.sqrt(len(full)))
        ],
        "n - 1 below the squares, not n: the mean was taken from the same differences.": [
            lambda full, other: (
                _paired(full, other)[0],
                pstdev([b - a for a, b in zip(full, other, strict=True)]) / math.sqrt(len(full)),
            )
        ],
        "you compare sizes of differences. A seed that gains and one that loses must cancel out: no `abs`.": [
            lambda full, other: _paired([0.0] * len(full), [abs(b - a) for a, b in zip(full, other, strict=True)]),
            lambda full, other: (abs(_paired(full, other)[0]), _paired(full, other)[1]),
        ],
        "that is a share of the whole method's accuracy. Points are differences.": [
            lambda full, other: _paired([1.0] * len(full), [b / a for a, b in zip(full, other, strict=True)]),
            lambda full, other: _paired([0.0] * len(full), [(b - a) / a for a, b in zip(full, other, strict=True)]),
        ],
        "you sort the two lists, and so compare runs of different seeds.": [
            lambda full, other: _paired(sorted(full), sorted(other))
        ],
    },
)


# -- one more run --------------------------------------------------------------------------------------------------


def _inside(widen: Callable[[int], float]) -> Callable[[list[float], float, float], bool]:
    return lambda values, new, t: abs(new - fmean(values)) <= t * stdev(values) * widen(len(values))


_USUAL, _FEW = [0.95, 0.93, 0.96, 0.91, 0.95], [0.60, 0.64]
check_as_expected = Exercise(
    "f(values, new, t): whether a new run falls where one more run is to be expected.",
    _inside(lambda n: math.sqrt(1 + 1 / n)),
    (
        (_USUAL, 0.94, 2.776),
        (_USUAL, 0.912, 2.776),  # in the range, outside of the mean's interval
        (_USUAL, 0.90, 2.776),  # outside of the mean's interval, and of the range, and nothing unusual
        (_USUAL, 0.884, 2.776),  # just inside thanks to the mean's own error
        (_USUAL, 0.87, 2.776),
        (_USUAL, 0.975, 2.776),
        (_USUAL, 1.01, 2.776),  # too good is a surprise, too
        (_FEW, 0.95, 12.706),
        (_FEW, 0.25, 12.706),
        (_FEW, 1.07, 12.706),
    ),
    {
        "that is the interval of the *mean*. A single run scatters far wider than the mean of five.": [
            _inside(lambda n: math.sqrt(1 / n))
        ],
        "nearly: you take the mean for known. It was estimated from the same few runs, and its error adds to the "
        "scatter of the new one: the variances add up.": [_inside(lambda n: 1.0)],
        "spreads of independent things do not add up, their squares do.": [_inside(lambda n: 1 + math.sqrt(1 / n))],
        "the worst and the best of a few runs are beaten by the next one surprisingly often: two times in six, "
        "with five runs.": [lambda values, new, t: min(values) <= new <= max(values)],
        "a run that is far too *good* does not fit either: something is not as it was.": [
            lambda values, new, t: new >= fmean(values) - t * stdev(values) * math.sqrt(1 + 1 / len(values))
        ],
        "the wrong way round: True means that nothing is odd.": [
            lambda values, new, t: abs(new - fmean(values)) > t * stdev(values) * math.sqrt(1 + 1 / len(values))
        ],
    },
)


# -- simulated grounding -------------------------------------------------------------------------------------------


def _mixed(there: list[bool], elsewhere: list[bool], p: float) -> float:
    return p * fmean(there) + (1 - p) * fmean(elsewhere)


check_at_grounding = Exercise(
    "f(there, elsewhere, p): expected share of right answers if a share p of looks is at the right place.",
    _mixed,
    (
        ([True] * 9 + [False], [False] * 8 + [True] * 2, 0.4),
        ([True, True, False, True], [True, False, False, True], 0.9),
        ([True, False], [True, True], 0.75),  # led astray by the right crop
        ([True, True, True], [False, True, False], 1.0),
    ),
    {
        "a look elsewhere is not always a wrong answer: some are guessed, or read in the overview. `elsewhere` "
        "counts, too.": [lambda there, elsewhere, p: p * fmean(there)],
        "the wrong way round: `p` is the share of looks that are at the right place.": [
            lambda there, elsewhere, p: _mixed(elsewhere, there, p)
        ],
        "that is what grounding *adds*. How many answers are right in all?": [
            lambda there, elsewhere, p: p * (fmean(there) - fmean(elsewhere)),
            lambda there, elsewhere, p: fmean(there) - fmean(elsewhere),
        ],
        "an average of the two whatever `p` is. Weigh them.": [
            lambda there, elsewhere, p: (fmean(there) + fmean(elsewhere)) / 2
        ],
        "that is a count; wanted is a share of the samples.": [
            lambda there, elsewhere, p: p * sum(there) + (1 - p) * sum(elsewhere)
        ],
        "you take the first samples for grounded and the rest not. Any sample is, with probability p: average over "
        "that.": [
            lambda there, elsewhere, p: fmean(there[: round(p * len(there))] + elsewhere[round(p * len(there)) :])
        ],
    },
)
