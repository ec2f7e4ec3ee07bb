"""The token ribbon: every token of a trajectory in order, coloured by what is asked, with the loss mask under it.

    ribbon(trajectory)                                           # last line of a cell
    ribbon(trajectory, ratio=new_over_old, attention=mass, by="ratio").save("ribbon.html")

Colour says one thing at a time: the kind of a token, its log-probability, entropy, importance ratio, advantage, or the
attention that it received. A thick line under a token means that it carries loss. Image tokens stand as a grid of small
squares, as they lie in the image. Pointing at a token, or arrow keys, read out its numbers. Simplified: colours come in
sixteen levels, so that four thousand tokens need no style of their own; the picture that stands where no code runs
has the first 320 tokens with text.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle

from ..core.errors import R3labError, nearest, shown
from ..core.geometry import Size
from ..trajectory import Kind, Trajectory
from .canvas import Canvas
from .palette import BODY, DIVERGING, KINDS, SEQUENTIAL, SMALL, TITLE, Theme, ink_on, on_scale, style, theme
from .picture import Picture, View
from .text import MISSING, clean, drawable, height, one_line, quoted, text_width, wrap, write

MOST = 20_000  # tokens
PIECE = 80  # characters of one token that are shown
BREAK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
_WORDS = {
    Kind.PROMPT: "prompt",
    Kind.OVERVIEW: "overview",
    Kind.SAMPLED: "sampled",
    Kind.ENVIRONMENT: "environment",
    Kind.CROP: "crop",
    Kind.PAD: "padding",
}
IMAGE = (Kind.OVERVIEW, Kind.CROP)
LEVELS, KIND = 16, "kind"
SHOWN, WIDTH, MARGIN = 320, 9.0, 0.28  # tokens with text; inches
CELL, TALLEST, ROW, PAD = 0.085, 2.2, 0.235, 0.035  # inches: an image token, a grid, a line, around a token's text
Values = Sequence[float | None]


def ribbon(
    t: Trajectory,
    ratio: Values | None = None,
    advantage: Values | None = None,
    attention: Values | None = None,
    by: str = KIND,
    dark: bool = False,
) -> View:
    """The tokens of a trajectory, to be coloured by any of their numbers.

    Parameters
    ----------
    t
        A trajectory of at most 20,000 tokens.
    ratio, advantage, attention
        As of `measures_of`.
    by
        What they are coloured by at first: "kind", "log-probability", "entropy", "ratio", "advantage" or "attention
        received".
    dark
        For the picture that stands where no code runs.

    Raises
    ------
    R3labError
        If the numbers do not fit, there is no such measure, or there are too many tokens.

    Examples
    --------
    >>> bool(r3lab.ribbon(trajectories[0], by="entropy").picture.alt)
    True
    """
    measures = measures_of(t, ratio, advantage, attention)
    body = tokens(t, measures, chosen_measure(by, measures))
    return View(f"Tokens: {clean(t.question, 150)}", body, _drawn(t, measures, by, dark), rules())


# -- what tokens are coloured by --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A number a token, and how it becomes a colour.

    Attributes
    ----------
    name : in words
    values : one a token, None where there is none
    low, high : ends of the scale, as they are labelled
    middle : for scales with two sides, the value in the middle; None for others
    logarithmic : equal factors are equal steps of colour
    """

    name: str
    values: Values
    low: float
    high: float
    middle: float | None = None
    logarithmic: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The scale's colours."""
        return SEQUENTIAL if self.middle is None else DIVERGING

    def level(self, value: float) -> int:
        """0 to 15."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = (math.log(max(v, 1e-9)) for v in (low, high, value))
        place = (value - low) / (high - low) if high > low else 0.5
        return min(LEVELS - 1, max(0, int(place * LEVELS)))

    def colour(self, level: int) -> str:
        """Of a level, #RRGGBB."""
        return on_scale(self.stops, (level + 0.5) / LEVELS)


