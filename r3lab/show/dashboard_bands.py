"""From the logs of several runs to lines: smoothing, the mean over runs, and a band that says how far they lie apart.

Smoothing is the mean of the last N steps of a run, never of what comes later. The mean over runs is taken only where
every run of the group has a value: where the shortest ends, the mean ends, since a mean over changing runs jumps for no
reason of theirs. Two bands: "range", from the lowest to the highest run, which claims nothing beyond what was seen, and
"interval", Student's 95 % interval of the mean, from three runs on (of two it is nine standard deviations wide).

    lines = course([read_log_file("a"), read_log_file("b")], "reward", smooth=25, band="range")
    lines.steps, lines.mean, lines.low, lines.high, lines.runs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from ..errors import R3labError, nearest, shown
from .dashboard_logs import Log, Series

Band = Literal["range", "interval"]
BANDS: tuple[str, ...] = get_args(Band)
LEVEL = 0.95
LEAST = 3  # runs of an interval
POINTS = 1200  # of a line at most: more would not be seen


@dataclass(frozen=True)
class Course:
    """A measure of a group of runs.

    Attributes
    ----------
    steps : (S,) of the mean
    raw : (S,) mean over runs of the values as logged, NaN where one has none
    mean : (S,) mean over runs of the smoothed values
    low, high : (S,) the band; NaN where there is none
    runs : that have the measure
    tails : of runs that go on where the mean has ended, their smoothed values: (steps, values)
    """

    steps: np.ndarray
    raw: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int
    tails: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last smoothed value; NaN if there is none."""
        finite = self.mean[np.isfinite(self.mean)]
        return (float(finite[0]), float(finite[-1])) if len(finite) else (math.nan, math.nan)


def smoothed(series: Series, window: int) -> np.ndarray:
    """Means of the values that the last `window` steps have, at each step of a series, (S,); NaN if they have none."""
    fine = np.isfinite(series.values)
    total = np.concatenate([[0.0], np.cumsum(np.where(fine, series.values, 0.0))])
    count = np.concatenate([[0], np.cumsum(fine)])
    begin = np.searchsorted(series.steps, series.steps - window, side="right")
    end = np.arange(1, len(series.steps) + 1)
    known = count[end] - count[begin]
    return np.where(known > 0, (total[end] - total[begin]) / np.maximum(known, 1), np.nan)


def course(logs: Sequence[Log], key: str, smooth: int, band: str = "range") -> Course:
    """Lines of a measure of a group of runs.

    Parameters
    ----------
    smooth
        Steps of the running mean; 1 for none.
    band
        "range" or "interval"; see the module's docstring.
    """
    found = [log.series[key] for log in logs if key in log.series]
    if not found:
        none = np.empty(0)
        return Course(none, none, none, none, none, 0)
    soft = [smoothed(one, smooth) for one in found]
    if len(found) == 1:
        steps = found[0].steps
        gap = np.full(len(steps), np.nan)
        return _broken(_thinned(Course(steps, found[0].values, soft[0], gap, gap, 1)), smooth)
    first = max(one.steps[0] for one in found)
    until = min(one.steps[-1] for one in found)
    steps = np.unique(np.concatenate([one.steps for one in found]))
    steps = steps[(steps >= first) & (steps <= until)]
    values = np.array([_at(one.steps, line, steps) for one, line in zip(found, soft, strict=True)])  # (N, S)
    raw = np.array([_at(one.steps, one.values, steps) for one in found])
    mean = values.mean(axis=0)  # NaN where one has none
    low, high = band_of(values, band)
    tails = tuple(
        (one.steps[one.steps >= until], line[one.steps >= until])
        for one, line in zip(found, soft, strict=True)
        if one.steps[-1] > until
    )
    return _broken(_thinned(Course(steps, raw.mean(axis=0), mean, low, high, len(found), tails)), smooth)


def _at(steps: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values at wanted steps, NaN where there is none."""
    place = np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)
    return np.where(steps[place] == wanted, values[place], np.nan)


def band_of(values: np.ndarray, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end (S,) over runs of (N, S); NaN where a run has no value, or the runs are too few."""
    n = len(values)
    if band == "range":
        return values.min(axis=0), values.max(axis=0)
    if n < LEAST:
        gap = np.full(values.shape[1], np.nan)
        return gap, gap
    half = student(n - 1) * values.std(axis=0, ddof=1) / math.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


@lru_cache(maxsize=256)
def student(freedom: int, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t: P(|T| <= t) = level (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        square = math.cos(angle) ** 2
        odd = freedom % 2
        term, total = 1.0, 0.0
        for k in range(freedom // 2):  # 1 + 1/2 c^2 + 1*3/(2*4) c^4 ... (even), 1 + 2/3 c^2 + ... (odd)
            total += term
            term *= square * (2 * k + 1 + odd) / (2 * k + 2 + odd)
        if not odd:
            return math.sin(angle) * total
        return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total)

    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < level else (low, middle)
    return (low + high) / 2


def _thinned(one: Course) -> Course:
    """At most `POINTS` of a line, evenly; the last is kept."""
    if len(one.steps) <= POINTS:
        return one
    keep = np.unique(np.linspace(0, len(one.steps) - 1, POINTS).round().astype(int))
    return Course(
        one.steps[keep], one.raw[keep], one.mean[keep], one.low[keep], one.high[keep], one.runs,
        tuple((x[:: 1 + len(x) // POINTS], y[:: 1 + len(x) // POINTS]) for x, y in one.tails),
    )  # fmt: skip


def _broken(one: Course, smooth: int) -> Course:
    """No line over a stretch far longer than its other ones, for which nothing was logged: NaN in its middle."""
    between = np.diff(one.steps)
    wide = np.flatnonzero(between > max(smooth, 4 * np.median(between))) if len(between) else between.astype(int)
    if not len(wide):
        return one
    middle = one.steps[wide] + between[wide] / 2
    lines = (np.insert(line, wide + 1, np.nan) for line in (one.raw, one.mean, one.low, one.high))
    raw, mean, low, high = lines
    return Course(np.insert(one.steps, wide + 1, middle), raw, mean, low, high, one.runs, one.tails)


def profile(logs: Sequence[Log], key: str, smooth: int) -> np.ndarray | None:
    """Share of tokens in each bin over the last `smooth` steps of a group's runs, (B,); None if no run has counts."""
    found = [log.series[key] for log in logs if key in log.series]
    if not found:
        return None
    counts = sum(np.nansum(one.values[one.steps > one.steps[-1] - smooth], axis=0) for one in found)
    return np.asarray(counts / np.sum(counts)) if np.sum(counts) > 0 else None


def checked_band(band: str) -> str:
    """The band, if there is such a one.

    Raises
    ------
    R3labError
        Naming what there is.
    """
    if band not in BANDS:
        raise R3labError(f"There is no band {shown(band)}; there is {', '.join(BANDS)}.{nearest(str(band), BANDS)}")
    return band
