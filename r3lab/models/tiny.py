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

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from .checkpoint import quiet
from .families import family_of
from .plain import OURS
from .policy import Policy

_NAMES = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
SPECIAL = tuple(f"<|{name}|>" for name in _NAMES)
PROTOCOL = ("<think>", "</think>", "<answer>", "</answer>", '{"bbox_2d": [', "]}")
COORDINATE_STEP = 10  # of the frame's 1000
PATCH, MERGE = 8, 2
TILE = 64  # pixels a side of the families that see tiles; 16 tokens
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


def _layers(width: int, inner: int, depth: int, **more: Any) -> dict[str, Any]:
    """Sizes of a text model, or of a tower for tiles, by the names of transformers."""
    more = {"initializer_range": 0.08, **more}  # the default, 0.02, stalls at the tiny policy's width
    return dict(hidden_size=width, intermediate_size=inner, num_hidden_layers=depth, num_attention_heads=4, **more)


def _tower(width: int, depth: int, frames: int, **more: Any) -> dict[str, Any]:
    """Sizes of a Qwen's vision tower; `frames` make a patch."""
    more |= {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": frames}
    return {"hidden_size": width, "depth": depth, "num_heads": 4, **more}


def _rope(*sections: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections)}
    return {"rope_parameters": rope, "tie_word_embeddings": True}


