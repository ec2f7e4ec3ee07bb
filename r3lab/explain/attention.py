"""How attention to images lasts while a policy writes on: with a crop woven in, and in a chain of text alone.

Of every token that was written, the attention that falls on the overview and on the crops, as the mean of all layers
and heads. A share alone deceives: the sequence grows, so what is shared evenly falls for every image, word by word. So
each share comes with the even one, and `Shares.times` is their quotient: 1 is what any token in sight gets.

    found = [shares(policy, t) for t in trajectories]
    line = along([s.times("crops") for s in found], [s.fork for s in found])
    line.at[0], line.mean[0].value         # the first word after the box, over all trajectories

Simplified: all rows of a trajectory are held at once, (layers, heads, words, tokens); words are lined up by their
number after the first box, whatever they say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers

from ..core.errors import R3labError, shown
from ..core.stats import Interval, mean_interval
from ..models.policy import Features, Policy
from ..rollout.loop import reading
from ..rollout.sequence import row_of
from ..trajectory import Kind, Trajectory
from .explanation import Drawn, HeatMap, Reading, Region, Word
from .maps import box_score, find_sinks, heat_map, looking_heads, relative
from .rows import AFTER, ANSWER, COORDINATES, OVERVIEW, SINK, AttentionRows, check_model, rows
from .trials import Store

# Is a record one that this policy can be asked about? Its images are there, its tokens and its log-probabilities fit.
#
# A record does not say with which version of transformers it was made, nor does a name prove the weights. The
# log-probabilities do: read again they must be what was recorded.
#
#     gap = check_record(policy, trajectory, store)          # nats; an error above what rounding makes

GAP, GAP_HALF = 0.02, 0.5  # nats of one token, weights in float32 and in half precision (3e-2 is usual there)


@torch.no_grad()
def check_record(policy: Policy, trajectory: Trajectory, store: Store) -> float:
    """Check a record against a policy.

    Returns
    -------
    float
        The largest difference, in nats, between a recorded log-probability and the same read again.

    Raises
    ------
    R3labError
        If an image is missing, or tokens or log-probabilities are those of another model.
    """
    t = trajectory
    named = {"the photograph": t.image}
    named.update({f"the crop of look {n}": look.crop for n, look in enumerate(t.looks) if look.crop is not None})
    for what, reference in named.items():
        if reference.hash not in t.images:
            raise R3labError(
                f"the trajectory {shown(t.sample_id)} does not carry {what} ({shown(reference.hash, 16)}); "
                "load it with its images"
            )
    check_model(policy, t)
    places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    recorded = [t.logprobs[i] for i in places]
    if not places or any(p is None for p in recorded):
        return 0.0
    with reading(policy):
        states = policy.hidden(policy.rows([row_of(policy, t, store)]))[0, [i - 1 for i in places]]
        logits = policy.logits(states) / (t.temperature or 1.0)
    ids = torch.tensor([t.ids[i] for i in places], device=policy.device)
    again = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].double().cpu()
    gap = float((again - torch.tensor(recorded, dtype=torch.float64)).abs().max())
    limit = GAP if next(policy.model.parameters()).dtype == torch.float32 else GAP_HALF
    if not gap <= limit:
        raise R3labError(
            f"the trajectory {shown(t.sample_id)} was written by other weights than those of {shown(policy.name)}, or "
            f"with another version of transformers than {transformers.__version__}: a token's log-probability differs "
            f"by {gap:.2g} nats, at most {limit:g} is rounding; give the checkpoint that wrote it, or roll out again"
        )
    return gap


# What attention says of a look: what drew it there, and what the words behind its crop read.
#
# Only a description. Attention falls on much that changes nothing, so every number comes with its null: boxes of the
# same
# size elsewhere, the same words behind a neutral question, the other words of the same record. Whether what was read
# mattered is for interventions (`trials`, `crop_value`) to say.
#
#     found, plain = rows(policy, trajectory), rows(policy, reasked(policy, trajectory))
#     what, maps = drawn(trajectory, found, plain, look=0)
#     what.percentile, what.neutral, [word.text for word in what.words]

REGIONS, WORDS = 3, 5
_WORD = re.compile(r"\w+")


def numbers_of(found: AttentionRows, look: int) -> list[int]:
    """Rows of the events at which a look's coordinates were written."""
    return [i for i, event in enumerate(found.events) if event.look == look and event.name in COORDINATES]


