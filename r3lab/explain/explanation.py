"""The record of an explanation: one entry a look, the evidence, the verdict, the maps; and its home on disk.

A folder with `explanation.json`, `maps.npz` (plain arrays) and the trajectory with its images as PNG. Nothing is
pickled, and `Explanation.load(e.save(folder)) == e`. Text in it is what a model, a data set or a user wrote: a view
escapes it.

    folder = explanation.save("runs/explain/first")
    for look, what, value in Explanation.load(folder).table():
        print(look, what, value)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import shown
from ..geometry import Box
from ..ledger import plain
from ..trajectory import Trajectory
from .heat import HeatMap
from .judge import Evidence, Verdict


@dataclass(frozen=True)
class Word:
    """A word that attention from a box's coordinates fell on.

    Attributes
    ----------
    text : as it stands in the question or in what was written
    weight : mean attention on its tokens together, of all layers and heads
    percentile : part of the other events (answer, words around looks) that give it less, 0 to 1
    """

    text: str
    weight: float
    percentile: float


@dataclass(frozen=True)
class Region:
    """A cell of the overview (source pixels): its part of the map, and how many times that of a neutral question."""

    box: Box
    share: float
    ratio: float


@dataclass(frozen=True)
class Drawn:
    """What drew a look: attention from the coordinates of its box on the overview.

    Attributes
    ----------
    percentile : part of the boxes of its size at random places that hold less, 0 to 1
    neutral : the same under a neutral question
    relative : the same on the quotient of the two maps
    regions : those that hold most beyond the neutral question, the highest first
    words : those that are read most beyond what the other events do, the highest first
    """

    percentile: float
    neutral: float
    relative: float
    regions: tuple[Region, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Attention from the words behind a crop, and those of the answer: a token's mean over an even share of 1.

    Attributes
    ----------
    crop, overview, text : on an image token of the crop, of the overview, on a token of text; sinks left out
    """

    crop: float
    overview: float
    text: float


@dataclass(frozen=True)
class Worth:
    """A crop replaced: change in nats of what was written, of the same with the right answer, and what is answered."""

    name: str
    given: float
    right: float | None
    answer: str | None
    changed: bool


@dataclass(frozen=True)
class Cut:
    """Attention cut from the words behind a crop, and the answer, to `what`: their change in nats, all together."""

    what: str
    change: float


@dataclass(frozen=True)
class LookEntry:
    """All that was found of one look.

    Attributes
    ----------
    number : from 0, as in the trajectory
    box : source pixels; None where none was written
    refused : why there was no crop; "" where there was one
    asked : what was written before the box
    drawn, reading : attention; None where it was not read
    worth, cuts : interventions on this look
    regret, best : nats by which the best place would have been worth more, and that place
    coverage : part of a true region in the crop, of the one it holds most of; None where none is known
    used : whether the answer depends on this crop; None where that is not sure
    disagree : attention says it was read and interventions that it was not, or the other way round
    sentence : all of it in words
    """

    number: int
    box: Box | None
    refused: str = ""
    asked: str = ""
    drawn: Drawn | None = None
    reading: Reading | None = None
    worth: tuple[Worth, ...] = ()
    cuts: tuple[Cut, ...] = ()
    regret: float | None = None
    best: Box | None = None
    coverage: float | None = None
    used: bool | None = None
    disagree: bool = False
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a policy looked where it looked, and whether that mattered.

    Attributes
    ----------
    trajectory : what is explained, with its images
    looks : an entry a look that was asked for
    evidence, verdict : counts of interventions, and what they amount to
    sentence : the verdict in words, disagreement between attention and intervention among them
    gap : largest difference in nats between a recorded log-probability and the same read again; small, or the record
        is not this policy's
    versions : of r3lab, transformers and torch, with which this was made
    maps : heat maps by name: "look 1 raw", "look 1 neutral", "look 1 relative", "look 1 value"
    """

    trajectory: Trajectory
    looks: tuple[LookEntry, ...]
    evidence: Evidence
    verdict: Verdict
    sentence: str
    gap: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    maps: dict[str, HeatMap] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Explanation):
            return NotImplemented
        same = (
            facts(self) == facts(other) and self.trajectory == other.trajectory and list(self.maps) == list(other.maps)
        )
        return same and all(_same_map(self.maps[name], other.maps[name]) for name in self.maps)

    def entry(self, look: int) -> LookEntry | None:
        """The entry of a look, counted from 0; None where it was not asked for."""
        return next((entry for entry in self.looks if entry.number == look), None)

    def table(self) -> list[tuple[str, str, str]]:
        """Rows (look, what was measured, value); foreign text in them is quoted and cut, on one line."""
        verdict = self.verdict
        rows = [("all", "verdict", f"{verdict.kind} ({verdict.confidence:.0%})")]
        rows += [("all", "because", reason) for reason in verdict.reasons]
        for entry in self.looks:
            rows += [(f"look {entry.number + 1}", what, value) for what, value in _rows_of(entry)]
        return rows

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all; see `explanation_files.save`."""
        from .explanation_files import save  # it knows this module

        return save(self, folder)

    @staticmethod
    def load(folder: str | Path) -> Explanation:
        """Read what `save` wrote; see `explanation_files.load_explanation`."""
        from .explanation_files import load_explanation

        return load_explanation(folder)


