"""The regions of a group on one photograph, coloured by advantage; once more, enlarged, where they lie close together.

    draw_looks(canvas, rows, (0, 0, 512, 512), (2.9, 2.9), top=0.8, gid="photo", numbers=True)

Simplified: a number that would hide another is left out; it is read from the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..geometry import Box, Size, clip
from .boxes import draw_truth, drawable_part
from .canvas import KEY_ROW, Canvas
from .group_members import MOST, Member, reach
from .lettering import measure, write
from .palette import DIVERGING, HALO, SMALL, ink_on, on_scale
from .story import photograph, true_regions

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
                _box(axes, seen, member, look.valid)
                if numbers:
                    _number(axes, seen, member, inches, taken)


def _box(axes: Axes, box: Box, member: Member, valid: bool) -> None:
    x1, y1, x2, y2 = box
    for colour, wide, order in ((HALO[1], 3.2, 3), (member.colour, 1.9, 4)):
        axes.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=colour,
                linewidth=wide,
                linestyle="solid" if valid or order == 3 else (0, (3.0, 2.0)),
                alpha=0.6 if order == 3 else 1.0,
                zorder=order,
                gid=f"{axes.get_gid()}-look-of-{member.number}" if order == 4 else None,
            )
        )


def _number(
    axes: Axes, box: Box, member: Member, inches: tuple[float, float], taken: list[tuple[float, float]]
) -> None:
    """A rollout's number beside its region, where it hides no other; else it is read from the rows."""
    x1, y1, x2, y2 = box
    (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
    inch = (right - left) / inches[0]
    w, h = max(0.15, measure(str(member.number), SMALL, True) + 0.06) * inch, 0.15 * inch
    corners = [(x, y) for y in (y1 - h, y2) for x in (x1, x2 - w)] + [(x1 - w, y1), (x2, y1), (x1 - w, y2 - h)]
    corners += [(x2, y2 - h), (x1, y1), (x2 - w, y2 - h)]
    places = [(min(max(a, left), right - w), min(max(b, low), high - h)) for a, b in corners]
    at = next((p for p in places if all(abs(p[0] - a) > w or abs(p[1] - b) > h for a, b in taken)), None)
    if at is None:
        return
    taken.append(at)
    axes.add_patch(Rectangle(at, w, h, facecolor=member.colour, edgecolor=HALO[1], linewidth=0.5, zorder=6))
    options = {"ha": "center", "va": "center_baseline", "zorder": 7}
    write(axes, at[0] + w / 2, at[1] + h / 2, member.number, SMALL, ink_on(member.colour), True, **options)


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
