"""Be the policy without a screen: a game of several samples, what is done with each, and what each look was worth.

    session = Session(policy, samples, turns=10)
    while (turn := session.open()) is not None:
        turn.look([40, 60, 90, 110])             # or turn.no_look()
        for share in turn.measure():             # the value map, in slices
            print(share)
    session.total()                              # (yours, the policy's)

A person takes over where the policy took its last look: all that it wrote before stays, another crop comes behind the
box, and the policy goes on. Where it took none, a look is put where it would most likely have begun a box, at the place
that it then writes by itself. Simplified: the box in the text stays the policy's, also where a person looks elsewhere,
so that nothing but the crop differs (as in `explain.interventions.replay`); "no look" leaves that box and no crop; a
crop is judged by the words that the policy itself wrote after its own look (as in `explain.value`); and a sample that
the policy gives no answer to is left out, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ..core import records
from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, area, clip, coverage, from_source, iou, problem, write_ints
from ..core.protocol import KEY, box_text
from ..explain.interventions import (
    NOTHING,
    TAKEN,
    Alternative,
    ValueMap,
    Window,
    begin,
    joined,
    replay,
    right_text,
    tail_logprobs,
    windows_of,
    with_words,
)
from ..models.policy import Features, Policy, reading
from ..rollout.loop import rollout
from ..rollout.resume import resume
from ..rollout.sequence import Question, row_of
from ..rollout.state import RolloutState
from ..train.rewards import right, score, true_region
from ..trajectory import Kind, Look, Trajectory

LEAST = 4.0  # source pixels of a side: the loop cuts a box of one, but a hand slips
OPENING = f'{{"{KEY}": ['  # how a box begins
PRESET = "grounded"  # the rewards that the game pays
BLOCK = 16  # windows that are measured at once: a person never waits for more than these
WINDOWS = 600  # of a value map, about, at most
SCALES = (1.0, 2.0)  # of the windows, times the look
MOST = 100  # turns of a game
LITTLE = 0.05  # nats that count as none
GREAT = 1000  # times


def read_box(value: object, size: Size) -> Box:
    """A box that came from a browser, in source pixels, inside an image of `size`; what reaches beyond is cut off.

    Whatever can send a message to the kernel can send anything, so nothing about it is assumed.

    Raises
    ------
    R3labError
        If it is no list of four finite numbers, has no inside on the picture, is too small, or too long and thin.
    """
    box = clip(records.fixed(records.number, 4)(list(value) if isinstance(value, tuple) else value, "A box"), size)
    if why := problem(box, size, LEAST):
        raise R3labError(f"This box cannot be shown: {why}. Draw one of at least {LEAST:g} pixels on the picture.")
    return box


# -- where a look is taken -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Where a look is taken.

    Attributes
    ----------
    trajectory : finished, with the look; what follows it is the policy's
    look : its number, from 0
    taken : the policy looked there by itself; else the look was put there
    wrote : the box is the policy's own (made to look, it may write none that can be shown)
    without : log-probability in nats of the words with the right answer where nobody looks
    """

    trajectory: Trajectory
    look: int
    taken: bool
    wrote: bool
    without: float

    @property
    def box(self) -> Box:
        """The region of the look, source pixels."""
        box = self.trajectory.looks[self.look].box
        assert box is not None
        return box


