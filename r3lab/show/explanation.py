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
from ..core.images import data_uri
from ..explain.explanation import Explanation, HeatMap, LookEntry
from ..trajectory import Look, Trajectory
from .canvas import Canvas, draw_band, draw_look, draw_truth, drawable_part, fitted, lay, outline
from .filmstrip import draw_photograph
from .palette import BODY, DIVERGING, HALO, HEADING, LIGHT, LOOKS, OKABE_ITO, RUNS, SMALL, TITLE, look_colour, style
from .picture import Picture
from .steps import photograph, source_box, source_size, true_regions, verdict, where_in
from .text import height, one_line, quoted, text_width

if TYPE_CHECKING:  # it imports the model
    from ..explain.maps import AlignedMean

DARKEST = 0.5  # opacity over a cell that holds nothing: the photograph can still be read there


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
        if heat is not None and not (_finite(heat.values) and np.min(heat.values) >= 0):
            raise R3labError(f"Attention map {number} must be rows of finite numbers from 0, got {shown(heat.values)}.")
    return [*maps, *[None] * (moments - len(maps))]


def _finite(values: np.ndarray) -> bool:
    """Whether it is a table of finite numbers."""
    return np.ndim(values) == 2 and np.size(values) > 0 and bool(np.isfinite(values).all())


def spotlight(heat: HeatMap) -> Image.Image:
    """The map as black of varying opacity, a pixel a cell; RGBA. It goes by the root of a value: of a map with one peak
    the rest would be one dark."""
    values = np.asarray(heat.values, dtype=np.float64)
    share = np.sqrt(values / max(float(values.max()), 1e-30))
    pixels = np.zeros((*values.shape, 4), dtype=np.uint8)
    pixels[..., 3] = np.round(255 * DARKEST * (1 - share)).astype(np.uint8)
    return Image.fromarray(pixels)


def spotlight_uri(heat: HeatMap) -> str:
    """`spotlight` as a data URI."""
    buffer = io.BytesIO()
    spotlight(heat).save(buffer, format="PNG")
    return data_uri(buffer.getvalue())


def attention_maps(explanation: Explanation) -> list[HeatMap | None]:
    """Its maps of attention, as a player takes them: none for the overview, then one a look, the relative before the
    raw."""
    maps, looks = explanation.maps, range(1, len(explanation.trajectory.looks) + 1)
    return [None, *(maps.get(f"look {n} relative", maps.get(f"look {n} raw")) for n in looks)]


SHOWN_LOOKS, BARS = 6, 8
MARGIN, SPACE, SIDE, CROP, CHART = 0.28, 0.22, 1.75, 1.1, 2.6  # inches: around, between; pictures, crop, bars
PANELS = (("raw", "attention"), ("relative", "relative attention"), ("value", "worth of a look"))
FORETOLD = ("foretold", "worth, foretold")  # where the policy has a head for it
HEAD = height(1, HEADING) + 0.06


