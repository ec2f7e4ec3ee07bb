"""Interventions on a recorded trajectory: replay a look with another crop, or cut attention, and read what is lost.

A replay cuts the trajectory off after a box, puts an alternative crop (or none) there, and reads two things: the
log-probability of what was then written, and of the same words with the right answer; and what the policy answers when
it goes on by itself, greedily. What comes before the crop is read once for all alternatives.

    own, nothing, *others = crop_value(policy, trajectory, look=0)
    nothing.change(own), nothing.answer                              # the look replaced by none
    knock_out(policy, trajectory, at=["answer"], spans=["crop 1"]).change.sum()

A replaced crop asks whether what was seen mattered; a cut asks whether it was read *there*: an answer that was copied
from words already written does not mind losing the crop, those words do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, as_box, clip, iou, problem
from ..core.images import cut
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy, reading
from ..rollout.loop import Loop
from ..rollout.resume import enter, go_on, resume
from ..rollout.sequence import prompt_ids, rows_of
from ..rollout.state import RolloutState
from ..trajectory import Kind, Look, Trajectory
from .pictures import mean_colour
from .rows import SINK, Event, check_model, event_logprobs, read_again, spans_of

TAKEN, NOTHING, BLANK, NOISE = "as it was", "nothing", "blank", "noise"  # names of alternatives
RANDOM, TRUE, WHOLE = "random place", "true region", "full image"
NEUTRAL = "Write a general description of the image."  # a question of nothing in particular, as in arXiv 2502.17422
NOISES, PLACES = 2, 4  # crops of noise, and of random places: of few the habit of an answer cannot be told from a loss
STEPS = (0.25, 0.5, 1.0)  # shifts of the box, as parts of its sides
LESS = 0.5  # nats by which the words that name an answer become less likely where it counts as changed


@dataclass(frozen=True)
class Alternative:
    """Another crop for a look: a region of the source (pixels), or pixels of any kind; neither: no crop at all.
    `empty` where nothing is there that the look was taken for."""

    name: str
    box: Box | None = None
    crop: Image.Image | None = None
    empty: bool = False


@dataclass(frozen=True)
class ReplayResult:
    """What a policy does with an alternative.

    Attributes
    ----------
    given : log-probability in nats of all that was written after the look in the record
    right : of the same with the right answer in place of the one given; None where no right answer is known
    named : of the words in it that name the answer given; 0 where it is not named
    answer : what it answers by itself, greedily, with no more looks than in the record; None if it does not, or was
        not asked
    next : box of the look that it takes next then; None if it takes none, or was not asked
    """

    alternative: Alternative
    given: float
    right: float | None
    named: float = 0.0
    answer: str | None = None
    next: Box | None = None

    def change(self, own: ReplayResult) -> float:
        """Change in nats of what was written, against the look with its own crop; below zero: the crop mattered."""
        return self.given - own.given


def regions_of(trajectory: Trajectory) -> list[Box]:
    """The true regions that can be looked at, in order; whatever else the free JSON of `truth` holds is left out."""
    held, size = trajectory.truth.get("regions"), (trajectory.image.width, trajectory.image.height)
    boxes = map(as_box, held if isinstance(held, list | tuple) else [])
    return [clip(box, size) for box in boxes if box is not None and not problem(box, size)]


@torch.no_grad()
def replay(
    policy: Policy,
    trajectory: Trajectory,
    look: int,
    alternatives: Sequence[Alternative],
    features: dict[str, Features] | None = None,
    answers: bool = True,
) -> list[ReplayResult]:
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
    with_crop(trajectory, look)
    if not alternatives:
        return []
    store: dict[str, Features] = {} if features is None else features
    tail = after_look(trajectory, look)
    if tail >= len(trajectory.ids):
        raise R3labError(f"nothing was written after look {look}; there is nothing to compare")
    begun = [begin(policy, trajectory, look, alternative) for alternative in alternatives]
    corrected, went = right_text(policy, trajectory), begun
    with reading(policy):
        if answers:
            went, found = read_and_answered(policy, trajectory, begun, tail, store)
        else:
            found = reread(policy, trajectory, begun, tail, store)
        again = found  # the same where the given answer is right: read once
        if corrected is not None and corrected is not trajectory:
            again = reread(policy, corrected, begun, tail, store)
    given = [float(one.sum()) for one in found]
    right = [None if corrected is None else float(one.sum()) for one in again]
    names, own = named(trajectory, tail, found), [t.answer for t in went]
    boxes = [next_box(t, look) for t in went]
    return [ReplayResult(*parts) for parts in zip(alternatives, given, right, names, own, boxes, strict=True)]


def next_box(trajectory: Trajectory, look: int) -> Box | None:
    """The box of the next look with a crop behind a look."""
    return next((one.box for one in trajectory.looks[look + 1 :] if one.crop), None)


def reread(
    policy: Policy, trajectory: Trajectory, begun: Sequence[Trajectory], tail: int, store: dict[str, Features]
) -> list[torch.Tensor]:
    """`tail_logprobs` of what was written in a record from `tail` on, behind each begun one."""
    texts = [joined(t, trajectory, tail) for t in begun]
    return tail_logprobs(policy, texts, [len(t.ids) for t in begun], store)


def read_and_answered(
    policy: Policy, trajectory: Trajectory, begun: Sequence[Trajectory], tail: int, store: dict[str, Features]
) -> tuple[list[Trajectory], list[torch.Tensor]]:
    """How the policy goes on greedily from where each begun record stands, with no more looks than the record has, and
    `reread`: one reading serves both.

    With more looks, a policy that lost its crop, or was shown another, would just ask for the first one again. On the
    plain path, or where nothing was written from `tail` on, nothing is read again.
    """
    most, looks = 2 * trajectory.kinds.count(Kind.SAMPLED) + 32, len(trajectory.looks)
    if policy.plain or tail >= len(trajectory.ids):
        went = resume(policy, begun, max_looks=looks, max_new_tokens=most, features=store)
        return went, [torch.zeros(len(trajectory.ids) - tail, dtype=torch.float64) for _ in begun]
    texts, loop = [joined(t, trajectory, tail) for t in begun], Loop(policy, store, looks, most)
    shared, states = go_on(loop, begun, rows_of(policy, texts, store))
    found = sampled_logprobs(policy, texts, [len(t.ids) for t in begun], shared, states)
    return loop.run(False), found


def named(trajectory: Trajectory, tail: int, found: Sequence[torch.Tensor]) -> list[float]:
    """Of log-probabilities from `tail` on, the sum of those of the words that name the answer given."""
    at = [i - tail for i in naming(trajectory, tail)]
    return [float(one[at].sum()) for one in found]


def naming(trajectory: Trajectory, start: int) -> list[int]:
    """Positions of the sampled tokens from `start` on that name the answer given, as a word; none in a box."""
    if not trajectory.answer:
        return []
    boxes = {i for look in trajectory.looks for i in range(*look.span)}
    where, text = list[int](), ""
    for i in range(start, len(trajectory.ids)):
        piece = trajectory.pieces[i] if trajectory.kinds[i] == Kind.SAMPLED and i not in boxes else "\0"
        where += [i] * len(piece)
        text += piece
    found = re.finditer(rf"(?<!\w){re.escape(trajectory.answer)}(?!\w)", text)
    return sorted({where[k] for match in found for k in range(*match.span())})


def with_crop(trajectory: Trajectory, look: int) -> Look:
    """A look that has a crop; an `R3labError` if there is no such look, or it got none."""
    if not 0 <= look < len(trajectory.looks):
        raise R3labError(f"there is no look {look}; the trajectory has {len(trajectory.looks)}, counted from 0")
    own = trajectory.looks[look]
    if own.crop_span is None or own.crop is None or own.box is None:
        raise R3labError(f"look {look} got no crop ({own.reason}); there is nothing to replace")
    return own


def after_look(trajectory: Trajectory, look: int) -> int:
    """Position of the first token that was sampled after a look's crop."""
    span = trajectory.looks[look].crop_span
    assert span is not None
    later = range(span[1], len(trajectory.ids))
    return next((i for i in later if trajectory.kinds[i] == Kind.SAMPLED), len(trajectory.ids))


