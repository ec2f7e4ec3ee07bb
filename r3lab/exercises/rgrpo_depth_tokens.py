"""Two exercises of notebook 07, on ragged rows of tokens: which of them carry loss, and how they become one number.

check_loss_mask(loss_mask)               # prints "right" or one hint; True when right
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from ..train import objective
from ..trajectory import Kind
from .judge import Exercise, Mistake, report

Tensor = torch.Tensor
P, O, S, E, C, N = (int(kind) for kind in Kind)  # noqa: E741  (prompt, overview, sampled, environment, crop, pad)

# -- which tokens carry loss ---------------------------------------------------------------------------------------

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


LOSS_MASK = Exercise(
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
    (
        Mistake(
            "rollouts that were cut off carry loss: they would be blamed for an answer that they could not give.",
            (lambda k, cut: _loss_mask(k, [False] * len(k)),),
        ),
        Mistake(
            "you leave the rows of cut-off rollouts out. They stay, without a True: the mask must fit the batch.",
            (
                lambda k, cut: _loss_mask(k, cut)[~torch.tensor(cut)],
                lambda k, cut: _loss_mask(
                    [row for row, c in zip(k, cut, strict=True) if not c], [False] * cut.count(False)
                ),
            ),
        ),
        Mistake(
            "the cut-off rollouts are the only ones that carry loss.",
            (lambda k, cut: _loss_mask(k, [not c for c in cut]),),
        ),
        Mistake(
            "that is a column too many. The state at the last place predicts nothing: targets are `ids[:, 1:]`.",
            (_sampled,),
        ),
        Mistake(
            "your mask marks the place *from* which a token was predicted, not the token. Column t stands for the "
            "target `ids[:, t + 1]`. As it is, whatever follows a sampled token is trained, a crop's first token too.",
            (lambda k, cut: _sampled(k, cut)[:, :-1],),
        ),
        Mistake(
            "the first token after the prompt, or after a crop, was sampled too: it is predicted from a token that was "
            "not, and that is no reason to drop it.",
            (lambda k, cut: _sampled(k, cut)[:, 1:] & _sampled(k, cut)[:, :-1],),
        ),
        Mistake(
            "everything after the prompt carries loss. Crops, and what the loop inserted, were nobody's choice.",
            (_targets(lambda row, i: i >= _begin(row)), _targets(lambda row, i: row[i] not in (P, O, N))),
        ),
        Mistake(
            "text that the loop inserted carries loss. The policy would learn to write the environment's lines itself.",
            (_targets(lambda row, i: row[i] in (S, E)),),
        ),
        Mistake(
            "image tokens of a crop carry loss. They are placeholders for pixels: there is nothing to predict.",
            (_targets(lambda row, i: row[i] in (S, C)), _targets(lambda row, i: row[i] in (S, C, O))),
        ),
        Mistake("the padding of the shorter rows carries loss.", (_padded,)),
        Mistake(
            "only what comes after the last crop carries loss, so that nobody ever learns where to look.",
            (_targets(_last_block),),
        ),
        Mistake(
            "only what comes before the first crop carries loss, so that nobody ever learns to read one.",
            (_targets(_first_block),),
        ),
        Mistake(
            "the prompt carries loss. It is the same in all rollouts of a group: nobody chose it.",
            (_targets(lambda row, i: row[i] in (P, S)), _targets(lambda row, i: row[i] in (P, O, S))),
        ),
        Mistake("that is True where no loss must be.", (lambda k, cut: ~_loss_mask(k, cut),)),
    ),
)


def check_loss_mask(answer: Any) -> bool:
    """Check ``f(kinds, cut_off)``: the mask (R, T - 1) of the next-token targets that carry loss."""
    return report(answer, LOSS_MASK)


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

AGGREGATE = Exercise(
    _aggregate,
    (
        (_VALUES, _MASK, "sequence", 8),
        (_VALUES, _MASK, "token", 8),
        (_VALUES, _MASK, "fixed", 8),
        (_FOUR, _NONE, "sequence", 8),
        (_FOUR, _NONE, "token", 8),
        (_FOUR, _NONE, "fixed", 8),
    ),
    (
        Mistake(
            "a row without a sampled token (the last one of the second batch) gives 0 / 0. It must add nothing.",
            (
                _by(sequence=lambda v, m, n: (_sums(v, m) / m.sum(1)).mean()),
                _by(sequence=lambda v, m, n: torch.stack([x[k].mean() for x, k in zip(v, m, strict=True)]).mean()),
            ),
        ),
        Mistake(
            "'sequence' leaves a row without sampled tokens out of the count of rows. It was one of the group: it adds "
            "nothing, and counts.",
            (_by(sequence=lambda v, m, n: (_sums(v, m) / _counts(m))[m.any(1)].mean()),),
        ),
        Mistake(
            "'fixed' leaves a row without sampled tokens out of the count of rows.",
            (_by(fixed=lambda v, m, n: _sums(v, m).sum() / (m.any(1).sum() * n)),),
        ),
        Mistake(
            "whatever is asked for, you take the mean of each row and then of the rows. What does `how` say?",
            (_always("sequence"),),
        ),
        Mistake(
            "whatever is asked for, you take the mean over all tokens of the batch. What does `how` say?",
            (_always("token"),),
        ),
        Mistake("whatever is asked for, you divide by a fixed length. What does `how` say?", (_always("fixed"),)),
        Mistake(
            "'token' and 'sequence' are exchanged: which one lets a long row weigh more than a short one?",
            (
                lambda v, m, how, n: _aggregate(
                    v, m, {"token": "sequence", "sequence": "token", "fixed": "fixed"}[how], n
                ),
            ),
        ),
        Mistake(
            "'fixed' must divide by `length`, whatever the rows' own lengths are. Yours does not know it.",
            (_by(fixed=lambda v, m, n: _sums(v, m).mean()), _by(fixed=lambda v, m, n: _sums(v, m).sum())),
        ),
        Mistake(
            "'fixed' divides by the length alone. With more rollouts the step must not grow: by the rows, too.",
            (_by(fixed=lambda v, m, n: _sums(v, m).sum() / n),),
        ),
        Mistake(
            "what is not sampled is in the sum. The values there mean nothing.",
            (
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
            ),
        ),
        Mistake(
            "what is not sampled is zero in your sum, and still counted where you divide.",
            (
                _by(
                    sequence=lambda v, m, n: torch.where(m, v, 0.0).mean(1).mean(),
                    token=lambda v, m, n: torch.where(m, v, 0.0).mean(),
                ),
                _by(sequence=lambda v, m, n: torch.where(m, v, 0.0).mean(1).mean()),
                _by(token=lambda v, m, n: torch.where(m, v, 0.0).mean()),
            ),
        ),
        Mistake(
            "you return a number a row. One number for the batch.",
            (
                lambda v, m, how, n: {
                    "sequence": _sums(v, m) / _counts(m),
                    "token": _sums(v, m) / m.sum(),
                    "fixed": _sums(v, m) / n,
                }[how],
            ),
        ),
    ),
)


def check_aggregate(answer: Any) -> bool:
    """Check ``f(values, mask, how, length)``: one number from (R, T) values, in three ways."""
    return report(answer, AGGREGATE)
