"""The tiny policy that ships, and random checkpoints of every family: small, and otherwise as the real ones.

Architectures, configuration, tokenizer files and image processor are those of transformers; only the sizes are tiny.
`create` makes a Qwen3-VL of about 1.7 million parameters; Qwen3-VL because its vision tower adds a learned absolute
position to every patch, which a small model needs to write coordinates. What is simplified against a real checkpoint: a
vocabulary of some 900 tokens in which every coordinate 0, 10, ... 1000 and the fixed parts of the protocol are one
token each; images of one frame (temporal patch 1); an overview of at most 64 tokens. `miniature` makes the like of any
family, so that whatever loads, asks, trains or saves a real checkpoint can be tried out within a second; what such a
model writes means nothing.

    policy = create(corpus, seed=0)
    save_policy(miniature("qwen2_5_vl", corpus=vocabulary()), "runs/miniature")     # load it as any checkpoint
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .families import TILE_MARKS, family_of
from .policy import Policy

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PROTOCOL = ("<think>", "</think>", "<answer>", "</answer>", '{"bbox_2d": [', "]}")
COORDINATE_STEP = 10  # of the frame's 1000
PATCH, MERGE = 8, 2
OVERVIEW_TOKENS = (16, 64)  # least and most tokens of an overview; 64 tokens are 128x128 pixels
CROP_TOKENS = (4, 25)  # of a crop; 25 tokens are 80x80 pixels

# The question alone is the prompt: the tiny policy knows only one way to answer.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every word of the corpus, every coordinate of a box and any other digit is one token,
    and any text can be written.

    Parameters
    ----------
    corpus : texts whose words become single tokens
    """
    bpe = Tokenizer(models.BPE())
    split = Regex(r"<\|[a-z_]+\|>|, |\d+(?=, )|(?<=, )\d+|\d| ?\p{L}+| ?[^\s\p{L}\d]|\s+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL),
    )
    numbers = [str(n) for n in range(0, 1001, COORDINATE_STEP)]
    texts = sorted(set(corpus)) + [f"user\nassistant\n{n}, " for n in numbers]
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(t, normalized=False, special=False) for t in PROTOCOL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=[t for t in SPECIAL if t not in ("<|endoftext|>", "<|im_end|>")],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    long = [n for n in numbers if len(fast(f"{n}, ")["input_ids"]) != 2]
    if long:
        raise RuntimeError(f"coordinates that are not one token: {long[:5]}")
    return fast


def _special(words: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The ids of the vision tokens, as a Qwen's configuration holds them."""
    names = ("image_token", "video_token", "vision_start_token", "vision_end_token")
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    ids = {f"{name}_id": words.convert_tokens_to_ids(mark) for name, mark in zip(names, marks, strict=True)}
    return {**ids, "tie_word_embeddings": True}


def _model(model_type: str, words: Any, text: dict[str, Any], vision: dict[str, Any], **more: Any) -> Any:
    """A random model for a vocabulary, float32."""
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    config = AutoConfig.for_model(model_type, text_config={**ids, **text}, vision_config=vision, **more)
    return AutoModelForImageTextToText.from_config(config).float().eval()


def _tiny(words: PreTrainedTokenizerFast) -> Any:
    """The tiny policy's random model for a vocabulary; every size that was chosen stands here."""
    text = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "initializer_range": 0.08,  # 0.02 stalls at this width
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5]},
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 4,
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 1,
        "out_hidden_size": 128,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [1],
        "initializer_range": 0.08,
    }
    return _model("qwen3_vl", words, text, vision, **_special(words))


def processor_settings(crop_tokens: tuple[int, int] = CROP_TOKENS) -> dict[str, Any]:
    """What preprocessor_config.json holds: the ordinary image processor, and r3lab's own section."""
    least, most = OVERVIEW_TOKENS
    unit = (PATCH * MERGE) ** 2
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 1,
        "size": {"shortest_edge": least * unit, "longest_edge": most * unit},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "r3lab": {"crop_tokens": list(crop_tokens), "coordinate_step": COORDINATE_STEP, "prompt": "bare"},
    }


