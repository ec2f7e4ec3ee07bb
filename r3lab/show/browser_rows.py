"""Rows of a browser: VLIR samples, answers of an evaluation, rollouts; from memory, or from disk, told by content.

A row holds what one filters and sorts by; the trajectory that the player shows is read when the row is opened, and only
then its pictures. What does not fit is counted and told, and costs only itself. ``PATH#17`` names one record, as a
browser does. Simplified: a VLIR sample is played like the rollout that its rationale would be, and its image is checked
when it is opened.

    found = read_rows(["vlir/raw", "runs/eval"])
    found.rows, found.left_out, found.problems           # [Row, ...], 2, ["vlir.jsonl line 7: ...", ...]
    found.rows[0].world, found.rows[0].read()            # "badges", Trajectory(...)
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..core import records
from ..core.errors import R3labError, shown
from ..core.geometry import Frame, iou
from ..core.images import cut
from ..core.protocol import answer_of, box_text, same_answer
from ..core.records import Row as Line
from ..core.rows import json_lines
from ..train.rewards import deciding_look
from ..trajectory import FORMAT as ROLLOUTS
from ..trajectory import MANY, ONE, ImageRef, Kind, Look, Trajectory, from_record, load
from ..vlir import sample as vlir
from ..vlir.sample import Rationale, Sample
from .steps import ended, true_regions, verdict

SAMPLE, ANSWER, ROLLOUT = "sample", "answer", "rollout"  # what a row can be
JOURNALS = "r3lab.journal"
JOURNAL = Path("records", "journal.jsonl")  # in the folder of an evaluation
TOLD = 100  # problems that are kept in words


@dataclass(frozen=True)
class Row:
    """One record; all its text is foreign.

    Attributes
    ----------
    kind : SAMPLE, ANSWER or ROLLOUT
    name, question, world, split, arm : text
    read : gives what is played, with its images, or raises `R3labError`; None where only words were kept
    given, truth : answers; None where there is none, or it is not known
    result : right, wrong, unknown, partly (a score between 0 and 1) or skipped
    needs_look : None where this is not known
    looks, reward, score, iou : None where there is no such number
    wrote, ending : where nothing is played: what the policy wrote, and why it gave no answer
    file, number : where it was read from: the path as it was given, and its place there from 1
    """

    kind: str
    name: str
    question: str
    read: Callable[[], Trajectory] | None = field(compare=False, repr=False)
    world: str = ""
    split: str = ""
    arm: str = ""
    given: str | None = None
    truth: str | None = None
    result: str = "unknown"
    needs_look: bool | None = None
    looks: int | None = None
    reward: float | None = None
    score: float | None = None
    iou: float | None = None
    wrote: str = ""
    ending: str = ""
    file: str = ""
    number: int = 0


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


# -- one record ------------------------------------------------------------------------------------------------------

_WANTED = {
    **dict.fromkeys(("id", "source", "arm"), records.text),
    "outcome": records.of("'graded' or 'skipped'", lambda value: value in ("graded", "skipped")),
}
_OPTIONAL = {
    **dict.fromkeys(("question", "answer", "text"), records.text),
    "truth": records.of("text or a number", lambda value: type(value) in (str, int, float), str),
    "needs_look": records.flag,
    "iou": records.number,
    "looks": records.of("a count", lambda value: type(value) is int and 0 <= value < 1 << 31),
}


def row_of_sample(sample: Sample, rationale: Rationale, read: Callable[[], Trajectory] | None = None) -> Row:
    """A VLIR sample; its result says whether the rationale ends in the true answer.

    Parameters
    ----------
    sample
        Its image is not looked at where `read` gives the rollout that the rationale would be.
    """
    given = answer_of("".join(rationale.texts))
    return Row(
        SAMPLE,
        sample.id,
        sample.question,
        read or (lambda: as_rollout(sample, rationale)),
        sample.world,
        sample.split,
        given=given,
        truth=sample.answer,
        result="right" if same_answer(given, sample.answer) else "wrong",
        needs_look=sample.needs_look,
        looks=len(rationale.boxes),
    )


def as_rollout(sample: Sample, rationale: Rationale) -> Trajectory:
    """A rationale as the rollout that it would be: its regions are looks, their crops the pixels of the image.

    Simplified: a part is one token of no policy, and an image is filed under a name instead of its hash.
    """
    size = sample.image.size
    answer = answer_of("".join(rationale.texts))
    t = Trajectory(
        sample.id, sample.question, ImageRef("image", *size), size, Frame.SOURCE, answer=answer,
        finish="malformed" if answer is None else "answered", truth=sample.truth, images={"image": sample.image},
    )  # fmt: skip
    for part in rationale.parts:
        at = len(t.pieces)
        if isinstance(part, str):
            t.pieces.append(part)
            t.kinds.append(Kind.SAMPLED)
            continue
        crop = cut(sample.image, part, (max(1, round(part[2] - part[0])), max(1, round(part[3] - part[1]))))
        name = f"crop {len(t.looks) + 1}"
        t.images[name] = crop
        t.looks.append(
            Look((at, at + 1), part, part, True, crop=ImageRef(name, *crop.size), crop_span=(at + 1, at + 2))
        )
        t.pieces += [box_text([round(v) for v in part]), ""]
        t.kinds += [Kind.SAMPLED, Kind.CROP]
    t.ids, t.logprobs, t.entropies = [0] * len(t.pieces), [None] * len(t.pieces), [None] * len(t.pieces)
    return t


def row_of_entry(
    entry: Mapping[str, Any],
    split: str = "",
    read: Callable[[], Trajectory] | None = None,
    where: str = "The entry",
) -> Row:
    """An entry of an evaluation's journal (`evaluate.run`).

    Parameters
    ----------
    split
        That was asked.
    read
        Its trajectory, where one was kept.
    where
        Begins the message of an error.

    Raises
    ------
    R3labError
        If a field is missing or wrong; the message names it, what it holds and what was wanted.
    """
    held = records.fields(entry, _WANTED, _OPTIONAL, where)
    name, world, outcome = (held.pop(key) for key in ("id", "source", "outcome"))
    question, given, wrote = (held.pop(key) for key in ("question", "answer", "text"))
    held |= {"question": question or "", "given": given, "wrote": wrote or "", "world": world, "split": split}
    if outcome == "skipped":
        why = " ".join(filter(None, (_text_or_nothing(entry.get(key)) for key in ("reason", "detail"))))
        return Row(ANSWER, name, read=read, result="skipped", ending=why, **held)
    score = records.fields(entry, {"score": records.number}, where=where)["score"]
    result = "right" if score >= 1 else "wrong" if score <= 0 else "partly"
    ending = "" if given is not None else f"it {ended(_text_or_nothing(entry.get('finish')))}"
    return Row(ANSWER, name, read=read, result=result, score=score, ending=ending, **held)


def row_of_trajectory(t: Trajectory, read: Callable[[], Trajectory] | None = None) -> Row:
    """A rollout.

    Parameters
    ----------
    t
        With its images, or without where `read` gives it once more with them.
    """
    ending, needs = verdict(t), t.truth.get("needs_look")
    look, regions = deciding_look(t), true_regions(t)
    return Row(
        ROLLOUT,
        t.sample_id,
        t.question,
        read or (lambda: t),
        _text_or_nothing(t.truth.get("world")),
        _text_or_nothing(t.truth.get("split")),
        t.arm,
        ending.answer,
        ending.truth,
        ending.state,
        needs if isinstance(needs, bool) else None,
        len(t.looks),
        math.fsum(t.rewards.values()) if t.rewards else None,
        iou=iou(look.box, regions[-1]) if look is not None and look.box is not None and regions else None,
    )


def _text_or_nothing(value: object) -> str:
    return value if isinstance(value, str) else ""


# -- many ------------------------------------------------------------------------------------------------------------


def rows_of(given: Iterable[Any], limit: int | None = None) -> Found:
    """Rows of records in memory: (sample, rationale) pairs, samples, trajectories, entries of a journal.

    Raises
    ------
    R3labError
        If something is no record at all, or not one fits.
    """
    _check(limit)
    found = Found()
    for number, record in enumerate(islice(given, limit), start=1):
        pair = (record, Rationale(("",))) if isinstance(record, Sample) else record
        paired = isinstance(pair, tuple) and [type(one) for one in pair] == [Sample, Rationale]
        if not paired and not isinstance(record, Trajectory | Mapping):
            raise R3labError(
                f"Record {number} must be a (sample, rationale) pair, a trajectory or an entry, got {shown(record)}."
            )
        try:
            if isinstance(record, Trajectory):
                row = row_of_trajectory(record)
            else:
                row = row_of_sample(*pair) if paired else row_of_entry(record, where=f"Entry {number}")
            found.rows.append(replace(row, number=number))
        except R3labError as error:
            found.leave_out(str(error))
    return _some(found, "; give samples, trajectories or entries")


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
    _check(limit)
    found, names = Found(), [str(path) for path in paths]
    for name in names:
        path, number = _named(name)
        rows = _rows_in(path, found if number is None else Found())
        if number is None:
            found.rows += islice(rows, limit)
            continue
        one = next((row for row in rows if row.number >= number), None)
        if one is None or one.number != number:
            raise R3labError(f"{shown(str(path))} has no record {number:,} that can be read; name another.")
        found.rows.append(one)
    return _some(found, f" in {', '.join(map(shown, names)) or 'nothing'}")


def _check(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise R3labError(f"The limit must be at least 1, got {limit}.")


def _some(found: Found, where: str) -> Found:
    if not found.rows:
        why = f" ({found.left_out:,} do not fit; the first: {found.problems[0]})" if found.left_out else ""
        raise R3labError(f"There is no record to show{where}{why}.")
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


def _rows_in(path: Path, found: Found) -> Iterator[Row]:
    """The rows of a path, by what is in it; records that do not fit are counted in `found`."""
    if not _exists(path):
        raise R3labError(f"{shown(str(path))} does not exist; name a folder of records.")
    kinds: dict[str, Make] = {vlir.FORMAT: _samples, JOURNALS: _answers, ROLLOUTS: _rollouts}
    if not path.is_dir():
        first = (line.data.get("format") for line in _lines(path))
        kind = next((name for name in first if name in list(kinds)), None)  # what is in a record may have no hash
        if kind is None:
            raise R3labError(
                f"{shown(str(path))} holds no VLIR sample, no journal and no trajectory; name another file."
            )
        files, make = [path], kinds[kind]
    else:
        held = [name for name in (Path(vlir.LINES), JOURNAL, Path(JOURNAL.name)) if (path / name).is_file()][:1]
        files, make = [path / name for name in held], _samples if held == [Path(vlir.LINES)] else _answers
        if not held:
            saved = sorted(file for name in (ONE, MANY) for file in path.rglob(name))  # hidden ones are half written
            files = [f for f in saved if not any(part.startswith(".") for part in f.relative_to(path).parts)]
            make = _rollouts
    if not files:
        raise R3labError(
            f"{shown(str(path))} holds no {vlir.LINES}, no {JOURNAL} and no saved trajectory; name a VLIR folder, the "
            "folder of `r3lab eval`, or one of trajectories."
        )
    before = 0
    for file in files:  # numbered through all of them
        last = 0
        for number, row in make(file, found):
            last = max(last, number)
            yield replace(row, file=str(path), number=before + number)
        before += max(last, 1)


Make = Callable[[Path, Found], Iterator[tuple[int, Row]]]  # a file's rows, each with its place there from 1


def _lines(path: Path) -> Iterator[Line]:
    """The records of a file: one a line, or the whole file."""
    try:
        if path.suffix != ".json":
            yield from json_lines(path)
            return
        data = records.parse(path.read_text(encoding="utf-8"), path.name)
        yield Line(f"{path.parent.name}/{path.name}", 1, data if isinstance(data, dict) else {})
    except (OSError, UnicodeDecodeError, records.SchemaError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise R3labError(f"Cannot read {shown(str(path))}: {why}; check the path.") from error


def _fitting(path: Path, found: Found, make: Callable[[Line], Row | None]) -> Iterator[tuple[Line, Row]]:
    """Each line of a file with its row; of lines that do not fit it is told."""
    for line in _lines(path):
        try:
            if line.problem is not None:
                raise R3labError(f"{line.where}: {line.problem}")
            row = make(line)
        except R3labError as error:
            found.leave_out(str(error))
            continue
        if row is not None:
            yield line, row


def _packed(record: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """A record, small until it is wanted again."""
    packed = zlib.compress(json.dumps(record).encode("ascii"), 1)
    return lambda: dict(json.loads(zlib.decompress(packed)))


def _samples(path: Path, found: Found) -> Iterator[tuple[int, Row]]:
    def make(line: Line) -> Row:
        record, where, held = _packed(line.data), line.where, vlir.read_fields(line.data, line.where)
        rationale = held.pop("rationale")  # the image is named in what is held, and opened when the row is
        return row_of_sample(
            Sample(**held), rationale, lambda: as_rollout(*vlir.from_record(record(), path.parent, where))
        )

    return ((line.number, row) for line, row in _fitting(path, found, make))


def _rollouts(path: Path, found: Found) -> Iterator[tuple[int, Row]]:
    def make(line: Line) -> Row:
        record, where = _packed(line.data), line.where
        return row_of_trajectory(from_record(line.data, where), lambda: from_record(record(), where, path.parent))

    return ((line.number, row) for line, row in _fitting(path, found, make))


def _answers(path: Path, found: Found) -> Iterator[tuple[int, Row]]:
    """Entries of an evaluation's journal; of several with one key the last counts."""
    split = ""
    rows: dict[str, tuple[int, Row]] = {}

    def make(line: Line) -> Row | None:
        nonlocal split
        if line.data.get("format") == JOURNALS:
            same = line.data.get("same")
            split = _text_or_nothing(same.get("split")) if isinstance(same, dict) else ""
            return None
        rows.pop(str(line.data.get("key", line.number)), None)
        return row_of_entry(line.data, split, _kept(path.parent.parent, line), line.where)

    for line, row in _fitting(path, found, make):
        rows[str(line.data.get("key", line.number))] = (line.number, row)
    return iter(rows.values())


def _kept(out: Path, line: Line) -> Callable[[], Trajectory] | None:
    """Reads the trajectory that was kept of an answer, as `evaluate.run.kept_in` names it; None without one."""
    source, arm, number, name = (line.data.get(key) for key in ("source", "arm", "number", "id"))
    if not (isinstance(source, str) and isinstance(arm, str) and type(number) is int and 0 <= number < 1 << 31):
        return None
    home, path, where = out / "trajectories", out / "trajectories" / arm / f"{source}-{number:05d}" / ONE, line.where
    try:
        inside = path.resolve().is_relative_to(home.resolve())  # a name that leads out of the folder is no name
        if not (inside and path.is_file()):
            return None
    except (OSError, ValueError):
        return None

    def read() -> Trajectory:
        t = load(path)
        assert isinstance(t, Trajectory)
        if t.sample_id != name:
            raise R3labError(f"{where}: the trajectory kept for {shown(name)} is of {shown(t.sample_id)}.")
        return t

    return read
