"""The exercises of notebook 07: a baseline, the push that the clip leaves, a reward that is hard to cheat, which tokens
of ragged rows carry loss, and how they become one number.

check_leave_one_out(leave_one_out)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from ..core.geometry import Box, coverage, iou
from ..train import objective
from ..train.estimators import token_weights
from ..train.objective import Objective, advantages
from ..train.when import FINE, SAME, region_checked
from ..trajectory import Kind
from .judge import NAN, Exercise, Function, Then
from .look_again import kinds_of
from .rgrpo import looked, table

Tensor = torch.Tensor

# -- the leave-one-out advantage -----------------------------------------------------------------------------------


def _others(r: Tensor) -> Tensor:
    """The sum of the others of the group."""
    return r.sum(1, keepdim=True) - r


def _best_other(r: Tensor) -> Tensor:
    itself = torch.eye(r.shape[1], dtype=torch.bool)
    return r[:, None].expand(-1, r.shape[1], -1).masked_fill(itself, -torch.inf).amax(2)


check_leave_one_out = Exercise(
    "f(rewards): each reward (N, G) less the mean of the others of its group.",
    lambda rewards: advantages(rewards, "leave-one-out"),
    (
        (table((1.5, 0.5, 0.5, 0.25, 1.5), (2.0, 1.9, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.5, 0.0)),),
        (table((1.0, 0.0), (0.3, 0.4)),),  # a group of two: the other one is the baseline
        (table((0.5, 0.5, 0.5, 0.5)),),
    ),
    "your baseline holds the rollout's own reward. What would the others alone have led you to expect?",
    lambda r: r - r.mean(1, keepdim=True),
    "the others are G - 1, and you divide their sum by G.",
    lambda r: r - _others(r) / r.shape[1],
    "you take off the sum of the others. A baseline is an expected reward: their mean.",
    lambda r: r - _others(r),
    "your others come from the whole batch. An easy question's rollouts say nothing about a hard one's.",
    (lambda r: r - (r.sum() - r) / (r.numel() - 1), lambda r: r - r.mean()),
    "you compare members of different groups. A group is a row: which dimension is it?",
    (lambda r: r - (r.sum(0) - r) / max(1, r.shape[0] - 1), lambda r: r - r.mean(0)),
    "right so far, and then you divide by the standard deviation. Leave-one-out keeps the unit of the reward.",
    (lambda r: advantages(r, "leave-one-out") / (r.std(1, keepdim=True) + 1e-4), lambda r: advantages(r)),
    "the sign: a rollout that did better than the others must come out positive.",
    (Then(operator.neg), lambda r: r.mean(1, keepdim=True) - r),
    "that is the baseline. The advantage is what the rollout earned beyond it.",
    lambda r: _others(r) / (r.shape[1] - 1),
    "you compare with the best of the others, so that hardly anybody is praised. What do they earn on average?",
    lambda r: r - _best_other(r),
)


# -- the push that the clip leaves ---------------------------------------------------------------------------------


def _push(ratio: Tensor, a: Tensor, low: float, high: float) -> Tensor:
    """What the library's loss does: its weights, with the mean over tokens and rows taken back."""
    new, every = ratio.log(), torch.ones_like(ratio, dtype=torch.bool)
    clipped = Objective(clip_low=low, clip_high=high)
    return token_weights(new, torch.zeros_like(new), a, every, clipped) * ratio.numel()


def _closed(w: Tensor, a: Tensor, low: float, high: float) -> Tensor:
    return ((a > 0) & (w > 1 + high)) | ((a < 0) & (w < 1 - low))


def _gate(
    closed: Function = _closed,
    weight: Function = operator.mul,
) -> Function:
    """A weight made of ratio and advantage, but nothing where `closed`."""
    return lambda w, a, low, high: weight(w, a[:, None]) * ~closed(w, a[:, None], low, high)


_RATIOS = table((0.5, 0.78, 0.9, 1.0, 1.1, 1.24, 1.3, 2.0), (0.5, 0.76, 0.9, 1.0, 1.1, 1.22, 1.3, 2.0))
_SIGNS = torch.tensor([0.8, -1.3], dtype=torch.float64)