def create(corpus: Iterable[str], seed: int) -> Policy:
    """A tiny policy with random weights, float32; `policy.save_policy` saves it."""
    words = tokenizer(corpus)
    torch.manual_seed(seed)
    model = _tiny(words)
    model.generation_config.pad_token_id = words.pad_token_id
    model.generation_config.eos_token_id = words.eos_token_id
    return Policy(model, words, processor_settings(), name="tiny")


@torch.no_grad()
def widened(policy: Policy, corpus: Iterable[str], crop_tokens: tuple[int, int] = CROP_TOKENS) -> Policy:
    """The policy with a vocabulary made of another corpus: what it knows keeps its row, a new token begins as the mean
    of the rows that its text was until now.

    Parameters
    ----------
    corpus : texts whose words become single tokens; also those of the corpus that the policy was made with
    crop_tokens : least and most tokens of a crop from now on
    """
    words = tokenizer(corpus)
    model = _tiny(words)
    weights = dict(policy.model.state_dict())
    rows, known = policy.model.get_input_embeddings().weight, policy.tokenizer.get_vocab()
    table = torch.empty(len(words), rows.shape[1])
    for token, number in words.get_vocab().items():
        table[number] = rows[known[token]] if token in known else rows[policy.ids(words.decode([number]))].mean(0)
    for name in [n for n, w in weights.items() if w.shape == rows.shape]:
        weights[name] = table
    model.load_state_dict(weights)
    model.generation_config = policy.model.generation_config
    return Policy(model, words, processor_settings(crop_tokens), name=policy.name)


TILE = 64  # pixels a side; 16 tokens
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.08,
}
_PATCHES = {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2}
VISION: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 2, **_PATCHES},
    "qwen2_5_vl": {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 64,
        "window_size": 32,
        "fullatt_block_indexes": [1],
        **_PATCHES,
    },
    "tiles": {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": TILE,
        "patch_size": 8,
        "initializer_range": 0.08,
    },
}


def miniature(model_type: str, corpus: Iterable[str], seed: int = 0, plain: bool = True) -> Policy:
    """A tiny random policy of a family, float32.

    Parameters
    ----------
    model_type
        As in `families.FAMILIES`.
    corpus
        Texts whose words become single tokens (`recipes.lessons.vocabulary`).
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
    policy = create(corpus, seed)
    if family.tiles:
        policy = _tiled(model_type, policy.tokenizer, seed)
    elif model_type != "qwen3_vl":
        policy = _qwen2(model_type, policy.tokenizer, seed)
    if not plain:
        return policy
    own = {key: value for key, value in policy.processor.items() if key != "r3lab"}
    return Policy(policy.model, policy.tokenizer, own, name=f"random-{model_type}")


def _qwen2(model_type: str, words: PreTrainedTokenizerBase, seed: int) -> Policy:
    """A Qwen2-VL or Qwen2.5-VL with the tiny tokenizer's vocabulary."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = {**TEXT, "rope_parameters": rope, "bos_token_id": words.pad_token_id, "tie_word_embeddings": True}
    torch.manual_seed(seed)
    model = _model(model_type, words, text, VISION[model_type], **_special(words))
    return Policy(model, words, {**processor_settings(), "temporal_patch_size": 2})


def _tiled(model_type: str, words: Any, seed: int) -> Policy:
    """A SmolVLM or Idefics3: tiles of 64 pixels, 16 tokens, with the tokens and template of its family."""
    marks = sorted({t for marks in TILE_MARKS for t in marks})
    words.add_special_tokens({"additional_special_tokens": [*marks, "<image>", "<row_1_col_1>", "<row_1_col_2>"]})
    words.chat_template = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    more = {"scale_factor": 2, "image_token_id": words.convert_tokens_to_ids("<image>")}
    torch.manual_seed(seed)
    model = _model(model_type, words, {"model_type": "llama", **TEXT}, VISION["tiles"], **more)
    processor = {
        "image_processor_type": "SmolVLMImageProcessor",
        "do_image_splitting": False,
        "max_image_size": {"longest_edge": TILE},
        "r3lab": {"coordinate_step": COORDINATE_STEP, "prompt": "bare"},
    }
    return Policy(model, words, processor)
