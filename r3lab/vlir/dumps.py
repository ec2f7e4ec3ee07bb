"""Rollouts that other projects dumped, as trajectories as far as they go: text and looks, no tokens.

Four layouts are known by their fields, and one of our own for what has none:

- `verl` and what stands on it (DeepEyes in training): JSON lines of ``input``, ``output``, ``score``, often ``gts`` and
  ``step`` (`RayPPOTrainer._dump_generations`); decoded text, turns of the environment inside, no images;
- `trl`: Parquet of ``prompt``, ``completion``, ``advantage`` and a column a reward (`GRPOTrainer.log_completions`);
- `deepeyes`: JSON lines of ``pred_output`` (messages), ``question``, ``answer``, ``pred_ans`` (its eval scripts; they
  empty the images of the messages);
- `pixel-reasoner`: JSON lines of ``solutions``, ``questions``, ``qids``, ``reward`` (`logs/sample.jsonl`);
- `messages`: messages with text and images, ``answer``, ``reward``, ``group``; a message may say ``loss``.

Each may name ``image`` or ``images`` (paths beside the dump, base64, or bytes) and a true ``region``. A stretch of text
is one piece of the record, with the id `trajectory.ABSENT`. Simplified: a look is a ``bbox_2d`` in what the policy
wrote; the images of the environment are given to looks in order; videos are left out. Checked against the code
of verl, TRL and Pixel-Reasoner that writes these files, and forks of DeepEyes' eval script; against no file of a run:
none was found.

    dump = read_dump("rollouts/120.jsonl")
    dump.rollouts[0].t.segments(), dump.problems
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..core import records
from ..core.errors import R3labError, shown
from ..core.frames import Written, numbers_in
from ..core.geometry import Box, Frame, clip, problem
from ..core.images import content_hash, open_image, picture
from ..core.protocol import Values, answer_of
from ..core.records import ForeignError, Refused, anything, fields, free, maybe, number, of, row, text_of
from ..core.rows import RawRecord, data_files, rows
from ..trajectory import ABSENT, ImageRef, Kind, Look, Trajectory

MOST, MESSAGES, ROWS = 400_000, 256, 100_000  # characters of a text, messages of a record, records of a dump
NOWHERE = ImageRef("0" * 64, 1, 1)  # in the place of a picture that the dump does not hold
PADDING = 0.1  # of the picture's sides, by which Pixel-Reasoner enlarges a box before it cuts
SIZE = 1 << 26  # bytes of a record, images as text among them

_BOX = re.compile(r"\"bbox_2d\"\s*:\s*(\[[^\[\]]{3,120}\])")
_TURN = re.compile(r"(?:<\|im_end\|>)?\s{0,8}(?:<\|im_start\|>|\n)(user|tool|assistant)\n")
_PLACE = re.compile(r"<image>|<\|image_pad\|>|<\|vision_start\|>")
_text = text_of(MOST, blank=True)
_said = of("text, or a list of parts or messages", lambda value: isinstance(value, str | list))
_score = of("a number, or true or false", lambda v: isinstance(v, bool) or isinstance(v, int | float) and v == v, float)
_name = of("text or a whole number", lambda v: isinstance(v, str) and len(v) < 4000 or type(v) is int, str)

Event = tuple[str, Any, bool | None]  # "prompt", "written", "environment" or "image"; content; whether with loss


@dataclass(frozen=True)
class Layout:
    """How a project's records are laid out: fields that must be there, those that may, and where things stand."""

    name: str
    wanted: Mapping[str, records.Read]
    optional: Mapping[str, records.Read]
    said: Callable[[dict[str, Any]], Iterator[Event]]
    question: str
    answer: str  # the right one
    score: str
    group: str
    written: Written  # in which boxes are meant
    padding: float = 0.0