def begin(policy: Policy, trajectory: Trajectory, look: int, alternative: Alternative) -> Trajectory:
    """The trajectory as far as the box of a look, followed by another crop."""
    own, source = trajectory.looks[look], (trajectory.image.width, trajectory.image.height)
    t = trajectory.until(own.span[1])
    t.looks = trajectory.looks[:look]
    if alternative.box is None and alternative.crop is None:
        t.looks.append(Look(own.span, own.written, own.box, False, "its crop was taken away"))
        return t
    branch = RolloutState(policy, t)  # positions are made when read
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
    t.looks += [look.moved(shift) for look in source.looks if look.span[0] >= start]
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
    return with_words(policy, trajectory, start, re.sub(rf"(?<!\w){re.escape(given)}(?!\w)", lambda _: right, text))


def with_words(policy: Policy, trajectory: Trajectory, start: int, words: str) -> Trajectory:
    """The trajectory as far as `start`, and words that were never sampled: they are only read."""
    return extended(policy, trajectory.until(start), policy.ids(words), Kind.SAMPLED)


def extended(policy: Policy, begun: Trajectory, ids: Sequence[int], kind: Kind) -> Trajectory:
    """A begun trajectory, with tokens of a kind (or of the overview) put behind it that were never sampled."""
    nothing = [None] * len(ids)
    begun.ids.extend(ids)
    begun.kinds.extend(int(Kind.OVERVIEW if i == policy.image_id else kind) for i in ids)
    begun.pieces.extend("" if i == policy.image_id else policy.piece(i) for i in ids)
    begun.logprobs.extend(nothing)
    begun.entropies.extend(nothing)
    return begun


