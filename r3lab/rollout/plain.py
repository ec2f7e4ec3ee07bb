"""Rollouts on the plain path: one row at a time, by the model's own processor and cache (`models.plain`).

The state of a row, what completes a box and what follows it, the draws and the record are those of the batched loop;
only the reading differs: a crop has the whole sequence read again. `rollout` and `resume` come here by themselves.

    [t] = rollout(Policy.load("checkpoints/gemma-3-4b-it"), [sample], temperature=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..core.arms import Arm
from ..core.images import content_hash
from ..models.plain import PlainPolicy
from ..models.policy import draw
from ..trajectory import ImageRef, Trajectory
from .loop import Watch
from .resume import recall
from .sequence import Question, begin
from .state import Crops, RolloutState


def plain_rollout(
    policy: PlainPolicy,
    samples: Sequence[Question],
    members: Sequence[str],
    numbers: Sequence[int],
    arm: Arm,
    progress: bool,
    max_looks: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    watch: Watch | None,
    crops: Crops | None,
) -> list[Trajectory]:
    """As `rollout`, whose settings these are; of each group `members`, forced as they say."""
    found: list[Trajectory] = []
    bar = tqdm(total=len(samples) * len(members), desc="rollout", disable=not progress, mininterval=1)
    for sample, number in zip(samples, numbers, strict=True):
        reference = ImageRef(content_hash(sample.image), *sample.image.size)
        text = policy.asked(sample.question, policy.overview_size(sample.image.size), arm)
        ids = policy.prompt(text, sample.image)
        for member, forced in enumerate(members):
            told = {"seed": seed, "temperature": temperature, "forced": forced}
            record, noise = begin(policy, sample, reference, ids, arm, **told), [seed, number, member]
            state = RolloutState(
                policy, record, max_looks, max_new_tokens, np.random.default_rng(noise), len(ids), crops
            )
            found.append(finish(policy, state, temperature, watch))
            bar.update()
    bar.close()
    return found


def plain_resume(
    policy: PlainPolicy,
    begun: Sequence[Trajectory],
    temperature: float,
    seed: int,
    max_looks: int,
    max_new_tokens: int,
    watch: Watch | None,
) -> list[Trajectory]:
    """As `resume`, whose settings these are."""
    found = []
    for number, t in enumerate(begun):
        record = t.until(len(t.ids))
        record.seed, record.temperature = seed, temperature
        noise = np.random.default_rng([seed, number, 0])
        state = RolloutState(policy, record, max_looks, max_new_tokens, noise, len(record.ids))
        recall(state)
        found.append(finish(policy, state, temperature, watch))
    return found


def finish(policy: PlainPolicy, state: RolloutState, temperature: float, watch: Watch | None) -> Trajectory:
    """Take a row to its end."""
    t = state.trajectory
    images = images_of(t)
    logits, cache = policy.whole(t.ids, images, [len(t.ids) - 1])
    while True:
        for drawn in zip(*draw(logits[None, -1], temperature, [state.noise]), strict=True):
            state.take(*drawn)
        if watch is not None:
            watch(t)
        if not state.pending:
            return t
        if state.crop is not None or not policy.cached:
            images += [state.crop] if state.crop is not None else []
            logits, cache = policy.whole(t.ids, images, [len(t.ids) - 1])
        else:
            for one in state.pending:
                logits = policy.more(one, cache)[None]
        state.pending, state.pending_positions, state.crop = [], [], None


def images_of(t: Trajectory) -> list[Image.Image]:
    """The pictures of a record in the order of its tokens: the source, and each crop that was shown."""
    return [t.images[t.image.hash], *(t.images[look.crop.hash] for look in t.looks if look.crop is not None)]


def logits_of(policy: Any, t: Trajectory, places: Sequence[int]) -> torch.Tensor:
    """Logits (L, V) behind the tokens at these places of a record, read in one pass."""
    found: torch.Tensor = policy.whole(t.ids, images_of(t), places)[0]
    return found
