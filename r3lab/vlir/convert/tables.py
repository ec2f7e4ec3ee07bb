"""Our own table, read from any file of rows, and written as Parquet or as a folder that `datasets` opens.

It has one row a sample with the image's PNG file inside (``{bytes, path}``, an image to `datasets`), boxes in source
pixels, and `rationale` as a list of ``{text, box}`` with one of the two, or null. Only `pyarrow` is needed, also for a
`datasets` folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import shown
from ...core.geometry import Box
from ...core.images import open_image, to_png_bytes
from ...core.records import Refused, Row
from ...core.rows import STATE, pyarrow
from ..sample import Rationale, from_record, write_vlir
from .frames import Source, checked
from .record import Record, answer, box_field, items, need, optional, question, table, text, whole_file, whole_folder

# r3lab's own VLIR folder as one of the formats: `vlir.jsonl` and `images/`, see `r3lab.vlir.sample`.

NAME = "vlir"


def read_own(row: Row, source: Source) -> Record:
    """One line; its image is decoded, since its hash must fit its pixels."""
    return replace(Record.of(*from_record(row.data, source.images, "The record")), where=row.where)


def write(records: Iterable[Record], path: Path) -> Path:
    """A new VLIR folder; the path of its `vlir.jsonl`. A record without rationale ends it, nothing written."""
    with whole_folder(path) as folder:
        name = write_vlir(folder, (record.pair() for record in records)).name
    return path / name


TABLE, INFO = "table", "dataset_info.json"
BATCH = 32  # rows with images in memory at a time


def read_table(row: Row, source: Source) -> Record:
    """One row of our own table."""
    data = row.data
    picture, size = source.picture(need(data, "image"))
    regions = [box_field(b, "regions") for b in items(need(data, "regions"), "regions")]
    look = data.get("needs_look")
    if look not in (True, False, None) or type(look) is int:
        raise Refused("field 'needs_look' is not true, false or null", shown(look))
    return Record(
        text(need(data, "id"), "id", 200),
        picture,
        size,
        question(data),
        answer(data),
        tuple(checked(b, size) for b in regions),
        _rationale(data.get("rationale"), size),
        look,
        optional(data, "dataset"),
        optional(data, "split"),
        where=row.where,
    )


def _rationale(value: Any, size: tuple[int, int]) -> Rationale | None:
    if value is None:
        return None
    parts: list[str | Box] = []
    for part in (table(p, "rationale") for p in items(value, "rationale")):
        words, place = part.get("text"), part.get("box")
        if (words is None) == (place is None):
            raise Refused("a rationale part that is not one of text and box", shown(part))
        parts.append(
            text(words, "rationale", empty=True) if place is None else checked(box_field(place, "rationale"), size)
        )
    if not parts:
        raise Refused("field 'rationale' is empty", "leave it null where there is none")
    return Rationale(tuple(parts))


def _schema(arrow: Any) -> Any:
    four = arrow.list_(arrow.float64())
    part = arrow.struct([("text", arrow.string()), ("box", four)])
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    kinds = {"id": arrow.string(), "image": image, "question": arrow.string(), "answer": arrow.string()}
    kinds |= {"regions": arrow.list_(four), "rationale": arrow.list_(part), "needs_look": arrow.bool_()}
    return arrow.schema(list((kinds | {"dataset": arrow.string(), "split": arrow.string()}).items()))


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
        parts = [
            {"text": p, "box": None} if isinstance(p, str) else {"text": None, "box": list(p)}
            for p in record.rationale.parts
        ]
    return {
        "id": record.id,
        "image": {"bytes": to_png_bytes(open_image(record.source)), "path": None},
        "question": record.question,
        "answer": record.answer,
        "regions": [list(r) for r in record.regions],
        "rationale": parts,
        "needs_look": record.needs_look,
        "dataset": record.dataset,
        "split": record.split,
    }


def _batches(records: Iterable[Record], schema: Any, arrow: Any) -> Iterator[Any]:
    held: list[dict[str, Any]] = []
    for record in records:
        held.append(_row(record))
        if len(held) == BATCH:
            yield arrow.RecordBatch.from_pylist(held, schema=schema)
            held = []
    if held:
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
