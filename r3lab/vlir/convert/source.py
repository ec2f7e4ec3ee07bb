"""What every reader of another project's records stands on: the frames of boxes, the images, a file of boxes beside.

Scalings are done by `core.geometry`; only the square padding of LLaVA is undone here. Where a format does not settle
its frame, `settle` asks: it goes on without an answer only where every possible frame means the same place. `Source`
answers what depends on the run and not on the row, and `Format` is a format as a row of a table: a reader is a
function ``(values, size, source) -> fields of a Sample``, and raises `Refused` for a row that does not fit.

    to_source((392, 252, 504, 364), FrameName.RESIZED, (1000, 750), BUDGET)     # smart_resize gives 1008 x 756
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.errors import nearest, shown
from ...core.geometry import Box, Frame, Size, clip, fit_tokens, problem
from ...core.geometry import from_source as scale_from
from ...core.geometry import to_source as scale_to
from ...core.images import measure, open_image, picture
from ...core.records import ForeignError, Read, Refused, fields, text_of
from ...core.rows import DELIMITERS, RawRecord, data_files, rows
from ..sample import LINES, Rationale, Sample

FACTOR = 28  # pixels of a token's side, Qwen2.5-VL
BUDGET = (4, 16384)  # tokens of an image, the defaults of Qwen2.5-VL's preprocessor (3136 and 12845056 pixels)
Values = dict[str, Any]
Pair = tuple[Sample, "Rationale | None"]
ConvertError = ForeignError  # what cannot be converted is a foreign file; it ends the run


class FrameNeeded(ConvertError):
    """Boxes whose coordinate frame cannot be told from the file; the message names the possible ones."""


# -- frames ----------------------------------------------------------------------------------------------------------


class FrameName(str, Enum):
    """The frame that a box of a file is written in."""

    SOURCE = "source"
    RESIZED = "resized-28"
    RELATIVE = "relative-1000"
    UNIT = "relative-1"
    PADDED = "square-padded"


MEANING = {
    FrameName.SOURCE: "pixels of the image file",
    FrameName.RESIZED: "pixels after smart_resize with factor 28",
    FrameName.RELATIVE: "0 to 1000 of width and height",
    FrameName.UNIT: "0 to 1 of width and height",
    FrameName.PADDED: "0 to 1 of the image padded to a square",
}


def _sheet(frame: FrameName, size: Size, budget: tuple[int, int]) -> Size:
    """Width and height of the frame, for those that are a scaling of the image."""
    if frame is FrameName.RESIZED:
        return fit_tokens(size, FACTOR, *budget)
    return {FrameName.SOURCE: size, FrameName.RELATIVE: (1000, 1000), FrameName.UNIT: (1, 1)}[frame]


def _padding(size: Size) -> tuple[int, int, int]:
    """Side of the padded square, and where the image begins in it (whole pixels, as Visual-CoT computes them)."""
    side = max(size)
    return side, (side - size[0]) // 2, (side - size[1]) // 2


def to_source(box: Box, frame: FrameName, size: Size, budget: tuple[int, int] = BUDGET) -> Box:
    """From a file's frame to source pixels; neither rounded nor clipped.

    Parameters
    ----------
    box
        In the frame's units.
    size
        Width and height of the image in pixels.
    budget
        Least and most tokens of an image, for `resized-28`.
    """
    if frame is FrameName.PADDED:
        side, left, top = _padding(size)
        return (box[0] * side - left, box[1] * side - top, box[2] * side - left, box[3] * side - top)
    return scale_to(box, Frame.OVERVIEW, size, _sheet(frame, size, budget))


def from_source(box: Box, frame: FrameName, size: Size, budget: tuple[int, int] = BUDGET) -> Box:
    """From source pixels to a file's frame; the inverse of `to_source`."""
    if frame is FrameName.PADDED:
        side, left, top = _padding(size)
        return ((box[0] + left) / side, (box[1] + top) / side, (box[2] + left) / side, (box[3] + top) / side)
    return scale_from(box, Frame.OVERVIEW, size, _sheet(frame, size, budget))


