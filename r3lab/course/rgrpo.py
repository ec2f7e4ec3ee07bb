"""The exercises of notebook 02: advantages within a group, the clipped objective, a reward for where a policy looked.

check_advantages(advantages)             # prints "right" or one hint; True when right
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from ..core.geometry import Box, Frame, coverage, iou
from ..train.objective import Objective, advantages, policy_loss
from ..train.rewards import region_grounded
from ..trajectory import ImageRef, Look, Trajectory
from .judge import NAN, Exercise, Function, Then, with_gradient

Tensor = torch.Tensor


def table(*rows: Sequence[float]) -> Tensor:
    """Numbers in double precision, a group or a rollout a row."""
    return torch.tensor(rows, dtype=torch.float64)


# -- advantages within a group -------------------------------------------------------------------------------------


def _centred(r: Tensor) -> Tensor:
    return r - r.mean(1, keepdim=True)


def _deviation(r: Tensor, correction: int = 1) -> Tensor:
    return r.std(1, keepdim=True, correction=correction)


def _by(mean: int | None, deviation: int | None, correction: int = 1) -> Function:
    """Standardised, with the mean and the deviation over a dimension, or (None) over the whole batch."""
    return lambda r: (r - r.mean(mean, keepdim=True)) / (r.std(deviation, keepdim=True, correction=correction) + 1e-4)


check_advantages = Exercise(
    "f(rewards): advantages (N, G) of rewards (N, G), a group a row.",
    advantages,
    (
        (table((1.5, 0.5, 0.5, 0.5, 1.5), (2.0, 1.9, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.5, 0.0)),),
        (table((0.5, 0.51, 0.5, 0.5), (1.5,) * 4, (0.7,) * 4),),  # hardly, and not at all different
    ),
    "the mean and the standard deviation are those of the whole batch. A rollout competes with its own group: one row.",
    (_by(None, None), _by(None, None, 0)),
    "the standard deviation is taken over the whole batch, the mean over the group. Both belong to the group.",
    (_by(1, None), _by(1, None, 0)),
    "the standard deviation belongs to the group, and so does the mean: yours is that of the whole batch.",
    _by(None, 1),
    "you compare the first members of all groups with each other. A group is a row: which dimension is it?",
    (_by(0, 0), _by(0, 0, 0)),
    "is your epsilon inside the square root? There it flattens every group that hardly differs.",
    lambda r: _centred(r) / (_deviation(r) ** 2 + 1e-4).sqrt(),
    "is there an epsilon at all? A group in which all rewards are equal must give zeros, not NaN.",
    (lambda r: _centred(r) / _deviation(r), lambda r: _centred(r) / _deviation(r, 0)),
    "your epsilon is another one: 1e-4, beside the deviation. A smaller one blows up groups that hardly differ.",
    tuple((lambda r, e=e: _centred(r) / (_deviation(r) + e)) for e in (1e-8, 1e-6, 1e-5, 1e-3, 1e-2)),
    "nearly: your standard deviation divides by G. The published one is that of a sample: by G - 1.",
    _by(1, 1, 0),
    "you divide by the variance. In which unit is a reward, and in which its variance?",
    lambda r: _centred(r) / (_deviation(r) ** 2 + 1e-4),
    "the mean is taken off, but a group with small differences gets small advantages: what is it divided by?",
    _centred,
    "the rewards are scaled but not compared: in every group some advantages must be negative.",
    lambda r: r / (_deviation(r) + 1e-4),
)


# -- the clipped objective -----------------------------------------------------------------------------------------


def _mean(terms: Tensor, mask: Tensor) -> Tensor:
    """The mean over a row's sampled tokens, then over rows."""
    return ((terms * mask).sum(1) / mask.sum(1)).mean()


