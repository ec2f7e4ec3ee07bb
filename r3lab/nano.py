"""The whole of VLM-R3 (arXiv 2505.16192) in one file: a model that looks again while it reasons, and learns where.

A policy reads a question and a small overview of an image. When it writes a box, {"bbox_2d": [x1, y1, x2, y2]}, the
loop cuts that region out of the source image, enlarges it and appends it as image tokens; it reads on and answers.
R-GRPO rewards several rollouts of each question and makes the tokens of the better ones likelier. The engine in the
rest of r3lab is tested against this file.

Simplified against the paper: the reward knows true regions, so that it says where to look and when not to (the paper
pays for any box); no model as judge; no KL term (its weight is 0 there too). Against the engine: Qwen3-VL alone,
asked the bare question, float32 on the CPU; no cache of keys and values, one group after the other; nothing is saved:

    r3lab vlir build --world badges --count 400 --out badges
    python -m r3lab.nano --data badges --steps 20
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

MAX_LOOKS, MAX_NEW_TOKENS = 8, 96  # of a rollout
CLIP_LOW, CLIP_HIGH, LEARNING_RATE = 0.2, 0.28, 1.5e-4  # paper: 0.2, 0.28, and 1e-6 for 7 billion weights
Box = tuple[float, ...]  # x1, y1, x2, y2, half-open
Seen = namedtuple("Seen", "tokens deep grid")  # of an image: (n, C), [(n, C)] for the first layers (DeepStack), (1, 3)


class Policy:
    """A Qwen3-VL checkpoint in a Hugging Face folder, its vision tower frozen (as published)."""

    def __init__(self, folder: str | Path) -> None:
        safe: Any = {"trust_remote_code": False, "use_safetensors": True}  # no code, no pickled weights
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, **safe)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **safe)
        c, p = self.model.config, json.loads((Path(folder) / "preprocessor_config.json").read_text())
        if c.model_type != "qwen3_vl":
            raise SystemExit(f"{folder} holds a {c.model_type}; this file runs Qwen3-VL checkpoints alone")
        self.model.eval().model.visual.requires_grad_(False)
        self.start, self.end, self.image_id = c.vision_start_token_id, c.vision_end_token_id, c.image_token_id
        self.never = [self.start, self.end, self.image_id, c.video_token_id]  # ids that are never sampled
        self.patch, self.merge, self.temporal = p["patch_size"], p["merge_size"], p["temporal_patch_size"]
        self.side = self.patch * self.merge  # of an image token in pixels: it holds merge x merge patches
        self.mean, self.std = torch.tensor(p["image_mean"]), torch.tensor(p["image_std"])  # (3,)
        self.overview_tokens = [max(1, p["size"][k] // self.side**2) for k in ("shortest_edge", "longest_edge")]
        self.crop_tokens = p.get("r3lab", {}).get("crop_tokens", [4, 1024])  # least, most


def read_samples(folder: str | Path) -> list[dict[str, Any]]:
    """Read the records of a VLIR folder; their images, `images/<hash>.png`, are opened when they are asked about."""
    path = Path(folder) / "vlir.jsonl"
    if not path.is_file():
        raise SystemExit(f"no samples there; make some: r3lab vlir build --world badges --count 400 --out {folder}")
    samples = map(json.loads, path.read_text(encoding="utf-8").strip().split("\n"))
    return [{**s, "path": path.parent / "images" / Path(f"{s['image']}.png").name} for s in samples]


def smart_resize(width: int, height: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Qwen's rule: both sides multiples of `side`, together `least` to `most` tokens of side x side pixels."""
    w, h = round(width / side) * side, round(height / side) * side
    if w * h > most * side**2:
        beta = math.sqrt(width * height / (most * side**2))
        w, h = (max(side, math.floor(x / beta / side) * side) for x in (width, height))
    elif w * h < least * side**2:
        beta = math.sqrt(least * side**2 / (width * height))
        w, h = (math.ceil(x * beta / side) * side for x in (width, height))
    return w, h


