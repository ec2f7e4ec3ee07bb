"""Training logs as the dashboard reads them: of a run that ended, was killed, or is still going on.

A log is JSON, a line a step (`train.checkpoint.JsonlLog`); a run's folder holds it as `log.jsonl`, and beside it the
answers to held-out samples (`train.held_out`). What a log is not is an error that names file and line; what is missing
in one that is a log is a gap, and counted: a last line that was cut off, a value that is not finite, a step that stands
there twice. Simplified: a file is read whole, and again when it has grown.

    log = read_log_file("runs/rgrpo")                # or .../log.jsonl
    log.series["reward"].steps, log.series["reward"].values, log.notes
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import R3labError, shown
from ..train import ratio_bins
from ..train.river import River, RiverError
from ..train.river_files import LINES, load_river
from .dashboard_panels import HELD_OUT, REWARD, known

LOG, RIVER = "log.jsonl", "river"
MOST_BYTES = 256_000_000
MOST_PARTS = 16  # components of the reward, worlds: more are not drawn


@dataclass(frozen=True)
class Series:
    """A measure over the steps at which it was logged, in order; NaN where what was logged is no finite number."""

    steps: np.ndarray  # (S,)
    values: np.ndarray  # (S,), or (S, B) for counts in bins


@dataclass(frozen=True)
class Log:
    """One run.

    Attributes
    ----------
    name : of its file or folder; foreign text
    series : by measure
    settings : of the run, where the log holds them
    notes : what was left out, in words
    last : its last step, NaN before the first
    """

    name: str
    series: Mapping[str, Series]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    last: float = math.nan


def read_log_file(path: str | Path, name: str = "") -> Log:
    """Read a log, with the held-out answers beside it.

    Parameters
    ----------
    path
        A log, or the folder of a run.
    name
        What it is called; by default its file or folder.

    Raises
    ------
    R3labError
        If there is none, it cannot be read, or it is not the log of a training run.
    """
    path = Path(path)
    file = path / LOG if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        others = sorted(one.name for one in path.glob("*.jsonl"))[:6]
        there = f" (there is {', '.join(map(shown, others))}: name one)" if others else ""
        raise R3labError(f"{shown(str(path))} holds no {LOG}{there}; name the folder of a run, or a log.")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise R3labError(f"{shown(str(file))} has over {MOST_BYTES:,} bytes; that is no training log.")
        data = file.read_bytes()
    except OSError as error:
        raise R3labError(f"Cannot read {shown(str(file))}: {error.strerror or error}; name a training log.") from error
    rows, notes = parse(data, shown(str(file)))
    default = file.resolve().parent.name if file.name == LOG else file.stem
    return made(rows, name or default, shown(str(file)), notes, *_river(file.parent / RIVER))


def parse(data: bytes, where: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of a log, and what was left out of them.

    Raises
    ------
    R3labError
        Naming the line that is no JSON object; the last one may be cut off.
    """
    lines = data.split(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):  # no newline behind it: it is being written, or its writer was killed
                return rows, [f"its last line ({number}) is cut off and left out"]
            raise R3labError(
                f"{where} line {number} is not JSON: {shown(line[:200].decode('utf-8', 'replace'), 60)}; it is no "
                "training log, or two runs wrote to it."
            ) from None
        if not isinstance(row, dict):
            raise R3labError(f"{where} line {number} is {shown(row, 60)}; a training log has an object a line.")
        rows.append(row)
    return rows, []


