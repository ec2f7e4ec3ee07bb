"""Did the look matter? What a crop was worth, against other crops, none, and every place where a look could have been.

value = crop_value(policy, trajectory, look=0)
value.change("nothing"), value.named("nothing").answer
value_map(policy, trajectory, look=0).regret
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..core.errors import R3labError
from ..core.geometry import Box, Size, clip, coverage, iou
from ..core.images import cut
from ..models.policy import Features, Policy
from ..trajectory import Trajectory
from .interventions import Alternative, Outcome, replay

TAKEN, NOTHING, BLANK, NOISE = "as it was", "nothing", "blank", "noise"
RANDOM, TRUE, WHOLE = "random place", "true region", "full image"
STEPS = (0.25, 0.5, 1.0)  # shifts of the box, as parts of its sides


@dataclass(frozen=True)
class CropValue:
    """Outcomes of a look with its own crop and with others, by name; the first is the crop as it was."""

    outcomes: list[Outcome]

    def named(self, name: str) -> Outcome:
        """The outcome of an alternative; an error that lists them if there is none."""
        for outcome in self.outcomes:
            if outcome.alternative.name == name:
                return outcome
        raise R3labError(f"no alternative {name!r}; there are {', '.join(o.alternative.name for o in self.outcomes)}")

    def change(self, name: str) -> float:
        """Change in nats of the log-probability of what was written, the crop replaced; below zero: it mattered."""
        return self.named(name).given - self.outcomes[0].given

    def change_of_right(self, name: str) -> float | None:
        """The same of the words with the right answer; None where it is not known."""
        now, before = self.named(name).right, self.outcomes[0].right
        return None if now is None or before is None else now - before

    def rows(self) -> list[tuple[str, float, float | None, str | None]]:
        """A row an alternative: name, log-probability in nats of what was written, of the right answer, greedy answer.

        The answer is text that a model wrote: escape it.
        """
        return [(o.alternative.name, o.given, o.right, o.answer) for o in self.outcomes]


def alternatives_of(trajectory: Trajectory, look: int, size: Size, seed: int = 0) -> list[Alternative]:
    """The crops that a look is compared with.

    Parameters
    ----------
    size : width and height of the crop that it got, in pixels
    seed : of the noise and of the random place
    """
    own = trajectory.looks[look]
    if own.box is None or own.crop is None:
        raise R3labError(f"look {look} got no crop ({own.reason}); there is nothing to replace")
    image = trajectory.images[trajectory.image.hash]
    source, box = image.size, own.box
    rng = np.random.default_rng(seed)
    pixels = np.asarray(trajectory.images[own.crop.hash].convert("RGB"))
    mean = tuple(int(v) for v in pixels.reshape(-1, 3).mean(0).round())
    w, h = box[2] - box[0], box[3] - box[1]
    found = [
        Alternative(TAKEN, crop=trajectory.images[own.crop.hash]),
        Alternative(NOTHING),
        Alternative(BLANK, crop=Image.new("RGB", size, mean)),
        Alternative(NOISE, crop=Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))),
        Alternative(RANDOM, crop=cut(image, _elsewhere(box, source, rng), size)),
        Alternative(WHOLE, box=(0.0, 0.0, float(source[0]), float(source[1]))),
    ]
    for step in STEPS:
        for name, dx, dy in (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)):
            x, y = box[0] + dx * step * w, box[1] + dy * step * h
            if x >= 0 and y >= 0 and x + w <= source[0] and y + h <= source[1]:
                found.append(Alternative(f"{step:g} {name}", crop=cut(image, (x, y, x + w, y + h), size)))
    regions = trajectory.truth.get("regions") or []
    if regions:
        true = min(regions, key=lambda r: -iou(tuple(r), box)) if len(regions) > 1 else regions[0]
        found.append(Alternative(TRUE, box=clip(tuple(true), source)))
    return found


def crop_value(
    policy: Policy, trajectory: Trajectory, look: int, seed: int = 0, features: dict[str, Features] | None = None
) -> CropValue:
    """Replay a look with its crop as it was, with nothing, blank, noise, elsewhere, shifted, the true region, all.

    Raises
    ------
    R3labError
        As of `replay`.
    """
    if not 0 <= look < len(trajectory.looks):
        raise R3labError(f"there is no look {look}; the trajectory has {len(trajectory.looks)}, counted from 0")
    crop = trajectory.looks[look].crop
    size = (crop.width, crop.height) if crop else (1, 1)
    return CropValue(replay(policy, trajectory, look, alternatives_of(trajectory, look, size, seed), features))


@dataclass(frozen=True)
class Window:
    """A place where a look could have been: its box, its worth in nats, and how much of the true region it covers."""

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
    known), above that without any crop.
    """
    if not 0 <= look < len(trajectory.looks) or trajectory.looks[look].box is None:
        raise R3labError(f"there is no look {look} with a box; the trajectory has {len(trajectory.looks)} looks")
    own, source = trajectory.looks[look], (trajectory.image.width, trajectory.image.height)
    assert own.box is not None
    boxes = [own.box, *windows_of(own.box, source, scales)]
    wanted = [Alternative(NOTHING), *(Alternative(f"window {n}", box=b) for n, b in enumerate(boxes))]
    outcomes = replay(policy, trajectory, look, wanted, features, answers=False)
    worth = [o.given if o.right is None else o.right for o in outcomes]
    regions = [tuple(r) for r in trajectory.truth.get("regions") or []]
    windows = [
        Window(b, w - worth[0], max(coverage(b, r) for r in regions) if regions else None)
        for b, w in zip(boxes[1:], worth[2:], strict=True)
    ]
    return ValueMap(windows, worth[1] - worth[0], worth[0], source)


def _elsewhere(box: Box, source: Size, rng: np.random.Generator) -> Box:
    """A box of the same size at the random place, of 64, that overlaps it least."""
    w, h = box[2] - box[0], box[3] - box[1]
    x, y = rng.uniform(0, source[0] - w, 64), rng.uniform(0, source[1] - h, 64)
    places: list[Box] = [(a, b, a + w, b + h) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return min(places, key=lambda place: iou(place, box))
