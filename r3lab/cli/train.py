"""`r3lab train rgrpo`: where samples come from, what is kept, what is said.

r3lab train rgrpo --model assets/tiny/cold-start --out runs/rgrpo
accelerate launch --num_processes 2 -m r3lab train rgrpo --out runs/rgrpo
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.arms import OWN as ARMS
from ..core.errors import R3labError
from ..core.files import assets_dir
from ..models.adapters import add_lora
from ..models.policy import Policy
from ..train.devices import Processes
from ..train.log import trackers
from ..train.own_rewards import check_known, pinned_reward, try_reward, use_reward
from ..train.rgrpo import train_rgrpo
from ..train.river import follower
from ..train.run import ended, opened
from ..train.settings import RgrpoSettings
from ..trajectory import Trajectory, save
from ..vlir.convert import ConvertError, OwnSamples
from ..vlir.sample import Sample
from ..vlir.worlds import pinned_worlds, sample_batches, world_batches
from . import LeftOut, as_options


def samples_of(settings: RgrpoSettings) -> list[Sample]:
    """The samples of the data that a run learns from; none where it draws them from a world.

    Raises
    ------
    R3labError
        If the data cannot be used, are fewer than a step takes, or do not say what the reward needs of them.
    """
    if not settings.data:
        return []
    try:
        samples = list(OwnSamples("train rgrpo", settings.data, settings.frame, settings.images, on_skip=LeftOut()))
    except ConvertError as error:
        raise as_options(error) from None
    if len(samples) < settings.prompts:
        raise R3labError(f"{settings.data} holds {len(samples)} samples, fewer than --prompts {settings.prompts}")
    check_known(settings.reward, samples, settings.when)
    return samples


def batches_of(settings: RgrpoSettings, samples: Sequence[Sample], start: int = 0) -> Iterator[Sequence[Sample]]:
    """The batches of a run, without the first `start`: of given samples, else of worlds."""
    if samples:
        return sample_batches(samples, settings.prompts, settings.seed, start)
    return world_batches(settings.world, settings.prompts, settings.seed, start * settings.prompts)


def checked(s: RgrpoSettings, samples: Sequence[Sample]) -> RgrpoSettings:
    """The same settings, each file of one's own with its hash in its name, once all that they name is found usable.

    Raises
    ------
    R3labError
        If a reward, a world or an arm cannot be used; the reward is called on the truth of a sample of the run too.
    """
    world = s.world if s.data else pinned_worlds(s.world)
    named = replace(s, reward=pinned_reward(s.reward), arm=ARMS.pinned(s.arm), world=world)
    try_reward(use_reward(named.reward), s.reward, next(batches_of(named, samples))[0].truth)
    return named


def rgrpo(s: RgrpoSettings) -> int:
    """R-GRPO from a checkpoint.

    r3lab train rgrpo --model runs/cold-start/policy --data VLIR_FOLDER --reward official-code
    """
    processes = Processes.start()
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):  # accelerate launch --use_fsdp
        s = replace(s, shard=True)
    samples = samples_of(s)
    s = checked(s, samples)
    policy = Policy.load(s.model or assets_dir() / "tiny" / "cold-start", device=processes.device)
    policy.trained(s.freeze_vision)  # one of the plain path says here that it cannot be, before a folder is made
    if s.lora_rank:
        add_lora(policy, s.lora_rank, s.lora_alpha, s.seed)
    with opened(s, s.keep, processes) as (run, begin, log):
        batches, follow = batches_of(s, samples, begin.draws), follower(policy, s, processes, begin.step)

        def show(step: int, trajectories: list[Trajectory]) -> None:
            if processes.main and s.show_every and (step + 1) % s.show_every == 0:
                save(trajectories[: s.group], Path(s.out) / "rollouts" / f"step-{step + 1:06d}")
            follow(step + 1)

        def train() -> None:
            with trackers(s.trackers if processes.main else "", s.out, s, policy.device.type == "cpu") as report:

                def both(row: dict[str, Any]) -> None:
                    log(row)
                    report(row)

                if begin.step == 0:
                    follow(0)
                train_rgrpo(policy, batches, s, both, True, show, run, processes)

        return ended(train, policy, s.out, processes)
