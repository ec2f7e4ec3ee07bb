"""The official VLM-R3 files: supervised (text, crop, text, ...) and reinforcement learning, read and written.

Supervised: a list of ``{image_path, question, response_list, img_crop_list}``. Each text but the last ends in one
``{"bbox_2d": [x1, y1, x2, y2]}``, whose crop is the next of `img_crop_list`; boxes are pixels of the image after
Qwen2.5-VL's smart_resize. The crops are only checked to exist: the loop cuts its own from the source. Text that stands
between a box and its crop is moved behind the crop. Reinforcement learning: ``{image_path, question, answer, source}``.
(Fields read in the official code.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import shown
from ...core.geometry import Box, crop_size, write_ints
from ...core.images import cut, inside, open_image
from ...core.protocol import MAX_ANSWER, answer_of, box_text, scan
from ...core.records import Refused, Row
from ..sample import Rationale
from .frames import BUDGET, FACTOR, FrameName, Source, checked, from_source, to_source
from .record import (
    MAX_TEXT,
    Record,
    answer,
    box_field,
    items,
    need,
    optional,
    put_image,
    question,
    table,
    text,
    whole_folder,
)

# DeepEyes and Pixel-Reasoner: rationales whose looks are tool calls inside the text.
#
# DeepEyes: ``{prompt: [{role, content}], images, reward_model: {ground_truth}, ...}``; published rows hold the
# question
# only, recorded rollouts also assistant turns with ``<tool_call>{"name": "image_zoom_in_tool", "arguments":
# {"bbox_2d",
# "label"}}</tool_call>``. Its boxes are pixels, of the file or of the resized image: the frame must be given unless
# both
# are the same. Pixel-Reasoner: ``{message_list: [{role, content: [{text, image, video}]}]}`` with
# `crop_image_normalized
# {bbox_2d, target_image}`, shares of the image where all four are below 1, else pixels (the official tool reads them
# so).
# The system prompt shows an example call; only what the assistant wrote is read. A region is the box that was
# written,
# without the 10 % that Pixel-Reasoner's tool adds around it. Crops of crops and videos are refused.

DEEPEYES, PIXEL = "deepeyes", "pixel-reasoner"
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PIXELS = (FrameName.SOURCE, FrameName.RESIZED)


def read_deepeyes(row: Row, source: Source) -> Record:
    """One row of DeepEyes."""
    data = row.data
    turns = [table(t, "prompt") for t in items(need(data, "prompt"), "prompt")]
    images = items(need(data, "images"), "images", 100)
    if not images:
        raise Refused("no image", "field 'images' is empty")
    picture, size = source.picture(images[0])
    said = [text(t.get("content"), "prompt", empty=True) for t in turns if t.get("role") == "assistant"]
    extra = table(data.get("extra_info") or {}, "extra_info")
    users = [t.get("content") for t in turns if t.get("role") == "user"]
    asked = extra.get("question") or (text(users[0], "prompt", MAX_TEXT) if users else None)
    truth = answer(table(need(data, "reward_model"), "reward_model"), "ground_truth")
    parts: list[str | Box] = []
    for call in _parts(said):
        if isinstance(call, str):
            parts.append(call)
            continue
        _named(call, "image_zoom_in_tool")
        why = "DeepEyes writes pixels, and its records do not say whether of the file or of the resized image"
        parts.append(source.open_box(_box(call), _PIXELS, size, why))
    rationale, found = _finish(parts) if said else (None, truth)
    return Record(
        source.id_of(row, extra.get("index")),
        picture,
        size,
        question({"question": asked.replace("<image>", "").strip() if isinstance(asked, str) else asked}),
        truth,
        (),  # where a policy looked is no truth
        rationale,
        dataset=optional(data, "data_source"),
        split=optional(extra, "split"),
        meta={"said": found} if found != truth else {},
        where=row.where,
    )


def read_pixel_reasoner(row: Row, source: Source) -> Record:
    """One row of Pixel-Reasoner."""
    turns = [table(t, "message_list") for t in items(need(row.data, "message_list"), "message_list")]
    first = next((t for t in turns if t.get("role") == "user"), None)
    if first is None:
        raise Refused("no question", "message_list has no turn of the user")
    pieces = [table(c, "content") for c in items(first.get("content"), "content")]
    if any(c.get("video") for c in pieces):
        raise Refused("a video", "only records on one image can be read")
    images = [c["image"] for c in pieces if c.get("image")]
    if len(images) != 1:
        raise Refused("not exactly one image", f"the question has {len(images)}")
    picture, size = source.picture(images[0])
    asked = "\n".join(text(c["text"], "content", MAX_TEXT) for c in pieces if c.get("text")).strip()
    said = [_said(t) for t in turns if t.get("role") == "assistant"]
    parts: list[str | Box] = []
    for call in _parts(said):
        if isinstance(call, str):
            parts.append(call)
            continue
        arguments = _named(call, "crop_image_normalized")
        if arguments.get("target_image") != 1:
            raise Refused("a crop of a crop", f"target_image {shown(arguments.get('target_image'))}; wanted 1")
        where = _box(call)
        if max(where) < 1:  # a share, whatever frame was asked for: that settles the open ones
            parts.append(checked(to_source(where, FrameName.UNIT, size), size))
            continue
        possible = (FrameName.UNIT, *_PIXELS) if max(where) == 1 else _PIXELS
        why = "a coordinate is 1 or more, which can be the image's border or a pixel"
        parts.append(source.open_box(where, possible, size, why))
    rationale, found = _finish(parts)
    name = row.data.get("qid", row.data.get("id"))
    return Record(
        source.id_of(row, name),
        picture,
        size,
        question({"question": asked}),
        found,
        rationale.boxes,
        rationale,
        where=row.where,
    )


def _said(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, str):
        return text(content, "content", empty=True)
    pieces = [table(c, "content") for c in items(content, "content")]
    return "".join(text(c["text"], "content") for c in pieces if c.get("text"))


def _parts(said: list[str]) -> list[str | dict[str, Any]]:
    """Text and calls in order; linear in the text, whatever it holds."""
    parts: list[str | dict[str, Any]] = []
    for piece in said:
        at = 0
        while (start := piece.find(_OPEN, at)) >= 0:
            end = piece.find(_CLOSE, start)
            if end < 0:
                raise Refused("a tool call that is not closed", shown(piece[start:]))
            try:
                call = json.loads(piece[start + len(_OPEN) : end])
            except (ValueError, RecursionError):
                raise Refused("a tool call that is not valid JSON", shown(piece[start:end])) from None
            parts += [piece[at:start], table(call, "tool_call")]
            at = end + len(_CLOSE)
        parts.append(piece[at:])
    return parts


def _named(call: dict[str, Any], wanted: str) -> dict[str, Any]:
    if call.get("name") != wanted:
        raise Refused("a tool that is no look", f"{shown(call.get('name'))}; wanted {wanted}")
    return table(need(call, "arguments"), "arguments")


def _box(call: dict[str, Any]) -> Box:
    return box_field(need(table(need(call, "arguments"), "arguments"), "bbox_2d"), "bbox_2d")


def _finish(parts: list[str | Box]) -> tuple[Rationale, str]:
    """The rationale, its answer in the protocol's tags, and that answer; texts between two looks are joined."""
    joined: list[str | Box] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    words = "".join(p for p in joined if isinstance(p, str))
    found = answer_of(words)
    if found is None:
        found = _boxed(words)
        joined.append(f"<answer>{found}</answer>")
    return Rationale(tuple(joined)), found


