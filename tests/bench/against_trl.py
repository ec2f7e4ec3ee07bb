"""One R-GRPO step against one of TRL's `GRPOTrainer` with an environment that returns the crop.

    python -m pip install "trl>=1.16"              # only this comparison needs it
    python tests/bench/against_trl.py --turns 7    # prints a row of engine.json for each size of the prompt

A step is rollout and update: 4 prompts x 8 rollouts, one look each, all in one backward pass, AdamW on the text model.
Tokens are forced, on both sides: logits are computed over the whole vocabulary, a token is drawn, and the script's is
taken: words, a box near the true region, words, an answer (every second one wrong, so that groups have advantages).
Both write, read and train the same sequences, id for id; what a token costs does not depend on which it is. Rows are of
equal length: TRL need not wait for its longest. `check` holds the last two steps side by side.

TRL is given our AdamW, rewards and crops, overviews already resized, and a chat template of our format: the crop comes
behind the box in the same turn, without the tags of TRL's own for Qwen3-VL (more tokens to read), and the tool's schema
is not in the prompt. What surrounds a step (data, callbacks, logs) is left out of both.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import re
import tempfile
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from compare import interleaved
from engine import GROUP, PROMPTS, row
from forced import scripted, words
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from r3lab.core.arms import INTERLEAVED
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import clip, from_source, to_source, write_ints
from r3lab.core.images import cut, resize
from r3lab.core.protocol import answer_of, bare, box_text
from r3lab.models.policy import Features, Policy
from r3lab.train.devices import adamw
from r3lab.train.rewards import score
from r3lab.train.rgrpo import draw, reward_groups
from r3lab.train.settings import RgrpoSettings
from r3lab.train.update import update
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.rationale import jitter
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

SIZES = {"small": (16, 2.0), "large": (400, 6.0)}  # tokens of the overview, and the ratio that is wanted
SAMPLED = 60  # tokens that a rollout samples, half of them to the end of its box
SETTINGS = RgrpoSettings(prompts=PROMPTS, group=GROUP, minibatches=1)
TEMPLATE = (
    "{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role + '\n' }}{% endif %}"
    "{% for p in m.content %}{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{p.text}}{% endif %}{% endfor %}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    "{% if m.role != 'tool' %}<|im_end|>{% endif %}{% if m.role == 'user' %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role != 'tool' %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CALL = {"type": "function", "function": {"name": "look", "arguments": {"bbox_2d": "{content}"}}}
BOX = {"open_pattern": r'\{"bbox_2d": ', "close_pattern": r"\}", "repeats": True, "content": "json", "transform": CALL}
RESPONSE = {  # how transformers reads the box in a turn as a call of `Crops.look`
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"<\|im_start\|>assistant\n|<\|vision_end\|>",
    "fields": {"tool_calls": BOX, "content": {"content": "text"}},
}


def require_trl() -> None:
    """Raise an error that names the command if TRL or what it needs is missing, or it is too old."""
    try:
        found = [importlib.metadata.version(name) for name in ("datasets", "trl")][-1]
        if tuple(int(n) for n in re.findall(r"\d+", found)[:2]) >= (1, 16):
            return
    except importlib.metadata.PackageNotFoundError as error:
        found = f"no {error.name}"
    raise R3labError(f'this comparison needs TRL, found {found}; run: python -m pip install "trl>=1.16"')


def script_of(policy: Policy, samples: list[Sample], group: int, sampled: int) -> torch.Tensor:
    """What rollouts write, (samples * group, sampled) ids, groups one behind the other; the first half ends with the
    box."""
    rng, rows = np.random.default_rng(0), []
    known, boxed = words(policy), sampled // 2
    for sample, member in [(s, m) for s in samples for m in range(group)]:
        size, near = sample.image.size, jitter(sample.regions[-1], sample.image.size, 0.2, rng)
        framed = from_source(near, policy.family.frame, size, policy.overview_size(size))
        answer = sample.answer if member % 2 else str((int(sample.answer) + 1) % 10)
        think, box = policy.ids("<think>"), policy.ids(box_text(write_ints(framed, policy.step)))
        last = policy.ids(f"</think><answer>{answer}</answer>")
        before = rng.choice(known, boxed - len(think) - len(box)).tolist()
        rows.append([*think, *before, *box, *rng.choice(known, sampled - boxed - len(last)).tolist(), *last])
    script = torch.tensor(rows)
    ends = torch.isin(script, script[0, [boxed - 1, sampled - 1]])
    if policy.model.config.model_type != "qwen3_vl" or int(ends.sum()) != 2 * len(rows):
        raise R3labError("the comparison needs a Qwen3-VL whose tokenizer ends a box and an answer with a token each")
    return script


class Side:
    """The weights from which every step of a side starts, its optimiser and its settings."""

    def __init__(self, policy: Policy, settings: RgrpoSettings) -> None:
        self.weights = [(p, p.detach().clone()) for p in policy.text_parameters()]
        self.optimiser, self.settings = adamw([p for p, _ in self.weights], settings.learning_rate, 0.99), settings

    @torch.no_grad()
    def restore(self) -> None:
        """Back to the start."""
        for parameter, weight in self.weights:
            parameter.copy_(weight)
            parameter.grad = None
        self.optimiser.state.clear()

    def gradient(self) -> torch.Tensor:
        """What the last step followed, in one vector; empty if it left a weight matrix as it was."""
        if any(p.grad is None or (p.ndim > 1 and torch.equal(p, w)) for p, w in self.weights):
            return torch.zeros(0)
        return torch.cat([p.grad.flatten() for p, _ in self.weights]).double()


class Ours(Side):
    """A step as `train_rgrpo` takes it."""

    def __init__(self, policy: Policy, samples: list[Sample], script: torch.Tensor, settings: RgrpoSettings) -> None:
        super().__init__(policy, settings)
        self.policy, self.samples, self.script = policy, samples, script.tolist()
        self.trajectories: list[Trajectory] = []

    def step(self) -> None:
        """Roll out, compare, update."""
        self.restore()
        store, own = dict[str, Features](), self.settings
        with scripted(lambda record, number, member: self.script[number * own.group + member]):
            groups, _ = draw(self.policy, iter([self.samples]), own, 0, store)
        self.trajectories = [t for members in groups.values() for t in members]
        reward_groups(self.trajectories, own.group, own.reward, own.as_objective().advantage)
        update(self.policy, self.trajectories, store, self.optimiser, own)


class Crops:
    """TRL's environment of a rollout: its one tool returns the crop, made as our loop makes it."""

    def __init__(self, policy: Policy, samples: list[Sample]) -> None:
        self.policy, self.samples = policy, samples

    def reset(self, number: int, **row: Any) -> None:
        """Begin with the sample of that number."""
        self.sample, self.looks = self.samples[number], []

    def look(self, bbox_2d: list[int]) -> list[dict[str, Any]]:
        """Show a region of the image, enlarged.

        Args:
            bbox_2d: The region as x1, y1, x2, y2.
        """  # in the form that TRL reads
        image, policy = self.sample.image, self.policy
        box = to_source(tuple(bbox_2d), policy.family.frame, image.size, policy.overview_size(image.size))
        box = clip(box, image.size)
        self.looks.append(SimpleNamespace(valid=True, box=box))
        return [{"type": "image", "image": cut(image, box, policy.crop_size(box, image.size)[1])}]