def reworded(policy: Policy, trajectory: Trajectory, end: int, other: str) -> Trajectory | None:
    """The trajectory as far as `end`, with another answer wherever the given one is named in what was sampled before;
    None where it is not named. New words carry no log-probabilities."""
    given, at = trajectory.answer, [i for i in naming(trajectory, trajectory.prompt_length) if i < end]
    if given is None or not at:
        return None
    source, head, done = trajectory.until(end), trajectory.until(0), 0
    runs = [at[k] for k in range(len(at)) if k == 0 or at[k] != at[k - 1] + 1]
    for start in (*runs, end):
        head, done = joined(head, source.until(start), done), start
        while done in at:
            done += 1
        if start < end:
            words = "".join(trajectory.pieces[start:done]).replace(given, other)
            head = extended(policy, head, policy.ids(words), Kind.SAMPLED)
    return head


def with_question(policy: Policy, trajectory: Trajectory, question: str = NEUTRAL) -> Trajectory:
    """A trajectory with its question replaced and all that follows the prompt kept, token for token.

    It was never sampled: its log-probabilities are those of the original, and only attention is read from it, as what
    it would be if nothing in particular were asked.
    """
    start, overview = trajectory.prompt_length, trajectory.kinds.count(Kind.OVERVIEW)
    ids = prompt_ids(policy, question, trajectory.overview, overview, get_arm(trajectory.arm))
    head = extended(policy, replace(trajectory.until(0), question=question), ids, Kind.PROMPT)
    return replace(joined(head, trajectory, start), answer=trajectory.answer, finish=trajectory.finish)


def tail_logprobs(
    policy: Policy, texts: Sequence[Trajectory], starts: Sequence[int], store: dict[str, Features]
) -> list[torch.Tensor]:
    """Log-probabilities (nats, float64) of the tokens from `starts` on, of each trajectory; 0 of what was not sampled.

    What all of them begin with is read once.
    """
    shared, states = enter(Loop(policy, store), rows_of(policy, texts, store), most=min(starts) - 1)
    return sampled_logprobs(policy, texts, starts, shared, states)


def sampled_logprobs(
    policy: Policy, texts: Sequence[Trajectory], starts: Sequence[int], shared: int, states: torch.Tensor
) -> list[torch.Tensor]:
    """As of `tail_logprobs`, from the states (R, q, D) of what follows the `shared` tokens."""
    wanted = [
        (row, at, t.ids[at])
        for row, (t, start) in enumerate(zip(texts, starts, strict=True))
        for at in range(start, len(t.ids))
        if t.kinds[at] == Kind.SAMPLED
    ]
    row, at, ids = torch.tensor(wanted, dtype=torch.int64).view(-1, 3).T
    device = policy.device
    logp = policy.logits(states[row.to(device), (at - 1 - shared).to(device)]).log_softmax(-1)
    own = logp.gather(1, ids.to(device)[:, None])[:, 0].double().cpu()
    found = [torch.zeros(len(t.ids) - start, dtype=torch.float64) for t, start in zip(texts, starts, strict=True)]
    for (which, place, _), value in zip(wanted, own.tolist(), strict=True):
        found[which][place - starts[which]] = value
    return found


