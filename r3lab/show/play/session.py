"""A game of several samples: whose turn it is, what was scored, the table at the end. No widget, no browser.

    session = Session(policy, samples, turns=10)
    while session.open() is not None:
        session.look([40, 60, 90, 110])          # or session.no_look()
        for share in session.measure():
            pass
    session.total()                              # (yours, the policy's)

Simplified: a sample that the policy gives no answer to is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import R3labError, shown
from ...models.policy import Policy
from ...sequence import Question
from .box import read_box
from .turn import Choice, Turn

MOST = 100  # turns of a game


@dataclass(frozen=True)
class Score:
    """A line of the table.

    Attributes
    ----------
    number : of the turn, from 1
    turn, you, policy : the turn, and what each did
    best : log-probability in nats of the right answer from the best window; None where it was not measured
    """

    number: int
    turn: Turn
    you: Choice
    policy: Choice
    best: float | None


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
    def over(self) -> bool:
        """All turns have been played."""
        played = all(turn.choice is not None for turn in self.turns)
        return bool(self.turns) and played and len(self.turns) >= self.planned

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
            sample = self._samples[self._next]
            self._next += 1
            try:
                self.turns.append(Turn(self.policy, sample, self._most))
            except R3labError as error:
                self.left_out.append(str(error))
                continue
            return self.current
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

    def look(self, box: object) -> Choice:
        """Look at a region of the sample on the table: four numbers, source pixels, read strictly.

        Raises
        ------
        R3labError
            If it is no box that can be shown, or the sample has been played.
        """
        turn = self.current
        return turn.look(read_box(box, turn.size))

    def no_look(self) -> Choice:
        """Say that no look is needed.

        Raises
        ------
        R3labError
            If the sample has been played.
        """
        return self.current.no_look()

    def measure(self) -> Iterator[float]:
        """Measure the value map of the sample on the table in slices; give the share that is done after each."""
        return self.current.measure()

    def scores(self) -> list[Score]:
        """The table: a line for each turn that was played."""
        found = []
        for number, turn in enumerate(self.turns, start=1):
            if turn.choice is not None:
                best = None if turn.map is None else turn.map.best.worth + turn.point.without
                found.append(Score(number, turn, turn.choice, turn.policys, best))
        return found

    def total(self) -> tuple[float, float]:
        """Sums of the rewards, yours and the policy's."""
        lines = self.scores()
        return sum(line.you.reward for line in lines), sum(line.policy.reward for line in lines)
