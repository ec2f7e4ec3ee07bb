"""Records of other projects in and out: Visual-CoT, GQA, TextVQA, DocVQA, DeepEyes, Pixel-Reasoner, official VLM-R3.

    reading = read("train.json", images="photos")        # the format is told by the names of its fields
    write(reading, "out", "vlm-r3-sft")                  # boxes from frame to frame, streaming, whole or not at all
    print(reading.taken, reading.skipped)                # 9988 Counter({'no such file': 12})

A record that does not fit is skipped with its line and reason, or ends the run with `strict=True`. A coordinate frame
that the file leaves open must be given with `frame=`. A path that leaves the folder of images is refused. Other
people's records are data: their text is kept as it stands and nothing in it is run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import R3labError, nearest, shown
from ...core.geometry import fit_tokens
from ...core.records import Refused, Row, fields, text_of
from ...core.rows import DELIMITERS, data_files, rows
from ..sample import LINES
from . import rationales, regions
from .frames import BUDGET as BUDGET
from .frames import FACTOR, ConvertError, FrameNeeded, frame_named
from .frames import FrameName as FrameName
from .record import Format, Source
from .record import Record as Record

_LOOKED_AT = 100  # rows until the format must be clear
FORMATS: dict[str, Format] = {form.name: form for form in (*rationales.FORMATS, *regions.FORMATS)}


class Reading(Iterator[Record]):
    """The records of a file as they are read, and what was left out so far.

    Attributes
    ----------
    format : name of the format
    taken : records given so far
    skipped : records left out, by reason
    """

    def __init__(self, format_name: str, records: Callable[[Counter[str]], Iterator[Record]]) -> None:
        self.format, self.taken = format_name, 0
        self.skipped: Counter[str] = Counter()
        self._records = records(self.skipped)

    def __next__(self) -> Record:
        record = next(self._records)
        self.taken += 1
        return record

    @property
    def summary(self) -> str:
        """One line: how many records were read, and how many left out for which reasons."""
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
        left_out = f"{self.skipped.total():,} left out"
        return f"{self.taken:,} records read, {left_out}" + (f" ({reasons})" if reasons else "")


def read(
    path: str | Path,
    format: str | None = None,
    frame: str | None = None,
    strict: bool = False,
    images: str | Path | None = None,
    boxes: str | Path | None = None,
    budget: tuple[int, int] = BUDGET,
    on_skip: Callable[[str], None] | None = None,
) -> Reading:
    """Read the records of a file, one at a time.

    Parameters
    ----------
    path
        JSON, JSON lines, Parquet, a folder that `datasets` saved, or a folder with one such file.
    format
        Name in `FORMATS`; None tells it by the fields.
    frame
        Coordinate frame of the boxes, a value of `FrameName`; None takes the published one, where there is one.
    strict
        True ends the run at the first record that does not fit.
    images
        Folder that the image paths are relative to, and may not leave; None is the folder of `path`.
    boxes
        Scene graphs of GQA, OCR file of TextVQA, folder of OCR files of DocVQA; without, those samples have no regions.
    budget
        Least and most tokens of an image when boxes were written (`resized-28`).
    on_skip
        Called with one line about each record that is left out.

    Returns
    -------
    Reading
        An iterator of `Record` that also counts what it left out.

    Raises
    ------
    ConvertError
        If the file, format, frame or folder cannot be used; while iterating, if the file is broken, or with `strict`.
    FrameNeeded
        While iterating, if a box's frame is open and matters.
    """
    path = data_file(path)
    form = named(format if format is not None else detect(path))
    asked = frame_named(frame, form.frames, form.name)
    fit_tokens((FACTOR, FACTOR), FACTOR, *budget)  # a budget that is none is an error now, not of every record
    folder = Path(images) if images is not None else (path.parent if path.is_file() else path)
    if not folder.is_dir():
        raise ConvertError(f"The folder of images {shown(str(folder))} does not exist; give another with images=.")
    if boxes is not None and not form.boxes:
        raise ConvertError(f"{form.name} has its boxes in the records; leave boxes= out.")

    def records(skipped: Counter[str]) -> Iterator[Record]:
        source = Source(path.stem, folder.resolve(), asked, budget)
        if boxes is not None:
            _give_boxes(source, Path(boxes), form.boxes)
        for row in rows(path):
            try:
                if row.problem is not None:
                    raise row.problem
                yield form.record(row, source)
            except FrameNeeded as error:
                raise FrameNeeded(f"{row.where}: {error}") from None
            except R3labError as error:
                message = f"{row.where}: {error}"
                if strict:
                    raise ConvertError(message) from None
                skipped[getattr(error, "reason", "not usable")] += 1
                if on_skip is not None:
                    on_skip(message)

    return Reading(form.name, records)


def _give_boxes(source: Source, boxes: Path, kind: str) -> None:
    """Open what `boxes=` names: a folder of OCR files, or a file whose rows are looked up by the image's name."""
    if kind == "pages":
        source.pages = boxes.resolve()
        if not source.pages.is_dir():
            raise ConvertError(f"{shown(str(boxes))} is no folder; boxes= of DocVQA is the folder of its OCR files.")
    else:
        named_rows = ((_image_of(row, kind), row.data) for row in rows(data_file(boxes)))
        source.gather((name, data) for name, data in named_rows if name is not None)