check_push = Exercise(
    "f(ratio, advantages, low, high): the derivative of the clipped surrogate in each log-probability.",
    _push,
    ((_RATIOS, _SIGNS, 0.2, 0.28), (_RATIOS, -_SIGNS, 0.2, 0.28), (_RATIOS, _SIGNS, 0.3, 0.1)),
    "you close the gate on both sides. A good rollout's token whose probability *fell* must still be pushed up.",
    _gate(lambda w, a, lo, hi: (w > 1 + hi) | (w < 1 - lo)),
    "each sign has the other's bound: you stop what moved the wrong way, and let go on what went far enough.",
    _gate(lambda w, a, lo, hi: _closed(w, -a, lo, hi)),
    "only the upper bound acts. When is a token of a *bad* rollout left alone?",
    _gate(lambda w, a, lo, hi: (a > 0) & (w > 1 + hi)),
    "only the lower bound acts. When is a token of a *good* rollout left alone?",
    (_gate(lambda w, a, lo, hi: (a < 0) & (w < 1 - lo)), _gate(lambda w, a, lo, hi: w < 1 - lo)),
    "your two bounds have the same width. `low` belongs to the lower one, `high` to the upper.",
    (_gate(lambda w, a, lo, hi: _closed(w, a, lo, lo)), _gate(lambda w, a, lo, hi: _closed(w, a, hi, hi))),
    "`low` and `high` are exchanged.",
    _gate(lambda w, a, lo, hi: _closed(w, a, hi, lo)),
    "the weight is bounded: that is CISPO, nearly. Here a token beyond its bound is pushed by nothing at all.",
    lambda w, a, lo, hi: w.clamp(1 - lo, 1 + hi) * a[:, None],
    "the gate is right. What is left is the derivative of the ratio: and what is that of exp(x)?",
    _gate(weight=lambda w, a: a),
    "the gate is right, but who opened it has a say in how strongly: where is the advantage?",
    (_gate(weight=lambda w, a: w), _gate(weight=lambda w, a: torch.ones_like(w))),
    "nothing is clipped.",
    lambda w, a, lo, hi: w * a[:, None],
    "that is the push on the loss, which goes downhill. Wanted: on what is maximised.",
    Then(operator.neg),
)


# -- a region reward that is hard to cheat -------------------------------------------------------------------------

Looks = Sequence[tuple[Box, bool]]


def _valid(looks: Looks) -> list[Box]:
    return [box for box, valid in looks if valid]


def _last(looks: Looks, truth: Box, overlap: Function = iou, which: int = -1) -> float:
    return overlap(_valid(looks)[which], truth) if _valid(looks) else 0.0


def _useless(looks: Looks) -> int:
    return sum(not valid for _, valid in looks)


def _met(
    earlier: Function = lambda boxes, i: boxes[:i],
    overlap: Function = iou,
    every: bool = False,
) -> Function:
    """How many valid looks repeat another one, or (every) how often."""

    def counted(looks: Looks) -> int:
        boxes = _valid(looks)
        times = [sum(overlap(box, one) > SAME for one in earlier(boxes, i)) for i, box in enumerate(boxes)]
        return sum(times) if every else sum(map(bool, times))

    return counted


_again = _met()


def _with(paid: Function = _last, repeated: Function = _again) -> Function:
    """The right rule with another payment, or another count of repeated looks."""
    return lambda looks, truth, right: 0.5 * paid(looks, truth) * right - FINE * (_useless(looks) + repeated(looks))


def _with_refused(looks: Looks) -> int:
    return sum(valid and any(iou(box, one) > SAME for one, _ in looks[:i]) for i, (box, valid) in enumerate(looks))


_TRUTH = (100.0, 100.0, 150.0, 150.0)
_NEAR, _AGAIN = ((110.0, 95.0, 160.0, 150.0), True), ((112.0, 95.0, 162.0, 150.0), True)
_AWAY, _WIDE = ((300.0, 300.0, 360.0, 350.0), True), ((0.0, 0.0, 512.0, 512.0), True)
_INNER = (115.0, 105.0, 140.0, 140.0), True  # in _NEAR, under a third of it
_OUT, _REFUSED = ((600.0, 600.0, 700.0, 700.0), False), (_NEAR[0], False)
_TAKEN: Sequence[Looks] = (
    *([_NEAR], [_WIDE], [_NEAR, _OUT], [_NEAR, _AWAY], [_AWAY, _NEAR], [_NEAR, _AGAIN], [_NEAR, _AWAY, _AGAIN]),
    *([_NEAR, _AGAIN, _NEAR], [_REFUSED, _NEAR], [_NEAR, _INNER], [_OUT], []),
)

