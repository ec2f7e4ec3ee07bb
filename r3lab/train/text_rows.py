"""Rows of a lesson that need no picture: subtractions, and the search of a legend that has been read.

Both follow what crops have shown and are learned from text alone, at a fraction of what a scene costs.

    sums(Writer(lesson, image, rng, script))
"""

from __future__ import annotations

import numpy as np

from ..protocol import CLOSE, OPEN, box_text
from ..vlir.rationale import LARGE, SMALL, shows
from ..vlir.worlds.badges import COLOURS
from ..vlir.worlds.charts import LARGEST, difference, invented_labels, legend_text
from .facts import searched
from .world_writing import Writer

COUNT = 8  # subtractions, or legends, of a row
LINES = (2, 4)  # least and most of a legend
LOOKED = 0.7  # share of the subtractions in which the second number is looked at


def numbers(rng: np.random.Generator) -> tuple[str, str]:
    """Two numbers as a chart's values are, the greater first: often close to each other, at times of one digit."""
    decimals = int(rng.random() < 0.4)
    high = (100, 1000)[int(rng.random() < 0.1)]
    more = int(rng.integers(10, high)) if rng.random() < 0.85 else int(rng.integers(2, 10))
    least = max(1, more - 12) if rng.random() < 0.5 else 1
    less = int(rng.integers(least, more))
    return f"{more / 10**decimals:.{decimals}f}", f"{less / 10**decimals:.{decimals}f}"


def sums(writer: Writer) -> None:
    """Subtractions as charts ask for them: two numbers that were read, whole or with a decimal, both taken over."""
    rng = writer.rng
    for _ in range(COUNT):
        more, less = numbers(rng)
        result = difference(more, less)
        colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
        noun = list(LARGEST)[int(rng.integers(len(LARGEST)))]
        between = f" The value of the {colour} {noun}{LARGE}"
        if rng.random() < LOOKED:  # as where both are looked at, but for the crops
            x, y = (10 * int(v) for v in rng.integers(3, 90, 2))
            between = f" The value of the {colour} {noun}{SMALL}{box_text((x, y, x + 50, y + 50))}"
        _read(writer, shows(more))
        writer.say(between, False)
        _read(writer, shows(less))
        begin, sum_ = len(writer.lesson.text), f" {more} - {less} = {result}.</think>{OPEN}{result}{CLOSE}"
        writer.say(sum_, True)
        writer.take_over(begin, sum_)


def _read(writer: Writer, said: str) -> None:
    begin = len(writer.lesson.text)
    writer.say(said, False)
    writer.note(begin, said)


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
