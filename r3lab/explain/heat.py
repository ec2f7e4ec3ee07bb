"""A map over a part of the source image: a grid of numbers that knows which pixels it covers. Needs no model.

heat = HeatMap(values, (0.0, 0.0, 512.0, 512.0), (512, 512)); heat.inside(box)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Box, Size, box_of_cell, crop_to_source


@dataclass(frozen=True)
class HeatMap:
    """Attention over a part of the source image.

    Attributes
    ----------
    values : (rows, columns) float32
    box : the part of the source that it covers, in pixels
    source : width and height of the source image in pixels
    """

    values: np.ndarray
    box: Box
    source: Size

    def cell(self, column: int, row: int) -> Box:
        """Source pixels of a cell."""
        rows, columns = self.values.shape
        return crop_to_source(box_of_cell((column, row), (columns, rows), (columns, rows)), self.box, (columns, rows))

    def inside(self, box: Box) -> float:
        """What the map holds inside a box, cells that are cut counted by the part inside."""
        rows, columns = self.values.shape
        x = np.linspace(self.box[0], self.box[2], columns + 1)
        y = np.linspace(self.box[1], self.box[3], rows + 1)
        across = np.clip(np.minimum(x[1:], box[2]) - np.maximum(x[:-1], box[0]), 0, None) / np.diff(x)
        down = np.clip(np.minimum(y[1:], box[3]) - np.maximum(y[:-1], box[1]), 0, None) / np.diff(y)
        return float(down @ self.values @ across)

    def peak(self) -> tuple[float, float]:
        """Source pixel (x, y) at the centre of the highest cell."""
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        x1, y1, x2, y2 = self.cell(int(column), int(row))
        return (x1 + x2) / 2, (y1 + y2) / 2
