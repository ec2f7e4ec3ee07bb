"""From attention rows to pixels: where in the source image a policy read, and whether that is more than chance.

A map is a grid over a part of the source image. Raw maps flatter: a few tokens draw attention whatever is asked
(sinks), heads differ, and a large box holds much of anything. So a map can be divided by that of a neutral prompt, made
of heads that look at something in particular, freed of sinks, and a box is always scored against boxes of its size at
random places.

    heat = heat_map(found, "overview", found.rows_of("x1"))
    box_score(heat, look.box, seed=0).percentile
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import R3labError, shown
from ..geometry import Box, intersection
from .events import COORDINATES
from .heat import HeatMap
from .rows import AttentionRows

EPSILON = 1e-4  # attention of a token below this is noise; keeps a ratio finite


def heat_map(
    rows: AttentionRows,
    image: str,
    events: Sequence[int] | None = None,
    heads: torch.Tensor | None = None,
    sinks: Sequence[int] = (),
) -> HeatMap:
    """Mean attention on an image.

    Parameters
    ----------
    image : "overview", "crop 1", ...
    events : numbers of rows to take; default all
    heads : (layers, heads) bool, those that count; default all
    sinks : places of tokens that are left out (`find_sinks`): their cells are 0

    Raises
    ------
    R3labError
        If there is no such image, or nothing to take the mean of.
    """
    if image not in rows.images:
        raise R3labError(f"no image {shown(image)}; there are {', '.join(rows.images)}")
    numbers = list(range(len(rows.events))) if events is None else list(events)
    if not numbers:
        raise R3labError("no event to draw attention of; the trajectory has none of those that were asked for")
    found = rows.on(image)[:, :, numbers]  # (layers, heads, E, tokens)
    chosen = torch.ones(found.shape[:2], dtype=torch.bool) if heads is None else heads
    if not chosen.any():
        raise R3labError("no head is chosen; the mean of nothing is no map")
    values = found[chosen].mean((0, 1)).numpy().copy()
    start, end = rows.spans[image]
    values[[place - start for place in sinks if start <= place < end]] = 0.0
    columns, height = rows.images[image].grid
    return HeatMap(values.reshape(height, columns), rows.images[image].box, rows.source)


def relative(heat: HeatMap, neutral: HeatMap, epsilon: float = EPSILON) -> HeatMap:
    """A map divided by that of a neutral prompt on the same image: what the question adds (arXiv 2502.17422)."""
    if heat.values.shape != neutral.values.shape:
        raise R3labError(f"maps of {heat.values.shape} and {neutral.values.shape} cells are not of the same image")
    return replace(heat, values=(heat.values + epsilon) / (neutral.values + epsilon))


def looking_heads(rows: AttentionRows, image: str, events: Sequence[int], keep: int) -> torch.Tensor:
    """The heads that look at something in particular: of those with most mass on an image, the least spread out.

    Half of all heads are dropped for too little mass on the image; of the rest the `keep` with the lowest spatial
    entropy stay.

    Returns
    -------
    (layers, heads) bool
    """
    found = rows.on(image)[:, :, list(events)].mean(2)  # (layers, heads, tokens)
    mass = found.sum(-1)
    spread = torch.special.entr(found / mass.clamp_min(1e-12)[..., None]).sum(-1)
    spread = spread.masked_fill(mass < mass.flatten().median(), float("inf"))
    order = spread.flatten().argsort()[: max(1, keep)]
    chosen = torch.zeros(spread.numel(), dtype=torch.bool)
    chosen[order] = True
    return chosen.view(spread.shape)


def find_sinks(rows: AttentionRows, image: str, factor: float = 8.0) -> list[int]:
    """Places of image tokens that draw attention from every event alike: sinks.

    A sink's lowest weight over the events (mean over layers and heads) is above `factor` times the median token's mean.
    None is found among events that all write coordinates: what a box is around draws each of them, and is no sink.
    """
    found = rows.on(image).mean((0, 1))  # (events, tokens)
    if len({event.name in COORDINATES or event.name for event in rows.events}) < 2:
        return []
    least, usual = found.min(0).values, float(found.mean(0).median())
    start = rows.spans[image][0]
    return [start + i for i in torch.nonzero(least > factor * max(usual, 1e-12)).flatten().tolist()]


@dataclass(frozen=True)
class BoxScore:
    """How much of a map a box holds, and how that compares.

    Attributes
    ----------
    share : part of the map inside the box
    density : its mean over that of the whole map; 1 is what any place has
    percentile : part of the boxes of the same size at random places that hold less, 0 to 1
    """

    share: float
    density: float
    percentile: float


def percentile(own: float, others: Sequence[float]) -> float:
    """Part of the others that are less, 0 to 1; equal ones count half."""
    found = np.asarray(others)
    return float((found < own - 1e-12).mean() + 0.5 * (np.abs(found - own) <= 1e-12).mean())


def box_score(heat: HeatMap, box: Box, seed: int = 0, draws: int = 500) -> BoxScore:
    """Score a box (source pixels) against boxes of its size at random places of the map.

    Raises
    ------
    R3labError
        If the box has no part in the map's region, or the map is empty.
    """
    part, total = intersection(box, heat.box), float(heat.values.sum())
    if part <= 0:
        raise R3labError(f"the box {shown(box)} has no part in {shown(heat.box)}, which the map shows")
    if total <= 0:
        raise R3labError("the map is zero everywhere; choose other heads, layers or events")
    rng = np.random.default_rng(seed)
    w, h = (min(box[i + 2] - box[i], heat.box[i + 2] - heat.box[i]) for i in (0, 1))
    x = rng.uniform(heat.box[0], heat.box[2] - w, draws)
    y = rng.uniform(heat.box[1], heat.box[3] - h, draws)
    own = heat.inside(box)
    below = percentile(own, [heat.inside((a, b, a + w, b + h)) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    whole = (heat.box[2] - heat.box[0]) * (heat.box[3] - heat.box[1])
    return BoxScore(own / total, own / total / (part / whole), below)