def drawn(
    trajectory: Trajectory, found: AttentionRows, plain: AttentionRows, look: int, heads: int = 6, seed: int = 0
) -> tuple[Drawn, dict[str, HeatMap]] | None:
    """What drew a look.

    Parameters
    ----------
    found, plain : rows at all events, of the trajectory and of it behind a neutral question (`neutral.reasked`)
    heads : how many heads count (`maps.looking_heads`)

    Returns
    -------
    what drew it, and the maps "raw", "neutral" and "relative"; None where the box has no coordinates to read from
    """
    numbers, box = numbers_of(found, look), trajectory.looks[look].box
    if not numbers or box is None:
        return None
    sinks = find_sinks(found, OVERVIEW)
    chosen = looking_heads(found, OVERVIEW, numbers, heads)
    raw = heat_map(found, OVERVIEW, numbers, chosen, sinks)
    if not raw.values.any():  # an overview of few tokens, all of them sinks
        sinks = []
        raw = heat_map(found, OVERVIEW, numbers, chosen)
    later = plain.spans[OVERVIEW][0] - found.spans[OVERVIEW][0]
    neutral = heat_map(plain, OVERVIEW, numbers_of(plain, look), chosen, [place + later for place in sinks])
    ratio = relative(raw, neutral)
    held, before, beyond = (box_score(heat, box, seed).percentile for heat in (raw, neutral, ratio))
    what = Drawn(held, before, beyond, _regions(raw, ratio), _words(trajectory, found, numbers, look))
    return what, {"raw": raw, "neutral": neutral, "relative": ratio}


def _regions(raw: HeatMap, ratio: HeatMap) -> tuple[Region, ...]:
    """The cells that hold most beyond the neutral question."""
    columns, total = raw.values.shape[1], float(raw.values.sum()) or 1.0
    order = np.argsort(-ratio.values, axis=None, kind="stable")[:REGIONS].tolist()
    found = []
    for place in order:
        row, column = divmod(place, columns)
        found.append(
            Region(raw.cell(column, row), float(raw.values[row, column]) / total, float(ratio.values[row, column]))
        )
    return tuple(found)


def spoken(trajectory: Trajectory, until: int) -> list[tuple[str, list[int]]]:
    """The words of the question, and of what was written before a place, each with its tokens."""
    found: list[tuple[str, list[int]]] = []
    for kind in (Kind.PROMPT, Kind.SAMPLED):
        places = [i for i in range(1, until) if trajectory.kinds[i] == kind]
        ends = np.cumsum([len(trajectory.pieces[i]) for i in places]).tolist()
        text = "".join(trajectory.pieces[i] for i in places)
        asked = trajectory.question.strip()
        start = text.find(asked) if kind == Kind.PROMPT else 0
        end = start + len(asked) if kind == Kind.PROMPT else len(text)
        for match in _WORD.finditer(text, max(0, start), max(0, end)):
            starts = [0, *ends[:-1]]
            tokens = [i for i, a, b in zip(places, starts, ends, strict=True) if a < match.end() and b > match.start()]
            found.append((match.group(), tokens))
    return found


def _words(trajectory: Trajectory, found: AttentionRows, numbers: Sequence[int], look: int) -> tuple[Word, ...]:
    """The words that the coordinates read most above what the other events that can see them do."""
    mean = found.weights.mean((0, 1))  # (events, tokens)
    rest = [i for i in range(len(found.events)) if i not in set(numbers)]
    words: dict[str, tuple[float, Word]] = {}  # a word that stands in several places counts where it is read most
    for text, tokens in spoken(trajectory, trajectory.looks[look].span[0]):
        each = mean[:, tokens].sum(-1)
        own = float(each[list(numbers)].mean())
        others = [float(each[i]) for i in rest if found.events[i].reads >= tokens[-1]]
        below = float(np.mean([other < own for other in others])) if others else 0.5
        more = own - (float(np.mean(others)) if others else 0.0)
        if text not in words or words[text][0] < more:
            words[text] = (more, Word(text[:80], own, below))
    return tuple(word for _, word in sorted(words.values(), key=lambda pair: -pair[0])[:WORDS])


