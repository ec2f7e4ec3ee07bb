"""What attention says of a look: what drew it there, and what the words behind its crop read.

Only a description. Attention falls on much that changes nothing, so every number comes with its null: boxes of the same
size elsewhere, the same words behind a neutral question, the other words of the same record. Whether what was read
mattered is for interventions (`trials`, `crop_value`) to say.

    found, plain = rows(policy, trajectory), rows(policy, reasked(policy, trajectory))
    what, maps = drawn(trajectory, found, plain, look=0)
    what.percentile, what.neutral, [word.text for word in what.words]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from ..trajectory import Kind, Trajectory
from .events import AFTER, ANSWER, COORDINATES
from .explanation import Drawn, Reading, Region, Word
from .heat import HeatMap
from .maps import box_score, find_sinks, heat_map, looking_heads, relative
from .rows import OVERVIEW, SINK, AttentionRows

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


def reading(found: AttentionRows, look: int, crop: str) -> Reading | None:
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
