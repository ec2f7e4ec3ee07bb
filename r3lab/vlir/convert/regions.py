"""Readers of questions with true regions: Visual-CoT, GQA, TextVQA, DocVQA.

Visual-CoT, raw: boxes in pixels of the image as it was annotated (`width` x `height`; a resized copy is fine). Its
LLaVA form: `image` is ``[path, "path###[x1, y1, x2, y2]"]`` with whole pixels cut off, and the first answer in
`conversations` is the same box as a share of the image padded to a square, three decimals, several boxes merged into
their hull; both are read and must agree, the pixels are kept. (Fields, prompt and padding, `(width - height) // 2`,
read in the project's conversion script.)

GQA: `annotations` maps words of question and answer to names of objects in the scene graph of `<imageId>.jpg`; the
regions are the objects that the question, then its answer, refers to. (Fields from the data set's page.)

TextVQA and DocVQA do not say where an answer stands. The region is the hull of the run of recognised words that spells
the answer, if there is exactly one; all words are kept in `meta["ocr"]`. TextVQA has one OCR file, boxes as shares of
the image; DocVQA a folder of them, one a page, polygons in the units of the page. Simplified: a turned box is replaced
by its hull.

    spelled("New York", [("new", a), ("York,", b)])       # the hull of a and b
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from ...core.errors import shown
from ...core.geometry import Box, Size, clip, problem
from ...core.images import inside
from ...core.records import MAX_RECORD, Refused, anything, box, fields, fixed, mapping, number, parse, row, text_of
from .frames import FrameName, checked, from_declared, to_source
from .record import ANSWER, LABEL, MAX_ITEMS, OBJECT, QUESTION, Format, Source, Values, part_of

_MARK = "###"
_WHY = " provide the bounding box coordinate of the region that can help you answer the question better."
_PROMPTS = (f" Please{_WHY}", f" Please think step by step and{_WHY}")  # appended by Visual-CoT's conversion script
_MAX_WORDS = 20_000  # of a page
Words = list[tuple[str, Box]]  # in reading order, source pixels


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
    asked, answer = QUESTION(asked, where), ANSWER(turns[3]["value"], where)
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
        return {"dataset": "gqa"}
    scene, regions = _SCENE(graph, "scene graph"), []
    words = fields(v["annotations"] or {}, {}, dict.fromkeys(("question", "answer", "fullAnswer"), _NAMED))
    for name in dict.fromkeys(name for part in words.values() for name in (part or {}).values()):
        if name not in scene["objects"]:
            raise Refused("an object that the scene graph does not have", shown(name))
        found = _corner_box(scene["objects"][name], "xywh", "objects")
        regions.append(checked(from_declared(found, (scene["width"], scene["height"]), size), size))
    return {"dataset": "gqa", "regions": tuple(regions)}


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
    return {"id": v["question_id"], "dataset": "textvqa", **_spelling(v, size, words)}


def _docvqa(v: Values, size: Size, source: Source) -> Values:
    words: Words = []
    if source.pages is not None:
        page = _page(source.pages, f"{PurePosixPath(v['image']).stem}.json")
        for item in (item for line in page["lines"] for item in line["words"]):
            xs, ys = item["boundingBox"][::2], item["boundingBox"][1::2]
            around = (min(xs), min(ys), max(xs), max(ys))
            words.append((item["text"], from_declared(around, (page["width"], page["height"]), size)))
    return {"id": v["questionId"], "dataset": "docvqa", **_spelling(v, size, words)}


def _page(folder: Any, name: str) -> Values:
    """The first page of an OCR file."""
    path = inside(folder, name)
    if path.stat().st_size > MAX_RECORD:
        raise Refused("a record that is too large", f"{name} is over {MAX_RECORD // 2**20} MiB")
    pages = parse(path.read_bytes(), f"the OCR file {shown(name)}")
    pages = fields(pages, {}, {"recognitionResults": row(anything, MAX_ITEMS)}, "the OCR file")
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


_FROM = {"dataset": LABEL, "split": LABEL, "question_id": anything}
_SIZE = {"width": number, "height": number}
_NAMED = mapping(text_of(100))
_SCENE = part_of({"objects": OBJECT, **_SIZE})
_OCR = row(part_of({"bounding_box": OBJECT, "word": text_of(1000, blank=True)}), _MAX_WORDS)
_LINE = part_of({"words": row(part_of({"boundingBox": fixed(number, 8), "text": text_of(1000)}), _MAX_WORDS)})
_PAGE = part_of({**_SIZE, "lines": row(_LINE, _MAX_WORDS)})
_ASKED = {"question": QUESTION, "answers": row(text_of(2000, blank=True), 100)}
_SPLIT = {"set_name": LABEL, "data_split": LABEL}

_RAW = {"question": QUESTION, "answer": ANSWER, "image": anything, **_SIZE, "bboxs": row(box, MAX_ITEMS)}
_TURNS = row(part_of({"from": anything, "value": anything}), 4)
_PAIR = {"image": row(anything, 2), "conversations": _TURNS}
_GRAPHED = {"imageId": text_of(100), "question": QUESTION, "answer": ANSWER}
_READ, _PAGED = {"image_id": text_of(100), **_ASKED}, {"image": text_of(1000), "questionId": anything, **_ASKED}


_READ_MORE, _SHARES = {"question_id": anything, **_SPLIT}, (FrameName.UNIT, FrameName.SOURCE)


def _first(v: Values) -> Any:
    return next(iter(v["image"]), None)


FORMATS = (
    Format("viscot", _viscot, _RAW, _FROM),
    Format("viscot-llava", _llava, _PAIR, _FROM, _first, frames=(FrameName.PADDED, FrameName.UNIT), fits=_is_llava),
    Format("gqa", _gqa, _GRAPHED, {"annotations": OBJECT}, lambda v: f"{v['imageId']}.jpg", boxes="graphs"),
    Format("textvqa", _textvqa, _READ, _READ_MORE, lambda v: f"{v['image_id']}.jpg", frames=_SHARES, boxes="words"),
    Format("docvqa", _docvqa, _PAGED, _SPLIT, boxes="pages"),
)
