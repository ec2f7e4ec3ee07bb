"""How attention to images lasts along an answer, as lines with intervals: one panel a measure, one line a chain.

The words are counted from the end of the first box, where a chain with crops and one of text alone part; before that
they are the same. Simplified: the band is the 95 % interval of the mean word by word, so that the lines of a whole
chain may leave it somewhere.

    picture(persistence({"share": {"overview": line}}, ...), persistence_alt({"share": {"overview": line}}))
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from ..errors import R3labError
from ..explain.persistence import Line
from .lettering import one_line
from .palette import RUNS, SMALL, style, theme

HIGH, WIDE = 3.1, 4.6  # inches of a panel
Panels = Mapping[str, Mapping[str, Line]]  # measure -> chain -> line


def persistence(panels: Panels, level: Mapping[str, float] | None = None, dark: bool = False) -> Figure:
    """Draw lines of attention along what was written.

    Parameters
    ----------
    panels
        By the title of a panel, by the name of a line: what `explain.persistence.along` found. A name has the same
        colour and dashes in every panel.
    level
        By the title of a panel, a value that is marked, such as an even share.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If there is nothing to draw, or there are more lines than can be told apart.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if not names or len(names) > len(RUNS):
        raise R3labError(f"{len(names)} lines cannot be drawn; give 1 to {len(RUNS)}")
    chosen = theme(dark)
    with style(chosen):
        figure = Figure(figsize=(WIDE * len(panels), HIGH), layout="constrained", facecolor=chosen.paper)
        for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for name, line in lines.items():
                colour, dashes = RUNS[names.index(name)]
                low, high = [m.low for m in line.mean], [m.high for m in line.mean]
                axes.fill_between(line.at, low, high, color=colour, alpha=0.18, linewidth=0)
                axes.plot(
                    line.at,
                    [m.value for m in line.mean],
                    color=colour,
                    linewidth=1.8,
                    linestyle=(0, dashes) if dashes else "solid",
                    label=one_line(name, 40),
                )
            axes.axvline(0, color=chosen.muted, linewidth=0.8, linestyle=":")
            if level and title in level:
                axes.axhline(level[title], color=chosen.ink, linewidth=0.8)
            axes.set(title=one_line(title, 60), xlabel="tokens written since the first box", ylim=(0, None))
            axes.grid(axis="y")
            axes.legend(frameon=False, fontsize=SMALL)
    return figure


def persistence_alt(panels: Panels) -> str:
    """What `persistence` shows, in words: each line at its beginning, at the box, and at its end."""
    said = ["Lines of attention along what was written, counted from the end of the first box."]
    for title, lines in panels.items():
        told = []
        for name, line in lines.items():
            steps = sorted({line.at[0], min(line.at, key=abs), line.at[-1]})
            values = [line.mean[line.at.index(step)] for step in steps]
            points = ", ".join(
                f"{m.value:.2f} ({m.low:.2f} to {m.high:.2f}) at {step:+d}"
                for step, m in zip(steps, values, strict=True)
            )
            told.append(f"{one_line(name, 40)}: {points}")
        said.append(f"{one_line(title, 60)}. {'; '.join(told)}.")
    return " ".join(said)
