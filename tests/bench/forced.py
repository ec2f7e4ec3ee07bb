"""Rollouts that write a script: logits are computed and a token is drawn, but only the script's next is possible."""

from __future__ import annotations

import re

import torch

from r3lab.models.policy import Policy


def words(policy: Policy) -> list[int]:
    """Ids of plain words, with which no box and no answer begins."""
    return [i for i in range(len(policy.tokenizer)) if re.fullmatch(" [a-z]+", policy.piece(i))]


def only(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Logits (R, V) that leave one token of each row possible, `wanted` (R,)."""
    return torch.full_like(logits, float("-inf")).scatter(1, wanted[:, None], 0.0)


class Forced:
    """Takes the place of a policy's `logits`; all rows sample abreast.

    Attributes
    ----------
    known : log-probabilities of the script's tokens, a tensor (R,) a place, since `begin`
    """

    def __init__(self, policy: Policy, script: torch.Tensor) -> None:
        self.script, self.logits = script, policy.logits  # (R, T) ids
        policy.logits = self  # type: ignore[method-assign, assignment]
        self.known: list[torch.Tensor] = []

    def begin(self) -> None:
        """The next token is the script's first."""
        self.known = []

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.logits(hidden)
        if torch.is_grad_enabled():  # an update, not a rollout
            return logits
        wanted = self.script[:, len(self.known)]
        self.known.append(torch.log_softmax(logits, dim=-1).gather(1, wanted[:, None])[:, 0])
        return only(logits, wanted)
