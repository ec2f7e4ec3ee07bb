"""Many rollouts in one picture: the group of one sample at a step of R-GRPO, and the same samples over its steps.

`group_view` shows what each rollout was paid for, and where the update will push: on the left every region of every
rollout on one photograph, coloured by advantage, and once more, enlarged, where they lie close together; on the right a
row a rollout, the best first: the deciding crop, its answer, each part of its reward as a bar (hatched below zero), and
its advantage, to the right of its line where the update makes the rollout likelier. Numbers are those of the rollouts
in the order given.

`river` shows where a policy looks at held-out samples, step after step: in the picture each photograph holds the
deciding look of every step, early ones light, late ones dark, with the way of its middle; below, look rate, IoU,
entropy and right answers. The view moves through the steps: elements of one step alone have the class `only`, and
without its script (`page.js`) those of the last step stand.

Simplified: at most sixteen rollouts and twelve samples; bars of one part share a scale, those of different parts do
not; a number that would hide another is left out; of a step with several looks the river's picture has the last.

    group = rollout(policy, [sample], group=8, temperature=1.0)
    reward_groups(group, 8, "grounded")
    group_view(group)
    river(load_river("runs/rgrpo/river"))                        # last line of a cell: slider over the steps
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, clip, intersection
from ..train.rewards import deciding_look
from ..train.river import MEASURES, River, Subject
from ..trajectory import Trajectory
from .canvas import (
    DASHES,
    KEY_ROW,
    TAG,
    Canvas,
    Spot,
    draw_tag,
    draw_truth,
    drawable_part,
    edges,
    fitted,
    outline,
    spots,
    tag_corner,
    within,
)
from .curves import ABOVE, BELOW, LEFT, RIGHT, Charts, Panel, draw_chart
from .logs import Log, Series
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
)
from .picture import Picture, View, embed, render
from .steps import photograph, region_shown, source_size, true_regions, verdict, where_in
from .text import height, one_line, quoted, text_width, wrap

MARGIN = 0.28  # inches


def _looks(count: int) -> str:
    return f"{count} look{'s' * (count != 1)}"


def _draw_scale(canvas: Canvas, x: float, y: float, scale: tuple[str, ...], words: str) -> None:
    """What the colours mean."""
    axes = canvas.axes(x, y, 1.1, 0.12, (0, 0, 48, 1), "scale")
    for k in range(48):
        axes.add_patch(Rectangle((k, 0), 1.05, 1, facecolor=on_scale(scale, k / 47), edgecolor="none"))
    canvas.line(x + 1.2, y - 0.02, words, SMALL, LIGHT.muted)


# -- a group ---------------------------------------------------------------------------------------------------------

MOST, PARTS = 16, 8  # rollouts; parts of the reward
UNSCORED = "#8C8C8C"
PHOTO, BETWEEN = 2.9, 0.35  # inches
CLOSE = 0.4  # of the photograph's sides: looks that lie closer together are drawn once more, enlarged
HEAD, ROW, CROP, ANSWER, PART, ADVANTAGE = 0.42, 0.58, 0.62, 1.2, 0.8, 1.65  # inches: over the rows, a row, columns


@dataclass(frozen=True)
class Member:
    """A rollout of a group.

    Attributes
    ----------
    number : from 1, in the order given
    t : the rollout
    reward : the sum of its parts
    advantage : None if it has none that is finite
    colour : of its advantage
    push : what the update does to it, in words
    """

    number: int
    t: Trajectory
    reward: float
    advantage: float | None
    colour: str
    push: str


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
    known = [t.advantage if t.advantage is not None and math.isfinite(t.advantage) else None for t in group]
    far = max((abs(a) for a in known if a is not None), default=0.0) or 1.0
    found = []
    for number, (t, advantage) in enumerate(zip(group, known, strict=True), start=1):
        colour, push = UNSCORED, "not scored"
        if advantage is not None:
            colour = on_scale(DIVERGING, 0.5 + 0.5 * advantage / far)
            push = "made likelier" if advantage > 0 else "made less likely"
        if advantage is not None and abs(advantage) < 5e-4:
            push = "left as it is"
        found.append(Member(number, t, sum(t.rewards.values()), advantage, colour, push))
    return sorted(found, key=lambda m: math.inf if m.advantage is None else -m.advantage)


def group_view(group: Sequence[Trajectory]) -> Picture:
    """Draw a group.

    Parameters
    ----------
    group
        Rollouts of one sample, scored (`train.rgrpo.reward_groups`).

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
    rows, size = members(group), source_size(group[0])
    names = list(dict.fromkeys(name for t in group for name in t.rewards))[:PARTS]
    views: list[tuple[str, Box, float]] = [("photo", (0, 0, *size), 1.2)]  # its name, what it shows, its height at most
    if (near := closer(rows, size)) is not None:
        views.append(("detail", near, 0.8))
    inches = [fitted((round(box[2] - box[0]), round(box[3] - box[1])), PHOTO, PHOTO * most) for _, box, most in views]
    parts = MARGIN + PHOTO + BETWEEN + CROP + 0.45 + ANSWER  # where the bars begin
    width = parts + PART * (max(1, len(names)) + 1) + ADVANTAGE + MARGIN
    title = wrap(group[0].question, width - 2 * MARGIN, TITLE, 2, bold=True)
    note = wrap(summary(group), width - 2 * MARGIN, BODY, 2)
    top = MARGIN * 0.8 + height(len(title), TITLE) + height(len(note), BODY) + 0.2
    left = sum(high + 0.12 for _, high in inches) + 3 * KEY_ROW + 0.28
    refused = any(look.box is not None and not look.valid for t in group for look in t.looks)
    with style():
        canvas = Canvas(width, top + max(left, HEAD + ROW * len(rows)) + MARGIN * 0.7)
        y = canvas.block(MARGIN, MARGIN * 0.8, title, TITLE, LIGHT.ink, bold=True)
        canvas.block(MARGIN, y, note, BODY, LIGHT.muted)
        y = top
        for view, shape in zip(views, inches, strict=True):
            _draw_regions(canvas, rows, view[1], shape, y, view[0], numbers=view is views[-1])
            y += shape[1] + 0.12
        far = max(abs(m.advantage or 0.0) for m in rows)
        _draw_scale(canvas, MARGIN, y, DIVERGING, f"advantage, -{far:.2f} to {far:.2f}")
        canvas.key(MARGIN, y + KEY_ROW + 0.04, ["refused"] * refused + ["truth"] * bool(true_regions(group[0])))
        _draw_rows(canvas, rows, names, far or 1.0, parts, top)
    return Picture(canvas.figure, _group_words(group, rows))


