"""The training dashboard: what a run of R-GRPO, or many, did over its steps. From logs; it needs no model.

Reward and its parts, looks, answers, ratios, clipping, lengths, time: a chart a measure, as `curves` draws them. It is
a picture in a notebook and in a paper; saved as .html it is a page that opens from disk, with charts to point at, runs
and panels to switch. While a run goes on, `LiveDashboard` draws the picture again and again in its place. Simplified:
Plotly, which draws the page, is 4.8 MB of every page, whatever it shows.

    dashboard("runs/rgrpo")                                                  # last line of a cell
    dashboard({"paper": ["runs/a", "runs/b"], "grounded": ["runs/c"]}, smooth=10).save("dashboard.html")
    train_rgrpo(policy, batches, settings, log=LiveDashboard(then=JsonlLog("runs/rgrpo/log.jsonl")))
    LiveDashboard().follow("runs/rgrpo", seconds=600)                        # `r3lab train rgrpo` runs in a terminal
"""

from __future__ import annotations

import html
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.stats import LOG_RATIO_BINS, LOG_RATIO_EDGES, log_ratio_label
from ..train.log import log_file
from .curves import Charts, Curve, Panel, charts_of, draw, limits, line_style, panel_words, told
from .logs import AUTO, Log, log_of
from .palette import DPI
from .picture import FORMATS, Picture, page
from .text import attribute, html_line, html_words

# -- the lines of a panel as Plotly reads them -----------------------------------------------------------------------

BOLD, THIN = 2.2, 1.1  # pixels
UNIFIED = 8  # groups up to which all values at a step stand in one label
SPOKEN = 6  # groups of which more than the smoothed value is told

Trace = dict[str, Any]


def plain(text: object) -> str:
    """Text that Plotly shows as it stands: no markup, no TeX, no template."""
    escaped = html.escape(str(text), quote=False)
    return escaped.replace("$", "&#36;").replace("%", "&#37;").replace("{", "&#123;")


def traces(charts: Charts, panel: Panel) -> list[Trace]:
    """All lines of a panel, those that lie above others later; `meta` is the number of its group, which switches it."""
    thin: list[Trace] = []
    bold: list[Trace] = []
    for number, name in enumerate(charts.groups):
        colour, dashes = line_style(number)
        dash = "solid" if dashes is None else ",".join(f"{max(1.0, BOLD * part):.3g}px" for part in dashes)
        line: Trace = {"name": plain(charts.legend(name)), "line": {"color": colour, "width": BOLD, "dash": dash}}
        line |= {"mode": "lines+markers", "type": "scatter", "meta": number}
        if panel.bins:
            shares = charts.profile(name)
            if shares is not None:
                bold.append({**line, **_profile(line["name"], shares)})
            continue
        one = charts.curve(name, panel.key)
        if not len(one.steps):
            continue
        faint = 0.4 if len(charts.groups[name]) == 1 else 0.28
        silent = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "meta": number}
        silent["line"] = {"color": colour, "width": THIN}
        if np.isfinite(one.low).any():
            thin.append({**silent, **_band(one, colour)})
        if charts.faint:
            thin.append({**silent, **_line(one.steps, one.raw), "opacity": faint})
        thin += [{**silent, **_line(steps, values), "opacity": 0.7} for steps, values in one.tails]
        if np.isfinite(one.mean).sum() > 12:
            line["mode"] = "lines"
        bold.append({**line, **_line(one.steps, one.mean), **_spoken(charts, panel, name, one)})
    return [*thin, *bold]


def _line(steps: np.ndarray, values: np.ndarray) -> Trace:
    """Places of a line; where its steps are regular, their first and their distance alone."""
    between = np.diff(steps)
    if len(between) and (between == between[0]).all():
        return {"y": _numbers(values), "x0": _number(steps[0]), "dx": _number(between[0])}
    return {"y": _numbers(values), "x": _numbers(steps)}


def _band(one: Curve, colour: str) -> Trace:
    """The band as outlines of its stretches."""
    xs: list[float | int | None] = []
    ys: list[float | int | None] = []
    fine = np.isfinite(one.low)
    for part in np.split(np.arange(len(fine)), np.flatnonzero(np.diff(fine)) + 1):
        if fine[part[0]]:
            xs += [*_numbers(one.steps[part]), *_numbers(one.steps[part][::-1]), None]
            ys += [*_numbers(one.low[part]), *_numbers(one.high[part][::-1]), None]
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    fill = f"rgba({red},{green},{blue},0.22)"
    return {"x": xs[:-1], "y": ys[:-1], "fill": "toself", "fillcolor": fill, "line": {"width": 0}}


