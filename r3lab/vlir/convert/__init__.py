"""Records of other projects in and out: Visual-CoT, GQA, TextVQA, DocVQA, DeepEyes, Pixel-Reasoner, official VLM-R3.

    reading = read("train.json", images="photos")        # the format is told by its fields
    write(reading, "out", "vlm-r3-sft")                  # boxes from frame to frame, streaming, whole or not at all
    print(reading.taken, reading.skipped)                # 9988 Counter({'no such file': 12})

A record that does not fit is skipped with its line and reason, or ends the run with `strict=True`. A coordinate frame
that the file leaves open must be given with `frame=`. A path that leaves the folder of images is refused. Other
people's records are data: their text is kept as it stands and nothing in it is run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...core.errors import R3labError, shown
from ...core.geometry import fit_tokens
from ...core.records import Refused, Row
from ...core.rows import rows
from ..sample import SampleError
from . import formats
from .formats import FORMATS, detect
from .frames import BUDGET, FACTOR, FrameName, Source, frame_named
from .record import ConvertError, FrameNeeded, Index, Record, need, text

__all__ = [
    "BUDGET",
    "FORMATS",
    "ConvertError",
    "FrameName",
    "FrameNeeded",
    "Reading",
    "Record",
    "Refused",
    "detect",
    "read",
    "write",
]

MAX_MESSAGES = 100
Note = Callable[[str, str], None]  # reason, message


class Reading(Iterator[Record]):
    """The records of a file as they are read, and what was left out so far.

    Attributes
    ----------
    format : name of the format
    taken : records given so far
    skipped : records left out, by reason
    messages : the first hundred of them with file, line and value
    """

    def __init__(self, format_name: str, records: Callable[[Note], Iterator[Record]]) -> None:
        self.format = format_name
        self.taken = 0
        self.skipped: Counter[str] = Counter()
        self.messages: list[str] = []
        skipped, messages = self.skipped, self.messages  # not self: a reading left half-way is then closed at once

        def note(reason: str, message: str) -> None:
            skipped[reason] += 1
            if len(messages) < MAX_MESSAGES:
                messages.append(message)

        self._records = records(note)

    def __next__(self) -> Record:
        record = next(self._records)
        self.taken += 1
        return record

    @property
    def summary(self) -> str:
        """One line: how many records were read, and how many left out for which reasons."""
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
        total = sum(self.skipped.values())
        return f"{self.taken:,} records read, {total:,} left out" + (f" ({reasons})" if reasons else "")


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
        JSON, JSON lines, Parquet, a `datasets` folder, or a folder with one such file.
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
    path = formats.data_file(path)
    row = formats.named(format if format is not None else detect(path))
    asked = frame_named(frame, row.frames, row.name)
    fit_tokens((FACTOR, FACTOR), FACTOR, *budget)  # a budget that is none is an error now, not of every record
    folder = Path(images) if images is not None else (path.parent if path.is_file() else path)
    if not folder.is_dir():
        raise ConvertError(f"The folder of images {shown(str(folder))} does not exist; give another with images=.")
    if boxes is not None and not row.boxes:
        raise ConvertError(f"{row.name} has its boxes in the records; leave boxes= out.")

    def records(note: Note) -> Iterator[Record]:
        source = Source(path.stem, folder.resolve(), asked, budget)
        try:
            if boxes is not None and row.boxes == "pages":
                source.pages = _folder_of_pages(Path(boxes))
            elif boxes is not None:
                source.index = Index(_entries(formats.data_file(boxes), row.boxes))
            yield from _records(path, row, source, note, strict, on_skip)
        finally:
            if source.index is not None:
                source.index.close()

    return Reading(row.name, records)


def _records(
    path: Path,
    row_format: formats.Format,
    source: Source,
    note: Note,
    strict: bool,
    on_skip: Callable[[str], None] | None,
) -> Iterator[Record]:
    assert row_format.read is not None
    for row in rows(path):
        try:
            if row.problem is not None:
                raise row.problem
            record = row_format.read(row, source)
        except FrameNeeded as error:
            raise FrameNeeded(f"{row.where}: {error}") from None
        except R3labError as error:
            message = f"{row.where}: {error}"
            if strict:
                raise ConvertError(message) from None
            note(_reason(error), message)
            if on_skip is not None:
                on_skip(message)
            continue
        yield record


def _reason(error: R3labError) -> str:
    if isinstance(error, Refused):
        return error.reason
    return "not a VLIR record" if isinstance(error, SampleError) else "not usable"


def _folder_of_pages(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConvertError(f"{shown(str(folder))} is no folder; boxes= of DocVQA is the folder of its OCR files.")
    return folder.resolve()


def _entries(path: Path, kind: str) -> Iterator[tuple[str, Any]]:
    """Names of images and what the file of boxes holds for them; rows that are none of that are passed over."""
    for row in rows(path):
        name = _name_of(row, kind)
        if name is not None:
            yield name, row.data


def _name_of(row: Row, kind: str) -> str | None:
    if row.problem is not None:
        return None
    if kind == "graphs":
        return row.key if "objects" in row.data else None
    try:
        return text(need(row.data, "image_id"), "image_id", 100)
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
        ``vlm-r3-sft`` (boxes for the default token budget), ``vlm-r3-rl``, ``parquet``, ``datasets`` or ``vlir``.

    Returns
    -------
    Path
        Of what `read` takes.

    Raises
    ------
    ConvertError
        If the format is unknown, the place is taken, or a record cannot be written in this format.
    ImageError
        If an image turns out to be damaged.
    """
    row = formats.named(format, writing=True)
    assert row.write is not None
    return row.write(records, Path(path))
