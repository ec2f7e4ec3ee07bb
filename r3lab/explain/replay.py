"""What would have happened after a look, had its crop been another: replays that share all that came before.

The trajectory is cut off behind the box, an alternative crop (or none) is put there, and two things are read off: the
log-probability of what was then written, and of the same words with the right answer; and what the policy answers when
it goes on by itself, greedily. What comes before the crop is read once for all alternatives.

    outcomes = replay(policy, trajectory, look=0, alternatives=[Alternative("left half", box=(0, 0, 200, 400))])
    outcomes[0].given, outcomes[0].answer
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..branch import Branch, Limits
from ..errors import R3labError
from ..geometry import Box, clip, problem
from ..loop import Loop
from ..models.policy import Features, Policy
from ..rollout import reading, resume
from ..sequence import rows_of
from ..trajectory import Kind, Look, Trajectory
from .rows import check_model


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
