"""Explainers that have attention and the record, and may not intervene: the reference of the bench.

Each reads one kind of map (raw attention; or attention relative to a neutral question) off every trajectory, head by
head in every layer, and the mean of the last layer's: how much of it, from the words behind the crops and from the
coordinates, falls on each crop, on the overview, on the question, in the box that was looked at, in the region that was
asked about. A random forest over all these numbers is fitted on labelled trajectories of *other* planted policies (same
reasons, another seed): an honest effort, and more than ours is given, whose limits are fitted on nothing.

    rule = fit([numbers(...), ...], kinds)              # scikit-learn, of the extra `assets`
    named(rule, [numbers(...)])

And the black box (`black_box`): no attention and no record, only the policy itself, asked the same of three changed
pictures; with a forest as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageChops
from sklearn.ensemble import RandomForestClassifier

from r3lab.core.geometry import Box, iou
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import with_question
from r3lab.explain.maps import box_score, heat_map, relative
from r3lab.explain.pictures import recoloured, smoothed
from r3lab.explain.rows import AFTER, ANSWER, COORDINATES, OVERVIEW, AttentionRows, rows
from r3lab.explain.trials import first_box, off_centre, region_of, same
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.trajectory import Trajectory
from r3lab.vlir.sample import Sample

TREES, LEAST = 500, 2  # of the forest; trajectories in a leaf
SMALLEST = 1e-4  # a share of attention below this is noise


def numbers(policy: Policy, t: Trajectory, features: dict[str, Features]) -> tuple[list[float], list[float]]:
    """What the two explainers see of a trajectory: of the raw maps, and of the relative ones."""
    both = rows(policy, t, features=features), rows(policy, with_question(policy, t), features=features)
    found: tuple[list[float], list[float]] = [float(sum(look.crop is not None for look in t.looks)), _centre(t)], []
    found[1].extend(found[0])
    for own, plain in zip(*map(each_head, both), strict=True):
        raw, neutral = (measured(t, one) for one in (own, plain))
        ratio = [float(np.log((a + SMALLEST) / (b + SMALLEST))) for a, b in zip(raw[0], neutral[0], strict=True)]
        quotients = [
            score(relative(a, b), box) if a is not None and b is not None else 0.5
            for a, b, box in zip(raw[1], neutral[1], raw[2], strict=True)
        ]
        scores = [score(a, box) if a is not None else 0.5 for a, box in zip(raw[1], raw[2], strict=True)]
        for values, more in zip(found, ([*raw[0], *scores], [*ratio, *quotients]), strict=True):
            values.extend(more)
    return found


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
    return 0.5 if box is None or not heat.values.any() else box_score(heat, box, draws=200).percentile


def fit(seen: Sequence[Sequence[float]], kinds: Sequence[str]) -> RandomForestClassifier:
    """A forest over all numbers of all heads: the best rule that we know of."""
    return RandomForestClassifier(TREES, min_samples_leaf=LEAST, random_state=0).fit(np.asarray(seen), list(kinds))


def named(rule: RandomForestClassifier, seen: Sequence[Sequence[float]]) -> list[str]:
    """The kind that a rule gives each trajectory."""
    return [str(kind) for kind in rule.predict(np.asarray(seen))]
