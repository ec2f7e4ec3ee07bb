"""Random checkpoints of every family, small enough for a laptop, and of the same form on disk as the real ones.

Architectures, configuration, tokenizer files and image processor are those of transformers; only the sizes are tiny and
the weights random. So whatever loads, asks, trains or saves a real checkpoint can be tried out on one of these within a
second. Simplified: the vocabulary is the tiny policy's, and what such a model writes means nothing.

    policy = miniature("qwen2_5_vl", corpus=vocabulary(), seed=0)
    save_policy(policy, "runs/miniature")               # then Policy.load("runs/miniature"), as any checkpoint
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from . import tiny
from .families import family_of
from .layout import TILE_MARKS
from .policy import Policy

TILED: dict[str, tuple[Any, Any]] = {
    "smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration),
    "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration),
}
TILE = 64  # pixels a side; 16 tokens
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.08,
}


def miniature(model_type: str, corpus: Iterable[str], seed: int = 0, plain: bool = True) -> Policy:
    """A tiny random policy of a family, float32.

    Parameters
    ----------
    model_type
        As in `families.FAMILIES`.
    corpus
        Texts whose words become single tokens (`train.lessons.vocabulary`).
    seed
        Of the weights.
    plain
        Without r3lab's own section in the processor's configuration, as every checkpoint from elsewhere comes: it is
        asked with instructions, and may spend the family's crop budget. False: asked as the tiny policy is.

    Raises
    ------
    R3labError
        If there is no such family.
    """
    family = family_of(model_type)
    policy = tiny.create(corpus, seed)
    if family.tiles:
        policy = _tiled(model_type, policy.tokenizer, seed)
    elif model_type != "qwen3_vl":
        processor = {**tiny.processor(), "temporal_patch_size": 2}
        policy = Policy(_qwen2(model_type, policy.tokenizer, seed).float().eval(), policy.tokenizer, processor)
    if not plain:
        return policy
    own = {key: value for key, value in policy.processor.items() if key != "r3lab"}
    return Policy(policy.model, policy.tokenizer, own, name=f"random-{model_type}")


def _qwen2(model_type: str, words: PreTrainedTokenizerBase, seed: int) -> Any:
    """A Qwen2-VL or Qwen2.5-VL with the tiny tokenizer's vocabulary."""
    ids = {t: words.convert_tokens_to_ids(t) for t in tiny.SPECIAL}
    text = {
        "vocab_size": len(words),
        **TEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "tie_word_embeddings": True,
    }
    special = {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
    }
    patches = {"patch_size": tiny.PATCH, "spatial_merge_size": tiny.MERGE, "temporal_patch_size": 2}
    torch.manual_seed(seed)
    if model_type == "qwen2_vl":
        vision: dict[str, Any] = {
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 64,
            "num_heads": 4,
            "mlp_ratio": 2,
            **patches,
        }
        return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **special))
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 64,
        "window_size": 32,
        "fullatt_block_indexes": [1],
        **patches,
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **special))


def _tiled(model_type: str, words: Any, seed: int) -> Policy:
    """A SmolVLM or Idefics3: tiles of 64 pixels, 16 tokens, with the tokens and template of its family."""
    marks = sorted({t for marks in TILE_MARKS for t in marks})
    words.add_special_tokens({"additional_special_tokens": [*marks, "<image>", "<row_1_col_1>", "<row_1_col_2>"]})
    words.chat_template = tiny.CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    text = {
        "model_type": "llama",
        "vocab_size": len(words),
        **TEXT,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
    }
    vision: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    vision |= {"image_size": TILE, "patch_size": 8, "initializer_range": 0.08}
    settings, model = TILED[model_type]
    torch.manual_seed(seed)
    image = words.convert_tokens_to_ids("<image>")
    config = settings(text_config=text, vision_config=vision, scale_factor=2, image_token_id=image)
    processor = {
        "image_processor_type": "SmolVLMImageProcessor",
        "do_image_splitting": False,
        "max_image_size": {"longest_edge": TILE},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "r3lab": {"coordinate_step": tiny.COORDINATE_STEP, "prompt": "bare"},
    }
    return Policy(model(config).float().eval(), words, processor)
