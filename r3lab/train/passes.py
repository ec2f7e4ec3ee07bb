"""Gradients of an update in passes that fit into memory.

A pass holds some of the groups; the losses of the passes add up to that of the whole update exactly (`aggregate`
divides by the rows and tokens of all), so the size of a pass changes memory and nothing else. One that does not fit is
made again with half as many groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch

from ..errors import R3labError
from ..models.adapters import without_adapter
from ..models.policy import Features, Policy
from ..trajectory import Trajectory
from .credit import SPANS, span_weights
from .objective import Objective, policy_loss
from .packed import packed_logprobs
from .processes import ALONE, Processes
from .update_settings import UpdateSettings


def grouped(trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """Neighbours with the same sample, as groups."""
    same = groupby(trajectories, key=lambda t: (t.sample_id, t.image.hash, t.question))
    return [list(members) for _, members in same]


def passes(trajectories: Sequence[Trajectory], groups: int) -> Iterator[list[Trajectory]]:
    """Trajectories in parts of so many groups; 0: all at once."""
    own = grouped(trajectories)
    size = groups or max(1, len(own))
    for at in range(0, len(own), size):
        yield [t for members in own[at : at + size] for t in members]


def gradients(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    optimiser: torch.optim.Optimizer,
    settings: UpdateSettings,
    objective: Objective,
    reference: Policy | None,
    rows: int,
    tokens: int,
    spare: Sequence[Trajectory] = (),
    processes: Processes = ALONE,
) -> tuple[list[tuple[int, dict[str, Any]]], bool, int | None]:
    """Leave the gradient of the update's loss in the parameters of `optimiser`.

    Parameters
    ----------
    trajectories : those that have a gradient
    rows, tokens : of the whole update, with those that have none and those of other processes
    spare : of a sharded policy: a trajectory for passes that count for nothing, until all processes have made as many

    Returns
    -------
    found : sampled tokens and metrics of each pass
    finite : whether every loss was
    groups : in a pass, if memory was short of what the settings ask for, else None

    Raises
    ------
    R3labError
        If not even one group fits.
    """
    size = settings.pass_groups or max(1, len(grouped(trajectories)))
    reduced: int | None = None
    while True:
        optimiser.zero_grad(set_to_none=True)
        found: list[tuple[int, dict[str, Any]]] = []
        finite = True
        parts = list(passes(trajectories, size))
        wanted = max(processes.gather(len(parts))) if spare else len(parts)
        try:
            for number in range(wanted):
                real = number < len(parts)
                part = parts[number] if real else spare
                with checkpointed(policy, settings.checkpointing):
                    loss, count, metrics = _loss(policy, part, store, settings, objective, reference, rows, tokens)
                    finite = finite and math.isfinite(float(loss.detach()))
                    (loss if real else 0.0 * loss).backward()
                if real:
                    found.append((count, metrics))
            return found, finite, reduced
        except torch.OutOfMemoryError:
            if spare:  # the others are in the middle of a pass that this process cannot repeat
                raise R3labError(f"{size} groups do not fit into memory; take a smaller --pass-groups") from None
            if size == 1:
                raise R3labError(
                    "one group does not fit into memory; take a smaller --group, fewer --max-new-tokens or fewer "
                    "--max-looks"
                ) from None
        size = reduced = -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def checkpointed(policy: Policy, on: bool) -> Iterator[None]:
    """Gradient checkpointing of the text model inside; transformers does it in training mode alone."""
    if not on:
        yield
        return
    model, was_training = policy.model, policy.model.training
    new = hasattr(model, "activation_checkpointing_enable")  # its newer name in transformers
    enable = model.activation_checkpointing_enable if new else model.gradient_checkpointing_enable
    disable = model.activation_checkpointing_disable if new else model.gradient_checkpointing_disable
    enable({"use_reentrant": False})
    model.train()
    try:
        yield
    finally:
        disable()
        model.train(was_training)


def _loss(
    policy: Policy,
    part: Sequence[Trajectory],
    store: dict[str, Features],
    settings: UpdateSettings,
    objective: Objective,
    reference: Policy | None,
    rows: int,
    tokens: int,
) -> tuple[torch.Tensor, int, dict[str, Any]]:
    """Loss of a pass, its sampled tokens and its metrics."""
    apart = None
    if objective.kl_weight and reference is not None:
        with torch.no_grad(), without_adapter(reference):
            apart = packed_logprobs(reference, part, store, settings.temperature).new
    frozen = settings.freeze_vision  # else features are made anew, with gradients
    now = packed_logprobs(policy, part, store if frozen else {}, settings.temperature, not frozen)
    weights = span_weights(part, {name: getattr(settings, f"credit_{name}") for name in SPANS})
    loss, metrics = policy_loss(
        now.new,
        now.old,
        torch.tensor([t.advantage for t in part], dtype=now.new.dtype, device=now.new.device),
        now.mask,
        objective,
        rows=rows,
        tokens=tokens,
        weights=None if weights is None else weights.to(now.new),
        reference=apart,
        entropy=now.entropy,
    )
    return loss, int(now.mask.sum()), metrics
