"""The recipe of the policy of four worlds: `r3lab train worlds`, one checkpoint for all of them, and every arm alike.

From the policy of badges: stages in four worlds (`world_curriculum`), then for each arm and seed a cold start on VLIR
samples of an imperfect teacher, written in that arm, and R-GRPO in that arm, on the four worlds in turn. All arms get
the same base, the same samples and as many updates of R-GRPO; the staged ones, which answer in marks that the base has
never written, get a longer cold start: after as many steps as the others have they misspell their own headings. Each is
measured on the held-out samples of each world. What is finished stays in the work folder and is not repeated, and the
results hold all of it: two commands with other arms or seeds may work in one folder, side by side once the base is
made. A run of R-GRPO that was killed goes on.

    python -m r3lab train worlds                        # twelve hours on two cores; --help lists every setting
    python -m r3lab train worlds --arms interleaved,direct --seeds 1
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from .arms import ARMS, INTERLEAVED, get_arm
from .assets_path import assets_dir
from .errors import R3labError
from .evaluate.legibility import legibility
from .models.policy import Policy
from .protocol import ANSWER
from .recipe import Recipe, lessons_of_imperfect_teacher
from .rollout import rollout
from .show.whole import write_whole
from .train.checkpoint import JsonlLog, save_policy
from .train.measure import summary
from .train.rgrpo import train_rgrpo
from .train.rgrpo_settings import RgrpoSettings
from .train.run import Progress, Run
from .train.settings import check_positive, from_command_line, setting
from .train.sft import SftSettings, cold_start
from .vlir.sample import Sample
from .vlir.worlds import WORLDS, get_world, world_batches
from .world_curriculum import make_world_base
from .world_ship import ship_worlds

COMMAND = "python -m r3lab train worlds"
STAGES = ("cold start", "R-GRPO")
BATCH = 50  # samples rolled out together when a policy is measured


@dataclass(frozen=True)
class WorldRecipe:
    """Every number that the policy of four worlds depends on."""

    work: str = setting("runs/worlds", "folder for what is finished; it is not repeated")
    badges: str = setting("", "a policy of badges to begin with (default: the shipped cold start)")
    base: str = setting("", "a base of four worlds that is there already (default: make one)")
    out: str = setting("", "where results and the first seed go (default: the assets folder)")
    arms: str = setting(",".join(ARMS), "arms, with commas between")
    seeds: int = setting(3, "repetitions of cold start and R-GRPO")
    cold_start_steps: int = setting(150, "cold start: steps of 32 VLIR samples")
    marks_steps: int = setting(300, "further ones for an arm whose marks of an answer the base has never written")
    cold_start_rate: float = setting(6e-4, "its peak learning rate (AdamW)")
    cold_start_spread: float = setting(0.1, "how far the teacher's boxes miss, as a part of their sides")
    needless: float = setting(0.3, "share of samples in which the teacher looks although nothing needs it")
    hasty: float = setting(0.5, "share of samples in which the teacher takes no look although one is needed")
    rgrpo_steps: int = setting(100, "R-GRPO: steps")
    rgrpo_rate: float = setting(5e-5, "its learning rate, before it falls")
    rgrpo_cooldown: int = setting(30, "its last steps, over which the rate falls to 0; at most all of them")
    prompts: int = setting(12, "its prompts a step, of the worlds in turn")
    new_tokens: int = setting(224, "tokens that a rollout may sample: a trail of four hops takes some 170")
    test_samples: int = setting(200, "held-out samples of each world")


def settings_of(recipe: WorldRecipe) -> dict[str, Any]:
    """The settings that all points of a work folder share."""
    return {k: v for k, v in asdict(recipe).items() if k not in ("work", "out", "arms", "seeds")}


def claim(recipe: WorldRecipe, work: Path) -> None:
    """Note the settings in the work folder; an error where it holds points of others.

    Raises
    ------
    R3labError
        Naming the setting that differs.
    """
    settings = settings_of(recipe)
    noted = work / "recipe.json"
    if noted.is_file():
        before = json.loads(noted.read_text(encoding="utf-8"))
        for key, value in settings.items():
            if before.get(key) != value:
                raise R3labError(
                    f"{work} holds what was made with {key} {before.get(key)!r}, not {value!r}; give another --work, "
                    "or remove it"
                )
    work.mkdir(parents=True, exist_ok=True)
    write_whole(noted, (json.dumps(settings, indent=1) + "\n").encode("utf-8"))


def measured(policy: Policy, recipe: WorldRecipe, arm: str, world: str) -> dict[str, Any]:
    """Held-out summary of a policy in a world, greedy, in its arm."""
    asked = held_out(recipe, world)
    parts = (asked[start : start + BATCH] for start in range(0, len(asked), BATCH))
    options: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": recipe.new_tokens, "arm": get_arm(arm)}
    return summary(list(chain.from_iterable(rollout(policy, part, **options) for part in parts)))


def held_out(recipe: WorldRecipe, world: str) -> list[Sample]:
    """What a policy is measured with in a world."""
    return [get_world(world).sample("test", i) for i in range(recipe.test_samples)]


def taught(recipe: WorldRecipe, base: Path, work: Path, arm: str, seed: int) -> Path:
    """The cold start of an arm and seed."""
    folder = work / f"cold-start-{arm}-{seed}"
    if not (folder / "config.json").is_file():
        policy, log = Policy.load(base), JsonlLog(work / f"{folder.name}.jsonl")
        teacher = replace(
            Recipe(), cold_start_spread=recipe.cold_start_spread, needless=recipe.needless, hasty=recipe.hasty
        )
        steps = recipe.cold_start_steps + (recipe.marks_steps if get_arm(arm).marks != ANSWER else 0)
        settings = SftSettings(steps=steps, learning_rate=recipe.cold_start_rate, seed=seed, arm=arm)
        torch.manual_seed(seed)
        cold_start(policy, lessons_of_imperfect_teacher(teacher, seed, worlds=tuple(WORLDS)), settings, log)
        save_policy(policy, folder, half=True)
    return folder


def pushed(recipe: WorldRecipe, start: Path, work: Path, arm: str, seed: int) -> Path:
    """R-GRPO of an arm and seed."""
    folder = work / f"rgrpo-{arm}-{seed}"
    if not (folder / "config.json").is_file():
        policy = Policy.load(start)
        settings = replace(
            RgrpoSettings(),
            steps=recipe.rgrpo_steps,
            learning_rate=recipe.rgrpo_rate,
            cooldown=min(recipe.rgrpo_cooldown, recipe.rgrpo_steps),
            prompts=recipe.prompts,
            max_new_tokens=recipe.new_tokens,
            arm=arm,
            seed=seed,
        )
        run = Run(work / f"{folder.name}.run", settings)
        newest = run.newest()
        begin = newest[1] if newest else Progress()
        log = JsonlLog(work / f"{folder.name}.jsonl", begin.step)
        batches = world_batches(tuple(WORLDS), settings.prompts, seed, begin.draws * settings.prompts)
        train_rgrpo(policy, batches, settings, log, run=run)
        save_policy(policy, folder, half=True)
        shutil.rmtree(run.folder)
    return folder


def point(recipe: WorldRecipe, base: Path, work: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of an arm and seed, measured in each world; the rows of worlds.json."""
    done = work / f"rows-{arm}-{seed}.json"
    if done.is_file():
        kept: list[dict[str, Any]] = json.loads(done.read_text(encoding="utf-8"))
        return kept
    cold = taught(recipe, base, work, arm, seed)
    rows = []
    for stage, folder in zip(STAGES, (cold, pushed(recipe, cold, work, arm, seed)), strict=True):
        policy = Policy.load(folder)
        for world in WORLDS:
            row = {"world": world, "arm": arm, "stage": stage, "seed": seed, **measured(policy, recipe, arm, world)}
            if arm == INTERLEAVED.name:
                row |= legibility(policy, held_out(recipe, world), recipe.new_tokens)
            print(json.dumps(row), flush=True)
            rows.append(row)
    write_whole(done, (json.dumps(rows, indent=1) + "\n").encode("utf-8"))
    return rows


