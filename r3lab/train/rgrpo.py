"""Region-Conditioned GRPO: roll out groups, reward, compare within the group, push sampled tokens.

One step, as `train_rgrpo` writes it down: samples, G rollouts of each at temperature 1 (`draw`), a reward for each
rollout (N, G), advantages within each group (N, G), and `update`: the clipped loss on the sampled tokens, conditioned
on the crops that each rollout's own boxes brought in, and a step of the optimiser. The trained sequence is the sampled
sequence, id for id; the importance ratio is taken against the log-probabilities that were recorded at sampling; the
vision tower is frozen (as published), so features of the rollout serve the update. What is not the method (several
processes, memory, checkpoints, Ctrl-C, logs) stands in `run.Session`; nothing of a step is hidden there.

    train_rgrpo(policy, world_batches("badges", 12, seed=0), RgrpoSettings(steps=50), log)

The three functions that make the method can be one's own:

    def reward(t):                                       # a trajectory -> a number, or named numbers that are added up
        return {"right": float(t.answer == t.truth["answer"]), "short": -0.01 * len(t.looks)}
    def advantage(r):                                    # (N, G) -> (N, G)
        return r - r.mean(dim=1, keepdim=True)
    def loss(new, old, a, mask):                         # (R, T), (R, T), (R,), (R, T) -> a number to minimise
        return -(((new - old).exp() * a[:, None] * mask).sum(1) / mask.sum(1)).mean()
    train_rgrpo(policy, batches, settings, log, reward=reward, advantage=advantage, loss=loss)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..core.arms import get_arm
from ..core.errors import R3labError
from ..core.files import first_interrupt
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..trajectory import Trajectory
from ..vlir.sample import Sample
from .objective import advantages, policy_loss
from .rewards import Paid, paid, score
from .update import ALONE, Alone, Loss, update

if TYPE_CHECKING:
    from .run import Run
    from .settings import RgrpoSettings

Advantage = Callable[[torch.Tensor], torch.Tensor]
Groups = dict[int, list[Trajectory]]  # the rollouts of each sample of a step, by the sample's number
Watch = Callable[[int, list[Trajectory]], None]


def train_rgrpo(
    policy: Policy,
    batches: Iterator[Sequence[Sample]],
    settings: RgrpoSettings,
    log: Callable[[dict[str, Any]], None],
    progress: bool = True,
    watch: Watch = lambda step, trajectories: None,
    run: Run | None = None,
    processes: Alone = ALONE,
    *,
    reward: Paid | None = None,
    advantage: Advantage | None = None,
    loss: Loss | None = None,
) -> None:
    """Run R-GRPO in place.

    Parameters
    ----------
    batches : samples of each step; of a run that goes on, from where it was (`Progress.draws`)
    log : called with the metrics of each step, of all processes
    progress : show a bar
    watch : called with each step's trajectories, scored; those of this process
    run : goes on with what is there, and gets a checkpoint every `save_every` steps, at the end and on Ctrl-C, and the
        rollouts of an update that is not finite
    processes : that train together; all are called with the same `batches` and settings
    reward : of a trajectory, a number or named numbers that are added up; by default `settings.reward`
    advantage : (N, G) rewards, a group a row, float64, to advantages (N, G); by default that of `settings.objective`
    loss : by default `policy_loss` of `settings.objective`; see `update.Loss` for its arguments

    Raises
    ------
    R3labError
        If a setting cannot be used, a function gives something else than it should, or updates are not finite again
        and again.
    KeyboardInterrupt
        After Ctrl-C, when the step in progress is done; a second one interrupts at once.
    """
    from .credit import judged, paying  # what a rule for when to look gives
    from .devices import adamw  # what is not the method
    from .own_rewards import use_reward
    from .run import Session

    settings.check(policy)
    objective, rule = settings.as_objective(), settings.rule()
    reward = reward or paying(use_reward(settings.reward), rule)
    advantage = advantage or partial(advantages, kind=objective.advantage)
    loss = loss or partial(policy_loss, objective=objective)
    reference = None
    if settings.kl_weight:
        reference = policy.frozen() if policy.adapter is None else policy
    with first_interrupt() as stop:
        around = Session(policy, settings, stop, run, processes)
        optimiser = adamw(policy.trained(settings.freeze_vision), settings.learning_rate, 0.99)
        for step in around.steps(optimiser, progress):
            begin = time.time()
            store: dict[str, Features] = {}  # of every image of this step, encoded once
            groups, redrawn = draw(policy, around.counted(batches), settings, step, store, processes, reward)
            rolled = time.time()
            rewards = rewards_of(groups, reward, processes)  # (N, G), of all processes
            credit, told = judged(rule, groups, policy, store, settings.max_new_tokens, processes)
            give(groups, credit.advantages(rewards, advantage), settings.overlong)
            around.fit([t for group in groups.values() for t in group])
            optimiser.param_groups[0]["lr"] = settings.rate(step)
            updates = []
            for numbers in processes.share(len(rewards), settings.minibatches) * settings.epochs:
                part = [t for n in numbers for t in groups[n]]
                made = update(policy, part, store, optimiser, around.settings, reference, processes, loss)
                updates.append(around.noted(step, part, made))
            log(around.row(step, groups, redrawn, rewards, updates, rolled - begin, time.time() - rolled) | told)
            watch(step, [t for group in groups.values() for t in group])


def draw(
    policy: Policy,
    batches: Iterator[Sequence[Sample]],
    settings: RgrpoSettings,
    step: int,
    store: dict[str, Features],
    processes: Alone = ALONE,
    reward: Paid | None = None,
) -> tuple[Groups, int]:
    """The rollouts of a step: this process's groups by their number, and how many were drawn anew in all processes.

    Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose rewards are equal teach nothing; up to
    `redraws` times they are replaced by groups of the next samples.
    """
    samples = next(batches)
    mine = [n for numbers in processes.share(len(samples), settings.minibatches) for n in numbers]
    given = {number: number for number in range(len(samples))}  # group -> place of its sample in the batch
    groups: Groups = {}
    redrawn = 0
    for attempt in range(settings.redraws + 1):
        wanted = [n for n in mine if n in given]
        with processes.gathered(policy):
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
                forced=settings.rule().forced(settings.group),
            )
        groups.update({n: rolled[i * settings.group : (i + 1) * settings.group] for i, n in enumerate(wanted)})
        if attempt == settings.redraws:
            break
        equal = []
        for n, group in groups.items():
            rewards = reward_groups(group, settings.group, reward or settings.reward)
            if float(rewards.max()) == float(rewards.min()):
                equal.append(n)
        open_ = sorted(n for part in processes.gather(equal) for n in part)
        if not open_:
            break
        samples, given = next(batches), {n: place for place, n in enumerate(open_)}
        redrawn += len(open_)
    return {n: groups[n] for n in sorted(groups)}, redrawn


def reward_groups(
    trajectories: Sequence[Trajectory], group: int, reward: str | Paid, kind: str = "grpo"
) -> torch.Tensor:
    """Score neighbouring trajectories, `group` of them a sample, in place: `rewards`, and `advantage` of that kind.

    Parameters
    ----------
    reward : a preset by name, or a function as `train_rgrpo` takes it

    Returns
    -------
    (N, G) float64, their rewards
    """
    groups = {n: list(trajectories[n * group : (n + 1) * group]) for n in range(len(trajectories) // group)}
    rewards = rewards_of(groups, partial(score, name=reward) if isinstance(reward, str) else reward)
    give(groups, advantages(rewards, kind))
    return rewards


def rewards_of(groups: Groups, reward: Paid, processes: Alone = ALONE) -> torch.Tensor:
    """Write `rewards` into this process's trajectories; returns the sums (N, G), float64, of those of all processes."""
    for t in (t for group in groups.values() for t in group):
        t.rewards = paid(t, reward)
    own = [(n, [sum(t.rewards.values()) for t in group]) for n, group in groups.items()]
    every = dict(found for part in processes.gather(own) for found in part)
    return torch.tensor([every[n] for n in sorted(every)], dtype=torch.float64)


def give(groups: Groups, values: torch.Tensor, overlong: str = "keep") -> None:
    """Write advantages (N, G) into the trajectories; where `overlong` is "mask", None to those cut off at the limit:
    no part of the loss acts on them."""
    values, size = torch.as_tensor(values), {len(group) for group in groups.values()}
    if values.ndim != 2 or size - {values.shape[1]} or not torch.isfinite(values).all():
        raise R3labError(f"advantages must be finite, (N, G) as the rewards, got the shape {tuple(values.shape)}")
    for n, group in groups.items():
        for t, value in zip(group, values[n].tolist(), strict=True):
            t.advantage = None if overlong == "mask" and t.finish == "length" else value
