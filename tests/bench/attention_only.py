"""Explainers that have attention and the record, and may not intervene: the reference of the bench.

Each reads one kind of map (`EXPLAINERS`) off every trajectory, of attention head by head in every layer and the mean of
the last layer's: how much of it, from the words behind the crops and from the coordinates, falls on each crop, on the
overview, on the question, in the box that was looked at, in the region that was asked about. A random forest over all
these numbers is fitted on labelled trajectories of *other* planted policies (same reasons, another seed): an honest
effort, and more than ours is given, whose limits are fitted on nothing.

    rule = fit([numbers(policy, t)[0], ...], kinds)     # scikit-learn, of the extra `assets`
    named(rule, [numbers(policy, t)[0]])

And the black box (`black_box`): no attention and no record, only the policy itself, asked the same of three changed
pictures; with a forest as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from attributions import lrp_rows, rollout_rows, tam_rows
from PIL import ImageChops
from sklearn.ensemble import RandomForestClassifier

from r3lab.core.geometry import Box, iou, off_centre
from r3lab.explain.donors import region_of, same
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import with_question
from r3lab.explain.maps import box_score, heat_map, relative
from r3lab.explain.pictures import recoloured, smoothed
from r3lab.explain.rows import AFTER, ANSWER, COORDINATES, OVERVIEW, AttentionRows, gradient_rows, rows
from r3lab.explain.trials import first_box
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.trajectory import Trajectory
from r3lab.vlir.sample import Sample

TREES, LEAST = 500, 2  # of the forest; trajectories in a leaf
SMALLEST = 1e-4  # a share of attention below this is noise


def numbers(policy: Policy, t: Trajectory) -> list[list[float]]:
    """What each of `EXPLAINERS` sees of a trajectory."""
    features: dict[str, Features] = {}
    raw, neutral = rows(policy, t, features=features), rows(policy, with_question(policy, t), features=features)
    every = [rows_of(policy, t, raw, features) for rows_of in ATTRIBUTIONS.values()]
    start = [float(sum(look.crop is not None for look in t.looks)), _centre(t)]
    return [[*start, *own] for own in (seen(t, raw), beside(t, raw, neutral), *(seen(t, one) for one in every))]


def seen(t: Trajectory, found: AttentionRows) -> list[float]:
    """Of every head, its shares on spans and the scores of its maps."""
    values: list[float] = []
    for head in each_head(found):
        shares, maps, places = measured(t, head)
        values += shares
        values += [0.5 if a is None else score(a, box) for a, box in zip(maps, places, strict=True)]
    return values


def beside(t: Trajectory, found: AttentionRows, neutral: AttentionRows) -> list[float]:
    """The same of quotients, of what there is under the question and under a neutral one."""
    values: list[float] = []
    for own, plain in zip(each_head(found), each_head(neutral), strict=True):
        (shares, maps, places), (before, under, _) = measured(t, own), measured(t, plain)
        values += [float(np.log((a + SMALLEST) / (b + SMALLEST))) for a, b in zip(shares, before, strict=True)]
        for a, b, box in zip(maps, under, places, strict=True):
            values.append(0.5 if a is None or b is None else score(relative(a, b), box))
    return values


def gradients(policy: Policy, t: Trajectory, found: AttentionRows, features: dict[str, Features]) -> AttentionRows:
    """Gradient-weighted attention, as shares: of what an event is sure of, every gradient is small."""
    own = gradient_rows(policy, t, features=features)
    return replace(own, weights=own.weights / own.weights.sum(-1, keepdim=True).clamp_min(1e-12))


ATTRIBUTIONS: dict[str, Callable[[Policy, Trajectory, AttentionRows, dict[str, Features]], AttentionRows]] = {
    "gradient-weighted attention": gradients,
    "attention rollout": rollout_rows,
    "token activation maps": tam_rows,
    "layer-wise relevance": lrp_rows,
}
EXPLAINERS = ("raw attention", "relative attention", *ATTRIBUTIONS)


def black_box(policy: Policy, t: Trajectory) -> list[float]:
    """What is seen from outside: answer and boxes, as they are, and on the picture shifted by half, in other colours,
    and with only its colours left."""
    image = t.images[t.image.hash]
    half, turned = ImageChops.offset(image, image.width // 2, image.height // 2), recoloured(image, 180.0, ())
    scenes = [Sample(str(n), one, t.question, "") for n, one in enumerate((half, turned, smoothed(image, 4)))]
    found = [float(len(t.looks)), _centre(t), _digit(t)]
    boxes = [look.box for look in t.looks if look.crop is not None]
    found.append(iou(boxes[0], boxes[1]) if len(boxes) > 1 and boxes[0] and boxes[1] else 0.0)
    for other in rollout(policy, scenes, temperature=0.0, max_new_tokens=128):
        there = first_box(other)
        found += [_digit(other), float(same(other.answer, t.answer)), float(len(other.looks)), _centre(other)]
        found.append(iou(there, boxes[0]) if there and boxes and boxes[0] else 0.0)
    return found


def _digit(t: Trajectory) -> float:
    return float(t.answer) if (t.answer or "").isdigit() else -1.0


def each_head(found: AttentionRows) -> list[AttentionRows]:
    """Every head of every layer by itself, and the mean of the last layer's."""
    layers, heads = found.weights.shape[:2]
    alone = [found.weights[a : a + 1, b : b + 1] for a in range(layers) for b in range(heads)]
    return [replace(found, weights=one) for one in (*alone, found.weights[-1:].mean(1, keepdim=True))]


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
    return 0.5 if box is None or not heat.values.any() else box_score(heat, box, draws=50).percentile


def fit(seen: Sequence[Sequence[float]], kinds: Sequence[str]) -> RandomForestClassifier:
    """A forest over all numbers of all heads: the best rule that we know of."""
    return RandomForestClassifier(TREES, min_samples_leaf=LEAST, random_state=0).fit(np.asarray(seen), list(kinds))


def named(rule: RandomForestClassifier, seen: Sequence[Sequence[float]]) -> list[str]:
    """The kind that a rule gives each trajectory."""
    return [str(kind) for kind in rule.predict(np.asarray(seen))]
