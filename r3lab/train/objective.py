"""The objective of R-GRPO: group advantages and the clipped surrogate on sampled tokens.

    advantages = group_advantages(rewards)                       # (N, G)
    loss, metrics = clipped_loss(new, old, advantages, mask)     # (R, T) log-probabilities

What is region-conditioned in R-GRPO is the conditioning itself: each token's log-probability is taken given the crops
that the policy's own earlier boxes brought in, and image and environment tokens carry no loss.
"""

from __future__ import annotations

import torch


def group_advantages(rewards: torch.Tensor, epsilon: float = 1e-4) -> torch.Tensor:
    """Advantages within each group: (r - mean) / (std + epsilon), rows (N, G).

    `std` is that of a sample (divided by G - 1), as in TRL and the official code. A group whose rewards are equal has
    advantages of exactly zero.

    Source: GRPO, DeepSeekMath (arXiv 2402.03300), section 4.1; epsilon 1e-4 as published for VLM-R3.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (N, G) with G of at least 2, got {tuple(rewards.shape)}")
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    equal = rewards.amax(dim=1, keepdim=True) == rewards.amin(dim=1, keepdim=True)  # exact, where the mean rounds
    return torch.where(equal, 0.0, centred / (rewards.std(dim=1, keepdim=True) + epsilon))


def clipped_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    rows: int | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The PPO surrogate with separate clips, mean over a row's sampled tokens, then over rows.

        ratio = exp(new - old)
        loss  = - mean_rows  mean_tokens  min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

    Parameters
    ----------
    new, old : (R, T) log-probabilities of the sampled tokens, now and at sampling
    advantages : (R,)
    mask : (R, T) bool, True on sampled tokens; a row without any contributes zero
    rows : what the sum over rows is divided by; R unless rows of zero advantage were left out

    Returns
    -------
    loss : scalar
    metrics : ratio_mean, ratio_max, clip_fraction_low, clip_fraction_high, approx_kl (k3, of old from new)

    Source: GRPO (arXiv 2402.03300), equation 3; clip-higher from DAPO (arXiv 2503.14476), section 3.1; values of
    VLM-R3.
    """
    weight = mask.to(new.dtype)
    difference = torch.where(mask, new - old, torch.zeros_like(new))
    ratio = difference.exp()
    a = advantages[:, None]
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    surrogate = torch.minimum(ratio * a, clipped * a) * weight
    per_row = surrogate.sum(1) / weight.sum(1).clamp(min=1)
    loss = -per_row.sum() / (rows or len(new))
    with torch.no_grad():
        count = weight.sum().clamp(min=1)
        low = ((ratio < 1 - clip_low) & (a < 0) & mask).sum() / count
        high = ((ratio > 1 + clip_high) & (a > 0) & mask).sum() / count
        kl = ((torch.exp(-difference) - 1 + difference) * weight).sum() / count
        metrics = {
            "ratio_mean": float((ratio * weight).sum() / count),
            "ratio_max": float(torch.where(mask, ratio, torch.ones_like(ratio)).max()),
            "clip_fraction_low": float(low),
            "clip_fraction_high": float(high),
            "approx_kl": float(kl),
        }
    return loss, metrics