def _image_of(row: Row, kind: str) -> str | None:
    """The image that a row of a file of boxes is about; None for a row that is none of that."""
    if kind == "graphs":
        return row.key if "objects" in row.data else None
    try:
        return str(fields(row.data, {"image_id": text_of(100)})["image_id"])
    except Refused:
        return None


def write(records: Iterable[Record], path: str | Path, format: str) -> Path:
    """Write records; what is written appears whole or not at all.

    Parameters
    ----------
    records
        `Record`, for instance from `read`, or ``Record.of(sample, rationale)``.
    path
        A file for ``parquet``; a folder that does not exist yet for all others.
    format
        ``vlm-r3-sft`` (boxes for the default token budget), ``vlm-r3-rl``, ``parquet`` or ``vlir``.

    Returns
    -------
    Path
        Of what `read` takes.

    Raises
    ------
    ConvertError
        If the format is unknown, the place is taken, or a record cannot be written in this format.
    R3labError
        If an image turns out to be damaged.
    """
    form = named(format, writing=True)
    assert form.write is not None
    return form.write(records, Path(path))


def named(name: str, writing: bool = False) -> Format:
    """The format of a name; an unknown one is an error that lists the known and names the nearest."""
    known = [form.name for form in FORMATS.values() if form.write or not writing]
    if name not in known:
        names = f"{'written' if writing else 'read'} are {', '.join(known)}"
        raise ConvertError(f"Unknown format {shown(name)}; {names}.{nearest(str(name), known)}")
    return FORMATS[name]


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
    found = [p for p in data_files(path) if p.suffix.lower() not in DELIMITERS]  # boxes want more than a cell
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:5]) or "none"
        raise ConvertError(f"{shown(str(path))} is a folder with {len(found)} data files ({names}); give one of them.")
    return found[0]


def detect(path: str | Path) -> str:
    """The name of a file's format, told by the field names of its first records.

    Raises
    ------
    ConvertError
        If no format has such fields; the message shows them.
    """
    path = data_file(path)
    first: dict[str, Any] = {}
    for row in islice(rows(path), _LOOKED_AT):
        if row.problem is None:
            first = first or row.data
            fitting = [f for f in FORMATS.values() if f.fields <= row.data.keys() and f.fits(row.data)]
            if fitting:
                return max(fitting, key=lambda form: len(form.fields)).name
    have = ", ".join(shown(k, 40) for k in islice(first, 12)) or "no records"
    known = f"give format=, one of {', '.join(FORMATS)}"
    raise ConvertError(f"The format of {path.name} is unknown: its fields are {have}; {known}.")
