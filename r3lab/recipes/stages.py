"""What every recipe does in its work folder: stages of a base, cold starts, R-GRPO, held-out measures, shipping.

What is finished is kept and not repeated when a command is given again; what was killed goes on. Everything appears in
the folder whole or not at all: `NAME/` a policy, `NAME.jsonl` its log, `NAME.run/` a stage of a base or R-GRPO in
progress (`train.run`), `recipe.json` the settings that all of it was made with.

    claim(work, settings)                                # an error where the folder holds stages of other settings
    cold = taught(base, work / "cold-start-0", lessons, SftSettings(steps=100))
    row = measured(Policy.load(cold), held_out("badges", 500))
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import torch.utils.data
from safetensors.torch import load_file, save_file

from ..core.errors import R3labError
from ..core.files import alone, circumstances, whole_folder, write_whole
from ..models.policy import Policy, save_policy, write_policy
from ..rollout.loop import rollout
from ..show.filmstrip import filmstrip
from ..train.log import JsonlLog, read_log, summary
from ..train.rewards import deciding_iou, right
from ..train.rgrpo import train_rgrpo
from ..train.run import FREE, Progress, Run
from ..train.settings import RgrpoSettings
from ..train.sft import Pair, SftSettings, cold_start
from ..train.update import ALONE, Alone
from ..vlir.sample import Sample, of_split
from ..vlir.worlds import Worlds, get_world, world_batches
from .base import Heads, train_base
from .lessons import Lessons, Stage

T = TypeVar("T")
HEADS = "heads.safetensors"  # in the folder of a base's stage
POLICIES = ("cold-start", "rgrpo")  # of the first seed, that ship
CANDIDATES = 200  # held-out samples among which a picture is looked for


def made(folder: Path) -> bool:
    """Whether a folder holds a policy."""
    return (folder / "config.json").is_file()


def beside(folder: Path, end: str) -> Path:
    """What stands beside the policy in a folder: its log ("jsonl"), or the run that makes it ("run")."""
    return folder.with_name(f"{folder.name}.{end}")


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
    settings = json.loads(json.dumps(settings))
    before = kept(work / "recipe.json", lambda: settings)
    for key, value in settings.items():
        if before.get(key) != value:
            raise R3labError(
                f"{work} holds what was made with {key} {before.get(key)!r}, not {value!r}; give another --work, "
                "or remove it"
            )


# -- stages, cold start, R-GRPO ------------------------------------------------------------------------------------


@contextmanager
def in_progress(
    folder: Path, settings: Any, keep: int = 2, processes: Alone = ALONE
) -> Iterator[tuple[Run, Progress, Callable[[dict], None]]]:
    """The run that makes the policy of a folder, how far it is, and its log; when the policy is there, the run goes. Of
    several processes one has the lock and writes."""
    if not processes.main:
        processes.wait()  # until the first has put right what a kill left
        run = Run(beside(folder, "run"), settings, keep, FREE - {"steps"})
        yield run, run.begin(), lambda row: None
        processes.wait()
        return
    with alone(beside(folder, "run")):
        run = Run(beside(folder, "run"), settings, keep, FREE - {"steps"})
        begin = run.begin()
        processes.wait()
        yield run, begin, JsonlLog(beside(folder, "jsonl"), begin.step)
        processes.wait()
        shutil.rmtree(run.folder, ignore_errors=True)


def run_stages(
    policy: Policy,
    heads: Heads,
    stages: Sequence[Stage],
    work: Path,
    seed: int,
    lessons: Callable[..., torch.utils.data.IterableDataset] = Lessons,
    processes: Alone = ALONE,
) -> Path:
    """Run the stages of a base in order, or what is left of them; returns the folder of the last.

    Parameters
    ----------
    policy, heads : that the first stage begins with; the heads learn on from stage to stage
    seed : added to each stage's own
    lessons : of a policy and a stage, from the number of a batch on
    processes : that share each batch
    """
    for stage in (replace(stage, seed=stage.seed + seed) for stage in stages):
        folder = work / stage.name
        if all(processes.gather(made(folder))):
            policy = Policy.load(folder)
            heads.load_state_dict(load_file(folder / HEADS))
            continue
        with in_progress(folder, stage, 1, processes) as (run, _, log):
            train_base(policy, heads, stage, log, lessons, run, processes)
            if not processes.main:
                continue
            with whole_folder(folder, replace=True, durable=True) as part:
                write_policy(policy, part)
                save_file(heads.state_dict(), part / HEADS)
    return folder


def taught(base: Path, folder: Path, lessons: Iterator[list[Pair]], settings: SftSettings, half: bool = True) -> Path:
    """The folder of a base's cold start; `half` keeps float16."""
    if not made(folder):
        policy = Policy.load(base)
        with in_progress(folder, settings, keep=1) as (run, begin, log):
            cold_start(policy, islice(lessons, begin.step, None), settings, log, run=run)
            save_policy(policy, folder, half=half)
    return folder


