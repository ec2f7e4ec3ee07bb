"""The exercises of notebook 07: a baseline, the push that the clip leaves, a reward that is hard to cheat, which tokens
of ragged rows carry loss, and how they become one number.

check_leave_one_out(leave_one_out)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from ..core.geometry import Box, Frame, coverage, iou
from ..train import objective
from ..train.estimators import token_weights
from ..train.objective import Objective, advantages
from ..train.rewards import FINE, SAME, region_checked
from ..trajectory import ImageRef, Kind, Look, Trajectory
from .judge import Exercise

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


check_leave_one_out = Exercise(
    "f(rewards): each reward (N, G) less the mean of the others of its group.",
    _leave_one_out,
    (
        (_table((1.5, 0.5, 0.5, 0.25, 1.5), (2.0, 1.9, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.5, 0.0)),),
        (_table((1.0, 0.0), (0.3, 0.4)),),  # a group of two: the other one is the baseline
        (_table((0.5, 0.5, 0.5, 0.5)),),
    ),
    {
        "your baseline holds the rollout's own reward. What would the others alone have led you to expect?": [
            lambda r: r - r.mean(1, keepdim=True)
        ],
        "the others are G - 1, and you divide their sum by G.": [lambda r: r - _others(r) / r.shape[1]],
        "you take off the sum of the others. A baseline is an expected reward: their mean.": [lambda r: r - _others(r)],
        "your others come from the whole batch. An easy question's rollouts say nothing about a hard one's.": [
            lambda r: r - (r.sum() - r) / (r.numel() - 1),
            lambda r: r - r.mean(),
        ],
        "you compare members of different groups. A group is a row: which dimension is it?": [
            lambda r: r - (r.sum(0) - r) / max(1, r.shape[0] - 1),
            lambda r: r - r.mean(0),
        ],
        "right so far, and then you divide by the spread. Leave-one-out keeps the unit of the reward.": [
            _scaled,
            lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4),
        ],
        "the sign: a rollout that did better than the others must come out positive.": [
            lambda r: -_leave_one_out(r),
            lambda r: r.mean(1, keepdim=True) - r,
        ],
        "that is the baseline. The advantage is what the rollout earned beyond it.": [
            lambda r: _others(r) / (r.shape[1] - 1)
        ],
        "you compare with the best of the others, so that hardly anybody is praised. What do they earn on average?": [
            lambda r: r - torch.stack([_but(r, i).amax(1) for i in range(r.shape[1])], 1)
        ],
    },
)


def _but(r: Tensor, i: int) -> Tensor:
    """Rewards without member `i` of each group."""
    return torch.cat([r[:, :i], r[:, i + 1 :]], 1)


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

check_push = Exercise(
    "f(ratio, advantages, low, high): the derivative of the clipped surrogate in each log-probability.",
    _push,
    (
        (_RATIOS, _SIGNS, 0.2, 0.28),
        (_RATIOS, -_SIGNS, 0.2, 0.28),
        (_RATIOS, _SIGNS, 0.3, 0.1),
    ),
    {
        "you close the gate on both sides. A token of a good rollout whose probability has *fallen* must still be "
        "pushed up: which bound concerns which sign?": [_gate(lambda w, a, lo, hi: (w > 1 + hi) | (w < 1 - lo))],
        "each sign has the other's bound: you stop what moved the wrong way, and let go on what went far enough.": [
            _gate(lambda w, a, lo, hi: ((a < 0) & (w > 1 + hi)) | ((a > 0) & (w < 1 - lo)))
        ],
        "only the upper bound acts. When is a token of a *bad* rollout left alone?": [
            _gate(lambda w, a, lo, hi: (a > 0) & (w > 1 + hi)),
            _gate(lambda w, a, lo, hi: w > 1 + hi),
        ],
        "only the lower bound acts. When is a token of a *good* rollout left alone?": [
            _gate(lambda w, a, lo, hi: (a < 0) & (w < 1 - lo)),
            _gate(lambda w, a, lo, hi: w < 1 - lo),
        ],
        "your two bounds have the same width. `low` belongs to the lower one, `high` to the upper.": [
            _gate(lambda w, a, lo, hi: _closed(w, a, lo, lo)),
            _gate(lambda w, a, lo, hi: _closed(w, a, hi, hi)),
        ],
        "`low` and `high` are exchanged.": [_gate(lambda w, a, lo, hi: _closed(w, a, hi, lo))],
        "the weight is bounded, but no token is ever left alone. That is CISPO, nearly. Here a token beyond its "
        "bound is pushed by nothing at all.": [
            lambda w, a, lo, hi: w.clamp(1 - lo, 1 + hi) * a[:, None],
            lambda w, a, lo, hi: torch.minimum(w * a[:, None], w.clamp(1 - lo, 1 + hi) * a[:, None]),
        ],
        "the gate is right. What is left is the derivative of the ratio: and what is that of exp(x)?": [
            lambda w, a, lo, hi: torch.where(_closed(w, a[:, None], lo, hi), 0.0, a[:, None].expand_as(w))
        ],
        "the gate is right, but who opened it has a say in how strongly: where is the advantage?": [
            lambda w, a, lo, hi: torch.where(_closed(w, a[:, None], lo, hi), 0.0, w),
            lambda w, a, lo, hi: (~_closed(w, a[:, None], lo, hi)).to(w),
        ],
        "nothing is clipped.": [lambda w, a, lo, hi: w * a[:, None]],
        "that is the push on the loss, which goes downhill. Wanted: on what is maximised.": [
            lambda w, a, lo, hi: -torch.where(_closed(w, a[:, None], lo, hi), 0.0, w * a[:, None])
        ],
    },
)


# -- a region reward that is hard to cheat -------------------------------------------------------------------------

Looks = Sequence[tuple[Box, bool]]


def _region_reward(looks: Looks, truth: Box, right: bool) -> float:
    taken = [Look((0, 1), box, box, valid, "" if valid else "outside the image") for box, valid in looks]
    photo = ImageRef("0" * 64, 512, 512)
    record = Trajectory("case", "?", photo, (128, 128), Frame.SOURCE, looks=taken, answer="7" if right else "1")
    record.truth = {"regions": [truth], "answer": "7"}
    return region_checked(record)


def _valid(looks: Looks) -> list[Box]:
    return [box for box, valid in looks if valid]


def _last(looks: Looks, truth: Box, overlap: Callable[[Box, Box], float] = iou) -> float:
    return overlap(_valid(looks)[-1], truth) if _valid(looks) else 0.0


def _useless(looks: Looks) -> int:
    return sum(not valid for _, valid in looks)


def _again(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(iou(box, one) > SAME for one in boxes[:i]) for i, box in enumerate(boxes))


def _with(
    paid: Callable[[Looks, Box], float] = _last, fined: Callable[[Looks], float] = lambda k: _useless(k) + _again(k)
) -> Callable[..., float]:
    """The right rule with another payment, or another count of fines."""
    return lambda k, t, right: 0.5 * paid(k, t) * right - FINE * fined(k)


def _pairs(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(iou(a, b) > SAME for i, a in enumerate(boxes) for b in boxes[:i])


def _neighbours(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(iou(a, b) > SAME for a, b in zip(boxes, boxes[1:], strict=False))


def _itself(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(iou(a, b) > SAME for b in boxes) for a in boxes)


def _contained(looks: Looks) -> int:
    boxes = _valid(looks)
    return sum(any(max(coverage(a, b), coverage(b, a)) > SAME for b in boxes[:i]) for i, a in enumerate(boxes))


def _with_refused(looks: Looks) -> int:
    boxes = [box for box, _ in looks]
    return sum(valid and any(iou(box, one) > SAME for one in boxes[:i]) for i, (box, valid) in enumerate(looks))


_TRUTH, _NEAR, _AGAIN = (100.0, 100.0, 150.0, 150.0), (110.0, 95.0, 160.0, 150.0), (112.0, 95.0, 162.0, 150.0)
_AWAY, _OUT, _WIDE = (300.0, 300.0, 360.0, 350.0), (600.0, 600.0, 700.0, 700.0), (0.0, 0.0, 512.0, 512.0)
_INNER = (115.0, 105.0, 140.0, 140.0)  # in _NEAR, under a third of it

check_region_checked = Exercise(
    "f(looks, truth, right): 0.5 x IoU of the last valid look if right, less 0.1 a useless look.",
    _region_reward,
    (
        ([(_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True)], _TRUTH, False),
        ([(_WIDE, True)], _TRUTH, True),
        ([(_NEAR, True), (_OUT, False)], _TRUTH, True),
        ([(_OUT, False), (_NEAR, True)], _TRUTH, False),
        ([(_NEAR, True), (_AWAY, True)], _TRUTH, True),
        ([(_AWAY, True), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True)], _TRUTH, False),
        ([(_NEAR, True), (_AWAY, True), (_AGAIN, True)], _TRUTH, True),
        ([(_NEAR, True), (_AGAIN, True), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, False), (_NEAR, True)], _TRUTH, True),
        ([(_NEAR, True), (_INNER, True)], _TRUTH, True),
        ([(_OUT, False)], _TRUTH, True),
        ([], _TRUTH, True),
        ([], _TRUTH, False),
    ),
    {
        "it pays for the place when the answer is wrong, so that pointing pays without reading.": [
            lambda k, t, r: 0.5 * _last(k, t) - FINE * (_useless(k) + _again(k))
        ],
        "a wrong answer escapes the fines. A useless look is useless whatever came of it.": [
            lambda k, t, r: (0.5 * _last(k, t) - FINE * (_useless(k) + _again(k))) * r,
            lambda k, t, r: 0.5 * _last(k, t) * r - FINE * (_useless(k) + _again(k)) * r,
        ],
        "a look that could not be cut decides. Nothing was seen of it: the last *valid* look is what was read.": [
            _with(lambda k, t: iou(k[-1][0], t) if k else 0.0),
            _with(lambda k, t: iou(k[-1][0], t) if k and k[-1][1] else 0.0),
        ],
        "the answer was read from the last look. You pay for the first.": [_with(lambda k, t: _first(k, t))],
        "you pay for the best look, so that it pays to look everywhere.": [
            _with(lambda k, t: max((iou(b, t) for b in _valid(k)), default=0.0))
        ],
        "you pay every look, so that two half-good ones earn more than one good one.": [
            _with(lambda k, t: sum(iou(b, t) for b in _valid(k))),
            _with(lambda k, t: min(1.0, sum(iou(b, t) for b in _valid(k)))),
        ],
        "that pays in full for the whole image, which covers everything. Which overlap punishes excess too?": [
            _with(lambda k, t: _last(k, t, lambda b, truth: coverage(b, truth)))
        ],
        "a box that cannot be cut costs nothing.": [_with(fined=_again)],
        "a look that repeats another costs nothing.": [_with(fined=_useless), _with(fined=lambda k: 0)],
        "you fine pairs. A third look at the same place is one more useless look, not two.": [
            _with(fined=lambda k: _useless(k) + _pairs(k))
        ],
        "you compare each look with the one before it alone. A policy may come back to a place later.": [
            _with(fined=lambda k: _useless(k) + _neighbours(k))
        ],
        "does a look repeat itself? Compare it with *earlier* ones: the first look at a place is no repetition.": [
            _with(fined=lambda k: _useless(k) + _itself(k)),
            _with(fined=lambda k: _useless(k) + sum(any(iou(b, t) > SAME for t in _valid(k)) for b in _valid(k))),
        ],
        "a closer look at a part of an earlier region is no repetition. Which overlap sees that?": [
            _with(fined=lambda k: _useless(k) + _contained(k))
        ],
        "you count a look as repeated after a refused one, of which nothing was seen.": [
            _with(fined=lambda k: _useless(k) + _with_refused(k))
        ],
        "every look after the first is fined, even one that shows something new.": [
            _with(fined=lambda k: _useless(k) + max(0, len(_valid(k)) - 1)),
            _with(fined=lambda k: max(0, len(k) - 1)),
        ],
        "the most that it may pay is 0.5: a right answer must stay worth more than a good look.": [
            lambda k, t, r: _last(k, t) * r - FINE * (_useless(k) + _again(k))
        ],
    },
)


def _first(looks: Looks, truth: Box) -> float:
    return iou(_valid(looks)[0], truth) if _valid(looks) else 0.0


# -- which tokens carry loss ---------------------------------------------------------------------------------------

P, O, S, E, C, N = (int(kind) for kind in Kind)  # noqa: E741  (prompt, overview, sampled, environment, crop, pad)

Kinds: TypeAlias = list[list[int]]
Ended: TypeAlias = list[bool]


def _full(keep: Callable[[list[int], int], bool], kinds: Kinds, cut_off: Ended) -> Tensor:
    """(R, T): True at the tokens of a row that are kept; False in its padding, and in rows that were cut off."""
    longest = max(map(len, kinds))
    rows = [
        [not cut and keep(row, i) for i in range(len(row))] + [False] * (longest - len(row))
        for row, cut in zip(kinds, cut_off, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.bool)


def _sampled(kinds: Kinds, cut_off: Ended) -> Tensor:
    return _full(lambda row, i: row[i] == S, kinds, cut_off)


def _targets(keep: Callable[[list[int], int], bool]) -> Callable[[Kinds, Ended], Tensor]:
    return lambda kinds, cut_off: _full(keep, kinds, cut_off)[:, 1:]


def _loss_mask(kinds: Kinds, cut_off: Ended) -> Tensor:
    return _sampled(kinds, cut_off)[:, 1:]


def _begin(row: list[int]) -> int:
    return row.index(S) if S in row else len(row)


def _padded(kinds: Kinds, cut_off: Ended) -> Tensor:
    """The padding counted with the answer."""
    longest = max(map(len, kinds))
    rows = [
        [k == S and not cut for k in row] + [not cut] * (longest - len(row))
        for row, cut in zip(kinds, cut_off, strict=True)
    ]
    return torch.tensor(rows)[:, 1:]


def _last_block(row: list[int], i: int) -> bool:
    """Sampled, and nothing that was inserted comes later."""
    return row[i] == S and not any(k in (E, C) for k in row[i:])


def _first_block(row: list[int], i: int) -> bool:
    return row[i] == S and not any(k in (E, C) for k in row[:i])


check_loss_mask = Exercise(
    "f(kinds, cut_off): the mask (R, T - 1) of the next-token targets that carry loss.",
    _loss_mask,
    (
        (
            [
                [P, O, O, P, S, S, S, E, C, C, E, S, S],  # one look: the crop stands between two marks
                [P, O, O, P, S, S, E, E, E, S, S, E, C, E, S],  # a refused box, then a look
                [P, O, O, P, S, S],  # answered at once
            ],
            [False, False, False],
        ),
        ([[P, O, P, S, S, S, S], [P, O, P, P, P, P, P, P, S], [P, O, P, S, S, S, S, S]], [False, False, True]),
        ([[P, O, P, S, S, C, C], [P, O, P, S], [P, O, P, S, S, E, C, C, E, S, S]], [False, False, True]),
    ),
    {
        "rollouts that were cut off carry loss: they would be blamed for an answer that they could not give.": [
            lambda k, cut: _loss_mask(k, [False] * len(k))
        ],
        "you leave the rows of cut-off rollouts out. They stay, without a True: the mask must fit the batch.": [
            lambda k, cut: _loss_mask(k, cut)[~torch.tensor(cut)],
            lambda k, cut: _loss_mask(
                [row for row, c in zip(k, cut, strict=True) if not c], [False] * cut.count(False)
            ),
        ],
        "the cut-off rollouts are the only ones that carry loss.": [lambda k, cut: _loss_mask(k, [not c for c in cut])],
        "that is a column too many. The state at the last place predicts nothing: targets are `ids[:, 1:]`.": [
            _sampled
        ],
        "your mask marks the place *from* which a token was predicted, not the token. Column t stands for the "
        "target `ids[:, t + 1]`. As it is, whatever follows a sampled token is trained, a crop's first token too.": [
            lambda k, cut: _sampled(k, cut)[:, :-1]
        ],
        "the first token after the prompt, or after a crop, was sampled too: it is predicted from a token that was "
        "not, and that is no reason to drop it.": [lambda k, cut: _sampled(k, cut)[:, 1:] & _sampled(k, cut)[:, :-1]],
        "everything after the prompt carries loss. Crops, and what the loop inserted, were nobody's choice.": [
            _targets(lambda row, i: i >= _begin(row)),
            _targets(lambda row, i: row[i] not in (P, O, N)),
        ],
        "text that the loop inserted carries loss. The policy would learn to write the environment's lines itself.": [
            _targets(lambda row, i: row[i] in (S, E))
        ],
        "image tokens of a crop carry loss. They are placeholders for pixels: there is nothing to predict.": [
            _targets(lambda row, i: row[i] in (S, C)),
            _targets(lambda row, i: row[i] in (S, C, O)),
        ],
        "the padding of the shorter rows carries loss.": [_padded],
        "only what comes after the last crop carries loss, so that nobody ever learns where to look.": [
            _targets(_last_block)
        ],
        "only what comes before the first crop carries loss, so that nobody ever learns to read one.": [
            _targets(_first_block)
        ],
        "the prompt carries loss. It is the same in all rollouts of a group: nobody chose it.": [
            _targets(lambda row, i: row[i] in (P, S)),
            _targets(lambda row, i: row[i] in (P, O, S)),
        ],
        "that is True where no loss must be.": [lambda k, cut: ~_loss_mask(k, cut)],
    },
)


# -- how tokens become one number ----------------------------------------------------------------------------------


def _aggregate(values: Tensor, mask: Tensor, how: str, length: int) -> Tensor:
    return objective.aggregate(values, mask, objective.Objective(aggregation=how, length=length))


def _sums(v: Tensor, m: Tensor) -> Tensor:
    return torch.where(m, v, 0.0).sum(1)


def _counts(m: Tensor) -> Tensor:
    return m.sum(1).clamp(min=1)


def _by(**other: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """The right rule, but for the ways to aggregate that are given."""
    return lambda v, m, how, length: other[how](v, m, length) if how in other else _aggregate(v, m, how, length)


def _always(how: str) -> Callable[..., Tensor]:
    return lambda v, m, _, length: _aggregate(v, m, how, length)


_VALUES = torch.tensor(
    [[0.5, 0.7, -0.2, 0.9, 0.4, 0.3], [-1.1, -0.6, 9e3, 9e3, 9e3, 9e3], [0.8, 9e3, 0.2, 0.6, 9e3, 9e3]],
    dtype=torch.float64,
)
_MASK = torch.tensor([[True] * 6, [True, True] + [False] * 4, [True, False, True, True, False, False]])
_NONE = torch.cat([_MASK, torch.zeros(1, 6, dtype=torch.bool)])  # a row that was cut off, and is left out
_FOUR = torch.cat([_VALUES, torch.full((1, 6), 7.0, dtype=torch.float64)])

check_aggregate = Exercise(
    "f(values, mask, how, length): one number from (R, T) values, in three ways.",
    _aggregate,
    (
        (_VALUES, _MASK, "sequence", 8),
        (_VALUES, _MASK, "token", 8),
        (_VALUES, _MASK, "fixed", 8),
        (_FOUR, _NONE, "sequence", 8),
        (_FOUR, _NONE, "token", 8),
        (_FOUR, _NONE, "fixed", 8),
    ),
    {
        "a row without a sampled token (the last one of the second batch) gives 0 / 0. It must add nothing.": [
            _by(sequence=lambda v, m, n: (_sums(v, m) / m.sum(1)).mean()),
            _by(sequence=lambda v, m, n: torch.stack([x[k].mean() for x, k in zip(v, m, strict=True)]).mean()),
        ],
        "'sequence' leaves a row without sampled tokens out of the count of rows. It was one of the group: it adds "
        "nothing, and counts.": [_by(sequence=lambda v, m, n: (_sums(v, m) / _counts(m))[m.any(1)].mean())],
        "'fixed' leaves a row without sampled tokens out of the count of rows.": [
            _by(fixed=lambda v, m, n: _sums(v, m).sum() / (m.any(1).sum() * n))
        ],
        "whatever is asked for, you take the mean of each row and then of the rows. What does `how` say?": [
            _always("sequence")
        ],
        "whatever is asked for, you take the mean over all tokens of the batch. What does `how` say?": [
            _always("token")
        ],
        "whatever is asked for, you divide by a fixed length. What does `how` say?": [_always("fixed")],
        "'token' and 'sequence' are exchanged: which one lets a long row weigh more than a short one?": [
            lambda v, m, how, n: _aggregate(v, m, {"token": "sequence", "sequence": "token", "fixed": "fixed"}[how], n)
        ],
        "'fixed' must divide by `length`, whatever the rows' own lengths are. Yours does not know it.": [
            _by(fixed=lambda v, m, n: _sums(v, m).mean()),
            _by(fixed=lambda v, m, n: _sums(v, m).sum()),
        ],
        "'fixed' divides by the length alone. With more rollouts the step must not grow: by the rows, too.": [
            _by(fixed=lambda v, m, n: _sums(v, m).sum() / n)
        ],
        "what is not sampled is in the sum. The values there mean nothing.": [
            lambda v, m, how, n: {
                "sequence": v.mean(1).mean(),
                "token": v.mean(),
                "fixed": v.sum() / (len(v) * n),
            }[how],
            lambda v, m, how, n: {
                "sequence": (v.sum(1) / _counts(m)).mean(),
                "token": v.sum() / m.sum(),
                "fixed": v.sum() / (len(v) * n),
            }[how],
        ],
        "what is not sampled is zero in your sum, and still counted where you divide.": [
            _by(
                sequence=lambda v, m, n: torch.where(m, v, 0.0).mean(1).mean(),
                token=lambda v, m, n: torch.where(m, v, 0.0).mean(),
            ),
            _by(sequence=lambda v, m, n: torch.where(m, v, 0.0).mean(1).mean()),
            _by(token=lambda v, m, n: torch.where(m, v, 0.0).mean()),
        ],
        "you return a number a row. One number for the batch.": [
            lambda v, m, how, n: {
                "sequence": _sums(v, m) / _counts(m),
                "token": _sums(v, m) / m.sum(),
                "fixed": _sums(v, m) / n,
            }[how]
        ],
    },
)
