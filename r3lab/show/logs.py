"""Training logs as series: read from a file, a run's folder or rows, and put into groups that differ in the seed alone.

What a log is not is an error that names file and line; what is missing in one that is a log is a gap, and counted: a
value that is not finite, a step that stands there twice, a last line that was cut off. Beside a log may lie the answers
to held-out samples (`train.river`), drawn as shares by world.

    log = log_of("runs/rgrpo")                  # or .../log.jsonl, or the rows that `train_rgrpo` hands out
    log.series["reward"].steps, log.series["reward"].values, log.notes
    groups_of([log, log_of("runs/b")])          # {"group=5": [...], "group=8": [...]}
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import R3labError, nearest, shown
from ..core.stats import LOG_RATIO_BINS, LOG_RATIO_COUNTS
from ..train.log import LOG, log_file, read_log
from ..train.river import LINES, River, RiverError, load_river
from .text import one_line

HELD_OUT = "held_out/"
MOST_LOGS = 100
MOST_NAMED, MOST_MEASURES = 16, 200  # names of a family ("reward/NAME"), measures in all: more are not drawn


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
    series : by measure; also of one that was named without a value
    settings : of the run, where the log holds them
    notes : what was left out, in words
    last : its last step, NaN before the first
    """

    name: str
    series: Mapping[str, Series]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    last: float = math.nan

    @property
    def measured(self) -> list[str]:
        """Measures that have a value."""
        return [key for key, one in self.series.items() if np.isfinite(one.values).any()]


def log_of(given: Any, name: str = "") -> Log:
    """Read a log.

    Parameters
    ----------
    given
        A log's file, a run's folder (its held-out answers are read too), the rows of a log, or a log that is read.
    name
        What it is called; by default its file or folder.

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
        default = file.resolve().parent.name if file.name == LOG else file.stem
        held = _held_out_beside(file, notes)
        return _from_rows(rows, name or default, shown(str(file)), notes, held)
    if isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
        return _from_rows(given, name or "run", "the log", [], {})
    raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")


def _from_rows(
    rows: Sequence[Mapping[str, Any]], name: str, where: str, notes: list[str], held: Mapping[str, Series]
) -> Log:
    settings = next((dict(row["settings"]) for row in rows if isinstance(row.get("settings"), Mapping)), {})
    found: dict[str, dict[float, Any]] = {}
    lost: Counter[str] = Counter()
    steps: Counter[float] = Counter()
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        steps[step] += 1
        for key, value in row.items():
            if key != "step" and isinstance(key, str):
                read = _counts(value) if key == LOG_RATIO_COUNTS else _number(value)
                lost[key] += read is None and value is not None
                found.setdefault(key, {})[step] = read  # also None: of a step that is logged twice, the later counts
    if not steps and any("settings" not in row for row in rows):
        raise R3labError(f"No row of {where} has a step; it is not the log of a training run.")
    series = {key: _series(found[key], key) for key in _bounded(found)}
    log = Log(name, {**series, **held}, settings, last=max(steps, default=math.nan))
    notes += [f"{lost[key]} values of {key} are not what is wanted there: gaps" for key in log.measured if lost[key]]
    twice = sum(steps.values()) - len(steps)
    notes += [f"{twice} steps are logged twice: the later counts"] * bool(twice)
    return replace(log, notes=tuple(notes))


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


def _series(found: Mapping[float, Any], key: str = "") -> Series:
    gap: Any = [math.nan] * LOG_RATIO_BINS if key == LOG_RATIO_COUNTS else math.nan
    steps = sorted(found)
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
    """Counts in the bins of the log ratio, else None."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != LOG_RATIO_BINS:
        return None
    kept = [found for one in value if (found := _number(one)) is not None and found >= 0]
    return kept if len(kept) == LOG_RATIO_BINS and sum(kept) > 0 else None


def _held_out_beside(log: Path, notes: list[str]) -> dict[str, Series]:
    """Held-out right answers by world from the river beside a log, if there is one."""
    folder = log.parent / "river"
    if not (folder / LINES).is_file():
        return {}
    try:
        river = load_river(folder)
    except RiverError as error:
        notes.append(f"its held-out answers cannot be read ({error})")
        return {}
    notes += [f"held out: {len(river.subjects)} samples, asked greedily"] * bool(river.steps)
    return _held_out(river)


def _held_out(river: River) -> dict[str, Series]:
    """Share of right answers by world (the first part of a sample's id) over the steps of a river."""
    numbers: dict[str, list[int]] = {}
    for number, subject in enumerate(river.subjects):
        world = subject.id.rsplit("-", 3)[0] if subject.id.count("-") >= 3 else "samples"
        numbers.setdefault(world, []).append(number)
    found = {}
    for world, own in list(numbers.items())[:MOST_NAMED]:
        judged = {
            float(step): [bool(row[n].right) for n in own if row[n].right is not None]
            for step, row in zip(river.steps, river.answers, strict=True)
        }
        found[HELD_OUT + world] = _series({step: sum(flags) / len(flags) for step, flags in judged.items() if flags})
    return found


