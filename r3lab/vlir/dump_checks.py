"""What is commonly wrong with rollouts of a grounded policy, found in a dump of them.

Each check is a row of a table: a function of the rollouts that gives what it found, or nothing. It is silent where the
dump does not hold what it needs, and `lacking` says so. Limits are for whole dumps of some twenty rollouts and more: a
single odd rollout is no fault of a run. Simplified: what a reward was paid for is judged by the answer that stands
between <answer> marks; a crop is compared in small grey pictures, so that JPEG and resizing do not count.

    for fault in check(read_dump("rollouts/120.jsonl")):
        print(fault.name, fault.count, fault.of, fault.said)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

import numpy as np
from PIL import Image

from ..core.frames import Case, Written, find, hypotheses
from ..core.geometry import Box, area, clip
from ..core.protocol import CLOSE, OPEN
from ..trajectory import Kind, Look
from .dumps import NOWHERE, Dump, Rollout

FEW = 8  # of anything below which nothing is said of a share
GREY, SIDE = 12.0, 16  # levels by which small pictures (so many pixels a side) may differ and still be one
OUTSIDE = 0.2  # share of boxes that leave their picture, from which the frame is another
WRONG = 0.1  # share of crops, turns or paid answers that is no accident
WHOLE, MOSTLY = 0.9, 0.7  # part of a picture that is all of it; share of looks that take it
SELDOM, OFTEN = 0.02, 0.2  # share of rollouts that look: after a collapse, and before it or where a tool was offered
ALIKE = 0.7  # share of groups in which all are paid the same


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: in how many of what, what to do, and where it is seen first."""

    name: str
    count: int
    of: int
    said: str
    where: str = ""


def _source(one: Rollout) -> Image.Image:
    return one.t.images[one.t.image.hash]


def frame(dump: Dump) -> Fault | None:
    """Boxes in another frame than declared: found from true regions; else, boxes that leave their pictures."""
    seen = [one for one in dump.rollouts if one.t.image is not NOWHERE and one.numbers]
    size = {id(one): (one.t.image.width, one.t.image.height) for one in seen}
    known = [Case(size[id(one)], size[id(one)], one.region, one.numbers[0]) for one in seen if one.region]
    found = find(known) if known else None
    if found is not None and found.written is not None:
        if dump.written in (found.written, *found.alike):
            return None
        said = f"boxes are declared as {dump.written}, and the policy {found.said}"
        return Fault("frame", found.boxes, found.pictures, said, seen[0].where)
    boxes = [(one, numbers) for one in seen for numbers in one.numbers]
    if len(boxes) < FEW:
        return None

    def outside(written: Written) -> list[Rollout]:
        placed = [(one, written.place(numbers, size[id(one)], size[id(one)])) for one, numbers in boxes]
        return [one for one, (x1, y1, x2, y2) in placed if min(x1, y1) < -0.02 or max(x2, y2) > 1.02]

    wrong = outside(dump.written)
    speck = [
        max(b[2] - b[0], b[3] - b[1]) < 0.005 for one, n in boxes for b in [dump.written.place(n, *[size[id(one)]] * 2)]
    ]
    if len(wrong) < OUTSIDE * len(boxes) and sum(speck) < OUTSIDE * len(boxes):
        return None
    fits = [
        one
        for one in hypotheses(False, False)
        if one.padding == "none" and one.origin == "top left" and not outside(one)
    ]
    told = f"; all lie inside as {fits[0]}" if fits and not sum(speck) else ""
    count = max(len(wrong), sum(speck))
    said = f"boxes are declared as {dump.written}, and many leave their picture or have no size{told}"
    return Fault("frame", count, len(boxes), said, (wrong or [boxes[0][0]])[0].where)


def crops(dump: Dump) -> Fault | None:
    """Crops that are not of their box."""
    pairs = [(one, look) for one in dump.rollouts if one.t.image is not NOWHERE for look in one.t.looks if look.crop]
    wrong = [one for one, look in pairs if not _shows(one, look, dump.layout.padding)]
    if len(wrong) <= WRONG * len(pairs):
        return None
    said = (
        "images that came back do not show the box before them: is it cut from the resized picture, or from an old box?"
    )
    return Fault("crops", len(wrong), len(pairs), said, wrong[0].where)


def _shows(one: Rollout, look: Look, padding: float) -> bool:
    """Whether a crop is what its box, or the box enlarged, shows."""
    assert look.crop is not None and look.box is not None
    image, crop = _source(one), _small(one.t.images[look.crop.hash])
    w, h = image.size
    for part in {0.0, padding}:
        x1, y1, x2, y2 = look.box
        box = clip((x1 - part * w, y1 - part * h, x2 + part * w, y2 + part * h), image.size)
        if np.abs(_small(image, box) - crop).mean() <= GREY:
            return True
    return False


def _small(image: Image.Image, box: Box | None = None) -> np.ndarray:
    resized = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, box=box)
    return np.asarray(resized, dtype=np.float32)


def dropped(dump: Dump) -> Fault | None:
    """Images that the environment's turns have places for, and that are not there, in a dump that holds others."""
    expected, given = (sum(getattr(one, name) for one in dump.rollouts) for name in ("expected", "given"))
    short = [one for one in dump.rollouts if one.given < one.expected]
    bare = [one for one in dump.rollouts if one.t.image is NOWHERE]
    if 0 < len(bare) < len(dump.rollouts):
        return Fault(
            "images", len(bare), len(dump.rollouts), "some records have no picture, or it cannot be read", bare[0].where
        )
    if not given or not short:
        return None
    said = "images that came back were dropped: the policy read their places without what was there"
    return Fault("images", expected - given, expected, said, short[0].where)


