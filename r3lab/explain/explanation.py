"""The record of an explanation: one entry a look, the evidence, the verdict, the maps; and its home on disk.

On disk it is a folder with `explanation.json`, `maps.npz` (plain arrays), and the trajectory with its images as PNG,
which appears whole or not at all; nothing is pickled. Text in it is what a model, a data set or a user wrote: a view
escapes it. No model and no torch is needed to read one.

    folder = explanation.save("runs/explain/first")
    for look, what, value in Explanation.load(folder).table():
        print(look, what, value)

Reading is strict: a field that is missing, one too many or of another kind is an error that names it, and 64 MB of
either file are the most that is read. Simplified: the maps are held in memory.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..core import records
from ..core.errors import R3labError, shown
from ..core.files import whole_folder
from ..core.geometry import Box, Size, box_of_cell, crop_to_source
from ..trajectory import ONE, Trajectory, plain
from ..trajectory import load as load_trajectory
from ..trajectory import save as save_trajectory
from .verdict import Evidence, Share, Verdict, profile

FORMAT, VERSION = "r3lab.explanation", 4
RECORD, ARRAYS = "explanation.json", "maps.npz"
MOST_BYTES = 64_000_000  # of the record, and of all maps together


@dataclass(frozen=True)
class HeatMap:
    """A map over a part of the source image: a grid of numbers that knows which pixels it covers.

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

    def cells(self) -> list[Box]:
        """Source pixels of every cell, row by row."""
        rows, columns = self.values.shape
        return [self.cell(column, row) for row in range(rows) for column in range(columns)]

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
        x1, y1, x2, y2 = self.cells()[int(self.values.argmax())]
        return (x1 + x2) / 2, (y1 + y2) / 2


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
    percentile: Share


@dataclass(frozen=True)
class Region:
    """A cell of the overview (source pixels): its part of the map, and how many times that of a neutral question."""

    box: Box
    share: float
    ratio: float


