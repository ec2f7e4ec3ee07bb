"""Small policies for the tests: one of each supported family, taught for seconds to write boxes and answers.

A random model writes no box in a lifetime, and a test of the loop needs boxes, good and bad. So each family's tiny
random checkpoint gets a short cold start, is saved to disk, and is loaded by its path as a user would.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from r3lab.models import tiny
from r3lab.models.layout import TILE_MARKS
from r3lab.models.policy import Policy
from r3lab.train.checkpoint import save_policy
from r3lab.train.lessons import vocabulary
from r3lab.train.sft import SftSettings, cold_start
from r3lab.vlir.rationale import imperfect
from r3lab.vlir.sample import Rationale
from r3lab.vlir.worlds import get_world

torch.set_num_threads(2)
TILE = {"smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration)}
TILE["idefics3"] = (Idefics3Config, Idefics3ForConditionalGeneration)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.08,
}
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", *TILE)


def _qwen2(kind: str, words) -> torch.nn.Module:
    """A tiny random Qwen2-VL or Qwen2.5-VL with the tiny tokenizer's vocabulary."""
    ids = {t: words.convert_tokens_to_ids(t) for t in tiny.SPECIAL}
    text = {
        "vocab_size": len(words),
        **TEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
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
    torch.manual_seed(0)
    if kind == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 2, **patches}
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


def _tiled(kind: str, words) -> Policy:
    """A tiny random SmolVLM or Idefics3: tiles of 64 pixels, 16 tokens, with the tokens and template of its family."""
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
    vision = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision |= {"image_size": 64, "patch_size": 8, "initializer_range": 0.08}
    settings, model = TILE[kind]
    torch.manual_seed(0)
    image = words.convert_tokens_to_ids("<image>")
    config = settings(text_config=text, vision_config=vision, scale_factor=2, image_token_id=image)
    processor = {
        "image_processor_type": "SmolVLMImageProcessor",
        "do_image_splitting": False,
        "max_image_size": {"longest_edge": 64},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "r3lab": {"coordinate_step": tiny.COORDINATE_STEP, "prompt": "bare"},
    }
    return Policy(model(config).float().eval(), words, processor)


def taught(kind: str, folder: Path, steps: int = 90) -> Path:
    """A checkpoint of a family that has seen enough VLIR samples to write boxes and answers.

    The boxes are wide ones at random, so that a policy that has learned nothing but their form writes valid ones too.
    """
    policy = tiny.create(vocabulary(), seed=0)
    if kind in TILE:
        policy = _tiled(kind, policy.tokenizer)
    elif kind != "qwen3_vl":
        processor = {**tiny.processor(), "temporal_patch_size": 2}
        policy = Policy(_qwen2(kind, policy.tokenizer).float().eval(), policy.tokenizer, processor)
    world, rng = get_world("badges"), np.random.default_rng(0)
    pairs = []
    for sample in (world.sample("train", i) for i in range(48)):
        parts = imperfect(sample, world.rationale(sample), 0.3, 0.5, rng).parts
        x1, y1, x2, y2 = rng.uniform((0, 0, 300, 300), (200, 200, 500, 500))
        pairs.append((sample, Rationale(tuple(p if isinstance(p, str) else (x1, y1, x2, y2) for p in parts))))
    batches = (pairs[i % 6 * 8 :][:8] for i in range(10_000))
    torch.manual_seed(0)
    settings = SftSettings(steps=steps, batch=8, learning_rate=4e-3)
    cold_start(policy, iter(batches), settings, lambda row: None, progress=False)
    return save_policy(policy, folder)


@pytest.fixture(scope="session", params=FAMILIES)
def family_policy(request, tmp_path_factory) -> Policy:
    """A briefly taught policy of each family, loaded from disk."""
    return Policy.load(taught(request.param, tmp_path_factory.mktemp("policies") / request.param))


@pytest.fixture(scope="session")
def taught_folder(tmp_path_factory) -> Path:
    """Folder of a briefly taught Qwen3-VL."""
    return taught("qwen3_vl", tmp_path_factory.mktemp("taught") / "policy")


@pytest.fixture()
def policy(taught_folder) -> Policy:
    """A fresh copy of the briefly taught Qwen3-VL; a test may train it."""
    return Policy.load(taught_folder)


@pytest.fixture(scope="session")
def samples() -> list:
    """Six train samples of badges."""
    return [get_world("badges").sample("train", i) for i in range(6)]
