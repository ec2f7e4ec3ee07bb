"""Explainers that have attention and the record, and may not intervene: the reference of the bench.

Each reads one kind of map (raw attention of the last layer, mean of its heads; or attention relative to a neutral
question) off every trajectory: how much of it, from the words behind the crops and from the coordinates, falls on each
crop, on the overview, on the question, in the box that was looked at, in the region that was asked about. The best rule
of thresholds on these numbers, a tree, is fitted on labelled trajectories of *other* planted policies (same reasons,
another seed): an honest effort, and more than ours is given, whose limits are fitted on nothing.

    rule = fit([numbers(...), ...], kinds)
    rule.name(numbers(...))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from r3lab.core.geometry import Box
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import with_question
from r3lab.explain.maps import box_score, heat_map, relative
from r3lab.explain.rows import AFTER, ANSWER, COORDINATES, OVERVIEW, AttentionRows, rows
from r3lab.explain.trials import off_centre, region_of
from r3lab.models.policy import Features, Policy
from r3lab.trajectory import Trajectory

DEPTH, LEAST = 6, 5  # of the tree; trajectories in a leaf
SMALLEST = 1e-4  # a share of attention below this is noise


def numbers(policy: Policy, t: Trajectory, features: dict[str, Features]) -> tuple[list[float], list[float]]:
    """What the two explainers see of a trajectory: of the raw maps, and of the relative ones."""
    found = mean_of_heads(rows(policy, t, layers=[-1], features=features))
    plain = mean_of_heads(rows(policy, with_question(policy, t), layers=[-1], features=features))
    known = [float(sum(look.crop is not None for look in t.looks)), *(_centre(t),)]
    raw, neutral = (measured(t, one) for one in (found, plain))
    ratio = [np.log((a + SMALLEST) / (b + SMALLEST)) for a, b in zip(raw[0], neutral[0], strict=True)]
    quotients = [
        score(relative(a, b), box) if a is not None and b is not None else 0.5
        for a, b, box in zip(raw[1], neutral[1], raw[2], strict=True)
    ]
    scores = [score(a, box) if a is not None else 0.5 for a, box in zip(raw[1], raw[2], strict=True)]
    return [*known, *raw[0], *scores], [*known, *ratio, *quotients]


def mean_of_heads(found: AttentionRows) -> AttentionRows:
    """One head: the mean of all."""
    return replace(found, weights=found.weights.mean(1, keepdim=True))


def _centre(t: Trajectory) -> float:
    box = next((look.box for look in t.looks if look.crop is not None), None)
    return 0.0 if box is None else off_centre(box, (t.image.width, t.image.height))


def measured(t: Trajectory, found: AttentionRows) -> tuple[list[float], list[HeatMap | None], list[Box | None]]:
    """Shares of attention on spans, maps of the overview, and the box that each map is scored on."""
    coordinates = [i for i, e in enumerate(found.events) if e.name in COORDINATES and e.look == 0]
    answer = [i for i, e in enumerate(found.events) if e.name in (AFTER, ANSWER)]
    words = [name for name in found.spans if name.startswith(("question", "text"))]
    question = [name for name in found.spans if name.startswith("question")]
    shares = []
    for events in (coordinates, answer):
        for names in (["crop 1"], ["crop 2"], [OVERVIEW], question, words):
            held = [float(found.on(name)[0, 0, events].sum(-1).mean()) for name in names if name in found.spans]
            shares.append(sum(held) if events else 0.0)
    maps = [heat_map(found, OVERVIEW, events) if events else None for events in (coordinates, answer, answer)]
    for heat in maps[:2]:
        values = np.zeros(1) if heat is None else heat.values.ravel() / max(float(heat.values.sum()), 1e-12)
        shares += [float(values.max()), float(-(values[values > 0] * np.log(values[values > 0])).sum())]
    look = next((one.box for one in t.looks if one.crop is not None), None)
    return shares, maps, [look, look, region_of(t)]


def score(heat: HeatMap, box: Box | None) -> float:
    """Percentile of a box against boxes of its size; the middle where there is none."""
    return 0.5 if box is None or not heat.values.any() else box_score(heat, box, draws=200).percentile


@dataclass(frozen=True)
class Rule:
    """A tree of thresholds: a number and its threshold with the rules below and above it, or a kind."""

    kind: str
    number: int = -1
    threshold: float = 0.0
    below: Rule | None = None
    above: Rule | None = None

    def name(self, seen: Sequence[float]) -> str:
        """The kind of a trajectory."""
        if self.below is None or self.above is None:
            return self.kind
        return (self.below if seen[self.number] <= self.threshold else self.above).name(seen)


def fit(seen: Sequence[Sequence[float]], kinds: Sequence[str], depth: int = DEPTH) -> Rule:
    """The tree that splits, step by step, where the kinds on both sides are purest (CART, Gini impurity)."""
    table, names = np.asarray(seen, dtype=float), sorted(set(kinds))
    labels = np.array([names.index(kind) for kind in kinds])
    return _grow(table, labels, names, depth)


def _grow(table: np.ndarray, labels: np.ndarray, names: list[str], depth: int) -> Rule:
    counts = np.bincount(labels, minlength=len(names))
    leaf = Rule(names[int(counts.argmax())])
    if depth == 0 or (counts > 0).sum() < 2:
        return leaf
    best = (_impurity(counts[None])[0] * len(labels) - 1e-9, -1, 0.0)
    hot = np.eye(len(names))[labels]
    for number in range(table.shape[1]):
        order = table[:, number].argsort(kind="stable")
        values, left = table[order, number], hot[order].cumsum(0)
        places = np.arange(LEAST, len(labels) - LEAST + 1)
        places = places[values[places - 1] < values[np.minimum(places, len(labels) - 1)]] if len(places) else places
        if len(places):
            low, high = left[places - 1], counts - left[places - 1]
            cost = _impurity(low) * low.sum(1) + _impurity(high) * high.sum(1)
            at = int(cost.argmin())
            if cost[at] < best[0]:
                best = (float(cost[at]), number, float((values[places[at] - 1] + values[places[at]]) / 2))
    if best[1] < 0:
        return leaf
    under = table[:, best[1]] <= best[2]
    below, above = (_grow(table[side], labels[side], names, depth - 1) for side in (under, ~under))
    return replace(leaf, number=best[1], threshold=best[2], below=below, above=above)


def _impurity(counts: np.ndarray) -> np.ndarray:
    """Gini impurity of rows of counts (N, kinds)."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return 1 - (shares**2).sum(1)
