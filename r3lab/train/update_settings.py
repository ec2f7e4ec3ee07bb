"""What an update maximises, as settings of the command line and as an `Objective`.

objective_of(UpdateSettings(objective="dapo", kl_weight=0.01))
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import R3labError, nearest
from .objective import OBJECTIVES, Objective
from .settings import setting


@dataclass(frozen=True)
class UpdateSettings:
    """What an update maximises, and how; where the paper gives a value it is named."""

    objective: str = setting("r-grpo", f"one of {', '.join(OBJECTIVES)}")
    clip_low: float = setting(-1.0, "lower clip of the ratio; below zero: the objective's own (paper: 0.2)")
    clip_high: float = setting(-1.0, "upper clip of the ratio; below zero: the objective's own (paper: 0.28)")
    kl_weight: float = setting(0.0, "weight of the distance to the policy at the start (paper: 0)")
    kl: str = setting("k3", "its estimator: k1, k2 or k3")
    entropy_weight: float = setting(0.0, "weight of the entropy of the sampled tokens, maximised")
    credit_reason: float = setting(1.0, "factor on the advantage of reasoning tokens")
    credit_box: float = setting(1.0, "factor on the advantage of box tokens")
    credit_answer: float = setting(1.0, "factor on the advantage of answer tokens")
    temperature: float = setting(1.0, "sampling temperature (paper)")
    max_new_tokens: int = setting(96, "sampled tokens a rollout may have")
    max_grad_norm: float = setting(1.0, "gradient norm above which the gradient is scaled down")
    freeze_vision: bool = setting(True, "leave the vision tower as it is")
    checkpointing: bool = setting(False, "keep less for the backward pass and compute it again (a third more time)")
    pass_groups: int = setting(0, "groups in memory at once; 0: all of an update")


def objective_of(settings: UpdateSettings) -> Objective:
    """The objective that the settings name, with what they change of it."""
    if settings.objective not in OBJECTIVES:
        near = nearest(settings.objective, OBJECTIVES)
        raise R3labError(f"unknown objective {settings.objective!r}; known: {', '.join(OBJECTIVES)}.{near}")
    own = {k: v for k in ("clip_low", "clip_high") if (v := getattr(settings, k)) >= 0}
    return replace(
        OBJECTIVES[settings.objective],
        kl=settings.kl,
        kl_weight=settings.kl_weight,
        entropy_weight=settings.entropy_weight,
        length=settings.max_new_tokens,
        **own,
    )
