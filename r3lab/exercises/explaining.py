"""Two exercises of notebook 06 on what a look was worth: a crop replaced, the best place that was missed.

check_change(change)                     # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

from ..explain.crop_value import CropValue, ValueMap, Window
from ..explain.replay import Alternative, Outcome
from .judge import Exercise, Mistake, report

# -- a crop replaced -----------------------------------------------------------------------------------------------


def _change(own: list[float], other: list[float], first: int) -> float:
    outcomes = [Outcome(Alternative(name), sum(one[first:]), None) for name, one in (("as it was", own), ("x", other))]
    return CropValue(outcomes).change("x")


CHANGE = Exercise(
    _change,
    (
        ([-0.1, -0.2, -0.3, -0.05, -0.01], [-0.1, -0.2, -0.4, -2.5, -1.75], 2),
        ([-0.6, -0.1, -0.2], [-0.6, -0.05, -0.1], 1),  # more likely without it
        ([-0.3, -0.3, -0.02, -0.01, -0.5, -0.02], [-0.3, -0.3, -0.02, -3.25, -0.75, -0.125], 2),
        ([-0.4, -0.2], [-0.4, -0.2], 1),
    ),
    (
        Mistake(
            "the sign: what was written is *less* likely with the other crop, and that is a change below zero.",
            (lambda own, other, first: sum(own[first:]) - sum(other[first:]),),
        ),
        Mistake(
            "you take the mean of the tokens. Log-probabilities of all that was written add up: three certain words do "
            "not make a lost digit smaller.",
            (
                lambda own, other, first: fmean(other[first:]) - fmean(own[first:]),
                lambda own, other, first: fmean(other) - fmean(own),
            ),
        ),
        Mistake(
            "you add probabilities. The probability of a text is the product of its tokens': add their logarithms.",
            (lambda own, other, first: sum(map(math.exp, other[first:])) - sum(map(math.exp, own[first:])),),
        ),
        Mistake(
            "that is how many times as likely it became. Asked is the difference in nats, the logarithm of that.",
            (
                lambda own, other, first: math.exp(sum(other[first:]) - sum(own[first:])),
                lambda own, other, first: sum(other[first:]) / sum(own[first:]),
            ),
        ),
        Mistake(
            "you look at the last token alone. The crop may have decided an earlier one.",
            (lambda own, other, first: other[-1] - own[-1],),
        ),
        Mistake(
            "you look at one token behind the crop. All that was written there counts.",
            (
                lambda own, other, first: other[first] - own[first],
                lambda own, other, first: min(b - a for a, b in zip(own[first:], other[first:], strict=True)),
            ),
        ),
        Mistake(
            "`first` is the first token behind the crop, and belongs to it: you begin one late.",
            (lambda own, other, first: sum(other[first + 1 :]) - sum(own[first + 1 :]),),
        ),
        Mistake(
            "that is how likely it is with the other crop. By how much did that *change*?",
            (lambda own, other, first: sum(other[first:]), lambda own, other, first: sum(other)),
        ),
    ),
)


def check_change(answer: Any) -> bool:
    """Check ``f(own, other, first)``: change in nats of what was written behind a crop, the crop replaced."""
    return report(answer, CHANGE)


# -- regret --------------------------------------------------------------------------------------------------------


def _regret(worths: list[float], taken: float) -> float:
    whole = (0.0, 0.0, 1.0, 1.0)
    return ValueMap([Window(whole, worth, None) for worth in worths], taken, 0.0, (1, 1)).regret


REGRET = Exercise(
    _regret,
    (
        ([0.5, 4.0, -1.0, 2.0], 1.5),
        ([0.5, 1.0, -1.0], 3.0),  # nothing better was missed
        ([-2.0, -0.5, -3.0], -4.0),  # all places do harm, this one most
        ([2.0, 2.0], 2.0),
    ),
    (
        Mistake(
            "the windows are only a grid: the look may beat all of them. Then nothing is regretted, and that is 0.",
            (lambda worths, taken: max(worths) - taken,),
        ),
        Mistake(
            "the sign: regret is what was missed, and it is large where the look was poor.",
            (lambda worths, taken: taken - max(worths), lambda worths, taken: max(0.0, taken - max(worths))),
        ),
        Mistake(
            "you compare with the usual window. What could have been had is the *best* one.",
            (
                lambda worths, taken: max(0.0, fmean(worths) - taken),
                lambda worths, taken: fmean(worths) - taken,
            ),
        ),
        Mistake(
            "that is what the best window is worth. How much of it did the look miss?",
            (lambda worths, taken: max(worths), lambda worths, taken: max(0.0, *worths)),
        ),
        Mistake(
            "a distance loses the direction: a look better than all windows has no regret.",
            (lambda worths, taken: abs(max(worths) - taken),),
        ),
        Mistake(
            "that is the part that was missed. Worth has a zero of its own (no crop) and may be below it: subtract.",
            (
                lambda worths, taken: max(0.0, max(worths) - taken) / max(worths),
                lambda worths, taken: max(0.0, (max(worths) - taken) / max(worths)),
                lambda worths, taken: (max(worths) - taken) / max(worths),
            ),
        ),
        Mistake(
            "that is which window is best. Asked is by how many nats.",
            (lambda worths, taken: worths.index(max(worths)),),
        ),
    ),
)


def check_regret(answer: Any) -> bool:
    """Check ``f(worths, taken)``: by how many nats the best window is worth more than the look; 0 where none is."""
    return report(answer, REGRET)
