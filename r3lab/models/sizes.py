"""How much memory a checkpoint will need, from its config.json alone, before a single weight is read or downloaded.

The model is built on torch's `meta` device, where tensors have shapes and no content: counting their numbers is exact
for every family, and takes no memory. Of the checkpoints that the course names the shapes stand here (those of their
own config.json), so that no network is needed; what follows from them is computed. Simplified: activations are left out
(`train.memory` measures them once the model is loaded); of a rollout they are small beside weights, keys and values.

    sizes = sizes_of(known_config("Qwen/Qwen2.5-VL-3B-Instruct"), torch.bfloat16)     # or config_of(folder)
    print(sizes.weights, sizes.rollout(rows=5, tokens=4000))         # bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from ..core.errors import R3labError, nearest, shown
from .checkpoint import CheckpointError
from .families import family_of

_QWEN_TEXT = {"vocab_size": 151936, "hidden_size": 2048, "num_attention_heads": 16, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Known:
    """One checkpoint: its family, and the shapes of its parts where they are not the family's defaults."""

    model_type: str
    text: dict[str, Any]
    vision: dict[str, Any]
    more: dict[str, Any]


KNOWN: dict[str, Known] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Known(
        "qwen2_5_vl",
        {**_QWEN_TEXT, "intermediate_size": 11008, "num_hidden_layers": 36, "num_key_value_heads": 2},
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048},
        {"tie_word_embeddings": True},
    ),
    "Qwen/Qwen3-VL-2B-Instruct": Known(
        "qwen3_vl",
        {**_QWEN_TEXT, "intermediate_size": 6144, "num_hidden_layers": 28, "num_key_value_heads": 8, "head_dim": 128},
        {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "patch_size": 16,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        {"tie_word_embeddings": True},
    ),
    "HuggingFaceTB/SmolVLM-Instruct": Known(
        "smolvlm",
        {
            "model_type": "llama",
            "vocab_size": 49280,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 64,
        },
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
        },
        {"scale_factor": 3},
    ),
}


def known_config(name: str) -> Any:
    """The configuration of a checkpoint that the course names.

    Raises
    ------
    R3labError
        If it is another one.
    """
    if name not in KNOWN:
        raise R3labError(f"The shapes of {shown(name)} do not ship.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}.")
    one = KNOWN[name]
    return AutoConfig.for_model(one.model_type, text_config=one.text, vision_config=one.vision, **one.more)


@dataclass(frozen=True)
class Sizes:
    """What a model of one configuration takes.

    Attributes
    ----------
    parameters : numbers in all weights; tied ones count once
    trained : those outside the vision tower, which R-GRPO and the cold start train
    element : bytes a number
    cached : bytes of keys and values, a token of one row
    """

    parameters: int
    trained: int
    element: int
    cached: int

    @property
    def weights(self) -> int:
        """Bytes of the loaded model."""
        return self.parameters * self.element

    def rollout(self, rows: int, tokens: int) -> int:
        """Bytes of the model and of the keys and values of `rows` rollouts of `tokens` tokens, prompt included."""
        return self.weights + rows * tokens * self.cached

    @property
    def training(self) -> int:
        """Bytes held all the time when everything but the vision tower is trained: weights, gradients, AdamW's two."""
        return self.weights + 3 * self.trained * self.element


def config_of(folder: str | Path) -> Any:
    """The configuration of a checkpoint folder.

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be read.
    R3labError
        If its family is not supported.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} has no config.json; give the folder of a checkpoint in the Hugging Face format"
        )
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"cannot read {folder / 'config.json'}: {reason}") from None
    family_of(config.model_type)
    return config


def sizes_of(config: Any, dtype: torch.dtype) -> Sizes:
    """Count what a configuration asks for.

    Parameters
    ----------
    config
        From `config_of`, or one of transformers' own.
    dtype
        In which the weights will be loaded.

    Raises
    ------
    R3labError
        If its family is not supported.
    """
    family = family_of(config.model_type)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    every = {id(p): p.numel() for p in model.parameters()}
    seen = {id(p) for name in family.vision for p in getattr(model.model, name).parameters()}
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Sizes(
        parameters=sum(every.values()),
        trained=sum(count for key, count in every.items() if key not in seen),
        element=dtype.itemsize,
        cached=2 * text.num_hidden_layers * text.num_key_value_heads * head * dtype.itemsize,
    )
