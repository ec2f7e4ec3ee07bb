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
import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ..core.geometry import Box, Size, clip, intersection, iou
from ..trajectory import Look, Trajectory
from . import marks
from .explanation import DARKEST, Heat, checked, spotlight_uri
from .filmstrip import filmstrip
from .marks import Spot, centre, spots
from .page import BUDGET, Embedded, Pictures, pictures_of
from .palette import HALO, TRUTH, VERDICTS, Theme, ink_on, look_colour, theme
from .picture import Picture, View
from .story import region_shown, source_size, steps, told, true_regions, verdict, where_in, without_crop
from .text import html_line, html_words, one_line, wrap

# The player of a trajectory as HTML: the photograph with the path of the looks, what the model got, its text so far.
#
# Every moment is in the markup: the overview, each look, the answer. A small script (`page.js`) shows one of them and
# moves with slider, buttons and arrow keys; without it, and in print, all of them stand side by side. An element with
# `data-from` and `data-to` belongs to those moments. Simplified: of more than 16 looks the first 16 are shown.
#
#     stage(trajectory, prefix="t1")               # markup for a page or a notebook; ids begin with the prefix

SHOWN_LOOKS = 16
TEXT = 6000  # characters of one stretch of text
TIMES = "\N{MULTIPLICATION SIGN}"


def labels(t: Trajectory, looks: int = SHOWN_LOOKS) -> list[str]:
    """The names of the moments: the overview, each look that is shown, the answer."""
    return ["Overview", *(f"Look {i + 1}" for i in range(min(len(t.looks), looks))), "Answer"]


def stage(
    t: Trajectory,
    prefix: str,
    attention: Sequence[Heat | None] = (),
    start: int = -1,
    budget: int = BUDGET,
) -> str:
    """The player's markup.

    Parameters
    ----------
    t
        A trajectory; what it does not carry is said to be missing.
    prefix
        Of ids; one that nothing else on the page has, letters and digits.
    attention
        Maps, in order of the moments (the overview, then each look); None where there is none.
    start
        Moment at which it opens; -1: the answer, so that the whole path is seen at once.
    budget
        Characters of its pictures.

    Raises
    ------
    R3labError
        If the maps do not fit.
    """
    names = labels(t)
    maps = checked(attention, len(names))
    held = pictures_of(t, budget, SHOWN_LOOKS)
    last = len(names) - 1
    at = last if start < 0 else min(start, last)
    return (
        f'<div class="r3-player" role="group" aria-label="Player of a trajectory" tabindex="0" data-at="{at}" '
        f'data-labels="{"|".join(names)}">{_store(held, prefix)}'
        f"{controls(last, at, 'Moment of the trajectory', _switches(held, any(maps)))}"
        f'<div class="r3-stage"><figure class="r3-photo">{_photo(t, held, prefix, maps)}'
        f"<figcaption>{_photo_caption(t)}</figcaption></figure>"
        f'<div class="r3-seen">{_seen(t, held, prefix, last)}</div>'
        f'<ol class="r3-text" role="list">{_texts(t, last)}</ol></div></div>'
    )


def _store(held: Pictures, prefix: str) -> str:
    images = [(f"{prefix}-photo", held.photo), (f"{prefix}-overview", held.overview)]
    images += [(f"{prefix}-crop-{i}", crop) for i, crop in enumerate(held.crops, start=1)]
    if held.overview is held.photo:
        images = [images[0], *images[2:]]
    return marks.store([(name, one.uri) for name, one in images if one is not None])


def _overview(t: Trajectory, held: Pictures, prefix: str) -> str:
    """The overview over the whole source."""
    assert held.overview is not None
    name = f"{prefix}-photo" if held.overview is held.photo else f"{prefix}-overview"
    return marks.use(name, _whole(t), held.overview.hard)


def _whole(t: Trajectory) -> Box:
    width, height = source_size(t)
    return (0.0, 0.0, float(width), float(height))


def _moment(first: int, last: int | None = None) -> str:
    return f' data-from="{first}"' + (f' data-to="{last}"' if last is not None else "")


