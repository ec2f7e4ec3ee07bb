"""Readers and writers of rationales: DeepEyes and Pixel-Reasoner (looks are tool calls), the official VLM-R3 files.

DeepEyes: published rows hold the question only, recorded rollouts also assistant turns with ``<tool_call>{"name":
"image_zoom_in_tool", "arguments": {"bbox_2d", "label"}}</tool_call>``. Its boxes are pixels, of the file or of the
resized image: the frame must be given unless both are the same. Pixel-Reasoner calls `crop_image_normalized {bbox_2d,
target_image}`, shares of the image where all four are below 1, else pixels (the official tool reads them so). The
system prompt shows an example call; only what the assistant wrote is read. A region is the box that was written,
without the 10 % that Pixel-Reasoner's tool adds around it. Crops of crops and videos are refused.

Official, supervised: each text of `response_list` but the last ends in one ``{"bbox_2d": [x1, y1, x2, y2]}``, whose
crop is the next of `img_crop_list`; boxes are pixels of the image after Qwen2.5-VL's smart_resize. The crops are only
checked to exist: the loop cuts its own from the source. Text that stands between a box and its crop is moved behind the
crop. Reinforcement learning: ``{image_path, question, answer, source}``. (Fields read in the official code.)

    write_sft(records, Path("out"))             # out/vlm_r3_sft.json, out/images/, out/crops/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...core.errors import shown
from ...core.files import whole_folder
from ...core.geometry import Box, crop_size, write_ints
from ...core.images import cut, inside, open_image
from ...core.protocol import MAX_ANSWER, answer_of, box_text, scan
from ...core.records import Refused, Row, anything, box, fields, parse, row, text_of
from ..sample import Rationale, put_image
from .frames import BUDGET, FACTOR, FrameName, checked, from_source, to_source
from .record import ANSWER, LABEL, MAX_ITEMS, OBJECT, QUESTION, TEXT, Format, Record, Source, Values

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PIXELS = (FrameName.SOURCE, FrameName.RESIZED)
_CODES = (*_PIXELS, FrameName.RELATIVE, FrameName.UNIT)
CROP_TOKENS = (4, 1024)  # of a crop, official
_MAX_LOOKS = 64


def _turn(value: Any, where: str) -> Values:
    return fields(value, {"role": anything, "content": anything}, where=where)


def _deepeyes(v: Values, source: Source, line: Row) -> Record:
    if not v["images"]:
        raise Refused("no image", "field 'images' is empty")
    picture, size = source.picture(v["images"][0])
    said = [TEXT(t["content"], "prompt") for t in v["prompt"] if t["role"] == "assistant"]
    extra = fields(v["extra_info"] or {}, {}, {"question": TEXT, "index": anything, "split": LABEL}, "extra_info")
    users = [t["content"] for t in v["prompt"] if t["role"] == "user"]
    asked = TEXT(extra["question"] or (users[0] if users else None), "prompt").replace("<image>", "").strip()
    truth = fields(v["reward_model"], {"ground_truth": ANSWER}, where="reward_model")["ground_truth"]
    why = "DeepEyes writes pixels, and its records do not say whether of the file or of the resized image"

    def look(call: Values) -> Box:
        return source.open_box(_arguments(call, "image_zoom_in_tool")["bbox_2d"], _PIXELS, size, why)

    rationale, found = _finish(_parts(said, look)) if said else (None, truth)
    known: Values = {"dataset": v["data_source"] or "", "split": extra["split"] or "", "where": line.where}
    known["meta"] = {"said": found} if found != truth else {}
    name, asked = source.id_of(line, extra["index"]), QUESTION(asked, "question")
    return Record(name, picture, size, asked, truth, (), rationale, **known)  # where a policy looked is no truth


DEEPEYES = Format(
    "deepeyes",
    "DeepEyes",
    _deepeyes,
    {"prompt": row(_turn, MAX_ITEMS), "images": row(anything, 100), "reward_model": OBJECT},
    {"extra_info": OBJECT, "data_source": LABEL},
    frames=_PIXELS,
)


def _piece(value: Any, where: str) -> Values:
    return fields(value, {}, {"text": TEXT, "image": anything, "video": anything}, where)


def _content(turn: Values) -> list[Values]:
    """The pieces of a turn of Pixel-Reasoner."""
    if isinstance(turn["content"], str):
        return [_piece({"text": turn["content"]}, "content")]
    pieces: list[Values] = row(_piece, MAX_ITEMS)(turn["content"], "content")
    return pieces


def _pixel_reasoner(v: Values, source: Source, line: Row) -> Record:
    first = next((t for t in v["message_list"] if t["role"] == "user"), None)
    if first is None:
        raise Refused("no question", "message_list has no turn of the user")
    pieces = _content(first)
    if any(c["video"] for c in pieces):
        raise Refused("a video", "only records on one image can be read")
    images = [c["image"] for c in pieces if c["image"]]
    if len(images) != 1:
        raise Refused("not exactly one image", f"the question has {len(images)}")
    picture, size = source.picture(images[0])
    asked = QUESTION("\n".join(c["text"] for c in pieces if c["text"]).strip(), "question")
    turns = [_content(t) for t in v["message_list"] if t["role"] == "assistant"]

    def look(call: Values) -> Box:
        arguments = _arguments(call, "crop_image_normalized")
        if arguments["target_image"] != 1:
            raise Refused("a crop of a crop", f"target_image {shown(arguments['target_image'])}; wanted 1")
        where: Box = arguments["bbox_2d"]
        if max(where) < 1:  # a share, whatever frame was asked for: that settles the open ones
            return checked(to_source(where, FrameName.UNIT, size), size)
        possible = (FrameName.UNIT, *_PIXELS) if max(where) == 1 else _PIXELS
        return source.open_box(
            where, possible, size, "a coordinate is 1 or more, which can be the image's border or a pixel"
        )

    rationale, found = _finish(_parts(["".join(c["text"] or "" for c in said) for said in turns], look))
    name = source.id_of(line, v["id"] if v["qid"] is None else v["qid"])
    return Record(name, picture, size, asked, found, rationale.boxes, rationale, where=line.where)


PIXEL_REASONER = Format(
    "pixel-reasoner",
    "Pixel-Reasoner",
    _pixel_reasoner,
    {"message_list": row(_turn, MAX_ITEMS)},
    {"qid": anything, "id": anything},
    frames=_CODES,
)


def _parts(said: list[str], look: Callable[[Values], Box]) -> list[str | Box]:
    """Text and looks in order, neighbouring texts joined; linear in the text, whatever it holds."""
    parts: list[str | Box] = [""]

    def add(text: str) -> None:
        if isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(text)

    for piece in said:
        at = 0
        while (start := piece.find(_OPEN, at)) >= 0:
            end = piece.find(_CLOSE, start)
            if end < 0:
                raise Refused("a tool call that is not closed", shown(piece[start:]))
            add(piece[at:start])
            parts.append(look(OBJECT(parse(piece[start + len(_OPEN) : end], "a tool call"), "a tool call")))
            at = end + len(_CLOSE)
        add(piece[at:])
    return [part for part in parts if part != ""]


def _arguments(call: Values, tool: str) -> Values:
    if call.get("name") != tool:
        raise Refused("a tool that is no look", f"{shown(call.get('name'))}; wanted {tool}")
    asked = fields(call, {"arguments": OBJECT}, where="tool_call")["arguments"]
    return fields(asked, {"bbox_2d": box}, {"target_image": anything}, "arguments")


def _finish(parts: list[str | Box]) -> tuple[Rationale, str]:
    """The rationale, its answer in the protocol's tags, and that answer."""
    words = "".join(p for p in parts if isinstance(p, str))
    found = answer_of(words)
    if found is None:
        found = _boxed(words)
        parts = [*parts, f"<answer>{found}</answer>"]
    return Rationale(tuple(parts)), found


