"""The traces of the Plotly player: pictures, regions, their way, attention, crop and text of one moment.

    data = moment_traces(t, held, maps, found, at=1, last=3, chosen=theme())

Every moment has the same traces in the same order, so that a frame replaces them one by one. Simplified: text is
wrapped by measure, for a figure of fixed width.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ..geometry import Box, Size, clip, intersection
from ..trajectory import Trajectory
from .embed import Embedded, Pictures
from .heat import DARKEST, Heat
from .lettering import wrap
from .marks import Spot, centre
from .palette import HALO, TRUTH, VERDICTS, Theme
from .story import region_shown, steps, true_regions, verdict, without_crop

WIDTH, PER_INCH, POINTS = 1000, 96, 9.0  # CSS pixels; of an inch; of text
TEXT, LINES = 0.715, 17  # where the column of text begins, a share of the width; its lines
CLEAR = "rgba(0,0,0,0)"
AGES = (1.0, 1.0, 0.75, 0.55, 0.42)  # opacity of a region by the moments since it was looked at


def image_trace(held: Embedded | None, size: Size, name: str) -> go.Image:
    """A picture over the whole source; empty if it was not kept."""
    dx, dy = (size[0] / held.width, size[1] / held.height) if held else (1.0, 1.0)
    source = held.uri if held else None
    return go.Image(
        source=source, x0=dx / 2, y0=dy / 2, dx=dx, dy=dy, name=name, hoverinfo="skip", visible=held is not None
    )


def truth_trace(region: Box, size: Size) -> go.Scatter:
    x1, y1, x2, y2 = clip(region, size)
    return go.Scatter(
        x=[x1, x2, x2, x1, x1],
        y=[y1, y1, y2, y2, y1],
        mode="lines",
        line={"color": TRUTH, "width": 1.4},
        name="true region",
        hoverinfo="name",
        showlegend=False,
    )


def moment_traces(
    t: Trajectory, held: Pictures, maps: Sequence[Heat | None], found: Sequence[Spot], at: int, last: int, chosen: Theme
) -> list[Any]:
    """The traces of one moment; every moment has the same, in the same order."""
    traces: list[Any] = [_attention(maps[at])]
    way = [centre(spot.box) for spot in found if spot.number <= at]
    traces.append(
        go.Scatter(
            x=[x for x, _ in way],
            y=[y for _, y in way],
            mode="lines",
            line={"color": HALO[0], "width": 1.6, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for spot in found:
        traces += _region(t, spot, at - spot.number)
    traces.append(_crop(held, at if at < last else last - 1, t))
    traces.append(_region_in_crop(t, at if at < last else last - 1))
    traces.append(_text(t, at, last, chosen))
    return traces


def _attention(heat: Heat | None) -> go.Heatmap:
    """The map as a spotlight; no moment says whether it is visible, so that the button's choice outlasts a step."""
    if heat is None:
        return go.Heatmap(z=[[0.0]], colorscale=[[0.0, CLEAR], [1.0, CLEAR]], showscale=False, hoverinfo="skip")
    rows, columns = heat.values.shape
    x1, y1, x2, y2 = heat.box
    dx, dy = (x2 - x1) / columns, (y2 - y1) / rows
    return go.Heatmap(
        z=heat.values.tolist(),
        x0=x1 + dx / 2,
        dx=dx,
        y0=y1 + dy / 2,
        dy=dy,
        zmin=0.0,
        zmax=max(float(heat.values.max()), 1e-30),
        colorscale=[[0.0, f"rgba(0,0,0,{DARKEST})"], [1.0, CLEAR]],
        showscale=False,
        name="attention",
        hovertemplate="attention %{z:.3g}<extra></extra>",
    )


