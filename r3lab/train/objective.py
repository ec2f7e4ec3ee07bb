"""The objective of R-GRPO and of its relatives: advantages, ratios, aggregation, KL, entropy, credit by span.

    a = advantages(rewards, "grpo")                                       # (N, G)
    loss, metrics = policy_loss(new, old, a.flatten(), mask, Objective())   # (R, T) log-probabilities

What is region-conditioned in R-GRPO is the conditioning itself: each token's log-probability is taken given the crops
that the policy's own earlier boxes brought in, and image and environment tokens carry no loss. Everything here is
arithmetic on log-probabilities of sampled tokens; no model is needed to try it. `Objective()` is VLM-R3's published
setting; `OBJECTIVES` has it beside the field's others. Of rollout i of G, with tokens t, o = its number of tokens,
p = the probability of a token, w = p / p at sampling, r = its reward, and A its advantage, each maximises the mean over
questions of

    r-grpo      mean_i 1/o sum_t min(w A, clip(w, 1 - 0.2, 1 + 0.28) A),      A = (r - mean r) / (std r + 1e-4)
    grpo        the same, clipped to 1 +- 0.2                                 (arXiv 2402.03300, equation 3)
    dapo        r-grpo's terms, summed over all tokens / their number         (arXiv 2503.14476, equation 8)
    dr-grpo     grpo's terms, mean_i 1/constant sum_t,                        A = r - mean r (arXiv 2503.20783, 3.2)
    gspo        mean_i min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A), s = (product_t w)^(1/o)   (arXiv 2507.18071, equation 5)
    cispo       sum over all tokens of stop-gradient(min(w, 1 + 0.28)) A log p / their number  (arXiv 2506.13585,
                equations 4 and 5; it has no lower clip, and leaves the upper one open: 0.28 is DAPO's)
    rloo        mean_i A sum_t log p,        A = r - mean r of the others     (arXiv 2402.14740, equation 6: REINFORCE
                of whole sequences, nothing is clipped; made for one update a batch, `minibatches=1`)
    reinforce++-baseline    dapo's sum, clipped to 1 +- 0.2,   A = (r - mean r) / std of that over the batch
                (arXiv 2501.03262, "w/ Baseline"; its KL term is `kl="k2"`. REINFORCE++ itself has no groups)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..core.arms import get_arm
from ..core.stats import LOG_RATIO_BINS, LOG_RATIO_COUNTS, LOG_RATIO_EDGES
from ..trajectory import Kind, Trajectory
from .presets import PUBLISHED, SPANS, Objective, known_as

# Advantages (N, G) of rewards r, c = r - mean of the group, and epsilon e; see `advantages`.
ADVANTAGES: dict[str, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "grpo": lambda r, c, e: c / (r.std(dim=1, keepdim=True) + e),
    "dr-grpo": lambda r, c, e: c,
    "leave-one-out": lambda r, c, e: c * r.shape[1] / (r.shape[1] - 1),
    "batch": lambda r, c, e: c / (c.std() + e),
}
KL_ESTIMATORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # of d = new - reference; see `kl_estimate`
    "k1": lambda d: d,
    "k2": lambda d: d.square() / 2,
    "k3": lambda d: torch.exp(-d) - 1 + d,
}


def advantages(rewards: torch.Tensor, kind: str = "grpo", epsilon: float = 1e-4) -> torch.Tensor:
    """Advantages (N, G) of rewards (N, G), a group a row.

    ``grpo``
        (r - mean) / (std + epsilon) within the group; std that of a sample (divided by G - 1), as in TRL and the
        official code. DeepSeekMath (arXiv 2402.03300), section 4.1; epsilon 1e-4 as published for VLM-R3.
    ``dr-grpo``
        r - mean within the group. Dr. GRPO (arXiv 2503.20783), section 3.2.
    ``leave-one-out``
        r - mean of the group's others, G / (G - 1) times ``dr-grpo``. RLOO (arXiv 2402.14740), equation 6.
    ``batch``
        r - mean within the group, divided by (std + epsilon) of that over the batch. REINFORCE++ with baseline
        (arXiv 2501.03262).

    A group whose rewards are equal has advantages of exactly zero in every kind.

    Raises
    ------
    ValueError
        If the groups have fewer than two members.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (N, G) with G of at least 2, got {tuple(rewards.shape)}")
    equal = rewards.amax(dim=1, keepdim=True) == rewards.amin(dim=1, keepdim=True)  # exact, where the mean rounds
    centred = torch.where(equal, 0.0, rewards - rewards.mean(dim=1, keepdim=True))
    return ADVANTAGES[known_as("advantage", kind)](rewards, centred, epsilon)


