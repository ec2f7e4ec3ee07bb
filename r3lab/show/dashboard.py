"""The training dashboard: what a run of R-GRPO, or many, did over its steps. From logs; it needs no model.

Reward and its parts, looks, answers, ratios, clipping, lengths, time: a chart a measure, as `curves` draws them. It is
a picture in a notebook and in a paper; saved as .html it is a page that opens from disk, with charts to point at, runs
and panels to switch: the same lines as data, which `dashboard.js` hands to Plotly. While a run goes on, `LiveDashboard`
draws the picture again and again in its place. Simplified: Plotly is 4.8 MB of every page, whatever it shows.

    dashboard("runs/rgrpo")                                                  # last line of a cell
    dashboard({"paper": ["runs/a", "runs/b"], "grounded": ["runs/c"]}, smooth=10).save("dashboard.html")
    train_rgrpo(policy, batches, settings, log=LiveDashboard(then=JsonlLog("runs/rgrpo/log.jsonl")))
"""

from __future__ import annotations

import html
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from .canvas import line_style
from .curves import Charts, charts_of, draw, limits, panel_words, told
from .logs import Curve
from .palette import DPI
from .picture import FORMATS, HERE, Picture, page, render

# -- the page --------------------------------------------------------------------------------------------------------


def plain(text: object) -> str:
    """Text that Plotly shows as it stands: no markup, no TeX, no template."""
    escaped = html.escape(str(text), quote=False)
    return escaped.replace("$", "&#36;").replace("%", "&#37;").replace("{", "&#123;")


def page_data(charts: Charts) -> dict[str, Any]:
    """All that the page's script draws: the groups, and for each panel a line a group, null where it has none."""
    groups = []
    for number, name in enumerate(charts.groups):
        colour, dashes = line_style(number)
        label = charts.legend(name)
        groups.append({"label": label, "name": plain(label), "colour": colour, "dashes": dashes})
    panels = []
    for panel in charts.panels:
        row = {"title": panel.title, "section": panel.section, "kind": panel.kind, "share": panel.share}
        row["words"] = panel_words(charts, panel)
        row["range"] = _numbers(np.array(limits(charts, panel)))
        found = [charts.curves[name, panel.key] for name in charts.groups]
        row |= {"lines": list(map(_line, found)), "ends": [told(panel, one.ends[1]) for one in found]}
        panels.append(row)
    return {"smooth": charts.smooth, "faint": charts.faint, "groups": groups, "panels": panels}


def _line(one: Curve) -> dict[str, Any] | None:
    """A curve as the script reads it, its names those of `logs.Curve`."""
    if not len(one.steps):
        return None
    lines = {key: _numbers(getattr(one, key)) for key in ("steps", "raw", "mean", "low", "high")}
    return {**lines, "tails": [[_numbers(steps), _numbers(values)] for steps, values in one.tails], "runs": one.runs}


def _numbers(values: np.ndarray) -> list[float | int | None]:
    """Six figures, whole where that is the same; None for a gap."""
    found = (float(v) if math.isfinite(v) else None for v in values)
    return [v if v is None else int(v) if v == int(v) else float(f"{v:.6g}") for v in found]


@lru_cache(maxsize=1)
def _plotly() -> tuple[str, list[str]]:
    """Plotly's own code, as its Python package brings it; and ids of the style sheets that it adds to a page."""
    from plotly.offline import get_plotlyjs

    code = str(get_plotlyjs())
    if "</script" in code.lower():
        raise RuntimeError("this version of Plotly cannot stand inside a page")
    return code, re.findall(r'getElementById\("([0-9a-f]{64})"\)', code)


