"""Visual-CoT: the raw JSON lines, and the LLaVA form made of them.

Raw: ``question, answer, image, width, height, bboxs, dataset, split``, boxes in pixels of the image as it was annotated
(`width` x `height`; a resized copy is fine). LLaVA form: `image` is ``[path, "path###[x1, y1, x2, y2]"]`` with whole
pixels cut off, and the first answer in `conversations` is the same box as a share of the image padded to a square,
three decimals, several boxes merged into their hull. Both boxes are read and must agree; the pixels are kept.
(Fields, prompt and padding, `(width - height) // 2`, read in the project's conversion script.)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from ...core.errors import shown
from ...core.geometry import Box, Size, clip, problem
from ...core.images import inside
from ...core.records import MAX_RECORD, Refused, Row
from .frames import FrameName, Source, checked, from_declared, to_source
from .record import (
    Record,
    answer,
    box_field,
    corner_box,
    hull,
    items,
    need,
    number,
    numbers,
    optional,
    question,
    table,
    text,
)

# GQA: questions, with the scene graphs of their images for the regions.
#
# Questions: ``{questionId: {imageId, question, answer, annotations: {question, answer, fullAnswer}, ...}}``, where an
# annotation maps words to the names of objects; scene graphs: ``{imageId: {width, height, objects: {id: {name, x, y,
# w,
# h, ...}}}}``, pixels. The regions of a question are the objects that it, then its answer, refers to. Images are
# `<imageId>.jpg`. (Fields from the data set's page.)

NAME = "gqa"


def read(row: Row, source: Source) -> Record:
    """One question."""
    data = row.data
    image = text(need(data, "imageId"), "imageId", 100)
    graph = source.boxes_of(image)
    picture, size = source.named(image)
    regions = [] if graph is None else _regions(data, table(graph, "scene graph"), size)
    return Record(
        source.id_of(row, row.key),
        picture,
        size,
        question(data),
        answer(data),
        tuple(regions),
        dataset=NAME,
        where=row.where,
    )


def _regions(data: dict[str, Any], graph: dict[str, Any], size: Size) -> list[Box]:
    objects = table(need(graph, "objects"), "objects")
    declared = (number(need(graph, "width"), "width"), number(need(graph, "height"), "height"))
    notes = table(data.get("annotations") or {}, "annotations")
    names: dict[str, None] = {}  # in order, each once
    for part in ("question", "answer", "fullAnswer"):
        for name in table(notes.get(part) or {}, "annotations").values():
            names[text(name, "annotations", 100)] = None
    boxes = []
    for name in names:
        if name not in objects:
            raise Refused("an object that the scene graph does not have", shown(name))
        thing = table(objects[name], "objects")
        box = corner_box(thing, "xywh", "objects")
        boxes.append(checked(from_declared(box, declared, size), size))
    return boxes


# TextVQA and DocVQA: questions, with recognised words for the region that holds the answer.
#
# TextVQA: `data` of ``{question_id, image_id, question, answers, ...}`` beside an OCR file with `data` of
# ``{image_id,
# ocr_info: [{word, bounding_box: {top_left_x, top_left_y, width, height}}]}``, shares of the image. DocVQA: `data` of
# ``{questionId, question, image, answers}`` beside a folder of OCR files, one a page, `recognitionResults[0]` with
# width,
# height and lines of words whose `boundingBox` is a polygon of eight numbers in the units of that width and height.
#
# The data sets do not say where an answer stands. A record's region is the hull of the run of words that spells its
# answer, if there is exactly one; all words are kept in `meta["ocr"]`. Simplified: a turned box is replaced by its
# hull.

TEXTVQA, DOCVQA = "textvqa", "docvqa"
_MAX_WORDS = 20_000
Words = list[tuple[str, Box]]  # in reading order, source pixels


def read_textvqa(row: Row, source: Source) -> Record:
    """One question of TextVQA."""
    data = row.data
    image = text(need(data, "image_id"), "image_id", 100)
    entry = source.boxes_of(image)
    picture, size = source.named(image)
    words: Words = []
    for item in items(need(entry, "ocr_info"), "ocr_info", _MAX_WORDS) if entry is not None else ():
        place = table(need(table(item, "ocr_info"), "bounding_box"), "bounding_box")
        share = corner_box(place, ("top_left_x", "top_left_y", "width", "height"), "bounding_box")
        found = to_source(share, source.frame or FrameName.UNIT, size, source.budget)
        words.append((text(need(item, "word"), "word", 1000, empty=True), found))
    return _record(row, source, picture, size, words, data.get("question_id"), TEXTVQA)


def read_docvqa(row: Row, source: Source) -> Record:
    """One question of DocVQA."""
    name = text(need(row.data, "image"), "image", 1000)
    picture, size = source.picture(name)
    words: Words = []
    if source.pages is not None:
        page = table(_page(source, f"{PurePosixPath(name).stem}.json"), "recognitionResults")
        declared = (number(need(page, "width"), "width"), number(need(page, "height"), "height"))
        for line in items(need(page, "lines"), "lines", _MAX_WORDS):
            for item in items(need(table(line, "lines"), "words"), "words", _MAX_WORDS):
                eight = numbers(need(table(item, "words"), "boundingBox"), "boundingBox", 8)
                around = box_field(
                    [min(eight[::2]), min(eight[1::2]), max(eight[::2]), max(eight[1::2])], "boundingBox"
                )
                words.append((text(need(item, "text"), "text", 1000), from_declared(around, declared, size)))
    return _record(row, source, picture, size, words, row.data.get("questionId"), DOCVQA)


def _page(source: Source, name: str) -> Any:
    """The first page of an OCR file."""
    assert source.pages is not None
    path = inside(source.pages, name)
    if path.stat().st_size > MAX_RECORD:
        raise Refused("a record that is too large", f"{name} is over {MAX_RECORD // 2**20} MiB")
    try:
        pages = table(json.loads(path.read_text("utf-8")), "OCR file").get("recognitionResults")
    except (ValueError, RecursionError):
        raise Refused("an OCR file that is not valid JSON", name) from None
    return (items(pages, "recognitionResults") or [None])[0]


def _record(row: Row, source: Source, picture: Any, size: Size, words: Words, name: object, dataset: str) -> Record:
    answers = [text(a, "answers", 2000, empty=True) for a in items(need(row.data, "answers"), "answers", 100)]
    if not any(a.strip() for a in answers):
        raise Refused("no answer", "field 'answers' is empty, as in a test split")
    best = Counter(a for a in answers if a.strip()).most_common(1)[0][0]  # the first of equals
    region = spelled(best, words)
    return Record(
        source.id_of(row, name),
        picture,
        size,
        question(row.data),
        best,
        () if region is None or problem(region, size) else (clip(region, size),),
        dataset=dataset,
        split=optional(row.data, "set_name") or optional(row.data, "data_split"),
        meta={"answers": answers, "ocr": [{"text": word, "box": list(place)} for word, place in words]},
        where=row.where,
    )


def spelled(answer: str, words: Words) -> Box | None:
    """Where an answer stands: the hull of the one run of words that spells it; None for none or several.

    Case and punctuation at the ends of words do not count.
    """
    wanted = [p for p in map(_plain, answer.split()) if p]
    have = [(_plain(word), place) for word, place in words]
    if not wanted:
        return None
    n, runs = len(wanted), []
    for start in range(len(have) - n + 1):
        if have[start][0] == wanted[0] and [w for w, _ in have[start : start + n]] == wanted:
            runs.append([place for _, place in have[start : start + n]])
    return hull(runs[0]) if len(runs) == 1 else None


def _plain(word: str) -> str:
    return word.casefold().strip(".,:;!?\"'()[]")


RAW, LLAVA = "viscot", "viscot-llava"
_MARK = "###"
_PROMPTS = re.compile(  # what the conversion script appended to the question
    r" Please (think step by step and )?provide the bounding box coordinate of the region that can help you answer the "
    r"question better\.\Z"
)


def read_raw(row: Row, source: Source) -> Record:
    """One line of the raw form."""
    data = row.data
    picture, size = source.picture(need(data, "image"))
    declared = (number(need(data, "width"), "width"), number(need(data, "height"), "height"))
    boxes = [box_field(b, "bboxs") for b in items(need(data, "bboxs"), "bboxs")]
    return Record(
        source.id_of(row, data.get("question_id")),
        picture,
        size,
        question(data),
        answer(data),
        tuple(checked(from_declared(b, declared, size), size) for b in boxes),
        dataset=optional(data, "dataset"),
        split=optional(data, "split"),
        where=row.where,
    )


def looks_like_llava(data: dict[str, Any]) -> bool:
    """The LLaVA form, told from other files with `image` and `conversations` by its marked second image."""
    image = data.get("image")
    return isinstance(image, list) and len(image) == 2 and isinstance(image[1], str) and _MARK in image[1]


def read_llava(row: Row, source: Source) -> Record:
    """One record of the LLaVA form."""
    data = row.data
    images = items(need(data, "image"), "image", 2)
    picture, size = source.picture(images[0] if images else None)
    turns = [table(t, "conversations") for t in items(need(data, "conversations"), "conversations", 4)]
    if [t.get("from") for t in turns] != ["human", "gpt", "human", "gpt"]:
        raise Refused("a conversation that is not question, box, image, answer", f"{len(turns)} turns")
    asked = text(turns[0].get("value"), "conversations", 5000).replace("<image>", "").strip()
    region = _region(images, turns[1].get("value"), size, source)
    return Record(
        source.id_of(row, data.get("question_id")),
        picture,
        size,
        question({"question": _PROMPTS.sub("", asked)}),
        answer({"answer": turns[3].get("value")}),
        (region,),
        dataset=optional(data, "dataset"),
        split=optional(data, "split"),
        where=row.where,
    )


def _region(images: list[Any], turn: Any, size: Size, source: Source) -> Box:
    padded = _numbers(text(turn, "conversations", 200), "the box of the conversation")
    marked = images[1] if len(images) == 2 and isinstance(images[1], str) else ""
    path, mark, tail = marked.partition(_MARK)
    if not mark or path != images[0]:
        why = "no second image path###[box] confirms the box of the conversation"
        return source.open_box(padded, (FrameName.PADDED, FrameName.UNIT), size, why)
    pixels = _numbers(tail, "the box after ###")
    said = to_source(padded, source.frame or FrameName.PADDED, size)
    slack = 1 + 0.0005 * max(size) + 1e-6  # pixels were cut off, shares rounded to three decimals
    if max(abs(a - b) for a, b in zip(pixels, said, strict=True)) > slack:
        raise Refused(
            "pixel box and padded box disagree", f"{shown(list(pixels))} and {shown([round(v, 1) for v in said])}"
        )
    return checked(pixels, size)


def _numbers(written: str, name: str) -> Box:
    """Four numbers in brackets."""
    try:
        return box_field(json.loads(written[:200]), name)
    except (ValueError, RecursionError):
        raise Refused("a box that cannot be read", shown(written)) from None
