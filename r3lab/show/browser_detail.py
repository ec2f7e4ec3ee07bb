"""What is seen when a record of a browser is opened: a VLIR sample to step through, an answer without its trajectory.

A sample is played like a rollout (`stage`): the question on its image, each region of the rationale with its crop and
the text that follows, the answer. The slider is brought to life by `page.js`. Simplified: of more than 16 regions the
first 16 are shown, and what the policy would see first is not drawn, since a sample belongs to no policy.

    sample_stage(sample, rationale, "8", "r1", 200_000)         # markup; ids begin with the prefix
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..geometry import Box, Size, intersection, iou
from ..images import cut
from ..protocol import OPEN
from ..train.rewards import same_answer
from ..vlir.sample import Rationale, Sample
from . import marks
from .embed import Embedded, embed
from .lettering import one_line
from .markup import line, words
from .palette import VERDICTS
from .stage import SHOWN_LOOKS, TEXT, badge, chip, controls
from .story import where

TIMES = "\N{MULTIPLICATION SIGN}"
PHOTO = 0.6  # of the budget; the crops share the rest
LEAST = 6000  # characters of one crop
_THINK = re.compile(r"</?think>")


def headed(question: str, facts: str, body: str) -> str:
    """An opened record: its question, where it comes from, and what there is to see."""
    head = words(question, 2000) if one_line(question) else "The question was not written down"
    return f"<h2>{head}</h2>{facts}{body}"


def facts_line(said: Sequence[str]) -> str:
    """Foreign facts in one line; empty ones are left out."""
    return f'<p class="r3-facts">{" · ".join(line(one, 160) for one in said if one)}</p>'


def answer_sheet(
    given: str | None,
    truth: str | None,
    result: tuple[str, str, str],
    wrote: str,
    numbers: Sequence[str],
    ending: str,
    why: str,
) -> str:
    """An answer whose trajectory was not kept: what is known of it in words.

    Parameters
    ----------
    given, truth
        The answers; None where there is none, or it is not known.
    result
        Colour, mark and word.
    wrote
        What the policy wrote.
    numbers
        Facts such as "2 looks".
    ending, why
        How it ended without an answer ("ran out of tokens"), and why it was not asked; "" otherwise.
    """
    answer = "no answer" if given is None else line(given, 300)
    size = "r3-given long" if len(given or "") > 30 else "r3-given"
    notes = [f"true answer: {line(truth, 300)}" if truth is not None else "the true answer is not recorded"]
    notes += [f"it {line(ending, 60)}" if ending else "", line(why, 300) if why else ""]
    text = f'<h3>What it wrote</h3><p class="r3-wrote">{words(wrote, TEXT)}</p>' if wrote.strip() else ""
    return (
        f'<p><strong class="{size}">{answer}</strong> {badge(*result)}</p>'
        f'<p class="r3-note">{"; ".join(note for note in notes if note)}</p>{facts_line(numbers)}{text}'
        '<p class="r3-note">There is nothing to play: its trajectory was not kept; r3lab eval --keep N keeps those of '
        "the first N questions of each source.</p>"
    )


# -- a sample --------------------------------------------------------------------------------------------------------


def sample_stage(sample: Sample, rationale: Rationale, given: str | None, prefix: str, budget: int) -> str:
    """A VLIR sample to step through.

    Parameters
    ----------
    given
        The answer that its rationale ends in; None if it has none.
    prefix
        Of ids; letters and digits.
    budget
        Characters of its pictures, about.
    """
    boxes, texts = _parts(rationale)
    size, last = sample.image.size, len(boxes[:SHOWN_LOOKS]) + 1
    photo = embed(sample.image, round(PHOTO * budget))
    crops = _crops(sample, boxes, round((1 - PHOTO) * budget))
    found = marks.spots([(i, box, True) for i, box in enumerate(boxes[:SHOWN_LOOKS], start=1)], size)
    inside = marks.use(f"{prefix}-photo", (0.0, 0.0, float(size[0]), float(size[1])), photo.hard)
    inside += "".join(marks.truth_mark(region, size) for region in sample.regions)
    for before, after in zip(found, found[1:], strict=False):
        inside += marks.path_mark(before, after, _moment(after.number))
    inside += "".join(marks.look_mark(spot, size, _moment(spot.number)) for spot in found)
    label = f"The image, {size[0]} by {size[1]} pixels, {_count(len(sample.regions), 'true region')}, "
    picture = marks.svg((0, 0, *size), inside, f"{label}{_count(len(boxes), 'numbered region')} of the rationale.")
    names = ["Question", *(f"Region {i + 1}" for i in range(last - 1)), "Answer"]
    store = [(f"{prefix}-photo", photo.uri)] + [(f"{prefix}-crop-{i}", c.uri) for i, c in enumerate(crops, start=1)]
    seen = "".join(_crop(sample, boxes[i - 1], crop, i, last, prefix) for i, crop in enumerate(crops, start=1))
    return (
        f'<div class="r3-player" role="group" aria-label="Player of a sample" tabindex="0" data-at="{last}" '
        f'data-labels="{"|".join(names)}">{marks.store(store)}'
        f"{controls(last, last, 'Moment of the rationale')}"
        f'<div class="r3-stage"><figure class="r3-photo">{picture}<figcaption>{_key(sample, boxes)}</figcaption>'
        f'</figure><div class="r3-seen">{seen or _nothing()}</div>'
        f'<ol class="r3-text" role="list">{_texts(sample, boxes, texts, given, last)}</ol></div></div>'
    )


def _nothing() -> str:
    return '<p class="r3-missing">this rationale looks at no region</p>'


def _parts(rationale: Rationale) -> tuple[list[Box], list[str]]:
    """The regions, and the text before the first and after each of them, without tags."""
    boxes: list[Box] = []
    texts = [""]
    for part in rationale.parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            boxes.append(part)
            texts.append("")
    return boxes, [_THINK.sub(" ", text.partition(OPEN)[0]).strip() for text in texts]


def _crops(sample: Sample, boxes: Sequence[Box], budget: int) -> list[Embedded]:
    shown = boxes[:SHOWN_LOOKS]
    each = max(LEAST, budget // max(1, len(shown)))
    sizes = [(max(1, round(x2 - x1)), max(1, round(y2 - y1))) for x1, y1, x2, y2 in shown]
    return [embed(cut(sample.image, box, size), each) for box, size in zip(shown, sizes, strict=True)]


def _crop(sample: Sample, box: Box, crop: Embedded, number: int, last: int, prefix: str) -> str:
    size: Size = sample.image.size
    inside = marks.use(f"{prefix}-crop-{number}", box, crop.hard)
    inside += "".join(marks.truth_mark(r, size) for r in sample.regions if intersection(r, box) > 0)
    when = _moment(number, last if number == last - 1 else number)
    caption = f"Region {number}, {round(box[2] - box[0])} {TIMES} {round(box[3] - box[1])} pixels of the image"
    picture = marks.svg(box, inside, f"Region {number} of the rationale.", "r3-crop")
    return f"<figure{when}>{picture}<figcaption>{caption}</figcaption></figure>"


def _key(sample: Sample, boxes: Sequence[Box]) -> str:
    said = [f"Image, {sample.image.width} {TIMES} {sample.image.height} pixels"]
    said += ['<span class="r3-sign solid"></span>looked at'] if boxes else []
    said += ['<span class="r3-sign truth"></span>true region'] if sample.regions else []
    return " ".join(f'<span class="r3-key">{one}</span>' for one in said)


def _texts(sample: Sample, boxes: Sequence[Box], texts: Sequence[str], given: str | None, last: int) -> str:
    items = []
    for number, text in enumerate(texts[: SHOWN_LOOKS + 1]):
        head = "" if number == 0 else f'<p class="r3-look">{chip(number)} {_place(sample, boxes[number - 1])}</p>'
        wrote = f'<p class="r3-wrote">{words(text, TEXT)}</p>' if text else ""
        if head or wrote:
            items.append(f"<li{_moment(number)}>{head}{wrote}</li>")
    if len(boxes) > SHOWN_LOOKS:
        items.append(f"<li{_moment(last)}>{len(boxes) - SHOWN_LOOKS} more regions are not shown.</li>")
    state = "unknown" if given is None else "right" if same_answer(given, sample.answer) else "wrong"
    size = "r3-given long" if len(sample.answer) > 30 else "r3-given"
    note = {
        "right": f"{badge(*VERDICTS[state])}: the rationale ends in it",
        "wrong": f"{badge(*VERDICTS[state])}: the rationale ends in {line(given, 200)}",
        "unknown": "the rationale ends in no answer",
    }[state]
    answer = f'<p><strong class="{size}">{line(sample.answer, 300)}</strong></p><p class="r3-note">{note}</p>'
    return "".join([*items, f'<li class="r3-answer"{_moment(last)}>{answer}</li>'])


def _place(sample: Sample, box: Box) -> str:
    numbers = ", ".join(f"{v:.0f}" for v in box)
    said = f"looked at [{numbers}], {where(box, sample.image.size)}"
    best = max((iou(box, region) for region in sample.regions), default=None)
    return said + (f"; IoU with a true region {best:.2f}" if best is not None else "")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _moment(first: int, last: int | None = None) -> str:
    return f' data-from="{first}"' + (f' data-to="{last}"' if last is not None else "")