def summary(group: Sequence[Trajectory]) -> str:
    """How a group turned out, and whether it teaches anything, in a sentence."""
    rewards = [sum(t.rewards.values()) for t in group]
    right = sum(verdict(t).state == "right" for t in group)
    looked = sum(deciding_look(t) is not None for t in group)
    count = f"{len(group)} rollouts, {right} right, {looked} with a look"
    if not any(t.rewards for t in group):
        return f"{count}; not scored"
    alike = ": all are paid alike, so this group teaches nothing" if max(rewards) == min(rewards) else ""
    return f"{count}; reward {fmean(rewards):.2f} on average, standard deviation {pstdev(rewards):.2f}{alike}"


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
    if near[2] - near[0] < 1 or near[3] - near[1] < 1:
        return None
    return math.floor(near[0]), math.floor(near[1]), math.ceil(near[2]), math.ceil(near[3])


def _draw_regions(
    canvas: Canvas, rows: Sequence[Member], view: Box, inches: tuple[float, float], y: float, gid: str, numbers: bool
) -> None:
    """All regions on the part of the photograph in `view`, whole pixels; the highest advantage on top."""
    kept = next((p for p in (photograph(m.t) for m in rows) if p is not None), None)
    part = None if kept is None else kept.crop((int(view[0]), int(view[1]), int(view[2]), int(view[3])))
    axes = canvas.picture(part, MARGIN, y, *inches, view, gid)
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
            x, high = tag_at = tag_corner(seen, (w, h), edges(axes), taken)
            spot = (x, high, x + w, high + h)
            if numbers and not any(intersection(spot, other) for other in taken):
                taken.append(spot)
                draw_tag(axes, tag_at, (w, h), member.number, member.colour, HALO[1], 6)


