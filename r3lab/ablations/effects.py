"""What leaving a part out does, over seeds: means with intervals, differences seed by seed, and where a new run falls.

    for effect in effects(result["rows"]):
        print(effect.variant, effect.mean.value, effect.difference)     # against the whole method, same seed
    low, high = expected(list(values_of(result["rows"], "full").values()))    # 99 % of further runs lie between

A run differs from another by its seed: of the lessons, of the questions, of sampling. Few seeds want Student's t
rather than a bootstrap (which is too narrow for five). Simplified: values are taken as normal, no correction for many
comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from ..errors import R3labError, nearest, shown
from ..resampling import LEVEL, Interval
from .variants import FULL, VARIANTS

NEW_RUN = 0.99  # of further runs inside the band


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


def values_of(rows: Sequence[Mapping[str, Any]], variant: str, key: str = "exact") -> dict[int, float]:
    """A measure of a variant by seed; seeds in which there was nothing to average are left out.

    Raises
    ------
    R3labError
        If the rows hold no such variant, or no such measure.
    """
    own = [row for row in rows if row["variant"] == variant]
    if not own:
        raise R3labError(f"no rows of {shown(variant)}.{nearest(variant, [r['variant'] for r in rows])}")
    if not any(key in row for row in own):
        raise R3labError(f"rows of {shown(variant)} have no {shown(key)}.{nearest(key, own[0])}")
    return {int(row["seed"]): float(row[key]) for row in own if row.get(key) is not None}


def effects(rows: Sequence[Mapping[str, Any]], key: str = "exact") -> list[Effect]:
    """All variants in the order of the rows, each against the whole method.

    Parameters
    ----------
    rows : of ablations.json
    key : a measure of the held-out summary

    Raises
    ------
    R3labError
        If there are no rows of the whole method, or a variant shares fewer than two seeds with it.
    """
    whole, found = values_of(rows, FULL, key), []
    for name in dict.fromkeys(row["variant"] for row in rows):
        values = values_of(rows, name, key)
        apart = [values[seed] - whole[seed] for seed in sorted(values.keys() & whole.keys())]
        about = VARIANTS[name].about if name in VARIANTS else ""
        difference = None if name == FULL else t_interval(apart)
        found.append(Effect(name, about, values, t_interval(list(values.values())), difference))
    return found
