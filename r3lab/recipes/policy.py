"""The recipe of the tiny policy of badges: `r3lab train tiny` makes everything in assets/tiny and
assets/results/tiny.json.

Stages, in order: the base, from random weights to a model that perceives, locates and reads (`BASE`: what a real
checkpoint has from pretraining; what a stage is, and why each is there, stands in `base`); a modest cold start on VLIR
samples of an imperfect teacher (`train.sft`); R-GRPO (`train.rgrpo`). Cold start and R-GRPO are repeated over seeds
from the same base, each is measured on the held-out test split; the first seed's policies ship. Finished stages are
kept under --work and skipped when the command is given again (`stages`).

    python -m r3lab train tiny            # hours on two cores; --help lists every setting
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import R3labError
from ..core.files import assets_dir
from ..core.settings import from_command_line, setting
from ..models import tiny
from ..models.policy import Policy, save_policy
from ..train.log import read_log
from ..train.settings import RgrpoSettings
from ..train.sft import Pair, SftSettings
from ..vlir.rationale import imperfect
from ..vlir.worlds import get_world, world_batches
from .base import Heads, Stage
from .lessons import vocabulary
from .stages import claim, held_out, kept, measured, picture, pushed, run_stages, ship, taught, write_results

COMMAND = "python -m r3lab train tiny"
SHARPNESS = 1.6  # norm of queries and keys at the start
PLACE = 1.0  # amplitude of the position table at the start; what a patch adds has a standard deviation of about 0.6

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
    return run_stages(policy, Heads(policy.model.config.text_config.hidden_size), stages, work, seed)


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


@dataclass(frozen=True)
class Recipe:
    """Every number that the shipped policy depends on."""

    work: str = setting("runs/tiny", "folder for stages in progress; finished ones are not repeated")
    out: str = setting("", "where the result goes (default: the assets folder)")
    seeds: int = setting(3, "repetitions of cold start and R-GRPO")
    base_seed: int = setting(0, "seed of the weights, the lessons and the base")
    cold_start_steps: int = setting(100, "cold start: steps of 32 VLIR samples")
    cold_start_rate: float = setting(6e-4, "its peak learning rate")
    cold_start_spread: float = setting(0.2, "how far the teacher's boxes miss, as a part of their sides")
    needless: float = setting(0.3, "share of samples in which the teacher looks although nothing needs it")
    hasty: float = setting(0.5, "share of samples in which the teacher takes no look although one is needed")
    rgrpo_steps: int = setting(
        400, "R-GRPO: steps of the shipped policy; its other settings are the defaults of train rgrpo"
    )
    rgrpo_cooldown: int = setting(150, "last of these steps, over which the learning rate falls towards 0")
    test_samples: int = setting(500, "held-out samples an arm and seed is measured on")


def lessons_of_imperfect_teacher(
    recipe: Recipe, seed: int, batch: int = 32, worlds: Sequence[str] = ("badges",)
) -> Iterator[list[Pair]]:
    """Batches for the cold start: fresh train samples with rationales whose boxes miss and that look needlessly."""
    rng = np.random.default_rng([seed, 4])
    errs = (recipe.cold_start_spread, recipe.needless, rng, recipe.hasty)
    for samples in world_batches(worlds, batch, 1000 + seed):
        yield [(s, imperfect(s, get_world(s.world).rationale(s), *errs)) for s in samples]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Every number that the policy depends on.

    Raises
    ------
    R3labError
        If R-GRPO begins to slow down before the steps of the notebook's run, which is the beginning of this one.
    """
    steady, short = recipe.rgrpo_steps - recipe.rgrpo_cooldown, RgrpoSettings().steps
    if steady <= short:
        raise R3labError(f"rgrpo_steps less rgrpo_cooldown must be above {short}, got {steady}")
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("work", "out")}
    return {**settings, "rgrpo": asdict(RgrpoSettings()), "base": [asdict(stage) for stage in BASE]}


