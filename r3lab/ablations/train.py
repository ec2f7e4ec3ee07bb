"""One variant and seed: taught, pushed, measured. All get the same samples and as many updates.

    row = point(get_variant("without R-GRPO"), seed=0, budget=Budget(), base=Path("runs/tiny/base"), work=work)

What is finished is kept in the work folder and not repeated; variants of an arm share the cold start of a seed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..arms import get_arm
from ..errors import R3labError
from ..models.policy import Policy
from ..recipe import Recipe, lessons_of_imperfect_teacher
from ..rollout import rollout
from ..show.whole import write_whole
from ..train.checkpoint import JsonlLog, read_log, save_policy
from ..train.measure import summary
from ..train.rgrpo import train_rgrpo
from ..train.rgrpo_settings import RgrpoSettings
from ..train.sft import SftSettings, cold_start
from ..vlir.worlds import get_world, world_batches
from .variants import Variant

WORLD = "badges"
BATCH = 100  # samples rolled out together when a policy is measured


@dataclass(frozen=True)
class Budget:
    """What every variant may use.

    Attributes
    ----------
    lessons : updates of the cold start, 32 VLIR samples each
    steps : of R-GRPO, 96 rollouts and two updates each
    test : held-out samples
    """

    lessons: int = 100
    steps: int = 50
    test: int = 300


def settings_of(variant: Variant, seed: int, budget: Budget) -> RgrpoSettings:
    """R-GRPO of a variant. Where there is no cold start its updates are R-GRPO's."""
    settings = replace(RgrpoSettings(), steps=budget.steps, arm=variant.arm, seed=seed, **dict(variant.changes))
    if variant.cold:
        return settings
    return replace(settings, steps=budget.steps + budget.lessons // settings.minibatches)


def updates_of(variant: Variant, budget: Budget) -> tuple[int, int]:
    """Updates of the cold start and of R-GRPO."""
    minibatches = RgrpoSettings().minibatches
    pushed = settings_of(variant, 0, budget).steps * minibatches if variant.push else 0
    taught = (budget.lessons if variant.cold else 0) + (0 if variant.push else budget.steps * minibatches)
    return taught, pushed


def taught(variant: Variant, seed: int, budget: Budget, base: Path, work: Path) -> Policy:
    """The base after the variant's cold start."""
    if not variant.cold:
        return Policy.load(base)
    lessons, _ = updates_of(variant, budget)
    name = f"cold-start-{variant.arm}-{lessons}-{seed}"
    if not (work / name / "config.json").is_file():
        policy, recipe = Policy.load(base), Recipe()
        settings = SftSettings(steps=lessons, learning_rate=recipe.cold_start_rate, seed=seed, arm=variant.arm)
        torch.manual_seed(seed)
        cold_start(policy, lessons_of_imperfect_teacher(recipe, seed), settings, JsonlLog(work / f"{name}.jsonl"))
        save_policy(policy, work / name)
    return Policy.load(work / name)


def measured(policy: Policy, variant: Variant, samples: int) -> dict[str, Any]:
    """Held-out summary, greedy, in the variant's arm."""
    world, starts = get_world(WORLD), range(0, samples, BATCH)
    parts = ([world.sample("test", i) for i in range(a, min(a + BATCH, samples))] for a in starts)
    arm = get_arm(variant.arm)
    return summary(
        list(chain.from_iterable(rollout(policy, p, temperature=0.0, max_new_tokens=96, arm=arm) for p in parts))
    )


def pushed(policy: Policy, variant: Variant, seed: int, budget: Budget, log: Path, progress: bool = True) -> float:
    """R-GRPO of a variant, in place; returns its seconds."""
    settings, noted = settings_of(variant, seed, budget), JsonlLog(log)
    train_rgrpo(policy, world_batches(WORLD, settings.prompts, seed), settings, noted, progress)
    return float(sum(row["seconds_rollout"] + row["seconds_update"] for row in read_log(log)))


def named(variant: str, seed: int) -> str:
    """What a point's files are called."""
    return f"{variant.replace(' ', '-')}-{seed}"


def point(variant: Variant, seed: int, budget: Budget, base: Path, work: Path) -> dict[str, Any]:
    """A row of ablations.json: what was trained, for how long, and the held-out summary.

    Raises
    ------
    R3labError
        If the base is no checkpoint, or the work folder holds this point of another budget.
    """
    name = named(variant.name, seed)
    done = work / f"{name}.json"
    if done.is_file():
        row: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if row["budget"] != asdict(budget):
            raise R3labError(f"{done} was made with another budget, {row['budget']}; give another --work, or remove it")
        return row
    policy = taught(variant, seed, budget, base, work)
    spent = pushed(policy, variant, seed, budget, work / f"{name}.jsonl") if variant.push else 0.0
    if variant.push:
        save_policy(policy, work / name)
    lessons, updates = updates_of(variant, budget)
    row = {
        "variant": variant.name,
        "world": WORLD,
        "arm": variant.arm,
        "seed": seed,
        "budget": asdict(budget),
        "updates": {"cold start": lessons, "R-GRPO": updates},
        "seconds_rgrpo": round(spent, 1),
        **measured(policy, variant, budget.test),
    }
    write_whole(done, (json.dumps(row, indent=1) + "\n").encode("utf-8"))
    return row
