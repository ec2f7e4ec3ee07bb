"""Training curves: one small chart a measure, the raw values thin, their running mean bold.

Several runs lie over each other, each with its own colour and dash; a run that was repeated over seeds is drawn
as the mean of its seeds with a band. `LiveCurves` is called with each row of a log while training runs: it
replaces one picture in place, so that a notebook executed without a screen holds exactly one, the last.
Simplified: one horizontal axis, "step".

    curves({"paper": [log_0, log_1, log_2], "grounded": [log_3, log_4, log_5]}, keys=("reward", "exact"))
    train_rgrpo(policy, batches, settings, log=LiveCurves(("reward", "exact"), every=5))
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..core.errors import R3labError, nearest, shown
from .palette import BODY, DPI, HEADING, RUNS, SMALL, Theme, style, theme
from .picture import Picture
from .text import height, one_line, text_width, wrap, write

# Rows of training logs as curves: the values of a measure by step, over seeds, with a running mean.
#
# What each measure is called in plain words stands here too. Simplified: the running mean looks back only, so it
# lags by half its window; a step that is logged twice counts once, with its later value.
#
#     one = curve([read_log("seed-0.jsonl"), read_log("seed-1.jsonl")], "reward", smooth=10)
#     one.steps, one.mean, one.low, one.high                 # (S,) each

Rows = Sequence[Mapping[str, Any]]  # of a log; rows without a step (the settings) are passed over
# One log; or by name a log, or the logs of several seeds.
Runs = Rows | Mapping[str, Rows | Sequence[Rows]]
Band = Literal["range", "std"]

# What a measure is called: words, and whether it is a share (drawn in per cent).
MEASURES: dict[str, tuple[str, bool]] = {
    "reward": ("Reward, mean of a step", False),
    "exact": ("Right answers", True),
    "exact_needed": ("Right answers where a look is needed", True),
    "exact_unneeded": ("Right answers where none is needed", True),
    "iou": ("Look on the true region, IoU", False),
    "look_rate": ("Rollouts that look again", True),
    "look_rate_needed": ("Looks where one is needed", True),
    "look_rate_unneeded": ("Looks where none is needed", True),
    "looks": ("Looks a rollout", False),
    "invalid": ("Boxes that could not be used", True),
    "answered": ("Rollouts that answer", True),
    "entropy": ("Entropy, nats a token", False),
    "length": ("Length, sampled tokens", False),
    "reward_std": ("Spread of reward within a group", False),
    "zero_variance": ("Groups without a signal", True),
    "ratio_mean": ("Importance ratio, mean", False),
    "ratio_max": ("Importance ratio, largest", False),
    "clip_fraction_low": ("Tokens clipped below", True),
    "clip_fraction_high": ("Tokens clipped above", True),
    "approx_kl": ("KL from the sampling policy", False),
    "grad_norm": ("Norm of the gradient", False),
    "loss": ("Loss", False),
}
KEYS = ("reward", "exact", "iou", "look_rate", "entropy", "zero_variance")


@dataclass(frozen=True)
class Curve:
    """One measure of one named run over `steps`; the three others have a value a step, NaN where there is none."""

    steps: np.ndarray  # (S,)
    raw: np.ndarray  # mean over seeds
    mean: np.ndarray  # its running mean
    low: np.ndarray  # of the running means of the seeds
    high: np.ndarray
    seeds: int

    @property
    def last(self) -> float:
        """The last running mean, NaN if there is none."""
        known = self.mean[np.isfinite(self.mean)]
        return float(known[-1]) if len(known) else math.nan


def series(rows: Rows, key: str) -> dict[float, float]:
    """The finite values of a measure by step; of a step that is logged twice, the later."""
    found = {}
    for row in rows:
        step, value = row.get("step"), row.get(key)
        if _number(step) and _number(value):
            found[float(step)] = float(value)  # type: ignore[arg-type]
    return found


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    return bool(np.isfinite(float(value)))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` known values up to each place, (S,); NaN before the first."""
    known = np.isfinite(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curve(logs: Sequence[Rows], key: str, smooth: int | None = None, band: Band = "range") -> Curve:
    """A measure of a run, over its seeds.

    Parameters
    ----------
    logs
        The log of every seed.
    key
        The measure.
    smooth
        Steps of the running mean; by default a twelfth of all.
    band
        "range" from lowest to highest seed, "std" one standard deviation to either side.
    """
    found = [series(rows, key) for rows in logs]
    steps = np.array(sorted(set().union(*found)), dtype=float)
    window = smooth if smooth is not None else max(1, round(len(steps) / 12))
    raw = np.array([[one.get(step, np.nan) for step in steps] for one in found]).reshape(len(found), -1)
    smoothed = np.array([running_mean(row, max(1, window)) for row in raw]).reshape(len(found), -1)
    mean, spread = _mean(smoothed), np.zeros(len(steps))
    if band == "std" and len(steps):
        spread = np.sqrt(_mean((smoothed - mean) ** 2))
        low, high = mean - spread, mean + spread
    else:
        low = np.where(np.isfinite(smoothed), smoothed, np.inf).min(axis=0, initial=np.inf)
        high = np.where(np.isfinite(smoothed), smoothed, -np.inf).max(axis=0, initial=-np.inf)
    return Curve(steps, _mean(raw), mean, low, high, sum(bool(one) for one in found))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over seeds of (N, S), NaN where no seed has a value."""
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def named(runs: Runs) -> dict[str, list[Rows]]:
    """Whatever `curves` takes as name -> logs of the seeds.

    Raises
    ------
    R3labError
        If it is none of the forms.
    """
    wanted = "rows of a log, or a mapping from names to a log or to the logs of several seeds"
    groups: Any = runs if isinstance(runs, Mapping) else {"": runs}
    found: dict[str, list[Rows]] = {}
    for name, value in groups.items():
        logs = [value] if isinstance(value, Sequence) and all(isinstance(row, Mapping) for row in value) else value
        fits = isinstance(logs, Sequence) and not isinstance(logs, str | bytes)
        if not fits or not all(isinstance(log, Sequence) and all(isinstance(r, Mapping) for r in log) for log in logs):
            raise R3labError(f"Cannot draw curves of {shown(value)}; give {wanted}.")
        found[str(name)] = list(logs)
    return found


def measures(logs: Mapping[str, list[Rows]], keys: Sequence[str] | None) -> list[str]:
    """The measures to draw: those asked for, or the usual ones that the logs have.

    Raises
    ------
    R3labError
        If one that was asked for is in no row of any log (unless all are empty).
    """
    have = {key for group in logs.values() for rows in group for row in rows if _number(row.get("step")) for key in row}
    if keys is None:
        return [key for key in KEYS if key in have] or list(KEYS)
    for key in keys:
        if have and key not in have:
            raise R3labError(f"No row of the log has {shown(key)}.{nearest(str(key), sorted(have))}")
    return list(keys)


COLUMNS, WIDE, HIGH, BETWEEN = 3, 2.55, 1.5, 0.62  # charts in a row; inches of a chart, and between rows


def curves(
    runs: Runs,
    keys: Sequence[str] | None = None,
    smooth: int | None = None,
    band: Band = "range",
    dark: bool = False,
) -> Picture:
    """Draw small charts over the steps of training.

    Parameters
    ----------
    runs
        The rows of one log (`train.checkpoint.read_log`); or a mapping from a name to a log, or to the logs of
        several seeds, which are drawn as mean and band.
    keys
        Measures, one chart each; by default the usual ones that the log has.
    smooth
        Steps of the running mean; by default a twelfth of all, 1 for none.
    band
        "range" from lowest to highest seed, or "std".
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If a key is in no log, naming the nearest; or `runs` is none of the above.
    """
    logs = named(runs)
    return draw(logs, measures(logs, keys), smooth, band, theme(dark))


def draw(logs: Mapping[str, list[Rows]], keys: Sequence[str], smooth: int | None, band: Band, chosen: Theme) -> Picture:
    """`curves` with everything decided; a key without values gets an empty chart."""
    columns = min(COLUMNS, max(1, len(keys)))
    rows = max(1, -(-len(keys) // columns))
    named_runs = len(logs) > 1 or any(logs)
    top, bottom = (0.34 if named_runs else 0.08), 0.3
    width, high = max(columns * WIDE + 0.3, 3.6), rows * (HIGH + BETWEEN) + top + bottom
    with style(chosen):
        figure = Figure(figsize=(width, high), dpi=DPI, facecolor=chosen.paper)
        FigureCanvasAgg(figure)
        for i, key in enumerate(keys):
            row, column = divmod(i, columns)
            left, down = 0.45 + column * (width - 0.3) / columns, top + 0.3 + row * (HIGH + BETWEEN)
            place = (
                left / width,
                1 - (down + HIGH) / high,
                ((width - 0.3) / columns - 0.62) / width,
                HIGH / high,
            )
            lowest = i + columns >= len(keys)
            _chart(figure.add_axes(place), logs, key, smooth, band, chosen, lowest)
        if named_runs:
            _legend(figure, list(logs), chosen)
        several = any(len(group) > 1 for group in logs.values())
        write(figure, 0.45 / width, 0.2 / high, _note(smooth, band, several), SMALL, chosen.muted)
    return Picture(figure, _curves_alt(logs, keys, smooth, band))


def _note(smooth: int | None, band: Band, several: bool) -> str:
    window = f"the last {smooth} steps" if smooth else "the last twelfth of the steps"
    thin = f"band: {'lowest to highest' if band == 'range' else 'one standard deviation'} over seeds"
    bold = "each step" if smooth == 1 else f"mean of {window}"
    return f"{thin if several else 'thin: each step'}   ·   bold: {bold}"


def _chart(
    axes: Axes,
    logs: Mapping[str, list[Rows]],
    key: str,
    smooth: int | None,
    band: Band,
    chosen: Theme,
    lowest: bool,
) -> None:
    words, share = MEASURES.get(key, (key, False))
    axes.grid(axis="y")
    axes.set_gid(f"chart-{one_line(key, 60)}")
    title = wrap(words, WIDE - 0.1, HEADING, 1, bold=True)
    write(axes, 0, 1.06, "".join(title), HEADING, chosen.ink, True, transform=axes.transAxes, va="bottom")
    found = [curve(group, key, smooth, band) for group in logs.values()]
    for i, one in enumerate(found):
        colour, dashes = RUNS[i % len(RUNS)]
        if not len(one.steps):
            continue
        if one.seeds > 1:
            axes.fill_between(one.steps, one.low, one.high, color=colour, alpha=0.2, linewidth=0)
        else:
            axes.plot(one.steps, one.raw, color=colour, alpha=0.4, linewidth=0.7, linestyle="solid")
        axes.plot(
            one.steps,
            one.mean,
            color=colour,
            linewidth=1.9,
            linestyle=(0, dashes) if dashes else "solid",
            marker="o" if len(one.steps) == 1 else "none",
            markersize=3,
            gid=f"mean-{one_line(key, 60)}-{i}",
        )
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if not any(len(one.steps) for one in found):
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        write(axes, 0.5, 0.5, "no value yet", BODY, chosen.muted, ha="center", va="center")
        return
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.margins(x=0.02)
    _ends(axes, found, share, chosen)
    if lowest:
        write(axes, 1, -0.16, "step", SMALL, chosen.muted, transform=axes.transAxes, ha="right", va="top")


def _ends(axes: Axes, found: Sequence[Curve], share: bool, chosen: Theme) -> None:
    """The last running mean of each run at its end, pushed apart where they would touch."""
    low, top = axes.get_ylim()
    least = height(1, SMALL) / HIGH * (top - low)
    ends = sorted((one.last, i) for i, one in enumerate(found) if math.isfinite(one.last))
    if len(ends) > 4:  # more would not be read
        return
    at = -math.inf
    for value, i in ends:
        at = max(value, at + least)
        label = f"{value:.0%}" if share else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
        write(
            axes, 1.02, (at - low) / (top - low), label, SMALL, chosen.ink, True, transform=axes.transAxes,
            va="center", gid=f"end-{i}",
        )  # fmt: skip


def _legend(figure: Figure, names: Sequence[str], chosen: Theme) -> None:
    """Names of the runs with their lines, along the top."""
    width, high = figure.get_size_inches()
    x, y = 0.45, 0.2
    for i, name in enumerate(names[:12]):
        label = one_line(name, 32) or "run"
        colour, dashes = RUNS[i % len(RUNS)]
        line = Line2D(
            [x / width, (x + 0.3) / width],
            [1 - y / high] * 2,
            color=colour,
            linewidth=1.9,
            linestyle=(0, dashes) if dashes else "solid",
        )
        figure.add_artist(line)
        write(figure, (x + 0.37) / width, 1 - y / high, label, BODY, chosen.ink, va="center_baseline")
        x += 0.37 + text_width(label, BODY) + 0.3


def _curves_alt(logs: Mapping[str, list[Rows]], keys: Sequence[str], smooth: int | None, band: Band) -> str:
    """What `curves` shows, in words: where each running mean starts and ends."""
    said, last = [], 0.0
    for key in keys:
        words, share = MEASURES.get(key, (one_line(key, 60), False))
        parts = []
        for name, group in logs.items():
            one = curve(group, key, smooth, band)
            known = one.mean[np.isfinite(one.mean)]
            if not len(known):
                continue
            last = max(last, float(one.steps[-1]))
            a, b = (f"{v:.0%}" if share else f"{v:.3g}" for v in (known[0], known[-1]))
            seeds = f", mean of {one.seeds} seeds" if one.seeds > 1 else ""
            parts.append(f"{one_line(name, 60) + ' ' if name else ''}from {a} to {b}{seeds}")
        said.append(f"{words}: {'; '.join(parts) or 'no value yet'}.")
    return f"Training curves over {last:g} steps, running means. " + " ".join(said)


class LiveCurves:
    """Small charts of a training run in progress; outside Jupyter it only keeps the rows.

    What was not drawn yet when a notebook's cell ends is drawn then.

    Parameters
    ----------
    keys
        Measures, one chart each.
    every
        Rows between two drawings.
    smooth
        Steps of the running mean; by default a twelfth of all.
    dark
        For a dark page.

    Attributes
    ----------
    rows : all rows so far, ready for `curves`
    """

    def __init__(
        self, keys: Sequence[str] = KEYS, every: int = 5, smooth: int | None = None, dark: bool = False
    ) -> None:
        self.keys, self.every, self.smooth, self.dark = tuple(keys), max(1, every), smooth, dark
        self.rows: list[dict[str, Any]] = []
        self._shown = 0  # rows in the picture on the page
        self._id = ""
        self._waiting: Any = None  # the events of a shell that will call `flush`

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the next row; draw if it is time."""
        self.rows.append(dict(row))
        shell = _kernel()
        if shell is None:
            return
        if self._waiting is None:
            self._waiting = shell.events
            self._waiting.register("post_run_cell", self._at_end_of_cell)
        if not self._id or len(self.rows) - self._shown >= self.every:
            self._draw()

    def picture(self) -> Picture:
        """The curves of all rows so far."""
        logs: dict[str, list[Rows]] = {"": [self.rows]}
        return draw(logs, self.keys, self.smooth, "range", theme(self.dark))

    def flush(self) -> None:
        """Draw what was not drawn yet; the end of the cell does it as well."""
        if self._id and self._shown < len(self.rows):
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display, update_display

        self._shown = len(self.rows)
        if self._id:
            update_display(self.picture(), display_id=self._id)
        else:
            self._id = f"r3lab-curves-{uuid.uuid4().hex}"
            display(self.picture(), display_id=self._id)

    def _at_end_of_cell(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.unregister("post_run_cell", self._at_end_of_cell)
            self._waiting = None
        self.flush()


def _kernel() -> Any:
    """The shell of a Jupyter kernel; None outside one (a terminal's IPython cannot replace a picture)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()  # type: ignore[no-untyped-call]
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None
