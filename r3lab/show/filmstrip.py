"""The filmstrip of a trajectory: what the model saw, what it wrote, what it looked at again, what it answered; and two
policies' answers to the same questions, one above the other.

    filmstrip(trajectory).save("runs/first/filmstrip.png")
    before_after(rollout(cold_start, samples, temperature=0), rollout(trained, samples, temperature=0), count=3)

A strip reads from left to right: the photograph with numbered boxes; the pixel for pixel as the model got it,
with the text that it wrote on seeing it; each crop as the model got it, beside what the overview had held of that
region; the answer. Before and after have a column a question: the photograph with the looks, the crop that the answer
was read from, the answer. Simplified: long text is cut (the record has all of it), of more than 16 looks the first 16
are shown, and of several rollouts of a question the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from PIL import Image

from ..core.errors import R3labError
from ..core.geometry import Box, Frame, from_source, intersection, iou
from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .canvas import KEY_ROW, Canvas, draw_look, draw_truth, fitted
from .palette import ANSWER, BODY, HEADING, LIGHT, SMALL, TITLE, VERDICTS, look_colour, style
from .picture import Picture
from .steps import TIMES, Step, facts, photograph, source_box, source_size, steps, told, true_regions, verdict
from .text import height, one_line, text_width

SHOWN_LOOKS = 16
LINES = 22  # of text under a picture
WIDTH, MARGIN, GAP, LEAST, MOST, NARROW = 11.0, 0.28, 0.34, 1.62, 2.4, 1.5  # inches; widths of a picture, of the answer
HEAD = 2 * height(1, HEADING)  # above a picture: heading and a line of detail
STRIP = 0.58  # below a crop: the same region in the overview
Inches = tuple[float, float]


def filmstrip(trajectory: Trajectory) -> Picture:
    """Draw a trajectory, at most eleven inches wide, in as many rows as it takes.

    Parameters
    ----------
    trajectory
        With its images; where they are missing a frame says so.

    Returns
    -------
    Picture
        With its alt text (`steps.told`); nothing of matplotlib's global state has changed.

    Examples
    --------
    >>> r3lab.filmstrip(trajectories[0]).save(folder / "strip.png").name
    'strip.png'
    """
    t = trajectory
    walk = steps(t)[: SHOWN_LOOKS + 1]
    seen = walk[0].image
    cards = len(walk) + 2  # the photograph, a card a step, the answer
    columns, card, answer, width = _columns(cards)
    sizes = [fitted(size or (10, 6), card, 1.25 * card) for size in (source_size(t), *(step.size for step in walk))]
    with style():
        canvas = Canvas(width, None)
        y = canvas.text(MARGIN, MARGIN * 0.8, t.question, width - 2 * MARGIN, TITLE, 3, bold=True)
        details = "   ·   ".join(facts(t))
        y = canvas.text(MARGIN, y, details, width - 2 * MARGIN, SMALL, 1, colour=LIGHT.muted) + 0.16
        for first in range(0, cards, columns):
            row = range(first, min(first + columns, cards))
            middle = y + HEAD + min((high for _, high in sizes[first : first + columns]), default=0.8) / 2
            bottoms = []
            for number in row:
                x = MARGIN + (number - first) * (card + GAP)
                if number == cards - 1:
                    bottoms.append(_draw_answer(canvas, t, x, y, answer, len(walk) - 1))
                    continue
                canvas.arrow(x + card + 0.09, middle, 0.15)
                if number == 0:
                    bottoms.append(_draw_photo(canvas, t, x, y + HEAD, sizes[0], len(walk) - 1))
                else:
                    bottoms.append(_draw_step(canvas, walk[number - 1], seen, x, y + HEAD, sizes[number], card))
            y = max(bottoms) + GAP
        figure = canvas.cut(y - GAP + MARGIN)
    return Picture(figure, f"Filmstrip of a rollout. {told(t, SHOWN_LOOKS)}")


def _columns(cards: int) -> tuple[int, float, float, float]:
    """As many cards in a row as fit, in rows about as long: columns; width of a card, of the answer, of the figure."""
    inner = WIDTH - 2 * MARGIN
    if (cards - 1) * (LEAST + GAP) + NARROW <= inner:  # one row: the answer needs less than a picture
        card = min(MOST, (inner - NARROW) / (cards - 1) - GAP)
        return cards, card, NARROW, (cards - 1) * (card + GAP) + NARROW + 2 * MARGIN
    fit = int((inner + GAP) // (LEAST + GAP))
    columns = -(-cards // -(-cards // fit))
    card = min(MOST, (inner + GAP) / columns - GAP)
    return columns, card, card, columns * (card + GAP) - GAP + 2 * MARGIN


def _heading(canvas: Canvas, x: float, top: float, text: str, detail: str, indent: float = 0.0) -> None:
    canvas.line(x + indent, top - HEAD, text, HEADING, LIGHT.ink, bold=True)
    canvas.line(x, top - HEAD / 2 - 0.01, detail, SMALL, LIGHT.muted)


def _draw_photo(canvas: Canvas, t: Trajectory, x: float, top: float, size: Inches, shown: int) -> float:
    """The photograph with its key; returns the `y` below it, as do the other cards."""
    w, h = source_size(t)
    _heading(canvas, x, top, "Image", f"{w} {TIMES} {h} pixels")
    draw_photograph(canvas, t, x, top, size, "photo", range(1, shown + 1))
    canvas.key(x, top + size[1] + 0.1, _kinds([t], shown))
    return top + size[1] + 0.1 + 3 * KEY_ROW


def draw_photograph(
    canvas: Canvas, t: Trajectory, x: float, y: float, inches: Inches, gid: str, numbers: Iterable[int]
) -> Axes:
    """The photograph with the true regions, and the looks of these numbers, from 1."""
    axes = canvas.picture(photograph(t), x, y, *inches, source_box(t), gid)
    for region in true_regions(t):
        draw_truth(axes, region)
    for number in numbers:
        look = t.looks[number - 1]
        if look.box is not None:
            draw_look(axes, look.box, number, look.valid)
    return axes


def _kinds(drawn: Sequence[Trajectory], shown: int) -> list[str]:
    """The kinds of lines on photographs, for a key."""
    granted = {look.valid for t in drawn for look in t.looks[:shown] if look.box is not None}
    truth = any(true_regions(t) for t in drawn)
    return ["look"] * (True in granted) + ["refused"] * (False in granted) + ["truth"] * truth


def _draw_step(
    canvas: Canvas, step: Step, seen: Image.Image | None, x: float, top: float, size: Inches, wide: float
) -> float:
    """The picture that the model got, and what it wrote on seeing it."""
    look, number, below = step.look, step.number, top + size[1] + 0.1
    if look is None:
        _heading(canvas, x, top, "What the model sees first", f"overview, {step.pixels}")
        canvas.picture(seen, x, top, *size, source_box(step.t), "overview")
        return canvas.text(x, below, step.text, wide, BODY, LINES)
    canvas.tag(x, top - HEAD, number)
    name, indent = f"Look {number}", max(0.22, text_width(str(number), SMALL, True) + 0.14)
    if look.box is None or look.crop is None:
        place = "no box could be read" if look.box is None else f"[{', '.join(f'{v:.4g}' for v in look.box)}] px"
        what, why = step.without
        _heading(canvas, x, top, f"{name}: {what}", place, indent)
        canvas.placeholder(canvas.axes(x, top, *size, (0, 0, 1, 1), f"refused-{number}"), why, look_colour(number))
    else:
        _heading(canvas, x, top, name, step.pixels, indent)
        _crop(canvas, step, x, top, size, f"crop-{number}", 2.2)
        _draw_before(canvas, step.t, seen, look.box, number, x, below)
        below += STRIP
    return canvas.text(x, below, step.text, wide, BODY, LINES)


def _crop(canvas: Canvas, step: Step, x: float, y: float, inches: Inches, gid: str, width: float) -> None:
    """The crop of a look, framed in its colour, with the true regions in it."""
    region = step.region
    assert region is not None
    axes = canvas.picture(step.image, x, y, *inches, region, gid, "crop not kept")
    canvas.border(axes, look_colour(step.number), width)
    for truth in true_regions(step.t):
        if intersection(truth, region) > 0:
            draw_truth(axes, truth)


def _draw_before(
    canvas: Canvas, t: Trajectory, seen: Image.Image | None, box: Box, number: int, x: float, y: float
) -> None:
    """What the overview held of a region: the reason for looking again, at a glance."""
    left, up, right, down = region = from_source(box, Frame.OVERVIEW, source_size(t), t.overview)
    across, along = max(1, round(right - left)), max(1, round(down - up))
    w, h = fitted((across, along), 0.62, STRIP - 0.16)
    before = None
    if seen is not None:
        k = min(16.0, 600 / max(right - left, down - up))  # enough for hard edges, and never a large image
        size = (max(1, round((right - left) * k)), max(1, round((down - up) * k)))
        before = seen.resize(size, Image.Resampling.NEAREST, box=region)
    canvas.picture(before, x, y, w, h, box, f"before-{number}", "")
    lines = ["the same region", f"in the overview: {across} {TIMES} {along}"]
    canvas.block(x + w + 0.08, y + h / 2 - height(1, SMALL), lines, SMALL, LIGHT.muted)


def _draw_answer(canvas: Canvas, t: Trajectory, x: float, y: float, wide: float, looks: int) -> float:
    """The answer as large as it fits, its verdict, and what is to be said of it."""
    ending, regions = verdict(t), true_regions(t)
    granted = [look.box for look in t.looks if look.valid and look.box]
    notes = ending.notes
    if regions and granted:
        notes.append(f"last look on true region: IoU {iou(granted[-1], regions[-1]):.2f}")
    if len(t.looks) > looks:
        notes.append(f"{len(t.looks) - looks} more looks are not shown")
    sizes = (ANSWER, 18.0, 13.0) if ending.answer is not None else (13.0,)
    size = next((size for size in sizes if text_width(ending.given, size, True) <= wide), 10.0)
    canvas.line(x, y, "Answer", HEADING, LIGHT.ink, bold=True)
    y = canvas.text(x, y + HEAD, ending.given, wide, size, 6, bold=True) + 0.1
    canvas.verdict(x, y, *VERDICTS[ending.state])
    y += 0.34
    for note in notes:
        y = canvas.text(x, y, note, wide, BODY, 3)
    return y + 0.1


# -- before and after --------------------------------------------------------------------------------------------------

Pair = tuple[Trajectory, Trajectory]
BETWEEN_COLUMNS, LABEL = 0.4, 0.72  # inches; the last is the width of the row's name
PHOTO, CROP, BETWEEN = 1.9, 1.05, 0.1
COLUMN = PHOTO + BETWEEN + CROP
NAMES = ("before", "after")


def pairs(before: Sequence[Trajectory], after: Sequence[Trajectory], count: int = 3) -> list[Pair]:
    """The first `count` samples of `before` that `after` has too, in the order of `before`.

    Raises
    ------
    R3labError
        If they share no sample, or `count` is under 1.
    """
    if count < 1:
        raise R3labError(f"count must be at least 1, got {count}.")
    first = {t.sample_id: t for t in reversed(after)}
    found: dict[str, Pair] = {}
    for t in before:
        if t.sample_id in first and len(found) < count:
            found.setdefault(t.sample_id, (t, first[t.sample_id]))
    if not found:
        raise R3labError(
            f"The {len(before)} trajectories before and the {len(after)} after share no sample; "
            "let both policies answer the same samples."
        )
    return list(found.values())


def before_after(before: Sequence[Trajectory], after: Sequence[Trajectory], count: int = 3) -> Picture:
    """Draw two policies' answers to the same questions.

    Parameters
    ----------
    before, after
        Trajectories; they are paired by sample.
    count
        Questions, at most.

    Raises
    ------
    R3labError
        If the two share no sample.
    """
    shown = pairs(before, after, count)
    places = [MARGIN + LABEL + column * (COLUMN + BETWEEN_COLUMNS) for column in range(len(shown))]
    rows = list(zip(*shown, strict=True))
    with style():
        canvas = Canvas(places[-1] + COLUMN + MARGIN, None)
        asked = [
            canvas.text(x, MARGIN, one.question, COLUMN, HEADING, 3, bold=True)
            for x, (one, _) in zip(places, shown, strict=True)
        ]
        y = max(asked) + 0.1
        for name, row in zip(NAMES, rows, strict=True):
            canvas.text(MARGIN, y, name, LABEL - 0.06, HEADING, 3, bold=True)
            high = max(fitted(source_size(t), PHOTO, PHOTO * 1.2)[1] for t in row)
            for column, (x, t) in enumerate(zip(places, row, strict=True), start=1):
                w, h = fitted(source_size(t), PHOTO, high)
                looks = range(1, min(len(t.looks), SHOWN_LOOKS) + 1)
                draw_photograph(canvas, t, x, y, (w, h), f"{name}-{column}", looks)
                _deciding(canvas, t, x + w + BETWEEN, y, f"{name}-{column}-crop")
                colour, mark, _ = VERDICTS[verdict(t).state]
                canvas.verdict(x, y + high + 0.08, colour, mark, _ending(t))
            y += high + 0.58
        y = canvas.key(MARGIN + LABEL, y, _kinds([t for pair in shown for t in pair], SHOWN_LOOKS))
        figure = canvas.cut(y + MARGIN * 0.8)
    said = [f"{len(shown)} questions, each answered by two policies."]
    for name, row in zip(NAMES, rows, strict=True):
        said.append(f"{name}: {sum(verdict(t).state == 'right' for t in row)} of {len(shown)} right.")
    said += [f"{name}: {told(t, looks=4)}" for pair in shown for name, t in zip(NAMES, pair, strict=True)]
    return Picture(figure, " ".join(said))


def _deciding(canvas: Canvas, t: Trajectory, x: float, y: float, gid: str) -> None:
    """What the answer was read from."""
    look = deciding_look(t)
    step = next((step for step in steps(t) if step.look is not None and step.look is look), None)
    if step is None or step.region is None or step.size is None:
        canvas.line(x, y, "no look", SMALL, LIGHT.muted)
        return
    w, h = fitted(step.size, CROP, CROP * 1.4)
    _crop(canvas, step, x, y, (w, h), gid, 2.0)
    canvas.tag(x, y + h + 0.06, step.number)
    canvas.line(x + 0.22, y + h + 0.07, f"{step.size[0]} {TIMES} {step.size[1]}", SMALL, LIGHT.muted)


def _ending(t: Trajectory) -> str:
    ending = verdict(t)
    given = one_line(ending.given, 24)
    return f"{given} (true: {one_line(ending.truth, 16)})" if ending.state == "wrong" else given
