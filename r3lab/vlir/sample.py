"""What a question is (`Sample`), and what a lesson in answering it is (`Rationale`): the records of VLIR.

A VLIR sample (Visuo-Lingual Interleaved Rationale) is a question on an image with a rationale in which text and regions
alternate. On disk: `vlir.jsonl`, one record a line, and `images/<hash>.png`. Boxes are in source pixels, half-open; the
policy's frame is applied when a record is turned into tokens, never before.

    write_vlir(folder, [(sample, rationale), ...])
    pairs = list(read_vlir(folder))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.arms import FORCED
from ..core.errors import R3labError, shown
from ..core.files import whole_file
from ..core.geometry import Box, crop_size, problem
from ..core.images import content_hash, cut, open_image
from ..core.protocol import MAX_ANSWER, MAX_QUESTION
from ..core.records import Refused, SchemaError, box, fields, flag, maybe, of, own_format, row, sha256, text, text_of
from ..core.rows import json_lines

FORMAT = "r3lab.vlir"
VERSION = 1
LINES = "vlir.jsonl"  # the file of records in a VLIR folder
MAX_NAME, MAX_TEXT, MAX_PARTS = 1000, 1_000_000, 1000  # characters of a name, and of a rationale; parts or regions


class SampleError(Refused):
    """A record that does not fit the schema; the message names the line, the field and what was wanted."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = "not a VLIR record"


@dataclass(frozen=True)
class Sample:
    """A question on an image, with what is known about the truth.

    Attributes
    ----------
    id : unique name, stable across runs
    image : source image, RGB
    question, answer : text
    regions : true regions in the order in which they must be looked at, source pixels
    needs_look : True if the overview alone does not hold the answer; None where this is not known
    world, split : where it comes from
    meta : free JSON (the objects of a scene, ...)
    """

    id: str
    image: Image.Image = field(compare=False)
    question: str
    answer: str
    regions: tuple[Box, ...] = ()
    needs_look: bool | None = None
    world: str = ""
    split: str = ""
    meta: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def truth(self) -> dict[str, Any]:
        """What a `Trajectory` keeps of the truth (JSON)."""
        names = ("answer", "regions", "needs_look", "world", "split")
        return {name: getattr(self, name) for name in names} | {"regions": [list(r) for r in self.regions]}


def of_split(samples: Iterable[Sample], split: str) -> Iterator[Sample]:
    """The samples, each held against the split that it should be of when it is taken. Whatever writes a result of a
    world takes its samples through here.

    Raises
    ------
    R3labError
        Naming the first sample that is of another split.
    """
    for sample in samples:
        if sample.split != split:
            raise R3labError(
                f"the sample {shown(sample.id)} is of the split {shown(sample.split)}, not of {shown(split)}, of which "
                "a result was to be measured; draw it of that split, or say of which one the result is."
            )
        yield sample


