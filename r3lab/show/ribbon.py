"""The token ribbon: every token of a trajectory in order, coloured by what is asked, with the loss mask under it.

    ribbon(trajectory)                                           # last line of a cell
    ribbon(trajectory, {"attention received": mass}, by="entropy").save("ribbon.html")

Colour says one thing at a time: the kind of a token, its log-probability, entropy, advantage, or any number that is
given. A thick line under a token means that it carries loss. Image tokens stand as a grid of small
squares, as they lie in the image. Pointing at a token, or arrow keys, read out its numbers. Simplified: colours come in
sixteen levels, so that four thousand tokens need no style of their own; the picture that stands where no code runs
has the first 320 tokens with text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle

from ..core.errors import R3labError, nearest, shown
from ..core.geometry import Size
from ..trajectory import Kind, Trajectory
from .canvas import Canvas
from .palette import BODY, DIVERGING, KINDS, LIGHT, SEQUENTIAL, SMALL, TITLE, ink_on, on_scale, style
from .picture import Picture, View, render
from .text import MISSING, clean, drawable, one_line, quoted, text_width, wrap, write

MOST = 20_000  # tokens
PIECE = 80  # characters of one token that are shown
BREAK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
LEVELS, KIND = 16, "kind"
Values = Sequence[float | None]


def ribbon(t: Trajectory, numbers: Mapping[str, Values] | None = None, by: str = KIND) -> View:
    """The tokens of a trajectory, to be coloured by any of their numbers.

    Parameters
    ----------
    t
        A trajectory of at most 20,000 tokens.
    numbers
        As of `measures_of`.
    by
        What they are coloured by at first: "kind", "log-probability", "entropy", "advantage", or a name of `numbers`.

    Raises
    ------
    R3labError
        If the numbers do not fit, there is no such measure, or there are too many tokens.

    Examples
    --------
    >>> bool(r3lab.ribbon(trajectories[0], by="entropy").picture.alt)
    True
    """
    measures = measures_of(t, numbers)
    names = [KIND, *measures]
    if by not in names:
        raise R3labError(
            f"These tokens cannot be coloured by {shown(by)}; there is {', '.join(names)}.{nearest(by, names)}"
        )
    style = rules(len(measures))
    return View(f"Tokens: {clean(t.question, 150)}", tokens(t, measures, by), _drawn(t, measures, by), style)


# -- what tokens are coloured by --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A number a token, and how it becomes a colour.

    Attributes
    ----------
    values : one a token, None where there is none
    low, high : ends of the scale
    signed : whether 0 is in the middle of the scale, which has two sides
    """

    values: Values
    low: float
    high: float
    signed: bool

    def level(self, value: float) -> int:
        """0 to 15."""
        return min(LEVELS - 1, max(0, int((value - self.low) / (self.high - self.low) * LEVELS)))

    def colour(self, level: int) -> str:
        """Of a level, #RRGGBB."""
        return on_scale(DIVERGING if self.signed else SEQUENTIAL, (level + 0.5) / LEVELS)


def measures_of(t: Trajectory, numbers: Mapping[str, Values] | None = None) -> dict[str, Measure]:
    """What the tokens of a trajectory can be coloured by, besides their kind.

    Parameters
    ----------
    numbers
        More of them by name: one a token, None where there is none. Where both signs occur, 0 is in the middle of the
        scale, as for an importance ratio less one; else at its end, as for the attention that a token received.

    Raises
    ------
    R3labError
        If one has not one value a token, or a value that is not finite.
    """
    given = numbers or {}
    for name, values in given.items():
        if len(values) != len(t.ids):
            raise R3labError(f"{name} has {len(values)} values for {len(t.ids)} tokens; give one each, None for none.")
        bad = [v for v in values if v is not None and not math.isfinite(v)]
        if bad:
            raise R3labError(f"{name} holds {shown(bad[0])}; give finite numbers, None for none.")
    advantage = [t.advantage if sampled else None for sampled in t.sampled_mask]
    own: dict[str, Values] = {"log-probability": t.logprobs, "entropy": t.entropies, "advantage": advantage}
    found = {}
    for name, values in {**own, **given}.items():
        known = [float(v) for v in values if v is not None and math.isfinite(v)]
        if known:
            low, high = min(0.0, *known), max(0.0, *known)
            signed, far = name == "advantage" or low < 0 < high, max(-low, high, 1e-9)
            low, high = (-far, far) if signed else (low, high) if low < high else (0.0, far)
            found[name] = Measure(values, low, high, signed)
    return found


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
    kinds = " ".join(
        f'<span class="r3-key">{_cells([KINDS[kind.name]], 14)}{t.kinds.count(kind)} {kind.name.lower()}</span>'
        for kind in Kind
        if kind in t.kinds
    )
    keys = {KIND: Markup(kinds)}
    for name, measure in measures.items():
        label = f"colour scale from {measure.low:.3g} to {measure.high:.3g}"
        scale = _cells([measure.colour(level) for level in range(LEVELS)], 7, label)
        keys[name] = Markup(f"{measure.low:.3g}{scale}{measure.high:.3g}")

    def token(i: int, text: str) -> Markup:
        return Markup(
            f'<i class="{_classes(t, i, measures)}" title="{escape(_numbers(t, i, measures))}">{escape(text)}</i>'
        )

    return render(
        "ribbon.html", keys=keys, by=by, runs=runs(t), images=images, token=token, piece=lambda i: piece(t, i)
    )


