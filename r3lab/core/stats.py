"""Intervals, for every measured mean that is stated with one: the bootstrap over units, Student's t over seeds.

    found = mean_interval([0.2, 0.7, 0.4])             # Interval(value=0.433, low=0.2, high=0.7, n=3)
    t_interval([0.91, 0.95, 0.94]); expected([0.91, 0.95, 0.94])      # of the mean; of one more run

Few seeds want Student's t rather than a bootstrap (which is too narrow for five). Simplified: the percentile bootstrap
over independent units, no correction for bias; over seeds, values are taken as normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import numpy as np

from .errors import R3labError, shown

RESAMPLES, LEVEL = 2000, 0.95
NEW_RUN = 0.99  # of further runs inside the band
_HELD = 4_000_000  # draws held at once: 32 MB


# How far the policy's probability of each trained token has moved since it was sampled, as counts in fixed bins of the
# log ratio: half decades to both sides of zero, the same in every run, so that logs can be laid over each other. (The
# importance ratio is near 1 for most tokens and far from it for a few: its mean and largest value tell neither how many
# nor how far.) With an objective whose ratio is that of a sequence (GSPO) these are still the ratios of its tokens.
LOG_RATIO_COUNTS = "log_ratio_counts"  # in a row of a log
LOG_RATIO_EDGES = (-1.0, -0.3, -0.1, -0.03, -0.01, -0.003, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LOG_RATIO_BINS = len(LOG_RATIO_EDGES) + 1  # the first and the last are open


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval, over `n` units."""

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL


def resampled_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of samples with replacement.

    Parameters
    ----------
    values
        Scores of the units, (n,), or several of each, (n, k).
    resamples
        How many samples of n.
    rng
        Source of the draws.

    Returns
    -------
    ndarray
        (resamples,), or (resamples, k)
    """
    n = len(values)
    part = max(1, _HELD // n)
    means = [
        values[rng.integers(0, n, (min(part, resamples - start), n))].mean(axis=1)  # (part, n) to (part,)
        for start in range(0, resamples, part)
    ]
    return np.concatenate(means)


def mean_interval(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """The mean of plain numbers with its percentile interval; the same seed gives the same interval.

    Raises
    ------
    R3labError
        If there are no numbers, or one of them is not finite.
    """
    found = np.asarray(values, dtype=float)
    if found.size == 0 or not np.isfinite(found).all():
        raise R3labError(f"An interval needs at least one number, all of them finite; got {shown(list(values)[:5])}.")
    means = resampled_means(found, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(found.mean()), float(low), float(high), int(found.size), level)


@lru_cache(maxsize=256)
def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t: `level` of the distribution lies between minus and plus this.

    Parameters
    ----------
    level : between 0 and 1
    freedom : degrees of freedom, 1 or more

    Source: the closed form for whole numbers (Abramowitz and Stegun, 26.7.3 and 26.7.4), inverted by halving.
    """

    def inside(t: float) -> float:
        angle, even = math.atan(t / math.sqrt(freedom)), freedom % 2 == 0
        term, total = (1.0, 1.0) if even else (math.cos(angle), math.cos(angle))
        for k in range(1 if even else 2, freedom - 2, 2):
            term *= k / (k + 1) * math.cos(angle) ** 2
            total += term
        if even:
            return math.sin(angle) * total
        return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))

    if not 0 < level < 1 or freedom < 1:
        raise R3labError(
            f"no quantile at level {level} with {freedom} degrees of freedom; wanted 0 to 1, and 1 or more"
        )
    low, high = 0.0, 1.0
    while inside(high) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return (low + high) / 2


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2 or not all(math.isfinite(v) for v in values):
        raise R3labError(f"a spread over seeds needs two finite values or more; got {shown(list(values)[:5])}")
    return fmean(values), stdev(values)


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean over seeds with its interval by Student's t.

    Raises
    ------
    R3labError
        If there are fewer than two values, or one is not finite.
    """
    mean, spread = _mean_and_spread(values)
    half = student(level, len(values) - 1) * spread / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values), level)


def expected(values: Sequence[float], level: float = NEW_RUN) -> tuple[float, float]:
    """Where one more run of the same kind falls, `level` of the time: wider than the interval of the mean.

    Raises
    ------
    R3labError
        If there are fewer than two values, or one is not finite.
    """
    mean, spread = _mean_and_spread(values)
    half = student(level, len(values) - 1) * spread * math.sqrt(1 + 1 / len(values))
    return mean - half, mean + half


@dataclass(frozen=True)
class Effect:
    """One line of the comparison.

    Attributes
    ----------
    variant, about : what it is
    values : by seed
    mean : over seeds, with its interval
    difference : this less the whole method at the same seed, with its interval; None for the whole method itself
    """

    variant: str
    about: str
    values: Mapping[int, float]
    mean: Interval
    difference: Interval | None
