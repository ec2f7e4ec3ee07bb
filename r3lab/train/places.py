"""Which token of the overview or of a crop holds a place of the picture, and what the heads must find there.

cell((300.0, 120.0))                                  # the overview's token, rows from the top
Tokens(box, crop).token((300.0, 120.0))               # a crop's, and how far from its middle
"""

from __future__ import annotations

import numpy as np

from ..geometry import Box, clip, source_to_crop
from ..vlir.worlds.badges import SIDE
from .facts import WORDS, Point, Thing
from .lessons import BINS, CELLS, COORDINATE_STEP, FACTOR, IGNORE, NAMES, written


class Tokens:
    """The tokens of a crop."""

    def __init__(self, box: Box, crop: np.ndarray) -> None:
        self.box, (high, wide) = box, crop.shape[:2]
        self.size = (wide, high)

    def token(self, at: Point) -> tuple[int, float]:
        """The token that holds a source point, and how far from its middle that is, pixels of the crop."""
        x, y, _, _ = source_to_crop((*at, at[0] + 1, at[1] + 1), self.box, self.size)
        columns, rows = self.size[0] // FACTOR, self.size[1] // FACTOR
        column, row = min(max(int(x) // FACTOR, 0), columns - 1), min(max(int(y) // FACTOR, 0), rows - 1)
        return row * columns + column, abs(x - (column + 0.5) * FACTOR) + abs(y - (row + 0.5) * FACTOR)


def cell(at: Point) -> int:
    """The token of the overview that holds a source point."""
    column, row = (min(max(int(v * CELLS / SIDE), 0), CELLS - 1) for v in at)
    return row * CELLS + column


def dense(things: tuple[Thing, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cells (things,) and targets of the heads on overview tokens; IGNORE where there is none."""
    targets: dict[str, list[int]] = {k: [] for k in ("name", "word", "large", "digit", *(f"edge{i}" for i in range(4)))}
    for thing in things:
        targets["name"].append(NAMES.index(thing.name) if thing.name else IGNORE)
        targets["word"].append(WORDS.index(thing.word) if thing.word else IGNORE)
        targets["large"].append(int(thing.large) if thing.box else IGNORE)
        targets["digit"].append(IGNORE)
        edges = written(clip(thing.box, (SIDE, SIDE))) if thing.box else None
        for i in range(4):
            targets[f"edge{i}"].append(edges[i] // COORDINATE_STEP if edges else IGNORE)
    assert all(edge < BINS for i in range(4) for edge in targets[f"edge{i}"])
    cells = np.array([cell(t.at) for t in things], dtype=np.int64)
    return cells, {k: np.array(v, dtype=np.int64) for k, v in targets.items()}
