"""Attention rows: what a policy read when it wrote a coordinate, the words around a look, or the answer.

A recorded trajectory is read again under the attention kernel that wrote it; for the wanted tokens alone the weights
on all tokens before them are computed beside it. Kept are (layers, heads, events, tokens), never a map of all tokens
on all tokens.

    found = rows(policy, trajectory)                # every event: coordinates, words around a look, the answer
    found.on("crop 1").sum(-1)                      # (layers, heads, events): mass on the first crop

An event is a sampled token with a name. Attention *from* it is that of the state from which it was sampled, one
position before it: what the policy read in order to write it. `gradient_rows` weights the rows by their gradients;
maps are made of both in the same way (`maps.heat_map`). `shares` follows attention along all that was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip
from ..core.protocol import CLOSE, OPEN, scan
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy, Rows
from ..rollout.sequence import row_of
from ..trajectory import ABSENT, Kind, Trajectory

COORDINATES = ("x1", "y1", "x2", "y2")
BEFORE, AFTER, ANSWER = "before the box", "after the crop", "answer"
NAMES = (*COORDINATES, BEFORE, AFTER, ANSWER, "token")
SINK, OVERVIEW = "first token", "overview"  # names of spans
NEAR = 3  # tokens before a box and after a crop
CROPS = "crops"  # all of them together
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Event:
    """A sampled token that is looked at.

    Attributes
    ----------
    name : one of `NAMES`: a coordinate of a box, the words before it, the first words after its crop, the answer
    token : its position in the trajectory
    look : number of the look that it belongs to, from 0; None for the answer
    """

    name: str
    token: int
    look: int | None = None

    @property
    def reads(self) -> int:
        """Position of the state from which the token was sampled: the query of the attention."""
        return self.token - 1


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

    def box_rows(self, look: int) -> list[int]:
        """Numbers of the events at which a look's coordinates were written."""
        return [i for i, event in enumerate(self.events) if event.look == look and event.name in COORDINATES]


def events(trajectory: Trajectory) -> list[Event]:
    """All events of a trajectory, in the order of its tokens."""
    found = [event for number in range(len(trajectory.looks)) for event in _events_of_look(trajectory, number)]
    return sorted([*found, *_events_of_answer(trajectory)], key=lambda event: event.token)


def select_events(trajectory: Trajectory, at: Sequence[str | int] | None) -> list[Event]:
    """The events that are meant: by name, by token, or all.

    Raises
    ------
    R3labError
        For a name that no event has, or a token that was not sampled.
    """
    every = events(trajectory)
    if at is None:
        return every
    found = []
    for wanted in at:
        if isinstance(wanted, str):
            if wanted not in NAMES:
                raise R3labError(f"no event is named {wanted!r}; there are {', '.join(NAMES[:-1])}")
            found += [event for event in every if event.name == wanted]
        elif not 0 <= wanted < len(trajectory.ids) or trajectory.kinds[wanted] != Kind.SAMPLED:
            raise R3labError(f"token {wanted} of {len(trajectory.ids)} was not sampled; attention is read from those")
        else:
            found.append(Event("token", int(wanted)))
    return found


def overlapping(trajectory: Trajectory, tokens: Sequence[int], start: int, end: int) -> list[int]:
    """Of some tokens those whose text has a part in [start, end), characters of the text of all of them."""
    found, at = [], 0
    for token in tokens:
        until = at + len(trajectory.pieces[token])
        if at < end and until > start:
            found.append(token)
        at = until
    return found


def _sampled(trajectory: Trajectory, positions: Sequence[int]) -> list[int]:
    return [i for i in positions if trajectory.kinds[i] == Kind.SAMPLED and i > 0]


def _events_of_look(trajectory: Trajectory, number: int) -> Iterator[Event]:
    look = trajectory.looks[number]
    box = range(*look.span)
    yield from (Event(BEFORE, i, number) for i in _sampled(trajectory, range(max(0, box.start - NEAR), box.start)))
    text = "".join(trajectory.pieces[i] for i in box)
    numbers = _NUMBER.finditer(text, text.find("[") + 1)  # the key has a digit too
    for name, found in zip(COORDINATES, numbers, strict=False):
        yield from (Event(name, i, number) for i in overlapping(trajectory, box, *found.span()))
    if look.crop_span is not None:
        later = range(look.crop_span[1], len(trajectory.ids))
        yield from (Event(AFTER, i, number) for i in _sampled(trajectory, later)[:NEAR])


