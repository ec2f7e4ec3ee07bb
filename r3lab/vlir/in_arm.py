"""A rationale as an arm would have it written: what a policy without a prompt learns an arm from.

`boxes-as-text` and `full-image-again` keep the words, and get something else behind a box (`train.sft`); `one-look`
goes to the last region at once; the arms without a look keep what was said, in their own parts. Simplified: a policy
that cannot see what it is taught to say learns to guess it, as a policy trained on text alone does.

    in_arm(world.rationale(sample), sample, get_arm("staged-llava-cot"))
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..arms import Arm
from ..errors import R3labError
from ..geometry import Box
from .sample import Rationale, Sample

_TAGS = re.compile(r"</?think>|<answer>.*?</answer>", re.S)


def sentences(rationale: Rationale) -> list[str]:
    """What it says beside its boxes and its answer, a piece for each stretch of text; empty ones are left out."""
    texts = (_TAGS.sub("", part).strip() for part in rationale.parts if isinstance(part, str))
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
