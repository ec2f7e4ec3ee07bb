"""Pictures that differ from a photograph in one respect: shifted, covered, in other colours, with other surroundings;
and records that show such pictures in the place of their own.

RGB images of the photograph's size; boxes are source pixels. What an intervention proves depends on what it leaves
alone: `keep` are regions that stay as they are.

    recoloured(image, 180.0, keep=[region])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from ..core.geometry import Box, Size, clip
from ..core.images import content_hash, resize
from ..trajectory import ImageRef, Look, Trajectory

PUSH = 45.0  # mean colour, in units of Cb and Cr, that a grey picture gets so that it has one to turn


def mean_colour(image: Image.Image) -> tuple[int, ...]:
    """The mean of an image's pixels (R, G, B)."""
    return tuple(int(v) for v in np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0).round())


def pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """The whole pixels of a box, at least one, inside an image of `size`."""
    x1, y1, x2, y2 = clip(box, size)
    left, top = min(int(x1), size[0] - 1), min(int(y1), size[1] - 1)
    return left, top, max(left + 1, math.ceil(x2)), max(top + 1, math.ceil(y2))


def shifts(size: Size, count: int) -> list[tuple[int, int]]:
    """Shifts (right, down) that take everything far from where it was: a quarter of a side at least."""
    parts = [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7), (0.35, 0.0)]
    return [(round(x * size[0]), round(y * size[1])) for x, y in parts[:count]]


def pasted(image: Image.Image, patch: Image.Image, box: Box) -> Image.Image:
    """A patch, resized, over a box."""
    x1, y1, x2, y2 = pixels(box, image.size)
    changed = image.copy()
    changed.paste(resize(patch, (x2 - x1, y2 - y1)), (x1, y1))
    return changed


def resized(image: Image.Image, box: Box, factor: float) -> Image.Image:
    """A box filled, and what it held over its middle, `factor` times as large, as far as the image goes."""
    x1, y1, x2, y2 = pixels(box, image.size)
    patch, changed = image.crop((x1, y1, x2, y2)), filled(image, [box])
    wide, high = max(1, round(factor * (x2 - x1))), max(1, round(factor * (y2 - y1)))
    changed.paste(resize(patch, (wide, high)), ((x1 + x2 - wide) // 2, (y1 + y2 - high) // 2))
    return changed


def shaped(box: Box, shape: Size, size: Size) -> Box:
    """The smallest box in an image of `size` around another, of the proportions of `shape` as far as there is room."""
    w, h = box[2] - box[0], box[3] - box[1]
    wide, high = min(max(w, h * shape[0] / shape[1]), size[0]), min(max(h, w * shape[1] / shape[0]), size[1])
    x, y = (box[0] + box[2] - wide) / 2, (box[1] + box[3] - high) / 2
    x, y = min(max(x, 0.0), size[0] - wide), min(max(y, 0.0), size[1] - high)
    return x, y, x + wide, y + high


def filled(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Boxes filled with the mean colour of the image."""
    changed, colour = image.copy(), mean_colour(image)
    for box in boxes:
        changed.paste(colour, pixels(box, image.size))
    return changed


def kept(image: Image.Image, changed: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """The changed image, with the boxes of the first one."""
    for box in keep:
        part = pixels(box, image.size)
        changed.paste(image.crop(part), part)
    return changed


def surrounded(image: Image.Image, other: Image.Image, keep: Sequence[Box]) -> Image.Image:
    """Another picture, at this one's size, around what is kept."""
    return kept(image, resize(other, image.size), keep)


def angles(count: int) -> list[float]:
    """Turns of colour that leave none near where it was: from 90 to 270 degrees."""
    return [180.0] if count == 1 else np.linspace(90, 270, count).tolist()


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


def toned(image: Image.Image, like: Image.Image) -> Image.Image:
    """An image in the mean colour of another, as far as its pixels go."""
    shift = np.subtract(mean_colour(like), mean_colour(image))
    return Image.fromarray((np.asarray(image.convert("RGB"), dtype=np.int16) + shift).clip(0, 255).astype(np.uint8))


def with_overview(trajectory: Trajectory, image: Image.Image) -> Trajectory:
    """The same record, crops included, with another picture in the overview."""
    reference = ImageRef(content_hash(image), *image.size)
    return replace(trajectory, image=reference, images={**trajectory.images, reference.hash: image})


def with_crops(trajectory: Trajectory, crops: Sequence[Image.Image]) -> Trajectory:
    """The same record with other crops, one for each look that has one, of the sizes of its own."""
    looks, images, others = list[Look](), dict(trajectory.images), iter(crops)
    for look in trajectory.looks:
        if look.crop is not None:
            crop = next(others)
            look = replace(look, crop=ImageRef(content_hash(crop), *crop.size))
            images[content_hash(crop)] = crop
        looks.append(look)
    return replace(trajectory, looks=looks, images=images)
