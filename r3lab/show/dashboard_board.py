"""Everything that is decided before a dashboard is drawn: logs, groups, panels, smoothing, bands, colours.

The still picture, the Plotly figure and the page are drawn from the same board, and say the same.

    board = board_of({"paper": ["runs/a", "runs/b"], "grounded": "runs/c"}, smooth=10)
    board.course("paper", "reward").mean
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import R3labError, shown
from ..train import ratio_bins
from .dashboard_bands import Course, checked_band, course, profile
from .dashboard_groups import AUTO, MOST, groups_of
from .dashboard_logs import Log, made, read_log_file
from .dashboard_panels import Panel, missing, panels_of
from .lettering import one_line
from .palette import RUNS

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
        return profile(self.groups[name], ratio_bins.KEY, self.smooth)

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
