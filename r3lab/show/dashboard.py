"""The training dashboard: what a run of R-GRPO, or many, did over its steps. From logs; it needs no model.

Reward and its components, looks, answers, ratios, clipping, lengths, time: a chart a measure, runs over each other,
seeds of a setting as mean and band. In a notebook it is a Plotly figure, with a picture beside it for pages that run no
code; `save` writes a page, or the picture. While a run goes on: `dashboard_live`. Simplified: one horizontal axis, the
step.

    dashboard("runs/rgrpo")                                                  # last line of a cell
    dashboard({"paper": ["runs/a", "runs/b"], "grounded": ["runs/c"]}, smooth=10).save("dashboard.html")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from ..errors import R3labError, shown
from .alt import FORMATS, Picture, picture, save
from .dashboard_board import Board, Runs, board_of
from .dashboard_groups import AUTO
from .dashboard_page import dashboard_page
from .dashboard_picture import dashboard_alt, dashboard_figure
from .dashboard_plotly import figure_data, plotly_figure
from .palette import DPI
from .whole import write_whole

PLOTLY = "application/vnd.plotly.v1+json"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that a notebook shows; `dashboard` makes one.

    Attributes
    ----------
    board : what is drawn
    title : over the page; foreign text
    dark : of the picture and the figure; the page follows its reader
    dpi : of the picture
    """

    board: Board
    title: str = "Training"
    dark: bool = False
    dpi: int = DPI

    @property
    def alt(self) -> str:
        """What it shows, in words."""
        return dashboard_alt(self.board)

    @property
    def figure(self) -> go.Figure:
        """As a Plotly figure, to restyle or compose."""
        return plotly_figure(self.board, self.dark)

    def still(self) -> Figure:
        """As a matplotlib figure."""
        return dashboard_figure(self.board, self.dark)

    @cached_property
    def picture(self) -> Picture:
        """As a picture with words."""
        return picture(self.still(), self.alt, self.dpi)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        light = self if not self.dark else Dashboard(self.board, self.title, dpi=self.dpi)
        return dashboard_page(self.board, light.picture, self.title)

    def save(self, path: str | Path) -> Path:
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
        return save(self.still(), path, self.alt, self.dpi)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        still = {kind: data for kind, data in self.picture._repr_mimebundle_().items() if kind != "image/png"}
        return {**still, PLOTLY: figure_data(self.board, self.dark)}  # beside a PNG, Plotly's renderer shows the PNG


def dashboard(
    runs: Runs,
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
    """
    return Dashboard(board_of(runs, keys, smooth, band, by), title, dark)