def _draw_rows(canvas: Canvas, rows: list[Member], names: list[str], far: float, parts: float, y: float) -> None:
    """A row a rollout: number, crop and answer, from `parts` on its rewards, and its advantage up to `far`."""
    x = MARGIN + PHOTO + BETWEEN
    reward = parts + max(1, len(names)) * PART
    most = {name: max(abs(m.t.rewards.get(name, 0.0)) for m in rows) or 1.0 for name in names}
    total = max(abs(m.reward) for m in rows) or 1.0
    heads = [(x + 0.3, "looked at", PART), (x + CROP + 0.45, "answer", PART)]
    heads += [(parts + i * PART, name, PART) for i, name in enumerate(names)]
    heads += [(reward, "reward", PART), (reward + PART, "advantage", ADVANTAGE)]
    for at, name, wide in heads:
        canvas.line(at, y, "".join(wrap(name, wide - 0.06, HEADING, 1, bold=True)), HEADING, LIGHT.ink, bold=True)
    y += 0.3
    for m in rows:
        canvas.rect(x, y - 0.066, canvas.width - MARGIN - x, 0.006, facecolor=LIGHT.faint, edgecolor="none")
        edge = {"edgecolor": LIGHT.muted, "linewidth": 0.6}
        canvas.sign(x, y + 0.1, 0.2, 0.2, m.number, SMALL, m.colour, ink_on(m.colour), **edge)
        _draw_crop(canvas, m, x + 0.3, y)
        _draw_answer(canvas, m.t, x + CROP + 0.45, y)
        for i, name in enumerate(names):
            gid, value = f"part-{m.number}-{i}", m.t.rewards.get(name)
            _draw_part(canvas, parts + i * PART, y, value, most[name], gid, OKABE_ITO["blue"])
        _draw_part(canvas, reward, y, m.reward if m.t.rewards else None, total, f"reward-{m.number}", LIGHT.muted)
        _draw_advantage(canvas, m, far, reward + PART, y)
        y += ROW


def _draw_crop(canvas: Canvas, member: Member, x: float, y: float) -> None:
    """What the answer was read from."""
    look = deciding_look(member.t)
    if look is None or look.crop is None or (region := region_shown(member.t, look)) is None:
        refused = any(not one.valid for one in member.t.looks)
        canvas.line(x, y + 0.12, "refused" if refused else "no look", SMALL, LIGHT.muted)
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
    canvas.block(x + 0.28, y + (0.08 if len(lines) == 1 else 0.0), lines, HEADING, LIGHT.ink, bold=True)


def _draw_part(canvas: Canvas, x: float, y: float, value: float | None, far: float, gid: str, colour: str) -> None:
    """A part of the reward as a bar, hatched if it is below zero, with its number."""
    if value is None:
        canvas.line(x, y + 0.12, "none", SMALL, LIGHT.muted)
        return
    axes = canvas.axes(x, y + 0.05, PART - 0.16, 0.13, (-0.02 * far, 0, 1.02 * far, 1), gid)
    filled: dict[str, Any] = {"facecolor": colour} if value >= 0 else {"facecolor": LIGHT.paper, "hatch": "////"}
    axes.add_patch(
        Rectangle((0, 0), min(abs(value), far), 1, edgecolor=colour, linewidth=0.9, gid=f"{gid}-bar", **filled)
    )
    canvas.line(x, y + 0.2, f"{round(value, 2) + 0.0:.2f}", SMALL, LIGHT.ink)


def _draw_advantage(canvas: Canvas, m: Member, far: float, x: float, y: float) -> None:
    """A bar from a middle line: to the right it is made likelier, to the left less likely."""
    value, gid = m.advantage, f"advantage-{m.number}"
    if value is None:
        canvas.line(x, y + 0.12, m.push, SMALL, LIGHT.muted)
        return
    axes = canvas.axes(x, y + 0.03, ADVANTAGE - 0.1, 0.17, (-far, 0, far, 1), gid)
    edge: dict[str, Any] = {"edgecolor": LIGHT.muted, "linewidth": 0.7, "gid": f"{gid}-bar"}
    axes.add_patch(Rectangle((min(0.0, value), 0), abs(value), 1, facecolor=m.colour, **edge))
    axes.axvline(0, color=LIGHT.ink, linewidth=1.0)
    canvas.line(x, y + 0.22, f"{value:+.2f}, {m.push}", SMALL, LIGHT.ink)


