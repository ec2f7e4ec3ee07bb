"""Everything that is decided before a dashboard is drawn: logs, groups, panels, smoothing, bands, colours.

The still picture, the Plotly figure and the page are drawn from the same board, and say the same.

    board = board_of({"paper": ["runs/a", "runs/b"], "grounded": "runs/c"}, smooth=10)
    board.course("paper", "reward").mean
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..core.errors import R3labError, nearest, shown
from ..train import log as lr
from ..train.river import LINES, River, RiverError, load_river
from .curves import MEASURES
from .palette import RUNS
from .text import one_line

# What the dashboard can show: a panel a measure, in sections, each named in words.
#
# A reward's components (`reward/NAME`) and the worlds of held-out samples (`held_out/WORLD`) are named by the log;
# all
# else stands in the table. Simplified: one measure a panel, so that one run and twenty are read in the same way.
#
#     [panel.title for panel in panels_of(["reward", "reward/format", "grad_norm"])]
#     # ['Reward, mean of a step', 'Reward: format', 'Norm of the gradient']

REWARD, HELD_OUT = "reward/", "held_out/"

# Sections with their measures, in the order of the page; a name with a slash at its end is a family.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Reward": ("reward", REWARD, "reward_std", "zero_variance"),
    "Answers": ("exact", "exact_needed", "exact_unneeded", HELD_OUT, "answered"),
    "Looks": ("look_rate_needed", "look_rate_unneeded", "look_rate", "looks", "iou", "invalid"),
    "Update": (
        "approx_kl", "kl", "clip_fraction_low", "clip_fraction_high", lr.LOG_RATIO_COUNTS, "ratio_mean", "ratio_max",
        "grad_norm", "loss", "learning_rate", "skipped",
    ),
    "Tokens": ("entropy", "entropy_bonus", "length", "token_accuracy"),
    "Time": ("seconds_rollout", "seconds_update", "redrawn"),
}  # fmt: skip

# Words, and whether it is a share, for what `series` does not name, or not shortly.
_MORE: dict[str, tuple[str, bool]] = {
    "exact_needed": ("Right where a look is needed", True),
    "exact_unneeded": ("Right where none is needed", True),
    "kl": ("KL from the reference", False),
    "entropy_bonus": ("Entropy in the loss", False),
    "learning_rate": ("Learning rate", False),
    "skipped": ("Updates left out", False),
    "token_accuracy": ("Right next tokens", True),
    "seconds_rollout": ("Seconds of the rollouts", False),
    "seconds_update": ("Seconds of the update", False),
    "redrawn": ("Groups drawn anew", False),
    lr.LOG_RATIO_COUNTS: ("Log ratio of the tokens, at the end", True),
}
_SMALL = ("clip_fraction_low", "clip_fraction_high", "invalid")  # shares whose axis ends where they do


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes
    ----------
    key : the measure
    title : in words; may hold foreign text, made harmless
    section : under which it stands
    share : drawn in per cent
    whole : its axis is 0 to 100 %
    bins : over bins of the log ratio, not over steps
    """

    key: str
    title: str
    section: str
    share: bool = False
    whole: bool = False
    bins: bool = False


def known(key: str) -> bool:
    """Whether the dashboard draws a measure of this name."""
    return key in _SECTION or any(key.startswith(prefix) and len(key) > len(prefix) for prefix in (REWARD, HELD_OUT))


_SECTION = {key: section for section, keys in SECTIONS.items() for key in keys if not key.endswith("/")}


def panel_of(key: str) -> Panel:
    """The panel of a measure.

    Raises
    ------
    R3labError
        If there is none, naming the nearest.
    """
    if key.startswith(REWARD) and len(key) > len(REWARD):
        return Panel(key, f"Reward: {one_line(key[len(REWARD) :], 40)}", "Reward")
    if key.startswith(HELD_OUT) and len(key) > len(HELD_OUT):
        return Panel(key, f"Held out, right: {one_line(key[len(HELD_OUT) :], 30)}", "Answers", True, True)
    if key not in _SECTION:
        raise R3labError(f"There is no panel for {shown(key)}.{nearest(str(key), _SECTION)}")
    words, share = _MORE[key] if key in _MORE else MEASURES[key]
    bins = key == lr.LOG_RATIO_COUNTS
    return Panel(key, words, _SECTION[key], share, share and not bins and key not in _SMALL, bins)


