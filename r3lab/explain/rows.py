"""Attention rows while a policy writes: the same as those that are read again afterwards, without a second pass.

    with live_rows(policy, layers=[-1]) as seen:
        trajectories = rollout(policy, samples, group=4, watch=seen.watch)
    found = seen.rows(trajectories[0], at=["x1", "answer"])

Every sampled token gets its row, since nobody knows yet which will be a coordinate or an answer: (layers, heads, tokens
before it) floats each. Of a large model keep one or two layers. The loop runs without its shortcut for single tokens
meanwhile (`models.decoder`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip
from ..core.protocol import CLOSE, OPEN, Scanner
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..rollout.sequence import rows_of
from ..trajectory import Kind, Trajectory

# The moments of a trajectory at which attention is worth reading.
#
# An event is a sampled token with a name. Attention *from* it is that of the state from which it was drawn, which
# stands
# one place before it: what the policy read in order to write it.
#
#     for event in events(trajectory):
#         print(event.name, event.look, trajectory.pieces[event.token])

COORDINATES = ("x1", "y1", "x2", "y2")
BEFORE, AFTER, ANSWER = "before the box", "after the crop", "answer"
NAMES = (*COORDINATES, BEFORE, AFTER, ANSWER, "token")
NEAR = 3  # tokens before a box and after a crop
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Event:
    """A sampled token that is looked at.

    Attributes
    ----------
    name : one of `NAMES`: a coordinate of a box, the words before it, the first words after its crop, the answer
    token : its place in the trajectory
    look : number of the look that it belongs to, from 0; None for the answer
    """

    name: str
    token: int
    look: int | None = None

    @property
    def reads(self) -> int:
        """Place of the state from which the token was drawn: the query of the attention."""
        return self.token - 1


def events(trajectory: Trajectory) -> list[Event]:
    """All events of a trajectory, in the order of its tokens."""
    found = [event for number in range(len(trajectory.looks)) for event in _of_look(trajectory, number)]
    return sorted([*found, *_of_answer(trajectory)], key=lambda event: event.token)


def chosen(trajectory: Trajectory, at: Sequence[str | int] | None) -> list[Event]:
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


def _sampled(trajectory: Trajectory, places: Sequence[int]) -> list[int]:
    return [i for i in places if trajectory.kinds[i] == Kind.SAMPLED and i > 0]


def _of_look(trajectory: Trajectory, number: int) -> Iterator[Event]:
    look = trajectory.looks[number]
    start, end = look.span
    before = _sampled(trajectory, range(max(0, start - NEAR), start))
    yield from (Event(BEFORE, i, number) for i in before)
    text, at = "".join(trajectory.pieces[start:end]), 0
    numbers = [found.span() for found in _NUMBER.finditer(text, text.find("[") + 1)]  # the key has a digit too
    for i in range(start, end):
        until = at + len(trajectory.pieces[i])
        for name, (a, b) in zip(COORDINATES, numbers, strict=False):
            if at < b and until > a:
                yield Event(name, i, number)
        at = until
    if look.crop_span is not None:
        later = range(look.crop_span[1], len(trajectory.ids))
        yield from (Event(AFTER, i, number) for i in _sampled(trajectory, later)[:NEAR])


def _of_answer(trajectory: Trajectory) -> Iterator[Event]:
    if trajectory.answer is None:
        return
    scanner, at = Scanner(), 0
    spans: list[tuple[int, int, int]] = []  # characters of the response, token
    inside = (0, 0)
    for i in _sampled(trajectory, range(len(trajectory.ids))):
        piece = trajectory.pieces[i]
        spans.append((at, at + len(piece), i))
        at += len(piece)
        for read in scanner.feed(piece):
            if read.kind == "answer":
                inside = (read.start + len(OPEN), read.end - len(CLOSE))
    yield from (Event(ANSWER, i) for a, b, i in spans if a < inside[1] and b > inside[0])


# Attention rows: what a policy read, at the moments that matter, for the price of a forward pass.
#
# A recorded trajectory is read again under the attention kernel that wrote it; for the wanted tokens alone the
# weights
# on all tokens before them are computed beside it. Kept are (layers, heads, events, tokens), never a map of all
# tokens
# on all tokens.
#
#     found = rows(policy, trajectory)                # every event: coordinates, words around a look, the answer
#     found.on("crop 1").sum(-1)                      # (layers, heads, events): mass on the first crop

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


class LiveRows:
    """Collects rows of a running rollout; made by `live_rows`.

    A forward pass of the loop ends in the states from which the next tokens of its rows are drawn; `watch` is then
    called once for each of these, in the order of the rows (of the members of a group, where a prompt was read once).
    So a pass and the calls behind it belong together, and the weights are computed when the next pass begins.
    """

    def __init__(self, policy: Policy, layers: Sequence[int], also: Callable[[Trajectory], None] | None = None) -> None:
        self.policy, self.layers, self.also = policy, list(layers), also
        self._pass: dict[int, Seen] = {}  # by layer, of the last forward pass
        self._drawn: list[tuple[Trajectory, int]] = []  # since then: trajectory, place of the token that was drawn
        self._kept: dict[int, dict[int, torch.Tensor]] = {}  # id of a trajectory -> token -> (layers, heads, before)
        self._held: list[Trajectory] = []  # so that an id stays theirs

    def watch(self, trajectory: Trajectory) -> None:
        """Called by the rollout whenever a trajectory has grown."""
        kinds = trajectory.kinds
        place = next(i for i in reversed(range(len(kinds))) if kinds[i] == Kind.SAMPLED)
        self._drawn.append((trajectory, place))
        if self.also is not None:
            self.also(trajectory)

    def see(self, layer: int, seen: Seen) -> None:
        """Called by the model's attention, layer by layer."""
        if layer == 0:  # a pass begins
            if self._drawn:
                self._settle()
            self._pass = {}
        if layer in self.layers:
            self._pass[layer] = seen

    def _settle(self) -> None:
        """Weights of the last pass, for the tokens that were drawn from its states."""
        drawn, self._drawn = self._drawn, []
        first = self._pass[self.layers[0]]
        rows = first.query.shape[0]
        if len(drawn) % rows or first.mask is None:
            raise R3labError(
                f"{len(drawn)} tokens were drawn from {rows} rows; give `watch=seen.watch` to every rollout inside"
            )
        every = len(drawn) // rows  # members of a group that share one row
        counts = first.mask[:, 0].sum(-1)  # (rows, q) tokens that each query sees, itself among them
        for number, (trajectory, place) in enumerate(drawn):
            row = number // every
            query = int((counts[row] == place).nonzero()[0])  # the state stands one place before the token
            visible = first.mask[row, 0, query]
            weights = [self._weights(self._pass[layer], row, query)[:, visible] for layer in self.layers]
            if id(trajectory) not in self._kept:
                self._kept[id(trajectory)] = {}
                self._held.append(trajectory)
            self._kept[id(trajectory)][place] = torch.stack(weights).cpu()

    @staticmethod
    def _weights(seen: Seen, row: int, query: int) -> torch.Tensor:
        """(heads, keys) of one query."""
        mask = None if seen.mask is None else seen.mask[row : row + 1]
        one = Seen(seen.query[row : row + 1], seen.key[row : row + 1], seen.scaling, None, mask)
        return attention.weights(one, torch.tensor([[query]], device=seen.query.device))[0, :, 0]

    def rows(self, trajectory: Trajectory, at: Sequence[str | int] | None = None) -> AttentionRows:
        """The rows of a trajectory that was rolled out inside.

        Parameters
        ----------
        at : as of `rows.rows`

        Raises
        ------
        R3labError
            If the trajectory was not seen here, or has no such event.
        """
        if self._drawn:
            self._settle()
        kept = self._kept.get(id(trajectory))
        if kept is None:
            raise R3labError(
                f"no rows of {shown(trajectory.sample_id)} were seen; roll it out inside, with watch=seen.watch"
            )
        found = chosen(trajectory, at)
        heads = next(iter(kept.values())).shape[1]
        weights = torch.zeros(len(self.layers), heads, len(found), len(trajectory.ids))
        for i, event in enumerate(found):
            weights[:, :, i, : event.token] = kept[event.token]
        size = (trajectory.image.width, trajectory.image.height)
        return AttentionRows(
            weights, found, self.layers, spans_of(trajectory), images_of(self.policy, trajectory), size
        )


@contextmanager
def live_rows(
    policy: Policy, layers: Sequence[int] | None = None, also: Callable[[Trajectory], None] | None = None
) -> Iterator[LiveRows]:
    """Collect the rows of every sampled token of the rollouts inside.

    Parameters
    ----------
    layers : numbers of text layers, negative ones from the end; default all
    also : called after `watch` with each trajectory that has grown (for a display)

    Raises
    ------
    R3labError
        If a layer does not exist.
    """
    seen = LiveRows(policy, layers_of(policy, layers), also)
    with seen_by(policy, seen.see):
        yield seen
