"""What the filters ask of a sample without any model: form, regions, text, and what a world knows of the truth.

Each rule is a function of a sample, its rationale and the limits, and returns the reasons to reject it, none if it may
stay. Simplified: a rule sees edges, overlaps and equal words; and `support` and `necessity` know only what a world
knows (true regions, whether a look is needed), so that they pass a sample of which nothing is known.

    form(sample, rationale, Limits())        # []; or [Reason("form", "goes on after the answer", 12, 0, ...)]
"""

from __future__ import annotations

from ...errors import shown
from ...geometry import area, clip, coverage, iou, problem, write_ints
from ...protocol import box_text, scan
from ..sample import Rationale, Sample
from .judges import agrees
from .limits import Limits, Reason
from .measures import detail, repeated, repeated_sentence, spelled, words


def form(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """What must hold before anything else is asked: bounded, boxes that can be cut, one true answer, said last."""
    said = sum(len(part) for part in rationale.parts if isinstance(part, str))
    if said > limits.max_characters:
        return [Reason("form", "too long", said, limits.max_characters)]
    if len(rationale.boxes) > limits.max_looks:
        return [Reason("form", "too many looks", len(rationale.boxes), limits.max_looks)]
    for number, box in enumerate(rationale.boxes, 1):
        if why := problem(box, sample.image.size):
            return [Reason("form", "a box that cannot be cut", number, detail=why)]
    boxes = [write_ints(box) for box in rationale.boxes]
    written = iter(boxes)
    text = "".join(p if isinstance(p, str) else box_text(next(written)) for p in rationale.parts)
    events = scan(text)
    answer = next((event for event in events if event.kind == "answer"), None)
    if answer is None or answer.reason:
        return [Reason("form", "no answer", detail=answer.reason if answer else "")]
    if rest := text[answer.end :].strip():
        return [Reason("form", "goes on after the answer", len(rest), 0, shown(rest, 60))]
    read = [event.values for event in events if event.kind == "box"]
    if read != boxes:
        return [Reason("form", "boxes that do not read back", len(read), len(boxes), "the text writes some of its own")]
    if agrees(answer.text, sample.answer) != 1.0:
        return [Reason("form", "another answer", detail=f"{shown(answer.text, 60)}, not {shown(sample.answer, 60)}")]
    return []


def unit(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """Each region is neither tiny nor the whole, holds edges, and shows a true region where those are known."""
    found = []
    for number, box in enumerate(rationale.boxes, 1):
        x1, y1, x2, y2 = inside = clip(box, sample.image.size)
        size = min(x2 - x1, y2 - y1)
        share = area(inside) / (sample.image.width * sample.image.height)
        covered = max((coverage(box, region) for region in sample.regions), default=1.0)
        for name, value, threshold, bad in (
            ("too small", size, limits.min_side, size < limits.min_side),
            ("nearly the whole image", share, limits.max_share, share > limits.max_share),
            ("shows no true region", covered, limits.min_coverage, covered < limits.min_coverage),
            ("blank", edges := detail(sample.image, box), limits.min_detail, edges < limits.min_detail),
        ):
            if bad:
                found.append(Reason("unit", name, round(value, 4), threshold, f"look {number}"))
    return found


def coherence(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """Every look has words that lead to it, and what is said after the last one holds the answer."""
    stretches = [""]
    for part in rationale.parts:
        if isinstance(part, str):
            stretches[-1] += part
        else:
            stretches.append("")
    for number, stretch in enumerate(stretches[:-1], 1):
        if not words(stretch):
            return [Reason("coherence", "a look that nothing leads to", 0, 1, f"look {number}")]
    answers = [event for event in scan(stretches[-1]) if event.kind == "answer"]
    last = stretches[-1][: answers[0].start] if answers else stretches[-1]
    share = spelled(sample.answer, last)
    if not words(last):
        return [Reason("coherence", "an answer that nothing leads to", 0, 1)]
    if share < limits.min_spelled:
        return [Reason("coherence", "an answer that was not read", round(share, 4), limits.min_spelled)]
    return []


def redundancy(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """No two regions overlap much, no sentence comes twice, and few phrases do."""
    found, boxes = [], rationale.boxes
    pairs = [(iou(a, b), i, j) for j, b in enumerate(boxes, 1) for i, a in enumerate(boxes[: j - 1], 1)]
    most, first, second = max(pairs, default=(0.0, 0, 0))
    if most > limits.max_iou:
        found.append(
            Reason("redundancy", "regions overlap", round(most, 4), limits.max_iou, f"looks {first}, {second}")
        )
    text = "\n".join(part for part in rationale.parts if isinstance(part, str))
    sentence, share = repeated_sentence(text), repeated(text)
    if sentence is not None:
        found.append(Reason("redundancy", "a sentence comes twice", detail=shown(sentence, 60)))
    if share > limits.max_repeated:
        found.append(Reason("redundancy", "text repeats itself", round(share, 4), limits.max_repeated))
    return found


def support(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """Where true regions are known and a look is needed, each of them is in some crop."""
    if not rationale.boxes or sample.needs_look is False:
        return []
    shown_of = [max(coverage(box, region) for box in rationale.boxes) for region in sample.regions]
    return [
        Reason("support", "a true region in no crop", round(share, 4), limits.min_coverage, f"region {number}")
        for number, share in enumerate(shown_of, 1)
        if share < limits.min_coverage
    ]


def necessity(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """Where it is known whether a look is needed: one is taken then, and only then."""
    looks = len(rationale.boxes)
    if sample.needs_look is False and looks:
        return [Reason("necessity", "looks where none is needed", looks, 0)]
    return missing(sample, rationale)


def missing(sample: Sample, rationale: Rationale) -> list[Reason]:
    """No look though one is known to be needed."""
    lacks = sample.needs_look is True and not rationale.boxes
    return [Reason("necessity", "no look where one is needed", 0, 1)] if lacks else []
