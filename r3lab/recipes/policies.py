"""The recipes of the shipped policies: `r3lab train tiny` (badges) and `r3lab train worlds` (four worlds, every arm).

*Badges*: the base, from random weights to a model that perceives, locates and reads (`BASE`: what a real checkpoint has
from pretraining; what a stage is stands in `base`); a modest cold start on VLIR samples of an imperfect teacher
(`train.sft`); R-GRPO (`train.rgrpo`). Cold start and R-GRPO are repeated over seeds from the same base, each is
measured on the held-out test split; the first seed's policies ship.

*Four worlds*: from the policy of badges, stages in four worlds (`STAGES`), then for each arm and seed a cold start on
VLIR samples of an imperfect teacher, written in that arm, and R-GRPO in that arm, on the four worlds in turn. All arms
get the same base, the same samples and as many updates of R-GRPO; the staged ones, which answer in marks that the base
has never written, get a longer cold start: after as many steps as the others have they misspell their own headings.

What is finished stays in the work folder and is not repeated (`stages`), and the results hold all of it: two commands
with other arms or seeds may work in one folder, side by side once the base is made.

    python -m r3lab train tiny                          # hours on two cores; --help lists every setting
    python -m r3lab train worlds                        # twelve hours on two cores
    python -m r3lab train worlds --arms interleaved,direct --seeds 1

*A further world* (`r3lab train further`): lessons in it and in the four, from the shipped cold start; then, over seeds,
cold start and R-GRPO as above.

    python -m r3lab train further                       # diagrams; two to three hours
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..core.arms import ARMS, INTERLEAVED, get_arm
from ..core.errors import R3labError
from ..core.files import assets_dir
from ..core.protocol import ANSWER
from ..core.settings import check_positive
from ..evaluate.legibility import legibility
from ..models import tiny
from ..models.policy import Policy, save_policy
from ..train.log import read_log
from ..train.settings import RgrpoSettings
from ..train.sft import Pair, SftSettings
from ..vlir.rationale import imperfect
from ..vlir.worlds import OWN, WORLDS, Worlds, get_world, world_batches
from . import stages
from .base import Heads
from .facts import scene_of, words
from .lessons import Stage, vocabulary
from .settings import FurtherRecipe, Recipe, Taught, WorldRecipe
from .world_lessons import WorldLessons, WorldStage

TINY, FOUR, FURTHER = (f"python -m r3lab train {what}" for what in ("tiny", "worlds", "further"))  # the commands
SHARPNESS = 1.6  # norm of queries and keys at the start
PLACE = 1.0  # amplitude of the position table at the start; what a patch adds has a standard deviation of about 0.6

# -- the base of badges ------------------------------------------------------------------------------------------------

# Perceive: heads alone, then with close views, since digits take the most examples of all. Ground: the text model
# joins, on scenes of one or two badges, then of up to five, while the vision tower learns on. Then without the list of
# all badges, which is learned by then and is most of the tokens, and with digits as other hands might write them. Last
# as hands further off might, with more weight on reading, since held-out handwriting is what is read worst.
_GROUND = Stage(
    "grounding-2", 3000, 24, (1, 5), True, 1e-3, 0.1, final_fraction=0.02, seed=4, windows=2, pointing=0.3
)  # fmt: skip
_HANDS = replace(_GROUND, statements=("name", "crop", "size", "beside", "refer"), vary=("colours", "hands"))
BASE: tuple[Stage, ...] = (
    Stage("warm-up", 1000, 24, (1, 5), text=False, learning_rate=2e-3, final_fraction=0.3, seed=1),
    Stage("reading", 800, 16, (2, 5), text=False, learning_rate=2e-3, final_fraction=0.3, seed=2, windows=5),
    Stage("grounding-1", 400, 24, (1, 2), True, 1.2e-3, 0.3, final_fraction=1.0, seed=3, windows=2, pointing=0.5),
    _GROUND,
    replace(_HANDS, name="grounding-3", learning_rate=8e-4, seed=5),
    replace(
        replace(_HANDS, name="grounding-4", steps=2000, learning_rate=6e-4, seed=6, windows=3),
        head_weight=0.2, vary=("colours", "wild hands"),
    ),
)  # fmt: skip


def make_base(work: Path, seed: int = 0, base: tuple[Stage, ...] = BASE) -> Path:
    """Run the stages that are not done yet; returns the folder of the last.

    Parameters
    ----------
    work : folder for stages; each leaves a checkpoint with its heads (`NAME/`) and a log (`NAME.jsonl`)
    seed : of the weights; added to each stage's own seed of lessons
    """
    policy = tiny.create(vocabulary(), seed)
    prepare(policy)
    torch.manual_seed(seed)
    return stages.run_stages(policy, Heads(policy.model.config.text_config.hidden_size), base, work, seed)


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


# -- badges ------------------------------------------------------------------------------------------------------------


def lessons_of_imperfect_teacher(
    recipe: Recipe | Taught, seed: int, batch: int = 32, worlds: Worlds = ("badges",)
) -> Iterator[list[Pair]]:
    """Batches for the cold start: fresh train samples with rationales whose boxes miss and that look needlessly."""
    rng = np.random.default_rng([seed, 4])
    errs = (recipe.cold_start_spread, recipe.needless, rng, recipe.hasty)
    for samples in world_batches(worlds, batch, 1000 + seed):
        yield [(s, imperfect(s, get_world(s.world).rationale(s), *errs)) for s in samples]


def cold_started(
    recipe: Recipe | Taught,
    base: Path,
    folder: Path,
    settings: SftSettings,
    worlds: Worlds = ("badges",),
    half: bool = True,
) -> Path:
    """The folder of a base after a cold start with an imperfect teacher, at the recipe's rate (`stages.taught`)."""
    lessons = lessons_of_imperfect_teacher(recipe, settings.seed, worlds=worlds)
    return stages.taught(base, folder, lessons, replace(settings, learning_rate=recipe.cold_start_rate), half)


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
    short, short_steps = work / f"short-{seed}", RgrpoSettings().steps  # the notebook's run: the beginning of this one

    def keep(step: int, policy: Policy) -> None:
        if step + 1 == short_steps:
            save_policy(policy, short)

    push = replace(RgrpoSettings(), steps=recipe.rgrpo_steps, cooldown=recipe.rgrpo_cooldown, seed=seed)
    lessons = SftSettings(steps=recipe.cold_start_steps, seed=seed)
    cold = cold_started(recipe, base, work / f"cold-start-{seed}", lessons)
    whole = stages.pushed(cold, work / f"rgrpo-{seed}", push, "badges", keep)
    sampled, blind = {"temperature": 1.0, "seed": seed}, {"max_looks": 0}
    arms: tuple[tuple[str, Path, int, dict[str, Any]], ...] = (
        ("cold start", cold, 0, {}),
        ("cold start, sampled", cold, 0, sampled),
        ("cold start, no look allowed", cold, 0, blind),
        ("notebook's R-GRPO", short, short_steps, {}),
        ("R-GRPO", whole, recipe.rgrpo_steps, {}),
        ("R-GRPO, sampled", whole, 0, sampled),
        ("R-GRPO, no look allowed", whole, 0, blind),
    )
    asked, rows = stages.held_out("badges", recipe.test_samples), []
    for arm, folder, steps, how in arms:
        row = {"world": "badges", "arm": arm, "seed": seed, **stages.measured(Policy.load(folder), asked, **how)}
        rows.append(row)
        print(json.dumps(row), flush=True)
        if steps:
            row["train_seconds"] = stages.seconds_of(whole, steps)
    return rows