_SMALL = _layers(64, 128, 2, num_key_value_heads=2)
_TOWER = _layers(48, 96, 2, image_size=TILE, patch_size=PATCH)
_TILED = ({"model_type": "llama", **_SMALL}, _TOWER)
_WINDOWS = {"intermediate_size": 128, "out_hidden_size": 64, "window_size": 32, "fullatt_block_indexes": [1]}
_TINY = {"intermediate_size": 288, "out_hidden_size": 128, "num_position_embeddings": 256, "initializer_range": 0.08}
Sizes = dict[str, Any]
SIZES: dict[str, tuple[Sizes, Sizes]] = {  # of text model and vision tower; Qwen3-VL's is the tiny policy
    "qwen2_vl": ({**_SMALL, **_rope(2, 3, 3)}, _tower(64, 2, 2, embed_dim=64, mlp_ratio=2)),
    "qwen2_5_vl": ({**_SMALL, **_rope(2, 3, 3)}, _tower(64, 2, 2, **_WINDOWS)),
    "qwen3_vl": (
        _layers(128, 384, 4, num_key_value_heads=4, head_dim=32, max_position_embeddings=2048, **_rope(6, 5, 5)),
        _tower(96, 4, 1, deepstack_visual_indexes=[1], **_TINY),
    ),
    "smolvlm": _TILED,
    "idefics3": _TILED,
    "internvl": ({"model_type": "qwen3", **_layers(96, 192, 2, num_key_value_heads=2, head_dim=24)}, _TOWER),
}
_SIDES = {"size": {"height": TILE, "width": TILE}}
_IDEFICS = (
    {"scale_factor": MERGE},
    {"image_processor_type": "SmolVLMImageProcessor", "do_image_splitting": False}
    | {"max_image_size": {"longest_edge": TILE}},
    ["<row_1_col_1>", "<row_1_col_2>"],
)
TILED: dict[str, tuple[Sizes, Sizes, list[str]]] = {  # what else its config, processor and words have
    "smolvlm": _IDEFICS,
    "idefics3": _IDEFICS,
    "internvl": (
        {"downsample_ratio": 1 / MERGE, "image_seq_length": (TILE // PATCH // MERGE) ** 2},
        {"image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": False, **_SIDES}
        | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},  # ImageNet's, as of InternVL3.5
        ["<video>"],
    ),
}


def _model(model_type: str, words: PreTrainedTokenizerFast) -> Any:
    """A random model of a family for a vocabulary, float32."""
    text, vision = SIZES[model_type]
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    more: dict[str, Any] = {"tie_word_embeddings": True}
    family = family_of(model_type)
    if family.tiles:
        more = {**TILED[model_type][0], "image_token_id": words.convert_tokens_to_ids(family.tiles.image)}
    else:
        marks = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
        more |= {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{mark}|>") for name, mark in marks.items()}
        ids |= {} if family.deepstack else {"bos_token_id": words.pad_token_id}
    config = AutoConfig.for_model(model_type, text_config={**ids, **text}, vision_config=vision, **more)
    model = AutoModelForImageTextToText.from_config(config).float().eval()
    model.generation_config.pad_token_id = words.pad_token_id
    model.generation_config.eos_token_id = words.eos_token_id
    return model


def _processor(frames: int = 1, crop_tokens: tuple[int, int] = CROP_TOKENS) -> dict[str, Any]:
    """What a Qwen's preprocessor_config.json holds: the ordinary image processor, and r3lab's own section."""
    least, most = (tokens * (PATCH * MERGE) ** 2 for tokens in OVERVIEW_TOKENS)
    own = {"crop_tokens": list(crop_tokens), "coordinate_step": COORDINATE_STEP, "prompt": "bare"}
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": frames,
        "size": {"shortest_edge": least, "longest_edge": most},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "r3lab": own,
    }


def create(corpus: Iterable[str], seed: int) -> Policy:
    """A tiny policy with random weights, float32; `policy.save_policy` saves it."""
    words = tokenizer(corpus)
    torch.manual_seed(seed)
    return Policy(_model("qwen3_vl", words), words, _processor(), name="tiny")


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
    model = _model("qwen3_vl", words)
    weights = dict(policy.model.state_dict())
    rows, known = policy.model.get_input_embeddings().weight, policy.tokenizer.get_vocab()
    table = torch.empty(len(words), rows.shape[1])
    for token, number in words.get_vocab().items():
        table[number] = rows[known[token]] if token in known else rows[policy.ids(words.decode([number]))].mean(0)
    for name in [n for n, w in weights.items() if w.shape == rows.shape]:
        weights[name] = table
    model.load_state_dict(weights)
    model.generation_config = policy.model.generation_config
    return Policy(model, words, _processor(crop_tokens=crop_tokens), name=policy.name)


@torch.no_grad()
def deepened(policy: Policy, layers: int) -> Policy:
    """The policy with further layers of text behind its own, that begin as copies of the last and change nothing: what
    they would add is set to zero (as in net2net, arXiv 1511.05641), and learns on."""
    config = deepcopy(policy.model.config)
    text = config.text_config
    first, text.num_hidden_layers = text.num_hidden_layers, text.num_hidden_layers + layers
    if getattr(text, "layer_types", None):
        text.layer_types = [*text.layer_types, *text.layer_types[-1:] * layers]
    model = type(policy.model)(config)
    weights, last = dict(policy.model.state_dict()), f".layers.{first - 1}."
    for name in [n for n in weights if "language_model" in n and last in n]:
        ends = name.endswith(("o_proj.weight", "down_proj.weight"))
        for number in range(first, first + layers):
            new = name.replace(last, f".layers.{number}.")
            weights[new] = torch.zeros_like(weights[name]) if ends else weights[name].clone()
    model.load_state_dict(weights)
    model.generation_config = policy.model.generation_config
    return Policy(model.eval(), policy.tokenizer, policy.processor, name=policy.name)


@dataclass(frozen=True)
class PlainSizes:
    """What a tiny checkpoint of the plain path is made of.

    Attributes
    ----------
    marks : special tokens, by the name that the family's processor looks for
    place : what the chat template writes for an image
    text, vision, more : of config.json; `marks` in `more` stand for their ids
    image : of preprocessor_config.json
    reader : of processor_config.json
    """

    marks: dict[str, str]
    place: str
    text: Sizes
    vision: Sizes
    more: Sizes
    image: Sizes
    reader: Sizes


_HEADED = {**_SMALL, "head_dim": 16}
_WINDOWED = {**_HEADED, "sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]}
_EYE = _layers(48, 96, 2)
_GEMMA = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
_QWEN = {"image_token": SPECIAL[5], "video_token": SPECIAL[6]} | {
    "vision_bos_token": SPECIAL[3],
    "vision_eos_token": SPECIAL[4],
}
_LINEAR = {f"linear_{name}_head_dim": 16 for name in ("key", "value")}
_LFM = {"image_token": "<image>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
_LFM |= {"image_thumbnail_token": "<|img_thumbnail|>"}
PLAIN_SIZES: dict[str, PlainSizes] = {
    "gemma3": PlainSizes(
        _GEMMA,
        "<start_of_image>",
        _WINDOWED,
        {
            "model_type": "siglip_vision_model",
            **_EYE,
            "image_size": TILE,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
        {
            "mm_tokens_per_image": 16,
            **{f"{n}_token_index": f"{n}_token" for n in ("image", "boi", "eoi")},
        },
        {"image_processor_type": "Gemma3ImageProcessor", **_SIDES},
        {"processor_class": "Gemma3Processor", "image_seq_length": 16},
    ),
    "gemma4": PlainSizes(
        {**_GEMMA, "video_token": "<|video|>", "boa_token": "<boa>", "eoa_token": "<eoa>", "audio_token": "<audio>"},
        "<image_soft_token>",
        {**_WINDOWED, "global_head_dim": 16, "hidden_size_per_layer_input": 8, "use_bidirectional_attention": "vision"},
        {**_EYE, "num_key_value_heads": 4, "head_dim": 12, "patch_size": PATCH, "position_embedding_size": 64}
        | {"pooling_kernel_size": 2},
        {"audio_config": None, **{f"{n}_token_id": f"{n}_token" for n in ("image", "boi", "eoi", "video", "audio")}},
        {"image_processor_type": "Gemma4ImageProcessor", "patch_size": PATCH, "pooling_kernel_size": 2},
        {"processor_class": "Gemma4Processor", "image_seq_length": 16},
    ),
    "lfm2_vl": PlainSizes(
        _LFM,
        "<image>",
        {"model_type": "lfm2", **_SMALL, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
        {
            "model_type": "siglip2_vision_model",
            **_EYE,
            "patch_size": PATCH,
            "num_patches": 64,
            "vision_use_head": False,
        },
        {"image_token_id": "image_token", "projector_hidden_size": 64},
        {"image_processor_type": "Lfm2VlImageProcessor", "encoder_patch_size": PATCH, "tile_size": TILE}
        | {"min_image_tokens": 4, "max_image_tokens": 16, "max_num_patches": 64, "do_image_splitting": False},
        {"processor_class": "Lfm2VlProcessor"},
    ),
    "qwen3_5": PlainSizes(
        _QWEN,
        "".join(SPECIAL[i] for i in (3, 5, 4)),
        {**_HEADED, "num_hidden_layers": 4, **_LINEAR, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
        | {"rope_parameters": {**_rope(1, 1, 0)["rope_parameters"], "partial_rotary_factor": 0.25}},
        _tower(48, 2, 2, intermediate_size=96, out_hidden_size=64, num_position_embeddings=64),
        {"image_token_id": "image_token", "video_token_id": "video_token"}
        | {"vision_start_token_id": "vision_bos_token", "vision_end_token_id": "vision_eos_token"},
        {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": PATCH, "merge_size": MERGE}
        | {"temporal_patch_size": 2, "size": {"shortest_edge": 4096, "longest_edge": 16384}},
        {"processor_class": "Qwen3VLProcessor"},
    ),
}


def _plain(model_type: str, corpus: Iterable[str], seed: int, folder: Path) -> Policy:
    """A tiny random policy of the plain path, by way of a folder: its processor is read from files alone."""
    sizes, words = PLAIN_SIZES[model_type], tokenizer(corpus)
    words.add_special_tokens({"additional_special_tokens": sorted({*sizes.marks.values()} - {*SPECIAL})})
    words.chat_template = CHAT_TEMPLATE.replace("".join(SPECIAL[i] for i in (3, 5, 4)), sizes.place)
    ids = {name: words.convert_tokens_to_ids(mark) for name, mark in sizes.marks.items()}
    text = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    text |= {"bos_token_id": None, **sizes.text}
    if "hidden_size_per_layer_input" in text:
        text["vocab_size_per_layer_input"] = len(words)
    more = {name: ids.get(value, value) if isinstance(value, str) else value for name, value in sizes.more.items()}
    torch.manual_seed(seed)
    parts = {"text_config": text, "vision_config": sizes.vision, "tie_word_embeddings": True}
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(model_type, **parts, **more)).float().eval()
    with quiet(0):
        model.save_pretrained(folder)
    words.save_pretrained(folder)
    table = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**table, **sizes.marks}))
    for name, data in zip(OURS, (sizes.image, sizes.reader), strict=True):
        (folder / name).write_text(json.dumps(data))
    policy = Policy.load(folder, device="cpu")
    policy.name, policy.folder = f"random-{model_type}", None
    return policy


def miniature(model_type: str, corpus: Iterable[str], seed: int = 0, plain: bool = True) -> Policy:
    """A tiny random policy of a family, float32.

    Parameters
    ----------
    model_type
        As in `families.FAMILIES` or `PLAIN_SIZES`.
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
    if model_type in PLAIN_SIZES:
        with TemporaryDirectory() as folder:
            return _plain(model_type, corpus, seed, Path(folder))
    family, words = family_of(model_type), tokenizer(corpus)
    processor = _processor(frames=1 if family.deepstack else 2)
    if family.tiles:  # with the tokens and the template of its family
        marks, (_, kind, others) = family.tiles, TILED[model_type]
        own = [*sorted({*marks.before, *marks.after}), marks.image, *others]
        words.add_special_tokens({"additional_special_tokens": own})
        words.chat_template = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", marks.image)
        processor = {**kind, "r3lab": processor["r3lab"]}
    if plain:
        del processor["r3lab"]
    torch.manual_seed(seed)
    return Policy(_model(model_type, words), words, processor, name=f"random-{model_type}")
