"""The exercises of notebook 04: which tokens of a VLIR sample carry loss, the loss itself, the learning rate of a step,
and a box that misses by as much as is wanted.

check_interleaved_mask(loss_mask)        # prints "right" or one hint; True when right
missed((0, 0, 60, 40), 0.5)              # the box, moved until its IoU with the old one is 0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from ..core.geometry import Box, Frame
from ..train.sft import next_token_loss, schedule
from ..trajectory import ImageRef, Kind, Trajectory
from .judge import Exercise, with_gradient

Tensor = torch.Tensor
Part = tuple[str, int]  # what a stretch of tokens is, and how many

# -- which tokens carry loss? --------------------------------------------------------------------------------------

KINDS = {
    "prompt": Kind.PROMPT,
    "overview": Kind.OVERVIEW,
    "text": Kind.SAMPLED,
    "box": Kind.SAMPLED,
    "answer": Kind.SAMPLED,
    "mark": Kind.ENVIRONMENT,  # <|vision_start|> and <|vision_end|> around a crop
    "message": Kind.ENVIRONMENT,
    "crop": Kind.CROP,
}
OWN = tuple(name for name, kind in KINDS.items() if kind is Kind.SAMPLED)


def _loss_mask(parts: Sequence[Part]) -> list[bool]:
    kinds = [int(KINDS[name]) for name, count in parts for _ in range(count)]
    return Trajectory("case", "?", ImageRef("0" * 64, 1, 1), (1, 1), Frame.SOURCE, kinds=kinds).sampled_mask


def _only(*names: str) -> Callable[[Sequence[Part]], list[bool]]:
    return lambda parts: [name in names for name, count in parts for _ in range(count)]


def _after_prompt(*without: str) -> Callable[[Sequence[Part]], list[bool]]:
    return _only(*(name for name in KINDS if name not in ("prompt", "overview", *without)))


def _moved(earlier: bool) -> Callable[[Sequence[Part]], list[bool]]:
    """The right mask, one token too early or too late."""

    def made(parts: Sequence[Part]) -> list[bool]:
        mask = _loss_mask(parts)
        return [*mask[1:], False] if earlier else [False, *mask[:-1]]

    return made


_QUESTION: list[Part] = [("prompt", 4), ("overview", 9), ("prompt", 6)]
_LOOK: list[Part] = [("text", 7), ("box", 9), ("mark", 1), ("crop", 4), ("mark", 1)]

check_interleaved_mask = Exercise(
    "f(parts): for each token of a sequence, given as (what, count) in order, whether it carries loss.",
    _loss_mask,
    (
        ([*_QUESTION, *_LOOK, ("text", 4), ("answer", 3)],),
        ([*_QUESTION, ("text", 5), ("answer", 3)],),  # no look
        ([*_QUESTION, ("text", 3), ("box", 9), ("message", 6), *_LOOK, ("text", 4), ("answer", 3)],),  # one refused
        ([*_QUESTION, *_LOOK, *_LOOK, ("text", 2), ("answer", 4)],),
    ),
    {
        "everything that is text carries loss in yours. The question is text as well, and so are the loop's marks "
        "and messages: will the policy ever have to write them?": [
            _only("prompt", "mark", "message", *OWN),
            _only("prompt", "message", *OWN),
            _only("prompt", "mark", *OWN),
        ],
        "the prompt carries loss: you teach the policy to ask, too.": [_only("prompt", *OWN)],
        "everything after the prompt carries loss in yours, and in between stands a crop. Who puts it there?": [
            _after_prompt(),
            _after_prompt("message"),
            _after_prompt("mark"),
            _only("crop", *OWN),
        ],
        "what the loop inserts carries loss: marks, or messages. They are its words, put into the policy's mouth.": [
            _after_prompt("crop"),
            _only("mark", *OWN),
            _only("message", *OWN),
        ],
        "boxes carry no loss in yours. They are text that the policy must learn to write, number by number.": [
            _only("text", "answer"),
            _only("text"),
        ],
        "the answer alone carries loss: then nobody shows the policy when to look, or where.": [_only("answer")],
        "the answer carries no loss in yours.": [_only("text", "box")],
        "the other way round: True is what the policy must learn to write.": [
            lambda parts: [not told for told in _loss_mask(parts)]
        ],
        "yours is moved by one token. Here an entry speaks of its own token; the shift comes later, in the loss.": [
            _moved(True),
            _moved(False),
        ],
        "one entry a part. Wanted: one a token, so each part as often as it has tokens.": [
            lambda parts: [name in OWN for name, _ in parts]
        ],
    },
)


# -- the loss ------------------------------------------------------------------------------------------------------


def _next_token(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The library's loss, told that a forward pass has given `logits`."""
    given: Any = SimpleNamespace(
        rows=lambda rows: SimpleNamespace(ids=ids), hidden=lambda batch: logits, logits=lambda states: states
    )
    return next_token_loss(given, [], mask.tolist())[0].mean()


