"""Rows of a browser from disk: a VLIR folder, the folder of an evaluation, saved trajectories; told by what is in them.

What does not fit is counted and told, and costs only itself. An index is made without opening a picture; the line of a
record is kept, packed, so that opening it needs no second reading. ``PATH#17`` names one record, as a browser does.
Simplified: a VLIR image is checked when its record is opened.

    found = read_rows(["vlir/raw", "runs/eval"])
    found.rows, found.left_out, found.problems           # [Row, ...], 2, ["vlir.jsonl line 7: ...", ...]
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import R3labError, shown
from ..foreign.lines import json_lines
from ..foreign.row import Row as Line
from ..trajectory import FORMAT as ROLLOUTS
from ..trajectory import MANY, ONE, Trajectory, TrajectoryError, from_record, load
from ..vlir import sample as vlir
from ..vlir.sample import Rationale, Sample, SampleError
from .browser_answers import row_of_entry
from .browser_rows import Row, row_of_trajectory, sample_row

JOURNALS = "r3lab.journal"
JOURNAL = Path("records", "journal.jsonl")  # in the folder of an evaluation
TOLD = 100  # problems that are kept in words


@dataclass
class Found:
    """What was read.

    Attributes
    ----------
    rows : records
    left_out : records that do not fit
    problems : of the first hundred of them, place and reason
    """

    rows: list[Row] = field(default_factory=list)
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    def leave_out(self, message: str) -> None:
        """Count a record that does not fit."""
        self.left_out += 1
        if len(self.problems) < TOLD:
            self.problems.append(message)


def read_rows(paths: Iterable[str | Path], limit: int | None = None) -> Found:
    """Read records.

    Parameters
    ----------
    paths
        In order: a VLIR folder or its `vlir.jsonl`; the folder of `r3lab eval` or its journal; trajectories, or a
        folder that holds such. ``PATH#N`` is the N-th record of a path.
    limit
        The first so many records of each path.

    Raises
    ------
    R3labError
        If a path holds no records, the limit is less than 1, or not one record fits.
    """
    if limit is not None and limit < 1:
        raise R3labError(f"The limit must be at least 1, got {limit}.")
    found, names = Found(), [str(path) for path in paths]
    for name in names:
        path, number = _named(name)
        read, files = _reader(path)
        if number is not None:
            one = next((row for row in read(files, str(path), Found()) if row.number >= number), None)
            if one is None or one.number != number:
                raise R3labError(f"{shown(str(path))} has no record {number:,} that can be read; name another.")
            found.rows.append(one)
        else:
            found.rows += islice(read(files, str(path), found), limit)
    if not found.rows:
        why = f" ({found.left_out:,} do not fit; the first: {found.problems[0]})" if found.left_out else ""
        raise R3labError(f"There is no record to show in {', '.join(map(shown, names)) or 'nothing'}{why}.")
    return found


def _named(name: str) -> tuple[Path, int | None]:
    """A path, and the record of it that is asked for."""
    head, mark, number = name.rpartition("#")
    if mark and number.isascii() and number.isdigit() and len(number) < 12 and not _exists(Path(name)):
        return Path(head), int(number)
    return Path(name), None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a null character
        return False


Read = Callable[[Sequence[Path], str, Found], Iterator[Row]]


def _reader(path: Path) -> tuple[Read, list[Path]]:
    """How a path is read, and the files in it."""
    if not _exists(path):
        raise R3labError(f"{shown(str(path))} does not exist; name a folder of records.")
    if not path.is_dir():
        return _told_by_content(path), [path]
    for name, read in ((Path(vlir.LINES), _samples), (JOURNAL, _answers), (Path(JOURNAL.name), _answers)):
        if (path / name).is_file():
            return read, [path / name]
    files = sorted(f for name in (ONE, MANY) for f in path.rglob(name))
    files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]  # half written
    if not files:
        raise R3labError(
            f"{shown(str(path))} holds no {vlir.LINES}, no {JOURNAL} and no saved trajectory; name a VLIR folder, the "
            "folder of `r3lab eval`, or one of trajectories."
        )
    return _rollouts, files


def _told_by_content(path: Path) -> Read:
    """How a file is read, by the format that its first record names."""
    if path.suffix == ".json":
        return _rollouts
    kinds: dict[str, Read] = {vlir.FORMAT: _samples, JOURNALS: _answers, ROLLOUTS: _rollouts}
    first = next((row.data["format"] for row in _lines(path) if row.data.get("format") in list(kinds)), None)
    if first is None:
        raise R3labError(f"{shown(str(path))} holds no VLIR sample, no journal and no trajectory; name another file.")
    return kinds[first]


def _pack(data: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(data).encode("ascii"), 1)


def _unpack(packed: bytes) -> Any:
    return json.loads(zlib.decompress(packed))


def _lines(path: Path) -> Iterator[Line]:
    try:
        yield from json_lines(path)
    except OSError as error:
        raise R3labError(f"Cannot read {shown(str(path))}: {error.strerror or error}; check the path.") from error


def _fitting(path: Path, found: Found) -> Iterator[Line]:
    """The lines of a file that are objects; of the others it is told."""
    for line in _lines(path):
        if line.problem is not None:
            found.leave_out(f"{line.where}: {line.problem}")
        else:
            yield line


# -- samples ---------------------------------------------------------------------------------------------------------


def _samples(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """VLIR samples; images are opened with the records."""
    for line in _fitting(files[0], found):
        try:
            known, text, looks = _sample_fields(line)
        except R3labError as error:
            found.leave_out(str(error))
            continue
        pair = partial(_pair, _pack(line.data), files[0].parent, line.where)
        yield sample_row(known, text, looks, pair, file=name, number=line.number)


def _pair(packed: bytes, folder: Path, where: str) -> tuple[Sample, Rationale]:
    return vlir.from_record(_unpack(packed), folder, where)


def _sample_fields(line: Line) -> tuple[tuple[str, str, str, str, str, bool | None], str, int]:
    """What a row says of a sample, its text, its looks; all but the boxes and the image is checked."""
    data, where = line.data, line.where
    if data.get("format") != vlir.FORMAT or data.get("version") != vlir.VERSION:
        raise SampleError(f"{where}: wanted format {vlir.FORMAT!r} version {vlir.VERSION}, got {shown(data)}")
    for key in ("id", "question", "answer", "world", "split", "image"):
        if not isinstance(data.get(key), str):
            raise SampleError(f"{where}: field {key!r} must be text, got {shown(data.get(key))}")
    needs, parts = data.get("needs_look"), data.get("rationale")
    if needs is not None and not isinstance(needs, bool):
        raise SampleError(f"{where}: field 'needs_look' must be true, false or null, got {shown(needs)}")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise SampleError(f"{where}: field 'rationale' must be a list with at least one part")
    if not isinstance(data.get("regions"), list):
        raise SampleError(f"{where}: field 'regions' must be a list of boxes")
    text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    known = (data["id"], data["question"], data["answer"], data["world"], data["split"], needs)
    return known, text, sum("box" in part for part in parts)


# -- answers ---------------------------------------------------------------------------------------------------------


def _answers(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """Entries of an evaluation's journal; of several with one key the last counts."""
    split, lines = "", {}
    for line in _fitting(files[0], found):
        if line.data.get("format") == JOURNALS:
            same = line.data.get("same")
            asked = same.get("split") if isinstance(same, dict) else None
            split = asked if isinstance(asked, str) else ""
        else:
            lines[str(line.data.get("key", line.number))] = (line.where, line.number, _pack(line.data))
    out = files[0].parent.parent
    for where, number, packed in sorted(lines.values(), key=lambda one: one[1]):
        entry = _unpack(packed)
        try:
            kept = _kept(out, entry)
            if kept is not None and not isinstance(entry.get("question"), str):  # journals did not always hold it
                entry["question"] = _one(kept).question
            read = partial(_one, kept, True) if kept is not None else None
            yield row_of_entry(entry, split, read, where, file=name, number=number)
        except R3labError as error:
            found.leave_out(str(error))


