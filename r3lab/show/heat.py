"""A map over a picture, as a spotlight: bright where much is, dark where little is.

It needs no colour, so it reads in grey and on any photograph, and hides nothing where it matters. Simplified: the
brightest cell is the map's own maximum, so maps are not compared by their brightness.

    spotlight(heat).save("spot.png")                 # RGBA, a pixel a cell, to be laid over heat.box
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from ..errors import R3labError, shown
from ..geometry import Box

DARKEST = 0.78  # opacity over a cell that holds nothing


class Heat(Protocol):
    """What a map must have; `explain.maps.HeatMap` does."""

    @property
    def values(self) -> np.ndarray:
        """(rows, columns), from zero."""

    @property
    def box(self) -> Box:
        """The part of the source that it covers, pixels."""


@dataclass(frozen=True)
class Cells:
    """A map that was read from a file: `values` (rows, columns) over `box`, in source pixels."""

    values: np.ndarray
    box: Box


def checked(maps: Sequence[Heat | None], moments: int) -> list[Heat | None]:
    """Maps, one a moment, None where there is none.

    Raises
    ------
    R3labError
        If there are more maps than moments, or one is no table of finite numbers from zero.
    """
    if len(maps) > moments:
        raise R3labError(f"{len(maps)} attention maps for {moments} moments (overview, looks, answer); give fewer.")
    for number, heat in enumerate(maps):
        if heat is None:
            continue
        values = np.asarray(heat.values)
        if values.ndim != 2 or not values.size or not np.isfinite(values).all() or values.min() < 0:
            raise R3labError(f"Attention map {number} must be rows of finite numbers from 0, got {shown(values)}.")
    return [*maps, *[None] * (moments - len(maps))]


def spotlight(heat: Heat) -> Image.Image:
    """The map as black of varying opacity, a pixel a cell; RGBA."""
    values = np.asarray(heat.values, dtype=np.float64)
    share = values / max(float(values.max()), 1e-30)
    pixels = np.zeros((*values.shape, 4), dtype=np.uint8)
    pixels[..., 3] = np.round(255 * DARKEST * (1 - share)).astype(np.uint8)
    return Image.fromarray(pixels)


def spotlight_uri(heat: Heat) -> str:
    """`spotlight` as a data URI."""
    buffer = io.BytesIO()
    spotlight(heat).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
