"""Two exercises of notebook 06 on reasons: a shortcut in the data, the kind of looking from rates of change.

check_kind(kind)                         # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import fmean
from typing import Any

from ..explain import judge as verdicts
from .judge import Exercise, Mistake, Unfit, report

# -- a shortcut in the data ----------------------------------------------------------------------------------------


def _by_tint(tints: list[str], answers: list[str]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for tint, answer in zip(tints, answers, strict=True):
        found.setdefault(tint, Counter())[answer] += 1
    return found


def _most(counts: Counter[str]) -> int:
    return counts.most_common(1)[0][1]


def _from_tint(tints: list[str], answers: list[str]) -> float:
    return sum(_most(counts) for counts in _by_tint(tints, answers).values()) / len(answers)


FROM_TINT = Exercise(
    _from_tint,
    (
        (["red", "red", "red", "blue", "blue", "blue"], ["3", "3", "3", "8", "8", "8"]),  # planted
        (["red", "blue", "red", "blue", "red", "blue", "red", "blue"], ["3", "3", "8", "8", "1", "1", "6", "6"]),
        (["red", "red", "red", "red", "red", "blue", "blue", "green"], ["3", "3", "3", "1", "8", "8", "3", "6"]),
        (["red", "red", "blue", "blue", "blue"], ["3", "1", "3", "3", "8"]),
    ),
    (
        Mistake(
            "that is how often the commonest answer of all is right: a guess that does not look at the tint.",
            (lambda tints, answers: _most(Counter(answers)) / len(answers),),
        ),
        Mistake(
            "every *sample* counts once. You count every tint once, however rare it is.",
            (lambda tints, answers: fmean(_most(c) / c.total() for c in _by_tint(tints, answers).values()),),
        ),
        Mistake(
            "you count the tints that have one answer alone. One that is right nine times of ten is a shortcut, too.",
            (
                lambda tints, answers: fmean(float(len(c) == 1) for c in _by_tint(tints, answers).values()),
                lambda tints, answers: (
                    sum(c.total() for c in _by_tint(tints, answers).values() if len(c) == 1) / len(answers)
                ),
            ),
        ),
        Mistake(
            "that is the commonest pair alone. Each tint has a best answer of its own.",
            (lambda tints, answers: Counter(zip(tints, answers, strict=True)).most_common(1)[0][1] / len(answers),),
        ),
        Mistake(
            "you ask what the answer says of the tint. Who takes the shortcut sees the tint and wants the answer.",
            (lambda tints, answers: _from_tint(answers, tints),),
        ),
        Mistake(
            "that is a count. Asked is a share of the samples.",
            (lambda tints, answers: _from_tint(tints, answers) * len(answers),),
        ),
        Mistake(
            "one answer each is what a tint *at least* gets right. How many samples have the commonest one?",
            (lambda tints, answers: len(_by_tint(tints, answers)) / len(answers),),
        ),
    ),
)


def check_from_tint(answer: Any) -> bool:
    """Check ``f(tints, answers)``: the share of answers that are right when only the tint is known."""
    return report(answer, FROM_TINT)


# -- what kind of looking ------------------------------------------------------------------------------------------

OF = 64  # interventions that a rate stands for
NAMED = (verdicts.HONEST, verdicts.SHOW, verdicts.SHORTCUT, verdicts.PRIOR)


def _kind(crop: float, region: float, rest: float) -> str:
    def trials(rate: float) -> verdicts.Trials:
        return verdicts.Trials(OF, round(rate * OF))

    elsewhere = verdicts.Trials(OF, OF)  # the box follows picture and question
    evidence = verdicts.Evidence(
        moved=elsewhere,
        asked=elsewhere,
        crops=(trials(crop),),
        region=trials(region),
        rest=trials(rest),
        colour=trials(rest),
        detail=trials(region),
    )
    return verdicts.judge(evidence).kind


def _numbered(function: Callable[..., Any], arguments: tuple[Any, ...]) -> int | None:
    """The number of the name that is returned."""
    name = function(*arguments)
    if name is None or name is Ellipsis:
        return None
    if not isinstance(name, str) or name not in NAMED:
        raise Unfit(f"wanted is one of the names {', '.join(map(repr, NAMED))}, as they stand")
    return NAMED.index(name)


def _ruled(*order: tuple[str, int], last: str) -> Callable[[float, float, float], str]:
    """A list of rules: the first kind whose rate (0 crop, 1 region, 2 rest) is over one half."""

    def rule(*rates: float) -> str:
        return next((name for name, which in order if rates[which] > 0.5), last)

    return rule


_H, _V, _C, _P = NAMED
_BY = ((_H, 0), (_V, 1), (_C, 2))


def _largest(*rates: float) -> str:
    return NAMED[rates.index(max(rates))]


KIND = Exercise(
    _kind,
    (
        (0.95, 0.05, 0.0),
        (0.0, 0.9, 0.1),
        (0.05, 0.1, 0.9),
        (0.0, 0.05, 0.1),
        (0.9, 0.1, 0.95),  # reads the crop, and the colours confuse it
        (0.85, 0.9, 0.2),
        (0.1, 0.9, 0.95),
        (0.25, 0.2, 0.1),
    ),
    (
        Mistake(
            "if no rate is over one half nothing that was shown decides: you still name the largest.",
            (_largest,),
        ),
        Mistake(
            "who reads the crop reads it, even if a change of the rest can confuse it. Ask for the crop first.",
            (
                _ruled((_C, 2), (_H, 0), (_V, 1), last=_P),
                _ruled((_C, 2), (_V, 1), (_H, 0), last=_P),
                _ruled((_V, 1), (_H, 0), (_C, 2), last=_P),
                _ruled((_V, 1), (_C, 2), (_H, 0), last=_P),
            ),
        ),
        Mistake(
            "who reads what is asked about, in the overview too, takes no shortcut: ask for the region first.",
            (_ruled((_H, 0), (_C, 2), (_V, 1), last=_P),),
        ),
        Mistake(
            "a shortcut lies *outside* what is asked about; who reads the region in the overview needed no crop.",
            (_ruled((_H, 0), (_C, 1), (_V, 2), last=_P),),
        ),
        Mistake(
            "the wrong way round: an answer that other crops *change* is one that was read from the crop.",
            (
                lambda crop, region, rest: _ruled(*_BY, last=_P)(1 - crop, region, rest),
                lambda crop, region, rest: _ruled(*_BY, last=_P)(1 - crop, 1 - region, 1 - rest),
            ),
        ),
        Mistake(
            "what if nothing that was tried changes the answer? That is a habit, and has a name of its own.",
            (
                _ruled((_H, 0), (_V, 1), last=_C),
                _ruled((_H, 0), (_C, 2), last=_V),
                _ruled((_V, 1), (_C, 2), last=_H),
            ),
        ),
        Mistake(
            "where the answer does not hang on the crop, ask for both: the region in the overview, and the rest.",
            (
                _ruled((_H, 0), last=_P),
                _ruled((_H, 0), (_V, 1), last=_P),
                _ruled((_H, 0), (_C, 2), last=_P),
            ),
        ),
    ),
    run=_numbered,
)


def check_kind(answer: Any) -> bool:
    """Check ``f(crop, region, rest)``: the name of the kind of looking, from three rates of changed answers."""
    return report(answer, KIND)
