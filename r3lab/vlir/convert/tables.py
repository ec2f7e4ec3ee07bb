"""r3lab's own records as formats: a table with images inside (Parquet, or a folder that `datasets` opens), and VLIR.

A table has one row a sample with the image's PNG file inside (``{bytes, path}``, an image to `datasets`), boxes in
source pixels, and `rationale` as a list of ``{text, box}`` with one of the two, or null. Only `pyarrow` is needed, also
for a `datasets` folder. A VLIR folder is `vlir.jsonl` and `images/`, see `vlir.sample`.

    write_parquet(records, Path("samples.parquet"))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import shown
from ...core.files import whole_file, whole_folder
from ...core.geometry import Box
from ...core.images import open_image, to_png_bytes
from ...core.records import Refused, Row, anything, box, fields, flag, row, text_of
from ...core.rows import STATE, pyarrow
from ..sample import Rationale, from_record, write_vlir
from .frames import checked
from .record import ANSWER, LABEL, MAX_ITEMS, QUESTION, TEXT, Format, Record, Source, Values

INFO = "dataset_info.json"
BATCH = 32  # rows with images in memory at a time


def _vlir(v: Values, source: Source, line: Row) -> Record:
    """One line; its image is decoded, since its hash must fit its pixels."""
    return Record.of(*from_record(line.data, source.images, "The record"), line.where)


def write(records: Iterable[Record], path: Path) -> Path:
    """A new VLIR folder; the path of its `vlir.jsonl`. A record without rationale ends it, nothing written."""
    with whole_folder(path) as folder:
        name = write_vlir(folder, (record.pair() for record in records)).name
    return path / name


def _table(v: Values, source: Source, line: Row) -> Record:
    picture, size = source.picture(v["image"])
    regions = tuple(checked(b, size) for b in v["regions"])
    rationale = None
    if v["rationale"] is not None:
        rationale = Rationale(tuple(p if isinstance(p, str) else checked(p, size) for p in v["rationale"]))
        if not rationale.parts:
            raise Refused("field 'rationale' is empty", "leave it null where there is none")
    known = (v["question"], v["answer"], regions, rationale, v["needs_look"], v["dataset"] or "", v["split"] or "")
    return Record(v["id"], picture, size, *known, where=line.where)


def _part(value: Any, where: str) -> str | Box:
    words, place = fields(value, {}, {"text": anything, "box": anything}, where).values()
    if isinstance(value.get("text"), str) and place is None:  # also empty text
        return str(TEXT(value["text"], where))
    if words is not None or place is None:
        raise Refused("a rationale part that is not one of text and box", shown(value))
    found: Box = box(place, where)
    return found


def _schema(arrow: Any) -> Any:
    four, text = arrow.list_(arrow.float64()), arrow.string()
    part = arrow.struct([("text", text), ("box", four)])
    image = arrow.struct([("bytes", arrow.binary()), ("path", text)])
    kinds = {"id": text, "image": image, "question": text, "answer": text, "regions": arrow.list_(four)}
    kinds |= {"rationale": arrow.list_(part), "needs_look": arrow.bool_(), "dataset": text, "split": text}
    return arrow.schema(list(kinds.items()))


def _features() -> dict[str, Any]:
    """The schema in the words of `datasets` (a list for a list reads alike in all its versions)."""
    words, four = {"dtype": "string", "_type": "Value"}, [{"dtype": "float64", "_type": "Value"}]
    part = {"text": words, "box": four}
    names = {"id": words, "image": {"_type": "Image"}, "question": words, "answer": words, "regions": [four]}
    look = {"dtype": "bool", "_type": "Value"}
    return names | {"rationale": [part], "needs_look": look, "dataset": words, "split": words}


def _row(record: Record) -> dict[str, Any]:
    parts = None
    if record.rationale is not None:
        parts = [{"text": p} if isinstance(p, str) else {"box": list(p)} for p in record.rationale.parts]
    names = ("id", "question", "answer", "needs_look", "dataset", "split")
    row = {name: getattr(record, name) for name in names} | {"regions": [list(r) for r in record.regions]}
    return row | {"image": {"bytes": to_png_bytes(open_image(record.source))}, "rationale": parts}


def _batches(records: Iterable[Record], schema: Any, arrow: Any) -> Iterator[Any]:
    waiting = iter(records)
    while held := [_row(record) for record in islice(waiting, BATCH)]:
        yield arrow.RecordBatch.from_pylist(held, schema=schema)


def write_parquet(records: Iterable[Record], path: Path) -> Path:
    """One Parquet file, images inside; the path."""
    arrow, parquet = pyarrow(), pyarrow("parquet")
    schema = _schema(arrow)
    with whole_file(path) as partial, parquet.ParquetWriter(partial, schema) as out:
        for batch in _batches(records, schema, arrow):
            out.write_batch(batch)
    return path


def write_dataset(records: Iterable[Record], path: Path) -> Path:
    """A new folder that `datasets.load_from_disk` opens; the path."""
    arrow = pyarrow()
    schema, name = _schema(arrow), "data-00000-of-00001.arrow"
    state: dict[str, Any] = {"_data_files": [{"filename": name}], "_fingerprint": "r3lab", "_format_columns": None}
    state |= {"_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
    with whole_folder(path) as folder:
        with arrow.OSFile(str(folder / name), "wb") as file, arrow.ipc.new_stream(file, schema) as out:
            for batch in _batches(records, schema, arrow):
                out.write_batch(batch)
        (folder / STATE).write_text(json.dumps(state), "utf-8")
        (folder / INFO).write_text(json.dumps({"features": _features()}), "utf-8")
    return path


TABLE = Format(
    "table",
    "a table of r3lab",
    _table,
    {"id": text_of(200), "image": anything, "question": QUESTION, "answer": ANSWER, "regions": row(box, MAX_ITEMS)},
    {"rationale": row(_part, MAX_ITEMS), "needs_look": flag, "dataset": LABEL, "split": LABEL},
    marks=("rationale", "needs_look"),
)


def _as_table(v: Values, source: Source, line: Row) -> Record:
    return TABLE.record(line, source)


PARQUET = Format("parquet", "a Parquet file of r3lab", _as_table, write=write_parquet)
DATASETS = Format("datasets", "a datasets folder of r3lab", _as_table, write=write_dataset)
_NAMES = "format version id image question answer rationale regions needs_look world split"
VLIR = Format("vlir", "a VLIR folder of r3lab", _vlir, marks=tuple(_NAMES.split()), write=write)