check_region_checked = Exercise(
    "f(looks, truth, right): 0.5 x IoU of the last valid look if right, less 0.1 a useless look.",
    lambda looks, truth, right: region_checked(looked(looks, "7" if right else "1", regions=[truth], answer="7")),
    [
        *((looks, _TRUTH, True) for looks in _TAKEN),
        *((looks, _TRUTH, False) for looks in ([_NEAR], [_OUT, _NEAR], [_NEAR, _AGAIN], [])),
    ],
    "it pays for the place when the answer is wrong, so that pointing pays without reading.",
    lambda k, t, right: _with()(k, t, True),
    "a wrong answer escapes the fines. A useless look is useless whatever came of it.",
    lambda k, t, right: _with()(k, t, True) * right,
    "a look that could not be cut decides. Nothing was seen of it: the last *valid* look is what was read.",
    _with(lambda k, t: iou(k[-1][0], t) if k else 0.0),
    _with(lambda k, t: iou(k[-1][0], t) if k and k[-1][1] else 0.0),
    "the answer was read from the last look. You pay for the first.",
    _with(lambda k, t: _last(k, t, which=0)),
    "you pay for the best look, so that it pays to look everywhere.",
    _with(lambda k, t: max((iou(b, t) for b in _valid(k)), default=0.0)),
    "you pay every look, so that two half-good ones earn more than one good one.",
    _with(lambda k, t: sum(iou(b, t) for b in _valid(k))),
    "that pays in full for the whole image, which covers everything. Which overlap punishes excess too?",
    _with(lambda k, t: _last(k, t, coverage)),
    "a box that cannot be cut costs nothing.",
    lambda k, t, right: _with()(k, t, right) + FINE * _useless(k),
    "a look that repeats another costs nothing.",
    (_with(repeated=lambda k: 0), _with(repeated=lambda k: -_useless(k))),
    "you fine pairs. A third look at the same place is one more useless look, not two.",
    _with(repeated=_met(every=True)),
    "you compare each look with the one before it alone. A policy may come back to a place later.",
    _with(repeated=_met(lambda boxes, i: boxes[max(0, i - 1) : i])),
    "does a look repeat itself? Compare it with *earlier* ones: the first look at a place is no repetition.",
    _with(repeated=_met(lambda boxes, i: boxes)),
    "a closer look at a part of an earlier region is no repetition. Which overlap sees that?",
    _with(repeated=_met(overlap=lambda a, b: max(coverage(a, b), coverage(b, a)))),
    "you count a look as repeated after a refused one, of which nothing was seen.",
    _with(repeated=_with_refused),
    "every look after the first is fined, even one that shows something new.",
    (_with(repeated=lambda k: max(0, len(_valid(k)) - 1)), _with(repeated=lambda k: max(0, len(k) - 1) - _useless(k))),
    "the most that it may pay is 0.5: a right answer must stay worth more than a good look.",
    _with(lambda k, t: 2 * _last(k, t)),
)


# -- which tokens carry loss ---------------------------------------------------------------------------------------

P, O, S, E, C, N = (int(kind) for kind in Kind)  # noqa: E741  (prompt, overview, sampled, environment, crop, pad)


def _marked(keep: Function, padding: bool = False, begin: int = 1) -> Function:
    """The mask from the token `begin` on: True at the tokens of a row that are kept, in no row that was cut off."""

    def made(kinds: list[list[int]], cut_off: list[bool]) -> Tensor:
        rows = [torch.tensor([keep(row, i) for i in range(len(row))]) for row in kinds]
        return (pad_sequence(rows, True, padding) & ~torch.tensor(cut_off)[:, None])[:, begin:]

    return made


def _of(*wanted: int) -> Function:
    return lambda row, i: row[i] in wanted


def _inserted(kinds: list[int]) -> bool:
    return E in kinds or C in kinds


def _rows(*rows: str) -> list[list[int]]:
    return [kinds_of(row) for row in rows]


_loss_mask = _marked(_of(S))

check_loss_mask = Exercise(
    "f(kinds, cut_off): the mask (R, T - 1) of the next-token targets that carry loss.",
    _loss_mask,
    (
        # one look: the crop stands between two marks; a refused box, then a look; answered at once
        (_rows("poopssseccess", "poopsseeesseces", "poopss"), [False, False, False]),
        (_rows("popssss", "poppppps", "popsssss"), [False, False, True]),
        (_rows("popsscc", "pops", "popsseccess"), [False, False, True]),
    ),
    "rollouts that were cut off carry loss: they would be blamed for an answer that they could not give.",
    lambda k, cut: _loss_mask(k, [False] * len(k)),
    "you leave the rows of cut-off rollouts out. They stay, without a True: the mask must fit the batch.",
    lambda k, cut: _loss_mask(k, cut)[~torch.tensor(cut)],
    "the cut-off rollouts are the only ones that carry loss.",
    lambda k, cut: _loss_mask(k, [not c for c in cut]),
    "that is a column too many. The state at the last place predicts nothing: targets are `ids[:, 1:]`.",
    _marked(_of(S), begin=0),
    "your mask marks the place *from* which a token was predicted: whatever follows a sampled token is trained.",
    lambda k, cut: _marked(_of(S), begin=0)(k, cut)[:, :-1],
    "the first token after the prompt, or after a crop, was sampled too, though the one before it was not.",
    _marked(lambda row, i: row[max(0, i - 1)] == row[i] == S),
    "everything after the prompt carries loss. Crops, and what the loop inserted, were nobody's choice.",
    (_marked(lambda row, i: S in row[: i + 1]), _marked(_of(S, E, C))),
    "text that the loop inserted carries loss. The policy would learn to write the environment's lines itself.",
    _marked(_of(S, E)),
    "image tokens of a crop carry loss. They are placeholders for pixels: there is nothing to predict.",
    (_marked(_of(S, C)), _marked(_of(S, C, O))),
    "the padding of the shorter rows carries loss.",
    _marked(_of(S), padding=True),
    "only what comes after the last crop carries loss, so that nobody ever learns where to look.",
    _marked(lambda row, i: row[i] == S and not _inserted(row[i:])),
    "only what comes before the first crop carries loss, so that nobody ever learns to read one.",
    _marked(lambda row, i: row[i] == S and not _inserted(row[:i])),
    "the prompt carries loss. It is the same in all rollouts of a group: nobody chose it.",
    (_marked(_of(P, S)), _marked(_of(P, O, S))),
    "that is True where no loss must be.",
    Then(torch.logical_not),
)