def _group_words(group: Sequence[Trajectory], rows: Sequence[Member]) -> str:
    """What the group view shows, in words."""
    said = [f"A group of rollouts. Question: {quoted(group[0].question, 300)}", f"{summary(group)}."]
    for m in rows:
        parts = ", ".join(
            f"{one_line(name, 40)} {round(value, 2) + 0.0:.2f}" for name, value in list(m.t.rewards.items())[:PARTS]
        )
        given = "no answer" if m.t.answer is None else f"answer {quoted(m.t.answer, 80)}"
        reward = f"reward {m.reward:.2f}{f' ({parts})' if parts else ''}"
        reward += "" if m.advantage is None else f", advantage {m.advantage:+.2f}"
        looks, state = _looks(len(m.t.looks)), verdict(m.t).state
        said.append(f"Rollout {m.number}: {looks}, {given}, {state}; {reward}, {m.push}.")
    return " ".join(said)


# -- the river as a view ---------------------------------------------------------------------------------------------

SAMPLES = 12
SHARES = ("look rate", "right answers", "IoU")  # from 0 to 1
CHARACTERS = 90_000  # of a photograph
STATES = {True: "right", False: "wrong", None: "unknown"}


def river(found: River) -> View:
    """The river with a slider over its steps, for a notebook or a page.

    Parameters
    ----------
    found
        From `train.river.load_river`, or `train.river.river_of`; of more than twelve samples the first are shown.
    """
    title = f"Where it looks, from step {found.steps[0]} to step {found.steps[-1]}"
    last = len(found.steps) - 1
    body = render(
        "river.html",
        last=last,
        steps=found.steps,
        charts=[_chart(found, name) for name in MEASURES],
        cards=[_card(found, number, subject) for number, subject in enumerate(found.subjects[:SAMPLES])],
        verdicts=VERDICTS,
        states=STATES,
    )
    return View(title, body, _drawn(found, title))


def _card(found: River, number: int, subject: Subject) -> dict[str, Any]:
    """A sample as the template wants it: its photograph, true regions, and at each step its looks, the last look of a
    step before, and the answer."""
    size, photo = (subject.image.width, subject.image.height), found.images.get(subject.image.hash)
    view, answers = (0.0, 0.0, float(size[0]), float(size[1])), [row[number] for row in found.answers]
    placed = [spots([(i, box, True) for i, box in enumerate(one.looks[:8], start=1)], size) for one in answers]
    before: list[Spot | None] = [None]
    for looks in placed:
        before.append(looks[-1] if looks else before[-1])
    return {
        "view": view,
        "uri": "" if photo is None else embed(photo, CHARACTERS, 480).uri,
        "truths": [box for region in subject.regions if (box := within(region, view)) is not None],
        "spots": placed,
        "before": before,
        "question": subject.question,
        "answers": answers,
    }


def _chart(found: River, name: str) -> dict[str, Any]:
    """A measure over the steps as the template wants it: places in the chart, where the value is known."""
    values = found.means(name)
    known = [v for v in values if v is not None]
    top = 1.0 if name in SHARES else max(1e-3, 1.1 * max(known, default=1.0))
    span, points = max(1, found.steps[-1] - found.steps[0]), []
    for step, value in zip(found.steps, values, strict=True):
        point: dict[str, Any] = {"x": round(42 + 206 * (step - found.steps[0]) / span, 1), "y": None}
        if value is not None:
            point |= {"y": round(92 - 72 * value / top, 1), "told": _told(name, value)}
        points.append(point)
    ends = f" from {_told(name, known[0])} to {_told(name, known[-1])}" if known else ", no value"
    heads = {"title": name[0].upper() + name[1:], "zero": _told(name, 0.0), "top": _told(name, top)}
    return {**heads, "points": points, "ends": ends}


def _told(name: str, value: float) -> str:
    return f"{value:.0%}" if name in SHARES and name != "IoU" else f"{value:.2f}"


# -- the river as a picture ------------------------------------------------------------------------------------------

COLUMNS, CARD, GAP, CHART = 4, 2.1, 0.26, 1.25  # photographs in a row; inches
PANELS = [
    Panel("look rate", "Look rate", kind="share"),
    Panel("IoU", "IoU", kind="unit"),
    Panel("entropy", "Entropy", kind="from zero"),
    Panel("right answers", "Right answers", kind="share"),
]


