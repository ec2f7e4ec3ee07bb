"""Rationales: those of a programmatic teacher, the ways in which a modest one errs, and each arm's own form.

The shapes of an answer are here, in the protocol's own tags, so that every world writes them alike. A cold start that
leaves something to reinforcement learning needs an imperfect teacher; `imperfect` makes one of the exact rationale.
A policy without a prompt learns an arm from rationales as that arm would have them written (`in_arm`): `boxes-as-text`
and `full-image-again` keep the words, and get something else behind a box (`train.sft`); `one-look` goes to the last
region at once; the arms without a look keep what was said, in their own parts. Simplified: a policy that cannot see
what it is taught to say learns to guess it, as a policy trained on text alone does.

    exact = in_turn(reading("The red circle", "7", region), sample)
    in_arm(exact, sample, get_arm("staged-llava-cot"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.arms import Arm
from ..core.errors import R3labError
from ..core.geometry import Box, clip
from ..core.protocol import CLOSE, OPEN
from .sample import Rationale, Sample

Steps = list[tuple[str, Box | None]]  # a sentence or more, and the region that is looked at after it

SMALL, LARGE = " is too small to read.", " is large. "  # what a rationale says of something before it looks or reads


def shows(what: object) -> str:
    """What a rationale says when it has read something."""
    return f"It shows {what}."


def reading(subject: str, what: object, region: Box | None) -> Steps:
    """The steps of reading `what` on a subject: with a look where it is too small, at a glance where it is large."""
    if region is None:
        return [(f"{subject}{LARGE}{shows(what)}", None)]
    return [(f"{subject}{SMALL}", region), (shows(what), None)]


def in_turn(steps: Sequence[tuple[str, Box | None]], sample: Sample) -> Rationale:
    """Reason and look in turn, as often as it takes, then answer.

    Parameters
    ----------
    steps : each a sentence or more, and the region that is looked at after it; None where reasoning goes on without
        a look, one sentence after the other.
    """
    parts: list[str | Box] = ["<think>"]
    for text, region in steps:
        before = str(parts[-1])
        parts[-1] = f"{before}{'' if before in ('', '<think>') else ' '}{text}"
        if region is not None:
            parts += [region, ""]
    return Rationale((*parts[:-1], f"{parts[-1]}</think><answer>{sample.answer}</answer>"))


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


def _unanswered(text: str) -> str:
    """A text without its tags and its answer."""
    before, *rest = text.replace("<think>", "").replace("</think>", "").split(OPEN)
    return (before + "".join(piece.partition(CLOSE)[2] for piece in rest)).strip()


def sentences(rationale: Rationale) -> list[str]:
    """What it says beside its boxes and its answer, a piece for each stretch of text; empty ones are left out."""
    texts = (_unanswered(part) for part in rationale.parts if isinstance(part, str))
    return [text for text in texts if text]


def _direct(rationale: Rationale, sample: Sample) -> Rationale:
    return Rationale((f"<answer>{sample.answer}</answer>",))


def _llava_cot(rationale: Rationale, sample: Sample) -> Rationale:
    caption, *rest = sentences(rationale) or [""]
    parts = {"SUMMARY": sample.question, "CAPTION": caption, "REASONING": " ".join(rest), "CONCLUSION": sample.answer}
    return Rationale(("".join(f"<{name}>{text}</{name}>" for name, text in parts.items()),))


def _mulberry(rationale: Rationale, sample: Sample) -> Rationale:
    caption, *rest = sentences(rationale) or [""]
    steps = "".join(f"\n### Step {number}: {text}" for number, text in enumerate(rest or [caption], start=1))
    text = f"### Image Description: {caption}\n### Rationales: {sample.question}\n### Let's think step by step.{steps}"
    return Rationale((f"{text}\n### The final answer is: {sample.answer}",))


def _one_look(rationale: Rationale, sample: Sample) -> Rationale:
    if len(rationale.boxes) < 2:
        return rationale
    last: Box = rationale.boxes[-1]
    return Rationale((rationale.parts[0], last, rationale.parts[-1]))


_WRITTEN: dict[str, Callable[[Rationale, Sample], Rationale]] = {
    "direct": _direct,
    "staged-llava-cot": _llava_cot,
    "staged-mulberry": _mulberry,
    "one-look": _one_look,
    "boxes-as-text": lambda rationale, sample: rationale,
    "full-image-again": lambda rationale, sample: rationale,
    "interleaved": lambda rationale, sample: rationale,
}


def in_arm(rationale: Rationale, sample: Sample, arm: Arm) -> Rationale:
    """The rationale for a policy that answers in this arm.

    Raises
    ------
    R3labError
        If nobody has said how that arm is written.
    """
    if arm.name not in _WRITTEN:
        raise R3labError(f"No rationale can be written in the arm {arm.name!r}; known: {', '.join(_WRITTEN)}.")
    return _WRITTEN[arm.name](rationale, sample)