def make_tiny(recipe: Recipe) -> int:
    """Make the tiny policy of badges and its results.

    r3lab train tiny --seeds 1
    """
    work, out, rows = Path(recipe.work), Path(recipe.out) if recipe.out else assets_dir(), list[dict[str, Any]]()
    stages.claim(work, settings_of(recipe))
    base = make_base(work, recipe.base_seed)
    for seed in range(recipe.seeds):
        rows += stages.kept(work / f"rows-{seed}.json", partial(make_seed, recipe, base, work, seed))
    target, made = out / "tiny", [stage.name for stage in BASE]
    shown = stages.ship(work, "0", target, {"badges": ""}, 96)
    if not shown:
        raise R3labError("the policy answers no held-out sample with a look on its region; nothing can be drawn of it")
    (target / "logs").mkdir(exist_ok=True)
    for stage in (*made, "cold-start-0", "rgrpo-0"):
        shutil.copy(work / f"{stage}.jsonl", target / "logs" / f"{stage}.jsonl")
    shutil.copy(work / "recipe.json", target / "recipe.json")
    seconds = {stage: read_log(work / f"{stage}.jsonl")[-1]["seconds"] for stage in made}
    results = out / "results" / "tiny.json"
    stages.write_results(results, TINY, training_seconds=seconds, example=shown["badges"], rows=rows)
    return 0


# -- four worlds -------------------------------------------------------------------------------------------------------

WORLD_STAGES = ("cold start", "R-GRPO")
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


