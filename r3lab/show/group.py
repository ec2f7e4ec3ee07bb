"""A group of R-GRPO: the rollouts of one sample, what each was paid for, and where the update will push.

On the left every region of every rollout on one photograph, coloured by advantage; on the right a row a rollout, the
best first: the deciding crop, its answer, each part of its reward as a bar, and its advantage with what the update will
do to it. Numbers are those of the rollouts in the order given. Simplified: at most sixteen rollouts.

    group = rollout(policy, [sample], group=8, temperature=1.0)
    reward_groups(group, 8, "grounded")
    group_view(group)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip
from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .canvas import DASHES, KEY_ROW, Canvas, draw_tag, draw_truth, drawable_part, fitted, outline
from .palette import (
    BODY,
    DIVERGING,
    HALO,
    HEADING,
    LIGHT,
    OKABE_ITO,
    SMALL,
    TITLE,
    VERDICTS,
    ink_on,
    on_scale,
    style,
    theme,
)
from .picture import Picture
from .story import photograph, region_shown, source_size, true_regions, verdict
from .text import height, one_line, quoted, text_width, wrap

# Who is in a group of R-GRPO: its rollouts in the order of their advantages, with colours, and what it amounts to.
#
# for member in members(group):                # the highest advantage first
#     print(member.number, member.reward, push(member.t))

MOST = 16  # rollouts
UNSCORED = "#8C8C8C"


@dataclass(frozen=True)
class Member:
    """A rollout of a group: its number from 1, and its advantage's colour."""

    number: int
    t: Trajectory
    colour: str

    @property
    def reward(self) -> float:
        """The sum of the parts."""
        return sum(self.t.rewards.values())


def members(group: Sequence[Trajectory]) -> list[Member]:
    """The rollouts of one sample with the colours of their advantages, the highest advantage first.

    Raises
    ------
    R3labError
        If there are none, more than sixteen, or they are of different samples.
    """
    if not 1 <= len(group) <= MOST:
        raise R3labError(f"A group view shows 1 to {MOST} rollouts, got {len(group)}; choose some.")
    for t in group:
        if (t.sample_id, t.image.hash) != (group[0].sample_id, group[0].image.hash):
            raise R3labError(
                f"There are rollouts of {shown(group[0].sample_id)} and of {shown(t.sample_id)}; give those of one."
            )
    far = reach(group) or 1.0
    found = []
    for number, t in enumerate(group, start=1):
        advantage = scored(t)
        colour = UNSCORED if advantage is None else on_scale(DIVERGING, 0.5 + 0.5 * advantage / far)
        found.append(Member(number, t, colour))

    def last_if_unscored(member: Member) -> float:
        advantage = scored(member.t)
        return math.inf if advantage is None else -advantage

    return sorted(found, key=last_if_unscored)


def scored(t: Trajectory) -> float | None:
    """Its advantage; None if it has none that is finite."""
    return t.advantage if t.advantage is not None and math.isfinite(t.advantage) else None


def reach(group: Sequence[Trajectory]) -> float:
    """The largest advantage to either side; 0 where there is none."""
    return max((abs(a) for t in group if (a := scored(t)) is not None), default=0.0)


def names_of(group: Sequence[Trajectory]) -> list[str]:
    """Parts of the reward, in the order in which they first appear; at most eight."""
    return list(dict.fromkeys(name for t in group for name in t.rewards))[:8]


def push(t: Trajectory) -> str:
    """What the update does to a rollout, in words."""
    advantage = scored(t)
    if advantage is None:
        return "not scored"
    if abs(advantage) < 5e-4:
        return "left as it is"
    return "made likelier" if advantage > 0 else "made less likely"


def verdict_of_group(group: Sequence[Trajectory]) -> str:
    """Why the update pushes where it pushes, in a sentence."""
    rewards = [sum(t.rewards.values()) for t in group]
    right = sum(verdict(t).state == "right" for t in group)
    looked = sum(deciding_look(t) is not None for t in group)
    count = f"{len(group)} rollouts, {right} right, {looked} with a look"
    if not any(t.rewards for t in group):
        return f"{count}; not scored"
    said = f"{count}; reward {fmean(rewards):.2f} on average, spread {pstdev(rewards):.2f}"
    if max(rewards) == min(rewards):
        return f"{said}: all are paid alike, so this group teaches nothing"
    return said


