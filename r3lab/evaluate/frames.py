"""Asks a policy for the boxes of known objects, and finds in which frame it writes them (`core.frames`).

Each picture is a stretch of a photograph with one badge on it, of several proportions and sizes, so that frames which
agree on a square do not agree on all of them. The overview is kept under `TOKENS` tokens: then pixels of the source and
of the resized picture are far apart, and large checkpoints are asked in minutes. The question names the form of a box
and neither unit nor order; a policy that is asked the bare question is asked what it knows, and its look is its box.
Simplified: one object a picture, one greedy answer, photographs of the test split.

    found, cases = frame_of(policy)
    print(found.said)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from ..core.arms import ARMS
from ..core.frames import Case, Found, find, numbers_in
from ..core.geometry import Box, Size, source_to_crop
from ..core.images import cut
from ..models.policy import Policy
from ..rollout.loop import rollout
from ..vlir.worlds.badges import SIDE, scene

COUNT, SEED = 32, 7
TOKENS = 300  # most of an overview
SHAPES = ((3, 2), (3, 4), (16, 9), (2, 3), (4, 3))  # proportions, in turn
SIDES = (400, 1300)  # pixels of the longer side
NEW_TOKENS = 64  # of an answer
WORDS = 'Where is the {}? Give its bounding box as JSON: {{"bbox_2d": [four numbers]}}'


@dataclass(frozen=True)
class Known:
    """A picture with one object: a question on it, and the object's box in pixels."""

    id: str
    name: str
    image: Image.Image
    box: Box
    question: str = ""
    truth: dict[str, Any] = field(default_factory=dict)


def pictures(count: int = COUNT, seed: int = SEED) -> list[Known]:
    """Photographs with one badge each."""
    rng = np.random.default_rng(seed)
    made: list[Known] = []
    while len(made) < count:
        image, (badge,) = scene(rng, "test", 1)
        if badge.large:
            continue
        wide, high = (SIDE * side // max(SHAPES[len(made) % len(SHAPES)]) for side in SHAPES[len(made) % len(SHAPES)])
        x1, y1, x2, y2 = badge.box
        left, top = (
            int(rng.integers(max(0, int(np.ceil(end)) - side), min(SIDE - side, int(start)) + 1))
            for start, end, side in ((x1, x2, wide), (y1, y2, high))
        )
        part = (left, top, left + wide, top + high)
        scale = rng.uniform(*SIDES) / max(wide, high)
        size = (round(wide * scale), round(high * scale))
        box = source_to_crop(badge.box, part, size)
        made.append(Known(f"known-{len(made)}", badge.name, cut(image, part, size), box))
    return made


def frame_of(policy: Policy, count: int = COUNT, seed: int = SEED) -> tuple[Found, list[Case]]:
    """Ask a policy for the boxes of known objects; the frame in which it writes them, and what it wrote.

    Parameters
    ----------
    count, seed : of the pictures
    """
    layout = policy.layout
    least, most = layout.overview_tokens
    policy.layout = replace(layout, overview_tokens=(min(least, TOKENS), min(most, TOKENS)))
    words = "Which digit is on the {}?" if policy.bare else WORDS
    known = [replace(one, question=words.format(one.name)) for one in pictures(count, seed)]

    def asked(part: Sequence[Known]) -> list[tuple[Size, str]]:
        records = rollout(policy, part, temperature=0, arm=ARMS["direct"], max_new_tokens=NEW_TOKENS)
        return [(t.overview, t.response_text) for t in records]

    try:
        return frame_in(known, asked)
    finally:
        policy.layout = layout


def frame_in(
    known: Sequence[Known], ask: Callable[[Sequence[Known]], Sequence[tuple[Size, str]]], together: int = 8
) -> tuple[Found, list[Case]]:
    """`frame_of` for whatever answers.

    Parameters
    ----------
    ask : gives to pictures the size at which each was seen, and the text that was written
    together : pictures that are asked at a time
    """
    cases = []
    for at in range(0, len(known), together):
        part = known[at : at + together]
        for one, (seen, text) in zip(part, ask(part), strict=True):
            cases.append(Case(one.image.size, seen, one.box, *numbers_in(text)))
    return find(cases), cases
