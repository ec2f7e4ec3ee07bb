"""Answers to the exercises as a student might write them, with words of the hint that each must get.

Here are those that the checks make by a rule of theirs; one that stands in a check as it is written is judged
there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from math import ceil, exp, prod, sqrt
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from r3lab.core.geometry import coverage, fit_tokens, intersection, iou
from r3lab.course import missed

WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {}


# -- notebook 00 ------------------------------------------------------------------------------------------


def places(kinds: Any, *wanted: int) -> list[int]:
    return [i for i, kind in enumerate(kinds) if kind in wanted]


def first_of(kinds: Any) -> int:
    return next(i for i, kind in enumerate(kinds) if kind > 1)


def scaled(box: Any, across: float, down: float) -> tuple[float, ...]:
    x1, y1, x2, y2 = box
    return (x1 * across, y1 * down, x2 * across, y2 * down)


def with_sides(b: Any, s: Any, o: Any) -> tuple[float, ...]:
    x, y = o[0] / s[0], o[1] / s[1]
    return (b[0] * x, b[1] * y, (b[2] - b[0]) * x, (b[3] - b[1]) * y)


WRONG |= {
    "carries_loss": [
        (lambda r: list(range(first_of(r["kinds"]), len(r["kinds"]))), "everything behind the prompt"),
        (lambda r: places(r["kinds"], 2, 3), "the loop wrote them"),
        (lambda r: places(r["kinds"], 2, 4), "did not choose its pixels"),
        (lambda r: [i for i, piece in enumerate(r["pieces"]) if piece != ""], "every token that has text"),
        (lambda r: places(r["kinds"], 0, 1, 3, 4, 5), "those are the others"),
    ],
    "in_overview": [
        (lambda b, s, o: scaled(b, 1000 / s[0], 1000 / s[1]), "from 0 to 1000"),
        (with_sides, "two corners"),
    ],
}


# -- notebooks 01 and 02 ------------------------------------------------------------------------------------------


def share(b: Any, s: Any) -> float:
    return (b[2] - b[0]) * (b[3] - b[1]) / s[0] / s[1]


def ramp(x: float) -> float:
    return float(torch.tensor(2 - (x - 0.125) / 0.375).clamp(1, 2))


def zoom_only_above(b: Any, s: Any) -> float:
    x = share(b, s)
    return 2 if x < 0.125 else 2 - (x - 0.125) / 0.375


def corners(b: Any, s: Any, scale: float = 1000) -> list[float]:
    return [b[0] * s[0] / scale, b[1] * s[1] / scale, b[2] * s[0] / scale, b[3] * s[1] / scale]


def per_row(terms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[keep].mean() for row, keep in zip(terms, mask, strict=True)]).mean()


def terms(new: Any, old: Any, a: Any, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    ratio = torch.exp(new - old)
    return ratio * a.unsqueeze(1), torch.clamp(ratio, 1 - low, 1 + high) * a.unsqueeze(1)


def smaller(new: Any, old: Any, a: Any, low: float, high: float) -> torch.Tensor:
    return torch.min(*terms(new, old, a, low, high))


WRONG |= {
    "overview_height": [
        (lambda h, s, o: h * o * o / s / s, "how the area shrinks"),
        (lambda h, s, o: h / s * o / 16, "in image tokens"),
    ],
    "zoom": [
        (lambda b, s: ramp((b[2] - b[0]) / s[0]), "one side's length"),
        (lambda b, s: 2 - (share(b, s) - 0.125) / 0.375, "runs on at both ends"),
        (lambda b, s: max(1, 2 - (share(b, s) - 0.125) / 0.375), "more than twofold"),
        (zoom_only_above, "below 1"),
        (lambda b, s: max(1, 2 - 2 * share(b, s)), "at an area of 0"),
        (lambda b, s: max(1, min(2, 2 - (share(b, s) - 0.125) * 2)), "does not meet 1 at 50 %"),
    ],
    "source_pixels": [
        (lambda b, s: [v / s[k % 2] * 1000 for k, v in enumerate(b)], "the way back"),
        (lambda b, s: (*corners(b, s)[:2], (b[2] - b[0]) * s[0] / 1000, (b[3] - b[1]) * s[1] / 1000), "two corners"),
    ],
    "advantages": [
        (lambda r: (r - r.mean(1, keepdim=True)) / (r.std() + 1e-4), "Both belong to the group"),
        (lambda r: (r - r.mean()) / (r.std(1, keepdim=True) + 1e-4), "so does the mean"),
        (lambda r: (r - r.mean(1)[:, None]) / (r.std(1, unbiased=False)[:, None] + 1e-4), "G - 1"),
        (lambda r: r - r.mean(1)[:, None], "what is it divided by"),
    ],
    "clipped_objective": [
        (lambda n, o, a, m, lo, hi: -per_row(smaller(n, o, a, lo, lo), m), "symmetric"),
        (lambda n, o, a, m, lo, hi: -per_row(smaller(n, o, a, hi, lo), m), "exchanged"),
        (lambda n, o, a, m, lo, hi: -per_row(terms(n, o, a, lo, hi)[1], m), "where is the minimum"),
        (lambda n, o, a, m, lo, hi: -per_row(terms(n, o, a, lo, hi)[0], m), "nothing is clipped"),
        (lambda n, o, a, m, lo, hi: -per_row(torch.max(*terms(n, o, a, lo, hi)), m), "optimist"),
        (lambda n, o, a, m, lo, hi: -smaller(n, o, a, lo, hi)[m].mean(), "over all tokens of the batch"),
        (lambda n, o, a, m, lo, hi: -smaller(n, o, a, lo, hi).mean(), "where does the mask come in"),
        (lambda n, o, a, m, lo, hi: -(m * smaller(n, o, a, lo, hi)).mean(), "counted in the mean"),
        (lambda n, o, a, m, lo, hi: -(m * smaller(n, o, a, lo, hi)).sum(), "summed and not averaged"),
        (lambda n, o, a, m, lo, hi: -per_row(smaller(o, n, a, lo, hi), m), "upside down"),
        (
            lambda n, o, a, m, lo, hi: (
                -per_row(torch.min((n - o) * a[:, None], (n - o).clamp(1 - lo, 1 + hi) * a[:, None]), m)
            ),
            "difference of the log-probabilities",
        ),
        (lambda n, o, a, m, lo, hi: -smaller(n, o, a, lo, hi).mean(1), "must be one number"),
    ],
    "region_reward": [
        (lambda k, t, n: coverage(k[-1], t) / 2 if k and n else 0, "whole image"),
        (lambda k, t, n: iou(k[0], t) / 2 if k and n else 0, "You pay for the first"),
        (lambda k, t, n: max([iou(b, t) / 2 for b in k] or [0]) if n else 0, "look everywhere"),
        (lambda k, t, n: sum(iou(b, t) / 2 for b in k) if n else 0, "two half-good ones"),
        (lambda k, t, n: 0.5 * bool(k) * n, "any box at all"),
    ],
}


# -- notebook 03 ------------------------------------------------------------------------------------------


def pairs(boxes: Any) -> list[tuple[Any, Any]]:
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]


def inside(a: Any, b: Any) -> float:
    smaller = min((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return intersection(a, b) / smaller


def scaled_box(b: Any, across: float, down: float) -> list[float]:
    return [b[0] * across, b[1] * down, b[2] * across, b[3] * down]


def keys(record: Any) -> list[str]:
    return [f"{reason['filter']}: {reason['name']}" for reason in record["reasons"]]


def least(found: list[list[Any]]) -> int:
    counts = Counter(key for own in found for key in own)
    return min(range(len(found)), key=lambda i: min(counts[key] for key in found[i]))


def of_the_most(rejected: Any) -> int:
    counts = Counter(key for record in rejected for key in set(keys(record)))
    most = counts.most_common(1)[0][0]
    return next(i for i, record in enumerate(rejected) if most in keys(record))


WRONG |= {
    "overlapping": [
        (lambda k, m: any(iou(k[i], k[i + 1]) > m for i in range(len(k) - 1)), "the next one"),
        (lambda k, m: any(iou(k[0], b) > m for b in k[1:]), "the first look alone"),
        (lambda k, m: any(iou(k[-1], b) > m for b in k[:-1]), "the last look"),
        (lambda k, m: any(iou(a, b) > m for a in k for b in k), "repeat itself"),
        (lambda k, m: any(inside(a, b) > m for a, b in pairs(k)), "a closer look at a part"),
    ],
    "answered_blind": [
        (lambda r, a, m: r.count(a) / len(r) > m, "are the same answer"),
        (lambda r, a, m: sum(a.lower() in one.lower() for one in r) / len(r) > m, "compare whole answers"),
    ],
    "to_photograph": [
        (lambda b, s: scaled_box(b, s[0] / 1000, s[1] / 1000), "does not run from 0 to 1000"),
        (lambda b, s: scaled_box(b, s[0] / (round(s[0] / 28) * 28), s[1] / (round(s[1] / 28) * 28)), "token budget"),
        (lambda b, s: [v * s[0] / fit_tokens(s, 28, 4, 16384)[0] for v in b], "not scaled alike"),
        (
            lambda b, s: scaled_box(b, s[1] / fit_tokens(s, 28, 4, 16384)[1], s[0] / fit_tokens(s, 28, 4, 16384)[0]),
            "x goes with the width",
        ),
    ],
    "rarest": [
        (of_the_most, "the commonest reason"),
        (lambda k: least([[reason["filter"] for reason in record["reasons"]] for record in k]), "count by both"),
        (lambda k: least([keys(record)[:1] for record in k]), "the first of each"),
        (lambda k: least([keys(record)[-1:] for record in k]), "the last of each"),
        (lambda k: least([keys(record) for record in k]), "count samples, not reasons"),
    ],
}


# -- notebook 04 ------------------------------------------------------------------------------------------

TEXTS = ("text", "box", "answer")


def marked(parts: Any, *names: str) -> list[int]:
    return [int(name in names) for name, count in parts for _ in range(count)]


def after(parts: Any, *without: str) -> list[bool]:
    mask, begun = [], False
    for name, count in parts:
        begun = begun or name not in ("prompt", "overview")
        mask += [begun and name not in without] * count
    return mask


def nll(z: Any, i: Any) -> torch.Tensor:
    return -torch.log_softmax(z, -1).gather(2, i.unsqueeze(2)).squeeze(2)


def shifted(z: Any, i: Any) -> torch.Tensor:
    return nll(z[:, :-1, :], i[:, 1:])


def rise(s: int, w: int) -> float:
    return (s + 1) / w


def wave(x: float) -> float:
    return (1 + math.cos(x * math.pi)) / 2


def falls(s: int, n: int, w: int, fall: Callable[[float], float]) -> float:
    return rise(s, w) if s < w else fall((s - w) / (n - w))


def shares(i: float) -> float:
    return (1 - i) / (1 + i)


def wide(b: Any) -> float:
    return b[2] - b[0]


def high(b: Any) -> float:
    return b[3] - b[1]


def moved(b: Any, dx: float, dy: float = 0) -> list[float]:
    return [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy]


WRONG |= {
    "interleaved_mask": [
        (lambda p: [n not in ("overview", "crop") for n, k in p for _ in range(k)], "everything that is text"),
        (lambda p: marked(p, "prompt", *TEXTS), "you teach the policy to ask"),
        (after, "stands a crop"),
        (lambda p: after(p, "crop"), "what the loop inserts"),
        (lambda p: marked(p, "text", "answer"), "boxes carry no loss"),
        (lambda p: marked(p, "answer"), "the answer alone"),
        (lambda p: marked(p, "text", "box"), "the answer carries no loss"),
    ],
    "next_token": [
        (lambda z, i, m: shifted(z, i)[m[:, 1:]].mean().item(), "no gradient flows"),
        (lambda z, i, m: shifted(z, i).mean(1), "must be one number"),
    ],
    "rate": [
        (lambda s, n, w, f: falls(s, n, w, lambda x: 1 + (f - 1) * x), "straight line"),
        (lambda s, n, w, f: rise(s, w) if s < w else f + (1 - f) * wave(s / n), "the rate jumps"),
        (lambda s, n, w, f: rise(s, w) if s < w else f + (1 - f) * wave((s - w) / n), "is not over"),
        (lambda s, n, w, f: falls(s, n, w, wave), "Where does `final` come in"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + wave(x)), "your peak is above 1"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: max(wave(x), f)), "as at a floor"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * math.cos(x * math.pi)), "runs from 1 to -1"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * math.cos(x * math.pi / 2)), "quarter of a turn"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * (1 - wave(x))), "rises when it should fall"),
    ],
    "missed": [
        (lambda b, i: moved(b, (1 - i) * wide(b)), "divides by the *union*"),
        (lambda b, i: [b[0] + (1 - i) * wide(b), b[1], b[2], b[3]], "cut or shrunk"),
        (lambda b, i: moved(b, 0, shares(i) * high(b)), "along the width"),
        (lambda b, i: moved(b, shares(i) * wide(b), shares(i) * high(b)), "loses overlap twice"),
        (lambda b, i: moved(b, shares(i)), "a share of the width"),
        (lambda b, i: [round(v) for v in missed(b, i)], "you round"),
    ],
}


# -- notebook 05 ------------------------------------------------------------------------------------------


def mean(values: Any) -> float:
    return float(np.mean(values))


def even(row: Any, span: Any) -> float:
    return (span[1] - span[0]) / len(row)


def cell(column: int, row: int, grid: Any, region: Any) -> list[float]:
    x = np.linspace(region[0], region[2], grid[0] + 1)
    y = np.linspace(region[1], region[3], grid[1] + 1)
    return [float(v) for v in (x[column], y[row], x[column + 1], y[row + 1])]


def right_cell(number: int, grid: Any, region: Any) -> list[float]:
    return cell(number % grid[0], number // grid[0], grid, region)


def any_cell(column: int, row: int, grid: Any, region: Any) -> list[float]:
    w, h = (region[2] - region[0]) / grid[0], (region[3] - region[1]) / grid[1]
    return [region[0] + column * w, region[1] + row * h, region[0] + (column + 1) * w, region[1] + (row + 1) * h]


def size_of(region: Any) -> tuple[float, ...]:
    return (0, 0, region[2] - region[0], region[3] - region[1])


def below(own: float, others: list[float]) -> float:
    return mean([other < own for other in others])


def ties(own: float, others: list[float]) -> float:
    return below(own, others) + mean([other == own for other in others]) / 2


WRONG |= {
    "times_even": [
        (lambda row, span: max(row[span[0] : span[1]]) * len(row), "its largest weight"),
        (lambda row, span: sum(row[span[0] : span[1] + 1]) / even(row, span), "half-open"),
    ],
    "cell_box": [
        (lambda n, g, r: any_cell(n // g[1], n % g[1], g, r), "row by row"),
        (lambda n, g, r: any_cell(n % g[1], n // g[1], g, r), "as there are *columns*"),
        (lambda n, g, r: any_cell(n // g[0], n % g[0], g, r), "row and column are exchanged"),
        (lambda n, g, r: right_cell(n, g, size_of(r)), "does not begin at the photograph's corner"),
        (lambda n, g, r: right_cell(n, g, (0, 0, r[2], r[3])), "right edge for its width"),
        (lambda n, g, r: [round(v) for v in right_cell(n, g, r)], "you round"),
        (lambda n, g, r: [v * 16 for v in right_cell(n, g, (0, 0, *g))], "16 pixels a token"),
        (lambda n, g, r: any_cell((n - 1) % g[0], (n - 1) // g[0], g, r), "number 0"),
    ],
    "percentile": [
        (lambda own, others: sum(o < own for o in others), "that is a count"),
        (lambda own, others: ties(own, [*others, own]), "not one of the random ones"),
    ],
}


# -- notebook 06 ------------------------------------------------------------------------------------------

HONEST, SHOW, SHORTCUT, PRIOR = "honest", "looks for show", "shortcut", "prior-only"


def groups(tints: list[str], answers: list[str]) -> dict[str, list[str]]:
    return {tint: [a for t, a in zip(tints, answers, strict=True) if t == tint] for tint in set(tints)}


def best(answers: list[str]) -> int:
    return max(answers.count(a) for a in answers)


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


WRONG |= {
    "change": [
        (lambda own, other, k: sum(exp(v) for v in other[k:]) - sum(exp(v) for v in own[k:]), "probabilities"),
        (lambda own, other, k: exp(sum(other[k:])) / exp(sum(own[k:])), "how many times as likely"),
    ],
    "regret": [
        (lambda worths, taken: max(0, max(worths) - taken) / max(worths), "subtract"),
        (lambda worths, taken: max(range(len(worths)), key=worths.__getitem__), "which window is best"),
    ],
    "from_tint": [
        (lambda t, a: sum(best(g) for g in groups(t, a).values()), "that is a count"),
        (lambda t, a: len(set(t)) / len(t), "*at least* gets right"),
    ],
    "kind": [
        (rest_first, "Ask for the crop first"),
        (rest_before_region, "ask for the region first"),
        (swapped, "*outside* what is asked about"),
        (no_habit, "a habit"),
        (lambda crop, region, rest: HONEST if crop > 0.5 else PRIOR, "ask for both"),
    ],
}


# -- notebook 07 ------------------------------------------------------------------------------------------


def others(r: torch.Tensor) -> torch.Tensor:
    """The mean of the others, member by member."""
    return torch.stack([(r.sum(1) - r[:, i]) / (r.shape[1] - 1) for i in range(r.shape[1])], dim=1)


def best_other(r: torch.Tensor) -> torch.Tensor:
    rows = [[max(row[:i] + row[i + 1 :]) for i in range(len(row))] for row in r.tolist()]
    return r - torch.tensor(rows, dtype=r.dtype)


def pushed(w: Any, a: Any, stop: Callable[[float, float], bool], value: Callable[[float, float], float]) -> Any:
    """Token by token: nothing where it stops."""
    rows = [[0.0 if stop(x, s) else value(x, s) for x in row] for row, s in zip(w.tolist(), a.tolist(), strict=True)]
    return torch.tensor(rows, dtype=w.dtype)


def weighted(x: float, s: float) -> float:
    return x * s


def cut(lo: float, hi: float) -> Callable[[float, float], bool]:
    return lambda x, s: x > 1 + hi if s > 0 else x < 1 - lo


def ragged(kinds: Any, cut: Any, wanted: Any, begin: int = 1, padding: bool = False) -> torch.Tensor:
    rows = [torch.tensor([k in wanted for k in row]) for row in kinds]
    full = pad_sequence(rows, batch_first=True, padding_value=padding) & ~torch.tensor(cut)[:, None]
    return full[:, begin:] if begin >= 0 else full[:, :begin]


def behind(kinds: Any, cut: Any) -> torch.Tensor:
    """All tokens from the first sampled one on."""
    rows = [torch.tensor([2 in row[: i + 1] for i in range(len(row))]) for row in kinds]
    return (pad_sequence(rows, batch_first=True) & ~torch.tensor(cut)[:, None])[:, 1:]


def around(kinds: Any, cut: Any, before: bool) -> torch.Tensor:
    """Sampled tokens with nothing inserted before them, or behind them."""
    rows = []
    for row, ended in zip(kinds, cut, strict=True):
        sides = [row[:i] if before else row[i:] for i in range(len(row))]
        kept = [k == 2 and not ended and not {3, 4} & set(side) for k, side in zip(row, sides, strict=True)]
        rows.append(torch.tensor(kept))
    return pad_sequence(rows, batch_first=True)[:, 1:]


def numbers(v: Any, m: Any, how: str, n: int, **other: Any) -> Any:
    """The three ways, one of them perhaps another."""
    sums, counts = (v * m).sum(1), m.sum(1)
    ways = {
        "sequence": lambda: (sums / counts.clamp(min=1)).mean(),
        "token": lambda: sums.sum() / counts.sum(),
        "fixed": lambda: sums.sum() / (len(v) * n),
    }
    return (other[how] if how in other else ways[how])()


def seen(looks: Any) -> list[Any]:
    return [box for box, valid in looks if valid]


def fines(looks: Any) -> float:
    boxes = seen(looks)
    repeats = sum(any(iou(b, c) > 0.7 for c in boxes[:i]) for i, b in enumerate(boxes))
    return 0.1 * (repeats + len(looks) - len(boxes))


def place(looks: Any, truth: Any) -> float:
    return iou(seen(looks)[-1], truth) / 2 if seen(looks) else 0.0


def pairs_of_looks(looks: Any, close: Callable[[Any, Any], bool]) -> int:
    boxes = seen(looks)
    return sum(close(boxes[i], boxes[j]) for i in range(len(boxes)) for j in range(i))


def repeats(looks: Any, close: Callable[[Any, Any], bool]) -> int:
    boxes = seen(looks)
    return sum(any(close(b, c) for c in boxes[:i]) for i, b in enumerate(boxes))


def refused(looks: Any) -> int:
    return len(looks) - len(seen(looks))


def again(looks: Any) -> int:
    """Valid looks that meet an earlier one, refused or not."""
    return sum(v and any(iou(b, c) > 0.7 for c, _ in looks[:i]) for i, (b, v) in enumerate(looks))


def same(a: Any, b: Any) -> bool:
    return iou(a, b) > 0.7


def covers(a: Any, b: Any) -> bool:
    return max(coverage(a, b), coverage(b, a)) > 0.7


WRONG |= {
    "leave_one_out": [
        (others, "that is the baseline"),
        (best_other, "the best of the others"),
    ],
    "push": [
        (lambda w, a, lo, hi: pushed(w, a, lambda x, s: not 1 - lo <= x <= 1 + hi, weighted), "on both sides"),
        (
            lambda w, a, lo, hi: pushed(w, a, lambda x, s: x < 1 - lo if s > 0 else x > 1 + hi, weighted),
            "the other's bound",
        ),
        (lambda w, a, lo, hi: pushed(w, a, lambda x, s: s > 0 and x > 1 + hi, weighted), "only the upper"),
        (lambda w, a, lo, hi: pushed(w, a, lambda x, s: s < 0 and x < 1 - lo, weighted), "only the lower"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, lo), weighted), "the same width"),
        (lambda w, a, lo, hi: pushed(w, a, cut(hi, lo), weighted), "exchanged"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, hi), lambda x, s: s), "that of exp(x)"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, hi), lambda x, s: x), "where is the advantage"),
    ],
    "loss_mask": [
        (lambda k, c: ragged(k, c, {2}, 0), "a column too many"),
        (lambda k, c: ragged(k, c, {2}) & ragged(k, c, {2}, -1), "the first token after the prompt"),
        (behind, "everything after the prompt"),
        (lambda k, c: ragged(k, c, {2, 3}), "the environment's lines"),
        (lambda k, c: ragged(k, c, {2, 4}), "placeholders for pixels"),
        (lambda k, c: ragged(k, c, {2}, padding=True), "the padding"),
        (lambda k, c: around(k, c, before=False), "where to look"),
        (lambda k, c: around(k, c, before=True), "to read one"),
        (lambda k, c: ragged(k, c, {0, 2}), "the prompt carries loss"),
    ],
    "aggregate": [
        (lambda v, m, how, n: numbers(v, m, how, n, sequence=lambda: ((v * m).sum(1) / m.sum(1)).mean()), "0 / 0"),
        (
            lambda v, m, how, n: numbers(
                v,
                m,
                how,
                n,
                sequence=lambda: sum(x[k].mean() for x, k in zip(v, m, strict=True) if k.any()) / m.any(1).sum(),
            ),
            "'sequence' leaves a row",
        ),
        (
            lambda v, m, how, n: numbers(v, m, how, n, fixed=lambda: (v * m)[m.any(1)].sum(1).mean() / n),
            "'fixed' leaves a row",
        ),
        (lambda v, m, how, n: numbers(v, m, "sequence", n), "you do the same"),
        (lambda v, m, how, n: numbers(v, m, how, n, fixed=lambda: (v * m).sum(1).mean()), "does not know it"),
        (lambda v, m, how, n: numbers(v, m, how, n, fixed=lambda: v[m].sum() / n), "the step must not grow"),
    ],
    "region_checked": [
        (lambda k, t, r: (iou(k[-1][0], t) / 2 if k and r else 0) - fines(k), "could not be cut decides"),
        (lambda k, t, r: (iou(seen(k)[0], t) / 2 if seen(k) and r else 0) - fines(k), "You pay for the first"),
        (lambda k, t, r: r * max([iou(b, t) / 2 for b in seen(k)] or [0]) - fines(k), "look everywhere"),
        (lambda k, t, r: r * sum(iou(b, t) / 2 for b in seen(k)) - fines(k), "two half-good ones"),
        (lambda k, t, r: r * (coverage(seen(k)[-1], t) / 2 if seen(k) else 0) - fines(k), "excess too"),
        (lambda k, t, r: r * place(k, t) - 0.1 * refused(k), "repeats another costs nothing"),
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + pairs_of_looks(k, same)), "you fine pairs"),
        (
            lambda k, t, r: (
                r * place(k, t)
                - 0.1 * (refused(k) + sum(iou(*p) > 0.7 for p in zip(seen(k), seen(k)[1:], strict=False)))
            ),
            "the one before it alone",
        ),
        (
            lambda k, t, r: (
                r * place(k, t) - 0.1 * (refused(k) + sum(any(iou(b, c) > 0.7 for c in seen(k)) for b in seen(k)))
            ),
            "does a look repeat itself",
        ),
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + repeats(k, covers)), "a closer look at a part"),
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + again(k)), "after a refused one"),
        (lambda k, t, r: r * place(k, t) - 0.1 * max(0, len(k) - 1), "shows something new"),
        (lambda k, t, r: r * place(k, t) * 2 - fines(k), "may pay is 0.5"),
    ],
}


# -- notebook 08 ------------------------------------------------------------------------------------------


def interval(values: Any, half: Any) -> Any:
    return np.mean(values) - half, np.mean(values) + half


def apart(full: Any, other: Any) -> Any:
    return np.subtract(other, full)


def error(values: Any) -> Any:
    return np.std(values, ddof=1) / sqrt(len(values))


def off(values: Any, new: float) -> Any:
    return abs(new - np.mean(values)) / np.std(values, ddof=1)


WRONG |= {
    "seed_interval": [
        (lambda v, t: interval(v, t * np.std(v) / sqrt(len(v))), "n - 1 makes up for it"),
        (lambda v, t: interval(v, t * np.std(v, ddof=1)), "*single runs* scatter"),
        (lambda v, t: interval(v, t * np.std(v, ddof=1) / len(v)), "fall with its square root"),
        (lambda v, t: interval(v, t * np.var(v, ddof=1) / sqrt(len(v))), "that is the variance"),
    ],
    "paired": [
        (lambda f, o: (np.mean(apart(o, f)), error(apart(o, f))), "come out below zero"),
        (lambda f, o: (np.mean(apart(f, o)), np.std(apart(f, o)) / sqrt(len(f))), "n - 1 below the squares"),
        (lambda f, o: (np.mean(np.divide(apart(f, o), f)), error(np.divide(apart(f, o), f))), "Points are differences"),
    ],
    "as_expected": [
        (lambda v, new, t: off(v, new) <= t / sqrt(len(v)), "interval of the *mean*"),
        (lambda v, new, t: off(v, new) <= t, "you take the mean for known"),
        (lambda v, new, t: off(v, new) <= t * (1 + 1 / sqrt(len(v))), "their squares do"),
    ],
    "at_grounding": [
        (lambda a, b, p: p * np.sum(a) + (1 - p) * np.sum(b), "that is a count"),
        (lambda a, b, p: np.mean([*a[: round(p * len(a))], *b[round(p * len(b)) :]]), "the first samples"),
    ],
}


# -- notebook 09 ------------------------------------------------------------------------------------------


def shrunk(h: float, r: float, s: Any, f: int) -> tuple[float, float]:
    scale = min(1, r / h)
    return s[0] * scale / f, s[1] * scale / f


def cut_off(x1: float, y1: float, x2: float, y2: float, s: Any) -> list[float]:
    return [max(x1, 0), max(y1, 0), min(x2, s[0]), min(y2, s[1])]


WRONG |= {
    "tokens_needed": [
        (lambda h, r, s, f: (s[0] * r / h / f) * (s[1] * r / h / f), "adds tokens and no detail"),
        (lambda h, r, s, f: s[0] / f * s[1] / f, "not made smaller at all"),
        (lambda h, r, s, f: s[0] / f * s[1] / f * min(1, r / h), "both sides shrink"),
        (lambda h, r, s, f: (s[0] * h / r / f) * (s[1] * h / r / f), "Your picture grows"),
        (lambda h, r, s, f: ceil(prod(shrunk(h, r, s, f))), "you round"),
    ],
    "as_region": [
        (lambda a, s: cut_off(a[0], a[1], a[0] + a[2], a[1] + a[3], s[::-1]), "x goes with the width"),
        (
            lambda a, s: [v / s[k % 2] for k, v in enumerate(cut_off(a[0], a[1], a[0] + a[2], a[1] + a[3], s))],
            "fractions of the image",
        ),
    ],
    "cache_bytes": [
        (lambda t, n, k, d, e: 2 * t**2 * n * k * d * e, "not with their square"),
        (lambda t, n, k, d, e: 2 * t * n * k * d * e / 1024**3, "in MiB or GiB"),
    ],
}
