"""A policy of another family that looks, to see whether what holds of the shipped one holds of it: an InternVL.

    python tests/bench/other_family.py runs/internvl               # half an hour of one core
    python tests/bench/fidelity.py --fit 400 --model runs/internvl
    python tests/bench/fidelity.py --model runs/internvl --as "an InternVL" --n 60

Its text model is a Qwen3 that begins with the shipped policy's weights (but for M-RoPE and DeepStack, which it lacks);
its tower, a plain ViT on tiles of 128 pixels, first learns to see as the shipped one does (the mean squared error of
their image tokens, DeepStack features added), then all of it learns from exact lessons of badges. What is measured of
it says nothing of how well an InternVL learns by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForImageTextToText

from r3lab.core.files import assets_dir
from r3lab.core.images import cut, resize
from r3lab.models.families import family_of
from r3lab.models.policy import Policy, save_policy
from r3lab.models.tiny import TILED
from r3lab.recipes.planted import lessons, signs
from r3lab.recipes.reasons import ON_TARGET, RIGHT, Plant, every, exact
from r3lab.train.devices import adamw
from r3lab.train.sft import descend, encode_batch, next_token_loss, schedule
from r3lab.vlir.rationale import jitter
from r3lab.vlir.worlds import get_world

SIDE, BATCH = 128, 16  # pixels of a tile; images, and samples, of a step
FIRST = 700_000  # number of the first training sample whose pictures are seen
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as of InternVL3.5
BLOCK = {  # of a block of the towers, the shipped one's names and the ViT's
    "attn.proj": "attention.projection_layer",
    "mlp.linear_fc1": "mlp.fc1",
    "mlp.linear_fc2": "mlp.fc2",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
}


def begun(teacher: Policy) -> Policy:
    """An InternVL with the weights of the shipped policy where it has the like."""
    words, marks, (_, kind, others) = deepcopy(teacher.tokenizer), family_of("internvl").tiles, TILED["internvl"]
    assert marks is not None
    words.add_tokens([*sorted({*marks.before, *marks.after}), marks.image, *others], special_tokens=True)
    words.chat_template = teacher.tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", "%s")
    words.chat_template = words.chat_template.replace("%s", marks.image)
    old = teacher.model.config
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    text = {name: getattr(old.text_config, name) for name in (*sizes, "head_dim", "rms_norm_eps", "eos_token_id")}
    text |= {"model_type": "qwen3", "vocab_size": len(words), "pad_token_id": words.pad_token_id}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "tie_word_embeddings": True}
    seen = old.vision_config
    vision = {"hidden_size": seen.hidden_size, "intermediate_size": seen.intermediate_size, "image_size": SIDE}
    vision |= {"num_hidden_layers": seen.depth, "num_attention_heads": seen.num_heads, "patch_size": seen.patch_size}
    vision |= {"hidden_act": seen.hidden_act, "attention_bias": True, "layer_scale_init_value": 1.0}
    config = AutoConfig.for_model(
        "internvl",
        text_config=text,
        vision_config=vision,
        downsample_ratio=1 / seen.spatial_merge_size,
        image_seq_length=(SIDE // seen.patch_size // seen.spatial_merge_size) ** 2,
        image_token_id=words.convert_tokens_to_ids(marks.image),
        tie_word_embeddings=True,
    )
    model = AutoModelForImageTextToText.from_config(config).float().eval()
    for end in ("pad_token_id", "eos_token_id"):
        setattr(model.generation_config, end, getattr(words, end))
    model.load_state_dict(carried(teacher.model.state_dict(), model.state_dict()))
    table = model.get_input_embeddings().weight.data
    for new, known in (("<img>", "<|vision_start|>"), (marks.image, "<|image_pad|>"), ("</img>", "<|vision_end|>")):
        table[words.convert_tokens_to_ids(new)] = table[words.convert_tokens_to_ids(known)]
    processor = {**kind, "size": {"height": SIDE, "width": SIDE}, "image_mean": list(MEAN), "image_std": list(STD)}
    return Policy(model, words, {**processor, "r3lab": teacher.processor["r3lab"]}, name="internvl")


def carried(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the InternVL, those of the shipped policy where it has the like, the others as they are."""
    for name, value in old.items():
        if name in new and "language_model" in name:
            new[name][: len(value)] = value  # tables of words have more rows now
    for n in range(sum(name.endswith("attn.qkv.weight") for name in old)):
        start, end = f"model.visual.blocks.{n}.", f"model.vision_tower.encoder.layer.{n}."
        for kind in ("weight", "bias"):
            for name, value in zip("qkv", old[f"{start}attn.qkv.{kind}"].chunk(3), strict=True):
                new[f"{end}attention.{name}_proj.{kind}"] = value
            for name, other in BLOCK.items():
                new[f"{end}{other}.{kind}"] = old[f"{start}{name}.{kind}"]
    patches = "model.vision_tower.embeddings.patch_embeddings.projection."
    mean, scale = (torch.tensor(MEAN) - 0.5) / 0.5, torch.tensor(STD) / 0.5  # the shipped tower's pixels are -1 to 1
    weight = old["model.visual.patch_embed.proj.weight"][:, :, 0]
    new[f"{patches}weight"] = weight * scale[None, :, None, None]
    new[f"{patches}bias"] = old["model.visual.patch_embed.proj.bias"] + weight.sum((2, 3)) @ mean
    new["model.vision_tower.embeddings.position_embeddings"][0, 1:] = old["model.visual.pos_embed.weight"]
    return new


