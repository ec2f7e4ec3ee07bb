"""The region river as HTML: the looks of one step on every photograph, the way so far, and four lines with a cursor.

    river_markup(load_river("runs/rgrpo/river"))

The script of the player (`page.js`) moves through the steps. Elements of one step alone have the class `only`; without
the script those of the last step stand. Simplified: photographs are embedded at 480 pixels at most.
"""

from __future__ import annotations

from ..train.river import MEASURES, Answered, River, Subject
from . import marks
from .embed import embed
from .markup import line, words
from .palette import VERDICTS
from .stage import badge, controls

SHARES = ("look rate", "right answers", "IoU")  # from 0 to 1
SHARE = 90_000  # characters of a photograph
WIDE, HIGH, LEFT, DOWN = 260, 110, 42, 18  # of a chart, CSS pixels; its margins


def river_markup(found: River, most: int = 12) -> str:
    """The markup of a river; of more than `most` samples the first ones are shown."""
    labels = "|".join(f"Step {step}" for step in found.steps)
    last = len(found.steps) - 1
    cards = "".join(_card(found, number, subject) for number, subject in enumerate(found.subjects[:most]))
    charts = "".join(_chart(found, name) for name in MEASURES)
    return (
        f'<div class="r3-player" role="group" aria-label="Region river" tabindex="0" data-at="{last}" '
        f'data-labels="{labels}">{controls(last, last, "Step of training")}'
        f'<div class="r3-lines">{charts}</div><div class="r3-river">{cards}</div></div>'
    )


def _when(found: River, order: int, kind: str = "") -> str:
    """One step alone."""
    names = " ".join(filter(None, ("only", "end" if order == len(found.steps) - 1 else "", kind)))
    return f' data-from="{order}" data-to="{order}" class="{names}"'


def _card(found: River, number: int, subject: Subject) -> str:
    size = (subject.image.width, subject.image.height)
    photo = found.images.get(subject.image.hash)
    if photo is None:
        inside = f'<rect class="missing" width="{size[0]}" height="{size[1]}"/>'
    else:
        held = embed(photo, SHARE, 480)
        inside = f'<image width="{size[0]}" height="{size[1]}" preserveAspectRatio="none" href="{held.uri}"/>'
    inside += "".join(marks.truth_mark(region, size) for region in subject.regions)
    before = None
    for order, row in enumerate(found.answers):
        answer = row[number]
        boxes = [(place, box, True) for place, box in enumerate(answer.looks[:8], start=1)]
        spots = marks.spots(boxes, size)
        shown = "".join(marks.look_mark(spot, size) for spot in spots)
        inside += f"<g{_when(found, order)}>{shown}</g>"
        if spots:
            if before is not None:
                inside += marks.path_mark(before, spots[-1], f' data-from="{order}"')
            before = spots[-1]
    said = "".join(
        f"<span{_when(found, order)}>{_answer(row[number])}</span>" for order, row in enumerate(found.answers)
    )
    label = f"Photograph {number + 1} with the looks of the chosen step."
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    return (
        f"<figure>{marks.svg(whole, inside, label)}<figcaption>{words(subject.question, 300)}</figcaption>"
        f'<p class="r3-said">{said}</p></figure>'
    )


def _answer(answer: Answered) -> str:
    state = {True: "right", False: "wrong", None: "unknown"}[answer.right]
    given = "no answer" if answer.answer is None else line(answer.answer, 60)
    looks = f"{len(answer.looks)} look{'' if len(answer.looks) == 1 else 's'}"
    more = [looks] + ([f"IoU {answer.iou:.2f}"] if answer.iou is not None else [])
    more += [f"{answer.refused} refused"] if answer.refused else []
    return f'<strong>{given}</strong> {badge(*VERDICTS[state])} <span class="r3-note">{", ".join(more)}</span>'


def _chart(found: River, name: str) -> str:
    """A measure over the steps, with a cursor at each step."""
    values = found.means(name)
    known = [v for v in values if v is not None]
    top = 1.0 if name in SHARES else max(1e-3, 1.1 * max(known, default=1.0))
    first, span = found.steps[0], max(1, found.steps[-1] - found.steps[0])

    def place(order: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDE - LEFT - 12) * (found.steps[order] - first) / span
        return x, HIGH - DOWN - (HIGH - DOWN - 20) * value / top

    points = [(order, place(order, v), v) for order, v in enumerate(values) if v is not None]
    way = " ".join(f"{x:.1f},{y:.1f}" for _, (x, y), _ in points)
    inside = ""
    for value in (0.0, top):
        y = place(0, value)[1]
        inside += f'<line class="axis" x1="{LEFT}" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        inside += f'<text class="label" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_told(name, value)}</text>'
    inside += f'<polyline class="line" points="{way}"/>'
    for order in range(len(found.steps)):
        x = place(order, 0.0)[0]
        inside += f'<line{_when(found, order, "cursor")} x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{HIGH - DOWN}"/>'
    for order, (x, y), value in points:
        inside += f'<circle{_when(found, order, "dot")} cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
        anchor, aside = ("end", x - 7) if x > WIDE / 2 else ("start", x + 7)
        spot = f'x="{aside:.1f}" y="{max(28.0, y - 6):.1f}" text-anchor="{anchor}"'
        inside += f"<text{_when(found, order, 'value')} {spot}>{_told(name, value)}</text>"
    title = name[0].upper() + name[1:]
    inside += f'<text class="value" x="0" y="11">{title}</text>'
    inside += f'<text class="label" x="{LEFT}" y="{HIGH - 3}">step {first}</text>'
    inside += f'<text class="label" x="{WIDE}" y="{HIGH - 3}" text-anchor="end">{found.steps[-1]}</text>'
    ends = f" from {_told(name, known[0])} to {_told(name, known[-1])}" if known else ", no value"
    label = f"{title} over the steps{ends}."
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{label}">{inside}</svg>'


def _told(name: str, value: float) -> str:
    return f"{value:.0%}" if name in SHARES and name != "IoU" else f"{value:.2f}"
