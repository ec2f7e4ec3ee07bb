"""Boxes, and the four coordinate frames that they are written in.

A box is half-open, ``[x1, y1, x2, y2)``, floats inside, rounded once when it is written. The frames: *source*
pixels; the model's own frame (*overview* pixels for Qwen2-VL and Qwen2.5-VL, *relative-1000* for Qwen3-VL and
SmolVLM, *relative-1000-yx* where y is written first); the patch *grid*; the *crop*. Every conversion lives here, in
plain Python, and loses nothing but float rounding. Simplified: boxes are upright; a frame is a scaling of the source,
so square padding is undone by readers of foreign data, not here.

    region = to_source((100, 200, 300, 400), Frame.RELATIVE, source=(4000, 3000), overview=(560, 420))
    zoom, size = crop_size(region, (4000, 3000), factor=28, min_tokens=4, max_tokens=1024)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from enum import Enum

from .errors import R3labError, shown

Box = tuple[float, float, float, float]
Size = tuple[int, int]  # width, height; of a grid, columns and rows

RELATIVE_SIDE = 1000
OVERSHOOT = 0.01  # of the image's side: what rounding to a coarse frame can add
MAX_ASPECT = 200.0  # Qwen's smart_resize refuses a longer strip
ZOOM_SMALL, ZOOM_LARGE = 0.125, 0.5  # area fractions between which the zoom falls from 2 to 1 (paper)
_SNAP = 1e-9  # of a cell: float noise that must not touch the next cell


class Frame(str, Enum):
    """The frame in which a model writes its boxes."""

    SOURCE = "source"
    OVERVIEW = "overview"
    RELATIVE = "relative-1000"
    RELATIVE_YX = "relative-1000-yx"  # the same, written [y1, x1, y2, x2]


def _side(frame: Frame, source: Size, overview: Size) -> Size:
    return {Frame.SOURCE: source, Frame.OVERVIEW: overview}.get(Frame(frame), (RELATIVE_SIDE, RELATIVE_SIDE))


def _ordered(box: Box, frame: Frame) -> Box:
    """x before y, or, the other way, in the order in which the frame is written."""
    x1, y1, x2, y2 = box
    return (y1, x1, y2, x2) if Frame(frame) is Frame.RELATIVE_YX else box


def _scale(box: Box, old: Size, new: Size) -> Box:
    (ow, oh), (nw, nh) = old, new
    if min(ow, oh, nw, nh) <= 0:
        raise R3labError(f"An image size must be positive, got {old[0]} x {old[1]} and {new[0]} x {new[1]}.")
    x1, y1, x2, y2 = box
    return (x1 * nw / ow, y1 * nh / oh, x2 * nw / ow, y2 * nh / oh)


def to_source(box: Box, frame: Frame, source: Size, overview: Size) -> Box:
    """From the model's frame to source pixels (no rounding, no clipping).

    Parameters
    ----------
    box
        As the model wrote it.
    frame
        Its frame.
    source, overview
        Width and height in pixels of the photograph and of the resized photograph the model saw.
    """
    return _scale(_ordered(box, frame), _side(frame, source, overview), source)


def from_source(box: Box, frame: Frame, source: Size, overview: Size) -> Box:
    """From source pixels to the model's frame; the inverse of `to_source`, still floats."""
    return _ordered(_scale(box, source, _side(frame, source, overview)), frame)


def write_ints(box: Box, step: int = 1) -> tuple[int, int, int, int]:
    """Round a box, once, to multiples of `step` in the frame that it is in.

    Halves go up. A side that would vanish becomes the one step that holds its middle, so the result is never
    empty and never leaves a frame whose sides are multiples of `step`.

    Raises
    ------
    R3labError
        If a number is not finite, x2 < x1 or y2 < y1, or `step` < 1.
    """
    x1, y1, x2, y2 = box
    if step < 1 or not all(map(math.isfinite, box)) or x2 < x1 or y2 < y1:
        raise R3labError(f"Cannot write the box {shown(box)} in steps of {step}; give finite x1 <= x2, y1 <= y2.")

    def side(low: float, high: float) -> tuple[int, int]:
        a, b = math.floor(low / step + 0.5) * step, math.floor(high / step + 0.5) * step
        if b <= a:
            a = math.floor((low + high) / 2 / step) * step
            b = a + step
        return a, b

    (a1, a2), (b1, b2) = side(x1, x2), side(y1, y2)
    return a1, b1, a2, b2


