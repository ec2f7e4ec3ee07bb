"""Rows of a browser: VLIR samples, answers of an evaluation, rollouts; from memory, or from disk, told by content.

A row holds what one filters and sorts by; the trajectory that the player shows is read when the row is opened, and only
then its pictures. What does not fit is counted and told, and costs only itself. ``PATH#17`` names one record, as a
browser does. Simplified: a VLIR sample is played like the rollout that its rationale would be, and its image is checked
when it is opened.

    found = read_rows(["vlir/raw", "runs/eval"])
    found.rows, found.problems                           # [Row, ...], ["vlir.jsonl line 7: ...", ...]
    found.rows[0].world, found.rows[0].read()            # "badges", Trajectory(...)
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from os.path import exists
from pathlib import Path
from typing import Any

from ..core import records
from ..core.errors import R3labError, shown
from ..core.geometry import Frame, iou
from ..core.images import cut, inside
from ..core.protocol import answer_of, box_text, same_answer
from ..core.rows import RawRecord, json_lines
from ..train.rewards import deciding_look
from ..trajectory import FORMAT as ROLLOUTS
from ..trajectory import MANY, ONE, ImageRef, Kind, Look, Trajectory, from_record, load
from ..vlir import sample as vlir
from ..vlir.sample import Rationale, Sample
from .steps import ended, true_regions, verdict

SAMPLE, ANSWER, ROLLOUT = "sample", "answer", "rollout"  # what a row can be
JOURNALS = "r3lab.journal"
JOURNAL = Path("records", "journal.jsonl")  # in the folder of an evaluation

Read = Callable[[], Trajectory]


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
    read: Read | None = field(compare=False, repr=False)
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
    """What was read: records, and the place and reason of each that does not fit."""

    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


# -- one record ------------------------------------------------------------------------------------------------------


def row_of_sample(sample: Sample, rationale: Rationale, read: Read | None = None) -> Row:
    """A VLIR sample; its result says whether the rationale ends in the true answer.

    Parameters
    ----------
    sample
        Its image is not looked at where `read` gives the rollout that the rationale would be.
    """
    given = answer_of("".join(rationale.texts))
    told: dict[str, Any] = {"given": given, "truth": sample.answer, "needs_look": sample.needs_look}
    told |= {"result": "right" if same_answer(given, sample.answer) else "wrong", "looks": len(rationale.boxes)}
    read = read or (lambda: as_rollout(sample, rationale))
    return Row(SAMPLE, sample.id, sample.question, read, sample.world, sample.split, **told)


def as_rollout(sample: Sample, rationale: Rationale) -> Trajectory:
    """A rationale as the rollout that it would be: its regions are looks, their crops the pixels of the image.

    Simplified: a part is one token of no policy, and an image is filed under a name instead of its hash.
    """
    size, answer = sample.image.size, answer_of("".join(rationale.texts))
    finish, images = "malformed" if answer is None else "answered", {"image": sample.image}
    t = Trajectory(sample.id, sample.question, ImageRef("image", *size), size, Frame.SOURCE, images=images)
    t.answer, t.finish, t.truth = answer, finish, sample.truth
    for part in rationale.parts:
        if isinstance(part, str):
            t.pieces.append(part)
            t.kinds.append(Kind.SAMPLED)
            continue
        at, name = len(t.pieces), f"crop {len(t.looks) + 1}"
        crop = cut(sample.image, part, (max(1, round(part[2] - part[0])), max(1, round(part[3] - part[1]))))
        t.images[name] = crop
        ref, span = ImageRef(name, *crop.size), (at + 1, at + 2)
        t.looks.append(Look((at, at + 1), part, part, True, crop=ref, crop_span=span))
        t.pieces += [box_text([round(v) for v in part]), ""]
        t.kinds += [Kind.SAMPLED, Kind.CROP]
    t.ids, t.logprobs, t.entropies = [0] * len(t.pieces), [None] * len(t.pieces), [None] * len(t.pieces)
    return t


_WANTED = {
    **dict.fromkeys(("id", "source", "arm"), records.text),
    "outcome": records.of("'graded' or 'skipped'", lambda value: value in ("graded", "skipped")),
}
_OPTIONAL = {
    **dict.fromkeys(("question", "answer", "text", "finish", "reason", "detail"), records.text),
    "truth": records.of("text or a number", lambda value: type(value) in (str, int, float), str),
    "needs_look": records.flag,
    "iou": records.number,
    "score": records.number,
    "looks": records.of("a count", lambda value: type(value) is int and 0 <= value < 1 << 31),
}


def row_of_entry(entry: Mapping[str, Any], split: str = "", read: Read | None = None, where: str = "The entry") -> Row:
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
    e = records.fields(entry, _WANTED, _OPTIONAL, where)
    score, ending = e["score"], "" if e["answer"] is not None else f"it {ended(e['finish'] or '')}"
    if e["outcome"] == "skipped":
        result, ending = "skipped", " ".join(filter(None, (e["reason"], e["detail"])))
    elif score is None:
        raise R3labError(f"{where}: the field 'score' is missing; an answer that was graded has one.")
    else:
        result = "right" if score >= 1 else "wrong" if score <= 0 else "partly"
    told = {name: e[name] for name in ("arm", "truth", "needs_look", "looks", "score", "iou")}
    told |= {"given": e["answer"], "result": result, "wrote": e["text"] or "", "ending": ending}
    return Row(ANSWER, e["id"], e["question"] or "", read, e["source"], split, **told)


def row_of_trajectory(t: Trajectory, read: Read | None = None) -> Row:
    """A rollout.

    Parameters
    ----------
    t
        With its images, or without where `read` gives it once more with them.
    """
    end, needs, look, regions = verdict(t), t.truth.get("needs_look"), deciding_look(t), true_regions(t)
    world, split = (value if isinstance(value, str) else "" for value in map(t.truth.get, ("world", "split")))
    told: dict[str, Any] = {"given": end.answer, "truth": end.truth, "result": end.state, "looks": len(t.looks)}
    told["needs_look"] = needs if isinstance(needs, bool) else None
    told["reward"] = math.fsum(t.rewards.values()) if t.rewards else None
    told["iou"] = iou(look.box, regions[-1]) if look is not None and look.box is not None and regions else None
    return Row(ROLLOUT, t.sample_id, t.question, read or (lambda: t), world, split, t.arm, **told)


# -- many ------------------------------------------------------------------------------------------------------------


def rows_of(given: Iterable[Any]) -> Found:
    """Rows of records in memory: (sample, rationale) pairs, samples, trajectories, entries of a journal.

    Raises
    ------
    R3labError
        If something is no record at all.
    """
    found = Found()
    for number, record in enumerate(given, start=1):
        try:
            if isinstance(record, Trajectory):
                row = row_of_trajectory(record)
            elif isinstance(record, Mapping):
                row = row_of_entry(record, where=f"Entry {number}")
            else:
                sample, rationale = (record, Rationale(("",))) if isinstance(record, Sample) else record
                row = row_of_sample(sample, rationale)
            found.rows.append(replace(row, number=number))
        except R3labError as error:
            found.problems.append(str(error))
        except (TypeError, ValueError, AttributeError):
            wanted = "a (sample, rationale) pair, a trajectory or an entry"
            raise R3labError(f"Record {number} must be {wanted}, got {shown(record)}.") from None
    return found


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
        If a path holds no records, or the limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise R3labError(f"The limit must be at least 1, got {limit}.")
    found = Found()
    for name in map(str, paths):
        head, mark, number = name.rpartition("#")
        if not (mark and number.isascii() and number.isdigit()) or exists(name):
            found.rows += islice(_rows_in(Path(name), found.problems), limit)
            continue
        one = next((row for row in _rows_in(Path(head), []) if str(row.number) == number), None)
        if one is None:
            raise R3labError(f"{shown(head)} has no record {number[:12]} that can be read; name another.")
        found.rows.append(one)
    return found


def _rows_in(path: Path, problems: list[str]) -> Iterator[Row]:
    """The rows of a path, numbered through all of its files; of records that do not fit it is told."""
    if not exists(path):
        raise R3labError(f"{shown(str(path))} does not exist; name a folder of records.")
    files = [path]
    if path.is_dir():
        files = [path / name for name in (vlir.LINES, JOURNAL, JOURNAL.name) if (path / name).is_file()][:1]
        saved = sorted(file for name in (ONE, MANY) for file in path.rglob(name)) if not files else []
        files += [
            f for f in saved if not any(part.startswith(".") for part in f.relative_to(path).parts)
        ]  # half written
    before, known = 0, False
    for file in files:
        formats = (line.data.get("format") for line in _lines(file))
        last, kind = 0, next((one for one in formats if isinstance(one, str) and one in MAKERS), None)
        known |= kind is not None
        for number, row in _fitting(file, kind, problems):
            last = max(last, number)
            yield replace(row, file=str(path), number=before + number)
        before += max(last, 1)
    if not known:
        raise R3labError(
            f"{shown(str(path))} holds no {vlir.LINES}, no {JOURNAL} and no saved trajectory; name a VLIR folder, the "
            "folder of `r3lab eval`, or one of trajectories."
        )


def _lines(path: Path) -> Iterator[RawRecord]:
    """The records of a file: one a line, or the whole file."""
    try:
        if path.suffix != ".json":
            yield from json_lines(path)
            return
        data = records.parse(path.read_text(encoding="utf-8"), path.name)
        yield RawRecord(f"{path.parent.name}/{path.name}", 1, data if isinstance(data, dict) else {})
    except (OSError, UnicodeDecodeError, records.SchemaError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise R3labError(f"Cannot read {shown(str(path))}: {why}; check the path.") from error


def _fitting(path: Path, kind: str | None, problems: list[str]) -> Iterator[tuple[int, Row]]:
    """Each record of a file that fits, with its line's number."""
    split = ""
    for line in _lines(path):
        try:
            if line.problem is not None:
                raise R3labError(f"{line.where}: {line.problem}")
            if kind == JOURNALS and line.data.get("format") == JOURNALS:
                same = line.data.get("same")
                split = str(same.get("split") or "") if isinstance(same, dict) else ""
                continue
            if kind == JOURNALS and line.data.get("outcome") == "valued":  # by many rollouts: no answer
                continue
            yield line.number, MAKERS[kind or ROLLOUTS](line, path, split)
        except R3labError as error:
            problems.append(str(error))


