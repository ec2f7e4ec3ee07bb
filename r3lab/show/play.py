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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython import get_ipython
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image
from tqdm import tqdm

from ..core.errors import R3labError
from ..core.geometry import Box
from ..core.images import resize
from ..explain.interventions import ValueMap
from ..models.policy import Policy
from ..rollout.sequence import Question
from ..train.rewards import true_region
from .explanation import BEST, draw_value
from .palette import DIVERGING, HALO, TRUTH, ink_on, look_colour
from .picture import HERE, Picture, embed, notebook_style
from .play_turn import Choice, Session, Turn, outcome_words, rewards_words, sure
from .text import clean, html_line, one_line

LIVE = (
    "Be the policy, live: run this cell in JupyterLab. You see what the policy sees, draw the box of a look or say "
    "that no look is needed, and the policy goes on from your crop. Your look is scored against the policy's own and "
    "the best place on the value map, over several samples."
)
YOU, POLICY = look_colour(2), look_colour(1)  # of boxes
TITLES = ["Question", "Needed"]
TITLES += [f"{who} {what}" for who in ("You", "Policy") for what in ("look", "answer", "nats", "reward")]
TITLES += ["Best window"]
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
            with tqdm(total=100, desc="value map", leave=False, mininterval=1) as bar:
                for share in turn.measure():
                    bar.update(round(100 * share) - bar.n)
        return kept(self.session, turn, f"r3-play-{uuid.uuid4().hex}")

    def _ipython_display_(self) -> None:
        if not (somebody_is_there() if self._live is None else self._live):
            display(self.still(), raw=True)
            return
        name = f"r3-play-{uuid.uuid4().hex}"
        shown = display(kept(self.session, None, name), raw=True, display_id=name)
        self.widget = Game(
            self.session, name, lambda: shown.update(kept(self.session, self.session.current, name), raw=True)
        )
        display(self.widget)