class Stills(Qwen3VLProcessor):
    """The processor without its half for videos, which needs torchvision; it finds images in their final sizes."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, tokenizer, None, TEMPLATE)


class Theirs(Side):
    """A step of TRL's trainer: its `training_step` (generation with the environment, loss, backward), then AdamW; with
    `pass_groups` in the settings, backward passes of so many groups each."""

    def __init__(self, policy: Policy, samples: list[Sample], script: torch.Tensor, settings: RgrpoSettings) -> None:
        from trl import GRPOConfig, GRPOTrainer

        own = Policy(copy.deepcopy(policy.model), copy.deepcopy(policy.tokenizer), policy.processor)
        torch.nn.ModuleList(own.vision).requires_grad_(False)
        super().__init__(own, settings)
        self.boxed, sampled = script.shape[1] // 2, script.shape[1]
        self.script, self.generate, self.calls = script.to(policy.device), own.model.generate, 0
        own.model.generate = self.write
        own.model.generation_config.eos_token_id = script[0, [self.boxed - 1, sampled - 1]].tolist()
        own.tokenizer.response_template = RESPONSE
        (low, high), (least, most), unit = own.layout.overview_tokens, own.layout.crop_tokens, own.layout.factor**2
        size = {"shortest_edge": min(low, least) * unit, "longest_edge": max(high, most) * unit}
        self.processor = Stills(Qwen2VLImageProcessorPil.from_dict({**policy.processor, "size": size}), own.tokenizer)
        views = [resize(s.image, policy.overview_size(s.image.size)) for s in samples]
        asked = [[{"role": "user", "content": bare(s.question)}] for s in samples]
        numbers = [n for n in range(len(samples)) for _ in range(settings.group)]
        self.rows = [{"prompt": asked[n], "image": views[n], "number": n} for n in numbers]
        self.folder, goal = tempfile.TemporaryDirectory(), settings.as_objective()
        rows = settings.group * (settings.pass_groups or len(samples))
        self.passes = len(script) // rows
        sizes = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": self.passes, "max_steps": 1}
        sizes |= {"num_generations": settings.group, "use_cpu": policy.device.type == "cpu"}
        loss = {"loss_type": "grpo", "epsilon": goal.clip_low, "epsilon_high": goal.clip_high, "beta": goal.kl_weight}
        how = {"temperature": settings.temperature, "gradient_checkpointing": False, "report_to": "none", "bf16": False}
        config = GRPOConfig(self.folder.name, max_completion_length=sampled + most + 2, **sizes, **loss, **how)
        more = {"processing_class": self.processor, "environment_factory": lambda: Crops(policy, samples)}
        with mock.patch.dict("os.environ", {"CI": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}):  # in CI it reports no use
            self.trainer = GRPOTrainer(own.model, self.rewards, config, optimizers=(self.optimiser, None), **more)
        self.trainer.current_gradient_accumulation_steps = self.passes  # its loop would say so

    def write(self, input_ids: torch.Tensor, **more: Any) -> torch.Tensor:
        """The model's `generate`, forced: to the end of the box in the first call of a step, then to the answer's."""
        part = self.script[:, self.boxed :] if self.calls % 2 else self.script[:, : self.boxed]
        self.calls, start = self.calls + 1, input_ids.shape[1]

        def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return torch.full_like(scores, float("-inf")).scatter(1, part[:, ids.shape[1] - start, None], 0.0)

        return self.generate(input_ids=input_ids, logits_processor=[force], **more)

    def rewards(self, completion_ids: list[list[int]], environments: list[Crops], **row: Any) -> list[float]:
        """Our rewards of TRL's rollouts."""
        texts = self.processor.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        told = [{"answer": answer_of(text), "response_text": text} for text in texts]
        both = zip(environments, told, strict=True)
        seen = [
            SimpleNamespace(looks=place.looks, truth=place.sample.truth, arm=INTERLEAVED.name, **text)
            for place, text in both
        ]
        return [sum(score(record, self.settings.reward).values()) for record in seen]

    def step(self) -> None:
        """Generate, score, update."""
        self.restore()
        for _ in range(self.passes):
            self.trainer.training_step(self.trainer.model, self.rows, None)
        torch.nn.utils.clip_grad_norm_([p for p, _ in self.weights], self.settings.max_grad_norm)
        self.optimiser.step()