class Dashboard(Picture):
    """Charts as a picture that can be written as a page too; `dashboard` makes one.

    Parameters
    ----------
    charts : what is drawn
    title : over the page; foreign text
    """

    def __init__(self, charts: Charts, title: str = "Training") -> None:
        still = draw(charts)
        super().__init__(still, still.alt)
        self.charts, self.title = charts, title

    def to_page(self) -> str:
        """A whole page that needs no other file and no network."""
        library, placeholders = _plotly()
        rules, script = ((HERE / f"dashboard.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        data = json.dumps(page_data(self.charts), allow_nan=False, separators=(",", ":"))
        body = render(
            "dashboard.html",
            title=self.title,
            explained=self.charts.explained(),
            still=self,
            data=data.replace("<", "\\u003c"),  # no parser of HTML takes this for the end of its element, or a comment
            notes=self.charts.notes(),
            placeholders=placeholders,
        )
        return page(self.title, body, rules, script, library)

    def save(self, path: str | Path, dpi: int = DPI) -> Path:
        """Write the page (.html) or the picture (.png, .svg, .pdf); the file appears whole or not at all.

        Raises
        ------
        R3labError
            If the ending is another one, or the file cannot be written.
        """
        kind = Path(path).suffix.lower().removeprefix(".")
        if kind == "html":
            return write_whole(path, self.to_page().encode("utf-8"))
        if kind not in FORMATS:
            wanted = ", .".join(["html", *FORMATS])
            raise R3labError(f"Cannot save a dashboard as {shown(str(path))}: end its name in .{wanted}.")
        return super().save(path, dpi)


def dashboard(
    runs: Any,
    keys: Sequence[str] | None = None,
    smooth: int | None = None,
    band: str = "range",
    title: str = "Training",
) -> Dashboard:
    """Draw one run, or lay many over each other.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``. A log is a file, the folder of a run, or the
        rows of a log. Runs without a label are grouped by the settings that differ, else by their names without a
        number at the end.
    keys
        Measures to draw, in order; by default all that the logs have.
    smooth
        Steps of the running mean, which looks back only; by default a twelfth of all, 1 for none.
    band
        Over the runs of a group: "range", from lowest to highest, or "interval", Student's 95 % interval of the mean.
    title
        Over the page.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, a measure is in no log, or an argument is not one of the above.

    Examples
    --------
    >>> log = [{"step": i, "reward": i / 9} for i in range(1, 10)]
    >>> r3lab.dashboard(log).save(folder / "dashboard.html").name
    'dashboard.html'
    """
    return Dashboard(charts_of(runs, keys, smooth, band), title)


# -- while a run goes on ---------------------------------------------------------------------------------------------

EVERY, SHARE = 2.0, 0.1  # seconds between two drawings at least; of the time, for drawing


class LiveDashboard:
    """A dashboard of a run in progress, as its `log`.

    One picture is replaced in place, so that a notebook executed without a screen holds exactly one, the last. It is
    drawn when there is something new, at most every two seconds, and never for more than a tenth of the time, whatever
    it costs to draw. What was not drawn when a cell ends is drawn then. Outside of Jupyter it only keeps the rows.
    Simplified: a drawing takes its time from the training that calls it.

    Parameters
    ----------
    keys, smooth
        As of `dashboard`.
    then
        Called with each row too: the log that is written.

    Attributes
    ----------
    rows : all rows so far
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        smooth: int | None = None,
        then: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.keys, self.smooth, self.then = keys, smooth, then
        self.rows: list[dict[str, Any]] = []
        self._new = False  # something is not drawn yet
        self._next = 0.0  # when it may be drawn
        self._shown: Any = None  # what the notebook holds, once it holds it
        self._waiting: Any = None  # the events of a shell that will call at the end of its cell

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the next row of a log; draw if it is time."""
        self.rows.append(dict(row))
        if self.then is not None:
            self.then(self.rows[-1])
        shell, self._new = _kernel(), True
        if shell is not None and self._waiting is None:
            self._waiting = shell.events
            self._waiting.register("post_run_cell", self._at_end_of_cell)
        if shell is not None and time.monotonic() >= self._next:
            self._draw()

    def dashboard(self) -> Dashboard:
        """The dashboard of what there is now.

        Raises
        ------
        R3labError
            If there is nothing to draw yet.
        """
        return Dashboard(charts_of(self.rows, self.keys, self.smooth))

    def _draw(self) -> None:
        from IPython.display import Pretty, display

        begin, self._new = time.monotonic(), False
        now: Any
        try:
            now = self.dashboard()
        except R3labError as error:  # a picture is no reason to end a training
            now = Pretty(str(error))
        if self._shown is None:
            self._shown = display(now, display_id=True)
        else:
            self._shown.update(now)
        end = time.monotonic()
        self._next = end + max(EVERY, (end - begin) / SHARE)

    def _at_end_of_cell(self, *_: object) -> None:
        self._waiting.unregister("post_run_cell", self._at_end_of_cell)
        self._waiting = None
        if self._new:
            self._draw()


def _kernel() -> Any:
    """The shell of a Jupyter kernel; None outside one (a terminal's IPython cannot replace a picture)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()  # type: ignore[no-untyped-call]
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None
