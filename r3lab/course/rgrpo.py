"""The exercises of notebook 02: advantages within a group, the clipped objective, a reward for where a policy looked.

check_advantages(advantages)             # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..core.geometry import Box, Frame, coverage, iou
from ..train.objective import Objective, advantages, policy_loss
from ..train.rewards import region_grounded
from ..trajectory import ImageRef, Look, Trajectory
from .judge import Exercise, with_gradient

Tensor = torch.Tensor


def _rewards(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# -- advantages within a group -------------------------------------------------------------------------------------


def _advantages(rewards: Tensor) -> Tensor:
    return advantages(rewards)


def _centred(r: Tensor) -> Tensor:
    return r - r.mean(1, keepdim=True)


def _deviation(r: Tensor) -> Tensor:
    return r.std(1, keepdim=True)


check_advantages = Exercise(
    "f(rewards): advantages (N, G) of rewards (N, G), a group a row.",
    _advantages,
    (
        (_rewards((1.5, 0.5, 0.5, 0.5, 1.5), (2.0, 1.9, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.5, 0.0)),),
        (
            _rewards((0.5, 0.51, 0.5, 0.5), (1.5, 1.5, 1.5, 1.5), (0.7, 0.7, 0.7, 0.7)),
        ),  # hardly, and not at all different
    ),
    {
        "the mean and the spread are taken over the whole batch. A rollout competes with its own group: one row.": [
            lambda r: (r - r.mean()) / (r.std() + 1e-4),
            lambda r: (r - r.mean()) / (r.std(correction=0) + 1e-4),
        ],
        "the spread is taken over the whole batch, the mean over the group. Both belong to the group.": [
            lambda r: _centred(r) / (r.std() + 1e-4),
            lambda r: _centred(r) / (r.std(correction=0) + 1e-4),
        ],
        "the spread belongs to the group, and so does the mean: yours is that of the whole batch.": [
            lambda r: (r - r.mean()) / (_deviation(r) + 1e-4)
        ],
        "you compare the first members of all groups with each other. A group is a row: which dimension is it?": [
            lambda r: (r - r.mean(0)) / (r.std(0) + 1e-4),
            lambda r: (r - r.mean(0)) / (r.std(0, correction=0) + 1e-4),
        ],
        "is your epsilon inside the square root? There it flattens every group that hardly differs.": [
            lambda r: _centred(r) / (r.var(1, keepdim=True) + 1e-4).sqrt(),
            lambda r: _centred(r) / (r.var(1, keepdim=True, correction=0) + 1e-4).sqrt(),
        ],
        "is there an epsilon at all? A group in which all rewards are equal must give zeros, not NaN.": [
            lambda r: _centred(r) / _deviation(r),
            lambda r: _centred(r) / r.std(1, keepdim=True, correction=0),
        ],
        "nearly: your spread divides by G. The published one is that of a sample: by G - 1.": [
            lambda r: _centred(r) / (r.std(1, keepdim=True, correction=0) + 1e-4)
        ],
        "you divide by the variance. In which unit is a reward, and in which its variance?": [
            lambda r: _centred(r) / (r.var(1, keepdim=True) + 1e-4)
        ],
        "the mean is taken off, but a group with small differences gets small advantages: what is it divided by?": [
            _centred
        ],
        "the rewards are scaled but not compared: in every group some advantages must be negative.": [
            lambda r: r / (_deviation(r) + 1e-4)
        ],
    },
)


# -- the clipped objective -----------------------------------------------------------------------------------------


def _objective(new: Tensor, old: Tensor, a: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
    return policy_loss(new, old, a, mask, Objective(clip_low=low, clip_high=high))[0]


def _ratio(new: Tensor, old: Tensor) -> Tensor:
    return (new - old).exp()


def _surrogate(new: Tensor, old: Tensor, a: Tensor, low: float, high: float) -> Tensor:
    return torch.minimum(_ratio(new, old) * a[:, None], _ratio(new, old).clamp(1 - low, 1 + high) * a[:, None])


def _mean(terms: Tensor, mask: Tensor) -> Tensor:
    """The mean over a row's sampled tokens, then over rows."""
    return ((terms * mask).sum(1) / mask.sum(1)).mean()


