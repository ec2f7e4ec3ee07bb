"""Pictures that differ from a photograph in one respect: what stands where, what colour it has, how sharp it is.

Each function takes and returns RGB images of one size; boxes are source pixels. What an intervention proves depends on
what it leaves alone, so most take `keep`: regions that stay as they are.

    recoloured(image, angle=180, keep=[look.box])      # the same shapes under another light
    surrounded(image, other, keep=[region])            # the same region on another photograph

Simplified: edges of what was changed are hard, and no region is filled in plausibly. A policy that has never seen such
a picture may answer oddly; the kinds in `judge` rest on rates over many different ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip, problem
from ..core.images import resize
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..rollout.loop import Loop, reading, resume
from ..rollout.sequence import row_of, rows_of
from ..rollout.state import Branch, Limits
from ..trajectory import Kind, Look, Trajectory
from .rows import SINK, Event, check_model, chosen, layers_of, seen_by, spans_of

# What would have happened after a look, had its crop been another: replays that share all that came before.
#
# The trajectory is cut off behind the box, an alternative crop (or none) is put there, and two things are read off:
# the
# log-probability of what was then written, and of the same words with the right answer; and what the policy answers
# when
# it goes on by itself, greedily. What comes before the crop is read once for all alternatives.
#
#     outcomes = replay(policy, trajectory, look=0, alternatives=[Alternative("left half", box=(0, 0, 200, 400))])
#     outcomes[0].given, outcomes[0].answer


@dataclass(frozen=True)
class Alternative:
    """Another crop for a look: a region of the source (pixels), or pixels of any kind; neither: no crop at all."""

    name: str
    box: Box | None = None
    crop: Image.Image | None = None


@dataclass(frozen=True)
class Outcome:
    """What a policy does with an alternative.

    Attributes
    ----------
    given : log-probability in nats of all that was written after the look in the record
    right : of the same with the right answer in place of the one given; None where no right answer is known
    answer : what it answers by itself, greedily, with no more looks than in the record; None if it does not, or was
        not asked
    """

    alternative: Alternative
    given: float
    right: float | None
    answer: str | None = None


@torch.no_grad()
def replay(
    policy: Policy,
    trajectory: Trajectory,
    look: int,
    alternatives: Sequence[Alternative],
    features: dict[str, Features] | None = None,
    answers: bool = True,
) -> list[Outcome]:
    """Replay a look with each alternative.

    Parameters
    ----------
    look : its number, from 0; it must have a crop
    features : store that is read and filled, as of `rollout`
    answers : also let the policy go on by itself with each

    Raises
    ------
    R3labError
        If there is no such look, nothing was written after it, or a box does not fit the image.
    """
    check_model(policy, trajectory)
    if not 0 <= look < len(trajectory.looks):
        raise R3labError(f"there is no look {look}; the trajectory has {len(trajectory.looks)}, counted from 0")
    if trajectory.looks[look].crop_span is None:
        raise R3labError(f"look {look} got no crop ({trajectory.looks[look].reason}); there is nothing to replace")
    if not alternatives:
        return []
    store: dict[str, Features] = {} if features is None else features
    tail = after_look(trajectory, look)
    if tail >= len(trajectory.ids):
        raise R3labError(f"nothing was written after look {look}; there is nothing to compare")
    begun = [begin(policy, trajectory, look, alternative) for alternative in alternatives]
    whole = [joined(t, trajectory, tail) for t in begun]
    corrected = right_text(policy, trajectory)
    texts = whole
    if corrected is not None and corrected is not trajectory:  # the same where the given answer is right: read once
        texts = whole + [joined(t, corrected, tail) for t in begun]
    with reading(policy):
        found = tail_logprobs(policy, texts, [len(t.ids) for t in begun] * (len(texts) // len(begun)), store)
        own: list[str | None] = [None] * len(begun)
        if answers:
            written, later = (trajectory.kinds[part].count(Kind.SAMPLED) for part in (slice(tail), slice(tail, None)))
            longest = written + 2 * later + 32  # twice what was written after the look, and some
            most = len(trajectory.looks)  # with more, a policy that lost its crop just asks for it again
            own = [t.answer for t in resume(policy, begun, max_looks=most, max_new_tokens=longest, features=store)]
    right: list[float | None] = [None] * len(begun)
    if corrected is not None:
        right = [*found[-len(begun) :]]
    return [Outcome(*parts) for parts in zip(alternatives, found, right, own, strict=False)]


def after_look(trajectory: Trajectory, look: int) -> int:
    """Place of the first token that was sampled after a look's crop."""
    span = trajectory.looks[look].crop_span
    assert span is not None
    later = range(span[1], len(trajectory.ids))
    return next((i for i in later if trajectory.kinds[i] == Kind.SAMPLED), len(trajectory.ids))


