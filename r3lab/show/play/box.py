"""A box that came from a browser: read strictly, clipped, refused in words that a person can act on.

Whatever can send a message to the kernel can send anything, so nothing about it is assumed. Simplified: a side under
four source pixels is refused as a slip of the hand, although the loop itself would cut one of a single pixel.

    read_box([40.0, 60.5, 90.0, 110.0], (512, 512))      # (40.0, 60.5, 90.0, 110.0)
    read_box([40, 60, 41, 61], (512, 512))               # R3labError: The box is 1 by 1 pixels: draw one of 4 at least
"""

from __future__ import annotations

import math

from ...errors import R3labError, shown
from ...geometry import Box, Size, clip, problem

LEAST = 4.0  # source pixels of a side


def read_box(value: object, size: Size) -> Box:
    """A box in source pixels, inside an image.

    Parameters
    ----------
    value
        What was sent: wanted is a list of four finite numbers, x1 < x2 and y1 < y2, source pixels.
    size
        Width and height of the image; what reaches beyond is cut off.

    Raises
    ------
    R3labError
        If it is no box, lies outside, is too small, or is too long and thin to be shown.
    """
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise R3labError(f"A box is a list of four numbers [x1, y1, x2, y2], got {shown(value)}.")
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
        raise R3labError(f"A box holds numbers only, got {shown(value)}.")
    try:
        x1, y1, x2, y2 = map(float, value)
    except OverflowError:  # an integer past the largest float
        raise R3labError(f"A number of the box is not finite: {shown(value)}.") from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise R3labError(f"A number of the box is not finite: {shown(value)}.")
    if x2 <= x1 or y2 <= y1:
        raise R3labError(f"The box {shown(value)} has no inside: x1 < x2 and y1 < y2 are wanted. Draw it again.")
    box = clip((x1, y1, x2, y2), size)
    w, h = box[2] - box[0], box[3] - box[1]
    if w <= 0 or h <= 0:
        raise R3labError("The box lies outside the picture: draw it on the picture.")
    if min(w, h) < LEAST:
        raise R3labError(f"The box is {w:.2g} by {h:.2g} pixels: draw one of {LEAST:g} at least.")
    if why := problem(box, size):
        raise R3labError(f"This box cannot be shown: {why}. Draw another one.")
    return box