def show_explanation(explanation: Explanation) -> Picture:
    """Draw an explanation.

    Parameters
    ----------
    explanation
        From `explain.verdict.explain`, or loaded; all text in it is drawn as foreign.
    """
    e = explanation
    inner = len(_panels(e)) * (SIDE + SPACE) + CROP + SPACE + CHART
    tall = fitted(source_size(e.trajectory), SIDE, SIDE * 1.3)[1]
    with style():
        canvas = Canvas(inner + 2 * MARGIN, None)
        y = canvas.text(MARGIN, MARGIN * 0.8, e.trajectory.question, inner, TITLE, 2, bold=True)
        y = canvas.text(MARGIN, y + 0.06, f"{e.verdict.kind}. {e.sentence}", inner, BODY, 4) + 0.2 * MARGIN + 0.14
        for entry in e.looks[:SHOWN_LOOKS]:
            name = f"Look {entry.number + 1}: refused"
            canvas.tag(MARGIN, y, entry.number + 1)
            if entry.refused:
                canvas.line(MARGIN + 0.24, y, name, HEADING, LIGHT.ink, bold=True)
            else:
                _row(canvas, e, entry, y, tall)
            below = y + HEAD + (0.0 if entry.refused else tall)
            y = canvas.text(MARGIN, below + 0.06, entry.sentence, inner, SMALL, 4, colour=LIGHT.muted) + 0.16
        figure = canvas.cut(y + MARGIN * 0.6)
    said = [f"Question: {one_line(e.trajectory.question, 300)}"]
    said.append(f"Verdict: {e.verdict.kind}. {one_line(e.sentence, 800)}")
    said += [one_line(entry.sentence, 1200) for entry in e.looks[:SHOWN_LOOKS]]
    if len(e.looks) > SHOWN_LOOKS:
        said.append(f"{len(e.looks) - SHOWN_LOOKS} more looks are not shown.")
    return Picture(figure, " ".join(said))


def _panels(e: Explanation) -> tuple[tuple[str, str], ...]:
    """The maps that are drawn, with their titles."""
    return (*PANELS, FORETOLD) if any(name.endswith(FORETOLD[0]) for name in e.maps) else PANELS


def _row(canvas: Canvas, e: Explanation, entry: LookEntry, y: float, tall: float) -> None:
    """One look: its maps over the photograph, its crop, its bars."""
    t, ink, number, x = e.trajectory, LIGHT.ink, entry.number + 1, MARGIN
    w, h = fitted(source_size(t), SIDE, SIDE * 1.3)
    for key, title in _panels(e):
        heat = e.maps.get(f"look {number} {key}")
        if heat is None:
            continue
        canvas.line(x + (0.24 if x == MARGIN else 0.0), y, title, HEADING, ink, bold=True)
        axes = draw_photograph(canvas, t, x, y + HEAD, (w, h), f"look-{number}-{key}", [number])
        least = float(heat.values.min()) if key in ("value", "foretold") else 0.0  # worth has no zero of its own
        lay(axes, spotlight(replace(heat, values=heat.values - least)), heat.box, interpolation="nearest", zorder=2)
        x += SIDE + SPACE
    look = t.looks[entry.number]
    if look.crop is not None and look.box is not None:
        canvas.line(x, y, "crop", HEADING, ink, bold=True)
        size = fitted((look.crop.width, look.crop.height), CROP, tall)
        crop = t.images.get(look.crop.hash)
        axes = canvas.picture(crop, x, y + HEAD, *size, look.box, f"crop-{number}", "crop not kept")
        canvas.border(axes, look_colour(number), 2.0)
        x += CROP + SPACE
    _bars(canvas, entry, x, y, tall)


def _bars(canvas: Canvas, entry: LookEntry, x: float, y: float, tall: float) -> None:
    """How much less likely the answer given becomes with another crop, and what is answered then, where it changed: for
    those of most effect, in the order of the record."""
    most = sorted(entry.worth, key=lambda worth: worth.nats)[:BARS]
    canvas.line(x, y, "with another crop, nats", HEADING, LIGHT.ink, bold=True)
    if not most:
        canvas.line(x, y + HEAD, "not tried", SMALL, LIGHT.muted)
    far, left, room = max([1.0, *(abs(worth.nats) for worth in most)]), x + 0.85, CHART - 1.75
    for number, worth in enumerate(worth for worth in entry.worth if worth in most):
        top = y + HEAD + number * min(0.24, tall / len(most))
        canvas.line(x, top, one_line(worth.name, 16), SMALL, LIGHT.muted)
        long, colour = max(0.01, abs(worth.nats) / far * room), LOOKS[0] if worth.nats < 0 else LOOKS[1]
        canvas.rect(left, top + 0.02, long, 0.09, facecolor=colour, edgecolor=HALO[0], linewidth=0.3)
        answer = "no answer" if worth.answer is None else one_line(worth.answer, 10)
        arrow = f" \N{RIGHTWARDS ARROW} {answer}" if worth.changed else ""
        canvas.line(left + long + 0.06, top, f"{worth.nats:+.1f}{arrow}", SMALL, LIGHT.ink)


