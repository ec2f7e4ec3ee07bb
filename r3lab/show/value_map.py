"""The value map of a look: where a look would have been worth what, where the policy looked, what it missed.

On the left the photograph with the look, the best window and the true region; on the right the map, with a scale in
nats; under them the regret in words. Worth is the log-probability of the right answer (of the answer given, where none
is known) above that without any crop, so a place below zero would have done harm. Simplified: a cell shows the mean of
the windows that cover it, so its colour may be weaker than the best window's worth.

    value = value_map(policy, trajectory, look=0)                 # explain.crop_value, needs the policy
    picture(draw_value(trajectory, 0, value.heat(), value.best.box, value.regret), value_alt(...))

From a saved explanation (no policy): its map "look 1 value", and `best` and `regret` of its entry.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import R3labError, shown
from ..geometry import Box, iou
from ..trajectory import Look, Trajectory
from .boxes import draw_look, draw_truth, drawable_part
from .canvas import KEY_ROW, Canvas, fitted
from .lettering import height, measure, quoted, wrap
from .palette import DIVERGING, HALO, HEADING, OKABE_ITO, SMALL, TITLE, look_colour, style, theme
from .story import photograph, source_size, true_regions, verdict, where

MARGIN, WIDE, GAP = 0.28, 3.6, 0.4  # inches
BEST = OKABE_ITO["reddish purple"]
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


def draw_value(t: Trajectory, look: int, values: np.ndarray, best: Box, regret: float, dark: bool = False) -> Figure:
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
    w, h = fitted(size, WIDE, WIDE * 1.2)
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
        heat.imshow(
            values, cmap=colours, vmin=low, vmax=max(high, low + 1e-6), extent=(0, size[0], size[1], 0), aspect="auto",
            interpolation="nearest", origin="upper",
        )  # fmt: skip
        heat.set(xlim=(0, size[0]), ylim=(size[1], 0))
        _regions(heat, t, own, look, best)
        _scale(canvas, low, high, right + w + 0.12, top, h)
        y = canvas.block(MARGIN, top + h + 0.16, said, HEADING, chosen.ink)
        _key(canvas, y + 0.08, bool(true_regions(t)), look + 1)
    return canvas.figure


def _regions(axes: Axes, t: Trajectory, own: Look, look: int, best: Box) -> None:
    for region in true_regions(t):
        draw_truth(axes, region)
    seen = drawable_part(best, axes)
    if seen is not None:
        x1, y1, x2, y2 = seen
        for colour, wide, name in ((HALO[0], 3.6, None), (BEST, 2.0, f"{axes.get_gid()}-best")):
            axes.add_patch(
                Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=wide, zorder=4, gid=name,
                          linestyle=(0, (1.2, 1.2)) if name else "solid")
            )  # fmt: skip
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
    signs = [(look_colour(number), "solid", f"look {number}"), (BEST, (0, (1.2, 1.2)), "best window")]
    for colour, dashes, words in signs:
        canvas.figure.add_artist(
            Rectangle(
                (x / canvas.width, 1 - (y + 0.11) / canvas.height),
                0.2 / canvas.width,
                0.09 / canvas.height,
                fill=False,
                edgecolor=colour,
                linewidth=1.9,
                linestyle=dashes,
                transform=canvas.figure.transFigure,
            )
        )
        canvas.line(x + 0.28, y, words, SMALL, canvas.theme.muted)
        x += 0.28 + measure(words, SMALL) + 0.25
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
        f"The best place, {where(best, size)} of the photograph, would have been worth {regret:.2f} nats more: "
        f"{answer} would have been {far} as likely."
    )
    if own.box is not None:
        apart = iou(own.box, best)
        said += " It overlaps the look that was taken" if apart else " The look that was taken does not touch it"
        said += f" (IoU {apart:.2f})." if apart else "."
    return said


def value_alt(t: Trajectory, look: int, values: np.ndarray, best: Box, regret: float) -> str:
    """What the drawing shows, in words."""
    values = np.asarray(values)
    own = t.looks[look].box
    place = "" if own is None else f"look {look + 1} at the {where(own, source_size(t))}, "
    box = ", ".join(f"{v:.0f}" for v in best)
    return (
        f"Value map. Question: {quoted(t.question, 300)} The photograph twice, with {place}the best window at "
        f"[{box}]{', and the true region' if true_regions(t) else ''}; on the second a map of what a look would have "
        f"been worth at each place, from {values.min():+.2f} to {values.max():+.2f} nats above no crop. "
        f"{value_words(t, look, best, regret)}"
    )