def _but(
    pick: Function = torch.minimum,
    reduce: Function = _mean,
    ratio: Function = lambda new, old: (new - old).exp(),
    bounds: Function = lambda low, high: (low, high),
) -> Function:
    """The right objective, but for what is given."""

    def loss(new: Tensor, old: Tensor, a: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
        w, (low, high) = ratio(new, old), bounds(low, high)
        return -reduce(pick(w * a[:, None], w.clamp(1 - low, 1 + high) * a[:, None]), mask)

    return loss


_OLD = table((-0.5, -1.2, -0.1, -2.0), (-0.3, -0.9, -0.4, -1.1), (-1.5, -0.2, -0.7, -0.6))
_MOVED = table((0.22, 0.5, -0.5, 0.1), (0.22, -0.3, 0.4, -0.05), (-0.6, 0.23, 0.3, 0.2))
_SAMPLED = torch.tensor([[True, True, True, True], [True, True, False, True], [True, True, False, False]])
_GROUP = torch.tensor([1.4, -0.9, -0.5], dtype=torch.float64)

check_clipped_objective = Exercise(
    "f(new, old, advantages, mask, low, high): the loss, and its gradient in `new`.",
    lambda n, o, a, mask, low, high: policy_loss(n, o, a, mask, Objective(clip_low=low, clip_high=high))[0],
    ((_OLD + _MOVED, _OLD, _GROUP, _SAMPLED, 0.2, 0.28), (_OLD - _MOVED, _OLD, _GROUP, _SAMPLED, 0.2, 0.28)),
    "your clip is symmetric. The upper bound has its own width, `high`: unlikely tokens need room to grow.",
    (_but(bounds=lambda low, high: (low, low)), _but(bounds=lambda low, high: (high, high))),
    "`low` and `high` are exchanged.",
    _but(bounds=lambda low, high: (high, low)),
    "where is the minimum of the two terms? Without it a move in the wrong direction is clipped, and stays.",
    _but(lambda free, clipped: clipped),
    "the minimum must be of the products with the advantage: with a negative one, the order turns round.",
    lambda n, o, a, m, lo, hi: -_mean((n - o).exp().clamp(max=1 + hi) * a[:, None], m),
    "nothing is clipped.",
    _but(lambda free, clipped: free),
    "the larger of the two terms is the optimist's choice. Which one is the cautious?",
    _but(torch.maximum),
    "the mean is over all tokens of the batch: long rows weigh more. First over the tokens of a row, then over rows.",
    _but(reduce=lambda terms, mask: terms[mask].mean()),
    "tokens that nobody sampled carry loss: where does the mask come in?",
    (_but(reduce=lambda terms, mask: terms.mean()), _but(reduce=lambda terms, mask: terms.sum(1).mean())),
    "masked tokens are set to zero but counted in the mean. Divide by the number of sampled tokens of the row.",
    _but(reduce=lambda terms, mask: (terms * mask).mean()),
    "the tokens of a row, or the rows, are summed and not averaged.",
    _but(reduce=lambda terms, mask: (terms * mask).sum()),
    _but(reduce=lambda terms, mask: (terms * mask).sum(1).mean()),
    "an optimiser goes downhill: it would make good rollouts rarer. The sign.",
    Then(operator.neg),
    "your ratio is upside down: the policy now, over the policy that sampled.",
    _but(ratio=lambda new, old: (old - new).exp()),
    "that is the difference of the log-probabilities. How does a difference of logarithms become a ratio?",
    _but(ratio=lambda new, old: new - old),
    "the number is right, but no gradient flows from it to `new`: no `.item()`, `.detach()` or `float()`.",
    (Then(Tensor.item), Then(Tensor.detach)),
    run=with_gradient,
    edge=(NAN, [(_OLD + _MOVED, _OLD.masked_fill(~_SAMPLED, torch.nan), _GROUP, _SAMPLED, 0.2, 0.28)]),
)


# -- where a policy looked -----------------------------------------------------------------------------------------


def looked(looks: Sequence[tuple[Box, bool]], given: str | None, **truth: Any) -> Trajectory:
    """A record of looks, each a box and whether it could be cut, of the answer given, and of the truth."""
    taken = [Look((0, 1), box, box, valid, "" if valid else "outside the image") for box, valid in looks]
    photo = ImageRef("0" * 64, 512, 512)
    return Trajectory("case", "?", photo, (128, 128), Frame.SOURCE, looks=taken, answer=given, truth=truth)


def _paid(share: Function) -> Function:
    """The right rule with another share of the full pay."""
    return lambda looks, truth, needs_look: 0.5 * share(looks, truth) if needs_look and looks else 0.0


_TRUTH, _NEAR, _WIDE = (100.0, 100.0, 150.0, 150.0), (110.0, 95.0, 160.0, 150.0), (0.0, 0.0, 512.0, 512.0)
_OFF, _AWAY = (135.0, 130.0, 190.0, 170.0), (300.0, 300.0, 360.0, 350.0)
_NEEDED: Sequence[list[Box]] = ([_NEAR], [_WIDE], [_NEAR, _OFF], [_OFF, _NEAR], [_AWAY], [])

check_region_reward = Exercise(
    "f(looks, truth, needs_look): 0.5 x IoU of the last look with the true region, where one is needed.",
    lambda k, t, n: region_grounded(looked([(box, True) for box in k], None, regions=[t], needs_look=n)),
    [*((looks, _TRUTH, True) for looks in _NEEDED), ([_NEAR], _TRUTH, False), ([], _TRUTH, False)],
    "that pays in full for looking at the whole image, which covers all. Which overlap punishes excess too?",
    _paid(lambda k, t: coverage(k[-1], t)),
    "the answer was read from the last look. You pay for the first.",
    _paid(lambda k, t: iou(k[0], t)),
    "you pay for the best look, so that it pays to look everywhere. Which one was the answer read from?",
    _paid(lambda k, t: max(iou(b, t) for b in k)),
    "you pay every look, so that two half-good ones earn more than one good one.",
    (_paid(lambda k, t: sum(iou(b, t) for b in k)), _paid(lambda k, t: min(1.0, sum(iou(b, t) for b in k)))),
    "you pay for a look where none was needed.",
    lambda k, t, n: 0.5 * iou(k[-1], t) if k else 0.0,
    "the most that it may pay is 0.5: a right answer must stay worth more than a good look.",
    Then(lambda reward: 2 * reward),
    "any box at all gets the full pay, as in the published reward. Here it is to grow with the overlap.",
    (_paid(lambda k, t: 1.0), lambda k, t, n: 0.5 if k else 0.0, _paid(lambda k, t: iou(k[-1], t) > 0)),
    "what does a rollout earn that never looked? `looks` can be empty.",
    (lambda k, t, n: 0.5 * iou(k[-1], t) * n, lambda k, t, n: 0.5 * iou(k[-1], t) if n else 0.0),
)
