"""Explanations on disk: `explanation.json`, `maps.npz`, the trajectory, in a folder that appears whole or not at all.

    folder = save(explanation, "runs/explain/first")
    assert load_explanation(folder) == explanation

Reading is strict: a field that is missing, one too many or of another kind is an error that names it. Simplified: the
arrays are read into memory, 64 MB of them at most.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import schema
from ..errors import R3labError, shown
from ..trajectory import ONE, Trajectory
from ..trajectory import load as load_trajectory
from ..trajectory import save as save_trajectory
from .explanation import Cut, Drawn, Explanation, LookEntry, Reading, Region, Word, Worth, facts
from .heat import HeatMap
from .judge import KINDS, Evidence, Trials, Verdict

FORMAT, VERSION = "r3lab.explanation", 1
RECORD, ARRAYS = "explanation.json", "maps.npz"
MOST_BYTES = 64_000_000  # of all maps together


class ExplanationError(R3labError):
    """A folder that holds no explanation, or one that cannot be read or written."""


def save(explanation: Explanation, folder: str | Path) -> Path:
    """Write an explanation into a folder of its own; one that holds an older explanation is replaced.

    Raises
    ------
    ExplanationError
        If the folder holds something else, or the disk refuses.
    """
    folder = Path(folder)
    head = {"format": FORMAT, "version": VERSION, **facts(explanation)}
    head["maps"] = [{"name": name, **plain_map(heat)} for name, heat in explanation.maps.items()]
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.part")
    old = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.old")
    try:
        check_free(folder)
        part.mkdir(parents=True)
        save_trajectory(explanation.trajectory, part)
        buffer = io.BytesIO()
        values: dict[str, Any] = {str(i): heat.values for i, heat in enumerate(explanation.maps.values())}
        np.savez_compressed(buffer, **values)
        (part / ARRAYS).write_bytes(buffer.getvalue())
        (part / RECORD).write_text(json.dumps(head, allow_nan=False, indent=1) + "\n", encoding="ascii")
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
    except OSError as error:
        why = error.strerror or str(error)
        raise ExplanationError(f"Cannot write {shown(str(folder))}: {why}; choose another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def check_free(folder: Path) -> None:
    """Raise `ExplanationError` if a folder is there that is neither empty nor an older explanation."""
    if folder.exists() and not (folder.is_dir() and ((folder / RECORD).is_file() or not any(folder.iterdir()))):
        raise ExplanationError(f"{shown(str(folder))} holds something else; name a folder to make.")


def plain_map(heat: HeatMap) -> dict[str, Any]:
    """What a map covers, without its values."""
    return {"box": list(heat.box), "source": list(heat.source)}


def load_explanation(folder: str | Path) -> Explanation:
    """Read what `save` wrote.

    Raises
    ------
    R3labError
        Naming the file and the field, if something is missing, damaged, of another version or does not fit.
    """
    folder = Path(folder)
    path = folder / RECORD
    try:
        record = schema.parse(path.read_text(encoding="utf-8"), RECORD)
    except (OSError, UnicodeDecodeError) as error:
        raise ExplanationError(f"Cannot read {shown(str(path))}: {shown(str(error))}; name a saved folder.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ExplanationError(f'{RECORD} is not an explanation: it lacks "format": "{FORMAT}".')
    if record.get("version") != VERSION:
        got = shown(record.get("version"))
        raise ExplanationError(f"{RECORD} has version {got}; this r3lab reads {VERSION}: update it.")
    found = _RECORD({key: value for key, value in record.items() if key not in ("format", "version")}, RECORD)
    shapes = found.pop("maps")
    trajectory = load_trajectory(folder / ONE)
    assert isinstance(trajectory, Trajectory)  # of one trajectory in a .json file
    entries = [entry.number for entry in found["looks"]]
    if entries != sorted(set(entries)) or any(not 0 <= n < len(trajectory.looks) for n in entries):
        raise ExplanationError(f"{RECORD}: looks {shown(entries)} are not those of its trajectory; save it again.")
    values = _arrays(folder / ARRAYS, len(shapes))
    maps = {shape["name"]: HeatMap(v, shape["box"], shape["source"]) for shape, v in zip(shapes, values, strict=True)}
    return Explanation(trajectory=trajectory, maps=maps, **found)


def _arrays(path: Path, count: int) -> list[np.ndarray]:
    """So many float32 maps (rows, columns) of an npz file; no object arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise ExplanationError(f"{path.name} holds {size:,} bytes, at most {MOST_BYTES:,}; save it again.")
        with np.load(path, allow_pickle=False) as held:
            found = [held[str(i)] for i in range(count)]
    except ExplanationError:
        raise
    except Exception as error:  # a hostile archive can raise nearly anything from a reader
        raise ExplanationError(f"Cannot read {path.name}: {shown(str(error))}; save it again.") from error
    for i, value in enumerate(found):
        if value.dtype != np.float32 or value.ndim != 2 or not value.size or not np.isfinite(value).all():
            raise ExplanationError(f"{path.name}: map {i} is not a grid of finite numbers; save it again.")
    return found