def _region(t: Trajectory, spot: Spot, age: int) -> list[go.Scatter]:
    """A look's outline with its halo; it fades with age, and is not there before its time."""
    opacity = 0.0 if age < 0 else AGES[min(age, len(AGES) - 1)]
    x1, y1, x2, y2 = spot.box
    shape: dict[str, Any] = {
        "x": [x1, x2, x2, x1, x1],
        "y": [y1, y1, y2, y2, y1],
        "opacity": opacity,
        "showlegend": False,
    }
    look = t.looks[spot.number - 1]
    granted = f"zoom {look.zoom:.3g}" if look.zoom is not None else "granted"
    about = granted if look.crop else plain(without_crop(t, look))
    label = f"look {spot.number}<br>[{', '.join(f'{v:.0f}' for v in spot.box)}] px<br>{about}"
    line = {"color": spot.colour, "width": 2.6, "dash": "solid" if spot.valid else "dash"}
    return [
        go.Scatter(**shape, mode="lines", line={"color": HALO[0], "width": 4.6}, hoverinfo="skip"),
        go.Scatter(
            **shape,
            mode="lines+text",
            line=line,
            text=[f"<b>{spot.number}</b>", "", "", "", ""],
            textposition="top right",
            textfont={"color": HALO[0], "size": 15, "shadow": "0 0 3px #000, 0 0 3px #000, 0 0 2px #000"},
            hovertemplate=f"{label}<extra></extra>" if age >= 0 else None,
            hoverinfo=None if age >= 0 else "skip",
        ),
    ]


def _crop(held: Pictures, at: int, t: Trajectory) -> go.Image:
    """What the model got at that moment, its longer side one unit."""
    one = held.overview if at == 0 else held.crops[at - 1]
    size = t.overview if at == 0 else (1, 1)
    crop = t.looks[at - 1].crop if at else None
    if crop is not None:
        size = (crop.width, crop.height)
    if one is None or min(size) < 1:
        return go.Image(source=None, visible=False, xaxis="x2", yaxis="y2", hoverinfo="skip")
    longest = max(size)
    dx, dy = size[0] / longest / one.width, size[1] / longest / one.height
    return go.Image(
        source=one.uri, x0=dx / 2, y0=dy / 2, dx=dx, dy=dy, xaxis="x2", yaxis="y2", visible=True, hoverinfo="skip"
    )


def _region_in_crop(t: Trajectory, at: int) -> go.Scatter:
    """The true regions inside the crop of that moment."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    look = t.looks[at - 1] if at else None
    view = region_shown(t, look) if look else None
    if look is not None and look.crop is not None and view is not None:
        unit = max(look.crop.width, look.crop.height)
        wide, high = look.crop.width / unit, look.crop.height / unit
        for region in true_regions(t):
            if intersection(region, view) > 0:
                x1, y1, x2, y2 = (
                    min(max((region[i] - view[i % 2]) / (view[2 + i % 2] - view[i % 2]), 0.0), 1.0) for i in range(4)
                )
                xs += [x1 * wide, x2 * wide, x2 * wide, x1 * wide, x1 * wide, None]
                ys += [y1 * high, y1 * high, y2 * high, y2 * high, y1 * high, None]
    line = {"color": TRUTH, "width": 1.4}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, xaxis="x2", yaxis="y2", hoverinfo="skip", showlegend=False)


def _text(t: Trajectory, at: int, last: int, chosen: Theme) -> go.Scatter:
    """The text so far, wrapped to its column, as text of a trace: its end, where it is too long."""
    wide = (1 - TEXT) * WIDTH / PER_INCH - 0.2
    lines: list[str] = []
    for step in steps(t)[: min(at, last - 1) + 1]:
        if step.look is not None:
            crop = step.look.crop
            got = f"crop of {crop.width} × {crop.height} pixels" if crop else without_crop(t, step.look)
            lines += [f"<b>{plain(line)}</b>" for line in wrap(f"[{step.number}] {got}", wide, POINTS, 2, bold=True)]
        lines += [plain(line) for line in wrap(step.text, wide, POINTS, 12)]
    if at == last:
        ending = verdict(t)
        _, mark, word = VERDICTS[ending.state]
        given = "no answer" if ending.answer is None else ending.answer
        lines += [f"<b>{plain(line)}</b>" for line in wrap(f"{given}  {mark} {word}", wide, POINTS, 3, bold=True)]
    if len(lines) > LINES:
        lines = ["…", *lines[1 - LINES :]]
    return go.Scatter(
        x=[0.0],
        y=[1.0],
        mode="text",
        text=["<br>".join(lines)],
        textposition="bottom right",
        textfont={"color": chosen.ink, "size": POINTS * PER_INCH / 72},
        xaxis="x3",
        yaxis="y3",
        hoverinfo="skip",
        showlegend=False,
    )


def plain(text: object) -> str:
    """Text that Plotly shows as it stands: no markup, no TeX, no template."""
    escaped = html.escape(str(text), quote=False)
    return escaped.replace("$", "&#36;").replace("%", "&#37;").replace("{", "&#123;")
