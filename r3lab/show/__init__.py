"""Everything a person looks at: filmstrips, players, groups, rivers, ribbons, curves, reports, each with its alt text.

A view reads saved records (trajectories, samples, the rows of a training log) and returns a `Picture` or a `View`; it
needs no model, changes no global state of matplotlib or Plotly, and treats every text that it draws as hostile. What is
told of a trajectory is decided once (`steps`); so is what is drawn with (`palette`, `text`, `canvas`), and what holds
it, a picture with its words or a page (`picture`).

    from r3lab.show.filmstrip import filmstrip
    from r3lab.show.player import play
    filmstrip(trajectory)                    # the last line of a notebook cell
    play(trajectory)                         # the same, to step through
"""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    "draw_truth": "canvas",
    "draw_card": "card",
    "LiveDashboard": "dashboard",
    **dict.fromkeys(("draw_effects", "draw_grounding", "draw_when", "effects_table"), "effects"),
    **dict.fromkeys(("draw_value", "persistence", "show_explanation", "spotlight"), "explanation"),
    "before_after": "filmstrip",
    **dict.fromkeys(("records_dir", "sheet"), "gallery"),
    **dict.fromkeys(("KINDS", "OKABE_ITO", "RUNS"), "palette"),
    **dict.fromkeys(("bars", "cells", "lines", "panels"), "plots"),
    "river": "rollouts",
}

__getattr__, __dir__ = lazy(__name__, HOMES)
