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
the policy gives no answer to, or writes no box for, is left out, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ..core import records
from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, area, clip, coverage, iou, problem
from ..core.protocol import KEY
from ..explain.interventions import (
    NOTHING,
    TAKEN,
    Alternative,
    begin,
    replay,
    right_text,
    tail_logprobs,
    with_words,
)
from ..explain.worth import ValueMap, Window, windows_of
from ..models.policy import Features, Policy, reading
from ..rollout.loop import rollout
from ..rollout.resume import resume
from ..rollout.sequence import Question, row_of
from ..train.rewards import score, true_region
from ..trajectory import Kind, Look, Trajectory

LEAST = 4.0  # source pixels of a side: the loop cuts a box of one, but a hand slips
OPENING = f'{{"{KEY}": ['  # how a box begins
PRESET = "grounded"  # the rewards that the game pays
BLOCK = 16  # windows that are measured at once: a person never waits for more than these
WINDOWS = 600  # of a value map, about, at most
SCALES = (1.0, 2.0)  # of the windows, times the look
MOST = 100  # turns of a game
LITTLE = 0.05  # nats that count as none


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


@torch.no_grad()
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


def scales_of(box: Box, size: Size) -> tuple[float, ...]:
    """Sizes of the windows of a value map, times a look's; larger ones where a small look would make too many."""
    at_once = 4 * size[0] * size[1] / max(area(box), 1e-9)  # windows that overlap by half, of one size
    least = max(1.0, (1.25 * at_once / WINDOWS) ** 0.5)
    return tuple(least * scale for scale in SCALES)


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
    record, at : a rollout with a look, and its number; what follows it is the policy's
    taken : the policy looked there by itself; else the look was put there
    without : log-probability in nats of the words with the right answer where nobody looks
    policys : what the policy did by itself
    choice : what the person did; None as long as nothing was done
    map : what a look would have been worth at each place, above no look; None as long as it is not measured
    """

    def __init__(self, policy: Policy, sample: Question, max_new_tokens: int = 512) -> None:
        """Let the policy answer.

        Raises
        ------
        R3labError
            If it gives no answer, writes no box where it is made to look, or the true answer is not known.
        """
        self.policy, self._features, self._most = policy, dict[str, Features](), max_new_tokens
        self.choice: Choice | None = None
        self.map: ValueMap | None = None
        [self.own] = rollout(policy, [sample], temperature=0, max_new_tokens=max_new_tokens, features=self._features)
        truth, name = self.own.truth.get("answer"), shown(self.own.sample_id)
        if self.own.answer is None:
            raise R3labError(f"The policy gives no answer to {name} ({self.own.finish}).")
        if not isinstance(truth, str) or not truth.strip():
            raise R3labError(f"The true answer to {name} is not known.")
        looked = [n for n, look in enumerate(self.own.looks) if look.crop is not None]
        self.taken = bool(looked)
        self.record, self.at = (self.own, looked[-1]) if looked else self._made_to_look()
        self._would, self.without = self._right([Alternative(TAKEN, box=self.box), Alternative(NOTHING)])
        if not self.taken:
            self.without = self._plain()
        self.policys = Choice(self.box if looked else None, self.own, self._would if looked else self.without)

    @property
    def box(self) -> Box:
        """The region of the look in the record, source pixels."""
        box = self.record.looks[self.at].box
        assert box is not None
        return box

    @property
    def size(self) -> Size:
        """Width and height of the photograph."""
        return self.own.image.width, self.own.image.height

    @property
    def best(self) -> float | None:
        """Log-probability in nats of the right answer from the best window; None as long as it is not measured."""
        return None if self.map is None else self.map.best.worth + self.without

    def _made_to_look(self) -> tuple[Trajectory, int]:
        """The rollout, gone on with behind a box that it would most likely have begun, and the number of that look."""
        self._begun = likeliest(self.policy, self.own, self._features)
        begun = with_words(self.policy, self.own, self._begun, OPENING)
        room = 2 * self.own.kinds.count(Kind.SAMPLED) + 64
        most = len(begun.looks) + 1
        [went] = resume(self.policy, [begun], max_looks=most, max_new_tokens=room, features=self._features)
        granted = [n for n, look in enumerate(went.looks) if look.crop is not None]
        if went.answer is None or not granted:
            raise R3labError(f"The policy looks nowhere in {shown(went.sample_id)}, also where it is made to.")
        return went, granted[-1]

    def _plain(self) -> float:
        """Log-probability in nats of the words with the right answer in the rollout that took no look."""
        with reading(self.policy):
            plain = right_text(self.policy, self.own)
            assert plain is not None
            same = plain.ids[: self._begun] == self.own.ids[: self._begun]  # the answer may also stand in words before
            start = self._begun if same else self.own.sampled_mask.index(True)
            return float(tail_logprobs(self.policy, [plain], [start], self._features)[0].sum())

    def _right(self, alternatives: list[Alternative]) -> list[float]:
        found = replay(self.policy, self.record, self.at, alternatives, self._features, answers=False)
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
        if self.taken:
            went = self._went(Alternative(NOTHING))
            went = replace(went, looks=went.looks[: self.at])  # what follows is not the person's: it is refused
        self.choice = Choice(None, went, self.without)
        return self.choice

    def _check_unplayed(self) -> None:
        if self.choice is not None:
            raise R3labError("This sample has been played: go on to the next one.")

    def _went(self, alternative: Alternative) -> Trajectory:
        """Where the policy goes by itself behind an alternative, greedily, with no more looks than before."""
        begun, looks = begin(self.policy, self.record, self.at, alternative), len(self.record.looks)
        most = max(self._most, begun.kinds.count(Kind.SAMPLED) + 64)
        [went] = resume(self.policy, [begun], max_looks=looks, max_new_tokens=most, features=self._features)
        return went

    def measure(self) -> Iterator[float]:
        """Measure the value map in slices; give the share that is done after each."""
        boxes, worth = windows_of(self.box, self.size, scales_of(self.box, self.size)), list[float]()
        while len(worth) < len(boxes):
            some = boxes[len(worth) : len(worth) + BLOCK]
            worth += self._right([Alternative(f"window {n}", box=b) for n, b in enumerate(some)])
            self._features = {key: held for key, held in self._features.items() if "@" in key}  # drop the crops
            yield len(worth) / len(boxes)
        regions = [tuple(region) for region in self.own.truth.get("regions") or []]
        windows = [
            Window(box, value - self.without, max(coverage(box, region) for region in regions) if regions else None)
            for box, value in zip(boxes, worth, strict=True)
        ]
        self.map = ValueMap(windows, self._would - self.without, self.without, self.size)


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
        if type(turns) is not int or not 1 <= turns <= MOST:
            raise R3labError(f"The number of turns must be a whole number from 1 to {MOST}, got {shown(turns)}.")
        if not samples:
            raise R3labError("There is no sample to play: give some, e.g. of a world's test split.")
        self._policy, self._samples, self._wanted, self._most = policy, list(samples), turns, max_new_tokens
        self.turns: list[Turn] = []
        self.left_out: list[str] = []

    @property
    def planned(self) -> int:
        """Turns that the game will have, as far as is known."""
        return min(self._wanted, len(self._samples) - len(self.left_out))

    @property
    def played(self) -> list[Turn]:
        """The turns in which somebody chose."""
        return [turn for turn in self.turns if turn.choice is not None]

    @property
    def over(self) -> bool:
        """All turns have been played."""
        return len(self.played) == len(self.turns) >= max(1, self.planned)

    def open(self) -> Turn | None:
        """Let the policy answer the next sample; None when the game is over.

        Raises
        ------
        R3labError
            If the last turn has not been played, or the policy answers none of the samples.
        """
        if len(self.played) < len(self.turns):
            raise R3labError("The sample on the table has not been played: look, or say that no look is needed.")
        while len(self.turns) < self.planned:
            try:
                sample = self._samples[len(self.turns) + len(self.left_out)]
                self.turns.append(Turn(self._policy, sample, self._most))
                return self.turns[-1]
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
        aside = Session(self._policy, self._samples, self._wanted, self._most)
        while (turn := aside.open()) is not None:
            if turn.taken:
                return turn
            turn.no_look()
        return aside.turns[0]

    def total(self) -> tuple[float, float]:
        """Sums of the rewards, yours and the policy's, over the turns that were played."""
        yours = sum(turn.choice.reward for turn in self.turns if turn.choice is not None)
        return yours, sum(turn.policys.reward for turn in self.played)