def measures_of(
    t: Trajectory, ratio: Values | None = None, advantage: Values | None = None, attention: Values | None = None
) -> dict[str, Measure]:
    """What the tokens of a trajectory can be coloured by, besides their kind.

    Parameters
    ----------
    ratio
        Importance ratio of each token, policy over the policy that sampled.
    advantage
        Of each token; by default that of the trajectory, where it has one, on every token that carries loss.
    attention
        Attention that each token received, from zero.

    Raises
    ------
    R3labError
        If one has not one value a token, or a value that is not finite.
    """
    n = len(t.ids)
    given = {"ratio": ratio, "advantage": advantage, "attention received": attention}
    for name, values in given.items():
        if values is None:
            continue
        if len(values) != n:
            raise R3labError(f"{name} has {len(values)} values for {n} tokens; give one a token, None for none.")
        bad = [v for v in values if v is not None and not math.isfinite(v)]
        if bad:
            raise R3labError(f"{name} holds {shown(bad[0])}; give finite numbers, None for none.")
    if advantage is None and t.advantage is not None and math.isfinite(t.advantage):
        advantage = [t.advantage if sampled else None for sampled in t.sampled_mask]
    all_values = {"log-probability": t.logprobs, "entropy": t.entropies, **given, "advantage": advantage}
    found = {}
    for name, values in all_values.items():
        if values is None:
            continue
        known = [float(v) for v in values if v is not None and math.isfinite(v)]
        if known:
            found[name] = Measure(name, values, *_scale(name, known))
    return found


def _scale(name: str, known: Sequence[float]) -> tuple[float, float, float | None, bool]:
    """Of a measure with these values: low, high, middle, whether it is logarithmic."""
    least, most, far = min(known), max(known), max(map(abs, known))
    if name == "log-probability":
        return min(least, -1e-3), 0.0, None, False
    if name == "ratio":
        far = max(1.05, most, 1 / max(least, 1e-9))
        return 1 / far, far, 1.0, True
    if name == "advantage":
        far = max(1e-3, far)
        return -far, far, 0.0, False
    return 0.0, max(most, 1e-3 if name == "entropy" else 1e-9), None, False


def chosen_measure(by: str, measures: dict[str, Measure]) -> str:
    """The name, if there is such a measure.

    Raises
    ------
    R3labError
        Naming what there is.
    """
    names = [KIND, *measures]
    if by not in names:
        raise R3labError(
            f"These tokens cannot be coloured by {shown(by)}; there is {', '.join(names)}.{nearest(by, names)}"
        )
    return by


# -- as HTML ----------------------------------------------------------------------------------------------------------


def tokens(t: Trajectory, measures: dict[str, Measure], by: str = KIND, images: bool = True) -> str:
    """The ribbon's markup; a page that shows it needs `rules` too.

    Parameters
    ----------
    images
        False: a run of image tokens is told by its number alone.

    Raises
    ------
    R3labError
        If there are more than 20,000 tokens.
    """
    if len(t.ids) > MOST:
        raise R3labError(f"The trajectory has {len(t.ids)} tokens, the ribbon shows at most {MOST}; give t.until(...).")
    names = [KIND, *measures]
    at = names.index(by)
    choices = "".join(
        f'<label><input type="radio" value="{i}"{" checked" if i == at else ""}> {name}</label>'
        for i, name in enumerate(names)
    )
    keys = [_kinds_key(t), *map(_key, measures.values())]
    scales = "".join(
        f'<span data-measure="{i}"{"" if i == at else " hidden"}>{key}</span>' for i, key in enumerate(keys)
    )
    parts = []
    for kind, where, size in runs(t):
        if kind in IMAGE:
            count = f"{len(where)} image tokens"
            told = f'<i class="v0-{int(kind)}" title="{count}, {_WORDS[kind]}">{count}</i>'
            parts.append(_grid(t, where, size, measures) if images else told)
        else:
            parts += [_token(t, i, measures, html.escape(piece(t, i), quote=True)) for i in where]
    return (
        '<div class="r3-ribbon"><fieldset class="r3-measures"><legend>Colour by</legend>'
        f'{choices}</fieldset><div class="r3-scale">{scales}'
        '<span><span class="r3-loss">underlined</span> carries loss</span></div>'
        '<p class="r3-readout" role="status">Point at a token, tap it, or use the arrow keys, to read its numbers.</p>'
        f'<div class="r3-tokens" tabindex="0" role="group" aria-label="Tokens" data-show="{at}">'
        f"{''.join(parts)}</div></div>"
    )