def make_world_base(work: Path, base: Path, seed: int = 0, steps: tuple[WorldStage, ...] = STAGES) -> Path:
    """The base of four worlds: that of badges, given the words of the others. Runs the stages that are not done yet.

    Parameters
    ----------
    work : folder for the stages
    base : a policy of badges: the shipped cold start, or the last stage of `make_base`, whose heads learn on
    seed : added to each stage's own

    Returns
    -------
    Path
        The folder of the last stage.
    """
    policy = tiny.widened(Policy.load(base), [*vocabulary(), *words()], CROP_TOKENS)
    torch.manual_seed(seed)
    heads = Heads(policy.model.config.text_config.hidden_size, worlds=True)
    if (base / stages.HEADS).is_file():  # a shipped policy has no heads: they are linear, and soon learned anew
        heads.load_state_dict(load_file(base / stages.HEADS), strict=False)
    return stages.run_stages(policy, heads, steps, work, seed, WorldLessons)


def world_settings_of(recipe: WorldRecipe) -> dict[str, Any]:
    """The settings that all points of a work folder share."""
    return {k: v for k, v in asdict(recipe).items() if k not in ("work", "out", "arms", "seeds")}


def cold_steps(recipe: WorldRecipe, arm: str) -> int:
    """Steps of an arm's cold start."""
    return recipe.cold_start_steps + (recipe.marks_steps if get_arm(arm).marks != ANSWER else 0)


def taught_and_pushed(
    recipe: Taught, base: Path, work: Path, arm: str, seed: int, steps: int, worlds: Worlds
) -> tuple[Path, Path]:
    """The folders of a base after a cold start of so many steps, and after R-GRPO."""
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
    lessons = SftSettings(steps=steps, seed=seed, arm=arm)
    cold = cold_started(recipe, base, work / f"cold-start-{arm}-{seed}", lessons, worlds)
    return cold, stages.pushed(cold, work / f"rgrpo-{arm}-{seed}", settings, worlds)