@torch.no_grad()
def encode(policy: Policy, image: Image.Image) -> Seen:
    """Cut an image into patches, in blocks of merge x merge, and run the vision tower over them."""
    p, m, w, h = policy.patch, policy.merge, image.width // policy.patch, image.height // policy.patch
    x = (torch.from_numpy(np.array(image)) / 255 - policy.mean) / policy.std  # (H, W, 3)
    x = x.view(h // m, m, p, w // m, m, p, 3).permute(0, 3, 1, 4, 6, 2, 5)  # (h/m, w/m, m, m, 3, p, p)
    x = x.unsqueeze(5).expand(-1, -1, -1, -1, -1, policy.temporal, -1, -1)  # a film of equal frames
    grid = torch.tensor([[1, h, w]])
    out = policy.model.model.get_image_features(x.reshape(h * w, -1), grid, return_dict=True)
    return Seen(out.pooler_output[0], [level[0] for level in out.deepstack_features], grid)


@dataclass
class Rollout:
    """One answer in the making: what is trained is what was sampled, id for id."""

    ids: list[int]
    logprobs: list[float | None]  # of each id when it was sampled; None: given by the loop, carries no loss
    images: list[Seen]  # the overview, then the crops
    looks: list = field(default_factory=list)  # box (source pixels) and crop of each look; or why it has none: a str
    text: str = ""  # all that the policy wrote
    read: int = 0  # characters of it that were acted on
    answer: str | None = None
    finish: str = ""  # answered, malformed, length, looks; empty while it goes on

    def append(self, ids: list[int], logprob: float | None = None) -> None:
        self.ids += ids
        self.logprobs += [logprob] * len(ids)


def prompt(policy: Policy, question: str, overview: Seen) -> Rollout:
    """A rollout that holds the overview and the question, in the checkpoint's own chat template."""
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.strip()}]}]
    text = policy.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    counts = {policy.image_id: len(overview.tokens)}  # the template writes one image token, the model reads n
    ids = [i for i in policy.tokenizer(text, add_special_tokens=False)["input_ids"] for _ in range(counts.get(i, 1))]
    return Rollout(ids, [None] * len(ids), [overview])


