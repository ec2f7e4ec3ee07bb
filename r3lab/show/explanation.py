"""An explanation as pictures: maps as spotlights, why each look was taken, what a look would have been worth, and how
attention to images lasts along an answer.

    show_explanation(explain(policy, trajectory))                   # for each look: maps, crop, bars; the verdict above
    draw_value(trajectory, 0, value.heat(), value.best.box, value.regret)      # `value_map(policy, trajectory, look=0)`
    persistence({"share": {"overview": line}})                      # `along(...)`: a panel a measure, a line a chain

A spotlight is bright where much is and dark where little is: it needs no colour, so it reads in grey and on any
photograph, and hides nothing where it matters. Simplified: the brightest cell is the map's own maximum, so maps are not
compared by their brightness; of an explanation the first six looks are drawn, the record has all of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.geometry import Box, iou
from ..explain.explanation import Explanation, HeatMap, LookEntry, Worth
from ..trajectory import Look, Trajectory
from .canvas import KEY_ROW, Canvas, draw_look, draw_truth, drawable_part, fitted, lay, outline
from .page import data_uri
from .palette import BODY, DIVERGING, HALO, HEADING, LOOKS, OKABE_ITO, RUNS, SMALL, TITLE, look_colour, style, theme
from .picture import Picture
from .story import photograph, source_size, true_regions, verdict, where_in
from .text import height, one_line, quoted, text_width, wrap

if TYPE_CHECKING:  # it imports the model
    from ..explain.maps import AlignedMean

DARKEST = 0.78  # opacity over a cell that holds nothing


def checked(maps: Sequence[HeatMap | None], moments: int) -> list[HeatMap | None]:
    """Maps, one a moment, None where there is none.

    Raises
    ------
    R3labError
        If there are more maps than moments, or one is no table of finite numbers from zero.
    """
    if len(maps) > moments:
        raise R3labError(f"{len(maps)} attention maps for {moments} moments (overview, looks, answer); give fewer.")
    for number, heat in enumerate(maps):
        if heat is None:
            continue
        values = np.asarray(heat.values)
        if values.ndim != 2 or not values.size or not np.isfinite(values).all() or values.min() < 0:
            raise R3labError(f"Attention map {number} must be rows of finite numbers from 0, got {shown(values)}.")
    return [*maps, *[None] * (moments - len(maps))]


def spotlight(heat: HeatMap) -> Image.Image:
    """The map as black of varying opacity, a pixel a cell; RGBA."""
    values = np.asarray(heat.values, dtype=np.float64)
    share = values / max(float(values.max()), 1e-30)
    pixels = np.zeros((*values.shape, 4), dtype=np.uint8)
    pixels[..., 3] = np.round(255 * DARKEST * (1 - share)).astype(np.uint8)
    return Image.fromarray(pixels)


def spotlight_uri(heat: HeatMap) -> str:
    """`spotlight` as a data URI."""
    buffer = io.BytesIO()
    spotlight(heat).save(buffer, format="PNG")
    return data_uri("png", buffer.getvalue())


def attention_maps(explanation: Explanation) -> list[HeatMap | None]:
    """Its maps of attention, as a player takes them: none for the overview, then one a look, the relative before the
    raw."""
    maps, looks = explanation.maps, range(1, len(explanation.trajectory.looks) + 1)
    return [None, *(maps.get(f"look {n} relative", maps.get(f"look {n} raw")) for n in looks)]


SHOWN_LOOKS, BARS = 6, 8
MARGIN, SPACE, SIDE, CROP, CHART = 0.28, 0.22, 1.75, 1.1, 2.6  # inches: around, between; pictures, crop, bars
PANELS = (("raw", "attention"), ("relative", "relative attention"), ("value", "worth of a look"))


def show_explanation(explanation: Explanation, dark: bool = False) -> Picture:
    """Draw an explanation.

    Parameters
    ----------
    explanation
        From `explain.verdict.explain`, or loaded; all text in it is drawn as foreign.
    dark
        For a dark page.
    """
    e, chosen = explanation, theme(dark)
    width = 2 * MARGIN + len(PANELS) * (SIDE + SPACE) + CROP + SPACE + CHART
    inner = width - 2 * MARGIN
    question = wrap(e.trajectory.question, inner, TITLE, 2, bold=True)
    verdict = wrap(f"{e.verdict.kind}. {e.sentence}", inner, BODY, 4)
    entries = [(entry, wrap(entry.sentence, inner, SMALL, 4)) for entry in e.looks[:SHOWN_LOOKS]]
    tall = fitted(source_size(e.trajectory), SIDE, SIDE * 1.3)[1]
    head = height(1, HEADING) + 0.06
    rows = [(head + tall if not entry.refused else head) + height(len(text), SMALL) + 0.22 for entry, text in entries]
    top = MARGIN + height(len(question), TITLE) + height(len(verdict), BODY) + 0.2
    with style(chosen):
        canvas = Canvas(width, top + sum(rows) + MARGIN * 0.6, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, question, TITLE, chosen.ink, bold=True)
        canvas.block(MARGIN, y + 0.06, verdict, BODY, chosen.ink)
        y = top
        for (entry, text), high in zip(entries, rows, strict=True):
            _row(canvas, e, entry, y, tall)
            below = y + (head + tall if not entry.refused else head) + 0.06
            canvas.block(MARGIN, below, text, SMALL, chosen.muted)
            y += high
    return Picture(canvas.figure, _explanation_alt(e))


def _row(canvas: Canvas, e: Explanation, entry: LookEntry, y: float, tall: float) -> None:
    """One look: its maps, its crop, its bars."""
    ink, number, top = canvas.theme.ink, entry.number + 1, y + height(1, HEADING) + 0.06
    canvas.tag(MARGIN, y, number)
    if entry.refused:
        return canvas.line(MARGIN + 0.24, y, f"Look {number}: refused", HEADING, ink, bold=True)
    x = MARGIN
    for key, title in PANELS:
        heat = e.maps.get(f"look {number} {key}")
        if heat is not None:
            indent = 0.24 if x == MARGIN else 0.0
            canvas.line(x + indent, y, title, HEADING, ink, bold=True)
            _panel(canvas, e, entry, heat, x, top, f"look-{number}-{key}")
            x += SIDE + SPACE
    look = e.trajectory.looks[entry.number]
    if look.crop is not None and look.box is not None:
        canvas.line(x, y, "crop", HEADING, ink, bold=True)
        w, h = fitted((look.crop.width, look.crop.height), CROP, tall)
        axes = canvas.picture(
            e.trajectory.images.get(look.crop.hash), x, top, w, h, look.box, f"crop-{number}", "crop not kept"
        )
        canvas.border(axes, look_colour(number), 2.0)
        x += CROP + SPACE
    _bars(canvas, entry, x, y, tall)
    return None


def _panel(canvas: Canvas, e: Explanation, entry: LookEntry, heat: HeatMap, x: float, y: float, gid: str) -> None:
    """A map over the photograph, with the look and the true regions."""
    size = source_size(e.trajectory)
    w, h = fitted(size, SIDE, SIDE * 1.3)
    axes = canvas.picture(photograph(e.trajectory), x, y, w, h, (0, 0, *size), gid)
    least = float(heat.values.min()) if gid.endswith("value") else 0.0  # worth has no zero of its own
    shade = spotlight(replace(heat, values=heat.values - least))
    lay(axes, shade, heat.box, interpolation="nearest", zorder=2)
    for region in true_regions(e.trajectory):
        draw_truth(axes, region)
    if entry.box is not None:
        draw_look(axes, entry.box, entry.number + 1)


def shown_bars(entry: LookEntry) -> list[Worth]:
    """The alternatives that get a bar: those of most effect, in the order of the record."""
    most = sorted(entry.worth, key=lambda worth: worth.given)[:BARS]
    return [worth for worth in entry.worth if worth in most]


def _bars(canvas: Canvas, entry: LookEntry, x: float, y: float, tall: float) -> None:
    """How much less likely what was written becomes with another crop, and what is answered then."""
    theme_, bars = canvas.theme, shown_bars(entry)
    canvas.line(x, y, "with another crop, nats", HEADING, theme_.ink, bold=True)
    if not bars:
        canvas.line(x, y + height(1, HEADING) + 0.06, "not tried", SMALL, theme_.muted)
        return
    most = max(1.0, max(abs(worth.given) for worth in bars))
    step, top, left, room = min(0.24, tall / len(bars)), y + height(1, HEADING) + 0.06, x + 0.85, CHART - 1.75
    for number, worth in enumerate(bars):
        high = top + number * step
        canvas.line(x, high, one_line(worth.name, 16), SMALL, theme_.muted)
        long = max(0.01, abs(worth.given) / most * room)
        colour = LOOKS[0] if worth.given < 0 else LOOKS[1]
        canvas.rect(left, high + 0.02, long, 0.09, facecolor=colour, edgecolor=HALO[0], linewidth=0.3)
        answer = "no answer" if worth.answer is None else one_line(worth.answer, 10)
        arrow = f" \N{RIGHTWARDS ARROW} {answer}" if worth.changed else ""
        canvas.line(left + long + 0.06, high, f"{worth.given:+.1f}{arrow}", SMALL, theme_.ink)


def _explanation_alt(e: Explanation) -> str:
    """What `show_explanation` shows, in words."""
    said = [
        f"Question: {one_line(e.trajectory.question, 300)}",
        f"Verdict: {e.verdict.kind}. {one_line(e.sentence, 800)}",
    ]
    said += [one_line(entry.sentence, 1200) for entry in e.looks[:SHOWN_LOOKS]]
    if len(e.looks) > SHOWN_LOOKS:
        said.append(f"{len(e.looks) - SHOWN_LOOKS} more looks are not shown.")
    return " ".join(said)


# -- the value map of a look -------------------------------------------------------------------------------------------

MAP, GAP = 3.6, 0.4  # inches: a picture, between two
BEST, DOTS = OKABE_ITO["reddish purple"], (1.2, 1.2)  # of the best window: colour, dashes
LITTLE = 0.05  # nats: regret below it is none


def _check(t: Trajectory, look: int, values: np.ndarray, regret: float) -> Look:
    """The look, if all fits."""
    if not 0 <= look < len(t.looks) or t.looks[look].box is None:
        raise R3labError(
            f"There is no look {look} with a box; the trajectory has {len(t.looks)} looks, counted from 0."
        )
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise R3labError(f"A value map must be rows of finite numbers, got {shown(values)}.")
    if not regret >= 0 or not np.isfinite(regret):
        raise R3labError(f"Regret is a number of nats from 0, got {shown(regret)}.")
    return t.looks[look]


def draw_value(t: Trajectory, look: int, values: np.ndarray, best: Box, regret: float, dark: bool = False) -> Picture:
    """Draw a value map.

    Parameters
    ----------
    t
        The trajectory, with its photograph.
    look
        Number of the look, from 0.
    values
        (rows, columns) over the whole source: worth in nats of a look there, above no crop (`ValueMap.heat`).
    best
        The window of most worth, source pixels.
    regret
        What it is worth above the look that was taken, nats, from 0.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If there is no such look, or the map is none.
    """
    values = np.asarray(values, dtype=np.float64)
    own, size, chosen = _check(t, look, values, regret), source_size(t), theme(dark)
    w, h = fitted(size, MAP, MAP * 1.2)
    width = 2 * MARGIN + 2 * w + GAP + 0.95
    title = wrap(t.question, width - 2 * MARGIN, TITLE, 2, bold=True)
    said = wrap(value_words(t, look, best, regret), width - 2 * MARGIN, HEADING, 4)
    top = MARGIN * 0.8 + height(len(title), TITLE) + 0.42
    with style(chosen):
        canvas = Canvas(width, top + h + 0.2 + height(len(said), HEADING) + KEY_ROW + 0.4, chosen)
        canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, chosen.ink, bold=True)
        right = MARGIN + w + GAP
        canvas.line(MARGIN, top - 0.24, f"Look {look + 1} and the best place", HEADING, chosen.ink, bold=True)
        canvas.line(right, top - 0.24, "What a look would have been worth", HEADING, chosen.ink, bold=True)
        whole: Box = (0.0, 0.0, float(size[0]), float(size[1]))
        axes = canvas.picture(photograph(t), MARGIN, top, w, h, whole, "photo")
        _regions(axes, t, own, look, best)
        heat = canvas.axes(right, top, w, h, whole, "map")
        low, high = float(values.min()), float(values.max())
        colours = LinearSegmentedColormap.from_list("worth", DIVERGING)
        lay(heat, values, whole, cmap=colours, vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        _regions(heat, t, own, look, best)
        _scale(canvas, low, high, right + w + 0.12, top, h)
        y = canvas.block(MARGIN, top + h + 0.16, said, HEADING, chosen.ink)
        _key(canvas, y + 0.08, bool(true_regions(t)), look + 1)
    return Picture(canvas.figure, _value_alt(t, look, values, best, regret))


def _regions(axes: Axes, t: Trajectory, own: Look, look: int, best: Box) -> None:
    for region in true_regions(t):
        draw_truth(axes, region)
    seen = drawable_part(best, axes)
    if seen is not None:
        outline(axes, seen, BEST, 2.0, "best", wider=1.6, alpha=1.0, dashes=DOTS)
    if own.box is not None:
        draw_look(axes, own.box, look + 1, own.valid)


def _scale(canvas: Canvas, low: float, high: float, x: float, y: float, tall: float) -> None:
    """Colours from the least to the most, with nats, and where no crop stands between them."""
    axes = canvas.axes(x, y, 0.14, tall, (0, 0, 1, 1), "scale")
    colours = LinearSegmentedColormap.from_list("worth", DIVERGING)
    axes.imshow(np.linspace(1, 0, 128)[:, None], cmap=colours, aspect="auto", extent=(0, 1, 1, 0), origin="upper")
    marks = [(0.0, f"{high:+.2g} nats"), (1.0, f"{low:+.2g} nats")]
    if low < 0 < high and 0.06 < (place := high / (high - low)) < 0.94:
        marks.append((place, "no crop"))
        axes.axhline(place, color=HALO[1], linewidth=0.8)
    for place, words in marks:
        canvas.line(x + 0.2, y + place * (tall - height(1, SMALL)), words, SMALL, canvas.theme.muted)


def _key(canvas: Canvas, y: float, truth: bool, number: int) -> None:
    """The lines in one row."""
    x = MARGIN
    signs = [(look_colour(number), None, f"look {number}"), (BEST, DOTS, "best window")]
    for colour, dashes, words in signs:
        canvas.swatch(x, y, colour, 1.9, dashes)
        canvas.line(x + 0.28, y, words, SMALL, canvas.theme.muted)
        x += 0.28 + text_width(words, SMALL) + 0.25
    canvas.key(x, y, ["truth"] * truth)


def value_words(t: Trajectory, look: int, best: Box, regret: float) -> str:
    """The regret in a sentence or two."""
    own, size = t.looks[look], source_size(t)
    if regret < LITTLE:
        return f"No other place would have been worth more than look {look + 1}: its regret is {regret:.2f} nats."
    factor = float(np.exp(min(regret, 50.0)))
    far = f"{factor:.2g} times" if factor < 1000 else "more than a thousand times"
    answer = "its answer" if verdict(t).truth is None else "the right answer"
    said = (
        f"The best place, {where_in(best, size)} of the photograph, would have been worth {regret:.2f} nats more: "
        f"{answer} would have been {far} as likely."
    )
    if own.box is not None:
        apart = iou(own.box, best)
        said += " It overlaps the look that was taken" if apart else " The look that was taken does not touch it"
        said += f" (IoU {apart:.2f})." if apart else "."
    return said


def _value_alt(t: Trajectory, look: int, values: np.ndarray, best: Box, regret: float) -> str:
    """What the drawing shows, in words."""
    own = t.looks[look].box
    place = "" if own is None else f"look {look + 1} at the {where_in(own, source_size(t))}, "
    box = ", ".join(f"{v:.0f}" for v in best)
    return (
        f"Value map. Question: {quoted(t.question, 300)} The photograph twice, with {place}the best window at "
        f"[{box}]{', and the true region' if true_regions(t) else ''}; on the second a map of what a look would have "
        f"been worth at each place, from {values.min():+.2f} to {values.max():+.2f} nats above no crop. "
        f"{value_words(t, look, best, regret)}"
    )


HIGH, WIDE = 3.1, 4.6  # inches of a panel


def persistence(
    panels: Mapping[str, Mapping[str, AlignedMean]], level: Mapping[str, float] | None = None, dark: bool = False
) -> Picture:
    """Draw lines of attention along what was written.

    Parameters
    ----------
    panels
        By the title of a panel, by the name of a line: what `explain.maps.align` found. A name has the same
        colour and dashes in every panel.
    level
        By the title of a panel, a value that is marked, such as an even share.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If there is nothing to draw, or there are more lines than can be told apart.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if not names or len(names) > len(RUNS):
        raise R3labError(f"{len(names)} lines cannot be drawn; give 1 to {len(RUNS)}")
    chosen = theme(dark)
    with style(chosen):
        figure = Figure(figsize=(WIDE * len(panels), HIGH), layout="constrained", facecolor=chosen.paper)
        for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for name, line in lines.items():
                colour, dashes = RUNS[names.index(name)]
                low, high = [m.low for m in line.mean], [m.high for m in line.mean]
                axes.fill_between(line.at, low, high, color=colour, alpha=0.18, linewidth=0)
                axes.plot(
                    line.at,
                    [m.value for m in line.mean],
                    color=colour,
                    linewidth=1.8,
                    linestyle=(0, dashes) if dashes else "solid",
                    label=one_line(name, 40),
                )
            axes.axvline(0, color=chosen.muted, linewidth=0.8, linestyle=":")
            if level and title in level:
                axes.axhline(level[title], color=chosen.ink, linewidth=0.8)
            axes.set(title=one_line(title, 60), xlabel="tokens written since the first box", ylim=(0, None))
            axes.grid(axis="y")
            axes.legend(frameon=False, fontsize=SMALL)
    return Picture(figure, _persistence_alt(panels))


def _persistence_alt(panels: Mapping[str, Mapping[str, AlignedMean]]) -> str:
    """What `persistence` shows, in words: each line at its beginning, at the box, and at its end."""
    said = ["Lines of attention along what was written, counted from the end of the first box."]
    for title, lines in panels.items():
        told = []
        for name, line in lines.items():
            steps = sorted({line.at[0], min(line.at, key=abs), line.at[-1]})
            values = [line.mean[line.at.index(step)] for step in steps]
            points = ", ".join(
                f"{m.value:.2f} ({m.low:.2f} to {m.high:.2f}) at {step:+d}"
                for step, m in zip(steps, values, strict=True)
            )
            told.append(f"{one_line(name, 40)}: {points}")
        said.append(f"{one_line(title, 60)}. {'; '.join(told)}.")
    return " ".join(said)