def _packed(record: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """A record, small until it is wanted again."""
    packed = zlib.compress(json.dumps(record).encode("ascii"), 1)
    return lambda: dict(json.loads(zlib.decompress(packed)))


def _sample(line: RawRecord, path: Path, split: str) -> Row:
    record, where, held = _packed(line.data), line.where, vlir.read_fields(line.data, line.where)
    rationale = held.pop("rationale")  # the image is named in what is held, and opened when the row is
    return row_of_sample(Sample(**held), rationale, lambda: as_rollout(*vlir.from_record(record(), path.parent, where)))


def _rollout(line: RawRecord, path: Path, split: str) -> Row:
    record, where = _packed(line.data), line.where
    return row_of_trajectory(from_record(line.data, where), lambda: from_record(record(), where, path.parent))


def _answer(line: RawRecord, path: Path, split: str) -> Row:
    return row_of_entry(line.data, split, _kept(path.parent.parent, line), line.where)


MAKERS = {vlir.FORMAT: _sample, JOURNALS: _answer, ROLLOUTS: _rollout}  # a row, by the format that a file states


def _kept(out: Path, line: RawRecord) -> Read | None:
    """Reads the trajectory that was kept of an answer, as `evaluate.run.kept_in` names it; None without one."""
    try:  # a name that leads out of the folder is no name
        path = inside(out / "trajectories", "{arm}/{source}-{number:05d}/".format_map(line.data) + ONE)
    except (R3labError, KeyError, TypeError, ValueError):
        return None

    def read() -> Trajectory:
        t = load(path)
        assert isinstance(t, Trajectory)
        if t.sample_id != line.data.get("id"):
            raise R3labError(f"{line.where}: the trajectory kept is of another question, {shown(t.sample_id)}.")
        return t

    return read
