"""Answers to the exercises of notebook 04 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from r3lab.course.cold_start import missed

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


def chosen(logp: Any, i: Any, m: Any) -> torch.Tensor:
    return -logp[:, :-1].gather(2, i[:, 1:].unsqueeze(2)).squeeze(2)[m[:, 1:]].mean()


def end_to_end(z: Any, i: Any, m: Any) -> torch.Tensor:
    flat = nll(z.reshape(1, -1, z.shape[2])[:, :-1], i.reshape(1, -1)[:, 1:])[0]
    return flat[m.reshape(-1)[1:]].mean()


def row_by_row(z: Any, i: Any, m: Any) -> torch.Tensor:
    rows = [each[keep].mean() for each, keep in zip(shifted(z, i), m[:, 1:], strict=True)]
    return torch.stack(rows).mean()


def rise(s: int, w: int) -> float:
    return (s + 1) / w


def wave(x: float) -> float:
    return (1 + math.cos(x * math.pi)) / 2


def falls(s: int, n: int, w: int, fall: Callable[[float], float]) -> float:
    return rise(s, w) if s < w else fall((s - w) / (n - w))


def right_rate(s: int, n: int, w: int, f: float) -> float:
    return falls(s, n, w, lambda x: f + (1 - f) * wave(x))


def shares(i: float) -> float:
    return (1 - i) / (1 + i)


def wide(b: Any) -> float:
    return b[2] - b[0]


def high(b: Any) -> float:
    return b[3] - b[1]


def moved(b: Any, dx: float, dy: float = 0) -> list[float]:
    return [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy]


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "interleaved_mask": [
        (lambda p: [n not in ("overview", "crop") for n, k in p for _ in range(k)], "everything that is text"),
        (lambda p: marked(p, "prompt", *TEXTS), "you teach the policy to ask"),
        (after, "stands a crop"),
        (lambda p: marked(p, "crop", *TEXTS), "stands a crop"),
        (lambda p: after(p, "crop"), "what the loop inserts"),
        (lambda p: marked(p, "message", *TEXTS), "what the loop inserts"),
        (lambda p: marked(p, "text", "answer"), "boxes carry no loss"),
        (lambda p: marked(p, "answer"), "the answer alone"),
        (lambda p: marked(p, "text", "box"), "the answer carries no loss"),
        (lambda p: [not told for told in marked(p, *TEXTS)], "the other way round"),
        (lambda p: [*marked(p, *TEXTS)[1:], 0], "moved by one"),
        (lambda p: [0, *marked(p, *TEXTS)[:-1]], "moved by one"),
        (lambda p: [n in TEXTS for n, _ in p], "one entry a part"),
    ],
    "next_token": [
        (lambda z, i, m: nll(z, i)[m].mean(), "where is the shift"),
        (lambda z, i, m: nll(z[:, 1:], i[:, :-1])[m[:, :-1]].mean(), "the wrong way"),
        (lambda z, i, m: shifted(z, i)[m[:, :-1]].mean(), "not shifted with the targets"),
        (end_to_end, "laid end to end"),
        (row_by_row, "average in each row first"),
        (lambda z, i, m: (shifted(z, i) * m[:, 1:]).mean(), "counted in the mean"),
        (lambda z, i, m: shifted(z, i).mean(), "where does the mask come in"),
        (lambda z, i, m: shifted(z, i)[m[:, 1:]].sum(), "a mean was wanted"),
        (lambda z, i, m: chosen(z, i, m), "no log-probability yet"),
        (lambda z, i, m: chosen(z.log_softmax(1), i, m), "Which dimension"),
        (lambda z, i, m: -shifted(z, i)[m[:, 1:]].mean(), "The sign"),
        (lambda z, i, m: 1 - torch.exp(-shifted(z, i))[m[:, 1:]].mean(), "average probabilities"),
        (lambda z, i, m: shifted(z, i)[m[:, 1:]].mean().item(), "no gradient flows"),
        (lambda z, i, m: shifted(z, i).mean(1), "must be one number"),
    ],
    "rate": [
        (lambda s, n, w, f: s / w if s < w else right_rate(s, n, w, f), "changes nothing"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: 1 + (f - 1) * x), "straight line"),
        (lambda s, n, w, f: rise(s, w) if s < w else f + (1 - f) * wave(s / n), "the rate jumps"),
        (lambda s, n, w, f: rise(s, w) if s < w else f + (1 - f) * wave((s - w) / n), "is not over"),
        (lambda s, n, w, f: falls(s, n, w, wave), "Where does `final` come in"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + wave(x)), "your peak is above 1"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: max(wave(x), f)), "as at a floor"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * math.cos(x * math.pi)), "runs from 1 to -1"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * math.cos(x * math.pi / 2)), "quarter of a turn"),
        (lambda s, n, w, f: f + (1 - f) * wave(s / n), "there is no warm-up"),
        (lambda s, n, w, f: falls(s, n, w, lambda x: f + (1 - f) * (1 - wave(x))), "rises when it should fall"),
    ],
    "missed": [
        (lambda b, i: moved(b, (1 - i) * wide(b)), "divides by the *union*"),
        (lambda b, i: [b[0] + (1 - i) * wide(b), b[1], b[2], b[3]], "cut or shrunk"),
        (lambda b, i: moved(b, -shares(i) * wide(b)), "x grows"),
        (lambda b, i: moved(b, 0, shares(i) * high(b)), "along the width"),
        (lambda b, i: moved(b, shares(i) * wide(b), shares(i) * high(b)), "loses overlap twice"),
        (lambda b, i: moved(b, shares(i)), "a share of the width"),
        (lambda b, i: [round(v) for v in missed(b, i)], "you round"),
        (lambda b, i: shares(i) * wide(b), "how far it has moved"),
    ],
}