def runs(t: Trajectory) -> Iterator[tuple[Kind, list[int], Size]]:
    """Runs of tokens of one kind: the kind, their places, and of image tokens the size of the image in pixels."""
    crops = iter(look.crop for look in t.looks if look.crop)
    for kind, run in groupby(range(len(t.ids)), key=lambda i: Kind(t.kinds[i])):
        where = list(run)
        size = t.overview if kind is Kind.OVERVIEW else (0, 0)
        if kind is Kind.CROP and (crop := next(crops, None)) is not None:
            size = (crop.width, crop.height)
        yield kind, where, size


def piece(t: Trajectory, i: int) -> str:
    """A token's text as it is shown: bounded, a mark for each line break, never empty."""
    text = clean(t.pieces[i], PIECE).replace("\n", f"{BREAK}\n")
    return text or (MISSING if t.pieces[i] else "\N{MIDDLE DOT}")


def _token(t: Trajectory, i: int, measures: dict[str, Measure], text: str) -> str:
    return f'<i class="{_classes(t, i, measures)}" title="{_numbers(t, i, measures)}">{text}</i>'


def _grid(t: Trajectory, where: list[int], size: Size, measures: dict[str, Measure]) -> str:
    """Image tokens as they lie in the image, where their number fits its shape; else in rows of sixteen."""
    columns = columns_of(len(where), size)
    rows = [where[k : k + columns] for k in range(0, len(where), columns)]
    lines = ["".join(_token(t, i, measures, "") for i in row) for row in rows]
    return f'<span class="r3-grid">{"".join(f"<b>{line}</b>" for line in lines)}</span>'


def columns_of(count: int, size: Size) -> int:
    """Columns of the grid of `count` image tokens of an image of `size`; 16 where none fits."""
    if min(size) > 0 and count:
        side = math.sqrt(size[0] * size[1] / count)
        columns = round(size[0] / side)
        if columns and count % columns == 0 and count // columns == round(size[1] / side):
            return columns
    return 16


def _classes(t: Trajectory, i: int, measures: dict[str, Measure]) -> str:
    kind = t.kinds[i]
    names = [f"v0-{kind}"]
    for number, measure in enumerate(measures.values(), start=1):
        value = measure.values[i]
        if value is not None and math.isfinite(value):
            names.append(f"{'d' if measure.middle is not None else 's'}{number}-{measure.level(value)}")
    return " ".join(names) + (" loss" if kind == Kind.SAMPLED else "")


def _numbers(t: Trajectory, i: int, measures: dict[str, Measure]) -> str:
    """What is read out of a token; numbers and our own words alone."""
    kind = Kind(t.kinds[i])
    said = [f"token {i}, id {t.ids[i]}, {_WORDS[kind]}{', carries loss' if kind is Kind.SAMPLED else ''}"]
    for name, measure in measures.items():
        value = measure.values[i]
        if value is not None:
            said.append(f"{name} {value:.4g}")
    return "; ".join(said)


def _kinds_key(t: Trajectory) -> str:
    present = [kind for kind in Kind if kind in t.kinds]
    return " ".join(
        f'<span class="r3-key"><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true"><rect width="14" '
        f'height="14" fill="{KINDS[kind.name]}"/></svg>{t.kinds.count(kind)} {_WORDS[kind]}</span>'
        for kind in present
    )


