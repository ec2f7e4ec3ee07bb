"""A region river on disk: a line a step in `river.jsonl`, each photograph once in `images/`.

    log = RiverLog("runs/rgrpo/river")
    log(10, rollout(policy, held_out, temperature=0))           # the step, and one trajectory a sample
    load_river("runs/rgrpo/river").steps

Reading is strict: what is missing, of another kind or out of bounds is an error that names its line. Simplified: a
line that a kill cut off is left out; a photograph that is not there is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import shown
from ..images import content_hash, open_image, to_png_bytes
from ..ledger import plain
from ..trajectory import ImageRef, Trajectory
from .river import Answered, River, RiverError, Subject, answered, subject_of

FORMAT, VERSION, LINES = "r3lab.river", 1, "river.jsonl"
MOST_BYTES = 64_000_000  # of the file


class RiverLog:
    """Writes a river while a policy is trained; a run that goes on goes on with its river.

    Parameters
    ----------
    folder
        Made if it is not there.
    start
        Step from which this run goes on: later lines of an earlier part are dropped; 0 begins anew.
    """

    def __init__(self, folder: str | Path, start: int = 0) -> None:
        self.path = Path(folder) / LINES
        self._subjects: tuple[Subject, ...] = ()
        if start and self.path.is_file():
            self._subjects, rows = _read(self.path)
            kept = [_line(step, row) for step, row in rows if step <= start]
            self.path.write_text("".join([_head(self._subjects), *kept]), "ascii")

    def __call__(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Keep the answers of a step.

        Raises
        ------
        RiverError
            If these are not the samples of the steps before, or the disk refuses.
        """
        subjects = tuple(map(subject_of, trajectories))
        if self._subjects and subjects != self._subjects:
            raise RiverError(f"Step {step} answers other samples than the steps before; give the same, in order.")
        try:
            if not self._subjects:
                self._begin(subjects, trajectories)
            with self.path.open("a", encoding="ascii") as stream:
                stream.write(_line(step, tuple(map(answered, trajectories))))
        except OSError as error:
            raise RiverError(
                f"Cannot write {shown(str(self.path))}: {error.strerror or error}; free some space."
            ) from error

    def _begin(self, subjects: tuple[Subject, ...], trajectories: Sequence[Trajectory]) -> None:
        images = self.path.parent / "images"
        images.mkdir(parents=True, exist_ok=True)
        for t in trajectories:
            if t.image.hash in t.images:
                (images / f"{t.image.hash}.png").write_bytes(to_png_bytes(t.images[t.image.hash]))
        self.path.write_text(_head(subjects), "ascii")
        self._subjects = subjects


def _head(subjects: Sequence[Subject]) -> str:
    head = {"format": FORMAT, "version": VERSION, "subjects": plain(list(subjects))}
    return json.dumps(head, allow_nan=False) + "\n"


def _line(step: int, row: Sequence[Answered]) -> str:
    return json.dumps({"step": step, "answers": plain(list(row))}, allow_nan=False) + "\n"


def load_river(folder: str | Path) -> River:
    """Read what `RiverLog` or `save_river` wrote; a last line that was cut off by a kill is left out.

    Raises
    ------
    RiverError
        Naming line and field, if the file is missing, is no river or another version, or contradicts itself; or if a
        photograph has other pixels than its name says. Photographs that are not there are none.
    """
    path = Path(folder) if Path(folder).is_file() else Path(folder) / LINES
    subjects, rows = _read(path)
    images = {}
    for subject in subjects:
        held = path.parent / "images" / f"{subject.image.hash}.png"
        if held.is_file():
            image = open_image(held)
            if content_hash(image) != subject.image.hash:
                raise RiverError(f"Image {held.name} has other pixels than when it was saved; restore it.")
            images[subject.image.hash] = image
    return River(subjects, tuple(step for step, _ in rows), tuple(row for _, row in rows), images)


def _read(path: Path) -> tuple[tuple[Subject, ...], list[tuple[int, tuple[Answered, ...]]]]:
    """Samples, and steps with their answers, of a file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RiverError(f"{shown(str(path))} has over {MOST_BYTES:,} bytes; it is no river.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, RiverError):
            raise
        raise RiverError(f"Cannot read {shown(str(path))}: {shown(str(error))}; name a saved river.") from error
    lines = text.split("\n")[:-1]  # each ends with a newline; a last one without was cut off
    if not lines:
        raise RiverError(f"{shown(str(path))} is empty; name a saved river.")
    try:
        head = schema.parse(lines[0], f"{path.name} line 1")
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise RiverError(f'{path.name} is not a river: it lacks "format": "{FORMAT}".')
        if head.get("version") != VERSION:
            raise RiverError(f"{path.name} has version {shown(head.get('version'))}; this r3lab reads {VERSION}.")
        subjects = _HEAD({"subjects": head.get("subjects")}, f"{path.name} line 1")["subjects"]
        places = [f"{path.name} line {number}" for number in range(2, len(lines) + 1)]
        rows = [_ROW(schema.parse(line, place), place) for line, place in zip(lines[1:], places, strict=True)]
    except schema.SchemaError as error:
        raise RiverError(str(error)) from error
    return tuple(subjects), rows


def _tuple(read: schema.Read) -> schema.Read:
    rows = schema.row(read)
    return lambda value, where: tuple(rows(value, where))


def _between(low: float, high: float, kind: schema.Read) -> schema.Read:
    """A number of that kind within bounds, so that it can be drawn."""

    def read(value: Any, where: str) -> Any:
        found = kind(value, where)
        if not low <= found <= high:
            raise schema.SchemaError(f"{where} must be from {low:g} to {high:g}, got {shown(value)}.")
        return found

    return read


_box = schema.fixed(schema.number, 4)
_side, _step = _between(1, 1_000_000, schema.count), _between(0, 1e12, schema.count)
_image = schema.made(ImageRef, hash=schema.sha256, width=_side, height=_side)
_subject = schema.made(Subject, id=schema.text, question=schema.text, image=_image, regions=_tuple(_box))
_answered = schema.made(
    Answered,
    looks=_tuple(_box),
    refused=_between(0, 1e6, schema.count),
    iou=schema.maybe(_between(0, 1, schema.number)),
    entropy=schema.maybe(_between(0, 1e6, schema.number)),
    answer=schema.maybe(schema.text),
    right=schema.maybe(schema.flag),
)
_HEAD = schema.made(dict, subjects=schema.row(_subject))
_ROW = schema.made(lambda step, answers: (step, answers), step=_step, answers=_tuple(_answered))
