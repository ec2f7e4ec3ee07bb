"""The coordinate frames in which other projects write boxes, and how a box gets from them to source pixels.

Scalings are done by `core.geometry`; only the square padding of LLaVA is undone here. Where a format does not settle
its frame, `settle` asks: it goes on without an answer only where every possible frame means the same place.

    to_source((392, 252, 504, 364), FrameName.RESIZED, (1000, 750), BUDGET)     # smart_resize gives 1008 x 756
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ...core.errors import nearest, shown
from ...core.geometry import Box, Frame, Size, clip, fit_tokens, problem
from ...core.geometry import from_source as scale_from
from ...core.geometry import to_source as scale_to
from ...core.records import ForeignError, Refused

FACTOR = 28  # pixels of a token's side, Qwen2.5-VL
BUDGET = (4, 16384)  # tokens of an image, the defaults of Qwen2.5-VL's preprocessor (3136 and 12845056 pixels)


ConvertError = ForeignError  # what cannot be converted is a foreign file; it ends the run


class FrameNeeded(ConvertError):
    """Boxes whose coordinate frame cannot be told from the file; the message names the possible ones."""


class FrameName(str, Enum):
    """The frame that a box of a file is written in."""

    SOURCE = "source"
    RESIZED = "resized-28"
    RELATIVE = "relative-1000"
    UNIT = "relative-1"
    PADDED = "square-padded"


MEANING = {
    FrameName.SOURCE: "pixels of the image file",
    FrameName.RESIZED: "pixels after smart_resize with factor 28",
    FrameName.RELATIVE: "0 to 1000 of width and height",
    FrameName.UNIT: "0 to 1 of width and height",
    FrameName.PADDED: "0 to 1 of the image padded to a square",
}


def frame_named(name: str | None, possible: Sequence[FrameName], format_name: str) -> FrameName | None:
    """The frame that a caller asked for, None for none; one that the format cannot have is an error."""
    if name is None:
        return None
    names = [frame.value for frame in possible]
    if name not in names:
        wanted = (
            f"{format_name} can have {', '.join(names)}"
            if names
            else f"{format_name} takes none, its records settle it"
        )
        raise ConvertError(f"Unknown frame {shown(name)}: {wanted}.{nearest(str(name), names)}")
    return FrameName(name)


def _sheet(frame: FrameName, size: Size, budget: tuple[int, int]) -> Size:
    """Width and height of the frame, for those that are a scaling of the image."""
    if frame is FrameName.RESIZED:
        return fit_tokens(size, FACTOR, *budget)
    return {FrameName.SOURCE: size, FrameName.RELATIVE: (1000, 1000), FrameName.UNIT: (1, 1)}[frame]


def _padding(size: Size) -> tuple[int, int, int]:
    """Side of the padded square, and where the image begins in it (whole pixels, as Visual-CoT computes them)."""
    side = max(size)
    return side, (side - size[0]) // 2, (side - size[1]) // 2


def to_source(box: Box, frame: FrameName, size: Size, budget: tuple[int, int] = BUDGET) -> Box:
    """From a file's frame to source pixels; neither rounded nor clipped.

    Parameters
    ----------
    box
        In the frame's units.
    size
        Width and height of the image in pixels.
    budget
        Least and most tokens of an image, for `resized-28`.
    """
    if frame is FrameName.PADDED:
        side, left, top = _padding(size)
        return (box[0] * side - left, box[1] * side - top, box[2] * side - left, box[3] * side - top)
    return scale_to(box, Frame.OVERVIEW, size, _sheet(frame, size, budget))


def from_source(box: Box, frame: FrameName, size: Size, budget: tuple[int, int] = BUDGET) -> Box:
    """From source pixels to a file's frame; the inverse of `to_source`."""
    if frame is FrameName.PADDED:
        side, left, top = _padding(size)
        return ((box[0] + left) / side, (box[1] + top) / side, (box[2] + left) / side, (box[3] + top) / side)
    return scale_from(box, Frame.OVERVIEW, size, _sheet(frame, size, budget))


def from_declared(box: Box, declared: tuple[float, float], size: Size) -> Box:
    """From pixels (or inches) of an image that the record says is `declared` wide and high, to source pixels.

    A copy of the image at another size is fine, one with other proportions (off by over a pixel and 1 %) is not.
    """
    (dw, dh), (w, h) = declared, size
    if not (dw > 0 and dh > 0):
        raise Refused("width and height that are not positive", shown(declared))
    if abs(w - h * dw / dh) > 1 + 0.01 * w and abs(h - w * dh / dw) > 1 + 0.01 * h:
        raise Refused("the image has other proportions than the record says", f"{w} x {h}, declared {dw:g} x {dh:g}")
    return scale_to(box, Frame.OVERVIEW, size, declared)  # type: ignore[arg-type]  # inches are no whole numbers


def checked(box: Box, size: Size) -> Box:
    """A box in source pixels, clipped to the image; `Refused` if it cannot be looked at."""
    if why := problem(box, size):
        raise Refused("a box that does not fit its image", f"{shown(list(box))} in {size[0]} x {size[1]}: {why}")
    return clip(box, size)


def settle(box: Box, possible: Sequence[FrameName], size: Size, budget: tuple[int, int], why: str) -> Box:
    """A box of unsettled frame, in source pixels.

    Parameters
    ----------
    possible
        The frames that it can be in.
    why
        What leaves it open, for the message.

    Raises
    ------
    FrameNeeded
        If two of the frames put it in places more than half a pixel apart, and it fits the image in one of them.
    Refused
        If it fits in none.
    """
    places = [to_source(box, frame, size, budget) for frame in possible]
    if max(abs(a - b) for place in places for a, b in zip(place, places[0], strict=True)) <= 0.5:
        return checked(places[0], size)
    fits = [f.value for f, place in zip(possible, places, strict=True) if not problem(place, size)]
    if not fits:
        return checked(places[0], size)  # refused, whatever the frame
    choices = ", ".join(f"frame={f.value!r} ({MEANING[f]})" for f in possible)
    held = f"; the box lies inside the image only as {fits[0]}" if len(fits) == 1 else ""
    raise FrameNeeded(f"The frame of the box {shown(list(box))} is open: {why}. Give {choices}{held}.")