def made(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    where: str = "the log",
    notes: Iterable[str] = (),
    held: Mapping[str, Series] | None = None,
    more: Iterable[str] = (),
) -> Log:
    """A log of rows, as `train_rgrpo` hands them out.

    Parameters
    ----------
    name, where
        Of the log, for its curve and for errors.
    notes, more
        What is known already of what was left out.
    held
        Series from elsewhere.

    Raises
    ------
    R3labError
        If there are rows, but none that has a step and something to draw.
    """
    settings = next((dict(row["settings"]) for row in rows if isinstance(row.get("settings"), Mapping)), {})
    found: dict[str, dict[float, Any]] = {}
    lost: dict[str, int] = {}
    steps: set[float] = set()
    twice = 0
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        twice += step in steps
        steps.add(step)
        for key, value in row.items():
            if key == "step" or not isinstance(key, str):
                continue
            read = _counts(value) if key == ratio_bins.KEY else _number(value) if known(key) else None
            if read is None and value is not None:
                lost[key] = lost.get(key, 0) + 1
            found.setdefault(key, {})[step] = read  # also None: of a step that is logged twice, the later counts
    if not steps and any("settings" not in row for row in rows):
        raise R3labError(f"No row of {where} has a step; it is not the log of a training run.")
    drawn = _bounded([key for key in found if known(key)])
    if steps and not drawn:
        have = ", ".join(shown(key, 30) for key in sorted(found)[:8]) or "nothing else"
        raise R3labError(
            f"{where} holds no measure that the dashboard draws (it has {have}); name a log of R-GRPO or a cold start."
        )
    said = [*notes, *more]
    said += [f"{n} values of {key} are not what is wanted there: gaps" for key, n in lost.items() if key in drawn]
    said += [f"{twice} steps are logged twice: the later counts"] * bool(twice)
    series = {key: one for key in drawn if np.isfinite((one := _series(found[key], key)).values).any()}
    return Log(name, {**series, **(held or {})}, settings, tuple(said), max(steps, default=math.nan))


def _bounded(keys: Iterable[str]) -> list[str]:
    """All measures that have a name of ours; of those that a log names itself, the first."""
    kept: list[str] = []
    count = {REWARD: 0, HELD_OUT: 0}
    for key in keys:
        family = next((prefix for prefix in count if key.startswith(prefix)), "")
        if family:
            count[family] += 1
        if not family or count[family] <= MOST_PARTS:
            kept.append(key)
    return kept


def _series(found: Mapping[float, Any], key: str = "") -> Series:
    steps = sorted(found)
    gap: Any = [math.nan] * ratio_bins.BINS if key == ratio_bins.KEY else math.nan
    values = [gap if found[step] is None else found[step] for step in steps]
    return Series(np.array(steps, dtype=float), np.array(values, dtype=float))


def _number(value: object) -> float | None:
    """A finite number, else None."""
    if type(value) is float:  # nearly all are
        return value if abs(value) < 1e30 else None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number past the largest float
        return None
    return found if abs(found) < 1e30 else None


def _counts(value: object) -> list[float] | None:
    """Counts in the bins of `ratio_bins`, else None."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != ratio_bins.BINS:
        return None
    found = [_number(one) for one in value]
    kept = [one for one in found if one is not None and one >= 0]
    return kept if len(kept) == ratio_bins.BINS and sum(kept) > 0 else None


def _river(folder: Path) -> tuple[dict[str, Series], list[str]]:
    """Held-out right answers by world from the river of a run, and what is to be said of them."""
    if not (folder / LINES).is_file():
        return {}, []
    try:
        river = load_river(folder)
    except RiverError as error:
        return {}, [f"its held-out answers cannot be read ({error})"]
    return held_out(river), [f"held out: {len(river.subjects)} samples, asked greedily"] * bool(river.steps)


def held_out(river: River) -> dict[str, Series]:
    """Share of right answers by world (the first part of a sample's id) over the steps of a river."""
    places: dict[str, list[int]] = {}
    for number, subject in enumerate(river.subjects):
        world = subject.id.rsplit("-", 3)[0] if subject.id.count("-") >= 3 else "samples"
        places.setdefault(world, []).append(number)
    found = {}
    for world, numbers in list(places.items())[:MOST_PARTS]:
        judged = {
            float(step): [bool(row[n].right) for n in numbers if row[n].right is not None]
            for step, row in zip(river.steps, river.answers, strict=True)
        }
        shares = {step: sum(flags) / len(flags) for step, flags in judged.items() if flags}
        if shares:
            found[f"{HELD_OUT}{world}"] = _series(shares)
    return found
