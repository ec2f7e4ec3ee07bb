"""The rows of a group: each rollout's crop, answer, parts of the reward as bars, and advantage.

    draw_rows(canvas, rows, ["accuracy", "format"], x=3.5, y=0.8)

A part below zero is hatched; an advantage stands to the right of its line where the update makes the rollout likelier.
Simplified: bars of one part share a scale, those of different parts do not.
"""

from __future__ import annotations

from matplotlib.patches import Rectangle

from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .canvas import Canvas, fitted
from .group_members import Member, push, reach, scored
from .group_photo import MARGIN
from .lettering import one_line, wrap, write
from .palette import BODY, HALO, HEADING, LIGHT, OKABE_ITO, SMALL, VERDICTS, ink_on
from .story import region_shown, verdict

ROW, CROP, ANSWER, PART, ADVANTAGE = 0.58, 0.62, 1.2, 0.8, 1.65  # inches: a row's height; columns
HEAD = 0.42  # over the rows


def width_of(names: list[str]) -> float:
    """Inches that the rows take, with these parts of the reward."""
    return CROP + 0.45 + ANSWER + PART * (max(1, len(names)) + 1) + ADVANTAGE


def draw_rows(canvas: Canvas, rows: list[Member], names: list[str], x: float, y: float) -> None:
    chosen = canvas.theme
    parts = x + CROP + 0.45 + ANSWER
    reach = [max((abs(m.t.rewards.get(name, 0.0)) for m in rows), default=0.0) or 1.0 for name in names]
    total = max((abs(m.reward) for m in rows), default=0.0) or 1.0
    columns = [(x + 0.3, "looked at"), (x + CROP + 0.45, "answer")]
    columns += [(parts + i * PART, name) for i, name in enumerate(names)]
    columns += [(parts + max(1, len(names)) * PART, "reward"), (parts + (max(1, len(names)) + 1) * PART, "advantage")]
    for at, name in columns:
        wide = ADVANTAGE if at == columns[-1][0] else PART - 0.06
        canvas.line(at, y, "".join(wrap(name, wide, HEADING, 1, bold=True)), HEADING, chosen.ink, bold=True)
    y += 0.3
    series = OKABE_ITO["blue"] if chosen is LIGHT else OKABE_ITO["sky blue"]
    for member in rows:
        _line(canvas, y - 0.06, x, canvas.width - MARGIN)
        _tag(canvas, member, x, y + 0.1)
        _crop(canvas, member, x + 0.3, y)
        _answer(canvas, member.t, x + CROP + 0.45, y)
        for i, (name, far) in enumerate(zip(names, reach, strict=True)):
            value = member.t.rewards.get(name)
            _bar(canvas, parts + i * PART, y, value, far, f"part-{member.number}-{i}", series)
        whole = member.reward if member.t.rewards else None
        _bar(canvas, columns[-2][0], y, whole, total, f"reward-{member.number}", chosen.muted)
        _advantage(canvas, member, rows, columns[-1][0], y)
        y += ROW


def _line(canvas: Canvas, y: float, left: float, right: float) -> None:
    canvas.figure.add_artist(
        Rectangle(
            (left / canvas.width, 1 - y / canvas.height),
            (right - left) / canvas.width,
            0.006 / canvas.height,
            facecolor=canvas.theme.faint,
            edgecolor="none",
            transform=canvas.figure.transFigure,
        )
    )


def _tag(canvas: Canvas, member: Member, x: float, y: float) -> None:
    axes = canvas.axes(x, y, 0.2, 0.2, (0, 0, 1, 1), f"number-{member.number}")
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=member.colour, edgecolor=canvas.theme.muted, linewidth=0.6))
    write(axes, 0.5, 0.5, member.number, SMALL, ink_on(member.colour), True, ha="center", va="center_baseline")


def _crop(canvas: Canvas, member: Member, x: float, y: float) -> None:
    """What the answer was read from."""
    look = deciding_look(member.t)
    if look is None or look.crop is None or (region := region_shown(member.t, look)) is None:
        refused = any(not one.valid for one in member.t.looks)
        canvas.line(x, y + 0.12, "refused" if refused else "no look", SMALL, canvas.theme.muted)
        return
    w, h = fitted((look.crop.width, look.crop.height), CROP, ROW - 0.12)
    crop = member.t.images.get(look.crop.hash)
    axes = canvas.picture(crop, x, y + (ROW - 0.12 - h) / 2, w, h, region, f"crop-{member.number}", "")
    canvas.border(axes, member.colour, 1.4)


def _answer(canvas: Canvas, t: Trajectory, x: float, y: float) -> None:
    ending = verdict(t)
    colour, mark, word = VERDICTS[ending.state]
    given = "no answer" if ending.answer is None else one_line(ending.answer, 60)
    axes = canvas.axes(x, y + 0.1, 0.2, 0.2, (0, 0, 1, 1), "verdict")
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor="none"))
    write(axes, 0.5, 0.5, mark, BODY, HALO[0], True, ha="center", va="center_baseline")
    lines = wrap(given, ANSWER - 0.45, HEADING, 2, bold=True)
    canvas.block(x + 0.28, y + (0.08 if len(lines) == 1 else 0.0), lines, HEADING, canvas.theme.ink, bold=True)


def _bar(canvas: Canvas, x: float, y: float, value: float | None, far: float, gid: str, colour: str) -> None:
    """A bar to the right, or to the left of a line if it is below zero, with its number."""
    if value is None:
        canvas.line(x, y + 0.12, "none", SMALL, canvas.theme.muted)
        return
    wide = PART - 0.16
    axes = canvas.axes(x, y + 0.05, wide, 0.13, (-0.02 * far, 0, 1.02 * far, 1), gid)
    length = min(abs(value), far)
    axes.add_patch(
        Rectangle((0, 0), length, 1, facecolor=colour if value >= 0 else canvas.theme.paper, edgecolor=colour,
                  linewidth=0.9, hatch=None if value >= 0 else "////", gid=f"{gid}-bar")
    )  # fmt: skip
    canvas.line(x, y + 0.2, f"{round(value, 2) + 0.0:.2f}", SMALL, canvas.theme.ink)


def _advantage(canvas: Canvas, member: Member, rows: list[Member], x: float, y: float) -> None:
    """A bar from a middle line: to the right it is made likelier, to the left less likely."""
    t, wide, value = member.t, ADVANTAGE - 0.1, scored(member.t)
    if value is not None:
        far = reach([m.t for m in rows]) or 1.0
        axes = canvas.axes(x, y + 0.03, wide, 0.17, (-far, 0, far, 1), f"advantage-{member.number}")
        low, length = min(0.0, value), abs(value)
        axes.add_patch(
            Rectangle((low, 0), length, 1, facecolor=member.colour, edgecolor=canvas.theme.muted, linewidth=0.7,
                      gid=f"advantage-{member.number}-bar")
        )  # fmt: skip
        axes.axvline(0, color=canvas.theme.ink, linewidth=1.0)
        canvas.line(x, y + 0.22, f"{value:+.2f}, {push(t)}", SMALL, canvas.theme.ink)
    else:
        canvas.line(x, y + 0.12, push(t), SMALL, canvas.theme.muted)
