"""What a set of trajectories shows, in numbers: the same names in logs, results and notebooks.

summary(rollout(policy, samples, temperature=0))   # {"n": 200, "exact": 0.61, "iou": 0.55, "look_rate": 0.8, ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ..core.stats import LOG_RATIO_COUNTS
from ..trajectory import Trajectory
from .rewards import deciding_iou, right


def _share(flags: Sequence[bool]) -> float | None:
    return round(fmean(flags), 4) if flags else None


def facts(t: Trajectory) -> dict[str, Any]:
    """What is counted of a trajectory, as a JSON value."""
    entropies = [e for e in t.entropies if e is not None]
    return {
        "right": right(t),
        "needs_look": t.truth.get("needs_look"),
        "iou": deciding_iou(t),
        "looks": len(t.looks),
        "valid": sum(look.valid for look in t.looks),
        "answered": t.finish == "answered",
        "rewards": dict(t.rewards),
        "entropy": sum(entropies),
        "tokens": len(entropies),
    }


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float | int | None]:
    """Means over trajectories; None where there is nothing to average.

    Returns
    -------
    n : trajectories
    exact, exact_needed, exact_unneeded : share with the right answer; of those that need a look, that need none
    iou : deciding look against the true region, where a look is needed and one was taken
    look_rate, look_rate_needed, look_rate_unneeded : share with a valid look
    looks : a trajectory
    invalid : share of boxes that could not be used
    answered : share that ended with an answer

    Examples
    --------
    >>> 0 <= r3lab.summary(trajectories)["exact"] <= 1
    True
    """
    return summary_of([facts(t) for t in trajectories])


def summary_of(found: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """`summary` from the `facts` of trajectories."""
    needed = [f for f in found if f["needs_look"]]
    unneeded = [f for f in found if f["needs_look"] is False]
    ious = [f["iou"] for f in needed if f["iou"] is not None]
    boxes = sum(f["looks"] for f in found)

    def looked(of: Sequence[dict[str, Any]]) -> list[bool]:
        return [f["valid"] > 0 for f in of]

    return {
        "n": len(found),
        "exact": _share([f["right"] for f in found]),
        "exact_needed": _share([f["right"] for f in needed]),
        "exact_unneeded": _share([f["right"] for f in unneeded]),
        "iou": round(fmean(ious), 4) if ious else None,
        "look_rate": _share(looked(found)),
        "look_rate_needed": _share(looked(needed)),
        "look_rate_unneeded": _share(looked(unneeded)),
        "looks": round(boxes / len(found), 4) if found else None,
        "invalid": round(1 - sum(f["valid"] for f in found) / boxes, 4) if boxes else None,
        "answered": _share([f["answered"] for f in found]),
    }


def step_metrics(
    found: Sequence[dict[str, Any]], rewards: torch.Tensor, updates: list[dict], rolling: float, updating: float
) -> dict[str, Any]:
    """What one step is logged with: reward and its parts, groups without a signal, looks, ratios, time.

    Parameters
    ----------
    found : `facts` of the step's trajectories
    rewards : (N, G)
    updates : metrics of each update
    rolling, updating : seconds
    """
    row: dict[str, Any] = {"reward": float(rewards.mean()), "reward_std": float(rewards.std(dim=1).mean())}
    for name in found[0]["rewards"]:
        row[f"reward/{name}"] = sum(f["rewards"][name] for f in found) / len(found)
    row["zero_variance"] = float((rewards.amax(1) == rewards.amin(1)).double().mean())
    row["entropy"] = sum(f["entropy"] for f in found) / sum(f["tokens"] for f in found)
    row["length"] = sum(f["tokens"] for f in found) / len(found)
    row.update({k: v for k, v in summary_of(found).items() if k != "n"})
    left_out = [u for u in updates if "skipped" in u]
    if left_out:
        row["skipped"] = len(left_out)
    done = [u for u in updates if u and "skipped" not in u]
    for name in dict.fromkeys(name for u in done for name in u):  # halved passes: told by one alone
        values = [u[name] for u in done if name in u]
        if name == LOG_RATIO_COUNTS:
            row[name] = [sum(counts) for counts in zip(*values, strict=True)]
            continue
        row[name] = float(max(values) if name == "ratio_max" else np.mean(values))
    row.update({"seconds_rollout": rolling, "seconds_update": updating})
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