def _drawn(found: River, title: str) -> Picture:
    """The river of all steps at once."""
    samples = found.subjects[:SAMPLES]
    columns = min(COLUMNS, max(2, len(samples)))
    width = 2 * MARGIN + COLUMNS * (CARD + GAP) - GAP
    card = min((width - 2 * MARGIN + GAP) / columns - GAP, 2.6)
    sizes = [fitted((subject.image.width, subject.image.height), card, card) for subject in samples]
    high = max(h for _, h in sizes) + height(2, SMALL) + 0.24
    top = MARGIN * 0.8 + height(1, TITLE) + KEY_ROW + 0.25
    below = top - (-len(samples) // columns) * high
    steps = np.array(found.steps, dtype=float)
    series = {panel.key: Series(steps, np.array(found.means(panel.key), dtype=float)) for panel in PANELS}
    charts, wide = Charts({"run": [Log("run", series)]}, PANELS), (width - 2 * MARGIN) / len(PANELS)
    with style():
        canvas = Canvas(width, below + ABOVE + CHART + BELOW + 0.25)
        y = canvas.block(MARGIN, MARGIN * 0.8, [title], TITLE, LIGHT.ink, bold=True) + 0.08
        words = f"step {found.steps[0]} to {found.steps[-1]}, {len(found.steps)} of them"
        _draw_scale(canvas, MARGIN, y, DIVERGING[::-1], words)
        canvas.key(MARGIN + 4.2, y - 0.02, ["truth"] * any(s.regions for s in found.subjects))
        for number, subject in enumerate(samples):
            row, column = divmod(number, columns)
            x, y = MARGIN + column * (card + GAP), top + row * high
            (w, h), size = sizes[number], (subject.image.width, subject.image.height)
            photo = found.images.get(subject.image.hash)
            axes = canvas.picture(photo, x, y, w, h, (0, 0, *size), f"sample-{number + 1}")
            for region in subject.regions:
                draw_truth(axes, region)
            _draw_way(axes, found, number)
            canvas.block(x, y + h + 0.06, wrap(subject.question, card, SMALL, 2), SMALL, LIGHT.ink)
        for place, panel in enumerate(PANELS):
            left = MARGIN + place * wide + LEFT - 0.18
            draw_chart(canvas, (left, below + ABOVE, wide - LEFT - RIGHT + 0.1, CHART), charts, panel)
    return Picture(canvas.figure, _river_words(found))


def _draw_way(axes: Axes, found: River, number: int) -> None:
    """The deciding look of every step, and the way of its middle."""
    way: list[tuple[float, float]] = []
    last = len(found.steps) - 1
    for order, row in enumerate(found.answers):
        looks = row[number].looks
        seen = drawable_part(looks[-1], axes) if looks else None
        if seen is not None:
            colour, thick = on_scale(DIVERGING[::-1], order / max(1, last)), 1.8 if order == last else 1.1
            outline(axes, seen, colour, thick, f"step-{found.steps[order]}", halo=HALO[1], wider=0.8, alpha=0.55)
            way.append(((seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2))
    if len(way) > 1:
        xs, ys = zip(*way, strict=True)
        axes.plot(xs, ys, color=HALO[1], linewidth=2.4, alpha=0.5, zorder=5)
        axes.plot(xs, ys, color=HALO[0], linewidth=1.0, zorder=6, gid=f"{axes.get_gid()}-way")
        axes.plot(xs[-1], ys[-1], marker="o", markersize=3.5, color=HALO[0], markeredgecolor=HALO[1], zorder=7)


def _river_words(found: River) -> str:
    """What the river shows, in words: where each look went, and each measure at the ends."""
    first, last = found.steps[0], found.steps[-1]
    count = f"{len(found.subjects)} held-out samples, answered at {len(found.steps)} steps"
    said = [f"Region river: {count}, {first} to {last}."]
    for name in MEASURES:
        known = [value for value in found.means(name) if value is not None]
        if known:
            said.append(f"{name[0].upper() + name[1:]}: from {known[0]:.2f} to {known[-1]:.2f}.")
    for number, subject in enumerate(found.subjects[:SAMPLES]):
        size = (subject.image.width, subject.image.height)
        ends = []
        for row in (found.answers[0], found.answers[-1]):
            looks = row[number].looks
            ends.append(f"looks at the {where_in(looks[-1], size)}" if looks else "takes no look")
        said.append(f"{quoted(subject.question, 120)} At step {first} it {ends[0]}, at step {last} it {ends[1]}.")
    return " ".join(said)
