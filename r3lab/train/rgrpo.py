"""Region-Conditioned GRPO: roll out groups, reward, compare within the group, push sampled tokens.

One step: G rollouts of each of several samples at temperature 1, rewards by preset, advantages within each group,
then the clipped objective on sampled tokens only, conditioned on the crops that each rollout's own boxes brought in.
The trained sequence is the sampled sequence, id for id; the importance ratio is taken against the log-probabilities
that were recorded at sampling; the vision tower is frozen (as published), so features of the rollout serve the
update. The update reads each group's prompt once (`packed`); what it maximises is chosen in `update`. One
process or several that share the groups (`processes`).

    train_rgrpo(policy, world_batches("badges", 12, seed=0), RgrpoSettings(steps=50), log)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from ..core.arms import get_arm
from ..core.errors import R3labError
from ..core.settings import check_positive
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..trajectory import Trajectory
from ..vlir.sample import Sample
from .measure import facts, step_metrics
from .memory import Footprint, footprint_of, room
from .objective import advantages
from .processes import ALONE, Processes, gathered, shard
from .rewards import preset, score
from .run import Progress, Run, cooldown, finish_step
from .settings import RgrpoSettings, objective_of
from .update import Guard, update

Log = Callable[[dict[str, Any]], None]


def reward_groups(trajectories: Sequence[Trajectory], group: int, name: str, kind: str = "grpo") -> torch.Tensor:
    """Score trajectories in place (`rewards`, `advantage` of that kind); returns the rewards (N, G)."""
    for t in trajectories:
        t.rewards = score(t, name)
    rewards = torch.tensor([sum(t.rewards.values()) for t in trajectories], dtype=torch.float64).view(-1, group)
    for t, value in zip(trajectories, advantages(rewards, kind).flatten().tolist(), strict=True):
        t.advantage = value
    return rewards


class Counted(Iterator[Sequence[Sample]]):
    """An iterator that knows how many batches were taken."""

    def __init__(self, batches: Iterator[Sequence[Sample]], count: int = 0) -> None:
        self.batches, self.count = batches, count

    def __next__(self) -> Sequence[Sample]:
        self.count += 1
        return next(self.batches)


def draw(
    policy: Policy,
    batches: Iterator[Sequence[Sample]],
    settings: RgrpoSettings,
    step: int,
    store: dict[str, Features],
    processes: Processes = ALONE,
) -> tuple[dict[int, list[Trajectory]], int]:
    """The rollouts of a step: this process's groups by their number, and how many were drawn anew in all processes.

    Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose rewards are equal teach nothing; up to
    `redraws` times they are replaced by groups of the next samples.
    """
    samples = next(batches)
    mine = [n for numbers in processes.share(len(samples), settings.minibatches) for n in numbers]
    given = {number: number for number in range(len(samples))}  # group -> place of its sample in the batch
    groups: dict[int, list[Trajectory]] = {}
    anew = 0
    for attempt in range(settings.redraws + 1):
        wanted = [n for n in mine if n in given]
        rolled = rollout(
            policy,
            [samples[given[n]] for n in wanted],
            settings.group,
            temperature=settings.temperature,
            seed=settings.seed * 1_000_003 + step + (attempt << 48),
            max_looks=settings.max_looks,
            max_new_tokens=settings.max_new_tokens,
            features=store,
            numbers=[given[n] for n in wanted],
            arm=get_arm(settings.arm),
        )
        groups.update({n: rolled[i * settings.group : (i + 1) * settings.group] for i, n in enumerate(wanted)})
        if attempt == settings.redraws:
            break
        equal = []
        for n, group in groups.items():
            rewards = reward_groups(group, settings.group, settings.reward)
            if float(rewards.max()) == float(rewards.min()):
                equal.append(n)
        open_ = sorted(n for part in processes.gather(equal) for n in part)
        if not open_:
            break
        samples, given = next(batches), {n: place for place, n in enumerate(open_)}
        anew += len(open_)
    return {n: groups[n] for n in sorted(groups)}, anew


def compare(
    groups: dict[int, list[Trajectory]], settings: RgrpoSettings, kind: str, processes: Processes = ALONE
) -> torch.Tensor:
    """Score this process's groups and compare all; returns the rewards (N, G) of the groups of all processes."""
    own = [(n, reward_groups(group, settings.group, settings.reward)[0].tolist()) for n, group in groups.items()]
    every = {n: row for part in processes.gather(own) for n, row in part}
    rewards = torch.tensor([every[n] for n in sorted(every)], dtype=torch.float64)
    for n, row in zip(sorted(every), advantages(rewards, kind).tolist(), strict=True):
        for t, value in zip(groups.get(n, ()), row, strict=False):
            t.advantage = 0.0 if settings.overlong == "mask" and t.finish == "length" else value
    return rewards


