"""The checkpoints that the course names, by their shapes: enough to foresee what they need without a network.

The numbers are those of each checkpoint's own config.json; what follows from them (weights, memory) is computed. Of a
checkpoint that is here as a folder, its own file is read instead (`sizes.config_of`).

    config = known_config("Qwen/Qwen2.5-VL-3B-Instruct")
    sizes_of(config, torch.bfloat16).weights
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from ..errors import R3labError, nearest, shown

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
