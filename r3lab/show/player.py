"""The player: step through a trajectory, its looks, crops and text; as a Plotly figure, and as a view of our own.

`play` is what a notebook or a page shows: it works by keyboard, on a phone, offline, and leaves a picture where no code
runs. `player` is the same story as a `plotly.graph_objects.Figure` with frames and a slider, for who composes figures:
zoom, hover, restyle it. Both begin at the answer, with the whole path in view. Simplified: the Plotly figure has a
fixed size, since its text is wrapped by measure; of more than 16 looks the first 16 are shown.

    play(trajectory)                                    # last line of a cell
    player(trajectory, attention=maps).show()           # a map a moment: the overview, then each look
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ..geometry import Size
from ..trajectory import Trajectory
from .alt import picture
from .embed import BUDGET, pictures_of
from .filmstrip import filmstrip, filmstrip_alt
from .heat import Heat, checked
from .lettering import wrap
from .marks import spots
from .palette import Theme, theme
from .player_traces import PER_INCH, TEXT, WIDTH, image_trace, moment_traces, plain, truth_trace
from .stage import SHOWN_LOOKS, labels, stage
from .story import source_size, told, true_regions
from .view import View

HEIGHT = 470  # CSS pixels
PHOTO, CROP = (0.0, 0.44), (0.47, 0.69)  # columns, shares of the width


def play(t: Trajectory, attention: Sequence[Heat | None] = (), start: int = -1, dark: bool = False) -> View:
    """A trajectory to step through, for a notebook or a page.

    Parameters
    ----------
    t
        With its images; where they are missing it says so.
    attention
        Maps (`explain.maps.heat_map`), in order of the moments (the overview, then each look); None for none.
    start
        Moment at which it opens: 0 is the overview, -1 the answer.
    dark
        For the picture that stands where no code runs; the view itself follows its page.

    Raises
    ------
    R3labError
        If the maps do not fit.
    """
    names = [t.image.hash, t.question, *(look.crop.hash for look in t.looks if look.crop)]
    prefix = "p" + hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:12]
    body = stage(t, prefix, attention, start)
    still = picture(filmstrip(t, dark=dark), f"Player of a rollout. {told(t, SHOWN_LOOKS)}")
    return View(t.question, body, still)


def player(t: Trajectory, attention: Sequence[Heat | None] = (), dark: bool = False, budget: int = BUDGET) -> go.Figure:
    """A trajectory as a Plotly figure with a frame a moment, a slider and buttons.

    Parameters
    ----------
    t
        With its images.
    attention
        As of `play`; a button shows and hides them.
    dark
        For a dark page.
    budget
        Characters of its pictures.

    Returns
    -------
    plotly.graph_objects.Figure
        Nothing of Plotly's global state has changed; the alt text is ``figure.layout.meta["alt"]``.

    Raises
    ------
    R3labError
        If the maps do not fit.
    """
    chosen, names = theme(dark), labels(t)
    maps = checked(attention, len(names))
    held, size = pictures_of(t, budget, SHOWN_LOOKS), source_size(t)
    boxes = [(i, look.box, look.valid) for i, look in enumerate(t.looks[:SHOWN_LOOKS], start=1)]
    found = spots(boxes, size)
    fixed: list[Any] = [image_trace(held.photo, size, "Image"), image_trace(held.overview, size, "Overview")]
    fixed[1].visible = held.photo is None
    fixed += [truth_trace(region, size) for region in true_regions(t)]
    moments = [moment_traces(t, held, maps, found, i, len(names) - 1, chosen) for i in range(len(names))]
    moving = list(range(len(fixed), len(fixed) + len(moments[0])))
    figure = go.Figure(
        data=[*fixed, *moments[-1]],
        frames=[go.Frame(name=name, data=data, traces=moving) for name, data in zip(names, moments, strict=True)],
        layout=_layout(t, names, chosen, size, moving[0] if any(maps) else None),
    )
    figure.data[moving[0]].visible = False
    figure.layout.meta = {"alt": filmstrip_alt(t)}
    return figure


# -- layout ----------------------------------------------------------------------------------------------------------


def _layout(t: Trajectory, names: list[str], chosen: Theme, size: Size, attention: int | None) -> go.Layout:
    hidden = {"visible": False, "fixedrange": True}
    title = wrap(t.question, WIDTH / PER_INCH - 0.6, 12, 2, bold=True)
    layout = go.Layout(
        template="none",
        width=WIDTH,
        height=HEIGHT,
        margin={"l": 14, "r": 10, "t": 30 + 22 * len(title), "b": 112},
        paper_bgcolor=chosen.paper,
        plot_bgcolor=chosen.paper,
        font={"color": chosen.ink, "family": "system-ui, 'DejaVu Sans', Arial, sans-serif", "size": 12},
        title={"text": "<br>".join(f"<b>{plain(one)}</b>" for one in title), "x": 0.014, "xanchor": "left", "y": 0.96,
               "yanchor": "top", "font": {"size": 16, "color": chosen.ink}},
        showlegend=False,
        hovermode="closest",
        xaxis={**hidden, "range": [0, size[0]], "domain": PHOTO, "constrain": "domain"},
        yaxis={**hidden, "range": [size[1], 0], "scaleanchor": "x", "constrain": "domain", "constraintoward": "top"},
        xaxis2={**hidden, "range": [0, 1], "domain": CROP, "constrain": "domain"},
        yaxis2={**hidden, "range": [1, 0], "scaleanchor": "x2", "anchor": "x2", "constrain": "domain",
                "constraintoward": "top"},
        xaxis3={**hidden, "range": [0, 1], "domain": (TEXT, 1.0)},
        yaxis3={**hidden, "range": [0, 1], "anchor": "x3"},
        sliders=[_slider(names, chosen)],
        updatemenus=_buttons(chosen, attention),
        hoverlabel={"font": {"size": 12}},
    )  # fmt: skip
    return layout


_AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}


def _slider(names: list[str], chosen: Theme) -> dict[str, Any]:
    return {
        "active": len(names) - 1,
        "steps": [{"label": name, "method": "animate", "args": [[name], _AT_ONCE]} for name in names],
        "currentvalue": {"visible": False},
        "x": 0.0,
        "len": 1.0,
        "y": -0.02,
        "pad": {"t": 10, "l": 10, "r": 10},
        "bordercolor": chosen.muted,
        "bgcolor": chosen.panel,
        "activebgcolor": chosen.muted,
        "tickcolor": chosen.muted,
        "font": {"color": chosen.ink, "size": 11},
    }


def _buttons(chosen: Theme, attention: int | None) -> list[dict[str, Any]]:
    playing = {"fromcurrent": False, "frame": {"duration": 1400, "redraw": True}, "transition": {"duration": 0}}
    pause = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    style = {
        "type": "buttons",
        "showactive": False,
        "bgcolor": chosen.panel,
        "bordercolor": chosen.muted,
        "font": {"color": chosen.ink, "size": 12},
        "xanchor": "left",
        "y": -0.19,
        "yanchor": "top",
        "direction": "right",
        "pad": {"t": 14},
    }
    rows = [
        {"label": "Play", "method": "animate", "args": [None, playing]},
        {"label": "Pause", "method": "animate", "args": [[None], pause]},
    ]
    toggles = [("Model's resolution", 1)] + ([("Attention", attention)] if attention is not None else [])
    switches = [
        {"label": label, "method": "restyle", "args": [{"visible": True}, [n]], "args2": [{"visible": False}, [n]]}
        for label, n in toggles
    ]
    return [{**style, "x": 0.0, "buttons": rows}, {**style, "x": 0.15, "buttons": switches}]