def panels_of(keys: Iterable[str], wanted: Sequence[str] | None = None) -> list[Panel]:
    """The panels to draw.

    Parameters
    ----------
    keys
        Measures that the logs have.
    wanted
        Those asked for, in this order; by default all that the logs have, in the order of the page.

    Raises
    ------
    R3labError
        If one that was asked for is none, or in no log.
    """
    have = list(dict.fromkeys(keys))
    if wanted is not None:
        for key in wanted:
            if key not in have:
                raise R3labError(f"No log has {shown(key)}.{nearest(str(key), sorted(have))}")
        return [panel_of(key) for key in dict.fromkeys(wanted)]
    order: list[str] = []
    for names in SECTIONS.values():
        for name in names:
            order += [key for key in have if key.startswith(name) and key != name] if name.endswith("/") else [name]
    return [panel_of(key) for key in order if key in have and known(key)]


def missing(keys: Iterable[str]) -> list[str]:
    """Titles of the panels that these measures leave empty, of those that every log of R-GRPO should fill."""
    have = set(keys)
    wanted = [
        *("reward", "zero_variance", "look_rate_needed", "look_rate_unneeded", "invalid", "approx_kl"),
        *("clip_fraction_low", "clip_fraction_high", lr.LOG_RATIO_COUNTS, "grad_norm", "entropy", "length"),
    ]
    titles = [panel_of(key).title for key in wanted if key not in have]
    held = any(key.startswith(HELD_OUT) for key in have)
    return titles if held else [*titles, "Held out, right"]


# Training logs as the dashboard reads them: of a run that ended, was killed, or is still going on.
#
# A log is JSON, a line a step (`train.checkpoint.JsonlLog`); a run's folder holds it as `log.jsonl`, and beside it
# the
# answers to held-out samples (`train.held_out`). What a log is not is an error that names file and line; what is
# missing
# in one that is a log is a gap, and counted: a last line that was cut off, a value that is not finite, a step that
# stands
# there twice. Simplified: a file is read whole, and again when it has grown.
#
#     log = read_log_file("runs/rgrpo")                # or .../log.jsonl
#     log.series["reward"].steps, log.series["reward"].values, log.notes

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
            read = _counts(value) if key == lr.LOG_RATIO_COUNTS else _number(value) if known(key) else None
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
    gap: Any = [math.nan] * lr.LOG_RATIO_BINS if key == lr.LOG_RATIO_COUNTS else math.nan
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
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != lr.LOG_RATIO_BINS:
        return None
    found = [_number(one) for one in value]
    kept = [one for one in found if one is not None and one >= 0]
    return kept if len(kept) == lr.LOG_RATIO_BINS and sum(kept) > 0 else None


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


# Which runs belong together: those that differ in nothing but the seed are one group, drawn as a mean with a band.
#
# A label that is given decides. Else, where every log holds its settings, runs are named after the settings that
# differ;
# where they do not, after their files, so that `rgrpo-0.jsonl` and `rgrpo-1.jsonl` of a folder are two seeds of
# `rgrpo`.
# `by="run"` keeps every run apart, `by="reward"` (any setting) groups by that alone.
#
#     groups_of([read_log_file("runs/a"), read_log_file("runs/b")])    # {"group=5": [...], "group=8": [...]}

AUTO, RUN = "auto", "run"
MOST = 36  # groups: so many pairs of colour and dash there are
# Settings that change nothing of what is learned, or only how long.
_APART = frozenset(
    {"seed", "out", "steps", "resume", "save_every", "keep", "show_every", "trackers", "shard", "pass_groups"}
)


def groups_of(logs: Sequence[Log], by: str = AUTO) -> dict[str, list[Log]]:
    """Logs by the name of their group, in order.

    Parameters
    ----------
    by
        "auto", "run", or the name of a setting; see the module's docstring.

    Raises
    ------
    R3labError
        If a log does not hold that setting, or there are more than 36 groups.
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
    if len(found) > MOST:
        raise R3labError(f"{len(found)} groups of runs are more than can be told apart; draw at most {MOST}, or group.")
    return found


def _setting(settings: Mapping[str, Any], key: str) -> str:
    return f"{one_line(key, 30)}={one_line(settings.get(key), 40) or 'none'}"


def _by_settings(logs: Sequence[Log]) -> list[str]:
    """The settings that differ; the runs' common name where none does."""
    keys = [key for key in logs[0].settings if key not in _APART]
    keys += [key for log in logs for key in log.settings if key not in _APART and key not in keys]
    differ = [key for key in keys if len({repr(log.settings.get(key)) for log in logs}) > 1][:4]
    if differ:
        return [", ".join(_setting(log.settings, key) for key in differ) for log in logs]
    return _by_name(logs) if len({_stem(log.name) for log in logs}) == 1 else ["runs"] * len(logs)