@torch.no_grad()
def point_of(policy: Policy, t: Trajectory, features: dict[str, Features]) -> Point:
    """The point of a finished rollout at which to look.

    Parameters
    ----------
    t
        With its image, an answer, and the true answer.
    features
        Store that is read and filled, as of `rollout`.

    Raises
    ------
    R3labError
        If it has no answer, or the true one is not known: there would be nothing to compare.
    """
    if t.answer is None:
        raise R3labError(f"The policy gives no answer to {shown(t.sample_id)} ({t.finish}).")
    if not isinstance(t.truth.get("answer"), str) or not t.truth["answer"].strip():
        raise R3labError(f"The true answer to {shown(t.sample_id)} is not known.")
    with_crop = [n for n, look in enumerate(t.looks) if look.crop is not None]
    if with_crop:
        [outcome] = replay(policy, t, with_crop[-1], [Alternative(NOTHING)], features, answers=False)
        assert outcome.right is not None
        return Point(t, with_crop[-1], True, True, outcome.right)
    with reading(policy):
        at = likeliest(policy, t, features)
        looked, wrote = _made_to_look(policy, t, at, features)
        last = max(n for n, one in enumerate(looked.looks) if one.crop is not None)
        plain = right_text(policy, t)
        assert plain is not None
        same = plain.ids[:at] == t.ids[:at]  # the right answer may also stand in place of a word before
        [without] = tail_logprobs(policy, [plain], [at if same else t.sampled_mask.index(True)], features)
    return Point(looked, last, False, wrote, without)


def likeliest(policy: Policy, t: Trajectory, features: dict[str, Features]) -> int:
    """The token, up to the answer's opening mark, in whose place the policy would most likely have begun a box."""
    sampled = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    end = t.response_text.rfind(get_arm(t.arm).marks.open)
    places, fed = [], 0
    for before, i in zip([sampled[0], *sampled], sampled, strict=False):
        whole = i == before or t.pieces[before] != ""  # not inside a character
        if (end < 0 or fed <= end) and whole:
            places.append(i)
        fed += len(t.pieces[i])
    states = policy.hidden(policy.rows([row_of(policy, t, features)]))[0, [i - 1 for i in places]]
    logp = policy.logits(states).log_softmax(-1)[:, policy.ids(OPENING)[0]]
    return places[int(logp.argmax())]


def _made_to_look(policy: Policy, t: Trajectory, at: int, features: dict[str, Features]) -> tuple[Trajectory, bool]:
    """The rollout, gone on with behind a look at `at`, and whether the policy wrote the box of it."""
    begun = with_words(policy, t, at, OPENING)
    most, room = len(begun.looks) + 1, 2 * t.kinds.count(Kind.SAMPLED) + 64  # looks, tokens
    [went] = resume(policy, [begun], max_looks=most, max_new_tokens=room, features=features)
    if went.answer is not None and any(look.crop is not None for look in went.looks[most - 1 :]):
        return went, True
    source: Size = (t.image.width, t.image.height)  # it wrote none: a region in the middle, half as wide and high
    middle = (0.25 * source[0], 0.25 * source[1], 0.75 * source[0], 0.75 * source[1])
    numbers = write_ints(from_source(middle, t.frame, source, t.overview), policy.step)
    head = with_words(policy, t, at, box_text(numbers))
    a, b, c, d = map(float, numbers)
    RolloutState(policy, head).show((at, len(head.ids)), (a, b, c, d), middle)
    [went] = resume(policy, [head], max_looks=most, max_new_tokens=room, features=features)
    if went.answer is None:  # its own words, then
        went = joined(head, t, at)
        went.answer, went.finish = t.answer, t.finish
    return went, False