def as_box(value: object) -> Box | None:
    """Four finite numbers with x1 < x2 and y1 < y2, or None."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if not all(isinstance(v, int | float) and abs(v) <= sys.float_info.max for v in value):
        return None
    x1, y1, x2, y2 = map(float, value)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def area(box: Box) -> float:
    """Area in square units of the box's frame; an inverted box has none."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    """Area that two boxes of one frame share."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1; 0 where both are empty."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return min(1.0, shared / union) if shared > 0 and math.isfinite(union) else 0.0


def coverage(box: Box, truth: Box) -> float:
    """How much of `truth` lies in `box`, 0 to 1; 0 where `truth` is empty."""
    whole = area(truth)
    return min(1.0, intersection(box, truth) / whole) if whole > 0 and math.isfinite(whole) else 0.0


def redundancy(boxes: Sequence[Box]) -> float:
    """Highest IoU of the last box with an earlier one: 1 is the same look again; 0 for a first look."""
    return max((iou(boxes[-1], earlier) for earlier in boxes[:-1]), default=0.0)


def clip(box: Box, size: Size) -> Box:
    """Cut a box to an image of `size`; a box outside becomes empty, on the border."""
    (w, h), (x1, y1, x2, y2) = size, box
    return (min(max(x1, 0.0), w), min(max(y1, 0.0), h), min(max(x2, 0.0), w), min(max(y2, 0.0), h))


def problem(box: Box, source: Size, min_side: float = 1.0) -> str:
    """Why a box in source pixels cannot be looked at.

    Parameters
    ----------
    box
        Source pixels.
    source
        Width and height.
    min_side
        Shortest useful side, in source pixels.

    Returns
    -------
    str
        ``""`` when the box, once clipped, can be cut; else a few words fit to be sent to a model. Leaving the
        image by up to 1 % of its side is rounding and is forgiven.
    """
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, (x2 - x1, y2 - y1, *box))):
        return "a number is not finite"
    if x2 <= x1:
        return "x2 <= x1"
    if y2 <= y1:
        return "y2 <= y1"
    w, h = source
    cx1, cy1, cx2, cy2 = clip(box, source)
    if cx2 <= cx1 or cy2 <= cy1:
        return "outside the image"
    if min(x2 - x1, y2 - y1) < min_side - _SNAP:
        return f"smaller than {min_side:g} pixel" + ("s" if min_side > 1 else "")
    if min(cx2 - cx1, cy2 - cy1) < min_side - _SNAP:
        return "outside the image"
    if max(max(-x1, x2 - w) / w, max(-y1, y2 - h) / h) > OVERSHOOT + _SNAP:
        return "reaches outside the image"
    sides = (cx2 - cx1, cy2 - cy1)
    return f"a side is over {MAX_ASPECT:g} times the other" if max(sides) > MAX_ASPECT * min(sides) else ""


def off_centre(box: Box, size: Size) -> float:
    """Distance of a box's middle from the image's, as a part of half the diagonal, 0 to 1."""
    x, y = (box[0] + box[2]) / 2 - size[0] / 2, (box[1] + box[3]) / 2 - size[1] / 2
    return math.hypot(x, y) / (math.hypot(*size) / 2)


def zoom_factor(box: Box, source: Size) -> float:
    """How much a crop is enlarged (paper): 2 below 12.5 % of the image, 1 from 50 %, linear between."""
    share = area(box) / (source[0] * source[1])
    return 2.0 - min(1.0, max(0.0, (share - ZOOM_SMALL) / (ZOOM_LARGE - ZOOM_SMALL)))


