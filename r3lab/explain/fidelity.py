"""How faithful a map is: does what it marks matter to the answer, and does it agree with what a look was worth?

Deletion blanks the cells that a map marks highest, a few more at each step, in the *source* photograph: the overview is
made of the blanked photograph, and every crop is cut from it again at its box. Insertion begins with all cells blanked
and puts the highest back first. The log-probability of the answer is read again at each step (Petsiuk et al., RISE,
arXiv 1806.07421). A faithful map makes deletion fall early (small area) and insertion rise early (large area).

    curves = deletion_insertion(policy, trajectory, heat)
    curves.deletion.area, curves.insertion.area, hits(heat, region), agreement(heat, value_map(policy, trajectory, 0))

Simplified: cells are filled with the photograph's mean colour, with hard edges; what that alone does to a policy is in
both curves alike, and a map of random order is the reference that every number needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.errors import R3labError, shown
from ..core.geometry import Box
from ..core.images import content_hash, cut
from ..models.policy import Features, Policy, reading
from ..trajectory import ImageRef, Trajectory
from .explanation import HeatMap
from .interventions import ValueMap, after_look, tail_logprobs
from .rows import check_model
from .trials import filled, with_overview

AT_ONCE = 16  # steps that are read together


@dataclass(frozen=True)
class Curve:
    """Log-probability of the answer along the steps.

    Attributes
    ----------
    parts : part of the cells that was taken away (deletion) or put back (insertion), rising from 0 to 1
    logprobs : nats, all that was written after the last crop
    """

    parts: tuple[float, ...]
    logprobs: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the probability, 0 to 1 (trapezoids)."""
        values = [math.exp(value) for value in self.logprobs]
        steps = zip(self.parts, self.parts[1:], values, values[1:], strict=False)
        return sum((b - a) * (left + right) / 2 for a, b, left, right in steps)


@dataclass(frozen=True)
class Curves:
    """Both curves of one map."""

    deletion: Curve
    insertion: Curve


@torch.no_grad()
def deletion_insertion(
    policy: Policy,
    trajectory: Trajectory,
    heat: HeatMap,
    steps: int = 8,
    features: dict[str, Features] | None = None,
) -> Curves:
    """Deletion and insertion curves of a map on a trajectory's photograph.

    Parameters
    ----------
    heat : of the overview or of a crop; equal cells go in their order
    steps : stretches of as many cells each; fewer where the map has fewer cells
    features : store that is read; what is blanked is not kept in it

    Raises
    ------
    R3labError
        If nothing was written after the last crop, an image is missing, or `steps` is under 1.
    """
    check_model(policy, trajectory)
    if steps < 1:
        raise R3labError(f"curves need at least one step, got {shown(steps)}")
    cells = heat.values.size
    counts = sorted({round(cells * k / steps) for k in range(steps + 1)})
    order = np.argsort(-heat.values, axis=None, kind="stable").tolist()
    parts = tuple(count / cells for count in counts)
    removed = [order[:count] for count in counts]
    restored = [order[count:] for count in counts]
    found = _read(policy, trajectory, [_cells(heat, places) for places in (*removed, *restored)], features)
    return Curves(Curve(parts, tuple(found[: len(counts)])), Curve(parts, tuple(found[len(counts) :])))


def _cells(heat: HeatMap, places: Sequence[int]) -> list[Box]:
    columns = heat.values.shape[1]
    return [heat.cell(place % columns, place // columns) for place in places]


def _read(
    policy: Policy, trajectory: Trajectory, blanks: Sequence[Sequence[Box]], features: dict[str, Features] | None
) -> list[float]:
    """Log-probability of what was written after the last crop, the photograph blanked in each of these ways."""
    looks = [n for n, look in enumerate(trajectory.looks) if look.crop_span]
    start = after_look(trajectory, looks[-1]) if looks else trajectory.sampled_mask.index(True)
    if start >= len(trajectory.ids):
        raise R3labError("nothing was written after the last crop; there is no answer to read again")
    found: list[float] = []
    with reading(policy):
        for first in range(0, len(blanks), AT_ONCE):
            texts = [blanked(trajectory, boxes) for boxes in blanks[first : first + AT_ONCE]]
            found += tail_logprobs(policy, texts, [start] * len(texts), dict(features or {}))
    return found


def blanked(trajectory: Trajectory, boxes: Sequence[Box]) -> Trajectory:
    """The same record of a photograph with boxes (source pixels) blanked, its crops cut from that again."""
    if trajectory.image.hash not in trajectory.images:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} does not carry its photograph; load it with it")
    if not boxes:
        return trajectory
    source = filled(trajectory.images[trajectory.image.hash], boxes)
    t = with_overview(trajectory, source)
    looks, images = [], dict(t.images)
    for look in trajectory.looks:
        if look.crop is not None and look.box is not None:
            crop = cut(source, look.box, (look.crop.width, look.crop.height))
            reference = ImageRef(content_hash(crop), *crop.size)
            images[reference.hash] = crop
            look = replace(look, crop=reference)
        looks.append(look)
    return replace(t, looks=looks, images=images)


def hits(heat: HeatMap, region: Box) -> bool:
    """Pointing game: whether the map's highest cell has its middle in the region (Zhang et al., arXiv 1608.00507)."""
    x, y = heat.peak()
    return region[0] <= x < region[2] and region[1] <= y < region[3]


def agreement(heat: HeatMap, value: ValueMap) -> float:
    """Rank correlation of a map with the worth of a look at each of its cells, -1 to 1; 0 where one of them is flat."""
    worth = value.heat()
    whole = HeatMap(worth, (0.0, 0.0, float(value.source[0]), float(value.source[1])), value.source)
    rows, columns = heat.values.shape
    cells = [heat.cell(column, row) for row in range(rows) for column in range(columns)]
    return spearman(heat.values.ravel(), np.array([whole.inside(cell) for cell in cells]))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, ties with their mean rank; 0 where one of the two has one value only.

    Parameters
    ----------
    a, b : (n,) of the same length, at least 2

    Raises
    ------
    R3labError
        If the lengths differ or are under 2.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise R3labError(f"a rank correlation wants two rows of the same length from 2, got {a.shape} and {b.shape}")
    x, y = (_ranks(v) - (len(v) - 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[place].astype(float)