# The regions of a group on one photograph, coloured by advantage; once more, enlarged, where they lie close together.
#
#     draw_looks(canvas, rows, (0, 0, 512, 512), (2.9, 2.9), top=0.8, gid="photo", numbers=True)
#
# Simplified: a number that would hide another is left out; it is read from the rows.

MARGIN = 0.28  # inches
CLOSE = 0.4  # of the photograph's sides: looks that lie closer together are drawn once more, enlarged


def closer(rows: Sequence[Member], size: Size) -> Box | None:
    """The part of the photograph that holds all granted looks and the true regions, if it is a small one."""
    boxes = [look.box for m in rows for look in m.t.looks if look.valid and look.box is not None]
    if not boxes:
        return None
    columns = list(zip(*[*boxes, *true_regions(rows[0].t)], strict=True))
    x1, y1, x2, y2 = min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])
    if x2 - x1 > CLOSE * size[0] or y2 - y1 > CLOSE * size[1]:
        return None
    wide, high = 1.5 * max(x2 - x1, 0.9 * (y2 - y1)), 1.5 * max(y2 - y1, 0.6 * (x2 - x1))
    near = clip(((x1 + x2 - wide) / 2, (y1 + y2 - high) / 2, (x1 + x2 + wide) / 2, (y1 + y2 + high) / 2), size)
    return near if near[2] - near[0] >= 1 and near[3] - near[1] >= 1 else None


def draw_looks(
    canvas: Canvas, rows: Sequence[Member], view: Box, inches: tuple[float, float], y: float, gid: str, numbers: bool
) -> None:
    """All regions on one picture, or on a part of it; the highest advantage on top."""
    kept = next((p for p in (photograph(m.t) for m in rows) if p is not None), None)
    if kept is not None and gid == "detail":
        left, up, right, down = math.floor(view[0]), math.floor(view[1]), math.ceil(view[2]), math.ceil(view[3])
        kept, view = kept.crop((left, up, right, down)), (float(left), float(up), float(right), float(down))
    axes = canvas.picture(kept, MARGIN, y, *inches, view, gid)
    for region in true_regions(rows[0].t):
        draw_truth(axes, region)
    taken: list[tuple[float, float]] = []
    for member in reversed(rows):
        for look in member.t.looks[:MOST]:
            if look.box is not None and (seen := drawable_part(look.box, axes)) is not None:
                dashes = None if look.valid else DASHES
                name = f"look-of-{member.number}"
                outline(axes, seen, member.colour, 1.9, name, halo=HALO[1], wider=1.3, alpha=0.6, dashes=dashes)
                if numbers:
                    _number(axes, seen, member, inches, taken)


