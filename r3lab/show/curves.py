"""Training curves: one small chart a measure, runs over each other, the seeds of a setting as their mean with a band.

One system for a picture of three curves, for all that a log holds (`dashboard`) and for a run in progress. A bold line
is the mean of the last steps, never of what comes later. The mean over runs is taken only where every run of the group
has a value: where the shortest ends the mean ends, since a mean over changing runs jumps for no reason of theirs;
longer runs go on as thin lines. Simplified: one horizontal axis, the step; the legend names the first 12 groups.

    curves("runs/rgrpo", ("reward", "exact"))                                      # last line of a cell
    curves({"paper": [log_0, log_1, log_2], "grounded": "runs/grounded"}, smooth=10, band="interval")
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..core.errors import R3labError, nearest, shown
from ..core.stats import LEVEL, LOG_RATIO_BINS, LOG_RATIO_COUNTS, LOG_RATIO_EDGES, student
from .canvas import Canvas
from .logs import AUTO, HELD_OUT, Log, Series, groups_in
from .palette import BODY, DPI, HEADING, RUNS, SMALL, Theme, style, theme
from .picture import Picture
from .text import height, one_line, text_width, wrap, write

# -- measures --------------------------------------------------------------------------------------------------------

Kind = Literal["", "from zero", "unit", "share", "small share", "bins"]
REWARD = "reward/"
# Section, title and kind of what a log may hold, in the order of the page; a name with a slash at its end is a family,
# whose members the log names. A share has an axis of 0 to 100 %; that of a small one ends where its values do.
MEASURES: dict[str, tuple[str, str, Kind]] = {
    "reward": ("Reward", "Reward, mean of a step", ""),
    REWARD: ("Reward", "Reward: ", ""),
    "reward_std": ("Reward", "Spread of reward within a group", ""),
    "zero_variance": ("Reward", "Groups without a signal", "share"),
    "exact": ("Answers", "Right answers", "share"),
    "exact_needed": ("Answers", "Right where a look is needed", "share"),
    "exact_unneeded": ("Answers", "Right where none is needed", "share"),
    HELD_OUT: ("Answers", "Held out, right: ", "share"),
    "answered": ("Answers", "Rollouts that answer", "share"),
    "look_rate_needed": ("Looks", "Looks where one is needed", "share"),
    "look_rate_unneeded": ("Looks", "Looks where none is needed", "share"),
    "look_rate": ("Looks", "Rollouts that look again", "share"),
    "looks": ("Looks", "Looks a rollout", ""),
    "iou": ("Looks", "Look on the true region, IoU", ""),
    "invalid": ("Looks", "Boxes that could not be used", "small share"),
    "approx_kl": ("Update", "KL from the sampling policy", ""),
    "kl": ("Update", "KL from the reference", ""),
    "clip_fraction_low": ("Update", "Tokens clipped below", "small share"),
    "clip_fraction_high": ("Update", "Tokens clipped above", "small share"),
    LOG_RATIO_COUNTS: ("Update", "Log ratio of the tokens, at the end", "bins"),
    "ratio_mean": ("Update", "Importance ratio, mean", ""),
    "ratio_max": ("Update", "Importance ratio, largest", ""),
    "grad_norm": ("Update", "Norm of the gradient", ""),
    "loss": ("Update", "Loss", ""),
    "learning_rate": ("Update", "Learning rate", ""),
    "skipped": ("Update", "Updates left out", ""),
    "entropy": ("Tokens", "Entropy, nats a token", ""),
    "entropy_bonus": ("Tokens", "Entropy in the loss", ""),
    "length": ("Tokens", "Length, sampled tokens", ""),
    "token_accuracy": ("Tokens", "Right next tokens", "share"),
    "seconds_rollout": ("Time", "Seconds of the rollouts", ""),
    "seconds_update": ("Time", "Seconds of the update", ""),
    "redrawn": ("Time", "Groups drawn anew", ""),
}
USUAL = ("reward", "exact", "iou", "look_rate", "entropy", "zero_variance")  # of `curves`
# What every log of R-GRPO should hold.
EXPECTED = (
    *("reward", "zero_variance", "look_rate_needed", "look_rate_unneeded", "invalid", "approx_kl"),
    *("clip_fraction_low", "clip_fraction_high", LOG_RATIO_COUNTS, "grad_norm", "entropy", "length"),
)


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes
    ----------
    key : the measure
    title : in words; may hold foreign text, made harmless
    section : under which it stands
    kind : of its numbers
    """

    key: str
    title: str
    section: str = "Other"
    kind: Kind = ""

    @property
    def share(self) -> bool:
        """Whether it is told in per cent."""
        return self.kind in ("share", "small share", "bins")

    @property
    def whole(self) -> bool:
        """Whether its axis is 0 to 1."""
        return self.kind in ("unit", "share")

    @property
    def bins(self) -> bool:
        """Whether it is drawn over bins of the log ratio, not over steps."""
        return self.kind == "bins"