def _each(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy (B, T) of logits (B, T, V)."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)


def _shifted(logits: Tensor, ids: Tensor) -> Tensor:
    return _each(logits[:, :-1], ids[:, 1:])


def _chosen(logits: Tensor, ids: Tensor) -> Tensor:
    """The logit (B, T) of each next token."""
    return logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]


def _across_rows(z: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    each = F.cross_entropy(z.flatten(0, 1)[:-1], ids.flatten()[1:], reduction="none")
    return each[mask.flatten()[1:]].mean()


_DRAW = torch.Generator().manual_seed(4)
_LOGITS = 2 * torch.randn((3, 6, 7), generator=_DRAW, dtype=torch.float64)
_IDS = torch.randint(1, 7, (3, 6), generator=_DRAW)
_IDS[1, 4:] = _IDS[2, 5:] = 0  # padding on the right
_MASK = torch.tensor([[0, 0, 1, 1, 0, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]], dtype=torch.bool)

check_next_token = Exercise(
    "f(logits, ids, mask): mean cross-entropy of the marked tokens (B, L), and its gradient in `logits`.",
    _next_token,
    (
        (_LOGITS, _IDS, _MASK),
        (_LOGITS.flip(0) / 2, _IDS.flip(0), _MASK.flip(0)),
    ),
    {
        "where is the shift? The state at a token has read that token already: it predicts the next one.": [
            lambda z, i, m: _each(z, i)[m].mean()
        ],
        "the shift goes the wrong way: what stands at t is predicted from what was read up to t - 1.": [
            lambda z, i, m: _each(z[:, 1:], i[:, :-1])[m[:, :-1]].mean(),
            lambda z, i, m: _each(z[:, 1:], i[:, :-1])[m[:, 1:]].mean(),
        ],
        "the mask is not shifted with the targets. It speaks of the token that is predicted, not of the one that "
        "was read last.": [lambda z, i, m: _shifted(z, i)[m[:, :-1]].mean()],
        "laid end to end, the last token of a row predicts the first of the next. Nothing predicts a row's first.": [
            _across_rows
        ],
        "you average in each row first, so that the tokens of short rows weigh more. One mean over all of them.": [
            lambda z, i, m: ((_shifted(z, i) * m[:, 1:]).sum(1) / m[:, 1:].sum(1)).mean()
        ],
        "masked tokens are set to zero but counted in the mean. Divide by the number of those that carry loss.": [
            lambda z, i, m: (_shifted(z, i) * m[:, 1:]).mean(),
            lambda z, i, m: _each(z[:, :-1] * m[:, 1:, None], i[:, 1:] * m[:, 1:]).mean(),
        ],
        "every token carries loss, padding too: where does the mask come in?": [lambda z, i, m: _shifted(z, i).mean()],
        "a sum, where a mean was wanted.": [lambda z, i, m: _shifted(z, i)[m[:, 1:]].sum()],
        "a logit is no log-probability yet: what makes the probabilities of all words add up to 1?": [
            lambda z, i, m: -_chosen(z, i)[m[:, 1:]].mean()
        ],
        "the probabilities of all *words* add up to 1, not those of places or rows. Which dimension is that?": [
            lambda z, i, m: -_chosen(z.log_softmax(1), i)[m[:, 1:]].mean(),
            lambda z, i, m: -_chosen(z.log_softmax(0), i)[m[:, 1:]].mean(),
        ],
        "that is the log-probability. An optimiser goes downhill: it would make the lesson less likely. The sign.": [
            lambda z, i, m: -_shifted(z, i)[m[:, 1:]].mean()
        ],
        "you average probabilities. The likelihood of a text is their product: what does the logarithm make of it?": [
            lambda z, i, m: -(-_shifted(z, i)).exp()[m[:, 1:]].mean(),
            lambda z, i, m: 1 - (-_shifted(z, i)).exp()[m[:, 1:]].mean(),
        ],
        "the number is right, but no gradient flows from it to the logits: no `.item()`, `.detach()` or `float()`.": [
            lambda z, i, m: _next_token(z, i, m).item(),
            lambda z, i, m: _next_token(z, i, m).detach(),
        ],
    },
    run=with_gradient,
)


# -- the learning rate ---------------------------------------------------------------------------------------------


def _rate(step: int, steps: int, warm: int, final: float) -> float:
    return schedule(step, steps, final, warm)


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _then(fall: Callable[[float, float], float]) -> Callable[[int, int, int, float], float]:
    """The right start, and another fall: `fall(progress, final)`."""
    return lambda s, n, w, f: (s + 1) / w if s < w else fall((s - w) / (n - w), f)


check_rate = Exercise(
    "f(step, steps, warm, final): the factor on the learning rate at a step, counted from 0.",
    _rate,
    (
        (0, 100, 10, 0.1),
        (4, 100, 10, 0.1),
        (9, 100, 10, 0.1),
        (10, 100, 10, 0.1),
        (40, 100, 10, 0.1),
        (55, 100, 10, 0.1),  # half of the fall
        (99, 100, 10, 0.1),
        (30, 60, 20, 0.3),
        (3, 8, 2, 0.5),
    ),
    {
        "your first step has a rate of 0: it changes nothing. Count the step that is being taken.": [
            lambda s, n, w, f: s / w if s < w else _rate(s, n, w, f)
        ],
        "you fall along a straight line. A cosine stays high for a while, and levels out at the end.": [
            _then(lambda x, f: 1 - (1 - f) * x),
            _then(lambda x, f: 1 - x),
        ],
        "the fall counts from the first step of all, so that the rate jumps where it begins. It starts when the "
        "warm-up is over.": [
            lambda s, n, w, f: (s + 1) / w if s < w else f + (1 - f) * _cosine(s / n),
            lambda s, n, w, f: min(1, (s + 1) / w) * (f + (1 - f) * _cosine(s / n)),
        ],
        "the fall takes `steps` steps after the warm-up: it is not over when training is.": [
            lambda s, n, w, f: (s + 1) / w if s < w else f + (1 - f) * _cosine((s - w) / n)
        ],
        "you fall to 0. Where does `final` come in?": [_then(lambda x, f: _cosine(x))],
        "your peak is above 1: `final` is added on top. How much is left to fall?": [
            _then(lambda x, f: f + _cosine(x))
        ],
        "you stop the fall at `final` as at a floor. It should arrive there at the very end, without a kink.": [
            _then(lambda x, f: max(f, _cosine(x)))
        ],
        "a bare cosine runs from 1 to -1, below `final` and even below 0. Bring it to run from 1 to 0 first.": [
            _then(lambda x, f: f + (1 - f) * math.cos(math.pi * x)),
            _then(lambda x, f: math.cos(math.pi * x)),
            _then(lambda x, f: max(f, math.cos(math.pi * x))),
        ],
        "that is a quarter of a turn: steepest at the end. Half a turn is level at both ends.": [
            _then(lambda x, f: f + (1 - f) * math.cos(math.pi / 2 * x))
        ],
        "there is no warm-up: the first steps are the largest, and nothing is known yet.": [
            lambda s, n, w, f: f + (1 - f) * _cosine(s / n),
            lambda s, n, w, f: 1.0 if s < w else _rate(s, n, w, f),
        ],
        "yours rises when it should fall.": [_then(lambda x, f: f + (1 - f) * _cosine(1 - x))],
    },
)


# -- a box that misses ---------------------------------------------------------------------------------------------


def missed(box: Box, wanted: float, way: int = 1) -> Box:
    """The box, moved sideways until its IoU with where it was is `wanted`.

    Parameters
    ----------
    box : source pixels, of positive width
    wanted : 0 to 1; at 0 the two only touch
    way : 1 to the right, -1 to the left
    """
    x1, y1, x2, y2 = box
    shift = way * (x2 - x1) * (1 - wanted) / (1 + wanted)
    return (x1 + shift, y1, x2 + shift, y2)


def _missed(box: Box, wanted: float) -> Box:
    return missed(box, wanted)


def _by(shift: Callable[[float, float, float], tuple[float, float]]) -> Callable[[Box, float], Box]:
    """A move by (across, down), made of width, height and what is wanted."""

    def made(box: Box, wanted: float) -> Box:
        x1, y1, x2, y2 = box
        across, down = shift(x2 - x1, y2 - y1, wanted)
        return (x1 + across, y1 + down, x2 + across, y2 + down)

    return made


def _part(wanted: float) -> float:
    return (1 - wanted) / (1 + wanted)


def _smaller(box: Box, wanted: float) -> Box:
    """About the same middle, with the area that gives the wanted IoU."""
    x1, y1, x2, y2 = box
    k = (1 - math.sqrt(wanted)) / 2
    dx, dy = k * (x2 - x1), k * (y2 - y1)
    return (x1 + dx, y1 + dy, x2 - dx, y2 - dy)


check_missed = Exercise(
    "f(box, wanted): the box moved to the right until its IoU with the old one is `wanted`.",
    _missed,
    (
        ((100.0, 100.0, 160.0, 140.0), 0.5),
        ((100.0, 100.0, 160.0, 140.0), 0.25),
        ((7.5, 300.0, 57.5, 375.0), 0.8),
        ((200.0, 40.0, 250.0, 90.0), 1.0),
        ((200.0, 40.0, 260.0, 90.0), 0.0),
    ),
    {
        "then that share of the old box is still covered, but IoU divides by the *union*, which has grown.": [
            _by(lambda w, h, i: (w * (1 - i), 0.0))
        ],
        "your box is no longer as large as it was. It should be moved, not cut or shrunk.": [
            lambda b, i: (b[0] + (b[2] - b[0]) * (1 - i), *b[1:]),
            lambda b, i: (b[0] + (b[2] - b[0]) * _part(i), *b[1:]),
            lambda b, i: (*b[:2], b[2] - (b[2] - b[0]) * (1 - i), b[3]),
            _smaller,
        ],
        "to the right: x grows.": [lambda b, i: missed(b, i, -1), _by(lambda w, h, i: (-w * (1 - i), 0.0))],
        "sideways: that is along the width. You use the height, or move it down.": [
            _by(lambda w, h, i: (h * _part(i), 0.0)),
            _by(lambda w, h, i: (0.0, h * _part(i))),
            _by(lambda w, h, i: (0.0, w * _part(i))),
        ],
        "moved along both sides, it loses overlap twice. Sideways alone was asked for.": [
            _by(lambda w, h, i: (w * _part(i), h * _part(i))),
            _by(lambda w, h, i: (w * (1 - i), h * (1 - i))),
        ],
        "that is a share of the width. How many pixels is it?": [
            _by(lambda w, h, i: (_part(i), 0.0)),
            _by(lambda w, h, i: (1 - i, 0.0)),
        ],
        "you round to whole pixels. A box is rounded once, when it is written.": [
            lambda b, i: tuple(round(v) for v in missed(b, i)),
            lambda b, i: tuple(int(v) for v in missed(b, i)),
            _by(lambda w, h, i: (float(round(w * _part(i))), 0.0)),
        ],
        "that is how far it has moved. Return the box: four numbers.": [lambda b, i: (b[2] - b[0]) * _part(i)],
    },
)