@dataclass
class Rollout:
    """A rollout that was read.

    Attributes
    ----------
    t : its record; without a picture where the dump holds none
    where : file and line
    group : what its rollouts have in common: question and step
    score, step : what it was paid, and when; None if the dump does not say
    numbers : what was written for each look
    expected : images that the environment's turns have places for; `given`, how many of them are there
    loss : for each piece, whether it carried loss; None where the dump does not say
    region : where the answer stands, source pixels, if it is known
    """

    t: Trajectory
    where: str
    group: str
    score: float | None
    step: float | None
    numbers: list[Values] = field(default_factory=list)
    expected: int = 0
    given: int = 0
    loss: list[bool | None] = field(default_factory=list)
    region: Box | None = None


@dataclass
class Dump:
    """What a dump holds: `layout`, `rollouts`, and what was left out and why."""

    layout: Layout
    written: Written
    rollouts: list[Rollout]
    problems: list[str]


def _messages(value: Any) -> Iterator[Event]:
    """Events of a list of messages, or of text."""
    if isinstance(value, str):
        yield from _transcript(value)
        return
    begun = False
    for message in row(fields_of_message, MESSAGES)(value, "messages"):
        role, content, loss = message["role"], message["content"], message["loss"]
        begun = begun or role == "assistant"
        kind = "written" if role == "assistant" else "environment" if begun else "prompt"
        for part in [content] if isinstance(content, str) else content:
            if isinstance(part, str):
                yield kind, part, loss
            elif isinstance(part.get("text"), str):
                yield kind, part["text"], loss
            elif "image" in part or "image_url" in part:
                held = part.get("image", part.get("image_url"))
                yield "image", held.get("url", held) if isinstance(held, dict) and "url" in held else held, loss


def fields_of_message(value: Any, where: str) -> dict[str, Any]:
    """A message: role, content (text, or a list of objects and texts), and whether it carries loss, if that is said."""
    part = of("text or an object", lambda one: isinstance(one, str | dict))
    content: records.Read = lambda v, w: v if isinstance(v, str) else row(part, MESSAGES)(v, w)  # noqa: E731
    found = fields(value, {"role": _name}, {"content": content, "loss": _score, "weight": _score}, where)
    loss = found["loss"] if found["loss"] is not None else found["weight"]
    return {"role": found["role"], "content": found["content"] or "", "loss": None if loss is None else bool(loss)}


def _transcript(text: str) -> Iterator[Event]:
    """Events of decoded text, in which turns of the environment stand between marks of a chat template."""
    at, kind = 0, "written"
    for found in _TURN.finditer(text):
        yield kind, text[at : found.start()], None
        at, kind = found.end(), "written" if found.group(1) == "assistant" else "environment"
    yield kind, text[at:], None


def _both(prompt: str, answer: str) -> Callable[[dict[str, Any]], Iterator[Event]]:
    """Events of a record that holds prompt and answer in two fields."""

    def said(values: dict[str, Any]) -> Iterator[Event]:
        if isinstance(values[prompt], str):
            yield "prompt", values[prompt], None
        else:
            yield from (("prompt" if kind != "image" else kind, *rest) for kind, *rest in _messages(values[prompt]))  # type: ignore[misc]
        yield from _messages(values[answer])

    return said


_PIXELS, _PARTS = Written("source"), Written("relative-1")
_MORE: dict[str, records.Read] = {
    "image": anything,
    "images": anything,
    "region": maybe(records.box),
    "step": maybe(number),
}
_IDS: dict[str, records.Read] = {"group": _name, "uid": _name, "id": _name}
LAYOUTS = (
    Layout(
        "verl",
        {"input": _text, "output": _text, "score": _score},
        {"gts": free, **_IDS},
        _both("input", "output"),
        "input",
        "gts",
        "score",
        "uid",
        _PIXELS,
    ),
    Layout(
        "trl",
        {"prompt": _said, "completion": _said},
        {"advantage": number, "solution": free, "answer": free, "reward": _score, **_IDS},
        _both("prompt", "completion"),
        "prompt",
        "solution",
        "reward",
        "group",
        _PIXELS,
    ),
    Layout(
        "deepeyes",
        {"pred_output": _said, "question": _text, "answer": free, "pred_ans": free},
        {"status": _name, "acc_reward": _score, "acc": _score, **_IDS},
        lambda values: _messages(values["pred_output"]),
        "question",
        "answer",
        "acc",
        "group",
        _PIXELS,
    ),
    Layout(
        "pixel-reasoner",
        {"solutions": _text, "questions": _text, "qids": _name},
        {"gts": free, "reward": _score, **_IDS},
        _both("questions", "solutions"),
        "questions",
        "gts",
        "reward",
        "qids",
        _PARTS,
        PADDING,
    ),
    Layout(
        "messages",
        {"messages": _said},
        {"question": _text, "answer": free, "reward": _score, "advantage": number, **_IDS},
        lambda values: _messages(values["messages"]),
        "question",
        "answer",
        "reward",
        "group",
        _PIXELS,
    ),
)


