"""Numbers of a sweep's table, ready to be drawn: means over repeats by one or two parameters.

Only points that are done count, and results that are numbers (a truth value counts as 0 or 1). What varies beside the
parameters that are drawn, the seed above all, is averaged over. Simplified: a mean needs one repeat only; a band over
one repeat has no width.

    table = read_table("runs/sweeps/lesson/table.csv")
    found = means(table, "accuracy", ("group", "rate"))
    found[8, 0.5]                                          # Mean(value=0.93, low=0.91, high=0.95, n=5)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import R3labError, nearest, shown
from ..resampling import mean_interval
from ..sweep_table import Table
from .lettering import one_line

Band = Literal["range", "interval"]
SEED = "seed"  # the parameter that only repeats


@dataclass(frozen=True)
class Mean:
    """A mean over repeats, with its band."""

    value: float
    low: float
    high: float
    n: int


def means(table: Table, result: str, by: Sequence[str], band: Band = "range") -> dict[tuple[Any, ...], Mean]:
    """The mean of a result at each combination of values.

    Parameters
    ----------
    table
        From `sweep_table.read_table`.
    result
        Name of a result.
    by
        Names of parameters.
    band
        "range" from the lowest to the highest repeat, "interval" the 95 % bootstrap interval of the mean.

    Returns
    -------
    dict
        Values of `by` to their mean, in the order of the values; combinations without a number are not there.

    Raises
    ------
    R3labError
        The table has no such result, or no such parameter.
    """
    for name, known, kind in [(result, table.results, "result"), *((n, table.parameters, "parameter") for n in by)]:
        if name not in known:
            have = ", ".join(one_line(k, 60) for k in known[:20]) or "none"
            raise R3labError(f"The table has no {kind} {shown(name)}.{nearest(str(name), known)} It has {have}.")
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in table.rows:
        number = number_of(row[result])
        if row["status"] == "ok" and number is not None:
            groups.setdefault(tuple(row[name] for name in by), []).append(number)
    return {key: _mean(groups[key], band) for key in sorted(groups, key=lambda key: [order(value) for value in key])}


def _mean(values: Sequence[float], band: Band) -> Mean:
    mean = sum(values) / len(values)
    if band == "interval":
        found = mean_interval(values)
        return Mean(mean, found.low, found.high, len(values))
    return Mean(mean, min(values), max(values), len(values))


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


def order(value: Any) -> tuple[int, float, str]:
    """Numbers first and by size, then text, nothing last."""
    number = number_of(value)
    if number is not None:
        return 0, number, ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def values_of(table: Table, parameter: str) -> list[Any]:
    """The values that a parameter has at points that are done, in order."""
    return sorted({row[parameter] for row in table.rows if row["status"] == "ok"}, key=order)


def varied(table: Table) -> list[str]:
    """Parameters with several values, without the seed; those with most values first, numbers before text."""
    several = [name for name in table.parameters if name != SEED and len(values_of(table, name)) > 1]
    return sorted(several, key=lambda name: (not numeric(values_of(table, name)), -len(values_of(table, name))))


def numeric(values: Sequence[Any]) -> bool:
    """Whether all of them are numbers (truth values are names)."""
    return all(number_of(value) is not None and not isinstance(value, bool) for value in values)


def measured(table: Table) -> list[str]:
    """Results that are numbers at one point at least."""
    done = [row for row in table.rows if row["status"] == "ok"]
    return [name for name in table.results if any(number_of(row[name]) is not None for row in done)]


def averaged(table: Table, drawn: Sequence[str]) -> list[str]:
    """Parameters with several values that are not drawn: the means go over them."""
    return [name for name in table.parameters if name not in drawn and len(values_of(table, name)) > 1]


def label(value: Any, limit: int = 24) -> str:
    """A value as it stands at an axis."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else one_line(value, limit)
