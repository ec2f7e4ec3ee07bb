"""The token ribbon as a picture: for a paper, and for pages that run no code.

    picture(ribbon_figure(trajectory, by="entropy"), ribbon_alt(trajectory, measures_of(trajectory), "entropy"))

Simplified: of the tokens with text the first 320 are drawn; image tokens stand as grids, a line of their own each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..trajectory import Kind, Trajectory
from .canvas import Canvas
from .lettering import drawable, height, measure, one_line, quoted, wrap, write
from .measures import KIND, LEVELS, Measure, Values, chosen_measure, measures_of
from .palette import BODY, KINDS, SMALL, TITLE, Theme, ink_on, style, theme
from .ribbon import IMAGE, columns_of, piece, runs

SHOWN, WIDTH, MARGIN = 320, 9.0, 0.28  # tokens with text; inches
CELL, TALLEST, ROW, PAD = 0.085, 2.2, 0.235, 0.035  # inches: an image token, a grid, a line, around a token's text


@dataclass
class _Sheet:
    """What is drawn, in inches from the upper left corner."""

    cells: list[tuple[float, float, float, float, str]] = field(default_factory=list)  # x, y, width, height, colour
    lines: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, width: tokens that carry loss
    texts: list[tuple[float, float, str, str]] = field(default_factory=list)  # x, y, text, colour
    x: float = MARGIN
    y: float = 0.0

    def new_line(self) -> None:
        if self.x > MARGIN:
            self.x, self.y = MARGIN, self.y + ROW


def ribbon_figure(
    t: Trajectory,
    ratio: Values | None = None,
    advantage: Values | None = None,
    attention: Values | None = None,
    by: str = KIND,
    dark: bool = False,
) -> Figure:
    """Draw the tokens of a trajectory, coloured by one of their numbers.

    Parameters and errors as of `ribbon.ribbon`.
    """
    chosen = theme(dark)
    measures = measures_of(t, ratio, advantage, attention)
    shown = measures.get(chosen_measure(by, measures))
    title = wrap(f"Tokens by {by}: {one_line(t.question, 300)}", WIDTH - 2 * MARGIN, TITLE, 2, bold=True)
    sheet = _Sheet(y=MARGIN * 0.8 + height(len(title), TITLE) + 0.46)
    left_out = _lay(t, shown, chosen, sheet)
    sheet.new_line()
    with style(chosen):
        canvas = Canvas(WIDTH, sheet.y + (0.25 if left_out else 0.0) + MARGIN * 0.6, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, chosen.ink, bold=True)
        axes = canvas.axes(0, 0, canvas.width, canvas.height, (0, 0, canvas.width, canvas.height), "tokens")
        _key(canvas, axes, t, shown, y + 0.08)
        _draw(axes, sheet, chosen)
        if left_out:
            canvas.line(MARGIN, sheet.y + 0.04, f"{left_out} more tokens with text", SMALL, chosen.muted)
    return canvas.figure


def _colour(t: Trajectory, i: int, shown: Measure | None) -> str | None:
    if shown is None:
        return KINDS[Kind(t.kinds[i]).name]
    value = shown.values[i]
    return None if value is None else shown.colour(shown.level(value))


def _lay(t: Trajectory, shown: Measure | None, chosen: Theme, sheet: _Sheet) -> int:
    """Place every token; returns how many with text are left out."""
    drawn = left_out = 0
    for kind, where, size in runs(t):
        if kind in IMAGE:
            _lay_grid(t, where, columns_of(len(where), size), shown, chosen, sheet)
            continue
        for i in where:
            if drawn >= SHOWN:
                left_out += 1
                continue
            drawn += 1
            _lay_token(t, i, shown, chosen, sheet)
    return left_out


def _lay_token(t: Trajectory, i: int, shown: Measure | None, chosen: Theme, sheet: _Sheet) -> None:
    text = drawable(piece(t, i).replace("\n", ""))
    most = WIDTH - 2 * MARGIN - 2 * PAD
    text = "".join(wrap(text, most, BODY, 1)) if measure(text, BODY) > most else text
    wide = measure(text, BODY) + 2 * PAD
    if sheet.x + wide > WIDTH - MARGIN:
        sheet.new_line()
    colour = _colour(t, i, shown)
    if colour is not None:
        sheet.cells.append((sheet.x, sheet.y, wide, ROW - 0.065, colour))
    if t.kinds[i] == Kind.SAMPLED:
        sheet.lines.append((sheet.x, sheet.y + ROW - 0.05, wide))
    sheet.texts.append((sheet.x + PAD, sheet.y + 0.02, text, ink_on(colour) if colour else chosen.muted))
    sheet.x += wide + 0.02
    if "\n" in t.pieces[i]:
        sheet.new_line()


def _lay_grid(
    t: Trajectory, where: list[int], columns: int, shown: Measure | None, chosen: Theme, sheet: _Sheet
) -> None:
    sheet.new_line()
    rows = -(-len(where) // columns)
    side = min(CELL, TALLEST / rows, (WIDTH - 2 * MARGIN - 1.2) / columns)
    for place, i in enumerate(where):
        row, column = divmod(place, columns)
        spot = (MARGIN + column * side, sheet.y + row * side, 0.88 * side, 0.88 * side)
        sheet.cells.append((*spot, _colour(t, i, shown) or chosen.faint))
    name = "overview" if t.kinds[where[0]] == Kind.OVERVIEW else "crop"
    sheet.texts.append((MARGIN + columns * side + 0.1, sheet.y, f"{len(where)} image tokens, {name}", chosen.muted))
    sheet.y += max(ROW, rows * side + 0.06)


def _draw(axes: Axes, sheet: _Sheet, chosen: Theme) -> None:
    patches = [Rectangle((x, y), w, h) for x, y, w, h, _ in sheet.cells]
    held = PatchCollection(patches, facecolors=[c for *_, c in sheet.cells], edgecolors="none", gid="cells")
    axes.add_collection(held)
    lines = [[(x, y), (x + w, y)] for x, y, w in sheet.lines]
    axes.add_collection(LineCollection(lines, colors=chosen.ink, linewidths=1.7, capstyle="butt", gid="loss"))
    for x, y, text, colour in sheet.texts:
        write(axes, x, y, text, BODY, colour)


def _key(canvas: Canvas, axes: Axes, t: Trajectory, shown: Measure | None, y: float) -> None:
    """What colours and lines mean, in one line."""
    chosen, x = canvas.theme, MARGIN

    def words(text: str) -> None:
        nonlocal x
        canvas.line(x, y, text, SMALL, chosen.muted)
        x += measure(text, SMALL) + 0.18

    if shown is None:
        for kind in Kind:
            if kind in t.kinds:
                axes.add_patch(Rectangle((x, y), 0.12, 0.12, facecolor=KINDS[kind.name], edgecolor="none"))
                x += 0.17
                words(f"{t.kinds.count(kind)} {kind.name.lower()}")
    else:
        words(f"{shown.low:.3g}")
        x -= 0.1
        for level in range(LEVELS):
            axes.add_patch(Rectangle((x, y), 0.075, 0.13, facecolor=shown.colour(level), edgecolor="none"))
            x += 0.075
        x += 0.08
        words(f"{shown.high:.3g}")
    axes.add_collection(LineCollection([[(x, y + 0.07), (x + 0.25, y + 0.07)]], colors=chosen.ink, linewidths=1.7))
    x += 0.31
    words("carries loss")


def ribbon_alt(t: Trajectory, measures: dict[str, Measure], by: str = KIND) -> str:
    """What the ribbon shows, in words."""
    counts = ", ".join(f"{t.kinds.count(kind)} {kind.name.lower()}" for kind in Kind if kind in t.kinds)
    said = [f"The {len(t.ids)} tokens of a rollout in order, coloured by {by}: {counts}."]
    said.append("Only the sampled ones are underlined: they carry loss.")
    shown = measures.get(by)
    if shown is not None:
        known = [(v, i) for i, v in enumerate(shown.values) if v is not None]
        for word, (value, i) in (("lowest", min(known)), ("highest", max(known))):
            said.append(f"The {word} {by} is {value:.3g}, at token {i}, {quoted(piece(t, i), 40)}.")
    said.append(f"The text reads: {quoted(t.response_text, 1200)}")
    return " ".join(said)
