"""The dashboard of a run that is going on: as its `log`, or from the log file that another process writes.

One figure is replaced in place, so that a notebook executed without a screen holds exactly one, the last. It is
redrawn when there is something new, at most every two seconds, and never for more than a tenth of the time, whatever it
costs to draw. What was not drawn when a cell ends is drawn then. Outside of Jupyter it only keeps the rows. Simplified:
a drawing takes its time from the training that calls it.

    train_rgrpo(policy, batches, settings, log=LiveDashboard(then=JsonlLog("runs/rgrpo/log.jsonl")))
    LiveDashboard().follow("runs/rgrpo", seconds=600)               # `r3lab train rgrpo` runs in a terminal
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import R3labError, shown
from .curves import _kernel
from .dashboard import Dashboard
from .dashboard_board import board_of
from .dashboard_logs import LOG, Log, made, read_log_file

EVERY, SHARE = 2.0, 0.1  # seconds between two drawings at least; of the time, for drawing
LIVE_DPI = 100  # a picture that is replaced again and again: two thirds of the usual


class Waiting:
    """What stands in the cell while there is nothing to draw."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __repr__(self) -> str:
        return self.why


class LiveDashboard:
    """A dashboard in place; see the module's docstring.

    Parameters
    ----------
    keys, smooth, dark
        As of `dashboard.dashboard`.
    then
        Called with each row too: the log that is written.
    every
        Seconds between two drawings, at least.

    Attributes
    ----------
    rows : all rows so far
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        smooth: int | None = None,
        then: Callable[[dict[str, Any]], None] | None = None,
        every: float = EVERY,
        dark: bool = False,
    ) -> None:
        if every < 0:
            raise R3labError(f"every must not be negative, got {shown(every)}; give seconds between two drawings.")
        self.keys, self.smooth, self.then, self.every, self.dark = keys, smooth, then, every, dark
        self.rows: list[dict[str, Any]] = []
        self._followed: Log | None = None
        self._new = False  # something is not drawn yet
        self._next = 0.0  # when it may be drawn
        self._id = ""
        self._waiting: Any = None  # the events of a shell that will call `flush`

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the next row of a log; draw if it is time."""
        self.rows.append(dict(row))
        if self.then is not None:
            self.then(self.rows[-1])
        self._new = True
        shell = _kernel()
        if shell is None:
            return
        if self._waiting is None:
            self._waiting = shell.events
            self._waiting.register("post_run_cell", self._at_end_of_cell)
        if time.monotonic() >= self._next:
            self._draw()

    def follow(self, path: str | Path, seconds: float | None = None, every: float | None = None) -> LiveDashboard:
        """Read a log that another process writes, until its run is done.

        Parameters
        ----------
        path
            A log or the folder of a run, which may not be there yet.
        seconds
            To follow it at most; by default until it has as many steps as its settings say. A log without settings
            has no end that could be known: give seconds, or interrupt the kernel.
        every
            Seconds between two looks at the file; by default those between two drawings.

        Raises
        ------
        R3labError
            If it is no log, or not there when the seconds are over.
        """
        begin, seen, shell = time.monotonic(), None, _kernel()
        pause = max(0.05, self.every if every is None else every)
        while True:
            now = _stamp(Path(path))
            if now is not None and now != seen:
                seen, self._new = now, True
                self._followed = read_log_file(path)
            if shell is not None and self._new and time.monotonic() >= self._next:
                self._draw()
            left = None if seconds is None else seconds - (time.monotonic() - begin)
            if self._done() or (left is not None and left <= 0):
                break
            time.sleep(pause if left is None else max(0.0, min(pause, left)))
        if self._followed is None:
            raise R3labError(
                f"There is no log at {shown(str(path))} after {seconds:g} s; name a log or a run's folder."
            )
        if shell is not None:
            self.flush()
        return self

    def _done(self) -> bool:
        """Whether the run that is followed has all of its steps."""
        steps = self._followed.settings.get("steps") if self._followed else None
        return isinstance(steps, int) and self._followed is not None and self._followed.last >= steps

    def dashboard(self) -> Dashboard:
        """The dashboard of what there is now.

        Raises
        ------
        R3labError
            If there is nothing to draw yet.
        """
        log = self._followed or made(self.rows, "run", "this run")
        return Dashboard(board_of(log, self.keys, self.smooth), dark=self.dark, dpi=LIVE_DPI)

    def flush(self) -> None:
        """Draw what was not drawn yet; the end of the cell does it as well."""
        if self._new:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display, update_display

        begin, self._new = time.monotonic(), False
        shown_now: Any
        try:
            shown_now = self.dashboard()
        except R3labError as error:  # a picture is no reason to end a training
            shown_now = Waiting(str(error))
        if self._id:
            update_display(shown_now, display_id=self._id)
        else:
            self._id = f"r3lab-dashboard-{uuid.uuid4().hex}"
            display(shown_now, display_id=self._id)
        end = time.monotonic()
        self._next = end + max(self.every, (end - begin) / SHARE)

    def _at_end_of_cell(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.unregister("post_run_cell", self._at_end_of_cell)
            self._waiting = None
        self.flush()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None while there is none."""
    try:
        found = (path / LOG if path.is_dir() else path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