def _by_name(logs: Sequence[Log]) -> list[str]:
    """Names without a number at their end, where that brings several together; else the names."""
    stems = [_stem(log.name) for log in logs]
    names = [log.name for log in logs]
    return [
        stem if stem and stems.count(stem) > 1 else name for stem, name in zip(stems, _distinct(names), strict=True)
    ]


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


# From the logs of several runs to lines: smoothing, the mean over runs, and a band that says how far they lie apart.
#
# Smoothing is the mean of the last N steps of a run, never of what comes later. The mean over runs is taken only
# where
# every run of the group has a value: where the shortest ends, the mean ends, since a mean over changing runs jumps
# for no
# reason of theirs. Two bands: "range", from the lowest to the highest run, which claims nothing beyond what was seen,
# and
# "interval", Student's 95 % interval of the mean, from three runs on (of two it is nine standard deviations wide).
#
#     lines = course([read_log_file("a"), read_log_file("b")], "reward", smooth=25, band="range")
#     lines.steps, lines.mean, lines.low, lines.high, lines.runs

Band = Literal["range", "interval"]
BANDS: tuple[str, ...] = get_args(Band)
LEVEL = 0.95
LEAST = 3  # runs of an interval
POINTS = 1200  # of a line at most: more would not be seen


@dataclass(frozen=True)
class Course:
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
    tails: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

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


def course(logs: Sequence[Log], key: str, smooth: int, band: str = "range") -> Course:
    """Lines of a measure of a group of runs.

    Parameters
    ----------
    smooth
        Steps of the running mean; 1 for none.
    band
        "range" or "interval"; see the module's docstring.
    """
    found = [log.series[key] for log in logs if key in log.series]
    if not found:
        none = np.empty(0)
        return Course(none, none, none, none, none, 0)
    soft = [smoothed(one, smooth) for one in found]
    if len(found) == 1:
        steps = found[0].steps
        gap = np.full(len(steps), np.nan)
        return _broken(_thinned(Course(steps, found[0].values, soft[0], gap, gap, 1)), smooth)
    first = max(one.steps[0] for one in found)
    until = min(one.steps[-1] for one in found)
    steps = np.unique(np.concatenate([one.steps for one in found]))
    steps = steps[(steps >= first) & (steps <= until)]
    values = np.array([_at(one.steps, line, steps) for one, line in zip(found, soft, strict=True)])  # (N, S)
    raw = np.array([_at(one.steps, one.values, steps) for one in found])
    mean = values.mean(axis=0)  # NaN where one has none
    low, high = band_of(values, band)
    tails = tuple(
        (one.steps[one.steps >= until], line[one.steps >= until])
        for one, line in zip(found, soft, strict=True)
        if one.steps[-1] > until
    )
    return _broken(_thinned(Course(steps, raw.mean(axis=0), mean, low, high, len(found), tails)), smooth)


