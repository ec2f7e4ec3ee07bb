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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core import records as schema
from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, box_of_cell, crop_to_source
from ..trajectory import ONE, Trajectory, plain
from ..trajectory import load as load_trajectory
from ..trajectory import save as save_trajectory
from .kinds import KINDS, Evidence, Trials, Verdict

# A map over a part of the source image: a grid of numbers that knows which pixels it covers. Needs no model.
#
# heat = HeatMap(values, (0.0, 0.0, 512.0, 512.0), (512, 512)); heat.inside(box)


@dataclass(frozen=True)
class HeatMap:
    """Attention over a part of the source image.

    Attributes
    ----------
    values : (rows, columns) float32
    box : the part of the source that it covers, in pixels
    source : width and height of the source image in pixels
    """

    values: np.ndarray
    box: Box
    source: Size

    def cell(self, column: int, row: int) -> Box:
        """Source pixels of a cell."""
        rows, columns = self.values.shape
        return crop_to_source(box_of_cell((column, row), (columns, rows), (columns, rows)), self.box, (columns, rows))

    def inside(self, box: Box) -> float:
        """What the map holds inside a box, cells that are cut counted by the part inside."""
        rows, columns = self.values.shape
        x = np.linspace(self.box[0], self.box[2], columns + 1)
        y = np.linspace(self.box[1], self.box[3], rows + 1)
        across = np.clip(np.minimum(x[1:], box[2]) - np.maximum(x[:-1], box[0]), 0, None) / np.diff(x)
        down = np.clip(np.minimum(y[1:], box[3]) - np.maximum(y[:-1], box[1]), 0, None) / np.diff(y)
        return float(down @ self.values @ across)

    def peak(self) -> tuple[float, float]:
        """Source pixel (x, y) at the centre of the highest cell."""
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        x1, y1, x2, y2 = self.cell(int(column), int(row))
        return (x1 + x2) / 2, (y1 + y2) / 2


# The record of an explanation: one entry a look, the evidence, the verdict, the maps; and its home on disk.
#
# A folder with `explanation.json`, `maps.npz` (plain arrays) and the trajectory with its images as PNG. Nothing is
# pickled, and `Explanation.load(e.save(folder)) == e`. Text in it is what a model, a data set or a user wrote: a view
# escapes it.
#
#     folder = explanation.save("runs/explain/first")
#     for look, what, value in Explanation.load(folder).table():
#         print(look, what, value)


@dataclass(frozen=True)
class Word:
    """A word that attention from a box's coordinates fell on.

    Attributes
    ----------
    text : as it stands in the question or in what was written
    weight : mean attention on its tokens together, of all layers and heads
    percentile : part of the other events (answer, words around looks) that give it less, 0 to 1
    """

    text: str
    weight: float
    percentile: float


@dataclass(frozen=True)
class Region:
    """A cell of the overview (source pixels): its part of the map, and how many times that of a neutral question."""

    box: Box
    share: float
    ratio: float


