"""From attention rows to what they show: where in the source image a policy read, and whether that is above chance.

A map is a grid over a part of the source image. Raw maps flatter: a few tokens draw attention whatever is asked
(sinks), heads differ, and a large box holds much of anything. So a map can be divided by that of a neutral prompt, made
of heads that look at something in particular, freed of sinks, and a box is always scored against boxes of its size at
random positions.

    heat = heat_map(found, "overview", found.rows_of("x1"))
    box_score(heat, look.box, seed=0).percentile
    line = align([s.times("crops") for s in all_shares], [s.fork for s in all_shares])    # how long it lasts

All of it only describes. Attention falls on much that changes nothing; whether what was read mattered is for
interventions to say (`interventions`, `trials`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, intersection
from ..core.stats import Interval, mean_interval
from ..models.policy import Features, Policy
from ..rollout.sequence import prompt_ids
from ..trajectory import Kind, Trajectory
from .explanation import BoxAttention, CropAttention, HeatMap, Region, Word
from .rows import AFTER, ANSWER, COORDINATES, OVERVIEW, SINK, AttentionRows, overlapping, rows

EPSILON = 1e-4  # attention of a token below this is noise; keeps a ratio finite
NEUTRAL = "Write a general description of the image."  # as in arXiv 2502.17422
REGIONS, WORDS = 3, 5  # that an explanation names
CROPS = "crops"  # all of them together
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


def relative(heat: HeatMap, neutral: HeatMap, epsilon: float = EPSILON) -> HeatMap:
    """A map divided by that of a neutral prompt on the same image: what the question adds (arXiv 2502.17422)."""
    if heat.values.shape != neutral.values.shape:
        raise R3labError(f"maps of {heat.values.shape} and {neutral.values.shape} cells are not of the same image")
    return replace(heat, values=(heat.values + epsilon) / (neutral.values + epsilon))


def with_question(policy: Policy, trajectory: Trajectory, question: str = NEUTRAL) -> Trajectory:
    """A trajectory with its question replaced and all that follows the prompt kept, token for token.

    It was never sampled: its log-probabilities are those of the original, and only attention is read from it, as what
    it would be if nothing in particular were asked.
    """
    kinds = trajectory.kinds
    start = trajectory.prompt_length
    ids = prompt_ids(policy, question, trajectory.overview, kinds.count(Kind.OVERVIEW), get_arm(trajectory.arm))
    head = [int(Kind.OVERVIEW if i == policy.image_id else Kind.PROMPT) for i in ids]
    shift = len(ids) - start
    nothing: list[float | None] = [None] * len(ids)
    return replace(
        trajectory,
        question=question,
        ids=[*ids, *trajectory.ids[start:]],
        kinds=[*head, *kinds[start:]],
        pieces=[*("" if i == policy.image_id else policy.piece(i) for i in ids), *trajectory.pieces[start:]],
        logprobs=[*nothing, *trajectory.logprobs[start:]],
        entropies=[*nothing, *trajectory.entropies[start:]],
        looks=[look.moved(shift) for look in trajectory.looks],
    )


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
class Shares:
    """Attention of every token that one trajectory wrote.

    A share alone deceives: the sequence grows, so what is shared evenly falls for every image, word by word. So each
    share comes with the even one, and `times` is their quotient: 1 is what any token in sight gets.

    Attributes
    ----------
    tokens : (n,) int64, their positions in the trajectory
    mass : by image ("overview", "crops"): (n,) part of the attention on it, 0 to 1; NaN while none of it is in sight
    even : the same had attention been shared evenly: the part of the tokens in sight that are the image's
    fork : number, from 0, of the first token after the first box; None without a box
    """

    tokens: np.ndarray
    mass: dict[str, np.ndarray]
    even: dict[str, np.ndarray]
    fork: int | None

    def times(self, image: str) -> np.ndarray:
        """Attention on a token of an image over an even share, (n,); NaN while none of it is in sight."""
        return self.mass[image] / self.even[image]


def shares(policy: Policy, trajectory: Trajectory, features: dict[str, Features] | None = None) -> Shares:
    """Read the attention of every token that a trajectory wrote, as the mean of all layers and heads.

    Parameters
    ----------
    features : store that is read and filled, as of `rollout`

    Raises
    ------
    R3labError
        If nothing was written, or the trajectory is of another model.
    """
    tokens = [i for i, kind in enumerate(trajectory.kinds) if kind == Kind.SAMPLED]
    if not tokens:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} wrote nothing; roll it out first")
    found = rows(policy, trajectory, at=tokens, features=features)
    weights = found.weights.mean((0, 1)).double().numpy()  # (n, T)
    kinds = np.array(trajectory.kinds)
    visible = np.arange(len(kinds)) < np.array(tokens)[:, None]  # (n, T): what each of them sees
    mass, even = {}, {}
    for image, kind in ((OVERVIEW, Kind.OVERVIEW), (CROPS, Kind.CROP)):
        count = (visible & (kinds == int(kind))).sum(1)
        there = np.where(count > 0, 1.0, np.nan)
        mass[image] = there * weights[:, kinds == int(kind)].sum(1)
        even[image] = there * count / visible.sum(1)
    fork = int(np.searchsorted(tokens, trajectory.looks[0].span[1])) if trajectory.looks else None
    return Shares(np.array(tokens), mass, even, fork)


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
