"""A VLIR sample as the rollout that it teaches: the record of a policy that wrote the rationale word for word.

The tokens are those that the cold start trains on; the loop reads them one by one, cuts the crops and keeps the record,
so whatever draws or explains a rollout takes a lesson too. The log-probabilities are the policy's own, of words that it
did not choose: where they are low, the lesson has something to teach. Simplified: one pair at a time.

    lesson = taught(policy, sample, rationale)
    picture(filmstrip(lesson), filmstrip_alt(lesson))
"""

from __future__ import annotations

import numpy as np
import torch

from ..arms import INTERLEAVED, Arm
from ..branch import Branch, Limits
from ..errors import R3labError, shown
from ..images import content_hash
from ..models.policy import Policy
from ..rollout import reading
from ..trajectory import ImageRef, Kind, Trajectory
from ..vlir.sample import Rationale, Sample
from .sft import encode_batch

TEACHER = "teacher"  # who wrote it, in place of a policy's name


@torch.no_grad()
def taught(policy: Policy, sample: Sample, rationale: Rationale, arm: Arm = INTERLEAVED) -> Trajectory:
    """The record of a rollout that wrote this rationale.

    Parameters
    ----------
    policy
        Whose tokens, frame and crops they are; it gives the log-probabilities, at temperature 1.
    sample, rationale
        Boxes in source pixels; the rationale is the arm's already (`vlir.in_arm`).
    arm
        In which it is written.

    Returns
    -------
    Trajectory
        With its images; `model` is "teacher".

    Raises
    ------
    R3labError
        If the loop would not take the rationale as it stands: a box that cannot be cut, text after the answer, none.
    """
    [row], [mask] = encode_batch(policy, [(sample, rationale)], arm)
    begin = mask.index(True)
    prompt = row.ids[:begin]
    kinds = [int(Kind.OVERVIEW if token == policy.image_id else Kind.PROMPT) for token in prompt]
    record = Trajectory(
        sample_id=sample.id,
        question=sample.question,
        image=ImageRef(content_hash(sample.image), *sample.image.size),
        overview=policy.overview_size(sample.image.size),
        frame=policy.family.frame,
        ids=list(prompt),
        kinds=kinds,
        pieces=["" if token == policy.image_id else policy.piece(token) for token in prompt],
        logprobs=[None] * begin,
        entropies=[None] * begin,
        truth=dict(sample.truth),
        model=TEACHER,
        arm=arm.name,
        images={content_hash(sample.image): sample.image},
    )
    words = [i for i, told in enumerate(mask) if told]
    with reading(policy):
        states = policy.hidden(policy.rows([row]))[0, [i - 1 for i in words]]  # (T, D)
    logp = torch.log_softmax(policy.logits(states), dim=-1)  # (T, V)
    spread = torch.special.entr(logp.exp()).sum(-1).tolist()
    limits = Limits(looks=len(rationale.boxes), new_tokens=len(words) + 1)
    branch = Branch(policy, record, sample.image, limits, np.random.default_rng(0), 0)
    for number, i in enumerate(words):
        if record.finish != "length":  # it has ended, and there is more: the ids below differ
            break
        branch.take(row.ids[i], float(logp[number, row.ids[i]]), spread[number])
    if record.ids != row.ids or record.finish != "answered":
        why = next((look.reason for look in record.looks if not look.valid), "") or "it does not end with one answer"
        raise R3labError(f"the loop does not take the rationale of {shown(sample.id)} as it stands: {why}; mend it.")
    return record