@dataclass(frozen=True)
class BoxAttention:
    """Attention from the coordinates of a box on the overview.

    Attributes
    ----------
    percentile : part of the boxes of its size at random positions that hold less, 0 to 1
    neutral : the same under a neutral question
    relative : the same on the quotient of the two maps
    regions : those that hold most beyond the neutral question, the highest first
    words : those that are read most beyond what the other events do, the highest first
    """

    percentile: Share
    neutral: Share
    relative: Share
    regions: tuple[Region, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class CropAttention:
    """Attention from the words after a crop, and those of the answer: a token's mean over an even share of 1.

    Attributes
    ----------
    crop, overview, text : on an image token of the crop, of the overview, on a token of text; sinks left out
    """

    crop: float
    overview: float
    text: float

    @property
    def says_read(self) -> bool:
        """Whether attention says that the crop was read: more on a token of it than on one of the overview."""
        return self.crop > self.overview


@dataclass(frozen=True)
class Worth:
    """A crop replaced: change in nats of the words that name the answer given, what is answered, and whether that is a
    change (`trials.changed`); `empty` where nothing is there that the look was taken for (counted in the evidence)."""

    name: str
    nats: float
    answer: str | None
    changed: bool
    empty: bool = False


@dataclass(frozen=True)
class Cut:
    """Attention cut from the words after a crop, and the answer, to `what`: their change in nats, all together."""

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
    drawn, reading : attention from the box's coordinates and from the words after the crop; None where it was not read
    worth, cuts : interventions on this look
    regret, best : nats by which the best window would have been worth more, and that window
    coverage : part of a true region in the crop, of the one it holds most of; None where none is known
    used : whether the answer depends on this crop: it follows another, and is lost, or less sure, with nothing to read;
        None where that is not sure, or only one of the two holds
    disagree : attention says it was read and interventions that it was not, or the other way round
    sentence : all of it in words
    """

    number: Annotated[int, records.count]
    box: Box | None
    refused: str = ""
    asked: str = ""
    drawn: BoxAttention | None = None
    reading: CropAttention | None = None
    worth: tuple[Worth, ...] = ()
    cuts: tuple[Cut, ...] = ()
    regret: float | None = None
    best: Box | None = None
    coverage: Share | None = None
    used: bool | None = None
    disagree: bool = False
    sentence: str = ""

    def table(self) -> list[tuple[str, str]]:
        """Rows (what was measured, value); foreign text in them is quoted and cut, on one line."""
        rows = [("box", "none" if self.box is None else _box(self.box))]
        if self.refused:
            return [*rows, ("refused", shown(self.refused, 120))]
        if self.coverage is not None:
            rows.append(("a true region in the crop", f"{self.coverage:.0%}"))
        if self.drawn is not None:
            found = self.drawn
            rows.append(("attention in the box, against boxes of its size", f"above {found.percentile:.0%}"))
            rows.append(("the same under a neutral question", f"above {found.neutral:.0%}"))
            rows.append(("the same, relative to the neutral question", f"above {found.relative:.0%}"))
            rows += [("drawn by the region", f"{_box(r.box)}, {r.ratio:.2g} times the neutral") for r in found.regions]
            rows += [("drawn by the word", f"{shown(w.text, 40)}, above {w.percentile:.0%}") for w in found.words]
        if self.reading is not None:
            rows.append(("attention of the answer, crop token", f"{self.reading.crop:.2f} of an even share"))
            rows.append(("attention of the answer, overview token", f"{self.reading.overview:.2f} of an even share"))
        for w in self.worth:
            answer = "no answer" if w.answer is None else f"answers {shown(w.answer, 40)}"
            same = "as before" if w.answer is not None else "as likely as before"
            told = f"{'changed' if w.changed else same}: {answer}, {w.nats:+.2f} nats"
            rows.append((f"crop {'emptied' if w.empty else 'moved'}: {w.name}", told))
        rows += [(f"attention cut: {cut.what}", f"{cut.change:+.2f} nats") for cut in self.cuts]
        if self.regret is not None and self.best is not None:
            rows.append(("regret", f"{self.regret:.2f} nats; best window {_box(self.best)}"))
        rows.append(("used", {True: "yes", False: "no", None: "not sure"}[self.used]))
        return [*rows, ("attention and intervention", "disagree" if self.disagree else "do not disagree")]


def _box(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"


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
    maps : heat maps by name: "look 1 raw", "look 1 neutral", "look 1 relative", "look 1 value",
        "look 1 foretold" (where the policy has a head for it)
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
        same = self.record() == other.record() and self.trajectory == other.trajectory
        return same and all(np.array_equal(h.values, other.maps[name].values) for name, h in self.maps.items())

    def table(self) -> list[tuple[str, str, str]]:
        """Rows (look, what was measured, value); foreign text in them is quoted and cut, on one line."""
        rows = [("all", "verdict", f"{self.verdict.kind} ({self.verdict.confidence:.0%})")]
        found = profile(self.evidence) if self.evidence.answered else ()
        rows += [("all", f"the {one.of} {one.says} {one.change}", f"{one.end} in {one.counts}") for one in found]
        rows += [] if found else [("all", "because", reason) for reason in self.verdict.reasons]
        return rows + [(f"look {e.number + 1}", what, value) for e in self.looks for what, value in e.table()]

    def record(self) -> dict[str, Any]:
        """All but the trajectory and the values of the maps, as JSON holds it."""
        maps = [{"name": name, "box": list(h.box), "source": list(h.source)} for name, h in self.maps.items()]
        return {name: plain(getattr(self, name)) for name in _READERS if name != "maps"} | {"maps": maps}

    def save(self, folder: str | Path) -> Path:
        """Write the explanation into a folder of its own; one that holds an older explanation is replaced.

        Raises
        ------
        R3labError
            If the folder holds something else, or the disk refuses.
        """
        folder = Path(folder)
        record = {"format": FORMAT, "version": VERSION, **self.record()}
        with whole_folder(folder, replace=(folder / RECORD).is_file()) as part:
            save_trajectory(self.trajectory, part)
            values: dict[str, Any] = {str(i): heat.values for i, heat in enumerate(self.maps.values())}
            np.savez_compressed(part / ARRAYS, **values)
            (part / RECORD).write_text(json.dumps(record, allow_nan=False, indent=1) + "\n", encoding="ascii")
        return folder

    @staticmethod
    def load(folder: str | Path) -> Explanation:
        """Read what `save` wrote.

        Returns
        -------
        Explanation
            Without maps where `maps.npz` is not there.

        Raises
        ------
        R3labError
            Naming the file and the field, if something is missing, damaged, of another version or does not fit.
        """
        folder = Path(folder)
        path = folder / RECORD
        try:
            if path.stat().st_size > MOST_BYTES:
                raise R3labError(f"{shown(str(path))} has over {MOST_BYTES:,} bytes; it is no explanation.")
            record = records.parse(path.read_text(encoding="utf-8"), RECORD)
        except (OSError, UnicodeDecodeError) as error:
            raise R3labError(f"Cannot read {shown(str(path))}: {shown(str(error))}; name a saved folder.") from error
        found = records.made(dict, **_READERS)(records.own_format(record, FORMAT, VERSION, RECORD), RECORD)
        trajectory = load_trajectory(folder / ONE)
        assert isinstance(trajectory, Trajectory)  # of one trajectory in a .json file
        numbers = [entry.number for entry in found["looks"]]
        if numbers != sorted(set(numbers)) or any(n >= len(trajectory.looks) for n in numbers):
            raise R3labError(f"{RECORD}: looks {shown(numbers)} are not those of its trajectory; save it again.")
        shapes, path = found.pop("maps"), folder / ARRAYS
        values = _arrays(path, len(shapes)) if path.is_file() else []
        maps = {s["name"]: HeatMap(v, s["box"], s["source"]) for s, v in zip(shapes, values, strict=False)}
        return Explanation(trajectory=trajectory, maps=maps, **found)


def _arrays(path: Path, count: int) -> list[np.ndarray]:
    """So many float32 maps (rows, columns) of an npz file; no object arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise R3labError(f"it holds {size:,} bytes, at most {MOST_BYTES:,}")
        with np.load(path, allow_pickle=False) as held:
            found = [held[str(i)] for i in range(count)]
    except Exception as error:  # a hostile archive can raise nearly anything from a reader
        raise R3labError(f"Cannot read {path.name}: {shown(str(error))}; save it again.") from error
    for i, value in enumerate(found):
        if value.dtype != np.float32 or value.ndim != 2 or not value.size or not np.isfinite(value).all():
            raise R3labError(f"{path.name}: map {i} is not a grid of finite numbers; save it again.")
    return found


_MAP = {"name": records.text, "box": records.reader(Box), "source": records.reader(Size)}
_READERS = {
    **records.readers(Explanation, "trajectory", "maps"),
    "maps": records.row(records.made(dict, **_MAP)),
}
