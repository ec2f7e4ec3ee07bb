"""Answers to the exercises of notebook 03 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from r3lab.core.geometry import coverage, fit_tokens, intersection, iou


def pairs(boxes: Any) -> list[tuple[Any, Any]]:
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]


def inside(a: Any, b: Any) -> float:
    smaller = min((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return intersection(a, b) / smaller


def same(reply: str, answer: str) -> bool:
    return reply.strip().rstrip(". ").lower() == answer.lower()


def share(replies: list[str], answer: str) -> float:
    return sum(same(reply, answer) for reply in replies) / len(replies)


def scaled(b: Any, across: float, down: float) -> list[float]:
    return [b[0] * across, b[1] * down, b[2] * across, b[3] * down]


def exactly(b: Any, s: Any) -> list[float]:
    w, h = fit_tokens(s, 28, 4, 16384)
    return scaled(b, s[0] / w, s[1] / h)


def keys(record: Any) -> list[str]:
    return [f"{reason['filter']}: {reason['name']}" for reason in record["reasons"]]


def least(found: list[list[Any]]) -> int:
    counts = Counter(key for own in found for key in own)
    return min(range(len(found)), key=lambda i: min(counts[key] for key in found[i]))


def of_the_most(rejected: Any) -> int:
    counts = Counter(key for record in rejected for key in set(keys(record)))
    most = counts.most_common(1)[0][0]
    return next(i for i, record in enumerate(rejected) if most in keys(record))


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "overlapping": [
        (lambda k, m: any(iou(k[i], k[i + 1]) > m for i in range(len(k) - 1)), "the next one"),
        (lambda k, m: any(iou(k[0], b) > m for b in k[1:]), "the first look alone"),
        (lambda k, m: any(iou(k[-1], b) > m for b in k[:-1]), "the last look"),
        (lambda k, m: any(iou(a, b) > m for a in k for b in k), "repeat itself"),
        (lambda k, m: any(inside(a, b) > m for a, b in pairs(k)), "a closer look at a part"),
        (lambda k, m: any(coverage(a, b) > m for a, b in pairs(k)), "a closer look at a part"),
        (lambda k, m: any(iou(a, b) >= m for a, b in pairs(k)), "just that much"),
        (lambda k, m: len(k) > 1 and all(iou(a, b) > m for a, b in pairs(k)), "one pair that repeats"),
        (lambda k, m: not any(iou(a, b) > m for a, b in pairs(k)), "True where all is well"),
        (lambda k, m: max([iou(a, b) for a, b in pairs(k)] or [0]), "how much they overlap"),
        (lambda k, m: max(iou(a, b) for a, b in pairs(k)) > m, "the largest of no numbers"),
    ],
    "answered_blind": [
        (lambda r, a, m: share(r, a) > 0, "one right reply is enough"),
        (lambda r, a, m: sum(same(one, a) for one in r) > m, "one right reply is enough"),
        (lambda r, a, m: share(r, a) == 1, "every reply to be right"),
        (lambda r, a, m: same(max(r, key=r.count), a), "the commonest"),
        (lambda r, a, m: share(r, a) >= m, "just that share"),
        (lambda r, a, m: r.count(a) / len(r) > m, "are the same answer"),
        (lambda r, a, m: sum(one.lower() == a.lower() for one in r) / len(r) > m, "are the same answer"),
        (lambda r, a, m: sum(a.lower() in one.lower() for one in r) / len(r) > m, "compare whole answers"),
        (lambda r, a, m: share([one for one in r if one], a) > m, "leave out replies"),
        (lambda r, a, m: share(r, a) <= m, "True where the look is needed"),
        (lambda r, a, m: share(r, a), "the share of right replies"),
    ],
    "to_photograph": [
        (lambda b, s: scaled(b, s[0] / 1000, s[1] / 1000), "does not run from 0 to 1000"),
        (lambda b, s: scaled(b, *(v / t for v, t in zip(fit_tokens(s, 28, 4, 16384), s, strict=True))), "the way back"),
        (lambda b, s: scaled(b, s[0] / (round(s[0] / 28) * 28), s[1] / (round(s[1] / 28) * 28)), "token budget"),
        (lambda b, s: scaled(b, s[0] / (s[0] // 28 * 28), s[1] / (s[1] // 28 * 28)), "token budget"),
        (lambda b, s: [round(v) for v in exactly(b, s)], "you round"),
        (lambda b, s: [v * s[0] / fit_tokens(s, 28, 4, 16384)[0] for v in b], "not scaled alike"),
        (
            lambda b, s: scaled(b, s[1] / fit_tokens(s, 28, 4, 16384)[1], s[0] / fit_tokens(s, 28, 4, 16384)[0]),
            "x goes with the width",
        ),
    ],
    "rarest": [
        (of_the_most, "the commonest reason"),
        (lambda k: least([[reason["filter"] for reason in record["reasons"]] for record in k]), "count by both"),
        (lambda k: least([keys(record)[:1] for record in k]), "the first of each"),
        (lambda k: least([keys(record)[-1:] for record in k]), "the last of each"),
        (lambda k: least([keys(record) for record in k]), "count samples, not reasons"),
        (lambda k: least([sorted(set(keys(record))) for record in k]) + 1, "count from 0"),
    ],
}