# -- one sample ------------------------------------------------------------------------------------------------------


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
    point : where a look is taken
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
        self._windows: list[Box] = []
        self._worth: list[float] = []  # of the windows measured so far
        [self._would] = self._right([Alternative(TAKEN, box=self.point.box)])
        taken = self.point.taken
        self.policys = Choice(self.point.box if taken else None, self.own, self._would if taken else self.point.without)

    @property
    def size(self) -> Size:
        """Width and height of the photograph."""
        return self.own.image.width, self.own.image.height

    @property
    def best(self) -> float | None:
        """Log-probability in nats of the right answer from the best window; None as long as it is not measured."""
        return None if self.map is None else self.map.best.worth + self.point.without

    def _right(self, alternatives: list[Alternative]) -> list[float]:
        found = replay(self.policy, self.point.trajectory, self.point.look, alternatives, self._features, False)
        return [one.given if one.right is None else one.right for one in found]

    def look(self, box: object) -> Choice:
        """Put the crop of a box in the place of the policy's, and let the policy go on.

        Parameters
        ----------
        box
            Four numbers, source pixels, read strictly (`read_box`).

        Raises
        ------
        R3labError
            If somebody chose before, or the box cannot be shown.
        """
        self._check_unplayed()
        mine = Alternative("the person's", box=read_box(box, self.size))
        [worth] = self._right([mine])
        self.choice = Choice(mine.box, self._went(mine), worth)
        return self.choice

    def no_look(self) -> Choice:
        """Let the policy go on without any crop.

        Raises
        ------
        R3labError
            If somebody chose before.
        """
        self._check_unplayed()
        went = self.own
        if self.point.taken:
            went = self._went(Alternative(NOTHING))
            went = replace(went, looks=went.looks[: self.point.look])  # what follows is not the person's: it is refused
        self.choice = Choice(None, went, self.point.without)
        return self.choice

    def _check_unplayed(self) -> None:
        if self.choice is not None:
            raise R3labError("This sample has been played: go on to the next one.")

    def _went(self, alternative: Alternative) -> Trajectory:
        """Where the policy goes by itself behind an alternative, greedily, with no more looks than before."""
        t = self.point.trajectory
        begun = begin(self.policy, t, self.point.look, alternative)
        most = max(self._most, begun.kinds.count(Kind.SAMPLED) + 64)
        [went] = resume(self.policy, [begun], max_looks=len(t.looks), max_new_tokens=most, features=self._features)
        return went

    def measure(self) -> Iterator[float]:
        """Measure the value map in slices; give the share that is done after each. What was measured stays."""
        if self.map is not None:
            return
        boxes = self._windows = self._windows or windows_of(
            self.point.box, self.size, scales_of(self.point.box, self.size)
        )
        while len(self._worth) < len(boxes):
            done = len(self._worth)
            wanted = [Alternative(f"window {n}", box=b) for n, b in enumerate(boxes[done : done + BLOCK], start=done)]
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
        return None if self.best is None else max(0.0, self.best - choice.right)


def scales_of(box: Box, size: Size) -> tuple[float, ...]:
    """Sizes of the windows of a value map, times a look's; larger ones where a small look would make too many."""
    at_once = 4 * size[0] * size[1] / max(area(box), 1e-9)  # windows that overlap by half, of one size
    least = max(1.0, (1.25 * at_once / WINDOWS) ** 0.5)
    return tuple(least * scale for scale in SCALES)


# -- a game ----------------------------------------------------------------------------------------------------------