# -- how tokens become one number ----------------------------------------------------------------------------------


def _aggregate(values: Tensor, mask: Tensor, how: str, length: int) -> Tensor:
    return objective.aggregate(values, mask, Objective(aggregation=how, length=length))


def _sums(v: Tensor, m: Tensor) -> Tensor:
    return torch.where(m, v, 0.0).sum(1)


def _counts(m: Tensor) -> Tensor:
    return m.sum(1).clamp(min=1)


def _by(**other: Function) -> Function:
    """The right rule, but for the ways to aggregate that are given."""
    return lambda v, m, how, length: other[how](v, m, length) if how in other else _aggregate(v, m, how, length)


def _always(how: str) -> Function:
    return lambda v, m, _, length: _aggregate(v, m, how, length)


_VALUES = table(
    (0.5, 0.7, -0.2, 0.9, 0.4, 0.3), (-1.1, -0.6, 9e3, 9e3, 9e3, 9e3), (0.8, 9e3, 0.2, 0.6, 9e3, 9e3), (7.0,) * 6
)
_MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0], [0] * 6], dtype=torch.bool)

check_aggregate = Exercise(
    "f(values, mask, how, length): one number from (R, T) values, in three ways.",
    _aggregate,
    # without and with a row that was cut off, and is left out
    [(_VALUES[:rows], _MASK[:rows], how, 8) for rows in (3, 4) for how in ("sequence", "token", "fixed")],
    "a row without a sampled token (the last one of the second batch) gives 0 / 0. It must add nothing.",
    _by(sequence=lambda v, m, n: (_sums(v, m) / m.sum(1)).mean()),
    "'sequence' leaves a row without sampled tokens out of the count of rows. It adds nothing, and counts.",
    _by(sequence=lambda v, m, n: (_sums(v, m) / _counts(m))[m.any(1)].mean()),
    "'fixed' leaves a row without sampled tokens out of the count of rows.",
    _by(fixed=lambda v, m, n: _sums(v, m).sum() / (m.any(1).sum() * n)),
    "whatever is asked for, you do the same: by rows, over all tokens, or by a fixed length. What does `how` say?",
    (_always("sequence"), _always("token"), _always("fixed")),
    "'token' and 'sequence' are exchanged: which one lets a long row weigh more than a short one?",
    lambda v, m, how, n: _aggregate(v, m, {"token": "sequence", "sequence": "token", "fixed": "fixed"}[how], n),
    "'fixed' must divide by `length`, whatever the rows' own lengths are. Yours does not know it.",
    (_by(fixed=lambda v, m, n: _sums(v, m).mean()), _by(fixed=lambda v, m, n: _sums(v, m).sum())),
    "'fixed' divides by the length alone. With more rollouts the step must not grow: by the rows, too.",
    _by(fixed=lambda v, m, n: _sums(v, m).sum() / n),
    "what is not sampled is in the sum. The values there mean nothing.",
    lambda v, m, how, n: _aggregate(v, torch.ones_like(m), how, n),
    "what is not sampled is zero in your sum, and still counted where you divide.",
    lambda v, m, how, n: _aggregate(v * m, torch.ones_like(m), how, n),
    "you return a number a row. One number for the batch.",
    lambda v, m, how, n: _sums(v, m) / {"sequence": _counts(m), "token": m.sum(), "fixed": n}[how],
    edge=(NAN, [(_VALUES.masked_fill(~_MASK, torch.nan), _MASK, how, 8) for how in ("sequence", "token", "fixed")]),
)