def _tuple(read: schema.Read) -> schema.Read:
    rows = schema.row(read)
    return lambda value, where: tuple(rows(value, where))


def _share(value: Any, where: str) -> float:
    found: float = schema.number(value, where)
    if not 0 <= found <= 1:
        raise schema.SchemaError(f"{where} must be a number from 0 to 1, got {shown(value)}.")
    return found


def _score(value: Any, where: str) -> tuple[str, float]:
    kind, confidence = schema.fixed(schema.free, 2)(value, where)
    return _kind(kind, where), _share(confidence, where)


_made = schema.made
_box = schema.fixed(schema.number, 4)
_number, _text, _flag = schema.number, schema.text, schema.flag
_kind = schema.of("a kind of verdict", lambda v: isinstance(v, str) and v in KINDS)
_trials = _made(Trials, tried=schema.count, changed=schema.count, known=schema.count, followed=schema.count)
_drawn = _made(
    Drawn,
    percentile=_share,
    neutral=_share,
    relative=_share,
    regions=_tuple(_made(Region, box=_box, share=_number, ratio=_number)),
    words=_tuple(_made(Word, text=_text, weight=_number, percentile=_share)),
)
_entry = _made(
    LookEntry,
    number=schema.count,
    box=schema.maybe(_box),
    refused=_text,
    asked=_text,
    drawn=schema.maybe(_drawn),
    reading=schema.maybe(_made(Reading, crop=_number, overview=_number, text=_number)),
    worth=_tuple(
        _made(Worth, name=_text, given=_number, right=schema.maybe(_number), answer=schema.maybe(_text), changed=_flag)
    ),
    cuts=_tuple(_made(Cut, what=_text, change=_number)),
    regret=schema.maybe(_number),
    best=schema.maybe(_box),
    coverage=schema.maybe(_share),
    used=schema.maybe(_flag),
    disagree=_flag,
    sentence=_text,
)
_RECORD = _made(
    dict,
    looks=_tuple(_entry),
    evidence=_made(
        Evidence,
        answered=_flag,
        off_centre=_number,
        moved=_trials,
        asked=_trials,
        crops=_tuple(_trials),
        region=schema.maybe(_trials),
        rest=_trials,
        colour=_trials,
        detail=_trials,
    ),
    verdict=_made(
        Verdict,
        kind=_kind,
        confidence=_share,
        nearest=_kind,
        scores=_tuple(_score),
        reasons=_tuple(_text),
    ),
    sentence=_text,
    gap=_number,
    versions=schema.mapping(_text),
    maps=schema.row(_made(dict, name=_text, box=_box, source=schema.fixed(schema.count, 2))),
)
