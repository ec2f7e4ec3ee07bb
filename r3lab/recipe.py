"""The recipe of the tiny policy of badges: `r3lab train tiny` makes everything in assets/tiny and
assets/results/tiny.json.

Stages, in order: the base (`curriculum`: what a real checkpoint has from pretraining); a modest cold
start on VLIR samples of an imperfect teacher (`train.sft`); R-GRPO (`train.rgrpo`). Cold start and R-GRPO are repeated
over seeds from the same base, each is measured on the held-out test split; the first seed's policies ship. Finished
stages are kept under --work and skipped when the command is given again.

    python -m r3lab train tiny            # hours on two cores; --help lists every setting
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .assets_path import assets_dir
from .curriculum import BASE, make_base
from .errors import R3labError
from .models.policy import Policy
from .rollout import rollout
from .ship import ship
from .train.checkpoint import JsonlLog, read_log, save_policy
from .train.measure import summary
from .train.rgrpo import RgrpoSettings, train_rgrpo
from .train.run import Progress, Run
from .train.settings import from_command_line, setting
from .train.sft import Pair, SftSettings, cold_start
from .trajectory import Trajectory
from .vlir.rationale import imperfect
from .vlir.worlds import get_world, world_batches

COMMAND = "python -m r3lab train tiny"


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


def measured(policy: Policy, recipe: Recipe, **setting: Any) -> dict[str, Any]:
    """Held-out summary of a policy, in batches of 100."""
    world, found = get_world("badges"), []
    for start in range(0, recipe.test_samples, 100):
        samples = [world.sample("test", i) for i in range(start, min(start + 100, recipe.test_samples))]
        found += rollout(policy, samples, **{"temperature": 0.0, "max_new_tokens": 96, **setting})
    return summary(found)


def claim(recipe: Recipe, work: Path) -> None:
    """Note in the work folder every number that the policy depends on; an error where it holds stages of others."""
    steady, short = recipe.rgrpo_steps - recipe.rgrpo_cooldown, RgrpoSettings().steps
    if steady <= short:  # the notebook's run is the beginning of the shipped policy's
        raise R3labError(f"rgrpo_steps less rgrpo_cooldown must be above {short}, got {steady}")
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("work", "out")}
    settings.update(rgrpo=asdict(RgrpoSettings()), base=[asdict(stage) for stage in BASE])
    settings = json.loads(json.dumps(settings))
    noted = work / "recipe.json"
    if noted.is_file():
        before = json.loads(noted.read_text())
        other = [k for k in settings if settings[k] != before.get(k)]
        if other:
            raise R3labError(f"{work} holds stages made with another {other[0]!r}; give another --work, or remove it")
    work.mkdir(parents=True, exist_ok=True)
    noted.write_text(json.dumps(settings, indent=1) + "\n")


def make_seed(recipe: Recipe, base: Path, work: Path, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of one seed, measured; returns the result rows."""
    rows = work / f"rows-{seed}.json"
    if rows.is_file():
        return json.loads(rows.read_text())
    found: list[dict[str, Any]] = []

    def measure(arm: str, policy: Policy, **setting: Any) -> None:
        row = {"world": "badges", "arm": arm, "seed": seed, **measured(policy, recipe, **setting)}
        found.append(row)
        print(json.dumps(row), flush=True)

    cold = work / f"cold-start-{seed}"
    if not (cold / "config.json").is_file():
        policy = Policy.load(base)
        log = JsonlLog(work / f"cold-start-{seed}.jsonl")
        settings = SftSettings(steps=recipe.cold_start_steps, learning_rate=recipe.cold_start_rate, seed=seed)
        torch.manual_seed(seed)
        cold_start(policy, lessons_of_imperfect_teacher(recipe, seed), settings, log)
        save_policy(policy, cold, half=True)
    policy = Policy.load(cold)
    measure("cold start", policy)
    measure("cold start, sampled", policy, temperature=1.0, seed=seed)
    measure("cold start, no look allowed", policy, max_looks=0)

    whole, short = work / f"rgrpo-{seed}", work / f"short-{seed}"
    if not (whole / "config.json").is_file():
        policy = Policy.load(cold)
        push = replace(RgrpoSettings(), steps=recipe.rgrpo_steps, cooldown=recipe.rgrpo_cooldown, seed=seed)
        run = Run(work / f"rgrpo-{seed}.run", push)
        newest = run.newest()
        begin = newest[1] if newest else Progress()
        log = JsonlLog(work / f"rgrpo-{seed}.jsonl", begin.step)

        def keep(step: int, _: list[Trajectory], policy: Policy = policy) -> None:
            if step + 1 == RgrpoSettings().steps:  # the notebook's run is the beginning of this one
                save_policy(policy, short)

        batches = world_batches("badges", push.prompts, seed, begin.draws * push.prompts)
        train_rgrpo(policy, batches, push, log, watch=keep, run=run)
        save_policy(policy, whole, half=True)
        shutil.rmtree(run.folder)
    for arm, folder, steps in (
        ("notebook's R-GRPO", short, RgrpoSettings().steps),
        ("R-GRPO", whole, recipe.rgrpo_steps),
    ):
        policy = Policy.load(folder)
        measure(arm, policy)
        done = read_log(work / f"rgrpo-{seed}.jsonl")[:steps]
        found[-1]["train_seconds"] = round(sum(r["seconds_rollout"] + r["seconds_update"] for r in done), 1)
    measure("R-GRPO, sampled", policy, temperature=1.0, seed=seed)
    measure("R-GRPO, no look allowed", policy, max_looks=0)
    rows.write_text(json.dumps(found, indent=1))
    return found


def main(arguments: Sequence[str]) -> int:
    """`r3lab train tiny`."""
    recipe = from_command_line(Recipe, arguments, COMMAND, "Make the tiny policy of badges and its results.")
    work = Path(recipe.work)
    claim(recipe, work)
    base = make_base(work, recipe.base_seed)
    rows = [row for seed in range(recipe.seeds) for row in make_seed(recipe, base, work, seed)]
    ship(COMMAND, work, [stage.name for stage in BASE], rows, Path(recipe.out) if recipe.out else assets_dir())
    return 0