def fit_tokens(size: Size, factor: int, min_tokens: int, max_tokens: int) -> Size:
    """The size at which an image enters the vision tower: Qwen's `smart_resize`, number for number.

    Parameters
    ----------
    size
        Width and height in pixels.
    factor
        Pixels of a token's side (patch size times merge size: 28 for Qwen2.5-VL).
    min_tokens, max_tokens
        Budget in tokens of ``factor * factor`` pixels.

    Returns
    -------
    Size
        Multiples of `factor`, aspect kept as well as that allows. As in the original, a thin strip can end
        over the budget, since no side can be under one token.

    Raises
    ------
    R3labError
        If a side or the budget is not positive, or one side is more than 200 times the other.
    """
    w, h = size
    if w < 1 or h < 1 or factor < 1 or not 1 <= min_tokens <= max_tokens:
        raise R3labError(
            f"Cannot fit {w} x {h} pixels to {min_tokens}..{max_tokens} tokens of side {factor}; give positive numbers."
        )
    if max(w, h) / min(w, h) > MAX_ASPECT:
        raise R3labError(f"The image is {w} x {h}: one side is over {MAX_ASPECT:g} times the other; crop it first.")
    low, high = min_tokens * factor**2, max_tokens * factor**2
    fit_w, fit_h = round(w / factor) * factor, round(h / factor) * factor
    if fit_w * fit_h > high:
        beta = math.sqrt((h * w) / high)
        fit_h = max(factor, math.floor(h / beta / factor) * factor)
        fit_w = max(factor, math.floor(w / beta / factor) * factor)
    elif fit_w * fit_h < low:
        beta = math.sqrt(low / (h * w))
        fit_h = math.ceil(h * beta / factor) * factor
        fit_w = math.ceil(w * beta / factor) * factor
    return fit_w, fit_h


def crop_size(box: Box, source: Size, factor: int, min_tokens: int, max_tokens: int) -> tuple[float, Size]:
    """Zoom of a look, and the size at which its crop enters the vision tower.

    Parameters as in `fit_tokens`; `box` is in source pixels and is clipped to the image. A box for which
    `problem` is ``""`` always has a size.

    Returns
    -------
    tuple of float and Size
        The zoom (1 to 2), and width and height after zoom and fit.
    """
    x1, y1, x2, y2 = inside = clip(box, source)
    if not (x2 > x1 and y2 > y1):
        raise R3labError(f"The box {shown(box)} has no part in an image of {source[0]} x {source[1]}.")
    zoom = zoom_factor(inside, source)
    w, h = max(1, round((x2 - x1) * zoom)), max(1, round((y2 - y1) * zoom))
    thin = math.ceil(max(w, h) / MAX_ASPECT)  # rounding may push an allowed strip past the limit
    return zoom, fit_tokens((max(w, thin), max(h, thin)), factor, min_tokens, max_tokens)


def box_of_cell(cell: tuple[int, int], source: Size, grid: Size) -> Box:
    """The source pixels of one cell (column, row)."""
    column, row = cell
    if not (0 <= column < grid[0] and 0 <= row < grid[1]):
        raise R3labError(f"No cell {shown(cell)} in a grid of {grid[0]} columns and {grid[1]} rows.")
    (w, h), (columns, rows) = source, grid
    return (column * w / columns, row * h / rows, (column + 1) * w / columns, (row + 1) * h / rows)


def source_to_crop(box: Box, crop_box: Box, crop: Size) -> Box:
    """From source pixels to pixels of a crop of size `crop` that shows `crop_box` of the source."""
    x, y, sx, sy = _crop_scale(crop_box, crop)
    return ((box[0] - x) * sx, (box[1] - y) * sy, (box[2] - x) * sx, (box[3] - y) * sy)


def crop_to_source(box: Box, crop_box: Box, crop: Size) -> Box:
    """From pixels of a crop to source pixels; the inverse of `source_to_crop`."""
    x, y, sx, sy = _crop_scale(crop_box, crop)
    return (box[0] / sx + x, box[1] / sy + y, box[2] / sx + x, box[3] / sy + y)


def _crop_scale(crop_box: Box, crop: Size) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = crop_box
    if not (x2 > x1 and y2 > y1) or min(crop) < 1:
        raise R3labError(f"A crop of size {shown(crop)} cannot show the box {shown(crop_box)}; both must be non-empty.")
    return x1, y1, crop[0] / (x2 - x1), crop[1] / (y2 - y1)
