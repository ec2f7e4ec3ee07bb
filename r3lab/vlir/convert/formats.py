"""The formats that can be read: questions with true regions, rationales of other projects, and our own.

Visual-CoT, raw: boxes in pixels of the image as it was annotated (`width` x `height`; a resized copy is fine). Its
LLaVA form: `image` is ``[path, "path###[x1, y1, x2, y2]"]`` with whole pixels cut off, and the first answer in
`conversations` is the same box as a share of the image padded to a square, three decimals, several boxes merged into
their hull; both are read and must agree, the pixels are kept. (Fields, prompt and padding read in the project's code.)
GQA: `annotations` maps words of question and answer to objects of the scene graph of `<imageId>.jpg`; these are the
regions. TextVQA and DocVQA do not say where an answer stands: the region is the hull of the one run of recognised
words that spells it; all words are kept in `meta["ocr"]`. Simplified: a turned box is replaced by its hull.

Official VLM-R3, supervised: each text of `response_list` but the last ends in one ``{"bbox_2d": [x1, y1, x2, y2]}``,
whose crop is the next of `img_crop_list`; boxes are pixels after Qwen2.5-VL's smart_resize. The crops are only checked
to exist: the loop cuts its own. Text between a box and its crop is moved behind the crop. (Fields read in the code.)
DeepEyes: recorded rollouts have turns with ``<tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d",
"label"}}</tool_call>``, pixels of the file or of the resized image: the frame must be given unless both are the same.
Pixel-Reasoner calls `crop_image_normalized {bbox_2d, target_image}`, shares of the image where all four are below 1,
else pixels (the official tool reads them so). The system prompt shows an example call; only what the assistant wrote
is read. A region is the box that was written, without the 10 % that Pixel-Reasoner's tool adds around it. Crops of
crops and videos are refused.

Parquet has one row a sample with the image's PNG file inside (``{bytes, path}``), boxes in source pixels, and
`rationale` as a list of ``{text, box}`` with one of the two, or null; rows with these fields are read from any file.
What fits none of these and has an image and a question is somebody's own (`plain`).

    spelled("New York", [("new", a), ("York,", b)])       # the hull of a and b
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import shown
from ...core.geometry import Box, Size, clip, problem
from ...core.images import inside
from ...core.protocol import MAX_ANSWER, MAX_QUESTION, answer_of, scan
from ...core.records import (
    MAX_RECORD,
    Read,
    Refused,
    anything,
    box,
    fields,
    fixed,
    flag,
    mapping,
    number,
    of,
    parse,
    row,
    text_of,
)  # fmt: skip
from ...core.rows import RawRecord
from ..sample import Rationale, from_record, part
from .plain import PLAIN, worded
from .source import Format, FrameName, Pair, Source, Values, checked, field_of, from_declared, to_source

_MARK = "###"
_WHY = " provide the bounding box coordinate of the region that can help you answer the question better."
_PROMPTS = (f" Please{_WHY}", f" Please think step by step and{_WHY}")  # appended by Visual-CoT's conversion script
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PIXELS, _SHARES = (FrameName.SOURCE, FrameName.RESIZED), (FrameName.UNIT, FrameName.SOURCE)
_CODES = (*_PIXELS, FrameName.RELATIVE, FrameName.UNIT)
_MAX_TEXT, _MAX_ITEMS, _MAX_WORDS, _MAX_LOOKS = 100_000, 1000, 20_000, 64  # of a text, a list, a page, a rationale
Words = list[tuple[str, Box]]  # in reading order, source pixels


# -- fields ----------------------------------------------------------------------------------------------------------


def _part_of(wanted: Mapping[str, Read], optional: Mapping[str, Read] | None = None) -> Read:
    """A reader of an object inside a record, which may hold more."""
    return lambda value, where: fields(value, wanted, optional, where)


_QUESTION, _ANSWER = text_of(MAX_QUESTION), worded(text_of(MAX_ANSWER))
_TEXT, _LABEL, _NAME = text_of(_MAX_TEXT, blank=True), worded(text_of(200, blank=True)), text_of(100)
_OBJECT = of("an object", lambda value: isinstance(value, dict))
_SIZE = {"width": number, "height": number}
_SCENE, _NAMED = _part_of({"objects": _OBJECT, **_SIZE}), mapping(text_of(100))
_OCR = row(_part_of({"bounding_box": _OBJECT, "word": text_of(1000, blank=True)}), _MAX_WORDS)
_LINE = _part_of({"words": row(_part_of({"boundingBox": fixed(number, 8), "text": text_of(1000)}), _MAX_WORDS)})
_PAGE = _part_of({**_SIZE, "lines": row(_LINE, _MAX_WORDS)})
_TURN = _part_of({"role": anything, "content": anything})
_PIECE = _part_of({}, {"text": _TEXT, "image": anything, "video": anything})


# -- questions with true regions -------------------------------------------------------------------------------------


def _viscot(v: Values, size: Size, source: Source) -> Values:
    boxes = (checked(from_declared(b, (v["width"], v["height"]), size), size) for b in v["bboxs"])
    return {"id": v["question_id"], "regions": tuple(boxes)}


def _is_llava(data: Values) -> bool:
    """The LLaVA form, told from other files with `image` and `conversations` by its marked second image."""
    image = data.get("image")
    return isinstance(image, list) and len(image) == 2 and isinstance(image[1], str) and _MARK in image[1]


def _llava(v: Values, size: Size, source: Source) -> Values:
    turns, where = v["conversations"], "conversations"
    if [t["from"] for t in turns] != ["human", "gpt", "human", "gpt"]:
        raise Refused("a conversation that is not question, box, image, answer", f"{len(turns)} turns")
    region = _llava_region(v["image"], text_of(200)(turns[1]["value"], where), size, source)
    asked = text_of(5000)(turns[0]["value"], where).replace("<image>", "").strip()
    for prompt in _PROMPTS:
        asked = asked.removesuffix(prompt)
    asked, answer = _QUESTION(asked, where), _ANSWER(turns[3]["value"], where)
    return {"id": v["question_id"], "question": asked, "answer": answer, "regions": (region,)}


def _llava_region(images: list[Any], turn: str, size: Size, source: Source) -> Box:
    padded = box(parse(turn, "the box of the conversation"), "the box of the conversation")
    path, mark, tail = images[1].partition(_MARK) if len(images) == 2 and isinstance(images[1], str) else ("", "", "")
    if not mark or path != images[0]:
        why = "no second image path###[box] confirms the box of the conversation"
        return source.open_box(padded, (FrameName.PADDED, FrameName.UNIT), size, why)
    pixels = box(parse(tail[:200], "the box after ###"), "the box after ###")
    said = to_source(padded, source.frame or FrameName.PADDED, size)
    slack = 1 + 0.0005 * max(size) + 1e-6  # pixels were cut off, shares rounded to three decimals
    if max(abs(a - b) for a, b in zip(pixels, said, strict=True)) > slack:
        both = f"{shown(list(pixels))} and {shown([round(v, 1) for v in said])}"
        raise Refused("pixel box and padded box disagree", both)
    return checked(pixels, size)


def _gqa(v: Values, size: Size, source: Source) -> Values:
    graph = source.boxes_of(v["imageId"])
    if graph is None:
        return {"world": "gqa"}
    scene, regions = _SCENE(graph, "scene graph"), []
    words = fields(v["annotations"] or {}, {}, dict.fromkeys(("question", "answer", "fullAnswer"), _NAMED))
    for name in dict.fromkeys(name for given in words.values() for name in (given or {}).values()):
        if name not in scene["objects"]:
            raise Refused("an object that the scene graph does not have", shown(name))
        found = _corner_box(scene["objects"][name], "xywh", "objects")
        regions.append(checked(from_declared(found, (scene["width"], scene["height"]), size), size))
    return {"world": "gqa", "regions": tuple(regions)}


def _corner_box(value: Any, keys: Sequence[str], where: str) -> Box:
    """A box from the fields that hold left, top, width and height."""
    left, top, width, height = fields(value, dict.fromkeys(keys, number), where=where).values()
    return (left, top, left + width, top + height)


def _textvqa(v: Values, size: Size, source: Source) -> Values:
    entry = source.boxes_of(v["image_id"])
    words: Words = []
    for item in [] if entry is None else fields(entry, {"ocr_info": _OCR})["ocr_info"]:
        share = _corner_box(item["bounding_box"], ("top_left_x", "top_left_y", "width", "height"), "bounding_box")
        words.append((item["word"], to_source(share, source.frame or FrameName.UNIT, size, source.budget)))
    return {"id": v["question_id"], "world": "textvqa", **_spelling(v, size, words)}


def _docvqa(v: Values, size: Size, source: Source) -> Values:
    words: Words = []
    if source.pages is not None:
        page = _page(source.pages, f"{PurePosixPath(v['image']).stem}.json")
        for item in (item for line in page["lines"] for item in line["words"]):
            xs, ys = item["boundingBox"][::2], item["boundingBox"][1::2]
            around = (min(xs), min(ys), max(xs), max(ys))
            words.append((item["text"], from_declared(around, (page["width"], page["height"]), size)))
    return {"id": v["questionId"], "world": "docvqa", **_spelling(v, size, words)}


def _page(folder: Path, name: str) -> Values:
    """The first page of an OCR file."""
    path = inside(folder, name)
    if path.stat().st_size > MAX_RECORD:
        raise Refused("a record that is too large", f"{name} is over {MAX_RECORD // 2**20} MiB")
    pages = parse(path.read_bytes(), f"the OCR file {shown(name)}")
    pages = fields(pages, {}, {"recognitionResults": row(anything, _MAX_ITEMS)}, "the OCR file")
    page: Values = _PAGE((pages["recognitionResults"] or [None])[0], "recognitionResults")
    return page


def _spelling(v: Values, size: Size, words: Words) -> Values:
    """What is known of a question whose region is where its most frequent answer is spelled."""
    given = [a for a in v["answers"] if a.strip()]
    if not given:
        raise Refused("no answer", "field 'answers' is empty, as in a test split")
    best = Counter(given).most_common(1)[0][0]  # the first of equals
    region = spelled(best, words)
    regions = () if region is None or problem(region, size) else (clip(region, size),)
    meta = {"answers": v["answers"], "ocr": [{"text": word, "box": list(place)} for word, place in words]}
    return {"answer": best, "regions": regions, "meta": meta, "split": v["set_name"] or v["data_split"] or ""}


def spelled(answer: str, words: Words) -> Box | None:
    """Where an answer stands: the hull of the one run of words that spells it; None for none or several.

    Case and punctuation at the ends of words do not count.
    """
    wanted = [p for p in map(_plain, answer.split()) if p]
    have = [(_plain(word), place) for word, place in words]
    n, runs = len(wanted), []
    for start in range(len(have) - n + 1 if wanted else 0):
        if have[start][0] == wanted[0] and [w for w, _ in have[start : start + n]] == wanted:
            runs.append([place for _, place in have[start : start + n]])
    if len(runs) != 1:
        return None
    x1, y1, x2, y2 = zip(*runs[0], strict=True)
    return (min(x1), min(y1), max(x2), max(y2))


def _plain(word: str) -> str:
    return word.casefold().strip(".,:;!?\"'()[]")


# -- rationales ------------------------------------------------------------------------------------------------------


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
    said = [_TEXT(t["content"], "prompt") for t in v["prompt"] if t["role"] == "assistant"]
    extra = fields(v["extra_info"] or {}, {}, {"question": _TEXT, "index": anything, "split": _LABEL}, "extra_info")
    users = [t["content"] for t in v["prompt"] if t["role"] == "user"]
    asked = _TEXT(extra["question"] or (users[0] if users else None), "prompt").replace("<image>", "").strip()
    truth = fields(v["reward_model"], {"ground_truth": _ANSWER}, where="reward_model")["ground_truth"]
    why = "DeepEyes writes pixels, and its records do not say whether of the file or of the resized image"

    def look(call: Values) -> Box:
        return source.open_box(_arguments(call, "image_zoom_in_tool")["bbox_2d"], _PIXELS, size, why)

    rationale, found = _said(said, look) if said else (None, truth)
    known = {"id": extra["index"], "question": _QUESTION(asked, "question"), "answer": truth, "rationale": rationale}
    known |= {"world": v["data_source"] or "", "split": extra["split"] or ""}
    return known | {"meta": {"said": found} if found != truth else {}}  # no regions: where a policy looked is no truth


def _content(turn: Values) -> list[Values]:
    """The pieces of a turn of Pixel-Reasoner."""
    said = turn["content"]
    pieces: list[Values] = row(_PIECE, _MAX_ITEMS)([{"text": said}] if isinstance(said, str) else said, "content")
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
    asked = _QUESTION("\n".join(c["text"] for c in _asked(v) if c["text"]).strip(), "question")
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
            parts += [look(_OBJECT(parse(inner, "a tool call"), "a tool call")), after]
    words = "".join(parts[::2])
    found = answer_of(words)
    if found is None:
        found = _boxed(words)
        parts.append(f"<answer>{found}</answer>")
    return Rationale(tuple(p for p in parts if p != "")), found


def _arguments(call: Values, tool: str) -> Values:
    if call.get("name") != tool:
        raise Refused("a tool that is no look", f"{shown(call.get('name'))}; wanted {tool}")
    asked = fields(call, {"arguments": _OBJECT}, where="tool_call")["arguments"]
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


def _nothing(v: Values, size: Size, source: Source) -> Values:
    """All that is known stands in fields of its own."""
    return {}


class _Vlir(Format):
    """VLIR, whose image is named by a hash that must fit its pixels."""

    def pair(self, row: RawRecord, source: Source) -> Pair:
        return from_record(row.data, source.images, "The record")


# -- the table -------------------------------------------------------------------------------------------------------

_ORIGIN, _FROM = {"id": anything, "source": _LABEL}, {"dataset": _LABEL, "split": _LABEL, "question_id": anything}
_ANSWERS = {"question": _QUESTION, "answers": row(text_of(2000, blank=True), 100)}
_SPLIT = {"set_name": _LABEL, "data_split": _LABEL, "question_id": anything}
_RL = {"image_path": anything, "question": _QUESTION, "answer": _ANSWER}
_SFT = {"image_path": anything, "question": _QUESTION, "response_list": row(_TEXT, _MAX_ITEMS)}
_SFT |= {"img_crop_list": row(anything, _MAX_LOOKS)}
_RAW = {"question": _QUESTION, "answer": _ANSWER, "image": anything, **_SIZE, "bboxs": row(box, _MAX_ITEMS)}
_PAIRED = {"image": row(anything, 2), "conversations": row(_part_of({"from": anything, "value": anything}), 4)}
_GRAPHED = {"imageId": _NAME, "question": _QUESTION, "answer": _ANSWER}
_EYES = {"prompt": row(_TURN, _MAX_ITEMS), "images": row(anything, 100), "reward_model": _OBJECT}
_ROW = {"id": text_of(200), "image": anything, "question": _QUESTION, "answer": _ANSWER}
_ROW |= {"regions": row(box, _MAX_ITEMS)}
_ROW_MORE = {"rationale": row(part, _MAX_ITEMS), "needs_look": flag, "dataset": _LABEL, "split": _LABEL}

_ASKED = {"image_id": _NAME, **_ANSWERS}
_PAGED = {"image": text_of(1000), "questionId": anything, **_ANSWERS}
_EYES_MORE = {"extra_info": _OBJECT, "data_source": _LABEL}
_MESSAGES, _NUMBERED = {"message_list": row(_TURN, _MAX_ITEMS)}, {"qid": anything, "id": anything}
_path = field_of("image_path")


def _jpg(name: str) -> Callable[[Values], str]:
    """The image that is named after a field."""
    return lambda values: f"{values[name]}.jpg"


_TABLE = (
    Format("vlm-r3-sft", _sft, _SFT, _ORIGIN, _path, frames=_CODES),
    Format("vlm-r3-rl", _nothing, _RL, _ORIGIN, _path, marks=("source",), upright=False),
    Format("deepeyes", _deepeyes, _EYES, _EYES_MORE, field_of("images"), frames=_PIXELS),
    Format("pixel-reasoner", _pixel_reasoner, _MESSAGES, _NUMBERED, _only_image, frames=_CODES),
    Format("parquet", _table, _ROW, _ROW_MORE, marks=("rationale", "needs_look")),
    _Vlir("vlir", _table, {}, marks=(*_ROW, "rationale", "needs_look", "format", "version")),
    Format("viscot", _viscot, _RAW, _FROM),
    Format("viscot-llava", _llava, _PAIRED, _FROM, frames=(FrameName.PADDED, FrameName.UNIT), fits=_is_llava),
    Format("gqa", _gqa, _GRAPHED, {"annotations": _OBJECT}, _jpg("imageId"), boxes="graphs"),
    Format("textvqa", _textvqa, _ASKED, _SPLIT, _jpg("image_id"), frames=_SHARES, boxes="words"),
    Format("docvqa", _docvqa, _PAGED, _SPLIT, boxes="pages"),
    PLAIN,
)
FORMATS = {form.name: form for form in _TABLE}
