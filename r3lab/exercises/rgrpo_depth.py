"""Two exercises of notebook 07: the leave-one-out advantage, the push that the clip leaves.

check_leave_one_out(leave_one_out)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..train.estimators import token_weights
from ..train.objective import Objective, advantages
from .judge import Exercise, Mistake, report

Tensor = torch.Tensor


def _table(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# -- the leave-one-out advantage -----------------------------------------------------------------------------------


def _leave_one_out(rewards: Tensor) -> Tensor:
    return advantages(rewards, "leave-one-out")


def _others(r: Tensor) -> Tensor:
    """The sum of the others of the group."""
    return r.sum(1, keepdim=True) - r


def _scaled(r: Tensor) -> Tensor:
    return _leave_one_out(r) / (r.std(1, keepdim=True) + 1e-4)


LEAVE_ONE_OUT = Exercise(
    _leave_one_out,
    (
        (_table((1.5, 0.5, 0.5, 0.25, 1.5), (2.0, 1.9, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.5, 0.0)),),
        (_table((1.0, 0.0), (0.3, 0.4)),),  # a group of two: the other one is the baseline
        (_table((0.5, 0.5, 0.5, 0.5)),),
    ),
    (
        Mistake(
            "your baseline holds the rollout's own reward. What would the others alone have led you to expect?",
            (lambda r: r - r.mean(1, keepdim=True),),
        ),
        Mistake(
            "the others are G - 1, and you divide their sum by G.",
            (lambda r: r - _others(r) / r.shape[1],),
        ),
        Mistake(
            "you take off the sum of the others. A baseline is an expected reward: their mean.",
            (lambda r: r - _others(r),),
        ),
        Mistake(
            "your others come from the whole batch. An easy question's rollouts say nothing about a hard one's.",
            (lambda r: r - (r.sum() - r) / (r.numel() - 1), lambda r: r - r.mean()),
        ),
        Mistake(
            "you compare members of different groups. A group is a row: which dimension is it?",
            (lambda r: r - (r.sum(0) - r) / max(1, r.shape[0] - 1), lambda r: r - r.mean(0)),
        ),
        Mistake(
            "right so far, and then you divide by the spread. Leave-one-out keeps the unit of the reward.",
            (_scaled, lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)),
        ),
        Mistake(
            "the sign: a rollout that did better than the others must come out positive.",
            (lambda r: -_leave_one_out(r), lambda r: r.mean(1, keepdim=True) - r),
        ),
        Mistake(
            "that is the baseline. The advantage is what the rollout earned beyond it.",
            (lambda r: _others(r) / (r.shape[1] - 1),),
        ),
        Mistake(
            "you compare with the best of the others, so that hardly anybody is praised. What do they earn on average?",
            (lambda r: r - torch.stack([_but(r, i).amax(1) for i in range(r.shape[1])], 1),),
        ),
    ),
)


def _but(r: Tensor, i: int) -> Tensor:
    """Rewards without member `i` of each group."""
    return torch.cat([r[:, :i], r[:, i + 1 :]], 1)


def check_leave_one_out(answer: Any) -> bool:
    """Check ``f(rewards)``: each reward (N, G) less the mean of the others of its group."""
    return report(answer, LEAVE_ONE_OUT)


# -- the push that the clip leaves ---------------------------------------------------------------------------------


def _push(ratio: Tensor, a: Tensor, low: float, high: float) -> Tensor:
    """What the library's loss does: its weights, with the mean over tokens and rows taken back."""
    new = ratio.log()
    objective = Objective(clip_low=low, clip_high=high)
    every = torch.ones_like(ratio, dtype=torch.bool)
    return token_weights(new, torch.zeros_like(new), a, every, objective) * ratio.numel()


def _gate(closed: Callable[[Tensor, Tensor, float, float], Tensor]) -> Callable[..., Tensor]:
    """The ratio times the advantage, but nothing where `closed`."""
    return lambda w, a, lo, hi: torch.where(closed(w, a[:, None], lo, hi), 0.0, w * a[:, None])


