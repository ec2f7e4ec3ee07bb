"""Two ways of doing the same, timed turn by turn in one run: the ratio of their medians is what is reported."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Medians in seconds, and the ratio reference / ours with its least and most over the turns."""

    ours: float
    reference: float
    low: float
    high: float
    turns: int

    @property
    def ratio(self) -> float:
        return self.reference / self.ours


def interleaved(ours: Callable[[], object], reference: Callable[[], object], turns: int = 7) -> Comparison:
    """Run each once to warm up, then both in turn; a machine that slows down slows both."""
    ours(), reference()
    times: list[tuple[float, float]] = []
    for _ in range(turns):
        begin = time.perf_counter()
        ours()
        middle = time.perf_counter()
        reference()
        times.append((middle - begin, time.perf_counter() - middle))
    ratios = [b / a for a, b in times]
    medians = [statistics.median(t) for t in zip(*times, strict=True)]
    return Comparison(medians[0], medians[1], min(ratios), max(ratios), turns)
