"""Estimators of the policy gradient, compared: what weight each sampled token gets, and how noisy their sum is.

Every objective in `objective` amounts to one rule: the update is a weighted sum of the gradients of the sampled tokens'
log-probabilities, and the objectives differ in the weights alone. `token_weights` reads the weights off. Before the
first update all tokens of a rollout have the same weight, so that the gradient of each rollout, made once, gives the
update of any objective for any choice of groups, without the model. Simplified: gradients are kept as a sketch (signed
sums in buckets), in which angles are right to about one in the square root of its size.

    c = token_weights(new, old, a, mask, OBJECTIVES["gspo"])                  # (R, T)
    g = rollout_gradients(policy, rollouts, store)                            # (R, 4096)
    push = estimates(rewards, lengths, g, OBJECTIVES["dapo"], group=8, draws=50, seed=0)      # (50, 4096)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from ..core.errors import R3labError
from ..models.policy import Features, Policy, Row
from ..trajectory import Kind, Trajectory
from .objective import Objective, advantages, policy_loss
from .update import packed_logprobs


def token_weights(
    new: torch.Tensor, old: torch.Tensor, a: torch.Tensor, mask: torch.Tensor, objective: Objective
) -> torch.Tensor:
    """The weight (R, T) of each token's log-probability gradient in an update; 0: the token is not pushed at all.

    Parameters
    ----------
    new, old, mask : as in `objective.policy_loss`
    a : (R,) advantages
    """
    at = new.detach().clone().requires_grad_()
    loss, _ = policy_loss(at, old, a, mask, objective)
    (gradient,) = torch.autograd.grad(loss, at)
    return -gradient


class Sketch:
    """Adds a gradient's entries into `size` buckets, each with a random sign (a count sketch).

    Inner products of two sketches are those of the gradients on average, and off by about the product of their norms
    over the square root of `size`. Sketches can be compared only if weights, size and seed are the same.
    """

    def __init__(self, weights: Sequence[torch.Tensor], size: int = 4096, seed: int = 0) -> None:
        if size < 1:
            raise R3labError(f"a sketch needs at least one bucket, got {size}; 4096 keeps angles to about 0.02")
        chance, count = torch.Generator().manual_seed(seed), sum(w.numel() for w in weights)
        self.weights, self.size = weights, size
        self.bucket = torch.randint(size, (count,), generator=chance).to(weights[0].device)
        self.sign = (torch.randint(2, (count,), generator=chance) * 2 - 1).to(weights[0].device, torch.float32)

    def __call__(self, gradients: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """The sketch (size,) of a gradient, a tensor a weight; None stands for zeros."""
        pairs = zip(self.weights, gradients, strict=True)
        flat = torch.cat([(torch.zeros_like(w) if g is None else g).flatten().float() for w, g in pairs])
        return torch.zeros(self.size, device=flat.device).index_add_(0, self.bucket, flat * self.sign)


def rollout_gradients(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    size: int = 4096,
    seed: int = 0,
    temperature: float = 1.0,
) -> torch.Tensor:
    """The gradient of each rollout's log-probability in the text model's weights, as a `Sketch` (R, size).

    Parameters
    ----------
    store : features by key, as `rollout` filled it
    size, seed : of the sketch
    temperature : at which the rollouts were sampled
    """
    weights = policy.text_parameters()
    sketch = Sketch(weights, size, seed)
    found = torch.zeros(len(trajectories), size, device=weights[0].device)  # made first: among gradients, kept sketches
    for number, t in enumerate(trajectories):  # would hold the memory around them
        now = packed_logprobs(policy, [t], store, temperature)
        found[number] = sketch(torch.autograd.grad(now.new[now.mask].sum(), weights, allow_unused=True))
    return found


def estimates(
    rewards: torch.Tensor,
    lengths: torch.Tensor,
    gradients: torch.Tensor,
    objective: Objective,
    group: int,
    draws: int,
    seed: int = 0,
) -> torch.Tensor:
    """The first update's direction (draws, size) from groups that are drawn anew, without replacement, each time.

    Parameters
    ----------
    rewards : (N, M) of M rollouts of each of N questions
    lengths : (N, M) sampled tokens of each
    gradients : (N, M, size) of `rollout_gradients`
    group : G, how many of the M are drawn

    Raises
    ------
    R3labError
        If a group cannot be drawn.
    """
    questions, most = rewards.shape
    if not 2 <= group <= most:
        raise R3labError(f"a group of {group} cannot be drawn from {most} rollouts a question; take 2 to {most}")
    chance = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        chosen = torch.stack([torch.randperm(most, generator=chance)[:group] for _ in range(questions)])  # (N, G)
        a = advantages(rewards.gather(1, chosen), objective.advantage).flatten().float()
        count = lengths.gather(1, chosen).flatten()
        mask = torch.arange(int(count.max())) < count[:, None]
        still = torch.zeros(mask.shape)  # before the first update, new is old
        weight = token_weights(still, still, a, mask, objective)[:, 0]  # all tokens of a rollout have the same
        picked = gradients.gather(1, chosen[..., None].expand(-1, -1, gradients.shape[-1])).flatten(0, 1)
        found.append(weight.to(picked) @ picked)
    return torch.stack(found)


def token_logprobs(
    policy: Policy, rows: list[Row], trajectories: Sequence[Trajectory], temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities of the sampled tokens under the policy now, and those recorded at sampling.

    A row a trajectory: plain, and what `update.packed_logprobs` must equal.

    Returns
    -------
    new, old : (R, T) float32, T the most sampled tokens of a row
    mask : (R, T) bool
    """
    batch, new, old = policy.rows(rows), [], []
    hidden = policy.hidden(batch)
    for number, t in enumerate(trajectories):
        at = torch.tensor([i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED])
        logits = policy.logits(hidden[number, at - 1])  # (N, V): of the state from which each token was sampled
        logp = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
        new.append(logp.gather(1, batch.ids[number, at, None])[:, 0])
        old.append(torch.tensor([t.logprobs[i] for i in at.tolist()]).to(logp))
    padded = [pad_sequence(values, batch_first=True) for values in (new, old, [torch.ones_like(v) for v in new])]
    return padded[0], padded[1], padded[2].bool()
