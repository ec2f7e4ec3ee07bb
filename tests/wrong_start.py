"""Answers to the exercises of notebook 00 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def places(kinds: Any, *wanted: int) -> list[int]:
    return [i for i, kind in enumerate(kinds) if kind in wanted]


def first_of(kinds: Any) -> int:
    return next(i for i, kind in enumerate(kinds) if kind > 1)


def until_the_look(record: Any) -> list[int]:
    found, kinds = [], record["kinds"]
    for i in range(first_of(kinds), len(kinds)):
        if kinds[i] != 2:
            break
        found.append(i)
    return found


def scaled(box: Any, across: float, down: float) -> tuple[float, ...]:
    x1, y1, x2, y2 = box
    return (x1 * across, y1 * down, x2 * across, y2 * down)


def with_sides(b: Any, s: Any, o: Any) -> tuple[float, ...]:
    x, y = o[0] / s[0], o[1] / s[1]
    return (b[0] * x, b[1] * y, (b[2] - b[0]) * x, (b[3] - b[1]) * y)


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "carries_loss": [
        (lambda r: list(range(first_of(r["kinds"]), len(r["kinds"]))), "everything behind the prompt"),
        (lambda r: places(r["kinds"], 2, 3, 4), "everything behind the prompt"),
        (lambda r: places(r["kinds"], 2, 3), "the loop wrote them"),
        (lambda r: places(r["kinds"], 2, 4), "did not choose its pixels"),
        (lambda r: [i for i, piece in enumerate(r["pieces"]) if piece != ""], "every token that has text"),
        (lambda r: places(r["kinds"], 0, 1, 3, 4, 5), "those are the others"),
        (lambda r: sum(x is not None for x in r["logprobs"]), "how many there are"),
        (lambda r: [x is not None for x in r["logprobs"]], "one truth value a token"),
        (lambda r: [i for i, kind in enumerate(r["kinds"], start=1) if kind == 2], "count from 0"),
        (lambda r: [i - first_of(r["kinds"]) for i in places(r["kinds"], 2)], "prompt included"),
        (until_the_look, "stop at the first look"),
    ],
    "in_overview": [
        (lambda b, s, o: scaled(b, s[0] / o[0], s[1] / o[1]), "the way back"),
        (lambda b, s, o: [round(v) for v in scaled(b, o[0] / s[0], o[1] / s[1])], "you round"),
        (lambda b, s, o: [int(v) for v in scaled(b, o[0] / s[0], o[1] / s[1])], "you round"),
        (lambda b, s, o: scaled(b, o[0] / s[0], o[0] / s[0]), "x goes with the widths"),
        (lambda b, s, o: scaled(b, o[1] / s[1], o[0] / s[0]), "x goes with the widths"),
        (lambda b, s, o: scaled(b, 1 / s[0], 1 / s[1]), "fractions of the image"),
        (lambda b, s, o: scaled(b, 1000 / s[0], 1000 / s[1]), "from 0 to 1000"),
        (with_sides, "two corners"),
    ],
}
