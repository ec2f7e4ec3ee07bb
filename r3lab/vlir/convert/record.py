"""A look-up table on disk, for formats that keep boxes and questions in different files.

Scene graphs and OCR files hold tens of thousands of images; `Index` puts them into a temporary SQLite file, so that a
question finds its image in bounded memory. It is deleted when it is closed.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.errors import nearest, shown
from ...core.geometry import Box, Size
from ...core.images import content_hash, open_image
from ...core.protocol import MAX_ANSWER, MAX_QUESTION
from ...core.records import ForeignError, Refused
from ..sample import Rationale, Sample

# Checked access to the fields of a foreign record: right type, bounded length, valid Unicode, finite numbers.
#
# Each function returns the value or raises `Refused`, whose reason names the field and whose detail shows the value.
# Text is only data: markup in it is kept as it stands, and escaped by what shows it.

MAX_TEXT = 100_000  # characters of one rationale text
MAX_ITEMS = 1000  # of one list in a record


def need(record: Mapping[str, Any], key: str) -> Any:
    """The value of a field that must be there."""
    if key not in record:
        raise Refused(f"field {key!r} is missing", nearest(key, map(str, record)).strip())
    return record[key]


def text(value: Any, name: str, most: int = MAX_TEXT, empty: bool = False) -> str:
    """Text of at most `most` characters; not blank unless `empty`."""
    if not isinstance(value, str):
        raise Refused(f"field {name!r} is not text", shown(value))
    if len(value) > most:
        raise Refused(f"field {name!r} is too long", f"{len(value):,} characters, at most {most:,}")
    if not empty and not any(c.isprintable() and not c.isspace() for c in value):
        raise Refused(f"field {name!r} is empty", shown(value))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair
        raise Refused(f"field {name!r} is not valid Unicode", shown(value)) from None
    return value


def question(record: Mapping[str, Any], key: str = "question") -> str:
    """The question, at most 4000 characters."""
    return text(need(record, key), key, MAX_QUESTION)


def answer(record: Mapping[str, Any], key: str = "answer") -> str:
    """The answer, at most 2000 characters; a number is written out."""
    value = need(record, key)
    if type(value) in (int, float):
        value = f"{number(value, key):g}" if isinstance(value, float) else _digits(value)
    return text(value, key, MAX_ANSWER)


def _digits(value: Any) -> Any:
    """A whole number of at most 30 digits as text; anything else as it is."""
    return str(value) if type(value) is int and abs(value) < 10**30 else value


def optional(record: Mapping[str, Any], key: str, most: int = 200) -> str:
    """A short text or number that need not be there; "" without."""
    value = record.get(key)
    if value is None:
        return ""
    return text(_digits(value), key, most, empty=True)


def items(value: Any, name: str, most: int = MAX_ITEMS) -> list[Any]:
    """A list of at most `most` items."""
    if not isinstance(value, list):
        raise Refused(f"field {name!r} is not a list", shown(value))
    if len(value) > most:
        raise Refused(f"field {name!r} is too long", f"{len(value):,} items, at most {most:,}")
    return value


def table(value: Any, name: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Refused(f"field {name!r} is not an object", shown(value))
    return value


def number(value: Any, name: str) -> float:
    """A finite number; neither text nor a truth value."""
    try:
        good = type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer past the largest float
        good = False
    if not good:
        raise Refused(f"field {name!r} is not a finite number", shown(value))
    return float(value)


def numbers(value: Any, name: str, count: int) -> list[float]:
    """A list of exactly `count` finite numbers."""
    if not isinstance(value, list) or len(value) != count:
        raise Refused(f"field {name!r} is not a list of {count} numbers", shown(value))
    return [number(v, name) for v in value]


def box_field(value: Any, name: str) -> Box:
    """Four finite numbers [x1, y1, x2, y2]."""
    x1, y1, x2, y2 = numbers(value, name, 4)
    return (x1, y1, x2, y2)


def corner_box(record: Mapping[str, Any], keys: Sequence[str], name: str) -> Box:
    """A box from the fields that hold left, top, width and height."""
    left, top, width, height = (number(need(record, key), name) for key in keys)
    return (left, top, left + width, top + height)


def hull(boxes: list[Box]) -> Box:
    """The smallest box that holds them all."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return (min(x1), min(y1), max(x2), max(y2))


# What every reader gives and every writer takes: a `Record`, and the errors of conversion.
#
# A record is a sample whose image is not decoded yet, so that a hundred thousand of them pass through bounded memory.
# Boxes are in source pixels, half-open, inside the image, whatever frame the file was written in.
#
#     sample = record.sample()              # decodes the image
#     sample, rationale = record.pair()     # for write_vlir; needs a rationale

ConvertError = ForeignError  # what cannot be converted is a foreign file; it ends the run


class FrameNeeded(ConvertError):
    """Boxes whose coordinate frame cannot be told from the file; the message names the possible ones."""


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
    def of(cls, sample: Sample, rationale: Rationale | None = None) -> Record:
        """The record of a sample in memory, for writing."""
        return cls(
            sample.id,
            sample.image,
            sample.image.size,
            sample.question,
            sample.answer,
            sample.regions,
            rationale,
            sample.needs_look,
            sample.world,
            sample.split,
            dict(sample.meta),
        )

    def sample(self) -> Sample:
        """The sample, its image decoded.

        Raises
        ------
        ImageError, Refused
            If the image is damaged, or is not of the size that its header gave.
        """
        image = open_image(self.source)
        if image.size != self.size:
            raise Refused("the image has another size than its header says", f"{image.size} is not {self.size}")
        return Sample(
            self.id,
            image,
            self.question,
            self.answer,
            self.regions,
            self.needs_look,
            self.dataset,
            self.split,
            dict(self.meta),
        )

    def pair(self) -> tuple[Sample, Rationale]:
        """Sample and rationale; `Refused` where there is no rationale."""
        if self.rationale is None:
            raise Refused("no rationale", f"record {shown(self.id)} holds a sample only; write one for it first")
        return self.sample(), self.rationale


# Output that appears whole or not at all: it is written beside its place and renamed when everything is there.
#
# with whole_folder(Path("out")) as folder:
#     (folder / "records.json").write_text("[]")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it at the end; after an error nothing has changed."""
    if path.is_dir():
        raise ConvertError(f"{shown(str(path))} is a folder; give the name of a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)  # a temporary file is private
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end; `path` must not exist, or be an empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConvertError(f"{shown(str(path))} exists already; give a new folder, or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
        yield partial
        partial.chmod(0o755)
        if path.exists():
            path.rmdir()
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_image(image: Image.Image, folder: Path) -> str:
    """Save an image once, named by its pixels; the file's name."""
    name = f"{content_hash(image)}.png"
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    return name


class Index:
    """JSON values by name.

    Parameters
    ----------
    pairs : names and values; of a name given twice the last counts
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="r3lab-index-")
        self._table = sqlite3.connect(Path(self._folder.name) / "index.sqlite")
        try:
            self._table.execute("PRAGMA journal_mode = OFF")
            self._table.execute("CREATE TABLE entry (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            rows = ((name, json.dumps(value)) for name, value in pairs)
            self._table.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", rows)
            self._table.commit()
        except BaseException:
            self.close()
            raise

    def get(self, name: str) -> Any | None:
        """The value of a name, None if there is none."""
        row = self._table.execute("SELECT value FROM entry WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def close(self) -> None:
        """Delete the file."""
        self._table.close()
        self._folder.cleanup()
