"""The exercises of notebook 05: attention over an even share, a token's place in the photograph, a score's null.

check_times_even(times_even)             # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from statistics import fmean, pstdev

import numpy as np

from ..core.geometry import Box, Size
from ..explain.explanation import HeatMap
from ..explain.maps import percentile
from .judge import CORNER_AND_SIZE, ROUNDED, Exercise, Function, Then

Span = tuple[int, int]

# -- attention over an even share ----------------------------------------------------------------------------------


def _even(row: list[float], span: Span) -> float:
    return (span[1] - span[0]) / len(row)


check_times_even = Exercise(
    "f(row, span): attention on a span of tokens, in multiples of what it would have if shared evenly.",
    lambda row, span: sum(row[slice(*span)]) / _even(row, span),
    (
        ([0.1, 0.2, 0.4, 0.2, 0.1], (1, 3)),
        ([0.125] * 8, (2, 7)),  # shared evenly
        ([0.3, 0.05, 0.05, 0.1, 0.05, 0.05, 0.2, 0.1, 0.05, 0.05], (3, 5)),
        ([0.01] * 90 + [0.1 / 6] * 6, (90, 96)),  # little in all, much for so few
        ([0.25, 0.5, 0.25], (0, 2)),
    ),
    "that is the mass. A span of many tokens has much of it for nothing: what would it have, shared evenly?",
    lambda row, span: sum(row[slice(*span)]),
    "that is a token's mean. One of a hundred gets less than one of ten: compare it with what any in sight gets.",
    lambda row, span: fmean(row[slice(*span)]),
    "you take the difference. Asked is how many *times* the even share it is.",
    lambda row, span: sum(row[slice(*span)]) - _even(row, span),
    "upside down: that is small where attention is large.",
    Then(lambda times: 1 / times),
    "you compare with the tokens outside the span. An even share is a part of *all* in sight.",
    lambda row, span: fmean(row[slice(*span)]) / fmean(row[: span[0]] + row[span[1] :]),
    "one strong token is not the span: you take its largest weight.",
    lambda row, span: max(row[slice(*span)]) * len(row),
    "spans are half-open: `end` is the first token that does not belong to it.",
    lambda row, span: sum(row[span[0] : span[1] + 1]) / _even(row, span),
)


# -- a token's place in the photograph -----------------------------------------------------------------------------


def _cell_box(number: int, grid: Size, region: Box) -> Box:
    row, column = divmod(number, grid[0])
    return HeatMap(np.zeros((grid[1], grid[0]), np.float32), region, (1, 1)).cell(column, row)


def _cell(
    place: Function = lambda n, g: (n % g[0], n // g[0]),
    within: Function = lambda region, grid: region,
) -> Function:
    """The right rule, but for the (column, row) of a number, or the box that the grid divides."""

    def made(number: int, grid: Size, region: Box) -> Box:
        (column, row), (x1, y1, x2, y2) = place(number, grid), within(region, grid)
        w, h = (x2 - x1) / grid[0], (y2 - y1) / grid[1]
        return (x1 + column * w, y1 + row * h, x1 + (column + 1) * w, y1 + (row + 1) * h)

    return made


check_cell_box = Exercise(
    "f(number, grid, region): the source pixels that an image token covers.",
    _cell_box,
    (
        (0, (8, 8), (0.0, 0.0, 512.0, 512.0)),
        (13, (9, 6), (0.0, 0.0, 301.0, 207.0)),  # an odd size
        (29, (5, 6), (0.0, 0.0, 97.0, 151.0)),
        (7, (3, 4), (40.5, 10.0, 91.0, 33.0)),  # a crop
        (11, (4, 3), (189.44, 430.08, 240.64, 481.28)),
    ),
    "rows first: you count down the columns. Image tokens are written as one reads, row by row.",
    _cell(lambda n, g: (n // g[1], n % g[1])),
    "a row is as long as there are *columns*: you divide by the number of rows.",
    _cell(lambda n, g: (n % g[1], n // g[1])),
    "row and column are exchanged: x goes with the column.",
    _cell(lambda n, g: (n // g[0], n % g[0])),
    "the grid begins where its image does. A crop does not begin at the photograph's corner.",
    _cell(within=lambda r, g: (0, 0, r[2] - r[0], r[3] - r[1])),
    "a crop is as wide as it is, not as far as it reaches: you take its right edge for its width.",
    (_cell(within=lambda r, g: (0, 0, r[2], r[3])), _cell(within=lambda r, g: (r[0], r[1], r[0] + r[2], r[1] + r[3]))),
    "you round. The sides of an odd image do not divide evenly, and nothing forces whole pixels on us here.",
    *ROUNDED,
    _cell(within=lambda r, g: (*r[:2], r[0] + (r[2] - r[0]) // g[0] * g[0], r[1] + (r[3] - r[1]) // g[1] * g[1])),
    "you count 16 pixels a token. That is so in what the vision tower gets, which was resized.",
    _cell(within=lambda r, g: (0, 0, g[0] * 16, g[1] * 16)),
    "the first token is number 0: you are one cell off.",
    _cell(lambda n, g: ((n - 1) % g[0], (n - 1) // g[0])),
    "that is a corner and a size. A box is two corners, as everywhere here.",
    CORNER_AND_SIZE,
    "that is the middle of the cell. Asked are the pixels that it covers.",
    Then(lambda box: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)),
)


# -- a score's null ------------------------------------------------------------------------------------------------


def _below(own: float, others: list[float]) -> int:
    return sum(other < own for other in others)


_HELD = [0.1, 0.2, 0.3, 0.6, 0.8]

check_percentile = Exercise(
    "f(own, others): the part of the other boxes that hold less, equal ones counted half.",
    percentile,
    # the second: a flat map, in which every box holds as much
    ((0.5, _HELD), (0.25, [0.25] * 3), (0.9, _HELD), (0.05, _HELD), (0.3, [0.1, 0.3, 0.3, 0.5, 0.7, 0.2, 0.9])),
    "where all hold the same, every box is as good as any, and yours is the *worst*: equal ones count half.",
    lambda own, others: _below(own, others) / len(others),
    "where all hold the same, every box is as good as any, and yours is the *best*: equal ones count half.",
    lambda own, others: fmean(other <= own for other in others),
    "that is the part of the boxes that hold more. Asked is the part that holds less.",
    (Then(lambda part: 1 - part), lambda own, others: fmean(other > own for other in others)),
    "a share, from 0 to 1: yours is in per cent.",
    (Then(lambda part: 100 * part), lambda own, others: 100 * _below(own, others) / len(others)),
    "that is a count. How many boxes were drawn must not matter: a share.",
    (_below, lambda own, others: percentile(own, others) * len(others)),
    "how many times the usual box it holds is another question. Where does it stand among them?",
    (lambda own, others: own / fmean(others), lambda own, others: own - fmean(others)),
    "so many deviations from the mean say where it stands only if the others are normal, and they are not.",
    lambda own, others: (own - fmean(others)) / (pstdev(others) or math.inf),
    "is it above all of them? One box in a hundred is, in a map of noise: say above how many.",
    lambda own, others: float(own > max(others)),
    "the box is not one of the random ones: compare it with the others alone.",
    lambda own, others: percentile(own, [*others, own]),
)
