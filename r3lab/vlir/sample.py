"""What a question is (`Sample`), and what a lesson in answering it is (`Rationale`): the records of VLIR.

A VLIR sample (Visuo-Lingual Interleaved Rationale) is a question on an image with a rationale in which text and regions
alternate. On disk: `vlir.jsonl`, one record a line, and `images/<hash>.png`. Boxes are in source pixels, half-open; the
policy's frame is applied when a record is turned into tokens, never before.

    write_vlir(folder, [(sample, rationale), ...])
    pairs = list(read_vlir(folder))
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.errors import R3labError, shown
from ..core.geometry import Box, problem
from ..core.images import content_hash, open_image
from ..core.protocol import MAX_ANSWER, MAX_QUESTION
from ..core.records import MAX_RECORD
from ..core.rows import lines

FORMAT = "r3lab.vlir"
VERSION = 1
LINES = "vlir.jsonl"  # the file of records in a VLIR folder
MAX_NAME, MAX_TEXT, MAX_PARTS = 1000, 1_000_000, 1000  # characters of a name, and of a rationale; parts or regions
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_TEXTS = {"id": MAX_NAME, "image": MAX_NAME, "question": MAX_QUESTION, "answer": MAX_ANSWER}
_TEXTS |= {"world": MAX_NAME, "split": MAX_NAME}  # characters that each may have


class SampleError(R3labError):
    """A record that does not fit the schema; the message names the line, the field and what was wanted."""


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
        return {
            "answer": self.answer,
            "regions": [list(r) for r in self.regions],
            "needs_look": self.needs_look,
            "world": self.world,
            "split": self.split,
        }


@dataclass(frozen=True)
class Rationale:
    """Text and regions in order: a `str` is text, a 4-tuple is a region to look at (source pixels).

    The text holds the protocol's own tags (`<think>`, `<answer>`); a region stands where the box is written, and its
    crop follows it.
    """

    parts: tuple[str | Box, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The regions in order."""
        return tuple(p for p in self.parts if not isinstance(p, str))


def to_record(sample: Sample, rationale: Rationale) -> dict[str, Any]:
    """The JSON record of one VLIR sample (without the image's pixels)."""
    parts = [{"text": p} if isinstance(p, str) else {"box": list(p)} for p in rationale.parts]
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": sample.id,
        "image": content_hash(sample.image),
        "question": sample.question,
        "answer": sample.answer,
        "rationale": parts,
        "regions": [list(r) for r in sample.regions],
        "needs_look": sample.needs_look,
        "world": sample.world,
        "split": sample.split,
    }


def _finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer past the largest float
        return False


def _box(value: Any, size: tuple[int, int], where: str) -> Box:
    if not (isinstance(value, list) and len(value) == 4 and all(map(_finite, value))):
        raise SampleError(f"{where}: wanted a box of four finite numbers, got {repr(value)[:60]}")
    box = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    if why := problem(box, size):
        raise SampleError(f"{where}: box {list(box)} in an image of {size[0]}x{size[1]}: {why}")
    return box


def _check_text(text: str, most: int, where: str) -> None:
    if len(text) > most:
        raise SampleError(f"{where} has {len(text):,} characters, at most {most:,}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair
        raise SampleError(f"{where} is not valid Unicode; write it again as UTF-8") from None


def from_record(record: Any, folder: Path, where: str = "record") -> tuple[Sample, Rationale]:
    """Validate one record and open its image.

    Raises
    ------
    SampleError
        Naming `where`, the field, the value and what was wanted.
    """
    if not isinstance(record, dict):
        raise SampleError(f"{where}: wanted a JSON object, got {type(record).__name__}")
    if record.get("format") != FORMAT or record.get("version") != VERSION:
        got = f"{record.get('format')!r} version {record.get('version')!r}"[:80]
        raise SampleError(f"{where}: wanted format {FORMAT!r} version {VERSION}, got {got}")
    for key, most in _TEXTS.items():
        if not isinstance(record.get(key), str):
            raise SampleError(f"{where}: field {key!r} must be text, got {repr(record.get(key))[:60]}")
        _check_text(record[key], most, f"{where}: field {key!r}")
    for key in ("question", "id"):
        if not record[key].strip():
            raise SampleError(f"{where}: field {key!r} is empty")
    if not any(record.get("needs_look") is known for known in (True, False, None)):  # 1 is no truth value
        raise SampleError(f"{where}: field 'needs_look' must be true, false or null")
    if not _HASH.match(record["image"]):
        raise SampleError(f"{where}: field 'image' must be a sha-256 in hex, got {record['image'][:70]!r}")
    raw, regions = record.get("rationale"), record.get("regions")
    if not isinstance(raw, list) or not raw:
        raise SampleError(f"{where}: field 'rationale' must be a list with at least one part")
    if not isinstance(regions, list):
        raise SampleError(f"{where}: field 'regions' must be a list of boxes")
    if max(len(raw), len(regions)) > MAX_PARTS:
        raise SampleError(f"{where}: {len(raw):,} parts and {len(regions):,} regions, at most {MAX_PARTS:,} of each")
    texts = [p["text"] for p in raw if isinstance(p, dict) and isinstance(p.get("text"), str)]
    _check_text("".join(texts), MAX_TEXT, f"{where}: field 'rationale'")
    image = open_image(folder / "images" / f"{record['image']}.png")
    if content_hash(image) != record["image"]:
        raise SampleError(f"{where}: image {record['image'][:12]}... was changed since it was written; write it again")
    parts: list[str | Box] = []
    for i, part in enumerate(raw):
        if isinstance(part, dict) and set(part) == {"text"} and isinstance(part["text"], str):
            parts.append(part["text"])
        elif isinstance(part, dict) and set(part) == {"box"}:
            parts.append(_box(part["box"], image.size, f"{where}: rationale part {i}"))
        else:
            raise SampleError(
                f"{where}: rationale part {i} must be {{'text': ...}} or {{'box': ...}}, got {repr(part)[:60]}"
            )
    sample = Sample(
        id=record["id"],
        image=image,
        question=record["question"],
        answer=record["answer"],
        regions=tuple(_box(r, image.size, f"{where}: region {i}") for i, r in enumerate(regions)),
        needs_look=record.get("needs_look"),
        world=record["world"],
        split=record["split"],
    )
    return sample, Rationale(tuple(parts))


def write_vlir(folder: str | Path, pairs: Iterable[tuple[Sample, Rationale]]) -> Path:
    """Write samples with their rationales; streams, and renames the finished file into place.

    Returns
    -------
    Path of `vlir.jsonl`. An interrupted call leaves no `vlir.jsonl` (and no half of one).
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    target, partial = folder / LINES, folder / f"{LINES}.partial"
    try:
        with partial.open("w", encoding="utf-8") as out:
            for sample, rationale in pairs:
                record = to_record(sample, rationale)
                path = folder / "images" / f"{record['image']}.png"
                if not path.exists():
                    sample.image.save(path)
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_vlir(folder: str | Path) -> Iterator[tuple[Sample, Rationale]]:
    """Read what `write_vlir` wrote, one record at a time; see `from_record` for errors (they name the line)."""
    folder = Path(folder)
    path = folder / LINES
    if not path.is_file():
        raise SampleError(f"no vlir.jsonl in {folder}; write one with r3lab.vlir.sample.write_vlir")
    for number, line in lines(path, MAX_RECORD):
        where = f"{path.name} line {number}"
        if line is None:
            raise SampleError(f"{where}: over {MAX_RECORD:,} bytes; shorten it")
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise SampleError(f"{where}: not JSON ({shown(str(error))})") from None
        yield from_record(record, folder, where)
