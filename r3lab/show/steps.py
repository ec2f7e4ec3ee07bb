"""A trajectory step by step: the pictures that the model got, the text between them, how it ended; and all of it told.

    for step in steps(trajectory):           # the overview first (look None), then each look in order
        print(step.number, step.region, step.text)
    verdict(trajectory).state                # "right", "wrong" or "unknown"
    told(trajectory)                         # in words, for alt text

Every view walks a trajectory through this module, so that a filmstrip, its alt text and a page never disagree.
Simplified: the protocol's own tags are left out of the text, a box is told by its look, and what the loop said about a
refused box by the look's reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from ..core.arms import INTERLEAVED, get_arm
from ..core.geometry import Box, Size, as_box, clip, iou
from ..core.images import resize
from ..core.protocol import CLOSE, OPEN, same_answer, scan
from ..trajectory import Look, Trajectory
from .text import one_line, quoted

TOLD = 16000  # characters of one stretch of text that are read for a display
TIMES = "\N{MULTIPLICATION SIGN}"
_THINK = re.compile(r"</?think>")
_FINISHES = {
    "length": "ran out of tokens",
    "looks": "asked for more looks than it may take",
    "malformed": "stopped without a usable answer",
}


@dataclass(frozen=True)
class Step:
    """One picture that the model got (or was refused), and what it wrote on seeing it.

    Attributes
    ----------
    t : the trajectory
    look : None for the overview
    number : of the look, from 1; 0 for the overview
    text : as the model wrote it, without boxes, tags and answer; still foreign text
    """

    t: Trajectory = field(repr=False)
    look: Look | None
    number: int
    text: str

    @property
    def size(self) -> Size | None:
        """Of the picture, as the model got it; None if it got none."""
        if self.look is None:
            return self.t.overview
        return (self.look.crop.width, self.look.crop.height) if self.look.crop else None

    @property
    def image(self) -> Image.Image | None:
        """The picture; None if it got none, or it was not kept."""
        if self.look is None:
            return overview(self.t)
        return self.t.images.get(self.look.crop.hash) if self.look.crop else None

    @property
    def region(self) -> Box | None:
        """What the picture shows of the source; None if there is none."""
        return source_box(self.t) if self.look is None else region_shown(self.t, self.look)

    @property
    def without(self) -> tuple[str, str]:
        """That a look brought no picture, and why, in words; foreign text in them is one line."""
        assert self.look is not None
        if self.look.valid and get_arm(self.t.arm).back == "nothing":
            return "a box alone", "this arm shows no crop"
        return "refused", reason(self.look)

    @property
    def pixels(self) -> str:
        """How large the picture is, in words."""
        larger = None if self.look is None else self.look.enlargement
        zoom = "" if larger is None else f"zoom {TIMES}{larger:.2g}, "
        return f"{zoom}{self.size[0]} {TIMES} {self.size[1]} pixels" if self.size else ""


def steps(t: Trajectory) -> list[Step]:
    """The rollout in order: the overview, then every look."""
    texts, looks = [""], []
    for kind, part in t.segments():
        if kind == "look" and isinstance(part, Look):
            looks.append(part)
            texts.append("")
        elif kind == "text":
            texts[-1] += str(part)
    ends = ["box"] * len(looks) + ["answer"]  # what a stretch of text ends with
    told = [_plain(text, end) for text, end in zip(texts, ends, strict=True)]
    return [Step(t, look, i, text) for i, (look, text) in enumerate(zip([None, *looks], told, strict=True))]


def _plain(text: str, end: str) -> str:
    """A stretch of text without the last box that ends it, or without the answer, and without tags."""
    head = text[:TOLD] if len(text) <= 2 * TOLD else f"{text[:TOLD]} ... {text[-TOLD:]}"
    found = [event for event in scan(head) if event.kind == end]
    if found:
        head = head[: found[-1 if end == "box" else 0].start]
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

    @property
    def given(self) -> str:
        """The answer, or that there is none, in a line."""
        return "no answer" if self.answer is None else one_line(self.answer, 300)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the answer."""
        notes = [self.ending] if self.ending else []
        if self.state == "unknown":
            notes.append("the true answer is not recorded")
        return [*notes, f"true answer: {one_line(self.truth, 120)}"] if self.state == "wrong" else notes


