"""The whole loop on a GPU, at the sizes of real checkpoints: writes assets/results/gpu.json, a table of RESULTS.md.

    python tests/bench/gpu.py                          # every run, minutes each; runs that the file has are left
    python tests/bench/gpu.py --only Qwen3-VL-2B       # one, anew; against TRL wants: python -m pip install "trl>=1.16"
    python tests/bench/gpu.py --out gpu.json           # without a GPU: tiny shapes, so that this cannot rot

A run trains: rollouts of 8 groups of 8 with a crop each, rewards, an update; a step to warm up, the median of the rest.
Weights are random in the shapes of a checkpoint, so nothing is downloaded, and what rollouts write is given (`forced`).
"lesson 02" is no such run: the policy writes what it will. "on all cards" is one process a card, each with as many
groups as one alone has. "against TRL" is a step of `against_trl`, of equal rows; both sides on this card. Shares are of
what this card does alone: the least that decoding reads (weights at each token of the longest row, each group's prompt
once, each row's own keys and values) over its copy rate; the products of the update's matrices (twice their sizes
forward, again for each gradient; without attention, and nothing for what is computed again) over its matrix rate.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import interleaved
from forced import scripted, words
from results_file import keep, rounded
from transformers import AutoModelForImageTextToText

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import from_source, write_ints
from r3lab.core.protocol import box_text
from r3lab.course.tables import GPU
from r3lab.models.adapters import add_lora
from r3lab.models.checkpoint import known_config
from r3lab.models.policy import Features, Policy
from r3lab.models.tiny import miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.train.devices import Processes
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings
from r3lab.train.update import Alone, packed_logprobs
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.rationale import jitter
from r3lab.vlir.worlds import world_batches

COMMAND = "python tests/bench/gpu.py"
CARDS = " on all cards"  # what the name of a run of several processes ends in
IMAGES = (Kind.OVERVIEW, Kind.CROP)
SEVEN = {  # what the text model of Qwen2.5-VL-7B has, where that of 3B has something else
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Load:
    """How much a run has to do: groups and their size, tokens of an overview, of a crop and sampled, measured steps."""

    groups: int
    members: int
    overview: int
    crop: tuple[int, int]
    sampled: int
    steps: int


LOADS = {"cuda": Load(8, 8, 1024, (64, 256), 250, 3), "cpu": Load(2, 3, 36, (4, 25), 40, 1)}
FULL = {"Qwen3-VL-2B": ("Qwen/Qwen3-VL-2B-Instruct", {}, 0), "Qwen2.5-VL-3B": ("Qwen/Qwen2.5-VL-3B-Instruct", {}, 0)}
SHAPES = {**FULL, "7B shape, LoRA": ("Qwen/Qwen2.5-VL-3B-Instruct", SEVEN, 32)}  # configuration, changes, rank


def random_policy(name: str, device: str, load: Load) -> Policy:
    """A checkpoint's shapes with random weights, bfloat16; on a CPU the family's miniature, float32."""
    source, changed, rank = SHAPES[name.removesuffix(CARDS)]
    torch.manual_seed(0)  # every process begins with the same
    config = known_config(source)
    small = miniature(config.model_type, vocabulary(), plain=False)
    model = small.model
    if device == "cuda":
        for part, own in ((config, changed), (config.text_config, changed)):
            part.update({key: value for key, value in own.items() if hasattr(part, key)})
        if changed:
            config.vision_config.out_hidden_size = changed["hidden_size"]
        for key in ("image", "video", "vision_start", "vision_end"):  # of the tokenizer that is used
            setattr(config, f"{key}_token_id", getattr(model.config, f"{key}_token_id"))
        with torch.device(device):
            model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval()
    seen = model.config.vision_config
    edge = load.overview * (seen.patch_size * seen.spatial_merge_size) ** 2
    layout = {"patch_size": seen.patch_size, "merge_size": seen.spatial_merge_size}
    layout["temporal_patch_size"] = seen.temporal_patch_size
    own = {**small.processor["r3lab"], "crop_tokens": list(load.crop)}
    size = {"shortest_edge": edge, "longest_edge": edge}
    policy = Policy(model.to(device), small.tokenizer, {**small.processor, **layout, "size": size, "r3lab": own}, name)
    if rank:
        policy.folder = assets_dir() / "checkpoints" / source  # an adapter names what it belongs to; none is saved
        add_lora(policy, rank)
    return policy


def written(policy: Policy, t: Trajectory, load: Load, number: int, member: int) -> list[int]:
    """Words, a box near the true region, words, an answer (every second one wrong): ids of a length of its own."""
    rng = np.random.default_rng([5, number, member])
    size, known = (t.image.width, t.image.height), words(policy)
    near = jitter(tuple(t.truth["regions"][-1]), size, 0.2, rng)
    box = policy.ids(box_text(write_ints(from_source(near, policy.frame, size, t.overview), policy.step)))
    answer = t.truth["answer"] if member % 2 else str((int(t.truth["answer"]) + 1) % 10)
    last = policy.ids(f"</think><answer>{answer}</answer>")
    count = max(2, int(load.sampled * rng.uniform(0.6, 1.4)) - len(box) - len(last))
    free = rng.choice(known, count).tolist()
    return [*policy.ids("<think>"), *free[: count // 2], *box, *free[count // 2 :], *last]


def trained(
    policy: Policy, settings: RgrpoSettings, processes: Alone
) -> tuple[list[dict[str, Any]], list[list[Trajectory]]]:
    """Rows of the log, and trajectories of this process, of each step of R-GRPO."""
    rows: list[dict[str, Any]] = []
    seen: list[list[Trajectory]] = []
    batches = world_batches("badges", settings.prompts, seed=0)
    train_rgrpo(policy, batches, settings, rows.append, False, lambda step, own: seen.append(own), None, processes)
    return rows, seen


def told(rows: list[dict[str, Any]], seen: list[list[Trajectory]], device: str, processes: Alone) -> dict[str, Any]:
    """What a run's steps come to: the first warms up, and of the rest the one of median time stands for all. Memory is
    the most that a process had."""
    times = [row["seconds_rollout"] + row["seconds_update"] for row in rows]
    at = processes.gather(1 + times[1:].index(statistics.median_low(times[1:])))[0]
    found, seconds = seen[at], max(processes.gather(times[at]))
    count = processes.total(len(found))
    held = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {
        "trajectories": count / seconds,
        "tokens": processes.total(sum(t.kinds.count(Kind.SAMPLED) for t in found)) / seconds,
        "looks": processes.total(sum(len(t.looks) for t in found)) / count,
        "image_tokens": processes.total(sum(kind in IMAGES for t in found for kind in t.kinds)) / count,
        "rollout": rows[at]["seconds_rollout"],
        "update": rows[at]["seconds_update"],
        "memory": max(processes.gather(held)),
        "at": at,
    }


def rates(device: str, kind: torch.dtype) -> tuple[float, float]:
    """Bytes that the device reads and writes a second in a copy, and operations a second in a product of matrices."""
    size = 8192 if device == "cuda" else 256
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))

    def seconds(work: Callable[[], object], times: int = 20) -> float:
        work()
        wait(device)
        begin = time.perf_counter()
        for _ in range(times):
            work()
        wait(device)
        return (time.perf_counter() - begin) / times

    held = torch.empty(2**30 if device == "cuda" else 2**20, dtype=torch.uint8, device=device)
    return 2 * held.nbytes / seconds(held.clone), 2 * size**3 / seconds(lambda: a @ b)


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def work(policy: Policy, found: list[Trajectory], members: int, lora: bool) -> tuple[float, float]:
    """The least bytes that decoding these rollouts reads, and the operations of their update; see the docstring."""
    text = policy.model.config.get_text_config()
    layers = [p for layer in policy.text.layers for p in layer.parameters()]
    head = policy.model.lm_head.weight
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cached = 2 * text.num_hidden_layers * text.num_key_value_heads * size * head.element_size()
    count = [t.kinds.count(Kind.SAMPLED) for t in found]
    read = max(count) * (sum(p.nbytes for p in layers) + head.nbytes)
    operations = 0.0
    for at in range(0, len(found), members):
        group, start = found[at : at + members], found[at].prompt_length
        read += cached * start * max(count[at : at + members])
        read += cached * sum(i - start for t in group for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED)
        tokens = start + sum(len(t.ids) - start for t in group)
        operations += sum(p.numel() for p in layers) * tokens + head.numel() * sum(count[at : at + members])
    return float(read), (4 if lora else 6) * operations  # with LoRA no gradient of the matrices themselves


@torch.no_grad()
def gap(policy: Policy, load: Load) -> tuple[float, float]:
    """Median and 99th percentile of the difference of log-probabilities between sampling and update."""
    samples, store = next(world_batches("badges", load.groups, seed=1)), dict[str, Features]()
    found = rollout(policy, samples, load.members, max_new_tokens=2 * load.sampled, features=store)
    apart: list[float] = []
    for at in range(0, len(found), load.members):
        now = packed_logprobs(policy, found[at : at + load.members], store, 1.0)
        apart += (now.new - now.old).abs()[now.mask].tolist()
    return statistics.median(apart), float(np.quantile(apart, 0.99))


def measure_shape(name: str, device: str, processes: Alone) -> dict[str, Any]:
    """A run at the shapes of a checkpoint."""
    load, lora = LOADS[device], SHAPES[name.removesuffix(CARDS)][2] > 0
    policy = random_policy(name, device, load)
    settings = RgrpoSettings(
        steps=1 + load.steps,
        prompts=load.groups * processes.count,
        group=load.members,
        minibatches=1,
        learning_rate=1e-6,
        max_new_tokens=2 * load.sampled,
    )
    with scripted(lambda record, number, member: written(policy, record, load, number, member)):
        middle, high = gap(policy, load)
        rows, seen = trained(policy, settings, processes)
    found = told(rows, seen, device, processes)
    copied, multiplied = rates(device, next(policy.model.parameters()).dtype)
    read, operations = work(policy, seen[found.pop("at")], load.members, lora)
    shares = {"floor": read / copied / found["rollout"], "matrix": operations / multiplied / found["update"]}
    n = f"{settings.prompts} x {load.members} rollouts, {processes.count} processes"
    return {**found, **shares, "gap": middle, "gap_high": high, "n": n}


def measure_trl(name: str, device: str, processes: Alone) -> dict[str, Any]:
    """A step against one of TRL's trainer, in turn; both with backward passes of one group."""
    import against_trl

    against_trl.require_trl()
    load = LOADS[device]
    policy = random_policy("Qwen3-VL-2B", device, load)
    settings = RgrpoSettings(prompts=load.groups, group=load.members, minibatches=1, pass_groups=1, learning_rate=1e-4)
    settings = replace(settings, max_new_tokens=load.sampled)
    samples = against_trl.looked_at(load.groups)
    script = against_trl.script_of(policy, samples, load.members, load.sampled)
    theirs, ours = (side(policy, samples, script, settings) for side in (against_trl.Theirs, against_trl.Ours))
    found = interleaved(lambda: (ours.step(), wait(device)), lambda: (theirs.step(), wait(device)), load.steps)
    against_trl.check(ours, theirs)
    own = ours.trajectories
    return {
        "trajectories": len(own) / found.ours,
        "tokens": script.numel() / found.ours,
        "looks": sum(len(t.looks) for t in own) / len(own),
        "image_tokens": sum(kind in IMAGES for t in own for kind in t.kinds) / len(own),
        "trl": found.ratio,
        "trl_low": found.low,
        "trl_high": found.high,
        "n": f"{load.groups} x {load.members} rollouts, {found.turns} turns",
    }


