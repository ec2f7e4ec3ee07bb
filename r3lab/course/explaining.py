"""The exercises of notebook 06: a crop replaced, the best place that was missed, a shortcut in the data, the kind of
looking from rates of change.

check_change(change)                     # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from statistics import fmean
from typing import Any

from ..explain import verdict as verdicts
from ..explain.interventions import NOTHING, TAKEN, Alternative, ReplayResult
from ..explain.worth import ValueMap, Window
from .judge import Exercise, Function, Then, Unfit

# -- a crop replaced -----------------------------------------------------------------------------------------------


def _change(own: list[float], other: list[float], first: int) -> float:
    as_it_was, replaced = (
        ReplayResult(Alternative(name), sum(one[first:]), None) for name, one in ((TAKEN, own), (NOTHING, other))
    )
    return replaced.change(as_it_was)


check_change = Exercise(
    "f(own, other, first): change in nats of what was written after a crop, the crop replaced.",
    _change,
    (
        ([-0.1, -0.2, -0.3, -0.05, -0.01], [-0.1, -0.2, -0.4, -2.5, -1.75], 2),
        ([-0.6, -0.1, -0.2], [-0.6, -0.05, -0.1], 1),  # more likely without it
        ([-0.3, -0.3, -0.02, -0.01, -0.5, -0.02], [-0.3, -0.3, -0.02, -3.25, -0.75, -0.125], 2),
        ([-0.4, -0.2], [-0.4, -0.2], 1),
    ),
    "the sign: what was written is *less* likely with the other crop, and that is a change below zero.",
    Then(operator.neg),
    "you take the mean of the tokens. Log-probabilities add up: certain words do not make a lost digit smaller.",
    lambda own, other, first: fmean(other[first:]) - fmean(own[first:]),
    "you add probabilities. The probability of a text is the product of its tokens': add their logarithms.",
    lambda own, other, first: sum(map(math.exp, other[first:])) - sum(map(math.exp, own[first:])),
    "that is how many times as likely it became. Asked is the difference in nats, the logarithm of that.",
    (Then(math.exp), lambda own, other, first: sum(other[first:]) / sum(own[first:])),
    "you look at the last token alone. The crop may have decided an earlier one.",
    lambda own, other, first: other[-1] - own[-1],
    "you look at one token after the crop. All that was written there counts.",
    lambda own, other, first: other[first] - own[first],
    "`first` is the first token after the crop, and counts: you begin one late.",
    lambda own, other, first: sum(other[first + 1 :]) - sum(own[first + 1 :]),
    "that is how likely it is with the other crop. By how much did that *change*?",
    (lambda own, other, first: sum(other[first:]), lambda own, other, first: sum(other)),
)


# -- regret --------------------------------------------------------------------------------------------------------


_WHOLE = (0.0, 0.0, 1.0, 1.0)

check_regret = Exercise(
    "f(worths, taken): by how many nats the best window is worth more than the look; 0 where none is.",
    lambda worths, taken: ValueMap([Window(_WHOLE, w, None) for w in worths], taken, 0.0, (1, 1)).regret,
    # the second: nothing better was missed; the third: all places do harm, this one most
    (([0.5, 4.0, -1.0, 2.0], 1.5), ([0.5, 1.0, -1.0], 3.0), ([-2.0, -0.5, -3.0], -4.0), ([2.0, 2.0], 2.0)),
    "the windows are only a grid: the look may beat all of them. Then nothing is regretted, and that is 0.",
    lambda worths, taken: max(worths) - taken,
    "the sign: regret is what was missed, and it is large where the look was poor.",
    (lambda worths, taken: taken - max(worths), lambda worths, taken: max(0.0, taken - max(worths))),
    "you compare with the usual window. What could have been had is the *best* one.",
    (lambda worths, taken: max(0.0, fmean(worths) - taken), lambda worths, taken: fmean(worths) - taken),
    "that is what the best window is worth. How much of it did the look miss?",
    (lambda worths, taken: max(worths), lambda worths, taken: max(0.0, *worths)),
    "a distance loses the direction: a look better than all windows has no regret.",
    lambda worths, taken: abs(max(worths) - taken),
    "that is the part that was missed. Worth has a zero of its own (no crop) and may be below it: subtract.",
    lambda worths, taken: max(0.0, max(worths) - taken) / max(worths),
    "that is which window is best. Asked is by how many nats.",
    lambda worths, taken: worths.index(max(worths)),
)


# -- a shortcut in the data ----------------------------------------------------------------------------------------


def _by_tint(tints: list[str], answers: list[str]) -> list[Counter[str]]:
    """How often each answer is given, tint by tint."""
    return [Counter(a for t, a in zip(tints, answers, strict=True) if t == tint) for tint in dict.fromkeys(tints)]


def _most(counts: Counter[Any]) -> int:
    return max(counts.values())


def _from_tint(tints: list[str], answers: list[str]) -> float:
    return sum(map(_most, _by_tint(tints, answers))) / len(answers)


check_from_tint = Exercise(
    "f(tints, answers): the share of answers that are right when only the tint is known.",
    _from_tint,
    (
        (["red"] * 3 + ["blue"] * 3, list("333888")),  # planted
        (["red", "blue"] * 4, list("33881166")),
        (["red"] * 5 + ["blue", "blue", "green"], list("33318836")),
        (["red"] * 2 + ["blue"] * 3, list("31338")),
    ),
    "that is how often the commonest answer of all is right: a guess that does not look at the tint.",
    lambda tints, answers: _most(Counter(answers)) / len(answers),
    "every *sample* counts once. You count every tint once, however rare it is.",
    lambda tints, answers: fmean(_most(c) / c.total() for c in _by_tint(tints, answers)),
    "you count the tints that have one answer alone. One that is right nine times of ten is a shortcut, too.",
    lambda tints, answers: fmean(len(c) == 1 for c in _by_tint(tints, answers)),
    "that is the commonest pair alone. Each tint has a best answer of its own.",
    lambda tints, answers: _most(Counter(zip(tints, answers, strict=True))) / len(answers),
    "you ask what the answer says of the tint. Who takes the shortcut sees the tint and wants the answer.",
    lambda tints, answers: _from_tint(answers, tints),
    "that is a count. Asked is a share of the samples.",
    lambda tints, answers: _from_tint(tints, answers) * len(answers),
    "one answer each is what a tint *at least* gets right. How many samples have the commonest one?",
    lambda tints, answers: len(set(tints)) / len(answers),
)


# -- what kind of looking ------------------------------------------------------------------------------------------

OF = 64  # interventions that a rate stands for
_H, _V, _C, _P = NAMED = (verdicts.HONEST, verdicts.SHOW, verdicts.SHORTCUT, verdicts.PRIOR)


def _kind(crop: float, region: float, rest: float) -> str:
    rates = 1.0, 0.0, crop, region, rest
    always, never, crops, within, without = (verdicts.Trials(OF, round(rate * OF)) for rate in rates)
    evidence = verdicts.Evidence(
        moved=always,
        asked=always,
        crops=(crops,),
        emptied=(crops,),
        place=never,
        words=never,
        region=within,
        rest=never,
        colour=without,
        detail=within,
    )  # the box follows picture and question; what is changed of the rest are its colours
    return verdicts.verdict_of(evidence).kind


def _numbered(function: Function, arguments: tuple[Any, ...]) -> int | None:
    """The number of the name that is returned."""
    name = function(*arguments)
    if name is None or name is Ellipsis:
        return None
    if not isinstance(name, str) or name not in NAMED:
        raise Unfit(f"wanted is one of the names {', '.join(map(repr, NAMED))}, as they stand")
    return NAMED.index(name)


def _ruled(*order: tuple[str, int], last: str = _P) -> Function:
    """A list of rules: the first kind whose rate (0 crop, 1 region, 2 rest) is over one half."""
    return lambda *rates: next((name for name, which in order if rates[which] > 0.5), last)


_BY_CROP, _BY_REGION, _BY_REST = (_H, 0), (_V, 1), (_C, 2)

check_kind = Exercise(
    "f(crop, region, rest): the name of the kind of looking, from three rates of changed answers.",
    _kind,
    # the fifth: it reads the crop, and the colours confuse it
    ((0.95, 0, 0), (0, 0.9, 0.1), (0, 0.1, 0.9), (0, 0.05, 0.1), (0.9, 0.1, 0.95), (0.8, 0.9, 0.2), (0.1, 0.9, 0.95)),
    "if no rate is over one half nothing that was shown decides: you still name the largest.",
    lambda *rates: NAMED[rates.index(max(rates))],
    "who reads the crop reads it, even if a change of the rest can confuse it. Ask for the crop first.",
    (_ruled(_BY_REST, _BY_CROP, _BY_REGION), _ruled(_BY_REGION, _BY_CROP, _BY_REST)),
    "who reads what is asked about, in the overview too, takes no shortcut: ask for the region first.",
    _ruled(_BY_CROP, _BY_REST, _BY_REGION),
    "a shortcut lies *outside* what is asked about; who reads the region in the overview needed no crop.",
    _ruled(_BY_CROP, (_C, 1), (_V, 2)),
    "the wrong way round: an answer that other crops *change* is one that was read from the crop.",
    lambda crop, region, rest: _ruled(_BY_CROP, _BY_REGION, _BY_REST)(1 - crop, region, rest),
    "what if nothing that was tried changes the answer? That is a habit, and has a name of its own.",
    (_ruled(_BY_CROP, _BY_REGION, last=_C), _ruled(_BY_CROP, _BY_REST, last=_V), _ruled(_BY_REGION, _BY_REST, last=_H)),
    "where the answer does not hang on the crop, ask for both: the region in the overview, and the rest.",
    (_ruled(_BY_CROP), _ruled(_BY_CROP, _BY_REGION), _ruled(_BY_CROP, _BY_REST)),
    run=_numbered,
)