class Session:
    """A game.

    Attributes
    ----------
    turns : those that were opened, in order
    left_out : why samples were left out, one line each
    """

    def __init__(self, policy: Policy, samples: Sequence[Question], turns: int = 10, max_new_tokens: int = 512) -> None:
        """Prepare a game; the policy is not asked anything yet.

        Raises
        ------
        R3labError
            If there is no sample, or the number of turns is none.
        """
        if isinstance(turns, bool) or not isinstance(turns, int) or not 1 <= turns <= MOST:
            raise R3labError(f"The number of turns must be a whole number from 1 to {MOST}, got {shown(turns)}.")
        if not samples:
            raise R3labError("There is no sample to play: give some, e.g. of a world's test split.")
        self.policy, self._samples, self._wanted = policy, list(samples), turns
        self._most = max_new_tokens
        self._next = 0  # sample
        self.turns: list[Turn] = []
        self.left_out: list[str] = []

    @property
    def planned(self) -> int:
        """Turns that the game will have, as far as is known."""
        return min(self._wanted, len(self._samples) - len(self.left_out))

    @property
    def current(self) -> Turn:
        """The turn that was opened last.

        Raises
        ------
        R3labError
            If none was.
        """
        if not self.turns:
            raise R3labError("No sample has been opened: open one first.")
        return self.turns[-1]

    @property
    def played(self) -> list[Turn]:
        """The turns in which somebody chose."""
        return [turn for turn in self.turns if turn.choice is not None]

    @property
    def over(self) -> bool:
        """All turns have been played."""
        return bool(self.turns) and len(self.played) == len(self.turns) >= self.planned

    def open(self) -> Turn | None:
        """Let the policy answer the next sample; None when the game is over.

        Raises
        ------
        R3labError
            If the last turn has not been played, or the policy answers none of the samples.
        """
        if self.turns and self.current.choice is None:
            raise R3labError("The sample on the table has not been played: look, or say that no look is needed.")
        while len(self.turns) < self._wanted and self._next < len(self._samples):
            self._next += 1
            try:
                self.turns.append(Turn(self.policy, self._samples[self._next - 1], self._most))
                return self.current
            except R3labError as error:
                self.left_out.append(str(error))
        if not self.turns:
            raise R3labError(f"None of the {len(self._samples)} samples can be played. The first: {self.left_out[0]}")
        return None

    def example(self) -> Turn:
        """A turn that nobody plays: the first sample at which the policy looks by itself, else the first.

        Raises
        ------
        R3labError
            If the policy answers none of the samples.
        """
        aside = Session(self.policy, self._samples, self._wanted, self._most)
        while (turn := aside.open()) is not None:
            if turn.point.taken:
                return turn
            turn.no_look()
        return aside.turns[0]

    def total(self) -> tuple[float, float]:
        """Sums of the rewards, yours and the policy's, over the turns that were played."""
        yours = sum(turn.choice.reward for turn in self.turns if turn.choice is not None)
        return yours, sum(turn.policys.reward for turn in self.played)


# -- in words --------------------------------------------------------------------------------------------------------


def sure(nats: float) -> str:
    """A log-probability as a probability in per cent, in few digits."""
    percent = 100 * math.exp(min(nats, 0.0))
    if percent >= 10:
        return f"{min(percent, 99.9) if nats < 0 else percent:.3g} %"
    return f"{percent:.2g} %" if percent >= 0.01 else "under 0.01 %"


def times(nats: float) -> str:
    """How many times as likely, in words; nats from 0."""
    factor = math.exp(min(nats, 50.0))
    return f"{factor:.2g} times" if factor < GREAT else "more than a thousand times"


def rewards_words(who: str, choice: Choice) -> str:
    """A reward and the parts that are not zero, which the trainer would have paid."""
    parts = [(name, value) for name, value in choice.rewards.items() if value]
    told = " ".join(f"{'-' if v < 0 else '+'} {name} {abs(v):.2f}" for name, v in parts).removeprefix("+ ")
    return f"{who}: {choice.reward:.2f} = {told or 'nothing'}"


def outcome_words(turn: Turn, choice: Choice) -> str:
    """What a choice was worth, against no look, the policy's choice and the best window."""
    needed, regret = turn.own.truth.get("needs_look"), turn.regret(choice)
    gain, ahead = choice.right - turn.point.without, choice.right - turn.policys.right
    if choice.box is None:
        said = ["You said that no look is needed."]
    elif abs(gain) < LITTLE:
        said = ["Your look changed next to nothing: the right answer is as likely without it."]
    elif gain > 0:
        said = [f"Your look made the right answer {times(gain)} as likely as no look."]
    else:
        said = [f"Your look did harm: without it, the right answer is {times(-gain)} as likely."]
    if abs(ahead) < LITTLE:
        said.append("The policy's own choice was worth the same.")
    else:
        said.append(f"The policy's own choice was worth {abs(ahead):.2f} nats {'less' if ahead > 0 else 'more'}.")
    if regret is not None:
        best = "No window of the map is worth more." if regret < LITTLE else f"The best window: {regret:.2f} nats more."
        said.append(best)
    if needed is not None:
        said.append(f"A look was {'needed' if needed else 'not needed'} here.")
    if not turn.point.taken:
        there = "it would have looked at the dashed box" if turn.point.wrote else "it wrote no box that can be shown"
        said.append(f"The policy took no look; made to, {there}.")
    return " ".join(said)
