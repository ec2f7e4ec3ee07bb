"""Be the policy: draw the box of a look yourself, see the crop, and let the policy answer from it.

    from r3lab.show.play import be_the_policy
    be_the_policy(policy, samples)          # last line of a cell

Live in JupyterLab it is a game of ten samples, scored by the reward and by the value map; an executed notebook, and a
page made from one, keep a picture of the sample, the policy's look and the value map instead. `session.Session` is the
game without a screen. Simplified: whether somebody is there is read from the request that runs the cell, which says
whether it may be asked for input (a headless run says no).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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
from .explanation import BEST, draw_value
from .page import embed, notebook_style
from .palette import DIVERGING, HALO, TRUTH, ink_on, look_colour
from .picture import Picture
from .play_turn import Choice, Score, Session, Turn, outcome_words, overlap_words, rewards_words, sure
from .text import clean, html_line, one_line

# The game where no kernel runs: a sample, where the policy looked, its value map, the table, and what one does live.
#
# still(turn)                          # a Picture, with alt text
# still_html(turn, session)            # the picture with words around it, for a notebook's output

LIVE = (
    "Be the policy, live: run this cell in JupyterLab. You see what the policy sees, draw the box of a look or say "
    "that no look is needed, and the policy goes on from your crop. Your look is scored against the policy's own and "
    "the best place on the value map, over several samples."
)


def heat_image(found: ValueMap) -> Image.Image:
    """A value map in colours, a pixel a cell, from its least to its greatest worth."""
    values = np.asarray(found.heat(), dtype=np.float64)
    spread = max(float(values.max() - values.min()), 1e-6)
    colours = LinearSegmentedColormap.from_list("worth", DIVERGING)((values - values.min()) / spread)
    return Image.fromarray((255 * colours[..., :3]).round().astype(np.uint8))


def still(turn: Turn, dark: bool = False) -> Picture:
    """The sample with the policy's look, and its value map.

    Raises
    ------
    R3labError
        If the map has not been measured.
    """
    if turn.map is None:
        raise R3labError("The value map of this sample has not been measured; measure it first.")
    t, look, found = turn.point.trajectory, turn.point.look, turn.map
    spot = (t, look, found.heat(), found.best.box, found.regret)
    drawn = draw_value(*spot, dark=dark)
    return Picture(drawn, f"{drawn.alt} {policys_words(turn)}")


def policys_words(turn: Turn) -> str:
    """What the policy did by itself, in a sentence."""
    if turn.point.taken:
        return "The policy looked there by itself."
    if turn.point.wrote:
        return "The policy took no look by itself; the one shown is where it looks when it is made to."
    return "The policy took no look by itself, and writes no box when it is made to; the one shown is in the middle."


def bundle(turn: Turn | None, titles: list[list[str]], rows: list[list[str]], total: str, name: str) -> dict[str, str]:
    """What a notebook keeps of a game: words, picture, table.

    Parameters
    ----------
    turn
        Measured; None: there is nothing to show yet.
    titles, rows
        The table, as text; foreign text in it is escaped here.
    total
        Under the table, our own words.
    name
        Id of the element, by which a live game hides it.
    """
    shown = None if turn is None else still(turn)
    inside = f"<p>{LIVE}</p>"
    if shown is not None and turn is not None:
        inside += f"{shown.to_html()}<p>{policys_words(turn)}</p>"
    text = [LIVE, shown.alt if shown else ""]
    if rows:
        head = "".join(f"<th>{html_line(' '.join(title).strip())}</th>" for title in titles)
        body = "".join(f"<tr>{''.join(f'<td>{html_line(cell)}</td>' for cell in row)}</tr>" for row in rows)
        inside += (
            f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
        inside += f"<p>{html_line(total)}</p>"
        text.append(total)
    found = {"text/html": f'<div id="{name}">{inside}</div>', "text/plain": "\n".join(filter(None, text))}
    if shown is not None:
        found["image/png"] = str(shown._repr_mimebundle_()["image/png"])
    return found


# What the browser is told of a game: plain data, every text cleaned and bounded, every picture a data URI.
#
# The script that draws it (`play.js`) puts text into text nodes only, so a question that looks like markup is shown
# as it
# stands. What would give the answer away (true region, the policy's look, the map) is sent once a choice was made.
# Simplified: all of it is sent anew at each step, but for the pictures.
#
#     board(session)                 # {"phase": "choose", "question": "Which digit ...", ...}
#     photos(session.current)        # {"overview": "data:image/png;base64,...", "photo": ...}

YOU, POLICY = look_colour(2), look_colour(1)  # of boxes
TITLES = (
    ("", "Question"),
    ("", "Needed"),
    ("You", "look"),
    ("You", "answer"),
    ("You", "nats"),
    ("You", "reward"),
    ("Policy", "look"),
    ("Policy", "answer"),
    ("Policy", "nats"),
    ("Policy", "reward"),
    ("", "Best window"),
)
TEXT = 600  # characters of what the policy wrote


def board(session: Session, notice: str = "", failed: str = "") -> dict[str, Any]:
    """The state of a game, JSON.

    Parameters
    ----------
    notice
        What a person did that could not be done, and why.
    failed
        Why the game cannot go on.
    """
    state: dict[str, Any] = {
        "phase": _phase(session, failed),
        "number": len(session.turns),
        "of": session.planned,
        "notice": one_line(failed or notice, 300),
        "left_out": len(session.left_out),
        "colours": {"you": YOU, "policy": POLICY, "best": BEST, "truth": TRUTH, "halo": list(HALO)},
        "scale": list(DIVERGING),
    }
    if not session.turns:
        return state
    turn = session.current
    you, policy = session.total()
    state |= {
        "question": clean(turn.own.question, 400),
        "size": list(turn.size),
        "overview": list(turn.own.overview),
        "total": [f"{you:.2f}", f"{policy:.2f}"],
    }
    if turn.choice is not None:
        state |= _seen(turn, turn.choice)
    if session.over:
        state |= {"titles": [list(title) for title in TITLES], "rows": table(session.scores())}
    return state


def _phase(session: Session, failed: str) -> str:
    if failed:
        return "failed"
    if not session.turns:
        return "wait"
    return "choose" if session.current.choice is None else "seen"


def _seen(turn: Turn, you: Choice) -> dict[str, Any]:
    """What came of a choice."""
    policy, point, best = turn.policys, turn.point, None if turn.map is None else turn.map.best
    boxes = [_box("you", you.box, YOU), _box("policy", policy.box or point.box, POLICY, not point.taken)]
    boxes += [_box("best", best.box if best else None, BEST), _box("truth", turn.truth, TRUTH)]
    rows = [
        ["You", _did(you), overlap_words(you), _answered(you), f"{you.right:.2f}", sure(you.right)],
        ["Policy", _did(policy), overlap_words(policy), _answered(policy), f"{policy.right:.2f}", sure(policy.right)],
    ]
    if best is not None:
        value = best.worth + point.without
        rows.append(["Best window", "look", "", "", f"{value:.2f}", sure(value)])
    rows.append(["Without a look", "", "", "", f"{point.without:.2f}", sure(point.without)])
    look = you.look
    return {
        "boxes": [one for one in boxes if one is not None],
        "numbers": rows,
        "said": [outcome_words(turn, you), rewards_words("You", you), rewards_words("Policy", policy)],
        "wrote": clean(_wrote(turn, you), TEXT),
        "crop": None
        if look is None or look.crop is None
        else {"zoom": f"{look.zoom or 1:.3g}", "size": [look.crop.width, look.crop.height]},
        "measured": turn.map is not None,
        "range": None if turn.map is None else _range(turn),
        "better": you.correct,
    }


def _box(name: str, box: Box | None, colour: str, dashed: bool = False) -> dict[str, Any] | None:
    if box is None:
        return None
    at = [round(v, 2) for v in box]
    return {"name": name, "box": at, "colour": colour, "ink": ink_on(colour), "dashed": dashed or name == "best"}


def _did(choice: Choice) -> str:
    return "look" if choice.box else "no look"


def _answered(choice: Choice) -> str:
    answer = choice.trajectory.answer
    if answer is None:
        return "none"
    return f"{one_line(answer, 40)} {'right' if choice.correct else 'wrong'}"


def _wrote(turn: Turn, choice: Choice) -> str:
    """What the policy wrote after the look; all of it where there was none."""
    t, at = choice.trajectory, 0
    if choice.box is not None and choice.look is not None and choice.look.crop_span is not None:
        at = choice.look.crop_span[1]
    mask = t.sampled_mask
    return "".join(piece for i, piece in enumerate(t.pieces) if i >= at and mask[i]).strip()


def _range(turn: Turn) -> list[str]:
    assert turn.map is not None
    heat = turn.map.heat()
    return [f"{float(heat.min()):+.2g} nats", f"{float(heat.max()):+.2g} nats"]


def table(lines: list[Score]) -> list[list[str]]:
    """The table of a game, as text; the answers in it are cleaned."""
    needed: dict[Any, str] = {True: "yes", False: "no"}
    found = []
    for line in lines:
        row = [one_line(line.turn.own.question, 90), needed.get(line.turn.own.truth.get("needs_look"), "?")]
        for one in (line.you, line.policy):
            overlap = "" if one.overlap is None else f" {one.overlap:.2f}"
            row += [f"{_did(one)}{overlap}", _answered(one), f"{one.right:.2f}", f"{one.reward:.2f}"]
        found.append([*row, "" if line.best is None else f"{line.best:.2f}"])
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


# The game in a notebook: a thin widget that sends the state of a `Session` to `play.js` and hears what a person does.
#
# Long work (the policy's answer to the next sample, its value map) runs in slices on the kernel's own event loop, so
# that
# a box that comes meanwhile is answered between two of them; nothing runs before a browser has drawn the widget.
# Simplified: where no loop runs, work is done at once.
#
#     widget = Game(session)
#     widget.hear({"do": "look", "turn": 1, "box": [40, 60, 90, 110]})

HERE = Path(__file__).parent
PAUSE = 0.005  # seconds between two slices: what a browser sent is read then


class Game(anywidget.AnyWidget):
    """The widget; `state`, `pictures` and `progress` are what the browser draws."""

    _esm = (HERE / "play.js").read_text(encoding="utf-8")
    _css = notebook_style((HERE / "play.css").read_text(encoding="utf-8"))
    state = traitlets.Dict().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)  # share of the value map that is measured
    still = traitlets.Unicode().tag(sync=True)  # id of the picture that stands where no kernel runs

    def __init__(self, session: Session, still: str = "", changed: Callable[[], None] | None = None) -> None:
        """A widget on a session.

        Parameters
        ----------
        still
            Id of an element that a live widget hides.
        changed
            Called whenever a turn has come to its end: played and measured.
        """
        self._session, self._changed, self._began = session, changed, False
        self._task: asyncio.Task[None] | None = None
        self._serial = 0
        self._photos: dict[str, str] = {}  # of the sample on the table
        self._of: Turn | None = None
        super().__init__(still=still)
        self._tell()
        self.on_msg(lambda _widget, content, _buffers: self.hear(content))

    def _tell(self, notice: str = "", failed: str = "") -> None:
        """Send how things stand; a refusal is new even if it says the same again."""
        self._serial += 1
        state = {**board(self._session, notice, failed), "serial": self._serial}
        turn = self._session.current if self._session.turns else None
        if turn is not None and turn is not self._of:
            self._of, self._photos = turn, photos(turn)
        with self.hold_sync():  # one message
            self.pictures = {**self._photos, **findings(turn)} if turn is not None else {}
            self.state = state

    def hear(self, message: object) -> None:
        """Do what a message asks for; what makes no sense, or comes too late, is told or does nothing.

        Parameters
        ----------
        message
            ``{"do": "hello" | "look" | "none" | "next", "turn": number, "box": [x1, y1, x2, y2]}``, untrusted.
        """
        if not isinstance(message, dict):
            return
        wish, session = message.get("do"), self._session
        if wish == "hello":
            if not self._began:
                self._began = True
                self._work(self._open())
            return
        if wish not in ("look", "none", "next") or message.get("turn") != len(session.turns) or not session.turns:
            return  # of a turn that is over, or nothing of ours
        try:
            if wish == "next":
                if session.current.choice is not None and not session.over:
                    self._work(self._open())
                return
            if wish == "look":
                session.look(message.get("box"))
            else:
                session.no_look()
        except R3labError as error:
            self._tell(str(error))
            return
        self._tell()
        if session.current.map is not None:
            self._ended()

    def _ended(self) -> None:
        if self._changed is not None:
            self._changed()

    def _open(self) -> Iterator[None]:
        """Work: the next sample, then its value map."""
        session = self._session
        self.progress = 0.0
        yield
        session.open()
        self._tell()
        turn = session.current
        for share in turn.measure():
            self.progress = share
            yield
        if turn.choice is not None:
            self._tell()
            self._ended()

    def _work(self, steps: Iterator[None]) -> None:
        """Take steps on the kernel's loop, in place of what was under way."""
        if self._task is not None:
            self._task.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in self._guarded(steps):
                pass
            return
        self._task = loop.create_task(self._paced(steps))

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
        pass  # so that a headless run opens no channel to a browser

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