@dataclass(frozen=True)
class Drawn:
    """What drew a look: attention from the coordinates of its box on the overview.

    Attributes
    ----------
    percentile : part of the boxes of its size at random places that hold less, 0 to 1
    neutral : the same under a neutral question
    relative : the same on the quotient of the two maps
    regions : those that hold most beyond the neutral question, the highest first
    words : those that are read most beyond what the other events do, the highest first
    """

    percentile: float
    neutral: float
    relative: float
    regions: tuple[Region, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Attention from the words behind a crop, and those of the answer: a token's mean over an even share of 1.

    Attributes
    ----------
    crop, overview, text : on an image token of the crop, of the overview, on a token of text; sinks left out
    """

    crop: float
    overview: float
    text: float


@dataclass(frozen=True)
class Worth:
    """A crop replaced: change in nats of what was written, of the same with the right answer, and what is answered."""

    name: str
    given: float
    right: float | None
    answer: str | None
    changed: bool


@dataclass(frozen=True)
class Cut:
    """Attention cut from the words behind a crop, and the answer, to `what`: their change in nats, all together."""

    what: str
    change: float


@dataclass(frozen=True)
class LookEntry:
    """All that was found of one look.

    Attributes
    ----------
    number : from 0, as in the trajectory
    box : source pixels; None where none was written
    refused : why there was no crop; "" where there was one
    asked : what was written before the box
    drawn, reading : attention; None where it was not read
    worth, cuts : interventions on this look
    regret, best : nats by which the best place would have been worth more, and that place
    coverage : part of a true region in the crop, of the one it holds most of; None where none is known
    used : whether the answer depends on this crop; None where that is not sure
    disagree : attention says it was read and interventions that it was not, or the other way round
    sentence : all of it in words
    """

    number: int
    box: Box | None
    refused: str = ""
    asked: str = ""
    drawn: Drawn | None = None
    reading: Reading | None = None
    worth: tuple[Worth, ...] = ()
    cuts: tuple[Cut, ...] = ()
    regret: float | None = None
    best: Box | None = None
    coverage: float | None = None
    used: bool | None = None
    disagree: bool = False
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a policy looked where it looked, and whether that mattered.

    Attributes
    ----------
    trajectory : what is explained, with its images
    looks : an entry a look that was asked for
    evidence, verdict : counts of interventions, and what they amount to
    sentence : the verdict in words, disagreement between attention and intervention among them
    gap : largest difference in nats between a recorded log-probability and the same read again; small, or the record
        is not this policy's
    versions : of r3lab, transformers and torch, with which this was made
    maps : heat maps by name: "look 1 raw", "look 1 neutral", "look 1 relative", "look 1 value"
    """

    trajectory: Trajectory
    looks: tuple[LookEntry, ...]
    evidence: Evidence
    verdict: Verdict
    sentence: str
    gap: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    maps: dict[str, HeatMap] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Explanation):
            return NotImplemented
        same = (
            facts(self) == facts(other) and self.trajectory == other.trajectory and list(self.maps) == list(other.maps)
        )
        return same and all(_same_map(self.maps[name], other.maps[name]) for name in self.maps)

    def entry(self, look: int) -> LookEntry | None:
        """The entry of a look, counted from 0; None where it was not asked for."""
        return next((entry for entry in self.looks if entry.number == look), None)

    def table(self) -> list[tuple[str, str, str]]:
        """Rows (look, what was measured, value); foreign text in them is quoted and cut, on one line."""
        verdict = self.verdict
        rows = [("all", "verdict", f"{verdict.kind} ({verdict.confidence:.0%})")]
        rows += [("all", "because", reason) for reason in verdict.reasons]
        for entry in self.looks:
            rows += [(f"look {entry.number + 1}", what, value) for what, value in _rows_of(entry)]
        return rows

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all; see `explanation_files.save`."""
        pass  # it knows this module

        return save(self, folder)

    @staticmethod
    def load(folder: str | Path) -> Explanation:
        """Read what `save` wrote; see `explanation_files.load_explanation`."""
        pass

        return load_explanation(folder)


def facts(explanation: Explanation) -> dict[str, object]:
    """Everything of an explanation but trajectory and maps, as JSON holds it."""
    names = ("looks", "evidence", "verdict", "sentence", "gap", "versions")
    return {name: plain(getattr(explanation, name)) for name in names}


def _same_map(a: HeatMap, b: HeatMap) -> bool:
    return a.box == b.box and a.source == b.source and np.array_equal(a.values, b.values)


def _rows_of(e: LookEntry) -> list[tuple[str, str]]:
    rows = [("box", "none" if e.box is None else _box(e.box))]
    if e.refused:
        return [*rows, ("refused", shown(e.refused, 120))]
    if e.coverage is not None:
        rows.append(("a true region in the crop", f"{e.coverage:.0%}"))
    if e.drawn is not None:
        found = e.drawn
        rows.append(("attention in the box, against boxes of its size", f"above {found.percentile:.0%}"))
        rows.append(("the same under a neutral question", f"above {found.neutral:.0%}"))
        rows.append(("the same, relative to the neutral question", f"above {found.relative:.0%}"))
        rows += [("drawn by the region", f"{_box(r.box)}, {r.ratio:.2g} times the neutral") for r in found.regions]
        rows += [("drawn by the word", f"{shown(w.text, 40)}, above {w.percentile:.0%}") for w in found.words]
    if e.reading is not None:
        rows.append(("attention of the answer, crop token", f"{e.reading.crop:.2f} of an even share"))
        rows.append(("attention of the answer, overview token", f"{e.reading.overview:.2f} of an even share"))
    rows += [(f"crop replaced: {w.name}", _worth(w)) for w in e.worth]
    rows += [(f"attention cut: {cut.what}", f"{cut.change:+.2f} nats") for cut in e.cuts]
    if e.regret is not None and e.best is not None:
        rows.append(("worth more elsewhere", f"{e.regret:.2f} nats at {_box(e.best)}"))
    rows.append(("used", {True: "yes", False: "no", None: "not sure"}[e.used]))
    return [*rows, ("attention and intervention", "disagree" if e.disagree else "do not disagree")]


def _worth(w: Worth) -> str:
    right = "" if w.right is None else f", right answer {w.right:+.2f}"
    answer = "no answer" if w.answer is None else shown(w.answer, 40)
    return f"{w.given:+.2f} nats{right}; {'answers' if not w.changed else 'now answers'} {answer}"


def _box(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"


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
_explanation_files_box = schema.fixed(schema.number, 4)
_number, _text, _flag = schema.number, schema.text, schema.flag
_kind = schema.of("a kind of verdict", lambda v: isinstance(v, str) and v in KINDS)
_trials = _made(Trials, tried=schema.count, changed=schema.count, known=schema.count, followed=schema.count)
_drawn = _made(
    Drawn,
    percentile=_share,
    neutral=_share,
    relative=_share,
    regions=_tuple(_made(Region, box=_explanation_files_box, share=_number, ratio=_number)),
    words=_tuple(_made(Word, text=_text, weight=_number, percentile=_share)),
)
_entry = _made(
    LookEntry,
    number=schema.count,
    box=schema.maybe(_explanation_files_box),
    refused=_text,
    asked=_text,
    drawn=schema.maybe(_drawn),
    reading=schema.maybe(_made(Reading, crop=_number, overview=_number, text=_number)),
    worth=_tuple(
        _made(Worth, name=_text, given=_number, right=schema.maybe(_number), answer=schema.maybe(_text), changed=_flag)
    ),
    cuts=_tuple(_made(Cut, what=_text, change=_number)),
    regret=schema.maybe(_number),
    best=schema.maybe(_explanation_files_box),
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
    maps=schema.row(_made(dict, name=_text, box=_explanation_files_box, source=schema.fixed(schema.count, 2))),
)
