"""Readers and writers of rationales: the official VLM-R3 files, DeepEyes, Pixel-Reasoner, our own VLIR and Parquet.

Official, supervised: each text of `response_list` but the last ends in one ``{"bbox_2d": [x1, y1, x2, y2]}``, whose
crop is the next of `img_crop_list`; boxes are pixels of the image after Qwen2.5-VL's smart_resize. The crops are only
checked to exist: the loop cuts its own from the source. Text that stands between a box and its crop is moved behind the
crop. Reinforcement learning: ``{image_path, question, answer, source}``. (Fields read in the official code.)

DeepEyes: published rows hold the question only, recorded rollouts also assistant turns with ``<tool_call>{"name":
"image_zoom_in_tool", "arguments": {"bbox_2d", "label"}}</tool_call>``. Its boxes are pixels, of the file or of the
resized image: the frame must be given unless both are the same. Pixel-Reasoner calls `crop_image_normalized {bbox_2d,
target_image}`, shares of the image where all four are below 1, else pixels (the official tool reads them so). The
system prompt shows an example call; only what the assistant wrote is read. A region is the box that was written,
without the 10 % that Pixel-Reasoner's tool adds around it. Crops of crops and videos are refused.

Parquet has one row a sample with the image's PNG file inside (``{bytes, path}``, an image to `datasets`), boxes in
source pixels, and `rationale` as a list of ``{text, box}`` with one of the two, or null. Rows with these fields are
read from any file. A VLIR folder is `vlir.jsonl` and `images/`, see `vlir.sample`.

    write_sft(records, Path("out"))             # out/vlm_r3_sft.json, out/images/, out/crops/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import shown
from ...core.files import whole_file, whole_folder
from ...core.geometry import Box, Size, crop_size, write_ints
from ...core.images import cut, inside, open_image, to_png_bytes
from ...core.protocol import MAX_ANSWER, answer_of, box_text, scan
from ...core.records import Refused, Row, anything, box, fields, flag, parse, row, text_of
from ...core.rows import pyarrow
from ..sample import Rationale, from_record, part, put_image, write_vlir
from .frames import BUDGET, FACTOR, FrameName, checked, from_source, to_source
from .record import ANSWER, LABEL, MAX_ITEMS, OBJECT, QUESTION, TEXT, Format, Record, Source, Values, part_of

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PIXELS = (FrameName.SOURCE, FrameName.RESIZED)
_CODES = (*_PIXELS, FrameName.RELATIVE, FrameName.UNIT)
CROP_TOKENS = (4, 1024)  # of a crop, official
BATCH = 32  # rows with images in memory at a time
_MAX_LOOKS = 64


# -- reading ---------------------------------------------------------------------------------------------------------


def _sft(v: Values, size: Size, source: Source) -> Values:
    texts, crops = v["response_list"], v["img_crop_list"]
    if len(texts) != len(crops) + 1:
        raise Refused("texts and crops do not alternate", f"{len(texts)} texts and {len(crops)} crops; wanted one more")
    for crop in crops:
        inside(source.images, crop)
    words, at, parts = "".join(texts), 0, list[str | Box]()
    events = scan(words)
    looks = [event for event in events if event.kind == "box"]
    if len(looks) != len(crops):
        raise Refused("a text without exactly one box before its crop", f"{len(looks)} boxes, {len(crops)} crops")
    for event in looks:
        if event.values is None:
            raise Refused("a box that cannot be read", f"{shown(event.text)}: {event.reason}")
        parts += [words[at : event.start], source.box(event.values, FrameName.RESIZED, size)]
        at = event.end
    answer = next((event.text for event in events if event.kind == "answer" and not event.reason), None)
    if answer is None:
        raise Refused("no answer", "the last text must hold <answer>...</answer>")
    rationale = Rationale((*parts, words[at:]))
    return {"answer": answer, "regions": rationale.boxes, "rationale": rationale}


def _deepeyes(v: Values, size: Size, source: Source) -> Values:
    said = [TEXT(t["content"], "prompt") for t in v["prompt"] if t["role"] == "assistant"]
    extra = fields(v["extra_info"] or {}, {}, {"question": TEXT, "index": anything, "split": LABEL}, "extra_info")
    users = [t["content"] for t in v["prompt"] if t["role"] == "user"]
    asked = TEXT(extra["question"] or (users[0] if users else None), "prompt").replace("<image>", "").strip()
    truth = fields(v["reward_model"], {"ground_truth": ANSWER}, where="reward_model")["ground_truth"]
    why = "DeepEyes writes pixels, and its records do not say whether of the file or of the resized image"

    def look(call: Values) -> Box:
        return source.open_box(_arguments(call, "image_zoom_in_tool")["bbox_2d"], _PIXELS, size, why)

    rationale, found = _said(said, look) if said else (None, truth)
    known = {"id": extra["index"], "question": QUESTION(asked, "question"), "answer": truth, "rationale": rationale}
    known |= {"dataset": v["data_source"] or "", "split": extra["split"] or ""}
    return known | {"meta": {"said": found} if found != truth else {}}  # no regions: where a policy looked is no truth


def _content(turn: Values) -> list[Values]:
    """The pieces of a turn of Pixel-Reasoner."""
    said = turn["content"]
    pieces: list[Values] = row(_PIECE, MAX_ITEMS)([{"text": said}] if isinstance(said, str) else said, "content")
    return pieces


def _asked(v: Values) -> list[Values]:
    """The pieces of the first question in a message list."""
    first = next((t for t in v["message_list"] if t["role"] == "user"), None)
    if first is None:
        raise Refused("no question", "message_list has no turn of the user")
    return _content(first)


def _only_image(v: Values) -> Any:
    pieces = _asked(v)
    if any(c["video"] for c in pieces):
        raise Refused("a video", "only records on one image can be read")
    images = [c["image"] for c in pieces if c["image"]]
    if len(images) != 1:
        raise Refused("not exactly one image", f"the question has {len(images)}")
    return images[0]


def _pixel_reasoner(v: Values, size: Size, source: Source) -> Values:
    asked = QUESTION("\n".join(c["text"] for c in _asked(v) if c["text"]).strip(), "question")
    turns = [_content(t) for t in v["message_list"] if t["role"] == "assistant"]

    def look(call: Values) -> Box:
        arguments = _arguments(call, "crop_image_normalized")
        if arguments["target_image"] != 1:
            raise Refused("a crop of a crop", f"target_image {shown(arguments['target_image'])}; wanted 1")
        where: Box = arguments["bbox_2d"]
        if max(where) < 1:  # a share, whatever frame was asked for: that settles the open ones
            return checked(to_source(where, FrameName.UNIT, size), size)
        possible = (FrameName.UNIT, *_PIXELS) if max(where) == 1 else _PIXELS
        why = "a coordinate is 1 or more, which can be the image's border or a pixel"
        return source.open_box(where, possible, size, why)

    rationale, found = _said(["".join(c["text"] or "" for c in said) for said in turns], look)
    name = v["id"] if v["qid"] is None else v["qid"]
    return {"id": name, "question": asked, "answer": found, "regions": rationale.boxes, "rationale": rationale}


def _said(turns: list[str], look: Callable[[Values], Box]) -> tuple[Rationale, str]:
    """The rationale of what an assistant wrote, its answer in the protocol's tags, and that answer; linear in the text,
    whatever it holds."""
    parts: list[Any] = [""]
    for turn in turns:
        first, *calls = turn.split(_OPEN)
        parts[-1] += first
        for call in calls:
            inner, closed, after = call.partition(_CLOSE)
            if not closed:
                raise Refused("a tool call that is not closed", shown(call))
            parts += [look(OBJECT(parse(inner, "a tool call"), "a tool call")), after]
    words = "".join(parts[::2])
    found = answer_of(words)
    if found is None:
        found = _boxed(words)
        parts.append(f"<answer>{found}</answer>")
    return Rationale(tuple(p for p in parts if p != "")), found


def _arguments(call: Values, tool: str) -> Values:
    if call.get("name") != tool:
        raise Refused("a tool that is no look", f"{shown(call.get('name'))}; wanted {tool}")
    asked = fields(call, {"arguments": OBJECT}, where="tool_call")["arguments"]
    return fields(asked, {"bbox_2d": box}, {"target_image": anything}, "arguments")


def _boxed(words: str) -> str:
    r"""The content of the last \boxed{...}, braces balanced."""
    start = words.rfind("\\boxed{")
    depth = 0
    for at in range(start + 6, len(words)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(words[at], 0)
        if depth == 0:
            return str(text_of(MAX_ANSWER)(words[start + 7 : at].strip(), "answer"))
    raise Refused("no answer", "the last turn must hold <answer>...</answer> or \\boxed{...}")


def _table(v: Values, size: Size, source: Source) -> Values:
    known: Values = {"regions": tuple(checked(b, size) for b in v["regions"]), "needs_look": v["needs_look"]}
    if v["rationale"] is not None:
        parts = tuple(p if isinstance(p, str) else checked(p, size) for p in v["rationale"])
        if not parts:
            raise Refused("field 'rationale' is empty", "leave it null where there is none")
        known["rationale"] = Rationale(parts)
    return known


class _Vlir(Format):
    """VLIR, whose image is decoded when a line is read, since its hash must fit its pixels."""

    def record(self, row: Row, source: Source) -> Record:
        return Record.of(*from_record(row.data, source.images, "The record"), row.where)


# -- writing ---------------------------------------------------------------------------------------------------------


def sft_record(record: Record, image_path: str, budget: tuple[int, int] = BUDGET) -> Values:
    """The supervised record, `img_crop_list` left empty.

    Raises
    ------
    Refused
        If there is no rationale, or it would not be read back as it is: a text holds a box, or its answer is not
        the record's.
    """
    if record.rationale is None:
        raise Refused("no rationale", f"record {shown(record.id)}; write it as vlm-r3-rl instead")
    texts, words = record.rationale.texts, "".join(record.rationale.texts)
    if any(e.kind == "box" for e in scan(words)) or answer_of(words) != record.answer.strip():
        raise Refused("a rationale that would be read back otherwise", f"record {shown(record.id)}: {shown(words)}")
    for i, region in enumerate(record.rationale.boxes):
        texts[i] += box_text(write_ints(from_source(region, FrameName.RESIZED, record.size, budget)))
    return {"image_path": image_path, "question": record.question, "response_list": texts, "img_crop_list": []}


def _sft_made(record: Record, folder: Path) -> Values:
    image = open_image(record.source)
    out = sft_record(record, f"images/{put_image(image, folder / 'images')}")
    for region in record.rationale.boxes if record.rationale else ():
        _, size = crop_size(region, record.size, FACTOR, *CROP_TOKENS)
        out["img_crop_list"].append(f"crops/{put_image(cut(image, region, size), folder / 'crops')}")
    return out


def _rl_made(record: Record, folder: Path) -> Values:
    name = f"images/{put_image(open_image(record.source), folder / 'images')}"
    return {"image_path": name, "question": record.question, "answer": record.answer, "source": record.dataset}


def _list_writer(name: str, made: Callable[[Record, Path], Values]) -> Callable[[Iterable[Record], Path], Path]:
    """A writer of a new folder with one JSON list and the images that it names; it gives the path of the list."""

    def write(records: Iterable[Record], path: Path) -> Path:
        with whole_folder(path) as folder, (folder / name).open("w", encoding="utf-8") as out:
            mark = "[\n"
            for record in records:
                out.write(mark + json.dumps(made(record, folder), ensure_ascii=False, allow_nan=False))
                mark = ",\n"
            out.write("\n]\n" if mark == ",\n" else "[]\n")
        return path / name

    return write


def write_folder(records: Iterable[Record], path: Path) -> Path:
    """A new VLIR folder; the path of its `vlir.jsonl`. A record without rationale ends it, nothing written."""
    with whole_folder(path) as folder:
        name = write_vlir(folder, (record.pair() for record in records)).name
    return path / name


def write_parquet(records: Iterable[Record], path: Path) -> Path:
    """One Parquet file, images inside; the path."""
    arrow, parquet = pyarrow(), pyarrow("parquet")
    four, text = arrow.list_(arrow.float64()), arrow.string()
    image = arrow.struct([("bytes", arrow.binary()), ("path", text)])
    kinds = {"id": text, "image": image, "question": text, "answer": text, "regions": arrow.list_(four)}
    kinds |= {"rationale": arrow.list_(arrow.struct([("text", text), ("box", four)]))}
    kinds |= {"needs_look": arrow.bool_(), "dataset": text, "split": text}
    schema, waiting = arrow.schema(list(kinds.items())), iter(records)
    with whole_file(path) as partial, parquet.ParquetWriter(partial, schema) as out:
        while held := [_row(record) for record in islice(waiting, BATCH)]:
            out.write_batch(arrow.RecordBatch.from_pylist(held, schema=schema))
    return path


def _row(record: Record) -> Values:
    parts = None
    if record.rationale is not None:
        parts = [{"text": p} if isinstance(p, str) else {"box": list(p)} for p in record.rationale.parts]
    names = ("id", "question", "answer", "needs_look", "dataset", "split")
    row = {name: getattr(record, name) for name in names} | {"regions": [list(r) for r in record.regions]}
    return row | {"image": {"bytes": to_png_bytes(open_image(record.source))}, "rationale": parts}


# -- the formats -----------------------------------------------------------------------------------------------------

_TURN = part_of({"role": anything, "content": anything})
_PIECE = part_of({}, {"text": TEXT, "image": anything, "video": anything})
_ORIGIN = {"id": anything, "source": LABEL}
_SFT = {"image_path": anything, "question": QUESTION, "response_list": row(TEXT, MAX_ITEMS)}
_SFT |= {"img_crop_list": row(anything, _MAX_LOOKS)}
_RL = {"image_path": anything, "question": QUESTION, "answer": ANSWER}
_EYES = {"prompt": row(_TURN, MAX_ITEMS), "images": row(anything, 100), "reward_model": OBJECT}
_MESSAGES = {"message_list": row(_TURN, MAX_ITEMS)}
_ROW = {"id": text_of(200), "image": anything, "question": QUESTION, "answer": ANSWER, "regions": row(box, MAX_ITEMS)}
_ROW_MORE = {"rationale": row(part, MAX_ITEMS), "needs_look": flag, "dataset": LABEL, "split": LABEL}
_write_sft, _write_rl = _list_writer("vlm_r3_sft.json", _sft_made), _list_writer("vlm_r3_rl.json", _rl_made)


def _plain(v: Values, size: Size, source: Source) -> Values:
    """All that is known stands in fields of its own."""
    return {}


def _path(v: Values) -> Any:
    return v["image_path"]


def _first(v: Values) -> Any:
    return next(iter(v["images"]), None)


FORMATS = (
    Format("vlm-r3-sft", _sft, _SFT, _ORIGIN, _path, frames=_CODES, write=_write_sft),
    Format(
        "vlm-r3-rl", lambda v, size, source: {}, _RL, _ORIGIN, _path, marks=("source",), upright=False, write=_write_rl
    ),
    Format("deepeyes", _deepeyes, _EYES, {"extra_info": OBJECT, "data_source": LABEL}, _first, frames=_PIXELS),
    Format("pixel-reasoner", _pixel_reasoner, _MESSAGES, {"qid": anything, "id": anything}, _only_image, frames=_CODES),
    Format("parquet", _table, _ROW, _ROW_MORE, marks=("rationale", "needs_look"), write=write_parquet),
    _Vlir("vlir", _table, {}, marks=(*_ROW, "rationale", "needs_look", "format", "version"), write=write_folder),
)
