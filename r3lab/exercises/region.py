"""An exercise of notebook 02: a reward for where a policy looked.

check_region_reward(region_reward)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

from typing import Any

from ..geometry import Box, Frame, coverage, iou
from ..train.rewards import region_grounded
from ..trajectory import ImageRef, Look, Trajectory
from .judge import Exercise, Mistake, report


def _region_reward(looks: list[Box], truth: Box, needs_look: bool) -> float:
    taken = [Look((0, 1), box, box, True) for box in looks]
    photo = ImageRef("0" * 64, 512, 512)
    record = Trajectory("case", "?", photo, (128, 128), Frame.SOURCE, looks=taken)
    record.truth = {"regions": [truth], "needs_look": needs_look}
    return region_grounded(record)


_TRUTH, _NEAR, _WIDE = (100.0, 100.0, 150.0, 150.0), (110.0, 95.0, 160.0, 150.0), (0.0, 0.0, 512.0, 512.0)
_OFF, _AWAY = (135.0, 130.0, 190.0, 170.0), (300.0, 300.0, 360.0, 350.0)

REGION_REWARD = Exercise(
    _region_reward,
    (
        ([_NEAR], _TRUTH, True),
        ([_WIDE], _TRUTH, True),
        ([_NEAR, _OFF], _TRUTH, True),
        ([_OFF, _NEAR], _TRUTH, True),
        ([_NEAR], _TRUTH, False),
        ([_AWAY], _TRUTH, True),
        ([], _TRUTH, True),
        ([], _TRUTH, False),
    ),
    (
        Mistake(
            "that pays in full for looking at the whole image, which covers all. Which overlap punishes excess too?",
            (lambda k, t, n: 0.5 * coverage(k[-1], t) if n and k else 0.0,),
        ),
        Mistake(
            "the answer was read from the last look. You pay for the first.",
            (lambda k, t, n: 0.5 * iou(k[0], t) if n and k else 0.0,),
        ),
        Mistake(
            "you pay for the best look, so that it pays to look everywhere. Which one was the answer read from?",
            (lambda k, t, n: 0.5 * max((iou(b, t) for b in k), default=0.0) if n else 0.0,),
        ),
        Mistake(
            "you pay every look, so that two half-good ones earn more than one good one.",
            (
                lambda k, t, n: 0.5 * sum(iou(b, t) for b in k) if n else 0.0,
                lambda k, t, n: min(0.5, 0.5 * sum(iou(b, t) for b in k)) if n else 0.0,
            ),
        ),
        Mistake(
            "you pay for a look where none was needed.",
            (lambda k, t, n: 0.5 * iou(k[-1], t) if k else 0.0,),
        ),
        Mistake(
            "the most that it may pay is 0.5: a right answer must stay worth more than a good look.",
            (lambda k, t, n: iou(k[-1], t) if n and k else 0.0,),
        ),
        Mistake(
            "any box at all gets the full pay (so does the published reward, where the answer is right). "
            "Here it is to grow with the overlap.",
            (
                lambda k, t, n: 0.5 if n and k else 0.0,
                lambda k, t, n: 0.5 if k else 0.0,
                lambda k, t, n: 0.5 if n and k and iou(k[-1], t) > 0 else 0.0,
            ),
        ),
        Mistake(
            "what does a rollout earn that never looked? `looks` can be empty.",
            (lambda k, t, n: 0.5 * iou(k[-1], t) * n, lambda k, t, n: 0.5 * iou(k[-1], t) if n else 0.0),
        ),
    ),
)


def check_region_reward(answer: Any) -> bool:
    """Check ``f(looks, truth, needs_look)``: 0.5 x IoU of the last look with the true region, where one is needed."""
    return report(answer, REGION_REWARD)