def from_declared(box: Box, declared: tuple[float, float], size: Size) -> Box:
    """From pixels (or inches) of an image that the record says is `declared` wide and high, to source pixels.

    A copy of the image at another size is fine, one with other proportions (off by over a pixel and 1 %) is not.
    """
    (dw, dh), (w, h) = declared, size
    if not (dw > 0 and dh > 0):
        raise Refused("width and height that are not positive", shown(declared))
    if abs(w - h * dw / dh) > 1 + 0.01 * w and abs(h - w * dh / dw) > 1 + 0.01 * h:
        raise Refused("the image has other proportions than the record says", f"{w} x {h}, declared {dw:g} x {dh:g}")
    return scale_to(box, Frame.OVERVIEW, size, declared)  # type: ignore[arg-type]  # inches are no whole numbers


def checked(box: Box, size: Size) -> Box:
    """A box in source pixels, clipped to the image; `Refused` if it cannot be looked at."""
    if why := problem(box, size):
        raise Refused("a box that does not fit its image", f"{shown(list(box))} in {size[0]} x {size[1]}: {why}")
    return clip(box, size)


def settle(box: Box, possible: Sequence[FrameName], size: Size, budget: tuple[int, int], why: str) -> Box:
    """A box of unsettled frame, in source pixels.

    Parameters
    ----------
    possible
        The frames that it can be in.
    why
        What leaves it open, for the message.

    Raises
    ------
    FrameNeeded
        If two of the frames put it in places more than half a pixel apart, and it fits the image in one of them.
    Refused
        If it fits in none.
    """
    places = [to_source(box, frame, size, budget) for frame in possible]
    if max(abs(a - b) for place in places for a, b in zip(place, places[0], strict=True)) <= 0.5:
        return checked(places[0], size)
    fits = [f.value for f, place in zip(possible, places, strict=True) if not problem(place, size)]
    if not fits:
        return checked(places[0], size)  # refused, whatever the frame
    choices = ", ".join(f"frame={f.value!r} ({MEANING[f]})" for f in possible)
    held = f"; the box lies inside the image only as {fits[0]}" if len(fits) == 1 else ""
    raise FrameNeeded(f"The frame of the box {shown(list(box))} is open: {why}. Give {choices}{held}.")


# -- a run of a reader -----------------------------------------------------------------------------------------------


class Source:
    """One run of a reader.

    Parameters
    ----------
    path : the file of records; records without a name are named after it
    images : folder that holds the images
    frame : the frame that the caller asked for, None for the published one
    budget : least and most tokens of an image, for `resized-28`
    boxes, kind : a file of scene graphs ("graphs") or recognised words ("words"), or a folder of pages ("pages")
    """

    def __init__(
        self,
        path: Path,
        images: Path,
        frame: FrameName | None = None,
        budget: tuple[int, int] = BUDGET,
        boxes: Path | None = None,
        kind: str = "",
    ) -> None:
        self.name, self.images, self.frame, self.budget = path.stem, images.resolve(), frame, budget
        self.pages: Path | None = None
        self._index: sqlite3.Connection | None = None
        self._opened = lru_cache(maxsize=1)(open_image)  # neighbouring records often are about one image
        if boxes is not None and kind == "pages":
            self.pages = boxes.resolve()
            if not boxes.is_dir():
                raise ConvertError(f"{shown(str(boxes))} is no folder; boxes= of DocVQA is a folder of OCR files.")
        elif boxes is not None:  # in a file of SQLite's own, gone when it is closed: bounded memory for any number
            self._index = sqlite3.connect("", check_same_thread=False)
            self._index.execute("PRAGMA journal_mode = OFF")
            self._index.execute("CREATE TABLE entry (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            self._index.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", _entries(boxes, kind))

    def boxes_of(self, name: str) -> Any | None:
        """What the file of boxes holds for an image; None without such a file; `Refused` if the image is not in it."""
        if self._index is None:
            return None
        entry = self._index.execute("SELECT value FROM entry WHERE name = ?", (name,)).fetchone()
        if entry is None:
            raise Refused("an image that the file of boxes does not have", shown(name))
        return json.loads(entry[0])

    def id_of(self, row: RawRecord, value: object) -> str:
        """The record's own name, its key in the file, or one made of file and number."""
        value = row.key if value is None else value
        if isinstance(value, str) and value.strip() and len(value) <= 200 and value.isprintable():
            return value
        return f"{self.name}-{value if type(value) is int and abs(value) < 10**18 else row.number}"

    def image(self, value: Any, boxes: bool) -> Image.Image:
        """An image, RGB and upright: of a path in the data folder, or ``{"bytes": ...}`` in a table; one that its EXIF
        tag turns is refused if `boxes` belong to it."""
        found = picture(value, self.images)
        if measure(found)[1] and boxes:
            raise Refused("an image that its EXIF tag turns", "its boxes can be of either; save it upright")
        return self._opened(found)

    def box(self, box: Box, published: FrameName, size: Size) -> Box:
        """A box of a format whose frame is published, in source pixels (the caller's frame wins)."""
        return checked(to_source(box, self.frame or published, size, self.budget), size)

    def open_box(self, box: Box, possible: Sequence[FrameName], size: Size, why: str) -> Box:
        """A box of a format that leaves its frame open, in source pixels; asks where the frame matters."""
        if self.frame is not None:
            return self.box(box, self.frame, size)
        return settle(box, possible, size, self.budget, why)