# -- the value map of a look -------------------------------------------------------------------------------------------

MAP, GAP = 3.6, 0.4  # inches: a picture, between two
BEST, DOTS = OKABE_ITO["reddish purple"], (1.2, 1.2)  # of the best window: colour, dashes
LITTLE = 0.05  # nats: regret below it is none
WORTH = LinearSegmentedColormap.from_list("worth", DIVERGING)


def draw_value(t: Trajectory, look: int, values: np.ndarray, best: Box, regret: float) -> Picture:
    """Draw a value map; its zero is the mean of all places: what a look at a random one would have been worth.

    Parameters
    ----------
    t
        The trajectory, with its photograph.
    look
        Number of the look, from 0.
    values
        (rows, columns) over the whole source: worth in nats of a look there, above any zero (`ValueMap.heat`).
    best
        The window of most worth, source pixels.
    regret
        What it is worth above the look that was taken, nats, from 0.

    Raises
    ------
    R3labError
        If there is no such look, or the map is none.
    """
    values = np.asarray(values, dtype=np.float64)
    own, said = _check(t, look, values, regret), value_words(t, look, best, regret)
    w, h = fitted(source_size(t), MAP, MAP * 1.2)
    width, right = 2 * MARGIN + 2 * w + GAP + 0.95, MARGIN + w + GAP
    inner = width - 2 * MARGIN
    with style():
        canvas = Canvas(width, None)
        top = canvas.text(MARGIN, MARGIN * 0.8, t.question, inner, TITLE, 2, bold=True) + 0.42
        canvas.line(MARGIN, top - 0.24, f"Look {look + 1} and the best place", HEADING, LIGHT.ink, bold=True)
        canvas.line(right, top - 0.24, "What a look would have been worth", HEADING, LIGHT.ink, bold=True)
        photo = canvas.picture(photograph(t), MARGIN, top, w, h, source_box(t), "photo")
        heat = canvas.axes(right, top, w, h, source_box(t), "map")
        values = values - values.mean()
        low, high = float(values.min()), float(values.max())
        far = max(-low, high, 1e-6)
        lay(heat, values, source_box(t), interpolation="nearest", cmap=WORTH, vmin=-far, vmax=far)
        for axes in (photo, heat):
            _regions(axes, t, own, look, best)
        _scale(canvas, far, right + w + 0.12, top, h)
        y = canvas.text(MARGIN, top + h + 0.16, said, inner, HEADING, 4) + 0.08
        x = MARGIN
        for colour, dashes, words in ((look_colour(look + 1), None, f"look {look + 1}"), (BEST, DOTS, "best window")):
            canvas.swatch(x, y, colour, 1.9, dashes)
            canvas.line(x + 0.28, y, words, SMALL, LIGHT.muted)
            x += 0.28 + text_width(words, SMALL) + 0.25
        canvas.key(x, y, ["truth"] * bool(true_regions(t)))
        figure = canvas.cut(y + height(1, SMALL) + 0.38)
    place = "" if own.box is None else f"look {look + 1} at the {where_in(own.box, source_size(t))}, "
    alt = (
        f"Value map. Question: {quoted(t.question, 300)} The photograph twice, with {place}the best window at "
        f"[{', '.join(f'{v:.0f}' for v in best)}]{', and the true region' if true_regions(t) else ''}; on the second a "
        f"map of what a look would have been worth at each place, from {low:+.2f} to {high:+.2f} nats above a look at "
        f"a random place. {said}"
    )
    return Picture(figure, alt)