def finished(work: Path) -> list[dict[str, Any]]:
    """The rows of all points that are finished in the work folder, by arm and seed: it may take several commands."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in work.glob("rows-*.json")]
    rows: list[dict[str, Any]] = list(chain.from_iterable(found))
    return sorted(rows, key=lambda row: ([*ARMS].index(row["arm"]), row["seed"]))  # worlds and stages stay in order


def main(arguments: Sequence[str]) -> int:
    """`r3lab train worlds`."""
    recipe = from_command_line(WorldRecipe, arguments, COMMAND, "Make the policy of four worlds and its results.")
    check_positive(recipe, "seeds", "cold_start_steps", "rgrpo_steps", "prompts", "new_tokens", "test_samples")
    if recipe.marks_steps < 0:
        raise R3labError(f"marks_steps must be 0 or above, got {recipe.marks_steps}")
    arms = [get_arm(name.strip()).name for name in recipe.arms.split(",")]
    work = Path(recipe.work)
    given = recipe.base or recipe.badges
    needed = Path(given) if given else assets_dir() / "tiny" / "cold-start"
    if not (needed / "config.json").is_file():
        raise R3labError(f"no policy at {needed}: a folder with config.json is wanted, as `r3lab train` makes")
    claim(recipe, work)
    base = needed if recipe.base else make_world_base(work, needed)
    for seed in range(recipe.seeds):
        for arm in arms:
            point(recipe, base, work, arm, seed)
    out = Path(recipe.out) if recipe.out else assets_dir()
    print(f"results in {ship_worlds(COMMAND, work, settings_of(recipe), finished(work), out)}")
    return 0
