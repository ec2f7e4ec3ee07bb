"""Be the policy: draw the box of a look yourself, see the crop, and let the policy answer from it.

    from r3lab.show.play import be_the_policy
    be_the_policy(policy, samples)          # last line of a cell

Live in JupyterLab it is a game of ten samples, scored by the reward and by the value map; an executed notebook, and a
page made from one, keep a picture of the sample, the policy's look and the value map instead. The game without a screen
is `play_turn.Session`; here stand what a browser is told of it (plain data, every text cleaned and bounded, every
picture a data URI; `play.js` puts text into text nodes only) and the widget, which hears what a person does. Long work
runs in slices on the kernel's own event loop, so that a box that comes meanwhile is answered between two of them.
Simplified: whether somebody is there is read from the request that runs the cell, which says whether it may be asked
for input (a headless run says no); the whole state is sent anew at each step.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets
from IPython import get_ipython
from IPython.display import display

from ..core.errors import R3labError
from ..core.images import resize
from ..explain.worth import ValueMap
from ..models.policy import Policy
from ..rollout.sequence import Question
from ..train.rewards import right, true_region
from ..trajectory import Trajectory
from .explanation import BEST, draw_value
from .palette import HALO, TRUTH, ink_on, look_colour
from .picture import HERE, Picture, embed, notebook_style, render
from .play_turn import Choice, Session, Turn, outcome_words, rewards_words
from .text import clean, one_line

LIVE = (
    "Be the policy, live: run this cell in JupyterLab. You see what the policy sees, draw the box of a look or say "
    "that no look is needed, and the policy goes on from your crop. Your look is scored against the policy's own and "
    "the best place on the value map, over several samples."
)
COLUMNS = ["look", "answer", "nats", "reward"]  # of what somebody did
TITLES = ["Question", "Needed", *(f"{who} {what}" for who in ("You", "Policy") for what in COLUMNS), "Best window"]
WROTE = 600  # characters of what the policy wrote
PAUSE = 0.005  # seconds between two slices of work: what a browser sent is read then


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

    Examples
    --------
    >>> game = r3lab.be_the_policy(policy, samples[:2], turns=1, live=False)
    >>> type(game).__name__
    'Play'
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
        turn = next((turn for turn in reversed(self.session.played) if turn.map is not None), None)
        if turn is None:
            turn = self.session.example()
            for _ in turn.measure():
                pass
        return kept(self.session, turn, f"r3-play-{uuid.uuid4().hex}")

    def _ipython_display_(self) -> None:
        if not (somebody_is_there() if self._live is None else self._live):
            display(self.still(), raw=True)
            return
        session, name = self.session, f"r3-play-{uuid.uuid4().hex}"
        shown = display(kept(session, None, name), raw=True, display_id=name)
        self.widget = Game(session, name, lambda: shown.update(kept(session, session.turns[-1], name), raw=True))
        display(self.widget)


def somebody_is_there() -> bool:
    """Whether the cell in progress was run by a person's browser, which can be asked for input."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


def kept(session: Session, turn: Turn | None, name: str) -> dict[str, str]:
    """What a notebook keeps of a game where no kernel runs: words, picture, table.

    Parameters
    ----------
    turn
        Measured; None: there is nothing to show yet.
    name
        Id of the element, by which a live game hides it.
    """
    rows, (you, policy) = table(session.played), session.total()
    total = f"Reward of {len(rows)} sample{'s' * (len(rows) != 1)}: you {you:.2f}, the policy {policy:.2f}."
    told: dict[str, Any] = {"name": name, "live": LIVE, "rows": rows, "titles": TITLES, "total": total, "picture": None}
    words, png = [LIVE, total] if rows else [LIVE], {}
    if turn is not None and turn.map is not None:
        told["did"] = "The policy looked there by itself."
        if not turn.taken:
            told["did"] = "The policy took no look by itself; the one shown is where it looks when it is made to."
        told["picture"] = picture = worth(turn, turn.map, turn.record)
        words.append(picture.alt)
        png = {"image/png": str(picture._repr_mimebundle_()["image/png"])}
    return {"text/html": render("play.html", **told), "text/plain": "\n".join(words), **png}


