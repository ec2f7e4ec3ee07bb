"""From attention rows to what they show: where a policy read, whether that is above chance, and how faithful a map is.

A map is a grid over a part of the source image. Raw maps flatter: a few tokens draw attention whatever is asked
(sinks), heads differ, and a large box holds much of anything. So a map can be divided by that of a neutral prompt, made
of heads that look at something in particular, freed of sinks, and a box is always scored against boxes of its size at
random positions.

    heat = heat_map(found, "overview", found.rows_of("x1"))
    box_score(heat, look.box, seed=0).percentile
    line = align([s.times("crops") for s in all_shares], [s.fork for s in all_shares])    # how long it lasts
    deletion_insertion(policy, trajectory, heat).deletion.area, agreement(heat, value_map(policy, trajectory, 0))

A map only describes: attention falls on much that changes nothing. How faithful one is, interventions say. Deletion
blanks the cells that it marks highest, a few more at each step, in the *source* photograph: the overview is made of the
blanked photograph, and every crop is cut from it again at its box. Insertion begins with all cells blanked and puts the
highest back first. The log-probability of the answer is read again at each step (Petsiuk et al., RISE, arXiv
1806.07421). A faithful map makes deletion fall early (small area) and insertion rise early (large area). Simplified:
cells are filled with the photograph's mean colour, with hard edges; what that alone does to a policy is in both curves
alike, and a map of random order is the reference that every number needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.errors import R3labError, shown
from ..core.geometry import Box, intersection
from ..core.images import cut
from ..core.stats import Interval, mean_interval
from ..models.policy import Features, Policy, reading
from ..trajectory import Kind, Trajectory
from .explanation import BoxAttention, CropAttention, HeatMap, Region, Word
from .interventions import after_look, tail_logprobs
from .pictures import filled, with_crops, with_overview
from .rows import AFTER, ANSWER, COORDINATES, OVERVIEW, SINK, AttentionRows, check_model, overlapping
from .worth import ValueMap

EPSILON = 1e-4  # attention of a token below this is noise; keeps a ratio finite
REGIONS, WORDS = 3, 5  # that an explanation names
AT_ONCE = 16  # blanked photographs that are read together
_WORD = re.compile(r"\w+")


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
    sinks : positions of tokens that are left out (`find_sinks`): their cells are 0

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
    values[[at - start for at in sinks if start <= at < end]] = 0.0
    columns, height = rows.images[image].grid
    return HeatMap(values.reshape(height, columns), rows.images[image].box, rows.source)


def relative(heat: HeatMap, neutral: HeatMap) -> HeatMap:
    """A map divided by that of a neutral prompt on the same image: what the question adds (arXiv 2502.17422)."""
    if heat.values.shape != neutral.values.shape:
        raise R3labError(f"maps of {heat.values.shape} and {neutral.values.shape} cells are not of the same image")
    return replace(heat, values=(heat.values + EPSILON) / (neutral.values + EPSILON))


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
    entropy = torch.special.entr(found / mass.clamp_min(1e-12)[..., None]).sum(-1)
    entropy = entropy.masked_fill(mass < mass.flatten().median(), float("inf"))
    chosen = torch.zeros(entropy.numel(), dtype=torch.bool)
    chosen[entropy.flatten().argsort()[: max(1, keep)]] = True
    return chosen.view(entropy.shape)


def find_sinks(rows: AttentionRows, image: str, factor: float = 8.0) -> list[int]:
    """Positions of image tokens that draw attention from every event alike: sinks.

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
    density : its mean over that of the whole map; 1 is what any part of it has
    percentile : part of the boxes of the same size at random positions that hold less, 0 to 1
    """

    share: float
    density: float
    percentile: float


def percentile(own: float, others: Sequence[float]) -> float:
    """Part of the others that are less, 0 to 1; equal ones count half."""
    found = np.asarray(others)
    return float((found < own - 1e-12).mean() + 0.5 * (np.abs(found - own) <= 1e-12).mean())


def box_score(heat: HeatMap, box: Box, seed: int = 0, draws: int = 500) -> BoxScore:
    """Score a box (source pixels) against boxes of its size at random positions of the map.

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
    area = (heat.box[2] - heat.box[0]) * (heat.box[3] - heat.box[1])
    return BoxScore(own / total, own / total / (part / area), below)