def _number(
    axes: Axes, box: Box, member: Member, inches: tuple[float, float], taken: list[tuple[float, float]]
) -> None:
    """A rollout's number beside its region, where it hides no other; else it is read from the rows."""
    x1, y1, x2, y2 = box
    (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
    inch = (right - left) / inches[0]
    w, h = max(0.15, text_width(str(member.number), SMALL, True) + 0.06) * inch, 0.15 * inch
    corners = [(x, y) for y in (y1 - h, y2) for x in (x1, x2 - w)] + [(x1 - w, y1), (x2, y1), (x1 - w, y2 - h)]
    corners += [(x2, y2 - h), (x1, y1), (x2 - w, y2 - h)]
    places = [(min(max(a, left), right - w), min(max(b, low), high - h)) for a, b in corners]
    at = next((p for p in places if all(abs(p[0] - a) > w or abs(p[1] - b) > h for a, b in taken)), None)
    if at is None:
        return
    taken.append(at)
    draw_tag(axes, at, (w, h), member.number, member.colour, HALO[1], 6)


def draw_scale(canvas: Canvas, rows: list[Member], x: float, y: float) -> None:
    """What the colours mean, and what the lines."""
    axes = canvas.axes(x, y, 1.1, 0.12, (0, 0, 48, 1), "scale")
    for k in range(48):
        axes.add_patch(Rectangle((k, 0), 1.05, 1, facecolor=on_scale(DIVERGING, k / 47), edgecolor="none"))
    far = reach([m.t for m in rows])
    canvas.line(x + 1.18, y - 0.02, f"advantage, -{far:.2f} to {far:.2f}", SMALL, canvas.theme.muted)
    y += KEY_ROW + 0.04
    refused = any(look.box is not None and not look.valid for m in rows for look in m.t.looks)
    canvas.key(x, y, ["refused"] * refused + ["truth"] * bool(true_regions(rows[0].t)))


# The rows of a group: each rollout's crop, answer, parts of the reward as bars, and advantage.
#
#     draw_rows(canvas, rows, ["accuracy", "format"], x=3.5, y=0.8)
#
# A part below zero is hatched; an advantage stands to the right of its line where the update makes the rollout
# likelier.
# Simplified: bars of one part share a scale, those of different parts do not.

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
        canvas.rect(x, y - 0.066, canvas.width - MARGIN - x, 0.006, facecolor=chosen.faint, edgecolor="none")
        edge = {"edgecolor": chosen.muted, "linewidth": 0.6}
        canvas.sign(x, y + 0.1, 0.2, 0.2, member.number, SMALL, member.colour, ink_on(member.colour), **edge)
        _crop(canvas, member, x + 0.3, y)
        _answer(canvas, member.t, x + CROP + 0.45, y)
        for i, (name, far) in enumerate(zip(names, reach, strict=True)):
            value = member.t.rewards.get(name)
            _bar(canvas, parts + i * PART, y, value, far, f"part-{member.number}-{i}", series)
        whole = member.reward if member.t.rewards else None
        _bar(canvas, columns[-2][0], y, whole, total, f"reward-{member.number}", chosen.muted)
        _advantage(canvas, member, rows, columns[-1][0], y)
        y += ROW


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
    canvas.sign(x, y + 0.1, 0.2, 0.2, mark, BODY, colour, HALO[0])
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


PHOTO, GAP = 2.9, 0.35  # inches


def group_view(group: Sequence[Trajectory], dark: bool = False) -> Picture:
    """Draw a group.

    Parameters
    ----------
    group
        Rollouts of one sample, scored (`train.rgrpo.reward_groups`).
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If there are none, too many, or of different samples.
    """
    chosen, rows, names = theme(dark), members(group), names_of(group)
    size = source_size(group[0])
    photo, near = fitted(size, PHOTO, PHOTO * 1.2), closer(rows, size)
    detail = fitted((round(near[2] - near[0]), round(near[3] - near[1])), PHOTO, PHOTO * 0.8) if near else (0.0, 0.0)
    width = 2 * MARGIN + PHOTO + GAP + width_of(names)
    title = wrap(group[0].question, width - 2 * MARGIN, TITLE, 2, bold=True)
    note = wrap(verdict_of_group(group), width - 2 * MARGIN, BODY, 2)
    top = MARGIN * 0.8 + height(len(title), TITLE) + height(len(note), BODY) + 0.2
    left = photo[1] + (detail[1] + 0.12 if near else 0.0) + 0.1 + 3 * KEY_ROW + 0.3
    with style(chosen):
        canvas = Canvas(width, top + max(left, HEAD + ROW * len(rows)) + MARGIN * 0.7, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, chosen.ink, bold=True)
        canvas.block(MARGIN, y, note, BODY, chosen.muted)
        whole: Box = (0.0, 0.0, float(size[0]), float(size[1]))
        draw_looks(canvas, rows, whole, photo, top, "photo", numbers=near is None)
        y = top + photo[1] + 0.12
        if near:
            draw_looks(canvas, rows, near, detail, y, "detail", numbers=True)
            y += detail[1] + 0.12
        draw_scale(canvas, rows, MARGIN, y)
        draw_rows(canvas, rows, names, MARGIN + PHOTO + GAP, top)
    return Picture(canvas.figure, _group_alt(group))


def _group_alt(group: Sequence[Trajectory]) -> str:
    """What the group view shows, in words."""
    said = [f"A group of rollouts. Question: {quoted(group[0].question, 300)}", f"{verdict_of_group(group)}."]
    for member in members(group):
        t = member.t
        parts = ", ".join(f"{one_line(name, 40)} {value:.2f}" for name, value in list(t.rewards.items())[:8])
        given = "no answer" if t.answer is None else f"answer {quoted(t.answer, 80)}"
        advantage = f", advantage {t.advantage:+.2f}" if scored(t) is not None else ""
        looks = f"{len(t.looks)} look{'' if len(t.looks) == 1 else 's'}"
        said.append(
            f"Rollout {member.number}: {looks}, {given}, {verdict(t).state}; reward {member.reward:.2f}"
            f"{f' ({parts})' if parts else ''}{advantage}, {push(t)}."
        )
    return " ".join(said)
