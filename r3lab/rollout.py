"""The interleaved look-again loop, batched: reason, write a box, get the crop as image tokens, reason on, answer.

Token in, token out: what is recorded is what was sampled, id for id. Each image is encoded once; each prompt is read
once and its keys and values are copied to the rows of its group; rows advance at their own pace (`models.cache`). A
row that closes a box waits until enough rows have one, then their crops are encoded and read together. The order in
which rows are served changes no result: every row draws its random numbers from its own stream, (seed, sample, member
of the group).

    trajectories = rollout(policy, samples, group=8, temperature=1.0, seed=0)   # sample by sample, group members
    together
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from .arms import INTERLEAVED, Arm
from .branch import Limits
from .errors import R3labError, shown
from .loop import Loop, Watch
from .models.policy import Features, Policy
from .sequence import Question
from .trajectory import Trajectory


@torch.no_grad()
def rollout(
    policy: Policy,
    samples: Sequence[Question],
    group: int = 1,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    max_looks: int = 8,
    max_new_tokens: int = 512,
    features: dict[str, Features] | None = None,
    watch: Watch | None = None,
    progress: bool = False,
    numbers: Sequence[int] | None = None,
    arm: Arm = INTERLEAVED,
) -> list[Trajectory]:
    """Let the policy answer each sample `group` times.

    Parameters
    ----------
    samples : questions on images
    group : rollouts a sample (G of R-GRPO)
    temperature : 0 is greedy; log-probabilities are those at this temperature (at 1 when greedy)
    seed : of all sampling; the same seed gives the same trajectories on the same machine
    max_looks : looks a trajectory may take; one that asks for more is told so once, then ended (finish "looks")
    max_new_tokens : sampled tokens a trajectory may have (finish "length" beyond)
    features : store that is read and filled: features of every overview and crop by key, for training without
        encoding twice
    watch : called with a trajectory whenever it has grown (for live display)
    numbers : of the samples, on which their random streams depend; by default 0, 1, ...; a process that rolls out a
        part of a batch gives the numbers that its samples have in the whole
    arm : what is asked, what a box brings, how an answer is marked (`arms.get_arm`); `resume` reads it in the record

    Returns
    -------
    list of len(samples) * group trajectories, the members of a group next to each other
    """
    if not samples:
        return []
    with reading(policy):
        limits, store = Limits(max_looks, max_new_tokens), {} if features is None else features
        loop = Loop(policy, limits, store, temperature, seed, watch)
        loop.open(samples, group, list(range(len(samples))) if numbers is None else numbers, arm)
        return loop.run(progress)


@torch.no_grad()
def resume(
    policy: Policy,
    begun: Sequence[Trajectory],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_looks: int = 8,
    max_new_tokens: int = 512,
    features: dict[str, Features] | None = None,
    watch: Watch | None = None,
) -> list[Trajectory]:
    """Let the policy go on from where records stand: behind a crop, or a message, that may not be what it asked for.

    Parameters
    ----------
    begun : records without an answer; what all of them begin with is read once, and they stay as they are
    max_looks, max_new_tokens : with those that the records hold already

    Returns
    -------
    finished copies, in the same order

    Raises
    ------
    R3labError
        If a record has an answer already, or does not carry its image.
    """
    if not begun:
        return []
    for t in begun:
        if t.answer is not None:
            raise R3labError(f"the trajectory {shown(t.sample_id)} has its answer already; cut it off before that")
        if t.image.hash not in t.images:
            raise R3labError(f"the trajectory {shown(t.sample_id)} does not carry its image; load it with its images")
    with reading(policy):
        limits, store = Limits(max_looks, max_new_tokens), {} if features is None else features
        loop = Loop(policy, limits, store, temperature, seed, watch)
        loop.resume(begun)
        return loop.run(False)


@contextmanager
def reading(policy: Policy) -> Iterator[None]:
    """The model in evaluation mode inside, afterwards as it was."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)
