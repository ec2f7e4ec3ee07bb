"""What differs between model families, as rows of a table, and how images become the input of their vision towers.

Qwen2-VL, Qwen2.5-VL and Qwen3-VL share the patch layout of their image processor, M-RoPE positions and the three vision
tokens, and differ in the frame in which boxes are written and in DeepStack features. SmolVLM, Idefics3 and InternVL see
square tiles of one size and count positions as text does (`Tiles`). Images are laid out here in NumPy, so that neither
torchvision nor a processor object is needed; tests hold the result against transformers' own. Simplified: an overview
and a crop of these are one tile each (SmolVLM's `do_image_splitting=False`, InternVL's `crop_to_patches=False`); the
look is what brings the detail in.

    family = family_of(model.config.model_type)
    pixels, grids = patchify(images, read_layout(processor, model.config))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from ..core.errors import R3labError, shown
from ..core.geometry import Frame
from ..core.records import Read, between, fields, fixed, number, of, reader


@dataclass(frozen=True)
class Tiles:
    """Of a family that sees every image as one square tile, with positions as in text: what its processor writes.

    Attributes
    ----------
    image : token of a part of a tile; the chat template writes one, in whose place the processor puts those of a tile
    before, after : marks that the processor puts around them
    others : expression of further tokens that belong to images or videos alone
    nested : True if the vision tower takes (N, 1, 3, side, side): the tiles of an image have an axis of their own
    mean, std : of pixels, where preprocessor_config.json has none
    """

    image: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    others: str
    nested: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


IDEFICS = Tiles(
    "<image>",
    ("<fake_token_around_image>", "<global-img>"),
    ("<fake_token_around_image>",),
    r"<row_\d+_col_\d+>",
    nested=True,
)
INTERNVL = Tiles(
    "<IMG_CONTEXT>",
    ("<img>",),
    ("</img>",),
    "<video>",
    mean=(0.48145466, 0.4578275, 0.40821073),  # CLIP's, of `GotOcr2ImageProcessor`
    std=(0.26862954, 0.26130258, 0.27577711),
)


@dataclass(frozen=True)
class Family:
    """One row.

    Attributes
    ----------
    model_type : `config.model_type` of transformers
    frame : coordinate frame in which the family was taught to write boxes
    deepstack : True if the vision tower hands features to several layers of the text model
    tiles : what is written for an image if every image is one square tile; None: images of any size, M-RoPE
    vision : names of the modules that make image tokens
    text : name of the text model
    texts : model types of the text model that the row was tested with; another one takes the plain path. (): its own
    crop_tokens : least and most tokens of a crop (official VLM-R3: 4 to 1024)
    """

    model_type: str
    frame: Frame
    deepstack: bool = False
    tiles: Tiles | None = None
    vision: tuple[str, ...] = ("visual",)
    text: str = "language_model"
    texts: tuple[str, ...] = ()
    crop_tokens: tuple[int, int] = (4, 1024)


FAMILIES: dict[str, Family] = {
    row.model_type: row
    for row in (
        Family("qwen2_vl", Frame.OVERVIEW),
        Family("qwen2_5_vl", Frame.OVERVIEW),
        Family("qwen3_vl", Frame.RELATIVE, deepstack=True),
        Family("smolvlm", Frame.RELATIVE, tiles=IDEFICS, vision=("vision_model", "connector"), text="text_model"),
        Family("idefics3", Frame.RELATIVE, tiles=IDEFICS, vision=("vision_model", "connector"), text="text_model"),
        Family(
            "internvl",
            Frame.RELATIVE,
            tiles=INTERNVL,
            vision=("vision_tower", "multi_modal_projector"),
            texts=("qwen2", "qwen3"),
        ),
    )
}


def family_of(model_type: str) -> Family:
    """The row of a model type; an unknown one is an error that lists what is known."""
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise R3labError(f"model type {str(model_type)[:60]!r} is not supported; r3lab runs {known} checkpoints")
    return FAMILIES[model_type]


PLAIN: dict[str, tuple[Frame, str]] = {  # of the plain path, where more is known than the model type
    "gemma3": (Frame.RELATIVE_YX, "image tokens see each other both ways"),  # boxes as Gemini's; its card names none
    "gemma4": (Frame.RELATIVE_YX, "most layers see a window of the tokens before them, and no more"),
    "lfm2_vl": (Frame.RELATIVE, "convolutions carry a state from token to token"),
    "qwen3_5": (Frame.RELATIVE, "three of four layers carry a recurrent state from token to token"),
    "qwen3_5_moe": (Frame.RELATIVE, "three of four layers carry a recurrent state from token to token"),
}


def frame_of(model_type: str) -> Frame:
    """The frame of boxes of a model type, on either path; `Frame.RELATIVE` where none is known."""
    return FAMILIES[model_type].frame if model_type in FAMILIES else PLAIN.get(model_type, (Frame.RELATIVE, ""))[0]


def why_plain(config: Any) -> str:
    """Why a checkpoint of that configuration takes the plain path; "" if it takes the fast one."""
    kind, text = config.model_type, config.get_text_config()
    if kind not in FAMILIES:
        return PLAIN[kind][1] if kind in PLAIN else "the model type is no row of the table"
    if "sliding_attention" in (getattr(text, "layer_types", None) or ()):
        return "layers of its text model see a window of the tokens before them, and no more"
    known = FAMILIES[kind].texts
    if known and text.model_type not in known:
        return f"its text model is {shown(text.model_type, 60)}, and the table has it with {' and '.join(known)}"
    return ""


def check_type(model_type: str) -> None:
    """Raise `R3labError` unless a checkpoint of that type can be run, on the fast path or on the plain one."""
    if model_type not in FAMILIES and model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        known = f"r3lab runs {', '.join(FAMILIES)}, and what else transformers knows as an image-text-to-text model"
        raise R3labError(f"model type {str(model_type)[:60]!r} is not supported; {known}")


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
    tile: int = 0  # side in pixels of every image; 0: any that fits the budget

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


def tiles(images: Sequence[Image.Image | np.ndarray], layout: Layout) -> torch.Tensor:
    """Normalised tiles (N, 3, side, side) float32 of RGB images that have the tile's size.

    Source: transformers `SmolVLMImageProcessor` with `do_image_splitting=False`, `GotOcr2ImageProcessor` (InternVL's)
    with `crop_to_patches=False`.
    """
    mean, std = np.asarray(layout.mean, np.float32), np.asarray(layout.std, np.float32)
    arrays = [np.asarray(image) for image in images]
    for array in arrays:
        if array.shape != (layout.tile, layout.tile, 3):
            raise ValueError(f"image of shape {array.shape} is not a tile of {layout.tile} pixels in RGB")
    pixels = (np.stack(arrays).astype(np.float32) / 255.0 - mean) / std
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def vision_marks(
    config: Any, tokenizer: PreTrainedTokenizerBase, family: Family
) -> tuple[list[int], list[int], list[int]]:
    """Ids that stand before and after the tokens of an image, and other ids that belong to images or videos alone."""
    if not family.tiles:
        return [int(config.vision_start_token_id)], [int(config.vision_end_token_id)], [int(config.video_token_id)]
    words = tokenizer.get_vocab()
    both = family.tiles.before, family.tiles.after
    missing = [t for marks in both for t in marks if t not in words]
    if missing:
        raise R3labError(f"the tokenizer lacks {missing[0]!r}; copy the tokenizer's files of this checkpoint again")
    before, after = ([int(words[t]) for t in marks] for marks in both)
    return before, after, [int(i) for t, i in words.items() if re.fullmatch(family.tiles.others, t)]


def read_layout(processor: dict[str, Any], config: Any) -> Layout:
    """The patch layout from preprocessor_config.json; what that leaves out comes from the model's config.

    Raises
    ------
    R3labError
        If a field does not fit, differs from the model's config, or asks for too many tokens.
    """
    where = "preprocessor_config.json"
    told = {name: value for name, value in fields(processor, {}, PROCESSOR, where).items() if value is not None}
    family, vision = family_of(config.model_type), config.vision_config
    half = (0.5, 0.5, 0.5)
    mean = told.get("image_mean", family.tiles.mean if family.tiles else half)
    std = told.get("image_std", family.tiles.std if family.tiles else half)
    size, own = told.get("size", {}), told.get("r3lab", {})
    if family.tiles:
        merge = getattr(config, "scale_factor", None) or round(1 / config.downsample_ratio)
        side = told.get("max_image_size", {}).get("longest_edge") or size.get("height") or _side(vision.image_size)
        patch = _side(vision.patch_size)
        wide = size.get("width") or side
        if side % (patch * merge) or wide != side:
            wanted = f"not a square whose side is a multiple of {patch * merge} (patch size x scale factor)"
            raise R3labError(f"{where}: a tile has {wide} x {side} pixels, {wanted}")
        count = (side // (patch * merge)) ** 2
        return Layout(patch, merge, 1, mean, std, (count, count), (count, count), side)
    sizes = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    for name, asked in zip(("patch_size", "merge_size", "temporal_patch_size"), sizes, strict=True):
        if told.get(name, asked) != asked:
            raise R3labError(f"{where}: {name} is {told[name]}, and {asked} in config.json; copy both files again")
    patch, merge, temporal = sizes
    budget = (
        size.get("shortest_edge") or told.get("min_pixels", 56 * 56),
        size.get("longest_edge") or told.get("max_pixels", 28 * 28 * 1280),
    )
    overview = tuple(max(1, pixels // (patch * merge) ** 2) for pixels in budget)
    crop = tuple(own.get("crop_tokens") or family.crop_tokens)
    for least, most in (overview, crop):
        if not least <= min(most, SMALLEST) or most > LARGEST:
            wanted = f"from at most {SMALLEST:,} to at most {LARGEST:,}"
            raise R3labError(f"{where}: images of {least:,} to {most:,} tokens; they must be {wanted}")
    return Layout(patch, merge, temporal, mean, std, overview, crop)


def _side(size: Any) -> int:
    """One side of a size that a configuration gives as a number, or as (height, width)."""
    return int(size[0] if isinstance(size, list | tuple) else size)


SMALLEST, LARGEST = 1 << 10, 1 << 14  # most tokens of the smallest and the largest image; Qwen's have 64 and 16,384
_PIXELS = between(1, 1 << 30)


def _inside(**table: Read) -> Read:
    """An object, of which the fields of the table are read."""
    return lambda value, where: fields(value, {}, table, where)


PROCESSOR: dict[str, Read] = {
    **dict.fromkeys(("patch_size", "merge_size", "temporal_patch_size"), between(1, 512)),
    **dict.fromkeys(("min_pixels", "max_pixels"), _PIXELS),
    "image_mean": fixed(number, 3),
    "image_std": fixed(of("a number from 0.001", lambda value: number(value, "") >= 0.001, float), 3),
    "size": _inside(shortest_edge=_PIXELS, longest_edge=_PIXELS, height=between(1, 1 << 12), width=between(1, 1 << 12)),
    "max_image_size": _inside(longest_edge=between(1, 1 << 12)),
    "r3lab": _inside(
        crop_tokens=fixed(between(1, LARGEST), 2),
        coordinate_step=between(1, 1000),
        prompt=of("'bare'", lambda value: value == "bare"),
        frame=reader(Frame),  # where a checkpoint writes its boxes in another than its family (`r3lab frames`)
    ),
}