def box_attention(
    trajectory: Trajectory, found: AttentionRows, plain: AttentionRows, look: int, heads: int = 6, seed: int = 0
) -> tuple[BoxAttention, dict[str, HeatMap]] | None:
    """What attention from a box's coordinates says of why it is there, each number with its null.

    Parameters
    ----------
    found, plain : rows at all events, of the trajectory and of it with a neutral question (`with_question`)
    heads : how many heads count (`looking_heads`)

    Returns
    -------
    the record, and the maps "raw", "neutral" and "relative"; None where the box has no coordinates to read from
    """
    numbers, box = found.box_rows(look), trajectory.looks[look].box
    if not numbers or box is None:
        return None
    sinks = find_sinks(found, OVERVIEW)
    chosen = looking_heads(found, OVERVIEW, numbers, heads)
    raw = heat_map(found, OVERVIEW, numbers, chosen, sinks)
    if not raw.values.any():  # an overview of few tokens, all of them sinks
        sinks = []
        raw = heat_map(found, OVERVIEW, numbers, chosen)
    later = plain.spans[OVERVIEW][0] - found.spans[OVERVIEW][0]
    neutral = heat_map(plain, OVERVIEW, plain.box_rows(look), chosen, [at + later for at in sinks])
    ratio = relative(raw, neutral)
    held, before, beyond = (box_score(heat, box, seed).percentile for heat in (raw, neutral, ratio))
    total = float(raw.values.sum()) or 1.0
    regions = []
    for cell in np.argsort(-ratio.values, axis=None, kind="stable")[:REGIONS].tolist():
        row, column = divmod(cell, raw.values.shape[1])
        share, times = float(raw.values[row, column]) / total, float(ratio.values[row, column])
        regions.append(Region(raw.cell(column, row), share, times))
    attention = BoxAttention(held, before, beyond, tuple(regions), _words(trajectory, found, numbers, look))
    return attention, {"raw": raw, "neutral": neutral, "relative": ratio}


def _spoken(trajectory: Trajectory, until: int) -> list[tuple[str, list[int]]]:
    """The words of the question, and of what was written before a position, each with its tokens."""
    found: list[tuple[str, list[int]]] = []
    for kind in (Kind.PROMPT, Kind.SAMPLED):
        tokens = [i for i in range(1, until) if trajectory.kinds[i] == kind]
        text, start = "".join(trajectory.pieces[i] for i in tokens), 0
        end = len(text)
        if kind == Kind.PROMPT:
            asked = trajectory.question.strip()
            start = text.find(asked)
            end = start + len(asked)
        for match in _WORD.finditer(text, max(0, start), max(0, end)):
            found.append((match.group(), overlapping(trajectory, tokens, *match.span())))
    return found


def _words(trajectory: Trajectory, found: AttentionRows, numbers: Sequence[int], look: int) -> tuple[Word, ...]:
    """The words that the coordinates read most above what the other events that can see them do."""
    mean = found.weights.mean((0, 1))  # (events, tokens)
    rest = [i for i in range(len(found.events)) if i not in set(numbers)]
    words: dict[str, tuple[float, Word]] = {}  # a word that stands in several places counts where it is read most
    for text, tokens in _spoken(trajectory, trajectory.looks[look].span[0]):
        each = mean[:, tokens].sum(-1)
        own = float(each[list(numbers)].mean())
        others = [float(each[i]) for i in rest if found.events[i].reads >= tokens[-1]]
        below = float(np.mean([other < own for other in others])) if others else 0.5
        more = own - (float(np.mean(others)) if others else 0.0)
        if text not in words or words[text][0] < more:
            words[text] = (more, Word(text[:80], own, below))
    return tuple(word for _, word in sorted(words.values(), key=lambda pair: -pair[0])[:WORDS])


def crop_attention(found: AttentionRows, look: int, crop: str) -> CropAttention | None:
    """Attention from the words after a crop, and from the answer; None where nothing was written there.

    Parameters
    ----------
    crop : name of the crop's span: "crop 1", ...
    """
    end = found.spans[crop][1]
    numbers = [
        i
        for i, event in enumerate(found.events)
        if (event.name == AFTER and event.look == look) or (event.name == ANSWER and event.reads >= end)
    ]
    if not numbers:
        return None
    sinks = {at for image in (OVERVIEW, crop) for at in find_sinks(found, image)}
    text = [name for name in found.spans if name not in found.images and name != SINK]

    def share(names: Sequence[str]) -> float:
        tokens = [i for name in names for i in range(*found.spans[name]) if i not in sinks]
        shares = []
        for number in numbers:
            row, seen = found.weights[:, :, number].mean((0, 1)), found.events[number].reads + 1
            visible = [i for i in tokens if i < seen]
            shares.append(float(row[torch.tensor(visible)].mean()) * seen if visible else 0.0)
        return float(np.mean(shares))

    return CropAttention(share([crop]), share([OVERVIEW]), share(text))


