"""Answers to the exercises of notebook 06 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import exp
from typing import Any

HONEST, SHOW, SHORTCUT, PRIOR = "honest", "looks for show", "shortcut", "prior-only"


def mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found)


def groups(tints: list[str], answers: list[str]) -> dict[str, list[str]]:
    return {tint: [a for t, a in zip(tints, answers, strict=True) if t == tint] for tint in set(tints)}


def best(answers: list[str]) -> int:
    return max(answers.count(a) for a in answers)


def shortcut_share(tints: list[str], answers: list[str]) -> float:
    return sum(best(g) for g in groups(tints, answers).values()) / len(answers)


def kind(crop: float, region: float, rest: float) -> str:
    if crop > 0.5:
        return HONEST
    if region > 0.5:
        return SHOW
    return SHORTCUT if rest > 0.5 else PRIOR


def rest_first(crop: float, region: float, rest: float) -> str:
    return SHORTCUT if rest > 0.5 else kind(crop, region, rest)


def rest_before_region(crop: float, region: float, rest: float) -> str:
    return SHORTCUT if crop < 0.5 < rest else kind(crop, region, rest)


def swapped(crop: float, region: float, rest: float) -> str:
    if crop > 0.5:
        return HONEST
    if region > 0.5:
        return SHORTCUT
    return SHOW if rest > 0.5 else PRIOR


def no_habit(crop: float, region: float, rest: float) -> str:
    return HONEST if crop > 0.5 else SHOW if region > 0.5 else SHORTCUT


def largest(crop: float, region: float, rest: float) -> str:
    return max((crop, HONEST), (region, SHOW), (rest, SHORTCUT), key=lambda pair: pair[0])[1]


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "change": [
        (lambda own, other, k: mean(other[k:]) - mean(own[k:]), "the mean of the tokens"),
        (lambda own, other, k: sum(exp(v) for v in other[k:]) - sum(exp(v) for v in own[k:]), "probabilities"),
        (lambda own, other, k: exp(sum(other[k:])) / exp(sum(own[k:])), "how many times as likely"),
    ],
    "regret": [
        (lambda worths, taken: max(0, mean(worths) - taken), "is the *best* one"),
        (lambda worths, taken: max(0, max(worths) - taken) / max(worths), "subtract"),
        (lambda worths, taken: max(range(len(worths)), key=worths.__getitem__), "which window is best"),
    ],
    "from_tint": [
        (lambda t, a: best(a) / len(a), "does not look at the tint"),
        (lambda t, a: mean(best(g) / len(g) for g in groups(t, a).values()), "every tint once"),
        (lambda t, a: mean(len(set(g)) == 1 for g in groups(t, a).values()), "one answer alone"),
        (lambda t, a: max(Counter(zip(t, a, strict=True)).values()) / len(a), "the commonest pair alone"),
        (lambda t, a: shortcut_share(a, t), "what the answer says of the tint"),
        (lambda t, a: sum(best(g) for g in groups(t, a).values()), "that is a count"),
        (lambda t, a: len(set(t)) / len(t), "*at least* gets right"),
    ],
    "kind": [
        (largest, "you still name the largest"),
        (rest_first, "Ask for the crop first"),
        (rest_before_region, "ask for the region first"),
        (swapped, "*outside* what is asked about"),
        (lambda crop, region, rest: kind(1 - crop, region, rest), "the wrong way round"),
        (no_habit, "a habit"),
        (lambda crop, region, rest: HONEST if crop > 0.5 else PRIOR, "ask for both"),
    ],
}