def _events_of_answer(trajectory: Trajectory) -> Iterator[Event]:
    if trajectory.answer is not None:
        written = _sampled(trajectory, range(len(trajectory.ids)))
        for read in scan("".join(trajectory.pieces[i] for i in written)):
            if read.kind == "answer":
                inside = overlapping(trajectory, written, read.start + len(OPEN), read.end - len(CLOSE))
                yield from (Event(ANSWER, i) for i in inside)


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
    crops = [(look.crop, look.box) for look in trajectory.looks if look.crop is not None and look.box is not None]
    for number, (crop, box) in enumerate(crops, start=1):
        found[f"crop {number}"] = Shown((crop.width // factor, crop.height // factor), clip(box, source))
    return found


def check_model(policy: Policy, trajectory: Trajectory) -> None:
    """A trajectory can only be read by a policy with the same tokens and frame; an error otherwise."""
    if ABSENT in trajectory.ids:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} has no tokens: it was read from a dump of text")
    written = zip(trajectory.ids, trajectory.pieces, strict=True)
    same = all(_spells(policy.piece(token), piece) for token, piece in written if piece)
    size = (trajectory.image.width, trajectory.image.height)
    if not same or trajectory.frame != policy.frame or trajectory.overview != policy.overview_size(size):
        raise R3labError(
            f"the trajectory {shown(trajectory.sample_id)} was written by another model ({shown(trajectory.model)}); "
            f"give the checkpoint that wrote it, not {policy.name}"
        )


def _spells(own: str, piece: str) -> bool:
    """Whether a token may have written a piece: its text, or the end of a character that several tokens spell."""
    return own == piece or "\ufffd" in own or ("\ufffd" in piece and piece.endswith(own))


def select_layers(policy: Policy, layers: Sequence[int] | None) -> list[int]:
    """Numbers of text layers in order; negative ones count from the end, None means all."""
    count = policy.model.config.get_text_config().num_hidden_layers
    for number in layers or ():
        if not -count <= number < count:
            raise R3labError(f"there is no layer {number}; the text model has layers 0 to {count - 1}")
    return sorted({number % count for number in (range(count) if layers is None else layers)})


def read_again(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None,
    layers: Sequence[int] | None,
    features: dict[str, Features] | None,
) -> tuple[Rows, list[Event], list[int]]:
    """What a trajectory's attention is read with: the whole of it as a batch, the events, the numbers of the layers.

    Parameters
    ----------
    as of `rows`
    """
    wanted = select_layers(policy, layers)
    check_model(policy, trajectory)
    found = select_events(trajectory, at)
    return policy.rows([row_of(policy, trajectory, {} if features is None else features)]), found, wanted


@torch.no_grad()
def rows(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None = None,
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> AttentionRows:
    """Attention from events of a recorded trajectory, in one forward pass.

    Parameters
    ----------
    at : names of events (`NAMES`) or positions of sampled tokens; default all events
    layers : numbers of text layers, negative ones from the end; default all
    features : store that is read and filled, as of `rollout`

    Raises
    ------
    R3labError
        If an event or layer does not exist, or the trajectory is of another model.
    """
    batch, found, wanted = read_again(policy, trajectory, at, layers, features)
    reads = torch.tensor([[event.reads for event in found] or [0]], device=policy.device)
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, seen: Seen) -> None:
        if layer in wanted:
            kept[layer] = attention.weights(seen, reads)[0, :, : len(found)].cpu()

    with attention.shown_to(keep):
        policy.hidden(batch)
    weights, source = torch.stack([kept[layer] for layer in wanted]), (trajectory.image.width, trajectory.image.height)
    return AttentionRows(weights, found, wanted, spans_of(trajectory), images_of(policy, trajectory), source)


def gradient_rows(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int] | None = None,
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> AttentionRows:
    """Weights times gradients of each event's own log-probability, negative ones as 0; the rows do not sum to 1.

    At the wanted queries a layer's output is made of the visible weights themselves, so the log-probability has a
    gradient with respect to each of them; elsewhere plain sdpa runs. A weight times its gradient, where positive, is
    what reading that token was worth to first order (Chefer et al., arXiv 2103.15679, without their product over
    layers).

    Parameters
    ----------
    as of `rows`; one backward pass an event
    """
    store: dict[str, Features] = {} if features is None else features
    found = rows(policy, trajectory, at, layers, store)
    batch = policy.rows([row_of(policy, trajectory, store)])
    if not found.events:
        return found
    positions = sorted({event.reads for event in found.events})  # two events may be sampled from one state
    reads = torch.tensor([positions], device=policy.device)
    query = [positions.index(event.reads) for event in found.events]
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

    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    try:
        for p in parameters:
            p.requires_grad_(False)
        with torch.enable_grad(), attention.shown_to(through_weights):
            hidden = policy.hidden(batch)
            logp = event_logprobs(policy, trajectory, found.events, hidden)
            wanted = [kept[layer] for layer in found.layers]
            for number, at_query in enumerate(query):
                grads = torch.autograd.grad(logp[number], wanted, retain_graph=True, materialize_grads=True)
                for weights, grad in zip(found.weights, grads, strict=True):
                    weights[:, number] *= grad[0, :, at_query].cpu()
    finally:
        for p in parameters:
            p.requires_grad_(True)
    found.weights.clamp_min_(0.0)
    return found


def event_logprobs(
    policy: Policy, trajectory: Trajectory, found: Sequence[Event], hidden: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities (nats) of the tokens of events, (events,), from the states (1, L, D) of a trajectory."""
    tokens = torch.tensor([trajectory.ids[event.token] for event in found], device=policy.device)
    logits = policy.logits(hidden[0, [event.reads for event in found]])
    return logits.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]


@dataclass(frozen=True)
class Shares:
    """Attention of every token that one trajectory wrote.

    A share alone deceives: the sequence grows, so what is shared evenly falls for every image, word by word. So each
    share comes with the even one, and `times` is their quotient: 1 is what any token in sight gets.

    Attributes
    ----------
    tokens : (n,) int64, their positions in the trajectory
    mass : by image ("overview", "crops"): (n,) part of the attention on it, 0 to 1; NaN while none of it is in sight
    even : the same had attention been shared evenly: the part of the tokens in sight that are the image's
    fork : number, from 0, of the first token after the first box; None without a box
    """

    tokens: np.ndarray
    mass: dict[str, np.ndarray]
    even: dict[str, np.ndarray]
    fork: int | None

    def times(self, image: str) -> np.ndarray:
        """Attention on a token of an image over an even share, (n,); NaN while none of it is in sight."""
        return self.mass[image] / self.even[image]


def shares(policy: Policy, trajectory: Trajectory, features: dict[str, Features] | None = None) -> Shares:
    """Read the attention of every token that a trajectory wrote, as the mean of all layers and heads.

    Parameters
    ----------
    features : store that is read and filled, as of `rollout`

    Raises
    ------
    R3labError
        If nothing was written, or the trajectory is of another model.
    """
    tokens = [i for i, kind in enumerate(trajectory.kinds) if kind == Kind.SAMPLED]
    if not tokens:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} wrote nothing; roll it out first")
    found = rows(policy, trajectory, at=tokens, features=features)
    weights = found.weights.mean((0, 1)).double().numpy()  # (n, T)
    kinds = np.array(trajectory.kinds)
    visible = np.arange(len(kinds)) < np.array(tokens)[:, None]  # (n, T): what each of them sees
    mass, even = {}, {}
    for image, kind in ((OVERVIEW, Kind.OVERVIEW), (CROPS, Kind.CROP)):
        count = (visible & (kinds == int(kind))).sum(1)
        there = np.where(count > 0, 1.0, np.nan)
        mass[image] = there * weights[:, kinds == int(kind)].sum(1)
        even[image] = there * count / visible.sum(1)
    fork = int(np.searchsorted(tokens, trajectory.looks[0].span[1])) if trajectory.looks else None
    return Shares(np.array(tokens), mass, even, fork)