def panel_of(key: str) -> Panel:
    """The panel of a measure; one that a log names itself has its own name as its title."""
    family = next((prefix for prefix in (REWARD, HELD_OUT) if key.startswith(prefix) and key != prefix), key)
    if family not in MEASURES:
        return Panel(key, one_line(key, 60))
    section, title, kind = MEASURES[family]
    return Panel(key, title + one_line(key.removeprefix(family), 40), section, kind)


def panels_of(
    keys: Iterable[str], wanted: Sequence[str] | None = None, without_value: Iterable[str] = ()
) -> list[Panel]:
    """The panels to draw.

    Parameters
    ----------
    keys
        Measures that the logs have.
    wanted
        Those asked for, in this order; by default all of `MEASURES` that the logs have, in the order of the page.
    without_value
        Measures that the logs name, with or without a value: they may be asked for.

    Raises
    ------
    R3labError
        If one that was asked for is in no log, naming the nearest.
    """
    have = list(dict.fromkeys(keys))
    if wanted is None:
        families = {key: next((f for f in (REWARD, HELD_OUT) if key.startswith(f)), key) for key in have}
        return [panel_of(key) for name in MEASURES for key in have if families[key] == name != key or key == name]
    known = {*have, *without_value}
    for key in wanted:
        if key not in known:
            raise R3labError(f"No log has {shown(key)}.{nearest(str(key), sorted(known))}")
    return [panel_of(key) for key in dict.fromkeys(wanted)]


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
        return Curve(none, none, none, none, none, runs=0)
    soft = [smoothed(one, smooth) for one in found]
    first, until = max(one.steps[0] for one in found), min(one.steps[-1] for one in found)
    steps = np.unique(np.concatenate([one.steps for one in found]))
    steps = steps[(steps >= first) & (steps <= until)]
    values = np.array([_at(one.steps, line, steps) for one, line in zip(found, soft, strict=True)])  # (N, S)
    raw = np.array([_at(one.steps, one.values, steps) for one in found])
    lines = np.array([raw.mean(axis=0), values.mean(axis=0), *band_of(values, band)])  # (4, S), NaN where one has none
    after = [(one.steps >= until, one, line) for one, line in zip(found, soft, strict=True) if one.steps[-1] > until]
    tails = tuple(_thinned(one.steps[part], line[part]) for part, one, line in after)
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


# -- everything that is decided before something is drawn ------------------------------------------------------------

FAINT = 8  # groups whose values as logged are drawn beside the smoothed ones: more would hide them


