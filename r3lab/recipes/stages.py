"""What every recipe does in its work folder: stages of a base, cold starts, R-GRPO, held-out measures, shipping.

What is finished is kept and not repeated when a command is given again; what was killed goes on. Everything appears in
the folder whole or not at all: `NAME/` a policy, `NAME.jsonl` its log, `NAME.partial/` a stage of a base in progress,
`NAME.run/` R-GRPO in progress, `recipe.json` the settings that all of it was made with.

    claim(work, settings)                                # an error where the folder holds stages of other settings
    cold = taught(base, work / "cold-start-0", lessons, SftSettings(steps=100))
    row = measured(Policy.load(cold), held_out("badges", 500))
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch

from ..core.errors import R3labError
from ..core.files import circumstances, recover, whole_folder, write_whole
from ..models.policy import Policy, save_policy, write_policy
from ..rollout.loop import rollout
from ..show.filmstrip import filmstrip
from ..train.log import JsonlLog
from ..train.measure import summary
from ..train.rewards import deciding_iou, right
from ..train.rgrpo import train_rgrpo
from ..train.run import Progress, Run
from ..train.settings import RgrpoSettings
from ..train.sft import Pair, SftSettings, cold_start
from ..trajectory import Trajectory
from ..vlir.sample import Sample
from ..vlir.worlds import get_world, world_batches
from .base import Heads, Stage, badge_lessons, train_base

T = TypeVar("T")
S = TypeVar("S", bound=Stage)
PROGRESS = "progress.pt"  # in the folder of a base's stage: steps done, state of the optimiser, heads
CANDIDATES = 200  # held-out samples among which a picture is looked for


def made(folder: Path) -> bool:
    """Whether a folder holds a policy."""
    return (folder / "config.json").is_file()


def log_of(folder: Path) -> Path:
    """The log of the policy in a folder."""
    return folder.with_name(f"{folder.name}.jsonl")


def kept(path: Path, make: Callable[[], T]) -> T:
    """What the JSON file at `path` holds; where there is none, what `make` returns, which is written there."""
    if path.is_file():
        found: T = json.loads(path.read_text(encoding="utf-8"))
        return found
    value = make()
    write_json(path, value)
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a file of JSON, one level a line."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode("utf-8"))


def claim(work: Path, settings: Mapping[str, Any]) -> None:
    """Note settings in the work folder.

    Raises
    ------
    R3labError
        If the folder holds what was made with others; the setting that differs is named.
    """
    noted, settings = work / "recipe.json", json.loads(json.dumps(settings))
    before = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else settings
    for key, value in settings.items():
        if before.get(key) != value:
            raise R3labError(
                f"{work} holds what was made with {key} {before.get(key)!r}, not {value!r}; give another --work, "
                "or remove it"
            )
    write_json(noted, settings)


# -- the base ------------------------------------------------------------------------------------------------------


def run_stages(
    policy: Policy,
    heads: Heads,
    stages: Sequence[S],
    work: Path,
    seed: int,
    lessons: Callable[[Policy, S, int], torch.utils.data.IterableDataset] = badge_lessons,
) -> Path:
    """Run the stages of a base in order; returns the folder of the last.

    Parameters
    ----------
    policy, heads : that the first stage begins with; the heads learn on from stage to stage
    seed : added to each stage's own
    lessons : of a policy and a stage, from the number of a batch on
    """
    for stage in stages:
        policy = _run_stage(policy, heads, replace(stage, seed=stage.seed + seed), work, lessons)
    return work / stages[-1].name


def _run_stage(policy: Policy, heads: Heads, stage: S, work: Path, lessons: Callable[..., Any]) -> Policy:
    """Run a stage, or what is left of it, and return its policy; `heads` learn on, or are those that were kept."""
    folder, partial = work / stage.name, work / f"{stage.name}.partial"
    recover(partial)
    if made(folder):
        return _load(folder, heads)[0]
    resume = None
    if (partial / PROGRESS).is_file():
        policy, resume = _load(partial, heads)
    done = resume[0] if resume else 0
    log = JsonlLog(log_of(folder), done)
    spent = log.rows[-1]["seconds"] if log.rows else 0.0

    def keep(step: int, optimiser: dict[str, Any]) -> None:
        with whole_folder(partial, replace=True, durable=True) as part:
            write_policy(policy, part)
            torch.save({"step": step, "optimiser": optimiser, "heads": heads.state_dict()}, part / PROGRESS)

    def note(row: dict[str, Any]) -> None:
        log({**row, "seconds": round(row["seconds"] + spent, 1)})

    train_base(policy, heads, stage, note, save=keep, resume=resume, stream=lessons(policy, stage, done))
    partial.rename(folder)
    return policy


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


# -- cold start and R-GRPO -----------------------------------------------------------------------------------------


def taught(base: Path, folder: Path, lessons: Iterator[list[Pair]], settings: SftSettings, half: bool = True) -> Path:
    """The folder of a base's cold start; `half` keeps float16."""
    if not made(folder):
        policy = Policy.load(base)
        torch.manual_seed(settings.seed)
        cold_start(policy, lessons, settings, JsonlLog(log_of(folder)))
        save_policy(policy, folder, half=half)
    return folder


