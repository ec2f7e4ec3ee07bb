"""The base of the policy of badges: from random weights to a model that perceives, locates and reads.

`BASE` is the list of stages, `make_base` runs them in order and keeps each in a folder of its own. A stage that is
finished is not repeated; one that was interrupted continues from the last weights it saved, with what is left of its
steps. What a stage is, and why each is there, stands in `train.base`.

    folder = make_base(Path("runs/tiny"), seed=0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .models import tiny
from .models.policy import Policy
from .train.base import Heads, Stage, train_base
from .train.checkpoint import JsonlLog, save_policy
from .train.lessons import vocabulary

SHARPNESS = 1.6  # norm of queries and keys at the start
PLACE = 1.0  # amplitude of the position table at the start; what a patch adds has a standard deviation of about 0.6
Stream = Callable[[Policy, int], torch.utils.data.IterableDataset]
PROGRESS = "progress.pt"  # in a stage's folder: steps done, state of the optimiser, heads

# Perceive: heads alone, then with close views, since digits take the most examples of all. Ground: the text model
# joins, on scenes of one or two badges, then of up to five, while the vision tower learns on. Then without the list of
# all badges, which is learned by then and is most of the tokens, and with digits as other hands might write them. Last
# as hands further off might, with more weight on reading, since held-out handwriting is what is read worst.
BASE: tuple[Stage, ...] = (
    Stage("warm-up", 1000, 24, (1, 5), text=False, learning_rate=2e-3, final_fraction=0.3, seed=1),
    Stage("reading", 800, 16, (2, 5), text=False, learning_rate=2e-3, final_fraction=0.3, seed=2, windows=5),
    Stage("grounding-1", 400, 24, (1, 2), True, 1.2e-3, 0.3, final_fraction=1.0, seed=3, windows=2, pointing=0.5),
    Stage("grounding-2", 3000, 24, (1, 5), True, 1e-3, 0.1, final_fraction=0.02, seed=4, windows=2, pointing=0.3),
    Stage(
        "grounding-3",
        3000,
        24,
        (1, 5),
        True,
        8e-4,
        0.1,
        final_fraction=0.02,
        seed=5,
        windows=2,
        statements=("name", "crop", "size", "beside", "refer"),
        vary=("colours", "hands"),
        pointing=0.3,
    ),
    Stage(
        "grounding-4",
        2000,
        24,
        (1, 5),
        True,
        6e-4,
        0.2,
        final_fraction=0.02,
        seed=6,
        windows=3,
        statements=("name", "crop", "size", "beside", "refer"),
        vary=("colours", "wild hands"),
        pointing=0.3,
    ),
)


def make_base(work: Path, seed: int = 0, stages: tuple[Stage, ...] = BASE) -> Path:
    """Run the stages that are not done yet; returns the folder of the last.

    Parameters
    ----------
    work : folder for stages; each leaves a checkpoint with its heads (`NAME/`) and a log (`NAME.jsonl`)
    seed : of the weights; added to each stage's own seed of lessons
    """
    policy = tiny.create(vocabulary(), seed)
    prepare(policy)
    torch.manual_seed(seed)
    heads = Heads(policy.model.config.text_config.hidden_size)
    for stage in stages:
        policy = run_stage(policy, heads, replace(stage, seed=stage.seed + seed), work)
    return work / stages[-1].name


def run_stage(policy: Policy, heads: Heads, stage: Stage, work: Path, lessons: Stream | None = None) -> Policy:
    """Run a stage, or what is left of it, and return its policy; `heads` learn on, or are those that were kept.

    Parameters
    ----------
    lessons : from the policy and the number of the first batch, the stage's lessons; default: its own, of badges
    """
    folder, partial = work / stage.name, work / f"{stage.name}.partial"
    if (folder / "config.json").is_file():
        return _load(folder, heads)[0]
    resume = None
    if (partial / PROGRESS).is_file():
        policy, resume = _load(partial, heads)
    log = JsonlLog(work / f"{stage.name}.jsonl", resume[0] if resume else 0)
    spent = log.rows[-1]["seconds"] if log.rows else 0.0

    def keep(step: int, optimiser: dict[str, Any]) -> None:
        save_policy(policy, partial)
        torch.save({"step": step, "optimiser": optimiser, "heads": heads.state_dict()}, partial / PROGRESS)

    def note(row: dict[str, Any]) -> None:
        log({**row, "seconds": round(row["seconds"] + spent, 1)})

    stream = lessons(policy, resume[0] if resume else 0) if lessons else None
    train_base(policy, heads, stage, note, save=keep, resume=resume, stream=stream)
    partial.rename(folder)
    return policy


@torch.no_grad()
def prepare(policy: Policy) -> None:
    """What random weights of this width learn too slowly is given to them at the start.

    Attention begins nearly even everywhere: queries and keys get a larger norm. Positions begin as random vectors that
    patches drown out, and where something is was not learned in a thousand steps: the vision tower's table gets sines
    and cosines of row and column, as in MAE (arXiv 2111.06377) and simple ViT (arXiv 2205.01580), and learns on.
    """
    for layer in policy.model.model.language_model.layers:
        layer.self_attn.q_norm.weight.fill_(SHARPNESS)
        layer.self_attn.k_norm.weight.fill_(SHARPNESS)
    table = policy.model.model.visual.pos_embed.weight  # (side * side, D), row by row
    side = math.isqrt(len(table))
    rates = math.pi / side * torch.logspace(0, math.log10(side), table.shape[1] // 4)  # to half a turn a patch
    angles = (torch.arange(side) + 0.5)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, D / 2)
    rows, columns = waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)
    table.copy_(PLACE * torch.cat([rows, columns], dim=-1).flatten(0, 1))


def _load(folder: Path, heads: Heads) -> tuple[Policy, tuple[int, dict[str, Any]]]:
    """The policy of a stage and how far it is; its heads are loaded into `heads`."""
    progress = torch.load(folder / PROGRESS, weights_only=True)
    heads.load_state_dict(progress["heads"])
    return Policy.load(folder), (progress["step"], progress["optimiser"])
