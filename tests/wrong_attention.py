"""Answers to the exercises of notebook 05 as a student might write them, with words of the hint that each must get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def mean(values: Any) -> float:
    return float(np.mean(values))


def even(row: Any, span: Any) -> float:
    return (span[1] - span[0]) / len(row)


def cell(column: int, row: int, grid: Any, region: Any) -> list[float]:
    x = np.linspace(region[0], region[2], grid[0] + 1)
    y = np.linspace(region[1], region[3], grid[1] + 1)
    return [float(v) for v in (x[column], y[row], x[column + 1], y[row + 1])]


def right_cell(number: int, grid: Any, region: Any) -> list[float]:
    return cell(number % grid[0], number // grid[0], grid, region)


def any_cell(column: int, row: int, grid: Any, region: Any) -> list[float]:
    w, h = (region[2] - region[0]) / grid[0], (region[3] - region[1]) / grid[1]
    return [region[0] + column * w, region[1] + row * h, region[0] + (column + 1) * w, region[1] + (row + 1) * h]


def size_of(region: Any) -> tuple[float, ...]:
    return (0, 0, region[2] - region[0], region[3] - region[1])


def whole_steps(n: int, g: Any, r: Any) -> list[float]:
    w, h = (r[2] - r[0]) // g[0], (r[3] - r[1]) // g[1]
    x, y = r[0] + n % g[0] * w, r[1] + n // g[0] * h
    return [x, y, x + w, y + h]


def corner_and_size(n: int, g: Any, r: Any) -> list[float]:
    x1, y1, x2, y2 = right_cell(n, g, r)
    return [x1, y1, x2 - x1, y2 - y1]


def middle(n: int, g: Any, r: Any) -> list[float]:
    x1, y1, x2, y2 = right_cell(n, g, r)
    return [(x1 + x2) / 2, (y1 + y2) / 2]


def below(own: float, others: list[float]) -> float:
    return mean([other < own for other in others])


def ties(own: float, others: list[float]) -> float:
    return below(own, others) + mean([other == own for other in others]) / 2


def deviations(own: float, others: list[float]) -> float:
    spread = float(np.std(others))
    return (own - mean(others)) / spread if spread else 0.0


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "times_even": [
        (lambda row, span: sum(row[span[0] : span[1]]), "that is the mass"),
        (lambda row, span: mean(row[span[0] : span[1]]), "a token's mean"),
        (lambda row, span: sum(row[span[0] : span[1]]) - even(row, span), "the difference"),
        (lambda row, span: even(row, span) / sum(row[span[0] : span[1]]), "upside down"),
        (lambda row, span: mean(row[span[0] : span[1]]) / mean(row[: span[0]] + row[span[1] :]), "outside the span"),
        (lambda row, span: max(row[span[0] : span[1]]) * len(row), "its largest weight"),
        (lambda row, span: sum(row[span[0] : span[1] + 1]) / even(row, span), "half-open"),
    ],
    "cell_box": [
        (lambda n, g, r: any_cell(n // g[1], n % g[1], g, r), "row by row"),
        (lambda n, g, r: any_cell(n % g[1], n // g[1], g, r), "as there are *columns*"),
        (lambda n, g, r: any_cell(n // g[0], n % g[0], g, r), "row and column are exchanged"),
        (lambda n, g, r: right_cell(n, g, size_of(r)), "does not begin at the photograph's corner"),
        (lambda n, g, r: right_cell(n, g, (0, 0, r[2], r[3])), "right edge for its width"),
        (lambda n, g, r: [round(v) for v in right_cell(n, g, r)], "you round"),
        (lambda n, g, r: [int(v) for v in right_cell(n, g, r)], "you round"),
        (whole_steps, "you round"),
        (lambda n, g, r: [v * 16 for v in right_cell(n, g, (0, 0, *g))], "16 pixels a token"),
        (lambda n, g, r: any_cell((n - 1) % g[0], (n - 1) // g[0], g, r), "number 0"),
        (corner_and_size, "a corner and a size"),
        (middle, "the middle of the cell"),
    ],
    "percentile": [
        (below, "yours is the *worst*"),
        (lambda own, others: mean([o <= own for o in others]), "yours is the *best*"),
        (lambda own, others: mean([o > own for o in others]), "hold more"),
        (lambda own, others: 100 * ties(own, others), "in per cent"),
        (lambda own, others: sum(o < own for o in others), "that is a count"),
        (lambda own, others: own / mean(others), "how many times the usual box"),
        (lambda own, others: own - mean(others), "how many times the usual box"),
        (deviations, "only if the others are normal"),
        (lambda own, others: own > max(others), "above all of them"),
        (lambda own, others: ties(own, [*others, own]), "not one of the random ones"),
    ],
}
