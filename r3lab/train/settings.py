"""The settings of training: every number that a person may choose, with its default and the paper's value.
Nothing here loads torch, so that `--help` is quick.

settings = RgrpoSettings(steps=50, objective="dapo", kl_weight=0.01)
settings.as_objective()                     # what an update maximises
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core import arms
from ..core.arms import ARMS
from ..core.errors import R3labError, nearest
from ..core.settings import check_positive, setting
from .own_rewards import use_reward
from .presets import CHOICES, OBJECTIVES, SPANS, Objective
from .when import LABEL, RULES, Rule, get_rule

if TYPE_CHECKING:
    from ..models.policy import Policy


@dataclass(frozen=True)
class UpdateSettings:
    """What an update maximises, and how; where the paper gives a value it is named."""

    objective: str = setting("r-grpo", "what an update maximises", OBJECTIVES)
    clip_low: float = setting(-1.0, "lower clip of the ratio; below zero: the objective's own (paper: 0.2)")
    clip_high: float = setting(-1.0, "upper clip of the ratio; below zero: the objective's own (paper: 0.28)")
    kl_weight: float = setting(0.0, "weight of the distance to the policy at the start (paper: 0)")
    kl: str = setting("k3", "its estimator", CHOICES["kl"])
    entropy_weight: float = setting(0.0, "weight of the entropy of the sampled tokens, maximised")
    credit_reason: float = setting(1.0, "factor on the advantage of reasoning tokens")
    credit_box: float = setting(1.0, "factor on the advantage of box tokens")
    credit_answer: float = setting(1.0, "factor on the advantage of answer tokens")
    temperature: float = setting(1.0, "sampling temperature (paper)")
    max_new_tokens: int = setting(96, "sampled tokens a rollout may have")
    max_grad_norm: float = setting(1.0, "gradient norm above which the gradient is scaled down")
    freeze_vision: bool = setting(True, "leave the vision tower as it is")
    checkpointing: int = setting(0, "layers computed again in the backward pass (by itself as many as memory wants)")
    pass_groups: int = setting(0, "groups in memory at once; 0: all of an update")

    def as_objective(self) -> Objective:
        """The objective that is named, with what the settings change of it."""
        if self.objective not in OBJECTIVES:
            near = nearest(self.objective, OBJECTIVES)
            raise R3labError(f"unknown objective {self.objective!r}; known: {', '.join(OBJECTIVES)}.{near}")
        own = {name: value for name in ("clip_low", "clip_high") if (value := getattr(self, name)) >= 0}
        return replace(
            OBJECTIVES[self.objective],
            kl=self.kl,
            kl_weight=self.kl_weight,
            entropy_weight=self.entropy_weight,
            length=self.max_new_tokens,
            **own,
        )

    def credit(self) -> dict[str, float]:
        """The factor on the advantage of each span of a rollout."""
        return {name: getattr(self, f"credit_{name}") for name in SPANS}


@dataclass(frozen=True)
class RgrpoSettings(UpdateSettings):
    """Settings of R-GRPO; where the paper gives a value it is named.

    r3lab train rgrpo --model runs/cold-start/policy --data VLIR_FOLDER --reward official-code

    Examples
    --------
    >>> r3lab.RgrpoSettings(steps=50, group=5).group
    5
    """

    model: str = setting("", "checkpoint folder, or name, to start from (default: the shipped cold start of badges)")
    data: str = setting("", "VLIR folder, or a file with image, question, answer; if empty, samples come from --world")
    frame: str = setting("", "of the boxes in --data, where it is open: source, resized-28, relative-1000, relative-1")
    images: str = setting("", "folder of the images that --data names (default: beside it)")
    world: str = setting("badges", "to draw samples from; several by weight: badges,trails:2; your own: FILE.py:CLASS")
    arm: str = setting("interleaved", "what a box brings, how an answer is marked; or FILE.py:ROW", ARMS)
    out: str = setting("runs/rgrpo", "folder for checkpoint and log")
    steps: int = setting(100, "rollout-and-update steps")
    prompts: int = setting(12, "samples a step")
    group: int = setting(8, "rollouts a sample, G (paper: 5)")
    reward: str = setting("grounded", "paper, official-code, grounded, 'grounded without region', or FILE.py:FUNCTION")
    when: str = setting(LABEL, "rule for when to look; all but label replace the reward's look cost", RULES)
    learning_rate: float = setting(1.5e-4, "constant (paper: 1e-6 for 7B)")
    cooldown: int = setting(0, "last steps, over which the learning rate falls linearly towards 0 (paper: none)")
    lora_rank: int = setting(0, "rank of LoRA matrices; 0: all weights of the text model are trained")
    lora_alpha: float = setting(0.0, "their product is multiplied by alpha / rank; 0: twice the rank")
    minibatches: int = setting(2, "updates a pass over the rollouts, each on a part of the groups")
    epochs: int = setting(1, "passes over the rollouts of a step")
    shard: bool = setting(False, "shard the text model's layers over the processes (FSDP)")
    redraws: int = setting(0, "times that groups of equal rewards are replaced by those of other samples (DAPO)")
    overlong: str = setting("keep", "rollouts cut off at the token limit; mask: no loss (DAPO)", ("keep", "mask"))
    max_looks: int = setting(8, "looks a rollout may take")
    save_every: int = setting(25, "steps between checkpoints")
    keep: int = setting(2, "checkpoints that stay")
    show_every: int = setting(0, "steps between groups of rollouts that are kept with their images; 0: none")
    trackers: str = setting("", "beside log.jsonl: tensorboard, wandb or others of accelerate, with commas between")
    resume: bool = setting(False, "go on with the run in --out")
    max_skipped: int = setting(3, "updates in a row that may be left out because they are not finite")
    seed: int = setting(0, "of samples and sampling")

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0: constant, then falling linearly towards 0 over the last `cooldown`.

        What a constant rate leaves of noise in the weights is averaged out at the end; before that the run is the same
        as without (Hägele et al., arXiv 2405.18392).
        """
        return self.learning_rate * min(1.0, (self.steps - step) / (self.cooldown + 1))

    def rule(self) -> Rule:
        """The rule for when to look that is named."""
        return get_rule(self.when)

    def check(self, policy: Policy) -> None:
        """Raise `R3labError`, naming the setting, if a run of this policy cannot have them."""
        check_positive(self, "steps", "prompts", "learning_rate", "minibatches", "temperature", "epochs", "max_skipped")
        if self.group < 2:
            raise R3labError(f"group must be at least 2 (advantages compare within a group), got {self.group}")
        if self.overlong not in ("keep", "mask"):
            raise R3labError(f"overlong must be keep or mask, got {self.overlong!r}")
        if not 0 <= self.cooldown <= self.steps:
            raise R3labError(f"cooldown must be 0 to {self.steps}, the steps of the run, got {self.cooldown}")
        if not 0 <= self.checkpointing <= (layers := len(policy.text.layers)):
            raise R3labError(f"checkpointing must be 0 to {layers}, the layers of the text, got {self.checkpointing}")
        use_reward(self.reward), arms.OWN.use(self.arm), self.rule().forced(self.group)
        if not self.freeze_vision and (self.shard or policy.adapter is not None):
            raise R3labError("the vision tower is trained only where all weights are: not with --shard, nor with LoRA")


@dataclass(frozen=True)
class SftSettings:
    """Settings of the cold start.

    r3lab train sft --model CHECKPOINT --data VLIR_FOLDER --out runs/cold-start
    """

    model: str = setting("", "checkpoint folder, or name, to start from")
    data: str = setting("", "VLIR folder (vlir.jsonl and images/)")
    out: str = setting("runs/cold-start", "folder for the checkpoint and the log")
    steps: int = setting(100, "optimiser steps")
    batch: int = setting(32, "samples a step")
    learning_rate: float = setting(3e-4, "peak learning rate (AdamW)")
    arm: str = setting("interleaved", "arm in which the samples are answered", ARMS)
    freeze_vision: bool = setting(True, "leave the vision tower as it is")
    save_every: int = setting(25, "steps between checkpoints")
    resume: bool = setting(False, "go on with the run in --out")
    seed: int = setting(0, "of the order of samples")