# -- groups ----------------------------------------------------------------------------------------------------------

AUTO, RUN = "auto", "run"
MOST_GROUPS = 36  # so many pairs of colour and dash there are
# Settings that change nothing of what is learned, or only how long.
_APART = frozenset(
    {"seed", "out", "steps", "resume", "save_every", "keep", "show_every", "trackers", "shard", "pass_groups"}
)


def groups_of(logs: Sequence[Log], by: str = AUTO) -> dict[str, list[Log]]:
    """Logs by the name of their group, in order.

    Parameters
    ----------
    by
        "auto": where every log holds its settings, runs are named after those that differ; else after their files, so
        that `rgrpo-0.jsonl` and `rgrpo-1.jsonl` are two seeds of `rgrpo`. "run" keeps every run apart. The name of a
        setting groups by that alone.

    Raises
    ------
    R3labError
        If a log does not hold that setting.
    """
    if by == RUN:
        names = _distinct([log.name for log in logs])
    elif by == AUTO:
        names = _by_settings(logs) if all(log.settings for log in logs) else _by_name(logs)
    else:
        for log in logs:
            if by not in log.settings:
                have = f"{len(log.settings)} settings" if log.settings else "no settings"
                raise R3labError(
                    f"The log of {shown(log.name)} holds {have}, none named {shown(by)}; take auto, run or a setting "
                    f"that every log has.{nearest(by, [AUTO, RUN, *map(str, log.settings)])}"
                )
        names = [_setting(log.settings, by) for log in logs]
    found: dict[str, list[Log]] = {}
    for name, log in zip(names, logs, strict=True):
        found.setdefault(name, []).append(log)
    return found


def groups_in(runs: Any, by: str = AUTO) -> dict[str, list[Log]]:
    """Whatever is to be drawn as logs by the name of their group.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``; see `log_of`.
    by
        As of `groups_of`, for runs without a label.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, or there are more logs or groups than can be told apart.
    """
    if isinstance(runs, Mapping):
        groups: dict[str, list[Log]] = {}
        for label, given in runs.items():
            name, own = one_line(label, 80) or "run", _several(given)
            called = [name] if len(own) == 1 else [f"run {i}" for i in range(1, len(own) + 1)]
            groups.setdefault(name, []).extend(map(_named, own, called))
    else:
        groups = groups_of([log_of(one) for one in _several(runs)], by)
    count = sum(map(len, groups.values()))
    if not 1 <= count <= MOST_LOGS:
        raise R3labError(f"Curves are drawn of 1 to {MOST_LOGS} logs, got {count}.")
    if len(groups) > MOST_GROUPS:
        raise R3labError(f"{len(groups)} groups of runs cannot be told apart; draw at most {MOST_GROUPS}, or group.")
    return groups


def _named(given: Any, name: str) -> Log:
    """A log; rows have no name of their own."""
    return log_of(given) if isinstance(given, str | Path) else log_of(given, name)


def _several(given: Any) -> list[Any]:
    """One or several logs as several."""
    if isinstance(given, str | Path | Log):
        return [given]
    if not isinstance(given, Sequence):
        raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")
    return [given] if all(isinstance(one, Mapping) for one in given) else list(given)


def _setting(settings: Mapping[str, Any], key: str) -> str:
    return f"{one_line(key, 30)}={one_line(settings.get(key), 40) or 'none'}"


def _by_settings(logs: Sequence[Log]) -> list[str]:
    """The settings that differ; the runs' common name where none does."""
    keys = list(dict.fromkeys(key for log in logs for key in log.settings if key not in _APART))
    differ = [key for key in keys if len({repr(log.settings.get(key)) for log in logs}) > 1][:4]
    if differ:
        return [", ".join(_setting(log.settings, key) for key in differ) for log in logs]
    return _by_name(logs) if len({_stem(log.name) for log in logs}) == 1 else ["runs"] * len(logs)


def _by_name(logs: Sequence[Log]) -> list[str]:
    """Names without a number at their end, where that brings several together; else the names."""
    stems, names = [_stem(log.name) for log in logs], _distinct([log.name for log in logs])
    return [stem if stem and stems.count(stem) > 1 else name for stem, name in zip(stems, names, strict=True)]


def _stem(name: str) -> str:
    return re.sub(r"[-_. ]?(?:seed[-_ ]?)?\d{1,6}$", "", one_line(name, 80))


def _distinct(names: Sequence[str]) -> list[str]:
    """Each name once: a later one that is there already gets a number."""
    found: list[str] = []
    for name in names:
        base = one_line(name, 80) or "run"
        plain, number = base, 2
        while plain in found:
            plain, number = f"{base} ({number})", number + 1
        found.append(plain)
    return found
