"""Rationales from a programmatic teacher, and the ways in which a modest teacher errs.

The shapes of an answer are here, in the protocol's own tags, so that every world writes them alike. A cold start
that leaves something to reinforcement learning needs an imperfect teacher; `imperfect` makes one of the exact
rationale, and says how: boxes moved and scaled at random, looks where none was needed, none where one was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import Box, clip
from .sample import Rationale, Sample

SMALL, LARGE = " is too small to read.", " is large. "  # what a rationale says of something before it looks or reads


def shows(what: object) -> str:
    """What a rationale says when it has read something."""
    return f"It shows {what}."


def look_again(before: str, region: Box, after: str, sample: Sample) -> Rationale:
    """Reason, look at one region, reason on, answer."""
    return Rationale((f"<think>{before}", region, f"{after}</think><answer>{sample.answer}</answer>"))


def in_turn(steps: Sequence[tuple[str, Box | None]], sample: Sample) -> Rationale:
    """Reason and look in turn, as often as it takes, then answer.

    Parameters
    ----------
    steps : each a sentence or more, and the region that is looked at after it; None where reasoning goes on without
        a look. With one region this is `look_again`, with none `one_look` (one sentence after the other).
    """
    parts: list[str | Box] = ["<think>"]
    for text, region in steps:
        before = str(parts[-1])
        parts[-1] = f"{before}{'' if before in ('', '<think>') else ' '}{text}"
        if region is not None:
            parts += [region, ""]
    return Rationale((*parts[:-1], f"{parts[-1]}</think><answer>{sample.answer}</answer>"))


def one_look(text: str, sample: Sample) -> Rationale:
    """Reason and answer from the overview."""
    return Rationale((f"<think>{text}</think><answer>{sample.answer}</answer>",))


def jitter(box: Box, size: tuple[int, int], spread: float, rng: np.random.Generator) -> Box:
    """Move a box by N(0, spread) of its sides and scale it by exp N(0, spread); clipped to the image, never empty."""
    w, h = box[2] - box[0], box[3] - box[1]
    cx = (box[0] + box[2]) / 2 + rng.normal(0, spread) * w
    cy = (box[1] + box[3]) / 2 + rng.normal(0, spread) * h
    w, h = w * np.exp(rng.normal(0, spread)), h * np.exp(rng.normal(0, spread))
    cx, cy = float(np.clip(cx, w / 4, size[0] - w / 4)), float(np.clip(cy, h / 4, size[1] - h / 4))
    return clip((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), size)


def imperfect(
    sample: Sample, rationale: Rationale, spread: float, needless: float, rng: np.random.Generator, hasty: float = 0.0
) -> Rationale:
    """The rationale as a modest teacher would have written it.

    Parameters
    ----------
    rationale : the exact one
    spread : every box is moved and scaled by this part of its sides (`jitter`)
    needless : share of the samples that need no look in which the teacher looks all the same
    hasty : share of the samples that need a look in which the teacher takes none and writes the answer at once
    """
    size = sample.image.size
    if rationale.boxes and rng.random() < hasty:
        start, *_, end = rationale.parts
        return Rationale((f"{str(start).removesuffix(SMALL)}{LARGE}{end}",))
    if not rationale.boxes and sample.regions and rng.random() < needless:
        start, end = str(rationale.parts[0]).split(LARGE, 1)
        region = jitter(sample.regions[0], size, spread, rng)
        return Rationale((f"{start}{SMALL}", region, end))
    return Rationale(tuple(p if isinstance(p, str) else jitter(p, size, spread, rng) for p in rationale.parts))