def _photo(t: Trajectory, held: Pictures, prefix: str, maps: Sequence[Heat | None]) -> str:
    """The photograph, or the overview in its place, with regions, numbers and the way between them."""
    size, inside = source_size(t), ""
    if held.photo is not None:
        inside += f'<g class="as-is">{marks.use(f"{prefix}-photo", _whole(t), held.photo.hard)}</g>'
        inside += f'<g class="as-seen">{_overview(t, held, prefix)}</g>'
    else:
        inside += f'<rect class="missing" width="{size[0]}" height="{size[1]}"/>'
    for moment, heat in enumerate(maps):
        if heat is not None:
            x1, y1, x2, y2 = heat.box
            place = f'x="{x1:.2f}" y="{y1:.2f}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}"'
            inside += (
                f'<image class="heat"{_moment(moment, moment)} {place} preserveAspectRatio="none" '
                f'href="{spotlight_uri(heat)}"/>'
            )
    inside += "".join(marks.truth_mark(region, size) for region in true_regions(t))
    boxes = [(i, look.box, look.valid) for i, look in enumerate(t.looks[:SHOWN_LOOKS], start=1)]
    found = marks.spots(boxes, size)
    for before, after in zip(found, found[1:], strict=False):
        inside += marks.path_mark(before, after, _moment(after.number))
    inside += "".join(marks.look_mark(spot, size, _moment(spot.number)) for spot in found)
    regions = f", {len(found)} numbered region{'' if len(found) == 1 else 's'}" if found else ", no region"
    missing = " The picture was not kept." if held.photo is None else ""
    return marks.svg(_whole(t), inside, f"The image, {size[0]} by {size[1]} pixels{regions}.{missing}")


def _photo_caption(t: Trajectory) -> str:
    size = source_size(t)
    said = [f"Image, {size[0]} {TIMES} {size[1]} pixels"]
    granted = {look.valid for look in t.looks[:SHOWN_LOOKS] if look.box is not None}
    if True in granted:
        said.append('<span class="r3-sign solid"></span>looked at')
    if False in granted:
        said.append('<span class="r3-sign dashed"></span>refused')
    if true_regions(t):
        said.append('<span class="r3-sign truth"></span>true region')
    return " ".join(f'<span class="r3-key">{one}</span>' for one in said)


def _seen(t: Trajectory, held: Pictures, prefix: str, last: int) -> str:
    """What the model got at each moment."""
    shown = t.looks[:SHOWN_LOOKS]
    picture = '<p class="r3-missing">picture not kept</p>'
    if held.overview is not None:
        label = f"The overview, {t.overview[0]} by {t.overview[1]} pixels, as the model saw it first."
        picture = marks.svg(_whole(t), _overview(t, held, prefix), label)
    caption = f"Overview, {t.overview[0]} {TIMES} {t.overview[1]} pixels: what the model sees first"
    figures = [f"<figure{_moment(0, 0 if shown else last)}>{picture}<figcaption>{caption}</figcaption></figure>"]
    for number, look in enumerate(shown, start=1):
        when = _moment(number, last if number == len(shown) else number)
        figures.append(f"<figure{when}>{_look(t, look, number, held, prefix)}</figure>")
    return "".join(figures)


def _look(t: Trajectory, look: Look, number: int, held: Pictures, prefix: str) -> str:
    view = region_shown(t, look)
    if view is None or look.box is None or look.crop is None:
        return (
            f'<p class="r3-missing">{html_line(without_crop(t, look), 160)}</p><figcaption>Look {number}</figcaption>'
        )
    size, crop = source_size(t), held.crops[number - 1]
    zoom = f"zoom {TIMES}{look.zoom:.3g}, " if look.zoom is not None else ""
    caption = f"Crop {number}, {zoom}{look.crop.width} {TIMES} {look.crop.height} pixels"
    picture = '<p class="r3-missing">crop not kept</p>'
    if crop is not None:
        inside = marks.use(f"{prefix}-crop-{number}", view, crop.hard)
        inside += "".join(marks.truth_mark(r, size) for r in true_regions(t) if intersection(r, view) > 0)
        picture = marks.svg(view, inside, f"Crop {number} as the model got it.", "r3-crop")
    before = ""
    if held.overview is not None:
        small = marks.svg(clip(look.box, size), _overview(t, held, prefix), "The same region in the overview.")
        before = f'<div class="r3-before">{small}<span>the same region in the overview</span></div>'
    return f"{picture}<figcaption>{caption}</figcaption>{before}"


def _texts(t: Trajectory, last: int) -> str:
    """What the model wrote, moment by moment, with its looks, and the answer."""
    items = []
    for step in steps(t)[: SHOWN_LOOKS + 1]:
        head = ""
        if step.look is not None:
            head = f'<p class="r3-look">{chip(step.number)} {_place(t, step.look)}</p>'
        text = f'<p class="r3-wrote">{html_words(step.text, TEXT)}</p>' if step.text else ""
        items.append(f"<li{_moment(step.number)}>{head}{text}</li>")
    if len(t.looks) > SHOWN_LOOKS:
        items.append(f"<li{_moment(last)}>{len(t.looks) - SHOWN_LOOKS} more looks are not shown.</li>")
    items.append(f'<li class="r3-answer"{_moment(last)}>{answer(t)}</li>')
    return "".join(items)


