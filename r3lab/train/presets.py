"""The objectives that have a name, and what an objective is made of; `objective` computes it.

Nothing here loads torch, so that `r3lab train rgrpo --help` is quick.

    Objective(aggregation="token")                        # DAPO's, as OBJECTIVES["dapo"]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.errors import R3labError, nearest

RATIOS = ("token", "sequence", "cispo", "none")  # see `objective.surrogate`
AGGREGATIONS = ("sequence", "token", "fixed", "sum")
CHOICES = {  # what `objective.ADVANTAGES` and `objective.KL_ESTIMATORS` know
    "advantage": ("grpo", "dr-grpo", "leave-one-out", "batch"),
    "ratio": RATIOS,
    "aggregation": AGGREGATIONS,
    "kl": ("k1", "k2", "k3"),
}
SPANS = ("reason", "box", "answer")  # of a rollout; see `objective.spans`


def known_as(name: str, value: str) -> str:
    """The value of one of `CHOICES`, if it is known; else an `R3labError` that names the nearest."""
    known = CHOICES[name]
    if value not in known:
        raise R3labError(f"unknown {name} {value!r}; known: {', '.join(known)}.{nearest(value, known)}")
    return value


@dataclass(frozen=True)
class Objective:
    """What is maximised; the defaults are those published for VLM-R3.

    Attributes
    ----------
    advantage : see `objective.advantages`
    ratio : "token": the PPO surrogate; "sequence": GSPO; "cispo": CISPO; "none": REINFORCE; see `objective.surrogate`
    aggregation : "sequence": mean over a row's tokens, then over rows (GRPO); "token": mean over all tokens of the
        batch (DAPO, arXiv 2503.14476, equation 8); "fixed": sum over tokens, divided by rows x `length` (Dr. GRPO,
        arXiv 2503.20783, section 3.2); "sum": sum over a row's tokens, mean over rows (RLOO: a row is one action)
    clip_low, clip_high : the ratio is held to 1 - clip_low ... 1 + clip_high (apart: DAPO, section 3.1); a ratio is
        above zero, so that a `clip_low` of 1 holds nothing
    length : the constant of "fixed"
    kl, kl_weight : estimator of the distance to the reference policy, and its weight; 0: none
    entropy_weight : weight of the mean entropy of the sampled tokens' distributions, maximised; 0: none
    """

    advantage: str = "grpo"
    ratio: str = "token"
    aggregation: str = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.28
    length: int = 96
    kl: str = "k3"
    kl_weight: float = 0.0
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in CHOICES:
            known_as(name, getattr(self, name))
        if self.clip_low < 0 or self.clip_high < 0 or self.length <= 0:
            raise R3labError(
                f"clip_low and clip_high must not be negative and length must be above zero, "
                f"got {self.clip_low}, {self.clip_high}, {self.length}"
            )


PUBLISHED = Objective()
OBJECTIVES = {
    "r-grpo": PUBLISHED,
    "grpo": Objective(clip_high=0.2),
    "dapo": Objective(aggregation="token"),
    "dr-grpo": Objective(advantage="dr-grpo", aggregation="fixed", clip_high=0.2),
    "gspo": Objective(ratio="sequence", clip_low=3e-4, clip_high=4e-4),
    "cispo": Objective(ratio="cispo", aggregation="token", clip_low=1.0),
    "rloo": Objective(advantage="leave-one-out", ratio="none", aggregation="sum", clip_low=1.0, clip_high=math.inf),
    "reinforce++-baseline": Objective(advantage="batch", aggregation="token", clip_high=0.2),
}
