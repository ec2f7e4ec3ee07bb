"""The token ribbon: every token of a trajectory in order, coloured by what is asked, with the loss mask under it.

Colour says one thing at a time: the kind of a token, its log-probability, entropy, importance ratio, advantage, or the
attention that it received. A thick line under a token means that it carries loss. Image tokens stand as a grid of small
squares, as they lie in the image. Pointing at a token, or arrow keys, read out its numbers. Simplified: colours come in
sixteen levels, so that four thousand tokens need no style of their own.

    ribbon(trajectory)                                           # last line of a cell
    ribbon(trajectory, ratio=new_over_old, attention=mass, by="ratio").save("ribbon.html")
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from itertools import groupby

from ..errors import R3labError
from ..geometry import Size
from ..trajectory import Kind, Trajectory
from .alt import picture
from .lettering import MISSING, clean
from .measures import KIND, LEVELS, Measure, Values, chosen_measure, measures_of
from .palette import DIVERGING, KINDS, SEQUENTIAL, ink_on, on_scale
from .view import View

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
    """
    from .ribbon_figure import ribbon_alt, ribbon_figure

    measures = measures_of(t, ratio, advantage, attention)
    body = tokens(t, measures, chosen_measure(by, measures))
    still = picture(ribbon_figure(t, ratio, advantage, attention, by, dark), ribbon_alt(t, measures, by))
    return View(f"Tokens: {clean(t.question, 150)}", body, still, rules())


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
            parts.append(_grid(t, where, size, measures) if images else _count(kind, len(where)))
        else:
            parts += [_token(t, i, measures) for i in where]
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


def _token(t: Trajectory, i: int, measures: dict[str, Measure]) -> str:
    text = html.escape(piece(t, i), quote=True)
    return f'<i class="{_classes(t, i, measures)}" title="{_numbers(t, i, measures)}">{text}</i>'


def _grid(t: Trajectory, where: list[int], size: Size, measures: dict[str, Measure]) -> str:
    """Image tokens as they lie in the image, where their number fits its shape; else in rows of sixteen."""
    columns = columns_of(len(where), size)
    rows = [where[k : k + columns] for k in range(0, len(where), columns)]

    def cell(i: int) -> str:
        return f'<i class="{_classes(t, i, measures)}" title="{_numbers(t, i, measures)}"></i>'

    return f'<span class="r3-grid">{"".join(f"<b>{_joined(map(cell, row))}</b>" for row in rows)}</span>'


_joined = "".join


def columns_of(count: int, size: Size) -> int:
    """Columns of the grid of `count` image tokens of an image of `size`; 16 where none fits."""
    if min(size) > 0 and count:
        side = math.sqrt(size[0] * size[1] / count)
        columns = round(size[0] / side)
        if columns and count % columns == 0 and count // columns == round(size[1] / side):
            return columns
    return 16


def _count(kind: Kind, count: int) -> str:
    return f'<i class="v0-{int(kind)}" title="{count} image tokens, {_WORDS[kind]}">{count} image tokens</i>'


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
