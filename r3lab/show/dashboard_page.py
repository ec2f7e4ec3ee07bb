"""The dashboard as a page that opens from disk: charts to point at, runs and panels to switch, fit for a phone.

The still picture stands there first, and for who runs no scripts; then Plotly, which the page holds once, draws each
chart as it comes into view. Runs and panels are checkboxes, so that a keyboard reaches them. Simplified: Plotly is
4.8 MB of every page, whatever it shows.

    Path("dashboard.html").write_text(dashboard_page(board, picture), encoding="utf-8")
"""

from __future__ import annotations

import base64
import json
import math
import re
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from ..train import ratio_bins
from .alt import Picture
from .dashboard_board import Board, line_style, told
from .dashboard_traces import BOLD, axes, hovermode, traces
from .markup import attribute, line, words
from .page import page

MOST_ROWS = 36  # groups in the table of numbers
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


def dashboard_page(board: Board, still: Picture, title: str = "Training") -> str:
    """A page that needs no other file and no network.

    Parameters
    ----------
    still
        The same board as a picture with words.
    title
        Over the page; foreign text.
    """
    body = f"<h1>{words(title, 400)}</h1>{dashboard_markup(board, still)}{_placeholders()}"
    return page(title, body, STYLE, _script(), _plotly())


def dashboard_markup(board: Board, still: Picture) -> str:
    """What the page shows; foreign text is escaped."""
    charts = [{"traces": traces(board, panel), **axes(board, panel)} for panel in board.panels]
    data = json.dumps({"hovermode": hovermode(board), "charts": charts}, allow_nan=False, separators=(",", ":"))
    sections, number = "", 0
    for section, panels in groupby(board.panels, key=lambda panel: panel.section):
        figures = ""
        for panel in panels:
            figures += (
                f'<figure><figcaption>{line(panel.title, 80)}</figcaption><div class="r3-plot" data-chart="{number}" '
                f'role="img" aria-label="{attribute(_said(board, number), 400)}"></div></figure>'
            )
            number += 1
        sections += f'<section><h2>{section}</h2><div class="r3-charts">{figures}</div></section>'
    image = base64.b64encode(still.png).decode("ascii")
    return (
        f'<p class="r3-note">{words(board.explained(), 600)}</p><div class="r3-board">{_runs(board)}{_panels(board)}'
        f'<div class="r3-live">{sections}</div>'
        f'<figure class="r3-still-here"><img class="r3-still" alt="{attribute(still.alt, 8000)}" '
        f'src="data:image/png;base64,{image}" width="{still.width}"></figure>'
        f'<script type="application/json">{_json(data)}</script></div>'
        f"{_numbers(board)}"
        f"<details><summary>In words</summary><p>{words(still.alt, 8000)}</p></details>"
        f'<h2>Logs</h2><ul class="r3-logs">{"".join(f"<li>{line(note, 600)}</li>" for note in board.notes())}</ul>'
    )


def _json(text: str) -> str:
    """JSON that no parser of HTML takes for the end of its element, or for a comment."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _runs(board: Board) -> str:
    """The legend: a checkbox a group."""
    labels = ""
    for number, name in enumerate(board.groups):
        colour, dashes = line_style(number)
        dash = f' stroke-dasharray="{" ".join(f"{BOLD * part:.3g}" for part in dashes)}"' if dashes else ""
        labels += (
            f'<label><input type="checkbox" data-group="{number}" checked><svg viewBox="0 0 34 10" aria-hidden="true">'
            f'<line x1="0" x2="34" y1="5" y2="5" stroke="{colour}" stroke-width="{BOLD}"{dash}/></svg>'
            f"<span>{line(board.legend(name), 80)}</span></label>"
        )
    buttons = ""
    if len(board.groups) > 2:
        buttons = '<button type="button" data-all="on">All</button><button type="button" data-all="off">None</button>'
    return f'<fieldset class="r3-runs r3-live"><legend>Runs</legend>{labels}{buttons}</fieldset>'


def _panels(board: Board) -> str:
    labels = "".join(
        f'<label><input type="checkbox" data-panel="{number}" checked><span>{line(panel.title, 80)}</span></label>'
        for number, panel in enumerate(board.panels)
    )
    return (
        '<details class="r3-choose r3-live"><summary>Choose panels</summary>'
        f"<fieldset><legend>Panels</legend>{labels}</fieldset></details>"
    )


def _said(board: Board, number: int) -> str:
    """A panel in words."""
    panel = board.panels[number]
    if panel.bins:
        return f"{panel.title}: share of the tokens in bins of the log ratio."
    parts = []
    for name in list(board.groups)[:4]:
        a, b = board.course(name, panel.key).ends
        if math.isfinite(b):
            who = f"{board.legend(name)} " if len(board.groups) > 1 else ""
            parts.append(f"{who}from {told(panel, a)} to {told(panel, b)}")
    return f"{panel.title}: {'; '.join(parts) or 'no value'}."


def _numbers(board: Board) -> str:
    """The last smoothed value of each measure and group as a table."""
    head = "".join(f'<th scope="col" class="number">{line(board.legend(n), 60)}</th>' for n in board.groups)
    rows = ""
    for panel in board.panels:
        cells = ""
        for name in list(board.groups)[:MOST_ROWS]:
            if panel.bins:
                shares = board.profile(name)
                value = math.nan if shares is None else float(shares[ratio_bins.BINS // 2])
            else:
                value = board.course(name, panel.key).ends[1]
            cells += f'<td class="number">{told(panel, value) if math.isfinite(value) else "–"}</td>'
        kind = " (bin around 0)" if panel.bins else ""
        rows += f'<tr><th scope="row">{line(panel.title, 80)}{kind}</th>{cells}</tr>'
    return (
        f'<details><summary>Numbers at the end</summary><div class="r3-scroll"><table><thead><tr><th scope="col">'
        f"Smoothed, at the end</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


@lru_cache(maxsize=1)
def _script() -> str:
    return (Path(__file__).parent / "dashboard.js").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Plotly's own code, as its Python package brings it."""
    from plotly.offline import get_plotlyjs

    code = str(get_plotlyjs())
    if "</script" in code.lower():
        raise RuntimeError("this version of Plotly cannot stand inside a page")
    return code


@lru_cache(maxsize=1)
def _placeholders() -> str:
    """Empty elements in place of the style sheets (of maps) that Plotly adds to a page which has none of their ids."""
    return "".join(
        f'<p id="{name}" hidden></p>' for name in re.findall(r'getElementById\("([0-9a-f]{64})"\)', _plotly())
    )