def _closed(w: Tensor, a: Tensor, lo: float, hi: float) -> Tensor:
    return ((a > 0) & (w > 1 + hi)) | ((a < 0) & (w < 1 - lo))


_RATIOS = _table((0.5, 0.78, 0.9, 1.0, 1.1, 1.24, 1.3, 2.0), (0.5, 0.76, 0.9, 1.0, 1.1, 1.22, 1.3, 2.0))
_SIGNS = torch.tensor([0.8, -1.3], dtype=torch.float64)

PUSH = Exercise(
    _push,
    (
        (_RATIOS, _SIGNS, 0.2, 0.28),
        (_RATIOS, -_SIGNS, 0.2, 0.28),
        (_RATIOS, _SIGNS, 0.3, 0.1),
    ),
    (
        Mistake(
            "you close the gate on both sides. A token of a good rollout whose probability has *fallen* must still be "
            "pushed up: which bound concerns which sign?",
            (_gate(lambda w, a, lo, hi: (w > 1 + hi) | (w < 1 - lo)),),
        ),
        Mistake(
            "each sign has the other's bound: you stop what moved the wrong way, and let go on what went far enough.",
            (_gate(lambda w, a, lo, hi: ((a < 0) & (w > 1 + hi)) | ((a > 0) & (w < 1 - lo))),),
        ),
        Mistake(
            "only the upper bound acts. When is a token of a *bad* rollout left alone?",
            (_gate(lambda w, a, lo, hi: (a > 0) & (w > 1 + hi)), _gate(lambda w, a, lo, hi: w > 1 + hi)),
        ),
        Mistake(
            "only the lower bound acts. When is a token of a *good* rollout left alone?",
            (_gate(lambda w, a, lo, hi: (a < 0) & (w < 1 - lo)), _gate(lambda w, a, lo, hi: w < 1 - lo)),
        ),
        Mistake(
            "your two bounds have the same width. `low` belongs to the lower one, `high` to the upper.",
            (_gate(lambda w, a, lo, hi: _closed(w, a, lo, lo)), _gate(lambda w, a, lo, hi: _closed(w, a, hi, hi))),
        ),
        Mistake("`low` and `high` are exchanged.", (_gate(lambda w, a, lo, hi: _closed(w, a, hi, lo)),)),
        Mistake(
            "the weight is bounded, but no token is ever left alone. That is CISPO, nearly. Here a token beyond its "
            "bound is pushed by nothing at all.",
            (
                lambda w, a, lo, hi: w.clamp(1 - lo, 1 + hi) * a[:, None],
                lambda w, a, lo, hi: torch.minimum(w * a[:, None], w.clamp(1 - lo, 1 + hi) * a[:, None]),
            ),
        ),
        Mistake(
            "the gate is right. What is left is the derivative of the ratio: and what is that of exp(x)?",
            (lambda w, a, lo, hi: torch.where(_closed(w, a[:, None], lo, hi), 0.0, a[:, None].expand_as(w)),),
        ),
        Mistake(
            "the gate is right, but who opened it has a say in how strongly: where is the advantage?",
            (
                lambda w, a, lo, hi: torch.where(_closed(w, a[:, None], lo, hi), 0.0, w),
                lambda w, a, lo, hi: (~_closed(w, a[:, None], lo, hi)).to(w),
            ),
        ),
        Mistake("nothing is clipped.", (lambda w, a, lo, hi: w * a[:, None],)),
        Mistake(
            "that is the push on the loss, which goes downhill. Wanted: on what is maximised.",
            (lambda w, a, lo, hi: -torch.where(_closed(w, a[:, None], lo, hi), 0.0, w * a[:, None]),),
        ),
    ),
)


def check_push(answer: Any) -> bool:
    """Check ``f(ratio, advantages, low, high)``: the derivative of the clipped surrogate in each log-probability."""
    return report(answer, PUSH)
