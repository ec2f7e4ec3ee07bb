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
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from ..core.errors import R3labError
from ..core.files import assets_dir, circumstances, recover, whole_folder
from ..core.settings import from_command_line, setting
from ..models import tiny
from ..models.policy import Policy, save_policy, write_policy
from ..rollout.loop import rollout
from ..show.filmstrip import filmstrip
from ..train.log import JsonlLog, read_log
from ..train.measure import summary
from ..train.rewards import deciding_iou, right
from ..train.rgrpo import train_rgrpo
from ..train.run import Progress, Run
from ..train.settings import RgrpoSettings
from ..train.sft import Pair, SftSettings, cold_start
from ..trajectory import Trajectory
from ..vlir.rationale import imperfect
from ..vlir.sample import Sample
from ..vlir.worlds import get_world, world_batches
from .base import Heads, Stage, train_base
from .lessons import vocabulary

# Put what the recipe made into the assets: policies, logs, settings, results, and the README's two pictures.
#
# ship("r3lab train tiny", work, ["warm-up", ...], rows, assets_dir())


def example(
    policy: Policy, world: str = "badges", new_tokens: int = 96, candidates: int = 200
) -> tuple[Sample, Trajectory] | None:
    """The first held-out sample that needs a look and that the policy answers with a look on its region, and how it
    does; None if there is none among the candidates."""
    made = get_world(world)
    for start in range(0, candidates, 20):
        samples = [made.sample("test", i) for i in range(start, start + 20)]
        for sample, t in zip(
            samples, rollout(policy, samples, temperature=0.0, max_new_tokens=new_tokens), strict=True
        ):
            if sample.needs_look and right(t) and (deciding_iou(t) or 0.0) >= 0.7:
                return sample, t
    return None


def ship(command: str, work: Path, base: Sequence[str], rows: list[dict[str, Any]], out: Path) -> None:
    """Copy the first seed's policies, the logs and the settings into the assets; write the results and draw pictures.

    Parameters
    ----------
    command : what was called
    work : the recipe's work folder
    base : names of the base's stages
    rows : measured, one an arm and seed
    out : the assets folder
    """
    target, pictures = out / "tiny", out / "pictures"
    for name, folder in (("cold-start", "cold-start-0"), ("rgrpo", "rgrpo-0")):
        save_policy(Policy.load(work / folder), target / name, half=True)
    logs = target / "logs"
    for needed in (logs, pictures, out / "results"):
        needed.mkdir(parents=True, exist_ok=True)
    for stage in (*base, "cold-start-0", "rgrpo-0"):
        shutil.copy(work / f"{stage}.jsonl", logs / f"{stage}.jsonl")
    shutil.copy(work / "recipe.json", target / "recipe.json")
    policy = Policy.load(target / "rgrpo")
    shown = example(policy)
    if shown is None:
        raise R3labError("the policy answers no held-out sample with a look on its region; nothing can be drawn of it")
    sample, trajectory = shown
    sample.image.save(pictures / "badges.png", optimize=True)
    filmstrip(trajectory).save(pictures / "filmstrip.png")
    result = {
        **circumstances(command),
        "training_seconds": {stage: read_log(work / f"{stage}.jsonl")[-1]["seconds"] for stage in base},
        "example": {"sample": sample.id, "question": sample.question, "answer": sample.answer},
        "rows": rows,
    }
    (out / "results" / "tiny.json").write_text(json.dumps(result, indent=1) + "\n")


# The base of the policy of badges: from random weights to a model that perceives, locates and reads.
#
# `BASE` is the list of stages, `make_base` runs them in order and keeps each in a folder of its own. A stage that is
# finished is not repeated; one that was interrupted continues from the last weights it saved, with what is left of
# its
# steps. What a stage is, and why each is there, stands in `train.base`.
#
#     folder = make_base(Path("runs/tiny"), seed=0)

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
    recover(partial)
    if (folder / "config.json").is_file():
        return _load(folder, heads)[0]
    resume = None
    if (partial / PROGRESS).is_file():
        policy, resume = _load(partial, heads)
    log = JsonlLog(work / f"{stage.name}.jsonl", resume[0] if resume else 0)
    spent = log.rows[-1]["seconds"] if log.rows else 0.0

    def keep(step: int, optimiser: dict[str, Any]) -> None:
        with whole_folder(partial, replace=True, durable=True) as part:
            write_policy(policy, part)
            torch.save({"step": step, "optimiser": optimiser, "heads": heads.state_dict()}, part / PROGRESS)

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
    try:
        progress = torch.load(folder / PROGRESS, weights_only=True)
        heads.load_state_dict(progress["heads"])
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise R3labError(
            f"{folder / PROGRESS} cannot be read ({why}); remove {folder}, and the stage begins anew"
        ) from None
    return Policy.load(folder), (progress["step"], progress["optimiser"])


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
    recipe = from_command_line(
        Recipe, arguments, COMMAND, "Make the tiny policy of badges and its results.", f"{COMMAND} --seeds 1"
    )
    work = Path(recipe.work)
    claim(recipe, work)
    base = make_base(work, recipe.base_seed)
    rows = [row for seed in range(recipe.seeds) for row in make_seed(recipe, base, work, seed)]
    ship(COMMAND, work, [stage.name for stage in BASE], rows, Path(recipe.out) if recipe.out else assets_dir())
    return 0