def alternatives_of(trajectory: Trajectory, look: int, seed: int = 0) -> list[Alternative]:
    """The crops that a look is compared with, of the size of the one that it got.

    Parameters
    ----------
    seed : of the noise and of the random position
    """
    own = with_crop(trajectory, look)
    assert own.box is not None and own.crop is not None
    image, box, size = trajectory.images[trajectory.image.hash], own.box, (own.crop.width, own.crop.height)
    source = image.size
    rng = np.random.default_rng(seed)
    mean = mean_colour(trajectory.images[own.crop.hash])
    w, h = box[2] - box[0], box[3] - box[1]
    noises = (Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(NOISES))
    places = (cut(image, _elsewhere(box, source, rng), size) for _ in range(PLACES))
    found = [
        Alternative(TAKEN, crop=trajectory.images[own.crop.hash]),
        Alternative(NOTHING, empty=True),
        Alternative(BLANK, crop=Image.new("RGB", size, mean), empty=True),
        *(Alternative(_numbered(NOISE, n), crop=noise, empty=True) for n, noise in enumerate(noises, 1)),
        *(Alternative(_numbered(RANDOM, n), crop=place, empty=True) for n, place in enumerate(places, 1)),
        Alternative(WHOLE, box=(0.0, 0.0, float(source[0]), float(source[1])), empty=True),
    ]
    for step in STEPS:
        for name, dx, dy in (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)):
            x, y = box[0] + dx * step * w, box[1] + dy * step * h
            if x >= 0 and y >= 0 and x + w <= source[0] and y + h <= source[1]:
                found.append(Alternative(f"{step:g} {name}", crop=cut(image, (x, y, x + w, y + h), size)))
    regions = regions_of(trajectory)
    if regions:
        found.append(Alternative(TRUE, box=max(regions, key=lambda region: iou(region, box))))
    return found


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} {number}"


def _elsewhere(box: Box, source: Size, rng: np.random.Generator) -> Box:
    """A box of the same size at the random position, of 64, that overlaps it least."""
    w, h = box[2] - box[0], box[3] - box[1]
    x, y = rng.uniform(0, source[0] - w, 64), rng.uniform(0, source[1] - h, 64)
    places: list[Box] = [(a, b, a + w, b + h) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return min(places, key=lambda place: iou(place, box))


def crop_value(
    policy: Policy, trajectory: Trajectory, look: int, seed: int = 0, features: dict[str, Features] | None = None
) -> list[ReplayResult]:
    """Replay a look with its crop as it was, with nothing, blank, noise, elsewhere, shifted, the true region, all.

    Raises
    ------
    R3labError
        As of `replay`.
    """
    return replay(policy, trajectory, look, alternatives_of(trajectory, look, seed), features)


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
    """Let the states from which events were sampled see nothing of some spans.

    Parameters
    ----------
    at : names of events or positions of sampled tokens, as of `rows`
    spans : names of spans (`rows.spans_of`): "overview", "crop 1", "question 1", "text 2", ...
    layers : numbers of text layers, negative ones from the end; default all

    Raises
    ------
    R3labError
        If an event, span or layer does not exist, or for the first token, without which attention has no rest.
    """
    known = spans_of(trajectory)
    for name in spans:
        if name not in known or name == SINK:
            there = ", ".join(n for n in known if n != SINK)
            raise R3labError(f"attention to {shown(name)} cannot be cut; there are {there}")
    batch, found, wanted = read_again(policy, trajectory, at, layers, features)
    if not found:
        raise R3labError(f"the trajectory has no event {', '.join(map(str, at))}")
    length, reads = len(trajectory.ids), torch.tensor([event.reads for event in found], device=policy.device)
    visible = torch.ones(length, length, dtype=torch.bool, device=policy.device).tril()
    for name in spans:
        a, b = known[name]
        visible[reads, a:b] = False

    def cut_off(layer: int, seen: Seen) -> torch.Tensor | None:
        return attention.output(replace(seen, mask=visible[None, None])) if layer in wanted else None

    before = event_logprobs(policy, trajectory, found, policy.hidden(batch)).cpu()
    with attention.shown_to(cut_off):
        after = event_logprobs(policy, trajectory, found, policy.hidden(batch)).cpu()
    return KnockOut(found, before, after)
