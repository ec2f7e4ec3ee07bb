"""Learning-rate schedule of the supervised stages (R-GRPO keeps its rate constant, as published).

factor = schedule(step, steps=1000, final=0.1)
"""

from __future__ import annotations

import math


def schedule(step: int, steps: int, final: float, warm: int = 100) -> float:
    """Factor on the learning rate: linear up over `warm` steps, then a cosine down to `final`."""
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
