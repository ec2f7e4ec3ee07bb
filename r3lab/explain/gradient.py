"""Gradient-weighted attention: which of the weights raised the log-probability of the token that was written.

At the wanted queries a layer's output is made of the visible weights themselves, so the log-probability has a gradient
with respect to each of them; elsewhere plain sdpa runs. A weight times its gradient, where positive, is what reading
that token was worth to first order (Chefer et al., arXiv 2103.15679, without their product over layers).

    found = gradient_rows(policy, trajectory, at=["answer"])      # an AttentionRows: maps are drawn of it likewise
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..sequence import row_of
from ..trajectory import Trajectory
from .rows import AttentionRows, rows, seen_by


def gradient_rows(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None = None,
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> AttentionRows:
    """Weights times gradients of each event's own log-probability, negative ones as 0; the rows do not sum to 1.

    Parameters
    ----------
    as of `rows`; one backward pass an event
    """
    store: dict[str, Features] = {} if features is None else features
    found = rows(policy, trajectory, at, layers, store)
    batch = policy.rows([row_of(policy, trajectory, store)])
    if not found.events:
        return found
    places = sorted({event.reads for event in found.events})  # two events may be drawn from one state
    reads = torch.tensor([places], device=policy.device)
    query = [places.index(event.reads) for event in found.events]
    kept: dict[int, torch.Tensor] = {}

    def through_weights(layer: int, seen: Seen) -> torch.Tensor | None:
        if layer not in found.layers:
            return None
        own = attention.weights(seen, reads).requires_grad_()
        kept[layer] = own
        assert seen.value is not None
        value = seen.value.repeat_interleave(own.shape[1] // seen.value.shape[1], 1)
        mixed = (own.to(value.dtype) @ value).transpose(1, 2)  # (1, Q, heads, D)
        return attention.output(seen).index_copy(1, reads[0], mixed)

    weights = list(policy.model.parameters())
    trained = [p.requires_grad for p in weights]
    try:
        for p in weights:
            p.requires_grad_(False)
        with torch.enable_grad(), seen_by(policy, through_weights):
            hidden = policy.hidden(batch)
            logits = policy.logits(hidden[0, [event.reads for event in found.events]])
            tokens = torch.tensor([trajectory.ids[event.token] for event in found.events], device=policy.device)
            logp = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
            wanted = [kept[layer] for layer in found.layers]
            for number in range(len(found.events)):
                grads = torch.autograd.grad(logp[number], wanted, retain_graph=True, allow_unused=True)
                for i, (own, grad) in enumerate(zip(wanted, grads, strict=True)):
                    row = own[0, :, query[number]].detach()
                    slope = torch.zeros_like(row) if grad is None else grad[0, :, query[number]]
                    found.weights[i, :, number] = (row * slope).clamp_min(0.0).cpu()
    finally:
        for p, on in zip(weights, trained, strict=True):
            p.requires_grad_(on)
    return found
