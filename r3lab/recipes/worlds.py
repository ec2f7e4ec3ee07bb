"""The recipe of the policy of four worlds: `r3lab train worlds`, one checkpoint for all of them, and every arm alike.

From the policy of badges: stages in four worlds (`STAGES`), then for each arm and seed a cold start on VLIR
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..core.arms import ARMS, INTERLEAVED, get_arm
from ..core.errors import R3labError
from ..core.files import assets_dir
from ..core.protocol import ANSWER
from ..core.settings import check_positive, from_command_line, setting
from ..evaluate.legibility import legibility
from ..models import tiny
from ..models.policy import Policy
from ..train.settings import RgrpoSettings
from ..train.sft import SftSettings
from ..vlir.worlds import WORLDS
from .base import badge_lessons
from .facts import words
from .lessons import vocabulary
from .policy import BASE, Recipe, lessons_of_imperfect_teacher
from .stages import (
    PROGRESS,
    claim,
    held_out,
    kept,
    made,
    measured,
    picture,
    pushed,
    run_stages,
    ship,
    taught,
    write_results,
)
from .world_lessons import WorldHeads, WorldLessons, WorldStage

COMMAND = "python -m r3lab train worlds"
WORLD_STAGES = ("cold start", "R-GRPO")
POLICIES = ("cold-start", "rgrpo")  # of the first seed
DRAWN = tuple(name for name in WORLDS if name != "badges")  # that one has its picture from `r3lab train tiny`
BATCH = 50  # samples rolled out together when a policy is measured

CROP_TOKENS = (24, 36)  # of a crop: a character of small print is then about as wide as a token
SHARES = (("badges", 0.1), ("documents", 0.33), ("charts", 0.31), ("trails", 0.26))
LATER = (("badges", 0.08), ("documents", 0.22), ("charts", 0.38), ("trails", 0.32))
LAST = (("badges", 0.08), ("documents", 0.22), ("charts", 0.45), ("trails", 0.25))
END = (("badges", 0.1), ("documents", 0.22), ("charts", 0.35), ("trails", 0.33))
SIGNS = (("badges", 0.14), ("documents", 0.2), ("charts", 0.3), ("trails", 0.36))
EVERY = (("documents", 0.6), ("charts", 0.6), ("trails", 0.6))
FEWER = (("documents", 0.2), ("charts", 0.2), ("trails", 0.6))  # where an arrow leads is not seen in its crop alone
_LIKE = asdict(replace(BASE[-1], learning_rate=8e-4)) | {"shares": SHARES, "crops": EVERY}  # what stages have in common
_BOTH = {"batch": 20, "head_weight": 0.04, "windows": 1, "crops": FEWER, "readings": 2, "sums": 2}
_WHOLE = {"wholes": True, "matches": 2, "glances": 2, "shares": LATER}
_SHORT = _LIKE | _BOTH | _WHOLE | {"learning_rate": 6e-4}
# First scenes, with the heads of badges learning on. Then also crops alone, since reading takes the most examples; with
# the heads at a tenth of their weight the text gets through to the vision tower. The labels of papers, six pixels high
# in the overview, are learned by that tower alone, several hundred a step; then both go on together, for long: large
# print in the overview and the letters of labels come latest. Last a question of each scene is answered in full, since
# no statement tells what comes after the first look, with more charts and trails, where that matters; then with still
# more charts and searches of legends, which that left at half, and a while with more trails again.
STAGES: tuple[WorldStage, ...] = (
    WorldStage(**_LIKE | {"name": "worlds-1", "steps": 2000, "head_weight": 0.3, "seed": 7, "windows": 2}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-2", "steps": 1100, "final_fraction": 0.7, "seed": 8}),
    WorldStage(
        **_LIKE
        | {"name": "labels", "steps": 1300, "batch": 48, "text": False, "head_weight": 1.0, "seed": 9, "windows": 0}
        | {"readings": 1, "shares": (("documents", 0.8), ("charts", 0.1), ("trails", 0.07), ("badges", 0.03))}
    ),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-3", "steps": 1300, "seed": 10}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-4", "steps": 500, "learning_rate": 6e-4, "seed": 11}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-5", "steps": 4400, "seed": 12}),
    WorldStage(**_LIKE | _BOTH | _WHOLE | {"name": "worlds-6", "steps": 3000, "seed": 13}),
    WorldStage(**_LIKE | _BOTH | _WHOLE | {"name": "worlds-7", "steps": 900, "seed": 14, "matches": 6, "shares": LAST}),
    WorldStage(**_SHORT | {"name": "worlds-8", "steps": 700, "seed": 15, "shares": END}),
    WorldStage(**_SHORT | {"name": "worlds-9", "steps": 350, "seed": 16, "shares": SIGNS}),
    WorldStage(**_SHORT | {"name": "worlds-10", "steps": 1300, "seed": 17, "shares": END}),
)


def lessons(policy: Policy, stage: WorldStage, start: int) -> WorldLessons:
    """The stream of lessons that a stage asks for, from batch number `start`."""
    return WorldLessons(policy, stage, badge_lessons(policy, stage), start)


def make_world_base(work: Path, base: Path, seed: int = 0, stages: tuple[WorldStage, ...] = STAGES) -> Path:
    """The base of four worlds: that of badges, given the words of the others. Runs the stages that are not done yet.

    Parameters
    ----------
    work : folder for the stages
    base : a policy of badges: the shipped cold start, or the last stage of `policy.make_base`, whose heads learn on
    seed : added to each stage's own

    Returns
    -------
    Path
        The folder of the last stage.
    """
    policy = tiny.widened(Policy.load(base), [*vocabulary(), *words()], CROP_TOKENS)
    torch.manual_seed(seed)
    heads = WorldHeads(policy.model.config.text_config.hidden_size)
    if (base / PROGRESS).is_file():  # a shipped policy has no heads: they are linear, and soon learned anew
        heads.load_state_dict(torch.load(base / PROGRESS, weights_only=True)["heads"], strict=False)
    return run_stages(policy, heads, stages, work, seed, lessons)


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


def cold_started(recipe: WorldRecipe, base: Path, work: Path, arm: str, seed: int) -> Path:
    """The cold start of an arm and seed."""
    errs = {key: getattr(recipe, key) for key in ("cold_start_spread", "needless", "hasty")}
    pairs = lessons_of_imperfect_teacher(Recipe(**errs), seed, worlds=tuple(WORLDS))
    steps = recipe.cold_start_steps + (recipe.marks_steps if get_arm(arm).marks != ANSWER else 0)
    settings = SftSettings(steps=steps, learning_rate=recipe.cold_start_rate, seed=seed, arm=arm)
    return taught(base, work / f"cold-start-{arm}-{seed}", pairs, settings)


def point(recipe: WorldRecipe, base: Path, work: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of an arm and seed, measured in each world; the rows of worlds.json."""
    cold = cold_started(recipe, base, work, arm, seed)
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
    rows = []
    after = pushed(cold, work / f"rgrpo-{arm}-{seed}", settings, tuple(WORLDS))
    for stage, folder in zip(WORLD_STAGES, (cold, after), strict=True):
        policy = Policy.load(folder)
        for world in WORLDS:
            asked = held_out(world, recipe.test_samples)
            row = {"world": world, "arm": arm, "stage": stage, "seed": seed}
            row |= measured(policy, asked, BATCH, max_new_tokens=recipe.new_tokens, arm=get_arm(arm))
            if arm == INTERLEAVED.name:
                row |= legibility(policy, asked, recipe.new_tokens)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def finished(work: Path) -> list[dict[str, Any]]:
    """The rows of all points that are finished in the work folder, by arm and seed: it may take several commands."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in work.glob("rows-*.json")]
    rows: list[dict[str, Any]] = list(chain.from_iterable(found))
    return sorted(rows, key=lambda row: ([*ARMS].index(row["arm"]), row["seed"]))  # worlds and stages stay in order


def ship_worlds(work: Path, settings: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> Path:
    """Write the results; where the interleaved arm's first seed is there, its policies and a picture of each world.

    Parameters
    ----------
    work : the recipe's work folder
    settings : that all rows share
    rows : measured, one a world, arm, stage and seed
    out : the assets folder

    Returns
    -------
    Path
        The file of results.
    """
    first = {name: work / f"{name}-{INTERLEAVED.name}-0" for name in POLICIES}
    examples, drawn = {}, out / "pictures"
    if all(map(made, first.values())):
        policy = ship(first, out / "worlds")
        for world in DRAWN:
            strip = drawn / f"filmstrip-{world}.png"
            shown = picture(policy, world, settings["new_tokens"], drawn / f"{world}.png", strip)
            if shown is not None:  # a world in which there is none has no picture
                examples[world] = shown
    return write_results(out / "results" / "worlds.json", COMMAND, recipe=settings, examples=examples, rows=rows)


def main(arguments: Sequence[str]) -> int:
    """`r3lab train worlds`."""
    recipe = from_command_line(
        WorldRecipe, arguments, COMMAND, "Make the policy of four worlds and its results.", f"{COMMAND} --seeds 1"
    )
    check_positive(recipe, "seeds", "cold_start_steps", "rgrpo_steps", "prompts", "new_tokens", "test_samples")
    if recipe.marks_steps < 0:
        raise R3labError(f"marks_steps must be 0 or above, got {recipe.marks_steps}")
    arms = [get_arm(name.strip()).name for name in recipe.arms.split(",")]
    work = Path(recipe.work)
    given = recipe.base or recipe.badges
    needed = Path(given) if given else assets_dir() / "tiny" / "cold-start"
    if not made(needed):
        raise R3labError(f"no policy at {needed}: a folder with config.json is wanted, as `r3lab train` makes")
    claim(work, settings_of(recipe))
    base = needed if recipe.base else make_world_base(work, needed)
    for seed in range(recipe.seeds):
        for arm in arms:
            kept(work / f"rows-{arm}-{seed}.json", partial(point, recipe, base, work, arm, seed))
    out = Path(recipe.out) if recipe.out else assets_dir()
    print(f"results in {ship_worlds(work, settings_of(recipe), finished(work), out)}")
    return 0
