"""Rollouts that write a script: logits are computed, a token is drawn, and then the script's is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch

from r3lab.models import decoder
from r3lab.models import policy as policies
from r3lab.models.policy import Policy
from r3lab.rollout.loop import Loop
from r3lab.rollout.state import RolloutState
from r3lab.trajectory import Trajectory

Write = Callable[[Trajectory, int, int], Sequence[int]]  # of a record, its group and its place in it: ids
REAL, ADD = policies.choose, Loop.add


def words(policy: Policy) -> list[int]:
    """Ids of plain words, with which no box and no answer begins."""
    return [i for i in range(len(policy.tokenizer)) if re.fullmatch(" [a-z]+", policy.piece(i))]


class Script:
    """In the place of a row's random numbers: each says which token is drawn (id + 0.5)."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids, self.at, self.bit_generator = np.array(ids), 0, self

    def random(self, count: int | None = None) -> Any:
        """The next numbers; behind the script's end the last again."""
        found = self.ids[np.minimum(self.at + np.arange(count or 1), len(self.ids) - 1)] + 0.5
        self.at += count or 1
        return float(found[0]) if count is None else found

    def advance(self, count: int) -> None:
        """Go on, or back."""
        self.at += count


def chosen(
    logits: torch.Tensor, temperature: float, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `choose`, whose work is done, with the token that `uniform` says."""
    entropies = REAL(logits, temperature, uniform)[2]
    ids = uniform[:, 0].long()
    return ids, logits.log_softmax(-1).gather(1, ids[:, None])[:, 0], entropies


@contextmanager
def scripted(write: Write) -> Iterator[None]:
    """Inside, whatever is sampled in rollouts at a temperature is what `write` says."""

    def add(loop: Loop, record: Trajectory, position: int, number: int, member: int) -> RolloutState:
        branch = ADD(loop, record, position, number, member)
        branch.noise = Script(write(record, number, member))  # type: ignore[assignment]
        return branch

    with (
        mock.patch.object(Loop, "add", add),
        mock.patch.object(policies, "choose", chosen),
        mock.patch.object(decoder, "choose", chosen),
    ):
        yield