def begin(policy: Policy, trajectory: Trajectory, look: int, alternative: Alternative) -> Trajectory:
    """The trajectory as far as the box of a look, with another crop behind it."""
    own, source = trajectory.looks[look], (trajectory.image.width, trajectory.image.height)
    t = trajectory.until(own.span[1])
    t.looks = trajectory.looks[:look]
    if alternative.box is None and alternative.crop is None:
        t.looks.append(Look(own.span, own.written, own.box, False, "its crop was taken away"))
        return t
    branch = Branch(
        policy, t, t.images[t.image.hash], Limits(), np.random.default_rng(0), position=0
    )  # positions are made anew when it is read
    if alternative.crop is not None:
        branch.insert(Look(own.span, own.written, own.box, True, "", own.zoom), alternative.crop)
        return t
    assert alternative.box is not None
    wrong = problem(alternative.box, source)
    if wrong:
        raise R3labError(f"the alternative {alternative.name!r} has a box that cannot be shown: {wrong}")
    branch.show(own.span, own.written, clip(alternative.box, source))
    return t


def joined(head: Trajectory, source: Trajectory, start: int) -> Trajectory:
    """A begun trajectory with the tokens of another from `start` on, and its looks there."""
    t = head.until(len(head.ids))
    shift = len(head.ids) - start
    for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
        getattr(t, name).extend(getattr(source, name)[start:])
    for look in source.looks:
        if look.span[0] >= start:
            t.looks.append(look.moved(shift))
    t.images.update(source.images)
    return t


def right_text(policy: Policy, trajectory: Trajectory) -> Trajectory | None:
    """The trajectory with the right answer wherever the given one is named after the last crop; None if unknown.

    Its new words were never sampled and carry no log-probabilities of sampling; it is only read.
    """
    right, given = trajectory.truth.get("answer"), trajectory.answer
    if not isinstance(right, str) or not right or given is None:
        return None
    if right == given:
        return trajectory
    last = max((look.crop_span[1] for look in trajectory.looks if look.crop_span), default=0)
    start = next(i for i in range(last, len(trajectory.ids)) if trajectory.kinds[i] == Kind.SAMPLED)
    text = "".join(trajectory.pieces[start:])
    ids = policy.ids(re.sub(rf"(?<!\w){re.escape(given)}(?!\w)", lambda _: right, text))
    t = trajectory.until(start)
    t.ids += ids
    t.kinds += [int(Kind.SAMPLED)] * len(ids)
    t.pieces += [policy.piece(i) for i in ids]
    t.logprobs += [None] * len(ids)
    t.entropies += [None] * len(ids)
    return t


def tail_logprobs(
    policy: Policy, texts: Sequence[Trajectory], starts: Sequence[int], store: dict[str, Features]
) -> list[float]:
    """Sum of the log-probabilities (nats) of the sampled tokens from `starts` on, of each trajectory.

    What all of them begin with is read once.
    """
    rows = rows_of(policy, texts, store)
    shared, states = Loop(policy, Limits(), store).enter(rows, most=min(starts) - 1)
    wanted = [
        [i for i in range(start, len(t.ids)) if t.kinds[i] == Kind.SAMPLED]
        for t, start in zip(texts, starts, strict=True)
    ]
    row = torch.tensor([n for n, places in enumerate(wanted) for _ in places])
    at = torch.tensor([i - 1 - shared for places in wanted for i in places])
    ids = torch.tensor([t.ids[i] for t, places in zip(texts, wanted, strict=True) for i in places])
    device = policy.device
    logp = policy.logits(states[row.to(device), at.to(device)]).log_softmax(-1)
    own = logp.gather(1, ids.to(device)[:, None])[:, 0].double().cpu()
    return torch.zeros(len(texts), dtype=torch.float64).index_add(0, row, own).tolist()


# Cut attention and see what is lost: from chosen tokens to an image or a stretch of text, in chosen layers.
#
# A replaced crop (`crop_value`) asks whether what was seen mattered; a cut asks whether it was read *there*: an
# answer
# that was copied from words already written does not mind losing the crop, those words do.
#
#     found = knock_out(policy, trajectory, at=["answer"], spans=["crop 1"])
#     found.change.sum()


@dataclass(frozen=True)
class KnockOut:
    """Log-probabilities in nats of the tokens of events, (events,) float64, as they were and with attention cut."""

    events: list[Event]
    before: torch.Tensor
    after: torch.Tensor

    @property
    def change(self) -> torch.Tensor:
        """What the cut did to each; below zero: the token became less likely."""
        return self.after - self.before


