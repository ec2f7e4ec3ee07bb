"""Training logs as lines: read from a file, a run's folder or rows, put into groups that differ in the seed alone, and
averaged over their runs.

What a log is not is an error that names file and line; what is missing in one that is a log is a gap, and counted: a
value that is not finite, a step that stands there twice, a last line that was cut off. Beside a log may lie the answers
to held-out samples (`train.river`), drawn as shares by world.

    log = log_of("runs/rgrpo")                  # or .../log.jsonl, or the rows that `train_rgrpo` hands out
    log.series["reward"].steps, log.series["reward"].values, log.notes
    groups_in([log, "runs/b"])                  # {"group=5": [...], "group=8": [...]}
    curve([log], "reward", smooth=10)           # its mean over runs, the band around it
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np

from ..core.errors import R3labError, shown
from ..core.stats import LEVEL, LOG_RATIO_BINS, LOG_RATIO_COUNTS, LOG_RATIO_EDGES, student
from ..train.log import LOG, log_file, read_log
from ..train.river import LINES, load_river
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
    except R3labError as error:
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


# -- from the logs of a group to lines -------------------------------------------------------------------------------

Band = Literal["range", "interval"]
BANDS: tuple[str, ...] = get_args(Band)
LEAST = 3  # runs of an interval: of two it is nine standard deviations wide
POINTS = 1200  # of a line at most: more would not be seen


@dataclass(frozen=True)
class Curve:
    """A measure of a group of runs.

    Attributes
    ----------
    steps : (S,) of the mean
    raw : (S,) mean over runs of the values as logged, NaN where one has none
    mean : (S,) mean over runs of the smoothed values
    low, high : (S,) the band; NaN where there is none
    runs : that have the measure
    tails : of runs that go on where the mean has ended, their smoothed values: (steps, values)
    """

    steps: np.ndarray
    raw: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int
    tails: Sequence[tuple[np.ndarray, np.ndarray]] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last smoothed value; NaN if there is none."""
        finite = self.mean[np.isfinite(self.mean)]
        return (float(finite[0]), float(finite[-1])) if len(finite) else (math.nan, math.nan)


def smoothed(series: Series, window: int) -> np.ndarray:
    """Means of the values that the last `window` steps have, at each step of a series, (S,); NaN if they have none."""
    fine = np.isfinite(series.values)
    total = np.concatenate([[0.0], np.cumsum(np.where(fine, series.values, 0.0))])
    count = np.concatenate([[0], np.cumsum(fine)])
    begin = np.searchsorted(series.steps, series.steps - window, side="right")
    end = np.arange(1, len(series.steps) + 1)
    known = count[end] - count[begin]
    return np.where(known > 0, (total[end] - total[begin]) / np.maximum(known, 1), np.nan)


def curve(logs: Sequence[Log], key: str, smooth: int, band: str = "range") -> Curve:
    """Lines of a measure of a group of runs, over the steps that all of them have.

    Parameters
    ----------
    smooth
        Steps of the running mean; 1 for none.
    band
        "range" or "interval"; see `band_of`.
    """
    found = [log.series[key] for log in logs if key in log.series]
    if not found:
        none = np.empty(0)
        return Curve(none, none, none, none, none, 0)
    soft = [smoothed(one, smooth) for one in found]
    first, until = max(one.steps[0] for one in found), min(one.steps[-1] for one in found)
    steps = np.unique(np.concatenate([one.steps for one in found]))
    steps = steps[(steps >= first) & (steps <= until)]
    raw = np.array([_at(one.steps, one.values, steps) for one in found])  # (N, S)
    values = np.array([_at(one.steps, line, steps) for one, line in zip(found, soft, strict=True)])
    lines = np.array([raw.mean(axis=0), values.mean(axis=0), *band_of(values, band)])  # (4, S)
    tails = []
    for one, line in zip(found, soft, strict=True):
        if one.steps[-1] > until:
            tails.append(_thinned(one.steps[one.steps >= until], line[one.steps >= until]))
    steps, (raw, mean, low, high) = _broken(*_thinned(steps, lines), smooth)
    return Curve(steps, raw, mean, low, high, len(found), tails)


def _at(steps: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values at wanted steps, NaN where there is none."""
    place = np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)
    return np.where(steps[place] == wanted, values[place], np.nan)


def band_of(values: np.ndarray, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end (S,) over runs of (N, S); NaN where a run has no value, or the runs are too few.

    "range" goes from the lowest to the highest run, which claims nothing beyond what was seen; "interval" is Student's
    95 % interval of the mean, from three runs on.
    """
    n = len(values)
    if n < (2 if band == "range" else LEAST):
        gap = np.full(values.shape[1], np.nan)
        return gap, gap
    if band == "range":
        return values.min(axis=0), values.max(axis=0)
    half = student(LEVEL, n - 1) * values.std(axis=0, ddof=1) / math.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def _thinned(steps: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` of a line, evenly; the last is kept."""
    keep = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), POINTS)).round().astype(int))
    return steps[keep], lines[..., keep]


def _broken(steps: np.ndarray, lines: np.ndarray, smooth: int) -> tuple[np.ndarray, np.ndarray]:
    """No line over a stretch far longer than its other ones, for which nothing was logged: NaN in its middle."""
    between = np.diff(steps)
    wide = np.flatnonzero(between > max(smooth, 4 * np.median(between))) if len(between) else np.empty(0, dtype=int)
    steps = np.insert(steps, wide + 1, steps[wide] + between[wide] / 2)
    return steps, np.insert(lines, wide + 1, np.nan, axis=1)
