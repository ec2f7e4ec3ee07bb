"""Training curves: one small chart a measure, runs over each other, the seeds of a setting as their mean with a band.

One system for a picture of three curves, for all that a log holds (`dashboard`) and for a run in progress. A bold line
is the mean of the last steps, never of what comes later. The mean over runs is taken only where every run of the group
has a value: where the shortest ends the mean ends, since a mean over changing runs jumps for no reason of theirs;
longer runs go on as thin lines. Simplified: one horizontal axis, the step; the legend names the first 12 groups.

    curves("runs/rgrpo", ("reward", "exact"))                                      # last line of a cell
    curves({"paper": [log_0, log_1, log_2], "grounded": "runs/grounded"}, smooth=10)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from ..core.errors import R3labError, nearest, shown
from ..core.stats import LOG_RATIO_COUNTS
from .canvas import Canvas, draw_band, line_style
from .logs import BANDS, HELD_OUT, Curve, Log, curve, groups_in
from .palette import BODY, HEADING, LIGHT, SMALL, style
from .picture import Picture
from .text import height, one_line, text_width, wrap, write

# -- measures --------------------------------------------------------------------------------------------------------

Kind = Literal["", "from zero", "unit", "share", "small share"]
REWARD, ARM = "reward/", "looks/"
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
    ARM: ("Looks", "Looks a rollout, forced to: ", ""),
    "value_of_look": ("Looks", "Value of a look, in right answers", ""),
    "needless_by_value": ("Looks", "Looks that were worth nothing", "share"),
    "iou": ("Looks", "Look on the true region, IoU", ""),
    "invalid": ("Looks", "Boxes that could not be used", "small share"),
    "approx_kl": ("Update", "KL from the sampling policy", ""),
    "kl": ("Update", "KL from the reference", ""),
    "clip_fraction_low": ("Update", "Tokens clipped below", "small share"),
    "clip_fraction_high": ("Update", "Tokens clipped above", "small share"),
    LOG_RATIO_COUNTS: ("Update", "Tokens whose log ratio is beyond 0.1", "small share"),
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


@dataclass(frozen=True)
class Panel:
    """One chart: the measure, its title (foreign text in it is harmless), its section, the kind of its numbers."""

    key: str
    title: str
    section: str = "Other"
    kind: Kind = ""

    @property
    def share(self) -> bool:
        """Whether it is told in per cent."""
        return self.kind in ("share", "small share")


def _family(key: str) -> str:
    """The row of `MEASURES` that a measure belongs to."""
    return next((prefix for prefix in (REWARD, ARM, HELD_OUT) if key.startswith(prefix)), key)


def panel_of(key: str) -> Panel:
    """The panel of a measure; one that a log names itself has its own name as its title."""
    family = _family(key)
    if family not in MEASURES:
        return Panel(key, one_line(key, 60))
    section, title, kind = MEASURES[family]
    return Panel(key, title + one_line(key.removeprefix(family), 40), section, kind)


def panels_of(logs: Sequence[Log], keys: Sequence[str] | None = None) -> list[Panel]:
    """The panels to draw: those asked for, in this order; by default all of `MEASURES` that the logs have.

    Where no log has a step yet, measures that are asked for get empty charts.

    Raises
    ------
    R3labError
        If a measure is in no log, naming the nearest, or there is none to draw.
    """
    have = dict.fromkeys(key for log in logs for key in log.measured)
    known = {key for log in logs for key in log.series}  # also those without a value
    for key in keys or ():
        if have and key not in known:
            raise R3labError(f"No log has {shown(key)}.{nearest(str(key), sorted(known))}")
    order = list(MEASURES)
    usual = sorted((key for key in have if _family(key) in MEASURES), key=lambda key: order.index(_family(key)))
    found = [panel_of(key) for key in (usual if keys is None else dict.fromkeys(map(str, keys)))]
    names = ", ".join(shown(log.name) for log in logs[:5])
    if not found and not have:
        raise R3labError(f"There is nothing to draw yet: no step in {names}.")
    if not found:
        others = ", ".join(shown(key, 30) for key in sorted(have)[:8])
        raise R3labError(f"There is no measure that the dashboard draws in {names} (but {others}); name what to draw.")
    return found


# -- everything that is decided before something is drawn ------------------------------------------------------------

FAINT = 8  # groups whose values as logged are drawn beside the smoothed ones: more would hide them


@dataclass(frozen=True)
class Charts:
    """What is drawn: logs by the name of their group, panels in order, steps of the running mean, the kind of band."""

    groups: dict[str, list[Log]]
    panels: list[Panel]
    smooth: int = 1
    band: str = "range"

    @cached_property
    def curves(self) -> dict[tuple[str, str], Curve]:
        """The lines of each group (its name) in each panel (its key)."""
        found = [(name, panel.key, logs) for name, logs in self.groups.items() for panel in self.panels]
        return {(name, key): curve(logs, key, self.smooth, self.band) for name, key, logs in found}

    @property
    def span(self) -> tuple[float, float]:
        """First and last step of all."""
        steps = [one.steps for logs in self.groups.values() for log in logs for one in log.series.values()]
        first, last = min((float(s[0]) for s in steps), default=0.0), max((float(s[-1]) for s in steps), default=0.0)
        return (first, last) if last > first else (first - 0.5, last + 0.5)

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
            kinds = {
                "range": "with a band from the lowest to the highest of them",
                "interval": "with its 95 % interval (Student's t; from three runs on)",
            }
            said.append(f"Of several runs: their mean, {kinds[self.band]}.")
            said.append("A mean ends where its shortest run does; longer ones go on as thin lines.")
        return " ".join(said)

    def notes(self) -> list[str]:
        """What is to be known of the logs, a line each."""
        said = []
        for name, logs in self.groups.items():
            for log in logs:
                own = one_line(log.name, 60) or "run"
                alone = own == one_line(name, 60) or (len(self.groups) == 1 and own != "run")
                until = f"to step {log.last:g}" if math.isfinite(log.last) else "no step yet"
                said.append(f"{own if alone else f'{one_line(name, 48)}: {own}'}: {'; '.join([until, *log.notes])}")
        return said


def charts_of(runs: Any, keys: Sequence[str] | None = None, smooth: int | None = None, band: str = "range") -> Charts:
    """Read and arrange runs; the parameters are those of `dashboard.dashboard`.

    Raises
    ------
    R3labError
        If a log cannot be read or is none, a measure is in no log, or an argument is none of those that there are.
    """
    if band not in BANDS:
        raise R3labError(f"There is no band {shown(band)}; there is {', '.join(BANDS)}.{nearest(str(band), BANDS)}")
    if smooth is not None and (isinstance(smooth, bool) or not isinstance(smooth, int) or smooth < 1):
        raise R3labError(f"smooth must be a whole number of steps from 1, got {shown(smooth)}")
    groups = groups_in(runs)
    logs = [log for own in groups.values() for log in own]
    last = max((log.last for log in logs if math.isfinite(log.last)), default=0.0)
    return Charts(groups, panels_of(logs, keys), smooth or max(1, round(last / 12)), band)


def limits(charts: Charts, panel: Panel) -> tuple[float, float]:
    """The ends of a panel's vertical axis: all of a share, else what smoothed lines, bands and most raw values span.

    A few values as logged, 2 % at most at either end, may lie outside: one burst of the gradient would flatten all
    else.
    """
    if panel.kind in ("share", "unit"):
        return -0.03, 1.03
    found = [charts.curves[name, panel.key] for name in charts.groups]
    sure = np.concatenate([line for c in found for line in (c.mean, c.low, c.high, *(y for _, y in c.tails))])
    sure, rough = sure[np.isfinite(sure)], np.concatenate([c.raw[np.isfinite(c.raw)] for c in found])
    if not len(sure):
        return 0.0, 1.0
    if charts.faint and len(rough):
        sure = np.concatenate([sure, np.quantile(rough, [0.02, 0.98])])
    low, high = float(sure.min()), float(sure.max())
    if panel.share:
        return 0.0, 1.05 * max(high, 1e-3)
    low = min(low, 0.0) if panel.kind == "from zero" else low
    apart = high - low if high - low > 1e-9 * abs(high) else 0.0
    room = 0.05 * apart or 0.05 * abs(high) or 0.5
    return (0.0 if low >= 0 and low - room < 0 else low - room), high + room


# -- in words --------------------------------------------------------------------------------------------------------


def told(panel: Panel, value: float) -> str:
    """A value of a panel as a person reads it."""
    if not math.isfinite(value):
        return "none"
    if panel.share:
        return f"{100 * value:.0f} %" if panel.kind == "share" or abs(value) >= 0.1 else f"{100 * value:.1g} %"
    return _short(f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.3g}")


def _short(number: str) -> str:
    """A number in powers of ten without zeros that say nothing: "3e-5"."""
    mantissa, power, exponent = number.partition("e")
    return f"{mantissa}e{int(exponent)}" if power else number


def panel_words(charts: Charts, panel: Panel) -> str:
    """A panel in words: where each group begins and ends; of more than three groups, where the outer ones end."""
    ends = {name: charts.curves[name, panel.key].ends for name in charts.groups}
    ends = {name: pair for name, pair in ends.items() if math.isfinite(pair[1])}
    if len(ends) <= 3:
        who = {name: f"{one_line(name, 30)} " if len(charts.groups) > 1 else "" for name in ends}
        parts = [f"{who[name]}from {told(panel, a)} to {told(panel, b)}" for name, (a, b) in ends.items()]
        return f"{panel.title}: {'; '.join(parts) or 'no value yet'}."
    most, least = (pick(ends, key=lambda name: ends[name][1]) for pick in (max, min))
    high, low = told(panel, ends[most][1]), told(panel, ends[least][1])
    apart = f"at the end from {low} ({one_line(least, 30)}) to {high} ({one_line(most, 30)})"
    return f"{panel.title}: {f'{high} at the end' if high == low else apart}."


def words_of(charts: Charts) -> str:
    """What the charts show, in words: where every measure of every group begins and ends."""
    logs = [log for own in charts.groups.values() for log in own]
    names = [charts.legend(name) for name in charts.groups]
    who = f"{len(logs)} run{'s' * (len(logs) != 1)}"
    if len(names) > 1:
        who += f" in {len(names)} groups ({', '.join(names[:6])}{', ...' * (len(names) > 6)})"
    n, last = len(charts.panels), max((log.last for log in logs if math.isfinite(log.last)), default=0.0)
    head = f"Training of {who} over {last:g} steps: {n} chart{'s' * (n != 1)}. {charts.explained()}"
    return " ".join([head, *(panel_words(charts, panel) for panel in charts.panels)])


# -- the picture -----------------------------------------------------------------------------------------------------

NAMED, ENDS = 12, 4  # groups that the legend names; groups whose last values are written
LEFT, RIGHT, ABOVE, BELOW = 0.48, 0.54, 0.24, 0.22  # inches around a chart: numbers, last values, title, steps
MARGIN = 0.14
FEW = 6  # charts that are drawn large


def curves(runs: Any, keys: Sequence[str] | None = None, smooth: int | None = None) -> Picture:
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
    return draw(charts_of(groups, keys or [key for key in USUAL if key in have] or None, smooth))


def draw(charts: Charts) -> Picture:
    """Charts as a picture with its words."""
    few = len(charts.panels) <= FEW
    wide, high, columns = (2.0, 1.45, 3) if few else (1.66, 0.92, 4)
    columns = min(columns, max(2, len(charts.panels)))
    across, down = LEFT + wide + RIGHT, ABOVE + high + BELOW
    width = columns * across + MARGIN
    note = wrap(charts.explained(), width - 2 * MARGIN, SMALL, 4)
    names = _named(charts)
    cell = 0.62 + max((text_width(name, BODY) for name in names), default=0.0)
    each = max(1, int((width - 2 * MARGIN) / cell))  # names in a row of the legend
    top = MARGIN + -(-len(names) // each) * (height(1, BODY) + 0.04) + 0.04
    first = top + height(len(note), SMALL) + 0.1
    with style():
        canvas = Canvas(width, first - (-len(charts.panels) // columns) * down + MARGIN)
        for number, name in enumerate(names):
            row, column = divmod(number, each)
            x, y = MARGIN + column * cell, MARGIN + row * (height(1, BODY) + 0.04)
            canvas.line(x + 0.34, y, name, BODY, LIGHT.ink)
            if number < NAMED:
                (colour, dashes), up = line_style(number), 1 - (y + height(1, BODY) / 2) / canvas.height
                ends = [x / width, (x + 0.28) / width]
                canvas.figure.add_artist(
                    Line2D(ends, [up, up], color=colour, linewidth=1.9, linestyle=(0, dashes) if dashes else "-")
                )
        canvas.block(MARGIN, top, note, SMALL, LIGHT.muted)
        for i, panel in enumerate(charts.panels):
            row, column = divmod(i, columns)
            place = (MARGIN + column * across + LEFT - 0.1, first + row * down + ABOVE, wide, high)
            draw_chart(canvas, place, charts, panel, lowest=i + columns >= len(charts.panels))
    return Picture(canvas.figure, words_of(charts))


def _named(charts: Charts) -> list[str]:
    """What the legend says: the first groups, and how many more there are; nothing of a run alone without a name."""
    names = list(charts.groups)
    if names in (["run"], [""]) and len(charts.groups[names[0]]) == 1:
        return []
    return [charts.legend(name) for name in names[:NAMED]] + [f"and {len(names) - NAMED} more"] * (len(names) > NAMED)


def draw_chart(
    canvas: Canvas, place: tuple[float, float, float, float], charts: Charts, panel: Panel, lowest: bool = True
) -> None:
    """A measure over the steps.

    Parameters
    ----------
    place
        Upper left corner, width and height of what the axes span, inches; around it `LEFT`, `RIGHT`, `ABOVE`, `BELOW`.
    lowest
        Of its column: it has the steps below.
    """
    (x, y, wide, high), ink = place, LIGHT.ink
    title = wrap(panel.title, wide + LEFT + RIGHT - 0.14, HEADING - 0.6, 1, bold=True)
    canvas.block(x - LEFT + 0.18, y - ABOVE - 0.01, title, HEADING - 0.6, ink, bold=True)
    (first, last), (low, top) = charts.span, limits(charts, panel)
    aside = 0.01 * (last - first)  # for the marks at both ends
    extent = (first - aside, top, last + aside, low)
    axes = canvas.axes(x, y, wide, high, extent, f"chart-{one_line(panel.key, 60)}")
    axes.set_axis_on()
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=LIGHT.faint, linewidth=0.6, clip_on=False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=LIGHT.muted)
    axes.set_xticks([first, (first + last) / 2, last], [f"{first:g}", "step", f"{last:g}"] if lowest else [""] * 3)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]) if panel.kind in ("share", "unit") else MaxNLocator(3))
    axes.yaxis.set_major_formatter(lambda value, _: _tick_label(value, panel))
    many, ends = len(charts.groups), []
    clear = 0.36 if many < 3 else 0.24
    for number, name in enumerate(charts.groups):
        one, (colour, _) = charts.curves[name, panel.key], line_style(number)
        known = int(np.isfinite(one.mean).sum())
        if not known:
            continue
        if charts.faint:
            axes.plot(one.steps, one.raw, color=colour, linewidth=0.6, alpha=clear)
        for tail in one.tails:
            axes.plot(*tail, color=colour, linewidth=1.0, alpha=clear)
        thick, marker = 1.7 if many < 7 else 1.1, "o" if known <= 12 else None
        draw_band(axes, number, one.steps, one.mean, one.low, one.high, linewidth=thick, marker=marker, markersize=2.6)
        share = min(max((one.ends[1] - low) / (top - low), 0.0), 1.0)
        ends.append((share, told(panel, one.ends[1]), colour))
    if not ends:
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        write(axes, 0.5, 0.5, "no value yet", BODY, LIGHT.muted, **middle)
    elif len(ends) <= ENDS:
        _write_ends(axes, sorted(ends), (wide, high), ink)


def _write_ends(axes: Axes, ends: list[tuple[float, str, str]], inches: tuple[float, float], ink: str) -> None:
    """Last values beside the lines' ends, from the lowest up, pushed apart where they would touch."""
    least, inch = 0.95 * height(1, SMALL) / inches[1], 1 / inches[0]  # shares of the axes
    at: list[float] = []
    for share, *_ in ends:
        at.append(max(share, at[-1] + least) if at else share)
    over = max(0.0, at[-1] - 1)
    for up, (_, words, colour) in zip(at, ends, strict=True):
        mark = Line2D([1 + 0.05 * inch, 1 + 0.11 * inch], [up - over] * 2, color=colour, linewidth=2.4)
        mark.set(transform=axes.transAxes, solid_capstyle="butt", clip_on=False)
        axes.add_artist(mark)
        right: dict[str, Any] = {"va": "center", "transform": axes.transAxes}
        write(axes, 1 + 0.14 * inch, up - over, words, SMALL, ink, True, **right)


def _tick_label(value: float, panel: Panel) -> str:
    """A number of the axis; the ends of its range may be ticks that are not quite round."""
    if panel.share:
        return f"{100 * value:.3g} %"
    value = 0.0 if abs(value) < 1e-12 else value
    return _short(f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.6g}").replace(".0e", "e")