def _kept(out: Path, entry: dict[str, Any]) -> Path | None:
    """The file of the trajectory that was kept of an answer, as `evaluate.run.kept_in` names it; None without one."""
    source, arm, number = entry.get("source"), entry.get("arm"), entry.get("number")
    if not (isinstance(source, str) and isinstance(arm, str) and type(number) is int and 0 <= number < 1 << 31):
        return None
    home, path = out / "trajectories", out / "trajectories" / arm / f"{source}-{number:05d}" / ONE
    try:
        inside = path.resolve().is_relative_to(home.resolve())  # a name that leads out of the folder is no name
        return path if inside and path.is_file() else None
    except (OSError, ValueError):
        return None


def _one(path: Path, images: bool = False) -> Trajectory:
    """A trajectory from a file that holds one."""
    try:
        if images:
            held = load(path)
            assert isinstance(held, Trajectory)
            return held
        return from_record(schema.parse(path.read_text(encoding="utf-8"), path.name), path.name)
    except (OSError, UnicodeDecodeError, schema.SchemaError) as error:
        raise TrajectoryError(f"Cannot read {shown(str(path))}: {shown(str(error))}.") from error


# -- rollouts --------------------------------------------------------------------------------------------------------


def _rollouts(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """Saved trajectories, numbered through all files."""
    number = 0
    for path in files:
        if path.suffix != ".jsonl":
            number += 1
            try:
                yield row_of_trajectory(_one(path), partial(_one, path, True), file=name, number=number)
            except R3labError as error:
                found.leave_out(f"{path.parent.name}/{path.name}: {error}")
            continue
        before = number
        for line in _lines(path):
            number = before + line.number
            try:
                if line.problem is not None:
                    raise TrajectoryError(f"{line.where}: {line.problem}")
                t = from_record(line.data, line.where)
            except R3labError as error:
                found.leave_out(str(error))
                continue
            again = partial(_again, _pack(line.data), line.where, path.parent)
            yield row_of_trajectory(t, again, file=name, number=number)


def _again(packed: bytes, where: str, folder: Path) -> Trajectory:
    return from_record(_unpack(packed), where, folder)
