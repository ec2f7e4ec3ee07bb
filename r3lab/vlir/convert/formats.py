"""The registry: one row a format, and telling the format of a file by the names of its fields.

detect("train.json")          # 'vlm-r3-sft'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...core.errors import nearest, shown
from ...core.records import Row
from ...core.rows import DELIMITERS, data_files, is_saved, rows
from ..sample import LINES
from . import (
    rationales as calls,
)
from . import (
    rationales as official,
)
from . import (
    regions as gqa,
)
from . import (
    regions as ocr,
)
from . import (
    regions as viscot,
)
from . import (
    tables,
)
from . import (
    tables as own,
)
from .frames import FrameName, Source
from .record import ConvertError, Record

_LOOKED_AT = 100  # rows until the format must be clear

_CODES = (FrameName.SOURCE, FrameName.RESIZED, FrameName.RELATIVE, FrameName.UNIT)


@dataclass(frozen=True)
class Format:
    """One row of the registry.

    Attributes
    ----------
    name : as the caller writes it
    about : what it is, in a few words
    fields : the field names by which a record is known
    read : None for what can only be written, or only be given as `boxes=`
    frames : coordinate frames that a caller may ask for
    boxes : what `boxes=` holds: "graphs", "words" or "pages"; "" where the record has its boxes itself
    fits : a further test of a record that has the fields
    write : takes records and a path, returns the path of what can be read back
    """

    name: str
    about: str
    fields: frozenset[str]
    read: Callable[[Row, Source], Record] | None = None
    frames: tuple[FrameName, ...] = ()
    boxes: str = ""
    fits: Callable[[dict[str, Any]], bool] = field(default=lambda data: True)
    write: Callable[[Iterable[Record], Path], Path] | None = None


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            official.SFT,
            "official VLM-R3, supervised",
            _names("image_path question response_list img_crop_list"),
            official.read_sft,
            _CODES,
            write=official.write_sft,
        ),
        Format(
            official.RL,
            "official VLM-R3, reinforcement learning",
            _names("image_path question answer source"),
            official.read_rl,
            write=official.write_rl,
        ),
        Format(
            viscot.RAW,
            "Visual-CoT, raw JSON lines",
            _names("question answer image width height bboxs"),
            viscot.read_raw,
        ),
        Format(
            viscot.LLAVA,
            "Visual-CoT, LLaVA form",
            _names("image conversations"),
            viscot.read_llava,
            (FrameName.PADDED, FrameName.UNIT),
            fits=viscot.looks_like_llava,
        ),
        Format(gqa.NAME, "GQA questions", _names("imageId question answer"), gqa.read, boxes="graphs"),
        Format(
            ocr.TEXTVQA,
            "TextVQA questions",
            _names("image_id question answers"),
            ocr.read_textvqa,
            (FrameName.UNIT, FrameName.SOURCE),
            boxes="words",
        ),
        Format(
            ocr.DOCVQA, "DocVQA questions", _names("questionId question image answers"), ocr.read_docvqa, boxes="pages"
        ),
        Format(
            calls.DEEPEYES,
            "DeepEyes",
            _names("prompt images reward_model"),
            calls.read_deepeyes,
            (FrameName.SOURCE, FrameName.RESIZED),
        ),
        Format(calls.PIXEL, "Pixel-Reasoner", _names("message_list"), calls.read_pixel_reasoner, _CODES),
        Format(
            tables.TABLE,
            "a table of r3lab",
            _names("id image question answer regions rationale needs_look"),
            tables.read_table,
        ),
        Format(
            own.NAME,
            "a VLIR folder of r3lab",
            _names("format version id image question answer rationale regions needs_look world split"),
            own.read_own,
            write=own.write,
        ),
        Format("parquet", "a Parquet file of r3lab", frozenset(), tables.read_table, write=tables.write_parquet),
        Format("datasets", "a datasets folder of r3lab", frozenset(), tables.read_table, write=tables.write_dataset),
        Format("scene graphs", "GQA scene graphs", _names("width height objects")),
        Format("OCR of TextVQA", "TextVQA OCR", _names("image_id ocr_info")),
    )
}


def named(name: str, writing: bool = False) -> Format:
    """The format of a name; an unknown one is an error that lists the known and names the nearest."""
    known = [f.name for f in FORMATS.values() if (f.write if writing else f.read) is not None]
    if name not in known:
        verb = "written" if writing else "read"
        known_names = ", ".join(known)
        raise ConvertError(f"Unknown format {shown(name)}; {verb} are {known_names}.{nearest(str(name), known)}")
    return FORMATS[name]


def data_file(path: str | Path) -> Path:
    """The file that a path means: itself, the `datasets` folder, the samples of a VLIR folder, or the only data file.

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
    if is_saved(path):
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
        If no format has such fields; the message shows them, and what the nearest format would need.
    """
    path = data_file(path)
    first: dict[str, Any] = {}
    for row in islice(rows(path), _LOOKED_AT):
        if row.problem is None:
            first = first or row.data
            if found := _of(row.data):
                if found.read is None:
                    raise ConvertError(f"{path.name} holds {found.about}; read the questions, with it as boxes=.")
                return found.name
    have = ", ".join(shown(k, 40) for k in islice(first, 12)) or "no records"
    raise ConvertError(f"The format of {path.name} is unknown: its fields are {have}.{_nearest_format(set(first))}")


def _of(data: dict[str, Any]) -> Format | None:
    """The format with the most of its fields in a record that has all of them."""
    fitting = [f for f in FORMATS.values() if f.fields and f.fields <= data.keys() and f.fits(data)]
    return max(fitting, key=lambda f: len(f.fields), default=None)


def _nearest_format(have: set[str]) -> str:
    best = max((f for f in FORMATS.values() if f.read and f.fields), key=lambda f: len(f.fields & have) / len(f.fields))
    if not best.fields & have:
        return f" Name it with format=: {', '.join(f.name for f in FORMATS.values() if f.read)}."
    lacking = sorted(best.fields - have)
    hint = nearest(lacking[0], have - best.fields) if lacking else ""
    return f" {best.name} would also need {', '.join(map(repr, lacking))}.{hint}"
