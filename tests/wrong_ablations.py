"""Answers to the exercises of notebook 08 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot, sqrt
from typing import Any

import numpy as np


def around(values: Any, half: Any) -> Any:
    return np.mean(values) - half, np.mean(values) + half


def apart(full: Any, other: Any) -> Any:
    return np.subtract(other, full)


def error(values: Any) -> Any:
    return np.std(values, ddof=1) / sqrt(len(values))


def off(values: Any, new: float) -> Any:
    return abs(new - np.mean(values)) / np.std(values, ddof=1)


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "seed_interval": [
        (lambda v, t: around(v, t * np.std(v) / sqrt(len(v))), "n - 1 makes up for it"),
        (lambda v, t: around(v, t * np.std(v, ddof=1)), "*single runs* scatter"),
        (lambda v, t: around(v, t * np.std(v, ddof=1) / len(v)), "fall with its square root"),
        (lambda v, t: around(v, t * np.var(v, ddof=1) / sqrt(len(v))), "that is the variance"),
        (lambda v, t: around(v, error(v)), "leave out `t`"),
        (lambda v, t: t * error(v), "half the width alone"),
    ],
    "paired": [
        (lambda f, o: (np.mean(o) - np.mean(f), hypot(error(f), error(o))), "subtract seed by seed first"),
        (lambda f, o: (np.mean(apart(o, f)), error(apart(o, f))), "come out below zero"),
        (lambda f, o: (np.mean(apart(f, o)), np.std(apart(f, o), ddof=1)), "Their mean is surer"),
        (lambda f, o: (np.mean(apart(f, o)), np.std(apart(f, o)) / sqrt(len(f))), "n - 1 below the squares"),
        (lambda f, o: (abs(np.mean(apart(f, o))), error(apart(f, o))), "no `abs`"),
        (lambda f, o: (np.mean(np.divide(apart(f, o), f)), error(np.divide(apart(f, o), f))), "Points are differences"),
        (lambda f, o: (np.mean(apart(f, o)), error(apart(sorted(f), sorted(o)))), "runs of different seeds"),
    ],
    "as_expected": [
        (lambda v, new, t: off(v, new) <= t / sqrt(len(v)), "interval of the *mean*"),
        (lambda v, new, t: off(v, new) <= t, "you take the mean for known"),
        (lambda v, new, t: off(v, new) <= t * (1 + 1 / sqrt(len(v))), "their squares do"),
        (lambda v, new, t: (np.mean(v) - new) / np.std(v, ddof=1) <= t * sqrt(1 + 1 / len(v)), "far too *good*"),
        (lambda v, new, t: off(v, new) > t * sqrt(1 + 1 / len(v)), "the wrong way round"),
    ],
    "at_grounding": [
        (lambda a, b, p: p * np.mean(a), "not always a wrong answer"),
        (lambda a, b, p: (1 - p) * np.mean(a) + p * np.mean(b), "share of looks that are at the right"),
        (lambda a, b, p: p * (np.mean(a) - np.mean(b)), "what grounding *adds*"),
        (lambda a, b, p: np.mean([a, b]), "whatever `p` is"),
        (lambda a, b, p: p * np.sum(a) + (1 - p) * np.sum(b), "that is a count"),
        (lambda a, b, p: np.mean([*a[: round(p * len(a))], *b[round(p * len(b)) :]]), "the first samples"),
    ],
}
