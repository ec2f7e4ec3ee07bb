"""Training logs as series: read from a file, a run's folder or rows, and put into groups that differ in the seed alone.

What a log is not is an error that names file and line; what is missing in one that is a log is a gap, and counted: a
value that is not finite, a step that stands there twice, a last line that was cut off. Beside a log may lie the answers
to held-out samples (`train.river`), drawn as shares by world.

    log = log_of("runs/rgrpo")                  # or .../log.jsonl, or the rows that `train_rgrpo` hands out
    log.series["reward"].steps, log.series["reward"].values, log.notes
    groups_in([log, "runs/b"])                  # {"group=5": [...], "group=8": [...]}
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..core.errors import R3labError, shown
from ..core.stats import LOG_RATIO_BINS, LOG_RATIO_COUNTS, LOG_RATIO_EDGES
from ..train.log import LOG, log_file, read_log
from ..train.river import LINES, RiverError, load_river
from .text import one_line

HELD_OUT = "held_out/"
MOST_LOGS, MOST_GROUPS = 100, 36  # so many pairs of colour and dash there are
MOST_NAMED, MOST_MEASURES = 16, 200  # names of a family ("reward/NAME"), measures in all: more are not drawn
# Settings that change nothing of what is learned, or only how long.
APART = frozenset(
    {"seed", "out", "steps", "resume", "save_every", "keep", "show_every", "trackers", "shard", "pass_groups"}
)


@dataclass(frozen=True)
class Series:
    """A measure over the steps at which it was logged, in order; NaN where what was logged is no finite number."""

    steps: np.ndarray  # (S,)
    values: np.ndarray  # (S,)


@dataclass(frozen=True)
class Log:
    """One run.

    Attributes
    ----------
    name : of its file or folder; foreign text
    series : by measure; also of one that was named without a value
    settings : of the run, where the log holds them
    notes : what was left out, in words
    """

    name: str
    series: Mapping[str, Series]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def measured(self) -> list[str]:
        """Measures that have a value."""
        return [key for key, one in self.series.items() if np.isfinite(one.values).any()]

    @property
    def last(self) -> float:
        """Its last step, NaN before the first."""
        return max((float(one.steps[-1]) for one in self.series.values()), default=math.nan)


def log_of(given: Any, name: str = "run") -> Log:
    """Read a log.

    Parameters
    ----------
    given
        A log's file, a run's folder (its held-out answers are read too), the rows of a log, or a log that is read.
    name
        What rows are called; what is read from a disk has the name of its file or folder.

    Raises
    ------
    R3labError
        If it is none of these, cannot be read, or is not the log of a training run.
    """
    if isinstance(given, Log):
        return given
    if isinstance(given, str | Path):
        notes: list[str] = []
        rows, file = read_log(given, notes), log_file(given)
        held = _held_out(file.parent / "river", notes)
        return _from_rows(rows, file.resolve().parent.name if file.name == LOG else file.stem, notes, held)
    if isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
        return _from_rows(given, name, [], {})
    raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")


def _from_rows(rows: Sequence[Mapping[str, Any]], name: str, notes: list[str], held: Mapping[str, Series]) -> Log:
    settings = next((dict(row["settings"]) for row in rows if isinstance(row.get("settings"), Mapping)), {})
    found: dict[str, dict[float, float | None]] = {}  # measure, step, value
    lost: Counter[str] = Counter()
    steps: Counter[float] = Counter()
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        steps[step] += 1
        for key, value in row.items():
            if key != "step" and isinstance(key, str):
                read = _moved(value) if key == LOG_RATIO_COUNTS else _number(value)
                lost[key] += read is None and value is not None
                found.setdefault(key, {})[step] = read  # also None: of a step that is logged twice, the later counts
    if not steps and any("settings" not in row for row in rows):
        raise R3labError(f"No row of {shown(name)} has a step; it is not the log of a training run.")
    log = Log(name, {**{key: _series(found[key]) for key in _bounded(found)}, **held}, settings, notes)
    notes += [f"{lost[key]} values of {key} are not what is wanted there: gaps" for key in log.measured if lost[key]]
    if twice := sum(steps.values()) - len(steps):
        notes.append(f"{twice} steps are logged twice: the later counts")
    return log


def _bounded(keys: Iterable[str]) -> list[str]:
    """The first measures; of a family that a log names itself, the first ones too."""
    kept: list[str] = []
    families: Counter[str] = Counter()
    for key in keys:
        family, slash, _ = key.partition("/")
        families[family] += bool(slash)
        if not slash or families[family] <= MOST_NAMED:
            kept.append(key)
    return kept[:MOST_MEASURES]


def _series(found: Mapping[float, float | None]) -> Series:
    steps = sorted(found)
    return Series(np.array(steps, dtype=float), np.array([found[step] for step in steps], dtype=float))


def _number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number past the largest float
        return None
    return found if abs(found) < 1e30 else None


def _moved(counts: object) -> float | None:
    """Share of the tokens whose log ratio is beyond 0.1, from counts in its bins; None if these are none."""
    if not isinstance(counts, Sequence) or len(counts) != LOG_RATIO_BINS:
        return None
    kept = [found for one in counts if (found := _number(one)) is not None and found >= 0]
    near = sum(kept[LOG_RATIO_EDGES.index(-0.1) + 1 : LOG_RATIO_EDGES.index(0.1) + 1])
    return 1 - near / sum(kept) if len(kept) == LOG_RATIO_BINS and sum(kept) > 0 else None


def _held_out(folder: Path, notes: list[str]) -> dict[str, Series]:
    """Share of right answers to held-out samples by world (the first part of a sample's id), from a run's river."""
    if not (folder / LINES).is_file():
        return {}
    try:
        river = load_river(folder)
    except RiverError as error:
        notes.append(f"its held-out answers cannot be read ({error})")
        return {}
    notes.append(f"held out: {len(river.subjects)} samples, asked greedily")
    judged: dict[str, dict[float, list[bool]]] = {}
    for step, row in zip(river.steps, river.answers, strict=True):
        for subject, answer in zip(river.subjects, row, strict=True):
            world = subject.id.rsplit("-", 3)[0] if subject.id.count("-") >= 3 else "samples"
            if answer.right is not None:
                judged.setdefault(HELD_OUT + world, {}).setdefault(float(step), []).append(answer.right)
    worlds = list(judged.items())[:MOST_NAMED]
    return {key: _series({step: fmean(flags) for step, flags in steps.items()}) for key, steps in worlds}


# -- groups ----------------------------------------------------------------------------------------------------------


def groups_in(runs: Any) -> dict[str, list[Log]]:
    """Whatever is to be drawn as logs by the name of their group.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``; see `log_of`. Without labels, and where every
        log holds its settings, runs are named after those that differ; else after their files, so that `rgrpo-0.jsonl`
        and `rgrpo-1.jsonl` are two seeds of `rgrpo`.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, or there are more logs or groups than can be told apart.
    """
    groups: dict[str, list[Log]] = {}
    if isinstance(runs, Mapping):
        for label, given in runs.items():
            name, own = one_line(label, 80) or "run", _several(given)
            called = [name] if len(own) == 1 else [f"run {i}" for i in range(1, len(own) + 1)]
            groups.setdefault(name, []).extend(map(log_of, own, called))
    else:
        logs = [log_of(one) for one in _several(runs)]
        for name, log in zip(_names(logs), logs, strict=True):
            groups.setdefault(name, []).append(log)
    count = sum(map(len, groups.values()))
    if not 1 <= count <= MOST_LOGS:
        raise R3labError(f"Curves are drawn of 1 to {MOST_LOGS} logs, got {count}.")
    if len(groups) > MOST_GROUPS:
        raise R3labError(f"{len(groups)} groups of runs cannot be told apart; draw at most {MOST_GROUPS}, or label.")
    return groups


def _several(given: Any) -> list[Any]:
    """One or several logs as several."""
    if isinstance(given, str | Path | Log):
        return [given]
    if not isinstance(given, Sequence):
        raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")
    return [given] if all(isinstance(one, Mapping) for one in given) else list(given)


def _names(logs: Sequence[Log]) -> list[str]:
    """The group of each log: the settings that differ, else its name without a number at the end."""
    stems = [re.sub(r"[-_. ]?(?:seed[-_ ]?)?\d{1,6}$", "", one_line(log.name, 80)) for log in logs]
    if logs and all(log.settings for log in logs):
        keys = dict.fromkeys(key for log in logs for key in log.settings if key not in APART)
        differ = [key for key in keys if len({repr(log.settings.get(key)) for log in logs}) > 1][:4]
        if differ:
            told = [{key: one_line(log.settings.get(key), 40) or "none" for key in differ} for log in logs]
            return [", ".join(f"{one_line(key, 30)}={value}" for key, value in one.items()) for one in told]
        if len(set(stems)) > 1:
            return ["runs"] * len(logs)
    names = [one_line(log.name, 80) or "run" for log in logs]
    return [stem if stem and stems.count(stem) > 1 else name for stem, name in zip(stems, names, strict=True)]