# -- in words --------------------------------------------------------------------------------------------------------


def rewards_words(who: str, choice: Choice) -> str:
    """A reward and the parts that are not zero, which the trainer would have paid."""
    parts = [(name, value) for name, value in choice.rewards.items() if value]
    told = " ".join(f"{'-' if v < 0 else '+'} {name} {abs(v):.2f}" for name, v in parts).removeprefix("+ ")
    return f"{who}: {choice.reward:.2f} = {told or 'nothing'}"


def outcome_words(turn: Turn, choice: Choice) -> str:
    """What a choice was worth, against no look, the policy's choice and the best window."""
    needed, gain, ahead = (
        turn.own.truth.get("needs_look"),
        choice.right - turn.without,
        choice.right - turn.policys.right,
    )
    times = f"{math.exp(min(abs(gain), 50.0)):.2g} times" if abs(gain) < math.log(1000) else "over a thousand times"
    if choice.box is None:
        said = ["You said that no look is needed."]
    elif abs(gain) < LITTLE:
        said = ["Your look changed next to nothing: the right answer is as likely without it."]
    elif gain > 0:
        said = [f"Your look made the right answer {times} as likely as no look."]
    else:
        said = [f"Your look did harm: without it, the right answer is {times} as likely."]
    than = (
        "was worth the same"
        if abs(ahead) < LITTLE
        else f"was {abs(ahead):.2f} nats {'worse' if ahead > 0 else 'better'}"
    )
    said.append(f"The policy's own choice {than}.")
    if turn.best is not None:
        regret = max(0.0, turn.best - choice.right)
        best = "No window of the map is worth more." if regret < LITTLE else f"The best window: {regret:.2f} nats more."
        said.append(best)
    if needed is not None:
        said.append(f"A look was {'needed' if needed else 'not needed'} here.")
    if not turn.taken:
        said.append("The policy took no look; made to, it would have looked at the dashed box.")
    return " ".join(said)