def chip(number: int) -> str:
    """The number of a look on its colour."""
    colour = look_colour(number)
    return (
        f'<svg class="r3-chip" viewBox="0 0 20 20" aria-hidden="true"><rect width="20" height="20" fill="{colour}"/>'
        f'<text x="10" y="15" font-size="14" font-weight="700" text-anchor="middle" fill="{ink_on(colour)}">{number}'
        "</text></svg>"
    )


def _place(t: Trajectory, look: Look) -> str:
    if look.box is None or not look.valid:
        return f"asked for a region; {html_line(without_crop(t, look), 160)}"
    numbers = ", ".join(f"{v:.0f}" for v in look.box)
    regions = true_regions(t)
    said = f"looked at [{numbers}], {where_in(look.box, source_size(t))}"
    return said + (f"; IoU with the true region {iou(look.box, regions[-1]):.2f}" if regions else "")


def answer(t: Trajectory) -> str:
    """The answer with its verdict, in words and with a mark."""
    ending = verdict(t)
    colour, mark, word = VERDICTS[ending.state]
    given = "no answer" if ending.answer is None else html_line(ending.answer, 300)
    notes = [one_line(ending.ending)] if ending.ending else []
    if ending.state == "wrong":
        notes.append(f"true answer: {html_line(ending.truth, 200)}")
    if ending.state == "unknown":
        notes.append("the true answer is not recorded")
    more = f'<p class="r3-note">{"; ".join(notes)}</p>' if notes else ""
    size = "r3-given long" if len(ending.answer or "") > 30 else "r3-given"
    return f'<p><strong class="{size}">{given}</strong> {badge(colour, mark, word)}</p>{more}'


def badge(colour: str, mark: str, word: str) -> str:
    """A verdict: its mark on its colour, and the word."""
    return (
        f'<span class="r3-verdict"><svg class="r3-chip" viewBox="0 0 20 20" aria-hidden="true"><rect width="20" '
        f'height="20" fill="{colour}"/><text x="10" y="15" font-size="14" text-anchor="middle" fill="#FFFFFF">{mark}'
        f"</text></svg> {word}</span>"
    )


def _switches(held: Pictures, attends: bool) -> str:
    """What is laid over the photograph."""
    found = ""
    if held.photo is not None and held.overview is not held.photo:
        found += '<label><input type="checkbox" data-switch="saw"> at the model\'s resolution</label>'
    if attends:
        found += '<label><input type="checkbox" data-switch="attend"> attention (bright: read most)</label>'
    return found


def controls(last: int, at: int, label: str, more: str = "") -> str:
    """Buttons and slider that `page.js` brings to life; without it they are not shown.

    Parameters
    ----------
    last, at
        The last moment, and the one at which it opens.
    label
        What the slider moves through, our own words.
    more
        Markup behind them.
    """
    return (
        '<div class="r3-controls"><button type="button" data-go="start">Start</button>'
        '<button type="button" data-go="back">Back</button>'
        f'<input type="range" min="0" max="{last}" step="1" value="{at}" aria-label="{label}">'
        '<button type="button" data-go="forward">Forward</button><output aria-live="polite"></output>'
        f"{more}</div>"
    )


# The traces of the Plotly player: pictures, regions, their way, attention, crop and text of one moment.
#
#     data = moment_traces(t, held, maps, found, at=1, last=3, chosen=theme())
#
# Every moment has the same traces in the same order, so that a frame replaces them one by one. Simplified: text is
# wrapped by measure, for a figure of fixed width.

WIDTH, PER_INCH, POINTS = 1000, 96, 9.0  # CSS pixels; of an inch; of text
PLAYER_TRACES_TEXT, LINES = 0.715, 17  # where the column of text begins, a share of the width; its lines
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
    wide = (1 - PLAYER_TRACES_TEXT) * WIDTH / PER_INCH - 0.2
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
    still = Picture(filmstrip(t, dark=dark), f"Player of a rollout. {told(t, SHOWN_LOOKS)}")
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
    figure.layout.meta = {"alt": filmstrip(t).alt}
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
        xaxis3={**hidden, "range": [0, 1], "domain": (PLAYER_TRACES_TEXT, 1.0)},
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
