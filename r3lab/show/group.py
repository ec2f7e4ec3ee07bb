"""A group of R-GRPO: the rollouts of one sample, what each was paid for, and where the update will push.

On the left every region of every rollout on one photograph, coloured by advantage, and once more, enlarged, where they
lie close together; on the right a row a rollout, the best first: the deciding crop, its answer, each part of its reward
as a bar (hatched below zero), and its advantage, to the right of its line where the update makes the rollout likelier.
Numbers are those of the rollouts in the order given. Simplified: at most sixteen rollouts; bars of one part share a
scale, those of different parts do not; a number that would hide another is left out, and read from the rows.

    group = rollout(policy, [sample], group=8, temperature=1.0)
    reward_groups(group, 8, "grounded")
    group_view(group)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from matplotlib.patches import Rectangle

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip, intersection
from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .canvas import (
    DASHES,
    KEY_ROW,
    TAG,
    Canvas,
    draw_tag,
    draw_truth,
    drawable_part,
    edges,
    fitted,
    outline,
    tag_corner,
)
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
from .steps import photograph, region_shown, source_size, true_regions, verdict
from .text import height, one_line, quoted, text_width, wrap

MOST, PARTS = 16, 8  # rollouts; parts of the reward
UNSCORED = "#8C8C8C"
MARGIN, PHOTO, GAP = 0.28, 2.9, 0.35  # inches
CLOSE = 0.4  # of the photograph's sides: looks that lie closer together are drawn once more, enlarged
HEAD, ROW, CROP, ANSWER, PART, ADVANTAGE = 0.42, 0.58, 0.62, 1.2, 0.8, 1.65  # inches: over the rows, a row, columns


@dataclass(frozen=True)
class Member:
    """A rollout of a group.

    Attributes
    ----------
    number : from 1, in the order given
    t : the rollout
    far : the largest advantage of the group to either side, 0 where there is none
    """

    number: int
    t: Trajectory
    far: float

    @property
    def reward(self) -> float:
        """The sum of the parts."""
        return sum(self.t.rewards.values())

    @property
    def advantage(self) -> float | None:
        """None if it has none that is finite."""
        return _advantage_of(self.t)

    @property
    def colour(self) -> str:
        """Of its advantage."""
        advantage = self.advantage
        return UNSCORED if advantage is None else on_scale(DIVERGING, 0.5 + 0.5 * advantage / (self.far or 1.0))

    @property
    def push(self) -> str:
        """What the update does to it, in words."""
        if self.advantage is None:
            return "not scored"
        if abs(self.advantage) < 5e-4:
            return "left as it is"
        return "made likelier" if self.advantage > 0 else "made less likely"


def _advantage_of(t: Trajectory) -> float | None:
    return t.advantage if t.advantage is not None and math.isfinite(t.advantage) else None


def members(group: Sequence[Trajectory]) -> list[Member]:
    """The rollouts of one sample, the highest advantage first, those that are not scored last.

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
    far = max((abs(a) for t in group if (a := _advantage_of(t)) is not None), default=0.0)
    found = [Member(number, t, far) for number, t in enumerate(group, start=1)]
    return sorted(found, key=lambda m: math.inf if m.advantage is None else -m.advantage)


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

    Examples
    --------
    >>> log = []; group = policy.rollout(samples[:1], group=4, temperature=1.0)
    >>> bool(r3lab.group_view(group).alt)
    True
    """
    chosen, rows, size = theme(dark), members(group), source_size(group[0])
    names = list(dict.fromkeys(name for t in group for name in t.rewards))[:PARTS]
    photo, near = fitted(size, PHOTO, PHOTO * 1.2), closer(rows, size)
    detail = fitted((round(near[2] - near[0]), round(near[3] - near[1])), PHOTO, PHOTO * 0.8) if near else (0.0, 0.0)
    columns = CROP + 0.45 + ANSWER + PART * (max(1, len(names)) + 1) + ADVANTAGE
    width = 2 * MARGIN + PHOTO + GAP + columns
    title = wrap(group[0].question, width - 2 * MARGIN, TITLE, 2, bold=True)
    note = wrap(summary(group), width - 2 * MARGIN, BODY, 2)
    top = MARGIN * 0.8 + height(len(title), TITLE) + height(len(note), BODY) + 0.2
    left = photo[1] + (detail[1] + 0.12 if near else 0.0) + 0.1 + 3 * KEY_ROW + 0.3
    with style(chosen):
        canvas = Canvas(width, top + max(left, HEAD + ROW * len(rows)) + MARGIN * 0.7, chosen)
        y = canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, chosen.ink, bold=True)
        canvas.block(MARGIN, y, note, BODY, chosen.muted)
        whole: Box = (0.0, 0.0, float(size[0]), float(size[1]))
        _draw_regions(canvas, rows, whole, photo, top, "photo", numbers=near is None)
        y = top + photo[1] + 0.12
        if near:
            _draw_regions(canvas, rows, near, detail, y, "detail", numbers=True)
            y += detail[1] + 0.12
        _draw_scale(canvas, rows, MARGIN, y)
        _draw_rows(canvas, rows, names, MARGIN + PHOTO + GAP, top)
    return Picture(canvas.figure, _alt(group, rows))


def summary(group: Sequence[Trajectory]) -> str:
    """How a group turned out, and whether it teaches anything, in a sentence."""
    rewards = [sum(t.rewards.values()) for t in group]
    right = sum(verdict(t).state == "right" for t in group)
    looked = sum(deciding_look(t) is not None for t in group)
    count = f"{len(group)} rollouts, {right} right, {looked} with a look"
    if not any(t.rewards for t in group):
        return f"{count}; not scored"
    said = f"{count}; reward {fmean(rewards):.2f} on average, standard deviation {pstdev(rewards):.2f}"
    if max(rewards) == min(rewards):
        return f"{said}: all are paid alike, so this group teaches nothing"
    return said


# -- regions on the photograph ---------------------------------------------------------------------------------------


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


def _draw_regions(
    canvas: Canvas, rows: Sequence[Member], view: Box, inches: tuple[float, float], y: float, gid: str, numbers: bool
) -> None:
    """All regions on one picture, or on a part of it; the highest advantage on top."""
    kept = next((p for p in (photograph(m.t) for m in rows) if p is not None), None)
    if kept is not None and gid == "detail":
        left, up, right, down = math.floor(view[0]), math.floor(view[1]), math.ceil(view[2]), math.ceil(view[3])
        kept, view = kept.crop((left, up, right, down)), (float(left), float(up), float(right), float(down))
    axes = canvas.picture(kept, MARGIN, y, *inches, view, gid)
    inch = (view[2] - view[0]) / inches[0]
    taken: list[Box] = []
    for region in true_regions(rows[0].t):
        draw_truth(axes, region)
    for member in reversed(rows):
        for look in member.t.looks[:MOST]:
            seen = None if look.box is None else drawable_part(look.box, axes)
            if seen is None:
                continue
            dashes, name = None if look.valid else DASHES, f"look-of-{member.number}"
            outline(axes, seen, member.colour, 1.9, name, halo=HALO[1], wider=1.3, alpha=0.6, dashes=dashes)
            w, h = max(TAG, text_width(str(member.number), SMALL, True) + 0.06) * inch, TAG * inch
            x, high = tag_corner(seen, (w, h), edges(axes), taken)
            spot = (x, high, x + w, high + h)
            if numbers and not any(intersection(spot, other) for other in taken):
                taken.append(spot)
                draw_tag(axes, (x, high), (w, h), member.number, member.colour, HALO[1], 6)


def _draw_scale(canvas: Canvas, rows: list[Member], x: float, y: float) -> None:
    """What the colours mean, and what the lines."""
    axes, far = canvas.axes(x, y, 1.1, 0.12, (0, 0, 48, 1), "scale"), rows[0].far
    for k in range(48):
        axes.add_patch(Rectangle((k, 0), 1.05, 1, facecolor=on_scale(DIVERGING, k / 47), edgecolor="none"))
    canvas.line(x + 1.18, y - 0.02, f"advantage, -{far:.2f} to {far:.2f}", SMALL, canvas.theme.muted)
    refused = any(look.box is not None and not look.valid for m in rows for look in m.t.looks)
    kinds = ["refused"] * refused + ["truth"] * bool(true_regions(rows[0].t))
    canvas.key(x, y + KEY_ROW + 0.04, kinds)


# -- a row a rollout -------------------------------------------------------------------------------------------------


def _draw_rows(canvas: Canvas, rows: list[Member], names: list[str], x: float, y: float) -> None:
    chosen = canvas.theme
    parts = x + CROP + 0.45 + ANSWER
    far = [max((abs(m.t.rewards.get(name, 0.0)) for m in rows), default=0.0) or 1.0 for name in names]
    total = max((abs(m.reward) for m in rows), default=0.0) or 1.0
    columns = [(x + 0.3, "looked at"), (x + CROP + 0.45, "answer")]
    columns += [(parts + i * PART, name) for i, name in enumerate(names)]
    columns += [(parts + max(1, len(names)) * PART, "reward"), (parts + (max(1, len(names)) + 1) * PART, "advantage")]
    for at, name in columns:
        wide = ADVANTAGE if at == columns[-1][0] else PART - 0.06
        canvas.line(at, y, "".join(wrap(name, wide, HEADING, 1, bold=True)), HEADING, chosen.ink, bold=True)
    y += 0.3
    series = OKABE_ITO["blue"] if chosen is LIGHT else OKABE_ITO["sky blue"]
    for m in rows:
        canvas.rect(x, y - 0.066, canvas.width - MARGIN - x, 0.006, facecolor=chosen.faint, edgecolor="none")
        edge = {"edgecolor": chosen.muted, "linewidth": 0.6}
        canvas.sign(x, y + 0.1, 0.2, 0.2, m.number, SMALL, m.colour, ink_on(m.colour), **edge)
        _draw_crop(canvas, m, x + 0.3, y)
        _draw_answer(canvas, m.t, x + CROP + 0.45, y)
        for i, name in enumerate(names):
            _draw_part(canvas, parts + i * PART, y, m.t.rewards.get(name), far[i], f"part-{m.number}-{i}", series)
        whole = m.reward if m.t.rewards else None
        _draw_part(canvas, columns[-2][0], y, whole, total, f"reward-{m.number}", chosen.muted)
        _draw_advantage(canvas, m, columns[-1][0], y)
        y += ROW


def _draw_crop(canvas: Canvas, member: Member, x: float, y: float) -> None:
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


def _draw_answer(canvas: Canvas, t: Trajectory, x: float, y: float) -> None:
    ending = verdict(t)
    colour, mark, _ = VERDICTS[ending.state]
    canvas.sign(x, y + 0.1, 0.2, 0.2, mark, BODY, colour, HALO[0])
    given = "no answer" if ending.answer is None else one_line(ending.answer, 60)
    lines = wrap(given, ANSWER - 0.45, HEADING, 2, bold=True)
    canvas.block(x + 0.28, y + (0.08 if len(lines) == 1 else 0.0), lines, HEADING, canvas.theme.ink, bold=True)


def _draw_part(canvas: Canvas, x: float, y: float, value: float | None, far: float, gid: str, colour: str) -> None:
    """A part of the reward as a bar, hatched if it is below zero, with its number."""
    if value is None:
        canvas.line(x, y + 0.12, "none", SMALL, canvas.theme.muted)
        return
    axes = canvas.axes(x, y + 0.05, PART - 0.16, 0.13, (-0.02 * far, 0, 1.02 * far, 1), gid)
    filled: dict[str, Any] = {"facecolor": colour} if value >= 0 else {"facecolor": canvas.theme.paper, "hatch": "////"}
    axes.add_patch(
        Rectangle((0, 0), min(abs(value), far), 1, edgecolor=colour, linewidth=0.9, gid=f"{gid}-bar", **filled)
    )
    canvas.line(x, y + 0.2, f"{round(value, 2) + 0.0:.2f}", SMALL, canvas.theme.ink)


def _draw_advantage(canvas: Canvas, m: Member, x: float, y: float) -> None:
    """A bar from a middle line: to the right it is made likelier, to the left less likely."""
    value, far, gid = m.advantage, m.far or 1.0, f"advantage-{m.number}"
    if value is None:
        canvas.line(x, y + 0.12, m.push, SMALL, canvas.theme.muted)
        return
    axes = canvas.axes(x, y + 0.03, ADVANTAGE - 0.1, 0.17, (-far, 0, far, 1), gid)
    edge: dict[str, Any] = {"edgecolor": canvas.theme.muted, "linewidth": 0.7, "gid": f"{gid}-bar"}
    axes.add_patch(Rectangle((min(0.0, value), 0), abs(value), 1, facecolor=m.colour, **edge))
    axes.axvline(0, color=canvas.theme.ink, linewidth=1.0)
    canvas.line(x, y + 0.22, f"{value:+.2f}, {m.push}", SMALL, canvas.theme.ink)


def _alt(group: Sequence[Trajectory], rows: Sequence[Member]) -> str:
    """What the group view shows, in words."""
    said = [f"A group of rollouts. Question: {quoted(group[0].question, 300)}", f"{summary(group)}."]
    for m in rows:
        parts = ", ".join(f"{one_line(name, 40)} {value:.2f}" for name, value in list(m.t.rewards.items())[:PARTS])
        given = "no answer" if m.t.answer is None else f"answer {quoted(m.t.answer, 80)}"
        looks = f"{len(m.t.looks)} look{'' if len(m.t.looks) == 1 else 's'}"
        reward = f"reward {m.reward:.2f}{f' ({parts})' if parts else ''}"
        reward += "" if m.advantage is None else f", advantage {m.advantage:+.2f}"
        said.append(f"Rollout {m.number}: {looks}, {given}, {verdict(m.t).state}; {reward}, {m.push}.")
    return " ".join(said)
