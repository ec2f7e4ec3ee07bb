"""How sure a measured number is: percentile bootstrap over units, and the paired difference of two arms.

Units (answers, pairs, figures) are drawn anew within each stratum, the same way for a seed. Simplified: units are taken
as independent, although HR-Bench asks each question in four cycles; no correction for bias.

    interval(measure)                                  # Interval(value=0.70, low=0.67, high=0.73, n=1000)
    interval(difference(looks, answers_at_once))       # sure if low > 0
"""

from __future__ import annotations

import numpy as np

from ..resampling import LEVEL, RESAMPLES, Interval, resampled_means
from .grades import Measure
from .record import BenchmarkError


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