def _cells(colours: Sequence[str], wide: int, label: str = "") -> str:
    """Colours beside each other, for a key."""
    cells = "".join(f'<rect x="{wide * k}" width="{wide}" height="14" fill="{c}"/>' for k, c in enumerate(colours))
    role = f'role="img" aria-label="{label}"' if label else 'aria-hidden="true"'
    width = wide * len(colours)
    return f'<svg viewBox="0 0 {width} 14" width="{width}" height="14" {role}>{cells}</svg>'


def runs(t: Trajectory) -> Iterator[tuple[Kind, list[int], int]]:
    """Runs of tokens of one kind: the kind, their places, and of image tokens the columns of their grid, else 0."""
    crops = iter(look.crop for look in t.looks if look.crop)
    for kind, run in groupby(range(len(t.ids)), key=lambda i: Kind(t.kinds[i])):
        where, size = list(run), t.overview
        if kind is Kind.CROP:
            crop = next(crops, None)
            size = (crop.width, crop.height) if crop else (0, 0)
        yield kind, where, columns_of(len(where), size) if kind in (Kind.OVERVIEW, Kind.CROP) else 0


def piece(t: Trajectory, i: int) -> str:
    """A token's text as it is shown: bounded, a mark for each line break, never empty."""
    text = clean(t.pieces[i], PIECE).replace("\n", f"{BREAK}\n")
    return text or (MISSING if t.pieces[i] else "\N{MIDDLE DOT}")


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
            names.append(f"{'d' if measure.signed else 's'}{number}-{measure.level(value)}")
    return " ".join(names) + (" loss" if kind == Kind.SAMPLED else "")


def _numbers(t: Trajectory, i: int, measures: dict[str, Measure]) -> str:
    """What is read out of a token."""
    kind = Kind(t.kinds[i])
    said = [f"token {i}, id {t.ids[i]}, {kind.name.lower()}{', carries loss' if kind is Kind.SAMPLED else ''}"]
    said += [f"{name} {value:.4g}" for name, one in measures.items() if (value := one.values[i]) is not None]
    return "; ".join(said)


def rules(count: int = 3) -> str:
    """The style of the colours of so many measures: a rule a measure and level."""
    painted = [(f'"0"] .v0-{int(kind)}', KINDS[kind.name]) for kind in Kind]
    for number in range(1, count + 1):
        for letter, stops in (("s", SEQUENTIAL), ("d", DIVERGING)):
            for level in range(LEVELS):
                painted.append((f'"{number}"] .{letter}{number}-{level}', on_scale(stops, (level + 0.5) / LEVELS)))
    plain = [f'.r3-tokens[data-show="{number}"] i{{color:var(--muted)}}' for number in range(1, count + 1)]
    found = [f".r3-tokens[data-show={where}{{background:{c};color:{ink_on(c)}}}" for where, c in painted]
    return "\n".join([*plain, *found])


# -- as a picture -----------------------------------------------------------------------------------------------------

SHOWN, WIDTH, MARGIN = 320, 9.0, 0.28  # tokens with text; inches
CELL, TALLEST, ROW, PAD = 0.085, 2.2, 0.235, 0.035  # inches: an image token, a grid, a line, around a token's text


