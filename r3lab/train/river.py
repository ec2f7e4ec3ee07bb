"""The region river: how looks at the same held-out samples move while a policy is trained. A record, without a model.

Every so many steps the policy answers the same few samples greedily (`held_out`); kept are its boxes and what came of
them (`river_files` on disk). Simplified: nothing of the text is kept (`trajectory` keeps all); of crops only the boxes,
since the photograph is there.

    found = river_of({0: rollout(policy, held_out, temperature=0), 10: ...})
    found.steps, found.answers[0][0].looks, found.means("IoU")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from PIL import Image

from ..errors import R3labError, shown
from ..geometry import Box
from ..trajectory import ImageRef, Trajectory
from .rewards import deciding_iou, right


class RiverError(R3labError):
    """A river that contradicts itself, or that cannot be read or written."""


@dataclass(frozen=True)
class Subject:
    """A sample that is asked again and again: its id, question, photograph, and true regions in source pixels."""

    id: str
    question: str
    image: ImageRef
    regions: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Answered:
    """What a policy made of a sample at one step.

    Attributes
    ----------
    looks : granted boxes in order, source pixels
    refused : boxes that were not granted
    iou : of the deciding look with the true region; None where either is missing
    entropy : mean over the sampled tokens, nats
    answer : as given; None if there is none
    right : None where the truth is not known
    """

    looks: tuple[Box, ...]
    refused: int
    iou: float | None
    entropy: float | None
    answer: str | None
    right: bool | None


@dataclass(frozen=True)
class River:
    """Answers to the same samples over the steps of a run.

    Attributes
    ----------
    subjects : (N) the samples
    steps : (S) in order; 0 is before training
    answers : (S, N)
    images : photographs by content hash, those that are there
    """

    subjects: tuple[Subject, ...]
    steps: tuple[int, ...]
    answers: tuple[tuple[Answered, ...], ...]
    images: Mapping[str, Image.Image] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.subjects)
        if (
            not n
            or not self.steps
            or len(self.answers) != len(self.steps)
            or any(len(row) != n for row in self.answers)
        ):
            raise RiverError(
                f"A river has an answer to each of its samples at each of its steps, at least one; got {n} samples, "
                f"{len(self.steps)} steps, answers {shown([len(row) for row in self.answers])}."
            )
        if any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise RiverError(f"The steps of a river rise; got {shown(list(self.steps))}.")

    def means(self, measure: str) -> list[float | None]:
        """A measure over the steps, (S): "look rate", "IoU", "entropy" or "right answers"; None where there is none."""
        if measure not in MEASURES:
            raise R3labError(f"A river has no {shown(measure)}; there is {', '.join(MEASURES)}.")
        found = []
        for row in self.answers:
            values = [value for answer in row if (value := MEASURES[measure](answer)) is not None]
            found.append(fmean(values) if values else None)
        return found


MEASURES: dict[str, Any] = {
    "look rate": lambda a: float(bool(a.looks)),
    "IoU": lambda a: a.iou,
    "entropy": lambda a: a.entropy,
    "right answers": lambda a: None if a.right is None else float(a.right),
}


def subject_of(t: Trajectory) -> Subject:
    """The sample of a trajectory."""
    regions = t.truth.get("regions")
    boxes = (_as_box(value) for value in (regions if isinstance(regions, list | tuple) else ()))
    return Subject(t.sample_id, t.question, t.image, tuple(box for box in boxes if box is not None))


def _as_box(value: Any) -> Box | None:
    """Four finite numbers, or None: `truth` is free JSON."""
    try:
        x1, y1, x2, y2 = map(float, value)
    except (TypeError, ValueError):
        return None
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None


def answered(t: Trajectory) -> Answered:
    """What a river keeps of a trajectory."""
    entropies = [e for e in t.entropies if e is not None]
    granted = tuple(look.box for look in t.looks if look.valid and look.box is not None)
    return Answered(
        looks=granted,
        refused=sum(not look.valid for look in t.looks),
        iou=deciding_iou(t),
        entropy=fmean(entropies) if entropies else None,
        answer=t.answer,
        right=right(t) if t.truth.get("answer") is not None else None,
    )


def river_of(rollouts: Mapping[int, Sequence[Trajectory]]) -> River:
    """A river from rollouts by step, one a sample; samples that are not there at every step are left out.

    Raises
    ------
    RiverError
        If no sample is there at every step.
    """
    steps = sorted(rollouts)
    by_step = {step: {t.sample_id: t for t in reversed(rollouts[step])} for step in steps}
    common = [name for name in dict.fromkeys(t.sample_id for s in steps for t in rollouts[s])]
    common = [name for name in common if all(name in by_step[step] for step in steps)]
    if not common:
        raise RiverError(f"No sample is answered at each of the {len(steps)} steps; roll out the same ones every time.")
    subjects = tuple(subject_of(by_step[steps[0]][name]) for name in common)
    answers = tuple(tuple(answered(by_step[step][name]) for name in common) for step in steps)
    images = {h: i for s in steps for t in rollouts[s] for h, i in t.images.items() if h == t.image.hash}
    return River(subjects, tuple(steps), answers, images)
