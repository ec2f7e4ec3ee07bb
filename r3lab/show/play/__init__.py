"""Be the policy: draw the box of a look yourself, see the crop, and let the policy answer from it.

    from r3lab.show.play import be_the_policy
    be_the_policy(policy, samples)          # last line of a cell

Live in JupyterLab it is a game of ten samples, scored by the reward and by the value map; an executed notebook, and a
page made from one, keep a picture of the sample, the policy's look and the value map instead. `session.Session` is the
game without a screen. Simplified: whether somebody is there is read from the request that runs the cell, which says
whether it may be asked for input (a headless run says no).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm

from ...models.policy import Policy
from ...sequence import Question
from .board import TITLES, table
from .session import Session
from .still import bundle
from .turn import Turn

__all__ = ["Play", "be_the_policy"]


def be_the_policy(
    policy: Policy,
    samples: Sequence[Question],
    turns: int = 10,
    live: bool | None = None,
    max_new_tokens: int = 512,
) -> Play:
    """A game in which a person takes the looks of a policy.

    Parameters
    ----------
    policy
        Answers greedily.
    samples
        With known answers, e.g. ``[get_world("badges").sample("test", i) for i in range(10)]``.
    turns
        Samples of the game, from 1 to 100; those that the policy gives no answer to are left out.
    live
        Whether somebody is there to play; by default that is found out when it is shown.
    max_new_tokens
        Of an answer.

    Returns
    -------
    Play
        Shown as the last line of a cell. Nothing runs before.

    Raises
    ------
    R3labError
        If there is no sample, or the number of turns is none.
    """
    return Play(Session(policy, samples, turns, max_new_tokens), live)


class Play:
    """A game to be shown in a notebook.

    Attributes
    ----------
    session : the game itself, with its turns and scores
    widget : what is live; None where nobody is there, or before it is shown
    """

    def __init__(self, session: Session, live: bool | None = None) -> None:
        self.session, self._live = session, live
        self.widget: Any = None

    def still(self) -> dict[str, str]:
        """What stays where no kernel runs: a sample, the policy's look, its value map; of a game that was played, the
        last sample that is measured, and the table. The value map takes seconds, once.
        """
        played = [turn for turn in self.session.turns if turn.choice is not None and turn.map is not None]
        turn = played[-1] if played else self._example()
        return self._bundle(turn, f"r3-play-{uuid.uuid4().hex}")

    def _example(self) -> Turn:
        """The first sample at which the policy looks, else the first; measured."""
        one = self.session.example()
        with tqdm(total=100, desc="value map", leave=False, mininterval=1) as bar:
            for share in one.measure():
                bar.update(round(100 * share) - bar.n)
        return one

    def _bundle(self, turn: Turn | None, name: str) -> dict[str, str]:
        lines = self.session.scores()
        you, policy = self.session.total()
        total = (
            f"Reward of {len(lines)} sample{'s' * (len(lines) != 1)}: you {you:.2f}, the policy {policy:.2f}."
            if lines
            else ""
        )
        return bundle(turn, [list(title) for title in TITLES], table(lines), total, name)

    def _ipython_display_(self) -> None:
        if not (somebody_is_there() if self._live is None else self._live):
            display(self.still(), raw=True)
            return
        from .widget import Game  # so that a headless run opens no channel to a browser

        name = f"r3-play-{uuid.uuid4().hex}"
        kept = display(self._bundle(None, name), raw=True, display_id=name)

        def keep() -> None:
            kept.update(self._bundle(self.session.current, name), raw=True)

        self.widget = Game(self.session, name, keep)
        display(self.widget)


def somebody_is_there() -> bool:
    """Whether the cell in progress was run by a person's browser, which can be asked for input."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    content = kernel.get_parent("shell").get("content", {})
    return bool(content.get("allow_stdin"))