def _entries(boxes: Path, kind: str) -> Iterator[tuple[str, str]]:
    """The rows of a file of boxes by the image's name, as JSON; of a name given twice the last counts."""
    for row in rows(data_file(boxes)):
        name = row.key if "objects" in row.data else None
        if kind == "words":
            try:
                name = fields(row.data, {"image_id": text_of(100)})["image_id"]
            except Refused:
                name = None
        if name is not None:
            yield name, json.dumps(row.data)


def data_file(path: str | Path) -> Path:
    """The file that a path means: itself, the samples of a VLIR folder, or the only data file.

    Raises
    ------
    ConvertError
        If there is none, or more than one.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise ConvertError(f"{shown(str(path))} does not exist; give a file, or a folder with one data file.")
        return path
    if (path / LINES).is_file():  # other files may lie beside it: what was rejected, a card
        return path / LINES
    every = data_files(path)
    found = [p for p in every if p.suffix.lower() not in DELIMITERS] or every  # a table beside is of something else
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:5]) or "none"
        raise ConvertError(f"{shown(str(path))} is a folder with {len(found)} data files ({names}); give one of them.")
    return found[0]


def field_of(name: str) -> Callable[[Values], Any]:
    """The image in a field; of a list, the first."""
    return lambda values: next(iter(values[name]), None) if isinstance(values[name], list) else values[name]


@dataclass(frozen=True)
class Format:
    """One row of the table of formats that can be read.

    Attributes
    ----------
    name : as the caller writes it
    read : fields of a `Sample`, and its rationale, from the row's values, beside those that every format has
    wanted, optional : reader of each field by its name in the file
    image : the image among the values
    marks : more field names by which a record is known
    frames : coordinate frames that a caller may ask for
    boxes : what `boxes=` holds: "graphs", "words" or "pages"; "" where the record has its boxes itself
    upright : False if no box belongs to the image, so that EXIF may turn it
    fits : a further test of a record that has the fields
    """

    name: str
    read: Callable[[Values, Size, Source], Values]
    wanted: Mapping[str, Read]
    optional: Mapping[str, Read] = field(default_factory=dict)
    image: Callable[[Values], Any] = field_of("image")
    marks: tuple[str, ...] = ()
    frames: tuple[FrameName, ...] = ()
    boxes: str = ""
    upright: bool = True
    fits: Callable[[Values], bool] = lambda data: True

    @property
    def fields(self) -> set[str]:
        """The field names by which a record is known."""
        return {*self.wanted, *self.marks}

    def knows(self, data: Values) -> bool:
        """Whether a record is of this format."""
        return self.fields <= data.keys() and self.fits(data)

    def frame_named(self, name: str | None) -> FrameName | None:
        """The frame that a caller asked for, None for none; one that the format cannot have is an error."""
        names = [frame.value for frame in self.frames]
        if name is None or name in names:
            return None if name is None else FrameName(name)
        wanted = (
            f"{self.name} can have {', '.join(names)}" if names else f"{self.name} takes none, its records settle it"
        )
        raise ConvertError(f"Unknown frame {shown(name)}: {wanted}.{nearest(str(name), names)}")

    def pair(self, row: RawRecord, source: Source) -> Pair:
        """The sample of a row, and its rationale where it has one; `Refused` if it does not fit."""
        values = fields(row.data, self.wanted, self.optional)
        image = source.image(self.image(values), self.upright)
        known: Values = {name: values[name] for name in ("id", "question", "answer") if name in values}
        known |= {"world": values.get("dataset") or values.get("source") or "", "split": values.get("split") or ""}
        known |= self.read(values, image.size, source)
        rationale = known.pop("rationale", None)
        return Sample(source.id_of(row, known.pop("id", None)), image, **known), rationale
