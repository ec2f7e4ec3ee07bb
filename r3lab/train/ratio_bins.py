"""How far the policy's probability of each trained token has moved since it was sampled: counts in fixed bins.

The importance ratio is near 1 for most tokens and far from it for a few; its mean and its largest value tell neither
how many nor how far. The bins are those of the log ratio, the same in every run, so that logs can be laid over each
other: half decades to both sides of zero. Without torch, so that whoever draws a log needs none. Simplified: with an
objective whose ratio is that of a sequence (GSPO) these are still the ratios of its tokens.

    EDGES[:2], len(EDGES)          # (-1.0, -0.3), 12: thirteen bins, the first and the last open
    label(6)                       # '-0.003 to 0.003'
"""

from __future__ import annotations

KEY = "log_ratio_counts"  # in a row of a log
EDGES = (-1.0, -0.3, -0.1, -0.03, -0.01, -0.003, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BINS = len(EDGES) + 1


def label(number: int) -> str:
    """A bin in words; the first is 0."""
    if number == 0:
        return f"below {EDGES[0]:g}"
    if number == BINS - 1:
        return f"above {EDGES[-1]:g}"
    return f"{EDGES[number - 1]:g} to {EDGES[number]:g}"
