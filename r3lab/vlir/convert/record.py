"""What a reader of one format is given (`Source`), what it gives (`Record`), and a format as a row of a table.

A reader is a function ``(values, size, source) -> fields of a Record``: `values` are the row's fields, read by the
table of its `Format`, `size` is the image's, and it raises `Refused` for a row that does not fit. `Source` answers what
depends on the run and not on the row: where an image is, in which frame boxes stand, and what a second file (scene
graphs, OCR) holds for it. A record is a sample whose image is not decoded yet, so that a hundred thousand of them pass
through bounded memory. Its boxes are in source pixels, half-open, inside the image, whatever frame the file was in.

    sample = record.sample()              # decodes the image
    sample, rationale = record.pair()     # for write_vlir; needs a rationale
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.errors import shown
from ...core.geometry import Box, Size
from ...core.images import measure, open_image, picture
from ...core.protocol import MAX_ANSWER, MAX_QUESTION
from ...core.records import Read, Refused, Row, fields, number, of, text_of
from ..sample import Rationale, Sample
from .frames import BUDGET, FrameName, checked, settle, to_source

MAX_TEXT = 100_000  # characters of one rationale text
MAX_ITEMS = 1000  # of one list in a record
_DIGITS = 10**30  # whole numbers below are written out where text is wanted
Values = dict[str, Any]


def worded(read: Read) -> Read:
    """A reader of text that takes a number too, written out."""

    def with_numbers(value: Any, where: str) -> Any:
        if type(value) is float:
            value = f"{number(value, where):g}"
        return read(str(value) if type(value) is int and abs(value) < _DIGITS else value, where)

    return with_numbers


def part_of(wanted: Mapping[str, Read], optional: Mapping[str, Read] | None = None) -> Read:
    """A reader of an object inside a record, which may hold more."""
    return lambda value, where: fields(value, wanted, optional, where)


QUESTION, ANSWER = text_of(MAX_QUESTION), worded(text_of(MAX_ANSWER))
TEXT, LABEL = text_of(MAX_TEXT, blank=True), worded(text_of(200, blank=True))
OBJECT = of("an object", lambda value: isinstance(value, dict))


@dataclass(frozen=True)
class Record:
    """A question on an image that is not decoded yet.

    Attributes
    ----------
    id : unique name within the file
    source : image file inside the data folder, the bytes of one, or an image
    size : width and height in pixels
    question, answer : text
    regions : true regions, source pixels
    rationale : None where the file has none
    needs_look : True if the overview alone does not hold the answer; None where this is not known
    dataset, split : where the file says it comes from
    meta : free JSON (all answers, OCR, ...)
    where : file and line, for messages
    """

    id: str
    source: Path | bytes | Image.Image = field(compare=False)
    size: Size
    question: str
    answer: str
    regions: tuple[Box, ...] = ()
    rationale: Rationale | None = None
    needs_look: bool | None = None
    dataset: str = ""
    split: str = ""
    meta: dict[str, Any] = field(default_factory=dict, compare=False)
    where: str = field(default="", compare=False)

    @classmethod
    def of(cls, sample: Sample, rationale: Rationale | None = None, where: str = "") -> Record:
        """The record of a sample in memory, for writing."""
        s, size = sample, sample.image.size
        known = (s.id, s.image, size, s.question, s.answer, s.regions, rationale, s.needs_look, s.world, s.split)
        return cls(*known, dict(s.meta), where)

    def sample(self) -> Sample:
        """The sample, its image decoded.

        Raises
        ------
        R3labError
            If the image is damaged, or is not of the size that its header gave.
        """
        image = open_image(self.source)
        if image.size != self.size:
            raise Refused("the image has another size than its header says", f"{image.size} is not {self.size}")
        known = (self.id, image, self.question, self.answer, self.regions, self.needs_look, self.dataset, self.split)
        return Sample(*known, dict(self.meta))

    def pair(self) -> tuple[Sample, Rationale]:
        """Sample and rationale; `Refused` where there is no rationale."""
        if self.rationale is None:
            raise Refused("no rationale", f"record {shown(self.id)} holds a sample only; write one for it first")
        return self.sample(), self.rationale


@dataclass
class Source:
    """One run of a reader.

    Attributes
    ----------
    name : stem of the file, for the names of records that have none
    images : folder that holds the images, resolved
    frame : the frame that the caller asked for, None for the published one
    budget : least and most tokens of an image, for `resized-28`
    index : scene graphs or OCR by image name, in a file of SQLite's own that is gone when it is closed: tens of
        thousands of them are found in bounded memory
    pages : folder of OCR files, resolved
    """

    name: str
    images: Path
    frame: FrameName | None = None
    budget: tuple[int, int] = BUDGET
    index: sqlite3.Connection | None = None
    pages: Path | None = None

    def __post_init__(self) -> None:
        self._once = lru_cache(maxsize=256)(self._find)  # neighbouring records often are about one image

    def _find(self, value: Any) -> tuple[Path | bytes, Size, bool]:
        """An image, its size, and whether EXIF turns it."""
        found = picture(value, self.images)
        return (found, *measure(found))

    def gather(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Take the file of boxes: names and JSON values; of a name given twice the last counts."""
        self.index = sqlite3.connect("")
        self.index.execute("PRAGMA journal_mode = OFF")
        self.index.execute("CREATE TABLE entry (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        rows = ((name, json.dumps(value)) for name, value in pairs)
        self.index.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", rows)

    def boxes_of(self, name: str) -> Any | None:
        """What the file of boxes holds for an image; None without such a file.

        Raises
        ------
        Refused
            If there is a file of boxes, and the image is not in it.
        """
        if self.index is None:
            return None
        row = self.index.execute("SELECT value FROM entry WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Refused("an image that the file of boxes does not have", shown(name))
        return json.loads(row[0])

    def id_of(self, row: Row, value: object) -> str:
        """The record's own name, its key in the file, or one made of file and number."""
        value = row.key if value is None else value
        if isinstance(value, str) and value.strip() and len(value) <= 200 and value.isprintable():
            return value
        return f"{self.name}-{value if type(value) is int and abs(value) < 10**18 else row.number}"

    def picture(self, value: Any, boxes: bool) -> tuple[Path | bytes, Size]:
        """An image and its upright width and height: a path in the data folder, or ``{"bytes": ...}`` in a table; one
        that its EXIF tag turns is refused if `boxes` belong to it."""
        found, size, turned = (self._once if isinstance(value, str) else self._find)(value)
        if turned and boxes:
            raise Refused("an image that its EXIF tag turns", "its boxes can be of either; save it upright")
        return found, size

    def box(self, box: Box, published: FrameName, size: Size) -> Box:
        """A box of a format whose frame is published, in source pixels (the caller's frame wins)."""
        return checked(to_source(box, self.frame or published, size, self.budget), size)

    def open_box(self, box: Box, possible: Sequence[FrameName], size: Size, why: str) -> Box:
        """A box of a format that leaves its frame open, in source pixels; asks where the frame matters."""
        if self.frame is not None:
            return self.box(box, self.frame, size)
        return settle(box, possible, size, self.budget, why)


@dataclass(frozen=True)
class Format:
    """One row of the registry.

    Attributes
    ----------
    name : as the caller writes it
    read : fields of a Record from the row's values, beside those that every format has
    wanted, optional : reader of each field by its name in the file
    image : the image among the values
    marks : more field names by which a record is known
    frames : coordinate frames that a caller may ask for
    boxes : what `boxes=` holds: "graphs", "words" or "pages"; "" where the record has its boxes itself
    upright : False if no box belongs to the image, so that EXIF may turn it
    fits : a further test of a record that has the fields
    write : takes records and a path, returns the path of what can be read back
    """

    name: str
    read: Callable[[Values, Size, Source], Values]
    wanted: Mapping[str, Read]
    optional: Mapping[str, Read] = field(default_factory=dict)
    image: Callable[[Values], Any] = lambda values: values["image"]
    marks: tuple[str, ...] = ()
    frames: tuple[FrameName, ...] = ()
    boxes: str = ""
    upright: bool = True
    fits: Callable[[Values], bool] = lambda data: True
    write: Callable[[Iterable[Record], Path], Path] | None = None

    @property
    def fields(self) -> set[str]:
        """The field names by which a record is known."""
        return {*self.wanted, *self.marks}

    def record(self, row: Row, source: Source) -> Record:
        """The record of a row; `Refused` if it does not fit."""
        values = fields(row.data, self.wanted, self.optional)
        found, size = source.picture(self.image(values), self.upright)
        known: Values = {name: values[name] for name in ("id", "question", "answer") if name in values}
        known |= {"dataset": values.get("dataset") or values.get("source") or "", "split": values.get("split") or ""}
        known |= self.read(values, size, source)
        return Record(source.id_of(row, known.pop("id", None)), found, size, where=row.where, **known)