def _wrong_clip(low: Callable[[float, float], float], high: Callable[[float, float], float]) -> Callable[..., Tensor]:
    return lambda n, o, a, m, lo, hi: -_mean(_surrogate(n, o, a, low(lo, hi), high(lo, hi)), m)


_OLD = torch.tensor([[-0.5, -1.2, -0.1, -2.0], [-0.3, -0.9, -0.4, -1.1], [-1.5, -0.2, -0.7, -0.6]], dtype=torch.float64)
_MOVED = torch.tensor([[0.22, 0.5, -0.5, 0.1], [0.22, -0.3, 0.4, -0.05], [-0.6, 0.23, 0.3, 0.2]], dtype=torch.float64)
_SAMPLED = torch.tensor([[True, True, True, True], [True, True, False, True], [True, True, False, False]])
_GROUP = torch.tensor([1.4, -0.9, -0.5], dtype=torch.float64)

check_clipped_objective = Exercise(
    "f(new, old, advantages, mask, low, high): the loss, and its gradient in `new`.",
    _objective,
    (
        (_OLD + _MOVED, _OLD, _GROUP, _SAMPLED, 0.2, 0.28),
        (_OLD - _MOVED, _OLD, _GROUP, _SAMPLED, 0.2, 0.28),
    ),
    {
        "your clip is symmetric. The upper bound has its own width, `high`: unlikely tokens need room to grow.": [
            _wrong_clip(lambda lo, hi: lo, lambda lo, hi: lo),
            _wrong_clip(lambda lo, hi: hi, lambda lo, hi: hi),
        ],
        "`low` and `high` are exchanged.": [_wrong_clip(lambda lo, hi: hi, lambda lo, hi: lo)],
        "where is the minimum of the two terms? Without it a move in the wrong direction is clipped as well, and "
        "no gradient brings it back.": [
            lambda n, o, a, m, lo, hi: -_mean(_ratio(n, o).clamp(1 - lo, 1 + hi) * a[:, None], m)
        ],
        "the minimum must be of the products with the advantage: with a negative one, the order turns round.": [
            lambda n, o, a, m, lo, hi: (
                -_mean(torch.minimum(_ratio(n, o), _ratio(n, o).clamp(1 - lo, 1 + hi)) * a[:, None], m)
            )
        ],
        "nothing is clipped.": [lambda n, o, a, m, lo, hi: -_mean(_ratio(n, o) * a[:, None], m)],
        "the larger of the two terms is the optimist's choice. Which one is the cautious?": [
            lambda n, o, a, m, lo, hi: (
                -_mean(torch.maximum(_ratio(n, o) * a[:, None], _ratio(n, o).clamp(1 - lo, 1 + hi) * a[:, None]), m)
            )
        ],
        "the mean is over all tokens of the batch, so that long rows weigh more. First over the tokens of a row, "
        "then over rows.": [
            lambda n, o, a, m, lo, hi: -(_surrogate(n, o, a, lo, hi) * m).sum() / m.sum(),
            lambda n, o, a, m, lo, hi: -_surrogate(n, o, a, lo, hi)[m].mean(),
        ],
        "tokens that nobody sampled carry loss: where does the mask come in?": [
            lambda n, o, a, m, lo, hi: -_surrogate(n, o, a, lo, hi).mean(),
            lambda n, o, a, m, lo, hi: -_surrogate(n, o, a, lo, hi).sum(1).mean(),
        ],
        "masked tokens are set to zero but counted in the mean. Divide by the number of sampled tokens of the row.": [
            lambda n, o, a, m, lo, hi: -(_surrogate(n, o, a, lo, hi) * m).mean(),
            lambda n, o, a, m, lo, hi: -(_surrogate(n, o, a, lo, hi) * m).mean(1).mean(),
        ],
        "the tokens of a row, or the rows, are summed and not averaged.": [
            lambda n, o, a, m, lo, hi: -(_surrogate(n, o, a, lo, hi) * m).sum(),
            lambda n, o, a, m, lo, hi: -(_surrogate(n, o, a, lo, hi) * m).sum(1).mean(),
            lambda n, o, a, m, lo, hi: -((_surrogate(n, o, a, lo, hi) * m).sum(1) / m.sum(1)).sum(),
        ],
        "an optimiser goes downhill: it would make good rollouts rarer. The sign.": [
            lambda n, o, a, m, lo, hi: _mean(_surrogate(n, o, a, lo, hi), m)
        ],
        "your ratio is upside down: the policy now, over the policy that sampled.": [
            lambda n, o, a, m, lo, hi: -_mean(_surrogate(o, n, a, lo, hi), m)
        ],
        "that is the difference of the log-probabilities. How does a difference of logarithms become a ratio?": [
            lambda n, o, a, m, lo, hi: (
                -_mean(torch.minimum((n - o) * a[:, None], (n - o).clamp(1 - lo, 1 + hi) * a[:, None]), m)
            )
        ],
        "the number is right, but no gradient flows from it to `new`: no `.item()`, `.detach()` or `float()`.": [
            lambda n, o, a, m, lo, hi: _objective(n, o, a, m, lo, hi).item(),
            lambda n, o, a, m, lo, hi: _objective(n, o, a, m, lo, hi).detach(),
        ],
    },
    run=with_gradient,
)


