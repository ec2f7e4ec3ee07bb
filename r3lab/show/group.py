"""A group of R-GRPO: the rollouts of one sample, what each was paid for, and where the update will push.

On the left every region of every rollout on one photograph, coloured by advantage; on the right a row a rollout, the
best first: the deciding crop, its answer, each part of its reward as a bar, and its advantage with what the update will
do to it. Numbers are those of the rollouts in the order given. Simplified: at most sixteen rollouts.

    group = rollout(policy, [sample], group=8, temperature=1.0)
    reward_groups(group, 8, "grounded")
    picture(group_view(group), group_alt(group))
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..geometry import Box
from ..trajectory import Trajectory
from .canvas import KEY_ROW, Canvas, fitted
from .group_members import members, names_of, push, scored, verdict_of_group
from .group_photo import MARGIN, closer, draw_looks, draw_scale
from .group_rows import HEAD, ROW, draw_rows, width_of
from .lettering import height, one_line, quoted, wrap
from .palette import BODY, TITLE, style, theme
from .story import source_size, verdict

PHOTO, GAP = 2.9, 0.35  # inches


def group_view(group: Sequence[Trajectory], dark: bool = False) -> Figure:
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
    return canvas.figure


def group_alt(group: Sequence[Trajectory]) -> str:
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
