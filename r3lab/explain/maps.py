"""Gradient-weighted attention: which of the weights raised the log-probability of the token that was written.

At the wanted queries a layer's output is made of the visible weights themselves, so the log-probability has a gradient
with respect to each of them; elsewhere plain sdpa runs. A weight times its gradient, where positive, is what reading
that token was worth to first order (Chefer et al., arXiv 2103.15679, without their product over layers).

    found = gradient_rows(policy, trajectory, at=["answer"])      # an AttentionRows: maps are drawn of it likewise
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, intersection
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..rollout.sequence import prompt_ids, row_of
from ..trajectory import Kind, Trajectory
from .explanation import HeatMap
from .rows import COORDINATES, AttentionRows, check_model, chosen, images_of, rows, seen_by, spans_of

# From attention rows to pixels: where in the source image a policy read, and whether that is more than chance.
#
# A map is a grid over a part of the source image. Raw maps flatter: a few tokens draw attention whatever is asked
# (sinks), heads differ, and a large box holds much of anything. So a map can be divided by that of a neutral prompt,
# made
# of heads that look at something in particular, freed of sinks, and a box is always scored against boxes of its size
# at
# random places.
#
#     heat = heat_map(found, "overview", found.rows_of("x1"))
#     box_score(heat, look.box, seed=0).percentile

EPSILON = 1e-4  # attention of a token below this is noise; keeps a ratio finite


def heat_map(
    rows: AttentionRows,
    image: str,
    events: Sequence[int] | None = None,
    heads: torch.Tensor | None = None,
    sinks: Sequence[int] = (),
) -> HeatMap:
    """Mean attention on an image.

    Parameters
    ----------
    image : "overview", "crop 1", ...
    events : numbers of rows to take; default all
    heads : (layers, heads) bool, those that count; default all
    sinks : places of tokens that are left out (`find_sinks`): their cells are 0

    Raises
    ------
    R3labError
        If there is no such image, or nothing to take the mean of.
    """
    if image not in rows.images:
        raise R3labError(f"no image {shown(image)}; there are {', '.join(rows.images)}")
    numbers = list(range(len(rows.events))) if events is None else list(events)
    if not numbers:
        raise R3labError("no event to draw attention of; the trajectory has none of those that were asked for")
    found = rows.on(image)[:, :, numbers]  # (layers, heads, E, tokens)
    chosen = torch.ones(found.shape[:2], dtype=torch.bool) if heads is None else heads
    if not chosen.any():
        raise R3labError("no head is chosen; the mean of nothing is no map")
    values = found[chosen].mean((0, 1)).numpy().copy()
    start, end = rows.spans[image]
    values[[place - start for place in sinks if start <= place < end]] = 0.0
    columns, height = rows.images[image].grid
    return HeatMap(values.reshape(height, columns), rows.images[image].box, rows.source)


def relative(heat: HeatMap, neutral: HeatMap, epsilon: float = EPSILON) -> HeatMap:
    """A map divided by that of a neutral prompt on the same image: what the question adds (arXiv 2502.17422)."""
    if heat.values.shape != neutral.values.shape:
        raise R3labError(f"maps of {heat.values.shape} and {neutral.values.shape} cells are not of the same image")
    return replace(heat, values=(heat.values + epsilon) / (neutral.values + epsilon))


def looking_heads(rows: AttentionRows, image: str, events: Sequence[int], keep: int) -> torch.Tensor:
    """The heads that look at something in particular: of those with most mass on an image, the least spread out.

    Half of all heads are dropped for too little mass on the image; of the rest the `keep` with the lowest spatial
    entropy stay.

    Returns
    -------
    (layers, heads) bool
    """
    found = rows.on(image)[:, :, list(events)].mean(2)  # (layers, heads, tokens)
    mass = found.sum(-1)
    spread = torch.special.entr(found / mass.clamp_min(1e-12)[..., None]).sum(-1)
    spread = spread.masked_fill(mass < mass.flatten().median(), float("inf"))
    order = spread.flatten().argsort()[: max(1, keep)]
    chosen = torch.zeros(spread.numel(), dtype=torch.bool)
    chosen[order] = True
    return chosen.view(spread.shape)


def find_sinks(rows: AttentionRows, image: str, factor: float = 8.0) -> list[int]:
    """Places of image tokens that draw attention from every event alike: sinks.

    A sink's lowest weight over the events (mean over layers and heads) is above `factor` times the median token's mean.
    None is found among events that all write coordinates: what a box is around draws each of them, and is no sink.
    """
    found = rows.on(image).mean((0, 1))  # (events, tokens)
    if len({event.name in COORDINATES or event.name for event in rows.events}) < 2:
        return []
    least, usual = found.min(0).values, float(found.mean(0).median())
    start = rows.spans[image][0]
    return [start + i for i in torch.nonzero(least > factor * max(usual, 1e-12)).flatten().tolist()]


@dataclass(frozen=True)
class BoxScore:
    """How much of a map a box holds, and how that compares.

    Attributes
    ----------
    share : part of the map inside the box
    density : its mean over that of the whole map; 1 is what any place has
    percentile : part of the boxes of the same size at random places that hold less, 0 to 1
    """

    share: float
    density: float
    percentile: float


def percentile(own: float, others: Sequence[float]) -> float:
    """Part of the others that are less, 0 to 1; equal ones count half."""
    found = np.asarray(others)
    return float((found < own - 1e-12).mean() + 0.5 * (np.abs(found - own) <= 1e-12).mean())


def box_score(heat: HeatMap, box: Box, seed: int = 0, draws: int = 500) -> BoxScore:
    """Score a box (source pixels) against boxes of its size at random places of the map.

    Raises
    ------
    R3labError
        If the box has no part in the map's region, or the map is empty.
    """
    part, total = intersection(box, heat.box), float(heat.values.sum())
    if part <= 0:
        raise R3labError(f"the box {shown(box)} has no part in {shown(heat.box)}, which the map shows")
    if total <= 0:
        raise R3labError("the map is zero everywhere; choose other heads, layers or events")
    rng = np.random.default_rng(seed)
    w, h = (min(box[i + 2] - box[i], heat.box[i + 2] - heat.box[i]) for i in (0, 1))
    x = rng.uniform(heat.box[0], heat.box[2] - w, draws)
    y = rng.uniform(heat.box[1], heat.box[3] - h, draws)
    own = heat.inside(box)
    below = percentile(own, [heat.inside((a, b, a + w, b + h)) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    whole = (heat.box[2] - heat.box[0]) * (heat.box[3] - heat.box[1])
    return BoxScore(own / total, own / total / (part / whole), below)


# The same trajectory behind another question: what attention would be if nothing in particular were asked.
#
# plain = rows(policy, reasked(policy, trajectory))
# relative(heat_map(found, "overview"), heat_map(plain, "overview"))

NEUTRAL = "Write a general description of the image."  # as in arXiv 2502.17422


def reasked(policy: Policy, trajectory: Trajectory, question: str = NEUTRAL) -> Trajectory:
    """A trajectory with its question replaced and all that follows the prompt kept, token for token.

    It was never sampled: its log-probabilities are those of the original, and only attention is read from it.
    """
    kinds = trajectory.kinds
    start = next((i for i, kind in enumerate(kinds) if kind not in (Kind.PROMPT, Kind.OVERVIEW)), len(kinds))
    ids = prompt_ids(policy, question, trajectory.overview, kinds.count(Kind.OVERVIEW), get_arm(trajectory.arm))
    head = [int(Kind.OVERVIEW if i == policy.image_id else Kind.PROMPT) for i in ids]
    shift = len(ids) - start
    nothing: list[float | None] = [None] * len(ids)
    return replace(
        trajectory,
        question=question,
        ids=[*ids, *trajectory.ids[start:]],
        kinds=[*head, *kinds[start:]],
        pieces=[*("" if i == policy.image_id else policy.piece(i) for i in ids), *trajectory.pieces[start:]],
        logprobs=[*nothing, *trajectory.logprobs[start:]],
        entropies=[*nothing, *trajectory.entropies[start:]],
        looks=[look.moved(shift) for look in trajectory.looks],
    )


# Attention rollout: attention followed through all layers down to the tokens (Abnar and Zuidema, arXiv 2005.00928).
#
# A layer passes on half of a token's own state and half of what it attends to (mean over heads). Multiplied through
# the
# layers, this says how much of each token could reach a state. For comparison: it knows neither values nor
# perceptrons,
# and in deep models it comes near an even spread.
#
#     found = rollout_rows(policy, trajectory, at=["x1"])      # an AttentionRows of one layer and one head
#
# Simplified: only the wanted rows of the product are made, layer by layer from the top, and the weights of a layer
# are
# computed in stretches of queries, so that no map of all tokens on all tokens is ever held.

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
