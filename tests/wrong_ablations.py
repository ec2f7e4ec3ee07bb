"""Answers to the exercises of notebook 08 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot, sqrt
from typing import Any

import numpy as np

from r3lab.course import ablations
from r3lab.course.judge import Exercise

TASKS: dict[str, Exercise] = {
    "over seeds": ablations.SEED_INTERVAL,
    "paired": ablations.PAIRED,
    "as expected": ablations.AS_EXPECTED,
    "at grounding": ablations.AT_GROUNDING,
}


def around(values: Any, half: Any) -> Any:
    return np.mean(values) - half, np.mean(values) + half


def apart(full: Any, other: Any) -> Any:
    return np.subtract(other, full)


def error(values: Any) -> Any:
    return np.std(values, ddof=1) / sqrt(len(values))


def off(values: Any, new: float) -> Any:
    return abs(new - np.mean(values)) / np.std(values, ddof=1)


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("over seeds", lambda v, t: around(v, t * np.std(v) / sqrt(len(v))), "n - 1 makes up for it"),
    ("over seeds", lambda v, t: around(v, t * np.std(v, ddof=1)), "*single runs* scatter"),
    ("over seeds", lambda v, t: around(v, t * np.std(v, ddof=1) / len(v)), "fall with its square root"),
    ("over seeds", lambda v, t: around(v, t * np.var(v, ddof=1) / sqrt(len(v))), "that is the variance"),
    ("over seeds", lambda v, t: around(v, error(v)), "leave out `t`"),
    ("over seeds", lambda v, t: (min(v), max(v)), "from the worst to the best"),
    ("over seeds", lambda v, t: t * error(v), "half the width alone"),
    ("paired", lambda f, o: (np.mean(o) - np.mean(f), hypot(error(f), error(o))), "subtract seed by seed first"),
    ("paired", lambda f, o: (np.mean(apart(o, f)), error(apart(o, f))), "come out below zero"),
    ("paired", lambda f, o: (np.mean(apart(f, o)), np.std(apart(f, o), ddof=1)), "Their mean is surer"),
    ("paired", lambda f, o: (np.mean(apart(f, o)), np.std(apart(f, o)) / sqrt(len(f))), "n - 1 below the squares"),
    ("paired", lambda f, o: (abs(np.mean(apart(f, o))), error(apart(f, o))), "no `abs`"),
    (
        "paired",
        lambda f, o: (np.mean(np.divide(apart(f, o), f)), error(np.divide(apart(f, o), f))),
        "Points are differences",
    ),
    (
        "paired",
        lambda f, o: (np.mean(apart(f, o)), error(apart(sorted(f), sorted(o)))),
        "runs of different seeds",
    ),
    ("as expected", lambda v, new, t: off(v, new) <= t / sqrt(len(v)), "interval of the *mean*"),
    ("as expected", lambda v, new, t: off(v, new) <= t, "you take the mean for known"),
    ("as expected", lambda v, new, t: off(v, new) <= t * (1 + 1 / sqrt(len(v))), "their squares do"),
    ("as expected", lambda v, new, t: min(v) <= new <= max(v), "surprisingly often"),
    (
        "as expected",
        lambda v, new, t: (np.mean(v) - new) / np.std(v, ddof=1) <= t * sqrt(1 + 1 / len(v)),
        "far too *good*",
    ),
    ("as expected", lambda v, new, t: off(v, new) > t * sqrt(1 + 1 / len(v)), "the wrong way round"),
    ("at grounding", lambda a, b, p: p * np.mean(a), "not always a wrong answer"),
    ("at grounding", lambda a, b, p: (1 - p) * np.mean(a) + p * np.mean(b), "share of looks that are at the right"),
    ("at grounding", lambda a, b, p: p * (np.mean(a) - np.mean(b)), "what grounding *adds*"),
    ("at grounding", lambda a, b, p: np.mean([a, b]), "whatever `p` is"),
    ("at grounding", lambda a, b, p: p * np.sum(a) + (1 - p) * np.sum(b), "that is a count"),
    ("at grounding", lambda a, b, p: np.mean([*a[: round(p * len(a))], *b[round(p * len(b)) :]]), "the first samples"),
]