def attention_reading(found: AttentionRows, look: int, crop: str) -> Reading | None:
    """Attention from the words behind a crop, and from the answer; None where nothing was written there.

    Parameters
    ----------
    crop : name of the crop's span: "crop 1", ...
    """
    numbers = [
        i
        for i, event in enumerate(found.events)
        if (event.name == AFTER and event.look == look)
        or (event.name == ANSWER and event.reads >= found.spans[crop][1])
    ]
    if not numbers:
        return None
    sinks = {place for image in (OVERVIEW, crop) for place in find_sinks(found, image)}
    text = [name for name in found.spans if name not in found.images and name != SINK]

    def share(names: Sequence[str]) -> float:
        places = [i for name in names for i in range(*found.spans[name]) if i not in sinks]
        shares = []
        for number in numbers:
            row, seen = found.weights[:, :, number].mean((0, 1)), found.events[number].reads + 1
            visible = [i for i in places if i < seen]
            shares.append(float(row[torch.tensor(visible)].mean()) * seen if visible else 0.0)
        return float(np.mean(shares))

    return Reading(share([crop]), share([OVERVIEW]), share(text))


CROPS = "crops"  # all of them together


@dataclass(frozen=True)
class Shares:
    """Attention of every token that one trajectory wrote.

    Attributes
    ----------
    tokens : (n,) int64, their places in the trajectory
    mass : by image ("overview", "crops"): (n,) part of the attention on it, 0 to 1; NaN while none of it is in sight
    even : the same had attention been shared evenly: the part of the tokens in sight that are the image's
    fork : number, from 0, of the first token behind the first box; None without a box
    """

    tokens: np.ndarray
    mass: dict[str, np.ndarray]
    even: dict[str, np.ndarray]
    fork: int | None

    def times(self, image: str) -> np.ndarray:
        """Attention on a token of an image over an even share, (n,); NaN while none of it is in sight."""
        return self.mass[image] / self.even[image]


def shares(policy: Policy, trajectory: Trajectory, features: dict[str, Features] | None = None) -> Shares:
    """Read the attention of every token that a trajectory wrote.

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
    sight = np.arange(len(kinds)) < np.array(tokens)[:, None]  # (n, T): what each of them sees
    mass, even = {}, {}
    for image, kind in ((OVERVIEW, Kind.OVERVIEW), (CROPS, Kind.CROP)):
        count = (sight & (kinds == int(kind))).sum(1)
        there = np.where(count > 0, 1.0, np.nan)
        mass[image] = there * weights[:, kinds == int(kind)].sum(1)
        even[image] = there * count / sight.sum(1)
    end = trajectory.looks[0].span[1] if trajectory.looks else None
    fork = None if end is None else int(np.searchsorted(tokens, end))
    return Shares(np.array(tokens), mass, even, fork)


@dataclass(frozen=True)
class Line:
    """A measure along what was written: words counted from the fork, the mean over trajectories, how many they are."""

    at: tuple[int, ...]
    mean: tuple[Interval, ...]


def along(values: Sequence[np.ndarray], forks: Sequence[int | None], least: int = 5, seed: int = 0) -> Line:
    """Line up a measure of many trajectories at their first box, and take its mean word by word.

    Parameters
    ----------
    values : one a trajectory, (n,) a value for each token that it wrote; NaN is left out
    forks : number of the first token behind the first box, of each; None: the trajectory is left out
    least : trajectories that a word needs, so that a mean is shown for it
    seed : of the bootstrap

    Returns
    -------
    Line
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
    return Line(tuple(kept), tuple(mean_interval(at[step], seed) for step in kept))