def verdict(t: Trajectory) -> Verdict:
    """Compare the answer with the truth, as the rewards do; a missing answer is wrong where a truth is known."""
    known = t.truth.get("answer")
    usable = isinstance(known, str | int | float) and not isinstance(known, bool) and str(known).strip()
    truth = str(known) if usable else None
    ending = "" if t.answer is not None else ended(t.finish)
    if truth is None:
        return Verdict("unknown", t.answer, truth, ending)
    return Verdict("right" if same_answer(t.answer, truth) else "wrong", t.answer, truth, ending)


def ended(finish: str) -> str:
    """How a rollout without an answer ended, in words of our own."""
    return _FINISHES.get(finish, "gave no answer")


def facts(t: Trajectory) -> list[str]:
    """Which sample was answered by whom and how, each in a line."""
    found = [one_line(t.sample_id, 60), f"policy {one_line(t.model, 60)}" if t.model else ""]
    found.append("" if t.arm == INTERLEAVED.name else f"arm {one_line(t.arm, 40)}")
    found.append(f"forced: {one_line(t.forced, 40)}" if t.forced else "")
    found.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    return [fact for fact in found if fact]


def source_size(t: Trajectory) -> Size:
    """Width and height of the photograph."""
    return t.image.width, t.image.height


def source_box(t: Trajectory) -> Box:
    """All of the photograph, as a box."""
    return (0.0, 0.0, float(t.image.width), float(t.image.height))


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
    return source_box(t) if get_arm(t.arm).back == "overview" else clip(look.box, source_size(t))


def told(t: Trajectory, looks: int = 16) -> str:
    """The trajectory in words, for alt text; plain text without control characters.

    Parameters
    ----------
    looks
        How many looks are told one by one.
    """
    size, ending, walk = source_size(t), verdict(t), steps(t)
    said = [f"Question: {quoted(t.question, 300)}"]
    said.append(f"The model saw the photograph of {_by(size)} pixels at {_by(t.overview)} pixels.")
    for step in walk[: looks + 1]:
        if step.look is not None:
            said.append(_look_told(step, step.look))
        if step.text:
            said.append(f"It wrote: {quoted(step.text, 240)}")
    if len(walk) == 1:
        said.append("It took no look.")
    if len(walk) > looks + 1:
        said.append(f"{len(walk) - looks - 1} more looks are not shown.")
    if ending.answer is None:
        said.append(f"It gave no answer: it {ending.ending}.")
    else:
        said.append(f"It answered {quoted(ending.answer, 200)}.")
    if ending.state == "wrong":
        wrong = "" if ending.answer is None else "That is wrong. "
        said.append(f"{wrong}The true answer is {quoted(ending.truth, 200)}.")
    else:
        said.append("That is right." if ending.state == "right" else "The true answer is not known.")
    return " ".join(said)


def _by(size: Size) -> str:
    return f"{size[0]} by {size[1]}"


def _look_told(step: Step, look: Look) -> str:
    if look.box is None or not look.valid:
        return f"Look {step.number} was refused: {reason(look)}."
    numbers, regions = ", ".join(f"{v:.0f}" for v in look.box), true_regions(step.t)
    text = f"Look {step.number}: region [{numbers}], {where_in(look.box, source_size(step.t))} of the photograph"
    if step.size is not None:
        zoom = f"zoom {look.enlargement:.2g}, " if look.enlargement is not None else ""
        text += f", shown with {zoom}{_by(step.size)} pixels"
    if regions:
        overlaps = [iou(look.box, region) for region in regions]
        place = len(regions) - 1 if overlaps[-1] else max(range(len(regions)), key=overlaps.__getitem__)
        if not overlaps[place]:
            text += f", beside the true region{'s' * (len(regions) > 1)}"
        elif place == len(regions) - 1:
            text += f", overlap with the true region {overlaps[place]:.2f} (IoU)"
        else:
            text += f", overlap with true region {place + 1} of {len(regions)} {overlaps[place]:.2f} (IoU)"
    return text + "."
