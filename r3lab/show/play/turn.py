"""One turn of the game: a sample, what the policy did with it, what a person did, and what each look was worth.

    turn = Turn(policy, sample)
    turn.look((40, 60, 90, 110)).answer          # the policy's, from the person's crop
    for share in turn.measure():                 # the value map, in slices
        print(share)
    turn.regret, turn.map.best.box

Simplified: "no look" leaves the box in the text and no crop behind it, where the policy looked by itself; and a crop is
judged by the words that the policy itself wrote after its own look (as in `explain.crop_value`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...errors import R3labError
from ...explain.crop_value import NOTHING, TAKEN, ValueMap, Window, windows_of
from ...explain.replay import Alternative, begin, replay
from ...geometry import Box, Size, area, coverage, iou
from ...models.policy import Features, Policy
from ...rollout import resume, rollout
from ...sequence import Question
from ...train.rewards import right, score, true_region
from ...trajectory import Kind, Look, Trajectory
from .point import point_of

PRESET = "grounded"  # the rewards that the game pays
BLOCK = 16  # windows that are measured at once: a person never waits for more than these
WINDOWS = 600  # of a value map, about, at most
SCALES = (1.0, 2.0)  # of the windows, times the look


@dataclass(frozen=True)
class Choice:
    """What somebody did, and what came of it.

    Attributes
    ----------
    box : region of the look in source pixels; None: no look
    trajectory : the rollout that it ends in
    right : log-probability in nats of the words with the right answer
    """

    box: Box | None
    trajectory: Trajectory
    right: float

    @property
    def look(self) -> Look | None:
        """The look, with zoom and size of its crop."""
        return next((one for one in reversed(self.trajectory.looks) if one.valid), None) if self.box else None

    @property
    def correct(self) -> bool:
        return right(self.trajectory)

    @property
    def overlap(self) -> float | None:
        """IoU of the look with the region that holds the answer; None without a look, or where it is not known."""
        truth = true_region(self.trajectory)
        return None if self.box is None or truth is None else iou(self.box, truth)

    @property
    def rewards(self) -> dict[str, float]:
        """Parts of the reward; where it is not known whether a look is needed, looks are neither paid nor charged."""
        parts = score(self.trajectory, PRESET)
        known = self.trajectory.truth.get("needs_look") is not None
        return parts if known else {name: parts[name] for name in ("accuracy", "format")}

    @property
    def reward(self) -> float:
        return sum(self.rewards.values())


class Turn:
    """A sample in play.

    Attributes
    ----------
    own : the policy's rollout, greedy
    point : where a look is taken (`point.Point`)
    policys : what the policy did by itself
    choice : what the person did; None as long as nothing was done
    map : what a look would have been worth at each place, above no look; None as long as it is not measured
    """

    def __init__(self, policy: Policy, sample: Question, max_new_tokens: int = 512) -> None:
        """Let the policy answer.

        Raises
        ------
        R3labError
            If it gives no answer, or the true one is not known.
        """
        self.policy = policy
        self._features: dict[str, Features] = {}
        self._most = max_new_tokens
        [self.own] = rollout(policy, [sample], temperature=0, max_new_tokens=max_new_tokens, features=self._features)
        self.point = point_of(policy, self.own, self._features)
        self.choice: Choice | None = None
        self.map: ValueMap | None = None
        self._worth: list[float] = []  # of the windows measured so far
        self._windows: list[Box] = []
        [self._would] = self._right([Alternative(TAKEN, box=self.point.box)])
        taken = self.point.taken
        self.policys = Choice(self.point.box if taken else None, self.own, self._would if taken else self.point.without)

    @property
    def size(self) -> Size:
        """Width and height of the photograph."""
        return self.own.image.width, self.own.image.height

    @property
    def truth(self) -> Box | None:
        """The region that holds the answer."""
        return true_region(self.own)

    def _right(self, alternatives: list[Alternative]) -> list[float]:
        found = replay(self.policy, self.point.trajectory, self.point.look, alternatives, self._features, False)
        return [one.given if one.right is None else one.right for one in found]

    def look(self, box: Box) -> Choice:
        """Put the crop of a box in the place of the policy's, and let the policy go on.

        Parameters
        ----------
        box
            Source pixels, inside the photograph (`box.read_box`).

        Raises
        ------
        R3labError
            If somebody chose before, or the box cannot be shown.
        """
        self._unplayed()
        mine = Alternative("the person's", box=box)
        [worth] = self._right([mine])
        self.choice = Choice(box, self._went(mine), worth)
        return self.choice

    def no_look(self) -> Choice:
        """Let the policy go on without any crop.

        Raises
        ------
        R3labError
            If somebody chose before.
        """
        self._unplayed()
        if not self.point.taken:
            went = self.own
        else:
            went = self._went(Alternative(NOTHING))
            went = replace(went, looks=went.looks[: self.point.look])  # what follows is not the person's: it is refused
        self.choice = Choice(None, went, self.point.without)
        return self.choice

    def _unplayed(self) -> None:
        if self.choice is not None:
            raise R3labError("This sample has been played: go on to the next one.")

    def _went(self, alternative: Alternative) -> Trajectory:
        """Where the policy goes by itself behind an alternative, greedily, with no more looks than before."""
        t = self.point.trajectory
        begun = begin(self.policy, t, self.point.look, alternative)
        most = max(self._most, begun.kinds.count(Kind.SAMPLED) + 64)
        [went] = resume(self.policy, [begun], max_looks=len(t.looks), max_new_tokens=most, features=self._features)
        return went

    # -- the value map -------------------------------------------------------------------------------------------

    def measure(self) -> Iterator[float]:
        """Measure the value map in slices; give the share that is done after each. What was measured stays."""
        if self.map is not None:
            return
        if not self._windows:
            self._windows = windows_of(self.point.box, self.size, scales_of(self.point.box, self.size))
        boxes = self._windows
        while len(self._worth) < len(boxes):
            block = boxes[len(self._worth) : len(self._worth) + BLOCK]
            names = range(len(self._worth), len(boxes))
            wanted = [Alternative(f"window {n}", box=b) for n, b in zip(names, block, strict=False)]
            self._worth += [value - self.point.without for value in self._right(wanted)]
            self._features = {key: held for key, held in self._features.items() if "@" in key}  # drop the crops
            yield len(self._worth) / len(boxes)
        regions = [tuple(region) for region in self.own.truth.get("regions") or []]
        windows = [
            Window(box, worth, max(coverage(box, region) for region in regions) if regions else None)
            for box, worth in zip(boxes, self._worth, strict=True)
        ]
        self.map = ValueMap(windows, self._would - self.point.without, self.point.without, self.size)

    def regret(self, choice: Choice) -> float | None:
        """Nats that the best window is worth above what somebody did, from 0; None as long as it is not measured."""
        if self.map is None:
            return None
        return max(0.0, self.map.best.worth + self.point.without - choice.right)


def scales_of(box: Box, size: Size) -> tuple[float, ...]:
    """Sizes of the windows of a value map, times a look's; larger ones where a small look would make too many."""
    at_once = 4 * size[0] * size[1] / max(area(box), 1e-9)  # windows that overlap by half, of one size
    least = max(1.0, (1.25 * at_once / WINDOWS) ** 0.5)
    return tuple(least * scale for scale in SCALES)