@dataclass(frozen=True)
class Charts:
    """What is drawn; see `charts_of` for what the fields mean.

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
    absent: tuple[str, ...] = ()
    _curves: dict[tuple[str, str], Curve] = field(default_factory=dict, repr=False, compare=False)

    def curve(self, name: str, key: str) -> Curve:
        """Lines of a measure of a group."""
        if (name, key) not in self._curves:
            self._curves[name, key] = curve(self.groups[name], key, self.smooth, self.band)
        return self._curves[name, key]

    def profile(self, name: str) -> np.ndarray | None:
        """Share of a group's tokens in each bin of the log ratio over the last steps, (B,); None if it is not known."""
        found = [log.series[LOG_RATIO_COUNTS] for log in self.groups[name] if LOG_RATIO_COUNTS in log.series]
        counts = sum(np.nansum(one.values[one.steps > one.steps[-1] - self.smooth], axis=0) for one in found)
        return np.asarray(counts / np.sum(counts)) if np.sum(counts) > 0 else None

    def end(self, name: str, panel: Panel) -> float:
        """The number that stands for a group at the end: its last smoothed value, or its share of the middle bin."""
        if not panel.bins:
            return self.curve(name, panel.key).ends[1]
        shares = self.profile(name)
        return math.nan if shares is None else float(shares[LOG_RATIO_BINS // 2])

    @property
    def last(self) -> float:
        """The last step of all."""
        return max((log.last for logs in self.groups.values() for log in logs if log.last == log.last), default=0.0)

    @property
    def faint(self) -> bool:
        """Whether values as logged are drawn beside the smoothed ones."""
        return self.smooth > 1 and len(self.groups) <= FAINT

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
        if any(len(logs) > 1 for logs in self.groups.values()):
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


def charts_of(
    runs: Any, keys: Sequence[str] | None = None, smooth: int | None = None, band: str = "range", by: str = AUTO
) -> Charts:
    """Read and arrange runs; the parameters are those of `dashboard.dashboard`.

    Where no log has a step yet, measures that are asked for get empty charts.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, a measure is in no log, or an argument is none of those that there are.
    """
    if band not in BANDS:
        raise R3labError(f"There is no band {shown(band)}; there is {', '.join(BANDS)}.{nearest(str(band), BANDS)}")
    if smooth is not None and (isinstance(smooth, bool) or not isinstance(smooth, int) or smooth < 1):
        raise R3labError(f"smooth must be a whole number of steps from 1, got {shown(smooth)}")
    groups = groups_in(runs, by)
    logs = [log for own in groups.values() for log in own]
    have = list(dict.fromkeys(key for log in logs for key in log.measured))
    if have or keys is None:
        panels = panels_of(have, keys, [key for log in logs for key in log.series])
    else:
        panels = [panel_of(key) for key in dict.fromkeys(map(str, keys))]
    names = ", ".join(shown(log.name) for log in logs[:5])
    if not panels and not have:
        raise R3labError(f"There is nothing to draw yet: no step in {names}.")
    if not panels:
        others = ", ".join(shown(key, 30) for key in sorted(have)[:8])
        raise R3labError(f"There is no measure that the dashboard draws in {names} (but {others}); name what to draw.")
    last = max((log.last for log in logs if math.isfinite(log.last)), default=0.0)
    absent = [panel_of(key).title for key in EXPECTED if key not in have]
    absent += ["Held out, right"] * (not any(key.startswith(HELD_OUT) for key in have))
    window = smooth if smooth is not None else max(1, round(last / 12))
    return Charts(groups, panels, window, band, tuple(absent) if keys is None else ())


def line_style(number: int) -> tuple[str, tuple[float, ...] | None]:
    """Colour and dash of the group of that number, from 0: the first six differ in both, 36 in one of the two."""
    n = len(RUNS)
    return RUNS[number % n][0], RUNS[(number + number // n) % n][1]


def limits(charts: Charts, panel: Panel) -> tuple[float, float]:
    """The ends of a panel's vertical axis: all of a share, else what smoothed lines, bands and most raw values span.

    A few values as logged, 2 % at most at either end, may lie outside: one burst of the gradient would flatten all
    else.
    """
    if panel.whole:
        return -0.03, 1.03
    found = [charts.curve(name, panel.key) for name in charts.groups]
    known = np.concatenate([line for c in found for line in (c.mean, c.low, c.high, *(y for _, y in c.tails))])
    rough = np.concatenate([c.raw for c in found]) if charts.faint or charts.smooth == 1 else np.empty(0)
    known, rough = known[np.isfinite(known)], rough[np.isfinite(rough)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if len(rough):
        below, above = np.quantile(rough, [0.02, 0.98])
        low, high = min(low, float(below)), max(high, float(above))
    if panel.share:
        low, high = 0.0, max(high, 1e-3)
    low = min(low, 0.0) if panel.kind == "from zero" else low
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return (0.0 if panel.share or (low >= 0 and low - room < 0) else low - room), high + room


# -- in words --------------------------------------------------------------------------------------------------------


def told(panel: Panel, value: float) -> str:
    """A value of a panel as a person reads it."""
    if not math.isfinite(value):
        return "none"
    if panel.share:
        return f"{100 * value:.0f} %" if panel.kind == "share" or abs(value) >= 0.1 else f"{100 * value:.1g} %"
    return _power(f"{value:.1e}") if 0 < abs(value) < 1e-2 else f"{value:.3g}"


def _power(number: str) -> str:
    """A number in powers of ten without zeros that say nothing: "3e-5"."""
    mantissa, exponent = number.split("e")
    return f"{mantissa}e{int(exponent)}"


def panel_words(charts: Charts, panel: Panel) -> str:
    """A panel in words: where each group begins and ends; of more than three groups, where the outer ones end."""
    if panel.bins:
        middle = [told(panel, value) for name in charts.groups if math.isfinite(value := charts.end(name, panel))]
        return f"{panel.title}: {', '.join(middle[:4])} of the tokens within {LOG_RATIO_EDGES[6]:g} of zero."
    ends = {name: charts.curve(name, panel.key).ends for name in charts.groups}
    ends = {name: pair for name, pair in ends.items() if math.isfinite(pair[1])}
    if len(ends) <= 3:
        who = {name: f"{one_line(name, 30)} " if len(charts.groups) > 1 else "" for name in ends}
        parts = [f"{who[name]}from {told(panel, a)} to {told(panel, b)}" for name, (a, b) in ends.items()]
        return f"{panel.title}: {'; '.join(parts) or 'no value yet'}."
    most, least = (pick(ends, key=lambda name: ends[name][1]) for pick in (max, min))
    high, low = (told(panel, ends[name][1]) for name in (most, least))
    apart = f"at the end from {low} ({one_line(least, 30)}) to {high} ({one_line(most, 30)})"
    return f"{panel.title}: {f'{high} at the end' if high == low else apart}."


def words_of(charts: Charts) -> str:
    """What the charts show, in words: where every measure of every group begins and ends."""
    count = sum(len(logs) for logs in charts.groups.values())
    names = [charts.legend(name) for name in charts.groups]
    who = f"{count} run{'' if count == 1 else 's'}"
    if len(names) > 1:
        who += f" in {len(names)} groups ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
    n = len(charts.panels)
    head = f"Training of {who} over {charts.last:g} steps: {n} chart{'' if n == 1 else 's'}. {charts.explained()}"
    return " ".join([head, *(panel_words(charts, panel) for panel in charts.panels)])


# -- the picture -----------------------------------------------------------------------------------------------------

NAMED, ENDS = 12, 4  # groups that the legend names; groups whose last values are written
LEFT, RIGHT, ABOVE, BELOW = 0.48, 0.54, 0.24, 0.22  # inches around a chart: numbers, last values, title, steps
MARGIN = 0.14
FEW = 6  # charts that are drawn large


@dataclass(frozen=True)
class Field:
    """Where a chart is drawn: its upper left corner on the sheet and its size, inches."""

    axes: Axes
    theme: Theme
    x: float
    y: float
    wide: float
    high: float

    def across(self, share: np.ndarray | float) -> Any:
        """From the left, 0 to 1."""
        return self.x + self.wide * share

    def up(self, share: np.ndarray | float) -> Any:
        """From the bottom, 0 to 1."""
        return self.y + self.high * (1 - share)

    def frame(self, panel: Panel, ticks: Mapping[float, str], steps: Mapping[float, str]) -> None:
        """Title, grid, and numbers at their shares of both axes."""
        ink, muted = self.theme.ink, self.theme.muted
        title = wrap(panel.title, self.wide + LEFT + RIGHT - 0.14, HEADING - 0.6, 1, bold=True)
        write(self.axes, self.x - LEFT + 0.18, self.y - ABOVE + 0.02, "".join(title), HEADING - 0.6, ink, True)
        grid = [[(self.x, self.up(at)), (self.x + self.wide, self.up(at))] for at in ticks]
        lines = LineCollection(grid, colors=self.theme.faint, linewidths=0.6, zorder=0.5)
        self.axes.add_collection(lines, autolim=False)
        for at, words in ticks.items():
            write(self.axes, self.x - 0.05, self.up(at), words, SMALL, muted, ha="right", va="center")
        for at, words in steps.items():
            write(self.axes, self.across(at), self.y + self.high + 0.05, words, SMALL, muted, ha="center")


def curves(
    runs: Any, keys: Sequence[str] | None = None, smooth: int | None = None, band: str = "range", dark: bool = False
) -> Picture:
    """Draw a few measures over the steps of training.

    Parameters
    ----------
    runs
        A log, several, or several by label: ``{"paper": [log, log]}``. A log is a file, the folder of a run, or the
        rows of a log.
    keys
        Measures, one chart each, of any name; by default the usual ones that the logs have.
    smooth
        Steps of the running mean; by default a twelfth of all, 1 for none.
    band
        Over the runs of a group: "range", from lowest to highest, or "interval", Student's 95 % interval of the mean.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If a key is in no log, naming the nearest; or `runs` is none of the above.

    Examples
    --------
    >>> log = [{"step": i, "reward": i / 9} for i in range(1, 10)]
    >>> bool(r3lab.curves(log, ("reward",)).alt)
    True
    """
    groups = groups_in(runs)
    have = {key for logs in groups.values() for log in logs for key in log.measured}
    return draw(charts_of(groups, keys or [key for key in USUAL if key in have] or None, smooth, band), dark)


def draw(charts: Charts, dark: bool = False, dpi: int = DPI) -> Picture:
    """Charts as a picture with its words.

    All of them lie in one set of axes in inches, which takes a third of the time that axes a chart would: 26 charts of
    20 runs come within a second.
    """
    chosen, few = theme(dark), len(charts.panels) <= FEW
    wide, high, columns = (2.0, 1.45, 3) if few else (1.66, 0.92, 4)
    columns = min(columns, max(2, len(charts.panels)))
    across, down = LEFT + wide + RIGHT, ABOVE + high + BELOW
    width = columns * across + MARGIN
    note = wrap(charts.explained(), width - 2 * MARGIN, SMALL, 4)
    legend = _legend_places(charts, width)
    top = MARGIN + (legend[-1][1] + height(1, BODY) if legend else 0.0) + 0.04
    first = top + height(len(note), SMALL) + 0.1
    with style(chosen):
        canvas = Canvas(width, first - (-len(charts.panels) // columns) * down + MARGIN, chosen)
        axes = canvas.axes(0, 0, canvas.width, canvas.height, (0, 0, canvas.width, canvas.height), "curves")
        for x, y, number, words in legend:
            if number >= 0:
                colour, dashes = line_style(number)
                middle = [MARGIN + y + height(1, BODY) / 2] * 2
                axes.plot([x, x + 0.28], middle, color=colour, linewidth=1.9, linestyle=(0, dashes))
            write(axes, x + (0.34 if number >= 0 else 0), MARGIN + y, words, BODY, chosen.ink)
        canvas.block(MARGIN, top, note, SMALL, chosen.muted)
        for i, panel in enumerate(charts.panels):
            row, column = divmod(i, columns)
            place = Field(axes, chosen, MARGIN + column * across + LEFT - 0.1, first + row * down + ABOVE, wide, high)
            lowest = i + columns >= len(charts.panels)
            if panel.bins:
                _bins(place, charts, panel)
            else:
                draw_chart(place, charts, panel, lowest)
    return Picture(canvas.figure, words_of(charts), dpi)


def _legend_places(charts: Charts, width: float) -> list[tuple[float, float, int, str]]:
    """Where each group is named: x, y below the margin, its number (-1 for the remark on the others), words."""
    names = list(charts.groups)
    if names in (["run"], [""]) and len(charts.groups[names[0]]) == 1:
        return []
    words = [(number, charts.legend(name)) for number, name in enumerate(names[:NAMED])]
    if len(names) > NAMED:
        words.append((-1, f"and {len(names) - NAMED} more"))
    found, x, y = [], MARGIN, 0.0
    for number, word in words:
        wide = 0.34 + text_width(word, BODY) + 0.28
        if x > MARGIN and x + wide > width - MARGIN:
            x, y = MARGIN, y + height(1, BODY) + 0.04
        found.append((x, y, number, word))
        x += wide
    return found


def draw_chart(field: Field, charts: Charts, panel: Panel, lowest: bool) -> None:
    """A measure over the steps; the lowest of a column has the steps below."""
    axes, theme = field.axes, field.theme
    low, high = limits(charts, panel)
    first, last = _span(charts)

    def place(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.column_stack(
            [field.across((steps - first) / (last - first)), field.up((values - low) / (high - low))]
        )

    ticks = [0.0, 0.5, 1.0] if panel.whole else [t for t in MaxNLocator(3).tick_values(low, high) if low <= t <= high]
    at = {(t - low) / (high - low): _tick_label(t, panel, ticks) for t in ticks}
    field.frame(panel, at, {0.0: f"{first:g}", 0.5: "step", 1.0: f"{last:g}"} if lowest else {})
    faint: list[tuple[np.ndarray, str, float]] = []
    bold: list[tuple[np.ndarray, str, Any]] = []
    bands: list[tuple[np.ndarray, str]] = []
    ends: list[tuple[float, str, str]] = []
    inside = Rectangle((field.x - 0.02, field.y - 0.02), field.wide + 0.04, field.high + 0.04, transform=axes.transData)
    for number, name in enumerate(charts.groups):
        one, (colour, dashes) = charts.curve(name, panel.key), line_style(number)
        if not np.isfinite(one.mean).any():
            continue
        if charts.faint:
            faint.append((place(one.steps, one.raw), colour, 0.6))
        faint += [(place(steps, values), colour, 1.0) for steps, values in one.tails]
        bold.append((place(one.steps, one.mean), colour, (0, dashes)))
        fine = np.isfinite(one.low)
        if fine.any():
            edge = [place(one.steps[fine], line[fine]) for line in (one.low, one.high)]
            bands.append((np.concatenate([edge[0], edge[1][::-1]]), colour))
        if np.isfinite(one.mean).sum() <= 12:
            points = place(one.steps, one.mean).T
            axes.plot(*points, color=colour, linestyle="none", marker="o", markersize=2.6, clip_path=inside)
        share = min(max((one.ends[1] - low) / (high - low), 0.0), 1.0)
        ends.append((field.up(share), told(panel, one.ends[1]), colour))
    if not bold:
        write(axes, field.across(0.5), field.up(0.5), "no value yet", BODY, theme.muted, ha="center", va="center")
        return
    clear, thick = 0.36 if len(charts.groups) < 3 else 0.24, 1.7 if len(bold) < 7 else 1.1
    for drawn in (
        PolyCollection([p for p, _ in bands], facecolors=[c for _, c in bands], alpha=0.26, linewidths=0),
        LineCollection([p for p, *_ in faint], colors=[c for _, c, _ in faint], alpha=clear,
                       linewidths=[w for *_, w in faint]),
        LineCollection([p for p, *_ in bold], colors=[c for _, c, _ in bold], linestyles=[d for *_, d in bold],
                       linewidths=thick, gid=f"mean-{one_line(panel.key, 60)}"),
    ):  # fmt: skip
        axes.add_collection(drawn, autolim=False)
        drawn.set_clip_path(inside)
    if len(ends) <= ENDS:
        _ends(field, ends)


def _ends(field: Field, ends: list[tuple[float, str, str]]) -> None:
    """Last values beside the lines' ends, pushed apart where they would touch."""
    least = height(1, SMALL) * 0.95
    at = [y for y, *_ in sorted(ends)]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + least)
    over, x = max(0.0, at[-1] - field.up(0.0)) if at else 0.0, field.across(1.0) + 0.05
    for y, (_, words, colour) in zip(at, sorted(ends), strict=True):
        field.axes.plot([x, x + 0.06], [y - over] * 2, color=colour, linewidth=2.4, solid_capstyle="butt")
        write(field.axes, x + 0.09, y - over, words, SMALL, field.theme.ink, True, va="center")


def _bins(field: Field, charts: Charts, panel: Panel) -> None:
    """Shares of tokens in bins of the log ratio; the vertical scale is logarithmic, an empty bin has no point."""
    found = {n: p for n, name in enumerate(charts.groups) if (p := charts.profile(name)) is not None}
    least = min((float(p[p > 0].min()) for p in found.values()), default=0.1)
    low = math.floor(math.log10(least) - 0.1)
    ticks = {1 - t / low: f"{100 * 10.0**t:g} %" for t in range(low, 1, max(1, -low // 3))}
    middles = (np.arange(LOG_RATIO_BINS) + 0.5) / LOG_RATIO_BINS
    below = (f"< {LOG_RATIO_EDGES[0]:g}", "0", f"> {LOG_RATIO_EDGES[-1]:g}")
    steps = dict(zip(middles[[0, LOG_RATIO_BINS // 2, -1]].tolist(), below, strict=True))
    field.frame(panel, ticks, steps)
    for number, shares in found.items():
        colour, dashes = line_style(number)
        with np.errstate(divide="ignore"):
            points = np.where(shares > 0, field.up(1 - np.log10(shares) / low), np.nan)
        field.axes.plot(
            field.across(middles), points, color=colour, linewidth=1.4, linestyle=(0, dashes), marker="o",
            markersize=2.4, gid=f"bins-{number}",
        )  # fmt: skip


def _span(charts: Charts) -> tuple[float, float]:
    """First and last step of all panels."""
    steps = [one.steps for logs in charts.groups.values() for log in logs for one in log.series.values()]
    first, last = min((float(s[0]) for s in steps), default=0.0), max((float(s[-1]) for s in steps), default=1.0)
    return (first, last) if last > first else (first - 0.5, last + 0.5)


def _tick_label(value: float, panel: Panel, ticks: list[float]) -> str:
    """A number of the axis."""
    value = 0.0 if abs(value) < 1e-12 else value
    if panel.share:
        return f"{100 * value:.3g} %"
    between = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else 0.0
    if between and max(map(abs, ticks)) > 1000 * between:  # numbers that differ only far behind the point
        return f"{value:.{max(0, 1 - math.floor(math.log10(between)))}f}"
    if value and max(map(abs, ticks)) < 1e-2:
        return _power(f"{value:.1e}").replace(".0e", "e")
    return f"{value:.4g}"