@dataclass(frozen=True)
class AlignedMean:
    """A mean over trajectories along what was written, with its interval; words are counted from the first box."""

    at: tuple[int, ...]
    mean: tuple[Interval, ...]


def align(values: Sequence[np.ndarray], forks: Sequence[int | None], least: int = 5, seed: int = 0) -> AlignedMean:
    """Line up a measure of many trajectories at their first box, and take its mean word by word.

    Parameters
    ----------
    values : one a trajectory, (n,) a value for each token that it wrote; NaN is left out
    forks : number of the first token after the first box, of each; None: the trajectory is left out
    least : trajectories that a word needs, so that a mean is shown for it
    seed : of the bootstrap

    Returns
    -------
    AlignedMean
        Words below 0 stand before the end of the first box.

    Raises
    ------
    R3labError
        If the two differ in number, or no word has enough trajectories.
    """
    if len(values) != len(forks):
        raise R3labError(f"{len(values)} rows of values and {len(forks)} forks; give one of each a trajectory")
    at: dict[int, list[float]] = {}
    for own, fork in zip(values, forks, strict=True):
        for number, value in enumerate(own.tolist()):
            if fork is not None and np.isfinite(value):
                at.setdefault(number - fork, []).append(value)
    kept = sorted(step for step, found in at.items() if len(found) >= least)
    if not kept:
        raise R3labError(f"no word has values of {least} trajectories with a box; give more trajectories")
    return AlignedMean(tuple(kept), tuple(mean_interval(at[step], seed) for step in kept))


# -- is a map faithful? ------------------------------------------------------------------------------------------------


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
    looks = [n for n, look in enumerate(trajectory.looks) if look.crop_span]
    start = after_look(trajectory, looks[-1]) if looks else trajectory.sampled_mask.index(True)
    if start >= len(trajectory.ids):
        raise R3labError("nothing was written after the last crop; there is no answer to read again")
    cells = heat.cells()
    counts = sorted({round(len(cells) * k / steps) for k in range(steps + 1)})
    order = [cells[i] for i in np.argsort(-heat.values, axis=None, kind="stable")]
    blanks, found = [order[:n] for n in counts] + [order[n:] for n in counts], list[float]()
    with reading(policy):
        for first in range(0, len(blanks), AT_ONCE):
            texts = [blanked(trajectory, boxes) for boxes in blanks[first : first + AT_ONCE]]
            read = tail_logprobs(policy, texts, [start] * len(texts), dict(features or {}))
            found += [float(one.sum()) for one in read]
    parts = tuple(n / len(cells) for n in counts)
    return Curves(Curve(parts, tuple(found[: len(counts)])), Curve(parts, tuple(found[len(counts) :])))


def blanked(trajectory: Trajectory, boxes: Sequence[Box]) -> Trajectory:
    """The same record of a photograph with boxes (source pixels) blanked, its crops cut from that again."""
    if trajectory.image.hash not in trajectory.images:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} does not carry its photograph; load it with it")
    if not boxes:
        return trajectory
    source = filled(trajectory.images[trajectory.image.hash], boxes)
    crops = [
        cut(source, look.box, (look.crop.width, look.crop.height))
        for look in trajectory.looks
        if look.crop and look.box
    ]
    return with_crops(with_overview(trajectory, source), crops)


def hits(heat: HeatMap, region: Box) -> bool:
    """Pointing game: whether the map's highest cell has its middle in the region (Zhang et al., arXiv 1608.00507)."""
    x, y = heat.peak()
    return region[0] <= x < region[2] and region[1] <= y < region[3]


def agreement(heat: HeatMap, value: ValueMap) -> float:
    """Rank correlation of a map with the worth of a look at each of its cells, -1 to 1; 0 where one of them is flat."""
    worth = value.as_map()
    return spearman(heat.values.ravel(), np.array([worth.inside(cell) for cell in heat.cells()]))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of (n,) with (n,), ties with their mean rank; 0 where one of the two is flat."""
    x, y = (_ranks(v) - (len(v) - 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]