def hidden_states(policy: Policy, rollouts: list[Rollout]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read whole rollouts: ids (B, T), padded on the right, and states (B, T, C); token t + 1 is drawn from state t."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r.ids) for r in rollouts], batch_first=True)  # (B, T)
    images = [image for r in rollouts for image in r.images]
    seen = BaseModelOutputWithDeepstackFeatures(pooler_output=[image.tokens for image in images])
    seen.deepstack_features = list(zip(*(image.deep for image in images), strict=True))
    given = {"mm_encoder_outputs": {"image": seen}, "image_grid_thw": torch.cat([image.grid for image in images])}
    kinds = (ids == policy.image_id).int()  # from these and the grids come positions in time, row and column (M-RoPE)
    return ids, policy.model.model(ids, mm_token_type_ids=kinds, use_cache=False, **given).last_hidden_state


def log_probabilities(policy: Policy, states: torch.Tensor) -> torch.Tensor:
    """(..., C) -> (..., V). Vision ids are masked here for sampling and for training: one alone would be a bias."""
    logits = policy.model.lm_head(states)
    logits[..., policy.never] = float("-inf")
    return logits.log_softmax(-1)


def roll_out(policy: Policy, sample: dict[str, Any], group: int) -> list[Rollout]:
    """Answer a question `group` times, at temperature 1; those that go on read and write together."""
    source = Image.open(sample["path"], formats=["PNG"]).convert("RGB")
    size = smart_resize(*source.size, policy.side, *policy.overview_tokens)
    overview = encode(policy, source.resize(size, Image.Resampling.BICUBIC))
    rollouts = [prompt(policy, sample["question"], overview) for _ in range(group)]
    while live := [r for r in rollouts if not r.finish]:
        with torch.no_grad():
            states = hidden_states(policy, live)[1]  # (B, T, C)
            last = states[torch.arange(len(live)), torch.tensor([len(r.ids) - 1 for r in live])]  # (B, C)
            logp = log_probabilities(policy, last)  # (B, V)
        tokens = torch.multinomial(logp.exp(), 1)[:, 0]  # (B,)
        for r, token, row in zip(live, tokens.tolist(), logp, strict=True):
            r.append([token], float(row[token]))
            act(policy, r, source)
    return rollouts


def act(policy: Policy, r: Rollout, source: Image.Image) -> None:
    """After a sampled token: an answer ends the rollout; a box brings its crop, or a message that says why not."""
    written = [token for token, logprob in zip(r.ids, r.logprobs, strict=True) if logprob is not None]
    r.text = policy.tokenizer.decode(written)
    before, _, after = r.text[r.read :].partition("<answer>")
    answer, closed, _ = after.partition("</answer>")
    objects = re.finditer(r"\{[^{}]{0,254}\}|\{[^{}]{255}", before)  # 256 characters at most
    boxes = [(box, found.end()) for found in objects if (box := read_box(found[0])) is not None]
    if closed:
        r.answer, r.finish = answer.strip() or None, "answered" if answer.strip() else "malformed"
    elif written[-1] == policy.tokenizer.eos_token_id:
        r.finish = "malformed"
    elif len(written) >= MAX_NEW_TOKENS:
        r.finish = "length"
    elif boxes:
        r.read += boxes[0][1]
        r.append(look(policy, r, boxes[0][0], source))


def read_box(text: str) -> Box | str | None:
    """Four finite numbers, in thousandths of the image's sides; or why they are not; None if that is no box at all."""
    try:
        found = [value for key, value in json.loads(text, object_pairs_hook=list) if key == "bbox_2d"]
    except (ValueError, RecursionError):
        reason = "not valid JSON" if text.endswith("}") else "longer than 256 characters"
        return reason if "bbox_2d" in text else None
    if len(found) != 1:
        return "bbox_2d is given twice" if found else None
    if not isinstance(found[0], list) or len(found[0]) != 4:
        return "bbox_2d must be a list of four numbers"
    if any(type(value) not in (int, float) for value in found[0]):
        return "bbox_2d must hold numbers only"
    return tuple(map(float, found[0])) if all(abs(v) < 1e300 for v in found[0]) else "a number is not finite"


def to_source(box: Box, w: int, h: int) -> Box | str:
    """The part of a box that lies in the image, in source pixels; or why it cannot be looked at."""
    x1, y1, x2, y2 = (value * side / 1000 for value, side in zip(box, (w, h, w, h), strict=True))
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, w), min(y2, h))
    sides = (inside[2] - inside[0], inside[3] - inside[1])
    checks = {
        "x2 <= x1": x2 <= x1,
        "y2 <= y1": y2 <= y1,
        "smaller than 1 pixel": min(x2 - x1, y2 - y1) < 1 - 1e-9 and min(sides) > 0,
        "outside the image": min(sides) < 1 - 1e-9,
        "reaches outside the image": max(-x1 / w, -y1 / h, x2 / w - 1, y2 / h - 1) > 0.01 + 1e-9,  # less is rounding
        "a side is over 200 times the other": max(sides) > 200 * min(sides),
    }
    return next((reason for reason, bad in checks.items() if bad), inside)


