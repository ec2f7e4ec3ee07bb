"""Rows of training logs as curves: the values of a measure by step, over seeds, with a running mean.

What each measure is called in plain words stands here too. Simplified: the running mean looks back only, so it
lags by half its window; a step that is logged twice counts once, with its later value.

    one = curve([read_log("seed-0.jsonl"), read_log("seed-1.jsonl")], "reward", smooth=10)
    one.steps, one.mean, one.low, one.high                 # (S,) each
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import R3labError, nearest, shown

Rows = Sequence[Mapping[str, Any]]  # of a log; rows without a step (the settings) are passed over
# One log; or by name a log, or the logs of several seeds.
Runs = Rows | Mapping[str, Rows | Sequence[Rows]]
Band = Literal["range", "std"]

# What a measure is called: words, and whether it is a share (drawn in per cent).
MEASURES: dict[str, tuple[str, bool]] = {
    "reward": ("Reward, mean of a step", False),
    "exact": ("Right answers", True),
    "exact_needed": ("Right answers where a look is needed", True),
    "exact_unneeded": ("Right answers where none is needed", True),
    "iou": ("Look on the true region, IoU", False),
    "look_rate": ("Rollouts that look again", True),
    "look_rate_needed": ("Looks where one is needed", True),
    "look_rate_unneeded": ("Looks where none is needed", True),
    "looks": ("Looks a rollout", False),
    "invalid": ("Boxes that could not be used", True),
    "answered": ("Rollouts that answer", True),
    "entropy": ("Entropy, nats a token", False),
    "length": ("Length, sampled tokens", False),
    "reward_std": ("Spread of reward within a group", False),
    "zero_variance": ("Groups without a signal", True),
    "ratio_mean": ("Importance ratio, mean", False),
    "ratio_max": ("Importance ratio, largest", False),
    "clip_fraction_low": ("Tokens clipped below", True),
    "clip_fraction_high": ("Tokens clipped above", True),
    "approx_kl": ("KL from the sampling policy", False),
    "grad_norm": ("Norm of the gradient", False),
    "loss": ("Loss", False),
}
KEYS = ("reward", "exact", "iou", "look_rate", "entropy", "zero_variance")


@dataclass(frozen=True)
class Curve:
    """One measure of one named run over `steps`; the three others have a value a step, NaN where there is none."""

    steps: np.ndarray  # (S,)
    raw: np.ndarray  # mean over seeds
    mean: np.ndarray  # its running mean
    low: np.ndarray  # of the running means of the seeds
    high: np.ndarray
    seeds: int

    @property
    def last(self) -> float:
        """The last running mean, NaN if there is none."""
        known = self.mean[np.isfinite(self.mean)]
        return float(known[-1]) if len(known) else math.nan


def series(rows: Rows, key: str) -> dict[float, float]:
    """The finite values of a measure by step; of a step that is logged twice, the later."""
    found = {}
    for row in rows:
        step, value = row.get("step"), row.get(key)
        if _number(step) and _number(value):
            found[float(step)] = float(value)  # type: ignore[arg-type]
    return found


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    return bool(np.isfinite(float(value)))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` known values up to each place, (S,); NaN before the first."""
    known = np.isfinite(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curve(logs: Sequence[Rows], key: str, smooth: int | None = None, band: Band = "range") -> Curve:
    """A measure of a run, over its seeds.

    Parameters
    ----------
    logs
        The log of every seed.
    key
        The measure.
    smooth
        Steps of the running mean; by default a twelfth of all.
    band
        "range" from lowest to highest seed, "std" one standard deviation to either side.
    """
    found = [series(rows, key) for rows in logs]
    steps = np.array(sorted(set().union(*found)), dtype=float)
    window = smooth if smooth is not None else max(1, round(len(steps) / 12))
    raw = np.array([[one.get(step, np.nan) for step in steps] for one in found]).reshape(len(found), -1)
    smoothed = np.array([running_mean(row, max(1, window)) for row in raw]).reshape(len(found), -1)
    mean, spread = _mean(smoothed), np.zeros(len(steps))
    if band == "std" and len(steps):
        spread = np.sqrt(_mean((smoothed - mean) ** 2))
        low, high = mean - spread, mean + spread
    else:
        low = np.where(np.isfinite(smoothed), smoothed, np.inf).min(axis=0, initial=np.inf)
        high = np.where(np.isfinite(smoothed), smoothed, -np.inf).max(axis=0, initial=-np.inf)
    return Curve(steps, _mean(raw), mean, low, high, sum(bool(one) for one in found))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over seeds of (N, S), NaN where no seed has a value."""
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def named(runs: Runs) -> dict[str, list[Rows]]:
    """Whatever `curves` takes as name -> logs of the seeds.

    Raises
    ------
    R3labError
        If it is none of the forms.
    """
    wanted = "rows of a log, or a mapping from names to a log or to the logs of several seeds"
    groups: Any = runs if isinstance(runs, Mapping) else {"": runs}
    found: dict[str, list[Rows]] = {}
    for name, value in groups.items():
        logs = [value] if isinstance(value, Sequence) and all(isinstance(row, Mapping) for row in value) else value
        fits = isinstance(logs, Sequence) and not isinstance(logs, str | bytes)
        if not fits or not all(isinstance(log, Sequence) and all(isinstance(r, Mapping) for r in log) for log in logs):
            raise R3labError(f"Cannot draw curves of {shown(value)}; give {wanted}.")
        found[str(name)] = list(logs)
    return found


def measures(logs: Mapping[str, list[Rows]], keys: Sequence[str] | None) -> list[str]:
    """The measures to draw: those asked for, or the usual ones that the logs have.

    Raises
    ------
    R3labError
        If one that was asked for is in no row of any log (unless all are empty).
    """
    have = {key for group in logs.values() for rows in group for row in rows if _number(row.get("step")) for key in row}
    if keys is None:
        return [key for key in KEYS if key in have] or list(KEYS)
    for key in keys:
        if have and key not in have:
            raise R3labError(f"No row of the log has {shown(key)}.{nearest(str(key), sorted(have))}")
    return list(keys)
