"""Pictures that differ from a photograph in one respect: what stands where, what colour it has, how sharp it is.

Each function takes and returns RGB images of one size; boxes are source pixels. What an intervention proves depends on
what it leaves alone, so most take `keep`: regions that stay as they are.

    recoloured(image, angle=180, keep=[look.box])      # the same shapes under another light
    surrounded(image, other, keep=[region])            # the same region on another photograph

Simplified: edges of what was changed are hard, and no region is filled in plausibly. A policy that has never seen such
a picture may answer oddly; the kinds in `judge` rest on rates over many different ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..geometry import Box, Size, clip
from ..images import resize

PUSH = 45.0  # mean colour, in units of Cb and Cr, that a grey picture gets so that it has one to turn


def pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """The whole pixels of a box, at least one, inside an image of `size`."""
    x1, y1, x2, y2 = clip(box, size)
    left, top = min(int(x1), size[0] - 1), min(int(y1), size[1] - 1)
    return left, top, max(left + 1, math.ceil(x2)), max(top + 1, math.ceil(y2))


def shifted(image: Image.Image, right: int, down: int) -> Image.Image:
    """Everything elsewhere by so many pixels; what leaves on one side comes in on the other."""
    return Image.fromarray(np.roll(np.asarray(image), (down, right), axis=(0, 1)))


def pasted(image: Image.Image, patch: Image.Image, box: Box) -> Image.Image:
    """A patch, resized, over a box."""
    x1, y1, x2, y2 = pixels(box, image.size)
    changed = image.copy()
    changed.paste(resize(patch, (x2 - x1, y2 - y1)), (x1, y1))
    return changed


def filled(image: Image.Image, boxes: Sequence[Box], colour: tuple[int, int, int] | None = None) -> Image.Image:
    """Boxes filled with one colour; by default with the mean colour of the image."""
    changed = np.array(image)
    value = changed.reshape(-1, 3).mean(0).round() if colour is None else np.array(colour)
    for box in boxes:
        x1, y1, x2, y2 = pixels(box, image.size)
        changed[y1:y2, x1:x2] = value
    return Image.fromarray(changed)


def kept(image: Image.Image, changed: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """The changed image, with the boxes of the first one."""
    for box in keep:
        x1, y1, x2, y2 = pixels(box, image.size)
        changed.paste(image.crop((x1, y1, x2, y2)), (x1, y1))
    return changed


def surrounded(image: Image.Image, other: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """Another picture, at this one's size, around what is kept."""
    return kept(image, resize(other, image.size), keep)


def recoloured(image: Image.Image, angle: float, keep: Sequence[Box]) -> Image.Image:
    """All colours turned by an angle (degrees) around grey, lightness as it was; a grey picture gets a colour.

    Colours are turned in the plane of Cb and Cr (ITU-R BT.601), so that edges, which are lightness, stay.
    """
    light, *colours = (np.asarray(part, dtype=np.float32) for part in image.convert("YCbCr").split())
    turn = math.radians(angle)
    blue, red = (part - 128 for part in colours)
    turned = np.stack([blue * math.cos(turn) - red * math.sin(turn), blue * math.sin(turn) + red * math.cos(turn)])
    mean = turned.mean((1, 2))
    strength = float(np.hypot(*mean))
    direction = mean / strength if strength > 1 else np.array([math.cos(turn), math.sin(turn)])
    turned += (direction * max(0.0, PUSH - strength))[:, None, None]
    parts = [Image.fromarray(part.clip(0, 255).round().astype(np.uint8)) for part in (light, *(turned + 128))]
    return kept(image, Image.merge("YCbCr", parts).convert("RGB"), keep)


def smoothed(image: Image.Image, cells: int) -> Image.Image:
    """Only `cells` x `cells` colours left of it, one flowing into the next."""
    small = image.resize((cells, cells), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def shifts(size: Size, count: int) -> list[tuple[int, int]]:
    """Shifts (right, down) that take everything far from where it was: a quarter of a side at least."""
    parts = [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7), (0.35, 0.0)]
    return [(round(x * size[0]), round(y * size[1])) for x, y in parts[:count]]


def angles(count: int) -> list[float]:
    """Turns of colour that leave none near where it was: from 90 to 270 degrees."""
    return [180.0] if count == 1 else np.linspace(90, 270, count).tolist()