def _drawn(t: Trajectory, measures: dict[str, Measure], by: str) -> Picture:
    """The tokens of a trajectory, coloured by one of their numbers."""
    shown, inner = measures.get(by), WIDTH - 2 * MARGIN
    cells: list[tuple[Rectangle, str]] = []
    lines: list[list[tuple[float, float]]] = []  # under tokens that carry loss
    x, drawn, with_text = MARGIN, 0, 0
    with style():
        canvas = Canvas(WIDTH, None)
        y = canvas.text(
            MARGIN, MARGIN * 0.8, f"Tokens by {by}: {one_line(t.question, 300)}", inner, TITLE, 2, bold=True
        )
        _draw_key(canvas, t, shown, y + 0.08)
        y += 0.46
        for kind, where, columns in runs(t):
            if columns:
                y += ROW * (x > MARGIN)
                rows = -(-len(where) // columns)
                side = min(CELL, TALLEST / rows, (inner - 1.2) / columns)
                for place, i in enumerate(where):
                    spot = (MARGIN + place % columns * side, y + place // columns * side)
                    cells.append((Rectangle(spot, 0.88 * side, 0.88 * side), _colour(t, i, shown) or LIGHT.faint))
                words = f"{len(where)} image tokens, {kind.name.lower()}"
                _write(canvas, MARGIN + columns * side + 0.1, y, words, LIGHT.muted)
                x, y = MARGIN, y + max(ROW, rows * side + 0.06)
                continue
            with_text += len(where)
            for i in where[: SHOWN - drawn]:
                text = drawable(piece(t, i).replace("\n", ""))
                if text_width(text, BODY) > inner - 2 * PAD:
                    text = "".join(wrap(text, inner - 2 * PAD, BODY, 1))
                wide = text_width(text, BODY) + 2 * PAD
                if x + wide > WIDTH - MARGIN and x > MARGIN:
                    x, y = MARGIN, y + ROW
                colour = _colour(t, i, shown)
                if colour is not None:
                    cells.append((Rectangle((x, y), wide, ROW - 0.065), colour))
                if kind is Kind.SAMPLED:
                    lines.append([(x, y + ROW - 0.05), (x + wide, y + ROW - 0.05)])
                _write(canvas, x + PAD, y + 0.02, text, ink_on(colour) if colour else LIGHT.muted)
                x, drawn = x + wide + 0.02, drawn + 1
                if "\n" in t.pieces[i]:
                    x, y = MARGIN, y + ROW
        y += ROW * (x > MARGIN)
        colours = [colour for _, colour in cells]
        patches = PatchCollection([cell for cell, _ in cells], facecolors=colours, edgecolors="none", gid="cells")
        for held in (patches, LineCollection(lines, colors=LIGHT.ink, linewidths=1.7, capstyle="butt", gid="loss")):
            held.set_transform(canvas.inches)
            canvas.figure.add_artist(held)
        if with_text > drawn:
            canvas.line(MARGIN, y + 0.04, f"{with_text - drawn} more tokens with text", SMALL, LIGHT.muted)
            y += 0.25
    return Picture(canvas.cut(y + MARGIN * 0.6), _alt(t, measures, by))


def _write(canvas: Canvas, x: float, y: float, text: str, colour: str) -> None:
    write(canvas.figure, x, y, text, BODY, colour, transform=canvas.inches)


def _colour(t: Trajectory, i: int, shown: Measure | None) -> str | None:
    if shown is None:
        return KINDS[Kind(t.kinds[i]).name]
    value = shown.values[i]
    return None if value is None else shown.colour(shown.level(value))


def _draw_key(canvas: Canvas, t: Trajectory, shown: Measure | None, y: float) -> None:
    """What colours and lines mean, in one line."""
    x, ink = MARGIN, LIGHT.ink
    parts: list[tuple[str, list[str], float]]  # words, the colours before them, the width of each
    if shown is None:
        present = [kind for kind in Kind if kind in t.kinds]
        parts = [(f"{t.kinds.count(kind)} {kind.name.lower()}", [KINDS[kind.name]], 0.12) for kind in present]
    else:
        scale = [shown.colour(level) for level in range(LEVELS)]
        parts = [(f"{shown.low:.3g}", [], 0.0), (f"{shown.high:.3g}", scale, 0.075)]
    for words, colours, wide in parts:
        x -= 0.1 * (len(colours) > 1)
        for colour in colours:
            canvas.rect(x, y, wide, 0.13, facecolor=colour, edgecolor="none")
            x += wide
        x += 0.06 * bool(colours)
        canvas.line(x, y, words, SMALL, LIGHT.muted)
        x += text_width(words, SMALL) + 0.18
    canvas.rect(x, y + 0.058, 0.25, 0.024, facecolor=ink, edgecolor="none")
    canvas.line(x + 0.31, y, "carries loss", SMALL, LIGHT.muted)


def _alt(t: Trajectory, measures: dict[str, Measure], by: str) -> str:
    """What the ribbon shows, in words."""
    counts = ", ".join(f"{t.kinds.count(kind)} {kind.name.lower()}" for kind in Kind if kind in t.kinds)
    said = [f"The {len(t.ids)} tokens of a rollout in order, coloured by {by}: {counts}."]
    said.append("Only the sampled ones are underlined: they carry loss.")
    if by in measures:
        known = [(v, i) for i, v in enumerate(measures[by].values) if v is not None]
        for word, (value, i) in (("lowest", min(known)), ("highest", max(known))):
            said.append(f"The {word} {by} is {value:.3g}, at token {i}, {quoted(piece(t, i), 40)}.")
    said.append(f"The text reads: {quoted(t.response_text, 1200)}")
    return " ".join(said)