def _boxed(words: str) -> str:
    r"""The content of the last \boxed{...}, braces balanced."""
    start = words.rfind("\\boxed{")
    depth = 0
    for at in range(start + 6, len(words)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(words[at], 0)
        if depth == 0:
            return text(words[start + 7 : at].strip(), "answer", MAX_ANSWER)
    raise Refused("no answer", "the last turn must hold <answer>...</answer> or \\boxed{...}")


SFT, RL = "vlm-r3-sft", "vlm-r3-rl"
CROP_TOKENS = (4, 1024)  # of a crop, official
_MAX_LOOKS = 64


def read_sft(row: Row, source: Source) -> Record:
    """One supervised record."""
    data = row.data
    picture, size = source.picture(need(data, "image_path"))
    texts = [text(t, "response_list", empty=True) for t in items(need(data, "response_list"), "response_list")]
    crops = items(need(data, "img_crop_list"), "img_crop_list", _MAX_LOOKS)
    if len(texts) != len(crops) + 1:
        raise Refused("texts and crops do not alternate", f"{len(texts)} texts and {len(crops)} crops; wanted one more")
    for crop in crops:
        inside(source.images, crop)
    parts: list[str | Box] = []
    carried, answers = "", []
    for i, piece in enumerate(texts):
        found = scan(piece)
        answers += [e.text for e in found if e.kind == "answer" and not e.reason]
        events = [e for e in found if e.kind == "box"]
        if len(events) != (i < len(crops)):
            raise Refused("a text without exactly one box before its crop", f"text {i} has {len(events)} boxes")
        if not events:
            parts.append(carried + piece)
            continue
        (event,) = events
        if event.values is None:
            raise Refused("a box that cannot be read", f"{shown(event.text)}: {event.reason}")
        parts += [carried + piece[: event.start], source.box(event.values, FrameName.RESIZED, size)]
        carried = piece[event.end :]
    rationale = Rationale(tuple(parts))
    if not answers:
        raise Refused("no answer", "the last text must hold <answer>...</answer>")
    return Record(
        source.id_of(row, data.get("id")),
        picture,
        size,
        question(data),
        answers[0],
        rationale.boxes,
        rationale,
        dataset=optional(data, "source"),
        where=row.where,
    )


def read_rl(row: Row, source: Source) -> Record:
    """One record for reinforcement learning: a sample without regions."""
    data = row.data
    picture, size = source.picture(need(data, "image_path"), boxes=False)
    name = optional(data, "source")
    return Record(
        source.id_of(row, data.get("id")), picture, size, question(data), answer(data), dataset=name, where=row.where
    )


def sft_record(record: Record, image_path: str, budget: tuple[int, int] = BUDGET) -> dict[str, Any]:
    """The supervised record, `img_crop_list` left empty.

    Raises
    ------
    Refused
        If there is no rationale, or it would not be read back as it is: a text holds a box, or its answer is not
        the record's.
    """
    if record.rationale is None:
        raise Refused("no rationale", f"record {shown(record.id)}; write it as {RL} instead")
    texts = [""]
    for part in record.rationale.parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            box = from_source(part, FrameName.RESIZED, record.size, budget)
            texts[-1] += box_text(write_ints(box))
            texts.append("")
    words = "".join(p for p in record.rationale.parts if isinstance(p, str))
    if any(e.kind == "box" for e in scan(words)) or answer_of(words) != record.answer.strip():
        raise Refused("a rationale that would be read back otherwise", f"record {shown(record.id)}: {shown(words)}")
    return {"image_path": image_path, "question": record.question, "response_list": texts, "img_crop_list": []}


def write_sft(records: Iterable[Record], path: Path, budget: tuple[int, int] = BUDGET) -> Path:
    """A new folder with `vlm_r3_sft.json`, `images/` and `crops/`; the path of the JSON file."""

    def made(record: Record, folder: Path) -> dict[str, Any]:
        image = open_image(record.source)
        out = sft_record(record, f"images/{put_image(image, folder / 'images')}", budget)
        for box in record.rationale.boxes if record.rationale else ():
            _, size = crop_size(box, record.size, FACTOR, *CROP_TOKENS)
            out["img_crop_list"].append(f"crops/{put_image(cut(image, box, size), folder / 'crops')}")
        return out

    return _write(records, path, "vlm_r3_sft.json", made)


def write_rl(records: Iterable[Record], path: Path) -> Path:
    """A new folder with `vlm_r3_rl.json` and `images/`; the path of the JSON file."""

    def made(record: Record, folder: Path) -> dict[str, Any]:
        name = put_image(open_image(record.source), folder / "images")
        return {
            "image_path": f"images/{name}",
            "question": record.question,
            "answer": record.answer,
            "source": record.dataset,
        }

    return _write(records, path, "vlm_r3_rl.json", made)


def _write(records: Iterable[Record], path: Path, name: str, made: Any) -> Path:
    with whole_folder(path) as folder, (folder / name).open("w", encoding="utf-8") as out:
        mark = "[\n"
        for record in records:
            out.write(mark + json.dumps(made(record, folder), ensure_ascii=False, allow_nan=False))
            mark = ",\n"
        out.write("\n]\n" if mark == ",\n" else "[]\n")
    return path / name
