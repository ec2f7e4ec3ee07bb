"""An exercise of notebook 07: a region reward that is hard to cheat.

check_region_checked(region_reward)      # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..geometry import Box, Frame, coverage, iou
from ..train.look_rewards import FINE, SAME, region_checked
from ..trajectory import ImageRef, Look, Trajectory
from .judge import Exercise, Mistake, report

Looks = Sequence[tuple[Box, bool]]


def _region_reward(looks: Looks, truth: Box, right: bool) -> float:
    taken = [Look((0, 1), box, box, valid, "" if valid else "outside the image") for box, valid in looks]
    photo = ImageRef("0" * 64, 512, 512)
    record = Trajectory("case", "?", photo, (128, 128), Frame.SOURCE, looks=taken, answer="7" if right else "1")
    record.truth = {"regions": [truth], "answer": "7"}
    return region_checked(record)


def _valid(looks: Looks) -> list[Box]:
    return [box for box, valid in looks if valid]


def _last(looks: Looks, truth: Box, overlap: Callable[[Box, Box], float] = iou) -> float:
    return overlap(_valid(looks)[-1], truth) if _valid(looks) else 0.0


def _useless(looks: Looks) -> int:
    return sum(not valid for _, valid in looks)


def _again(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(iou(box, one) > SAME for one in boxes[:i]) for i, box in enumerate(boxes))


def _with(
    paid: Callable[[Looks, Box], float] = _last, fined: Callable[[Looks], float] = lambda k: _useless(k) + _again(k)
) -> Callable[..., float]:
    """The right rule with another payment, or another count of fines."""
    return lambda k, t, right: 0.5 * paid(k, t) * right - FINE * fined(k)


def _pairs(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(iou(a, b) > SAME for i, a in enumerate(boxes) for b in boxes[:i])


def _neighbours(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(iou(a, b) > SAME for a, b in zip(boxes, boxes[1:], strict=False))


def _itself(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(iou(a, b) > SAME for b in boxes) for a in boxes)


def _contained(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(max(coverage(a, b), coverage(b, a)) > SAME for b in boxes[:i]) for i, a in enumerate(boxes))


def _with_refused(looks: Looks) -> int:
    boxes = [box for box, _ in looks]
    return sum(valid and any(iou(box, one) > SAME for one in boxes[:i]) for i, (box, valid) in enumerate(looks))


_TRUTH, _NEAR, _AGAIN = (100.0, 100.0, 150.0, 150.0), (110.0, 95.0, 160.0, 150.0), (112.0, 95.0, 162.0, 150.0)
_AWAY, _OUT, _WIDE = (300.0, 300.0, 360.0, 350.0), (600.0, 600.0, 700.0, 700.0), (0.0, 0.0, 512.0, 512.0)
_INNER = (115.0, 105.0, 140.0, 140.0)  # in _NEAR, under a third of it

REGION_CHECKED = Exercise(
    _region_reward,
    (
        ([(_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True)], _TRUTH, False),
        ([(_WIDE, True)], _TRUTH, True),
        ([(_NEAR, True), (_OUT, False)], _TRUTH, True),
        ([(_OUT, False), (_NEAR, True)], _TRUTH, False),
        ([(_NEAR, True), (_AWAY, True)], _TRUTH, True),
        ([(_AWAY, True), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True)], _TRUTH, False),
        ([(_NEAR, True), (_AWAY, True), (_AGAIN, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, False), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True), (_INNER, True)], _TRUTH, True),
        ([(_OUT, False)], _TRUTH, True),
        ([], _TRUTH, True),
        ([], _TRUTH, False),
    ),
    (
        Mistake(
            "it pays for the place when the answer is wrong, so that pointing pays without reading.",
            (lambda k, t, r: 0.5 * _last(k, t) - FINE * (_useless(k) + _again(k)),),
        ),
        Mistake(
            "a wrong answer escapes the fines. A useless look is useless whatever came of it.",
            (
                lambda k, t, r: (0.5 * _last(k, t) - FINE * (_useless(k) + _again(k))) * r,
                lambda k, t, r: 0.5 * _last(k, t) * r - FINE * (_useless(k) + _again(k)) * r,
            ),
        ),
        Mistake(
            "a look that could not be cut decides. Nothing was seen of it: the last *valid* look is what was read.",
            (
                _with(lambda k, t: iou(k[-1][0], t) if k else 0.0),
                _with(lambda k, t: iou(k[-1][0], t) if k and k[-1][1] else 0.0),
            ),
        ),
        Mistake("the answer was read from the last look. You pay for the first.", (_with(lambda k, t: _first(k, t)),)),
        Mistake(
            "you pay for the best look, so that it pays to look everywhere.",
            (_with(lambda k, t: max((iou(b, t) for b in _valid(k)), default=0.0)),),
        ),
        Mistake(
            "you pay every look, so that two half-good ones earn more than one good one.",
            (
                _with(lambda k, t: sum(iou(b, t) for b in _valid(k))),
                _with(lambda k, t: min(1.0, sum(iou(b, t) for b in _valid(k)))),
            ),
        ),
        Mistake(
            "that pays in full for the whole image, which covers everything. Which overlap punishes excess too?",
            (_with(lambda k, t: _last(k, t, lambda b, truth: coverage(b, truth))),),
        ),
        Mistake("a box that cannot be cut costs nothing.", (_with(fined=_again),)),
        Mistake("a look that repeats another costs nothing.", (_with(fined=_useless), _with(fined=lambda k: 0))),
        Mistake(
            "you fine pairs. A third look at the same place is one more useless look, not two.",
            (_with(fined=lambda k: _useless(k) + _pairs(k)),),
        ),
        Mistake(
            "you compare each look with the one before it alone. A policy may come back to a place later.",
            (_with(fined=lambda k: _useless(k) + _neighbours(k)),),
        ),
        Mistake(
            "does a look repeat itself? Compare it with *earlier* ones: the first look at a place is no repetition.",
            (
                _with(fined=lambda k: _useless(k) + _itself(k)),
                _with(fined=lambda k: _useless(k) + sum(any(iou(b, t) > SAME for t in _valid(k)) for b in _valid(k))),
            ),
        ),
        Mistake(
            "a closer look at a part of an earlier region is no repetition. Which overlap sees that?",
            (_with(fined=lambda k: _useless(k) + _contained(k)),),
        ),
        Mistake(
            "you count a look as repeated after a refused one, of which nothing was seen.",
            (_with(fined=lambda k: _useless(k) + _with_refused(k)),),
        ),
        Mistake(
            "every look after the first is fined, even one that shows something new.",
            (
                _with(fined=lambda k: _useless(k) + max(0, len(_valid(k)) - 1)),
                _with(fined=lambda k: max(0, len(k) - 1)),
            ),
        ),
        Mistake(
            "the most that it may pay is 0.5: a right answer must stay worth more than a good look.",
            (lambda k, t, r: _last(k, t) * r - FINE * (_useless(k) + _again(k)),),
        ),
    ),
)


def _first(looks: Looks, truth: Box) -> float:
    return iou(_valid(looks)[0], truth) if _valid(looks) else 0.0


def check_region_checked(answer: Any) -> bool:
    """Check ``f(looks, truth, right)``: 0.5 x IoU of the last valid look if right, less 0.1 a useless look."""
    return report(answer, REGION_CHECKED)
