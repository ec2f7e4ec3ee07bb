"""Before and after: the same questions, answered by two policies, one above the other.

Each column is a question; each row a policy; in each field the photograph with the numbered looks, the crop that
the answer was read from, and the answer, right or wrong. Simplified: one rollout a question and policy, the
first where there are several.

    before_after(rollout(cold_start, samples, temperature=0), rollout(trained, samples, temperature=0), count=3)
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..errors import R3labError
from ..geometry import Size, intersection
from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .boxes import draw_look, draw_truth
from .canvas import KEY_ROW, Canvas, fitted
from .lettering import height, one_line, wrap
from .palette import HEADING, SMALL, VERDICTS, look_colour, style, theme
from .story import photograph, source_size, told, true_regions, verdict

Pair = tuple[Trajectory, Trajectory]
MARGIN, GAP, LABEL = 0.28, 0.4, 0.72  # inches; the last is the width of the row's name
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
) -> Figure:
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
    boxed = {look.valid for t in both for look in t.looks if look.box is not None}
    kinds = ["look"] * (True in boxed) + ["refused"] * (False in boxed)
    kinds += ["truth"] * any(true_regions(t) for t in both)
    width = MARGIN * 2 + LABEL + len(shown) * (COLUMN + GAP) - GAP
    with style(chosen):
        canvas = Canvas(width, top + sum(field) + KEY_ROW * len(kinds) + MARGIN * 0.8, chosen)
        for column, (lines, pair) in enumerate(zip(questions, shown, strict=True)):
            x, y = MARGIN + LABEL + column * (COLUMN + GAP), top
            canvas.block(x, MARGIN, lines, HEADING, chosen.ink, bold=True)
            for row, t in enumerate(pair):
                _field(canvas, t, x, y, photo[row], f"{('before', 'after')[row]}-{column + 1}")
                y += field[row]
        y = top
        for name, high in zip(names, field, strict=True):
            canvas.block(MARGIN, y, wrap(name, LABEL - 0.06, HEADING, 3, bold=True), HEADING, chosen.ink, bold=True)
            y += high
        canvas.key(MARGIN + LABEL, y, kinds)
    return canvas.figure


def _field(canvas: Canvas, t: Trajectory, x: float, y: float, high: float, gid: str) -> None:
    """One answer: the photograph with its looks, the deciding crop beside it, the verdict below."""
    size: Size = source_size(t)
    w, h = fitted(size, PHOTO, high)
    axes = canvas.picture(photograph(t), x, y, w, h, (0, 0, *size), gid)
    for region in true_regions(t):
        draw_truth(axes, region)
    for number, look in enumerate(t.looks[:16], start=1):
        if look.box is not None:
            draw_look(axes, look.box, number, look.valid)
    _crop(canvas, t, x + w + BETWEEN, y, f"{gid}-crop")
    ending = verdict(t)
    colour, mark, word = VERDICTS[ending.state]
    canvas.verdict(x, y + high + 0.08, colour, mark, one_line(_ending(t), 48))


def _crop(canvas: Canvas, t: Trajectory, x: float, y: float, gid: str) -> None:
    """What the answer was read from."""
    look = deciding_look(t)
    if look is None or look.box is None or look.crop is None:
        canvas.block(x, y, ["no look"], SMALL, canvas.theme.muted)
        return
    number = next(i for i, one in enumerate(t.looks, start=1) if one is look)
    w, h = fitted((look.crop.width, look.crop.height), CROP, CROP * 1.4)
    axes = canvas.picture(t.images.get(look.crop.hash), x, y, w, h, look.box, gid, "not kept")
    canvas.border(axes, look_colour(number), 2.0)
    for region in true_regions(t):
        if intersection(region, look.box) > 0:
            draw_truth(axes, region)
    canvas.tag(x, y + h + 0.06, number)
    words = f"{look.crop.width} \N{MULTIPLICATION SIGN} {look.crop.height}"
    canvas.line(x + 0.22, y + h + 0.07, words, SMALL, canvas.theme.muted)


def _ending(t: Trajectory) -> str:
    ending = verdict(t)
    given = "no answer" if ending.answer is None else one_line(ending.answer, 24)
    return f"{given} (true: {one_line(ending.truth, 16)})" if ending.state == "wrong" else given


def before_after_alt(
    before: Sequence[Trajectory],
    after: Sequence[Trajectory],
    count: int = 3,
    names: tuple[str, str] = NAMES,
) -> str:
    """What `before_after` with the same arguments shows, in words."""
    shown = pairs(before, after, count)
    right = [sum(verdict(t).state == "right" for t in row) for row in zip(*shown, strict=True)]
    said = [f"{len(shown)} questions, each answered by two policies."]
    said += [f"{one_line(name, 60)}: {n} of {len(shown)} right." for name, n in zip(names, right, strict=True)]
    for pair in shown:
        said += [f"{one_line(name, 60)}: {told(t, looks=4)}" for name, t in zip(names, pair, strict=True)]
    return " ".join(said)