def _check(t: Trajectory, look: int, values: np.ndarray, regret: float) -> Look:
    """The look, if all fits."""
    if not 0 <= look < len(t.looks) or t.looks[look].box is None:
        raise R3labError(
            f"There is no look {look} with a box; the trajectory has {len(t.looks)} looks, counted from 0."
        )
    if not _finite(values):
        raise R3labError(f"A value map must be rows of finite numbers, got {shown(values)}.")
    if not regret >= 0 or not np.isfinite(regret):
        raise R3labError(f"Regret is a number of nats from 0, got {shown(regret)}.")
    return t.looks[look]


def _regions(axes: Axes, t: Trajectory, own: Look, look: int, best: Box) -> None:
    for region in true_regions(t):
        draw_truth(axes, region)
    seen = drawable_part(best, axes)
    if seen is not None:
        outline(axes, seen, BEST, 2.0, "best", wider=1.6, alpha=1.0, dashes=DOTS)
    if own.box is not None:
        draw_look(axes, own.box, look + 1, own.valid)


def _scale(canvas: Canvas, far: float, x: float, y: float, tall: float) -> None:
    """Colours from the least to the most, with nats, and a random place in the middle."""
    axes = canvas.axes(x, y, 0.14, tall, (0, 0, 1, 1), "scale")
    axes.imshow(np.linspace(1, 0, 128)[:, None], cmap=WORTH, aspect="auto", extent=(0, 1, 1, 0), origin="upper")
    axes.axhline(0.5, color=HALO[1], linewidth=0.8)
    for place, words in ((0.0, f"{far:+.2g} nats"), (0.5, "random place"), (1.0, f"{-far:+.2g} nats")):
        canvas.line(x + 0.2, y + place * (tall - height(1, SMALL)), words, SMALL, LIGHT.muted)


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


HIGH, WIDE = 3.1, 4.6  # inches of a panel


def persistence(panels: Mapping[str, Mapping[str, AlignedMean]], level: Mapping[str, float] | None = None) -> Picture:
    """Draw lines of attention along what was written.

    Parameters
    ----------
    panels
        By the title of a panel, by the name of a line: what `explain.maps.align` found. A name has the same
        colour and dashes in every panel.
    level
        By the title of a panel, a value that is marked, such as an even share.

    Raises
    ------
    R3labError
        If there is nothing to draw, or there are more lines than can be told apart.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if not names or len(names) > len(RUNS):
        raise R3labError(f"{len(names)} lines cannot be drawn; give 1 to {len(RUNS)}")
    said = ["Lines of attention along what was written, counted from the end of the first box."]
    with style():
        figure = Figure(figsize=(WIDE * len(panels), HIGH), layout="constrained", facecolor=LIGHT.paper)
        for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for name, line in lines.items():
                values, low, high = zip(*((m.value, m.low, m.high) for m in line.mean), strict=True)
                draw_band(axes, names.index(name), line.at, values, low, high, label=one_line(name, 40))
            axes.axvline(0, color=LIGHT.muted, linewidth=0.8, linestyle=":")
            if level and title in level:
                axes.axhline(level[title], color=LIGHT.ink, linewidth=0.8)
            axes.set(title=one_line(title, 60), xlabel="tokens written since the first box", ylim=(0, None))
            axes.grid(axis="y")
            axes.legend(frameon=False, fontsize=SMALL)
            told = "; ".join(f"{one_line(name, 40)}: {_points(line)}" for name, line in lines.items())
            said.append(f"{one_line(title, 60)}. {told}.")
    return Picture(figure, " ".join(said))


def _points(line: AlignedMean) -> str:
    """A line in words: at its beginning, at the box, and at its end."""
    steps = sorted({line.at[0], min(line.at, key=abs), line.at[-1]})
    values = [(line.mean[line.at.index(step)], step) for step in steps]
    return ", ".join(f"{m.value:.2f} ({m.low:.2f} to {m.high:.2f}) at {step:+d}" for m, step in values)
