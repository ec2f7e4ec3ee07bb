"""Resampling with replacement, for every measured mean that is stated with an interval.

    found = mean_interval([0.2, 0.7, 0.4])             # Interval(value=0.433, low=0.2, high=0.7, n=3)

Simplified: the percentile bootstrap over independent units, no correction for bias. `evaluate.bootstrap` builds strata
and paired differences on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import R3labError, shown

RESAMPLES, LEVEL = 2000, 0.95
_HELD = 4_000_000  # draws held at once: 32 MB


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
        Scores of the units, (n,).
    resamples
        How many samples of n.
    rng
        Source of the draws.

    Returns
    -------
    ndarray
        (resamples,)
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