def _boxed(words: str) -> str:
    r"""The content of the last \boxed{...}, braces balanced."""
    start = words.rfind("\\boxed{")
    depth = 0
    for at in range(start + 6, len(words)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(words[at], 0)
        if depth == 0:
            return str(text_of(MAX_ANSWER)(words[start + 7 : at].strip(), "answer"))
    raise Refused("no answer", "the last turn must hold <answer>...</answer> or \\boxed{...}")


def _sft(v: Values, source: Source, line: Row) -> Record:
    picture, size = source.picture(v["image_path"])
    texts, crops = v["response_list"], v["img_crop_list"]
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
    known = (source.id_of(line, v["id"]), picture, size, v["question"], answers[0], rationale.boxes, rationale)
    return Record(*known, dataset=v["source"] or "", where=line.where)


def _rl(v: Values, source: Source, line: Row) -> Record:
    picture, size = source.picture(v["image_path"], boxes=False)
    known = (source.id_of(line, v["id"]), picture, size, v["question"], v["answer"])
    return Record(*known, dataset=v["source"] or "", where=line.where)


def sft_record(record: Record, image_path: str, budget: tuple[int, int] = BUDGET) -> Values:
    """The supervised record, `img_crop_list` left empty.

    Raises
    ------
    Refused
        If there is no rationale, or it would not be read back as it is: a text holds a box, or its answer is not
        the record's.
    """
    if record.rationale is None:
        raise Refused("no rationale", f"record {shown(record.id)}; write it as {RL.name} instead")
    texts, words = record.rationale.texts, "".join(record.rationale.texts)
    if any(e.kind == "box" for e in scan(words)) or answer_of(words) != record.answer.strip():
        raise Refused("a rationale that would be read back otherwise", f"record {shown(record.id)}: {shown(words)}")
    for i, region in enumerate(record.rationale.boxes):
        texts[i] += box_text(write_ints(from_source(region, FrameName.RESIZED, record.size, budget)))
    return {"image_path": image_path, "question": record.question, "response_list": texts, "img_crop_list": []}


def write_sft(records: Iterable[Record], path: Path, budget: tuple[int, int] = BUDGET) -> Path:
    """A new folder with `vlm_r3_sft.json`, `images/` and `crops/`; the path of the JSON file."""

    def made(record: Record, folder: Path) -> Values:
        image = open_image(record.source)
        out = sft_record(record, f"images/{put_image(image, folder / 'images')}", budget)
        for region in record.rationale.boxes if record.rationale else ():
            _, size = crop_size(region, record.size, FACTOR, *CROP_TOKENS)
            out["img_crop_list"].append(f"crops/{put_image(cut(image, region, size), folder / 'crops')}")
        return out

    return _write(records, path, "vlm_r3_sft.json", made)


def write_rl(records: Iterable[Record], path: Path) -> Path:
    """A new folder with `vlm_r3_rl.json` and `images/`; the path of the JSON file."""

    def made(record: Record, folder: Path) -> Values:
        name = f"images/{put_image(open_image(record.source), folder / 'images')}"
        return {"image_path": name, "question": record.question, "answer": record.answer, "source": record.dataset}

    return _write(records, path, "vlm_r3_rl.json", made)


def _write(records: Iterable[Record], path: Path, name: str, made: Callable[[Record, Path], Values]) -> Path:
    with whole_folder(path) as folder, (folder / name).open("w", encoding="utf-8") as out:
        mark = "[\n"
        for record in records:
            out.write(mark + json.dumps(made(record, folder), ensure_ascii=False, allow_nan=False))
            mark = ",\n"
        out.write("\n]\n" if mark == ",\n" else "[]\n")
    return path / name


SFT = Format(
    "vlm-r3-sft",
    "official VLM-R3, supervised",
    _sft,
    {"image_path": anything, "question": QUESTION, "response_list": row(TEXT, MAX_ITEMS)}
    | {"img_crop_list": row(anything, _MAX_LOOKS)},
    {"id": anything, "source": LABEL},
    frames=_CODES,
    write=write_sft,
)
RL = Format(
    "vlm-r3-rl",
    "official VLM-R3, reinforcement learning",
    _rl,
    {"image_path": anything, "question": QUESTION, "answer": ANSWER},
    {"id": anything, "source": LABEL},
    marks=("source",),
    write=write_rl,
)
