"""The loop as the published code runs it, for comparison: one rollout at a time, and at every look the conversation is
encoded again, images included, and read again by `generate`.

The tokens are those of recorded trajectories (a processor of logits forces them), so both ways write the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from r3lab.core.images import resize
from r3lab.models.families import patchify
from r3lab.models.policy import Policy
from r3lab.trajectory import Kind, Trajectory


class Forced(LogitsProcessor):
    """Leaves one token possible at each place."""

    def __init__(self, tokens: Sequence[int], start: int) -> None:
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        chosen = self.tokens[input_ids.shape[1] - self.start]
        forced = torch.full_like(scores, float("-inf"))
        forced[:, chosen] = 0.0
        return forced


@torch.no_grad()
def replay(policy: Policy, trajectories: Sequence[Trajectory]) -> int:
    """Write the trajectories anew, one after the other; returns the number of tokens generated."""
    count = 0
    for t in trajectories:
        at = next(i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED)
        while at < len(t.ids):
            end = at
            while end < len(t.ids) and t.kinds[end] == Kind.SAMPLED:
                end += 1
            looks = [look for look in t.looks if look.crop is not None and look.crop_span[1] <= at]
            images = [resize(t.images[t.image.hash], t.overview), *(t.images[look.crop.hash] for look in looks)]
            pixels, grids = patchify(images, policy.layout)
            ids = torch.tensor([t.ids[:at]])
            out = policy.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels,
                image_grid_thw=grids,
                mm_token_type_ids=(ids == policy.image_id).int(),
                max_new_tokens=end - at,
                min_new_tokens=end - at,
                do_sample=True,
                top_k=0,
                logits_processor=LogitsProcessorList([Forced(t.ids[at:end], at)]),
            )
            if out[0].tolist() != t.ids[:end]:
                raise RuntimeError("the reference wrote other tokens than were recorded")
            count += end - at
            at = end
            while at < len(t.ids) and t.kinds[at] != Kind.SAMPLED:
                at += 1
    return count