def _spoken(charts: Charts, panel: Panel, name: str, one: Curve) -> Trace:
    """What stands under the pointer: the name, the smoothed value, and the value as logged or the band."""
    how = ".1%" if panel.kind == "share" else ".3~p" if panel.share else ".4~g"
    said = f"{plain(charts.legend(name))}: <b>%{{y:{how}}}</b>"
    if len(charts.groups) > UNIFIED:
        said = f"step %{{x}}<br>{said}"
    more: Trace = {}
    if len(charts.groups) <= SPOKEN and np.isfinite(one.low).any():
        more["customdata"] = [[_number(a), _number(b)] for a, b in zip(one.low, one.high, strict=True)]
        said += f" (%{{customdata[0]:{how}}} to %{{customdata[1]:{how}}}, {one.runs} runs)"
    elif len(charts.groups) <= SPOKEN and charts.smooth > 1:
        more["customdata"] = _numbers(one.raw)
        said += f" (as logged %{{customdata:{how}}})"
    return {**more, "hovertemplate": f"{said}<extra></extra>"}


def _profile(name: str, shares: np.ndarray) -> Trace:
    """Shares of the bins of the log ratio; an empty bin has no point."""
    said = f"{name}: <b>%{{y:.3~p}}</b> of the tokens, log ratio %{{text}}<extra></extra>"
    return {
        "x": list(range(LOG_RATIO_BINS)),
        "y": [_number(v) if v > 0 else None for v in shares],
        "text": [log_ratio_label(i) for i in range(LOG_RATIO_BINS)],
        "hovertemplate": said,
    }


