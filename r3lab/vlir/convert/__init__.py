"""Records of other projects in and out: Visual-CoT, GQA, TextVQA, DocVQA, DeepEyes, Pixel-Reasoner, official VLM-R3.

    reading = read("train.json", images="photos")        # the format is told by the names of its fields
    write(reading, "out", "vlm-r3-sft")                  # boxes from frame to frame, streaming, whole or not at all
    print(reading.summary)                               # 9,988 records read, 12 left out (12 no such file)

What is read and written are pairs of a `Sample` and its `Rationale`, None where the file has none; one picture is
decoded at a time. A record that does not fit is left out with its line and reason, or ends the run with `strict=True`.
A coordinate frame that the file leaves open must be given with `frame=`. A path that leaves the folder of images is
refused. Other people's records are data: their text is kept as it stands and nothing in it is run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.errors import R3labError, nearest, shown
from ...core.files import whole_file, whole_folder
from ...core.geometry import fit_tokens, write_ints
from ...core.images import content_hash, to_png_bytes
from ...core.protocol import answer_of, box_text, scan
from ...core.records import Refused
from ...core.rows import RawRecord, pyarrow, rows
from ..sample import LINES, Rationale, Sample, crops, parts_of, put_image, to_record
from .formats import FORMATS
from .plain import OwnSamples as OwnSamples
from .source import BUDGET, FACTOR, ConvertError, Format, FrameName, FrameNeeded, Pair, Source, Values, data_file
from .source import from_source as from_source

_LOOKED_AT = 100  # rows until the format must be clear
BATCH = 32  # rows with images in memory at a time
Made = tuple[Values, dict[str, Image.Image]]  # a row as it is written, and images by their path in the folder


# -- reading ---------------------------------------------------------------------------------------------------------


class Reading(Iterator[Pair]):
    """Samples with their rationales as they are read, and what was left out so far.

    Attributes
    ----------
    format : name of the format
    where : file and line of the last record, for messages
    taken : records given so far
    skipped : records left out, by reason
    """

    def __init__(
        self,
        form: Format,
        found: Iterator[RawRecord],
        source: Source,
        strict: bool,
        on_skip: Callable[[str], None] | None,
    ) -> None:
        self.format, self.where, self.taken = form.name, "", 0
        self.skipped: Counter[str] = Counter()
        self._form, self._rows, self._source, self._strict, self._on_skip = form, found, source, strict, on_skip

    def __next__(self) -> Pair:
        for row in self._rows:
            self.where = row.where
            try:
                if row.problem is not None:
                    raise row.problem
                pair = self._form.pair(row, self._source)
            except FrameNeeded as error:
                raise FrameNeeded(f"{row.where}: {error}") from None
            except R3labError as error:
                message = f"{row.where}: {error}"
                if self._strict:
                    raise ConvertError(message) from None
                self.skipped[getattr(error, "reason", "not usable")] += 1
                if self._on_skip is not None:
                    self._on_skip(message)
            else:
                self.taken += 1
                return pair
        raise StopIteration

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
        An iterator of (`Sample`, `Rationale` or None) that also counts what it left out.

    Raises
    ------
    ConvertError
        If the file, format, frame or folder cannot be used; while iterating, if the file is broken, or with `strict`.
    FrameNeeded
        While iterating, if a box's frame is open and matters.
    """
    path = data_file(path)
    form = _named(format, FORMATS, "read") if format is not None else FORMATS[detect(path)]
    asked = form.frame_named(frame)
    fit_tokens((FACTOR, FACTOR), FACTOR, *budget)  # a budget that is none is an error now, not of every record
    folder = Path(images) if images is not None else (path.parent if path.is_file() else path)
    if not folder.is_dir():
        raise ConvertError(f"The folder of images {shown(str(folder))} does not exist; give another, images=FOLDER.")
    if boxes is not None and not form.boxes:
        raise ConvertError(f"{form.name} has its boxes in the records; leave boxes= out.")
    source = Source(path, folder, asked, budget, None if boxes is None else Path(boxes), form.boxes)
    return Reading(form, rows(path), source, strict, on_skip)


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
            fitting = [f for f in FORMATS.values() if f.knows(row.data)]
            if fitting:
                return max(fitting, key=lambda form: len(form.fields)).name
    have = ", ".join(shown(k, 40) for k in islice(first, 12)) or "no records"
    known = f"name yours image, question, answer and box, or give format=NAME, one of {', '.join(FORMATS)}"
    raise ConvertError(f"The format of {path.name} is unknown: its fields are {have}; {known}.")


def _named(name: str, table: dict[str, Any], done: str) -> Any:
    """The entry of that name; an unknown one is an error that lists the known and names the nearest."""
    if name not in table:
        known = f"{done} are {', '.join(table)}"
        raise ConvertError(f"Unknown format {shown(name)}; {known}.{nearest(str(name), table)}")
    return table[name]


# -- writing ---------------------------------------------------------------------------------------------------------


