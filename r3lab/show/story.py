"""What a trajectory tells a viewer: the pictures the model got, the text between them, how it ended.

    for step in steps(trajectory):           # the overview first (look None), then each look in order
        print(step.look, step.text)
    verdict(trajectory).state                # "right", "wrong" or "unknown"
    told(trajectory)                         # all of it in words, for alt text

Every view reads a trajectory through this module, so that a filmstrip, its alt text and a page never disagree.
Simplified: the protocol's own tags are left out of the text, a box is told by its look, and what the loop said about a
refused box by the look's reason.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from ..core.arms import get_arm
from ..core.geometry import Box, Size, clip, iou
from ..core.images import resize
from ..core.protocol import CLOSE, OPEN, same_answer, scan
from ..trajectory import Look, Trajectory
from .text import one_line, quoted

TOLD = 16000  # characters of one stretch of text that are read for a display
_THINK = re.compile(r"</?think>")
_FINISHES = {
    "length": "ran out of tokens",
    "looks": "asked for more looks than it may take",
    "malformed": "stopped without a usable answer",
}


@dataclass(frozen=True)
class Step:
    """One picture that the model got (or was refused), and what it wrote on seeing it."""

    look: Look | None  # None: the overview
    number: int  # of the look, from 1; 0 for the overview
    text: str  # as the model wrote it, without boxes, tags and answer; still foreign text


def steps(t: Trajectory) -> list[Step]:
    """The rollout in order: the overview, then every look."""
    texts, looks = [""], []
    for kind, part in t.segments():
        if kind == "look" and isinstance(part, Look):
            looks.append(part)
            texts.append("")
        elif kind == "text":
            texts[-1] += str(part)
    ends = [True] * len(looks) + [False]  # every stretch but the last ends with a box
    told = [_plain(text, boxed) for text, boxed in zip(texts, ends, strict=True)]
    return [Step(look, i, text) for i, (look, text) in enumerate(zip([None, *looks], told, strict=True))]


def _plain(text: str, boxed: bool) -> str:
    """A stretch of text without the box that ends it, without the answer and without tags."""
    head = text[:TOLD] if len(text) <= 2 * TOLD else f"{text[:TOLD]} ... {text[-TOLD:]}"
    if boxed:
        boxes = [event for event in scan(head) if event.kind == "box"]
        if boxes:
            head = head[: boxes[-1].start]
    else:
        answers = [event for event in scan(head) if event.kind == "answer"]
        if answers:
            head = head[: answers[0].start]
    return _THINK.sub(" ", head).replace(OPEN, " ").replace(CLOSE, " ").strip()


@dataclass(frozen=True)
class Verdict:
    """How a rollout ended.

    Attributes
    ----------
    state : right, wrong, or unknown where the truth is not known
    answer : as given, None if there is none
    truth : None where it is not known
    ending : why there is no answer, in words; "" when there is one
    """

    state: Literal["right", "wrong", "unknown"]
    answer: str | None
    truth: str | None
    ending: str


def verdict(t: Trajectory) -> Verdict:
    """Compare the answer with the truth, as the rewards do; a missing answer is wrong where a truth is known."""
    known = t.truth.get("answer")
    usable = isinstance(known, str | int | float) and not isinstance(known, bool) and str(known).strip()
    truth = str(known) if usable else None
    ending = "" if t.answer is not None else ended(t.finish)
    state: Literal["right", "wrong", "unknown"] = "unknown"
    if truth is not None:
        state = "right" if same_answer(t.answer, truth) else "wrong"
    return Verdict(state, t.answer, truth, ending)


def ended(finish: str) -> str:
    """How a rollout without an answer ended, in words of our own."""
    return _FINISHES.get(finish, "gave no answer")


def source_size(t: Trajectory) -> Size:
    """Width and height of the photograph."""
    return t.image.width, t.image.height


def photograph(t: Trajectory) -> Image.Image | None:
    """The source image; None if the trajectory does not carry it."""
    return t.images.get(t.image.hash)


def overview(t: Trajectory) -> Image.Image | None:
    """The pixels that the model got first: the photograph, resized as the loop does it."""
    photo = photograph(t)
    return None if photo is None or min(t.overview) < 1 else resize(photo, t.overview)


def true_regions(t: Trajectory) -> list[Box]:
    """The true regions in source pixels, in order; what is no box is left out (`truth` is free JSON)."""
    found = t.truth.get("regions")
    if found is None:
        found = [t.truth.get("region")]
    boxes = [as_box(value) for value in found] if isinstance(found, list | tuple) else []
    return [box for box in boxes if box is not None]


def as_box(value: object) -> Box | None:
    """Four finite numbers with x1 < x2 and y1 < y2, or None."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in value):
        return None
    x1, y1, x2, y2 = map(float, value)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def where_in(box: Box, size: Size) -> str:
    """The place of a box in words, by thirds of the image: "upper left", "centre", ..."""
    x, y = (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
    across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    down = "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else ""
    if across and down:
        return f"{down} {across}"
    return across or {"upper": "top", "lower": "bottom"}.get(down, "centre")


def reason(look: Look) -> str:
    """Why there is no crop, in words."""
    return one_line(look.reason, 120) or "crop not kept"


def region_shown(t: Trajectory, look: Look) -> Box | None:
    """What the picture that a look brought shows of the source: its box; all of it in an arm that shows all again."""
    if look.box is None or look.crop is None:
        return None
    if get_arm(t.arm).back == "overview":
        return (0.0, 0.0, float(t.image.width), float(t.image.height))
    return clip(look.box, source_size(t))


def without_crop(t: Trajectory, look: Look) -> str:
    """Why a look brought no picture, in words; foreign text in it is one line."""
    if look.valid and get_arm(t.arm).back == "nothing":
        return "a box alone: this arm shows no crop"
    return f"refused: {reason(look)}"


def told(t: Trajectory, looks: int = 16) -> str:
    """The trajectory in words, for alt text; plain text without control characters.

    Parameters
    ----------
    looks
        How many looks are told one by one.
    """
    size, ending, story = source_size(t), verdict(t), steps(t)
    said = [f"Question: {quoted(t.question, 300)}"]
    said.append(f"The model saw the photograph of {_by(size)} pixels at {_by(t.overview)} pixels.")
    regions = true_regions(t)
    for step in story[: looks + 1]:
        if step.look is not None:
            said.append(_look_told(step.look, step.number, size, regions))
        if step.text:
            said.append(f"It wrote: {quoted(step.text, 240)}")
    if len(story) == 1:
        said.append("It took no look.")
    if len(story) > looks + 1:
        said.append(f"{len(story) - looks - 1} more looks are not shown.")
    if ending.answer is None:
        said.append(f"It gave no answer: it {ending.ending}.")
    else:
        said.append(f"It answered {quoted(ending.answer, 200)}.")
    if ending.state == "unknown":
        said.append("The true answer is not known.")
    elif ending.state == "right":
        said.append("That is right.")
    else:
        wrong = "" if ending.answer is None else "That is wrong. "
        said.append(f"{wrong}The true answer is {quoted(ending.truth, 200)}.")
    return " ".join(said)


def _by(size: Size) -> str:
    return f"{size[0]} by {size[1]}"


def _look_told(look: Look, number: int, size: Size, regions: list[Box]) -> str:
    if look.box is None or not look.valid:
        return f"Look {number} was refused: {reason(look)}."
    numbers = ", ".join(f"{v:.0f}" for v in look.box)
    text = f"Look {number}: region [{numbers}], {where_in(look.box, size)} of the photograph"
    if look.crop is not None:
        zoom = f"zoom {look.zoom:.3g}, " if look.zoom is not None else ""
        text += f", shown with {zoom}{_by((look.crop.width, look.crop.height))} pixels"
    if regions:
        overlap = iou(look.box, regions[-1])
        text += f", overlap with the true region {overlap:.2f} (IoU)" if overlap else ", beside the true region"
    return text + "."