def facts(explanation: Explanation) -> dict[str, object]:
    """Everything of an explanation but trajectory and maps, as JSON holds it."""
    names = ("looks", "evidence", "verdict", "sentence", "gap", "versions")
    return {name: plain(getattr(explanation, name)) for name in names}


def _same_map(a: HeatMap, b: HeatMap) -> bool:
    return a.box == b.box and a.source == b.source and np.array_equal(a.values, b.values)


def _rows_of(e: LookEntry) -> list[tuple[str, str]]:
    rows = [("box", "none" if e.box is None else _box(e.box))]
    if e.refused:
        return [*rows, ("refused", shown(e.refused, 120))]
    if e.coverage is not None:
        rows.append(("a true region in the crop", f"{e.coverage:.0%}"))
    if e.drawn is not None:
        found = e.drawn
        rows.append(("attention in the box, against boxes of its size", f"above {found.percentile:.0%}"))
        rows.append(("the same under a neutral question", f"above {found.neutral:.0%}"))
        rows.append(("the same, relative to the neutral question", f"above {found.relative:.0%}"))
        rows += [("drawn by the region", f"{_box(r.box)}, {r.ratio:.2g} times the neutral") for r in found.regions]
        rows += [("drawn by the word", f"{shown(w.text, 40)}, above {w.percentile:.0%}") for w in found.words]
    if e.reading is not None:
        rows.append(("attention of the answer, crop token", f"{e.reading.crop:.2f} of an even share"))
        rows.append(("attention of the answer, overview token", f"{e.reading.overview:.2f} of an even share"))
    rows += [(f"crop replaced: {w.name}", _worth(w)) for w in e.worth]
    rows += [(f"attention cut: {cut.what}", f"{cut.change:+.2f} nats") for cut in e.cuts]
    if e.regret is not None and e.best is not None:
        rows.append(("worth more elsewhere", f"{e.regret:.2f} nats at {_box(e.best)}"))
    rows.append(("used", {True: "yes", False: "no", None: "not sure"}[e.used]))
    return [*rows, ("attention and intervention", "disagree" if e.disagree else "do not disagree")]


def _worth(w: Worth) -> str:
    right = "" if w.right is None else f", right answer {w.right:+.2f}"
    answer = "no answer" if w.answer is None else shown(w.answer, 40)
    return f"{w.given:+.2f} nats{right}; {'answers' if not w.changed else 'now answers'} {answer}"


def _box(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"
