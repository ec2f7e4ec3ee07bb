"""The point of a rollout at which somebody may look: the policy's own last look, or where it would have come.

A person takes over exactly there: all that the policy wrote before stays, another crop comes behind the box, and the
policy goes on. Where the policy took no look, one is put where the policy would most likely have begun a box, at the
place that it then writes by itself. Simplified: the box in the text stays the policy's, also
where a person looks elsewhere, so that nothing but the crop differs (as in `explain.replay`).

    point = point_of(policy, trajectory, features)
    replay(policy, point.trajectory, point.look, [Alternative("mine", box=box)])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...arms import get_arm
from ...branch import Branch, Limits
from ...errors import R3labError, shown
from ...explain.crop_value import NOTHING
from ...explain.replay import Alternative, joined, replay, right_text, tail_logprobs
from ...geometry import Box, Size, from_source, write_ints
from ...models.policy import Features, Policy
from ...protocol import KEY, box_text
from ...rollout import reading, resume
from ...sequence import row_of
from ...trajectory import Kind, Trajectory

OPENING = f'{{"{KEY}": ['  # how a box begins


@dataclass(frozen=True)
class Point:
    """Where a look is taken.

    Attributes
    ----------
    trajectory : finished, with the look; what follows it is the policy's
    look : its number, from 0
    taken : the policy looked there by itself; else the look was put there
    wrote : the box is the policy's own (made to look, it may write none that can be shown)
    without : log-probability in nats of the words with the right answer where nobody looks
    """

    trajectory: Trajectory
    look: int
    taken: bool
    wrote: bool
    without: float

    @property
    def box(self) -> Box:
        """The region of the look, source pixels."""
        box = self.trajectory.looks[self.look].box
        assert box is not None
        return box


@torch.no_grad()
def point_of(policy: Policy, t: Trajectory, features: dict[str, Features]) -> Point:
    """The point of a finished rollout at which to look.

    Parameters
    ----------
    t
        With its image, an answer, and the true answer.
    features
        Store that is read and filled, as of `rollout`.

    Raises
    ------
    R3labError
        If it has no answer, or the true one is not known: there would be nothing to compare.
    """
    if t.answer is None:
        raise R3labError(f"The policy gives no answer to {shown(t.sample_id)} ({t.finish}).")
    if not isinstance(t.truth.get("answer"), str) or not t.truth["answer"].strip():
        raise R3labError(f"The true answer to {shown(t.sample_id)} is not known.")
    with_crop = [n for n, look in enumerate(t.looks) if look.crop is not None]
    if with_crop:
        [outcome] = replay(policy, t, with_crop[-1], [Alternative(NOTHING)], features, answers=False)
        assert outcome.right is not None
        return Point(t, with_crop[-1], True, True, outcome.right)
    with reading(policy):
        at = likeliest(policy, t, features)
        looked, wrote = _made_to_look(policy, t, at, features)
        last = max(n for n, one in enumerate(looked.looks) if one.crop is not None)
        plain = right_text(policy, t)
        assert plain is not None
        same = plain.ids[:at] == t.ids[:at]  # the right answer may also stand in place of a word before
        [without] = tail_logprobs(policy, [plain], [at if same else t.sampled_mask.index(True)], features)
    return Point(looked, last, False, wrote, without)


def likeliest(policy: Policy, t: Trajectory, features: dict[str, Features]) -> int:
    """The token, up to the answer's opening mark, in whose place the policy would most likely have begun a box."""
    sampled = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    end = t.response_text.rfind(get_arm(t.arm).marks.open)
    places, fed = [], 0
    for before, i in zip([sampled[0], *sampled], sampled, strict=False):
        whole = i == before or t.pieces[before] != ""  # not inside a character
        if (end < 0 or fed <= end) and whole:
            places.append(i)
        fed += len(t.pieces[i])
    states = policy.hidden(policy.rows([row_of(policy, t, features)]))[0, [i - 1 for i in places]]
    logp = policy.logits(states).log_softmax(-1)[:, policy.ids(OPENING)[0]]
    return places[int(logp.argmax())]


def _made_to_look(policy: Policy, t: Trajectory, at: int, features: dict[str, Features]) -> tuple[Trajectory, bool]:
    """The rollout, gone on with behind a look at `at`, and whether the policy wrote the box of it."""
    begun = t.until(at)
    most = len(begun.looks) + 1
    room = 2 * t.kinds.count(Kind.SAMPLED) + 64  # tokens
    _append(policy, begun, policy.ids(OPENING))
    [went] = resume(policy, [begun], max_looks=most, max_new_tokens=room, features=features)
    if went.answer is not None and any(look.crop is not None for look in went.looks[most - 1 :]):
        return went, True
    source: Size = (t.image.width, t.image.height)  # it wrote none: a region in the middle, half as wide and high
    middle = (0.25 * source[0], 0.25 * source[1], 0.75 * source[0], 0.75 * source[1])
    numbers = write_ints(from_source(middle, t.frame, source, t.overview), policy.step)
    head = t.until(at)
    _append(policy, head, policy.ids(box_text(numbers)))
    branch = Branch(policy, head, t.images[t.image.hash], Limits(), np.random.default_rng(0), position=0)
    branch.show((at, len(head.ids)), tuple(map(float, numbers)), middle)
    [went] = resume(policy, [head], max_looks=most, max_new_tokens=room, features=features)
    if went.answer is None:  # its own words, then
        went = joined(head, t, at)
        went.answer, went.finish = t.answer, t.finish
    return went, False


def _append(policy: Policy, t: Trajectory, ids: list[int]) -> None:
    """Words that were never sampled: they are only read."""
    t.ids += ids
    t.kinds += [int(Kind.SAMPLED)] * len(ids)
    t.pieces += [policy.piece(i) for i in ids]
    t.logprobs += [None] * len(ids)
    t.entropies += [None] * len(ids)
