"""The region river: where a policy looks at the same held-out samples, step after step of R-GRPO.

In the picture each photograph holds the deciding look of every step, early ones light, late ones dark, with the way of
its middle; below, look rate, IoU, entropy and right answers over the steps. The view moves through the steps: elements
of one step alone have the class `only`, and without its script (`page.js`) those of the last step stand. Simplified: of
a step with several looks the picture has the last; at most twelve samples, in the view at 480 pixels.

    found = load_river("runs/rgrpo/river")
    river(found)                                                 # last line of a cell: slider over the steps
    river(found).picture.save("river.pdf")
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..core.geometry import Box
from ..train.river import MEASURES, Answered, River, Subject
from .canvas import (
    KEY_ROW,
    Canvas,
    draw_truth,
    drawable_part,
    fitted,
    look_mark,
    path_mark,
    spots,
    svg,
    truth_mark,
)
from .curves import ABOVE, BELOW, LEFT, RIGHT, Charts, Field, Panel, draw_chart
from .logs import Log, Series
from .palette import DIVERGING, HALO, SMALL, TITLE, VERDICTS, on_scale, style, theme
from .picture import Picture, View, embed
from .player import badge, controls
from .steps import where_in
from .text import height, html_line, html_words, quoted, wrap

MOST = 12  # samples


def river(found: River, dark: bool = False) -> View:
    """The river with a slider over its steps, for a notebook or a page.

    Parameters
    ----------
    found
        From `train.river.load_river`, or `train.river.river_of`; of more than twelve samples the first are shown.
    dark
        For the picture that stands where no code runs.
    """
    title = f"Where it looks, from step {found.steps[0]} to step {found.steps[-1]}"
    return View(title, river_markup(found), _drawn(found, title, dark))


# -- the view --------------------------------------------------------------------------------------------------------

SHARES = ("look rate", "right answers", "IoU")  # from 0 to 1
PHOTO = 90_000  # characters of a photograph
WIDE, HIGH, CHART_LEFT, CHART_BELOW = 260, 110, 42, 18  # of a chart, CSS pixels; its margins


def river_markup(found: River) -> str:
    """What the view shows; foreign text is escaped."""
    labels = "|".join(f"Step {step}" for step in found.steps)
    last = len(found.steps) - 1
    cards = "".join(_card(found, number, subject) for number, subject in enumerate(found.subjects[:MOST]))
    charts = "".join(_chart(found, name) for name in MEASURES)
    return (
        f'<div class="r3-player" role="group" aria-label="Region river" tabindex="0" data-at="{last}" '
        f'data-labels="{labels}">{controls(last, last, "Step of training")}'
        f'<div class="r3-lines">{charts}</div><div class="r3-river">{cards}</div></div>'
    )


def _when(found: River, order: int, kind: str = "") -> str:
    """One step alone."""
    names = " ".join(filter(None, ("only", "end" if order == len(found.steps) - 1 else "", kind)))
    return f' data-from="{order}" data-to="{order}" class="{names}"'


def _card(found: River, number: int, subject: Subject) -> str:
    size = (subject.image.width, subject.image.height)
    photo = found.images.get(subject.image.hash)
    if photo is None:
        inside = f'<rect class="missing" width="{size[0]}" height="{size[1]}"/>'
    else:
        held = embed(photo, PHOTO, 480)
        inside = f'<image width="{size[0]}" height="{size[1]}" preserveAspectRatio="none" href="{held.uri}"/>'
    inside += "".join(truth_mark(region, size) for region in subject.regions)
    before = None
    for order, row in enumerate(found.answers):
        answer = row[number]
        boxes = [(place, box, True) for place, box in enumerate(answer.looks[:8], start=1)]
        placed = spots(boxes, size)
        shown = "".join(look_mark(spot) for spot in placed)
        inside += f"<g{_when(found, order)}>{shown}</g>"
        if placed:
            if before is not None:
                inside += path_mark(before, placed[-1], f' data-from="{order}"')
            before = placed[-1]
    said = "".join(
        f"<span{_when(found, order)}>{_answer(row[number])}</span>" for order, row in enumerate(found.answers)
    )
    label = f"Photograph {number + 1} with the looks of the chosen step."
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    return (
        f"<figure>{svg(whole, inside, label)}<figcaption>{html_words(subject.question, 300)}</figcaption>"
        f'<p class="r3-said">{said}</p></figure>'
    )


def _answer(answer: Answered) -> str:
    state = {True: "right", False: "wrong", None: "unknown"}[answer.right]
    given = "no answer" if answer.answer is None else html_line(answer.answer, 60)
    looks = f"{len(answer.looks)} look{'' if len(answer.looks) == 1 else 's'}"
    more = [looks] + ([f"IoU {answer.iou:.2f}"] if answer.iou is not None else [])
    more += [f"{answer.refused} refused"] if answer.refused else []
    return f'<strong>{given}</strong> {badge(*VERDICTS[state])} <span class="r3-note">{", ".join(more)}</span>'


def _chart(found: River, name: str) -> str:
    """A measure over the steps, with a cursor at each step."""
    values = found.means(name)
    known = [v for v in values if v is not None]
    top = 1.0 if name in SHARES else max(1e-3, 1.1 * max(known, default=1.0))
    first, span = found.steps[0], max(1, found.steps[-1] - found.steps[0])

    def place(order: int, value: float) -> tuple[float, float]:
        x = CHART_LEFT + (WIDE - CHART_LEFT - 12) * (found.steps[order] - first) / span
        return x, HIGH - CHART_BELOW - (HIGH - CHART_BELOW - 20) * value / top

    points = [(order, place(order, v), v) for order, v in enumerate(values) if v is not None]
    way = " ".join(f"{x:.1f},{y:.1f}" for _, (x, y), _ in points)
    inside = ""
    for value in (0.0, top):
        y = place(0, value)[1]
        inside += f'<line class="axis" x1="{CHART_LEFT}" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        inside += (
            f'<text class="label" x="{CHART_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_told(name, value)}</text>'
        )
    inside += f'<polyline class="line" points="{way}"/>'
    for order in range(len(found.steps)):
        x = place(order, 0.0)[0]
        inside += f'<line{_when(found, order, "cursor")} x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{HIGH - CHART_BELOW}"/>'
    for order, (x, y), value in points:
        inside += f'<circle{_when(found, order, "dot")} cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
        anchor, aside = ("end", x - 7) if x > WIDE / 2 else ("start", x + 7)
        spot = f'x="{aside:.1f}" y="{max(28.0, y - 6):.1f}" text-anchor="{anchor}"'
        inside += f"<text{_when(found, order, 'value')} {spot}>{_told(name, value)}</text>"
    title = name[0].upper() + name[1:]
    inside += f'<text class="value" x="0" y="11">{title}</text>'
    inside += f'<text class="label" x="{CHART_LEFT}" y="{HIGH - 3}">step {first}</text>'
    inside += f'<text class="label" x="{WIDE}" y="{HIGH - 3}" text-anchor="end">{found.steps[-1]}</text>'
    ends = f" from {_told(name, known[0])} to {_told(name, known[-1])}" if known else ", no value"
    label = f"{title} over the steps{ends}."
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{label}">{inside}</svg>'


def _told(name: str, value: float) -> str:
    return f"{value:.0%}" if name in SHARES and name != "IoU" else f"{value:.2f}"


# -- the picture -----------------------------------------------------------------------------------------------------

COLUMNS = 4
MARGIN, CARD, GAP = 0.28, 2.1, 0.26  # inches
CHART = 1.25
PANELS = [
    Panel("look rate", "Look rate", kind="share"),
    Panel("IoU", "IoU", kind="unit"),
    Panel("entropy", "Entropy", kind="from zero"),
    Panel("right answers", "Right answers", kind="share"),
]


def _drawn(found: River, title: str, dark: bool) -> Picture:
    """The river of all steps at once."""
    chosen, shown = theme(dark), found.subjects[:MOST]
    columns = min(COLUMNS, max(2, len(shown)))
    rows = -(-len(shown) // columns)
    width = 2 * MARGIN + COLUMNS * (CARD + GAP) - GAP
    card = min((width - 2 * MARGIN + GAP) / columns - GAP, 2.6)
    sizes = [fitted((subject.image.width, subject.image.height), card, card) for subject in shown]
    high = max(h for _, h in sizes) + height(2, SMALL) + 0.24
    top = MARGIN * 0.8 + height(1, TITLE) + KEY_ROW + 0.25
    below = top + rows * high
    with style(chosen):
        canvas = Canvas(width, below + ABOVE + CHART + BELOW + 0.25, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, [title], TITLE, chosen.ink, bold=True)
        _key(canvas, found, y + 0.06)
        for number, subject in enumerate(shown):
            row, column = divmod(number, columns)
            x, y = MARGIN + column * (card + GAP), top + row * high
            (w, h), size = sizes[number], (subject.image.width, subject.image.height)
            axes = canvas.picture(
                found.images.get(subject.image.hash), x, y, w, h, (0, 0, *size), f"sample-{number + 1}"
            )
            for region in subject.regions:
                draw_truth(axes, region)
            _stream(axes, found, number)
            canvas.block(x, y + h + 0.06, wrap(subject.question, card, SMALL, 2), SMALL, chosen.ink)
        axes = canvas.axes(0, 0, width, canvas.height, (0, 0, width, canvas.height), "curves")
        charts, wide = _charts(found), (width - 2 * MARGIN) / len(PANELS)
        for place, panel in enumerate(charts.panels):
            left = MARGIN + place * wide + LEFT - 0.18
            draw_chart(Field(axes, chosen, left, below + ABOVE, wide - LEFT - RIGHT + 0.1, CHART), charts, panel, True)
    return Picture(canvas.figure, _river_alt(found))


def _charts(found: River) -> Charts:
    """The measures of a river as those of a training log."""
    steps = np.array(found.steps, dtype=float)
    series = {panel.key: Series(steps, np.array(found.means(panel.key), dtype=float)) for panel in PANELS}
    return Charts({"run": [Log("run", series, last=steps[-1])]}, PANELS, smooth=1, band="range")


def _stream(axes: Axes, found: River, number: int) -> None:
    """The deciding look of every step, and the way of its middle."""
    way: list[tuple[float, float]] = []
    for order, row in enumerate(found.answers):
        looks = row[number].looks
        seen = drawable_part(looks[-1], axes) if looks else None
        if seen is None:
            continue
        colour = on_scale(DIVERGING[::-1], order / max(1, len(found.steps) - 1))
        _box(axes, seen, colour, f"{axes.get_gid()}-step-{found.steps[order]}", order == len(found.steps) - 1)
        way.append(((seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2))
    if len(way) > 1:
        xs, ys = zip(*way, strict=True)
        axes.plot(xs, ys, color=HALO[1], linewidth=2.4, alpha=0.5, zorder=5)
        axes.plot(xs, ys, color=HALO[0], linewidth=1.0, zorder=6, gid=f"{axes.get_gid()}-way")
        axes.plot(xs[-1], ys[-1], marker="o", markersize=3.5, color=HALO[0], markeredgecolor=HALO[1], zorder=7)


def _box(axes: Axes, box: Box, colour: str, gid: str, last: bool) -> None:
    x1, y1, x2, y2 = box
    for edge, wide, order in ((HALO[1], 2.6 if last else 1.8, 3), (colour, 1.8 if last else 1.1, 4)):
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=edge, linewidth=wide, zorder=order,
                      alpha=1.0 if order == 4 else 0.55, gid=gid if order == 4 else None)
        )  # fmt: skip


def _key(canvas: Canvas, found: River, y: float) -> None:
    axes = canvas.axes(MARGIN, y + 0.01, 1.1, 0.11, (0, 0, 48, 1), "scale")
    for k in range(48):
        axes.add_patch(Rectangle((k, 0), 1.05, 1, facecolor=on_scale(DIVERGING[::-1], k / 47), edgecolor="none"))
    words = f"step {found.steps[0]} to {found.steps[-1]}, {len(found.steps)} of them"
    canvas.line(MARGIN + 1.2, y, words, SMALL, canvas.theme.muted)
    canvas.key(MARGIN + 4.2, y, ["truth"] * any(s.regions for s in found.subjects))


def _river_alt(found: River) -> str:
    """What the river shows, in words: where each look went, and each measure at the ends."""
    first, last = found.steps[0], found.steps[-1]
    said = [f"Region river: {len(found.subjects)} held-out samples, answered at {len(found.steps)} steps, "]
    said[0] += f"{first} to {last}."
    for name in MEASURES:
        known = [value for value in found.means(name) if value is not None]
        if known:
            said.append(f"{name[0].upper() + name[1:]}: from {known[0]:.2f} to {known[-1]:.2f}.")
    for number, subject in enumerate(found.subjects[:MOST]):
        size = (subject.image.width, subject.image.height)
        ends = []
        for row in (found.answers[0], found.answers[-1]):
            looks = row[number].looks
            ends.append(f"looks at the {where_in(looks[-1], size)}" if looks else "takes no look")
        said.append(f"{quoted(subject.question, 120)} At step {first} it {ends[0]}, at step {last} it {ends[1]}.")
    return " ".join(said)
