"""The same trajectory behind another question: what attention would be if nothing in particular were asked.

plain = rows(policy, reasked(policy, trajectory))
relative(heat_map(found, "overview"), heat_map(plain, "overview"))
"""

from __future__ import annotations

from dataclasses import replace

from ..arms import get_arm
from ..models.policy import Policy
from ..sequence import prompt_ids
from ..trajectory import Kind, Trajectory

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
