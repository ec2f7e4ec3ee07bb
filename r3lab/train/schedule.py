"""Learning-rate schedules: of the supervised stages, and the fall at the end of a run whose rate is constant.

factor = schedule(step, steps=1000, final=0.1)
factor = cooldown(step, steps=400, last=150)
"""

from __future__ import annotations

import math


def schedule(step: int, steps: int, final: float, warm: int = 100) -> float:
    """Factor on the learning rate: linear up over `warm` steps, then a cosine down to `final`."""
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def cooldown(step: int, steps: int, last: int) -> float:
    """Factor on a constant rate that falls linearly towards 0 over the `last` of `steps` steps.

    What a constant rate leaves of noise in the weights is averaged out at the end; before that the run is the same as
    without (Hägele et al., arXiv 2405.18392).
    """
    return min(1.0, (steps - step) / (last + 1))
