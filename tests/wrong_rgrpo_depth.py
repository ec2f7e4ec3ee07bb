"""Answers to the exercises of notebook 07 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from r3lab.core.geometry import coverage, iou


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


def pairs(looks: Any, close: Callable[[Any, Any], bool]) -> int:
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


def inside(a: Any, b: Any) -> bool:
    return max(coverage(a, b), coverage(b, a)) > 0.7


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "leave_one_out": [
        (lambda r: r - r.mean(1)[:, None], "the rollout's own reward"),
        (lambda r: r - (r.sum(1)[:, None] - r) / r.shape[1], "are G - 1"),
        (lambda r: r - (r.sum(1)[:, None] - r), "the sum of the others"),
        (lambda r: (r - others(r)) / (r.std(1)[:, None] + 1e-4), "divide by the spread"),
        (lambda r: others(r) - r, "the sign"),
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
        (lambda w, a, lo, hi: torch.clamp(w, 1 - lo, 1 + hi) * a.unsqueeze(1), "CISPO"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, hi), lambda x, s: s), "that of exp(x)"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, hi), lambda x, s: x), "where is the advantage"),
        (lambda w, a, lo, hi: pushed(w, a, lambda x, s: False, weighted), "nothing is clipped"),
        (lambda w, a, lo, hi: pushed(w, a, cut(lo, hi), lambda x, s: -x * s), "goes downhill"),
    ],
    "loss_mask": [
        (lambda k, c: ragged(k, [False] * len(k), {2}), "that were cut off carry loss"),
        (lambda k, c: ragged(k, c, {2})[[not x for x in c]], "out. They stay"),
        (lambda k, c: ragged(k, [not x for x in c], {2}), "the only ones that carry"),
        (lambda k, c: ragged(k, c, {2}, 0), "a column too many"),
        (lambda k, c: ragged(k, c, {2}, -1), "*from* which"),
        (lambda k, c: ragged(k, c, {2}) & ragged(k, c, {2}, -1), "the first token after the prompt"),
        (behind, "everything after the prompt"),
        (lambda k, c: ragged(k, c, {2, 3, 4}), "everything after the prompt"),
        (lambda k, c: ragged(k, c, {2, 3}), "the environment's lines"),
        (lambda k, c: ragged(k, c, {2, 4}), "placeholders for pixels"),
        (lambda k, c: ragged(k, c, {2}, padding=True), "the padding"),
        (lambda k, c: around(k, c, before=False), "where to look"),
        (lambda k, c: around(k, c, before=True), "to read one"),
        (lambda k, c: ragged(k, c, {0, 2}), "the prompt carries loss"),
        (lambda k, c: ~ragged(k, c, {2}), "where no loss must be"),
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
        (lambda v, m, how, n: v[m].mean(), "you do the same"),
        (lambda v, m, how, n: v[m].sum() / len(v) / n, "you do the same"),
        (lambda v, m, how, n: numbers(v, m, {"token": "sequence", "sequence": "token"}.get(how, how), n), "exchanged"),
        (lambda v, m, how, n: numbers(v, m, how, n, fixed=lambda: (v * m).sum(1).mean()), "does not know it"),
        (lambda v, m, how, n: numbers(v, m, how, n, fixed=lambda: v[m].sum() / n), "the step must not grow"),
        (lambda v, m, how, n: numbers(v, torch.ones_like(m), how, n), "what is not sampled is in the sum"),
        (
            lambda v, m, how, n: numbers(
                v * m, m, how, n, sequence=lambda: (v * m).mean(), token=lambda: (v * m).mean()
            ),
            "still counted",
        ),
        (
            lambda v, m, how, n: (
                (v * m).sum(1) / {"sequence": m.sum(1).clamp(min=1), "token": m.sum(), "fixed": n}[how]
            ),
            "a number a row",
        ),
    ],
    "region_checked": [
        (lambda k, t, r: place(k, t) - fines(k), "pointing pays"),
        (lambda k, t, r: place(k, t) - fines(k) if r else 0.0, "escapes the fines"),
        (lambda k, t, r: (iou(k[-1][0], t) / 2 if k and r else 0) - fines(k), "could not be cut decides"),
        (lambda k, t, r: (iou(seen(k)[0], t) / 2 if seen(k) and r else 0) - fines(k), "You pay for the first"),
        (lambda k, t, r: r * max([iou(b, t) / 2 for b in seen(k)] or [0]) - fines(k), "look everywhere"),
        (lambda k, t, r: r * sum(iou(b, t) / 2 for b in seen(k)) - fines(k), "two half-good ones"),
        (lambda k, t, r: r * (coverage(seen(k)[-1], t) / 2 if seen(k) else 0) - fines(k), "excess too"),
        (lambda k, t, r: r * place(k, t) - 0.1 * repeats(k, same), "cannot be cut costs nothing"),
        (lambda k, t, r: r * place(k, t) - 0.1 * refused(k), "repeats another costs nothing"),
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + pairs(k, same)), "you fine pairs"),
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
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + repeats(k, inside)), "a closer look at a part"),
        (lambda k, t, r: r * place(k, t) - 0.1 * (refused(k) + again(k)), "after a refused one"),
        (lambda k, t, r: r * place(k, t) - 0.1 * max(0, len(k) - 1), "shows something new"),
        (lambda k, t, r: r * place(k, t) * 2 - fines(k), "may pay is 0.5"),
    ],
}