# -- where a policy looked -----------------------------------------------------------------------------------------


def _region_reward(looks: list[Box], truth: Box, needs_look: bool) -> float:
    taken = [Look((0, 1), box, box, True) for box in looks]
    photo = ImageRef("0" * 64, 512, 512)
    record = Trajectory("case", "?", photo, (128, 128), Frame.SOURCE, looks=taken)
    record.truth = {"regions": [truth], "needs_look": needs_look}
    return region_grounded(record)


_TRUTH, _NEAR, _WIDE = (100.0, 100.0, 150.0, 150.0), (110.0, 95.0, 160.0, 150.0), (0.0, 0.0, 512.0, 512.0)
_OFF, _AWAY = (135.0, 130.0, 190.0, 170.0), (300.0, 300.0, 360.0, 350.0)

check_region_reward = Exercise(
    "f(looks, truth, needs_look): 0.5 x IoU of the last look with the true region, where one is needed.",
    _region_reward,
    (
        ([_NEAR], _TRUTH, True),
        ([_WIDE], _TRUTH, True),
        ([_NEAR, _OFF], _TRUTH, True),
        ([_OFF, _NEAR], _TRUTH, True),
        ([_NEAR], _TRUTH, False),
        ([_AWAY], _TRUTH, True),
        ([], _TRUTH, True),
        ([], _TRUTH, False),
    ),
    {
        "that pays in full for looking at the whole image, which covers all. Which overlap punishes excess too?": [
            lambda k, t, n: 0.5 * coverage(k[-1], t) if n and k else 0.0
        ],
        "the answer was read from the last look. You pay for the first.": [
            lambda k, t, n: 0.5 * iou(k[0], t) if n and k else 0.0
        ],
        "you pay for the best look, so that it pays to look everywhere. Which one was the answer read from?": [
            lambda k, t, n: 0.5 * max((iou(b, t) for b in k), default=0.0) if n else 0.0
        ],
        "you pay every look, so that two half-good ones earn more than one good one.": [
            lambda k, t, n: 0.5 * sum(iou(b, t) for b in k) if n else 0.0,
            lambda k, t, n: min(0.5, 0.5 * sum(iou(b, t) for b in k)) if n else 0.0,
        ],
        "you pay for a look where none was needed.": [lambda k, t, n: 0.5 * iou(k[-1], t) if k else 0.0],
        "the most that it may pay is 0.5: a right answer must stay worth more than a good look.": [
            lambda k, t, n: iou(k[-1], t) if n and k else 0.0
        ],
        "any box at all gets the full pay (so does the published reward, where the answer is right). "
        "Here it is to grow with the overlap.": [
            lambda k, t, n: 0.5 if n and k else 0.0,
            lambda k, t, n: 0.5 if k else 0.0,
            lambda k, t, n: 0.5 if n and k and iou(k[-1], t) > 0 else 0.0,
        ],
        "what does a rollout earn that never looked? `looks` can be empty.": [
            lambda k, t, n: 0.5 * iou(k[-1], t) * n,
            lambda k, t, n: 0.5 * iou(k[-1], t) if n else 0.0,
        ],
    },
)
