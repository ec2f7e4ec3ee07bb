"""What differs between model families, as rows of a table; everything else in r3lab is written once.

    family = family_of(model.config.model_type)
    pixels, grids = patchify(images, layout)

Rows: Qwen2-VL, Qwen2.5-VL, Qwen3-VL. They share the patch layout of their image processor, M-RoPE positions and the
three vision tokens, and differ in the frame in which boxes are written and in DeepStack features. Images are laid out
here in NumPy, so that neither torchvision nor a processor object is needed; a test holds the result against
transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..errors import R3labError
from ..geometry import Frame


@dataclass(frozen=True)
class Family:
    """One row.

    Attributes
    ----------
    model_type : `config.model_type` of transformers
    frame : coordinate frame in which the family was taught to write boxes
    deepstack : True if the vision tower hands features to several layers of the text model
    crop_tokens : least and most tokens of a crop (official VLM-R3: 4 to 1024)
    """

    model_type: str
    frame: Frame
    deepstack: bool = False
    crop_tokens: tuple[int, int] = (4, 1024)


FAMILIES: dict[str, Family] = {
    row.model_type: row
    for row in (
        Family("qwen2_vl", Frame.OVERVIEW),
        Family("qwen2_5_vl", Frame.OVERVIEW),
        Family("qwen3_vl", Frame.RELATIVE, deepstack=True),
    )
}


def family_of(model_type: str) -> Family:
    """The row of a model type; an unknown one is an error that lists what is known."""
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise R3labError(f"model type {str(model_type)[:60]!r} is not supported; r3lab runs {known} checkpoints")
    return FAMILIES[model_type]


@dataclass(frozen=True)
class Layout:
    """How images become patches: read from the checkpoint's image processor configuration."""

    patch: int
    merge: int
    temporal: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    overview_tokens: tuple[int, int]
    crop_tokens: tuple[int, int]

    @property
    def factor(self) -> int:
        """Side of one image token in pixels."""
        return self.patch * self.merge


def patchify(images: Sequence[Image.Image | np.ndarray], layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise images and cut them into the patches of the Qwen vision towers.

    Parameters
    ----------
    images : RGB, each side a multiple of `layout.factor`

    Returns
    -------
    pixels : (sum of h*w, 3 * temporal * patch * patch) float32, patches in merge-block order
    grids : (N, 3) int64, rows (1, h, w) in patches

    Source: transformers `Qwen2VLImageProcessor.patchify`.
    """
    mean, std = np.asarray(layout.mean, np.float32), np.asarray(layout.std, np.float32)
    scale, shift = 1.0 / (255.0 * std), mean / std
    p, m = layout.patch, layout.merge
    rows, grids = [], []
    for image in images:
        array = np.asarray(image)
        high, wide = array.shape[0] // p, array.shape[1] // p
        if array.shape != (high * p, wide * p, 3) or high % m or wide % m:
            raise ValueError(f"image of shape {array.shape} is not a multiple of {layout.factor} pixels in RGB")
        cut = array.reshape(high // m, m, p, wide // m, m, p, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        cut = cut.astype(np.float32) * scale[:, None, None] - shift[:, None, None]
        cut = np.broadcast_to(cut[..., None, :, :], (*cut.shape[:5], layout.temporal, p, p))
        rows.append(cut.reshape(high * wide, -1))
        grids.append((1, high, wide))
    return torch.from_numpy(np.concatenate(rows)), torch.tensor(grids, dtype=torch.int64)


def text_positions(start: int, count: int) -> torch.Tensor:
    """M-RoPE positions (3, count) of text that begins at position `start`."""
    return torch.arange(start, start + count).expand(3, count)


def image_positions(start: int, columns: int, rows: int) -> tuple[torch.Tensor, int]:
    """M-RoPE positions (3, columns * rows) of an image at `start`, and the position at which the text goes on.

    Source: Qwen2-VL, section 2.1 (M-RoPE); transformers `get_rope_index`.
    """
    index = torch.arange(columns * rows)
    positions = torch.stack([torch.zeros_like(index), index // columns, index % columns]) + start
    return positions, start + max(columns, rows)