def train_rgrpo(
    policy: Policy,
    batches: Iterator[Sequence[Sample]],
    settings: RgrpoSettings,
    log: Log,
    progress: bool = True,
    watch: Callable[[int, list[Trajectory]], None] = lambda step, trajectories: None,
    skipped: Callable[[int, list[Trajectory]], None] = lambda step, trajectories: None,
    run: Run | None = None,
    processes: Processes = ALONE,
    footprint: Footprint | None = None,
) -> None:
    """Run R-GRPO in place.

    Parameters
    ----------
    batches : samples of each step; of a run that goes on, from where it was (`Progress.draws`)
    log : called with the metrics of each step, of all processes
    watch : called with each step's trajectories, scored; those of this process
    skipped : called with the trajectories of an update that was left out because it was not finite
    run : goes on with what is there, and gets a checkpoint every `save_every` steps, at the end and on Ctrl-C
    processes : that train together; all are called with the same `batches` and settings
    footprint : of this policy and these settings, if it was measured already

    Ctrl-C takes effect when the step in progress is done (KeyboardInterrupt); a second one at once.
    """
    check_positive(settings, "steps", "prompts", "learning_rate", "minibatches", "temperature", "epochs", "max_skipped")
    if settings.group < 2:
        raise R3labError(f"group must be at least 2 (advantages compare within a group), got {settings.group}")
    if settings.overlong not in ("keep", "mask"):
        raise R3labError(f"overlong must be keep or mask, got {settings.overlong!r}")
    if not 0 <= settings.cooldown <= settings.steps:
        raise R3labError(f"cooldown must be 0 to {settings.steps}, the steps of the run, got {settings.cooldown}")
    preset(settings.reward), get_arm(settings.arm)
    if not settings.freeze_vision and (settings.shard or policy.adapter is not None):
        raise R3labError("the vision tower is trained only where all weights are: not with --shard, nor with LoRA")
    objective = objective_of(settings)
    reference = None
    if settings.kl_weight:
        reference = policy.frozen() if policy.adapter is None else policy
    guard, scores = Guard(settings.max_skipped, skipped), []
    footprint = footprint or footprint_of(policy, settings)
    if settings.shard:
        if settings.prompts // settings.minibatches < processes.count:
            raise R3labError(
                f"--shard needs a group of each minibatch in every process: {settings.prompts} prompts in "
                f"{settings.minibatches} minibatches are too few for {processes.count} processes"
            )
        shard(policy, processes)
    optimiser = torch.optim.AdamW(
        policy.trained(settings.freeze_vision), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    begin_at = run.restore(policy, optimiser) if run else Progress()
    taken = Counted(batches, begin_at.draws)
    with finish_step() as stop:
        for step in tqdm(
            range(begin_at.step, settings.steps),
            desc="R-GRPO",
            initial=begin_at.step,
            total=settings.steps,
            disable=not (progress and processes.main),
            mininterval=1,
        ):
            begin = time.time()
            store: dict[str, Features] = {}
            with gathered(policy):
                groups, anew = draw(policy, taken, settings, step, store, processes)
            rolled = time.time()
            rewards = compare(groups, settings, objective.advantage, processes)
            fit = footprint.groups_that_fit([t for group in groups.values() for t in group], room(policy.device))
            bounded = replace(settings, pass_groups=fit) if 0 < fit < (settings.pass_groups or fit + 1) else settings
            shares = processes.share(len(rewards), settings.minibatches) * settings.epochs
            rate = settings.learning_rate * cooldown(step, settings.steps, settings.cooldown)
            for weights in optimiser.param_groups:
                weights["lr"] = rate
            updates = []
            for numbers in shares:
                part = [t for n in numbers for t in groups[n]]
                made = update(policy, part, store, optimiser, bounded, reference, processes)
                updates.append(guard(step, part, made))
                if "pass_groups" in made:
                    settings = bounded = replace(settings, pass_groups=int(made["pass_groups"]))
                    tqdm.write(f"step {step + 1}: out of memory; from here on {settings.pass_groups} groups in a pass")
            own = [(n, [facts(t) for t in group]) for n, group in groups.items()]
            every = [f for _, found in sorted(g for part in processes.gather(own) for g in part) for f in found]
            row = step_metrics(every, rewards, updates, rolled - begin, time.time() - rolled)
            also = {"learning_rate": rate} if settings.cooldown else {}
            log({"step": step + 1, **row, **also, **({"redrawn": anew} if settings.redraws else {})})
            watch(step, [t for group in groups.values() for t in group])
            scores.append(row["reward"])
            stopped = any(processes.gather(stop.asked))
            last = step + 1 == settings.steps
            if run and ((step + 1) % settings.save_every == 0 or last or stopped):
                run.save(Progress(step + 1, taken.count, sum(scores) / len(scores)), policy, optimiser, processes.main)
                processes.wait()
                scores = []
            if stopped and not last:
                raise KeyboardInterrupt