def measure_cards(name: str, device: str, path: Path) -> None:
    """A process a card, each of which is `main` with this run alone; two processes where there is no GPU.

    Raises
    ------
    R3labError
        If there is one card.
    """
    count = torch.cuda.device_count() if device == "cuda" else 2
    if count < 2:
        raise R3labError("there is one card here")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    subprocess.run([*launch, __file__, "--only", name, "--out", str(path)], check=True)


def measure_lesson(name: str, device: str, processes: Alone) -> dict[str, Any]:
    """Lesson 02's hundred steps, as the tiny policy writes."""
    policy = Policy.load(assets_dir() / "tiny" / "cold-start", device, "float32")
    settings = RgrpoSettings(steps=100) if device == "cuda" else RgrpoSettings(steps=2, prompts=2, group=3)
    found = told(*trained(policy, settings, processes), device, processes)
    del found["at"]
    return {**found, "n": f"{settings.prompts} x {settings.group} rollouts, {settings.steps} steps"}


RUNS = {"lesson 02, tiny policy": measure_lesson, "Qwen3-VL-2B against TRL": measure_trl}  # the others are shapes


def main() -> int:
    """Measure, print, and write each run when it is done."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description="Measure the loop on a GPU.")
    parser.add_argument("--only", choices=list(GPU), help="one run, anew (default: those that the file lacks)")
    parser.add_argument("--out", default="", help="file to write (default on a GPU: assets/results/gpu.json)")
    given = parser.parse_args()
    if device == "cpu" and not given.out:
        parser.error("there is no GPU here; --out FILE runs tiny shapes, which say nothing of a GPU")
    path = Path(given.out or assets_dir() / "results" / "gpu.json")
    held = [row["measure"] for row in json.loads(path.read_text())["rows"]] if path.is_file() else []
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU: tiny shapes"
    processes, missing = Processes.start(), False
    for name in [given.only] if given.only else [name for name in GPU if name not in held]:
        if device == "cuda":
            gc.collect()  # the run before may hold its policies in a circle, and another process needs the room
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            if name.endswith(CARDS) and processes.count == 1:
                measure_cards(name, device, path)
                continue
            found = RUNS.get(name, measure_shape)(name, device, processes)
        except R3labError as error:
            print(f"{name} is not measured: {error}", file=sys.stderr)
            missing = True
            continue
        row = {"measure": name, **{k: v if isinstance(v, str) else rounded(v) for k, v in found.items()}, "card": card}
        if processes.main:
            print(json.dumps(row), flush=True)
            keep(path, COMMAND, [row])
    return 2 if given.only and missing else 0


if __name__ == "__main__":
    sys.exit(main())
