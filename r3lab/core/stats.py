"""Intervals, for every measured mean that is stated with one: the bootstrap over units, Student's t over seeds, both.

    found = mean_interval([0.2, 0.7, 0.4])             # Interval(value=0.433, low=0.2, high=0.7, n=3)
    t_interval([0.91, 0.95, 0.94]); expected([0.91, 0.95, 0.94])      # of the mean; of one more run
    seeds_interval([(0, "badges-test-7-0", 1.0), (1, "badges-test-7-0", 0.0), ...])   # over seeds and samples together

Few seeds want Student's t rather than a bootstrap (which is too narrow for five). Simplified: the percentile bootstrap
over independent units, no correction for bias; over seeds, values are taken as normal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

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


def _times_drawn(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n is drawn where n are, with replacement: (resamples, n)."""
    drawn = rng.integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n)


def seeds_interval(
    rows: Iterable[tuple[int, str, float]], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """The mean over training seeds and samples together, with its percentile interval.

    Seeds are drawn with replacement, then samples with replacement, once for all drawn seeds: a sample that is hard is
    hard for every seed, so that five seeds on the same questions are not five times as many questions. Source: the
    pigeonhole bootstrap (Owen, 2007, arXiv 0712.1111). A few seeds are still few: over S of them it is too narrow by
    about sqrt(1 - 1/S) in what differs from seed to seed; `t_interval` of the seeds' means stands beside it.

    Parameters
    ----------
    rows : (seed, sample, value), each pair of the first two at most once; a measure that says nothing of a sample under
        some seed has no row there
    seed : of the draws; the same gives the same interval

    Returns
    -------
    Interval
        Of the mean of all rows; `n` is the number of samples.

    Raises
    ------
    R3labError
        If there are no rows, a pair is there twice, or a value is not finite.
    """
    cells: dict[tuple[int, str], float] = {}
    for run, sample, value in rows:
        if (run, sample) in cells or not math.isfinite(value):
            why = "is there twice" if (run, sample) in cells else f"has the value {shown(value)}, which is not finite"
            raise R3labError(f"the sample {shown(sample)} of seed {shown(run)} {why}; give one finite value each.")
        cells[run, sample] = value
    if not cells:
        raise R3labError("an interval over seeds and samples needs one row (seed, sample, value) or more; got none.")
    runs = {run: i for i, run in enumerate(sorted({run for run, _ in cells}))}
    samples = {sample: i for i, sample in enumerate(sorted({sample for _, sample in cells}))}
    values, there = np.zeros((2, len(runs), len(samples)))
    for (run, sample), value in cells.items():
        values[runs[run], samples[sample]], there[runs[run], samples[sample]] = value, 1.0
    rng, part, means = np.random.default_rng(seed), max(1, _HELD // len(samples)), list[np.ndarray]()
    for start in range(0, resamples, part):
        count = min(part, resamples - start)
        of_runs = _times_drawn(len(runs), count, rng)
        of_samples = _times_drawn(len(samples), count, rng)
        total, weight = (((of_runs @ held) * of_samples).sum(1) for held in (values, there))
        means.append(total[weight > 0] / weight[weight > 0])  # where rows are few a draw may have met none
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.sum() / there.sum()), float(low), float(high), len(samples), level)


@lru_cache(maxsize=256)
def share_interval(count: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share of which `count` of `of` were counted, 0 to 1; all of it where nothing was."""
    if not of:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), count / of
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


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
