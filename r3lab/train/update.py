"""One update: from scored trajectories to one optimiser step.

Rows of zero advantage are left out where nothing but the advantage acts on them, and count in the mean. Gradients are
made in passes that fit into memory (`passes`).

    metrics = update(policy, trajectories, store, optimiser, UpdateSettings())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import R3labError
from ..models.policy import Features, Policy
from ..trajectory import Kind, Trajectory
from .passes import gradients
from .processes import ALONE, Processes
from .ratio_bins import KEY
from .sharding import clip_gradients, is_sharded
from .update_settings import UpdateSettings, objective_of


def update(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    optimiser: torch.optim.Optimizer,
    settings: UpdateSettings,
    reference: Policy | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """One optimiser step, the same one in all processes.

    Parameters
    ----------
    trajectories : with `advantage`, the members of a group next to each other
    store : features by key, as `rollout` filled it
    reference : the policy at the start, frozen, or with LoRA the policy itself, which is then read without its
        matrices; needed if `kl_weight` is not 0
    processes : that update together, each with trajectories of its own

    Returns
    -------
    metrics, empty if no trajectory has an advantage; ``{"skipped": 1.0}`` if loss or gradient is not finite: then
    nothing has changed; with `pass_groups` where memory allowed only so many groups in a pass
    """
    objective = objective_of(settings)
    everywhere = bool(objective.kl_weight or objective.entropy_weight)
    used = [t for t in trajectories if t.advantage or everywhere]
    if not processes.total(len(used)):
        return {}
    if objective.kl_weight and reference is None:
        raise ValueError("kl_weight is not 0 but no reference was given")
    rows = int(processes.total(len(trajectories)))
    tokens = int(processes.total(sum(t.kinds.count(Kind.SAMPLED) for t in trajectories)))
    spare = trajectories[:1] if is_sharded(policy) else ()  # FSDP wants as many passes of every process
    found, finite, groups = gradients(
        policy, used, store, optimiser, settings, objective, reference, rows, tokens, spare, processes
    )
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    processes.sum_gradients(parameters)
    finite = all(processes.gather(finite))
    norm = clip_gradients(parameters, settings.max_grad_norm)
    if not (finite and math.isfinite(norm)):
        optimiser.zero_grad(set_to_none=True)
        return {"skipped": 1.0}
    optimiser.step()
    every = [(n, metrics) for own in processes.gather(found) for n, metrics in own]
    reduced = {} if groups is None else {"pass_groups": float(groups)}
    return {**_joined(every), "grad_norm": norm, **reduced}


class Guard:
    """Counts updates in a row that were left out because they were not finite, and ends the run after so many.

    Called with the step, the trajectories of the update, and its metrics, which it returns.
    """

    def __init__(self, limit: int, skipped: Callable[[int, list[Trajectory]], None]) -> None:
        self.limit, self.skipped, self.in_a_row = limit, skipped, 0

    def __call__(self, step: int, trajectories: list[Trajectory], metrics: dict[str, Any]) -> dict[str, Any]:
        self.in_a_row = self.in_a_row + 1 if "skipped" in metrics else 0
        if self.in_a_row:
            self.skipped(step, trajectories)
        if self.in_a_row >= self.limit:
            raise R3labError(
                f"{self.in_a_row} updates in a row were not finite (step {step + 1}); the policy is as the last finite "
                "one left it. Lower --learning-rate"
            )
        return metrics


def _joined(found: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Metrics of several passes: sums of what adds up, the largest ratio, means over tokens of the rest."""
    total = sum(n for n, _ in found)
    joined: dict[str, Any] = {}
    for key in found[0][1]:
        values = [m[key] for _, m in found]
        if key in ("kl", "entropy_bonus"):
            joined[key] = sum(values)
        elif key == KEY:
            joined[key] = [sum(counts) for counts in zip(*values, strict=True)]
        elif key == "ratio_max":
            joined[key] = max(values)
        else:
            joined[key] = sum(n * v for (n, _), v in zip(found, values, strict=True)) / total
    return joined