def read_dump(path: str | Path, images: str | Path | None = None, written: Written | None = None) -> Dump:
    """Read a dump: a file, or a folder of such files.

    Parameters
    ----------
    images
        Folder of the images that it names (default: of the file).
    written
        How its boxes are meant (default: as its project means them).

    Raises
    ------
    R3labError
        If there is none, it is of no known layout, or none of its records fits.
    """
    path = Path(path)
    files = data_files(path) if path.is_dir() else [path]
    layout, found, problems = None, list[Rollout](), list[str]()
    root = Path(images) if images is not None else path if path.is_dir() else path.parent
    for line in (line for file in files for line in rows(file, limit=SIZE)):
        if line.problem is None and layout is None:
            layout = next((one for one in LAYOUTS if set(one.wanted) <= set(line.data)), None)
            if layout is None:
                known = "; ".join(f"{one.name}: {', '.join(one.wanted)}" for one in LAYOUTS)
                raise ForeignError(f"{line.where} has the fields {shown(sorted(line.data), 120)}; known are {known}.")
        try:
            if line.problem is not None:
                raise line.problem
            if len(found) >= ROWS:
                raise ForeignError(f"{shown(path)} has over {ROWS:,} records; give a file of fewer.")
            assert layout is not None
            found.append(_rollout(line, layout, root, written or layout.written))
        except Refused as error:
            problems.append(f"{line.where}: {error}")
    if layout is None or not found:
        why = f" ({problems[0]})" if problems else ""
        raise R3labError(f"{shown(path)} holds no rollout that can be read{why}; give a file or folder of a dump.")
    return Dump(layout, written or layout.written, found, problems)


def _rollout(line: RawRecord, layout: Layout, root: Path, written: Written) -> Rollout:
    """One record; `Refused` if it does not fit."""
    values = fields(line.data, layout.wanted, {**_MORE, **layout.optional}, "")
    rewards, score = _rewards(line.data), values.get(layout.score)
    if score is None and rewards:
        score = sum(rewards.values())
    events = list(layout.said(values))
    begin = next((i for i, event in enumerate(events) if event[0] == "written"), len(events))
    listed = values["images"] if isinstance(values["images"], list) else [values["images"]]
    own = [one for one in (values["image"], *listed) if one is not None]
    before, after = ([e[1] for e in part if e[0] == "image"] for part in (events[:begin], events[begin:]))
    source = next((one for one in (_opened(value, root) for value in [*own, *before]) if one is not None), None)
    crops = [_opened(value, root) for value in after]
    if not any(crops) and len(own) > 1:
        crops = [_opened(value, root) for value in own[1:]]
    asked = values.get(layout.question)
    if not isinstance(asked, str):
        asked = next((e[1] for e in reversed(events[:begin]) if e[0] == "prompt"), "")
    name = next((values[key] for key in (layout.group, "group", "uid", "id") if isinstance(values.get(key), str)), None)
    group = (name if name and name != asked else hashlib.sha256(asked.encode()).hexdigest()[:12])[:100]
    reference = NOWHERE if source is None else ImageRef(content_hash(source), *source.size)
    images = {} if source is None else {reference.hash: source}
    size, frame = (reference.width, reference.height), written.frame or Frame.SOURCE
    t = Trajectory(f"{layout.name}-{group}", asked[-4000:], reference, size, frame, images=images, model=layout.name)
    right, region = values.get(layout.answer), values["region"]
    t.truth = ({"answer": right} if isinstance(right, str) else {}) | ({"regions": [list(region)]} if region else {})
    t.rewards = rewards or ({} if score is None else {"score": score})
    t.advantage = values.get("advantage")
    step = values["step"]
    found = Rollout(t, line.where, f"{group} {'' if step is None else step}", score, step, region=region)
    places = sum(len(_PLACE.findall(e[1])) for e in events[begin:] if e[0] == "environment")
    found.expected, found.given = max(places, len(after)), sum(one is not None for one in crops)
    _write(found, events, begin, iter(crops), written)
    t.answer = answer_of(t.response_text)
    t.finish = "malformed" if t.answer is None else "answered"
    return found


