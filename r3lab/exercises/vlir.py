"""Two exercises of notebook 03, on filters: looks that repeat, answers that are found without a look.

check_overlapping(overlapping)           # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

from PIL import Image

from ..geometry import Box, coverage, iou
from ..vlir.filters import rules
from ..vlir.filters.judges import agrees
from ..vlir.filters.limits import Limits
from ..vlir.filters.table import FILTERS
from ..vlir.sample import Rationale, Sample
from .judge import Exercise, Mistake, report

# -- looks that repeat ---------------------------------------------------------------------------------------------


def _sample(answer: str = "") -> Sample:
    return Sample("case", Image.new("RGB", (1, 1)), "?", answer)


def _overlapping(boxes: list[Box], most: float) -> bool:
    found = rules.redundancy(_sample(), Rationale(tuple(boxes)), Limits(max_iou=most))
    return any(reason.name == "regions overlap" for reason in found)


def _any(pairs: Callable[[list[Box]], Any], overlap: Callable[[Box, Box], float] = iou) -> Callable[..., bool]:
    return lambda boxes, most: any(overlap(a, b) > most for a, b in pairs(boxes))


def _all_pairs(boxes: list[Box]) -> Any:
    return combinations(boxes, 2)


def _overlaps(boxes: list[Box]) -> list[float]:
    return [iou(a, b) for a, b in _all_pairs(boxes)]


_A, _AGAIN = (100.0, 100.0, 200.0, 200.0), (104.0, 100.0, 204.0, 200.0)  # IoU 0.92
_FAR, _OTHER = (300.0, 300.0, 380.0, 360.0), (20.0, 300.0, 90.0, 390.0)
_PART = (120.0, 120.0, 170.0, 170.0)  # in the middle of _A, a quarter of it

OVERLAPPING = Exercise(
    _overlapping,
    (
        ([_A, _AGAIN], 0.7),
        ([_A, _FAR], 0.7),
        ([_A, _FAR, _AGAIN], 0.7),
        ([_FAR, _A, _AGAIN, _OTHER], 0.7),
        ([_FAR, _A, _OTHER, _AGAIN], 0.7),
        ([_FAR, _A, _OTHER, _AGAIN, _PART], 0.7),
        ([_A, _PART], 0.7),  # a closer look at a part
        ([_PART, _A], 0.7),
        ([_A, _PART], 0.25),  # IoU 0.25, not over it
        ([_A], 0.7),
        ([], 0.7),
    ),
    (
        Mistake(
            "you compare each look with the next one. A teacher may come back to a place later, too.",
            (_any(pairwise),),
        ),
        Mistake(
            "you compare with the first look alone. Any two may be the same.",
            (_any(lambda boxes: [(boxes[0], b) for b in boxes[1:]]),),
        ),
        Mistake(
            "you compare the last look with those before it. Earlier ones may repeat each other.",
            (_any(lambda boxes: [(boxes[-1], b) for b in boxes[:-1]]),),
        ),
        Mistake(
            "does a look repeat itself? Each box overlaps itself fully; compare different ones.",
            (_any(lambda boxes: [(a, b) for a in boxes for b in boxes]),),
        ),
        Mistake(
            "a closer look at a part of an earlier region is no repetition. How much of one box lies in the other does "
            "not see that; which overlap does?",
            (
                _any(_all_pairs, coverage),
                _any(_all_pairs, lambda a, b: coverage(b, a)),
                _any(_all_pairs, lambda a, b: max(coverage(a, b), coverage(b, a))),
            ),
        ),
        Mistake(
            "`most` is what is still allowed: an overlap of just that much is not over it.",
            (lambda boxes, most: any(overlap >= most for overlap in _overlaps(boxes)),),
        ),
        Mistake(
            "one pair that repeats is enough, however many others do not.",
            (
                lambda boxes, most: bool(_overlaps(boxes)) and all(overlap > most for overlap in _overlaps(boxes)),
                lambda boxes, most: sum(_overlaps(boxes)) > most * max(1, len(_overlaps(boxes))),
            ),
        ),
        Mistake(
            "that is True where all is well. A filter's reason is True where something is wrong.",
            (lambda boxes, most: all(overlap <= most for overlap in _overlaps(boxes)),),
        ),
        Mistake(
            "that is how much they overlap. Wanted: whether that is over `most`.",
            (lambda boxes, most: max(_overlaps(boxes), default=0.0),),
        ),
        Mistake(
            "one look, or none, makes no pair: what is the largest of no numbers?",
            (lambda boxes, most: max(_overlaps(boxes)) > most,),
        ),
    ),
)


def check_overlapping(answer: Any) -> bool:
    """Check ``f(boxes, most)``: whether the IoU of any two boxes is over `most`."""
    return report(answer, OVERLAPPING)


# -- is the look necessary? ----------------------------------------------------------------------------------------


def _answered_blind(replies: list[str], answer: str, most: float) -> bool:
    return bool(FILTERS["necessity"].settle(_sample(answer), Rationale(()), Limits(max_blind=most), replies))


def _hits(replies: list[str], answer: str) -> list[bool]:
    return [agrees(reply, answer) == 1.0 for reply in replies]


def _by(same: Callable[[str, str], bool]) -> Callable[..., bool]:
    """The right rule with another way to tell that a reply is the answer."""
    return lambda replies, answer, most: sum(same(reply, answer) for reply in replies) / len(replies) > most


ANSWERED_BLIND = Exercise(
    _answered_blind,
    (
        (["7", "7", "3", "7"], "7", 0.5),
        (["7", "3", "7", "1"], "7", 0.5),  # just half
        (["7", "3", "1", "1"], "7", 0.5),
        (["7", "", "", ""], "7", 0.5),
        (["71", "17", "7", "70"], "7", 0.5),
        (["Blue.", "blue ", "red", "BLUE"], "blue", 0.5),
        (["7", "7", "1", "7", "7", "3", "2", "4"], "7", 0.5),
        (["7", "7", "7", "1", "2"], "7", 0.75),
        (["7", "7", "7", "7"], "7", 0.9),
        (["3", "3", "3", "3"], "7", 0.0),
        (["3", "3", "7", "3"], "7", 0.0),
    ),
    (
        Mistake(
            "one right reply is enough for you, though one in ten is right by chance. `most` is a share, not a count.",
            (
                lambda replies, answer, most: any(_hits(replies, answer)),
                lambda replies, answer, most: sum(_hits(replies, answer)) > most,
            ),
        ),
        Mistake(
            "you want every reply to be right. How large may the share of right ones be?",
            (lambda replies, answer, most: all(_hits(replies, answer)),),
        ),
        Mistake(
            "you ask which reply is the commonest. Wanted is the share of right ones, against `most`.",
            (lambda replies, answer, most: agrees(Counter(replies).most_common(1)[0][0], answer) == 1.0,),
        ),
        Mistake(
            "`most` is what is still allowed: just that share is not over it.",
            (lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) >= most,),
        ),
        Mistake(
            "'Blue.' and 'blue ' are the same answer: case, white space and a final full stop do not count.",
            (
                _by(lambda reply, answer: reply == answer),
                _by(lambda reply, answer: reply.strip() == answer),
                _by(lambda reply, answer: reply.lower() == answer.lower()),
            ),
        ),
        Mistake(
            "'71' holds a 7 but is another answer: compare whole answers.",
            (
                _by(lambda reply, answer: answer in reply),
                _by(lambda reply, answer: answer.lower() in reply.lower()),
                _by(lambda reply, answer: reply.lower().startswith(answer.lower())),
            ),
        ),
        Mistake(
            "you leave out replies that gave no answer. Who does not answer has not found it without the look.",
            (lambda replies, answer, most: sum(_hits(replies, answer)) > most * sum(map(bool, replies)),),
        ),
        Mistake(
            "that is True where the look is needed. Wanted is the reason to reject.",
            (
                lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) <= most,
                lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) < most,
            ),
        ),
        Mistake(
            "that is the share of right replies. Wanted: whether it is over `most`.",
            (lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies),),
        ),
    ),
)


def check_answered_blind(answer: Any) -> bool:
    """Check ``f(replies, answer, most)``: whether the share of replies that are the answer is over `most`."""
    return report(answer, ANSWERED_BLIND)
