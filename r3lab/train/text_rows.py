"""Rows of a lesson that need no picture: subtractions, and the search of a legend that has been read.

Both follow what crops have shown and are learned from text alone, at a fraction of what a scene costs.

    sums(Writer(lesson, image, rng, script))
"""

from __future__ import annotations

from ..protocol import CLOSE, OPEN, box_text
from ..vlir.rationale import LARGE, SMALL, shows
from ..vlir.worlds.badges import COLOURS
from ..vlir.worlds.charts import LARGEST, difference, invented_labels, legend_text
from .facts import searched
from .world_writing import Writer

COUNT = 8  # subtractions, or legends, of a row
LINES = (2, 4)  # least and most of a legend
LOOKED = 0.7  # share of the subtractions in which the second number is looked at


def sums(writer: Writer) -> None:
    """Subtractions as charts ask for them: two numbers that were read, whole or with a decimal, both taken over."""
    rng = writer.rng
    for _ in range(COUNT):
        decimals = int(rng.random() < 0.4)
        high = (100, 1000)[int(rng.random() < 0.1)]
        less, more = (f"{n / 10**decimals:.{decimals}f}" for n in sorted(rng.integers(2, high, 2)))
        result = difference(more, less)
        colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
        noun = list(LARGEST)[int(rng.integers(len(LARGEST)))]
        second = f" The value of the {colour} {noun}"
        if rng.random() < LOOKED:  # as where both are looked at, but for the crops
            x, y = (10 * int(v) for v in rng.integers(3, 90, 2))
            between = f"{second}{SMALL}{box_text((x, y, x + 50, y + 50))}"
        else:
            between = f"{second}{LARGE}"
        writer.say(f"{shows(more)}{between}{shows(less)}", False)
        writer.say(f" {more} - {less} = {result}.</think>{OPEN}{result}{CLOSE}", True)


def matches(writer: Writer) -> None:
    """Legends: what their lines show is given with one of their labels, of which the colour must be said."""
    rng = writer.rng
    for _ in range(COUNT):
        count = int(rng.integers(LINES[0], LINES[1] + 1))
        labels = invented_labels(rng, count)
        colours = [list(COLOURS)[int(k)] for k in rng.permutation(len(COLOURS))[:count]]
        lines = [{"label": label, "colour": colour} for label, colour in zip(labels, colours, strict=True)]
        noun, chosen = list(LARGEST)[int(rng.integers(len(LARGEST)))], int(rng.integers(count))
        told, begin = shows(legend_text(lines)), len(writer.lesson.text)
        asked, found = f" {labels[chosen]} is the", f" {colours[chosen]} {noun}."
        writer.say(told + asked, False)
        writer.say(found, True)
        writer.lead_back(begin, told + asked + found, *searched(told + asked + found))