def _rewards(data: dict[str, Any]) -> dict[str, float]:
    """The parts of a reward: numbers in columns with `reward` in their name."""
    named = {k: v for k, v in data.items() if "reward" in k and len(k) <= 60 and type(v) in (int, float)}
    return {k: float(v) for k, v in named.items() if math.isfinite(v)}


def _opened(value: Any, root: Path) -> Image.Image | None:
    """An image of a record, or None: emptied, missing, or not one."""
    if isinstance(value, dict) and "url" in value:
        value = value["url"]
    if isinstance(value, str) and value.startswith("data:image/"):
        value = value.partition("base64,")[2]
    if value in ("", None):
        return None
    try:
        return open_image(picture(value, root, encoded=True))
    except R3labError:
        return None


def _write(
    found: Rollout, events: list[Event], begin: int, crops: Iterator[Image.Image | None], written: Written
) -> None:
    """Put the text of a record into its trajectory, a piece a stretch, and its looks with the crops that they got.

    Of several boxes in one turn the last gets the image: a record has a crop before the next box.
    """
    marked, pending = any(event[0] == "image" for event in events[begin:]), False
    for place, (kind, content, loss) in enumerate(events):
        if kind == "written":
            at, pending = 0, False
            for box in _BOX.finditer(content):
                _piece(found, content[at : box.end()], Kind.SAMPLED, loss)
                pending = _look(found, box.group(1), written)
                at = box.end()
            _piece(found, content[at:], Kind.SAMPLED, loss)
            continue
        if place >= begin and (kind == "image" or pending and not marked):
            crop = next(crops, None)
            if pending:
                _crop(found, crop)
            pending = False
        if kind != "image":
            _piece(found, content, Kind.PROMPT if place < begin else Kind.ENVIRONMENT, loss)


def _piece(found: Rollout, text: str, kind: Kind, loss: bool | None) -> None:
    """A stretch of text, where there is one; of a crop it is none, and stands all the same."""
    if text or kind is Kind.CROP:
        for name, value in (("ids", ABSENT), ("kinds", int(kind)), ("pieces", text), ("logprobs", None)):
            getattr(found.t, name).append(value)
        found.t.entropies.append(None)
        found.loss.append(loss)


def _look(found: Rollout, text: str, written: Written) -> bool:
    """The look of a box that was just written; False where it holds no four numbers."""
    t, numbers = found.t, numbers_in(text)[0]
    if numbers is None:
        return False
    size, span = (t.image.width, t.image.height), (len(t.ids) - 1, len(t.ids))
    found.numbers.append(numbers)
    x1, y1, x2, y2 = written.place(numbers, size, size)
    box = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
    reason = "its picture is not in the dump" if t.image is NOWHERE else problem(box, size)
    told = numbers if written.frame else box
    t.looks.append(Look(span, told, box if reason else clip(box, size), not reason, reason))
    return True


def _crop(found: Rollout, crop: Image.Image | None) -> None:
    """Give an image of the environment to the look that was written last."""
    t = found.t
    if crop is not None and t.looks[-1].valid:
        reference, at = ImageRef(content_hash(crop), *crop.size), len(t.ids)
        t.images[reference.hash] = crop
        t.looks[-1] = replace(t.looks[-1], crop=reference, crop_span=(at, at + 1))
        _piece(found, "", Kind.CROP, None)
