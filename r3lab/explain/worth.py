"""What a look would have been worth at another place: windows over the photograph, each replayed.

value_map(policy, trajectory, look=0).regret                     # the best window that it could have had
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ..core.geometry import Box, Size, coverage
from ..models.policy import Features, Policy
from ..trajectory import Trajectory
from .explanation import HeatMap
from .interventions import NOTHING, Alternative, regions_of, replay, with_crop

AT_ONCE = 64  # windows of a value map that are replayed together: what they hold is the peak of an explanation


@dataclass(frozen=True)
class Window:
    """Where a look could have been: its box, its worth in nats, and how much of the true region it covers."""

    box: Box
    worth: float
    coverage: float | None


@dataclass(frozen=True)
class ValueMap:
    """What a look would have been worth at each place.

    Attributes
    ----------
    windows : every window, scale by scale, row by row
    taken : worth of the box that was looked at
    nothing : log-probability in nats without any crop, from which worth is counted
    source : width and height of the source image in pixels
    """

    windows: list[Window]
    taken: float
    nothing: float
    source: Size

    @property
    def best(self) -> Window:
        """The window of most worth."""
        return max(self.windows, key=lambda window: window.worth)

    @property
    def regret(self) -> float:
        """What the best window is worth above the look that was taken, in nats; 0 where none is better."""
        return max(0.0, self.best.worth - self.taken)

    def heat(self, cells: int = 64) -> np.ndarray:
        """Mean worth of the windows over each cell, (rows, columns) float32; the longer side has `cells`."""
        scale = cells / max(self.source)
        columns, rows = (max(1, round(side * scale)) for side in self.source)
        total, count = np.zeros((rows, columns)), np.zeros((rows, columns))
        for window in self.windows:
            x1, y1, x2, y2 = (v * scale for v in window.box)
            part = (slice(int(y1), max(int(y1) + 1, round(y2))), slice(int(x1), max(int(x1) + 1, round(x2))))
            total[part] += window.worth
            count[part] += 1
        return (total / np.maximum(count, 1)).astype(np.float32)

    def as_map(self) -> HeatMap:
        """`heat` as a map that knows its pixels."""
        return HeatMap(self.heat(), (0.0, 0.0, float(self.source[0]), float(self.source[1])), self.source)


def windows_of(box: Box, source: Size, scales: Sequence[float] = (1.0, 2.0), overlap: float = 0.5) -> list[Box]:
    """Boxes of the size of a look, and of a multiple of it, that cover the image with this overlap."""
    found: list[Box] = []
    for scale in scales:
        sides = [min(float(s), scale * (box[i + 2] - box[i])) for i, s in enumerate(source)]
        starts = []
        for length, side in zip(source, sides, strict=True):
            steps = max(1, int(np.ceil((length - side) / (side * (1 - overlap)) - 1e-9)) + 1)
            starts.append(np.linspace(0, length - side, steps).tolist())
        found += [(x, y, x + sides[0], y + sides[1]) for y in starts[1] for x in starts[0]]
    return found


def value_map(
    policy: Policy,
    trajectory: Trajectory,
    look: int,
    scales: Sequence[float] = (1.0, 2.0),
    features: dict[str, Features] | None = None,
) -> ValueMap:
    """What a look would have been worth at each place of a sliding grid.

    Worth is the log-probability, in nats, of the words with the right answer (of the answer given, where none is
    known), above that without any crop. `features` is read and not filled: crops of hundreds of windows are let go.
    """
    own, source = with_crop(trajectory, look), (trajectory.image.width, trajectory.image.height)
    assert own.box is not None
    boxes = [own.box, *windows_of(own.box, source, scales)]
    wanted = [Alternative(NOTHING), *(Alternative(f"window {n}", box=b) for n, b in enumerate(boxes))]
    some = (wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE))
    found = (replay(policy, trajectory, look, one, dict(features or {}), answers=False) for one in some)
    outcomes = list(chain.from_iterable(found))
    worth = [o.given if o.right is None else o.right for o in outcomes]
    regions = regions_of(trajectory)
    windows = [
        Window(b, w - worth[0], max(coverage(b, r) for r in regions) if regions else None)
        for b, w in zip(boxes[1:], worth[2:], strict=True)
    ]
    return ValueMap(windows, worth[1] - worth[0], worth[0], source)
