"""What the filters ask of a sample without any model: form, regions, text, and what a world knows of the truth.

Each rule is a function of a sample, its rationale and the limits, and returns the reasons to reject it, none if it may
stay. What they measure (detail of a crop, repetition of text, words of an answer) is linear in what is read.
Simplified: a rule sees edges for content, overlaps, and the same words for the same thought; and `support` and
`necessity` know only what a world knows (true regions, whether a look is needed), so that they pass a sample of which
nothing is known.

    form(sample, rationale, Limits())        # []; or [Reason("form", "goes on after the answer", 12, 0, ...)]
    detail(image, (40, 60, 90, 110))         # 0.08; 0.0 for a stretch of sky
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.geometry import Box, area, clip, coverage, iou, problem, write_ints
from ..core.protocol import answer_of, box_text, folded, scan
from .sample import Rationale, Sample

STEP, PLAIN = 16.0, 48.0  # grey levels, of 255, between neighbours: fewer make no edge; more always make one
NOISE = 5.0  # times the median difference: what evenly noisy pixels seldom reach
LOOKED = 512  # pixels of a crop's longer side that are looked at
SENTENCE, PHRASE = 4, 6  # words: the shortest sentence that can repeat another; the phrases that are counted
_TAGS = re.compile(r"</?(?:think|answer)>")
_WORD = re.compile(r"\w+")
_ENDS = re.compile(r"[.!?\u3002\uff01\uff1f\n]")
CLOSED = {"yes", "no", "true", "false", "none"}  # answers that a reasoning need not spell


def _limit(default: float, about: str, share: bool = False) -> Any:
    return field(default=default, metadata={"help": about, "share": share})


@dataclass(frozen=True)
class Limits:
    """The thresholds of all filters; `r3lab vlir filter --help` lists them. A share is a number from 0 to 1."""

    max_looks: int = _limit(8, "looks of a rationale, at most")
    max_characters: int = _limit(20_000, "characters of a rationale, at most")
    min_side: float = _limit(8.0, "source pixels of a region's shorter side, at least")
    max_share: float = _limit(0.8, "share of the image that a region covers, at most", True)
    min_detail: float = _limit(0.005, "share of a region's neighbouring pixels with an edge between, at least", True)
    min_coverage: float = _limit(0.5, "share of a true region that a look shows, at least", True)
    min_spelled: float = _limit(0.5, "share of the answer's words said after the last look, at least", True)
    max_iou: float = _limit(0.7, "overlap of two regions (intersection over union), at most", True)
    max_repeated: float = _limit(0.5, "share of phrases of six words that were said before, at most", True)
    min_score: float = _limit(0.5, "of a judge from 0 (no) to 1 (yes), at least", True)
    blind: int = _limit(4, "answers without a look that the judge of necessity gives")
    max_blind: float = _limit(0.5, "share of those that may be right, at most", True)

    def __post_init__(self) -> None:
        for one in fields(self):
            value, most = getattr(self, one.name), 1.0 if one.metadata["share"] else math.inf
            least = 1 if one.name == "blind" else 0
            if not (math.isfinite(value) and least <= value <= most):
                wanted = "from 0 to 1" if one.metadata["share"] else f"of at least {least}"
                raise R3labError(f"{one.name} must be a number {wanted}, got {shown(value)}.")


@dataclass(frozen=True)
class Reason:
    """Why a sample is rejected.

    Attributes
    ----------
    filter, name : which filter, and what it found, in words of our own
    value, threshold : what was measured, and the limit that it misses; None where there is none
    detail : where; may repeat a little of the sample's own text, made harmless
    """

    filter: str
    name: str
    value: float | int | None = None
    threshold: float | int | None = None
    detail: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def detail(image: Image.Image, box: Box) -> float:
    """How much there is to see in a region: the share of neighbouring pixels with an edge between them.

    Parameters
    ----------
    image
        RGB, the source.
    box
        Source pixels; must have a part in the image.

    Returns
    -------
    float
        0 to 1. An edge is a difference in grey of over 16 levels that is over five times the median one, or over 48
        levels; a plain, a smooth or an evenly noisy region has (almost) none.
    """
    x1, y1, x2, y2 = write_ints(clip(box, image.size))
    scale = LOOKED / max(x2 - x1, y2 - y1, LOOKED)
    size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    place = (x1, y1, min(x2, image.width), min(y2, image.height))
    crop = image.crop(place) if scale == 1 else image.resize(size, Image.Resampling.BOX, place, reducing_gap=2.0)
    grey = np.asarray(crop.convert("L"), dtype=np.float32)
    steps = np.concatenate([np.abs(np.diff(grey, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.mean(steps > min(PLAIN, max(STEP, NOISE * float(np.median(steps)))))) if steps.size else 0.0


def words(text: str) -> list[str]:
    """The words and numbers of a text in order, case folded, without the protocol's tags."""
    return _WORD.findall(_TAGS.sub(" ", text).casefold())


def repeated_sentence(text: str) -> str | None:
    """The first sentence of at least four words that was said before, as its words; None where none was."""
    seen: set[tuple[str, ...]] = set()
    for sentence in _ENDS.split(_TAGS.sub("\n", text)):
        said = tuple(words(sentence))
        if len(said) >= SENTENCE and said in seen:
            return " ".join(said)
        seen.add(said)
    return None


def repeated(text: str) -> float:
    """The share, 0 to 1, of a text's phrases of six words that occurred before in it."""
    said = words(text)
    phrases = [tuple(said[i : i + PHRASE]) for i in range(len(said) - PHRASE + 1)]
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def spelled(answer: str, text: str) -> float:
    """The share, 0 to 1, of the answer's words and numbers that a text holds; 1 for yes, no, or the letter of a choice.

    A word must stand on its own ("1" is not in "12"), except in scripts that are written without spaces.
    """
    wanted = words(answer)
    if not wanted or all(w in CLOSED or len(w) == 1 and w.isascii() and w.isalpha() for w in wanted):
        return 1.0
    have = set(words(text))
    folded = text.casefold()
    found = [w in have or not w.isascii() and w in folded for w in wanted]
    return sum(found) / len(found)


def same(said: str, answer: str) -> bool:
    """Whether two answers are the same but for case, white space and a final full stop; of `<answer>`, its content."""
    inside = answer_of(said)
    return _folded(said if inside is None else inside) == _folded(answer)


def _folded(text: str) -> str:
    return folded(text).rstrip(". ")


def form(sample: Sample, rationale: Rationale, limits: Limits) -> list[Reason]:
    """What must hold before anything else is asked: bounded, boxes that can be cut, one true answer, said last."""
    said = len("".join(rationale.texts))
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
    if not same(answer.text, sample.answer):
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
    stretches = rationale.texts
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
