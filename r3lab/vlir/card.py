"""The numbers of a data set's card, gathered in one pass: samples a source, looks, crops, where they lie, words.

    card = measure(read_vlir("vlir/kept"))
    card.samples, card.whole.looks, median(card.whole.sizes)         # 940, Counter({1: 610, 0: 330}), 0.017

Nothing is drawn here (`show.card` does). Memory grows by eight bytes a look and 32 a picture. Simplified: a rationale's
length is counted in words, since tokens depend on the model.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..core.geometry import area, clip
from ..core.images import content_hash
from .rules import words
from .sample import Rationale, Sample

CELLS = 32  # of the heat map, across and down
SOURCES = 1000  # that are told apart; samples of any further one count as `OTHER`
OTHER = "other sources"


@dataclass
class Part:
    """What is counted of a source, or of all of them.

    Attributes
    ----------
    samples : how many
    looks : samples by the number of their looks
    sizes : of every look, its share of the image's area, 0 to 1
    words : samples by the words of their rationale, tags and boxes left out
    """

    samples: int = 0
    looks: Counter[int] = field(default_factory=Counter)
    sizes: array[float] = field(default_factory=lambda: array("d"))
    words: Counter[int] = field(default_factory=Counter)

    def add(self, sizes: list[float], said: int) -> None:
        """Count one sample: the sizes of its looks, and its words."""
        self.samples += 1
        self.looks[len(sizes)] += 1
        self.sizes.extend(sizes)
        self.words[said] += 1


@dataclass
class Card:
    """All numbers of a card.

    Attributes
    ----------
    whole : of all samples
    sources : of the samples of each source, in order of appearance; the names are foreign text
    splits : samples by split; foreign text too
    needs : samples by whether a look is needed; None where that is not known
    heat : (32, 32) rows by columns, float; for each cell, the sum over looks of the share of it that is in the look
    """

    whole: Part = field(default_factory=Part)
    sources: dict[str, Part] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    needs: Counter[bool | None] = field(default_factory=Counter)
    heat: np.ndarray = field(default_factory=lambda: np.zeros((CELLS, CELLS)))
    _images: set[bytes] = field(default_factory=set, repr=False)

    @property
    def samples(self) -> int:
        """How many."""
        return self.whole.samples

    @property
    def images(self) -> int:
        """Different pictures."""
        return len(self._images)

    @property
    def looks(self) -> int:
        """All together."""
        return len(self.whole.sizes)

    def heat_shares(self, cells: int = CELLS) -> np.ndarray:
        """(cells, cells) rows by columns: the share of the looks that show a cell, 0 to 1; zeros without looks.

        `cells` must divide 32.
        """
        side = CELLS // cells
        coarse = self.heat.reshape(cells, side, cells, side).mean(axis=(1, 3))
        return coarse / max(1, self.looks)

    def add(self, sample: Sample, rationale: Rationale) -> None:
        """Count one more."""
        w, h = sample.image.size
        inside = [clip(box, (w, h)) for box in rationale.boxes]
        sizes = [area(box) / (w * h) for box in inside]
        said = sum(len(words(part)) for part in rationale.parts if isinstance(part, str))
        name = sample.world if sample.world in self.sources or len(self.sources) < SOURCES else OTHER
        for part in (self.whole, self.sources.setdefault(name, Part())):
            part.add(sizes, said)
        self.splits[sample.split if len(self.splits) < SOURCES else OTHER] += 1
        self.needs[sample.needs_look] += 1
        self._images.add(bytes.fromhex(content_hash(sample.image)))
        for x1, y1, x2, y2 in inside:
            self.heat += np.outer(_covered(y1 / h, y2 / h), _covered(x1 / w, x2 / w))


def _covered(low: float, high: float) -> np.ndarray:
    """(32,) the share of each cell of a side that lies between two places of it, 0 to 1."""
    edges = np.arange(CELLS + 1) / CELLS
    return np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None) * CELLS


def measure(pairs: Iterable[tuple[Sample, Rationale]]) -> Card:
    """The numbers of a card, in one pass over the samples."""
    card = Card()
    for sample, rationale in pairs:
        card.add(sample, rationale)
    return card


def quantiles(counts: Counter[int], at: tuple[float, ...] = (0.05, 0.5, 0.95)) -> list[float]:
    """Quantiles of counted whole numbers: the least value that so many do not exceed; [] of nothing."""
    values = sorted(counts.elements())
    return [float(q) for q in np.quantile(values, at, method="inverted_cdf")] if values else []
