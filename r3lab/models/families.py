"""What differs between model families, as rows of a table; everything else in r3lab is written once.

    family = family_of(model.config.model_type)

Qwen2-VL, Qwen2.5-VL and Qwen3-VL share the patch layout of their image processor, M-RoPE positions and the three
vision tokens, and differ in the frame in which boxes are written and in DeepStack features. SmolVLM and Idefics3 see
square tiles of one size and count positions as text does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
    tiles : True if every image is one square tile, positions are those of text, and the chat template writes a bare
        image token, to which the processor adds `layout.TILE_MARKS`
    vision : names of the modules that make image tokens
    text : name of the text model
    crop_tokens : least and most tokens of a crop (official VLM-R3: 4 to 1024)
    """

    model_type: str
    frame: Frame
    deepstack: bool = False
    tiles: bool = False
    vision: tuple[str, ...] = ("visual",)
    text: str = "language_model"
    crop_tokens: tuple[int, int] = (4, 1024)


FAMILIES: dict[str, Family] = {
    row.model_type: row
    for row in (
        Family("qwen2_vl", Frame.OVERVIEW),
        Family("qwen2_5_vl", Frame.OVERVIEW),
        Family("qwen3_vl", Frame.RELATIVE, deepstack=True),
        Family("smolvlm", Frame.RELATIVE, tiles=True, vision=("vision_model", "connector"), text="text_model"),
        Family("idefics3", Frame.RELATIVE, tiles=True, vision=("vision_model", "connector"), text="text_model"),
    )
}


def family_of(model_type: str) -> Family:
    """The row of a model type; an unknown one is an error that lists what is known."""
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise R3labError(f"model type {str(model_type)[:60]!r} is not supported; r3lab runs {known} checkpoints")
    return FAMILIES[model_type]


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