def pictures() -> Iterator[list[Image.Image]]:
    """Batches of tiles of training samples: overviews, and crops, most of them of what is asked about."""
    world, rng, numbers = get_world("badges"), np.random.default_rng(1), count(FIRST)
    while True:
        found: list[Image.Image] = []
        for sample in (world.sample("train", next(numbers)) for _ in range(BATCH // 2)):
            image, (x, y), side = sample.image, rng.uniform(0, 400, 2), rng.uniform(40, 110)
            box = jitter(sample.regions[0], image.size, 0.15, rng) if rng.random() < 0.8 else (x, y, x + side, y + side)
            found += [resize(image, (SIDE, SIDE)), cut(image, box, (SIDE, SIDE))]
        yield found


def distil(teacher: Policy, policy: Policy, steps: int) -> None:
    """Teach the tower to see as the teacher's does."""
    rate, stream, losses = 1.5e-3, pictures(), list[float]()
    optimiser = adamw([p for module in policy.vision for p in module.parameters()], rate, 0.98)
    for done in (bar := tqdm(range(steps), desc="distil", mininterval=1)):
        shown = next(stream)
        with torch.no_grad():
            wanted = torch.stack([sum(f.deep, f.tokens) for f in teacher.encode(shown)])
        loss = F.mse_loss(torch.stack([f.tokens for f in policy.encode(shown)]), wanted) / wanted.var()
        descend(loss, optimiser, rate * schedule(done, steps, 0.05, warm=20))
        losses.append(float(loss.detach()))
        bar.set_postfix_str(f"{fmean(losses[-20:]):.3f} of the variance is left")


def teach(policy: Policy, steps: int, seed: int = 0) -> dict[str, float]:
    """Teach all of it from exact lessons; what is seen of it then, on validation samples."""
    plain = Plant("exact", every, lambda sample, rng: exact(sample), (RIGHT, ON_TARGET))
    rate, batches, losses = 1e-3, lessons(plain, seed, BATCH), list[float]()
    optimiser = adamw(policy.trained(False), rate, 0.98)
    for done in (bar := tqdm(range(steps), desc="teach", mininterval=1)):
        each, _ = next_token_loss(policy, *encode_batch(policy, next(batches)))
        descend(each.mean(), optimiser, rate * schedule(done, steps, 0.05, warm=20))
        losses.append(float(each.detach().mean()))
        bar.set_postfix_str(f"loss {fmean(losses[-20:]):.3f}")
    return signs(policy, plain, 200)


def main() -> int:
    """Make the policy."""
    parser = argparse.ArgumentParser(description="Make an InternVL that looks, of the shipped policy of badges.")
    parser.add_argument("out", type=Path, help="folder of the policy")
    parser.add_argument("--distil", type=int, default=700, help="steps of the tower (default: 700)")
    parser.add_argument("--steps", type=int, default=1200, help="steps of lessons (default: 1200)")
    given = parser.parse_args()
    torch.manual_seed(0)
    teacher = Policy.load(assets_dir() / "tiny" / "rgrpo")
    policy = begun(teacher)
    policy.model.train()
    distil(teacher, policy, given.distil)
    seen = teach(policy, given.steps)
    print(", ".join(f"{name} {share:.1%}" for name, share in seen.items()))
    print(save_policy(policy, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
