"""`r3lab train rgrpo` and `r3lab train ablations`: where samples come from, what is kept, what is said.

r3lab train rgrpo --model assets/tiny/cold-start --out runs/rgrpo
accelerate launch --num_processes 2 -m r3lab train rgrpo --out runs/rgrpo
r3lab train ablations --base runs/tiny/grounding-4        # an hour or two on two cores
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import R3labError
from ..core.files import assets_dir
from ..core.settings import check_positive, setting
from ..models.adapters import add_lora
from ..models.policy import Policy, save_policy
from ..recipes.ablations import FULL, VARIANTS, Budget, curve, curve_of, effects, get_variant, named, point
from ..recipes.stages import write_results
from ..rollout.sequence import prompt_ids
from ..show.effects import draw_effects
from ..train.log import JsonlLog, read_log
from ..train.memory import Footprint, footprint_of
from ..train.processes import Processes, trackers, whole_weights
from ..train.rgrpo import train_rgrpo
from ..train.river import follower
from ..train.run import Progress, Run, how_to_resume
from ..train.settings import RgrpoSettings
from ..trajectory import Trajectory, save
from ..vlir.sample import Sample, read_vlir
from ..vlir.worlds import sample_batches, world_batches


def batches_of(settings: RgrpoSettings, start: int = 0) -> Iterator[Sequence[Sample]]:
    """The batches of a run, without the first `start`: from a VLIR folder, else from a world."""
    if not settings.data:
        yield from world_batches(settings.world, settings.prompts, settings.seed, start * settings.prompts)
    samples = [sample for sample, _ in read_vlir(settings.data)]
    if len(samples) < settings.prompts:
        raise R3labError(f"{settings.data} holds {len(samples)} samples, fewer than --prompts {settings.prompts}")
    yield from sample_batches(samples, settings.prompts, settings.seed, start)


def forecast(policy: Policy, settings: RgrpoSettings, footprint: Footprint) -> str:
    """What the run will need of memory, from its first samples, with one look and as many tokens as it may take."""
    prompt = 0
    for sample in next(iter(batches_of(settings))):
        size = policy.overview_size(sample.image.size)
        overview = size[0] * size[1] // policy.layout.factor**2
        prompt = max(prompt, len(prompt_ids(policy, sample.question, size, overview)))
    completion = settings.max_new_tokens + policy.layout.crop_tokens[1]
    return footprint.told(settings, prompt, completion)


def rgrpo(s: RgrpoSettings) -> int:
    """R-GRPO from a checkpoint.

    r3lab train rgrpo --model runs/cold-start/policy --data VLIR_FOLDER --reward official-code
    """
    processes = Processes.start()
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):  # accelerate launch --use_fsdp
        s = replace(s, shard=True)
    policy = Policy.load(s.model or assets_dir() / "tiny" / "cold-start", device=processes.device)
    if s.lora_rank:
        add_lora(policy, s.lora_rank, s.lora_alpha, s.seed)
    run = Run(s.out, s, s.keep)
    if run.checkpoints and not s.resume:
        raise R3labError(f"{s.out} holds a run; give --resume to go on with it, or another --out")
    newest = run.newest()
    begin = newest[1] if newest else Progress()
    processes.wait()  # all have seen the folder as it was
    for line in run.said if processes.main else ():
        print(line, file=sys.stderr)
    log = JsonlLog(Path(s.out) / "log.jsonl" if processes.main else None, begin.step)
    if not log.rows:
        log({"settings": asdict(s), "processes": processes.count})

    follow = follower(policy, s, processes, begin.step)

    def keep(step: int, trajectories: list[Trajectory]) -> None:
        folder = Path(s.out) / f"not-finite-{step + 1}-{processes.rank}"
        save(trajectories, folder)
        print(f"step {step + 1}: an update that is not finite was left out; its rollouts are in {folder}")

    def show(step: int, trajectories: list[Trajectory]) -> None:
        if processes.main and s.show_every and (step + 1) % s.show_every == 0:
            save(trajectories[: s.group], Path(s.out) / "rollouts" / f"step-{step + 1:06d}")
        follow(step + 1)

    footprint = footprint_of(policy, s)
    if processes.main:
        print(forecast(policy, s, footprint), file=sys.stderr)
    try:
        with trackers(s.trackers if processes.main else "", s.out, s, policy.device.type == "cpu") as report:

            def both(row: dict[str, Any]) -> None:
                log(row)
                report(row)

            batches = batches_of(s, begin.draws)
            if begin.step == 0:
                follow(0)
            train_rgrpo(policy, batches, s, both, True, show, keep, run, processes, footprint)
    except KeyboardInterrupt:
        if processes.main:
            print(f"stopped; to go on: {how_to_resume()}")
        return 130
    weights = whole_weights(policy)
    if processes.main:
        print(f"checkpoint in {save_policy(policy, Path(s.out) / 'policy', weights=weights)}")
    return 0


COMMAND = "python -m r3lab train ablations"


@dataclass(frozen=True)
class AblationSettings:
    """Settings of the ablations."""

    base: str = setting("runs/tiny/grounding-4", "the base to start from; `r3lab train tiny` makes it on its way")
    work: str = setting("runs/ablations", "folder for what is finished; it is not repeated")
    out: str = setting("", "file of results (default: assets/results/ablations.json)")
    only: str = setting("", "variants, with commas between (default: all)")
    seeds: int = setting(5, "repetitions of each")
    lessons: int = setting(Budget.lessons, "updates of the cold start")
    steps: int = setting(Budget.steps, "steps of R-GRPO")
    test: int = setting(Budget.test, "held-out samples each is measured on")
    grounding: int = setting(200, "samples of the grounding curve of each seed of the whole method; 0: none")


def ablations(s: AblationSettings) -> int:
    """The paper's ablations in miniature.

    r3lab train ablations --only "full,without R-GRPO" --seeds 1 --out /tmp/ablations.json
    """
    check_positive(s, "seeds", "lessons", "steps", "test")
    base, work = Path(s.base), Path(s.work)
    if not (base / "config.json").is_file():
        raise R3labError(
            f"no base at {base}; `python -m r3lab train tiny` makes one in hours, as runs/tiny/grounding-4"
        )
    variants = [get_variant(name.strip()) for name in s.only.split(",")] if s.only else list(VARIANTS.values())
    budget = Budget(s.lessons, s.steps, s.test)
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(s.seeds):
        for variant in variants:
            rows.append(point(variant, seed, budget, base, work))
            print(json.dumps(rows[-1]), flush=True)
    curves: list[dict[str, Any]] = []
    if s.grounding and any(variant.name == FULL for variant in variants):
        for seed in range(s.seeds):
            curves += curve(Policy.load(work / named(FULL, seed)), seed, s.grounding)
    learned = []  # a curve for each row that R-GRPO made, from its log
    for row in rows:
        if get_variant(row["variant"]).push:
            log = read_log(work / f"{named(row['variant'], row['seed'])}.jsonl")
            learned.append({"variant": row["variant"], "seed": row["seed"], **curve_of(log)})
    out = Path(s.out) if s.out else assets_dir() / "results" / "ablations.json"
    print(f"results in {write_results(out, COMMAND, rows=rows, curves=learned, grounding=curves)}")
    if s.seeds > 1 and any(variant.name == FULL for variant in variants):
        place = out.parent if s.out else assets_dir() / "pictures"
        print(f"picture in {draw_effects(effects(rows)).save(place / 'ablations.png')}")
    return 0
