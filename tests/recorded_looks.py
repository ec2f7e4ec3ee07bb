"""Trajectories of a briefly taught policy that look and answer, for tests of explanations."""

from __future__ import annotations

from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.trajectory import Trajectory


def looked(policy: Policy, samples: list, wanted: int, seeds: int = 40, temperature: float = 1.0) -> list[Trajectory]:
    """Answered trajectories with one look, on different photographs, sampled until there are so many."""
    found: dict[str, Trajectory] = {}
    for seed in range(seeds):
        for t in rollout(policy, samples, 2, seed=seed, max_new_tokens=60, temperature=temperature):
            if t.answer is not None and len(t.looks) == 1 and t.looks[0].crop is not None:
                found.setdefault(t.image.hash, t)
        if len(found) >= wanted:
            return list(found.values())[:wanted]
    raise AssertionError("the taught policy never looked and answered")