def _at(steps: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values at wanted steps, NaN where there is none."""
    place = np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)
    return np.where(steps[place] == wanted, values[place], np.nan)


def band_of(values: np.ndarray, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end (S,) over runs of (N, S); NaN where a run has no value, or the runs are too few."""
    n = len(values)
    if band == "range":
        return values.min(axis=0), values.max(axis=0)
    if n < LEAST:
        gap = np.full(values.shape[1], np.nan)
        return gap, gap
    half = student(n - 1) * values.std(axis=0, ddof=1) / math.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


@lru_cache(maxsize=256)
def student(freedom: int, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t: P(|T| <= t) = level (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        square = math.cos(angle) ** 2
        odd = freedom % 2
        term, total = 1.0, 0.0
        for k in range(freedom // 2):  # 1 + 1/2 c^2 + 1*3/(2*4) c^4 ... (even), 1 + 2/3 c^2 + ... (odd)
            total += term
            term *= square * (2 * k + 1 + odd) / (2 * k + 2 + odd)
        if not odd:
            return math.sin(angle) * total
        return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total)

    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < level else (low, middle)
    return (low + high) / 2


def _thinned(one: Course) -> Course:
    """At most `POINTS` of a line, evenly; the last is kept."""
    if len(one.steps) <= POINTS:
        return one
    keep = np.unique(np.linspace(0, len(one.steps) - 1, POINTS).round().astype(int))
    return Course(
        one.steps[keep], one.raw[keep], one.mean[keep], one.low[keep], one.high[keep], one.runs,
        tuple((x[:: 1 + len(x) // POINTS], y[:: 1 + len(x) // POINTS]) for x, y in one.tails),
    )  # fmt: skip


def _broken(one: Course, smooth: int) -> Course:
    """No line over a stretch far longer than its other ones, for which nothing was logged: NaN in its middle."""
    between = np.diff(one.steps)
    wide = np.flatnonzero(between > max(smooth, 4 * np.median(between))) if len(between) else between.astype(int)
    if not len(wide):
        return one
    middle = one.steps[wide] + between[wide] / 2
    lines = (np.insert(line, wide + 1, np.nan) for line in (one.raw, one.mean, one.low, one.high))
    raw, mean, low, high = lines
    return Course(np.insert(one.steps, wide + 1, middle), raw, mean, low, high, one.runs, one.tails)


def profile(logs: Sequence[Log], key: str, smooth: int) -> np.ndarray | None:
    """Share of tokens in each bin over the last `smooth` steps of a group's runs, (B,); None if no run has counts."""
    found = [log.series[key] for log in logs if key in log.series]
    if not found:
        return None
    counts = sum(np.nansum(one.values[one.steps > one.steps[-1] - smooth], axis=0) for one in found)
    return np.asarray(counts / np.sum(counts)) if np.sum(counts) > 0 else None


def checked_band(band: str) -> str:
    """The band, if there is such a one.

    Raises
    ------
    R3labError
        Naming what there is.
    """
    if band not in BANDS:
        raise R3labError(f"There is no band {shown(band)}; there is {', '.join(BANDS)}.{nearest(str(band), BANDS)}")
    return band


MOST_LOGS = 100
FAINT = 8  # groups whose values as logged are drawn beside the smoothed ones: more would hide them
Rows = Sequence[Mapping[str, Any]]
# One log or several (files, folders of runs, rows, or read already); or groups of them by label.
One = Any
Runs = Any


@dataclass(frozen=True)
class Board:
    """What is drawn; see `board_of` for what the fields mean.

    Attributes
    ----------
    groups : logs by the name of their group
    panels : in order
    smooth : steps of the running mean
    band : "range" or "interval"
    absent : titles of what no log has
    """

    groups: dict[str, list[Log]]
    panels: list[Panel]
    smooth: int
    band: str
    absent: tuple[str, ...]
    _courses: dict[tuple[str, str], Course] = field(default_factory=dict, repr=False, compare=False)

    def course(self, name: str, key: str) -> Course:
        """Lines of a measure of a group."""
        if (name, key) not in self._courses:
            self._courses[name, key] = course(self.groups[name], key, self.smooth, self.band)
        return self._courses[name, key]

    def profile(self, name: str) -> np.ndarray | None:
        """Share of the tokens in each bin of the log ratio, at the end; None if it is not known."""
        return profile(self.groups[name], lr.LOG_RATIO_COUNTS, self.smooth)

    @property
    def last(self) -> float:
        """The last step of all."""
        return max((log.last for logs in self.groups.values() for log in logs if log.last == log.last), default=0.0)

    @property
    def faint(self) -> bool:
        """Whether values as logged are drawn beside the smoothed ones."""
        return self.smooth > 1 and len(self.groups) <= FAINT

    @property
    def several(self) -> bool:
        """Whether a group has several runs."""
        return any(len(logs) > 1 for logs in self.groups.values())

    def legend(self, name: str) -> str:
        """A group in the legend."""
        n = len(self.groups[name])
        return one_line(name, 48) + (f" ({n} runs)" if n > 1 else "") or "run"

    def explained(self) -> str:
        """What lines and bands are, in words."""
        soft = f"mean of the last {self.smooth} steps" if self.smooth > 1 else "each step as logged"
        said = [f"Bold: {soft}. Faint: as logged; a burst may leave its chart." if self.faint else f"Lines: {soft}."]
        if self.smooth > 1 and not self.faint:
            said.append(f"The values as logged are left out, since there are more than {FAINT} lines.")
        if self.several:
            if self.band == "range":
                said.append("Of several runs: their mean, with a band from the lowest to the highest of them.")
            else:
                said.append("Of several runs: their mean, with its 95 % interval (Student's t; from three runs on).")
            said.append("A mean ends where its shortest run does; longer ones go on as thin lines.")
        return " ".join(said)

    def notes(self) -> list[str]:
        """What is to be known of the logs, a line each."""
        said = []
        for name, logs in self.groups.items():
            for log in logs:
                own = one_line(log.name, 60) or "run"
                alone = own == one_line(name, 60) or (len(self.groups) == 1 and own != "run")
                where = own if alone else f"{one_line(name, 48)}: {own}"
                until = f"to step {log.last:g}" if math.isfinite(log.last) else "no step yet"
                said.append(f"{where}: {'; '.join([until, *log.notes])}")
        if self.absent:
            said.append(f"In none of these logs: {', '.join(self.absent)}")
        return said


def board_of(
    runs: Runs, keys: Sequence[str] | None = None, smooth: int | None = None, band: str = "range", by: str = AUTO
) -> Board:
    """Read and arrange runs.

    Parameters
    ----------
    runs
        A log, several, or several by label: {"paper": [log, log]}. A log is a file, the folder of a run, the rows of a
        log, or a `dashboard_logs.Log`.
    keys
        Measures to draw, in order; by default all that there are.
    smooth
        Steps of the running mean; by default a twelfth of all, 1 for none.
    band
        Over the runs of a group: "range" or "interval"; see `dashboard_bands`.
    by
        How runs without a label are grouped: "auto", "run", or a setting; see `dashboard_groups`.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, a measure is in no log, or an argument is not one of the above.
    """
    checked_band(band)
    if smooth is not None and (isinstance(smooth, bool) or not isinstance(smooth, int) or smooth < 1):
        raise R3labError(f"smooth must be a whole number of steps from 1, got {shown(smooth)}")
    if isinstance(runs, Mapping):
        groups: dict[str, list[Log]] = {}
        for label, given in runs.items():
            name, own = one_line(label, 80) or "run", _several(given)
            called = [name] if len(own) == 1 else [f"run {i}" for i in range(1, len(own) + 1)]
            groups.setdefault(name, []).extend(map(_log, own, called))
        if len(groups) > MOST:
            raise R3labError(f"{len(groups)} groups of runs are more than can be told apart; draw at most {MOST}.")
    else:
        groups = groups_of([_log(one, "run") for one in _several(runs)], by)
    logs = [log for own in groups.values() for log in own]
    if not logs or len(logs) > MOST_LOGS:
        raise R3labError(f"A dashboard is drawn of 1 to {MOST_LOGS} logs, got {len(logs)}.")
    have = list(dict.fromkeys(key for log in logs for key in log.series))
    if not have:
        raise R3labError(f"There is nothing to draw yet: no step in {', '.join(shown(log.name) for log in logs[:5])}.")
    last = max(log.last for log in logs if math.isfinite(log.last))
    window = smooth if smooth is not None else max(1, round(last / 12))
    return Board(groups, panels_of(have, keys), window, band, () if keys is not None else tuple(missing(have)))


def _several(given: Runs) -> list[One]:
    """One or several logs as several."""
    if isinstance(given, str | Path | Log):
        return [given]
    if not isinstance(given, Sequence):
        raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")
    rows = all(isinstance(one, Mapping) for one in given)
    return [given] if rows else list(given)


def _log(given: One, name: str) -> Log:
    """A log; rows have no name of their own."""
    if isinstance(given, Log):
        return given
    if isinstance(given, str | Path):
        return read_log_file(given)
    if isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
        return made(given, name)
    raise R3labError(f"Cannot draw {shown(given)}; give a log's file, a run's folder, or the rows of a log.")


@lru_cache(maxsize=64)
def line_style(number: int) -> tuple[str, tuple[float, ...] | None]:
    """Colour and dash of the group of that number, from 0: the first six differ in both, 36 in one of the two."""
    n = len(RUNS)
    return RUNS[number % n][0], RUNS[(number + number // n) % n][1]


def limits(board: Board, panel: Panel) -> tuple[float, float]:
    """The ends of a panel's vertical axis: all of a share, else what smoothed lines, bands and most raw values span.

    A few values as logged, 2 % at most at either end, may lie outside: one burst of the gradient would flatten all
    else.
    """
    if panel.whole:
        return -0.03, 1.03
    bold, faint = [], []
    for name in board.groups:
        one = board.course(name, panel.key)
        bold += [one.mean, one.low, one.high, *(y for _, y in one.tails)]
        faint += [one.raw] * (board.faint or board.smooth == 1)
    known = np.concatenate(bold) if bold else np.empty(0)
    rough = np.concatenate(faint) if faint else np.empty(0)
    known, rough = known[np.isfinite(known)], rough[np.isfinite(rough)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if len(rough):
        below, above = np.quantile(rough, [0.02, 0.98])
        low, high = min(low, float(below)), max(high, float(above))
    if panel.share:
        low, high = 0.0, max(high, 1e-3)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return (0.0 if panel.share or (low >= 0 and low - room < 0) else low - room), high + room


def told(panel: Panel, value: float) -> str:
    """A value of a panel as a person reads it."""
    if not math.isfinite(value):
        return "none"
    if panel.share:
        return f"{100 * value:.0f} %" if panel.whole or abs(value) >= 0.1 else f"{100 * value:.1g} %"
    if 0 < abs(value) < 1e-2:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.3g}"
