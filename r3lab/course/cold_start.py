"""The exercises of notebook 04: which tokens of a VLIR sample carry loss, the loss itself, the learning rate of a step,
and a box that misses by as much as is wanted.

check_interleaved_mask(loss_mask)        # prints "right" or one hint; True when right
missed((0, 0, 60, 40), 0.5)              # the box, moved until its IoU with the old one is 0.5
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..core.geometry import Box, Frame
from ..train.sft import next_token_loss, schedule
from ..trajectory import ImageRef, Kind, Trajectory
from .judge import NAN, ROUNDED, Exercise, Function, Then, with_gradient

Tensor = torch.Tensor
Part = tuple[str, int]  # what a stretch of tokens is, and how many

# -- which tokens carry loss? --------------------------------------------------------------------------------------

KINDS = {"prompt": Kind.PROMPT, "overview": Kind.OVERVIEW, "crop": Kind.CROP}
KINDS |= dict.fromkeys(("text", "box", "answer"), Kind.SAMPLED)
KINDS |= dict.fromkeys(("mark", "message"), Kind.ENVIRONMENT)  # <|vision_start|> and <|vision_end|> around a crop
OWN = tuple(name for name, kind in KINDS.items() if kind is Kind.SAMPLED)


def _loss_mask(parts: Sequence[Part]) -> list[bool]:
    kinds = [int(KINDS[name]) for name, count in parts for _ in range(count)]
    return Trajectory("case", "?", ImageRef("0" * 64, 1, 1), (1, 1), Frame.SOURCE, kinds=kinds).sampled_mask


def _only(*names: str) -> Function:
    return lambda parts: [name in names for name, count in parts for _ in range(count)]


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
    "everything that is text carries loss. Will the policy ever have to write the question, or the loop's words?",
    (_only("prompt", "mark", "message", *OWN), _only("prompt", "message", *OWN), _only("prompt", "mark", *OWN)),
    "the prompt carries loss: you teach the policy to ask, too.",
    _only("prompt", *OWN),
    "everything after the prompt carries loss in yours, and in between stands a crop. Who puts it there?",
    (_only("mark", "message", "crop", *OWN), _only("crop", *OWN)),
    "what the loop inserts carries loss: marks, or messages. They are its words, put into the policy's mouth.",
    (_only("mark", "message", *OWN), _only("mark", *OWN), _only("message", *OWN)),
    "boxes carry no loss in yours. They are text that the policy must learn to write, number by number.",
    (_only("text", "answer"), _only("text")),
    "the answer alone carries loss: then nobody shows the policy when to look, or where.",
    _only("answer"),
    "the answer carries no loss in yours.",
    _only("text", "box"),
    "the other way round: True is what the policy must learn to write.",
    Then(np.logical_not),
    "yours is moved by one token. Here an entry speaks of its own token; the shift comes later, in the loss.",
    (Then(lambda mask: [*mask[1:], False]), Then(lambda mask: [False, *mask[:-1]])),
    "one entry a part. Wanted: one a token, so each part as often as it has tokens.",
    lambda parts: [name in OWN for name, _ in parts],
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


_DRAW = torch.Generator().manual_seed(4)
_LOGITS = 2 * torch.randn((3, 6, 7), generator=_DRAW, dtype=torch.float64)
_IDS = torch.randint(1, 7, (3, 6), generator=_DRAW)
_IDS[1, 4:] = _IDS[2, 5:] = 0  # padding on the right
_MASK = torch.tensor([[0, 0, 1, 1, 0, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]], dtype=torch.bool)

check_next_token = Exercise(
    "f(logits, ids, mask): mean cross-entropy of the marked tokens (B, L), and its gradient in `logits`.",
    _next_token,
    ((_LOGITS, _IDS, _MASK), (_LOGITS.flip(0) / 2, _IDS.flip(0), _MASK.flip(0))),
    "where is the shift? The state at a token has read that token already: it predicts the next one.",
    lambda z, i, m: _each(z, i)[m].mean(),
    "the shift goes the wrong way: what stands at t is predicted from what was read up to t - 1.",
    lambda z, i, m: _each(z[:, 1:], i[:, :-1])[m[:, :-1]].mean(),
    "the mask is not shifted with the targets. It speaks of the token that is predicted, not of the last one read.",
    lambda z, i, m: _shifted(z, i)[m[:, :-1]].mean(),
    "laid end to end, the last token of a row predicts the first of the next. Nothing predicts a row's first.",
    lambda z, i, m: _shifted(z.flatten(0, 1)[None], i.flatten()[None])[0, m.flatten()[1:]].mean(),
    "you average in each row first, so that the tokens of short rows weigh more. One mean over all of them.",
    lambda z, i, m: ((_shifted(z, i) * m[:, 1:]).sum(1) / m[:, 1:].sum(1)).mean(),
    "masked tokens are set to zero but counted in the mean. Divide by the number of those that carry loss.",
    lambda z, i, m: (_shifted(z, i) * m[:, 1:]).mean(),
    "every token carries loss, padding too: where does the mask come in?",
    lambda z, i, m: _shifted(z, i).mean(),
    "a sum, where a mean was wanted.",
    lambda z, i, m: _shifted(z, i)[m[:, 1:]].sum(),
    "a logit is no log-probability yet: what makes the probabilities of all words add up to 1?",
    lambda z, i, m: -_chosen(z, i)[m[:, 1:]].mean(),
    "the probabilities of all *words* add up to 1, not those of places or rows. Which dimension is that?",
    lambda z, i, m: -_chosen(z.log_softmax(1), i)[m[:, 1:]].mean(),
    "that is the log-probability. An optimiser goes downhill: it would make the lesson less likely. The sign.",
    Then(operator.neg),
    "you average probabilities. The likelihood of a text is their product: what does the logarithm make of it?",
    lambda z, i, m: 1 - (-_shifted(z, i)).exp()[m[:, 1:]].mean(),
    "the number is right, but no gradient flows from it to the logits: no `.item()`, `.detach()` or `float()`.",
    (Then(Tensor.item), Then(Tensor.detach)),
    run=with_gradient,
    edge=(NAN, [(_LOGITS.masked_fill(~_MASK.roll(-1, 1)[..., None], torch.nan), _IDS, _MASK)]),
)


# -- the learning rate ---------------------------------------------------------------------------------------------


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _warmed(fall: Function) -> Function:
    """The right start, and another fall: of the arguments of the rate."""
    return lambda s, n, w, f: (s + 1) / w if s < w else fall(s, n, w, f)


def _then(fall: Function) -> Function:
    """The right start, and another fall: `fall(progress, final)`."""
    return _warmed(lambda s, n, w, f: fall((s - w) / (n - w), f))


check_rate = Exercise(
    "f(step, steps, warm, final): the factor on the learning rate at a step, counted from 0.",
    lambda step, steps, warm, final: schedule(step, steps, final, warm),
    # 55 is half of the fall
    [*((step, 100, 10, 0.1) for step in (0, 4, 9, 10, 40, 55, 99)), (30, 60, 20, 0.3), (3, 8, 2, 0.5)],
    "your first step has a rate of 0: it changes nothing. Count the step that is being taken.",
    lambda s, n, w, f: s / w if s < w else schedule(s, n, f, w),
    "you fall along a straight line. A cosine stays high for a while, and levels out at the end.",
    (_then(lambda x, f: 1 - (1 - f) * x), _then(lambda x, f: 1 - x)),
    "the fall counts from the first step of all: the rate jumps where it begins. It starts after the warm-up.",
    _warmed(lambda s, n, w, f: f + (1 - f) * _cosine(s / n)),
    "the fall takes `steps` steps after the warm-up: it is not over when training is.",
    _warmed(lambda s, n, w, f: f + (1 - f) * _cosine((s - w) / n)),
    "you fall to 0. Where does `final` come in?",
    _then(lambda x, f: _cosine(x)),
    "your peak is above 1: `final` is added on top. How much is left to fall?",
    _then(lambda x, f: f + _cosine(x)),
    "you stop the fall at `final` as at a floor. It should arrive there at the very end, without a kink.",
    _then(lambda x, f: max(f, _cosine(x))),
    "a bare cosine runs from 1 to -1, below `final` and even below 0. Bring it to run from 1 to 0 first.",
    _then(lambda x, f: f + (1 - f) * math.cos(math.pi * x)),
    "that is a quarter of a turn: steepest at the end. Half a turn is level at both ends.",
    _then(lambda x, f: f + (1 - f) * math.cos(math.pi / 2 * x)),
    "there is no warm-up: the first steps are the largest, and nothing is known yet.",
    (lambda s, n, w, f: f + (1 - f) * _cosine(s / n), lambda s, n, w, f: 1.0 if s < w else schedule(s, n, f, w)),
    "yours rises when it should fall.",
    _then(lambda x, f: f + (1 - f) * _cosine(1 - x)),
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
    shift = way * (x2 - x1) * _part(wanted)
    return (x1 + shift, y1, x2 + shift, y2)


def _part(wanted: float) -> float:
    return (1 - wanted) / (1 + wanted)


def _by(shift: Function) -> Function:
    """The box and what is added to it, made of width, height and what is wanted: (across, down), or a box."""
    return lambda box, wanted: np.add(box, np.resize(shift(box[2] - box[0], box[3] - box[1], wanted), 4))


_WIDE = (100.0, 100.0, 160.0, 140.0)

check_missed = Exercise(
    "f(box, wanted): the box moved to the right until its IoU with the old one is `wanted`.",
    missed,
    ((_WIDE, 0.5), (_WIDE, 0.25), ((7.5, 300.0, 57.5, 375.0), 0.8), (_WIDE, 1.0), (_WIDE, 0.0)),
    "then that share of the old box is still covered, but IoU divides by the *union*, which has grown.",
    _by(lambda w, h, i: (w * (1 - i), 0)),
    "your box is no longer as large as it was. It should be moved, not cut or shrunk.",
    (_by(lambda w, h, i: (w * (1 - i), 0, 0, 0)), _by(lambda w, h, i: (w * _part(i), 0, 0, 0))),
    "to the right: x grows.",
    (lambda b, i: missed(b, i, -1), _by(lambda w, h, i: (-w * (1 - i), 0))),
    "sideways: that is along the width. You use the height, or move it down.",
    (_by(lambda w, h, i: (h * _part(i), 0)), _by(lambda w, h, i: (0, h * _part(i)))),
    "moved along both sides, it loses overlap twice. Sideways alone was asked for.",
    (_by(lambda w, h, i: (w * _part(i), h * _part(i))), _by(lambda w, h, i: (w * (1 - i), h * (1 - i)))),
    "that is a share of the width. How many pixels is it?",
    (_by(lambda w, h, i: (_part(i), 0)), _by(lambda w, h, i: (1 - i, 0))),
    "you round to whole pixels. A box is rounded once, when it is written.",
    (*ROUNDED, _by(lambda w, h, i: (round(w * _part(i)), 0))),
    "that is how far it has moved. Return the box: four numbers.",
    lambda b, i: (b[2] - b[0]) * _part(i),
)