@dataclass(frozen=True)
class Rationale:
    """Text and regions in order: a `str` is text, a 4-tuple is a region to look at (source pixels).

    The text holds the protocol's own tags (`<think>`, `<answer>`); a region stands where the box is written, and its
    crop follows it. A rationale that is `forced` is how a policy goes on after those words (`core.arms.FORCED`), which
    stand before it and carry no loss: lessons in obeying them.
    """

    parts: tuple[str | Box, ...]
    forced: str = ""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The regions in order."""
        return tuple(p for p in self.parts if not isinstance(p, str))

    @property
    def texts(self) -> list[str]:
        """What is said before the first region and after each: one text more than there are regions."""
        texts = [""]
        for part in self.parts:
            if isinstance(part, str):
                texts[-1] += part
            else:
                texts.append("")
        return texts


CROP_FACTOR, CROP_TOKENS = 28, (4, 1024)  # pixels of a token's side; tokens of a crop, official


def enlarged(image: Image.Image, boxes: Iterable[Box], tokens: tuple[int, int] = CROP_TOKENS) -> list[Image.Image]:
    """What each box shows, enlarged as the loop does it; RGB, at least and at most so many tokens of 28 x 28 pixels."""
    return [cut(image, box, crop_size(box, image.size, CROP_FACTOR, *tokens)[1]) for box in boxes]


def crops(sample: Sample, rationale: Rationale) -> tuple[Image.Image, ...]:
    """What each look shows, see `enlarged`."""
    return tuple(enlarged(sample.image, rationale.boxes))


# -- files -----------------------------------------------------------------------------------------------------------


def parts_of(rationale: Rationale) -> list[dict[str, Any]]:
    """The parts of a rationale as JSON."""
    return [{"text": p} if isinstance(p, str) else {"box": list(p)} for p in rationale.parts]


def to_record(sample: Sample, rationale: Rationale) -> dict[str, Any]:
    """The JSON record of one VLIR sample (without the image's pixels)."""
    head = {"format": FORMAT, "version": VERSION, "id": sample.id, "image": content_hash(sample.image)}
    truth = sample.truth
    head |= {"question": sample.question, "answer": truth.pop("answer"), "rationale": parts_of(rationale)}
    return head | truth | ({"forced": rationale.forced} if rationale.forced else {})


def part(value: Any, where: str) -> str | Box:
    """A part of a rationale: ``{"text": ...}`` or ``{"box": ...}``; the other may stand there as null."""
    given = {name: v for name, v in value.items() if v is not None} if isinstance(value, dict) else {}
    if set(given) not in ({"text"}, {"box"}):
        reason = "a rationale part that is not one of text and box"
        raise SchemaError(f"{where} must be {{'text': ...}} or {{'box': ...}}, got {shown(value)}", reason)
    found: str | Box = text(given["text"], where) if "text" in given else box(given["box"], where)
    return found


_name, _parts = text_of(MAX_NAME, blank=True), row(part, MAX_PARTS)
_OPTIONAL = {"needs_look": maybe(flag), "forced": of(f"one of {', '.join(FORCED)}", lambda value: value in [*FORCED])}
_FIELDS = {
    "id": text_of(MAX_NAME),
    "image": sha256,
    "question": text_of(MAX_QUESTION),
    "answer": text_of(MAX_ANSWER, blank=True),
    "rationale": of("a list with at least one part", lambda value: isinstance(value, list) and value != []),
    "regions": row(box, MAX_PARTS),
    "world": _name,
    "split": _name,
}


def read_fields(record: Any, where: str = "record") -> dict[str, Any]:
    """The fields of one record by name, boxes as tuples, checked as far as that needs no image.

    Raises
    ------
    SampleError
        Naming `where`, the field, the value and what was wanted.
    """
    try:
        record = own_format(record, FORMAT, VERSION, "the record")
        found = fields(record, _FIELDS, _OPTIONAL)
        found["rationale"] = Rationale(tuple(_parts(found["rationale"], "rationale")), found.pop("forced") or "")
        text_of(MAX_TEXT, blank=True)("".join(found["rationale"].texts), "rationale")
    except SchemaError as error:
        raise SampleError(f"{where}: {error}") from None
    return found


def from_record(record: Any, folder: Path, where: str = "record") -> tuple[Sample, Rationale]:
    """Validate one record and open its image.

    Raises
    ------
    SampleError
        Naming `where`, the field, the value and what was wanted.
    """
    found = read_fields(record, where)
    rationale, name = found.pop("rationale"), found["image"]
    image = found["image"] = open_image(folder / "images" / f"{name}.png")
    if content_hash(image) != name:
        raise SampleError(f"{where}: image {name[:12]}... was changed since it was written; write it again")
    for kind, boxes in (("look", rationale.boxes), ("region", found["regions"])):
        for number, one in enumerate(boxes, 1):
            if why := problem(one, image.size):
                size = f"{image.width}x{image.height}"
                raise SampleError(f"{where}: {kind} {number}: box {list(one)} in an image of {size}: {why}")
    return Sample(**found | {"regions": tuple(found["regions"])}), rationale


def put_image(image: Image.Image, path: Path) -> None:
    """Save an image, whole or not at all, where there is none yet: its name is the hash of its pixels."""
    if not path.exists():
        with whole_file(path) as part:
            image.save(part, "PNG")


def write_vlir(folder: str | Path, pairs: Iterable[tuple[Sample, Rationale]]) -> Path:
    """Write samples with their rationales; streams, and renames the finished file into place.

    Returns
    -------
    Path of `vlir.jsonl`. An interrupted call leaves no `vlir.jsonl` (and no half of one).
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with whole_file(folder / LINES) as part, part.open("w", encoding="utf-8") as out:
        for sample, rationale in pairs:
            record = to_record(sample, rationale)
            put_image(sample.image, folder / "images" / f"{record['image']}.png")
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    return folder / LINES


def read_vlir(folder: str | Path) -> Iterator[tuple[Sample, Rationale]]:
    """Read what `write_vlir` wrote, one record at a time; see `from_record` for errors (they name the line)."""
    path = Path(folder) / LINES
    if not path.is_file():
        raise SampleError(f"no vlir.jsonl in {folder}; write one with r3lab.vlir.sample.write_vlir")
    for line in json_lines(path):
        if line.problem is not None:
            raise SampleError(f"{line.where}: {line.problem}")
        yield from_record(line.data, Path(folder), line.where)
