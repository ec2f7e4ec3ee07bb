"""The player: step through a trajectory, its looks, crops and text; a view that a notebook or a page shows.

    play(trajectory)                                    # last line of a cell
    play(trajectory, attention=maps).save("one.html")   # a map a moment: the overview, then each look

Every moment is in the markup: the overview, each look, the answer. A small script (`page.js`) shows one of them and
moves with slider, buttons and arrow keys; without it, and in print, all of them stand side by side. An element with
`data-from` and `data-to` belongs to those moments. It opens at the answer, with the whole path in view. Simplified: of
more than 16 looks the first 16 are shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..core.geometry import Box, clip, intersection, iou
from ..explain.explanation import HeatMap
from ..trajectory import Look, Trajectory
from . import marks
from .explanation import checked, spotlight_uri
from .filmstrip import filmstrip
from .page import BUDGET, Pictures, pictures_of
from .palette import VERDICTS, ink_on, look_colour
from .picture import Picture, View
from .story import region_shown, source_size, steps, told, true_regions, verdict, where_in, without_crop
from .text import html_line, html_words, one_line

SHOWN_LOOKS = 16
TEXT = 6000  # characters of one stretch of text
TIMES = "\N{MULTIPLICATION SIGN}"


def play(t: Trajectory, attention: Sequence[HeatMap | None] = (), start: int = -1, dark: bool = False) -> View:
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

    Examples
    --------
    >>> r3lab.play(trajectories[0]).save(folder / "player.html").name
    'player.html'
    """
    names = [t.image.hash, t.question, *(look.crop.hash for look in t.looks if look.crop)]
    prefix = "p" + hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:12]
    body = stage(t, prefix, attention, start)
    still = Picture(filmstrip(t, dark=dark), f"Player of a rollout. {told(t, SHOWN_LOOKS)}")
    return View(t.question, body, still)


def labels(t: Trajectory) -> list[str]:
    """The names of the moments: the overview, each look that is shown, the answer."""
    return ["Overview", *(f"Look {i + 1}" for i in range(min(len(t.looks), SHOWN_LOOKS))), "Answer"]


def stage(
    t: Trajectory,
    prefix: str,
    attention: Sequence[HeatMap | None] = (),
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


def _photo(t: Trajectory, held: Pictures, prefix: str, maps: Sequence[HeatMap | None]) -> str:
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
    return _square(colour, str(number), ink_on(colour), ' font-weight="700"')


def badge(colour: str, mark: str, word: str) -> str:
    """A verdict: its mark on its colour, and the word."""
    return f'<span class="r3-verdict">{_square(colour, mark, "#FFFFFF")} {word}</span>'


def _square(colour: str, text: str, ink: str, more: str = "") -> str:
    return (
        f'<svg class="r3-chip" viewBox="0 0 20 20" aria-hidden="true"><rect width="20" height="20" fill="{colour}"/>'
        f'<text x="10" y="15" font-size="14"{more} text-anchor="middle" fill="{ink}">{text}</text></svg>'
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