def somebody_is_there() -> bool:
    """Whether the cell in progress was run by a person's browser, which can be asked for input."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


# -- where no kernel runs --------------------------------------------------------------------------------------------


def kept(session: Session, turn: Turn | None, name: str) -> dict[str, str]:
    """What a notebook keeps of a game: words, picture, table.

    Parameters
    ----------
    turn
        Measured; None: there is nothing to show yet.
    name
        Id of the element, by which a live game hides it.
    """
    inside, text, found = f"<p>{LIVE}</p>", LIVE, {}
    if turn is not None:
        shown = still(turn)
        inside += f"{shown.to_html()}<p>{_policys_words(turn)}</p>"
        text += f"\n{shown.alt}"
        found["image/png"] = str(shown._repr_mimebundle_()["image/png"])
    if rows := table(session.played):
        you, policy = session.total()
        total = f"Reward of {len(rows)} sample{'s' * (len(rows) != 1)}: you {you:.2f}, the policy {policy:.2f}."
        head = "".join(f"<th>{title}</th>" for title in TITLES)
        body = "".join(f"<tr>{''.join(f'<td>{html_line(cell)}</td>' for cell in row)}</tr>" for row in rows)
        lines = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        inside += f'<div style="overflow-x:auto">{lines}</div><p>{total}</p>'
        text += f"\n{total}"
    return {"text/html": f'<div id="{name}">{inside}</div>', "text/plain": text, **found}


def still(turn: Turn, dark: bool = False) -> Picture:
    """The sample with the policy's look, and its value map.

    Raises
    ------
    R3labError
        If the map has not been measured.
    """
    if turn.map is None:
        raise R3labError("The value map of this sample has not been measured; measure it first.")
    found = turn.map
    drawn = draw_value(turn.point.trajectory, turn.point.look, found.heat(), found.best.box, found.regret, dark=dark)
    return Picture(drawn, f"{drawn.alt} {_policys_words(turn)}")


def _policys_words(turn: Turn) -> str:
    """What the policy did by itself, in a sentence."""
    if turn.point.taken:
        return "The policy looked there by itself."
    if turn.point.wrote:
        return "The policy took no look by itself; the one shown is where it looks when it is made to."
    return "The policy took no look by itself, and writes no box when it is made to; the one shown is in the middle."


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
    turn = session.current if session.turns else None
    phase = "wait" if turn is None else "choose" if turn.choice is None else "seen"
    state: dict[str, Any] = {
        "phase": "failed" if failed else phase,
        "number": len(session.turns),
        "of": session.planned,
        "notice": one_line(failed or notice, 300),
        "left_out": len(session.left_out),
        "colours": {"you": YOU, "policy": POLICY, "best": BEST, "truth": TRUTH, "halo": list(HALO)},
        "scale": list(DIVERGING),
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
    policy, point, look, found = turn.policys, turn.point, you.look, turn.map
    boxes = [_box("you", you.box, YOU), _box("policy", policy.box or point.box, POLICY, not point.taken)]
    boxes += [_box("best", found.best.box if found else None, BEST, True), _box("truth", true_region(turn.own), TRUTH)]
    rows = [
        [who, _did(one), "" if one.overlap is None else f"{one.overlap:.2f}", _answered(one), *_worth(one.right)]
        for who, one in (("You", you), ("Policy", policy))
    ]
    if turn.best is not None:
        rows.append(["Best window", "look", "", "", *_worth(turn.best)])
    rows.append(["Without a look", "", "", "", *_worth(point.without)])
    t, start = you.trajectory, 0 if look is None or look.crop_span is None else look.crop_span[1]
    wrote = "".join(piece for piece, sampled in [*zip(t.pieces, t.sampled_mask, strict=True)][start:] if sampled)
    heat = found.heat() if found is not None else None
    state: dict[str, Any] = {
        "boxes": [one for one in boxes if one is not None],
        "numbers": rows,
        "said": [outcome_words(turn, you), rewards_words("You", you), rewards_words("Policy", policy)],
        "wrote": clean(wrote.strip(), WROTE),
        "measured": found is not None,
        "range": None if heat is None else [f"{float(end):+.2g} nats" for end in (heat.min(), heat.max())],
    }
    if look is not None and look.crop is not None:
        state["crop"] = {"zoom": f"{look.zoom or 1:.3g}", "size": [look.crop.width, look.crop.height]}
    return state


def _box(name: str, box: Box | None, colour: str, dashed: bool = False) -> dict[str, Any] | None:
    if box is None:
        return None
    at = [round(v, 2) for v in box]
    return {"name": name, "box": at, "colour": colour, "ink": ink_on(colour), "dashed": dashed}


def _did(choice: Choice) -> str:
    return "look" if choice.box else "no look"


def _answered(choice: Choice) -> str:
    answer = choice.trajectory.answer
    return "none" if answer is None else f"{one_line(answer, 40)} {'right' if choice.correct else 'wrong'}"


def _worth(nats: float) -> list[str]:
    return [f"{nats:.2f}", sure(nats)]


def table(turns: Sequence[Turn]) -> list[list[str]]:
    """The table of turns that were played, as text; the answers in it are cleaned."""
    needed: dict[Any, str] = {True: "yes", False: "no"}
    found = []
    for turn in turns:
        row = [one_line(turn.own.question, 90), needed.get(turn.own.truth.get("needs_look"), "?")]
        for one in (turn.choice, turn.policys):
            if one is not None:
                overlap = "" if one.overlap is None else f" {one.overlap:.2f}"
                row += [f"{_did(one)}{overlap}", _answered(one), f"{one.right:.2f}", f"{one.reward:.2f}"]
        found.append([*row, "" if turn.best is None else f"{turn.best:.2f}"])
    return found


def photos(turn: Turn) -> dict[str, str]:
    """The pictures that a person sees before a choice: the overview, as the policy sees it, and the photograph."""
    photo = turn.own.images[turn.own.image.hash]
    return {"overview": embed(resize(photo, turn.own.overview), 300_000).uri, "photo": embed(photo, 500_000).uri}


def findings(turn: Turn) -> dict[str, str]:
    """The pictures that a choice brought: its crop, and the value map once it is measured."""
    if turn.choice is None:
        return {}
    found, look = {}, turn.choice.look
    if look is not None and look.crop is not None:
        found["crop"] = embed(turn.choice.trajectory.images[look.crop.hash], 200_000).uri
    if turn.map is not None:
        found["map"] = embed(heat_image(turn.map), 200_000).uri
    return found


def heat_image(found: ValueMap) -> Image.Image:
    """A value map in colours, a pixel a cell, from its least to its greatest worth."""
    values = np.asarray(found.heat(), dtype=np.float64)
    spread = max(float(values.max() - values.min()), 1e-6)
    colours = LinearSegmentedColormap.from_list("worth", DIVERGING)((values - values.min()) / spread)
    return Image.fromarray((255 * colours[..., :3]).round().astype(np.uint8))


# -- the widget ------------------------------------------------------------------------------------------------------


class Game(anywidget.AnyWidget):
    """The widget; `state`, `pictures` and `progress` are what the browser draws. Nothing runs before one has."""

    _esm = (HERE / "play.js").read_text(encoding="utf-8")
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
        self._session, self._ended, self._began = session, ended, False
        self._task: asyncio.Task[None] | None = None
        self._serial = 0
        self._photos: dict[str, str] = {}  # of the sample on the table
        super().__init__(still=still)
        self._tell()
        self.on_msg(lambda _widget, content, _buffers: self.hear(content))

    def _tell(self, notice: str = "", failed: str = "") -> None:
        """Send how things stand; a refusal is new even if it says the same again."""
        self._serial += 1
        turns = self._session.turns
        with self.hold_sync():  # one message
            self.pictures = {**self._photos, **findings(turns[-1])} if turns else {}
            self.state = {**board(self._session, notice, failed), "serial": self._serial}

    def hear(self, message: object) -> None:
        """Do what a message asks for; what makes no sense, or comes too late, is told or does nothing.

        Parameters
        ----------
        message
            ``{"do": "hello" | "look" | "none" | "next", "turn": number, "box": [x1, y1, x2, y2]}``, untrusted.
        """
        session = self._session
        wish = message.get("do") if isinstance(message, dict) else None
        if not isinstance(message, dict) or wish not in ("hello", "look", "none", "next"):
            return
        if wish == "hello":
            if not self._began:
                self._began = True
                self._work(self._open())
            return
        if not session.turns or message.get("turn") != len(session.turns):
            return  # of a turn that is over
        turn = session.current
        if wish == "next":
            if turn.choice is not None and not session.over:
                self._work(self._open())
            return
        try:
            _ = turn.look(message.get("box")) if wish == "look" else turn.no_look()
        except R3labError as error:
            self._tell(str(error))
            return
        self._tell()
        if turn.map is not None:
            self._ended()

    def _open(self) -> Iterator[None]:
        """Work: the next sample, then its value map."""
        self.progress = 0.0
        yield
        turn = self._session.open()
        if turn is None:
            return
        self._photos = photos(turn)
        self._tell()
        for share in turn.measure():
            self.progress = share
            yield
        if turn.choice is not None:
            self._tell()
            self._ended()

    def _work(self, steps: Iterator[None]) -> None:
        """Take steps on the kernel's loop, in place of what was under way; where no loop runs, at once."""
        if self._task is not None:
            self._task.cancel()
        try:
            self._task = asyncio.get_running_loop().create_task(self._paced(steps))
        except RuntimeError:
            for _ in self._guarded(steps):
                pass

    async def _paced(self, steps: Iterator[None]) -> None:
        for _ in self._guarded(steps):
            await asyncio.sleep(PAUSE)

    def _guarded(self, steps: Iterator[None]) -> Iterator[None]:
        """The same steps; what goes wrong is told to the person, and raised if it is a bug of ours."""
        try:
            yield from steps
        except R3labError as error:
            self._tell(failed=str(error))
        except Exception as error:
            self._tell(failed=f"The game stopped: {type(error).__name__}. The kernel's log says where.")
            raise
