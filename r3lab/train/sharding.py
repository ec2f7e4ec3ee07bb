"""Layers of the text model sharded over the processes: torch's FSDP, each layer on its own.

In an update a process holds its part of every layer, of its gradient and of its optimiser state, and a whole layer only
while it computes with it. A rollout reads token by token, and no two processes take the same number of steps: for it
the layers are whole everywhere (`gathered`). Simplified: embedding, output layer and vision tower stay whole in each
process, and a rollout needs room for the whole text model; without LoRA.

    shard(policy, processes)
    with gathered(policy):
        rollout(policy, samples)
    weights = whole_weights(policy)            # called in every process
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import R3labError
from ..models.policy import Policy
from .processes import Processes


def shard(policy: Policy, processes: Processes) -> None:
    """Leave in each process its part of the text model's layers; before the optimiser is made.

    Raises
    ------
    R3labError
        If there is one process alone, or the policy has LoRA matrices.
    """
    if processes.count < 2:
        raise R3labError("--shard needs several processes: accelerate launch --num_processes 2 -m r3lab train ...")
    if policy.adapter is not None:
        raise R3labError("--shard and --lora-rank do not go together; LoRA alone keeps gradients and optimiser small")
    mesh = init_device_mesh(policy.device.type, (processes.count,))
    for layer in policy.text.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)


def is_sharded(policy: Policy) -> bool:
    """True after `shard`."""
    return isinstance(policy.text.layers[0], FSDPModule)


@contextmanager
def gathered(policy: Policy) -> Iterator[None]:
    """Whole layers inside, and forwards that wait for no other process; nothing for a policy that is not sharded."""
    layers = [layer for layer in policy.text.layers if isinstance(layer, FSDPModule)]
    for layer in layers:
        layer.set_reshard_after_forward(False)
        layer.unshard()
    try:
        yield
    finally:
        for layer in layers:
            layer.reshard()
            layer.set_reshard_after_forward(True)


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor in full, from its parts; called in every process."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_weights(policy: Policy) -> dict[str, torch.Tensor] | None:
    """All weights in full, None for a policy that is not sharded; called in every process."""
    if not is_sharded(policy):
        return None
    return {name: whole(value.detach()) for name, value in policy.model.state_dict().items()}


@torch.no_grad()
def load_whole(policy: Policy, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights in full back, each process its part."""
    held = policy.model.state_dict()
    for name, value in weights.items():
        held[name].copy_(like(value, held[name]))


def like(value: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """A full tensor as `held` is: this process's part of it, or as it is."""
    value = value.to(held.device, held.dtype)
    return distribute_tensor(value, held.device_mesh, held.placements) if isinstance(held, DTensor) else value


def clip_gradients(parameters: Sequence[torch.nn.Parameter], most: float) -> float:
    """Scale gradients down to a joint norm of `most`; returns the norm that they had, the same in every process."""
    grads: list[Any] = [p.grad for p in parameters if p.grad is not None]
    if not any(isinstance(g, DTensor) for g in grads):
        return float(torch.nn.utils.clip_grad_norm_(parameters, most))
    norms = [whole(torch.linalg.vector_norm(g)) for g in grads]
    norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    factor = min(1.0, most / (norm + 1e-6))
    for grad in grads:
        grad.mul_(factor)
    return norm
