"""Attention rows: what a policy read, at the moments that matter, for the price of a forward pass.

A recorded trajectory is read again under the attention kernel that wrote it; for the wanted tokens alone the weights
on all tokens before them are computed beside it. Kept are (layers, heads, events, tokens), never a map of all tokens
on all tokens.

    found = rows(policy, trajectory)                # every event: coordinates, words around a look, the answer
    found.on("crop 1").sum(-1)                      # (layers, heads, events): mass on the first crop
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..errors import R3labError, shown
from ..geometry import Box, Size, clip
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..sequence import rows_of
from ..trajectory import Kind, Trajectory
from .events import Event, chosen

SINK = "first token"
OVERVIEW = "overview"


@dataclass(frozen=True)
class Shown:
    """What an image of a trajectory shows: its grid of tokens (columns, rows) and its part of the source, in pixels."""

    grid: Size
    box: Box


@dataclass(frozen=True)
class AttentionRows:
    """Attention from events of one trajectory.

    Attributes
    ----------
    weights : (layers, heads, events, tokens) float32; each row sums to 1
    events : where each row starts
    layers : numbers of the layers
    spans : tokens of the first token, the overview, each crop ("crop 1", ...) and each stretch of text ("question",
        "text 1", "environment 1", ...), half-open
    images : what "overview", "crop 1", ... show
    source : width and height of the source image in pixels
    """

    weights: torch.Tensor
    events: list[Event]
    layers: list[int]
    spans: dict[str, tuple[int, int]]
    images: dict[str, Shown]
    source: Size

    def on(self, name: str) -> torch.Tensor:
        """Weights on the tokens of a span, (layers, heads, events, tokens of the span).

        Raises
        ------
        R3labError
            If the trajectory has no such span.
        """
        if name not in self.spans:
            raise R3labError(f"no span {shown(name)}; there are {', '.join(self.spans)}")
        start, end = self.spans[name]
        return self.weights[..., start:end]

    def mass(self) -> dict[str, torch.Tensor]:
        """Sum of the weights on each span, (layers, heads, events)."""
        return {name: self.on(name).sum(-1) for name in self.spans}

    def rows_of(self, name: str) -> list[int]:
        """Numbers of the events with this name."""
        return [i for i, event in enumerate(self.events) if event.name == name]


def spans_of(trajectory: Trajectory) -> dict[str, tuple[int, int]]:
    """The stretches of a trajectory by name; together they hold every token once; the first token has its own."""
    names = {Kind.PROMPT: "question", Kind.SAMPLED: "text", Kind.ENVIRONMENT: "environment", Kind.CROP: "crop"}
    found: dict[str, tuple[int, int]] = {SINK: (0, 1)}
    counts: dict[str, int] = {}
    at = 1
    while at < len(trajectory.ids):
        kind, end = trajectory.kinds[at], at
        while end < len(trajectory.ids) and trajectory.kinds[end] == kind:
            end += 1
        name = OVERVIEW if kind == Kind.OVERVIEW else names.get(Kind(kind), "padding")
        if name != OVERVIEW:
            counts[name] = counts.get(name, 0) + 1
            name = f"{name} {counts[name]}"
        found[name] = (at, end)
        at = end
    return found


def images_of(policy: Policy, trajectory: Trajectory) -> dict[str, Shown]:
    """What each image of a trajectory shows, by the name of its span."""
    source, factor = (trajectory.image.width, trajectory.image.height), policy.layout.factor
    width, height = trajectory.overview
    found = {OVERVIEW: Shown((width // factor, height // factor), (0.0, 0.0, float(source[0]), float(source[1])))}
    crops = [look for look in trajectory.looks if look.crop is not None and look.box is not None]
    for number, look in enumerate(crops, start=1):
        assert look.crop is not None and look.box is not None
        grid = (look.crop.width // factor, look.crop.height // factor)
        found[f"crop {number}"] = Shown(grid, clip(look.box, source))
    return found


@contextmanager
def seen_by(policy: Policy, watch: attention.Watch) -> Iterator[None]:
    """Show the text model's attention to `watch`; afterwards the model is as it was."""
    text = policy.model.config.get_text_config()
    before = text._attn_implementation
    policy.model.set_attn_implementation({"text_config": attention.NAME})
    try:
        with attention.shown_to(watch):
            yield
    finally:
        policy.model.set_attn_implementation({"text_config": before})


def rows(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None = None,
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> AttentionRows:
    """Attention of one recorded trajectory; see `rows_of_batch`."""
    return rows_of_batch(policy, [trajectory], at, layers, features)[0]


@torch.no_grad()
def rows_of_batch(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    at: Sequence[str | int] | None = None,
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> list[AttentionRows]:
    """Attention from events of recorded trajectories, in one forward pass over padded rows.

    Parameters
    ----------
    at : names of events (`events.NAMES`) or places of sampled tokens; default all events
    layers : numbers of text layers, negative ones from the end; default all
    features : store that is read and filled, as of `rollout`

    Raises
    ------
    R3labError
        If an event or layer does not exist, or the trajectory is of another model.
    """
    wanted = layers_of(policy, layers)
    for t in trajectories:
        check_model(policy, t)
    every = [chosen(t, at) for t in trajectories]
    store: dict[str, Features] = {} if features is None else features
    batch = policy.rows(rows_of(policy, trajectories, store))
    queries = torch.zeros(len(every), max(1, *map(len, every)), dtype=torch.int64)
    for i, found in enumerate(every):
        queries[i, : len(found)] = torch.tensor([event.reads for event in found], dtype=torch.int64)
    queries = queries.to(policy.device)
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, seen: Seen) -> None:
        if layer in wanted:
            kept[layer] = attention.weights(seen, queries).cpu()

    with seen_by(policy, keep):
        policy.hidden(batch)
    whole = torch.stack([kept[layer] for layer in wanted])  # (layers, B, heads, Q, L)
    return [
        AttentionRows(
            weights=whole[:, i, :, : len(found), : len(t.ids)].clone(),
            events=found,
            layers=wanted,
            spans=spans_of(t),
            images=images_of(policy, t),
            source=(t.image.width, t.image.height),
        )
        for i, (t, found) in enumerate(zip(trajectories, every, strict=True))
    ]


def check_model(policy: Policy, trajectory: Trajectory) -> None:
    """A trajectory can only be read by a policy with the same tokens and frame; an error otherwise."""
    written = zip(trajectory.ids, trajectory.pieces, strict=True)
    same = all(_spells(policy.piece(token), piece) for token, piece in written if piece)
    size = (trajectory.image.width, trajectory.image.height)
    if not same or trajectory.frame != policy.family.frame or trajectory.overview != policy.overview_size(size):
        raise R3labError(
            f"the trajectory {shown(trajectory.sample_id)} was written by another model ({shown(trajectory.model)}); "
            f"give the checkpoint that wrote it, not {policy.name}"
        )


def _spells(own: str, piece: str) -> bool:
    """Whether a token may have written a piece: its text, or the end of a character that several tokens spell."""
    return own == piece or "\ufffd" in own or ("\ufffd" in piece and piece.endswith(own))


def layers_of(policy: Policy, layers: Sequence[int] | None) -> list[int]:
    """Numbers of text layers in order; negative ones count from the end, None means all."""
    count = policy.model.config.get_text_config().num_hidden_layers
    for number in layers or ():
        if not -count <= number < count:
            raise R3labError(f"there is no layer {number}; the text model has layers 0 to {count - 1}")
    return sorted({number % count for number in (range(count) if layers is None else layers)})
