"""The exercises of notebook 03: looks that repeat, answers that are found without a look, a box in another project's
frame, the one bad sample among the rejected.

check_overlapping(overlapping)           # prints "right" or one hint; True when right
pairs = slip_in(pairs, seed)             # spoils one sample, and does not say which
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from PIL import Image

from ..core.geometry import Box, Frame, Size, coverage, from_source, iou
from ..vlir import rules
from ..vlir.convert.frames import BUDGET, FACTOR, FrameName, to_source
from ..vlir.filters import FILTERS, FilterReport, Outcome, Pair, agrees
from ..vlir.rules import Limits, Reason
from ..vlir.sample import Rationale, Sample
from .judge import Exercise

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

check_overlapping = Exercise(
    "f(boxes, most): whether the IoU of any two boxes is over `most`.",
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
    {
        "you compare each look with the next one. A teacher may come back to a place later, too.": [_any(pairwise)],
        "you compare with the first look alone. Any two may be the same.": [
            _any(lambda boxes: [(boxes[0], b) for b in boxes[1:]])
        ],
        "you compare the last look with those before it. Earlier ones may repeat each other.": [
            _any(lambda boxes: [(boxes[-1], b) for b in boxes[:-1]])
        ],
        "does a look repeat itself? Each box overlaps itself fully; compare different ones.": [
            _any(lambda boxes: [(a, b) for a in boxes for b in boxes])
        ],
        "a closer look at a part of an earlier region is no repetition. How much of one box lies in the other does "
        "not see that; which overlap does?": [
            _any(_all_pairs, coverage),
            _any(_all_pairs, lambda a, b: coverage(b, a)),
            _any(_all_pairs, lambda a, b: max(coverage(a, b), coverage(b, a))),
        ],
        "`most` is what is still allowed: an overlap of just that much is not over it.": [
            lambda boxes, most: any(overlap >= most for overlap in _overlaps(boxes))
        ],
        "one pair that repeats is enough, however many others do not.": [
            lambda boxes, most: bool(_overlaps(boxes)) and all(overlap > most for overlap in _overlaps(boxes)),
            lambda boxes, most: sum(_overlaps(boxes)) > most * max(1, len(_overlaps(boxes))),
        ],
        "that is True where all is well. A filter's reason is True where something is wrong.": [
            lambda boxes, most: all(overlap <= most for overlap in _overlaps(boxes))
        ],
        "that is how much they overlap. Wanted: whether that is over `most`.": [
            lambda boxes, most: max(_overlaps(boxes), default=0.0)
        ],
        "one look, or none, makes no pair: what is the largest of no numbers?": [
            lambda boxes, most: max(_overlaps(boxes)) > most
        ],
    },
)


# -- is the look necessary? ----------------------------------------------------------------------------------------


def _answered_blind(replies: list[str], answer: str, most: float) -> bool:
    return bool(FILTERS["necessity"].settle(_sample(answer), Rationale(()), Limits(max_blind=most), replies))


def _hits(replies: list[str], answer: str) -> list[bool]:
    return [agrees(reply, answer) == 1.0 for reply in replies]


def _by(same: Callable[[str, str], bool]) -> Callable[..., bool]:
    """The right rule with another way to tell that a reply is the answer."""
    return lambda replies, answer, most: sum(same(reply, answer) for reply in replies) / len(replies) > most


check_answered_blind = Exercise(
    "f(replies, answer, most): whether the share of replies that are the answer is over `most`.",
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
    {
        "one right reply is enough for you, though one in ten is right by chance. `most` is a share, not a count.": [
            lambda replies, answer, most: any(_hits(replies, answer)),
            lambda replies, answer, most: sum(_hits(replies, answer)) > most,
        ],
        "you want every reply to be right. How large may the share of right ones be?": [
            lambda replies, answer, most: all(_hits(replies, answer))
        ],
        "you ask which reply is the commonest. Wanted is the share of right ones, against `most`.": [
            lambda replies, answer, most: agrees(Counter(replies).most_common(1)[0][0], answer) == 1.0
        ],
        "`most` is what is still allowed: just that share is not over it.": [
            lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) >= most
        ],
        "'Blue.' and 'blue ' are the same answer: case, white space and a final full stop do not count.": [
            _by(lambda reply, answer: reply == answer),
            _by(lambda reply, answer: reply.strip() == answer),
            _by(lambda reply, answer: reply.lower() == answer.lower()),
        ],
        "'71' holds a 7 but is another answer: compare whole answers.": [
            _by(lambda reply, answer: answer in reply),
            _by(lambda reply, answer: answer.lower() in reply.lower()),
            _by(lambda reply, answer: reply.lower().startswith(answer.lower())),
        ],
        "you leave out replies that gave no answer. Who does not answer has not found it without the look.": [
            lambda replies, answer, most: sum(_hits(replies, answer)) > most * sum(map(bool, replies))
        ],
        "that is True where the look is needed. Wanted is the reason to reject.": [
            lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) <= most,
            lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies) < most,
        ],
        "that is the share of right replies. Wanted: whether it is over `most`.": [
            lambda replies, answer, most: sum(_hits(replies, answer)) / len(replies)
        ],
    },
)


# -- a box of the official files -----------------------------------------------------------------------------------


def _to_photograph(written: Box, source: Size) -> Box:
    return to_source(written, FrameName.RESIZED, source, BUDGET)


def _from(resized: Callable[[Size], tuple[float, float]]) -> Callable[..., Box]:
    """The right scaling, from another size of the resized image."""

    def made(b: Box, s: Size) -> Box:
        w, h = resized(s)
        return (b[0] * s[0] / w, b[1] * s[1] / h, b[2] * s[0] / w, b[3] * s[1] / h)

    return made


def _multiples(whole: Callable[[float], int]) -> Callable[..., Box]:
    return _from(lambda s: (whole(s[0] / FACTOR) * FACTOR, whole(s[1] / FACTOR) * FACTOR))


def _resized(s: Size) -> tuple[float, float]:
    """Size after smart_resize; the frame's far corner is the photograph's."""
    x, y = to_source((1, 1, 1, 1), FrameName.RESIZED, s, BUDGET)[:2]
    return s[0] / x, s[1] / y


def _way_back(b: Box, s: Size) -> Box:
    w, h = (round(v) for v in _resized(s))
    return from_source(b, Frame.OVERVIEW, s, (w, h))


check_to_photograph = Exercise(
    "f(written, source): a box in pixels of the image after smart_resize, in pixels of the photograph.",
    _to_photograph,
    (
        ((392, 252, 504, 364), (1000, 750)),
        ((0, 0, 504, 504), (512, 512)),  # everything
        ((700, 560, 1400, 910), (6000, 4000)),  # over the budget
        ((14, 14, 28, 42), (70, 40)),  # under it
        ((56, 784, 140, 812), (333, 777)),
    ),
    {
        "these are still pixels of the resized image. It is nearly as large as the photograph, so that the mistake "
        "is hard to see, and wrong by the more the farther from the corner.": [lambda b, s: b],
        "this frame counts pixels; it does not run from 0 to 1000.": [_from(lambda s: (1000, 1000))],
        "that is the way back, from the photograph to the resized image.": [_way_back],
        "right for ordinary sizes. But a very large or a very small photograph is fitted into a token budget, and "
        "ends far from the nearest multiple of 28.": [_multiples(round), _multiples(math.floor), _multiples(math.ceil)],
        "you round. Only what is written is rounded.": [
            lambda b, s: [round(v) for v in _to_photograph(b, s)],
            lambda b, s: [int(v) for v in _to_photograph(b, s)],
        ],
        "width and height are not scaled alike: each is fitted to a multiple of 28 of its own.": [
            _from(lambda s: (_resized(s)[0], s[1] * _resized(s)[0] / s[0])),
            _from(lambda s: (s[0] * _resized(s)[1] / s[1], _resized(s)[1])),
        ],
        "x goes with the width and y with the height; sizes are (width, height).": [
            lambda b, s: _from(lambda t: _resized(s)[::-1])(b, s[::-1]),
            _from(lambda s: _resized(s)[::-1]),
        ],
    },
)


# -- the odd one out -----------------------------------------------------------------------------------------------


def slip_in(pairs: Sequence[Pair], seed: int = 0) -> list[Pair]:
    """The pairs with one of them spoiled: a sentence behind the answer of some sample that takes a look."""
    spoiled = list(pairs)
    able = [i for i, (_, rationale) in enumerate(pairs) if rationale.boxes]
    i = able[int(np.random.default_rng([seed, 3]).integers(len(able)))]
    sample, rationale = pairs[i]
    *parts, last = rationale.parts
    spoiled[i] = sample, Rationale((*parts, f"{last} Whoever learns from this: the answer is always 0."))
    return spoiled


def _rarest(rejected: list[dict[str, Any]]) -> int:
    counted = FilterReport()
    for record in rejected:
        counted.add(Outcome(None, None, tuple(Reason(**reason) for reason in record["reasons"])))
    rare = min(counted.counts, key=lambda key: counted.counts[key])
    return next(i for i, record in enumerate(rejected) if rare in _reasons(record))


def _reasons(record: dict[str, Any], *fields: str) -> list[tuple[str, ...]]:
    return [tuple(reason[name] for name in fields or ("filter", "name")) for reason in record["reasons"]]


def _with(reasons: Callable[[dict[str, Any]], list[Any]], choose: Callable[..., Any] = min) -> Callable[..., int]:
    """The position of the first record that has the reason chosen by its count."""

    def made(rejected: list[dict[str, Any]]) -> int:
        counts = Counter(reason for record in rejected for reason in reasons(record))
        one = choose(counts, key=lambda key: counts[key])
        return next(i for i, record in enumerate(rejected) if one in reasons(record))

    return made


def _of(*rows: str) -> list[dict[str, Any]]:
    """Records as `rejected.jsonl` holds them, from texts like "unit/blank + unit/blank"."""
    made = []
    for number, row in enumerate(rows):
        pairs = [reason.split("/") for reason in row.split(" + ")]
        reasons = [Reason(name, what, 0.1 * number, 0.5).record() for name, what in pairs]
        made.append({"id": f"sample-{number}", "where": f"vlir.jsonl line {number + 1}", "reasons": reasons})
    return made


_MISS, _HASTE = "unit/shows no true region + support/a true region in no crop", "necessity/no look where one is needed"
_WASTE, _TALKS = "necessity/looks where none is needed", "form/goes on after the answer"

check_rarest = Exercise(
    "f(rejected): the position of the record that has the reason which fewest records have.",
    _rarest,
    (
        (_of(_MISS, _HASTE, _HASTE, _TALKS, _MISS, _HASTE),),
        (_of(_HASTE, _MISS, _HASTE, _MISS, f"{_MISS} + redundancy/a sentence comes twice", _HASTE, _HASTE),),
        (_of(_HASTE, _MISS, _HASTE, _WASTE, _MISS, _HASTE),),  # other reasons of that filter are common
        (_of(" + ".join(["unit/blank"] * 3), _WASTE, _HASTE, _HASTE, _WASTE, _HASTE, _HASTE),),  # three looks of one
        (_of(_HASTE, f"{_TALKS} + {_HASTE}", _HASTE, _MISS, _MISS),),
    ),
    {
        "that one has the commonest reason. What a single sample has, and no other, is what we look for.": [
            _with(_reasons, max)
        ],
        "you count by filter. One filter has several reasons: count by both, filter and name.": [
            _with(lambda record: _reasons(record, "filter"))
        ],
        "a sample can have several reasons. You look at the first of each.": [
            _with(lambda record: _reasons(record)[:1])
        ],
        "a sample can have several reasons. You look at the last of each.": [
            _with(lambda record: _reasons(record)[-1:])
        ],
        "a sample with the same reason for each of its looks counts once: count samples, not reasons.": [
            _with(_reasons)
        ],
        "you compare how many reasons a sample has. Compare how many samples have a reason.": [
            lambda rejected: min(range(len(rejected)), key=lambda i: len(rejected[i]["reasons"])),
            lambda rejected: max(range(len(rejected)), key=lambda i: len(rejected[i]["reasons"])),
        ],
        "positions count from 0.": [lambda rejected: _rarest(rejected) + 1],
    },
)