def check(ours: Ours, theirs: Theirs) -> None:
    """Raise unless both last steps trained the same sequences, with the same advantages, along the same gradient."""
    rolled, other = ours.trajectories, list[tuple[list[int], int, float]]()
    for given in theirs.trainer._buffered_inputs:  # what its losses were given
        ids = torch.cat([given["prompt_ids"], given["completion_ids"]], dim=1)
        there = torch.cat([given["prompt_mask"], given["completion_mask"]], dim=1).bool()
        counts = (given["completion_mask"] * given["tool_mask"]).sum(1).tolist()
        written = [line[mask].tolist() for line, mask in zip(ids, there, strict=True)]
        other += zip(written, counts, given["advantages"].tolist(), strict=True)
    other.sort()
    mine = sorted((t.ids, t.kinds.count(Kind.SAMPLED), t.advantage or 0.0) for t in rolled)
    least = 0.999 if next(theirs.trainer.model.parameters()).dtype == torch.float32 else 0.98  # cosine of the gradients
    cosine = float(torch.nn.functional.cosine_similarity(ours.gradient(), theirs.gradient(), dim=0))
    found = {
        "a rollout that did not look and answer": {(len(t.looks), t.finish) for t in rolled} != {(1, "answered")},
        "other tokens that are trained": [m[:2] for m in mine] != [o[:2] for o in other],
        "other advantages": not np.allclose([m[2] for m in mine], [o[2] for o in other], atol=1e-3),
        f"other gradients (cosine {cosine:.5f}), or weights that did not move": cosine < least,
    }
    if any(found.values()):
        raise RuntimeError(f"not the same step: {'; '.join(what for what, wrong in found.items() if wrong)}")


def looked_at(count: int) -> list[Sample]:
    """Samples of badges that need a look."""
    every = (get_world("badges").sample("train", i) for i in range(8 * count))
    return [s for s in every if s.needs_look][:count]


def measure_trl(turns: int, model: str = "") -> list[dict[str, Any]]:
    """A step of each, for a small and a large overview, as rows of engine.json; `model` is the policy's folder."""
    require_trl()
    base = Policy.load(model or assets_dir() / "tiny" / "cold-start", device="cpu")
    samples, rows = looked_at(PROMPTS), []
    for size, (tokens, target) in SIZES.items():
        edge = tokens * base.layout.factor**2
        processor = {**base.processor, "size": {"shortest_edge": edge, "longest_edge": edge}}
        policy = Policy(base.model, base.tokenizer, processor)
        script = script_of(policy, samples, GROUP, SAMPLED)
        theirs, ours = (side(policy, samples, script, SETTINGS) for side in (Theirs, Ours))
        found = interleaved(ours.step, theirs.step, turns)
        check(ours, theirs)
        ours.restore()  # the next size begins with the same weights
        prompt = np.mean([t.kinds.index(Kind.SAMPLED) for t in ours.trajectories])
        n = f"{PROMPTS} prompts of {prompt:.0f} tokens x {GROUP} rollouts of {SAMPLED}"
        rows.append(row(f"R-GRPO step against TRL, {size} prompt", found, target, "s", n))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare an R-GRPO step with TRL's.")
    parser.add_argument("--turns", type=int, default=7, help="turns of each comparison")
    parser.add_argument("--model", default="", help="folder of the policy (default: the shipped cold start)")
    try:
        for found in measure_trl(**vars(parser.parse_args())):
            print(json.dumps(found), flush=True)
    except R3labError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
