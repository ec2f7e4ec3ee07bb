"""The dashboard as one Plotly figure: for a notebook with a kernel, and for who composes figures.

Pointing at a line reads out step and values, the legend switches runs in every chart, dragging zooms. Simplified: four
charts in a row, whatever the width; the page (`dashboard_page`) fits a phone.

    plotly_figure(board).show()
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from .dashboard_board import Board, line_style
from .dashboard_picture import dashboard_alt
from .dashboard_traces import BOLD, axes, hovermode, traces
from .lettering import one_line
from .palette import theme
from .player_traces import plain

COLUMNS, HIGH = 4, 190  # charts in a row; CSS pixels of a row
ACROSS, ABOVE, BELOW = 0.045, 0.2, 0.2  # between charts: share of the width; shares of a row


def figure_data(board: Board, dark: bool = False) -> dict[str, Any]:
    """The figure as plain data, as `application/vnd.plotly.v1+json` wants it."""
    chosen = theme(dark)
    columns = min(COLUMNS, max(1, len(board.panels)))
    rows = -(-len(board.panels) // columns)
    layout: dict[str, Any] = {
        "height": rows * HIGH + 90,
        "margin": {"l": 46, "r": 14, "t": 50, "b": 30},
        "paper_bgcolor": chosen.paper,
        "plot_bgcolor": chosen.paper,
        "font": {"color": chosen.ink, "family": "system-ui, 'DejaVu Sans', Arial, sans-serif", "size": 11},
        "hovermode": hovermode(board),
        "hoverlabel": {"bgcolor": chosen.panel, "font": {"color": chosen.ink, "size": 11}},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "yref": "container"},
        "showlegend": True,
        "annotations": [],
        "meta": {"alt": dashboard_alt(board)},
    }
    data: list[dict[str, Any]] = _legend(board)
    for i, panel in enumerate(board.panels):
        row, column = divmod(i, columns)
        n = "" if i == 0 else str(i + 1)
        wide, high = (1 + ACROSS) / columns, 1 / rows
        left, bottom = column * wide, 1 - (row + 1 - BELOW) * high
        top = 1 - (row + ABOVE) * high
        held = axes(board, panel)
        grid = {"gridcolor": chosen.faint, "zeroline": False, "tickfont": {"color": chosen.muted, "size": 10}}
        held["xaxis"].pop("title", None)
        layout[f"xaxis{n}"] = {**held["xaxis"], **grid, "showgrid": False, "anchor": f"y{n}", "matches": None,
                               "domain": [left, left + wide - ACROSS]}  # fmt: skip
        layout[f"yaxis{n}"] = {**held["yaxis"], **grid, "anchor": f"x{n}", "domain": [bottom, top]}
        layout["annotations"].append(
            {"text": f"<b>{plain(one_line(panel.title, 60))}</b>", "x": left, "y": top, "xref": "paper",
             "yref": "paper", "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        )  # fmt: skip
        data += [
            {**trace, "xaxis": f"x{n}", "yaxis": f"y{n}", "legendgroup": str(trace["meta"])}
            for trace in traces(board, panel)
        ]
    return {"data": data, "layout": layout}


def _legend(board: Board) -> list[dict[str, Any]]:
    """Lines that stand in the legend and nowhere else."""
    found = []
    for number, name in enumerate(board.groups):
        colour, dashes = line_style(number)
        dash = "solid" if dashes is None else ",".join(f"{BOLD * part:.3g}px" for part in dashes)
        found.append(
            {
                "type": "scatter", "mode": "lines", "x": [None], "y": [None], "name": plain(board.legend(name)),
                "legendgroup": str(number), "showlegend": True, "hoverinfo": "skip",
                "line": {"color": colour, "width": BOLD, "dash": dash},
            }
        )  # fmt: skip
    return found


def plotly_figure(board: Board, dark: bool = False) -> go.Figure:
    """The figure; nothing of Plotly's global state has changed, the alt text is ``figure.layout.meta["alt"]``."""
    data = figure_data(board, dark)
    return go.Figure(data=data["data"], layout={"template": "none", **data["layout"]})
