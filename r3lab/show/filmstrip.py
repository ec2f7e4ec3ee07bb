"""The filmstrip of a trajectory: what the model saw, what it wrote, what it looked at again, what it answered; and two
policies' answers to the same questions, one above the other.

    filmstrip(trajectory, dark=True).save("runs/first/filmstrip.png")
    before_after(rollout(cold_start, samples, temperature=0), rollout(trained, samples, temperature=0), count=3)

A strip reads from left to right: the photograph with numbered boxes; the overview, pixel for pixel as the model got it,
with the text that it wrote on seeing it; each crop as the model got it, beside what the overview had held of that
region; the answer. Before and after have a column a question: the photograph with the looks, the crop that the answer
was read from, the answer. Simplified: long text is cut (the record has all of it), of more than 16 looks the first 16
are shown unless more are asked for, and of several rollouts of a question the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..core.arms import INTERLEAVED, get_arm
from ..core.errors import R3labError
from ..core.geometry import Box, Frame, from_source, intersection, iou
from ..train.rewards import deciding_look
from ..trajectory import Look, Trajectory
from .canvas import KEY_ROW, Canvas, draw_look, draw_truth, fitted
from .palette import ANSWER, BODY, HEADING, SMALL, TITLE, VERDICTS, look_colour, style, theme
from .picture import Picture
from .story import Step, overview, photograph, reason, region_shown, source_size, steps, told, true_regions, verdict
from .text import height, one_line, text_width, wrap

SHOWN_LOOKS = 16
LINES = 22  # of text under a picture
MARGIN, GAP, LEAST, MOST, NARROW = 0.28, 0.34, 1.62, 2.4, 1.5  # inches; widths of a picture, of the answer
HEAD = 2 * height(1, HEADING)  # above a picture: heading and a line of detail
STRIP = 0.58  # below a crop: the same region in the overview


@dataclass(frozen=True)
class Layout:
    """Where the cards of a strip stand; inches."""

    columns: int
    card: float  # width of one
    width: float  # of the figure
    answer: float  # width of the answer's card

    @classmethod
    def of(cls, cards: int, width: float) -> Layout:
        """As many cards in a row as fit, in rows of about equal length; the answer is the last card."""
        inner = max(LEAST, width - 2 * MARGIN)
        if (cards - 1) * (LEAST + GAP) + NARROW <= inner:  # one row: the answer needs less than a picture
            card = min(MOST, (inner - NARROW) / (cards - 1) - GAP)
            return cls(cards, card, (cards - 1) * (card + GAP) + NARROW + 2 * MARGIN, NARROW)
        fit = max(1, int((inner + GAP) // (LEAST + GAP)))
        columns = -(-cards // -(-cards // fit))
        card = min(MOST, (inner + GAP) / columns - GAP)
        return cls(columns, card, columns * (card + GAP) - GAP + 2 * MARGIN, card)


@dataclass(frozen=True)
class Card:
    """One picture of the strip with what stands over and under it."""

    kind: str  # photo, overview, look, answer
    size: tuple[float, float]  # of the picture, inches
    lines: list[str]  # the text under it
    step: Step | None = None


def filmstrip(
    trajectory: Trajectory, width: float = 11.0, dark: bool = False, looks: int | None = SHOWN_LOOKS
) -> Picture:
    """Draw a trajectory.

    Parameters
    ----------
    trajectory
        With its images; where they are missing a frame says so.
    width
        Of the figure at most, in inches; rows are added as they are needed.
    dark
        For a dark page.
    looks
        How many are shown, the first ones; None: all.

    Returns
    -------
    Picture
        With its alt text (`story.told`); nothing of matplotlib's global state has changed.

    Examples
    --------
    >>> r3lab.filmstrip(trajectories[0]).save(folder / "strip.png").name
    'strip.png'
    """
    t, chosen = trajectory, theme(dark)
    seen, most = overview(t), len(t.looks) if looks is None else max(0, looks)
    story = steps(t)[: most + 1]
    layout = Layout.of(len(story) + 2, width)
    row = _cards(t, story, layout)
    rows = [row[i : i + layout.columns] for i in range(0, len(row), layout.columns)]
    question = wrap(t.question, layout.width - 2 * MARGIN, TITLE, 3, bold=True)
    details = wrap(_details(t), layout.width - 2 * MARGIN, SMALL, 1)
    top = MARGIN * 0.8 + height(len(question), TITLE) + height(len(details), SMALL) + 0.16
    heights = [max(map(_height, cards_of_row)) for cards_of_row in rows]
    with style(chosen):
        canvas = Canvas(layout.width, top + sum(heights) + GAP * (len(rows) - 1) + MARGIN, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, question, TITLE, chosen.ink, bold=True)
        canvas.block(MARGIN, y, details, SMALL, chosen.muted)
        y = top
        for cards_of_row, high in zip(rows, heights, strict=True):
            pictures = [card.size[1] for card in cards_of_row if card.kind != "answer"]
            middle = y + HEAD + min(pictures, default=0.8) / 2
            for column, card in enumerate(cards_of_row):
                x = MARGIN + column * (layout.card + GAP)
                _draw(canvas, t, seen, card, x, y, len(story) - 1)
                if card is not row[-1]:
                    canvas.arrow(x + layout.card + 0.09, middle, 0.15)
            y += high + GAP
    return Picture(canvas.figure, f"Filmstrip of a rollout. {told(t, most)}")


def _details(t: Trajectory) -> str:
    parts = [one_line(t.sample_id, 60), f"policy {one_line(t.model, 60)}" if t.model else ""]
    parts.append("" if t.arm == INTERLEAVED.name else f"arm {t.arm}")
    parts.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    return "   ·   ".join(part for part in parts if part)


def _cards(t: Trajectory, story: list[Step], layout: Layout) -> list[Card]:
    wide, high = layout.card, layout.card * 1.25
    photo, first = fitted(source_size(t), wide, high), fitted(t.overview, wide, high)
    cards = [Card("photo", photo, []), Card("overview", first, _told(story[0], wide), story[0])]
    for step in story[1:]:
        crop = step.look.crop if step.look else None
        size = fitted((crop.width, crop.height), wide, high) if crop else (wide, 0.6 * wide)
        cards.append(Card("look", size, _told(step, wide), step))
    points, lines = _given(t, layout.answer)
    answer = (layout.answer, height(len(lines), points) + 0.44)
    return [*cards, Card("answer", answer, _notes(t, layout.answer, len(story) - 1))]


def _told(step: Step, wide: float) -> list[str]:
    return wrap(step.text, wide, BODY, LINES)


def _height(card: Card) -> float:
    key = 3 * KEY_ROW if card.kind == "photo" else 0.0
    return HEAD + card.size[1] + _strip(card) + 0.1 + height(len(card.lines), BODY) + key


def _strip(card: Card) -> float:
    return STRIP if card.step and card.step.look and card.step.look.crop else 0.0


def _draw(canvas: Canvas, t: Trajectory, seen: Image.Image | None, card: Card, x: float, y: float, looks: int) -> None:
    """One card, its upper left corner at x, y, of a strip that shows so many looks."""
    top = y + HEAD
    if card.kind == "answer":
        return _draw_answer(canvas, t, card, x, y)
    if card.kind == "photo":
        _draw_photo(canvas, t, card, x, top, looks)
    elif card.kind == "overview":
        w, h = t.overview
        _heading(canvas, x, top, "What the model sees first", f"overview, {w} \N{MULTIPLICATION SIGN} {h} pixels")
        canvas.picture(seen, x, top, *card.size, (0, 0, *source_size(t)), "overview")
    elif card.step is not None and card.step.look is not None:
        _draw_look(canvas, t, card.step.look, card.step.number, card.size, x, top)
        if _strip(card) and card.step.look.box is not None:
            _draw_before(canvas, t, seen, card.step.look.box, card.step.number, x, top + card.size[1] + 0.1)
    canvas.block(x, top + card.size[1] + 0.1 + _strip(card), card.lines, BODY, canvas.theme.ink)


def _heading(canvas: Canvas, x: float, top: float, text: str, detail: str, indent: float = 0.0) -> None:
    canvas.line(x + indent, top - HEAD, text, HEADING, canvas.theme.ink, bold=True)
    canvas.line(x, top - HEAD / 2 - 0.01, detail, SMALL, canvas.theme.muted)


def _draw_photo(canvas: Canvas, t: Trajectory, card: Card, x: float, top: float, shown: int) -> None:
    w, h = source_size(t)
    _heading(canvas, x, top, "Image", f"{w} \N{MULTIPLICATION SIGN} {h} pixels")
    _photograph(canvas, t, x, top, card.size, "photo", shown)
    canvas.key(x, top + card.size[1] + 0.1, _kinds([t], shown))


def _photograph(
    canvas: Canvas, t: Trajectory, x: float, y: float, inches: tuple[float, float], gid: str, shown: int
) -> None:
    """The photograph with the true regions, and so many looks."""
    axes = canvas.picture(photograph(t), x, y, *inches, (0, 0, *source_size(t)), gid)
    for region in true_regions(t):
        draw_truth(axes, region)
    for number, look in enumerate(t.looks[:shown], start=1):
        if look.box is not None:
            draw_look(axes, look.box, number, look.valid)


def _kinds(drawn: Sequence[Trajectory], shown: int) -> list[str]:
    """The kinds of lines on photographs, for a key."""
    granted = {look.valid for t in drawn for look in t.looks[:shown] if look.box is not None}
    truth = any(true_regions(t) for t in drawn)
    return ["look"] * (True in granted) + ["refused"] * (False in granted) + ["truth"] * truth


def _crop(
    canvas: Canvas, t: Trajectory, number: int, x: float, y: float, inches: tuple[float, float], gid: str, width: float
) -> None:
    """The crop of look `number`, from 1, framed in its colour, with the true regions in it."""
    look = t.looks[number - 1]
    assert look.crop is not None and look.box is not None
    region = region_shown(t, look) or look.box
    axes = canvas.picture(t.images.get(look.crop.hash), x, y, *inches, region, gid, "crop not kept")
    canvas.border(axes, look_colour(number), width)
    for truth in (one for one in true_regions(t) if intersection(one, region) > 0):
        draw_truth(axes, truth)


def _draw_look(
    canvas: Canvas, t: Trajectory, look: Look, number: int, size: tuple[float, float], x: float, top: float
) -> None:
    colour, (w, h) = look_colour(number), size
    canvas.tag(x, top - HEAD, number)
    name, indent = f"Look {number}", max(0.22, text_width(str(number), SMALL, True) + 0.14)
    if look.crop is None or look.box is None:
        alone = look.valid and get_arm(t.arm).back == "nothing"
        _heading(canvas, x, top, f"{name}: {'a box alone' if alone else 'refused'}", _place(look), indent)
        why = "this arm shows no crop" if alone else reason(look)
        canvas.placeholder(canvas.axes(x, top, w, h, (0, 0, 1, 1), f"refused-{number}"), why, colour)
        return
    zoom = f"zoom \N{MULTIPLICATION SIGN}{look.zoom:.3g}, " if look.zoom is not None else ""
    detail = f"{zoom}{look.crop.width} \N{MULTIPLICATION SIGN} {look.crop.height} pixels"
    _heading(canvas, x, top, name, detail, indent)
    _crop(canvas, t, number, x, top, size, f"crop-{number}", 2.2)


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
    lines = ["the same region", f"in the overview: {across} \N{MULTIPLICATION SIGN} {along}"]
    canvas.block(x + w + 0.08, y + h / 2 - height(1, SMALL), lines, SMALL, canvas.theme.muted)


def _place(look: Look) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in look.box) + "] px" if look.box is not None else "no box could be read"


def _draw_answer(canvas: Canvas, t: Trajectory, card: Card, x: float, y: float) -> None:
    colour, mark, word = VERDICTS[verdict(t).state]
    canvas.line(x, y, "Answer", HEADING, canvas.theme.ink, bold=True)
    size, lines = _given(t, card.size[0])
    y = canvas.block(x, y + HEAD, lines, size, canvas.theme.ink, bold=True) + 0.1
    canvas.verdict(x, y, colour, mark, word)
    canvas.block(x, y + 0.34, card.lines, BODY, canvas.theme.ink)


def _given(t: Trajectory, wide: float) -> tuple[float, list[str]]:
    """The answer as large as it fits: points, and lines."""
    if t.answer is None:
        return 13.0, ["no answer"]
    text = one_line(t.answer, 300)
    size = next((size for size in (ANSWER, 18.0, 13.0) if text_width(text, size, True) <= wide), 10.0)
    return size, wrap(text, wide, size, 6, bold=True)


def _notes(t: Trajectory, wide: float, looks: int) -> list[str]:
    """What is to be said of the answer, in lines."""
    ending = verdict(t)
    notes = [ending.ending] if ending.ending else []
    if ending.state == "unknown":
        notes.append("the true answer is not recorded")
    if ending.state == "wrong":
        notes.append(f"true answer: {one_line(ending.truth, 120)}")
    notes += _overlap(t)
    if len(t.looks) > looks:
        notes.append(f"{len(t.looks) - looks} more looks are not shown")
    return [line for note in notes for line in wrap(note, wide, BODY, 3)]


def _overlap(t: Trajectory) -> list[str]:
    """How well the last look that was granted met the true region that holds the answer."""
    regions, looks = true_regions(t), [look.box for look in t.looks if look.valid and look.box]
    return [f"last look on true region: IoU {iou(looks[-1], regions[-1]):.2f}"] if regions and looks else []


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
    first: dict[str, Trajectory] = {}
    for t in after:
        first.setdefault(t.sample_id, t)
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


def before_after(
    before: Sequence[Trajectory],
    after: Sequence[Trajectory],
    count: int = 3,
    names: tuple[str, str] = NAMES,
    dark: bool = False,
) -> Picture:
    """Draw two policies' answers to the same questions.

    Parameters
    ----------
    before, after
        Trajectories; they are paired by sample.
    count
        Questions, at most.
    names
        What the two rows are called.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If the two share no sample.
    """
    chosen, shown = theme(dark), pairs(before, after, count)
    questions = [wrap(one[0].question, COLUMN, HEADING, 3, bold=True) for one in shown]
    top = MARGIN + max(height(len(lines), HEADING) for lines in questions) + 0.1
    photo = [max(fitted(source_size(t), PHOTO, PHOTO * 1.2)[1] for t in row) for row in zip(*shown, strict=True)]
    field = [high + 0.58 for high in photo]
    both = [t for pair in shown for t in pair]
    kinds = _kinds(both, SHOWN_LOOKS)
    width = MARGIN * 2 + LABEL + len(shown) * (COLUMN + BETWEEN_COLUMNS) - BETWEEN_COLUMNS
    with style(chosen):
        canvas = Canvas(width, top + sum(field) + KEY_ROW * len(kinds) + MARGIN * 0.8, chosen)
        for column, (lines, pair) in enumerate(zip(questions, shown, strict=True)):
            x, y = MARGIN + LABEL + column * (COLUMN + BETWEEN_COLUMNS), top
            canvas.block(x, MARGIN, lines, HEADING, chosen.ink, bold=True)
            for row, t in enumerate(pair):
                _field(canvas, t, x, y, photo[row], f"{('before', 'after')[row]}-{column + 1}")
                y += field[row]
        y = top
        for name, high in zip(names, field, strict=True):
            canvas.block(MARGIN, y, wrap(name, LABEL - 0.06, HEADING, 3, bold=True), HEADING, chosen.ink, bold=True)
            y += high
        canvas.key(MARGIN + LABEL, y, kinds)
    return Picture(canvas.figure, _before_after_alt(shown, names))


def _field(canvas: Canvas, t: Trajectory, x: float, y: float, high: float, gid: str) -> None:
    """One answer: the photograph with its looks, the deciding crop beside it, the verdict below."""
    w, h = fitted(source_size(t), PHOTO, high)
    _photograph(canvas, t, x, y, (w, h), gid, SHOWN_LOOKS)
    _deciding(canvas, t, x + w + BETWEEN, y, f"{gid}-crop")
    ending = verdict(t)
    colour, mark, word = VERDICTS[ending.state]
    canvas.verdict(x, y + high + 0.08, colour, mark, one_line(_ending(t), 48))


def _deciding(canvas: Canvas, t: Trajectory, x: float, y: float, gid: str) -> None:
    """What the answer was read from."""
    look = deciding_look(t)
    if look is None or look.box is None or look.crop is None:
        canvas.block(x, y, ["no look"], SMALL, canvas.theme.muted)
        return
    number = next(i for i, one in enumerate(t.looks, start=1) if one is look)
    w, h = fitted((look.crop.width, look.crop.height), CROP, CROP * 1.4)
    _crop(canvas, t, number, x, y, (w, h), gid, 2.0)
    canvas.tag(x, y + h + 0.06, number)
    words = f"{look.crop.width} \N{MULTIPLICATION SIGN} {look.crop.height}"
    canvas.line(x + 0.22, y + h + 0.07, words, SMALL, canvas.theme.muted)


def _ending(t: Trajectory) -> str:
    ending = verdict(t)
    given = "no answer" if ending.answer is None else one_line(ending.answer, 24)
    return f"{given} (true: {one_line(ending.truth, 16)})" if ending.state == "wrong" else given


def _before_after_alt(shown: Sequence[Pair], names: tuple[str, str]) -> str:
    """What `before_after` shows, in words."""
    right = [sum(verdict(t).state == "right" for t in row) for row in zip(*shown, strict=True)]
    said = [f"{len(shown)} questions, each answered by two policies."]
    said += [f"{one_line(name, 60)}: {n} of {len(shown)} right." for name, n in zip(names, right, strict=True)]
    for pair in shown:
        said += [f"{one_line(name, 60)}: {told(t, looks=4)}" for name, t in zip(names, pair, strict=True)]
    return " ".join(said)