def _key(measure: Measure) -> str:
    cells = "".join(f'<rect x="{7 * k}" width="7" height="14" fill="{measure.colour(k)}"/>' for k in range(LEVELS))
    middle = "" if measure.middle is None else f", {measure.middle:g} in the middle"
    label = f"colour scale from {measure.low:.3g} to {measure.high:.3g}"
    scale = f'viewBox="0 0 {7 * LEVELS} 14" width="{7 * LEVELS}" height="14" role="img" aria-label="{label}"'
    return f"{measure.low:.3g}<svg {scale}>{cells}</svg>{measure.high:.3g}{middle}"


def rules() -> str:
    """The style of the colours: a rule a measure and level."""
    found = []
    for kind in Kind:
        colour = KINDS[kind.name]
        found.append(f'.r3-tokens[data-show="0"] .v0-{int(kind)}{{background:{colour};color:{ink_on(colour)}}}')
    for number in range(1, 6):
        found.append(f'.r3-tokens[data-show="{number}"] i{{color:var(--muted)}}')
        for letter, stops in (("s", SEQUENTIAL), ("d", DIVERGING)):
            for level in range(LEVELS):
                colour = on_scale(stops, (level + 0.5) / LEVELS)
                found.append(
                    f'.r3-tokens[data-show="{number}"] .{letter}{number}-{level}'
                    f"{{background:{colour};color:{ink_on(colour)}}}"
                )
    return "\n".join(found)


# -- as a picture -----------------------------------------------------------------------------------------------------


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


def _drawn(t: Trajectory, measures: dict[str, Measure], by: str, dark: bool) -> Picture:
    """The tokens of a trajectory, coloured by one of their numbers."""
    chosen, shown = theme(dark), measures.get(by)
    title = wrap(f"Tokens by {by}: {one_line(t.question, 300)}", WIDTH - 2 * MARGIN, TITLE, 2, bold=True)
    sheet = _Sheet(y=MARGIN * 0.8 + height(len(title), TITLE) + 0.46)
    left_out = _lay(t, shown, chosen, sheet)
    sheet.new_line()
    with style(chosen):
        canvas = Canvas(WIDTH, sheet.y + (0.25 if left_out else 0.0) + MARGIN * 0.6, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, chosen.ink, bold=True)
        axes = canvas.axes(0, 0, canvas.width, canvas.height, (0, 0, canvas.width, canvas.height), "tokens")
        _draw_key(canvas, axes, t, shown, y + 0.08)
        _draw_tokens(axes, sheet, chosen)
        if left_out:
            canvas.line(MARGIN, sheet.y + 0.04, f"{left_out} more tokens with text", SMALL, chosen.muted)
    return Picture(canvas.figure, _alt(t, measures, by))


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
    text = "".join(wrap(text, most, BODY, 1)) if text_width(text, BODY) > most else text
    wide = text_width(text, BODY) + 2 * PAD
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


def _draw_tokens(axes: Axes, sheet: _Sheet, chosen: Theme) -> None:
    patches = [Rectangle((x, y), w, h) for x, y, w, h, _ in sheet.cells]
    held = PatchCollection(patches, facecolors=[c for *_, c in sheet.cells], edgecolors="none", gid="cells")
    axes.add_collection(held)
    lines = [[(x, y), (x + w, y)] for x, y, w in sheet.lines]
    axes.add_collection(LineCollection(lines, colors=chosen.ink, linewidths=1.7, capstyle="butt", gid="loss"))
    for x, y, text, colour in sheet.texts:
        write(axes, x, y, text, BODY, colour)


def _draw_key(canvas: Canvas, axes: Axes, t: Trajectory, shown: Measure | None, y: float) -> None:
    """What colours and lines mean, in one line."""
    chosen, x = canvas.theme, MARGIN

    def words(text: str) -> None:
        nonlocal x
        canvas.line(x, y, text, SMALL, chosen.muted)
        x += text_width(text, SMALL) + 0.18

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


def _alt(t: Trajectory, measures: dict[str, Measure], by: str) -> str:
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
