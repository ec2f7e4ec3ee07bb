"""Attention rollout: attention followed through all layers down to the tokens (Abnar and Zuidema, arXiv 2005.00928).

A layer passes on half of a token's own state and half of what it attends to (mean over heads). Multiplied through the
layers, this says how much of each token could reach a state. For comparison: it knows neither values nor perceptrons,
and in deep models it comes near an even spread.

    found = rollout_rows(policy, trajectory, at=["x1"])      # an AttentionRows of one layer and one head

Simplified: only the wanted rows of the product are made, layer by layer from the top, and the weights of a layer are
computed in stretches of queries, so that no map of all tokens on all tokens is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..models import attention
from ..models.policy import Features, Policy
from ..sequence import row_of
from ..trajectory import Trajectory
from .events import chosen
from .rows import AttentionRows, check_model, images_of, seen_by, spans_of

STRETCH = 64  # queries whose weights are held at once
OWN = 0.5  # part of a state that goes past attention (the residual connection)


@torch.no_grad()
def rollout_rows(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None = None,
    features: dict[str, Features] | None = None,
) -> AttentionRows:
    """Attention rollout from events of a recorded trajectory; each row sums to 1.

    Parameters
    ----------
    as of `rows.rows`

    Raises
    ------
    R3labError
        If an event does not exist, or the trajectory is of another model.
    """
    check_model(policy, trajectory)
    wanted = chosen(trajectory, at)
    store: dict[str, Features] = {} if features is None else features
    batch = policy.rows([row_of(policy, trajectory, store)])
    kept: dict[int, attention.Seen] = {}

    def keep(layer: int, seen: attention.Seen) -> None:
        kept[layer] = seen

    with seen_by(policy, keep):
        policy.hidden(batch)
    length = len(trajectory.ids)
    flow = torch.zeros(len(wanted), length, device=policy.device)  # (events, tokens)
    for i, event in enumerate(wanted):
        flow[i, event.reads] = 1.0
    for layer in sorted(kept, reverse=True):
        passed = OWN * flow
        for start in range(0, length, STRETCH):
            queries = torch.arange(start, min(length, start + STRETCH), device=policy.device)
            if flow[:, queries].any():
                mean = attention.weights(kept[layer], queries[None])[0].mean(0)  # (queries, tokens)
                passed += (1 - OWN) * flow[:, queries] @ mean
        flow = passed
    return AttentionRows(
        weights=flow[None, None].cpu(),
        events=wanted,
        layers=[max(kept)],
        spans=spans_of(trajectory),
        images=images_of(policy, trajectory),
        source=(trajectory.image.width, trajectory.image.height),
    )
