"""The game in a notebook: a thin widget that sends the state of a `Session` to `play.js` and hears what a person does.

Long work (the policy's answer to the next sample, its value map) runs in slices on the kernel's own event loop, so that
a box that comes meanwhile is answered between two of them; nothing runs before a browser has drawn the widget.
Simplified: where no loop runs, work is done at once.

    widget = Game(session)
    widget.hear({"do": "look", "turn": 1, "box": [40, 60, 90, 110]})
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import anywidget
import traitlets

from ...errors import R3labError
from ..page import notebook_style
from .board import board, findings, photos
from .session import Session
from .turn import Turn

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