def worth(turn: Turn, found: ValueMap, t: Trajectory) -> Picture:
    """The value map, with the look of the record or of a person's rollout."""
    taken = found.taken if turn.choice is None or t is turn.record else turn.choice.right - turn.without
    return draw_value(t, turn.at, found.heat(), found.best.box, max(0.0, found.best.worth - taken))


# -- what the browser is told ----------------------------------------------------------------------------------------


def board(session: Session, notice: str = "", failed: str = "") -> dict[str, Any]:
    """The state of a game, JSON. What would give the answer away is told once a choice was made.

    Parameters
    ----------
    notice
        What a person did that could not be done, and why.
    failed
        Why the game cannot go on.
    """
    turn = session.turns[-1] if session.turns else None
    phase = "wait" if turn is None else "choose" if turn.choice is None else "seen"
    state: dict[str, Any] = {
        "phase": "failed" if failed else phase,
        "number": len(session.turns),
        "of": session.planned,
        "notice": one_line(failed or notice, 300),
        "left_out": len(session.left_out),
        "halo": list(HALO),
        "hand": _box("you", (0, 0, 0, 0), look_colour(2)),
    }
    if turn is None:
        return state
    state |= {
        "question": clean(turn.own.question, 400),
        "size": list(turn.size),
        "overview": list(turn.own.overview),
        "total": [f"{reward:.2f}" for reward in session.total()],
    }
    if turn.choice is not None:
        state |= _seen(turn, turn.choice)
    if session.over:
        state |= {"titles": TITLES, "rows": table(session.played)}
    return state


def _seen(turn: Turn, you: Choice) -> dict[str, Any]:
    """What came of a choice."""
    look, found, t = you.look, turn.map, you.trajectory
    boxes = [_box("you", you.box, look_colour(2)), _box("policy", turn.box, look_colour(1), not turn.taken)]
    boxes += [_box("best", found.best.box if found else None, BEST, True), _box("truth", true_region(turn.own), TRUTH)]
    start = 0 if look is None or look.crop_span is None else look.crop_span[1]
    wrote = "".join(piece for piece, sampled in [*zip(t.pieces, t.sampled_mask, strict=True)][start:] if sampled)
    others = [("Best window", turn.best), ("Without a look", turn.without)]
    state: dict[str, Any] = {
        "boxes": [one for one in boxes if one is not None],
        "columns": COLUMNS,
        "numbers": [["You", *_cells(you)], ["Policy", *_cells(turn.policys)]]
        + [[name, "", "", f"{nats:.2f}", ""] for name, nats in others if nats is not None],
        "said": [outcome_words(turn, you), rewards_words("You", you), rewards_words("Policy", turn.policys)],
        "wrote": clean(wrote.strip(), WROTE),
        "measured": found is not None,
    }
    if look is not None and look.crop is not None:
        state["crop"] = {"zoom": f"{look.enlargement or 1:.2g}", "size": [look.crop.width, look.crop.height]}
    return state


def _box(name: str, box: Sequence[float] | None, colour: str, dashed: bool = False) -> dict[str, Any] | None:
    if box is None:
        return None
    at = [round(v, 2) for v in box]
    return {"name": name, "box": at, "colour": colour, "ink": ink_on(colour), "dashed": dashed}


def _cells(one: Choice) -> list[str]:
    """What somebody did, in the order of `COLUMNS`; the answer is cleaned."""
    did = "no look" if one.box is None else "look" if one.overlap is None else f"look, IoU {one.overlap:.2f}"
    answer = one.trajectory.answer
    told = "none" if answer is None else f"{one_line(answer, 40)} {'right' if right(one.trajectory) else 'wrong'}"
    return [did, told, f"{one.right:.2f}", f"{one.reward:.2f}"]


def table(turns: Sequence[Turn]) -> list[list[str]]:
    """The table of turns that were played, as text; the answers in it are cleaned."""
    needed: dict[Any, str] = {True: "yes", False: "no"}
    found = []
    for turn in turns:
        assert turn.choice is not None
        row = [one_line(turn.own.question, 90), needed.get(turn.own.truth.get("needs_look"), "?")]
        row += [*_cells(turn.choice), *_cells(turn.policys), "" if turn.best is None else f"{turn.best:.2f}"]
        found.append(row)
    return found


