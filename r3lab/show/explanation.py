"""An explanation as a picture: for each look, what attention says drew it, what it was worth, and the verdict above.

Maps lie on the photograph as spotlights, bright where much is. Bars say by how much what was written becomes less
likely with another crop in the place of the look's. Simplified: the first six looks; the record has all of them.

    show_explanation(explain(policy, trajectory))          # the last line of a notebook cell
"""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..explain.explanation import Explanation, LookEntry, Worth
from ..explain.heat import HeatMap
from .alt import Picture, picture
from .boxes import draw_look, draw_truth
from .canvas import Canvas, fitted
from .heat import spotlight
from .lettering import height, one_line, wrap
from .palette import BODY, HALO, HEADING, LOOKS, SMALL, TITLE, look_colour, style, theme
from .story import photograph, source_size, true_regions

SHOWN_LOOKS, BARS = 6, 8
MARGIN, GAP, SIDE, CROP, CHART = 0.28, 0.22, 1.75, 1.1, 2.6  # inches: pictures, crop, bars
PANELS = (("raw", "attention"), ("relative", "relative attention"), ("value", "worth of a look"))


def show_explanation(explanation: Explanation, dark: bool = False) -> Picture:
    """The picture with its alt text, for a notebook."""
    return picture(explanation_figure(explanation, dark), explanation_alt(explanation))


def explanation_figure(explanation: Explanation, dark: bool = False) -> Figure:
    """Draw an explanation.

    Parameters
    ----------
    explanation
        From `explain.verdict.explain`, or loaded; all text in it is drawn as foreign.
    dark
        For a dark page.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window.
    """
    e, chosen = explanation, theme(dark)
    width = 2 * MARGIN + len(PANELS) * (SIDE + GAP) + CROP + GAP + CHART
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
    return canvas.figure


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
            x += SIDE + GAP
    look = e.trajectory.looks[entry.number]
    if look.crop is not None and look.box is not None:
        canvas.line(x, y, "crop", HEADING, ink, bold=True)
        w, h = fitted((look.crop.width, look.crop.height), CROP, tall)
        axes = canvas.picture(
            e.trajectory.images.get(look.crop.hash), x, top, w, h, look.box, f"crop-{number}", "crop not kept"
        )
        canvas.border(axes, look_colour(number), 2.0)
        x += CROP + GAP
    _bars(canvas, entry, x, y, tall)
    return None


def _panel(canvas: Canvas, e: Explanation, entry: LookEntry, heat: HeatMap, x: float, y: float, gid: str) -> None:
    """A map over the photograph, with the look and the true regions."""
    size = source_size(e.trajectory)
    w, h = fitted(size, SIDE, SIDE * 1.3)
    axes = canvas.picture(photograph(e.trajectory), x, y, w, h, (0, 0, *size), gid)
    x1, y1, x2, y2 = heat.box
    least = float(heat.values.min()) if gid.endswith("value") else 0.0  # worth has no zero of its own
    shade = spotlight(replace(heat, values=heat.values - least))
    axes.imshow(shade, extent=(x1, x2, y2, y1), aspect="auto", interpolation="nearest", origin="upper", zorder=2)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
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
        canvas.figure.add_artist(
            Rectangle(
                (left / canvas.width, 1 - (high + 0.11) / canvas.height),
                long / canvas.width,
                0.09 / canvas.height,
                facecolor=LOOKS[0] if worth.given < 0 else LOOKS[1],
                edgecolor=HALO[0],
                linewidth=0.3,
                transform=canvas.figure.transFigure,
            )
        )
        answer = "no answer" if worth.answer is None else one_line(worth.answer, 10)
        arrow = f" \N{RIGHTWARDS ARROW} {answer}" if worth.changed else ""
        canvas.line(left + long + 0.06, high, f"{worth.given:+.1f}{arrow}", SMALL, theme_.ink)


def explanation_alt(explanation: Explanation) -> str:
    """What `explanation_figure` shows, in words."""
    e = explanation
    said = [
        f"Question: {one_line(e.trajectory.question, 300)}",
        f"Verdict: {e.verdict.kind}. {one_line(e.sentence, 800)}",
    ]
    said += [one_line(entry.sentence, 1200) for entry in e.looks[:SHOWN_LOOKS]]
    if len(e.looks) > SHOWN_LOOKS:
        said.append(f"{len(e.looks) - SHOWN_LOOKS} more looks are not shown.")
    return " ".join(said)