def point(recipe: WorldRecipe, base: Path, work: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of an arm and seed, measured in each world; the rows of worlds.json."""
    rows = []
    made = taught_and_pushed(recipe, base, work, arm, seed, cold_steps(recipe, arm), tuple(WORLDS))
    for stage, folder in zip(WORLD_STAGES, made, strict=True):
        policy = Policy.load(folder)
        for world in WORLDS:
            asked = stages.held_out(world, recipe.test_samples)
            row = {"world": world, "arm": arm, "stage": stage, "seed": seed}
            row |= stages.measured(policy, asked, BATCH, max_new_tokens=recipe.new_tokens, arm=get_arm(arm))
            if arm == INTERLEAVED.name:
                row |= legibility(policy, asked, recipe.new_tokens)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def make_worlds(recipe: WorldRecipe) -> int:
    """Make the policy of four worlds and its results: of all points that are finished in the work folder, by arm and
    seed (it may take several commands); where the interleaved arm's first seed is there, its policies ship, and a
    picture of each world.

    r3lab train worlds --arms interleaved --seeds 1
    """
    check_positive(recipe, "seeds", "cold_start_steps", "rgrpo_steps", "prompts", "new_tokens", "test_samples")
    if recipe.marks_steps < 0:
        raise R3labError(f"marks_steps must be 0 or above, got {recipe.marks_steps}")
    arms = [get_arm(name.strip()).name for name in recipe.arms.split(",")]
    work, given, assets = Path(recipe.work), recipe.base or recipe.badges, assets_dir()
    needed = Path(given) if given else assets / "tiny" / "cold-start"
    if not stages.made(needed):
        raise R3labError(f"no policy at {needed}: a folder with config.json is wanted, as `r3lab train` makes")
    settings = world_settings_of(recipe)
    stages.claim(work, settings)
    base = needed if recipe.base else make_world_base(work, needed)
    for seed in range(recipe.seeds):
        for arm in arms:
            stages.kept(work / f"rows-{arm}-{seed}.json", partial(point, recipe, base, work, arm, seed))
    out, first = Path(recipe.out) if recipe.out else assets, f"{INTERLEAVED.name}-0"
    drawn = {world: f"-{world}" for world in DRAWN}
    there = all(stages.made(work / f"{name}-{first}") for name in stages.POLICIES)
    examples = stages.ship(work, first, out / "worlds", drawn, recipe.new_tokens) if there else {}
    found = [json.loads(path.read_text(encoding="utf-8")) for path in work.glob("rows-*.json")]
    rows = sorted(chain.from_iterable(found), key=lambda row: ([*ARMS].index(row["arm"]), row["seed"]))
    results = out / "results" / "worlds.json"
    print(f"results in {stages.write_results(results, FOUR, recipe=settings, examples=examples, rows=rows)}")
    return 0


# -- a further world ---------------------------------------------------------------------------------------------------

DRAWING = (("documents", 0.2), ("charts", 0.2), ("trails", 0.6), ("diagrams", 0.6))  # boxes followed by their crop


def turns(recipe: FurtherRecipe) -> str:
    """The worlds with weights, for `world_batches`: the four share `others`."""
    own = round(len(WORLDS) * (1 - recipe.others) / recipe.others)
    return ",".join([*WORLDS, f"{recipe.world}:{max(1, own)}"])


def further_stages(recipe: FurtherRecipe) -> tuple[WorldStage, ...]:
    """The lessons in the world and in the four; then again, with heads that are told to find a side by its letters."""
    shares = (*((name, recipe.others / len(WORLDS)) for name in WORLDS), (recipe.world, 1 - recipe.others))
    given = {"name": "lessons", "steps": recipe.lessons, "shares": shares, "crops": DRAWING, "seed": 31}
    fewer = {"batch": 12, "readings": 1, "glances": 1, "matches": 0, "sums": 3}
    first = WorldStage(**_LIKE | _BOTH | _WHOLE | fewer | given)  # at the rate of the long stages: much is new
    return first, replace(first, name="corners", steps=recipe.corners, seed=32, corners=True)


def further_base(recipe: FurtherRecipe, work: Path, base: Path) -> Path:
    """The base with the words of the world, after its lessons."""
    policy = tiny.widened(Policy.load(base), [*vocabulary(), *words()], CROP_TOKENS)
    torch.manual_seed(0)
    heads = Heads(policy.model.config.text_config.hidden_size, worlds=True)
    return stages.run_stages(policy, heads, further_stages(recipe), work, 0, WorldLessons)


def further_point(recipe: FurtherRecipe, base: Path, work: Path, seed: int) -> list[dict[str, Any]]:
    """Cold start and R-GRPO of a seed, measured in the world; the rows of its results."""
    rows, steps = [], recipe.cold_start_steps
    made = taught_and_pushed(recipe, base, work, INTERLEAVED.name, seed, steps, turns(recipe))
    asked = stages.held_out(recipe.world, recipe.test_samples, recipe.test_seed, recipe.split)
    for stage, folder in zip(WORLD_STAGES, made, strict=True):
        found = stages.measured(
            Policy.load(folder), asked, BATCH, recipe.split, each=True, max_new_tokens=recipe.new_tokens
        )
        rows.append({"world": recipe.world, "stage": stage, "seed": seed, "split": recipe.split, **found})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def make_further(recipe: FurtherRecipe) -> int:
    """Teach the shipped policy a further world, and measure it there.

    r3lab train further --seeds 1
    """
    check_positive(
        recipe,
        "seeds",
        "lessons",
        "corners",
        "cold_start_steps",
        "rgrpo_steps",
        "prompts",
        "new_tokens",
        "test_samples",
    )
    if not 0 < recipe.others < 1:
        raise R3labError(f"others must be between 0 and 1, got {recipe.others}")
    if recipe.world in WORLDS:
        raise R3labError(f"{recipe.world} is one of the worlds that the policy was trained in; name a further one")
    scene_of(OWN.use(recipe.world).sample("train", 0))  # an error where nothing is known to teach
    work, assets = Path(recipe.work), assets_dir()
    start = Path(recipe.base) if recipe.base else assets / "worlds" / "cold-start"
    if not stages.made(start):
        raise R3labError(f"no policy at {start}: a folder with config.json is wanted, as `r3lab train` makes")
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("work", "out", "seeds")}
    measured = ("split", "test_samples", "test_seed")  # the same policies may be measured on validation, then on test
    stages.claim(work, {k: v for k, v in settings.items() if k not in measured})
    asked, base, rows = "-".join(str(settings[k]) for k in measured), further_base(recipe, work, start), []
    for seed in range(recipe.seeds):
        rows += stages.kept(work / f"rows-{asked}-{seed}.json", partial(further_point, recipe, base, work, seed))
    out = Path(recipe.out) if recipe.out else assets
    results, seeds = out / "results" / f"{recipe.world}.json", recipe.seeds
    command = FURTHER if seeds == FurtherRecipe.seeds else f"{FURTHER} --seeds {seeds}"
    print(f"results in {stages.write_results(results, command, recipe=settings, rows=rows)}")
    return 0