def pushed(
    start: Path,
    folder: Path,
    settings: RgrpoSettings,
    worlds: str | Sequence[str],
    watch: Callable[[int, Policy], None] = lambda step, policy: None,
) -> Path:
    """The folder of a policy after R-GRPO on the worlds in turn; a run that was killed goes on.

    Parameters
    ----------
    watch : called after each step with its number, from 0, and the policy
    """
    if not made(folder):
        policy = Policy.load(start)
        run = Run(folder.with_name(f"{folder.name}.run"), settings)
        newest = run.newest()
        begin = newest[1] if newest else Progress()

        def see(step: int, _: list[Trajectory]) -> None:
            watch(step, policy)

        batches = world_batches(worlds, settings.prompts, settings.seed, begin.draws * settings.prompts)
        train_rgrpo(policy, batches, settings, JsonlLog(log_of(folder), begin.step), watch=see, run=run)
        save_policy(policy, folder, half=True)
        shutil.rmtree(run.folder)
    return folder


# -- measured and shipped ------------------------------------------------------------------------------------------


def held_out(world: str, count: int) -> list[Sample]:
    """What a policy is measured with in a world."""
    return [get_world(world).sample("test", i) for i in range(count)]


def measured(policy: Policy, samples: Sequence[Sample], batch: int = 100, **setting: Any) -> dict[str, Any]:
    """Summary of a policy's rollouts, `batch` samples at a time: greedy and of at most 96 tokens unless told."""
    options: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 96, **setting}
    parts = (samples[start : start + batch] for start in range(0, len(samples), batch))
    return summary(list(chain.from_iterable(rollout(policy, part, **options) for part in parts)))


def example(policy: Policy, world: str, new_tokens: int) -> tuple[Sample, Trajectory] | None:
    """The first held-out sample that needs a look and that the policy answers with a look on its region, and how it
    does; None if there is none among the candidates."""
    for start in range(0, CANDIDATES, 20):
        samples = [get_world(world).sample("test", i) for i in range(start, start + 20)]
        answers = rollout(policy, samples, temperature=0.0, max_new_tokens=new_tokens)
        for sample, t in zip(samples, answers, strict=True):
            if sample.needs_look and right(t) and (deciding_iou(t) or 0.0) >= 0.7:
                return sample, t
    return None


def picture(policy: Policy, world: str, new_tokens: int, photo: Path, strip: Path) -> dict[str, str] | None:
    """Draw the `example` of a world and its filmstrip; returns sample, question and answer, or None without one."""
    shown = example(policy, world, new_tokens)
    if shown is None:
        return None
    sample, trajectory = shown
    photo.parent.mkdir(parents=True, exist_ok=True)
    sample.image.save(photo, optimize=True)
    filmstrip(trajectory).save(strip)
    return {"sample": sample.id, "question": sample.question, "answer": sample.answer}


def ship(policies: Mapping[str, Path], target: Path) -> Policy:
    """Copy policies, by the name that they ship under, into a folder of the assets; returns the last of them."""
    for name, folder in policies.items():
        save_policy(Policy.load(folder), target / name, half=True)
    return Policy.load(target / name)


def write_results(path: Path, command: str, **what: Any) -> Path:
    """Write a file of results: the command and its circumstances, then `what`."""
    write_json(path, {**circumstances(command), **what})
    return path