def look(policy: Policy, r: Rollout, box: Box | str, source: Image.Image) -> list[int]:
    """Cut a box from the source image, twice as large if it is small; returns the ids of the crop, or of a refusal."""
    found: Any = box if isinstance(box, str) else to_source(box, *source.size)
    if not isinstance(found, str) and len(r.looks) >= MAX_LOOKS:
        r.finish, found = "looks" if "no look left" in r.looks else "", "no look left"  # told once, then ended
    if isinstance(found, str):
        r.looks.append(found)
        return [] if r.finish else policy.tokenizer(f"[invalid box: {found}]", add_special_tokens=False)["input_ids"]
    w, h = found[2] - found[0], found[3] - found[1]
    zoom = 2 - min(1.0, max(0.0, (w * h / (source.width * source.height) - 0.125) / (0.5 - 0.125)))  # 2 to 1 (paper)
    w, h = round(w * zoom), round(h * zoom)
    thin = math.ceil(max(w, h) / 200)
    size = smart_resize(max(w, thin), max(h, thin), policy.side, *policy.crop_tokens)
    crop = source.resize(size, Image.Resampling.BICUBIC, box=found)
    seen = encode(policy, crop)
    r.looks.append((found, crop))
    r.images.append(seen)
    return [policy.start, *[policy.image_id] * len(seen.tokens), policy.end]


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def reward(r: Rollout, sample: dict[str, Any]) -> dict[str, float]:
    """The parts of a reward: the answer, its form, where the last look went, and a price for looks nothing needs."""
    answer, truth = (" ".join(str(text).casefold().split()) for text in (r.answer, sample["answer"]))
    boxes, regions = [seen[0] for seen in r.looks if not isinstance(seen, str)], sample["regions"]
    free = max(1, len(regions)) if sample["needs_look"] else 0
    return {
        "accuracy": float(r.answer is not None and answer == truth),
        "format": 0.5 * bool(re.fullmatch("(?s).*?<answer>.*</answer>", r.text)),
        "region": 0.5 * iou(boxes[-1], regions[-1]) if sample["needs_look"] and boxes and regions else 0.0,
        "look cost": -0.2 * max(0, len(r.looks) - free),
    }


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """How much better each rollout is than the others of its group: (N, G) -> (N, G)."""
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)


def clipped_loss(policy: Policy, group: list[Rollout], advantage: torch.Tensor) -> torch.Tensor:
    """The loss (B,) of each rollout: the clipped surrogate, mean over the tokens that the policy itself sampled."""
    ids, states = hidden_states(policy, group)  # (B, T), (B, T, C)
    b, t = torch.tensor([(b, t) for b, r in enumerate(group) for t, p in enumerate(r.logprobs) if p is not None]).T
    old = torch.tensor([p for r in group for p in r.logprobs if p is not None])  # (N,), of the sampled tokens alone
    new = log_probabilities(policy, states[b, t - 1])[torch.arange(len(t)), ids[b, t]]  # (N, V) -> (N,)
    ratio, a = (new - old).exp(), advantage[b]  # (N,)
    value = torch.minimum(ratio * a, ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH) * a)
    return -torch.zeros(len(group)).index_add(0, b, value) / torch.bincount(b)


def train(policy: Policy, samples: list[dict[str, Any]], steps: int, prompts: int, group: int, seed: int) -> None:
    """R-GRPO in place; prints a line a step."""
    torch.manual_seed(seed)
    begin = time.time()
    weights = [p for p in policy.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(1, steps + 1):
        asked = [samples[i] for i in torch.randint(len(samples), (prompts,))]
        groups = [roll_out(policy, sample, group) for sample in asked]
        parts = [[list(reward(r, s).values()) for r in rolled] for s, rolled in zip(asked, groups, strict=True)]
        rewards = torch.tensor(parts, dtype=torch.float64).sum(2)  # (N, G, parts) -> (N, G)
        for half in torch.arange(prompts).chunk(2):  # two updates: at the second the ratio is no longer 1
            optimiser.zero_grad()
            for n in half:
                (clipped_loss(policy, groups[n], advantages(rewards)[n].float()).mean() / len(half)).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
        right, looks = np.mean(parts, axis=(0, 1))[0], np.mean([len(r.looks) for rolled in groups for r in rolled])
        left, curve = (time.time() - begin) / step * (steps - step), "#" * int(20 * rewards.mean())
        line = f"step {step:2} of {steps}  reward {rewards.mean():.2f}  right {right:4.0%}  looks {looks:.2f}"
        print(f"{line}  {left:4.0f} s left  {curve}", flush=True)


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(prog="python -m r3lab.nano", description="VLM-R3 in one file, on a tiny policy.")
    tree = next(p for p in Path(__file__).parents if (p / "assets").is_dir())
    parser.add_argument("--data", default="badges", help="VLIR folder (default: badges)")
    parser.add_argument("--model", default=tree / "assets/tiny/cold-start", help="default: the shipped cold start")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=8, help="questions a step")
    parser.add_argument("--group", type=int, default=8, help="rollouts a question (paper: 5)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(Policy(args.model), read_samples(args.data), args.steps, args.prompts, args.group, args.seed)


if __name__ == "__main__":
    main()