def write(pairs: Iterable[Pair], path: str | Path, format: str, on_skip: Callable[[str], None] | None = None) -> Path:
    """Write samples with their rationales; what is written appears whole or not at all.

    Parameters
    ----------
    pairs
        From `read`, or of your own; one is in memory at a time.
    path
        A file for ``parquet``; a folder that does not exist yet for all others.
    format
        ``vlm-r3-sft`` (boxes for the default token budget), ``vlm-r3-rl``, ``parquet`` or ``vlir``.
    on_skip
        Called with one line about each pair that cannot be written so; None ends the run at the first.

    Returns
    -------
    Path
        Of what `read` takes.

    Raises
    ------
    ConvertError
        If the format is unknown, the place is taken, nothing is left to write, or a pair cannot be written.
    """
    made, save = _named(format, WRITTEN, "written")

    def each() -> Iterator[Made]:
        count = 0
        for sample, rationale in pairs:
            try:
                row = made(sample, rationale)
            except R3labError as error:
                if on_skip is None:
                    raise
                on_skip(str(error))
                continue
            count += 1
            yield row
        if not count:
            raise ConvertError(f"No record is left to write as {format}.")

    return save(each(), Path(path))


def _put(images: dict[str, Image.Image], folder: str, image: Image.Image) -> str:
    """Note an image under its hash; its path."""
    name = f"{folder}/{content_hash(image)}.png"
    images[name] = image
    return name


def _sft(sample: Sample, rationale: Rationale | None) -> Made:
    """The official supervised record; refused where it would not be read back as it is: a text holds a box, or its
    answer is not the sample's."""
    rationale = _needed(sample, rationale)
    texts, words, images = rationale.texts, "".join(rationale.texts), dict[str, Image.Image]()
    if any(e.kind == "box" for e in scan(words)) or answer_of(words) != sample.answer.strip():
        raise Refused("a rationale that would be read back otherwise", f"record {shown(sample.id)}: {shown(words)}")
    for i, region in enumerate(rationale.boxes):
        texts[i] += box_text(write_ints(from_source(region, FrameName.RESIZED, sample.image.size)))
    row = {"image_path": _put(images, "images", sample.image), "question": sample.question, "response_list": texts}
    return row | {"img_crop_list": [_put(images, "crops", crop) for crop in crops(sample, rationale)]}, images


def _rl(sample: Sample, rationale: Rationale | None) -> Made:
    images: dict[str, Image.Image] = {}
    row = {"image_path": _put(images, "images", sample.image), "question": sample.question, "answer": sample.answer}
    return row | {"source": sample.world}, images


def _vlir(sample: Sample, rationale: Rationale | None) -> Made:
    row = to_record(sample, _needed(sample, rationale))
    return row, {f"images/{row['image']}.png": sample.image}


def _table(sample: Sample, rationale: Rationale | None) -> Made:
    row = {"id": sample.id, "question": sample.question, "dataset": sample.world} | sample.truth
    row["rationale"] = None if rationale is None else parts_of(rationale)
    return row | {"image": {"bytes": to_png_bytes(sample.image)}}, {}


def _needed(sample: Sample, rationale: Rationale | None) -> Rationale:
    if rationale is None:
        raise Refused("no rationale", f"record {shown(sample.id)}; write it as vlm-r3-rl or parquet instead")
    return rationale


def _folder(name: str) -> Callable[[Iterator[Made], Path], Path]:
    """Saves a new folder with the images that rows name, and a file of rows: JSON lines, or one JSON list."""
    start, between, end = ("", "\n", "\n") if name.endswith(".jsonl") else ("[\n", ",\n", "\n]\n")

    def save(made: Iterator[Made], path: Path) -> Path:
        with whole_folder(path) as folder, (folder / name).open("w", encoding="utf-8") as out:
            mark = start
            for row, images in made:
                for place, image in images.items():
                    put_image(image, folder / place)
                out.write(mark + json.dumps(row, ensure_ascii=False, allow_nan=False))
                mark = between
            out.write(end)
        return path / name

    return save


def _parquet(made: Iterator[Made], path: Path) -> Path:
    """Saves one Parquet file, images inside."""
    arrow, parquet = pyarrow(), pyarrow("parquet")
    four, text = arrow.list_(arrow.float64()), arrow.string()
    kinds = dict.fromkeys(("id", "question", "answer", "dataset", "split"), text) | {"needs_look": arrow.bool_()}
    kinds |= {"image": arrow.struct([("bytes", arrow.binary()), ("path", text)]), "regions": arrow.list_(four)}
    kinds |= {"rationale": arrow.list_(arrow.struct([("text", text), ("box", four)]))}
    schema = arrow.schema(list(kinds.items()))
    with whole_file(path) as partial, parquet.ParquetWriter(partial, schema) as out:
        while held := [row for row, _ in islice(made, BATCH)]:
            out.write_batch(arrow.RecordBatch.from_pylist(held, schema=schema))
    return path


WRITTEN = {  # by format: a row and its images from a pair, and what saves them
    "vlm-r3-sft": (_sft, _folder("vlm_r3_sft.json")),
    "vlm-r3-rl": (_rl, _folder("vlm_r3_rl.json")),
    "parquet": (_table, _parquet),
    "vlir": (_vlir, _folder(LINES)),
}
