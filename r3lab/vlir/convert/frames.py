"""What a reader of one format is given beside the row: the data folder, the asked-for frame, the file of boxes.

A reader is a function ``(row, source) -> Record`` that raises `Refused` for a row that does not fit. `Source` answers
what depends on the run and not on the row: where an image is and how large, and in which frame boxes stand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from ...core.errors import nearest, shown
from ...core.geometry import Box, Frame, Size, clip, fit_tokens, problem
from ...core.geometry import from_source as scale_from
from ...core.geometry import to_source as scale_to
from ...core.images import measure, picture
from ...core.records import Refused, Row
from .record import ConvertError, FrameNeeded, Index

# The coordinate frames in which other projects write boxes, and how a box gets from them to source pixels.
#
# Scalings are done by `r3lab.core.geometry`; only the square padding of LLaVA is undone here. Where a format does not
# settle
# its frame, `settle` asks: it goes on without an answer only where every possible frame means the same place.
#
#     to_source((392, 252, 504, 364), FrameName.RESIZED, (1000, 750), BUDGET)     # smart_resize gives 1008 x 756

FACTOR = 28  # pixels of a token's side, Qwen2.5-VL
BUDGET = (4, 16384)  # tokens of an image, the defaults of Qwen2.5-VL's preprocessor (3136 and 12845056 pixels)


class FrameName(str, Enum):
    """The frame that a box of a file is written in."""

    SOURCE = "source"  # pixels of the image file
    RESIZED = "resized-28"  # pixels after Qwen2.5-VL's smart_resize
    RELATIVE = "relative-1000"  # 0 to 1000 of width and height
    UNIT = "relative-1"  # 0 to 1 of width and height
    PADDED = "square-padded"  # 0 to 1 of the image padded to a square, the image in its middle


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


_REMEMBERED = 256  # images whose size is kept


@dataclass
class Source:
    """One run of a reader.

    Attributes
    ----------
    name : stem of the file, for the names of records that have none
    images : folder that holds the images, resolved
    frame : the frame that the caller asked for, None for the published one
    budget : least and most tokens of an image, for `resized-28`
    index : scene graphs or OCR by image name
    pages : folder of OCR files, resolved
    """

    name: str
    images: Path
    frame: FrameName | None = None
    budget: tuple[int, int] = BUDGET
    index: Index | None = None
    pages: Path | None = None
    _seen: OrderedDict[str, tuple[Path | bytes, Size, bool]] = field(default_factory=OrderedDict)

    def id_of(self, row: Row, value: object = None) -> str:
        """The record's own name, or one made of file and number."""
        if isinstance(value, str) and value.strip() and len(value) <= 200 and value.isprintable():
            return value
        return f"{self.name}-{value if type(value) is int and abs(value) < 10**18 else row.number}"

    def picture(self, value: Any, boxes: bool = True) -> tuple[Path | bytes, Size]:
        """An image and its upright width and height: a path in the data folder, or ``{"bytes": ...}`` in a table.

        Parameters
        ----------
        boxes
            True if boxes belong to it; then an image that its EXIF tag turns is refused.
        """
        found, size, turned = self._look_up(value)
        if turned and boxes:
            raise Refused("an image that its EXIF tag turns", "its boxes can be of either; save it upright")
        return found, size

    def _look_up(self, value: Any) -> tuple[Path | bytes, Size, bool]:
        named = isinstance(value, str)
        if named and value in self._seen:
            self._seen.move_to_end(value)
            return self._seen[value]
        found = picture(value, self.images)
        entry = (found, *measure(found))
        if named:
            self._seen[value] = entry
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return entry

    def named(self, stem: str) -> tuple[Path | bytes, Size]:
        """The image of a name without extension: .jpg, else .png."""
        try:
            return self.picture(f"{stem}.jpg")
        except Refused as error:
            if error.reason != "no such file":
                raise
            return self.picture(f"{stem}.png")

    def box(self, box: Box, published: FrameName, size: Size) -> Box:
        """A box of a format whose frame is published, in source pixels (the caller's frame wins)."""
        return checked(to_source(box, self.frame or published, size, self.budget), size)

    def open_box(self, box: Box, possible: Sequence[FrameName], size: Size, why: str) -> Box:
        """A box of a format that leaves its frame open, in source pixels; asks where the frame matters."""
        if self.frame is not None:
            return checked(to_source(box, self.frame, size, self.budget), size)
        return settle(box, possible, size, self.budget, why)

    def boxes_of(self, name: str) -> Any | None:
        """What the file of boxes holds for an image; None without such a file.

        Raises
        ------
        Refused
            If there is a file of boxes, and the image is not in it.
        """
        if self.index is None:
            return None
        entry = self.index.get(name)
        if entry is None:
            raise Refused("an image that the file of boxes does not have", shown(name))
        return entry