def pictures(turn: Turn) -> dict[str, str]:
    """The pictures as data URIs: overview, as the policy sees it, and photograph; once a choice was made, its crop and
    the value map.
    """
    photo, you = turn.own.images[turn.own.image.hash], turn.choice
    found = {"overview": embed(resize(photo, turn.own.overview), 300_000).uri, "photo": embed(photo, 500_000).uri}
    if you is not None and you.look is not None and you.look.crop is not None:
        found["crop"] = embed(you.trajectory.images[you.look.crop.hash], 200_000).uri
    if you is not None and turn.map is not None:
        found["map"] = worth(turn, turn.map, turn.record if you.box is None else you.trajectory).uri
    return found


# -- the widget ------------------------------------------------------------------------------------------------------


def script(name: str) -> str:
    """The script of a widget that draws on a picture, after what such scripts share."""
    return "\n".join((HERE / one).read_text(encoding="utf-8") for one in ("pencil.js", name))


class Game(anywidget.AnyWidget):
    """The widget; `state`, `pictures` and `progress` are what the browser draws. Nothing runs before one has."""

    _esm = script("play.js")
    _css = notebook_style((HERE / "play.css").read_text(encoding="utf-8"))
    state = traitlets.Dict().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)  # share of the value map that is measured
    still = traitlets.Unicode().tag(sync=True)  # id of the picture that stands where no kernel runs

    def __init__(self, session: Session, still: str = "", ended: Callable[[], None] = lambda: None) -> None:
        """A widget on a session.

        Parameters
        ----------
        still
            Id of an element that a live widget hides.
        ended
            Called whenever a turn has come to its end: played and measured.
        """
        self._session, self._ended, self._serial = session, ended, 0
        self._task: asyncio.Task[None] | None = None
        super().__init__(still=still)
        self._tell()
        self.on_msg(lambda _widget, content, _buffers: self.hear(content))

    def _tell(self, notice: str = "", failed: str = "") -> None:
        """Send how things stand; a refusal is new even if it says the same again."""
        self._serial += 1
        turns = self._session.turns
        with self.hold_sync():  # one message
            self.pictures = pictures(turns[-1]) if turns else {}
            self.state = {**board(self._session, notice, failed), "serial": self._serial}

    def hear(self, message: object) -> None:
        """Do what a message asks for; what makes no sense, or comes too late, is told or does nothing.

        Parameters
        ----------
        message
            ``{"do": "hello" | "look" | "none" | "next", "turn": number, "box": [x1, y1, x2, y2]}``, untrusted.
        """
        if not isinstance(message, dict):
            return
        wish, turns = message.get("do"), self._session.turns
        if wish == "hello" and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._play())
        if not turns or message.get("turn") != len(turns):
            return  # of a turn that is over
        if wish == "next" and turns[-1].choice is not None and not self._session.over and self._task is not None:
            self._task.cancel()
            self._task = asyncio.get_running_loop().create_task(self._play())
        if wish in ("look", "none"):
            try:
                _ = turns[-1].look(message.get("box")) if wish == "look" else turns[-1].no_look()
            except R3labError as error:
                self._tell(str(error))
                return
            self._tell()
            if turns[-1].map is not None:
                self._ended()

    async def _play(self) -> None:
        """The next sample, then its value map in slices; what goes wrong is told, and raised if it is a bug of ours."""
        try:
            self.progress = 0.0
            await asyncio.sleep(PAUSE)
            turn = self._session.open()
            if turn is None:
                return
            self._tell()
            for share in turn.measure():
                self.progress = share
                await asyncio.sleep(PAUSE)
            if turn.choice is not None:
                self._tell()
                self._ended()
        except R3labError as error:
            self._tell(failed=str(error))
        except Exception as error:
            self._tell(failed=f"The game stopped: {type(error).__name__}. The kernel's log says where.")
            raise