def loss(dump: Dump) -> Fault | None:
    """Text of the environment, or of the prompt, that carried loss."""
    given = [
        (one, i) for one in dump.rollouts for i, kind in enumerate(one.t.kinds)
        if kind in (Kind.ENVIRONMENT, Kind.PROMPT) and one.loss[i] is not None
    ]  # fmt: skip
    wrong = [one for one, i in given if one.loss[i]]
    if not wrong:
        return None
    said = "turns that the policy did not write carry loss: mask them, or it learns to write what it is told"
    return Fault("loss", len(wrong), len(given), said, wrong[0].where)


def paid(dump: Dump) -> Fault | None:
    """Rollouts that were paid although the answer is not where they end: unclosed, closed by the environment, or not
    the first."""
    marked = [one for one in dump.rollouts if one.score is not None and OPEN in one.t.text]
    lowest = min((one.score for one in marked if one.score is not None), default=0.0)
    best = [one for one in marked if one.score is not None and one.score > max(lowest, 0.0)]
    wrong = [one for one in best if not _ends(one)]
    if len(wrong) <= WRONG * len(best) or not wrong:
        return None
    said = "rollouts are paid for an answer after the first one's end, or for one that they never closed themselves"
    return Fault("answers", len(wrong), len(best), said, wrong[0].where)


def _ends(one: Rollout) -> bool:
    text = one.t.response_text
    for mark in ("<|im_end|>", "<|endoftext|>", "</s>", "<eos>"):
        text = text.replace(mark, "")
    begun, closed, rest = text.partition(CLOSE)
    return bool(closed) and OPEN in begun and not rest.strip() and one.t.kinds[-1] == Kind.SAMPLED


def looks(dump: Dump) -> Fault | None:
    """Looks that collapsed: to none, or to the whole picture."""
    every = dump.rollouts
    offered = sum("bbox_2d" in one.t.prompt_text or "zoom" in one.t.prompt_text for one in every) > len(every) / 2
    steps = sorted({one.step for one in every if one.step is not None})
    late = [one for one in every if len(steps) > 1 and one.step is not None and one.step >= steps[2 * len(steps) // 3]]
    early = [
        one for one in every if len(steps) > 1 and one.step is not None and one.step < steps[max(1, len(steps) // 3)]
    ]
    last = late if len(late) >= 2 * FEW else every
    share = sum(bool(one.t.looks) for one in last) / len(last)
    before = sum(bool(one.t.looks) for one in early) / max(1, len(early))
    if len(last) >= 2 * FEW and share <= SELDOM and (offered or before >= OFTEN):
        was = f", and {before:.0%} did in the first steps" if before else ", although its prompt offers a look"
        said = f"looking has collapsed: {share:.0%} of the rollouts look{was}"
        return Fault("looks", len(last) - sum(bool(one.t.looks) for one in last), len(last), said, last[0].where)
    found = [(one, look) for one in last for look in one.t.looks if look.valid and look.box is not None]
    parts = [area(look.box) / (one.t.image.width * one.t.image.height) for one, look in found if look.box is not None]
    whole = sum(part >= WHOLE for part in parts)
    if len(found) < FEW or whole < MOSTLY * len(found):
        return None
    said = (
        f"looks take the whole picture (in the median {median(parts):.0%} of it): they bring nothing that was not seen"
    )
    return Fault("looks", whole, len(found), said, found[0][0].where)


def groups(dump: Dump) -> Fault | None:
    """Groups in which all rollouts are paid the same: their advantages are zero."""
    held: dict[str, list[Rollout]] = defaultdict(list)
    for one in dump.rollouts:
        if one.score is not None:
            held[one.group].append(one)
    several = [some for some in held.values() if len(some) > 1]
    flat = [some for some in several if len({one.score for one in some}) == 1]
    if len(several) < 4 or len(flat) < ALIKE * len(several):
        return None
    said = "in these groups all are paid the same, so nothing is learned from them; sample others"
    return Fault("groups", len(flat), len(several), said, flat[0][0].where)


CHECKS: dict[str, Callable[[Dump], Fault | None]] = {
    "frame": frame,
    "crops": crops,
    "images": dropped,
    "loss": loss,
    "answers": paid,
    "looks": looks,
    "groups": groups,
}


def check(dump: Dump) -> list[Fault]:
    """All that is wrong with a dump, in the order of `CHECKS`."""
    return [fault for one in CHECKS.values() if (fault := one(dump)) is not None]


def lacking(dump: Dump) -> list[str]:
    """What a dump does not hold, so that a check of it says nothing."""
    every: Sequence[Rollout] = dump.rollouts
    told = []
    if all(one.t.image is NOWHERE for one in every):
        told.append("no pictures: boxes, crops and whole-picture looks are not checked (--images, or a field `image`)")
    elif not any(look.crop for one in every for look in one.t.looks):
        told.append("no images that came back: crops are not checked")
    if not any(one.region for one in every):
        told.append("no true regions: of the frame it is only checked that boxes lie inside their pictures")
    if not any(value is not None for value in chain.from_iterable(one.loss for one in every)):
        told.append("no masks of the loss: not checked")
    if all(one.score is None for one in every):
        told.append("no rewards: answers and groups are not checked")
    elif not any(OPEN in one.t.text for one in every):
        told.append(f"no {OPEN}: where answers end is not checked")
    return told