@torch.no_grad()
def knock_out(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int],
    spans: Sequence[str],
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> KnockOut:
    """Let the states from which events were drawn see nothing of some spans.

    Parameters
    ----------
    at : names of events or places of sampled tokens, as of `rows`
    spans : names of spans (`rows.spans_of`): "overview", "crop 1", "question 1", "text 2", ...
    layers : numbers of text layers, negative ones from the end; default all

    Raises
    ------
    R3labError
        If an event, span or layer does not exist, or for the first token, without which attention has no rest.
    """
    check_model(policy, trajectory)
    known = spans_of(trajectory)
    for name in spans:
        if name not in known or name == SINK:
            there = ", ".join(n for n in known if n != SINK)
            raise R3labError(f"attention to {shown(name)} cannot be cut; there are {there}")
    wanted = set(layers_of(policy, layers))
    found = chosen(trajectory, at)
    if not found:
        raise R3labError(f"the trajectory has no event {', '.join(map(str, at))}")
    length, device = len(trajectory.ids), policy.device
    reads = torch.tensor([event.reads for event in found], device=device)
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    for name in spans:
        a, b = known[name]
        visible[reads, a:b] = False

    def cut(layer: int, seen: Seen) -> torch.Tensor | None:
        return attention.output(replace(seen, mask=visible[None, None])) if layer in wanted else None

    store: dict[str, Features] = {} if features is None else features
    batch = policy.rows([row_of(policy, trajectory, store)])
    tokens = torch.tensor([trajectory.ids[event.token] for event in found], device=device)

    def logprobs() -> torch.Tensor:
        every = policy.logits(policy.hidden(batch)[0, reads]).double().log_softmax(-1)
        return every.gather(1, tokens[:, None])[:, 0].cpu()

    before = logprobs()
    with seen_by(policy, cut):
        after = logprobs()
    return KnockOut(found, before, after)


PUSH = 45.0  # mean colour, in units of Cb and Cr, that a grey picture gets so that it has one to turn


def pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """The whole pixels of a box, at least one, inside an image of `size`."""
    x1, y1, x2, y2 = clip(box, size)
    left, top = min(int(x1), size[0] - 1), min(int(y1), size[1] - 1)
    return left, top, max(left + 1, math.ceil(x2)), max(top + 1, math.ceil(y2))


def shifted(image: Image.Image, right: int, down: int) -> Image.Image:
    """Everything elsewhere by so many pixels; what leaves on one side comes in on the other."""
    return Image.fromarray(np.roll(np.asarray(image), (down, right), axis=(0, 1)))


def pasted(image: Image.Image, patch: Image.Image, box: Box) -> Image.Image:
    """A patch, resized, over a box."""
    x1, y1, x2, y2 = pixels(box, image.size)
    changed = image.copy()
    changed.paste(resize(patch, (x2 - x1, y2 - y1)), (x1, y1))
    return changed


def filled(image: Image.Image, boxes: Sequence[Box], colour: tuple[int, int, int] | None = None) -> Image.Image:
    """Boxes filled with one colour; by default with the mean colour of the image."""
    changed = np.array(image)
    value = changed.reshape(-1, 3).mean(0).round() if colour is None else np.array(colour)
    for box in boxes:
        x1, y1, x2, y2 = pixels(box, image.size)
        changed[y1:y2, x1:x2] = value
    return Image.fromarray(changed)


def kept(image: Image.Image, changed: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """The changed image, with the boxes of the first one."""
    for box in keep:
        x1, y1, x2, y2 = pixels(box, image.size)
        changed.paste(image.crop((x1, y1, x2, y2)), (x1, y1))
    return changed


def surrounded(image: Image.Image, other: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """Another picture, at this one's size, around what is kept."""
    return kept(image, resize(other, image.size), keep)


def recoloured(image: Image.Image, angle: float, keep: Sequence[Box]) -> Image.Image:
    """All colours turned by an angle (degrees) around grey, lightness as it was; a grey picture gets a colour.

    Colours are turned in the plane of Cb and Cr (ITU-R BT.601), so that edges, which are lightness, stay.
    """
    light, *colours = (np.asarray(part, dtype=np.float32) for part in image.convert("YCbCr").split())
    turn = math.radians(angle)
    blue, red = (part - 128 for part in colours)
    turned = np.stack([blue * math.cos(turn) - red * math.sin(turn), blue * math.sin(turn) + red * math.cos(turn)])
    mean = turned.mean((1, 2))
    strength = float(np.hypot(*mean))
    direction = mean / strength if strength > 1 else np.array([math.cos(turn), math.sin(turn)])
    turned += (direction * max(0.0, PUSH - strength))[:, None, None]
    parts = [Image.fromarray(part.clip(0, 255).round().astype(np.uint8)) for part in (light, *(turned + 128))]
    return kept(image, Image.merge("YCbCr", parts).convert("RGB"), keep)


def smoothed(image: Image.Image, cells: int) -> Image.Image:
    """Only `cells` x `cells` colours left of it, one flowing into the next."""
    small = image.resize((cells, cells), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def shifts(size: Size, count: int) -> list[tuple[int, int]]:
    """Shifts (right, down) that take everything far from where it was: a quarter of a side at least."""
    parts = [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7), (0.35, 0.0)]
    return [(round(x * size[0]), round(y * size[1])) for x, y in parts[:count]]


def angles(count: int) -> list[float]:
    """Turns of colour that leave none near where it was: from 90 to 270 degrees."""
    return [180.0] if count == 1 else np.linspace(90, 270, count).tolist()
