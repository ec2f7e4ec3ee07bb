"""A mean with its range, as the tables write it.

spread([0.954, 0.968], percent=True)      # "96.1 % (95.4 to 96.8)"
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def spread(values: Sequence[float], percent: bool) -> str:
    """Mean with the least and the most over seeds: `96.1 % (95.4 to 96.8)`."""
    scale, unit, digits = (100, " %", 1) if percent else (1, "", 2)
    low, high = min(values) * scale, max(values) * scale
    return f"{fmean(values) * scale:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