def axes(charts: Charts, panel: Panel) -> dict[str, dict[str, Any]]:
    """Both axes of a panel, without colours."""
    if panel.bins:
        edges = [f"&lt; {LOG_RATIO_EDGES[0]:g}", "0", f"&gt; {LOG_RATIO_EDGES[-1]:g}"]
        places = [0, LOG_RATIO_BINS // 2, LOG_RATIO_BINS - 1]
        across: dict[str, Any] = {"tickvals": places, "ticktext": edges, "range": [-0.5, LOG_RATIO_BINS - 0.5]}
        return {"xaxis": across, "yaxis": {"type": "log", "tickformat": "~p", "nticks": 5}}
    low, high = limits(charts, panel)
    upright: dict[str, Any] = {"range": [_number(low), _number(high)], "nticks": 5, "exponentformat": "e"}
    if panel.share:
        upright["tickformat"] = "~p"
    if panel.whole:
        upright |= {"tickvals": [0, 0.5, 1]}
    return {"xaxis": {"title": {"text": "step", "standoff": 4}, "nticks": 5}, "yaxis": upright}


def _number(value: float) -> float | int | None:
    """Four figures, whole where that is the same; None for a gap."""
    if not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1e12:
        return int(value)
    return float(f"{value:.4g}")


def _numbers(values: np.ndarray) -> list[float | int | None]:
    return [_number(float(v)) for v in values]


# -- the page --------------------------------------------------------------------------------------------------------

STYLE = """
.r3-board .r3-live { display: none; }
.r3-board.r3-on .r3-live { display: block; }
.r3-board.r3-on fieldset.r3-live { display: flex; }
.r3-board.r3-on > .r3-still-here { display: none; }
.r3-board fieldset { border: 0; padding: 0; margin: 0 0 10px; display: flex; flex-wrap: wrap; gap: 2px 18px;
  align-items: center; }
.r3-board legend { float: left; padding: 0; margin-right: 4px; color: var(--muted); }
.r3-board label { display: inline-flex; gap: 6px; align-items: center; min-height: 32px; max-width: 100%; }
.r3-board label svg { width: 34px; height: 10px; flex: none; }
.r3-board button { background: var(--panel); color: var(--ink); border: 1px solid var(--muted); border-radius: 4px;
  padding: 3px 12px; min-height: 32px; cursor: pointer; }
.r3-board details { margin: 0 0 12px; }
.r3-board section { margin-top: 16px; }
.r3-charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(270px, 100%), 1fr)); gap: 12px 18px; }
.r3 .r3-charts figcaption { color: var(--ink); font-weight: 600; font-size: .9em; overflow-wrap: anywhere; }
.r3-plot { height: 190px; }
.r3-logs { padding-left: 1.2em; overflow-wrap: anywhere; }
@media print { .r3-board fieldset, .r3-choose { display: none !important; } }
"""


def markup(charts: Charts, still: Picture) -> str:
    """What the page shows; foreign text is escaped.

    The still picture stands there first, and for who runs no scripts; then each chart is drawn as it comes into view.
    Runs and panels are checkboxes, so that a keyboard reaches them.
    """
    drawn = [{"traces": traces(charts, panel), **axes(charts, panel)} for panel in charts.panels]
    hover = (
        "x unified" if len(charts.groups) <= UNIFIED else "closest"
    )  # one label for all lines, as long as they are few
    data = json.dumps({"hovermode": hover, "charts": drawn}, allow_nan=False, separators=(",", ":"))
    # No parser of HTML takes this for the end of its element, or for a comment.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    sections, choice = "", ""
    for section, numbered in groupby(enumerate(charts.panels), key=lambda one: one[1].section):
        figures = ""
        for number, panel in numbered:
            title = html_line(panel.title, 80)
            choice += f'<label><input type="checkbox" data-panel="{number}" checked><span>{title}</span></label>'
            figures += (
                f'<figure><figcaption>{title}</figcaption><div class="r3-plot" data-chart="{number}" role="img" '
                f'aria-label="{attribute(panel_words(charts, panel), 400)}"></div></figure>'
            )
        sections += f'<section><h2>{section}</h2><div class="r3-charts">{figures}</div></section>'
    return (
        f'<p class="r3-note">{html_words(charts.explained(), 600)}</p>'
        f'<div class="r3-board">{_runs(charts)}'
        '<details class="r3-choose r3-live"><summary>Choose panels</summary>'
        f"<fieldset><legend>Panels</legend>{choice}</fieldset></details>"
        f'<div class="r3-live">{sections}</div>'
        f'<figure class="r3-still-here"><img class="r3-still" alt="{attribute(still.alt, 8000)}" '
        f'src="{still.uri}" width="{still.width}"></figure>'
        f'<script type="application/json">{data}</script></div>'
        f"{_numbers_at_end(charts)}"
        f"<details><summary>In words</summary><p>{html_words(still.alt, 8000)}</p></details><h2>Logs</h2>"
        f'<ul class="r3-logs">{"".join(f"<li>{html_line(note, 600)}</li>" for note in charts.notes())}</ul>'
    )


def _runs(charts: Charts) -> str:
    """The legend: a checkbox a group."""
    labels = ""
    for number, name in enumerate(charts.groups):
        colour, dashes = line_style(number)
        dash = f' stroke-dasharray="{" ".join(f"{BOLD * part:.3g}" for part in dashes)}"' if dashes else ""
        labels += (
            f'<label><input type="checkbox" data-group="{number}" checked><svg viewBox="0 0 34 10" aria-hidden="true">'
            f'<line x1="0" x2="34" y1="5" y2="5" stroke="{colour}" stroke-width="{BOLD}"{dash}/></svg>'
            f"<span>{html_line(charts.legend(name), 80)}</span></label>"
        )
    buttons = ""
    if len(charts.groups) > 2:
        buttons = '<button type="button" data-all="on">All</button><button type="button" data-all="off">None</button>'
    return f'<fieldset class="r3-runs r3-live"><legend>Runs</legend>{labels}{buttons}</fieldset>'


def _numbers_at_end(charts: Charts) -> str:
    """The last smoothed value of each measure and group as a table."""
    head = "".join(f'<th scope="col" class="number">{html_line(charts.legend(n), 60)}</th>' for n in charts.groups)
    rows = ""
    for panel in charts.panels:
        values = [charts.end(name, panel) for name in charts.groups]
        cells = [f'<td class="number">{told(panel, v) if math.isfinite(v) else "–"}</td>' for v in values]
        kind = " (bin around 0)" if panel.bins else ""
        rows += f'<tr><th scope="row">{html_line(panel.title, 80)}{kind}</th>{"".join(cells)}</tr>'
    return (
        f'<details><summary>Numbers at the end</summary><div class="r3-scroll"><table><thead><tr><th scope="col">'
        f"Smoothed, at the end</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


@lru_cache(maxsize=1)
def _plotly() -> tuple[str, str]:
    """Plotly's own code, as its Python package brings it; and empty elements for a page that holds it.

    They stand in place of the style sheets (of maps) that Plotly adds to a page which has none of their ids.
    """
    from plotly.offline import get_plotlyjs

    code = str(get_plotlyjs())
    if "</script" in code.lower():
        raise RuntimeError("this version of Plotly cannot stand inside a page")
    ids = re.findall(r'getElementById\("([0-9a-f]{64})"\)', code)
    return code, "".join(f'<p id="{name}" hidden></p>' for name in ids)


class Dashboard(Picture):
    """Charts as a picture that can be written as a page too; `dashboard` makes one.

    Parameters
    ----------
    charts : what is drawn
    title : over the page; foreign text
    dark : of the picture; the page follows its reader
    dpi : of the picture
    """

    def __init__(self, charts: Charts, title: str = "Training", dark: bool = False, dpi: int = DPI) -> None:
        still = draw(charts, dark, dpi)
        super().__init__(still, still.alt, dpi)
        self.charts, self.title, self.dark = charts, title, dark

    def to_page(self) -> str:
        """A whole page that needs no other file and no network."""
        still = draw(self.charts, dpi=self.dpi) if self.dark else self
        library, placeholders = _plotly()
        script = (Path(__file__).parent / "dashboard.js").read_text(encoding="utf-8")
        body = f"<h1>{html_words(self.title, 400)}</h1>{markup(self.charts, still)}{placeholders}"
        return page(self.title, body, STYLE, script, library)

    def save(self, path: str | Path, dpi: int | None = None) -> Path:
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
    by: str = AUTO,
    title: str = "Training",
    dark: bool = False,
) -> Dashboard:
    """Draw one run, or lay many over each other.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``. A log is a file, the folder of a run, or the
        rows of a log.
    keys
        Measures to draw, in order; by default all that the logs have.
    smooth
        Steps of the running mean, which looks back only; by default a twelfth of all, 1 for none.
    band
        Over the runs of a group: "range", from lowest to highest, or "interval", Student's 95 % interval of the mean.
    by
        How runs without a label are grouped: "auto" (by the settings that differ, else by their names without a number
        at the end), "run" (not at all), or a setting's name.
    title
        Over the page.
    dark
        For a dark page.

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
    return Dashboard(charts_of(runs, keys, smooth, band, by), title, dark)


# -- while a run goes on ---------------------------------------------------------------------------------------------

EVERY, SHARE = 2.0, 0.1  # seconds between two drawings at least; of the time, for drawing
LIVE_DPI = 100  # a picture that is replaced again and again: two thirds of the usual


class LiveDashboard:
    """A dashboard of a run in progress: as its `log`, or from the log file that another process writes.

    One picture is replaced in place, so that a notebook executed without a screen holds exactly one, the last. It is
    drawn when there is something new, at most every two seconds, and never for more than a tenth of the time, whatever
    it costs to draw. What was not drawn when a cell ends is drawn then. Outside of Jupyter it only keeps the rows.
    Simplified: a drawing takes its time from the training that calls it.

    Parameters
    ----------
    keys, smooth, dark
        As of `dashboard`.
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
                self._followed = log_of(path)
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
        log = self._followed or log_of(self.rows)
        return Dashboard(charts_of(log, self.keys, self.smooth), dark=self.dark, dpi=LIVE_DPI)

    def flush(self) -> None:
        """Draw what was not drawn yet; the end of the cell does it as well."""
        if self._new:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import Pretty, display, update_display

        begin, self._new = time.monotonic(), False
        shown_now: Any
        try:
            shown_now = self.dashboard()
        except R3labError as error:  # a picture is no reason to end a training
            shown_now = Pretty(str(error))
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
        found = log_file(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _kernel() -> Any:
    """The shell of a Jupyter kernel; None outside one (a terminal's IPython cannot replace a picture)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()  # type: ignore[no-untyped-call]
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None