def make_seed(recipe: Recipe, base: Path, work: Path, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of one seed, measured; returns the result rows."""
    found: list[dict[str, Any]] = []

    def measure(arm: str, policy: Policy, **setting: Any) -> None:
        row = measured(policy, held_out("badges", recipe.test_samples), **setting)
        found.append({"world": "badges", "arm": arm, "seed": seed, **row})
        print(json.dumps(found[-1]), flush=True)

    settings = SftSettings(steps=recipe.cold_start_steps, learning_rate=recipe.cold_start_rate, seed=seed)
    cold = taught(base, work / f"cold-start-{seed}", lessons_of_imperfect_teacher(recipe, seed), settings)
    policy = Policy.load(cold)
    measure("cold start", policy)
    measure("cold start, sampled", policy, temperature=1.0, seed=seed)
    measure("cold start, no look allowed", policy, max_looks=0)

    def keep(step: int, policy: Policy) -> None:
        if step + 1 == RgrpoSettings().steps:  # the notebook's run is the beginning of this one
            save_policy(policy, work / f"short-{seed}")

    push = replace(RgrpoSettings(), steps=recipe.rgrpo_steps, cooldown=recipe.rgrpo_cooldown, seed=seed)
    whole = pushed(cold, work / f"rgrpo-{seed}", push, "badges", keep)
    for arm, folder, steps in (
        ("notebook's R-GRPO", work / f"short-{seed}", RgrpoSettings().steps),
        ("R-GRPO", whole, recipe.rgrpo_steps),
    ):
        policy = Policy.load(folder)
        measure(arm, policy)
        done = read_log(work / f"rgrpo-{seed}.jsonl")[:steps]
        found[-1]["train_seconds"] = round(sum(r["seconds_rollout"] + r["seconds_update"] for r in done), 1)
    measure("R-GRPO, sampled", policy, temperature=1.0, seed=seed)
    measure("R-GRPO, no look allowed", policy, max_looks=0)
    return found


def ship_badges(work: Path, rows: list[dict[str, Any]], out: Path) -> None:
    """Put the first seed's policies, the logs, the settings, the results and two pictures into the assets.

    Parameters
    ----------
    work : the recipe's work folder
    rows : measured, one an arm and seed
    out : the assets folder

    Raises
    ------
    R3labError
        If the policy answers no held-out sample with a look on its region.
    """
    target, base = out / "tiny", [stage.name for stage in BASE]
    policy = ship({name: work / f"{name}-0" for name in ("cold-start", "rgrpo")}, target)
    (target / "logs").mkdir(exist_ok=True)
    for stage in (*base, "cold-start-0", "rgrpo-0"):
        shutil.copy(work / f"{stage}.jsonl", target / "logs" / f"{stage}.jsonl")
    shutil.copy(work / "recipe.json", target / "recipe.json")
    shown = picture(policy, "badges", 96, out / "pictures" / "badges.png", out / "pictures" / "filmstrip.png")
    if shown is None:
        raise R3labError("the policy answers no held-out sample with a look on its region; nothing can be drawn of it")
    seconds = {stage: read_log(work / f"{stage}.jsonl")[-1]["seconds"] for stage in base}
    write_results(out / "results" / "tiny.json", COMMAND, training_seconds=seconds, example=shown, rows=rows)


def main(arguments: Sequence[str]) -> int:
    """`r3lab train tiny`."""
    recipe = from_command_line(
        Recipe, arguments, COMMAND, "Make the tiny policy of badges and its results.", f"{COMMAND} --seeds 1"
    )
    work, rows = Path(recipe.work), list[dict[str, Any]]()
    claim(work, settings_of(recipe))
    base = make_base(work, recipe.base_seed)
    for seed in range(recipe.seeds):
        rows += kept(work / f"rows-{seed}.json", partial(make_seed, recipe, base, work, seed))
    ship_badges(work, rows, Path(recipe.out) if recipe.out else assets_dir())
    return 0
