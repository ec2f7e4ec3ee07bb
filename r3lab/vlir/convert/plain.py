"""Questions on pictures as people have them: a row with image, question, answer, and a box or several if there are any.

JSON, JSON lines, CSV, TSV and Parquet, or a folder of images with one such file beside them. A box is [x1, y1, x2, y2];
in a table four numbers, or JSON. Its frame is what the caller declares (`frame=`), else what the row does in a field
`frame`, else it is taken as certain only where all four numbers are from 0 to 1 (shares of the image) or where every
frame means the same place; otherwise the reader asks (`source.settle`). What a step needs of a row is said by name.

    own = OwnSamples("train rgrpo", "six.csv", frame="source")
    samples = list(own)                   # Sample(...), ...
    own.skipped, own.problems             # 1, ["six.csv line 4: no answer; train rgrpo needs image, question, answer"]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import R3labError, shown
from ...core.geometry import Box, Size
from ...core.protocol import MAX_ANSWER, MAX_QUESTION
from ...core.records import Read, Refused, anything, box, fields, flag, number, of, parse, row, text_of
from ...core.rows import RawRecord, rows
from ..sample import MAX_NAME, MAX_PARTS, Sample
from .source import ConvertError, Format, FrameName, Pair, Source, Values, data_file

NAMES = {  # of a field: the names that people give it; the first that is there counts
    "image": ("image", "image_path", "file_name"),
    "question": ("question",),
    "answer": ("answer",),
    "boxes": ("boxes", "box", "bbox_2d", "regions"),
}
ASKED, ANSWERED = ("image", "question"), ("image", "question", "answer")
NEEDS = {"ask": ASKED, "eval": ANSWERED, "train rgrpo": ANSWERED, "vlir rationale": ANSWERED}  # of a row, by command
FREE = "a box is needed only where a region is paid for, a rationale not at all"
KEPT = 50  # problems whose words are kept; all are counted
_DIGITS = 10**30  # whole numbers below are written out where text is wanted


def worded(read: Read) -> Read:
    """A reader of text that takes a number too, written out."""

    def with_numbers(value: Any, where: str) -> Any:
        if type(value) is float:
            value = f"{number(value, where):g}"
        return read(str(value) if type(value) is int and abs(value) < _DIGITS else value, where)

    return with_numbers


def _boxes(value: Any, where: str) -> list[Box]:
    """A box or a list of them; in a table as text: JSON, or four numbers."""
    if isinstance(value, str):
        text = text_of(100_000)(value, where).strip()
        numbers = ",".join(re.split(r"[\s,;]+", text))
        value = parse(text if text.startswith("[") else f"[{numbers}]", where)
    if isinstance(value, list) and value and not isinstance(value[0], list):
        value = [value]
    found: list[Box] = row(box, MAX_PARTS)(value, where)
    return found


_FRAMES = [frame.value for frame in FrameName]
_YES = {True: True, False: False, "true": True, "false": False, "True": True, "False": False}
_yes = of("true or false", lambda v: isinstance(v, str | bool) and v in _YES, _YES.get)
_MORE = {
    "answer": worded(text_of(MAX_ANSWER, blank=True)),
    "boxes": _boxes,
    "frame": of(f"one of {', '.join(_FRAMES)}", _FRAMES.__contains__, FrameName),
    "needs_look": _yes,
    "upright": flag,
    "id": anything,
    "dataset": text_of(MAX_NAME),
    "split": text_of(MAX_NAME),
}


class Plain(Format):
    """Rows with image, question and answer, by any of `NAMES`; an answer may be empty."""

    def knows(self, data: Values) -> bool:
        """Whether a record is of this format."""
        return all(not data.keys().isdisjoint(NAMES[field]) for field in ANSWERED)

    def pair(self, row: RawRecord, source: Source) -> Pair:
        """The sample of a row; it has no rationale."""
        data = dict(row.data)
        for field, names in NAMES.items():
            data[field] = next((row.data[name] for name in names if row.data.get(name) not in (None, "", [])), None)
        for field in ASKED:
            if data[field] is None:
                raise Refused(f"no {field}", f"the field {' or '.join(NAMES[field])} is empty")
        if row.data.get("bbox") and not data["boxes"]:
            raise Refused("a field 'bbox'", "it may be x, y, width, height: give [x1, y1, x2, y2] as 'box'")
        v = fields(data, self.wanted, self.optional)
        image = source.image(v["image"], bool(v["boxes"]) and not v["upright"])
        known = {"question": v["question"], "answer": v["answer"] or "", "world": v["dataset"] or ""}
        places = (_placed(one, v["frame"], image.size, source) for one in v["boxes"] or ())
        known |= {"regions": tuple(places), "split": v["split"] or ""}
        return Sample(source.id_of(row, v["id"]), image, needs_look=v["needs_look"], **known), None


def _placed(box: Box, declared: FrameName | None, size: Size, source: Source) -> Box:
    """A box in source pixels; one of an unknown frame is settled, or asked about."""
    if declared is not None:
        return source.box(box, declared, size)
    if all(0 <= value <= 1 for value in box):
        return source.open_box(box, (FrameName.UNIT,), size, "")
    possible = (FrameName.SOURCE, FrameName.RESIZED, *[FrameName.RELATIVE] * (max(box) <= 1000))
    return source.open_box(box, possible, size, "no field 'frame' says it")


PLAIN = Plain(
    "plain",
    lambda values, size, source: {},
    {"image": anything, "question": text_of(MAX_QUESTION)},
    _MORE,
    frames=(FrameName.SOURCE, FrameName.RESIZED, FrameName.RELATIVE, FrameName.UNIT),
)


def _named(path: str | Path, step: str) -> str:
    """The format of a file that no format knows: this one, where a row has what a step needs; without an answer, which
    `ask` does without, a file tells its format to nobody."""
    first = next((row.data for row in rows(data_file(path)) if row.problem is None), {})
    if lacking := [field for field in NEEDS[step] if first.keys().isdisjoint(NAMES[field])]:
        have = ", ".join(shown(name, 40) for name in islice(first, 12)) or "no records"
        what = f"{shown(Path(path))} has no field {' or '.join(lacking)}: its fields are {have}"
        raise ConvertError(f"{what}. {step} needs {', '.join(NEEDS[step])}; {FREE}.")
    return PLAIN.name


class OwnSamples:
    """The samples of a file, as far as a step can use them, and what was left out.

    Parameters
    ----------
    step : a command of `NEEDS`
    path, frame, images, format : as of `convert.read`; empty for what the file says itself
    on_skip : called with a line about each row that is left out

    Attributes
    ----------
    skipped : records left out so far
    problems : where and why, the first 50

    Raises
    ------
    R3labError
        If the file, its format or a frame cannot be used; at the end of the iteration, if nothing could be.
    """

    def __init__(
        self,
        step: str,
        path: str | Path,
        frame: str = "",
        images: str = "",
        format: str = "",
        on_skip: Callable[[str], None] = lambda line: None,
    ) -> None:
        from . import detect, read  # which know this format among the others

        if not format:
            try:
                format = detect(path)
            except R3labError:
                format = _named(path, step)
        self.step, self.path, self.skipped, self.problems, self._on_skip = step, path, 0, list[str](), on_skip
        self._reading = read(path, format or None, frame or None, images=images or None, on_skip=self._skip)

    def _skip(self, message: str) -> None:
        self.skipped += 1
        self._on_skip(message)
        if len(self.problems) < KEPT:
            self.problems.append(message)

    def __iter__(self) -> Iterator[Sample]:
        needs, given = NEEDS[self.step], 0
        for sample, _ in self._reading:
            if "answer" in needs and not sample.answer.strip():
                self._skip(f"{self._reading.where}: no answer; {self.step} needs {', '.join(needs)}")
                continue
            given += 1
            yield sample
        if not given:
            what = f"{shown(Path(self.path))} has no row that {self.step} can use"
            raise R3labError(f"{what}. It needs {', '.join(needs)}; {FREE}. {' '.join(self.problems[:1])}")