def pushed(
    start: Path,
    folder: Path,
    settings: RgrpoSettings,
    worlds: Worlds,
    watch: Callable[[int, Policy], None] = lambda step, policy: None,
    half: bool = True,
    **own: Any,
) -> Path:
    """The folder of a policy after R-GRPO on the worlds in turn; a run that was killed goes on.

    Parameters
    ----------
    watch : called after each step with its number, from 0, and the policy
    half : keep float16
    own : a reward, an advantage or a loss of one's own, as of `train_rgrpo`
    """
    if not made(folder):
        policy = Policy.load(start)
        with in_progress(folder, settings) as (run, begin, log):
            batches = world_batches(worlds, settings.prompts, settings.seed, begin.draws * settings.prompts)
            train_rgrpo(policy, batches, settings, log, watch=lambda step, _: watch(step, policy), run=run, **own)
            save_policy(policy, folder, half=half)
    return folder


def seconds_of(folder: Path, steps: int | None = None) -> float:
    """How long the first steps of a policy's R-GRPO took, or all, without what surrounds them."""
    rows = read_log(beside(folder, "jsonl"))[:steps]
    return round(sum(row["seconds_rollout"] + row["seconds_update"] for row in rows), 1)


# -- measured and shipped ------------------------------------------------------------------------------------------


def held_out(world: str, count: int, seed: int = 0, split: str = "test") -> list[Sample]:
    """What a policy is measured with in a world."""
    return [get_world(world).sample(split, i, seed) for i in range(count)]


def measured(
    policy: Policy, samples: Sequence[Sample], batch: int = 100, split: str = "test", each: bool = False, **setting: Any
) -> dict[str, Any]:
    """Summary of a policy's rollouts, `batch` samples at a time: greedy and of at most 96 tokens unless told. With
    `each` also, for every sample, whether it is right, as 0 and 1.

    Raises
    ------
    R3labError
        If a sample is not of the split.
    """
    samples = list(of_split(samples, split))
    options: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 96, **setting}
    parts = (samples[start : start + batch] for start in range(0, len(samples), batch))
    found = list(chain.from_iterable(rollout(policy, part, **options) for part in parts))
    return summary(found) | ({"each": "".join(str(int(right(t))) for t in found)} if each else {})


def picture(policy: Policy, world: str, new_tokens: int, photo: Path, strip: Path) -> dict[str, str] | None:
    """Draw the first held-out sample that needs a look and that the policy answers with a look on its region, and the
    filmstrip of its answer; returns sample, question and answer, or None if there is none among the candidates."""
    samples = list(of_split(held_out(world, CANDIDATES), "test"))
    for start in range(0, CANDIDATES, 20):
        asked = samples[start : start + 20]
        for sample, t in zip(asked, rollout(policy, asked, temperature=0.0, max_new_tokens=new_tokens), strict=True):
            if sample.needs_look and right(t) and (deciding_iou(t) or 0.0) >= 0.7:
                photo.parent.mkdir(parents=True, exist_ok=True)
                sample.image.save(photo, optimize=True)
                filmstrip(t).save(strip)
                return {"sample": sample.id, "question": sample.question, "answer": sample.answer}
    return None


def ship(work: Path, end: str, to: Path, worlds: Mapping[str, str], new_tokens: int) -> dict[str, dict[str, str]]:
    """Copy the first seed's policies, `POLICIES`, to a folder of the assets, and draw what the last of them does.

    Parameters
    ----------
    work, end : where they are, and what their names end in
    worlds : to draw, and what the name of each filmstrip ends in

    Returns
    -------
    By world what was drawn; a world in which there is nothing to draw is left out.
    """
    for name in POLICIES:
        save_policy(Policy.load(work / f"{name}-{end}"), to / name, half=True)
    policy, drawn = Policy.load(to / POLICIES[-1]), to.parent / "pictures"
    found = {}
    for world, ending in worlds.items():
        shown = picture(policy, world, new_tokens, drawn / f"{world}.png", drawn / f"filmstrip{ending}.png")
        if shown is not None:
            found[world] = shown
    return found


def write_results(path: Path, command: str, **what: Any) -> Path:
    """Write a file of results: the command and its circumstances, then `what`."""
    write_json(path, {**circumstances(command), **what})
    return path
