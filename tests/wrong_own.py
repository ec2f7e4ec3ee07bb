"""Answers to the exercises of notebook 09 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import Any


def shrunk(h: float, r: float, s: Any, f: int) -> tuple[float, float]:
    scale = min(1, r / h)
    return s[0] * scale / f, s[1] * scale / f


def half_cut(a: Any, s: Any) -> list[float]:
    x, y = max(0, a[0]), max(0, a[1])
    return [x, y, min(x + a[2], s[0]), min(y + a[3], s[1])]


def around(a: Any, s: Any) -> list[float]:
    x, y, w, h = a
    return [max(0, x - w / 2), max(0, y - h / 2), min(s[0], x + w / 2), min(s[1], y + h / 2)]


def inside(x1: float, y1: float, x2: float, y2: float, s: Any) -> list[float]:
    return [max(x1, 0), max(y1, 0), min(x2, s[0]), min(y2, s[1])]


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "tokens_needed": [
        (lambda h, r, s, f: (s[0] * r / h / f) * (s[1] * r / h / f), "adds tokens and no detail"),
        (lambda h, r, s, f: s[0] / f * s[1] / f, "not made smaller at all"),
        (lambda h, r, s, f: s[0] / f * s[1] / f * min(1, r / h), "both sides shrink"),
        (lambda h, r, s, f: (s[0] * h / r / f) * (s[1] * h / r / f), "Your picture grows"),
        (lambda h, r, s, f: prod(shrunk(h, r, s, 1)), "those are pixels"),
        (lambda h, r, s, f: prod(shrunk(h, r, s, 1)) / f, "a token is a square"),
        (lambda h, r, s, f: ceil(prod(shrunk(h, r, s, f))), "you round"),
        (lambda h, r, s, f: prod(map(round, shrunk(h, r, s, f))), "you round"),
    ],
    "as_region": [
        (lambda a, s: list(a), "a corner and two sides"),
        (lambda a, s: [a[0], a[1], a[0] + a[2], a[1] + a[3]], "People draw over the edge"),
        (lambda a, s: [a[0], a[1], min(a[0] + a[2], s[0]), min(a[1] + a[3], s[1])], "begins outside"),
        (lambda a, s: [max(a[0], 0), max(a[1], 0), a[0] + a[2], a[1] + a[3]], "ends outside"),
        (half_cut, "Corners first, then cut"),
        (around, "for the middle"),
        (lambda a, s: inside(a[0], a[1], a[0] + a[2] - 1, a[1] + a[3] - 1, s), "half-open"),
        (lambda a, s: inside(a[0], a[1], a[0] + a[3], a[1] + a[2], s), "x goes with the width"),
        (lambda a, s: inside(a[0], a[1], a[0] + a[2], a[1] + a[3], s[::-1]), "x goes with the width"),
        (
            lambda a, s: [v / s[k % 2] for k, v in enumerate(inside(a[0], a[1], a[0] + a[2], a[1] + a[3], s))],
            "fractions of the image",
        ),
    ],
    "cache_bytes": [
        (lambda t, n, k, d, e: 2 * t * n * k * d * e * 8, "those are bits"),
        (lambda t, n, k, d, e: 2 * t**2 * n * k * d * e, "not with their square"),
        (lambda t, n, k, d, e: 2 * t * n * k * d * e / 1024**3, "in MiB or GiB"),
    ],
}