def kl_estimate(new: torch.Tensor, reference: torch.Tensor, estimator: str) -> torch.Tensor:
    """Estimate, token by token, of KL(policy || reference) from samples of the policy; `d` = new - reference.

    k1 = d; k2 = d^2 / 2; k3 = exp(-d) - 1 + d. As a loss, k1 has a gradient of zero on average; k2 has that of the
    KL itself; k3 is GRPO's. Source: J. Schulman, Approximating KL divergence (2020).
    """
    return KL_ESTIMATORS[estimator](new - reference)


def surrogate(
    new: torch.Tensor, old: torch.Tensor, a: torch.Tensor, mask: torch.Tensor, objective: Objective
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each token contributes (R, T), to be maximised, and the ratio (R, T) that is clipped.

    With w = exp(new - old):

    ``token``
        min(w A, clip(w) A). PPO (arXiv 1707.06347), equation 7.
    ``sequence``
        s = exp(mean over the row's tokens of new - old); min(s A, clip(s) A) at every token, so that the mean over
        the row is the sequence's own. GSPO (arXiv 2507.18071), equation 5.
    ``cispo``
        stop-gradient(clip(w)) A new: no token is ever cut off, its weight is. CISPO (arXiv 2506.13585), equation 4.
    ``none``
        A new, wherever the policy has moved to since. REINFORCE, as in RLOO (arXiv 2402.14740), equation 6.
    """
    difference = torch.where(mask, new - old, torch.zeros_like(new))
    if objective.ratio == "sequence":
        count = mask.sum(1, keepdim=True).clamp(min=1)
        difference = (difference.sum(1, keepdim=True) / count).expand_as(new)
    ratio = difference.exp()
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    if objective.ratio in ("cispo", "none"):
        weight = clipped.detach() if objective.ratio == "cispo" else torch.ones_like(new)
        return weight * a * torch.where(mask, new, torch.zeros_like(new)), ratio
    return torch.minimum(ratio * a, clipped * a), ratio


def aggregate(
    values: torch.Tensor, mask: torch.Tensor, objective: Objective, rows: int | None = None, tokens: int | None = None
) -> torch.Tensor:
    """One number from (R, T) values on sampled tokens, as `objective.aggregation` says.

    Parameters
    ----------
    rows, tokens : of the whole batch, where this is a part of it; then the parts' results add up to the whole's.
        A row without sampled tokens contributes nothing but counts as a row.
    """
    weight, values = mask.to(values.dtype), torch.where(mask, values, torch.zeros_like(values))
    rows = rows or len(values)
    if objective.aggregation == "sequence":
        return ((values * weight).sum(1) / weight.sum(1).clamp(min=1)).sum() / rows
    total = (values * weight).sum()
    if objective.aggregation in ("fixed", "sum"):
        return total / (rows * (objective.length if objective.aggregation == "fixed" else 1))
    return total / (tokens or weight.sum().clamp(min=1))


def policy_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    objective: Objective = PUBLISHED,
    rows: int | None = None,
    tokens: int | None = None,
    weights: torch.Tensor | None = None,
    credit: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    entropy: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The loss to minimise.

        loss = - aggregate(surrogate) + kl_weight aggregate(KL) - entropy_weight aggregate(entropy)

    As published: ratio = exp(new - old); loss = - mean over rows, of the mean over a row's tokens, of
    min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A). Source: GRPO (arXiv 2402.03300), equation 3; clip-higher
    from DAPO (arXiv 2503.14476), section 3.1.

    Parameters
    ----------
    new, old : (R, T) log-probabilities of the sampled tokens, now and at sampling
    advantages : (R,)
    mask : (R, T) bool, True on sampled tokens
    rows, tokens : see `aggregate`
    weights : (R, T) factor on the advantage of each token: credit by span (reason, box, answer); None: 1
    credit : (R, T) added to it: an advantage of the token's own; None: 0
    reference : (R, T) log-probabilities under the reference policy; needed if `kl_weight` is not 0
    entropy : (R, T) entropies of the distributions that the tokens were drawn from, with gradient; needed if
        `entropy_weight` is not 0

    Returns
    -------
    loss : scalar
    metrics : ratio_mean, ratio_max, clip_fraction_low, clip_fraction_high, approx_kl (k3, of old from new),
        log_ratio_counts (`train.log`), and kl, entropy_bonus where they have a weight
    """
    a = advantages[:, None] if weights is None else advantages[:, None] * weights
    a = a if credit is None else a + credit
    value, ratio = surrogate(new, old, a, mask, objective)
    loss = -aggregate(value, mask, objective, rows, tokens)
    metrics: dict[str, Any] = {}
    if objective.kl_weight:
        if reference is None:
            raise ValueError(f"kl_weight is {objective.kl_weight} but no reference was given")
        apart = kl_estimate(new, torch.where(mask, reference, new), objective.kl)
        kl = aggregate(apart, mask, objective, rows, tokens)
        loss, metrics["kl"] = loss + objective.kl_weight * kl, float(kl.detach())
    if objective.entropy_weight:
        if entropy is None:
            raise ValueError(f"entropy_weight is {objective.entropy_weight} but no entropy was given")
        mean = aggregate(entropy, mask, objective, rows, tokens)
        loss, metrics["entropy_bonus"] = loss - objective.entropy_weight * mean, float(mean.detach())
    return loss, {**metrics, **ratio_metrics(new, old, a, mask, objective, ratio)}


@torch.no_grad()
def ratio_metrics(
    new: torch.Tensor,
    old: torch.Tensor,
    a: torch.Tensor,
    mask: torch.Tensor,
    objective: Objective,
    ratio: torch.Tensor | None = None,
) -> dict[str, Any]:
    """How far the policy has moved from the one that sampled, over sampled tokens; all (R, T), or (R, 1) of `a`."""
    weight, difference = mask.to(new.dtype), torch.where(mask, new - old, torch.zeros_like(new))
    ratio, count = difference.exp() if ratio is None else ratio, weight.sum().clamp(min=1)
    low = (ratio < 1 - objective.clip_low) & (a < 0) & mask
    high = (ratio > 1 + objective.clip_high) & (a > 0) & mask
    bins = torch.bucketize(difference[mask].float(), torch.tensor(LOG_RATIO_EDGES, device=new.device))
    return {
        "ratio_mean": float((ratio * weight).sum() / count),
        "ratio_max": float(torch.where(mask, ratio, torch.ones_like(ratio)).max()),
        "clip_fraction_low": float(low.sum() / count),
        "clip_fraction_high": float(high.sum() / count),
        "approx_kl": float((KL_ESTIMATORS["k3"](difference) * weight).sum() / count),
        LOG_RATIO_COUNTS: torch.bincount(bins, minlength=LOG_RATIO_BINS).tolist(),
    }


def spans(trajectory: Trajectory) -> list[str]:
    """The span of each sampled token, in order: `box` (the tokens of a look), `answer` (from the first token of the
    mark with which the trajectory's arm opens it), or `reason` (all others)."""
    boxed = {i for look in trajectory.looks for i in range(*look.span)}
    written = trajectory.response_text
    opened = written.find(get_arm(trajectory.arm).marks.open)
    begin = len(written) if opened < 0 else opened
    found, end = [], 0
    for i, (kind, piece) in enumerate(zip(trajectory.kinds, trajectory.pieces, strict=True)):
        if kind != Kind.SAMPLED:
            continue
        end += len(piece)
        found.append("box" if i in boxed else "answer" if end > begin else "reason")
    return found


def span_weights(trajectories: Sequence[Trajectory], factors: Mapping[str, float]) -> torch.Tensor | None:
    """Factors (R, T) on the advantage of each sampled token, T the most of a row; None where all are 1.

    An ablation asks with them what learns what: the boxes alone, the words alone, the answer alone.
    """
    if all(factors[name] == 1.0 for name in SPANS):
        return None
    return padded([[factors[name] for name in spans(t)] for t in trajectories], 1.0)


def token_credit(trajectories: Sequence[Trajectory]) -> torch.Tensor | None:
    """Advantages (R, T) that sampled tokens have of their own (`Trajectory.credit`); None where there are none."""
    if not any(t.credit for t in trajectories):
        return None
    sampled = [[i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED] for t in trajectories]
    pairs = zip(trajectories, sampled, strict=True)
    return padded([[sum(a for begin, end, a in t.credit if begin <= i < end) for i in own] for t, own in pairs], 0.0)


def padded(rows: Sequence[list[float]], value: float) -> torch.Tensor:
    """Rows as one tensor (R, T), T the length of the longest; behind the end of a row stands the value."""
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])
